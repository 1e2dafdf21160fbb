"""Preloaded by worker processes: an interruption is the driver's to handle.

Ctrl-C on a terminal reaches every process started from it; workers that broke
off in the middle would only add their tracebacks.
"""

from __future__ import annotations

import signal
from typing import Any

__all__ = [
    "dask_setup",
]


def dask_setup(_worker: Any) -> None:
    """Leave SIGINT to the driver, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
