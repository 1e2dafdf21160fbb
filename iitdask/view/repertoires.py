"""The repertoires of the selected distinction: constrained, unconstrained, partitioned."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import ColumnDataSource, FactorRange, HoverTool, Range1d
from bokeh.plotting import figure
from bokeh.transform import dodge

from iitdask.view.theme import FAINT, INK, MUTED, SIDES, legend_below, plot

__all__ = ["KINDS", "bars", "concept_rows", "rows_of"]

KINDS = ("constrained", "partitioned", "unconstrained")
MEANING = {
    "constrained": "given the mechanism's state",
    "partitioned": "the same under the minimum partition",
    "unconstrained": "with the mechanism's state unknown",
}


def rows_of(data: xr.Dataset, levels: list[int]) -> dict[str, Any]:
    """Flat arrays for the page's script."""
    out: dict[str, Any] = {"levels": levels}
    for side in SIDES:
        out[f"begin_{side}"] = data[f"begin_{side}"].values.astype(np.int32)
        out[f"code_{side}"] = data[f"code_{side}"].values.astype(np.int32)
        for kind in KINDS:
            out[f"{kind}_{side}"] = data[f"{kind}_{side}"].values.astype(np.float32)
        for name in ("likelihood", "likelihood_partitioned", "selectivity"):
            out[f"{name}_{side}"] = data[f"{name}_{side}"].values.astype(np.float64)
    return out


def concept_rows(data: xr.Dataset, levels: list[int]) -> dict[str, Any]:
    """Flat arrays of the concepts of IIT 3.0, which carry their repertoires."""
    out: dict[str, Any] = {"levels": levels}
    for side in SIDES:
        whole, parted = (
            data[name].values for name in (f"repertoire_{side}", f"partitioned_repertoire_{side}")
        )
        known = ~np.isnan(whole)
        counts = known.sum(axis=1)
        out[f"begin_{side}"] = np.cumsum([0, *counts]).astype(np.int32)
        codes = [np.arange(count) for count in counts]
        out[f"code_{side}"] = np.concatenate([[], *codes]).astype(np.int32)
        out[f"constrained_{side}"] = whole[known].astype(np.float32)
        out[f"partitioned_{side}"] = parted[known].astype(np.float32)
        # What phi compares in IIT 3.0 is the two distributions, nothing at a state.
        out[f"unconstrained_{side}"] = np.full(int(known.sum()), np.nan, np.float32)
        for name in ("likelihood", "likelihood_partitioned", "selectivity"):
            out[f"{name}_{side}"] = np.full(len(counts), np.nan)
    return out


def bars(
    side: str, size: tuple[int, int] = (615, 290), kinds: tuple[str, ...] = KINDS
) -> tuple[figure, ColumnDataSource]:
    """Make an empty bar chart; the page's script fills its source when a distinction is selected.

    Without the unconstrained distribution among `kinds` no state is marked either: a concept of
    IIT 3.0 specifies none.

    Returns
    -------
    figure, ColumnDataSource
        Columns ``state``, the three of ``KINDS``, and ``mark`` (the specified state's height).
    """
    empty: dict[str, list[Any]] = {name: [] for name in ("state", *KINDS, "mark")}
    source = ColumnDataSource(empty, name=f"repertoire-{side}")
    fig = plot(
        f"{side.capitalize()} repertoire",
        "state of the purview",
        "probability",
        width=size[0],
        height=size[1],
        x_range=FactorRange(),
        y_range=Range1d(0, 1.12),
    )
    fig.xgrid.visible = False
    looks = {
        "constrained": {"fill_color": SIDES[side], "line_color": SIDES[side]},
        "partitioned": {
            "fill_color": "white",
            "line_color": SIDES[side],
            "hatch_pattern": "/",
            "hatch_color": SIDES[side],
        },
        "unconstrained": {"fill_color": FAINT, "line_color": MUTED},
    }
    entries = []
    for k, kind in enumerate(kinds):
        drawn = fig.vbar(
            dodge("state", (k - (len(kinds) - 1) / 2) * 0.27, range=fig.x_range),
            top=kind,
            width=0.25,
            source=source,
            **looks[kind],
        )
        entries.append((f"{kind}: {MEANING[kind]}" if k == 1 else kind, [drawn]))
        tips = [("state", "@state"), *((name, f"@{name}{{0.000000}}") for name in kinds)]
        fig.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    mark = fig.scatter(
        "state", "mark", marker="inverted_triangle", size=10, color=INK, source=source
    )
    marked = [("specified state", [mark])] if "unconstrained" in kinds else []
    legend_below(fig, [(name.split(":")[0], drawn) for name, drawn in entries] + marked)
    return fig, source
