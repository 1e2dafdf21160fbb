"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from iitdask.run.events import Event, Observer

__all__ = [
    "show_progress",
]

MIN_LINE_INTERVAL_SECONDS = 5.0


class ProgressBar:
    """A bar per stage, by predicted cost done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        """Draw an event."""
        kind = type(event).__name__
        stage = getattr(event, "stage", "")
        if kind == "StageOpened" and event.todo:  # type: ignore[union-attr]
            total = event.cost or event.todo  # type: ignore[union-attr]
            if stage in self._rows:
                self._progress.update(self._rows[stage], total=total, completed=0)
            else:
                self._rows[stage] = self._progress.add_task(stage, total=total)
        elif kind == "BlocksFilled" and stage in self._rows:
            self._progress.advance(self._rows[stage], event.cost or event.blocks)  # type: ignore[union-attr]
        elif kind == "Remarked":
            self._progress.console.print(event.text)  # type: ignore[union-attr]
        elif kind == "StageFilled" and stage in self._rows:
            row = self._rows[stage]
            self._progress.update(row, completed=self._progress.tasks[row].total)


class ProgressLines:
    """One line when a stage is filled, and now and then within a long one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._todo: dict[str, tuple[int, int]] = {}
        self._said = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Write an event."""
        kind = type(event).__name__
        if kind == "StageOpened":
            self._todo[event.stage] = (0, event.todo)  # type: ignore[union-attr]
        elif kind == "BlocksFilled":
            done, todo = self._todo[event.stage]  # type: ignore[union-attr]
            self._todo[event.stage] = (done + event.blocks, todo)  # type: ignore[union-attr]
            if time.monotonic() - self._said > MIN_LINE_INTERVAL_SECONDS:
                self._said = time.monotonic()
                self._say(f"{event.stage}: {done + event.blocks} of {todo} blocks")  # type: ignore[union-attr]
        elif kind == "StageFilled":
            done, todo = self._todo[event.stage]  # type: ignore[union-attr]
            what = f"{todo} blocks" if todo else "already there"
            self._say(f"{event.stage}: {what}, {event.seconds:.2f} s")  # type: ignore[union-attr]
        elif kind == "Remarked":
            self._say(event.text)  # type: ignore[union-attr]
        elif kind == "BlockFailed":
            self._say(f"{event.stage}: block {event.block} failed: {event.error}")  # type: ignore[union-attr]

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


@contextmanager
def show_progress(wanted: bool = True, out: TextIO | None = None) -> Iterator[Sequence[Observer]]:
    """Give the observers that show a run; none when not wanted."""
    stream = out or sys.stderr
    if not wanted:
        yield ()
    elif stream.isatty():
        columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=stream), transient=True) as progress:
            yield (ProgressBar(progress),)
    else:
        yield (ProgressLines(stream),)
