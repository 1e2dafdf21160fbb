"""Distinctions by inclusion: lattices of mechanisms and purviews, pairs of purviews, Phi-folds.

Every figure draws the one source of distinctions, so that a selection shows in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    CustomJSHover,
    FixedTicker,
    LinearColorMapper,
    UIElement,
)
from bokeh.plotting import figure

from iitdask.model.labels import join_labels, unit_set_names
from iitdask.result.formatting import known_labels
from iitdask.result.relation_iteration import pairs
from iitdask.types import Array
from iitdask.view import pages
from iitdask.view.structure_figures import (
    DISTINCTION_TIPS,
    DOT_STYLE,
    MAX_FOLDS,
    TIP_FORMATTERS,
)

LATTICE_MAX_UNITS = 6  # Up to which every set of units is drawn
MAX_SETS = 64  # Of a lattice of larger systems, which has only the sets that occur
MAX_NAMED_SETS = 31
MAX_PAIRED = 150  # Distinctions whose pairs are drawn
LATTICES = {
    "mechanism": "mechanism_units", "cause": "purview_cause", "effect": "purview_effect",
}  # fmt: skip
PAIR_COLOURS = {
    "same": "#4D4D4D", "includes": "#E69F00", "included": "#56B4E9", "connected": "#009E73",
    "disjoint": "rgba(0, 0, 0, 0)",
}  # fmt: skip
PAIR_TEXTS = {
    "same": "same units", "includes": "row includes column",
    "included": "column includes row", "connected": "some units in common",
}  # fmt: skip


def lattice_panels(tree: xr.DataTree, source: ColumnDataSource) -> list[UIElement]:
    """Return folds, lattices and pairs of the distinctions of a structure, as far as they fit.

    `tree` may have only the largest of the distinctions that its attributes count.
    """
    data = tree["distinctions"].to_dataset()
    if not data.sizes["mechanism"]:
        return []
    parts = _folds(tree, source) if "fold" in data else []
    count = int(tree.attrs["n_distinctions"])
    return [*parts, *_lattices(tree, data, source), *_pairs(data, source, count)]


def _ranks(values: Array, most: int) -> tuple[Array, Array]:
    """Return the numbers of the largest values, and the rank of each value, nan beyond them."""
    chosen = np.argsort(-values, kind="stable")[:most]
    ranks = np.full(len(values), np.nan)
    ranks[chosen] = np.arange(len(chosen))
    return chosen, ranks


def _folds(tree: xr.DataTree, source: ColumnDataSource) -> list[UIElement]:
    """Show how much of Phi each distinction contributes: its own phi and its part of relations."""
    count, whole = int(tree.attrs["n_distinctions"]), float(tree.attrs["big_phi"])
    if not has_finite_folds(tree, source):
        about = f"Not drawn: the {count:,} folds are beyond what a number holds; their logarithms "
        return [pages.section_heading("Φ-folds", f"{about}are log2_fold of the distinctions.")]
    fig = draw_folds(source)
    note = pages.html_block("", name="fold", width=260, tags=[pages.SPOKEN])
    args = {"distinctions": source, "note": note, "whole": whole}
    source.selected.js_on_change("indices", CustomJS(args=args, code=pages.script("fold.js")))
    shown = f"The {MAX_FOLDS} largest of {count:,} folds" if count > MAX_FOLDS else "All folds"
    about = f"{shown}; together all are Φ. Relations count for each of their distinctions in parts."
    return [pages.section_heading("Φ-folds", about), pages.page_grid(fig, note)]


def has_finite_folds(tree: xr.DataTree, source: ColumnDataSource) -> bool:
    """Tell whether all folds, and Phi, are within what a number holds."""
    return bool(np.isfinite(source.data["fold"]).all() and np.isfinite(tree.attrs["big_phi"]))


def draw_folds(source: ColumnDataSource, size: tuple[int, int] = (760, 300)) -> figure:
    """Draw the largest folds as bars, and within them phi of the distinction itself."""
    chosen, ranks = _ranks(source.data["fold"], MAX_FOLDS)
    source.data["fold_rank"] = ranks
    names = [source.data["mechanism"][k] for k in chosen]
    fig = pages.empty_figure(
        "What each distinction contributes to Φ", "mechanism", "bits", size=size,
        x_range=(-0.8, len(chosen) - 0.2), name="folds-figure",
    )  # fmt: skip
    fig.y_range.start = 0
    shares = fig.vbar(
        "fold_rank", top="fold", width=0.8, fill_color=pages.RELATION, fill_alpha=0.45,
        line_color=pages.RELATION, nonselection_fill_alpha=0.3, selection_fill_color=pages.SELECTED,
        selection_fill_alpha=1.0, selection_line_color=pages.MECHANISM, source=source,
    )  # fmt: skip
    own = fig.vbar(
        "fold_rank", top="phi", width=0.8, fill_color=pages.EFFECT, line_color=None,
        nonselection_fill_alpha=0.7, source=source,
    )  # fmt: skip
    _name_axis(fig.xaxis, names)
    fig.xaxis.major_label_orientation = np.pi / 2
    pages.add_hover(fig, DISTINCTION_TIPS, shares, formatters=TIP_FORMATTERS)
    pages.legend_below(fig, [("its part of relations", [shares]), ("its own φ_d", [own])])
    return fig


def _lattices(tree: xr.DataTree, data: xr.Dataset, source: ColumnDataSource) -> list[UIElement]:
    """Draw mechanisms and purviews by inclusion, where there is room for them."""
    figures: list[UIElement] = []
    left_out = []
    if (count := int(tree.attrs["n_distinctions"])) > data.sizes["mechanism"]:
        text = f"Not drawn: the mechanisms and purviews of {count:,} distinctions."
        return [pages.section_heading("Inclusion", text)]
    for kind in LATTICES:
        masks = _masks(data, kind)
        title = "mechanisms" if kind == "mechanism" else f"{kind} purviews"
        if (drawn := draw_lattice(tree, kind, source)) is not None:
            figures.append(drawn)
        else:
            left_out.append(f"{len(set(masks)):,} {title}")
    about = "Lines lead from a set of units to those with one unit more, or the next that occurs. "
    about += "Dots are distinctions; those of one purview lie on each other."
    if left_out:
        about = f"Not drawn: {', '.join(left_out)}. A lattice has room for all sets of "
        about += f"{LATTICE_MAX_UNITS} units, or for {MAX_SETS} that occur."
    grid = [pages.page_grid(*figures)] if figures else []
    return [pages.section_heading("Inclusion", about), *grid]


def lattice_sets(masks: Sequence[int], n: int) -> list[int]:
    """Return the sets of units of a lattice, small ones first; none where there are too many.

    Examples
    --------
    >>> lattice_sets([3], 2), lattice_sets([5 << 9, 1], 12), lattice_sets(range(1, 99), 7)
    ([1, 2, 3], [1, 2560], [])
    """
    sets = range(1, 1 << n) if n <= LATTICE_MAX_UNITS else set(masks)
    if len(sets) > MAX_SETS:
        return []
    return sorted(sets, key=lambda mask: (mask.bit_count(), mask))


def covers(sets: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of sets of which the second includes the first with none in between.

    Examples
    --------
    >>> covers([1, 2, 3, 7])
    [(1, 3), (2, 3), (3, 7)]
    """
    found = []
    for low in sets:
        above = [mask for mask in sets if mask != low and low & ~mask == 0]
        least = [m for m in above if not any(k != m and k & ~m == 0 for k in above)]
        found += [(low, mask) for mask in least]
    return found


def _places(sets: Sequence[int]) -> dict[int, tuple[float, int]]:
    """Return where each set is: beside those of its size, above the smaller ones."""
    places = {}
    for size in {mask.bit_count() for mask in sets}:
        own = [mask for mask in sets if mask.bit_count() == size]
        for k, mask in enumerate(own):
            places[mask] = (k - (len(own) - 1) / 2, size)
    return places


def _masks(data: xr.Dataset, kind: str) -> list[int]:
    """Return the mechanisms or purviews of all distinctions, of any number of units."""
    packed = np.packbits(data[LATTICES[kind]].values.astype(bool), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def draw_lattice(
    tree: xr.DataTree, kind: str, source: ColumnDataSource, size: tuple[int, int] = (390, 380)
) -> figure | None:
    """Draw the mechanisms or purviews of a structure by inclusion; None where they are too many."""
    data = tree["distinctions"].to_dataset()
    labels = np.array([str(name) for name in data["unit"].values], object)
    masks = _masks(data, kind)
    sets = lattice_sets(masks, len(labels))
    if not sets:
        return None
    inside = np.array([[mask >> k & 1 for k in range(len(labels))] for mask in sets], bool)
    names = unit_set_names(inside, labels, known_labels(tree))
    places = _places(sets)
    title = "Lattice of " + ("mechanisms" if kind == "mechanism" else f"{kind} purviews")
    fig = pages.empty_figure(title, "", "units", size=size, name=f"lattice-{kind}-figure")
    fig.xaxis.visible, fig.xgrid.visible = False, False
    sizes = sorted({mask.bit_count() for mask in sets})
    fig.yaxis.ticker = FixedTicker(ticks=sizes)
    lines = [(places[a], places[b]) for a, b in covers(sets)]
    fig.multi_line(
        [[a[0], b[0]] for a, b in lines], [[a[1], b[1]] for a, b in lines],
        line_color=pages.MUTED, line_alpha=0.35,
    )  # fmt: skip
    counts = [sum(1 for mask in masks if mask == own) for own in sets]
    nodes = ColumnDataSource(
        {
            "x": [places[own][0] for own in sets], "y": [places[own][1] for own in sets],
            "name": list(names), "count": counts,
        }
    )  # fmt: skip
    drawn = fig.scatter("x", "y", size=15, fill_color="white", line_color=pages.MUTED, source=nodes)
    source.data[f"{kind}_x"] = [places[mask][0] for mask in masks]
    source.data[f"{kind}_y"] = [places[mask][1] for mask in masks]
    fig.scatter(f"{kind}_x", f"{kind}_y", source=source, **DOT_STYLE | {"size": 11})
    if len(sets) <= MAX_NAMED_SETS:
        fig.text(
            "x", "y", text="name", y_offset=16, text_align="center", text_baseline="middle",
            text_font_size="9px", text_color=pages.INK, source=nodes,
        )  # fmt: skip
    fig.y_range.range_padding = 0.16
    what = "distinctions" if kind == "mechanism" else "distinctions with this purview"
    pages.add_hover(fig, [("units", "@name"), (what, "@count")], drawn)
    return fig


def _pairs(data: xr.Dataset, source: ColumnDataSource, count: int) -> list[UIElement]:
    """Show how the purviews of every two distinctions lie to one another."""
    cross = ColumnDataSource({"place": []}, name="pair-cross")
    figures = [draw_pairs(data, side, source, cross) for side in ("cause", "effect")]
    follow = "cross.data = {place: distinctions.selected.indices.map("
    follow += "(d) => distinctions.data.pair_place[d]).filter((x) => !Number.isNaN(x))}"
    args = {"distinctions": source, "cross": cross}
    source.selected.js_on_change("indices", CustomJS(args=args, code=follow))
    shown = f"The {MAX_PAIRED} with the largest φ_d of {count:,}" if count > MAX_PAIRED else "All"
    about = f"{shown} distinctions, each against each. Empty cells have no unit in common."
    return [pages.section_heading("Distinction × distinction", about), pages.page_grid(*figures)]


def draw_pairs(
    data: xr.Dataset,
    side: str,
    source: ColumnDataSource,
    cross: ColumnDataSource,
    size: tuple[int, int] = (560, 540),
) -> figure:
    """Draw how the purviews of one side lie, of the distinctions of largest phi, each by each.

    `cross` has the places of the rows and columns that are marked.
    """
    phi = np.asarray(source.data["phi"], float)
    chosen = np.sort(_ranks(phi, MAX_PAIRED)[0])
    at = np.full(len(phi), np.nan)
    at[chosen] = np.arange(len(chosen)) + 0.5
    source.data["pair_place"] = at
    names = [source.data["mechanism"][k] for k in chosen]
    kinds = list(PAIR_COLOURS)
    tree = xr.DataTree.from_dict({"/distinctions": data.isel(mechanism=chosen)})
    kind = pairs(tree, side)["kind"].values
    codes = np.searchsorted(np.sort(kinds), kind.astype(str))
    codes = np.argsort(kinds)[codes].astype(np.uint8)
    count = len(names)
    fig = pages.empty_figure(
        f"{side.capitalize()} purviews of every two distinctions", "mechanism", "mechanism",
        size=size, x_range=(0, count), y_range=(count, 0), name=f"pairs-{side}-figure",
    )  # fmt: skip
    fig.grid.visible = False
    mapper = LinearColorMapper(palette=list(PAIR_COLOURS.values()), low=-0.5, high=len(kinds) - 0.5)
    image = ColumnDataSource({"kind": [codes], "x": [0], "y": [0], "dw": [count], "dh": [count]})
    drawn = fig.image("kind", "x", "y", "dw", "dh", source=image, color_mapper=mapper)
    look = {"fill_color": None, "line_color": pages.HIGHLIGHT, "line_width": 1.5, "source": cross}
    fig.hbar("place", left=0, right=count, height=1, **look)
    fig.vbar("place", bottom=0, top=count, width=1, **look)
    fig.scatter(
        "pair_place", "pair_place", source=source, marker="square",
        size=max(3, min(9, 400 / count)),
        fill_color="white", line_color=pages.MUTED, nonselection_fill_alpha=0.8,
        selection_fill_color=pages.SELECTED, selection_line_color=pages.INK,
    )  # fmt: skip
    _name_axis(fig.axis, [*names], middle=0.5)
    fig.xaxis.major_label_orientation = np.pi / 2
    name = CustomJSHover(args={"names": list(names)}, code="return names[Math.floor(value)] || ''")
    lies = CustomJSHover(args={"names": kinds}, code="return names[Math.round(value)] || ''")
    tips = [("row", "$y{custom}"), ("column", "$x{custom}"), ("purviews", "@kind{custom}")]
    pages.add_hover(fig, tips, drawn, formatters={"$x": name, "$y": name, "@kind": lies})
    blank: dict[str, Any] = {"x": [np.nan], "y": [np.nan], "marker": "square", "size": 11}
    entries = [
        (text, [fig.scatter(color=PAIR_COLOURS[kind], **blank)])
        for kind, text in PAIR_TEXTS.items()
    ]
    pages.legend_below(fig, entries)
    return fig


def _name_axis(axes: Sequence[Any], names: Sequence[str], middle: float = 0.0) -> None:
    """Name the places of an axis where there is room, else some of them."""
    step = 1 if len(names) <= 31 else int(np.ceil(len(names) / 21))
    places = list(range(0, len(names), step))
    for axis in axes:
        axis.ticker = FixedTicker(ticks=[k + middle for k in places])
        axis.major_label_overrides = {k + middle: join_labels([names[k]])[:24] for k in places}
        axis.major_label_text_font_size = "9px"
