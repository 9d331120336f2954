"""torchrun, quiet where a process has already said in one message what is wrong."""
import logging
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from ..errors import BAD_INPUT


def main() -> int:
    """Run torchrun with the arguments of this process.

    Returns:
        0, or 2 where the processes ended with 2 because of bad input.

    Raises:
        ChildFailedError: A process failed otherwise; torchrun's own report.
    """
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        run.main()
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode != BAD_INPUT:
            raise
        return BAD_INPUT
    return 0


if __name__ == '__main__':
    sys.exit(main())
