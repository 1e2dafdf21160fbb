"""The status page of a run: progress, workers, partial results."""

from __future__ import annotations

import asyncio
import math
from html import escape
from typing import Any

from bokeh.document import Document
from bokeh.models import ColumnDataSource, FactorRange, UIElement
from bokeh.plotting import figure

from iitdask.result.formatting import seconds_text
from iitdask.run.status import RunMonitor, StageStatus, StoreStatus, WorkerStatus
from iitdask.run.storage import open_store
from iitdask.view import pages
from iitdask.view.accessor import summary_html, table_html

REFRESH_MILLISECONDS = 1000  # Milliseconds between two updates of the page
MAX_MEMORY_SAMPLES = 600  # Updates whose memory is drawn


def fill_status_page(doc: Document, url: str, period: int = REFRESH_MILLISECONDS) -> None:
    """Put the status page of a run into a document; it reads the store and never writes."""
    page, read = _StatusPage(), RunMonitor(open_store(url))
    pages.fill_page(doc, "iitdask: live", *page.elements, name="live")

    lock = asyncio.Lock()

    async def update() -> None:
        # In a thread: a store may be slow to read, and this thread serves other pages.
        async with lock:
            page.show(await asyncio.to_thread(read))

    doc.add_next_tick_callback(update)
    doc.add_periodic_callback(update, period)


class _StatusPage:
    """The parts of the page that change."""

    def __init__(self) -> None:
        self.status = pages.html_block("", 420, name="status")
        self.failures = pages.html_block("", name="failures")
        self.stages = pages.html_block("", name="stages")
        self.workers = pages.html_block("", name="workers")
        bars_fig, self.bars = _progress_figure()
        self.bars_range: FactorRange = bars_fig.y_range
        self.lines = [
            _Curve("Work done", "core-seconds", pages.EFFECT),
            _Curve("Time left, for the stages known", "seconds", pages.RELATION),
            _Curve("Memory of workers, as far as known", "GB", pages.INK),
        ]
        self.held: list[tuple[float, float]] = []  # wall seconds of the run, memory in GB
        self.elements: list[UIElement] = [
            pages.page_grid(bars_fig, self.status),
            pages.section_heading("Workers"), self.workers,
            pages.section_heading("Stages: forecast and actual"), self.stages,
            pages.section_heading("History of this run"),
            pages.page_grid(*(each.fig for each in self.lines)),
            pages.section_heading("Failures"), self.failures,
        ]  # fmt: skip

    def show(self, pulse: StoreStatus) -> None:
        self.status.text = summary_html(_run_summary(pulse))
        self.failures.text = _failures_html(pulse)
        names = [each.name for each in pulse.stages]
        if list(self.bars_range.factors) != names[::-1]:
            self.bars_range.factors = names[::-1]
        self.bars.data = {
            "stage": names,
            "done": [each.fraction for each in pulse.stages],
            "all": [1.0 for _ in names],
            "said": [f"{each.done} of {each.blocks} blocks" for each in pulse.stages],
        }
        self.stages.text = table_html(STAGE_COLUMNS, [_stage_row(each) for each in pulse.stages])
        self.workers.text = table_html(
            WORKER_COLUMNS, [_worker_row(each) for each in pulse.workers]
        )
        work, left, memory = self.lines
        wall = [each[0] for each in pulse.history]
        work.draw(wall, [each[1] for each in pulse.history])
        left.draw(wall, [each[2] for each in pulse.history])
        held = [each.memory for each in pulse.workers if not math.isnan(each.memory)]
        if held and pulse.state == "running":
            if self.held and pulse.elapsed < self.held[-1][0]:
                self.held = []  # another run has begun
            self.held = [*self.held, (pulse.elapsed, sum(held) / 1e9)][-MAX_MEMORY_SAMPLES:]
            memory.draw([each[0] for each in self.held], [each[1] for each in self.held])


class _Curve:
    """A curve over wall time with axes that follow its points."""

    def __init__(self, title: str, y_label: str, colour: str) -> None:
        self.x: list[float] = []
        self.y: list[float] = []
        self.source = ColumnDataSource({"x": [], "y": []})
        self.fig = pages.empty_figure(
            title, "wall time (s)", y_label, size=(400, 260), toolbar_location=None,
            x_range=(0, 1), y_range=(0, 1),
        )  # fmt: skip
        self.fig.line("x", "y", source=self.source, line_color=colour, line_width=2)
        dots = self.fig.scatter("x", "y", source=self.source, size=4, color=colour)
        pages.add_hover(self.fig, [("wall time (s)", "@x"), (y_label, "@y")], dots)
        self.fig.visible = False  # until there is something to draw

    def draw(self, x: list[float], y: list[float]) -> None:
        if (x, y) == (self.x, self.y) or not x:
            return
        self.x, self.y = x, y
        self.fig.visible = True
        self.source.data = {"x": x, "y": y}
        start = x[0] if len(x) >= MAX_MEMORY_SAMPLES else 0.0
        self.fig.x_range.start, self.fig.x_range.end = start, max(x[-1], start + 1)
        self.fig.y_range.end = max(y) * 1.08 or 1.0


def _stage_row(each: StageStatus) -> list[str]:
    return [
        each.name,
        f"{each.done} of {each.blocks}",
        seconds_text(each.forecast),
        seconds_text(each.actual),
        f"{each.actual / each.forecast:.3g}" if min(each.actual, each.forecast) > 0 else "-",
        seconds_text(each.seconds_left) if each.seconds_left else "-",
    ]


def _worker_row(each: WorkerStatus) -> list[str]:
    ago = each.seconds_since_result
    return [
        each.name,
        each.activity,
        seconds_text(each.seconds_on_block) if not math.isnan(each.seconds_on_block) else "-",
        str(each.blocks),
        seconds_text(each.seconds),
        "-" if math.isnan(ago) else f"{seconds_text(max(ago, 0.0))} ago",
        "-" if math.isnan(each.memory) else f"{each.memory / 1e6:.0f} MB",
    ]


STAGE_COLUMNS = ("stage", "blocks", "forecast of one core", "taken", "ratio", "left")
WORKER_COLUMNS = (
    "worker", "computes now", "since", "blocks filled", "core time", "last receipt", "memory",
)  # fmt: skip


def _run_summary(pulse: StoreStatus) -> list[tuple[str, str]]:
    study = pulse.attrs.get("study", {})
    rows = [("store", pulse.url), ("state", f"{pulse.state} ({pulse.state_reason})")]
    if study:
        theory = study.get("theory")
        name = theory.get("name") if isinstance(theory, dict) else None
        axes = study.get("sweep")
        swept = f"swept over {', '.join(map(str, axes))}" if axes else None
        said = (study.get("compute"), name, swept)
        rows.insert(0, ("study", ", ".join(str(each) for each in said if each)))
    if pulse.state == "waiting":
        return rows
    rows.append(("elapsed", seconds_text(pulse.elapsed)))
    if pulse.state == "running":
        left = seconds_text(pulse.seconds_left)
        rows.append(("left", f"{left} for the stages known so far"))
    rows += [
        ("rate", f"{pulse.rate:.3g} core-seconds a second"),
        ("workers", str(len(pulse.workers))),
    ]
    held = [each.memory for each in pulse.workers if not math.isnan(each.memory)]
    if held:
        rows.append(("memory", f"{sum(held) / 1e6:.0f} MB, of {len(held)} worker(s)"))
    for each in pulse.partial_results:
        if not math.isnan(each.max_phi):
            so_far = " so far" if pulse.state == "running" else ""
            rows.append((f"best φ{so_far}", f"{each.max_phi:.6g} bits ({each.stage})"))
        if each.pairs:
            share = 100 * (1 - each.searched / each.pairs)
            what = f"{each.searched:,} of {each.pairs:,} purviews searched, {share:.1f} % excluded"
            rows.append(("pruning", f"{what} ({each.stage})"))
    return rows


def _failures_html(pulse: StoreStatus) -> str:
    if not pulse.failures:
        return "<p>None.</p>"
    shown = "".join(f"<li>{escape(each)}</li>" for each in pulse.failures[:50])
    more = len(pulse.failures) - 50
    rest = f"<p>and {more} more</p>" if more > 0 else ""
    head = f"<p>{len(pulse.failures)} block(s) in quarantine: given up until the run is repeated."
    return f"{head}</p><ul>{shown}</ul>{rest}"


def _progress_figure() -> tuple[figure, ColumnDataSource]:
    empty: dict[str, list[Any]] = {name: [] for name in ("stage", "done", "all", "said")}
    source = ColumnDataSource(empty, name="progress")
    fig = pages.empty_figure(
        "Stages, by predicted cost", "part done", size=(660, 330), x_range=(0, 1.42),
        y_range=FactorRange(), toolbar_location=None,
    )  # fmt: skip
    fig.grid.visible = False
    fig.xaxis.ticker = [0, 0.25, 0.5, 0.75, 1]
    fig.hbar(
        "stage", right="all", height=0.55, fill_color=pages.FAINT, line_color=None, source=source
    )
    fig.hbar("stage", right="done", height=0.55, color=pages.EFFECT, source=source)
    fig.text(
        1.02, "stage", text="said", source=source, text_baseline="middle", text_font_size="11px"
    )
    return fig, source
