"""The distinctions of a cause-effect structure: table, phi by order, cause against effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import (
    ColumnDataSource,
    DataTable,
    HoverTool,
    NumberFormatter,
    Range1d,
    StringFormatter,
    TableColumn,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from iitdask.view.theme import EFFECT, INK, MECHANISM, MUTED, plot

__all__ = ["by_order", "distinctions_source", "memberships", "plane", "table"]

Array = NDArray[Any]
DOT = {
    "size": 9,
    "fill_color": EFFECT,
    "fill_alpha": 0.55,
    "line_color": INK,
    "line_alpha": 0.7,
    "nonselection_fill_alpha": 0.25,
    "nonselection_line_alpha": 0.35,
    "selection_fill_color": "#F0E442",
    "selection_fill_alpha": 1.0,
    "selection_line_color": MECHANISM,
    "selection_line_width": 2,
}
STATES = ("cause_state", "effect_state")
TIPS = [
    ("mechanism", "@mechanism"),
    ("φ_d", "@phi{0.000000}"),
    ("cause", "@cause in @cause_state"),
    ("effect", "@effect in @effect_state"),
]


def distinctions_source(data: xr.Dataset) -> ColumnDataSource:
    """One row per distinction, in the order of the result."""
    names = [str(name) for name in data["mechanism"].values]
    order = data["mechanism_units"].values.sum(axis=1).astype(int)
    labels = np.array([str(name) for name in data["unit"].values], dtype=object)
    columns: dict[str, Any] = {
        "mechanism": names,
        "order": order,
        "spread": order + _spread(order),
        "phi": _finite(data["phi"].values),
    }
    for side in ("cause", "effect"):
        inside = data[f"purview_{side}"].values
        columns |= {
            side: [_joined(labels[row].tolist()) for row in inside],
            f"{side}_state": _states(data, side),
            f"phi_{side}": _finite(data[f"phi_{side}"].values),
            f"ii_{side}": _information(data, side),
            f"partition_{side}": [str(text) for text in data[f"partition_{side}"].values],
            f"tied_{side}": data[f"n_tied_purviews_{side}"].values.astype(int),
        }
    return ColumnDataSource(columns, name="distinctions")


def _states(data: xr.Dataset, side: str) -> list[str]:
    """Specified states as text; a concept of IIT 3.0 specifies none."""
    inside = data[f"purview_{side}"].values
    if f"state_{side}" not in data:
        return [""] * len(inside)
    state = data[f"state_{side}"].values
    return [_digits(values[row].tolist()) for row, values in zip(inside, state, strict=True)]


def _information(data: xr.Dataset, side: str) -> Array:
    name = f"intrinsic_information_{side}"
    return _finite(data[name].values) if name in data else np.full(data.sizes["mechanism"], np.nan)


def _finite(values: Array) -> Array:
    return np.asarray(values, float)


def _joined(names: list[str]) -> str:
    return ("" if all(len(name) == 1 for name in names) else ",").join(names) or "\N{EMPTY SET}"


def _digits(values: list[int]) -> str:
    return ("" if all(v < 10 for v in values) else ",").join(map(str, values))


def _spread(order: Array) -> Array:
    """Sideways offsets that keep mechanisms of the same order apart."""
    out = np.zeros(len(order))
    for k in np.unique(order):
        own = np.flatnonzero(order == k)
        out[own] = (np.arange(len(own)) + 0.5) / len(own) * 0.7 - 0.35
    return out


def memberships(data: xr.Dataset) -> dict[str, Any]:
    """Flat arrays for the page's script: which units, in which states."""
    return {
        "units": [str(name) for name in data["unit"].values],
        "count": int(data.sizes["mechanism"]),
        "mechanism": data["mechanism_units"].values.astype(np.int8).ravel(),
        "specified": "state_cause" in data,
        **{side: _places(data, side).astype(np.int16).ravel() for side in ("cause", "effect")},
    }


def _places(data: xr.Dataset, side: str) -> Array:
    """State of each unit of the purview, -1 outside; 0 inside where none is specified."""
    if f"state_{side}" in data:
        return np.asarray(data[f"state_{side}"].values)
    return np.where(data[f"purview_{side}"].values, 0, -1)


def table(source: ColumnDataSource, unit: str = " (bits)", height: int = 330) -> DataTable:
    """Show distinctions as a table that sorts by any column, as wide as their names need."""
    number = NumberFormatter(format="0.000000", text_align="right")
    code = StringFormatter(font_style="normal")
    wide = max((len(name) for name in source.data["mechanism"]), default=1)
    name_width = int(min(240, max(82, 8 * wide)))
    long = max((len(each) for side in STATES for each in source.data[side]), default=0)
    state_width = int(min(150, max(58, 18 + 8 * long)))
    columns = [
        TableColumn(field="mechanism", title="mechanism", formatter=code, width=name_width),
        TableColumn(field="phi", title=f"φ_d{unit}", formatter=number, width=78),
        TableColumn(field="cause", title="cause", formatter=code, width=name_width),
        TableColumn(field="cause_state", title="state", formatter=code, width=state_width),
        TableColumn(field="phi_cause", title=f"φ_c{unit}", formatter=number, width=78),
        TableColumn(field="effect", title="effect", formatter=code, width=name_width),
        TableColumn(field="effect_state", title="state", formatter=code, width=state_width),
        TableColumn(field="phi_effect", title=f"φ_e{unit}", formatter=number, width=78),
    ]
    if not long:  # concepts of IIT 3.0 specify none
        columns = [each for each in columns if each.field not in STATES]
    return DataTable(
        source=source,
        columns=columns,
        width=20 + sum(each.width for each in columns),
        height=height,
        index_position=None,
        autosize_mode="none",
        sortable=True,
        selectable=True,
        reorderable=False,
        name="distinctions-table",
    )


def by_order(
    source: ColumnDataSource, size: tuple[int, int] = (295, 330), unit: str = " (bits)"
) -> figure:
    """Draw phi_d against the number of units in the mechanism."""
    most = int(max(source.data["order"], default=1))
    fig = plot(
        "Distinctions by order",
        "units in the mechanism",
        f"φ_d{unit}",
        width=size[0],
        height=size[1],
        x_range=Range1d(0.4, most + 0.6),
    )
    fig.xaxis.ticker = list(range(1, most + 1))
    dots = fig.scatter("spread", "phi", source=source, **DOT)
    fig.add_tools(HoverTool(renderers=[dots], tooltips=TIPS))
    return fig


def plane(
    source: ColumnDataSource, size: tuple[int, int] = (295, 330), unit: str = " (bits)"
) -> figure:
    """Draw phi of the cause against phi of the effect."""
    values = [*source.data["phi_cause"], *source.data["phi_effect"]]
    top = float(max(values, default=1.0)) * 1.08 or 1.0
    fig = plot(
        "Cause-effect plane",
        f"φ_c{unit}",
        f"φ_e{unit}",
        width=size[0],
        height=size[1],
        x_range=Range1d(-0.04 * top, top),
        y_range=Range1d(-0.04 * top, top),
    )
    fig.line([0, top], [0, top], line_color=MUTED, line_dash="dotted")
    dots = fig.scatter("phi_cause", "phi_effect", source=source, **DOT)
    fig.add_tools(HoverTool(renderers=[dots], tooltips=TIPS))
    return fig
