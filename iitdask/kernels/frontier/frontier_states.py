"""Arrays of frontier states: those after one step, and the graph that all steps make."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import kernel

WORD_BITS = 60  # used of a word of a packed state
COUNT_SHIFT = 48  # Of the number of open parts in the second word of a packed state


class Level(NamedTuple):
    """Frontier states after a step, and the transitions of the step, those of a state together."""

    keys: NDArray[np.int64]  # (m, words) the states, packed
    images: NDArray[np.int64]  # (m,) state of the guide that each state looks like
    image_parts: NDArray[np.int64]  # (m,) number that each open part has there, four bits each
    least: NDArray[np.float64]  # (m,) least bits of a way to each state
    chords: NDArray[np.float64]  # (m, k) least value of a way, by chord
    source: NDArray[np.int64]  # (e,) state before the step
    target: NDArray[np.int64]  # (e,) state after it
    move: NDArray[np.int64]  # (e,) 8 * part + 2 * direction + whether the part is new
    parts: NDArray[np.int64]  # (e,) new number of each part, four bits each
    bits: NDArray[np.float64]  # (e,) what units lose whose last input or neighbour was taken up


class Relaxed(NamedTuple):
    """Frontier states and transitions of all steps, one after the other: a graph by levels."""

    starts: NDArray[np.int64]  # (n + 2,) where the states after 0, 1, ... steps begin
    edges: NDArray[np.int64]  # (states + 1,) where the transitions of each state begin
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    move: NDArray[np.int64]
    parts: NDArray[np.int64]
    bits: NDArray[np.float64]


class Pruning(NamedTuple):
    """What lets a step leave out states: a guide with bounds on how its states go on."""

    guide: Relaxed  # of a system with fewer inputs, no states when there is none
    bounds: NDArray[np.float64]  # (its states, c) least value of the rest; the first k are chords
    gains: NDArray[np.float64]  # (2, k) what a unit, and a new part, add by chord
    offset: float  # price of all pairs, bits
    budget: float  # bits that a partition may lose


@kernel
def make_level(states, words, chords, edges):
    """Room for a number of frontier states and transitions."""
    return Level(
        np.empty((states, words), np.int64),
        np.zeros(states, np.int64),
        np.full(states, (1 << WORD_BITS) - 1),
        np.zeros(states),
        np.zeros((states, chords)),
        np.empty(edges, np.int64),
        np.empty(edges, np.int64),
        np.empty(edges, np.int64),
        np.empty(edges, np.int64),
        np.empty(edges),
    )


@kernel
def cut_level(level, states, edges):
    """Keep the first states and transitions of a level."""
    return Level(
        level.keys[:states].copy(),
        level.images[:states].copy(),
        level.image_parts[:states].copy(),
        level.least[:states].copy(),
        level.chords[:states].copy(),
        level.source[:edges].copy(),
        level.target[:edges].copy(),
        level.move[:edges].copy(),
        level.parts[:edges].copy(),
        level.bits[:edges].copy(),
    )
