"""What the compiled operators take, and what they refuse: with a message that names the argument."""

import pytest
import torch

from mobileode_mm.ode.backends import cpu_operators

pytestmark = pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')

B, P, Q, H, W, L = 2, 3, 4, 2, 3, 2
NORMS = {'position': (H, W), 'channel': (Q**2, )}
#: Arguments of each operator, in order; those after the bar may be left out.
ARGUMENTS = {
    'cos_eval': 'x matrices step_lengths weight bias mean variance eps least_step',
    'cos_deployed': 'x transitions step_lengths scale shift after_scale after_shift residual',
    'cos_train': 'x matrices step_lengths weight bias eps',
    'cos_train fixed': 'x matrices step_lengths weight bias eps mean variance',
    'cos_train_backward': 'y_grad x matrices step_lengths weight bias eps mean variance',
    'cos_train_backward fixed': 'y_grad x matrices step_lengths weight bias eps mean variance',
}
NUMBERS = {'eps': 1e-5, 'least_step': 0.2}


def arguments(name, norm='position', dtype=torch.float64, batch=B):
    """Legal arguments by their names."""
    torch.manual_seed(0)
    values = NORMS[norm]
    statistics = (L, *values) if name == 'cos_train_backward' else values
    shapes = {'x': (batch, P**2, H, W), 'matrices': (L, Q, Q), 'transitions': (L, Q, Q), 'step_lengths': (L, ),
              'after_scale': (Q**2, ), 'after_shift': (Q**2, ), 'residual': (batch, Q**2, H, W),
              'y_grad': (batch, Q**2, H, W), 'mean': statistics, 'variance': statistics}
    return {key: NUMBERS[key] if key in NUMBERS else torch.rand(shapes.get(key, values), dtype=dtype) + 0.1
            for key in ARGUMENTS[name].split()}


def call(name, given):
    """What the operator returns, as a list."""
    result = getattr(cpu_operators, name.split()[0])(**given)
    return [result] if isinstance(result, torch.Tensor) else list(result)


TENSORS = [(name, key) for name, keys in ARGUMENTS.items() for key in keys.split() if key not in NUMBERS]


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name, key', TENSORS)
@pytest.mark.parametrize('change', ['dtype', 'length', 'dimension', 'none at all'])
def test_tensors_that_do_not_fit(name, key, norm, change):
    given = arguments(name, norm)
    change = {'dtype': torch.Tensor.float, 'length': lambda value: torch.cat([value, value[..., :1]], -1),
              'dimension': lambda value: value[None], 'none at all': lambda value: value[..., :0]}[change]
    given[key] = change(given[key])
    if key == 'x' and given['x'].dtype == torch.float32:
        key = 'matrices|transitions|y_grad'  # every other argument is of another type then
    elif key == 'x' and given['x'].dim() == 4:  # another map: what belongs to the old one does not fit
        key = 'x|weight|scale|bias|y_grad|residual'
        if norm == 'channel' and name in ('cos_eval', 'cos_train', 'cos_train fixed'):
            return  # which serve maps of any size
    elif key == 'weight' or key == 'scale':
        key += '|bias|shift'
    with pytest.raises(RuntimeError, match=rf'^{name.split()[0]}: ({key}) (is|has) '):
        call(name, given)


@pytest.mark.parametrize('name, key', TENSORS)
def test_tensors_of_another_device(name, key):
    given = arguments(name)
    given[key] = given[key].to('meta')
    with pytest.raises(RuntimeError, match='must be on'):
        call(name, given)


@pytest.mark.parametrize('name', ARGUMENTS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.int64])
def test_types_that_no_kernel_has(name, dtype):
    given = {key: value if key in NUMBERS else value.to(dtype) for key, value in arguments(name).items()}
    with pytest.raises(RuntimeError, match=r'x is \w+, must be Float or Double'):
        call(name, given)


@pytest.mark.parametrize('name', ARGUMENTS)
@pytest.mark.parametrize('key, value, message', [
    ('x', torch.ones(B, 8, H, W), 'x has 8 channels'),
    ('x', torch.ones(B, 0, H, W), 'x has 0 channels'),
    ('matrices', torch.ones(L, 3, 4), r'is \[2, 3, 4\], must be \(L, q, q\)'),
    ('matrices', torch.ones(0, Q, Q), 'must have one step at least'),
    ('matrices', torch.ones(L, 0, 0), 'must have sides of 1 to 72'),
    ('matrices', torch.ones(L, 73, 73), 'must have sides of 1 to 72'),
    ('step_lengths', torch.ones(L + 1), r'step_lengths is \[3\], must be \[2\]'),
    ('step_lengths', torch.ones(()), r'step_lengths is \[\], must be \[2\]'),
])
def test_shapes_of_the_solver(name, key, value, message):
    given = arguments(name, dtype=torch.float32)
    given['transitions' if key == 'matrices' and 'transitions' in given else key] = value
    with pytest.raises(RuntimeError, match=message):
        call(name, given)


@pytest.mark.parametrize('name, without', [('cos_deployed', {'after_scale'}), ('cos_deployed', {'after_shift'}),
                                           ('cos_deployed', {'after_scale', 'after_shift'}),
                                           ('cos_train fixed', {'mean'}), ('cos_train fixed', {'variance'})])
def test_arguments_that_come_together(name, without):
    given = {key: value for key, value in arguments(name).items() if key not in without}
    with pytest.raises(RuntimeError, match='together|residual comes with'):
        call(name, given)


def test_least_step_that_goes_back():
    with pytest.raises(RuntimeError, match='least_step is -1, must be 0 or more'):
        call('cos_eval', arguments('cos_eval') | {'least_step': -1.0})


@pytest.mark.parametrize('norm, x', [('position', torch.ones(0, 1, H, W)), ('channel', torch.ones(0, 1, H, W)),
                                     ('position', torch.ones(1, 1, H, W)), ('channel', torch.ones(1, 1, 1, 1))])
def test_statistics_of_one_value(norm, x):
    shape = x.shape[2:] if norm == 'position' else (1, )
    with pytest.raises(RuntimeError, match='which gives each of the batch\'s statistics [01] values'):
        cpu_operators.cos_train(x, torch.ones(L, 1, 1), torch.ones(L), torch.ones(shape), torch.ones(shape), 1e-5)


def scattered(value):
    """The same numbers where strides are no dense ones, of a storage that begins elsewhere."""
    room = torch.full([2 * size + 1 for size in value.shape], torch.nan, dtype=value.dtype)
    view = room[tuple(slice(1, None, 2) for _ in value.shape)]
    return view.copy_(value)


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name', ARGUMENTS)
def test_any_strides(name, norm):
    given = arguments(name, norm)
    expected = call(name, given)
    for key, value in given.items():
        if key in NUMBERS:
            continue
        views = [scattered(value)] + ([value.contiguous(memory_format=torch.channels_last)] if value.dim() == 4 else [])
        for view in views:
            for a, b in zip(call(name, given | {key: view}), expected, strict=True):
                assert torch.equal(a, b), key


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name', [name for name in ARGUMENTS if name != 'cos_train'])
def test_batch_of_none(name, norm):
    """Empty maps, and gradients of zero."""
    results = call(name, arguments(name, norm, batch=0))
    channels = P**2 if 'backward' in name else Q**2
    assert results[0].shape == (0, channels, H, W)
    if 'backward' in name:
        assert not any(value.any() for value in results[1:])


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name', ARGUMENTS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_as_torch_wants_operators(name, norm, dtype):
    """Schema, fake tensors, autograd, and tracing with sizes that change."""
    given = arguments(name, norm, dtype)
    if name.startswith('cos_train') and 'backward' not in name:
        for key in ('x', 'matrices', 'step_lengths', 'weight', 'bias'):
            given[key].requires_grad_()
    torch.library.opcheck(getattr(cpu_operators, name.split()[0]), (), given)


def test_trained_form_equals_deploy_form():
    given = arguments('cos_eval')
    scale = given['weight'] / torch.sqrt(given['variance'] + given['eps'])
    folded = given['matrices'] + torch.eye(Q), given['step_lengths'].clamp(min=0.2), scale, \
        given['bias'] - given['mean'] * scale
    torch.testing.assert_close(cpu_operators.cos_deployed(given['x'], *folded), *call('cos_eval', given))


def test_gradients_are_differentiable_no_more():
    given = arguments('cos_train')
    given['x'].requires_grad_()
    y, _, _ = cpu_operators.cos_train(**given)
    grad, = torch.autograd.grad(y.square().sum(), given['x'], create_graph=True)
    with pytest.raises(RuntimeError, match='can be differentiated once'):
        grad.sum().backward()
