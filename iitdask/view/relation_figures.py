"""Relations: how many by degree and phi, and the largest ones as linked purviews."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import (
    BasicTicker,
    CDSView,
    ColumnDataSource,
    DataTable,
    HoverTool,
    IndexFilter,
    Range1d,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from iitdask.result.relation_iteration import Relation, iterate
from iitdask.view.network_figures import circle_positions
from iitdask.view.pages import (
    CAUSE,
    EFFECT,
    INK,
    MUTED,
    RELATION,
    Column,
    data_table,
    empty_figure,
    legend_below,
)

__all__ = [
    "LargestRelations",
    "count_text",
    "draw_relations",
    "largest_relations",
    "relations_by_degree",
    "relations_by_phi",
    "relations_table",
]

Array = NDArray[Any]
MAX_LISTED_RELATIONS, MAX_DRAWN_RELATIONS, MAX_HISTOGRAM_RELATIONS = 200, 40, 20_000
"""Relations in the table, in the drawing, and in the histogram."""


@dataclass(frozen=True)
class LargestRelations:
    """The relations of largest phi."""

    listed: list[Relation]
    """At most ``MAX_LISTED_RELATIONS``, by decreasing phi."""
    phi: Array
    """Phi of at most ``MAX_HISTOGRAM_RELATIONS`` of them, bits."""
    degree: Array
    """Their degrees."""
    count: str
    """Number of all relations, exact."""

    @property
    def is_complete(self) -> bool:
        """Whether ``phi`` has every relation."""
        return self.count == str(len(self.phi))


def largest_relations(tree: xr.DataTree) -> LargestRelations:
    """Take the relations that are shown out of a cause-effect structure."""
    many = tree["distinctions"].sizes["mechanism"] > 200
    weighed = MAX_HISTOGRAM_RELATIONS // 10 if many else MAX_HISTOGRAM_RELATIONS
    found = list(islice(iterate(tree), weighed))
    return LargestRelations(
        found[:MAX_LISTED_RELATIONS],
        np.array([each.phi for each in found], float),
        np.array([each.degree for each in found], int),
        str(tree["relations"].attrs["count"]),
    )


def count_text(count: str) -> str:
    """Write a number of relations: in full, or as a power of two.

    Examples
    --------
    >>> count_text("8184"), count_text(str(2**1000 + 1))
    ('8,184', '2^1000.0')
    """
    if len(count) <= 15:
        return f"{int(count):,}"
    number = int(count) if len(count) < 4000 else None
    if number is None:
        return f"10^{len(count) - 1}"
    shift = max(0, number.bit_length() - 60)
    return f"2^{np.log2(float(number >> shift)) + shift:.1f}"


def relations_by_degree(data: xr.Dataset, size: tuple[int, int] = (330, 270)) -> figure:
    """Draw the number of relations by degree, as its log2: it may exceed any float."""
    log = np.asarray(data["log2_count_by_degree"].values, float)
    degree, exact = data["degree"].values, data["count_by_degree"].values
    there = np.isfinite(log)
    columns = {
        "degree": degree[there],
        "log": log[there],
        "zero": np.zeros(there.sum()),
        "count": [
            f"{c:,}" if c >= 0 else f"2^{v:.2f}"
            for c, v in zip(exact[there], log[there], strict=True)
        ],
    }
    source = ColumnDataSource(columns)
    fig = empty_figure(
        "Relations by degree", "distinctions in the relation", "log2 of their number", size=size
    )
    fig.y_range.start = 0
    fig.segment("degree", "zero", "degree", "log", source=source, line_color=RELATION, line_width=2)
    dots = fig.scatter("degree", "log", size=7, color=RELATION, source=source)
    tips = [("degree", "@degree"), ("relations", "@count")]
    fig.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    return fig


def relations_by_phi(found: LargestRelations, size: tuple[int, int] = (330, 270)) -> figure:
    """Draw how phi is distributed over relations; the cap is in the title."""
    what = "all of them" if found.is_complete else f"the {len(found.phi):,} largest"
    fig = empty_figure(
        f"Relations by φ_r ({what})", "φ_r (bits)", "relations", size=size, y_axis_type="log"
    )
    if len(found.phi):
        low, high = float(found.phi.min()), float(found.phi.max())
        span = (low, high) if high - low > 1e-9 * high else (0.9 * low, 1.1 * high or 1.0)
        counts, edges = np.histogram(found.phi, bins=40, range=span)
        there = counts > 0
        bars = {
            "left": edges[:-1][there],
            "right": edges[1:][there],
            "top": counts[there],
            "bottom": np.full(there.sum(), 0.5),
        }
        drawn = fig.quad(
            "left",
            "right",
            "top",
            "bottom",
            source=ColumnDataSource(bars),
            color=RELATION,
            line_color="white",
        )
        fig.y_range.start = 0.5
        fig.xaxis.ticker = BasicTicker(desired_num_ticks=4)
        tips = [("φ_r", "@left{0.0000} to @right{0.0000} bits"), ("relations", "@top{0,0}")]
        fig.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    return fig


@dataclass(frozen=True)
class PurviewPositions:
    """Where the purviews of each distinction lie in the drawing."""

    cause: Array
    """(2, D)"""
    effect: Array
    """(2, D)"""

    @classmethod
    def on_circle(cls, order: Array) -> PurviewPositions:
        """Distinctions around a circle in a given order; effects outside of causes."""
        n = len(order)
        rank = np.empty(n, int)
        rank[order] = np.arange(n)
        inner, outer = circle_positions(n, 1.0), circle_positions(n, 1.16)
        return cls(np.stack(inner)[:, rank], np.stack(outer)[:, rank])


def relations_source(
    found: LargestRelations, data: xr.Dataset, places: PurviewPositions
) -> ColumnDataSource:
    """One row per listed relation, with the outline of its purviews."""
    at = {str(name): k for k, name in enumerate(data["mechanism"].values)}
    unit = {str(name): k for k, name in enumerate(data["unit"].values)}
    states = {"cause": data["state_cause"].values, "effect": data["state_effect"].values}
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "rank",
            "degree",
            "phi",
            "mechanisms",
            "overlap",
            "xs",
            "ys",
            "members",
            "units",
        )
    }
    for rank, each in enumerate(found.listed, 1):
        members = [at[name] for name in each.mechanisms]
        points = _outline(members, each, unit, states, places)
        columns["rank"].append(rank)
        columns["degree"].append(each.degree)
        columns["phi"].append(each.phi)
        columns["mechanisms"].append(_clip_names([*each.mechanisms]))
        columns["overlap"].append(" ".join(f"{name}={value}" for name, value in each.overlap))
        columns["xs"].append([p[0] for p in points])
        columns["ys"].append([p[1] for p in points])
        columns["members"].append(members)
        columns["units"].append([unit[name] for name, _ in each.overlap])
    return ColumnDataSource(columns, name="relations")


def _clip_names(names: list[str], most: int = 46) -> str:
    """Name as many as fit into a cell, one at least."""
    ends = np.cumsum([len(name) + 1 for name in names])
    count = max(1, int((ends <= most + 1).sum()))
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return " ".join(names[:count]) + more


def _outline(
    members: list[int],
    each: Relation,
    unit: dict[str, int],
    states: dict[str, Array],
    places: PurviewPositions,
) -> list[tuple[float, float]]:
    """Purviews that hold part of the overlap, in the order of their angle."""
    points = []
    for d in members:
        for side, where in (("cause", places.cause), ("effect", places.effect)):
            if any(states[side][d, unit[name]] == value for name, value in each.overlap):
                points.append((float(where[0, d]), float(where[1, d])))
    return sorted(points, key=lambda p: np.arctan2(p[1], p[0]))


def draw_relations(
    found: LargestRelations, data: xr.Dataset, size: int = 400
) -> tuple[figure, ColumnDataSource, IndexFilter, ColumnDataSource]:
    """Draw the largest relations as linked purviews.

    Returns
    -------
    figure, relations, filter, points
        The source of the listed relations, which of them are drawn, and the purviews.
    """
    order = np.lexsort(
        (np.arange(data.sizes["mechanism"]), data["mechanism_units"].values.sum(axis=1))
    )
    places = PurviewPositions.on_circle(order)
    source = relations_source(found, data, places)
    shown = IndexFilter(indices=list(range(min(MAX_DRAWN_RELATIONS, len(found.listed)))))
    span = Range1d(-1.62, 1.62)
    fig = empty_figure(
        f"The {min(MAX_DRAWN_RELATIONS, len(found.listed))} largest relations, as linked purviews",
        frame=(size, size),
        x_range=span,
        y_range=Range1d(-1.62, 1.62),
    )
    fig.axis.visible, fig.grid.visible = False, False
    view = CDSView(filter=shown)
    faces = fig.patches(
        "xs", "ys", source=source, view=view, fill_color=RELATION, fill_alpha=0.05,
        line_color=RELATION, line_alpha=0.45, line_width=1.2,
        selection_fill_alpha=0.35, selection_line_alpha=1.0, selection_line_width=3,
        nonselection_fill_alpha=0.02, nonselection_line_alpha=0.15,
    )  # fmt: skip
    tips = [("relation", "@mechanisms"), ("φ_r (bits)", "@phi{0.000000}"), ("overlap", "@overlap")]
    fig.add_tools(HoverTool(renderers=[faces], tooltips=tips))
    points = _purview_points(fig, data, places)
    return fig, source, shown, points


def _purview_points(fig: figure, data: xr.Dataset, places: PurviewPositions) -> ColumnDataSource:
    names = [str(name) for name in data["mechanism"].values]
    n = len(names)
    columns = {
        "cx": places.cause[0], "cy": places.cause[1], "ex": places.effect[0],
        "ey": places.effect[1], "name": names, "lit": np.zeros(n),
    }  # fmt: skip
    source = ColumnDataSource(columns)
    size = 9 if n <= 40 else (6 if n <= 150 else 3)
    entries = []
    for name, colour, marker, x, y in (
        ("cause purviews", CAUSE, "circle", "cx", "cy"),
        ("effect purviews", EFFECT, "square", "ex", "ey"),
    ):
        dots = fig.scatter(x, y, marker=marker, size=size, color=colour, source=source)
        fig.scatter(
            x, y, marker=marker, size=size + 5, fill_color=None, line_color=INK, line_width=2.5,
            line_alpha="lit", source=source,
        )  # fmt: skip
        fig.add_tools(HoverTool(renderers=[dots], tooltips=[(name, "of @name")]))
        entries.append((name, [dots]))
    if n <= 70:
        _purview_names(fig, names, places)
    legend_below(fig, entries)
    return source


def _purview_names(fig: figure, names: list[str], places: PurviewPositions) -> None:
    turn = np.arctan2(places.effect[1], places.effect[0])
    for right in (True, False):
        side = np.flatnonzero((np.cos(turn) >= -1e-9) == right)
        fig.text(
            1.24 * np.cos(turn[side]),
            1.24 * np.sin(turn[side]),
            text=[names[k] for k in side],
            angle=turn[side] if right else turn[side] + np.pi,
            text_align="left" if right else "right",
            text_baseline="middle",
            text_font_size="11px" if len(names) <= 40 else "9px",
            text_color=MUTED,
        )


def relations_table(source: ColumnDataSource) -> DataTable:
    """Return the listed relations as a table."""
    length = max((len(text) for text in source.data["overlap"]), default=0)
    overlap = min(340, max(180, 20 + 7 * length))
    columns = [
        Column("rank", "#", 40),
        Column("phi", "φ_r (bits)", 80, "number"),
        Column("degree", "degree", 56),
        Column("mechanisms", "distinctions", 530 - overlap, "text"),
        Column("overlap", "overlap", overlap, "text"),
    ]
    return data_table(source, columns, height=250, name="relations-table")
