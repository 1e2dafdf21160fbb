"""Phi over mechanism and purview as an image, with the pairs that bounds excluded."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    CustomJSHover,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    Range1d,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from iitdask.view.theme import INK, MUTED, PHI, plot

__all__ = ["add_places", "landscape"]

Array = NDArray[Any]
SIDES = ("cause", "effect")
UNCONNECTED = "#BDBDBD"


def _order(n: int) -> Array:
    """Masks 1 .. 2**n - 1 by number of units, then by units."""
    masks = np.arange(1, 1 << n)
    return masks[np.lexsort((masks, np.bitwise_count(masks)))]


def _names(masks: Array, labels: list[str]) -> list[str]:
    glue = "" if all(len(label) == 1 for label in labels) else ","
    return [
        glue.join(label for i, label in enumerate(labels) if mask >> i & 1)
        for mask in masks.tolist()
    ]


def add_places(source: ColumnDataSource, data: xr.Dataset) -> None:
    """Give each distinction its place in the maps, so that a click there selects it."""
    n = data.sizes["unit"]
    masks = _order(n)
    at = np.zeros(1 << n, int)
    at[masks] = np.arange(len(masks))
    weights = 1 << np.arange(n)
    source.data["map_y"] = at[data["mechanism_units"].values @ weights] + 0.5
    for side in SIDES:
        source.data[f"map_{side}"] = at[data[f"purview_{side}"].values @ weights] + 0.5


def landscape(
    data: xr.Dataset,
    labels: list[str],
    side: str,
    source: ColumnDataSource | None = None,
    size: int = 440,
) -> figure:
    """Draw phi of every pair of one direction.

    Parameters
    ----------
    data : Dataset
        Node ``/landscape`` of an exhibit.
    labels : list of str
        Names of the units.
    side : {"cause", "effect"}
        Which of the two.
    source : ColumnDataSource, optional
        Distinctions with their places, see :func:`add_places`.
    size : int
        Pixels.
    """
    row = SIDES.index(side)
    masks = _order(len(labels))
    grid = np.ix_(masks - 1, masks - 1)
    phi = data["pair_phi"].values[row][grid].astype(np.float32)
    outcome = data["outcome"].values[row][grid]
    names, count = _names(masks, labels), len(masks)
    fig = plot(
        f"φ of every mechanism over every {side} purview",
        f"{side} purview",
        "mechanism",
        frame_width=size,
        frame_height=size,
        x_range=Range1d(0, count),
        y_range=Range1d(count, 0),
    )
    fig.grid.visible = False
    mapper = _colours(phi)
    place = {"x": [0], "y": [0], "dw": [count], "dh": [count]}
    image = ColumnDataSource({"phi": [phi], **place})
    drawn = fig.image("phi", "x", "y", "dw", "dh", source=image, color_mapper=mapper)
    _excluded_marks(fig, outcome)
    _ticks(fig, names)
    if source is not None:
        _own(fig, source, side)
    bar = ColorBar(color_mapper=mapper, width=12, title="bits")
    fig.add_layout(bar, "right")
    _hover(fig, drawn, names, outcome, list(data.attrs["outcomes"]))
    return fig


def _colours(phi: Array) -> LogColorMapper:
    """Map phi to colours by its logarithm, over three decades at most; 0 is white."""
    above = phi[phi > 0]
    top = float(above.max()) if above.size else 1.0
    low = max(float(above.min()), top / 1000) if above.size else 0.1
    return LogColorMapper(
        palette=PHI, low=min(low, 0.999 * top), high=top, low_color="white", nan_color=UNCONNECTED
    )


def _excluded_marks(fig: figure, outcome: Array) -> None:
    """Dot the pairs a bound excluded; as an image where there is no room for dots."""
    excluded = outcome == 1
    y, x = np.nonzero(excluded)
    if len(outcome) <= 63:
        marks = ColumnDataSource({"x": x + 0.5, "y": y + 0.5})
        if len(outcome) <= 31:
            fig.scatter("x", "y", size=5, fill_color="white", line_color=MUTED, source=marks)
        else:
            fig.scatter("x", "y", size=2, color="#A0A0A0", line_color=None, source=marks)
        return
    fine = np.zeros((3 * len(outcome), 3 * len(outcome)), np.uint8)
    fine[1::3, 1::3] = excluded
    veil = LinearColorMapper(palette=["rgba(0, 0, 0, 0)", "#FFFFFF"], low=-0.5, high=1.5)
    fig.image([fine], 0, 0, len(outcome), len(outcome), color_mapper=veil)


def _own(fig: figure, source: ColumnDataSource, side: str) -> None:
    fig.scatter(
        f"map_{side}", "map_y", source=source, marker="square", size=9, fill_color=None,
        line_color="#E6007E", line_width=2, nonselection_line_alpha=1.0,
        selection_line_color=INK, selection_line_width=3, selection_fill_color="#F0E442",
        selection_fill_alpha=0.6,
    )  # fmt: skip


def _ticks(fig: figure, names: list[str]) -> None:
    """Name every line where there is room, else every so many."""
    step = 1 if len(names) <= 31 else int(np.ceil(len(names) / 21))
    for axis in fig.axis:
        axis.ticker = FixedTicker(ticks=[k + 0.5 for k in range(0, len(names), step)])
        axis.formatter = CustomJSTickFormatter(
            args={"names": names}, code="return names[Math.floor(tick)] || ''"
        )
        axis.major_label_text_font_size = "9px"
        axis.minor_tick_line_color = None
    fig.xaxis.major_label_orientation = np.pi / 2


def _hover(fig: figure, drawn: Any, names: list[str], outcome: Array, outcomes: list[str]) -> None:
    args = {"names": names, "outcome": outcome.astype(np.int8).ravel(), "outcomes": outcomes}
    name = CustomJSHover(args=args, code="return names[Math.floor(value)] || ''")
    what = CustomJSHover(
        args=args,
        code="""
        const x = Math.floor(special_vars.x), y = Math.floor(special_vars.y)
        return outcomes[outcome[y * names.length + x]] || ''
        """,
    )
    tips = [
        ("mechanism", "$y{custom}"),
        ("purview", "$x{custom}"),
        ("φ (bits)", "@phi{0.000000}"),
        ("search", "$snap_x{custom}"),
    ]
    formatters = {"$y": name, "$x": name, "$snap_x": what}
    fig.add_tools(HoverTool(renderers=[drawn], tooltips=tips, formatters=formatters))
