"""A search across grains: which grain wins, the units around the network, verdicts, systems.

Micro units are circles; the units of larger grain that they make up are arcs around them, one ring
further out for each level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, CustomJS, FactorRange, Range1d, UIElement
from bokeh.plotting import figure

from iitdask.model.labels import join_labels, shortened
from iitdask.model.unit import MacroUnit, Unit, resolve_unit, unit_from_mapping
from iitdask.result.formatting import number_text
from iitdask.result.overview import summary_of
from iitdask.types import Array
from iitdask.view import pages
from iitdask.view.accessor import summary_html
from iitdask.view.network_figures import NetworkDrawing, draw_network, state_greys

TEXT_PIXELS = 420
MAX_BARS = 12
MAX_ROWS = 500  # Of a table; the result may have more
MAX_ARC_TEXT = 8  # Characters beside an arc
RING_STEP = 0.17
ARC_FIELDS = ("inner", "outer", "start", "end", "colour", "alpha", "name", "value", "micro")
TEXT_FIELDS = ("x", "y", "text", "align")
KEY = """<p class="key">Circles are micro units, dark where they are on. Each arc spans the micro
units of one unit of larger grain and names its state; units that consist of units have one arc
around another. Pale rings mark background units apportioned to the unit of their colour.</p>"""


@dataclass(frozen=True)
class UnitArcs:
    """What is drawn around the network for one row of a table."""

    arcs: dict[str, list[Any]]
    texts: dict[str, list[Any]]
    shares: list[str]  # Colour of the ring of each micro unit apportioned to one; "" elsewhere
    height: int  # Levels above the micro units


@dataclass(frozen=True)
class _Circle:
    """Places of micro units around the circle."""

    place: Mapping[int, int]  # Of each unit number
    window: list[list[int]]
    labels: tuple[str, ...]
    begin: float  # Radius of the innermost arc

    def angle(self, place: float) -> float:
        """Return the angle of a place, clockwise from the top."""
        return float(np.pi / 2 - 2 * np.pi * place / len(self.place))


def grains_panels(doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Return the elements of a search across grains."""
    tables = {name: tree[name].to_dataset() for name in ("complexes", "systems", "units")}
    sources = {
        "complexes": _rows_source(tables["complexes"], ("units", "phi")),
        "systems": _rows_source(tables["systems"], ("units", "phi", "footprint", "grain")),
        "units": _rows_source(
            tables["units"],
            (
                "candidate",
                "verdict",
                "phi",
                "witness",
                "witness_phi",
                "n_competitors",
                "n_mappings",
            ),
        ),
    }
    about = summary_html(summary_of(tree))
    top: UIElement = pages.html_block(_winner_html(tree) + about)
    if "network" in tree.children:
        top = _linked_network(doc, tree, tables, sources, about)
    return [
        top,
        pages.section_heading("Which grain wins", _bars_note(tables["systems"])),
        pages.page_grid(draw_bars(tree), *_complexes_table(sources["complexes"])),
        *_verdicts_table(sources["units"], tables["units"]),
        *_systems_table(sources["systems"], tree),
    ]


def _linked_network(
    doc: Document,
    tree: xr.DataTree,
    tables: Mapping[str, xr.Dataset],
    sources: Mapping[str, ColumnDataSource],
    about: str,
) -> UIElement:
    """Draw the network with the units of the winning systems; the tables choose others."""
    network = tree["network"].to_dataset()
    defined = {name: _defined(table) for name, table in tables.items()}
    won = defined["complexes"] or defined["systems"][:1]
    order = _circle_order(network, [unit for system in won for unit in system])
    fig, circle = _draw_circle(network, order, tree.attrs)
    rows = {name: [unit_arcs(circle, _as_one(name, each)) for each in defined[name]] for name in
            defined}  # fmt: skip
    whole = unit_arcs(circle, [unit for system in won for unit in system])
    height = max((each.height for own in rows.values() for each in own), default=1)
    arcs, texts, shares = _ring_sources(fig, circle, order, height, whole)
    note = pages.html_block("", name="selection", tags=[pages.SPOKEN])
    args = {
        "rows": {name: [_as_arrays(each) for each in own] for name, own in rows.items()},
        "arcs": arcs, "texts": texts, "shares": shares, "note": note, "figure": fig,
        **{name: sources[name] for name in rows},
    }  # fmt: skip
    for name, source in sources.items():
        follow = CustomJS(args=args | {"own": name}, code=pages.script("grains.js"))
        source.selected.js_on_change("indices", follow)
    first = "complexes" if defined["complexes"] else "systems"
    if len(defined["complexes"]) < 2 and defined[first]:
        select = CustomJS(
            args={"first": sources[first]},
            code="if (!first.selected.indices.length) first.selected.indices = [0]",
        )
        doc.js_on_event(DocumentReady, select)
    text = column(
        pages.html_block(_winner_html(tree)), note, pages.html_block(about + KEY),
        sizing_mode="stretch_width",
        styles={"flex": f"1 1 {TEXT_PIXELS}px", "min-width": "0"},
    )  # fmt: skip
    return pages.page_grid(fig, text)


def _winner_html(tree: xr.DataTree) -> str:
    """Say which units exist, and by how much they exceed micro units alone."""
    complexes, systems = tree["complexes"].to_dataset(), tree["systems"].to_dataset()
    parts = []
    rows = list(zip(complexes["units"].values, complexes["phi"].values, strict=True))
    for units, phi in rows[:MAX_BARS]:
        parts.append(
            f"<b>{escape(shortened(str(units), 200))}</b> with φ_s {number_text(phi)} bits"
        )
    more = f" and {len(rows) - MAX_BARS} more" if len(rows) > MAX_BARS else ""
    several = "Complexes across grains" if len(rows) > 1 else "The complex across grains"
    text = f"{several}: {'; '.join(parts)}{more}." if parts else _largest_text(tree)
    micro = np.flatnonzero(systems["units"].values == systems["footprint"].values)
    if len(micro):
        name, phi = (systems[key].values[micro[0]] for key in ("units", "phi"))
        text += f" The largest φ_s of micro units alone is {number_text(phi)} bits, of "
        text += f"{escape(str(name))}."
    return f"<p>{text}</p>"


def _largest_text(tree: xr.DataTree) -> str:
    """Say of a search without complexes which system has the largest phi, and what it lacks."""
    systems, units = tree["systems"].to_dataset(), tree["units"].to_dataset()
    text = "No system is a complex."
    if not systems.sizes["system"]:
        return text
    name, phi, footprint = (systems[key].values[0] for key in ("units", "phi", "footprint"))
    text += f" The largest φ_s is {number_text(phi)} bits, of {escape(shortened(str(name), 200))}"
    verdicts = dict(zip(units["candidate"].values, units["verdict"].values, strict=True))
    invalid = [
        f"{escape(part)} is {verdicts[part]}"
        for part in str(footprint).split(" | ")
        if verdicts.get(part, "VALID") != "VALID"
    ]
    return f"{text}; {', '.join(invalid)}." if invalid else f"{text}."


def _rows_source(data: xr.Dataset, names: Sequence[str]) -> ColumnDataSource:
    (dim,) = data.dims
    columns: dict[str, Any] = {}
    for name in names:
        values = data[name].values[:MAX_ROWS]
        columns[name] = values if values.dtype.kind in "fi" else [str(each) for each in values]
    if "n_systems" in data:
        columns["n_systems"] = data["n_systems"].values[:MAX_ROWS]
    return ColumnDataSource(columns, name=f"{dim}-rows")


def _defined(data: xr.Dataset) -> list[list[Unit]]:
    """Return the units of each of the first rows of a table."""
    return [
        [unit_from_mapping(each, "units") for each in row]
        for row in data.attrs.get("definitions", [])[:MAX_ROWS]
    ]


def _as_one(table: str, units: list[Unit]) -> list[Unit]:
    """Return what is drawn of a row; a candidate is a unit whose truth table is not chosen."""
    if table != "units" or (len(units) == 1 and units[0].is_micro):
        return units
    members = tuple(each.of[0] if each.is_micro else each for each in units)
    return [Unit(members, 1, (0,), b"\x00\x01", ())]


def _circle_order(network: xr.Dataset, units: Sequence[Unit]) -> Array:
    """Return all micro units, constituents of one unit beside each other."""
    labels = [str(name) for name in network["unit"].values]
    first = [labels.index(label) for unit in units for label in _micro_labels(unit)]
    return np.array(list(dict.fromkeys([*first, *range(len(labels))])))


def _micro_labels(unit: Unit) -> Iterator[str]:
    for each in unit.of:
        if isinstance(each, Unit):
            yield from _micro_labels(each)
        else:
            yield str(each)


def _draw_circle(
    network: xr.Dataset, order: Array, about: Mapping[Any, Any]
) -> tuple[figure, _Circle]:
    state = network["current_state"].values[order].tolist()
    greys = state_greys(state, network["levels"].values[order].tolist())
    net = NetworkDrawing.from_network(network, order, greys)
    fig, _ = draw_network(net, "Units of the winning grain")
    place = {int(unit): k for k, unit in enumerate(order)}
    window = [[int(value) for value in state] for state in str(about["window"]).split()]
    labels = tuple(str(name) for name in network["unit"].values)
    names_outside = len(labels) > 12 or max(map(len, labels)) > 3
    return fig, _Circle(place, window, labels, 1.62 if names_outside else 1.0 + 2.5 * _radius(net))


def _radius(net: NetworkDrawing) -> float:
    """Return the radius of a circle, as ``draw_network`` has it."""
    return min(0.17, 1.3 / max(len(net.labels), 1))


def unit_arcs(circle: _Circle, units: Sequence[Unit]) -> UnitArcs:
    """Return arcs and texts of the units of one system."""
    arcs: dict[str, list[Any]] = {name: [] for name in ARC_FIELDS}
    texts: dict[str, list[Any]] = {name: [] for name in TEXT_FIELDS}
    shares = [""] * len(circle.place)
    heights = [0]
    for number, definition in enumerate(units):
        colour = pages.GROUPS[number % len(pages.GROUPS)]
        unit = resolve_unit(definition, circle.labels)
        for part, level in _levels(definition):
            _add_arcs(circle, arcs, resolve_unit(part, circle.labels), level, colour)
            heights.append(level)
        for each in unit.background:
            shares[circle.place[each]] = colour
        if not definition.is_micro:
            _add_text(circle, texts, unit, _level(definition))
    return UnitArcs(arcs, texts, shares, max(heights))


def _level(definition: Unit) -> int:
    """Return how many levels a unit is above the micro units."""
    if definition.is_micro:
        return 0
    return 1 + max((_level(each) for each in definition.of if isinstance(each, Unit)), default=0)


def _levels(definition: Unit) -> Iterator[tuple[Unit, int]]:
    """Yield a unit and all units it consists of, with their levels; micro units are left out."""
    if not definition.is_micro:
        yield definition, _level(definition)
    for each in definition.of:
        if isinstance(each, Unit):
            yield from _levels(each)


def _add_arcs(
    circle: _Circle, arcs: dict[str, list[Any]], unit: MacroUnit, level: int, colour: str
) -> None:
    inner = circle.begin + (level - 1) * RING_STEP
    for first, last in _runs([circle.place[each] for each in unit.units], len(circle.place)):
        values = {
            "inner": inner, "outer": inner + 0.75 * RING_STEP,
            "start": circle.angle(last + 0.4), "end": circle.angle(first - 0.4),
            "colour": colour, "alpha": 0.55 + 0.4 * unit.value(circle.window),
            "name": unit.name, "value": unit.value(circle.window),
            "micro": " ".join(circle.labels[each] for each in unit.units),
        }  # fmt: skip
        for name, value in values.items():
            arcs[name].append(value)


def _runs(places: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Return runs of neighbours around a circle of so many places, first and last of each.

    Examples
    --------
    >>> _runs([0, 1, 5, 3], 6), _runs([0, 1, 2], 3)
    ([(5, 7), (3, 3)], [(0, 2)])
    """
    own = set(places)
    if len(own) == count:
        return [(0, count - 1)]
    runs = []
    for first in places:
        if (first - 1) % count not in own:
            last = first
            while (last + 1) % count in own:
                last += 1
            runs.append((first, last))
    return runs


def _add_text(circle: _Circle, texts: dict[str, list[Any]], unit: MacroUnit, level: int) -> None:
    runs = _runs([circle.place[each] for each in unit.units], len(circle.place))
    first, last = max(runs, key=lambda run: run[1] - run[0])
    angle = circle.angle((first + last) / 2)
    reach = circle.begin + level * RING_STEP + 0.02
    x, y = reach * np.cos(angle), reach * np.sin(angle)
    align = "center" if abs(np.cos(angle)) < 0.3 else ("left" if x > 0 else "right")
    name = unit.name
    if len(name) > MAX_ARC_TEXT:
        name = shortened(join_labels([circle.labels[k] for k in unit.units]), MAX_ARC_TEXT)
    values = {"x": x, "y": y + 0.08 * np.sin(angle), "align": align}
    for key, value in {**values, "text": f"{name} = {unit.value(circle.window)}"}.items():
        texts[key].append(value)


def _as_arrays(row: UnitArcs) -> dict[str, Any]:
    return {"arcs": row.arcs, "texts": row.texts, "shares": row.shares}


def _ring_sources(
    fig: figure, circle: _Circle, order: Array, height: int, whole: UnitArcs
) -> tuple[ColumnDataSource, ColumnDataSource, ColumnDataSource]:
    """Draw arcs, their texts, and rings of apportioned units; return what they are drawn from."""
    reach = circle.begin + max(height, 1) * RING_STEP + 0.45
    fig.x_range, fig.y_range = Range1d(-reach, reach), Range1d(-reach, reach)
    turn = np.array([circle.angle(k) for k in range(len(order))])
    radius = min(0.17, 1.3 / max(len(order), 1))
    at = {"x": np.cos(turn), "y": np.sin(turn)} if len(order) > 1 else {"x": [0.0], "y": [0.0]}
    shares = ColumnDataSource({**at, "colour": whole.shares}, name="shares")
    fig.annulus(
        "x", "y", inner_radius=1.1 * radius, outer_radius=1.4 * radius, fill_color="colour",
        fill_alpha=0.45, line_color=None, source=shares,
    )  # fmt: skip
    arcs = ColumnDataSource(whole.arcs, name="arcs")
    drawn = fig.annular_wedge(
        0, 0, inner_radius="inner", outer_radius="outer", start_angle="start", end_angle="end",
        fill_color="colour", fill_alpha="alpha", line_color=pages.INK, source=arcs,
    )  # fmt: skip
    texts = ColumnDataSource(whole.texts, name="arc-texts")
    fig.text(
        "x", "y", text="text", text_align="align", text_baseline="middle", source=texts,
        text_color=pages.INK, text_font_size="11px",
    )  # fmt: skip
    tips = [("unit", "@name"), ("state", "@value"), ("micro units", "@micro")]
    pages.add_hover(fig, tips, drawn)
    return arcs, texts, shares


def _bars_note(systems: xr.Dataset) -> str:
    count = len(set(systems["footprint"].values.tolist()))
    shown = f"the {MAX_BARS} largest of {count}" if count > MAX_BARS else f"all {count}"
    return (
        f"Largest φ_s of each choice of micro constituents, {shown}; units are set apart by |. "
        "Dark bars hold a complex, grey ones are of micro units alone. Select a row of any table "
        "to see its units around the network."
    )


def draw_bars(tree: xr.DataTree, width: int = 620) -> figure:
    """Draw the largest phi of each footprint."""
    systems, complexes = tree["systems"].to_dataset(), tree["complexes"].to_dataset()
    won = set(complexes["units"].values.tolist())
    _names, first = np.unique(systems["footprint"].values.astype(str), return_index=True)
    chosen = first[np.argsort(first)][:MAX_BARS]  # rows are by phi
    rows = systems.isel(system=chosen)
    is_micro = rows["units"].values == rows["footprint"].values
    is_won = [name in won for name in rows["units"].values]
    grains = rows["grain"].values
    factors = [
        shortened(f"{name}" + (f" ({grain} updates)" if grain > 1 else ""), 40)
        for name, grain in zip(rows["footprint"].values, grains, strict=True)
    ]
    factors = [name if factors.index(name) == k else f"{name} {k}" for k, name in
               enumerate(factors)]  # fmt: skip
    colours = [
        pages.EFFECT if has else pages.FAINT if micro else "#9CC3DE"
        for has, micro in zip(is_won, is_micro, strict=True)
    ]
    source = ColumnDataSource(
        {
            "place": factors, "phi": rows["phi"].values, "colour": colours,
            "units": [str(each) for each in rows["units"].values],
        },
        name="grains",
    )  # fmt: skip
    top = float(np.max(rows["phi"].values, initial=0.0)) * 1.05 or 1.0
    fig = pages.empty_figure(
        "Largest φ_s by micro constituents", "φ_s (bits)", "", size=(width, 70 + 24 * len(factors)),
        y_range=FactorRange(factors=factors[::-1]), x_range=(0, top), name="grains-figure",
    )  # fmt: skip
    drawn = fig.hbar(
        "place", right="phi", height=0.7, fill_color="colour", line_color=pages.INK, source=source
    )
    pages.add_hover(fig, [("units", "@units"), ("φ_s (bits)", "@phi{0.000000}")], drawn)
    return fig


def _complexes_table(source: ColumnDataSource) -> list[UIElement]:
    if not len(source.data["phi"]):
        return []
    columns = [
        pages.Column("units", "complex", 320, "text"),
        pages.Column("phi", "φ_s (bits)", 90, "number"),
    ]
    height = 60 + 26 * min(max(len(source.data["phi"]), 1), 12)
    return [pages.data_table(source, columns, height=height, name="complexes-table")]


def _verdicts_table(source: ColumnDataSource, data: xr.Dataset) -> list[UIElement]:
    columns = [
        pages.Column("candidate", "candidate", 150, "text"),
        pages.Column("verdict", "verdict", 130, "text"),
        pages.Column("phi", "φ_s (bits)", 90, "number"),
        pages.Column("witness", "best competitor", 190, "text"),
        pages.Column("witness_phi", "its φ_s (bits)", 100, "number"),
        pages.Column("n_competitors", "competitors", 90),
        pages.Column("n_mappings", "truth tables", 90),
    ]
    note = (
        f"{_shown(data.sizes['candidate'])}. A candidate is a unit if its constituents are more "
        "irreducible than every system of finer units within them; where one is not, the "
        "competitor that decided it is named."
    )
    total = _total(source, data.sizes["candidate"])
    table = pages.data_table(source, columns, height=330, name="verdicts-table", total=total)
    return [pages.section_heading("Units: verdicts", note), table]


def _systems_table(source: ColumnDataSource, tree: xr.DataTree) -> list[UIElement]:
    columns = [
        pages.Column("units", "units", 320, "text"),
        pages.Column("phi", "φ_s (bits)", 90, "number"),
        pages.Column("footprint", "micro constituents", 180, "text"),
        pages.Column("grain", "updates", 70),
    ]
    kept = tree["systems"].sizes["system"]
    note = f"{tree.attrs['n_systems']:,} systems were compared; {_shown(kept)}."
    if tree.attrs.get("summarised"):
        columns.append(pages.Column("n_systems", "systems", 80))
        note += " Each row stands for all systems of these constituents with this φ_s."
    total = _total(source, int(tree.attrs["n_systems"]))
    table = pages.data_table(source, columns, height=330, name="systems-table", total=total)
    return [pages.section_heading("Systems", note), table]


def _total(source: ColumnDataSource, count: int) -> str:
    """Return how many rows there would be, where some are left out."""
    return f"{count:,}" if count > len(source.data["phi"]) else ""


def _shown(count: int) -> str:
    return f"{count} rows" if count <= MAX_ROWS else f"the first {MAX_ROWS} of {count} rows"
