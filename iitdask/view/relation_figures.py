"""Relations: how many by degree and phi, and the largest ones as linked purviews."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import BasicTicker, CDSView, Column, ColumnDataSource, IndexFilter
from bokeh.plotting import figure

from iitdask.result.relation_iteration import Relation, iterate, relations_of_each
from iitdask.types import Array
from iitdask.view import pages
from iitdask.view.network_figures import circle_positions, radial_labels

MAX_LISTED_RELATIONS, MAX_DRAWN_RELATIONS, MAX_HISTOGRAM_RELATIONS = 200, 40, 20_000
"""Relations in the table, in the drawing, and in the histogram."""


@dataclass(frozen=True)
class LargestRelations:
    """Relations of largest phi of a cause-effect structure."""

    listed: list[Relation]  # At most ``MAX_LISTED_RELATIONS``, by decreasing phi
    phi: Array  # Phi of at most ``MAX_HISTOGRAM_RELATIONS`` of them, bits
    count: str  # Number of all relations, exact


def largest_relations(tree: xr.DataTree) -> LargestRelations:
    """Return the relations of a cause-effect structure that a page shows."""
    is_large = tree["distinctions"].sizes["mechanism"] > 200
    count = MAX_HISTOGRAM_RELATIONS // 10 if is_large else MAX_HISTOGRAM_RELATIONS
    relations = list(islice(iterate(tree), count))
    return LargestRelations(
        relations[:MAX_LISTED_RELATIONS],
        np.array([relation.phi for relation in relations], float),
        str(tree["relations"].attrs["count"]),
    )


def named_in(largest: LargestRelations) -> frozenset[str]:
    """Return the mechanisms of the listed relations."""
    return frozenset(name for relation in largest.listed for name in relation.mechanisms)


def count_text(count: str | int) -> str:
    """Return a number of relations as text: in full, or as a power of two.

    Examples
    --------
    >>> count_text("8184"), count_text(2**1000 + 1), count_text(hex(2**20000))
    ('8,184', '2^1000.0', '2^20000.0')
    >>> count_text("")
    'an unknown number of'
    """
    if count == "":
        return "an unknown number of"
    number = int(count, 0) if isinstance(count, str) else count
    if number < 10**15:
        return f"{number:,}"
    shift = max(0, number.bit_length() - 60)
    return f"2^{np.log2(float(number >> shift)) + shift:.1f}"


def counts_of_each(tree: xr.DataTree) -> list[str]:
    """Return as text in how many relations each distinction is; "" where that is not counted.

    It is not where the tree has only some of the distinctions.
    """
    shown = tree["distinctions"].sizes["mechanism"]
    counts = relations_of_each(tree) if shown == tree.attrs["n_distinctions"] else None
    if counts is None:
        return [""] * shown
    return [count_text(count) for count in counts]


def relations_by_degree(data: xr.Dataset, size: tuple[int, int] = (330, 270)) -> figure:
    """Draw log2 of the number of relations by degree: the number may exceed any float."""
    log2 = np.asarray(data["log2_count_by_degree"].values, float)
    rows = np.flatnonzero(np.isfinite(log2))
    exact = data["count_by_degree"].values
    texts = [f"{exact[k]:,}" if exact[k] >= 0 else f"2^{log2[k]:.2f}" for k in rows]
    columns = {"degree": data["degree"].values[rows], "log": log2[rows], "count": texts}
    source = ColumnDataSource(columns | {"zero": np.zeros(len(rows))})
    fig = pages.empty_figure(
        "Relations by degree",
        "distinctions in the relation",
        "log2 of their number",
        size=size,
        name="relations-by-degree-figure",
    )
    fig.y_range.start = 0
    fig.segment(
        "degree", "zero", "degree", "log", source=source, line_color=pages.RELATION, line_width=2
    )
    dots = fig.scatter("degree", "log", size=7, color=pages.RELATION, source=source)
    pages.add_hover(fig, [("degree", "@degree"), ("relations", "@count")], dots)
    return fig


def relations_by_phi(largest: LargestRelations, size: tuple[int, int] = (330, 270)) -> figure:
    """Draw the distribution of phi over relations; the title says over how many."""
    phi = largest.phi
    what = "all of them" if largest.count == str(len(phi)) else f"the {len(phi):,} largest"
    fig = pages.empty_figure(
        f"Relations by φ_r ({what})",
        "φ_r (bits)",
        "relations",
        size=size,
        y_axis_type="log",
        name="relations-by-phi-figure",
    )
    if not len(phi):
        return fig
    low, high = float(phi.min()), float(phi.max())
    span = (low, high) if high - low > 1e-9 * high else (0.9 * low, 1.1 * high or 1.0)
    counts, edges = np.histogram(phi, bins=40, range=span)
    bins = np.flatnonzero(counts)
    columns = {"left": edges[bins], "right": edges[bins + 1], "top": counts[bins]}
    source = ColumnDataSource(columns | {"bottom": np.full(len(bins), 0.5)})
    bars = fig.quad(
        "left", "right", "top", "bottom", source=source, color=pages.RELATION, line_color="white"
    )
    fig.y_range.start = 0.5
    fig.xaxis.ticker = BasicTicker(desired_num_ticks=4)
    tips = [("φ_r", "@left{0.0000} to @right{0.0000} bits"), ("relations", "@top{0,0}")]
    pages.add_hover(fig, tips, bars)
    return fig


def draw_relations(
    largest: LargestRelations, data: xr.Dataset, size: int = 400
) -> tuple[figure, ColumnDataSource, IndexFilter, ColumnDataSource]:
    """Draw the largest relations as linked purviews."""
    positions = _purview_positions(data)
    source = _relations_source(largest, data, positions)
    count = min(MAX_DRAWN_RELATIONS, len(largest.listed))
    shown = IndexFilter(indices=list(range(count)))
    fig = pages.empty_figure(
        f"The {count} largest relations, as linked purviews", frame=(size, size),
        x_range=(-1.62, 1.62), y_range=(-1.62, 1.62),
        name="relations-figure",
    )  # fmt: skip
    fig.axis.visible, fig.grid.visible = False, False
    faces = fig.patches(
        "xs", "ys", source=source, view=CDSView(filter=shown), fill_color=pages.RELATION,
        fill_alpha=0.05, line_color=pages.RELATION, line_alpha=0.45, line_width=1.2,
        selection_fill_alpha=0.35, selection_line_alpha=1.0, selection_line_width=3,
        nonselection_fill_alpha=0.02, nonselection_line_alpha=0.15,
    )  # fmt: skip
    tips = [("relation", "@mechanisms"), ("φ_r (bits)", "@phi{0.000000}"), ("overlap", "@overlap")]
    pages.add_hover(fig, tips, faces)
    return fig, source, shown, _draw_purviews(fig, data, positions)


def _purview_positions(data: xr.Dataset) -> dict[str, Array]:
    """Return ``(2, distinctions)`` x and y of the purviews of each side, effects outside.

    Distinctions are ordered around the circle by the number of units in their mechanism.
    """
    sizes = data["mechanism_units"].values.sum(axis=1)
    rank = np.argsort(np.argsort(sizes, kind="stable"))
    radii = {"cause": 1.0, "effect": 1.16}
    return {
        side: np.stack(circle_positions(len(rank), radius))[:, rank]
        for side, radius in radii.items()
    }


def _relations_source(
    largest: LargestRelations, data: xr.Dataset, positions: dict[str, Array]
) -> ColumnDataSource:
    """Return one row per listed relation, with the outline of its purviews."""
    row_of = {str(name): k for k, name in enumerate(data["mechanism"].values)}
    unit_of = {str(name): k for k, name in enumerate(data["unit"].values)}
    columns: dict[str, list[Any]] = {
        "rank": list(range(1, len(largest.listed) + 1)),
        "degree": [relation.degree for relation in largest.listed],
        "phi": [relation.phi for relation in largest.listed],
        "mechanisms": [_clip_names([*relation.mechanisms]) for relation in largest.listed],
        "overlap": [" ".join(f"{u}={v}" for u, v in each.overlap) for each in largest.listed],
        "members": [[row_of[name] for name in each.mechanisms] for each in largest.listed],
        "units": [[unit_of[name] for name, _ in each.overlap] for each in largest.listed],
    }
    states = {side: data[f"state_{side}"].values for side in positions}
    outlines = []
    for relation, members, units in zip(
        largest.listed, columns["members"], columns["units"], strict=True
    ):
        values = [value for _, value in relation.overlap]
        points = [
            positions[side][:, d].tolist()
            for d in members
            for side in positions
            if (states[side][d, units] == values).any()
        ]
        outlines.append(sorted(points, key=lambda point: np.arctan2(point[1], point[0])))
    columns["xs"] = [[x for x, _ in points] for points in outlines]
    columns["ys"] = [[y for _, y in points] for points in outlines]
    return ColumnDataSource(columns, name="relations")


def _clip_names(names: list[str], max_characters: int = 46) -> str:
    """Return as many names as fit into a cell, one at least."""
    ends = np.cumsum([len(name) + 1 for name in names])
    count = max(1, int((ends <= max_characters + 1).sum()))
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return " ".join(names[:count]) + more


def _draw_purviews(fig: figure, data: xr.Dataset, positions: dict[str, Array]) -> ColumnDataSource:
    names = [str(name) for name in data["mechanism"].values]
    n = len(names)
    (cx, cy), (ex, ey) = positions["cause"], positions["effect"]
    columns = {"cx": cx, "cy": cy, "ex": ex, "ey": ey, "name": names, "lit": np.zeros(n)}
    source = ColumnDataSource(columns)
    size = 9 if n <= 40 else (6 if n <= 150 else 3)
    entries = []
    cause = ("cause purviews", pages.CAUSE, "circle", "cx", "cy")
    effect = ("effect purviews", pages.EFFECT, "square", "ex", "ey")
    for name, colour, marker, x, y in (cause, effect):
        dots = fig.scatter(x, y, marker=marker, size=size, color=colour, source=source)
        fig.scatter(
            x, y, marker=marker, size=size + 5, fill_color=None, line_color=pages.INK,
            line_width=2.5, line_alpha="lit", source=source,
        )  # fmt: skip
        pages.add_hover(fig, [(name, "of @name")], dots)
        entries.append((name, [dots]))
    if n <= 70:
        look = {"text_font_size": "11px" if n <= 40 else "9px", "text_color": pages.MUTED}
        radial_labels(fig, names, ex, ey, 1.24, **look)
    pages.legend_below(fig, entries)
    return source


def relations_table(source: ColumnDataSource, total: str) -> Column:
    """Return the listed relations as a table; `total` is how many there are."""
    length = max((len(text) for text in source.data["overlap"]), default=0)
    overlap = min(340, max(180, 20 + 7 * length))
    columns = [
        pages.Column("rank", "#", 40),
        pages.Column("phi", "φ_r (bits)", 80, "number"),
        pages.Column("degree", "degree", 56),
        pages.Column("mechanisms", "distinctions", 530 - overlap, "text"),
        pages.Column("overlap", "overlap", overlap, "text"),
    ]
    return pages.data_table(
        source, columns, height=250, name="relations-table", total=total, first="phi"
    )
