"""The substrate of a result: its table of probabilities, and its states with their transitions.

States are marked that agree with the cause and the effect purview of the selected distinction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    FixedTicker,
    LinearColorMapper,
    UIElement,
)
from bokeh.plotting import figure

from iitdask.types import Array
from iitdask.view import pages
from iitdask.view.network_figures import circle_positions, radial_labels

LEAST_DRAWN = 0.1  # Probability of a transition from which it is drawn
MAX_NUMBERS = 32  # States up to which probabilities are written
MARKS = {"cause": ("left", pages.CAUSE), "effect": ("right", pages.EFFECT)}
MARK_STATES = """
const d = distinctions.selected.indices.at(-1)
const n = members.units.length, width = states.data.width[0]
for (const side of ["cause", "effect"]) {
  const mark = states.data[side]
  for (let s = 0; s < mark.length; s++) {
    mark[s] = d !== undefined && members.specified ? 1 : 0
    for (let i = 0; i < n && mark[s]; i++) {
      const value = members[side][d * n + i]
      if (value >= 0 && values[s * width + places[i]] !== value) mark[s] = 0
    }
  }
}
states.change.emit()
"""


def transition_panels(
    tree: xr.DataTree,
    distinctions: ColumnDataSource | None = None,
    members: dict[str, Any] | None = None,
) -> list[UIElement]:
    """Return table and transitions of the substrate of a result; a sentence for a large one."""
    if "network" not in tree.children:
        return []
    network = tree["network"].to_dataset()
    heading = "The substrate in time"
    if "transitions" not in tree.children:
        units = network.sizes["unit"]
        about = f"Not drawn: the states of {units} units; at most 64 states are."
        return [pages.section_heading(heading, about)]
    data = tree["transitions"].to_dataset()
    values = data["past_state"].values
    states, chance = states_source(tree)
    about = "Yellow is the current state"
    if distinctions is not None and members is not None:
        labels = [str(name) for name in network["unit"].values]
        places = [labels.index(name) for name in members["units"] if name in labels]
        if len(places) == len(members["units"]):
            args = {
                "distinctions": distinctions, "members": members, "states": states,
                "values": values.astype(np.int16).ravel(), "places": places,
            }  # fmt: skip
            mark = CustomJS(args=args, code=MARK_STATES)
            distinctions.selected.js_on_change("indices", mark)
            if members["specified"]:
                about += "; orange and blue marks are states that agree with the cause and the "
                about += "effect purview of the selected distinction"
    drawn = _drawn(chance)
    left_out = int((chance > 0).sum()) - int(drawn.sum())
    about += f". Of {int((chance > 0).sum()):,} possible transitions {int(drawn.sum()):,} are drawn"
    if left_out:
        about += f": those of probability {LEAST_DRAWN} or more, and the likeliest of each state"
    return [
        pages.section_heading(heading, f"{about}."),
        pages.page_grid(draw_transitions(states, chance), draw_table(data, states)),
    ]


def states_source(tree: xr.DataTree) -> tuple[ColumnDataSource, Array]:
    """Return one row per state of the substrate, and P(next state | state), (S, S)."""
    network, data = (tree[name].to_dataset() for name in ("network", "transitions"))
    values = data["past_state"].values
    is_now = (values == network["current_state"].values).all(axis=1)
    names = [str(name) for name in data["row"].values]
    levels = network["levels"].values.astype(int).tolist()
    chance = state_transitions(data["next_probability"].values, levels)
    count = len(names)
    x, y = circle_positions(count)
    states = ColumnDataSource(
        {
            "x": x, "y": y, "row": np.arange(count) + 0.5, "name": names, "cause": np.zeros(count),
            "effect": np.zeros(count), "width": np.full(count, values.shape[1]),
            "now": np.where(is_now, 1.0, 0.0),
            "colour": [pages.SELECTED if now else pages.FAINT for now in is_now],
            "likely": [_likely(row, names) for row in chance],
        },
        name="states",
    )  # fmt: skip
    return states, chance


def state_transitions(table: Array, levels: Sequence[int]) -> Array:
    """Return P(next state | state), (S, S), from those of the units' values, (S, sum of levels).

    Examples
    --------
    >>> state_transitions(np.array([[0.5, 0.5, 1, 0]] * 4), [2, 2])[0].tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    out, begin = np.ones((len(table), 1)), 0
    for count in levels:
        own = table[:, begin : begin + count]
        out = (own[:, :, None] * out[:, None, :]).reshape(
            len(table), -1
        )  # the first varies fastest
        begin += count
    return out


def _drawn(chance: Array) -> Array:
    drawn = chance >= LEAST_DRAWN
    drawn[np.arange(len(chance)), chance.argmax(axis=1)] = True
    return np.asarray(drawn & (chance > 0))


def _likely(row: Array, names: Sequence[str]) -> str:
    order = np.argsort(-row, kind="stable")[:3]
    return ", ".join(f"{names[k]} ({row[k]:.3g})" for k in order if row[k] > 0)


def draw_transitions(states: ColumnDataSource, chance: Array, size: int = 480) -> figure:
    """Draw states on a circle with their transitions, the darker the more probable."""
    count, drawn = len(chance), _drawn(chance)
    reach = 1.55 if count > 4 else 1.8
    fig = pages.empty_figure(
        "State transitions", frame=(size, size), x_range=(-reach, reach), y_range=(-reach, reach),
        name="transitions-figure",
    )  # fmt: skip
    fig.axis.visible, fig.grid.visible = False, False
    x, y = np.asarray(states.data["x"]), np.asarray(states.data["y"])
    _arrows(fig, x, y, chance, drawn)
    radius = min(0.12, 1.2 / count)
    _loops(fig, states, chance, np.diag(drawn), radius)
    for side, (_, colour) in MARKS.items():
        begin = np.pi / 2 if side == "cause" else -np.pi / 2
        fig.annular_wedge(
            "x", "y", inner_radius=1.15 * radius, outer_radius=1.7 * radius, start_angle=begin,
            end_angle=begin + np.pi, fill_color=colour, fill_alpha=side, line_color=None,
            source=states,
        )  # fmt: skip
    dots = fig.circle(
        "x", "y", radius=radius, fill_color="colour", line_color=pages.INK, source=states,
        nonselection_fill_alpha=1.0,
    )  # fmt: skip
    look = {"text_color": pages.INK, "text_font_size": "11px" if count <= 32 else "8px"}
    radial_labels(fig, list(states.data["name"]), x, y, 1.0 + 2.6 * radius, **look)
    pages.add_hover(fig, [("state", "@name"), ("next", "@likely")], dots)
    return fig


def _arrows(fig: figure, x: Array, y: Array, chance: Array, drawn: Array) -> None:
    """Draw transitions between different states, bent to the right."""
    pairs = np.array([pair for pair in np.argwhere(drawn).tolist() if pair[0] != pair[1]])
    if not len(pairs):
        return
    start, end = pairs.T
    step = np.stack([x[end] - x[start], y[end] - y[start]])
    middle = np.stack([x[end] + x[start], y[end] + y[start]]) / 2
    bend = middle + 0.14 * np.stack([step[1], -step[0]])
    alpha = 0.15 + 0.75 * chance[start, end]
    fig.quadratic(
        x[start], y[start], x[end], y[end], bend[0], bend[1], line_color=pages.MUTED,
        line_alpha=alpha, line_width=1.3,
    )  # fmt: skip
    # Heads at two thirds of the way: at the ends they would cover each other.
    t = 0.66
    at = [(1 - t) ** 2 * a[start] + 2 * t * (1 - t) * b + t**2 * a[end] for a, b in
          ((x, bend[0]), (y, bend[1]))]  # fmt: skip
    away = [(1 - t) * (b - a[start]) + t * (a[end] - b) for a, b in ((x, bend[0]), (y, bend[1]))]
    angle = np.arctan2(away[1], away[0]) - np.pi / 2
    fig.scatter(
        at[0], at[1], marker="triangle", angle=angle, size=7, color=pages.MUTED, alpha=alpha
    )


def _loops(
    fig: figure, states: ColumnDataSource, chance: Array, drawn: Array, radius: float
) -> None:
    """Draw a ring outside each state that stays as it is."""
    own = np.flatnonzero(drawn)
    if len(own):
        places = [(1 + 1.1 * radius) * states.data[axis][own] for axis in ("x", "y")]
        fig.circle(
            *places, radius=0.9 * radius, fill_color=None,
            line_color=pages.MUTED, line_alpha=0.15 + 0.75 * np.diag(chance)[own],
        )  # fmt: skip


def _told_columns(data: xr.Dataset) -> Array:
    """Return the columns that say something: of units with two values, that of the second."""
    units = [str(name).rpartition("=")[0] for name in data["column"].values]
    return np.array(
        [k for k, unit in enumerate(units) if units.count(unit) > 2 or unit in units[:k]]
    )


def draw_table(
    data: xr.Dataset, states: ColumnDataSource, size: tuple[int, int] | None = None
) -> figure:
    """Draw the probability of every value of every unit after each state."""
    columns = _told_columns(data)
    table = data["next_probability"].values[:, columns]
    count, width = table.shape
    names = [str(name) for name in data["column"].values[columns]]
    fig = pages.empty_figure(
        "Probability of each value next", "value of a unit", "state now",
        size=size or (560, min(1000, 130 + 16 * max(count, 8))), x_range=(-1, width),
        y_range=(count, 0), name="table-figure",
    )  # fmt: skip
    fig.grid.visible = False
    mapper = LinearColorMapper(palette=pages.PHI, low=0.0, high=1.0)
    cells = ColumnDataSource(
        {
            "x": np.tile(np.arange(width) + 0.5, count),
            "y": np.repeat(np.arange(count) + 0.5, width),
            "p": table.ravel(),
            "text": [f"{p:.3g}" for p in table.ravel()],
            "ink": ["white" if p < 0.55 else "#000001" for p in table.ravel()],
            "state": np.repeat(states.data["name"], width),
            "value": np.tile(names, count),
        }
    )
    drawn = fig.rect(
        "x", "y", width=1, height=1, fill_color={"field": "p", "transform": mapper},
        line_color=None, source=cells,
    )  # fmt: skip
    if count <= MAX_NUMBERS:
        fig.text(
            "x", "y", text="text", text_color="ink", text_align="center", text_baseline="middle",
            text_font_size="10px", source=cells,
        )  # fmt: skip
    fig.scatter(
        x=-0.5, y="row", marker="square", size=9, fill_color=pages.SELECTED, fill_alpha="now",
        line_alpha="now", line_color=pages.INK, source=states,
    )  # fmt: skip
    for side, (place, colour) in MARKS.items():
        x = -0.8 if place == "left" else -0.2
        fig.scatter(x=x, y="row", marker="square", size=8, color=colour, alpha=side, source=states)
    step = 1 if count <= 64 else 4
    fig.yaxis.ticker = FixedTicker(ticks=[k + 0.5 for k in range(0, count, step)])
    fig.yaxis.major_label_overrides = {k + 0.5: states.data["name"][k] for k in range(count)}
    fig.xaxis.ticker = FixedTicker(ticks=[k + 0.5 for k in range(width)])
    fig.xaxis.major_label_overrides = {k + 0.5: name for k, name in enumerate(names)}
    if width > 12:
        fig.xaxis.major_label_orientation = np.pi / 2
    tips = [("state now", "@state"), ("value", "@value"), ("probability", "@p{0.000000}")]
    pages.add_hover(fig, tips, drawn)
    return fig
