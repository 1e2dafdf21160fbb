"""Progress of a run: a bar per stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

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
            blocks = f"{todo} blocks" if todo else "already there"
            self._write(f"{event.stage}: {blocks}, {event.seconds:.2f} s")
        elif isinstance(event, Warned):
            self._write(event.text)
        elif isinstance(event, BlockFailed):
            self._write(f"{event.stage}: block {event.block} failed: {event.error}")

    def _write(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()


@contextmanager
def show_progress(enabled: bool = True, out: TextIO | None = None) -> Iterator[Sequence[Observer]]:
    """Yield the observers that show a run on a stream, standard error by default."""
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
