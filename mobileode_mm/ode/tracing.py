"""Whether a call is being turned into a program that runs elsewhere, or watched."""

import torch

# Before torch 2.7 an export and a compilation look the same.
_torch_exports = getattr(torch.compiler, 'is_exporting', lambda: False)


# Traced by torch.compile, `is_exporting` answers yes; called while it traces, it answers for the call that is compiled.
@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Whether the operators that are called go into a program that has to run where this package is not."""
    return torch.jit.is_tracing() or torch.jit.is_scripting() or _torch_exports()


@torch.compiler.assume_constant_result
def is_watched() -> bool:
    """Whether operators go through a mode of torch's, such as a counter, that knows those of torch better than ours."""
    return torch._C._len_torch_dispatch_stack() > 0
