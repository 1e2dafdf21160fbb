"""Phi of every mechanism over every purview, and which pairs the search need not evaluate.

The searches keep the best purviews only. For a small system the whole landscape
can be written out beside them: every pair evaluated, and the search replayed to
see which pairs its bounds excluded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.cause import cause_scan
from iitdask.kernels.families import ON_CAUSE, ON_EFFECT
from iitdask.kernels.mechanisms import Found, make_room, search_mechanisms
from iitdask.kernels.pairs import Scratch, Tables, make_scratch, pair_details
from iitdask.kernels.purviews import ZERO, is_purview
from iitdask.kernels.visits import prepare_effects
from iitdask.model.system import System
from iitdask.theory.mechanisms import SIDES
from iitdask.theory.tables import fill_marginals, marginals_stage, prepare_tables, table_inputs
from iitdask.theory.vocabulary import described

__all__ = ["MOST_UNITS", "OUTCOMES", "landscape"]

Array = NDArray[Any]
MOST_UNITS = 8
"""Units of the largest system whose landscape is written out: 2 * (2**8 - 1)**2 pairs."""
OUTCOMES = ("not connected", "excluded by a bound", "evaluated")
UNCONNECTED, EXCLUDED, EVALUATED = range(3)


def landscape(system: System) -> xr.Dataset:
    """Evaluate every pair of mechanism and purview of a small system.

    Returns
    -------
    Dataset
        ``pair_phi(direction, mechanism_mask, purview_mask)``, bits, nan where the purview is not
        admissible (spec.md 6.3); ``outcome``: index into the attribute ``outcomes``. Row and
        column k stand for mask k + 1.
    """
    tables = _tables(system)
    scratch = make_scratch(tables)
    size = len(tables.codes)
    phi = np.full((2, size, size), np.nan)
    outcome = np.zeros((2, size, size), np.int8)
    for row, side in enumerate(SIDES):
        _evaluate(side, tables, scratch, phi[row], outcome[row])
        for mechanism in range(1, size):
            evaluated = _replay(side, tables, scratch, mechanism)
            outcome[row, mechanism][(outcome[row, mechanism] == EXCLUDED) & evaluated] = EVALUATED
    dims = ("direction", "mechanism_mask", "purview_mask")
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "pair_phi": (dims, phi[:, 1:, 1:]),
        "outcome": (dims, outcome[:, 1:, 1:]),
    }
    return described(values, {"outcomes": list(OUTCOMES)})


def _tables(system: System) -> Tables:
    stage = marginals_stage(system)
    region = tuple(slice(0, length) for length in stage.grid.shape)
    given: dict[str, Any] = {**table_inputs(system)}
    inputs = {name: np.asarray(value) for name, value in stage.inputs.items()}
    given["marginals"] = fill_marginals(inputs, region)["probability"]
    return prepare_tables(given)


def _evaluate(side: Any, t: Tables, s: Scratch, phi: Array, outcome: Array) -> None:
    n, size = len(t.levels), len(t.codes)
    for mechanism in range(1, size):
        chosen = np.array(
            [
                (side, mechanism, purview, 0)
                for purview in range(1, size)
                if is_purview(mechanism, purview, t.children, side != ON_CAUSE)
            ],
            np.int64,
        ).reshape(-1, 4)
        count = len(chosen)
        values, numbers = np.zeros((2, count)), np.zeros((3, count), np.int64)
        bits = np.zeros((count, (len(s.like) + 7) // 8), np.uint8)
        kept, tally = np.full((count, n), -1), np.zeros(2, np.int64)
        pair_details(t, s, chosen, values, numbers, bits, kept, tally)
        found = values[0]
        phi[mechanism, chosen[:, 2]] = np.where(found > ZERO, found, 0.0)
        outcome[mechanism, chosen[:, 2]] = EXCLUDED


def _replay(side: Any, t: Tables, s: Scratch, mechanism: int) -> Array:
    """(2**n,) whether the search works out phi of each purview of one mechanism."""
    size = len(t.codes)
    room = make_room(size, len(s.like), int(t.offsets[-1]))
    one, bits = np.zeros(1, np.int64), np.zeros((1, (size + 7) // 8), np.uint8)
    found = Found(np.zeros(1), one, bits, one, np.zeros((1, 2), np.int64))
    vectors, table = np.empty((6, 1)), np.zeros((size, 1))
    weights, states = np.zeros((size, 1)), np.zeros((size, 1), np.int64)
    if side == ON_EFFECT:
        prepare_effects(t, s, mechanism, room)
        before = room.bounds.copy()
    else:
        cause_scan(t.cause, t.log_cause, t.offsets, mechanism, 0, vectors, table, weights, states)
        before = table[:, 0]
    search_mechanisms(side, t, s, mechanism, 0, (weights, states, table), room, found)
    # The search leaves a value, negated, where it worked one out, and a bound elsewhere.
    evaluated: Array = (before > ZERO) & (room.bounds <= 0.0)
    return evaluated
