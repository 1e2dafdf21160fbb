"""Values and minimum partitions of every pair of occurrence and purview, as stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import MemoryRefusedError, UnreachableStateError
from iitdask.kernels.causation import (
    block_weights,
    cause_values,
    connected_pairs,
    count_row_steps,
    count_tied_partitions,
    effect_values,
    fill_best_partitions,
    masks_by_size,
    reached_units,
)
from iitdask.kernels.distributions import marginal_table, state_marginals
from iitdask.kernels.subsets import segment_offsets, state_codes
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.transition import Transition
from iitdask.theory.stage import (
    CumulativeCost,
    Filled,
    Grid,
    Region,
    Stage,
    StageRef,
    Steps,
    uniform_cost,
)
from iitdask.theory.variables import variable

__all__ = [
    "PairSearch",
    "PairSearchResult",
    "PartitionTables",
    "connected_stage",
    "minimum_partitions",
    "minimum_partitions_inline",
    "pair_bytes",
    "pair_searches",
    "pair_values",
    "prepare_partitions",
    "referenced_rows",
    "require_defined_causes",
    "require_memory",
    "stage_refs",
    "value_stages",
    "witness_stage",
]

Array = NDArray[Any]
Summary = TypeVar("Summary")
BATCH_SECONDS = 0.3
"""Predicted seconds up to which mechanisms of several sizes share one block."""
LARGE_TABLE_BYTES = 16 * 2**20
"""Bytes of a table from which blocks may be longer: every stage reads the tables once more."""
SECONDS_PER_PARTITION = 1.2e-9
"""Predicted seconds of one partition tried."""


class PartitionTables(NamedTuple):
    """What the kernels in kernels/parting.py work on."""

    values: Array
    joined: Array
    masks: Array
    rank: Array
    reach: Array
    wanted: Array
    best: Array
    begin: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class PairSearch:
    """Mechanisms on one side, purviews on the other, and what pairs of them are worth."""

    name: str
    """Prefix of its stages."""
    forward: bool
    """Whether mechanisms are causes and purviews effects."""
    children: Array
    """(a,) mask of the effects that each cause feeds."""
    own: int
    """Units mechanisms consist of."""
    other: int
    """Units purviews consist of."""
    order: int
    """Most units of a mechanism."""
    values: Array | StageRef
    """(rows, 2**other) value of each pair, bits; row 0: a purview on its own."""
    joined: Array | StageRef
    """(2**own, 2**other) whether each pair is connected, see ``connected_stage``."""
    final: bool = False
    """Whether only the pair of all units on both sides matters."""
    more: Array | StageRef | None = None
    """(rows of the other side, 2**own) values to add, mechanisms and purviews exchanged."""
    named: bool = True
    """Whether partitions are named afterwards: then the best values of all rows are kept."""

    @property
    def masks(self) -> Array:
        """Mechanism of each row, by size; the empty one first."""
        every = masks_by_size(self.own)
        return np.asarray(every[np.bitwise_count(every.astype(np.uint64)) <= self.order])

    def inputs(self) -> dict[str, Array | StageRef]:
        """Arrays that ``prepare_partitions`` needs, beside the rows filled before."""
        numbers = [self.own, int(self.forward), self.order, int(self.final)]
        made = {
            "numbers": np.array(numbers, np.int64),
            "children": self.children,
            "values": self.values,
            "joined": self.joined,
        }
        return made if self.more is None else made | {"more": self.more}


def connected_stage(side: PairSearch, every: bool = True) -> Stage:
    """Which pairs are connected, mechanisms by size: every one, or up to the side's order."""
    size, numbers = 1 << side.other, [side.own, side.other, int(side.forward)]
    return Stage(
        name=f"{side.name}/connected",
        grid=Grid(("mechanism",), (1 << side.own if every else len(side.masks),)),
        variables=(variable("connected", "bool", False, (("purview", size),)),),
        compute=fill_connected,
        inputs={"children": side.children, "numbers": np.array(numbers, np.int64)},
        members={"mechanism": masks_by_size(side.own) if every else side.masks},
        cost=lambda region: 2.5e-8 * size * (region[0].stop - region[0].start),
        size_is_known=True,
    )


def fill_connected(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Look at a range of mechanisms."""
    own, other, forward = inputs["numbers"].tolist()
    children = np.require(inputs["children"], None, ["C", "W"])
    reach = reached_units(children, own, bool(forward))
    masks = masks_by_size(own)[region[0]].copy()
    return {"connected": connected_pairs(masks, children, reach, 1 << other, bool(forward))}


def needed_rows(masks: Array, own: int, final: bool) -> Array:
    """Rows that are needed: without the first unit, or all of them, when only the end matters."""
    if not final:
        return np.ones(len(masks), np.bool_)
    return np.asarray((masks & 1 == 0) | (masks == (1 << own) - 1))


def prepare_partitions(inputs: Mapping[str, Array]) -> PartitionTables:
    """Lay out the rows filled so far and find the connected pairs; once per process and stage."""
    own, forward, _order, final = inputs["numbers"].tolist()
    values, children = (
        np.require(inputs[name], None, ["C", "W"]) for name in ("values", "children")
    )
    if "more" in inputs:
        values = sum_of_directions(values, inputs["more"])
    every = masks_by_size(own)
    masks = every[: len(values)]
    rank = np.zeros(1 << own, np.int64)
    rank[masks] = np.arange(len(masks))
    reach = reached_units(children, own, bool(forward))
    joined = np.array(inputs["joined"][: len(masks)])
    joined[-1, -1] |= bool(final)  # an account need not hang together by itself
    best = np.zeros(values.shape)  # zeros_like would write to all of it
    filled = 0
    for rows in referenced_rows(inputs, "best"):
        best[filled : filled + len(rows)] = rows
        filled += len(rows)
    wanted, width = needed_rows(masks, own, bool(final)), 1 if final else values.shape[1]
    return PartitionTables(values, joined, masks, rank, reach, wanted, best, filled, width)


def sum_of_directions(own: Array, others: Array) -> Array:
    """Add two tables of all pairs, each by its mechanisms' size, the second one turned around."""
    turned = np.empty(others.shape)
    turned[masks_by_size(own.shape[1].bit_length() - 1)] = others
    return np.asarray(own + turned.T[masks_by_size(own.shape[0].bit_length() - 1)])


def fill_partitions(tables: PartitionTables, region: Region) -> dict[str, Array]:
    """Part a range of mechanisms; those of one block come after all they need."""
    begin, end = (tables.begin + edge for edge in (region[0].start, region[0].stop))
    alpha = np.zeros((end - begin, tables.values.shape[1]))
    t = tables
    fill_best_partitions(
        t.values, t.joined, t.masks, t.rank, t.reach, t.wanted, begin, end, t.best, alpha
    )
    first = -t.width  # of an account, the pair of all units is all that counts
    return {"best": t.best[begin:end].copy(), "alpha": np.ascontiguousarray(alpha[:, first:])}


def fill_last_partitions(tables: PartitionTables, region: Region) -> dict[str, Array]:
    """Part the last mechanisms where nothing reads their best values."""
    return {"alpha": fill_partitions(tables, region)["alpha"]}


def minimum_partitions_inline(side: PairSearch, values: Array) -> Array:
    """Part all mechanisms of a side here and now.

    Returns (rows, 2**other) bits that each pair loses under its least partition; the last
    column alone where only the pair of all units matters.
    """
    (stage, whole) = connected_stage(side), (slice(0, 1 << side.own),)
    joined = fill_connected(stage.inputs, whole)["connected"]  # type: ignore[arg-type]
    inputs = {**side.inputs(), "values": values, "joined": joined}
    tables = prepare_partitions(inputs)  # type: ignore[arg-type]
    return fill_partitions(tables, (slice(0, len(values)),))["alpha"]


@dataclass(frozen=True, slots=True)
class PairSearchResult(Generic[Summary]):
    """What came of a parting."""

    parting: PairSearch
    """The side."""
    stages: tuple[str, ...]
    """Names of its stages, which keep ``alpha`` of all rows, one after the other."""
    seen: tuple[Summary, ...]
    """What was looked at in each of them."""


def minimum_partitions(
    sides: Sequence[PairSearch], look: Callable[[int, Array], Summary]
) -> Steps[list[PairSearchResult[Summary]]]:
    """Part several sides, batch by batch, in step.

    Parameters
    ----------
    sides
        The sides.
    look
        Summarises a batch, given its first row and alpha (see :func:`minimum_partitions_inline`);
        only the summaries are held in memory.
    """
    plans = [_partition_stages(side) for side in sides]
    seen: list[list[Summary]] = [[] for _ in sides]
    begins = [0 for _ in sides]
    for step in range(max(map(len, plans), default=0)):
        busy = [k for k, plan in enumerate(plans) if step < len(plan)]
        datasets = yield tuple(plans[k][step] for k in busy)
        for k, data in zip(busy, datasets, strict=True):
            alpha = data["alpha"].values
            seen[k].append(look(begins[k], alpha))
            begins[k] += len(alpha)
        del datasets, data, alpha  # as large as the tables
    return [
        PairSearchResult(side, tuple(stage.name for stage in plan), tuple(rows))
        for side, plan, rows in zip(sides, plans, seen, strict=True)
    ]


def _partition_stages(side: PairSearch) -> list[Stage]:
    masks = side.masks
    wanted = needed_rows(masks, side.own, side.final)
    reach, weights = _partition_weights(tuple(side.children.tolist()), side.own, side.forward)
    steps = count_row_steps(masks, len(masks), reach, weights, wanted)
    seconds = SECONDS_PER_PARTITION * steps + 1e-8 * (wanted << side.other)
    sizes = np.bitwise_count(masks.astype(np.uint64))
    longest = BATCH_SECONDS * max(1.0, 8 * (len(masks) << side.other) / LARGE_TABLE_BYTES)
    ends = [int(np.searchsorted(sizes, k, side="right")) for k in range(side.order + 1)]
    cuts, begin = [], 0
    for here, further in zip(ends, [*ends[1:], None], strict=True):
        if further is None or seconds[begin:further].sum() > longest:
            cuts.append((begin, here))
            begin = here
    stages: list[Stage] = []
    for begin, end in cuts:
        stages.append(
            _partition_stage(side, [s.name for s in stages], sizes, seconds, (begin, end))
        )
    return stages


@lru_cache(maxsize=2)
def _partition_weights(children: tuple[int, ...], own: int, forward: bool) -> tuple[Array, Array]:
    """What the cost of parting follows from; sides of one account share it."""
    given = np.array(children, np.int64)
    reach = reached_units(given, own, forward)
    return reach, block_weights(given, reach, own, forward)


def _partition_stage(
    side: PairSearch, before: Sequence[str], sizes: Array, seconds: Array, rows: tuple[int, int]
) -> Stage:
    begin, end = rows
    width = 1 << side.other
    mixed = sizes[begin] != sizes[end - 1]
    best = variable("best", "float64", 0.0, (("purview", width),))
    alpha = variable("alpha", "float64", 0.0, (("kept_purview", 1 if side.final else width),))
    read = side.named or end < len(sizes)
    return Stage(
        name=f"{side.name}/parting-{len(before)}",
        grid=Grid(("mechanism",), (end - begin,), unsplit=("mechanism",) if mixed else ()),
        variables=(best, alpha) if read else (alpha,),
        compute=fill_partitions if read else fill_last_partitions,
        inputs={**side.inputs(), **stage_refs(before, "best")},
        prepare=prepare_partitions,
        members={"mechanism": side.masks[begin:end]},
        cost=CumulativeCost.from_seconds(seconds[begin:end]),
        scratch=_scratch_bytes(side),
        size_is_known=True,
    )


def _scratch_bytes(side: PairSearch) -> int:
    """Bytes of tables beside inputs and outputs: best and connected, what is added, alpha."""
    each = 9 + (0 if side.more is None else 16) + (8 if side.final else 0)
    return each * len(side.masks) << side.other


def stage_refs(stages: Sequence[str], name: str) -> dict[str, StageRef]:
    """Refer to rows that earlier stages filled, in order; :func:`referenced_rows` reads them."""
    return {f"{name}-{k}": StageRef(stage, name) for k, stage in enumerate(stages)}


def referenced_rows(inputs: Mapping[str, Array], name: str) -> list[Array]:
    """What ``stage_refs`` names, in order."""
    found = [key for key in inputs if key.startswith(f"{name}-")]
    return [inputs[key] for key in sorted(found, key=lambda key: int(key[len(name) + 1 :]))]


def witness_stage(side: PairSearch, stages: Sequence[str], pairs: Array, alpha: Array) -> Stage:
    """Probabilities of chosen pairs, their tied partitions, and the one that is named.

    stages : those that filled ``best``
    pairs : (k, 2) mechanism and purview masks; alpha : (k,) bits that they lose
    """
    sizes = np.bitwise_count(pairs.astype(np.uint64)).sum(axis=1)
    seconds = 1e-6 + 2e-9 * np.exp2(sizes)
    return Stage(
        name=f"{side.name}/named",
        grid=Grid(("pair",), (len(pairs),)),
        variables=(
            variable("bits", "float64", 0.0),
            variable("free", "float64", 0.0),
            variable("ways", "int64", 0),
            variable("kept", "int64", 0, (("unit", side.own),)),
        ),
        compute=fill_witness,
        inputs={**side.inputs(), **stage_refs(stages, "best"), "pairs": pairs, "alpha": alpha},
        prepare=prepare_witness,
        members={"pair": pairs},
        cost=CumulativeCost.from_seconds(seconds),
        size_is_known=side.final,
        scratch=_scratch_bytes(side),
    )


def prepare_witness(inputs: Mapping[str, Array]) -> tuple[PartitionTables, Mapping[str, Array]]:
    """Tables, and the pairs."""
    small = {name: inputs[name] for name in ("numbers", "pairs", "alpha")}
    return prepare_partitions(inputs), small


def fill_witness(
    prepared: tuple[PartitionTables, Mapping[str, Array]], region: Region
) -> dict[str, Array]:
    """Name the partitions of a range of pairs."""
    t, inputs = prepared
    own, forward, *_ = inputs["numbers"].tolist()
    other = t.values.shape[1].bit_length() - 1
    mechanisms, purviews = inputs["pairs"][region[0]].T
    bits = t.values[t.rank[mechanisms], purviews]
    least = bits - inputs["alpha"][region[0]]
    ways, kept = np.zeros(len(bits), np.int64), np.zeros((len(bits), own), np.int64)
    for k, (mechanism, purview) in enumerate(inputs["pairs"][region[0]].tolist()):
        ways[k] = count_tied_partitions(
            t.values,
            t.best,
            t.rank,
            mechanism,
            purview,
            float(least[k]),
            bool(forward),
            own,
            other,
            kept[k],
        )
    return {"bits": bits, "free": t.values[0, purviews], "ways": ways, "kept": kept}


TABLES_HELD = 4
"""Tables of pairs, one number each, that are held at once."""


def pair_searches(transition: Transition) -> tuple[PairSearch, PairSearch]:
    """Occurrences among effects with their causes, and among causes with their effects."""
    a, b = len(transition.causes), len(transition.effects)
    children = transition.children
    order = transition.max_order
    made = []
    for name, forward, own, other in (("causes", False, b, a), ("effects", True, a, b)):
        bits, joined = (
            StageRef(f"{name}/values", "bits"),
            StageRef(f"{name}/connected", "connected"),
        )
        made.append(PairSearch(name, forward, children, own, other, min(order, own), bits, joined))
    return made[0], made[1]


def pair_bytes(rows: int, other: int) -> int:
    """Bytes of the tables over mechanisms and purviews that a process holds at once."""
    return TABLES_HELD * 8 * rows << other


def require_memory(transition: Transition, wanted: tuple[PairSearch, PairSearch]) -> None:
    """Refuse what could only fail.

    Raises
    ------
    MemoryRefusedError
        A table would be larger than the budget.
    """
    codes = prod(k + 1 for k in transition.levels)
    need = max(
        8 * codes * len(transition.effects),
        *(pair_bytes(len(side.masks), side.other) for side in wanted),
    )
    if need > TABLE_BUDGET_BYTES:
        raise MemoryRefusedError(
            f"account of {len(transition.causes)} causes and {len(transition.effects)} effects: "
            f"its tables need {need / 2**30:.3g} GiB, more than the budget of "
            f"{TABLE_BUDGET_BYTES / 2**30:.3g} GiB; choose fewer units or a smaller max_order"
        )


def value_stages(
    transition: Transition, background: str, wanted: tuple[PairSearch, PairSearch]
) -> tuple[Stage, Stage]:
    """Values of all pairs in both directions."""
    causes, effects = wanted
    codes = float(np.prod([k + 1.0 for k in transition.levels]))
    a, b = len(transition.causes), len(transition.effects)
    tables = (transition.cause(background), transition.effect)
    each = (1.2e-9 * codes * (1 + b / 2), 3e-9 * 2**b + 1e-9)
    room = (16 * int(codes) * b, 24 * b * 2**a)
    first, second = (
        Stage(
            name=f"{side.name}/values",
            grid=Grid(("mechanism",), (len(side.masks),)),
            variables=(variable("bits", "float64", 0.0, (("purview", 1 << side.other),)),),
            compute=fill_effect_values if side.forward else fill_cause_values,
            inputs={
                "tpm": table,
                "levels": np.array(transition.levels, np.int64),
                "state": np.array(transition.local_before, np.int64),
                "masks": side.masks,
            },
            prepare=prepare_effect_values if side.forward else prepare_cause_values,
            members={"mechanism": side.masks},
            cost=uniform_cost(seconds),
            scratch=scratch,
            size_is_known=True,
        )
        for side, table, seconds, scratch in zip((causes, effects), tables, each, room, strict=True)
    )
    return first, second


def pair_values(side: PairSearch, tpm: Array, levels: Array, state: Array) -> Array:
    """Values of all pairs in one direction, here and now."""
    inputs = {"tpm": tpm, "levels": levels, "state": state, "masks": side.masks}
    region = (slice(0, len(inputs["masks"])),)
    if side.forward:
        return fill_effect_values(prepare_effect_values(inputs), region)["bits"]
    return fill_cause_values(prepare_cause_values(inputs), region)["bits"]


def prepare_cause_values(inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Marginals of every state of every set of causes."""
    tpm, levels, state = (
        np.require(inputs[x], None, ["C", "W"]) for x in ("tpm", "levels", "state")
    )
    offsets = segment_offsets(levels)
    table = np.empty((offsets[-1], tpm.shape[1]))
    marginal_table(tpm, levels, offsets, table)
    codes = state_codes(offsets, state, len(levels))
    return table, offsets, codes, inputs["masks"]


def fill_cause_values(prepared: tuple[Array, ...], region: Region) -> dict[str, Array]:
    """Values of all sets of causes for a range of occurrences."""
    table, offsets, codes, masks = prepared
    chosen = masks[region[0]]
    out = np.empty((len(chosen), len(codes)))
    for row, mechanism in enumerate(chosen.tolist()):
        cause_values(table, offsets, codes, mechanism, out[row])
    return {"bits": out}


def prepare_effect_values(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Logarithms of the marginals given every set of causes in its actual state."""
    rows = state_marginals(
        *(np.require(inputs[x], None, ["C", "W"]) for x in ("tpm", "levels", "state"))
    )
    with np.errstate(divide="ignore"):
        return np.log2(rows), inputs["masks"]


def fill_effect_values(prepared: tuple[Array, Array], region: Region) -> dict[str, Array]:
    """Values of all sets of effects for a range of occurrences."""
    logs, masks = prepared
    chosen = masks[region[0]]
    out = np.empty((len(chosen), 1 << logs.shape[1]))
    for row, mechanism in enumerate(chosen.tolist()):
        effect_values(logs, mechanism, out[row])
    return {"bits": out}


def require_defined_causes(transition: Transition, values: Filled) -> None:
    """Refuse occurrences without a cause repertoire: products of probabilities that underflow.

    Raises
    ------
    UnreachableStateError
        Names the smallest such occurrence.
    """
    undefined = np.flatnonzero(np.isnan(values["bits"].values[:, -1]))
    if not len(undefined):
        return
    mask = int(masks_by_size(len(transition.effects))[undefined[0]])
    labels, after = transition.substrate.labels, transition.after
    units = [unit for k, unit in enumerate(transition.effects) if mask >> k & 1]
    shown = ", ".join(f"{labels[i]}={after[i]}" for i in units)
    raise UnreachableStateError(
        f"after: the probability of {shown} is 0 in double precision whatever the causes; "
        "its causes are not defined"
    )
