"""A network of units drawn on a circle: connections, state, severed edges, selection.

Complexes of a network: its units coloured by the complex they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.models import BasicTicker, ColumnDataSource, CustomJS, UIElement
from bokeh.plotting import figure

from iitdask.result.overview import summary_of
from iitdask.types import Array
from iitdask.view import pages
from iitdask.view.accessor import summary_html

MAX_DRAWN_EDGES = 4000
CURVE_STEPS = 14
UNIT_TEXT: dict[str, Any] = {
    "text": "text", "text_color": "ink", "text_align": "center", "text_baseline": "middle",
}  # fmt: skip


@dataclass(frozen=True)
class NetworkDrawing:
    """Units and connections to draw."""

    labels: list[str]  # Label of each unit
    state: list[int]  # Current value of each unit; -1 where it is not known
    colours: list[str]  # Colour of each unit
    edges: Array  # (n, n) bool, from row to column
    severed: Array  # (n, n) bool, among the edges

    @classmethod
    def from_network(cls, network: xr.Dataset, order: Array, colours: list[str]) -> NetworkDrawing:
        """Return all units of a substrate, in an order around the circle."""
        labels = [str(name) for name in network["unit"].values[order]]
        edges = np.asarray(network["connectivity"].values, bool)[np.ix_(order, order)]
        state = network["current_state"].values[order].tolist()
        return cls(labels, state, colours, edges, np.zeros_like(edges))

    @classmethod
    def from_system(cls, tree: xr.DataTree) -> NetworkDrawing:
        """Return the candidate system of a result: its minimum partition is severed."""
        system = tree["system"].to_dataset()
        labels = [str(name) for name in system["unit"].values]
        cut = np.asarray(system["cut"].values, bool)
        if "network" in tree.children and "macro_units" not in system.attrs:
            network = tree["network"].to_dataset()
            inside = np.flatnonzero(network["inside"].values)
            edges = network["connectivity"].values[np.ix_(inside, inside)]
            state, levels = (
                network[k].values[inside].tolist() for k in ("current_state", "levels")
            )
        else:
            known = "connectivity" in system
            edges = np.asarray(system["connectivity" if known else "cut"].values, bool)
            state = system["current_state"].values.tolist() if known else [-1] * len(labels)
            levels = [max(2, 1 + max(state, default=1))] * len(labels)
        return cls(labels, state, state_greys(state, levels), edges, cut & edges)


def circle_positions(n: int, radius: float = 1.0) -> tuple[Array, Array]:
    """Return x and y of n positions on a circle, clockwise from the top."""
    turn = np.pi / 2 - 2 * np.pi * np.arange(n) / max(n, 1)
    radius = radius if n > 1 else 0.0
    return radius * np.cos(turn), radius * np.sin(turn)


def radial_labels(
    fig: figure, labels: list[str], x: Array, y: Array, scale: float, **look: Any
) -> None:
    """Write labels outwards from the centre, so that none is upside down."""
    turn = np.arctan2(y, x)
    for is_right in (True, False):
        side = np.flatnonzero((np.cos(turn) >= -1e-9) == is_right)
        fig.text(
            scale * np.cos(turn[side]), scale * np.sin(turn[side]),
            text=[labels[k] for k in side],
            angle=turn[side] if is_right else turn[side] + np.pi,
            text_align="left" if is_right else "right", text_baseline="middle", **look,
        )  # fmt: skip


def draw_network(
    net: NetworkDrawing, title: str, size: int = 380
) -> tuple[figure, ColumnDataSource]:
    """Draw a network, `size` pixels wide; a row per unit of the source returned lights units up."""
    n = len(net.labels)
    # Neighbours on the circle must not touch.
    radius = min(0.17, (1.3 if n <= 14 else 2.2) / max(n, 1))
    x, y = circle_positions(n)
    reach = 1.0 + 3.6 * radius + 0.12
    fig = pages.empty_figure(
        title, frame=(size, size), name="lights-figure", x_range=(-reach, reach),
        y_range=(-reach, reach),
    )  # fmt: skip
    fig.axis.visible, fig.grid.visible = False, False
    entries = [
        ("connection", _edges(fig, net, net.edges & ~net.severed, radius, severed=False)),
        ("severed", _edges(fig, net, net.severed, radius, severed=True)),
    ]
    opacities = {name: np.zeros(n) for name in ("mechanism", "cause", "effect", "overlap")}
    texts = {name: [""] * n for name in ("cause_state", "effect_state")}
    beside = {"cause_x": x - 2.1 * radius, "effect_x": x + 2.1 * radius}
    lights = ColumnDataSource({"x": x, "y": y, **beside, **opacities, **texts}, name="lights")
    _rings(fig, lights, radius)
    _nodes(fig, net, x, y, radius)
    pages.legend_below(fig, [entry for entry in entries if entry[1]])
    return fig, lights


def _rings(fig: figure, lights: ColumnDataSource, radius: float) -> None:
    """Mechanism: a ring; cause and effect: left and right half of a second; overlap: a third."""
    rings = {"mechanism": (1.08, 1.3, pages.MECHANISM), "overlap": (1.86, 2.02, pages.RELATION)}
    for name, (inner, outer, colour) in rings.items():
        fig.annulus(
            "x", "y", inner_radius=inner * radius, outer_radius=outer * radius,
            fill_color=colour, fill_alpha=name, line_color=None, source=lights,
        )  # fmt: skip
    for (name, colour), begin in zip(pages.SIDES.items(), (np.pi / 2, -np.pi / 2), strict=True):
        fig.annular_wedge(
            "x", "y", inner_radius=1.4 * radius, outer_radius=1.78 * radius,
            start_angle=begin + 0.08, end_angle=begin + np.pi - 0.08,
            fill_color=colour, fill_alpha=name, line_color=None, source=lights,
        )  # fmt: skip
        fig.text(
            f"{name}_x", "y", text=f"{name}_state", source=lights,
            text_color=pages.SIDE_TEXTS[name], text_font_size="12px", text_font_style="bold",
            text_baseline="middle",
            text_align="right" if name == "cause" else "left",
        )  # fmt: skip


def units_source(
    labels: list[str], state: list[int], colours: list[str], x: Array, y: Array
) -> ColumnDataSource:
    """Return one row per unit: its place, colour, and text in ink that is seen on the colour."""
    texts = [
        label if value < 0 else f"{label}\n{value}"
        for label, value in zip(labels, state, strict=True)
    ]
    return ColumnDataSource(
        {
            "x": x, "y": y, "label": labels, "fill": colours, "text": texts,
            "state": ["?" if value < 0 else str(value) for value in state],
            "ink": [pages.text_colour_on(colour) for colour in colours],
        }
    )  # fmt: skip


def _nodes(fig: figure, net: NetworkDrawing, x: Array, y: Array, radius: float) -> None:
    n = len(net.labels)
    source = units_source(net.labels, net.state, net.colours, x, y)
    nodes = fig.circle(
        "x", "y", radius=radius, fill_color="fill", line_color=pages.INK, line_width=1.5,
        source=source,
    )  # fmt: skip
    if n <= 12 and max(map(len, net.labels), default=0) <= 3:
        font_size = "13px" if n <= 8 else "10px"
        fig.text("x", "y", source=source, text_font_size=font_size, **UNIT_TEXT)
    elif n <= 130:
        look = {"text_font_size": "10px" if n <= 60 else "8px", "text_color": pages.INK}
        radial_labels(fig, net.labels, x, y, 1.0 + 2.3 * radius, **look)
    pages.add_hover(fig, [("unit", "@label"), ("state", "@state")], nodes)


def state_greys(state: Sequence[int], levels: Sequence[int]) -> list[str]:
    """Return a grey per unit, the darker the larger its value; -1 is an unknown value."""
    shares = [
        value / max(count - 1, 1) if value >= 0 else 0.15
        for value, count in zip(state, levels, strict=True)
    ]
    return ["#" + f"{255 - int(205 * share):02x}" * 3 for share in shares]


def _edges(
    fig: figure, net: NetworkDrawing, edges: Array, radius: float, *, severed: bool
) -> list[Any]:
    x, y = circle_positions(len(net.labels))
    pairs = np.argwhere(edges)[:MAX_DRAWN_EDGES]
    if not len(pairs):
        return []
    lines = [_curve(x, y, int(a), int(b), radius) for a, b in pairs]
    names = [f"{net.labels[a]}→{net.labels[b]}" for a, b in pairs]
    colour, alpha = (
        (pages.INK, 0.95) if severed else (pages.MUTED, 0.75 if len(pairs) < 200 else 0.3)
    )
    source = ColumnDataSource(
        {"xs": [line[0] for line in lines], "ys": [line[1] for line in lines], "name": names}
    )
    drawn = fig.multi_line(
        "xs", "ys", source=source, line_color=colour, line_alpha=alpha,
        line_width=1.6 if severed else 1.2, line_dash="dashed" if severed else "solid",
    )  # fmt: skip
    size = 9 if len(net.labels) <= 16 else 5
    heads = fig.scatter(
        "x", "y", angle="angle", marker="triangle", size=size, color=colour, alpha=alpha,
        source=ColumnDataSource(_arrow_heads(lines)),
    )  # fmt: skip
    renderers = [drawn, heads]
    if severed:
        middle = [[line[axis][CURVE_STEPS // 2] for line in lines] for axis in (0, 1)]
        look: dict[str, Any] = {"size": size + 2, "color": pages.INK, "line_width": 2}
        renderers.append(fig.scatter(*middle, marker="x", **look))
    pages.add_hover(fig, [("severed" if severed else "connection", "@name")], drawn)
    return renderers


def _curve(x: Array, y: Array, a: int, b: int, radius: float) -> tuple[list[float], list[float]]:
    """Return a curve between two nodes, bent to the right so that both directions are seen."""
    t = np.linspace(0, 1, CURVE_STEPS + 1)
    if a == b:
        away = np.arctan2(y[a], x[a]) if abs(x[a]) + abs(y[a]) > 0 else np.pi / 2
        turn = away + np.pi + 0.85 + t * (2 * np.pi - 1.7)
        cx, cy = x[a] + 1.55 * radius * np.cos(away), y[a] + 1.55 * radius * np.sin(away)
        loop = 0.85 * radius
        return (cx + loop * np.cos(turn)).tolist(), (cy + loop * np.sin(turn)).tolist()
    start, end = np.array([x[a], y[a]]), np.array([x[b], y[b]])
    step = end - start
    normal = np.array([step[1], -step[0]])
    control = (start + end) / 2 + 0.12 * normal
    gap = radius * 1.08
    start = start + gap * _unit_vector(control - start)
    end = end + gap * 1.25 * _unit_vector(control - end)
    points = np.outer((1 - t) ** 2, start) + np.outer(2 * t * (1 - t), control)
    points += np.outer(t**2, end)
    return points[:, 0].tolist(), points[:, 1].tolist()


def _unit_vector(vector: Array) -> Array:
    length = float(np.hypot(*vector))
    return vector / length if length else vector


def _arrow_heads(lines: list[tuple[list[float], list[float]]]) -> dict[str, list[float]]:
    angle = [float(np.arctan2(ys[-1] - ys[-2], xs[-1] - xs[-2]) - np.pi / 2) for xs, ys in lines]
    return {"x": [p[0][-1] for p in lines], "y": [p[1][-1] for p in lines], "angle": angle}


NO_COMPLEX_COLOUR = "#F4F4F4"
COLOUR_KEY = """<p class="key">Units of one complex share a colour; what belongs to none is pale.
Colours repeat after eight: the units of a selected complex are ringed.</p>"""
RING_UNITS = """
const own = lights.data.mechanism
for (let i = 0; i < n; i++)
  own[i] = cb_obj.indices.some((k) => inside[k * n + i]) ? 1 : 0
lights.change.emit()
"""


def complexes_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show which complexes a network has."""
    data = tree["complexes"].to_dataset()
    source, name = complexes_source(data), phi_name(data)
    is_empty = not data.sizes["complex"]
    about = summary_html(summary_of(tree))
    top: UIElement = pages.html_block(about)
    if "network" in tree.children:
        fig, lights, order = coloured_network(tree["network"].to_dataset(), data)
        top = pages.page_grid(fig, pages.html_block(about + COLOUR_KEY * (not is_empty), 420))
        inside = data["units"].values.astype(np.int8)[:, order]
        args = {"lights": lights, "inside": inside.ravel(), "n": inside.shape[1]}
        source.selected.js_on_change("indices", CustomJS(args=args, code=RING_UNITS))
    if is_empty:
        reason = "No complexes: no candidate system of this network is irreducible."
        return [top, pages.section_heading("Complexes", reason)]
    columns = [
        pages.Column("rank", "#", 36),
        pages.Column("colour", "", 36, "colour"),
        pages.Column("name", "complex", 380, "text"),
        pages.Column("size", "units", 48),
        pages.Column("phi", name, 90, "number"),
        pages.Column("big_phi", "Φ (bits)", 110, "number"),
    ]
    if np.isnan(source.data["big_phi"]).all():  # no tie of phi_s had to be decided by it
        columns.pop()
    table = pages.data_table(source, columns, height=330, name="complexes-table", first="phi")
    note = "Select a complex to ring its units in the network."
    heading = pages.section_heading("Complexes", note)
    return [top, heading, pages.page_grid(table, by_size(source, name=name))]


def complexes_source(data: xr.Dataset) -> ColumnDataSource:
    """One row per complex, in order of acceptance."""
    count = data.sizes["complex"]
    size = data["units"].values.sum(axis=1).astype(int)
    return ColumnDataSource(
        {
            "spread": size + pages.spread_offsets(size),
            "rank": list(range(1, count + 1)),
            "name": [str(name) for name in data["complex"].values],
            "phi": np.asarray(data["phi"].values, float),
            "big_phi": np.asarray(data["big_phi"].values, float),
            "size": size,
            "colour": [pages.GROUPS[k % len(pages.GROUPS)] for k in range(count)],
        },
        name="complexes",
    )


def coloured_network(
    net: xr.Dataset, data: xr.Dataset, size: int = 520
) -> tuple[figure, ColumnDataSource, Array]:
    """Draw a network with its complexes side by side; returns the order of its units, too."""
    inside = data["units"].values.astype(bool)
    count = inside.shape[1]
    first = np.where(inside.any(axis=0), inside.argmax(axis=0), len(inside))
    order = np.lexsort((np.arange(count), first))
    colours = [
        pages.GROUPS[k % len(pages.GROUPS)] if k < len(inside) else NO_COMPLEX_COLOUR
        for k in first[order].tolist()
    ]
    title = "Network, coloured by complex"
    fig, lights = draw_network(NetworkDrawing.from_network(net, order, colours), title, size)
    return fig, lights, order


def phi_name(data: xr.Dataset) -> str:
    """Name what complexes are ranked by; big Phi of IIT 3.0 is a distance without a unit."""
    return "Φ" if data.attrs["theory"] == "iit3" else "φ_s (bits)"


def by_size(
    source: ColumnDataSource, size: tuple[int, int] = (480, 330), name: str = "φ_s (bits)"
) -> figure:
    """Draw phi_s against the number of units; complexes of one size are side by side."""
    fig = pages.empty_figure("Complexes by size", "units", name, size=size, name="by-size-figure")
    fig.y_range.start = 0
    fig.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    dots = fig.scatter(
        "spread", "phi", source=source, size=11, fill_color="colour", line_color=pages.INK,
        nonselection_fill_alpha=0.4, selection_line_width=3, selection_line_color=pages.EFFECT,
    )  # fmt: skip
    pages.add_hover(fig, [("complex", "@name"), (name, "@phi{0.000000}")], dots)
    return fig
