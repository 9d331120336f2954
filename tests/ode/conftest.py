"""What the tests of the backends share."""
import pytest
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.fixture
def called():
    """Names of the kernels' operators that are called in a test, by torch's own record of them."""
    names = []

    class Record(TorchDispatchMode):

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.namespace == 'mobileode':
                names.append(function.name().partition('::')[2])
            return function(*args, **(kwargs or {}))

    with Record():
        yield names
