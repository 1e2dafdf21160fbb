"""A network of units drawn on a circle: connections, state, severed edges, selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import ColumnDataSource, HoverTool, Range1d
from bokeh.plotting import figure
from numpy.typing import NDArray

from iitdask.view.pages import (
    CAUSE,
    EFFECT,
    INK,
    MECHANISM,
    MUTED,
    RELATION,
    empty_figure,
    legend_below,
    text_colour_on,
)

__all__ = ["NetworkDrawing", "circle_positions", "draw_network"]

Array = NDArray[Any]
MAX_DRAWN_EDGES = 4000
CURVE_STEPS = 14


@dataclass(frozen=True)
class NetworkDrawing:
    """What is drawn."""

    labels: list[str]
    """Name of each unit."""
    state: list[int]
    """Its current state; -1 where it is not known."""
    levels: list[int]
    """How many states it has."""
    edges: Array
    """(n, n) bool, from row to column."""
    severed: Array
    """(n, n) bool, among the edges."""
    colours: list[str] | None = None
    """What to fill each unit with, instead of its state."""

    @classmethod
    def from_network(cls, network: xr.Dataset, order: Array, colours: list[str]) -> NetworkDrawing:
        """Take all units of a substrate, in some order around the circle."""
        labels = [str(name) for name in network["unit"].values[order]]
        edges = np.asarray(network["connectivity"].values, bool)[np.ix_(order, order)]
        state, levels = (network[name].values[order] for name in ("current_state", "levels"))
        none = np.zeros_like(edges)
        return cls(labels, state.tolist(), levels.tolist(), edges, none, colours)

    @classmethod
    def from_system(cls, system: xr.Dataset, network: xr.Dataset | None = None) -> NetworkDrawing:
        """Take a candidate system from the dataset of its analysis."""
        labels = [str(name) for name in system["unit"].values]
        cut = np.asarray(system["cut"].values, bool)
        if network is None:
            known = "connectivity" in system
            edges = np.asarray(system["connectivity" if known else "cut"].values, bool)
            state = system["current_state"].values.tolist() if known else [-1] * len(labels)
            most = max(2, 1 + max(state, default=1))
            return cls(labels, state, [most] * len(labels), edges, cut & edges)
        inside = np.flatnonzero(network["inside"].values)
        edges = network["connectivity"].values[np.ix_(inside, inside)]
        state = network["current_state"].values[inside].tolist()
        return cls(labels, state, network["levels"].values[inside].tolist(), edges, cut & edges)


def circle_positions(n: int, radius: float = 1.0) -> tuple[Array, Array]:
    """Return n places on a circle, clockwise from the top."""
    turn = np.pi / 2 - 2 * np.pi * np.arange(n) / max(n, 1)
    radius = radius if n > 1 else 0.0
    return radius * np.cos(turn), radius * np.sin(turn)


def node_radius(n: int) -> float:
    """Radius of a node such that neighbours on the circle do not touch."""
    return min(0.17, (1.3 if n <= 14 else 2.2) / max(n, 1))


def draw_network(
    net: NetworkDrawing, title: str, size: int = 380
) -> tuple[figure, ColumnDataSource]:
    """Draw a network.

    Returns
    -------
    figure, ColumnDataSource
        The figure, and one row per unit whose columns ``mechanism``, ``cause``, ``effect`` and
        ``overlap`` (opacities) and ``cause_state``, ``effect_state`` (texts) light units up.
    """
    n, radius = len(net.labels), node_radius(len(net.labels))
    x, y = circle_positions(n)
    reach = 1.0 + 3.6 * radius + 0.12
    fig = empty_figure(
        title,
        frame=(size, size),
        name="lights-figure",
        x_range=Range1d(-reach, reach),
        y_range=Range1d(-reach, reach),
    )
    fig.axis.visible, fig.grid.visible = False, False
    kept = _edges(fig, net, net.edges & ~net.severed, severed=False)
    cut = _edges(fig, net, net.severed, severed=True)
    lights = _highlight_source(net, x, y, radius)
    entries = [("connection", kept), ("severed", cut)]
    _rings(fig, lights, radius)
    _nodes(fig, net, x, y, radius)
    legend_below(fig, [each for each in entries if each[1]])
    return fig, lights


def _highlight_source(net: NetworkDrawing, x: Array, y: Array, radius: float) -> ColumnDataSource:
    n = len(net.labels)
    dark = {name: np.zeros(n) for name in ("mechanism", "cause", "effect", "overlap")}
    blank = {name: [""] * n for name in ("cause_state", "effect_state")}
    beside = {"cause_x": x - 2.1 * radius, "effect_x": x + 2.1 * radius}
    return ColumnDataSource({"x": x, "y": y, **beside, **dark, **blank}, name="lights")


def _rings(fig: figure, lights: ColumnDataSource, radius: float) -> None:
    """Mechanism: a ring; cause and effect: left and right half of a second; overlap: a third."""
    rings = {"mechanism": (1.08, 1.3, MECHANISM), "overlap": (1.86, 2.02, RELATION)}
    for name, (inner, outer, colour) in rings.items():
        fig.annulus(
            "x",
            "y",
            inner_radius=inner * radius,
            outer_radius=outer * radius,
            fill_color=colour,
            fill_alpha=name,
            line_color=None,
            source=lights,
        )
    for name, colour, begin in (("cause", CAUSE, np.pi / 2), ("effect", EFFECT, -np.pi / 2)):
        fig.annular_wedge(
            "x",
            "y",
            inner_radius=1.4 * radius,
            outer_radius=1.78 * radius,
            start_angle=begin + 0.08,
            end_angle=begin + np.pi - 0.08,
            fill_color=colour,
            fill_alpha=name,
            line_color=None,
            source=lights,
        )
        fig.text(
            f"{name}_x",
            "y",
            text=f"{name}_state",
            source=lights,
            text_color=colour,
            text_font_size="12px",
            text_font_style="bold",
            text_align="right" if name == "cause" else "left",
            text_baseline="middle",
        )


def _nodes(fig: figure, net: NetworkDrawing, x: Array, y: Array, radius: float) -> None:
    n = len(net.labels)
    share = [
        s / max(k - 1, 1) if s >= 0 else 0.15 for s, k in zip(net.state, net.levels, strict=True)
    ]
    grey = [255 - int(205 * value) for value in share]
    fill = net.colours or [f"#{v:02x}{v:02x}{v:02x}" for v in grey]
    within = n <= 12 and max(map(len, net.labels), default=0) <= 3
    state = ["?" if s < 0 else str(s) for s in net.state]
    source = ColumnDataSource(
        {
            "x": x,
            "y": y,
            "label": net.labels,
            "state": state,
            "fill": fill,
            "ink": [text_colour_on(each) for each in fill],
            "text": [
                label if s < 0 else f"{label}\n{s}"
                for label, s in zip(net.labels, net.state, strict=True)
            ],
        }
    )
    nodes = fig.circle(
        "x", "y", radius=radius, fill_color="fill", line_color=INK, line_width=1.5, source=source
    )
    if within:
        fig.text(
            "x",
            "y",
            text="text",
            source=source,
            text_color="ink",
            text_align="center",
            text_baseline="middle",
            text_font_size="13px" if n <= 8 else "10px",
        )
    elif n <= 130:
        _outer_labels(fig, net.labels, n, radius)
    fig.add_tools(HoverTool(renderers=[nodes], tooltips=[("unit", "@label"), ("state", "@state")]))


def _outer_labels(fig: figure, labels: list[str], n: int, radius: float) -> None:
    turn = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    x, y = circle_positions(n, 1.0 + 2.3 * radius)
    for right in (True, False):
        side = np.flatnonzero((np.cos(turn) >= -1e-9) == right)
        fig.text(
            x[side],
            y[side],
            text=[labels[k] for k in side],
            angle=turn[side] if right else turn[side] + np.pi,
            text_align="left" if right else "right",
            text_baseline="middle",
            text_font_size="10px" if n <= 60 else "8px",
            text_color=INK,
        )


def _edges(fig: figure, net: NetworkDrawing, edges: Array, *, severed: bool) -> list[Any]:
    (x, y), radius = circle_positions(len(net.labels)), node_radius(len(net.labels))
    pairs = np.argwhere(edges)[:MAX_DRAWN_EDGES]
    if not len(pairs):
        return []
    lines = [_curve(x, y, int(a), int(b), radius) for a, b in pairs]
    names = [f"{net.labels[a]}→{net.labels[b]}" for a, b in pairs]
    colour, alpha = (INK, 0.95) if severed else (MUTED, 0.75 if len(pairs) < 200 else 0.3)
    source = ColumnDataSource(
        {"xs": [p[0] for p in lines], "ys": [p[1] for p in lines], "e": names}
    )
    drawn = fig.multi_line(
        "xs",
        "ys",
        source=source,
        line_color=colour,
        line_alpha=alpha,
        line_width=1.6 if severed else 1.2,
        line_dash="dashed" if severed else "solid",
    )
    tips = ColumnDataSource(_arrow_heads(lines))
    size = 9 if len(net.labels) <= 16 else 5
    heads = fig.scatter(
        "x",
        "y",
        angle="angle",
        marker="triangle",
        size=size,
        color=colour,
        alpha=alpha,
        source=tips,
    )
    found = [drawn, heads]
    if severed:
        middle = [(p[0][CURVE_STEPS // 2], p[1][CURVE_STEPS // 2]) for p in lines]
        marks = {"x": [m[0] for m in middle], "y": [m[1] for m in middle]}
        found.append(
            fig.scatter("x", "y", marker="x", size=size + 2, color=INK, line_width=2, source=marks)
        )
    tips_text = "severed" if severed else "connection"
    fig.add_tools(HoverTool(renderers=[drawn], tooltips=[(tips_text, "@e")]))
    return found


def _curve(x: Array, y: Array, a: int, b: int, radius: float) -> tuple[list[float], list[float]]:
    """Points from one node to another, bent to the right so that both directions are seen."""
    t = np.linspace(0, 1, CURVE_STEPS + 1)
    if a == b:
        away = np.arctan2(y[a], x[a]) if abs(x[a]) + abs(y[a]) > 0 else np.pi / 2
        turn = away + np.pi + 0.85 + t * (2 * np.pi - 1.7)
        cx, cy = x[a] + 1.55 * radius * np.cos(away), y[a] + 1.55 * radius * np.sin(away)
        return (
            (cx + 0.85 * radius * np.cos(turn)).tolist(),
            (cy + 0.85 * radius * np.sin(turn)).tolist(),
        )
    start, end = np.array([x[a], y[a]]), np.array([x[b], y[b]])
    step = end - start
    normal = np.array([step[1], -step[0]])
    control = (start + end) / 2 + 0.12 * normal
    gap = radius * 1.08
    start = start + gap * _unit_vector(control - start)
    end = end + gap * 1.25 * _unit_vector(control - end)
    points = (
        np.outer((1 - t) ** 2, start) + np.outer(2 * t * (1 - t), control) + np.outer(t**2, end)
    )
    return points[:, 0].tolist(), points[:, 1].tolist()


def _unit_vector(vector: Array) -> Array:
    length = float(np.hypot(*vector))
    return vector / length if length else vector


def _arrow_heads(lines: list[tuple[list[float], list[float]]]) -> dict[str, list[float]]:
    angle = [float(np.arctan2(ys[-1] - ys[-2], xs[-1] - xs[-2]) - np.pi / 2) for xs, ys in lines]
    return {"x": [p[0][-1] for p in lines], "y": [p[1][-1] for p in lines], "angle": angle}
