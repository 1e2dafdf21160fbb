"""Actual causes and effects in sparse networks: only connected pairs, no table over all pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from iitdask.errors import InputError
from iitdask.kernels.causation import ALPHA_ZERO_BITS
from iitdask.kernels.packings import (
    compressed,
    irreducible_purviews,
    undominated,
)
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.labels import MASK_UNITS, units_of_mask
from iitdask.model.transition import Transition
from iitdask.theory.causation.local_values import (
    elimination_numbers,
    elimination_order,
    parents_of,
    sharing_units,
    union_over,
)
from iitdask.theory.causation.packing_rows import (
    ROW_BYTES,
    LocalGains,
    PackingRows,
    PairGraph,
    RowCache,
    gains_of,
)
from iitdask.theory.causation.partitions import (
    PairSearch,
    least_table_seconds,
    table_bytes,
    witness_variables,
)
from iitdask.theory.causation.tied_packings import TiedPackings
from iitdask.theory.stage import Array, CumulativeCost, Grid, Region, Stage, StageRef, Steps
from iitdask.theory.variables import variable

MAX_MECHANISMS = 2_000_000  # Connected occurrences of one direction that are listed
STORED_PAIRS = 64  # Irreducible pairs of a mechanism that its stage has room for
# Least excess of an irreducible pair over its best partition: less is rounding
EXCESS_BITS = 2e-14
BATCH_SECONDS = 0.3  # Predicted seconds up to which mechanisms of several sizes share one block
# Measured: seconds of a mechanism, of a number in a row
SECONDS_PER_MECHANISM, SECONDS_PER_NUMBER, SECONDS_PER_SUMMAND = 6e-5, 4e-8, 1.2e-9
SECONDS_PER_WITNESS, USUAL_INPUTS = 1e-3, 3.0
MAX_SCRATCH_BYTES = 2 * TABLE_BUDGET_BYTES
MIN_UNITS = 10  # Causes and effects together; accounts of fewer take no time


@dataclass(frozen=True, slots=True, eq=False)
class ConnectedSearch:
    """A search for the irreducible pairs of all connected mechanisms, one direction."""

    name: str  # Prefix of its stages, ``causes`` or ``effects``
    graph: PairGraph
    n_mechanism_units: int
    n_purview_units: int
    masks: Array  # Connected mechanisms by size; those of a size by their last units
    seconds: Array  # Predicted of each
    arrays: Mapping[str, Array]  # What :func:`gains_of` needs
    scratch: int  # Bytes that a process holds beside inputs and outputs


def reach_sizes(graph: PairGraph, masks: Array) -> Array:
    """Return the number of purview units that each mechanism has an edge with."""
    return np.bitwise_count(union_over(masks, graph.reached))


def connected_mechanisms(graph: PairGraph, largest: int) -> Array | None:
    """List the sets of units that shared purview units connect, by size; None if too many."""
    neighbours = sharing_units(graph.reached.tolist())
    sets = np.array([1 << u for u, mask in enumerate(graph.reached.tolist()) if mask], np.int64)
    found = [sets]
    for _ in range(1, largest):
        around = union_over(sets, neighbours) & ~sets
        grown = [(sets | 1 << u)[around >> u & 1 == 1] for u in range(len(neighbours))]
        sets = np.unique(np.concatenate(grown)) if grown else sets[:0]
        if not len(sets):
            break
        found.append(sets)
        if sum(map(len, found)) > MAX_MECHANISMS:
            return None
    return np.concatenate(found)


def connected_search(
    transition: Transition, background: str, forward: bool
) -> ConnectedSearch | None:
    """Return the search of one direction, None if it has too many mechanisms, or too long rows."""
    a, b, children = len(transition.causes), len(transition.effects), transition.children
    graph = PairGraph.build(children, forward, b)
    sizes = (a, b) if forward else (b, a)
    order = min(transition.max_order, sizes[0])
    made = held = (
        0.0  # Numbers of a sweep over causes, and of those at once, for each set of causes
    )
    if not forward:
        parents = parents_of(children, b)
        made, held = elimination_numbers(children, transition.levels, parents)
        made, held = made / 2.0**a, held / 2.0**a

    def scratch(widest: int) -> float:
        return ROW_BYTES * 1.25 + (100.0 + 24.0 * held) * 2.0**widest

    whole = graph.component((1 << sizes[0]) - 1)
    if (
        whole.bit_count() <= order
        and scratch(graph.reached_by(whole).bit_count()) > MAX_SCRATCH_BYTES
    ):
        return None
    masks = connected_mechanisms(graph, order)
    if masks is None:
        return None
    widths = reach_sizes(graph, masks).astype(float)
    most = scratch(int(widths.max(initial=0)))
    if most > MAX_SCRATCH_BYTES:
        return None
    arrays = {
        "numbers": np.array([b, int(forward)], np.int64),
        "children": children,
        "levels": np.array(transition.levels, np.int64),
        "state": np.array(transition.local_before, np.int64),
        "order": np.array(elimination_order(children, transition.levels), np.int64),
        "tables": local_tables(transition, background, forward),
    }
    # Denser networks have more irreducible pairs, up to four times as many with one more input
    inputs = np.bitwise_count(children).sum() / max(1, np.count_nonzero(graph.reached))
    dense = 4.0 ** max(0.0, float(inputs) - USUAL_INPUTS)
    each = SECONDS_PER_NUMBER * dense + SECONDS_PER_SUMMAND * made
    seconds = SECONDS_PER_MECHANISM * dense + each * np.exp2(widths)
    name = "effects" if forward else "causes"
    return ConnectedSearch(name, graph, *sizes, masks, seconds, arrays, int(most))


def local_tables(transition: Transition, background: str, forward: bool) -> Array:
    """Return P(effect has its value after | its declared causes), the effects' tables in a row."""
    factors = transition.effect_factors() if forward else transition.cause_factors(background)
    causes, levels = transition.causes, transition.levels
    flat = []
    for mask, factor in zip(parents_of(transition.children, len(factors)), factors, strict=True):
        own = units_of_mask(mask)
        varying = [causes[unit] in factor.parents for unit in own]
        shape = [levels[u] if is_in else 1 for u, is_in in zip(own, varying, strict=True)]
        table = factor.table[..., 0].reshape(shape)
        flat.append(np.broadcast_to(table, [levels[u] for u in own]).reshape(-1))
    return np.concatenate(flat)


class Records(NamedTuple):
    """Irreducible pairs of some mechanisms."""

    mechanisms: Array  # (m,) masks
    n_irreducible: Array  # (m,) how many each has, -1 if its state is impossible
    irreducible: Array  # (m, most) masks of their purviews
    gain: Array  # (m, most) bits
    alpha: Array  # (m, most) bits, 0 up to rounding


def pair_records(search: ConnectedSearch) -> Steps[tuple[Records, dict[str, Array | StageRef]]]:
    """Find the irreducible pairs of all connected mechanisms of one direction.

    Returns the records, and the inputs by which later stages get them.
    """
    known: dict[str, Array | StageRef] = {}
    records = list[Records]()
    for begin, end in _batches(search):
        masks = search.masks[begin:end]
        stage = _pairs_stage(search, masks, search.seconds[begin:end], known, STORED_PAIRS)
        while True:
            (filled,) = yield (stage,)
            found = Records(masks, *(filled[name].values for name in Records._fields[1:]))
            known[f"mechanisms-{len(records)}"] = masks
            for name in Records._fields[1:]:
                known[f"{name}-{len(records)}"] = StageRef(stage.name, name)
            records.append(found)
            beyond = np.flatnonzero(found.n_irreducible > found.irreducible.shape[1])
            if not len(beyond):
                break
            masks, width = masks[beyond], int(found.n_irreducible.max())
            seconds = search.seconds[begin:end][beyond]
            stage = _pairs_stage(search, masks, seconds, known, width)
    return _joined(records), known


def _batches(search: ConnectedSearch) -> list[tuple[int, int]]:
    """Ranges of mechanisms, each a stage: of one size, or of several small ones."""
    sizes = np.bitwise_count(search.masks)
    if not len(sizes):
        return []
    edges = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]
    out, begin = list[tuple[int, int]](), 0
    for here, further in pairwise([*edges[1:], edges[-1]]):
        if here == further or search.seconds[begin:further].sum() > BATCH_SECONDS:
            out.append((begin, here))
            begin = here
    return out


def _joined(records: Sequence[Records]) -> Records:
    """Put records together; of a mechanism that did not fit, the later ones count."""
    if not records:
        nothing = np.zeros((0, 1), np.int64)
        return Records(nothing[:, 0], nothing[:, 0], nothing, nothing, nothing)
    width = max(each.irreducible.shape[1] for each in records)
    columns = []
    for name in Records._fields:
        parts = [getattr(each, name) for each in records]
        if name in Records._fields[2:]:
            parts = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
        fits = [each.n_irreducible <= each.irreducible.shape[1] for each in records]
        columns.append(np.concatenate([part[fit] for part, fit in zip(parts, fits, strict=True)]))
    return Records(*columns)


def _pairs_stage(
    search: ConnectedSearch,
    masks: Array,
    seconds: Array,
    known: Mapping[str, Array | StageRef],
    width: int,
) -> Stage:
    sizes = np.bitwise_count(masks)
    axes = (("pair", width),)
    return Stage(
        name=f"{search.name}/pairs-{len(known) // len(Records._fields)}",
        grid=Grid(
            ("mechanism",),
            (len(masks),),
            unsplit=("mechanism",) if sizes[0] != sizes[-1] else (),
        ),
        variables=(
            variable("n_irreducible", "int64", 0),
            variable("irreducible", "int64", 0, axes),
            variable("gain", "float64", 0.0, axes),
            variable("alpha", "float64", 0.0, axes),
        ),
        compute=fill_pairs,
        inputs={**search.arrays, **known, "masks": masks, "width": np.array([width], np.int64)},
        prepare=prepare_pairs,
        axis_masks={"mechanism": masks},
        cost=CumulativeCost.from_seconds(seconds),
        scratch=search.scratch,
        size_is_known=True,
    )


@dataclass(frozen=True, slots=True)
class PreparedPairs:
    """What a process holds of a stage: irreducible pairs of smaller mechanisms, and the rest."""

    masks: Array
    gains: LocalGains
    rows: PackingRows
    inputs: Mapping[str, Array]


def prepare_pairs(inputs: Mapping[str, Array]) -> PreparedPairs:
    """Collect the irreducible pairs found before; once per process and stage."""
    gains = gains_of(inputs)
    rows = PackingRows(gains.graph)
    for mechanisms, purviews, found in known_pairs(inputs, "gain"):
        edges = np.flatnonzero(np.diff(mechanisms, prepend=0, append=0))
        for begin, end in pairwise(edges.tolist()):
            _add_pairs(rows, int(mechanisms[begin]), purviews[begin:end], found[begin:end])
    return PreparedPairs(inputs["masks"], gains, rows, inputs)


def known_pairs(inputs: Mapping[str, Array], name: str) -> Iterator[tuple[Array, Array, Array]]:
    """Return mechanism, purview, and a number of each irreducible pair, stage by stage."""
    number = 0
    while f"mechanisms-{number}" in inputs:
        count, purviews = inputs[f"n_irreducible-{number}"], inputs[f"irreducible-{number}"]
        width = purviews.shape[1]
        filled = np.arange(width) < np.where(count <= width, count, 0)[:, None]
        mechanisms = np.broadcast_to(inputs[f"mechanisms-{number}"][:, None], filled.shape)
        yield mechanisms[filled], purviews[filled], inputs[f"{name}-{number}"][filled]
        number += 1


def _add_pairs(rows: PackingRows, mechanism: int, purviews: Array, gains: Array) -> None:
    useful = undominated(purviews, gains)
    rows.add(mechanism, (purviews[useful], gains[useful]))


def fill_pairs(prepared: PreparedPairs, region: Region) -> dict[str, Array]:
    """Find the irreducible pairs of a range of mechanisms; in one block, smaller ones first."""
    masks = prepared.masks[region[0]]
    width = int(prepared.inputs["width"][0])
    count = np.zeros(len(masks), np.int64)
    purview = np.zeros((len(masks), width), np.int64)
    gain, alpha = np.zeros(purview.shape), np.zeros(purview.shape)
    is_mixed = masks[0].bit_count() != masks[-1].bit_count()
    for row, mechanism in enumerate(masks.tolist()):
        found = _irreducible_pairs(prepared, mechanism)
        if found is None:
            count[row] = -1
            continue
        purviews, gains, excess = found
        count[row] = len(purviews)
        if len(purviews) <= width:
            purview[row, : count[row]], gain[row, : count[row]] = purviews, gains
            alpha[row, : count[row]] = np.where(excess > ALPHA_ZERO_BITS, excess, 0.0)
        if is_mixed:
            _add_pairs(prepared.rows, mechanism, purviews, gains)
    return {"n_irreducible": count, "irreducible": purview, "gain": gain, "alpha": alpha}


def _irreducible_pairs(
    prepared: PreparedPairs, mechanism: int
) -> tuple[Array, Array, Array] | None:
    """Return purviews, gains and excesses of a mechanism, bits; None if it is impossible."""
    graph = prepared.gains.graph
    gains = prepared.gains.row(mechanism)
    if np.isnan(gains[-1]):
        return None
    parted, reach = prepared.rows.best_parts(mechanism), graph.reached_by(mechanism)
    sides = gains, parted, reach, mechanism, graph.children, graph.forward
    purviews = irreducible_purviews(*sides, EXCESS_BITS)
    places = np.array([compressed(int(purview), reach) for purview in purviews], np.int64)
    return purviews, gains[places], gains[places] - parted[places]


def witness_stage(
    search: ConnectedSearch,
    known: Mapping[str, Array | StageRef],
    pairs: Array,
    alpha: Array,
) -> Stage:
    """Return the stage that names a partition of each pair and counts the tied ones.

    `pairs` is (k, 2) mechanism and purview masks, `alpha` what they lose. The stage has the
    probabilities too, and what each unit keeps under the named partition.
    """
    sizes = reach_sizes(search.graph, pairs[:, 0])
    seconds = SECONDS_PER_WITNESS + 10 * SECONDS_PER_NUMBER * np.exp2(sizes.astype(float))
    return Stage(
        name=f"{search.name}/named",
        grid=Grid(("pair",), (len(pairs),)),
        variables=witness_variables(search.n_mechanism_units),
        compute=fill_witness,
        inputs={**search.arrays, **known, "masks": pairs, "lost": alpha},
        prepare=prepare_pairs,
        axis_masks={"pair": pairs},
        cost=CumulativeCost.from_seconds(seconds),
        scratch=search.scratch,
    )


def fill_witness(prepared: PreparedPairs, region: Region) -> dict[str, Array]:
    """Name the partitions of a range of pairs."""
    pairs, gains, graph = prepared.masks[region[0]], prepared.gains, prepared.gains.graph
    n_effects, n_causes = len(gains.parents), len(gains.radices)
    sizes = (n_causes, n_effects) if graph.forward else (n_effects, n_causes)
    ties = TiedPackings(prepared.rows, RowCache(gains.row), *sizes)
    bits, free = np.zeros((2, len(pairs)))
    ways, kept = np.zeros(len(pairs), np.int64), np.zeros((len(pairs), sizes[0]), np.int64)
    for k, (mechanism, purview) in enumerate(pairs.tolist()):
        free[k] = gains.free_bits(purview)
        place = compressed(purview, graph.reached_by(mechanism))
        bits[k] = free[k] + gains.row(mechanism)[place]
        ways[k], kept[k] = ties.count(mechanism, purview)
    return {"bits": bits, "free": free, "ways": ways, "kept": kept}


def sparse_searches(
    transition: Transition, background: str, searches: tuple[PairSearch, PairSearch]
) -> tuple[ConnectedSearch, ConnectedSearch] | None:
    """Return the searches of connected pairs, of causes and of effects, where they take less.

    Both ways are compared by counted numbers: a function of declared edges, numbers of values and
    ``max_order``.

    Parameters
    ----------
    transition : the transition
    background : how units that are no causes are treated, see :class:`Causation2019`
    searches : of all pairs

    Returns
    -------
    tuple of ConnectedSearch, or None where tables over all pairs take less

    Raises
    ------
    InputError
        There are more than 62 causes, or effects.

    References
    ----------
    docs/mathematics.md 25.4.
    """
    sizes = len(transition.causes), len(transition.effects)
    if max(sizes) > MASK_UNITS:
        raise InputError(
            f"units: expected at most {MASK_UNITS} causes and {MASK_UNITS} effects, "
            f"got {sizes[0]} and {sizes[1]}"
        )
    if sum(sizes) < 2 * MIN_UNITS:
        return None
    found = [connected_search(transition, background, forward) for forward in (False, True)]
    causes, effects = found
    if causes is None or effects is None:
        return None
    seconds = float(causes.seconds.sum() + effects.seconds.sum())
    is_choice = table_bytes(transition, searches) <= TABLE_BUDGET_BYTES
    if is_choice and least_table_seconds(transition, searches) < 2 * seconds:
        return None
    return causes, effects
