"""Maximally irreducible causes and effects of every mechanism, as stages.

Mechanisms too expensive for one block have their effect purviews divided into shards, searched
in two waves. The first wave searches an eighth of the shards. The second takes the phi found
there as known, which leaves little of the others: together they often take less than the
undivided search, which meets its best purview late. The result is the same to the bit, but for
the counts of what was searched. Causes stay undivided: a scan that serves many mechanisms at
once finds most of what they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.iit4.mechanism_search import (
    EffectShards,
    MechanismResults,
    group_masks,
    search_mechanism_range,
)
from iitdask.kernels.iit4.pair import MarginalTables, describe_pairs, make_pair_scratch
from iitdask.kernels.subsets import phi_tolerance, popcounts
from iitdask.model.labels import purview_states
from iitdask.model.system import System
from iitdask.theory.marginal_tables import prepare_tables, table_inputs
from iitdask.theory.stage import Filled, Grid, Region, Stage, Steps
from iitdask.theory.variables import variable

__all__ = [
    "CAUSE",
    "DEFAULT_SHARDING",
    "EFFECT",
    "Sharding",
    "details_stage",
    "expensive_mechanisms",
    "find_maximal_causes_effects",
    "group_masks",
    "mice_stage",
    "search_statistics",
    "shard_table",
    "tied_purview_pairs",
]

Array = NDArray[Any]
CAUSE, EFFECT = 0, 1
DIRECTION_CODES = (ON_CAUSE, ON_EFFECT)


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
        variables=(
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


def prepare_mice(inputs: Mapping[str, Array]) -> tuple[MarginalTables, Array]:
    """Tables, and the mechanisms whose effects are left out."""
    return prepare_tables(inputs), inputs.get("apart", np.empty(0, np.int64))


def fill_mice(prepared: tuple[MarginalTables, Array], region: Region) -> dict[str, Array]:
    """Search the best purviews of a range of mechanisms, in one direction or both."""
    tables, apart = prepared
    directions, mechanisms = region
    begin, end = mechanisms.start, mechanisms.stop
    shape = (directions.stop - directions.start, end - begin)
    size = len(tables.codes)
    phi, ties = np.zeros(shape), np.zeros(shape, np.int64)
    bits = np.zeros((*shape, (size + 7) // 8), np.uint8)
    searched, work = np.zeros(shape, np.int64), np.zeros((*shape, 2), np.int64)
    scratch = make_pair_scratch(tables)
    for row, direction in enumerate(range(directions.start, directions.stop)):
        found = MechanismResults(phi[row], ties[row], bits[row], searched[row], work[row])
        left = apart[(apart >= begin) & (apart < end)] if direction == EFFECT else apart[:0]
        phi[row, left - begin] = np.nan
        for first, last in remaining_ranges(left.tolist(), begin, end):
            some = MechanismResults(*(each[first - begin : last - begin] for each in found))
            search_mechanism_range(DIRECTION_CODES[direction], tables, scratch, first, some)
    return {
        "phi": phi,
        "ties": ties,
        "tied_purviews": bits,
        "searched": searched,
        "tables": work[..., 0],
        "nodes": work[..., 1],
    }


def remaining_ranges(left: Sequence[int], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Ranges of what remains of a range without some of its numbers: powers of two, ascending."""
    for number in (*left, end):
        while begin < number:
            last = begin + (1 << (number - begin).bit_length() - 1)
            yield begin, last
            begin = last
        begin = number + 1


def tied_purview_pairs(mice: Filled) -> Array:
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
    implied = np.stack([purview_states(state, system.levels) for state in system_states])
    wanted = implied[pairs[:, 0], pairs[:, 2]]
    states = int(np.prod(system.levels))
    mean = 5e-6 + 2.5**system.n * 4e-9
    return Stage(
        name="details",
        grid=Grid(("pair",), (len(pairs),)),
        variables=(
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


def prepare_details(inputs: Mapping[str, Array]) -> tuple[MarginalTables, Array]:
    """Tables and the list of pairs."""
    return prepare_tables(inputs), inputs["chosen"]


def fill_details(prepared: tuple[MarginalTables, Array], region: Region) -> dict[str, Array]:
    """Work out a range of pairs."""
    tables, chosen = prepared
    rows = chosen[region[0]]
    count, n = len(rows), len(tables.levels)
    states = int(tables.offsets[-1] - tables.offsets[-2])
    values, numbers = np.zeros((2, count)), np.zeros((3, count), np.int64)
    bits = np.zeros((count, (states + 7) // 8), np.uint8)
    kept, tally = np.full((count, n), -1), np.zeros(2, np.int64)
    rows = np.column_stack([np.array(DIRECTION_CODES)[rows[:, 0]], rows[:, 1:]])
    describe_pairs(tables, make_pair_scratch(tables), rows, values, numbers, bits, kept, tally)
    return {
        "phi": values[0],
        "information": values[1],
        "state": numbers[0],
        "ties": numbers[1],
        "pairs": numbers[2],
        "tied_states": bits,
        "kept": kept,
    }


def search_statistics(system: System, mice: Filled) -> dict[str, int]:
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


PreparedShards = tuple[MarginalTables, Array, Array]
SECONDS_PER_PAIR = 3e-8
"""Seconds that a hard search takes for every pair of a part of the mechanism and a purview."""
FIRST_WAVE_DIVISOR = 8
"""One in so many shares is searched in the first wave."""
MAX_SHARD_GROUPS = 6
"""Groups of units that purviews are told apart by: the shares are at most 64."""
SEARCH_VARIABLES = ("phi", "ties", "tied_purviews", "searched", "tables", "nodes")


@dataclass(frozen=True, slots=True)
class Sharding:
    """Which mechanisms are divided, and how finely; the answer does not depend on it."""

    units: int = 14
    """Units of a system from which mechanisms may be divided."""
    seconds: float = 10.0
    """Seconds from which a mechanism is, if its search is hard; a share takes half of it."""


DEFAULT_SHARDING = Sharding()


def expensive_mechanisms(system: System, split: Sharding) -> tuple[Array, Array]:
    """Mechanisms whose effects are searched in shares, and the seconds that may take."""
    n = system.n
    if n < split.units:
        return np.empty(0, np.int64), np.empty(0)
    seconds = SECONDS_PER_PAIR * 2.0 ** (popcounts(n) + n)
    heavy = np.flatnonzero(seconds >= split.seconds)
    heavy = heavy[heavy > 0].astype(np.int64)
    return heavy, seconds[heavy]


def shard_table(system: System, split: Sharding) -> tuple[Array, Array]:
    """Shares of heavy mechanisms: (p, 4) int64 direction, mechanism, groups, share; their seconds.

    From three units on, every share has four purviews at least, the empty one counted.
    """
    heavy, seconds = expensive_mechanisms(system, split)
    most = min(MAX_SHARD_GROUPS, max(system.n - 2, 1))
    rows, costs = [], []
    for mechanism, cost in zip(heavy.tolist(), seconds.tolist(), strict=True):
        wished = 2 * cost / split.seconds if split.seconds > 0 else 2.0**most
        groups = min(most, max(1, int(np.ceil(np.log2(wished)))))
        rows += [(EFFECT, mechanism, groups, share) for share in range(1 << groups)]
        costs += [cost / (1 << groups)] * (1 << groups)
    return np.array(rows, np.int64).reshape(-1, 4), np.array(costs)


def find_maximal_causes_effects(system: System, split: Sharding | None = None) -> Steps[Filled]:
    """Best phi and tied purviews of every mechanism; the stage ``mice``, with what was divided."""
    parts, costs = shard_table(system, split or DEFAULT_SHARDING)
    if not len(parts):
        (mice,) = yield (mice_stage(system),)
        return mice
    heavy, row = np.unique(parts[:, 1], return_inverse=True)
    first = parts[:, 3] < np.maximum((1 << parts[:, 2]) // FIRST_WAVE_DIVISOR, 1)
    later = ~first
    (opened,) = yield (shard_stage(system, "waves/first", parts[first], costs[first]),)
    known = largest_phi(opened["phi"].values, row[first], len(heavy))
    stage = shard_stage(system, "waves/later", parts[later], costs[later], known[row[later]])
    (rest,) = yield (stage,)
    (mice,) = yield (mice_stage(system, heavy),)  # not beside it: two tables are large
    found = {
        name: np.concatenate([opened[name].values, rest[name].values])
        for name in (*SEARCH_VARIABLES, "lowest")
    }
    parts, costs, row = (np.concatenate([x[first], x[later]]) for x in (parts, costs, row))
    best = largest_phi(found["phi"], row, len(heavy))
    doubtful = ambiguous_shards(found, best[row])
    if doubtful.any():
        some, known = costs[doubtful], best[row[doubtful]]
        (again,) = yield (shard_stage(system, "waves/again", parts[doubtful], some, known),)
        for name in ("phi", "ties", "lowest", "tied_purviews"):
            found[name][doubtful] = again[name].values
    return merge_shards(mice, found, heavy, row)


def shard_stage(
    system: System, name: str, parts: Array, costs: Array, known: Array | None = None
) -> Stage:
    """Shares that are searched side by side, and the phi known of their mechanisms before."""
    total = np.concatenate([[0.0], np.cumsum(costs)])
    size = 1 << system.n
    return Stage(
        name=name,
        grid=Grid(("part",), (len(parts),)),
        variables=(
            variable("phi", "float64", np.nan),
            variable("ties", "int64", 0),
            variable("lowest", "float64", np.nan),
            variable("tied_purviews", "uint8", 0, (("byte", (size + 7) // 8),)),
            variable("searched", "int64", 0),
            variable("tables", "int64", 0),
            variable("nodes", "int64", 0),
        ),
        compute=fill_shards,
        inputs={
            **table_inputs(system),
            "parts": parts,
            "known": np.zeros(len(parts)) if known is None else known,
        },
        prepare=prepare_shards,
        cost=lambda region: float(total[region[0].stop] - total[region[0].start]),
        scratch=8 * (int(np.prod([k + 1 for k in system.levels])) + (20 + 4 * system.n) * size),
        grows_later_stages=False,
        members={"part": parts},
    )


def prepare_shards(inputs: Mapping[str, Array]) -> PreparedShards:
    """Tables, the shares and what is known."""
    return prepare_tables(inputs, causes=False), inputs["parts"], inputs["known"]


def fill_shards(prepared: PreparedShards, region: Region) -> dict[str, Array]:
    """Search a range of shares."""
    tables, parts, known = prepared
    search, own = EffectShards(tables), region[0]
    best = [
        search.best(mechanism, groups, share, before)
        for (_, mechanism, groups, share), before in zip(
            parts[own].tolist(), known[own].tolist(), strict=True
        )
    ]
    return {
        "phi": np.array([each.phi for each in best]),
        "ties": np.array([each.ties for each in best], np.int64),
        "lowest": np.array([each.lowest for each in best]),
        "tied_purviews": np.stack([each.bits for each in best]),
        "searched": np.array([each.searched for each in best], np.int64),
        "tables": np.array([each.nodes[0] for each in best], np.int64),
        "nodes": np.array([each.nodes[1] for each in best], np.int64),
    }


def largest_phi(phi: Array, row: Array, count: int) -> Array:
    """Largest phi of every mechanism over its shares; 0 where none is found."""
    best = np.zeros(count)
    np.maximum.at(best, row, np.nan_to_num(phi))
    return best


def least_tied_phi(best: Array) -> Array:
    """Smallest phi that ties with the best."""
    return np.asarray(best - np.array([phi_tolerance(each) for each in best.tolist()]))


def ambiguous_shards(found: Mapping[str, Array], best: Array) -> Array:
    """Shares of whose tied purviews some tie with the best of all, and some do not.

    That takes two purviews apart by less than the tolerance, and by more than rounding.
    """
    least = least_tied_phi(best)
    return np.asarray((found["phi"] >= least) & (found["lowest"] < least))


def merge_shards(mice: Filled, found: Mapping[str, Array], heavy: Array, row: Array) -> Filled:
    """Put the effects of divided mechanisms where those of the others are."""
    best = largest_phi(found["phi"], row, len(heavy))
    tied = found["lowest"] >= least_tied_phi(best)[row]  # nan where nothing reached what was known
    whole = dict(mice)
    for name in SEARCH_VARIABLES:
        values = mice[name].values.copy()
        if name == "phi":
            values[EFFECT, heavy] = best
        else:
            sums = np.zeros_like(values[EFFECT, heavy])
            add = np.bitwise_or if name == "tied_purviews" else np.add
            own = tied if name.startswith("tie") else slice(None)
            add.at(sums, row[own], found[name][own])
            values[EFFECT, heavy] = sums
        whole[name] = mice[name].copy(data=values)
    return whole
