"""Progress of a run: a bar per stage on a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib import import_module
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
from iitdask.theory.catalog import KERNEL_FAMILIES

if TYPE_CHECKING:
    from rich.progress import Progress

LONG_SECONDS = 600.0  # Predicted seconds from which a stage is announced
LARGE_MEMORY_SHARE = 0.5  # Share of this machine's memory from which it is, too
LARGE_BYTES = 2**28  # Bytes below which the memory of this machine is not looked up
MIN_DRAW_SECONDS = 0.1  # Least seconds between two pictures of the bars in a notebook
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
            is_due = time.monotonic() - self._last_line > MIN_LINE_INTERVAL_SECONDS
            if is_due and done + event.blocks < todo:  # that it is complete is said next
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


class NotebookProgress:
    """Observer that draws a bar per stage in the output of a notebook's cell."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show  # Puts HTML in place of what was shown before
        self._stages: dict[str, list[float]] = {}  # Work done and in all, seconds of the stage
        self._texts: list[str] = []
        self._last_shown = -math.inf

    def __call__(self, event: Event) -> None:
        """Draw an event, unless another one was drawn a moment ago."""
        if isinstance(event, StageOpened) and event.todo:
            self._stages[event.stage] = [0.0, event.cost or event.todo, math.nan]
        elif isinstance(event, BlocksFilled) and event.stage in self._stages:
            self._stages[event.stage][0] += event.cost or event.blocks
        elif isinstance(event, StageCompleted) and event.stage in self._stages:
            total = self._stages[event.stage][1]
            self._stages[event.stage] = [total, total, event.seconds]
        elif isinstance(event, Warned):
            self._texts.append(event.text)
        elif isinstance(event, BlockFailed):
            self._texts.append(f"{event.stage}: block {event.block} failed: {event.error}")
        if isinstance(event, Warned) or time.monotonic() - self._last_shown > MIN_DRAW_SECONDS:
            self.show()

    def show(self) -> None:
        """Draw what is known."""
        self._last_shown = time.monotonic()
        rows = "".join(
            f'<tr><td style="text-align: left">{escape(stage)}</td><td style="width: 20em">'
            f'<progress value="{done / total:.4f}" max="1" aria-label="{escape(stage)}" '
            f'style="width: 100%">{done / total:.0%}</progress></td>'
            f"<td>{min(1.0, done / total):.0%}</td>"
            f"<td>{'' if math.isnan(seconds) else seconds_text(seconds)}</td></tr>"
            for stage, (done, total, seconds) in self._stages.items()
        )
        texts = "".join(f"<div>{escape(text)}</div>" for text in self._texts)
        self._show(f'<div class="iitdask-progress">{texts}<table>{rows}</table></div>')


def _notebook_display() -> Callable[[str], None] | None:
    """Return what puts HTML into the output of the running cell; None outside of a notebook."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    if shell is None or not hasattr(shell, "kernel"):  # a terminal has no kernel
        return None
    display = import_module("IPython.display")
    handle = display.display(display.HTML(""), display_id=True)
    return lambda html: handle.update(display.HTML(html))


def compile_text(family: str) -> str:
    """Say that the kernels of a family are compiled, and for how long."""
    seconds = KERNEL_FAMILIES[family].seconds
    return f"compiling kernels of {family}, once on this machine (about {seconds} s) ..."


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
    """Yield the observers that show a run in the cell of a notebook, or on a stream.

    The stream is standard error by default.
    """
    if not isinstance(enabled, int | np.bool_):
        raise InputError(f"progress: expected True or False, got {quote(enabled)}")
    stream = out or sys.stderr
    if not enabled:
        yield ()
    elif out is None and (show := _notebook_display()) is not None:
        bars = NotebookProgress(show)
        try:
            yield (bars,)
        finally:
            bars.show()
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
