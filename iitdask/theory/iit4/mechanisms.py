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

import numpy as np

from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.iit4.mechanism_search import (
    MechanismResults,
    search_effect_shards,
    search_mechanism_range,
)
from iitdask.kernels.iit4.mechanism_search import group_masks as group_masks  # noqa: PLC0414
from iitdask.kernels.iit4.pair import MarginalTables, PairScratch, describe_pairs, make_pair_scratch
from iitdask.kernels.subsets import phi_tolerance, popcounts
from iitdask.model.labels import states_within
from iitdask.model.system import CandidateSystem
from iitdask.theory.marginal_tables import (
    TABLES,
    PreparedTables,
    prepare_tables,
    table_inputs,
)
from iitdask.theory.stage import Array, CumulativeCost, Filled, Grid, Region, Stage, Steps, Variable
from iitdask.theory.variables import variable

CAUSE, EFFECT = 0, 1
DIRECTION_CODES = (ON_CAUSE, ON_EFFECT)


def mechanism_seconds(levels: Sequence[int], excluded: Array) -> Array:
    """Predict the seconds of each direction and mechanism, (2, 2**n): scans, a share of searches.

    The effects of `excluded` mechanisms are searched in shards: they take none. Fitted to random
    functions of 10 to 13 units in blocks of 64 mechanisms; random networks with noise take two
    thirds of it, sparse ones a third, in the same order of blocks.
    """
    n = len(levels)
    codes, states = (float(np.prod([k + more for k in levels])) for more in (1.0, 0.0))
    mechanism_states = np.ones(1)
    for k in levels:
        mechanism_states = np.concatenate([mechanism_states, k * mechanism_states])
    seconds = np.empty((2, 1 << n))
    # Of large mechanisms a block has many in common, whose scans share more.
    seconds[CAUSE] = codes * np.minimum(popcounts(n), 0.6 * n) * 5e-10 + 2**n * 2e-7
    seconds[EFFECT] = (mechanism_states * states + codes) * 5e-10 + 2**n * 8e-8
    seconds[EFFECT, excluded] = 0.0
    return seconds


def search_variables(size: int) -> tuple[Variable, ...]:
    """Return what a search finds of each mechanism among so many purviews, and its work."""
    return (
        variable("phi", "float64", np.nan),
        variable("ties", "int64", 0),
        variable("tied_purviews", "uint8", 0, (("byte", (size + 7) // 8),)),
        *(variable(name, "int64", 0) for name in ("searched", "tables", "nodes")),
    )


def mice_stage(system: CandidateSystem, excluded: Array | None = None) -> Stage:
    """Return the stage that finds largest phi and tied purviews of every mechanism.

    Parameters
    ----------
    system : the candidate system, n units
    excluded : (m,) mechanisms whose effects are searched in shards: their phi is NaN here

    Returns
    -------
    Stage, the variables of :func:`search_variables`, each (2 directions, 2**n mechanisms)

    References
    ----------
    docs/mathematics.md 6.4 and 22.
    """
    n, size = system.n, 1 << system.n
    least_blocks, cut_first = next(cut for least, cut in MICE_CUTS if n >= least)
    apart = {} if excluded is None else {"apart": excluded}
    seconds = mechanism_seconds(system.levels, apart.get("apart", np.empty(0, np.int64)))
    return Stage(
        name="mice",
        grid=Grid(("direction", "mechanism"), (2, size), power_of_two=("mechanism",)),
        variables=search_variables(size),
        compute=fill_mice,
        inputs=table_inputs(system) | apart,
        prepare=prepare_tables,
        shared=TABLES,
        cost=lambda region: float(seconds[region].sum()),
        min_blocks=least_blocks,
        cut_first=cut_first,
        is_shared_in_block=True,
        scratch=8 * (2 * int(np.prod([k + 1 for k in system.levels])) + 300 * size + 4 * n * size),
        axis_masks={key: np.stack([0 * m + EFFECT, m], axis=1) for key, m in apart.items()},
    )


def fill_mice(prepared: PreparedTables, region: Region) -> dict[str, Array]:
    """Search the best purviews of a range of mechanisms, in one direction or both."""
    tables, inputs = prepared
    excluded = inputs.get("apart", np.empty(0, np.int64))
    directions, mechanisms = region
    begin, end = mechanisms.start, mechanisms.stop
    shape = (directions.stop - directions.start, end - begin)
    size = len(tables.codes)
    phi, ties = np.zeros(shape), np.zeros(shape, np.int64)
    bits = np.zeros((*shape, (size + 7) // 8), np.uint8)
    searched, work = np.zeros(shape, np.int64), np.zeros((*shape, 2), np.int64)
    scratch = make_pair_scratch(tables)
    for row, direction in enumerate(range(directions.start, directions.stop)):
        results = MechanismResults(phi[row], ties[row], bits[row], searched[row], work[row])
        inside = excluded[(excluded >= begin) & (excluded < end) & (direction == EFFECT)]
        phi[row, inside - begin] = np.nan
        for first, last in remaining_ranges(inside.tolist(), begin, end):
            part = MechanismResults(*(each[first - begin : last - begin] for each in results))
            search_mechanism_range(DIRECTION_CODES[direction], tables, scratch, first, part)
    values = (phi, ties, bits, searched, work[..., 0], work[..., 1])
    return dict(zip(SEARCH_VARIABLES, values, strict=True))


def remaining_ranges(excluded: Sequence[int], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield what remains of a range without some numbers: ranges of a power of two, ascending."""
    for number in (*excluded, end):
        while begin < number:
            last = begin + (1 << (number - begin).bit_length() - 1)
            yield begin, last
            begin = last
        begin = number + 1


def tied_purview_pairs(mice: Filled) -> Array:
    """Return the pairs that need details: tied purviews of mechanisms irreducible on both sides.

    The rows, (pairs, 3) int64 direction, mechanism and purview, ascend.
    """
    phi = mice["phi"].values
    bits = mice["tied_purviews"].values
    # Nearly all bytes are 0: of 2 * 2**n rows each has a bit for every purview, and few tie.
    places = np.flatnonzero(bits.reshape(-1) != 0)
    direction, mechanism, byte = np.unravel_index(places, bits.shape)
    is_irreducible = (phi.min(axis=0) > 0)[mechanism]
    direction, mechanism, byte = (x[is_irreducible] for x in (direction, mechanism, byte))
    tied = np.unpackbits(bits[direction, mechanism, byte, np.newaxis], axis=1, bitorder="little")
    row, bit = np.nonzero(tied)
    return np.stack([direction[row], mechanism[row], 8 * byte[row] + bit], axis=1).astype(np.int64)


def details_stage(system: CandidateSystem, pairs: Array, system_states: tuple[int, int]) -> Stage:
    """Return the stage that finds states, ties and the named partition of some pairs.

    Parameters
    ----------
    system : the candidate system
    pairs : (pairs, 3) direction, mechanism and purview
    system_states : cause and effect state, little-endian; the partition is named at the state that
        agrees with them where that ties with others

    Returns
    -------
    Stage, its variables have a row per pair

    References
    ----------
    docs/mathematics.md 6.2 and 15.1.
    """
    implied = [states_within(state, system.levels, pairs[:, 2]) for state in system_states]
    preferred_states = np.where(pairs[:, 0] == CAUSE, *implied)
    states = int(np.prod(system.levels))
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
        inputs={**table_inputs(system), "chosen": np.column_stack([pairs, preferred_states])},
        prepare=prepare_tables,
        shared=TABLES,
        axis_masks={"pair": pairs},
        cost=lambda region: (5e-6 + 2.5**system.n * 4e-9) * (region[0].stop - region[0].start),
        min_blocks=next(blocks for units, blocks in DETAILS_BLOCKS if system.n >= units),
    )


def fill_details(prepared: PreparedTables, region: Region) -> dict[str, Array]:
    """Compute a range of pairs."""
    tables, inputs = prepared
    return pair_details(tables, make_pair_scratch(tables), inputs["chosen"][region[0]])


def pair_details(tables: MarginalTables, scratch: PairScratch, pairs: Array) -> dict[str, Array]:
    """Return the details of pairs, (pairs, 4) direction, mechanism, purview, preferred state."""
    count, n = len(pairs), len(tables.levels)
    values, numbers = np.zeros((2, count)), np.zeros((3, count), np.int64)
    bits = np.zeros((count, (len(scratch.like) + 7) // 8), np.uint8)
    kept, tally = np.full((count, n), -1), np.zeros(2, np.int64)
    rows = np.column_stack([np.array(DIRECTION_CODES)[pairs[:, 0]], pairs[:, 1:]])
    describe_pairs(tables, scratch, rows, values, numbers, bits, kept, tally)
    names = ("phi", "information", "state", "ties", "pairs", "tied_states", "kept")
    return dict(zip(names, (*values, *numbers, bits, kept), strict=True))


def search_statistics(system: CandidateSystem, mice: Filled) -> dict[str, int]:
    """Count pairs of mechanism and purview by what the search made of them, and its work."""
    pairs, searched = 2 * (2**system.n - 1) ** 2, int(mice["searched"].values.sum())
    return {
        "pairs": pairs,
        "pairs_bounded_away": pairs - searched,
        "pairs_searched": searched,
        "bound_tables": int(mice["tables"].values.sum()),
        "search_nodes": int(mice["nodes"].values.sum()),
    }


DETAILS_BLOCKS = ((16, 1024), (14, 128), (0, 16))  # Units of a system, blocks at least
# Units of a system, blocks at least, axes cut first. Of 12 and 13 units there are 128 and 256
# blocks, of 64 mechanisms: with fewer to a scan of causes, the stage takes an eighth longer.
MICE_CUTS: tuple[tuple[int, tuple[int, tuple[str, ...]]], ...] = (
    (14, (128, ())),
    (13, (96, ("direction",))),
    (12, (64, ("direction",))),
    (0, (16, ())),
)
SECONDS_PER_PAIR = 3e-8  # of a subset of the mechanism and a purview, in an expensive search
FIRST_WAVE_DIVISOR = 8  # one shard in so many is searched in the first wave
MAX_SHARD_GROUPS = 6  # of units, by which purviews are divided: there are at most 2**6 shards
SEARCH_VARIABLES = ("phi", "ties", "tied_purviews", "searched", "tables", "nodes")


@dataclass(frozen=True, slots=True)
class Sharding:
    """Which mechanisms are divided into shards, and how finely; no result depends on it."""

    units: int = 14  # of a system from which mechanisms may be divided
    seconds: float = 10.0  # predicted, from which a mechanism is divided; a shard takes half


DEFAULT_SHARDING = Sharding()


def expensive_mechanisms(system: CandidateSystem, sharding: Sharding) -> tuple[Array, Array]:
    """Return the (m,) mechanisms whose effects are searched in shards, and their (m,) seconds."""
    n = system.n
    if n < sharding.units:
        return np.empty(0, np.int64), np.empty(0)
    seconds = SECONDS_PER_PAIR * 2.0 ** (popcounts(n) + n)
    mechanisms = np.flatnonzero(seconds[1:] >= sharding.seconds) + 1
    return mechanisms, seconds[mechanisms]


def shard_table(system: CandidateSystem, sharding: Sharding) -> tuple[Array, Array]:
    """Return the shards of expensive mechanisms.

    Parameters
    ----------
    system : the candidate system; from three units on, every shard has at least four purviews, the
        empty one counted
    sharding : which mechanisms are divided, and how finely

    Returns
    -------
    tuple, (p, 4) int64 direction, mechanism, number of groups and shard; (p,) seconds of each

    References
    ----------
    docs/mathematics.md 22.4.
    """
    mechanisms, seconds = expensive_mechanisms(system, sharding)
    max_groups = min(MAX_SHARD_GROUPS, max(system.n - 2, 1))
    rows, costs = [], []
    for mechanism, cost in zip(mechanisms.tolist(), seconds.tolist(), strict=True):
        n_shards = 2 * cost / sharding.seconds if sharding.seconds > 0 else 2.0**max_groups
        groups = min(max_groups, max(1, int(np.ceil(np.log2(n_shards)))))
        rows += [(EFFECT, mechanism, groups, share) for share in range(1 << groups)]
        costs += [cost / (1 << groups)] * (1 << groups)
    return np.array(rows, np.int64).reshape(-1, 4), np.array(costs)


def find_maximal_causes_effects(
    system: CandidateSystem, sharding: Sharding | None = None
) -> Steps[Filled]:
    """Find the largest phi and the tied purviews of every mechanism, in both directions.

    Returns the stage ``mice``, filled; no result depends on the sharding.
    """
    shards, costs = shard_table(system, sharding or DEFAULT_SHARDING)
    if not len(shards):
        (mice,) = yield (mice_stage(system),)
        return mice
    mechanisms, row = np.unique(shards[:, 1], return_inverse=True)
    first = shards[:, 3] < np.maximum((1 << shards[:, 2]) // FIRST_WAVE_DIVISOR, 1)
    later = ~first
    nothing = np.zeros(int(first.sum()))
    stage = shard_stage(system, "waves/first", shards[first], costs[first], nothing)
    # Beside them all other mechanisms, which need nothing of this one.
    first_round, mice = yield (stage, mice_stage(system, mechanisms))
    known_phi = largest_phi(first_round["phi"].values, row[first], len(mechanisms))
    stage = shard_stage(system, "waves/later", shards[later], costs[later], known_phi[row[later]])
    (later_round,) = yield (stage,)
    results = {
        name: np.concatenate([first_round[name].values, later_round[name].values])
        for name in (*SEARCH_VARIABLES, "lowest")
    }
    shards, costs, row = (np.concatenate([x[first], x[later]]) for x in (shards, costs, row))
    best = largest_phi(results["phi"], row, len(mechanisms))
    least = least_tied_phi(best[row])
    ambiguous = (results["phi"] >= least) & (results["lowest"] < least)
    if ambiguous.any():  # two purviews differ by less than the tolerance, and more than rounding
        chosen = shards[ambiguous], costs[ambiguous], best[row[ambiguous]]
        (repeated,) = yield (shard_stage(system, "waves/again", *chosen),)
        for name in ("phi", "ties", "lowest", "tied_purviews"):
            results[name][ambiguous] = repeated[name].values
    return merge_shards(mice, results, mechanisms, row)


def shard_stage(
    system: CandidateSystem, name: str, shards: Array, costs: Array, known_phi: Array
) -> Stage:
    """Return the stage that searches shards side by side, given phi known of their mechanisms."""
    size = 1 << system.n
    found = search_variables(size)
    return Stage(
        name=name,
        grid=Grid(("part",), (len(shards),)),
        variables=(*found[:2], variable("lowest", "float64", np.nan), *found[2:]),
        compute=fill_shards,
        inputs={**table_inputs(system), "parts": shards, "known": known_phi},
        prepare=prepare_tables,
        shared=TABLES,
        cost=CumulativeCost.from_seconds(costs),
        scratch=8 * (int(np.prod([k + 1 for k in system.levels])) + (20 + 4 * system.n) * size),
        grows_later_stages=False,
        axis_masks={"part": shards},
    )


def fill_shards(prepared: PreparedTables, region: Region) -> dict[str, Array]:
    """Search a range of shards."""
    tables, inputs = prepared
    rows, n_bytes = inputs["parts"][region[0]], (len(tables.codes) + 7) // 8
    phi, bits = np.zeros(len(rows)), np.zeros((len(rows), n_bytes), np.uint8)
    (ties, searched), work = np.zeros((2, len(rows)), np.int64), np.zeros((len(rows), 2), np.int64)
    found = MechanismResults(phi, ties, bits, searched, work)
    lowest = search_effect_shards(tables, rows, inputs["known"][region[0]], found)
    values = (phi, ties, bits, searched, work[:, 0], work[:, 1], lowest)
    return dict(zip((*SEARCH_VARIABLES, "lowest"), values, strict=True))


def largest_phi(phi: Array, row: Array, count: int) -> Array:
    """Return the largest phi of every mechanism over its shards, 0 where none is found."""
    best = np.zeros(count)
    np.maximum.at(best, row, np.nan_to_num(phi))
    return best


def least_tied_phi(best: Array) -> Array:
    """Return the smallest phi that ties with the largest."""
    return np.asarray(best - np.array([phi_tolerance(phi) for phi in best.tolist()]))


def merge_shards(
    mice: Filled, results: Mapping[str, Array], mechanisms: Array, row: Array
) -> Filled:
    """Put the effects of divided mechanisms where those of the others are."""
    best = largest_phi(results["phi"], row, len(mechanisms))
    # "lowest" is nan where nothing reached what was known
    tied = results["lowest"] >= least_tied_phi(best)[row]
    merged = dict(mice)
    for name in SEARCH_VARIABLES:
        values = mice[name].values.copy()
        if name == "phi":
            values[EFFECT, mechanisms] = best
        else:
            totals = np.zeros_like(values[EFFECT, mechanisms])
            add = np.bitwise_or if name == "tied_purviews" else np.add
            rows = tied if name.startswith("tie") else slice(None)
            add.at(totals, row[rows], results[name][rows])
            values[EFFECT, mechanisms] = totals
        merged[name] = mice[name].copy(data=values)
    return merged
