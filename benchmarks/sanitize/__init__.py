"""The CPU kernels where a wrong access to memory ends the process: sanitizers, guard pages, and a long training."""
