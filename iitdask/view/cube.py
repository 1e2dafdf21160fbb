"""The cube of a sweep: a heatmap over two axes, and profiles along each through one cell."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column, row
from bokeh.models import (
    AdaptiveTicker,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    CustomJSTickFormatter,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Select,
    UIElement,
)
from bokeh.plotting import figure

from iitdask.result.profile import cube_rows
from iitdask.view.facts import facts_html
from iitdask.view.sheet import heading, text
from iitdask.view.theme import EFFECT, INK, PHI, plot

__all__ = ["cube_panels"]

MOST = 4_000_000
"""Numbers that go into the page."""
FIRST = ("phi", "big_phi", "alpha")
LEFT_OUT = ("point",)
WORDS = ("status", "message", "reason")


def cube_panels(doc: Document, data: xr.Dataset) -> list[UIElement]:
    """Show a sweep: choose what is drawn over which axes, select a cell to see it along them."""
    dims = [{"name": str(dim), "labels": _labels(data, str(dim))} for dim in data["status"].dims]
    names, left_out = _variables(data)
    labels = ColumnDataSource({"x": [[]], "y": [[]]})
    heat = ColumnDataSource({k: [] for k in ("x", "y", "value", "xname", "yname")}, name="heat")
    rows = ColumnDataSource({"place": [], "value": [], "mark": []}, name="rows")
    columns = ColumnDataSource({"place": [], "value": [], "mark": []}, name="columns")
    mapper = LinearColorMapper(palette=PHI, low=0, high=1, nan_color="#BDBDBD")
    figures = {"rows": _profile(rows, labels, "x")}
    if len(dims) > 1:
        figures |= {"heat": _heat(heat, mapper, labels), "columns": _profile(columns, labels, "y")}
    picks = _picks(dims, names)
    note = text("", 380, name="cell")
    args = {
        "dims": dims,
        "values": {name: data[name].values.astype(np.float32).ravel() for name in names},
        "units": {name: _unit(data[name]) for name in names},
        "words": {name: _words(data[name].values) for name in WORDS if name in data},
        "picks": picks, "heat": heat, "rows": rows, "columns": columns, "figures": figures,
        "mapper": mapper, "labels": labels, "note": note,
    }  # fmt: skip
    _link(doc, args)
    about = "Select a cell or a dot: the profiles go through it. Grey cells have no numbers."
    if left_out:
        about += f" Left out of this page for their size: {', '.join(left_out)}."
    controls = [each for each in (picks["variable"], picks["x"], picks["y"], picks["over"]) if each]
    controls += [each for each in picks["rest"] if each]
    plots = [figures[name] for name in ("heat", "rows", "columns") if name in figures]
    return [
        text(facts_html(cube_rows(data))),
        heading("Sweep", about),
        row(*controls[:6]),
        *([row(*controls[6:])] if len(controls) > 6 else []),
        row(plots[0], *([column(*plots[1:])] if len(plots) > 1 else []), note),
    ]


def _labels(data: xr.Dataset, dim: str) -> list[str]:
    values = data[dim].values if dim in data.coords else np.arange(data.sizes[dim])
    return [f"{v:.6g}" if isinstance(v, float) else str(v) for v in values.tolist()]


def _variables(data: xr.Dataset) -> tuple[list[str], list[str]]:
    """Names of what can be drawn, the main ones first, and of what is too much for a page."""
    shape = data["status"].shape
    found = [
        str(name)
        for name, value in data.data_vars.items()
        if value.dtype.kind in "fiu" and value.shape == shape and name not in LEFT_OUT
    ]
    found.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    room = max(1, MOST // max(1, data["status"].size))
    return found[:room], found[room:]


def _unit(values: xr.DataArray) -> str:
    unit = str(values.attrs.get("units", ""))
    return {"bit": "bits", "count": ""}.get(unit, unit)


def _words(values: Any) -> dict[str, Any]:
    texts, at = np.unique(np.asarray(values).astype(str).ravel(), return_inverse=True)
    return {"texts": texts.tolist(), "at": at.astype(np.int32)}


def _picks(dims: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Menus: what is drawn, over which axes, and what becomes of the others."""
    axes = [dim["name"] for dim in dims]
    longest = sorted(range(len(dims)), key=lambda k: -len(dims[k]["labels"]))
    first = axes[longest[0]]
    several = len(dims) > 1
    rest = [
        Select(title=f"{dim['name']} (where not drawn)", options=["all", *dim["labels"]],
               value=dim["labels"][0] if len(dims) > 2 else "all", width=170)
        if len(dims) > 2 or several else None
        for dim in dims
    ]  # fmt: skip
    return {
        "variable": Select(title="Variable", options=names, value=names[0], width=210),
        "x": Select(title="Across", options=axes, value=first, width=150),
        "y": Select(title="Down", options=axes, value=axes[longest[1]], width=150)
        if several
        else None,
        "over": Select(title="Of all", options=["mean", "largest"], value="mean", width=110)
        if several
        else None,
        "rest": rest,
    }


def _ticks(fig: figure, labels: ColumnDataSource, which: str, axis: str) -> None:
    chosen = fig.xaxis if axis == "x" else fig.yaxis
    chosen.ticker = AdaptiveTicker(base=10, mantissas=[1, 2, 5], min_interval=1)
    chosen.formatter = CustomJSTickFormatter(
        args={"labels": labels, "which": which},
        code="const names = labels.data[which][0]; return names[tick] ?? ''",
    )
    chosen.minor_tick_line_color = None


def _heat(source: ColumnDataSource, mapper: LinearColorMapper, labels: ColumnDataSource) -> figure:
    fig = plot(
        "Heatmap",
        " ",
        " ",
        width=520,
        height=470,
        x_range=Range1d(-0.5, 0.5),
        y_range=Range1d(-0.5, 0.5),
    )
    fig.grid.visible = False
    cells = fig.rect(
        "x", "y", width=1, height=1, source=source, line_color=None,
        fill_color={"field": "value", "transform": mapper}, nonselection_fill_alpha=1.0,
        selection_line_color="#E6007E", selection_line_width=3,
    )  # fmt: skip
    tips = [("across", "@xname"), ("down", "@yname"), ("value", "@value{0.000000}")]
    fig.add_tools(HoverTool(renderers=[cells], tooltips=tips))
    fig.add_layout(ColorBar(color_mapper=mapper, width=12), "right")
    _ticks(fig, labels, "x", "x")
    _ticks(fig, labels, "y", "y")
    fig.xaxis.major_label_orientation = 0.9
    return fig


def _profile(source: ColumnDataSource, labels: ColumnDataSource, which: str) -> figure:
    fig = plot(
        "Profile",
        " ",
        " ",
        width=370,
        height=235,
        x_range=Range1d(-0.5, 0.5),
        y_range=Range1d(0, 1),
    )
    fig.line("place", "value", source=source, line_color=EFFECT, line_width=1.5)
    dots = fig.scatter("place", "value", source=source, size=7, color=EFFECT)
    fig.scatter(
        "place", "value", source=source, size=13, fill_color=None, line_color=INK, line_width=2.5,
        line_alpha="mark",
    )  # fmt: skip
    fig.add_tools(HoverTool(renderers=[dots], tooltips=[("value", "@value{0.000000}")]))
    _ticks(fig, labels, which, "x")
    fig.xaxis.major_label_orientation = 0.9
    return fig


def _link(doc: Document, args: dict[str, Any]) -> None:
    code = files("iitdask.view").joinpath("cube.js").read_text(encoding="utf-8")
    redraw = CustomJS(args={**args, "redraw": True}, code=code)
    follow = CustomJS(args={**args, "redraw": False}, code=code)
    picks, heat = args["picks"], args["heat"]
    for each in (picks["variable"], picks["x"], picks["y"], picks["over"], *picks["rest"]):
        if each is not None:
            each.js_on_change("value", redraw)
    heat.selected.js_on_change("indices", follow)
    for name, step in (
        ("rows", "Math.floor(now / nx) * nx + at"),
        ("columns", "at * nx + now % nx"),
    ):
        args[name].selected.js_on_change(
            "indices",
            CustomJS(
                args={"heat": heat, "labels": args["labels"]},
                code=f"""
                if (!cb_obj.indices.length) return
                const nx = labels.data.x[0].length, now = heat.selected.indices[0] ?? 0
                const at = cb_obj.indices[0]
                heat.selected.indices = [{step}]
                """,
            ),
        )
    doc.js_on_event(DocumentReady, redraw)
