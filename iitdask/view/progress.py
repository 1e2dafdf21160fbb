"""Progress of a run: a bar per stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import psutil

from iitdask.errors import InputError, LargeRunWarning, levels_to_user, quote
from iitdask.result.formatting import bytes_text, seconds_text
from iitdask.run.events import (
    BlockFailed,
    BlocksFilled,
    Event,
    Observer,
    StageCompleted,
    StageOpened,
    Warned,
)

if TYPE_CHECKING:
    from rich.progress import Progress

LONG_SECONDS = 600.0  # Predicted seconds from which a stage is announced
LARGE_MEMORY_SHARE = 0.5  # Share of this machine's memory from which it is, too
LARGE_BYTES = 2**28  # Bytes below which the memory of this machine is not looked up
MIN_LINE_INTERVAL_SECONDS = 5.0  # Least seconds between two lines about one stage


class ProgressBar:
    """Observer that draws a bar per stage, by predicted cost done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        """Draw an event."""
        if isinstance(event, StageOpened):
            self._open(event)
        elif isinstance(event, Warned):
            self._progress.console.print(event.text)
        elif isinstance(event, BlocksFilled) and event.stage in self._rows:
            self._progress.advance(self._rows[event.stage], event.cost or event.blocks)
        elif isinstance(event, StageCompleted) and event.stage in self._rows:
            row = self._rows[event.stage]
            self._progress.update(row, completed=self._progress.tasks[row].total)

    def _open(self, event: StageOpened) -> None:
        if not event.todo:
            return
        total = event.cost or event.todo
        if event.stage in self._rows:
            self._progress.update(self._rows[event.stage], total=total, completed=0)
        else:
            self._rows[event.stage] = self._progress.add_task(event.stage, total=total)


class ProgressLines:
    """Observer that writes a line for every filled stage, and now and then within a long one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._todo: dict[str, tuple[int, int]] = {}
        self._last_line = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Write an event."""
        if isinstance(event, StageOpened):
            self._todo[event.stage] = (0, event.todo)
        elif isinstance(event, BlocksFilled):
            done, todo = self._todo[event.stage]
            self._todo[event.stage] = (done + event.blocks, todo)
            if time.monotonic() - self._last_line > MIN_LINE_INTERVAL_SECONDS:
                self._last_line = time.monotonic()
                self._write(f"{event.stage}: {done + event.blocks} of {todo} blocks")
        elif isinstance(event, StageCompleted):
            _, todo = self._todo[event.stage]
            blocks = f"{todo} block{'s' * (todo != 1)}" if todo else "already there"
            self._write(f"{event.stage}: {blocks}, {event.seconds:.2f} s")
        elif isinstance(event, Warned):
            self._write(event.text)
        elif isinstance(event, BlockFailed):
            self._write(f"{event.stage}: block {event.block} failed: {event.error}")

    def _write(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()


class LargeRunObserver:
    """Observer that warns once, before a stage that takes long or most of the memory."""

    def __init__(self, client: Any, workers: int | None, is_stored: bool) -> None:
        self._client, self._is_stored = client, is_stored
        self._workers = 1 if workers is None else workers
        self._has_warned = False

    def __call__(self, event: Event) -> None:
        """Look at a stage that is about to be filled."""
        if isinstance(event, StageOpened) and event.todo and not self._has_warned:
            sizes = [text for text in (self._seconds(event), self._memory(event)) if text]
            if sizes:
                self._has_warned = True
                self._warn(event.stage, " and ".join(sizes))

    def _seconds(self, event: StageOpened) -> str:
        if event.cost <= LONG_SECONDS:
            return ""
        threads = self._workers
        if self._client is not None:
            threads = max(1, sum(self._client.nthreads().values()))
        seconds = event.cost / threads
        on = f"{threads} threads" if threads > 1 else "one thread"
        return f"about {seconds_text(seconds)} on {on}" if seconds > LONG_SECONDS else ""

    def _memory(self, event: StageOpened) -> str:
        if event.nbytes < LARGE_BYTES:
            return ""
        total = psutil.virtual_memory().total
        is_large = event.nbytes > LARGE_MEMORY_SHARE * total
        return f"{bytes_text(event.nbytes)} of {bytes_text(total)} memory" if is_large else ""

    def _warn(self, stage: str, size: str) -> None:
        advice = "workers= or client= computes on more cores, iitdask.estimate says more"
        if not self._is_stored:
            advice = f"with store= it can be interrupted and resumed, {advice}"
        text = f"stage {stage!r} is predicted to take {size}; {advice}"
        warnings.warn(text, LargeRunWarning, stacklevel=levels_to_user())


@contextmanager
def show_progress(enabled: bool = True, out: TextIO | None = None) -> Iterator[Sequence[Observer]]:
    """Yield the observers that show a run on a stream, standard error by default."""
    if not isinstance(enabled, int | np.bool_):
        raise InputError(f"progress: expected True or False, got {quote(enabled)}")
    stream = out or sys.stderr
    if not enabled:
        yield ()
    elif stream.isatty():
        # Only a terminal needs rich, which takes longer to import than a small run.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=stream), transient=True) as progress:
            yield (ProgressBar(progress),)
    else:
        yield (ProgressLines(stream),)
