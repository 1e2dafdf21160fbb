"""An account of a transition: the units before and after, and the links between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.models import ColumnDataSource, UIElement
from bokeh.plotting import figure

from iitdask.result.causal_accounts import link_rows
from iitdask.result.overview import summary_of
from iitdask.types import Array
from iitdask.view import pages
from iitdask.view.accessor import summary_html
from iitdask.view.network_figures import UNIT_TEXT, state_greys, units_source

MAX_DRAWN_LINKS = 60  # Links that are drawn
LINK_SPREAD = 0.4  # Width, in units' places, over which links end side by side at a unit
LINK_HEIGHTS = {"cause": 0.62, "effect": 0.38}
"""Height of the dot of a link, between the units after at 0 and those before at 1."""


def account_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show an account: two rows of units, and every link by its strength."""
    source = links_source(tree)
    drawn = len(source.data["alpha"])
    total = tree["links"].sizes["link"]
    columns = [
        pages.Column("rank", "#", 36),
        pages.Column("link", "link", 430, "text"),
        pages.Column("alpha", "α (bits)", 90, "number"),
        pages.Column("direction", "kind", 70, "text"),
        pages.Column("ties", "tied", 50),
        pages.Column("partition", "least partition", 420, "text"),
    ]
    about = pages.html_block(summary_html(summary_of(tree)), 420)
    if not total:
        sentence = "No links: no occurrence of this transition has an irreducible cause or effect."
        return [pages.page_grid(draw_links(tree, source), about),
                pages.section_heading("Links", sentence)]  # fmt: skip
    note = "Line width and opacity grow with alpha. Select a link in the table or the figure."
    more = f"{total:,}" if drawn < total else ""
    if more:
        note += f" Shown are the {drawn} strongest of {more} links."
    return [
        pages.page_grid(draw_links(tree, source), about),
        pages.section_heading("Links", note),
        pages.data_table(
            source, columns, height=330, name="links-table", total=more, first="alpha"
        ),
    ]


def links_source(tree: xr.DataTree) -> ColumnDataSource:
    """One row per link, the strongest first, with its lines in the drawing."""
    data = tree["links"].to_dataset()
    alpha = np.asarray(data["alpha"].values, float)
    strongest = np.argsort(-alpha, kind="stable")[:MAX_DRAWN_LINKS]
    rows = link_rows(tree)
    middle = _link_positions(data, strongest)
    lines = _links_lines(data, strongest.tolist(), middle)
    top = float(alpha.max()) if len(alpha) else 1.0
    weight = alpha[strongest] / (top or 1.0)
    kinds = [str(name) for name in data["direction"].values[strongest]]
    return ColumnDataSource(
        {
            "rank": list(range(1, len(strongest) + 1)),
            "link": [rows[k][0] for k in strongest], "alpha": alpha[strongest],
            "ties": data["n_tied_purviews"].values[strongest].astype(int),
            "partition": [rows[k][3] for k in strongest],
            "direction": kinds, "colour": [pages.SIDES[kind] for kind in kinds],
            "width": 1.0 + 4.0 * weight, "opacity": 0.35 + 0.6 * weight, "dot": 7 + 9 * weight,
            "xs": [each[0] for each in lines], "ys": [each[1] for each in lines],
            "x": middle, "y": [LINK_HEIGHTS[kind] for kind in kinds],
        },
        name="links",
    )  # fmt: skip


def _link_positions(data: xr.Dataset, chosen: Array) -> list[float]:
    """Places between the rows: over the units of the link, apart from those already placed."""
    count = data.sizes["unit"]
    taken: dict[str, list[float]] = {"cause": [], "effect": []}
    gap = 0.35 if len(chosen) <= 3 * count else 0.12
    out = []
    for k in chosen.tolist():
        own = np.flatnonzero(data["mechanism"].values[k])
        others = np.flatnonzero(data["purview"].values[k])
        wish = float(np.concatenate([own, others]).mean())
        used = taken[str(data["direction"].values[k])]
        steps = (wish + sign * step * gap for step in range(1000) for sign in (1, -1))
        place = next(x for x in steps if all(abs(x - each) >= 0.9 * gap for each in used))
        used.append(place)
        out.append(place)
    return out


def _links_lines(
    data: xr.Dataset, chosen: list[int], middles: list[float]
) -> list[tuple[list[float], list[float]]]:
    """Lines of each link from the units before to its dot, and on to the units after, with gaps.

    Those that meet at a unit end side by side, in the order of their dots, so that none hides
    another.
    """
    ends = [_ends(data, k) for k in chosen]
    meeting: dict[tuple[float, int], list[int]] = {}  # links at the upper or lower row of a unit
    for link in np.argsort(middles, kind="stable").tolist():
        for y, units in ends[link]:
            for unit in units:
                meeting.setdefault((y, unit), []).append(link)
    out = []
    for link, (k, middle) in enumerate(zip(chosen, middles, strict=True)):
        height = LINK_HEIGHTS[str(data["direction"].values[k])]
        xs: list[float] = []
        ys: list[float] = []
        for y, units in ends[link]:
            for unit in units:
                others = meeting[y, unit]
                place = (others.index(link) + 0.5) / len(others) - 0.5
                xs += [unit + LINK_SPREAD * place, middle, np.nan]
                ys += [y, height, np.nan]
        out.append((xs, ys))
    return out


def _ends(data: xr.Dataset, k: int) -> list[tuple[float, list[int]]]:
    """Height of the ends of a link and its units there, before and after."""
    units = [np.flatnonzero(data[name].values[k]).tolist() for name in ("mechanism", "purview")]
    before, after = units[::-1] if str(data["direction"].values[k]) == "cause" else units
    return [(0.93, before), (0.07, after)]


def draw_links(
    tree: xr.DataTree, source: ColumnDataSource, size: tuple[int, int] = (640, 420)
) -> figure:
    """Draw the units before above the units after, and the links between them."""
    data = tree["links"].to_dataset()
    labels = [str(name) for name in data["unit"].values]
    count = len(labels)
    font_size = "12px" if count <= 12 else "9px"
    fig = pages.empty_figure(
        "Actual causes and effects", frame=size, x_range=(-1.0, count),
        y_range=(-0.12, 1.12), name="account-figure",
    )  # fmt: skip
    fig.axis.visible, fig.grid.visible = False, False
    look = {
        "line_color": "colour", "line_width": "width", "line_alpha": "opacity",
        "nonselection_line_alpha": 0.12, "selection_line_alpha": 1.0,
        "selection_line_color": pages.INK,
    }  # fmt: skip
    lines = fig.multi_line("xs", "ys", source=source, **look)
    dots = fig.scatter(
        "x", "y", size="dot", fill_color="colour", line_color=pages.INK, source=source,
        nonselection_alpha=0.25,
    )  # fmt: skip
    tips = [("link", "@link"), ("alpha (bits)", "@alpha{0.000000}"), ("kind", "@direction")]
    pages.add_hover(fig, tips, dots, lines)
    for y, name in ((1.0, "before"), (0.0, "after")):
        state = data[name].values.tolist()
        greys = state_greys(state, [max(*state, 1) + 1] * count)
        units = units_source(labels, state, greys, np.arange(count), np.full(count, y))
        fig.scatter("x", "y", size=38, fill_color="fill", line_color=pages.INK, source=units)
        fig.text("x", "y", source=units, text_font_size=font_size, **UNIT_TEXT)
        fig.text(
            [-0.9], [y], text=[name], text_baseline="middle", text_font_size="12px",
            text_color=pages.INK,
        )  # fmt: skip
    blank: dict[str, Any] = {"x": [np.nan], "y": [np.nan], "size": 11, "line_color": pages.INK}
    entries = [
        (f"{side}: {what}", [fig.scatter(fill_color=colour, **blank)])
        for (side, colour), what in zip(
            pages.SIDES.items(),
            ("what brought a unit about", "what a unit brought about"),
            strict=True,
        )
    ]
    pages.legend_below(fig, entries)
    return fig
