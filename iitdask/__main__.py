"""The program: ``iitdask``, and ``python -m iitdask``."""

import os
import signal
from typing import Any


def _exit_quietly(*_: Any) -> None:
    os._exit(130)


# From the first moment: Ctrl-C in the middle of an import would print its traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _exit_quietly)

from iitdask.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main()
