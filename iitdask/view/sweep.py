"""Figures of sweeps: a number over one axis as lines, over two as a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper
from bokeh.plotting import figure

from iitdask.errors import InputError
from iitdask.view.theme import FAINT, GROUPS, PHI, legend_below, plot

__all__ = ["sweep"]

NAMES = {"phi": "φ_s", "big_phi": "Φ"}
MOST_LINES = 8
MOST_CELLS = 250_000


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
    name = variable or next((v for v in ("big_phi", "phi", "alpha") if v in cube), "phi")
    if name not in cube or cube[name].dtype.kind not in "fiub":
        known = ", ".join(str(v) for v in cube.data_vars if cube[v].dtype.kind in "fiu")
        raise InputError(f"variable: expected one of {known}, got {name!r}")
    x = x or max(cube.sizes, key=lambda dim: cube.sizes[dim])  # type: ignore[assignment]
    for axis in filter(None, (x, y, by, *where)):
        if axis not in cube.sizes:
            known = ", ".join(map(str, cube.sizes))
            raise InputError(f"axis: expected one of {known}, got {axis!r}")
    values = cube[name].where(cube["status"] == "done") if "status" in cube else cube[name]
    values = _held(values, where)
    others = [dim for dim in values.dims if dim not in (x, y, by)]
    values = values.mean(others, skipna=True) if others else values
    unit = cube[name].attrs.get("units", "")
    label = NAMES.get(name, name) + (f" ({unit}s)" if unit == "bit" else "")
    if y is None:
        return _lines(values, str(x), by, label, size)
    return _map(values, str(x), y, label, size)


def _held(values: xr.DataArray, where: dict[str, Any]) -> xr.DataArray:
    try:
        return values.sel(where)
    except (KeyError, ValueError) as error:
        raise InputError(f"axis: there is no such value: {where}") from error


def _text(values: xr.DataArray, dim: str) -> list[str]:
    labels = values[dim].values if dim in values.coords else np.arange(values.sizes[dim])
    return [f"{v:.6g}" if isinstance(v, float) else str(v) for v in labels.tolist()]


def _is_numeric(values: xr.DataArray, dim: str) -> bool:
    return dim in values.coords and values[dim].dtype.kind in "fiu"


def _map(values: xr.DataArray, x: str, y: str, label: str, size: tuple[int, int]) -> figure:
    grid = values.transpose(y, x).values
    if grid.size > MOST_CELLS:
        raise InputError(f"a map of {grid.size} cells is too large to be drawn; hold some axes")
    across, down = _text(values, x), _text(values, y)
    fig = plot(
        f"{label.split(' (', maxsplit=1)[0]} by {x} and {y}",
        x,
        y,
        x_range=across,
        y_range=down,
        width=size[0],
        height=size[1],
    )
    there = grid[np.isfinite(grid)]
    low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 1.0)
    mapper = LinearColorMapper(
        palette=PHI, low=min(low, 0.0), high=high if high > low else low + 1.0, nan_color=FAINT
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
    fig.add_tools(HoverTool(tooltips=[(x, "@x"), (y, "@y"), (label, "@value")]))
    fig.xaxis.major_label_orientation = 0.9
    return fig


def _lines(
    values: xr.DataArray, x: str, by: str | None, label: str, size: tuple[int, int]
) -> figure:
    numeric = _is_numeric(values, x)
    places: Any = values[x].values.astype(float) if numeric else _text(values, x)
    more = {} if numeric else {"x_range": places}
    title = f"{label.split(' (', maxsplit=1)[0]} by {x}" + (f", a line for each {by}" if by else "")
    fig = plot(title, x, label, width=size[0], height=size[1], **more)
    names = _text(values, by) if by else [label]
    if len(names) > MOST_LINES:
        raise InputError(f"by: expected at most {MOST_LINES} lines, {by} has {len(names)} values")
    entries = []
    for k, name in enumerate(names):
        line = (values.isel({by: k}) if by else values).transpose(x).values
        source = ColumnDataSource({"x": places, "y": line, "line": [name] * len(line)})
        colour = GROUPS[k % len(GROUPS)]
        drawn = [
            fig.line("x", "y", source=source, color=colour, line_width=2),
            fig.scatter("x", "y", source=source, color=colour, size=6),
        ]
        entries.append((f"{by} {name}" if by else name, drawn))
    fig.add_tools(HoverTool(tooltips=[(x, "@x"), (label, "@y"), *([(by, "@line")] if by else [])]))
    if by:
        legend_below(fig, entries)
    if not numeric:
        fig.xaxis.major_label_orientation = 0.9
    return fig
