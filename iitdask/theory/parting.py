"""Least partitions of every occurrence and purview of one direction, as stages."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.occurrences import masks_by_size
from iitdask.kernels.parted import tied_partitions
from iitdask.kernels.parting import (
    connected_pairs,
    joined_weights,
    part_rows,
    reached_units,
    row_costs,
)
from iitdask.theory.base import Answer, Grid, Region, Stage, Stored
from iitdask.theory.vocabulary import variable

__all__ = [
    "Parted",
    "Parting",
    "Tables",
    "connected_stage",
    "named_stage",
    "part_at_once",
    "parted",
    "prepare_parting",
    "rows_of",
    "stored",
]

Array = NDArray[Any]
Seen = TypeVar("Seen")
BATCH = 0.3
"""Predicted seconds up to which mechanisms of several sizes share one block."""
HEAVY = 16 * 2**20
"""Bytes of a table from which blocks may be longer: every stage reads the tables once more."""
STEP = 1.2e-9
"""Predicted seconds of one partition tried."""


class Tables(NamedTuple):
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
class Parting:
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
    values: Array | Stored
    """(rows, 2**other) value of each pair, bits; row 0: a purview on its own."""
    joined: Array | Stored
    """(2**own, 2**other) whether each pair is connected, see ``connected_stage``."""
    final: bool = False
    """Whether only the pair of all units on both sides matters."""
    more: Array | Stored | None = None
    """(rows of the other side, 2**own) values to add, mechanisms and purviews exchanged."""
    named: bool = True
    """Whether partitions are named afterwards: then the best values of all rows are kept."""

    @property
    def masks(self) -> Array:
        """Mechanism of each row, by size; the empty one first."""
        every = masks_by_size(self.own)
        return np.asarray(every[np.bitwise_count(every.astype(np.uint64)) <= self.order])

    def inputs(self) -> dict[str, Array | Stored]:
        """Arrays that ``prepare_parting`` needs, beside the rows filled before."""
        numbers = [self.own, int(self.forward), self.order, int(self.final)]
        made = {
            "numbers": np.array(numbers, np.int64),
            "children": self.children,
            "values": self.values,
            "joined": self.joined,
        }
        return made if self.more is None else made | {"more": self.more}


def connected_stage(side: Parting, every: bool = True) -> Stage:
    """Which pairs are connected, mechanisms by size: every one, or up to the side's order."""
    size, numbers = 1 << side.other, [side.own, side.other, int(side.forward)]
    return Stage(
        name=f"{side.name}/connected",
        grid=Grid(("mechanism",), (1 << side.own if every else len(side.masks),)),
        fills=(variable("connected", "bool", False, (("purview", size),)),),
        compute=fill_connected,
        inputs={"children": side.children, "numbers": np.array(numbers, np.int64)},
        members={"mechanism": masks_by_size(side.own) if every else side.masks},
        cost=lambda region: 2.5e-8 * size * (region[0].stop - region[0].start),
        fixed=True,
    )


def fill_connected(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Look at a range of mechanisms."""
    own, other, forward = inputs["numbers"].tolist()
    children = np.require(inputs["children"], None, ["C", "W"])
    reach = reached_units(children, own, bool(forward))
    masks = masks_by_size(own)[region[0]].copy()
    return {"connected": connected_pairs(masks, children, reach, 1 << other, bool(forward))}


def wanted_rows(masks: Array, own: int, final: bool) -> Array:
    """Rows that are needed: without the first unit, or all of them, when only the end matters."""
    if not final:
        return np.ones(len(masks), np.bool_)
    return np.asarray((masks & 1 == 0) | (masks == (1 << own) - 1))


def prepare_parting(inputs: Mapping[str, Array]) -> Tables:
    """Lay out the rows filled so far and find the connected pairs; once per process and stage."""
    own, forward, _order, final = inputs["numbers"].tolist()
    values, children = (
        np.require(inputs[name], None, ["C", "W"]) for name in ("values", "children")
    )
    if "more" in inputs:
        values = joint_values(values, inputs["more"])
    every = masks_by_size(own)
    masks = every[: len(values)]
    rank = np.zeros(1 << own, np.int64)
    rank[masks] = np.arange(len(masks))
    reach = reached_units(children, own, bool(forward))
    joined = np.array(inputs["joined"][: len(masks)])
    joined[-1, -1] |= bool(final)  # an account need not hang together by itself
    best = np.zeros(values.shape)  # zeros_like would write to all of it
    filled = 0
    for rows in rows_of(inputs, "best"):
        best[filled : filled + len(rows)] = rows
        filled += len(rows)
    wanted, width = wanted_rows(masks, own, bool(final)), 1 if final else values.shape[1]
    return Tables(values, joined, masks, rank, reach, wanted, best, filled, width)


def joint_values(own: Array, others: Array) -> Array:
    """Add two tables of all pairs, each by its mechanisms' size, the second one turned around."""
    turned = np.empty(others.shape)
    turned[masks_by_size(own.shape[1].bit_length() - 1)] = others
    return np.asarray(own + turned.T[masks_by_size(own.shape[0].bit_length() - 1)])


def fill_rows(tables: Tables, region: Region) -> dict[str, Array]:
    """Part a range of mechanisms; those of one block come after all they need."""
    begin, end = (tables.begin + edge for edge in (region[0].start, region[0].stop))
    alpha = np.zeros((end - begin, tables.values.shape[1]))
    t = tables
    part_rows(t.values, t.joined, t.masks, t.rank, t.reach, t.wanted, begin, end, t.best, alpha)
    first = -t.width  # of an account, the pair of all units is all that counts
    return {"best": t.best[begin:end].copy(), "alpha": np.ascontiguousarray(alpha[:, first:])}


def fill_last(tables: Tables, region: Region) -> dict[str, Array]:
    """Part the last mechanisms where nothing reads their best values."""
    return {"alpha": fill_rows(tables, region)["alpha"]}


def part_at_once(side: Parting, values: Array) -> Array:
    """Part all mechanisms of a side here and now.

    Returns (rows, 2**other) bits that each pair loses under its least partition; the last
    column alone where only the pair of all units matters.
    """
    (stage, whole) = connected_stage(side), (slice(0, 1 << side.own),)
    joined = fill_connected(stage.inputs, whole)["connected"]  # type: ignore[arg-type]
    inputs = {**side.inputs(), "values": values, "joined": joined}
    tables = prepare_parting(inputs)  # type: ignore[arg-type]
    return fill_rows(tables, (slice(0, len(values)),))["alpha"]


@dataclass(frozen=True, slots=True, eq=False)
class RowCost:
    """Predicted seconds of a range of rows."""

    sums: Array
    """(rows + 1,) seconds of all rows before each."""

    def __call__(self, region: Region) -> float:
        """Seconds of the range."""
        return float(self.sums[region[0].stop] - self.sums[region[0].start])


@dataclass(frozen=True, slots=True)
class Parted(Generic[Seen]):
    """What came of a parting."""

    parting: Parting
    """The side."""
    stages: tuple[str, ...]
    """Names of its stages, which keep ``alpha`` of all rows, one after the other."""
    seen: tuple[Seen, ...]
    """What was looked at in each of them."""


def parted(
    sides: Sequence[Parting], look: Callable[[int, Array], Seen]
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], list[Parted[Seen]]]:
    """Part several sides, batch by batch, in step.

    Parameters
    ----------
    sides
        The sides.
    look
        Given the first row of a batch and alpha, see :func:`part_at_once`; what it returns is
        all that is held of them.
    """
    plans = [_batches(side) for side in sides]
    seen: list[list[Seen]] = [[] for _ in sides]
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
        Parted(side, tuple(stage.name for stage in plan), tuple(rows))
        for side, plan, rows in zip(sides, plans, seen, strict=True)
    ]


def _batches(side: Parting) -> list[Stage]:
    masks = side.masks
    wanted = wanted_rows(masks, side.own, side.final)
    reach, weights = _prospects(tuple(side.children.tolist()), side.own, side.forward)
    steps = row_costs(masks, len(masks), reach, weights, wanted)
    seconds = STEP * steps + 1e-8 * (wanted << side.other)
    sizes = np.bitwise_count(masks.astype(np.uint64))
    longest = BATCH * max(1.0, 8 * (len(masks) << side.other) / HEAVY)
    ends = [int(np.searchsorted(sizes, k, side="right")) for k in range(side.order + 1)]
    cuts, begin = [], 0
    for here, further in zip(ends, [*ends[1:], None], strict=True):
        if further is None or seconds[begin:further].sum() > longest:
            cuts.append((begin, here))
            begin = here
    stages: list[Stage] = []
    for begin, end in cuts:
        stages.append(_batch(side, [s.name for s in stages], sizes, seconds, (begin, end)))
    return stages


@lru_cache(maxsize=2)
def _prospects(children: tuple[int, ...], own: int, forward: bool) -> tuple[Array, Array]:
    """What the cost of parting follows from; sides of one account share it."""
    given = np.array(children, np.int64)
    reach = reached_units(given, own, forward)
    return reach, joined_weights(given, reach, own, forward)


def _batch(
    side: Parting, before: Sequence[str], sizes: Array, seconds: Array, rows: tuple[int, int]
) -> Stage:
    begin, end = rows
    width = 1 << side.other
    mixed = sizes[begin] != sizes[end - 1]
    best = variable("best", "float64", 0.0, (("purview", width),))
    alpha = variable("alpha", "float64", 0.0, (("kept_purview", 1 if side.final else width),))
    read = side.named or end < len(sizes)
    return Stage(
        name=f"{side.name}/parting-{len(before)}",
        grid=Grid(("mechanism",), (end - begin,), whole=("mechanism",) if mixed else ()),
        fills=(best, alpha) if read else (alpha,),
        compute=fill_rows if read else fill_last,
        inputs={**side.inputs(), **stored(before, "best")},
        prepare=prepare_parting,
        members={"mechanism": side.masks[begin:end]},
        cost=RowCost(np.concatenate([[0.0], np.cumsum(seconds[begin:end])])),
        scratch=_scratch(side),
        fixed=True,
    )


def _scratch(side: Parting) -> int:
    """Bytes of tables beside inputs and outputs: best and connected, what is added, alpha."""
    each = 9 + (0 if side.more is None else 16) + (8 if side.final else 0)
    return each * len(side.masks) << side.other


def stored(stages: Sequence[str], name: str) -> dict[str, Stored]:
    """Inputs that earlier stages left, one after the other; ``rows_of`` joins them again."""
    return {f"{name}-{k}": Stored(stage, name) for k, stage in enumerate(stages)}


def rows_of(inputs: Mapping[str, Array], name: str) -> list[Array]:
    """What ``stored`` names, in order."""
    found = [key for key in inputs if key.startswith(f"{name}-")]
    return [inputs[key] for key in sorted(found, key=lambda key: int(key[len(name) + 1 :]))]


def named_stage(side: Parting, stages: Sequence[str], pairs: Array, alpha: Array) -> Stage:
    """Probabilities of chosen pairs, their tied partitions, and the one that is named.

    stages : those that filled ``best``
    pairs : (k, 2) mechanism and purview masks; alpha : (k,) bits that they lose
    """
    sizes = np.bitwise_count(pairs.astype(np.uint64)).sum(axis=1)
    seconds = 1e-6 + 2e-9 * np.exp2(sizes)
    return Stage(
        name=f"{side.name}/named",
        grid=Grid(("pair",), (len(pairs),)),
        fills=(
            variable("bits", "float64", 0.0),
            variable("free", "float64", 0.0),
            variable("ways", "int64", 0),
            variable("kept", "int64", 0, (("unit", side.own),)),
        ),
        compute=fill_named,
        inputs={**side.inputs(), **stored(stages, "best"), "pairs": pairs, "alpha": alpha},
        prepare=prepare_named,
        members={"pair": pairs},
        cost=RowCost(np.concatenate([[0.0], np.cumsum(seconds)])),
        fixed=side.final,
        scratch=_scratch(side),
    )


def prepare_named(inputs: Mapping[str, Array]) -> tuple[Tables, Mapping[str, Array]]:
    """Tables, and the pairs."""
    small = {name: inputs[name] for name in ("numbers", "pairs", "alpha")}
    return prepare_parting(inputs), small


def fill_named(prepared: tuple[Tables, Mapping[str, Array]], region: Region) -> dict[str, Array]:
    """Name the partitions of a range of pairs."""
    t, inputs = prepared
    own, forward, *_ = inputs["numbers"].tolist()
    other = t.values.shape[1].bit_length() - 1
    mechanisms, purviews = inputs["pairs"][region[0]].T
    bits = t.values[t.rank[mechanisms], purviews]
    least = bits - inputs["alpha"][region[0]]
    ways, kept = np.zeros(len(bits), np.int64), np.zeros((len(bits), own), np.int64)
    for k, (mechanism, purview) in enumerate(inputs["pairs"][region[0]].tolist()):
        ways[k] = tied_partitions(
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
