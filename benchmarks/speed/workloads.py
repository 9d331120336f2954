"""What is measured: a module on a batch, as a call to time and as numbers to compare."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

#: Types in half precision.
HALVES = (torch.float16, torch.bfloat16)


class Workload(ABC):
    """What a variant does in one call."""

    is_training = False
    #: Whether a call asks torch for memory.
    allocates = True

    @abstractmethod
    def step(self) -> None:
        """One call, to be timed."""


class ModuleWorkload(Workload):
    """A module at work on one batch.

    Args:
        module: Module with the parameters and buffers.
        train: Whether a call is a training step, or inference without gradients.
        dtype: In training the type of autocast, where it is not float32.
    """

    def __init__(self, module: nn.Module, train: bool, dtype: torch.dtype = torch.float32):
        module.train(train)  # a toolbox's returns nothing
        self.module = module
        self.is_training = train
        device = next(module.parameters()).device
        self._autocast = torch.autocast(device.type, dtype, enabled=train and dtype in HALVES)

    @abstractmethod
    def probe(self) -> dict[str, Tensor]:
        """The numbers of one call, named ``kind rest``: outputs or losses and, in training, gradients and running
        statistics after the call. To be called first: a training step moves the statistics."""

    def owned(self) -> Iterator[Tensor]:
        """What the module holds between calls."""
        yield from self.module.parameters()
        yield from self.module.buffers()

    def _clear(self) -> None:
        for parameter in self.module.parameters():
            parameter.grad = None

    def _learned(self) -> dict[str, Tensor]:
        numbers = {f'gradient {name}': parameter.grad for name, parameter in self.module.named_parameters()
                   if parameter.grad is not None}
        numbers.update((f'statistics {name}', value.clone()) for name, value in self.module.named_buffers()
                       if name.rpartition('.')[2].startswith('running_'))
        return numbers


class NetworkWorkload(ModuleWorkload):
    """A layer or backbone: forward, in training also backward from fixed random gradients of its outputs.

    Args:
        module: The network.
        x: Its input.
        train, dtype: As in :class:`ModuleWorkload`.
        input_gradient: Whether the backward pass reaches the input, as inside of a network.
    """

    def __init__(self, module: nn.Module, x: Tensor, train: bool, dtype: torch.dtype = torch.float32,
                 input_gradient: bool = False):
        super().__init__(module, train, dtype)
        self.x = x.detach().clone(memory_format=torch.preserve_format)
        self.x.requires_grad = train and input_gradient
        self._cotangents = None

    def step(self) -> None:
        self._run()

    def probe(self) -> dict[str, Tensor]:
        numbers = {f'output {index}': output.detach() for index, output in enumerate(self._run())}
        if self.is_training:
            if self.x.grad is not None:
                numbers['input_gradient x'] = self.x.grad
            numbers |= self._learned()
        return numbers

    def _run(self) -> tuple[Tensor, ...]:
        if not self.is_training:
            with torch.no_grad():
                return as_tuple(self.module(self.x))
        self._clear()
        self.x.grad = None
        with self._autocast:
            outputs = as_tuple(self.module(self.x))
        if self._cotangents is None:
            generator = torch.Generator().manual_seed(1)
            self._cotangents = [torch.empty_like(output).copy_(torch.randn(output.shape, generator=generator))
                                for output in outputs]
        torch.autograd.backward(outputs, self._cotangents)
        return outputs


class GraphWorkload(Workload):
    """The calls of another workload as one CUDA graph, which is captured on the first call: the GPU's time alone.

    Args:
        inner: Has inputs and parameters on a GPU, and waits for nothing in a call.
    """

    allocates = False

    def __init__(self, inner: NetworkWorkload):
        self._inner = inner
        self._graph: torch.cuda.CUDAGraph | None = None

    def probe(self) -> dict[str, Tensor]:
        return self._inner.probe()

    def step(self) -> None:
        if self._graph is None:
            self._graph = self._capture()
        self._graph.replay()

    def _capture(self) -> torch.cuda.CUDAGraph:
        # As torch's notes on CUDA graphs want it: warm on a stream of its own, gradients made inside the graph.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._inner.step()
        torch.cuda.current_stream().wait_stream(stream)
        for tensor in self._inner.owned():
            tensor.grad = None
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._inner.step()
        return graph


class CopyWorkload(Workload):
    """One read and one write of as many bytes as a layer's input and output have: the floor of every such layer.

    Args:
        numel: Elements of input and output together.
        device, dtype: Of both.
    """

    def __init__(self, numel: int, device: torch.device, dtype: torch.dtype):
        self._source = torch.zeros(numel // 2, device=device, dtype=dtype)
        self._out = torch.empty_like(self._source)

    def step(self) -> None:
        self._out.copy_(self._source)


class ProductWorkload(Workload):
    """A product of two square matrices with as many operations as a layer has: arithmetic is not done faster.

    Args:
        operations: Floating-point operations, two a multiply-add.
        device, dtype: Of the matrices.
    """

    def __init__(self, operations: int, device: torch.device, dtype: torch.dtype):
        side = max(1, round((operations / 2) ** (1 / 3)))
        self._a, self._b, self._out = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(3))

    def step(self) -> None:
        torch.mm(self._a, self._b, out=self._out)


def as_tuple(outputs) -> tuple[Tensor, ...]:
    """Every tensor of an output, however nested."""
    if isinstance(outputs, Tensor):
        return (outputs, )
    return tuple(tensor for part in outputs for tensor in as_tuple(part))


def calibrate_norms(module: nn.Module, run: Callable[[], object]) -> None:
    """Give an untrained network the norms of a trained one, so that no value is trivial and no activation runs away.

    Weights around 1, biases around 0, running statistics of one batch.

    Args:
        module: The network, left in training mode.
        run: One forward pass of it.
    """
    norms = [norm for norm in module.modules() if getattr(norm, 'running_mean', None) is not None
             and hasattr(norm, 'momentum')]
    momenta = [norm.momentum for norm in norms]
    module.train()
    with torch.no_grad():
        for norm in norms:
            if norm.weight is not None:
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.1)
            norm.momentum = 1.0
        run()
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
