"""Causal strengths of occurrences, and the minimum partition of every pair, as stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import comb, prod
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from iitdask.errors import MemoryRefusedError, UnreachableStateError
from iitdask.kernels.causation import (
    block_weights,
    cause_values,
    connected_pairs,
    count_row_steps,
    count_tied_partitions,
    effect_values,
    fill_best_partitions,
    reached_units,
)
from iitdask.kernels.distributions import marginal_table, state_marginals
from iitdask.kernels.subsets import masks_by_size, segment_offsets, state_codes
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.labels import units_of_mask
from iitdask.model.transition import Transition
from iitdask.theory.causation.local_values import (
    LocalCost,
    first_components,
    local_cost,
    prepare_local_values,
    sharing_units,
)
from iitdask.theory.stage import (
    Array,
    CumulativeCost,
    Grid,
    Region,
    Stage,
    StageRef,
    Steps,
    Variable,
    uniform_cost,
)
from iitdask.theory.variables import variable

Summary = TypeVar("Summary")
BATCH_SECONDS = 0.3  # Predicted seconds up to which mechanisms of several sizes share one block
# Bytes of a table from which blocks may be longer: every stage reads the tables once more
LARGE_TABLE_BYTES = 16 * 2**20
# Predicted seconds of one partition tried, of a pair's test for connections, of a state's product
SECONDS_PER_PARTITION, SECONDS_PER_CONNECTION, SECONDS_PER_STATE = 1.2e-9, 2.5e-8, 1.2e-9


class PartitionTables(NamedTuple):
    """Arrays the kernels of :mod:`iitdask.kernels.causation` work on."""

    values: Array
    connected: Array
    masks: Array
    rank: Array
    reach: Array
    needed: Array
    best: Array
    begin: int
    width: int
    inputs: Mapping[str, Array]  # The small ones of the stage


@dataclass(frozen=True, slots=True, eq=False)
class PairSearch:
    """A search for the minimum partitions of all pairs of mechanism and purview, one direction."""

    name: str  # Prefix of its stages
    forward: bool  # True if mechanisms are causes and purviews effects
    children: Array  # (a,) mask of the effects that each cause feeds
    n_mechanism_units: int
    n_purview_units: int
    order: int  # Most units of a mechanism
    # (rows, 2**purview units) value of each pair, bits; row 0: a purview without mechanism
    values: Array | StageRef
    # (2**mechanism units, 2**purview units) whether each pair is connected
    connected: Array | StageRef
    only_whole_pair: bool = False  # True if only the pair of all units on both sides matters
    # (rows of the other direction, 2**mechanism units) values to add, mechanisms and purviews
    # exchanged
    added_values: Array | StageRef | None = None
    # True if partitions are named afterwards, which needs the best values of all rows
    keeps_best: bool = True

    @property
    def purview_axis(self) -> tuple[tuple[str, int]]:
        """Axis of a stage's variable that has a number for each purview."""
        return (("purview", 1 << self.n_purview_units),)

    @property
    def masks(self) -> Array:
        """Mechanism of each row, by size; the empty one first."""
        all_masks = masks_by_size(self.n_mechanism_units)
        return np.asarray(all_masks[np.bitwise_count(all_masks.astype(np.uint64)) <= self.order])

    @property
    def n_rows(self) -> int:
        """Number of mechanisms, the empty one among them."""
        return sum(comb(self.n_mechanism_units, size) for size in range(self.order + 1))

    def inputs(self) -> dict[str, Array | StageRef]:
        """Return the arrays that ``prepare_partitions`` needs beside the rows filled before."""
        numbers = [self.n_mechanism_units, int(self.forward), self.order, int(self.only_whole_pair)]
        arrays = {
            "numbers": np.array(numbers, np.int64),
            "children": self.children,
            "values": self.values,
            "joined": self.connected,
        }
        return arrays if self.added_values is None else arrays | {"more": self.added_values}


def connected_stage(search: PairSearch, all_mechanisms: bool = True) -> Stage:
    """Return the stage that finds which pairs are connected, mechanisms by size.

    With `all_mechanisms`, those beyond the order of the search too.
    """
    numbers = [search.n_mechanism_units, search.n_purview_units, int(search.forward)]
    masks = masks_by_size(search.n_mechanism_units) if all_mechanisms else search.masks
    return Stage(
        name=f"{search.name}/connected",
        grid=Grid(("mechanism",), (len(masks),)),
        variables=(variable("connected", "bool", False, search.purview_axis),),
        compute=fill_connected,
        inputs={"children": search.children, "numbers": np.array(numbers, np.int64)},
        axis_masks={"mechanism": masks},
        cost=uniform_cost(SECONDS_PER_CONNECTION * (1 << search.n_purview_units)),
        size_is_known=True,
    )


def fill_connected(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Find the connected pairs of a range of mechanisms."""
    n_mechanism_units, n_purview_units, forward = inputs["numbers"].tolist()
    children = np.require(inputs["children"], None, ["C", "W"])
    reach = reached_units(children, n_mechanism_units, bool(forward))
    masks = masks_by_size(n_mechanism_units)[region[0]].copy()
    neighbours = sharing_units(reach[1 << np.arange(n_mechanism_units)].tolist())
    hang = first_components(masks, neighbours) == masks
    pairs = np.zeros((len(masks), 1 << n_purview_units), np.bool_)
    pairs[hang] = connected_pairs(masks[hang], children, reach, pairs.shape[1], bool(forward))
    return {"connected": pairs}


def needed_rows(masks: Array, n_mechanism_units: int, only_whole_pair: bool) -> Array:
    """Return which rows are needed; for the whole pair alone, not all are."""
    if not only_whole_pair:
        return np.ones(len(masks), np.bool_)
    return np.asarray((masks & 1 == 0) | (masks == (1 << n_mechanism_units) - 1))


def prepare_partitions(inputs: Mapping[str, Array]) -> PartitionTables:
    """Assemble the rows filled so far and the connected pairs; once per process and stage."""
    n_mechanism_units, forward, _order, only_whole_pair = inputs["numbers"].tolist()
    values, children = (
        np.require(inputs[name], None, ["C", "W"]) for name in ("values", "children")
    )
    if "more" in inputs:
        turned = np.empty(inputs["more"].shape)  # each table lists its own mechanisms by size
        turned[masks_by_size(values.shape[1].bit_length() - 1)] = inputs["more"]
        values = values + turned.T[masks_by_size(values.shape[0].bit_length() - 1)]
    all_masks = masks_by_size(n_mechanism_units)
    masks = all_masks[: len(values)]
    rank = np.zeros(1 << n_mechanism_units, np.int64)
    rank[masks] = np.arange(len(masks))
    reach = reached_units(children, n_mechanism_units, bool(forward))
    connected = np.array(inputs["joined"][: len(masks)])
    connected[-1, -1] |= bool(only_whole_pair)  # an account need not hang together by itself
    best = np.zeros(values.shape)  # zeros_like would write to all of it
    filled = 0
    for rows in referenced_rows(inputs, "best"):
        best[filled : filled + len(rows)] = rows
        filled += len(rows)
    needed = needed_rows(masks, n_mechanism_units, bool(only_whole_pair))
    width = 1 if only_whole_pair else values.shape[1]
    small = {name: inputs[name] for name in ("numbers", "pairs", "alpha") if name in inputs}
    tables = (values, connected, masks, rank, reach, needed, best)
    return PartitionTables(*tables, filled, width, small)


def fill_partitions(tables: PartitionTables, region: Region) -> dict[str, Array]:
    """Find minimum partitions of a range of mechanisms; one block's come after all they need."""
    t = tables
    begin, end = (t.begin + edge for edge in (region[0].start, region[0].stop))
    alpha = np.zeros((end - begin, t.values.shape[1]))
    fill_best_partitions(
        t.values, t.connected, t.masks, t.rank, t.reach, t.needed, begin, end, t.best, alpha
    )
    first = -t.width  # of an account, the pair of all units is all that counts
    return {"best": t.best[begin:end].copy(), "alpha": np.ascontiguousarray(alpha[:, first:])}


def fill_last_partitions(tables: PartitionTables, region: Region) -> dict[str, Array]:
    """Find minimum partitions of the last mechanisms, whose best values nothing reads."""
    return {"alpha": fill_partitions(tables, region)["alpha"]}


def minimum_partitions_inline(search: PairSearch, values: Array) -> Array:
    """Find the minimum partitions of all mechanisms of a search in this process.

    Parameters
    ----------
    search : the search
    values : (rows, 2**purview units) value of each pair, bits

    Returns
    -------
    ndarray, (rows, 2**purview units) bits that each pair loses; where only the whole pair matters,
        the last column alone

    References
    ----------
    docs/mathematics.md 25.2, Eqs. (25.3) and (25.4).
    """
    (stage, whole) = connected_stage(search), (slice(0, 1 << search.n_mechanism_units),)
    connected = fill_connected(stage.inputs, whole)["connected"]  # type: ignore[arg-type]
    inputs = {**search.inputs(), "values": values, "joined": connected}
    tables = prepare_partitions(inputs)  # type: ignore[arg-type]
    return fill_partitions(tables, (slice(0, len(values)),))["alpha"]


@dataclass(frozen=True, slots=True)
class PairSearchResult(Generic[Summary]):
    """Result of a search."""

    search: PairSearch
    stages: tuple[str, ...]  # Names of its stages, whose ``alpha`` together are those of all rows
    summaries: tuple[Summary, ...]  # Summary of each stage


def minimum_partitions(
    searches: Sequence[PairSearch], summarise: Callable[[int, Array], Summary]
) -> Steps[list[PairSearchResult[Summary]]]:
    """Find the minimum partitions of several searches, a stage of each at a time.

    `summarise` receives the first row of a stage and its alpha (see
    :func:`minimum_partitions_inline`); only the summaries are held in memory.
    """
    plans = [_partition_stages(search) for search in searches]
    summaries: list[list[Summary]] = [[] for _ in searches]
    begins = [0 for _ in searches]
    for step in range(max(map(len, plans), default=0)):
        busy = [k for k, plan in enumerate(plans) if step < len(plan)]
        datasets = yield tuple(plans[k][step] for k in busy)
        for k, data in zip(busy, datasets, strict=True):
            alpha = data["alpha"].values
            summaries[k].append(summarise(begins[k], alpha))
            begins[k] += len(alpha)
        del datasets, data, alpha  # as large as the tables
    return [
        PairSearchResult(search, tuple(stage.name for stage in plan), tuple(rows))
        for search, plan, rows in zip(searches, plans, summaries, strict=True)
    ]


def _partition_stages(search: PairSearch) -> list[Stage]:
    masks = search.masks
    needed = needed_rows(masks, search.n_mechanism_units, search.only_whole_pair)
    reach, weights = _partition_weights(
        tuple(search.children.tolist()), search.n_mechanism_units, search.forward
    )
    steps = count_row_steps(masks, len(masks), reach, weights, needed)
    seconds = SECONDS_PER_PARTITION * steps + 1e-8 * (needed << search.n_purview_units)
    sizes = np.bitwise_count(masks.astype(np.uint64))
    table_bytes = 8 * (len(masks) << search.n_purview_units)
    longest = BATCH_SECONDS * max(1.0, table_bytes / LARGE_TABLE_BYTES)
    ends = [int(np.searchsorted(sizes, k, side="right")) for k in range(search.order + 1)]
    stages, begin = list[Stage](), 0
    for here, further in zip(ends, [*ends[1:], None], strict=True):
        if further is None or seconds[begin:further].sum() > longest:
            before = [stage.name for stage in stages]
            stages.append(_partition_stage(search, before, sizes, seconds, (begin, here)))
            begin = here
    return stages


@lru_cache(maxsize=2)
def _partition_weights(
    children: tuple[int, ...], n_mechanism_units: int, forward: bool
) -> tuple[Array, Array]:
    """Return what the cost of partitions follows from; searches of one account share it."""
    masks = np.array(children, np.int64)
    reach = reached_units(masks, n_mechanism_units, forward)
    return reach, block_weights(masks, reach, n_mechanism_units, forward)


def _partition_stage(
    search: PairSearch, before: Sequence[str], sizes: Array, seconds: Array, rows: tuple[int, int]
) -> Stage:
    begin, end = rows
    mixed = sizes[begin] != sizes[end - 1]
    best = variable("best", "float64", 0.0, search.purview_axis)
    width = 1 if search.only_whole_pair else 1 << search.n_purview_units
    alpha = variable("alpha", "float64", 0.0, (("kept_purview", width),))
    keeps_best = search.keeps_best or end < len(sizes)
    return Stage(
        name=f"{search.name}/parting-{len(before)}",
        grid=Grid(("mechanism",), (end - begin,), unsplit=("mechanism",) if mixed else ()),
        variables=(best, alpha) if keeps_best else (alpha,),
        compute=fill_partitions if keeps_best else fill_last_partitions,
        inputs={**search.inputs(), **stage_refs(before, "best")},
        prepare=prepare_partitions,
        axis_masks={"mechanism": search.masks[begin:end]},
        cost=CumulativeCost.from_seconds(seconds[begin:end]),
        scratch=_scratch_bytes(search),
        size_is_known=True,
    )


def _scratch_bytes(search: PairSearch) -> int:
    """Return the bytes of tables beside inputs and outputs."""
    bytes_per_pair = 9 + 16 * (search.added_values is not None) + 8 * search.only_whole_pair
    return bytes_per_pair * len(search.masks) << search.n_purview_units


def stage_refs(stages: Sequence[str], name: str) -> dict[str, StageRef]:
    """Refer to a variable's rows that earlier stages filled, see :func:`referenced_rows`."""
    return {f"{name}-{k}": StageRef(stage, name) for k, stage in enumerate(stages)}


def referenced_rows(inputs: Mapping[str, Array], name: str) -> list[Array]:
    """Return the rows of each stage that :func:`stage_refs` refers to, in order."""
    keys = [key for key in inputs if key.startswith(f"{name}-")]
    return [inputs[key] for key in sorted(keys, key=lambda key: int(key[len(name) + 1 :]))]


def witness_variables(n_mechanism_units: int) -> tuple[Variable, ...]:
    """Return what a named partition of a pair has: bits, ties, and what each unit keeps."""
    return (
        variable("bits", "float64", 0.0),
        variable("free", "float64", 0.0),
        variable("ways", "int64", 0),
        variable("kept", "int64", 0, (("unit", n_mechanism_units),)),
    )


def witness_stage(search: PairSearch, stages: Sequence[str], pairs: Array, alpha: Array) -> Stage:
    """Return the stage that names a partition of each pair and counts the tied ones.

    `pairs` is (k, 2) mechanism and purview masks, `alpha` (k,) the bits that each loses. The stage
    has the probabilities too, and what each unit keeps under the named partition.
    """
    sizes = np.bitwise_count(pairs.astype(np.uint64)).sum(axis=1)
    seconds = 1e-6 + 2e-9 * np.exp2(sizes)
    return Stage(
        name=f"{search.name}/named",
        grid=Grid(("pair",), (len(pairs),)),
        variables=witness_variables(search.n_mechanism_units),
        compute=fill_witness,
        inputs={**search.inputs(), **stage_refs(stages, "best"), "pairs": pairs, "alpha": alpha},
        prepare=prepare_partitions,
        axis_masks={"pair": pairs},
        cost=CumulativeCost.from_seconds(seconds),
        size_is_known=search.only_whole_pair,
        scratch=_scratch_bytes(search),
    )


def fill_witness(t: PartitionTables, region: Region) -> dict[str, Array]:
    """Name the partitions of a range of pairs."""
    inputs = t.inputs
    n_mechanism_units, forward, *_ = inputs["numbers"].tolist()
    n_purview_units = t.values.shape[1].bit_length() - 1
    mechanisms, purviews = inputs["pairs"][region[0]].T
    bits = t.values[t.rank[mechanisms], purviews]
    least = bits - inputs["alpha"][region[0]]
    ways, kept = np.zeros(len(bits), np.int64), np.zeros((len(bits), n_mechanism_units), np.int64)
    tables, sizes = (t.values, t.best, t.rank), (n_mechanism_units, n_purview_units)
    for k, pair in enumerate(inputs["pairs"][region[0]].tolist()):
        ways[k] = count_tied_partitions(
            *tables, *pair, float(least[k]), bool(forward), *sizes, kept[k]
        )
    return {"bits": bits, "free": t.values[0, purviews], "ways": ways, "kept": kept}


TABLES_HELD = 4  # Tables of one number per pair that a process holds at once


def pair_searches(transition: Transition) -> tuple[PairSearch, PairSearch]:
    """Return the searches for the causes of effects and for the effects of causes."""
    a, b = len(transition.causes), len(transition.effects)
    causes, effects = (
        PairSearch(
            name,
            name == "effects",
            transition.children,
            n_mechanism_units,
            n_purview_units,
            order=min(transition.max_order, n_mechanism_units),
            values=StageRef(f"{name}/values", "bits"),
            connected=StageRef(f"{name}/connected", "connected"),
        )
        for name, n_mechanism_units, n_purview_units in (("causes", b, a), ("effects", a, b))
    )
    return causes, effects


def pair_bytes(rows: int, n_purview_units: int) -> int:
    """Return the bytes of the tables over mechanisms and purviews that a process holds at once."""
    return TABLES_HELD * 8 * rows << n_purview_units


def table_bytes(transition: Transition, searches: tuple[PairSearch, PairSearch]) -> int:
    """Return the bytes of the largest table of an account that has all pairs of sets."""
    codes = prod(k + 1 for k in transition.levels)
    return max(
        8 * codes * len(transition.effects),
        *(pair_bytes(search.n_rows, search.n_purview_units) for search in searches),
    )


def least_table_seconds(transition: Transition, searches: tuple[PairSearch, PairSearch]) -> float:
    """Predict the seconds of an account by tables, without those that its partitions take."""
    causes, effects = searches
    summed, local = _cause_seconds(transition, causes)
    pairs = sum(search.n_rows << search.n_purview_units for search in (causes, effects))
    seconds = summed if local is None else min(summed, 2 * float(local.seconds.sum()))
    return seconds + SECONDS_PER_CONNECTION * pairs


def _cause_seconds(transition: Transition, causes: PairSearch) -> tuple[float, LocalCost | None]:
    """Predict the seconds of the causes' values as sums over all states, and by connections."""
    codes, b = float(np.prod([k + 1.0 for k in transition.levels])), len(transition.effects)
    summed = SECONDS_PER_STATE * codes * (1 + b / 2) * causes.n_rows
    return summed, local_cost(transition.children, transition.levels, b, causes.masks)


def require_memory(transition: Transition, searches: tuple[PairSearch, PairSearch]) -> None:
    """Raise MemoryRefusedError if a table of a transition exceeds the memory budget."""
    need = table_bytes(transition, searches)
    if need > TABLE_BUDGET_BYTES:
        raise MemoryRefusedError(
            f"account of {len(transition.causes)} causes and {len(transition.effects)} effects: "
            f"its tables need {need / 2**30:.3g} GiB, more than the budget of "
            f"{TABLE_BUDGET_BYTES / 2**30:.3g} GiB; choose fewer units or a smaller max_order"
        )


# Writes the values of all purviews with a mechanism to a row; the row's length; mechanism masks
PreparedValues = tuple[Callable[[int, Array], None], int, Array]


class ValueComputation(NamedTuple):
    """How the values of all pairs of one direction are computed."""

    prepare: Callable[[Mapping[str, Array]], PreparedValues]
    cost: Callable[[Region], float]  # Predicted seconds
    scratch: int  # Bytes
    inputs: Mapping[str, Array] = MappingProxyType({})  # Beside those of every way


def value_stages(
    transition: Transition, background: str, searches: tuple[PairSearch, PairSearch]
) -> tuple[Stage, ...]:
    """Return the stages that compute the values of all pairs.

    Parameters
    ----------
    transition : the transition
    background : how units that are no causes are treated, see :class:`Causation2019`
    searches : of causes and of effects

    Returns
    -------
    tuple of Stage, ``bits`` (rows, 2**purview units) of each search

    References
    ----------
    docs/mathematics.md 13.1, Eq. (25.3) and 25.3.
    """
    codes = float(np.prod([k + 1.0 for k in transition.levels]))
    a, b = len(transition.causes), len(transition.effects)
    causes, effects = searches
    forward = ValueComputation(
        prepare_effect_values, uniform_cost(3e-9 * 2**b + 1e-9), 24 * b * 2**a
    )
    summed, local = _cause_seconds(transition, causes)
    cost = uniform_cost(summed / causes.n_rows)
    backward = ValueComputation(prepare_cause_values, cost, 16 * int(codes) * b)
    if local is not None and 2 * local.seconds.sum() < summed:
        costs = CumulativeCost.from_seconds(local.seconds)
        more = {"children": transition.children}
        backward = ValueComputation(prepare_local_cause_values, costs, local.scratch, more)
    return (
        _value_stage(transition, causes, transition.cause(background), backward),
        _value_stage(transition, effects, transition.effect, forward),
    )


def _value_stage(
    transition: Transition, search: PairSearch, table: Array, way: ValueComputation
) -> Stage:
    return Stage(
        name=f"{search.name}/values",
        grid=Grid(("mechanism",), (len(search.masks),)),
        variables=(variable("bits", "float64", 0.0, search.purview_axis),),
        compute=fill_values,
        inputs={
            "tpm": table,
            "levels": np.array(transition.levels, np.int64),
            "state": np.array(transition.local_before, np.int64),
            "masks": search.masks,
            **way.inputs,
        },
        prepare=way.prepare,
        axis_masks={"mechanism": search.masks},
        cost=way.cost,
        scratch=way.scratch,
        size_is_known=True,
    )


def pair_values(search: PairSearch, tpm: Array, levels: Array, state: Array) -> Array:
    """Compute the values of all pairs of one direction in this process.

    `tpm` is (S, effects) P(effect has its value after | state of the causes); `levels` and `state`
    are those of the causes, (a,). Returns (rows, 2**purview units) log2 of probabilities, bits.
    """
    inputs = {"tpm": tpm, "levels": levels, "state": state, "masks": search.masks}
    prepared = prepare_effect_values(inputs) if search.forward else prepare_cause_values(inputs)
    return fill_values(prepared, (slice(0, len(search.masks)),))["bits"]


def _writable(inputs: Mapping[str, Array]) -> list[Array]:
    return [np.require(inputs[name], None, ["C", "W"]) for name in ("tpm", "levels", "state")]


def prepare_cause_values(inputs: Mapping[str, Array]) -> PreparedValues:
    """Compute the marginals of every state of every set of causes."""
    tpm, levels, state = _writable(inputs)
    offsets = segment_offsets(levels)
    table = np.empty((offsets[-1], tpm.shape[1]))
    marginal_table(tpm, levels, offsets, table)
    codes = state_codes(offsets, state, len(levels))
    return partial(cause_values, table, offsets, codes), len(codes), inputs["masks"]


def prepare_local_cause_values(inputs: Mapping[str, Array]) -> PreparedValues:
    """Tabulate what each effect does given its own causes; the rest is done by occurrence."""
    local = prepare_local_values(inputs)
    return local.write_row, local.n_purviews, inputs["masks"]


def prepare_effect_values(inputs: Mapping[str, Array]) -> PreparedValues:
    """Compute logarithms of the marginals given every set of causes in its actual state."""
    rows = state_marginals(*_writable(inputs))
    with np.errstate(divide="ignore"):
        logs = np.log2(rows)
    return partial(effect_values, logs), 1 << logs.shape[1], inputs["masks"]


def fill_values(prepared: PreparedValues, region: Region) -> dict[str, Array]:
    """Compute the values of all purviews for a range of mechanisms."""
    write_values, n_purviews, masks = prepared
    mechanisms = masks[region[0]]
    out = np.empty((len(mechanisms), n_purviews))
    for row, mechanism in enumerate(mechanisms.tolist()):
        write_values(mechanism, out[row])
    return {"bits": out}


def require_defined_causes(transition: Transition, is_undefined: Array, masks: Array) -> None:
    """Raise UnreachableStateError if an occurrence has no cause repertoire.

    `is_undefined` tells which of the occurrences have none (products of probabilities can
    underflow); the message names the smallest one.
    """
    if not is_undefined.any():
        return
    mask = min(
        masks[is_undefined].tolist(), key=lambda mask: (mask.bit_count(), units_of_mask(mask))
    )
    labels, after = transition.substrate.labels, transition.after
    units = units_of_mask(mask, transition.effects)
    shown = ", ".join(f"{labels[i]}={after[i]}" for i in units)
    raise UnreachableStateError(
        f"after: the probability of {shown} is 0 in double precision whatever the causes; "
        "its causes are not defined"
    )
