"""Private parts of dependencies, each with a test in ``tests/run/test_compat.py``.

A release of a dependency that moves one of them breaks its test and this module, nothing else.
Undocumented options of numba are in :mod:`iitdask.kernels.jit`, its files of compiled code in
:mod:`iitdask.kernels.kernel_files`, and tested there.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from zarr.core.sync import sync

T = TypeVar("T")


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop to which zarr's remote stores belong."""
    return sync(coroutine)


class CompletionQueue:
    """Dask futures as they end, without waiting for them longer than asked to.

    ``distributed.as_completed`` has the queue; its public face can only block for ever, also
    when the client has closed meanwhile.
    """

    def __init__(self, client: Any) -> None:
        from distributed import as_completed  # noqa: PLC0415 heavy, and only clusters need it

        make: Any = as_completed
        self._queue = make(loop=client.loop, with_results=True, raise_errors=False)

    def add(self, futures: Iterable[Any]) -> None:
        """Add futures to those that are followed."""
        self._queue.update(futures)

    def take(self, seconds: float) -> list[tuple[Any, Any]]:
        """Return all (future, result) pairs that have ended, waiting so long for the first."""
        with self._queue.thread_condition:
            if not self._queue.has_ready():
                self._queue.thread_condition.wait(seconds)
        batch: list[tuple[Any, Any]] = self._queue.next_batch(block=False)
        return batch


def worker_thread_count(worker: Any) -> int:
    """Return how many threads of a Dask worker compute tasks."""
    return int(worker.state.nthreads)
