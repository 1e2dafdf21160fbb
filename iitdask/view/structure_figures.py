"""Distinctions of a cause-effect structure: table, plane, repertoires, mechanism-purview maps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import (
    ColorBar,
    Column,
    ColumnDataSource,
    CustomJSHover,
    CustomJSTickFormatter,
    FactorRange,
    FixedTicker,
    LinearColorMapper,
    LogColorMapper,
    Row,
)
from bokeh.plotting import figure
from bokeh.transform import dodge

from iitdask.model.labels import mask_namer, state_text, unit_set_names
from iitdask.result.formatting import known_labels
from iitdask.theory.iit4.repertoires import MAX_SHOWN_DISTINCTIONS
from iitdask.types import Array
from iitdask.view import pages

DOT_STYLE = {
    "size": 9, "fill_color": pages.EFFECT, "fill_alpha": 0.55, "line_color": pages.INK,
    "line_alpha": 0.7, "nonselection_fill_alpha": 0.45, "nonselection_line_alpha": 0.8,
    "selection_fill_color": pages.SELECTED, "selection_fill_alpha": 1.0,
    "selection_line_color": pages.MECHANISM, "selection_line_width": 2,
}  # fmt: skip
FIGURE_SIZE = (250, 330)
REPERTOIRE_KINDS = ("constrained", "partitioned", "unconstrained")
MAX_FOLDS = 60  # That are drawn
STATE_COLUMNS = ("cause_state", "effect_state")
DISTINCTION_TIPS = [
    ("mechanism", "@mechanism"),
    ("φ_d", "@phi{0.000000}"),
    ("fold", "@fold{%.7g}"),
    ("cause", "@cause in @cause_state"),
    ("effect", "@effect in @effect_state"),
]
TIP_FORMATTERS = {"@fold": "printf"}  # A fold may have tens of digits


def largest_distinctions(tree: xr.DataTree, named: Collection[str] = ()) -> xr.DataTree:
    """Return a structure with no more distinctions than a page can draw.

    Parameters
    ----------
    tree : DataTree
        A cause-effect structure, or what there is of one.
    named : collection of str
        Mechanisms that are kept in any case.

    Returns
    -------
    DataTree
        As it was, where there are at most `MAX_SHOWN_DISTINCTIONS`; else with those of the largest
        phi, those of the largest folds, and those named.
    """
    node = "distinctions" if "distinctions" in tree.children else "mechanisms"
    data = tree[node].to_dataset()
    if data.sizes["mechanism"] <= MAX_SHOWN_DISTINCTIONS:
        return tree
    is_kept = np.isin(data["mechanism"].values.astype(str), list(named))
    is_kept[np.argsort(-data["phi"].values, kind="stable")[:MAX_SHOWN_DISTINCTIONS]] = True
    if "fold" in data:
        is_kept[np.argsort(-data["fold"].values, kind="stable")[:MAX_FOLDS]] = True
    rows = np.flatnonzero(is_kept)
    nodes = {each.path: each.to_dataset(inherit=False) for each in tree.subtree}
    nodes[f"/{node}"] = data.isel(mechanism=rows)
    if "/repertoires" in nodes:
        nodes["/repertoires"] = _repertoires_of(nodes["/repertoires"], rows)
    return xr.DataTree.from_dict(nodes)


def _repertoires_of(data: xr.Dataset, rows: Array) -> xr.Dataset:
    """Return the repertoires of some distinctions, ragged along the states that are shown."""
    out = data.drop_dims(["edge", "row_cause", "row_effect"], errors="ignore")
    if "mechanism" in out.dims:
        out = out.isel(mechanism=rows)
    for side in pages.SIDES:
        if (name := f"shown_begin_{side}") in data:
            begin = data[name].values
            counts = np.diff(begin)[rows]
            ends = np.cumsum(counts)
            at = np.arange(counts.sum()) + np.repeat(begin[rows] - ends + counts, counts)
            out = out.isel({f"shown_{side}": at})
            out[name] = (("edge",), np.concatenate([[0], ends]))
    return out


def drawn_text(tree: xr.DataTree, drawn: xr.DataTree) -> str:
    """Say which distinctions of a structure are drawn; nothing where all are."""
    is_partial = "mechanisms" in tree.children
    node = "mechanisms" if is_partial else "distinctions"
    count, shown = (each[node].sizes["mechanism"] for each in (tree, drawn))
    so_far = " so far" if is_partial else ""
    return so_far.strip() if count == shown else f"the {shown:,} largest of {count:,}{so_far}"


def distinctions_source(data: xr.Dataset, known: Sequence[str] = ()) -> ColumnDataSource:
    """Return one row per distinction, in the order of the result.

    Names of purviews differ from the labels `known`, those of all units of the substrate.
    """
    names = [str(name) for name in data["mechanism"].values]
    order = data["mechanism_units"].values.sum(axis=1).astype(int)
    labels = np.array([str(name) for name in data["unit"].values], dtype=object)
    none = xr.full_like(data["phi"], np.nan)  # concepts of IIT 3.0 specify no state
    columns: dict[str, Any] = {
        "mechanism": names,
        "order": order,
        "spread": order + pages.spread_offsets(order),
        "phi": np.asarray(data["phi"].values, float),
        "fold": data.get("fold", none).values.astype(float),
    }
    for side in ("cause", "effect"):
        inside = data[f"purview_{side}"].values
        columns |= {
            side: unit_set_names(inside, labels, known),
            f"{side}_state": _state_texts(data, side),
            f"phi_{side}": np.asarray(data[f"phi_{side}"].values, float),
            f"ii_{side}": data.get(f"intrinsic_information_{side}", none).values.astype(float),
            f"partition_{side}": [str(text) for text in data.get(f"partition_{side}", none).values],
            f"tied_{side}": data.get(f"n_tied_purviews_{side}", xr.zeros_like(none)).values.astype(
                int
            ),
        }
    return ColumnDataSource(columns, name="distinctions")


def _state_texts(data: xr.Dataset, side: str) -> list[str]:
    """Return specified states as text; a concept of IIT 3.0 specifies none."""
    if f"state_{side}" not in data:
        return [""] * data.sizes["mechanism"]
    rows = zip(data[f"purview_{side}"].values, data[f"state_{side}"].values, strict=True)
    return [state_text(values[inside].tolist()) for inside, values in rows]


def memberships(data: xr.Dataset) -> dict[str, Any]:
    """Return mechanisms and purviews as flat arrays for the page's script.

    Purviews have the state of each unit, -1 outside; 0 if none is specified.
    """
    states = {
        side: data.get(f"state_{side}", data[f"purview_{side}"].astype(int) - 1).values
        for side in pages.SIDES
    }
    return {
        "units": [str(name) for name in data["unit"].values],
        "count": int(data.sizes["mechanism"]),
        "mechanism": data["mechanism_units"].values.astype(np.int8).ravel(),
        "specified": "state_cause" in data,
        **{side: values.astype(np.int16).ravel() for side, values in states.items()},
    }


def distinction_panels(source: ColumnDataSource, unit: str = " (bits)", total: str = "") -> Row:
    """Return the table of distinctions beside phi by order and the cause-effect plane.

    `total` is how many there are, where not all are in the source.
    """
    table = distinctions_table(source, unit, total)
    return pages.page_grid(table, by_order(source, unit=unit), plane(source, unit=unit))


def distinctions_table(source: ColumnDataSource, unit: str = " (bits)", total: str = "") -> Column:
    """Return distinctions as a table that sorts by any column, as wide as their names need."""
    name_length = max((len(name) for name in source.data["mechanism"]), default=1)
    state_length = max(
        (len(text) for side in STATE_COLUMNS for text in source.data[side]), default=0
    )
    name_width = min(240, max(82, 8 * name_length))
    state_width = min(150, max(58, 18 + 8 * state_length))
    columns = [
        pages.Column("mechanism", "mechanism", name_width, "text"),
        pages.Column("phi", f"φ_d{unit}", 78, "number"),
    ]
    if np.isfinite(source.data["fold"]).any():  # neither concepts nor earlier results have folds
        columns.append(pages.Column("fold", f"fold{unit}", 78, "number"))
    for side in pages.SIDES:
        columns.append(pages.Column(side, side, name_width, "text"))
        if state_length:  # concepts of IIT 3.0 specify no state
            columns.append(pages.Column(f"{side}_state", "state", state_width, "text"))
        columns.append(pages.Column(f"phi_{side}", f"φ_{side[0]}{unit}", 78, "number"))
    return pages.data_table(
        source, columns, height=FIGURE_SIZE[1], name="distinctions-table", total=total, first="phi"
    )


def by_order(
    source: ColumnDataSource,
    size: tuple[int, int] = FIGURE_SIZE,
    unit: str = " (bits)",
    shown: str = "",
) -> figure:
    """Draw phi_d against the number of units in the mechanism; `shown` says of which."""
    most = int(max(source.data["order"], default=1))
    fig = pages.empty_figure(
        _title("Distinctions by order", shown), "units in the mechanism", f"φ_d{unit}", size=size,
        x_range=(0.4, most + 0.6), name="by-order-figure",
    )  # fmt: skip
    fig.xaxis.ticker = list(range(1, most + 1))
    dots = fig.scatter("spread", "phi", source=source, **DOT_STYLE)
    pages.add_hover(fig, DISTINCTION_TIPS, dots, formatters=TIP_FORMATTERS)
    return fig


def plane(
    source: ColumnDataSource,
    size: tuple[int, int] = FIGURE_SIZE,
    unit: str = " (bits)",
    shown: str = "",
) -> figure:
    """Draw phi of the cause against phi of the effect; `shown` says of which distinctions."""
    values = [*source.data["phi_cause"], *source.data["phi_effect"]]
    top = float(max(values, default=1.0)) * 1.08 or 1.0
    fig = pages.empty_figure(
        _title("Cause-effect plane", shown), f"φ_c{unit}", f"φ_e{unit}", size=size,
        x_range=(-0.04 * top, top), y_range=(-0.04 * top, top), name="plane-figure",
    )  # fmt: skip
    fig.line([0, top], [0, top], line_color=pages.MUTED, line_dash="dotted")
    dots = fig.scatter("phi_cause", "phi_effect", source=source, **DOT_STYLE)
    pages.add_counts(fig, "phi_cause", "phi_effect", source)
    pages.add_hover(fig, DISTINCTION_TIPS, dots, formatters=TIP_FORMATTERS)
    return fig


def _title(name: str, shown: str) -> str:
    return f"{name}: {shown}" if shown else name


def landscape(tree: xr.DataTree, side: str, source: ColumnDataSource, size: int = 440) -> figure:
    """Draw phi of every pair of one direction; a click on a distinction selects its row."""
    data, distinctions = tree["landscape"].to_dataset(), tree["distinctions"].to_dataset()
    labels = [str(name) for name in distinctions["unit"].values]
    masks = np.arange(1, 1 << len(labels))
    masks = masks[np.lexsort((masks, np.bitwise_count(masks)))]
    at = np.zeros(1 << len(labels), int)
    at[masks] = np.arange(len(masks))
    weights = 1 << np.arange(len(labels))
    for column, units in (("map_y", "mechanism_units"), (f"map_{side}", f"purview_{side}")):
        source.data[column] = at[distinctions[units].values @ weights] + 0.5
    row = list(pages.SIDES).index(side)
    grid = np.ix_(masks - 1, masks - 1)
    phi = data["pair_phi"].values[row][grid].astype(np.float32)
    outcome = data["outcome"].values[row][grid]
    names, count = [*map(mask_namer(labels, known_labels(tree)), masks.tolist())], len(masks)
    fig = pages.empty_figure(
        f"φ of mechanisms over {side} purviews", f"{side} purview", "mechanism",
        frame=(size, size), x_range=(0, count), y_range=(count, 0),
        name=f"landscape-{side}-figure",
    )  # fmt: skip
    fig.grid.visible = False
    mapper = _phi_colours(phi)
    place = {"x": [0], "y": [0], "dw": [count], "dh": [count]}
    image = ColumnDataSource({"phi": [phi], **place})
    drawn = fig.image("phi", "x", "y", "dw", "dh", source=image, color_mapper=mapper)
    _excluded_marks(fig, outcome)
    _name_ticks(fig, names)
    fig.scatter(
        f"map_{side}", "map_y", source=source, marker="square", size=9, fill_color=None,
        line_color=pages.HIGHLIGHT, line_width=2, nonselection_line_alpha=1.0,
        selection_line_color=pages.INK, selection_line_width=3,
        selection_fill_color=pages.SELECTED, selection_fill_alpha=0.6,
    )  # fmt: skip
    fig.add_layout(ColorBar(color_mapper=mapper, width=12, title="bits"), "right")
    _add_hover(fig, drawn, names, outcome, list(data.attrs["outcomes"]))
    return fig


def _phi_colours(phi: Array) -> LogColorMapper:
    """Return a map of phi to colours by its logarithm, over at most three decades; 0 is white."""
    above = phi[phi > 0]
    top = float(above.max()) if above.size else 1.0
    low = max(float(above.min()), top / 1000) if above.size else 0.1
    return LogColorMapper(
        palette=pages.PHI,
        low=min(low, 0.999 * top),
        high=top,
        low_color="white",
        nan_color=pages.NO_DATA,
    )


def _excluded_marks(fig: figure, outcome: Array) -> None:
    """Mark the pairs that a bound excluded, in an image where there is no room for dots."""
    excluded = outcome == 1
    y, x = np.nonzero(excluded)
    if len(outcome) <= 63:
        marks = ColumnDataSource({"x": x + 0.5, "y": y + 0.5})
        if len(outcome) <= 31:
            fig.scatter("x", "y", size=5, fill_color="white", line_color=pages.MUTED, source=marks)
        else:
            fig.scatter("x", "y", size=2, color="#A0A0A0", line_color=None, source=marks)
        return
    fine = np.zeros((3 * len(outcome), 3 * len(outcome)), np.uint8)
    fine[1::3, 1::3] = excluded
    veil = LinearColorMapper(palette=["rgba(0, 0, 0, 0)", "#FFFFFF"], low=-0.5, high=1.5)
    fig.image([fine], 0, 0, len(outcome), len(outcome), color_mapper=veil)


def _name_ticks(fig: figure, names: list[str]) -> None:
    """Label every row and column where there is room, else some of them."""
    step = 1 if len(names) <= 31 else int(np.ceil(len(names) / 21))
    for axis in fig.axis:
        axis.ticker = FixedTicker(ticks=[k + 0.5 for k in range(0, len(names), step)])
        axis.formatter = CustomJSTickFormatter(
            args={"names": names}, code="return names[Math.floor(tick)] || ''"
        )
        axis.major_label_text_font_size = "9px"
        axis.minor_tick_line_color = None
    fig.xaxis.major_label_orientation = np.pi / 2


def _add_hover(
    fig: figure, drawn: Any, names: list[str], outcome: Array, outcomes: list[str]
) -> None:
    args = {"names": names, "outcome": outcome.astype(np.int8).ravel(), "outcomes": outcomes}
    name = CustomJSHover(args=args, code="return names[Math.floor(value)] || ''")
    what = CustomJSHover(
        args=args,
        code="""
        const x = Math.floor(special_vars.x), y = Math.floor(special_vars.y)
        return outcomes[outcome[y * names.length + x]] || ''
        """,
    )
    tips = [("mechanism", "$y{custom}"), ("purview", "$x{custom}"), ("φ (bits)", "@phi{0.000000}")]
    tips.append(("search", "$snap_x{custom}"))
    formatters = {"$y": name, "$x": name, "$snap_x": what}
    pages.add_hover(fig, tips, drawn, formatters=formatters)


def repertoire_arrays(data: xr.Dataset, levels: list[int]) -> dict[str, Any]:
    """Return repertoires as flat arrays for the page's script."""
    out: dict[str, Any] = {"levels": levels}
    for side in pages.SIDES:
        out[f"begin_{side}"] = data[f"shown_begin_{side}"].values.astype(np.int32)
        out[f"code_{side}"] = data[f"shown_code_{side}"].values.astype(np.int32)
        for kind in REPERTOIRE_KINDS:
            out[f"{kind}_{side}"] = data[f"shown_{kind}_{side}"].values.astype(np.float32)
        for name in ("likelihood", "likelihood_partitioned", "selectivity"):
            out[f"{name}_{side}"] = data[f"{name}_{side}"].values.astype(np.float64)
    return out


def concept_repertoire_arrays(data: xr.Dataset, levels: list[int]) -> dict[str, Any]:
    """Return the repertoires of concepts of IIT 3.0 as flat arrays for the page's script."""
    out: dict[str, Any] = {"levels": levels}
    for side in pages.SIDES:
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
    return out


def repertoire_bars(
    side: str, size: tuple[int, int] = (560, 290), kinds: tuple[str, ...] = REPERTOIRE_KINDS
) -> tuple[figure, ColumnDataSource]:
    """Return an empty bar chart, whose source a script fills when a distinction is selected."""
    empty: dict[str, list[Any]] = {name: [] for name in ("state", *REPERTOIRE_KINDS, "mark")}
    source = ColumnDataSource(empty, name=f"repertoire-{side}")
    fig = pages.empty_figure(
        f"{side.capitalize()} repertoire", "state of the purview", "probability", size=size,
        name=f"repertoire-{side}-figure", x_range=FactorRange(), y_range=(0, 1.12),
    )  # fmt: skip
    fig.xgrid.visible = False
    colour = pages.SIDES[side]
    hatch = {"hatch_pattern": "/", "hatch_color": colour}
    looks = {
        "constrained": {"fill_color": colour, "line_color": colour},
        "partitioned": {"fill_color": "white", "line_color": colour, **hatch},
        "unconstrained": {"fill_color": pages.FAINT, "line_color": pages.MUTED},
    }
    entries = []
    for k, kind in enumerate(kinds):
        offset = (k - (len(kinds) - 1) / 2) * 0.27
        x = dodge("state", offset, range=fig.x_range)
        drawn = fig.vbar(x, top=kind, width=0.25, source=source, **looks[kind])
        entries.append((kind, [drawn]))
        tips = [("state", "@state"), *((name, f"@{name}{{0.000000}}") for name in kinds)]
        pages.add_hover(fig, tips, drawn)
    mark = fig.scatter(
        "state", "mark", marker="inverted_triangle", size=10, color=pages.INK, source=source
    )
    if "unconstrained" in kinds:
        entries.append(("specified state", [mark]))
    pages.legend_below(fig, entries)
    return fig, source
