"""The live page of a run: how far it is, what it does, what it has found so far."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import (
    ColumnDataSource,
    Div,
    FactorRange,
    HoverTool,
    Range1d,
    UIElement,
)
from bokeh.plotting import figure

from iitdask.run.pulse import Pulse, StagePulse, WorkerPulse
from iitdask.view.facts import facts_html, table_html
from iitdask.view.sheet import TEMPLATE, heading, text
from iitdask.view.theme import EFFECT, FAINT, INK, RELATION, plot

__all__ = ["live"]

PERIOD = 1000
"""Milliseconds between two looks."""
REMEMBERED = 600
"""Looks whose memory is drawn."""


def live(doc: Document, read: Callable[[], Pulse], period: int = PERIOD) -> None:
    """Put a page into a document that follows a run; it reads and never writes.

    Parameters
    ----------
    doc : Document
        An empty document.
    read : callable
        Takes the pulse of the store.
    period : int
        Milliseconds between two looks.
    """
    doc.title = "iitdask: live"
    doc.template = TEMPLATE
    doc.template_variables["title"] = doc.title
    page = _Page.empty()
    doc.add_root(page.layout)

    one = asyncio.Lock()

    async def look() -> None:
        # In a thread: a store may be slow to read, and this one serves others meanwhile.
        async with one:
            page.show(await asyncio.to_thread(read))

    doc.add_next_tick_callback(look)
    doc.add_periodic_callback(look, period)


def duration(seconds: float) -> str:
    """Write a duration; unknown when it is nan."""
    if math.isnan(seconds):
        return "unknown"
    if seconds < 0.001:
        return "0 s" if seconds <= 0 else "< 1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


@dataclass(slots=True, eq=False)
class _Page:
    """The parts of the page that change."""

    layout: UIElement
    status: Div
    failures: Div
    bars: ColumnDataSource
    bars_range: FactorRange
    stages: Div
    workers: Div
    lines: list[_Line]
    held: list[tuple[float, float]]
    """Of the looks so far: wall seconds of the run, memory in GB."""

    @classmethod
    def empty(cls) -> _Page:
        status, failures = text("", 580, name="status"), text("", name="failures")
        bars_fig, bars = _progress()
        stages, workers = text("", name="stages"), text("", name="workers")
        lines = [
            _Line.empty("Work done", ("wall time (s)", "core-seconds"), EFFECT),
            _Line.empty("Time left, for the stages known", ("wall time (s)", "seconds"), RELATION),
            _Line.empty("Memory of workers, as far as known", ("wall time (s)", "GB"), INK),
        ]
        layout = column(
            row(bars_fig, status),
            heading("Workers"),
            workers,
            heading("Stages: forecast and actual"),
            stages,
            heading("History of this run"),
            row(*(each.fig for each in lines)),
            heading("Failures"),
            failures,
            name="live",
        )
        return cls(layout, status, failures, bars, bars_fig.y_range, stages, workers, lines, [])

    def show(self, pulse: Pulse) -> None:
        """Draw a pulse."""
        self.status.text = facts_html(_facts(pulse))
        self.failures.text = _failures(pulse)
        names = [each.name for each in pulse.stages]
        if list(self.bars_range.factors) != names[::-1]:
            self.bars_range.factors = names[::-1]
        self.bars.data = {
            "stage": names,
            "done": [each.fraction for each in pulse.stages],
            "all": [1.0 for _ in names],
            "said": [f"{each.done} of {each.blocks} blocks" for each in pulse.stages],
        }
        self.stages.text = table_html(STAGES, [_stage_row(each) for each in pulse.stages])
        self.workers.text = table_html(WORKERS, [_worker_row(each) for each in pulse.workers])
        work, left, memory = self.lines
        wall = [each[0] for each in pulse.history]
        work.draw(wall, [each[1] for each in pulse.history])
        left.draw(wall, [each[2] for each in pulse.history])
        held = [each.memory for each in pulse.workers if not math.isnan(each.memory)]
        if held and pulse.state == "running":
            if self.held and pulse.elapsed < self.held[-1][0]:
                self.held = []  # another run has begun
            self.held = [*self.held, (pulse.elapsed, sum(held) / 1e9)][-REMEMBERED:]
            memory.draw([each[0] for each in self.held], [each[1] for each in self.held])


@dataclass(slots=True, eq=False)
class _Line:
    """A curve whose axes begin at what is drawn first."""

    fig: figure
    source: ColumnDataSource
    x: list[float]
    y: list[float]

    @classmethod
    def empty(cls, title: str, axes: tuple[str, str], colour: str) -> _Line:
        source = ColumnDataSource({"x": [], "y": []})
        fig = plot(
            title, *axes, width=410, height=260, toolbar_location=None,
            x_range=Range1d(0, 1), y_range=Range1d(0, 1),
        )  # fmt: skip
        fig.line("x", "y", source=source, line_color=colour, line_width=2)
        dots = fig.scatter("x", "y", source=source, size=4, color=colour)
        tips = [(axes[0], "@x"), (axes[1], "@y")]
        fig.add_tools(HoverTool(renderers=[dots], tooltips=tips))
        fig.visible = False  # until there is something to draw
        return cls(fig, source, [], [])

    def draw(self, x: list[float], y: list[float]) -> None:
        if (x, y) == (self.x, self.y) or not x:
            return
        self.x, self.y = x, y
        self.fig.visible = True
        self.source.data = {"x": x, "y": y}
        start = x[0] if len(x) >= REMEMBERED else 0.0
        self.fig.x_range.start, self.fig.x_range.end = start, max(x[-1], start + 1)
        self.fig.y_range.end = max(y) * 1.08 or 1.0


def _stage_row(each: StagePulse) -> list[str]:
    return [
        each.name,
        f"{each.done} of {each.blocks}",
        duration(each.forecast),
        duration(each.actual),
        _ratio(each.actual, each.forecast),
        duration(each.left) if each.left else "-",
    ]


def _worker_row(each: WorkerPulse) -> list[str]:
    return [
        each.name,
        each.doing,
        duration(each.since) if not math.isnan(each.since) else "-",
        str(each.blocks),
        duration(each.seconds),
        "-" if math.isnan(each.silence) else f"{duration(max(each.silence, 0.0))} ago",
        _megabytes(each.memory),
    ]


STAGES = ("stage", "blocks", "forecast of one core", "taken", "ratio", "left")
WORKERS = (
    "worker", "computes now", "since", "blocks filled", "core time", "last receipt", "memory",
)  # fmt: skip


def _ratio(actual: float, forecast: float) -> str:
    return f"{actual / forecast:.3g}" if forecast > 0 and actual > 0 else "-"


def _megabytes(memory: float) -> str:
    return "-" if math.isnan(memory) else f"{memory / 1e6:.0f} MB"


def _facts(pulse: Pulse) -> list[tuple[str, str]]:
    study = pulse.study
    rows = [("store", pulse.url), ("state", f"{pulse.state} ({pulse.note})")]
    if study:
        theory = study.get("theory")
        name = theory.get("name") if isinstance(theory, dict) else None
        axes = study.get("sweep")
        swept = f"swept over {', '.join(map(str, axes))}" if axes else None
        said = (study.get("compute"), name, swept)
        rows.insert(0, ("study", ", ".join(str(each) for each in said if each)))
    if pulse.state == "waiting":
        return rows
    rows.append(("elapsed", duration(pulse.elapsed)))
    if pulse.state == "running":
        left = duration(pulse.seconds_left)
        rows.append(("left", f"{left} for the stages known so far"))
    rows += [
        ("rate", f"{pulse.rate:.3g} core-seconds a second"),
        ("workers", str(len(pulse.workers))),
    ]
    held = [each.memory for each in pulse.workers if not math.isnan(each.memory)]
    if held:
        rows.append(("memory", f"{sum(held) / 1e6:.0f} MB, of {len(held)} worker(s)"))
    for each in pulse.findings:
        if not math.isnan(each.best):
            so_far = " so far" if pulse.state == "running" else ""
            rows.append((f"best φ{so_far}", f"{each.best:.6g} bits ({each.stage})"))
        if each.pairs:
            share = 100 * (1 - each.searched / each.pairs)
            what = f"{each.searched:,} of {each.pairs:,} purviews searched, {share:.1f} % excluded"
            rows.append(("pruning", f"{what} ({each.stage})"))
    return rows


def _failures(pulse: Pulse) -> str:
    if not pulse.failures:
        return "<p>None.</p>"
    shown = "".join(f"<li>{escape(each)}</li>" for each in pulse.failures[:50])
    more = len(pulse.failures) - 50
    rest = f"<p>and {more} more</p>" if more > 0 else ""
    head = f"<p>{len(pulse.failures)} block(s) in quarantine: given up until the run is repeated."
    return f"{head}</p><ul>{shown}</ul>{rest}"


def _progress() -> tuple[figure, ColumnDataSource]:
    empty: dict[str, list[Any]] = {name: [] for name in ("stage", "done", "all", "said")}
    source = ColumnDataSource(empty, name="progress")
    fig = plot(
        "Stages, by predicted cost",
        "part done",
        width=660,
        height=330,
        x_range=Range1d(0, 1.42),
        y_range=FactorRange(),
        toolbar_location=None,
    )
    fig.grid.visible = False
    fig.xaxis.ticker = [0, 0.25, 0.5, 0.75, 1]
    fig.hbar("stage", right="all", height=0.55, fill_color=FAINT, line_color=None, source=source)
    fig.hbar("stage", right="done", height=0.55, color=EFFECT, source=source)
    fig.text(
        1.02, "stage", text="said", source=source, text_baseline="middle", text_font_size="11px"
    )
    return fig, source
