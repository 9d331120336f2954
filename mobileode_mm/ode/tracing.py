"""Whether a call is being turned into a program that runs elsewhere, or watched."""

from collections.abc import Callable

import torch

# Before torch 2.7 an export and a compilation look the same.
_torch_exports = getattr(torch.compiler, 'is_exporting', lambda: False)


def assume_constant_result(function: Callable) -> Callable:
    """``torch.compiler.assume_constant_result``, which imports torch's compiler: a fifth of this package's import."""
    vars(function)['_dynamo_marked_constant'] = True
    return function


# Traced by torch.compile, `is_exporting` answers yes; called while it traces, it answers for the call that is compiled.
@assume_constant_result
def is_exporting() -> bool:
    """Whether the operators that are called go into a program that has to run where this package is not."""
    return torch.jit.is_tracing() or torch.jit.is_scripting() or _torch_exports()


@assume_constant_result
def is_watched() -> bool:
    """Whether operators go through a mode of torch's, such as a counter, that knows those of torch better than ours."""
    return torch._C._len_torch_dispatch_stack() > 0
