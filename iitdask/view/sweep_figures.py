"""Sweeps: a variable over one axis as lines, over two as a map, and the page of a cube."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column
from bokeh.models import (
    AdaptiveTicker,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    CustomJSTickFormatter,
    LinearColorMapper,
    UIElement,
)
from bokeh.plotting import figure

from iitdask.errors import InputError, quote
from iitdask.result.cube import axis_labels, cube_summary
from iitdask.view import pages
from iitdask.view.accessor import summary_html

VARIABLE_NAMES = {"phi": "φ_s", "big_phi": "Φ"}
MAX_LINES = 8
MAX_MAP_CELLS = 250_000


def sweep(
    cube: xr.Dataset,
    x: str | None = None,
    y: str | None = None,
    variable: str | None = None,
    *,
    by: str | None = None,
    size: tuple[int, int] = (560, 380),
    **where: Any,
) -> figure:
    """Draw a number of a sweep over one or two of its axes.

    Parameters
    ----------
    cube : Dataset
        What ``iitdask.sweep`` returned, or ``xarray.open_zarr`` read from its store.
    x, y : str, optional
        Axes. With both a map; with `x` alone lines. Default: the longest axis is `x`.
    variable : str, optional
        What is drawn; ``big_phi`` where there is one, else ``phi``.
    by : str, optional
        Axis of which every value is a line.
    size : tuple of int
        Pixels.
    **where
        Values to hold other axes at. Axes that are not named are averaged over, points
        without a number left out.

    Raises
    ------
    InputError
        There is no such axis, value or variable.

    Examples
    --------
    >>> import iitdask as iit
    >>> cube = iit.sweep({"state": "all", "noise": [0, 0.1]}, "basic")
    >>> iit.plot.sweep(cube, x="state", y="noise").title.text
    'φ_s by state and noise'
    """
    name = _chosen_variable(cube, variable)
    x = x or max(cube.sizes, key=lambda dim: cube.sizes[dim])  # type: ignore[assignment]
    values = _held_values(cube, name, where, (x, y, by))
    others = [dim for dim in values.dims if dim not in (x, y, by)]
    values = values.mean(others, skipna=True) if others else values
    label = VARIABLE_NAMES.get(name, name) + _unit_text(cube, name)
    if y is None:
        return _lines(values, str(x), by, label, size)
    return _map(values, str(x), y, label, size)


def parallel(
    cube: xr.Dataset,
    variable: str | None = None,
    *,
    size: tuple[int, int] = (760, 420),
    **where: Any,
) -> figure:
    """Draw every point of a sweep as a line through all its axes and a number (parallel axes).

    Parameters
    ----------
    cube : Dataset
        What ``iitdask.sweep`` returned, or ``xarray.open_zarr`` read from its store.
    variable : str, optional
        The number; ``big_phi`` where there is one, else ``phi``.
    size : tuple of int
        Pixels.
    **where
        Values to hold axes at, which are then not drawn.

    Returns
    -------
    figure
        A line for each point that has a number, at most the 3,000 of the largest.

    Raises
    ------
    InputError
        There is no such axis, value or variable.

    Examples
    --------
    >>> import iitdask as iit
    >>> cube = iit.sweep({"state": "all", "units": ["ABC", "AB"], "noise": [0, 0.1]}, "basic")
    >>> iit.plot.parallel(cube, noise=0).title.text
    'Every point with a number: 9'
    """
    name = _chosen_variable(cube, variable)
    values = _held_values(cube, name, where, ())
    numbers = values.values.ravel().astype(float)
    finite = np.flatnonzero(np.isfinite(numbers))
    order = finite[np.argsort(numbers[finite], kind="stable")]
    chosen = order[-MAX_PARALLEL_LINES:]
    low = min(0.0, float(numbers[order[0]])) if len(order) else 0.0
    high = float(numbers[order[-1]]) if len(order) else 1.0
    dims = [{"name": str(dim), "labels": axis_labels(values, str(dim))} for dim in values.dims]
    places = np.array(np.unravel_index(chosen, values.shape)).T
    lasts = np.array([max(1, length - 1) for length in values.shape])
    heights = np.where(np.array(values.shape) > 1, places / lasts, 0.5)
    span = (high - low) or 1.0
    mapper = LinearColorMapper(palette=pages.PHI, low=low, high=low + span)
    lines, fig, ends = _parallel_axes(dims, mapper, size)
    lines.data = {
        "xs": [[*range(len(dims) + 1)]] * len(chosen),
        "ys": np.column_stack([heights, (numbers[chosen] - low) / span]).tolist(),
        "value": numbers[chosen], "alpha": np.full(len(chosen), 0.85), "point": chosen,
        "said": [
            ", ".join(f"{dim['name']} {dim['labels'][k]}" for dim, k in zip(dims, row, strict=True))
            for row in places.tolist()
        ],
    }  # fmt: skip
    label = VARIABLE_NAMES.get(name, name) + _unit_text(cube, name)
    ends.data = {**ends.data, "text": [f"{low:.4g}", f"{high:.4g}", label]}
    fig.title.text = f"Every point with a number: {len(order):,}"
    if len(order) > len(chosen):
        fig.title.text = f"The {len(chosen):,} points of largest {name}, of {len(order):,}"
    return fig


def _chosen_variable(cube: xr.Dataset, variable: str | None) -> str:
    name = variable or next((v for v in ("big_phi", "phi", "alpha") if v in cube), "phi")
    if name not in cube or cube[name].dtype.kind not in "fiub":
        known = ", ".join(str(v) for v in cube.data_vars if cube[v].dtype.kind in "fiu")
        raise InputError(f"variable: expected one of {known}, got {quote(name)}")
    return name


def _held_values(
    cube: xr.Dataset, name: str, where: dict[str, Any], axes: tuple[str | None, ...]
) -> xr.DataArray:
    """Return a variable with some axes held at a value, nan where a point has no number."""
    for axis in filter(None, (*axes, *where)):
        if axis not in cube.sizes:
            known = ", ".join(map(str, cube.sizes))
            raise InputError(f"axis: expected one of {known}, got {quote(axis)}")
    values = cube[name].where(cube["status"] == "done") if "status" in cube else cube[name]
    try:
        return values.sel(where)
    except (KeyError, ValueError) as error:
        raise InputError(f"axis: there is no such value: {where}") from error


def _unit_text(cube: xr.Dataset, name: str) -> str:
    return " (bits)" if cube[name].attrs.get("units") == "bit" else ""


def _map(values: xr.DataArray, x: str, y: str, label: str, size: tuple[int, int]) -> figure:
    grid = values.transpose(y, x).values
    if grid.size > MAX_MAP_CELLS:
        raise InputError(f"a map of {grid.size} cells is too large to be drawn; hold some axes")
    across, down = axis_labels(values, x), axis_labels(values, y)
    fig = pages.empty_figure(
        f"{label.split(' (', maxsplit=1)[0]} by {x} and {y}", x, y, x_range=across, y_range=down,
        size=size,
    )  # fmt: skip
    there = grid[np.isfinite(grid)]
    low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 1.0)
    mapper = LinearColorMapper(
        palette=pages.PHI,
        low=min(low, 0.0),
        high=high if high > low else low + 1.0,
        nan_color=pages.FAINT,
    )
    source = ColumnDataSource(
        {
            "x": np.tile(np.array(across, object), len(down)).tolist(),
            "y": np.repeat(np.array(down, object), len(across)).tolist(),
            "value": grid.ravel(),
        }
    )
    colour: Any = {"field": "value", "transform": mapper}
    fig.rect("x", "y", 1, 1, source=source, fill_color=colour, line_color=None)
    fig.add_layout(ColorBar(color_mapper=mapper, title=label), "right")
    pages.add_hover(fig, [(x, "@x"), (y, "@y"), (label, "@value")])
    fig.xaxis.major_label_orientation = 0.9
    return fig


def _lines(
    values: xr.DataArray, x: str, by: str | None, label: str, size: tuple[int, int]
) -> figure:
    numeric = x in values.coords and values[x].dtype.kind in "fiu"
    places: Any = values[x].values.astype(float) if numeric else axis_labels(values, x)
    more = {} if numeric else {"x_range": places}
    title = f"{label.split(' (', maxsplit=1)[0]} by {x}" + (f", a line for each {by}" if by else "")
    fig = pages.empty_figure(title, x, label, size=size, **more)
    names = axis_labels(values, by) if by else [label]
    if len(names) > MAX_LINES:
        raise InputError(f"by: expected at most {MAX_LINES} lines, {by} has {len(names)} values")
    entries = []
    for k, name in enumerate(names):
        line = (values.isel({by: k}) if by else values).transpose(x).values
        source = ColumnDataSource({"x": places, "y": line, "line": [name] * len(line)})
        colour = pages.GROUPS[k % len(pages.GROUPS)]
        drawn = [
            fig.line("x", "y", source=source, color=colour, line_width=2),
            fig.scatter("x", "y", source=source, color=colour, size=6),
        ]
        entries.append((f"{by} {name}" if by else name, drawn))
    pages.add_hover(fig, [(x, "@x"), (label, "@y"), *([(by, "@line")] if by else [])])
    if by:
        pages.legend_below(fig, entries)
    if not numeric:
        fig.xaxis.major_label_orientation = 0.9
    return fig


MAX_PAGE_NUMBERS = 4_000_000  # Numbers that go into the page
MAX_EXACT_NUMBERS = 500_000  # Numbers up to which all their digits do
MAIN_VARIABLES = ("phi", "big_phi", "alpha")
UNIT_TEXTS = {"bit": "bits", "count": ""}
HIDDEN_VARIABLES = ("point",)
MAX_PARALLEL_LINES, MAX_PARALLEL_TICKS = 3000, 16  # Lines, and labels of each of their axes
PARALLEL_NOTE = (
    "Each line is a point, coloured by its value on the last axis; strong lines are those that the "
    "menus leave. Select a line to see its point above."
)
PROFILE_LAYOUT: dict[str, Any] = {
    "sizing_mode": "stretch_width", "max_width": 560, "styles": {"flex": "1 1 360px"},
}  # fmt: skip
TEXT_VARIABLES = ("status", "message", "reason")


def cube_panels(doc: Document, data: xr.Dataset) -> list[UIElement]:
    """Show a sweep: choose what is drawn over which axes, select a cell to see it along them."""
    dims = [
        {
            "name": str(dim),
            "labels": axis_labels(data, str(dim)),
            "ordered": dim in data.coords and data[dim].dtype.kind in "fiu",
        }
        for dim in data["status"].dims
    ]
    names, left_out = _drawable_variables(data)
    about = pages.html_block(summary_html(cube_summary(data)))
    if not (data["status"] == "done").any():
        return [about, pages.section_heading("Sweep", "No point of this sweep has numbers.")]
    labels = ColumnDataSource({"x": [[]], "y": [[]]})
    heat = ColumnDataSource({k: [] for k in ("x", "y", "value", "xname", "yname")}, name="heat")
    rows = ColumnDataSource({"place": [], "value": [], "mark": []}, name="rows")
    columns = ColumnDataSource({"place": [], "value": [], "mark": []}, name="columns")
    mapper = LinearColorMapper(palette=pages.PHI, low=0, high=1, nan_color=pages.NO_DATA)
    figures = {"rows": _profile(rows, labels, "x")}
    if len(dims) > 1:
        figures["heat"] = _heatmap(heat, mapper, labels)
        figures["columns"] = _profile(columns, labels, "y")
    picks = _menus(dims, names)
    units = [(name, str(data[name].attrs.get("units", ""))) for name in names]
    note = pages.html_block("", 280, name="cell", tags=[pages.SPOKEN])
    lines, parallel, ends = _parallel_axes(dims, mapper) if len(dims) > 2 else (None, None, None)
    is_small = len(names) * data["status"].size <= MAX_EXACT_NUMBERS
    dtype = np.float64 if is_small else np.float32
    args = {
        "dims": dims,
        "values": {name: data[name].values.astype(dtype).ravel() for name in names},
        "units": {name: UNIT_TEXTS.get(unit, unit) for name, unit in units},
        "words": {name: _text_codes(data[name].values) for name in TEXT_VARIABLES if name in data},
        "picks": picks, "heat": heat, "rows": rows, "columns": columns, "figures": figures,
        "mapper": mapper, "labels": labels, "note": note, "lines": lines, "ends": ends,
        "most": MAX_PARALLEL_LINES,
    }  # fmt: skip
    if parallel is not None:
        figures["parallel"] = parallel
    _link_cube(doc, args)
    how = "Select a cell or a dot: the profiles go through it. Grey cells have no numbers."
    if left_out:
        how += f" Left out of this page for their size: {', '.join(left_out)}."
    menus = [picks["variable"], picks["x"], picks["y"], picks["over"], *picks["rest"]]
    plots = [figures[name] for name in ("heat", "rows", "columns") if name in figures]
    profiles = [column(*plots[1:], **PROFILE_LAYOUT)] if len(plots) > 1 else []
    parts = [
        about,
        pages.section_heading("Sweep", how),
        pages.page_grid(*filter(None, menus)),
        pages.page_grid(plots[0], *profiles, note),
    ]
    if parallel is not None:
        parts += [pages.section_heading("All axes", PARALLEL_NOTE), parallel]
    columns_shown = [
        pages.Column("xname", "across", 120, "text"), pages.Column("yname", "down", 120, "text"),
        pages.Column("value", "value", 110, "number"),
    ]  # fmt: skip
    table = pages.data_table(heat, columns_shown, height=260, name="cells-table", first="value")
    return [*parts, pages.section_heading("Cells with a number"), table]


def _drawable_variables(data: xr.Dataset) -> tuple[list[str], list[str]]:
    """Names of what can be drawn, the main ones first, and of what is too much for a page."""
    shape = data["status"].shape
    found = [
        str(name)
        for name, value in data.data_vars.items()
        if value.dtype.kind in "fiu" and value.shape == shape and name not in HIDDEN_VARIABLES
    ]
    found.sort(key=lambda name: [*MAIN_VARIABLES, name].index(name))
    room = max(1, MAX_PAGE_NUMBERS // max(1, data["status"].size))
    return found[:room], found[room:]


def _text_codes(values: Any) -> dict[str, Any]:
    texts, at = np.unique(np.asarray(values).astype(str).ravel(), return_inverse=True)
    return {"texts": texts.tolist(), "at": at.astype(np.int32)}


def _menus(dims: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Return the menus: what is drawn, over which axes, and how the other axes are reduced."""
    axes = [dim["name"] for dim in dims]
    longest = sorted(axes, key=lambda name: -len(dims[axes.index(name)]["labels"]))
    menus: dict[str, Any] = {
        "variable": pages.menu("Variable", names, 210, value=names[0]),
        "x": pages.menu("Across", axes, 150, value=longest[0]),
        "y": None,
        "over": None,
        "rest": [None] * len(dims),
    }
    if len(dims) > 1:
        menus["y"] = pages.menu("Down", axes, 150, value=longest[1])
        menus["over"] = pages.menu("Of all", ["mean", "largest"], 110, value="mean")
        for k, dim in enumerate(dims):
            value = dim["labels"][0] if len(dims) > 2 else "all"
            options = ["all", *dim["labels"]]
            menus["rest"][k] = pages.menu(dim["name"], options, 150, value=value)
    return menus


def _parallel_axes(
    dims: list[dict[str, Any]], mapper: LinearColorMapper, size: tuple[int, int] = (1180, 420)
) -> tuple[ColumnDataSource, figure, ColumnDataSource]:
    """Return a figure with an axis for each dimension and one for the value: a line is a point.

    The page's script fills the source of the lines, and what stands at the ends of the last axis.
    """
    count = len(dims)
    fig = pages.empty_figure(
        "Every point", size=size, x_range=(-0.35, count + 0.45), y_range=(-0.08, 1.14),
        name="parallel-figure",
    )  # fmt: skip
    fig.axis.visible, fig.grid.visible = False, False
    empty: dict[str, list[Any]] = {k: [] for k in ("xs", "ys", "value", "alpha", "point", "said")}
    lines = ColumnDataSource(empty, name="lines")
    colour: Any = {"field": "value", "transform": mapper}
    look = {"line_width": 2, "nonselection_line_alpha": "alpha", "selection_line_alpha": "alpha"}
    drawn = fig.multi_line(
        "xs", "ys", source=lines, line_color=colour, line_alpha="alpha", **look,
        hover_line_alpha=1.0,
    )  # fmt: skip
    pages.add_hover(fig, [("point", "@said"), ("value", "@value{0.000000}")], drawn)
    every = range(count + 1)
    fig.segment([*every], 0, [*every], 1, line_color=pages.INK)
    names = [*(str(dim["name"]) for dim in dims), ""]
    ends = ColumnDataSource({"x": [count] * 3, "y": [0, 1, 1.06], "text": ["", "", ""]})
    look = {
        "text_color": pages.INK, "text_font_size": "11px", "background_fill_color": "white",
        "background_fill_alpha": 0.8,
    }  # fmt: skip
    bold = {**look, "text_font_style": "bold", "text_align": "center"}
    fig.text([*every], 1.06, text=names, **bold)
    fig.text("x", "y", text="text", source=ends, x_offset=6, text_baseline="middle", **look)
    for k, dim in enumerate(dims):
        labels, last = dim["labels"], max(1, len(dim["labels"]) - 1)
        step = -(-len(labels) // MAX_PARALLEL_TICKS)
        at = [j / last if len(labels) > 1 else 0.5 for j in range(0, len(labels), step)]
        fig.text(
            [k] * len(at), at, text=labels[::step], x_offset=-6, text_align="right",
            text_baseline="middle", **look,
        )  # fmt: skip
    return lines, fig, ends


def _ticks(fig: figure, labels: ColumnDataSource, which: str, axis: str) -> None:
    chosen = fig.xaxis if axis == "x" else fig.yaxis
    chosen.ticker = AdaptiveTicker(base=10, mantissas=[1, 2, 5], min_interval=1)
    chosen.formatter = CustomJSTickFormatter(
        args={"labels": labels, "which": which},
        code="const names = labels.data[which][0]; return names[tick] ?? ''",
    )
    chosen.minor_tick_line_color = None


def _heatmap(
    source: ColumnDataSource, mapper: LinearColorMapper, labels: ColumnDataSource
) -> figure:
    fig = pages.empty_figure(
        "Heatmap",
        " ",
        " ",
        size=(480, 470),
        x_range=(-0.5, 0.5),
        y_range=(-0.5, 0.5),
        name="heat-figure",
    )
    fig.grid.visible = False
    cells = fig.rect(
        "x", "y", width=1, height=1, source=source, line_color=None,
        fill_color={"field": "value", "transform": mapper}, nonselection_fill_alpha=1.0,
        selection_line_color=pages.HIGHLIGHT, selection_line_width=3,
    )  # fmt: skip
    tips = [("across", "@xname"), ("down", "@yname"), ("value", "@value{0.000000}")]
    pages.add_hover(fig, tips, cells)
    fig.add_layout(ColorBar(color_mapper=mapper, width=12), "right")
    _ticks(fig, labels, "x", "x")
    _ticks(fig, labels, "y", "y")
    fig.xaxis.major_label_orientation = 0.9
    return fig


def _profile(source: ColumnDataSource, labels: ColumnDataSource, which: str) -> figure:
    fig = pages.empty_figure(
        "Profile", " ", " ", size=(360, 235), x_range=(-0.5, 0.5), y_range=(0, 1)
    )
    fig.line("place", "value", source=source, line_color=pages.EFFECT, line_width=1.5)
    dots = fig.scatter("place", "value", source=source, size=7, color=pages.EFFECT)
    fig.scatter(
        "place", "value", source=source, size=13, fill_color=None, line_color=pages.INK,
        line_width=2.5, line_alpha="mark",
    )  # fmt: skip
    pages.add_hover(fig, [("value", "@value{0.000000}")], dots)
    _ticks(fig, labels, which, "x")
    fig.xaxis.major_label_orientation = 0.9
    return fig


SELECT_POINT = """
if (!cb_obj.indices.length) return
let at = lines.data.point[cb_obj.indices[0]]
const place = []
for (let k = dims.length - 1; k >= 0; k--) {
  place[k] = at % dims[k].labels.length
  at = Math.floor(at / dims[k].labels.length)
}
dims.forEach((dim, k) => {
  if (picks.rest[k] && dim.name !== picks.x.value && dim.name !== picks.y.value)
    picks.rest[k].value = dim.labels[place[k]]
})
const axis = (name) => dims.findIndex((dim) => dim.name === name)
const x = axis(picks.x.value), y = axis(picks.y.value)
heat.selected.indices = [place[x] + place[y] * dims[x].labels.length]
cb_obj.indices = []
"""


def _link_cube(doc: Document, args: dict[str, Any]) -> None:
    code = pages.script("cube.js")
    redraw = CustomJS(args={**args, "redraw": True}, code=code)
    follow = CustomJS(args={**args, "redraw": False}, code=code)
    picks, heat = args["picks"], args["heat"]
    for each in (picks["variable"], picks["x"], picks["y"], picks["over"], *picks["rest"]):
        if each is not None:
            each.js_on_change("value", redraw)
    heat.selected.js_on_change("indices", follow)
    if args["lines"] is not None:
        choose = CustomJS(args=args, code=SELECT_POINT)
        args["lines"].selected.js_on_change("indices", choose)
    steps = {"rows": "Math.floor(now / nx) * nx + at", "columns": "at * nx + now % nx"}
    for name, step in steps.items():
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
