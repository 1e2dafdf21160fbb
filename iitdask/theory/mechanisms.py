"""Maximally irreducible causes and effects of every mechanism, as stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.families import ON_CAUSE, ON_EFFECT
from iitdask.kernels.mechanisms import Found, best_mechanisms
from iitdask.kernels.pairs import Tables, make_scratch, pair_details
from iitdask.model.system import System
from iitdask.theory.base import Answer, Grid, Region, Stage
from iitdask.theory.states import restrictions
from iitdask.theory.tables import prepare_tables, table_inputs
from iitdask.theory.vocabulary import variable

__all__ = ["CAUSE", "EFFECT", "details_stage", "mice_stage", "search_statistics", "tied_pairs"]

Array = NDArray[Any]
CAUSE, EFFECT = 0, 1
SIDES = (ON_CAUSE, ON_EFFECT)


@dataclass(frozen=True, slots=True)
class MechanismCost:
    """Predicted seconds of a range of mechanisms: the scans, and a share for the searches."""

    levels: tuple[int, ...]
    """Values per unit."""
    apart: tuple[int, ...] = ()
    """Mechanisms whose effects are searched elsewhere."""

    def __call__(self, region: Region) -> float:
        """Sum over directions and mechanisms of the region."""
        n = len(self.levels)
        codes = float(np.prod([k + 1.0 for k in self.levels]))
        states = float(np.prod([float(k) for k in self.levels]))
        directions, mechanisms = region
        masks = np.arange(mechanisms.start, mechanisms.stop)
        own = np.ones(len(masks))
        for i, k in enumerate(self.levels):
            own *= np.where(masks >> i & 1, float(k), 1.0)
        total = 0.0
        for direction in range(directions.start, directions.stop):
            if direction == CAUSE:
                total += len(masks) * (codes * 1.5e-9 + 2**n * 2.5e-7)
            else:
                if self.apart:
                    inside = ~np.isin(masks, self.apart)
                    masks, own = masks[inside], own[inside]
                total += float(own.sum()) * states * 0.5e-9
                total += len(masks) * (codes * 3e-9 + 2**n * 2.5e-7)
        return total


def mice_stage(system: System, apart: Array | None = None) -> Stage:
    """Best phi and tied purviews of every mechanism in both directions.

    apart : (m,) int64, mechanisms whose effects are left out (phi is nan); see theory.waves
    """
    n, size = system.n, 1 << system.n
    left: dict[str, Array] = {} if apart is None else {"apart": apart}
    return Stage(
        name="mice",
        grid=Grid(("direction", "mechanism"), (2, size), power_of_two=("mechanism",)),
        fills=(
            variable("phi", "float64", np.nan),
            variable("ties", "int64", 0),
            variable("tied_purviews", "uint8", 0, (("byte", (size + 7) // 8),)),
            variable("searched", "int64", 0),
            variable("tables", "int64", 0),
            variable("nodes", "int64", 0),
        ),
        compute=fill_mice,
        inputs=table_inputs(system) | left,
        prepare=prepare_mice,
        cost=MechanismCost(system.levels, () if apart is None else tuple(apart.tolist())),
        scratch=8 * (2 * int(np.prod([k + 1 for k in system.levels])) + 300 * size + 4 * n * size),
        members={key: np.stack([0 * each + EFFECT, each], axis=1) for key, each in left.items()},
    )


def prepare_mice(inputs: Mapping[str, Array]) -> tuple[Tables, Array]:
    """Tables, and the mechanisms whose effects are left out."""
    return prepare_tables(inputs), inputs.get("apart", np.empty(0, np.int64))


def fill_mice(prepared: tuple[Tables, Array], region: Region) -> dict[str, Array]:
    """Search the best purviews of a range of mechanisms, in one direction or both."""
    tables, apart = prepared
    directions, mechanisms = region
    begin, end = mechanisms.start, mechanisms.stop
    shape = (directions.stop - directions.start, end - begin)
    size = len(tables.codes)
    phi, ties = np.zeros(shape), np.zeros(shape, np.int64)
    bits = np.zeros((*shape, (size + 7) // 8), np.uint8)
    searched, work = np.zeros(shape, np.int64), np.zeros((*shape, 2), np.int64)
    scratch = make_scratch(tables)
    for row, direction in enumerate(range(directions.start, directions.stop)):
        found = Found(phi[row], ties[row], bits[row], searched[row], work[row])
        left = apart[(apart >= begin) & (apart < end)] if direction == EFFECT else apart[:0]
        phi[row, left - begin] = np.nan
        for first, last in between(left.tolist(), begin, end):
            some = Found(*(each[first - begin : last - begin] for each in found))
            best_mechanisms(SIDES[direction], tables, scratch, first, some)
    return {
        "phi": phi,
        "ties": ties,
        "tied_purviews": bits,
        "searched": searched,
        "tables": work[..., 0],
        "nodes": work[..., 1],
    }


def between(left: Sequence[int], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Ranges of what remains of a range without some of its numbers: powers of two, ascending."""
    for number in (*left, end):
        while begin < number:
            last = begin + (1 << (number - begin).bit_length() - 1)
            yield begin, last
            begin = last
        begin = number + 1


def tied_pairs(mice: Answer) -> Array:
    """Pairs that need details: every tied purview of mechanisms irreducible both ways.

    returns (pairs, 3) int64 of direction, mechanism, purview, in that order.
    """
    phi = mice["phi"].values
    irreducible = np.flatnonzero(phi.min(axis=0) > 0)
    bits = mice["tied_purviews"].values[:, irreducible]
    found = np.unpackbits(bits, axis=-1, bitorder="little")
    row, purview = np.divmod(np.flatnonzero(found), found.shape[-1])
    direction, position = np.divmod(row, len(irreducible))
    return np.stack([direction, irreducible[position], purview], axis=1).astype(np.int64)


def details_stage(system: System, pairs: Array, system_states: tuple[int, int]) -> Stage:
    """States, ties and the named partition of chosen mechanism-purview pairs.

    Where the state that agrees with the system's ties with others, the partition is named there.
    """
    implied = np.stack([restrictions(state, system.levels) for state in system_states])
    wanted = implied[pairs[:, 0], pairs[:, 2]]
    states = int(np.prod(system.levels))
    mean = 5e-6 + 2.5**system.n * 4e-9
    return Stage(
        name="details",
        grid=Grid(("pair",), (len(pairs),)),
        fills=(
            variable("phi", "float64", np.nan),
            variable("information", "float64", np.nan),
            variable("state", "int64", -1),
            variable("ties", "int64", 0),
            variable("pairs", "int64", 0),
            variable("tied_states", "uint8", 0, (("byte", (states + 7) // 8),)),
            variable("kept", "int64", -1, (("unit", system.n),)),
        ),
        compute=fill_details,
        inputs={**table_inputs(system), "chosen": np.column_stack([pairs, wanted])},
        prepare=prepare_details,
        members={"pair": pairs},
        cost=lambda region: mean * (region[0].stop - region[0].start),
    )


def prepare_details(inputs: Mapping[str, Array]) -> tuple[Tables, Array]:
    """Tables and the list of pairs."""
    return prepare_tables(inputs), inputs["chosen"]


def fill_details(prepared: tuple[Tables, Array], region: Region) -> dict[str, Array]:
    """Work out a range of pairs."""
    tables, chosen = prepared
    rows = chosen[region[0]]
    count, n = len(rows), len(tables.levels)
    states = int(tables.offsets[-1] - tables.offsets[-2])
    values, numbers = np.zeros((2, count)), np.zeros((3, count), np.int64)
    bits = np.zeros((count, (states + 7) // 8), np.uint8)
    kept, tally = np.full((count, n), -1), np.zeros(2, np.int64)
    rows = np.column_stack([np.array(SIDES)[rows[:, 0]], rows[:, 1:]])
    pair_details(tables, make_scratch(tables), rows, values, numbers, bits, kept, tally)
    return {
        "phi": values[0],
        "information": values[1],
        "state": numbers[0],
        "ties": numbers[1],
        "pairs": numbers[2],
        "tied_states": bits,
        "kept": kept,
    }


def search_statistics(system: System, mice: Answer) -> dict[str, int]:
    """How many mechanism-purview pairs there are, and what the search made of them."""
    searched, tables, nodes = (
        int(mice[name].values.sum()) for name in ("searched", "tables", "nodes")
    )
    pairs = 2 * (2**system.n - 1) ** 2
    return {
        "pairs": pairs,
        "pairs_bounded_away": pairs - searched,
        "pairs_searched": searched,
        "bound_tables": tables,
        "search_nodes": nodes,
    }
