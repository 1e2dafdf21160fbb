"""Least partitions of every occurrence and purview of one direction, as stages."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.occurrences import masks_by_size
from iitdask.kernels.parted import tied_partitions
from iitdask.kernels.parting import connected_pairs, part_rows, reached_units, row_costs
from iitdask.theory.base import Grid, Region, Stage, Stored
from iitdask.theory.vocabulary import variable

__all__ = [
    "Parting",
    "Tables",
    "connected_stage",
    "named_stage",
    "part_at_once",
    "parted",
    "prepare_parting",
]

Array = NDArray[Any]
BATCH = 0.3
"""Predicted seconds up to which mechanisms of several sizes share one block."""
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

    @property
    def masks(self) -> Array:
        """Mechanism of each row, by size; the empty one first."""
        every = masks_by_size(self.own)
        return np.asarray(every[np.bitwise_count(every.astype(np.uint64)) <= self.order])

    def inputs(self) -> dict[str, Array | Stored]:
        """Arrays that ``prepare_parting`` needs, beside the rows filled before."""
        numbers = [self.own, int(self.forward), self.order, int(self.final)]
        return {
            "numbers": np.array(numbers, np.int64),
            "children": self.children,
            "values": self.values,
            "joined": self.joined,
        }


def connected_stage(side: Parting, every: bool = True) -> Stage:
    """Which pairs are connected, mechanisms by size: every one, or up to the side's order."""
    size, numbers = 1 << side.other, [side.own, side.other, int(side.forward)]
    return Stage(
        name=f"{side.name}/connected",
        grid=Grid(("mechanism",), (1 << side.own if every else len(side.masks),)),
        fills=(variable("connected", "bool", False, (("purview", size),)),),
        compute=fill_connected,
        inputs={"children": side.children, "numbers": np.array(numbers, np.int64)},
        cost=lambda region: 6e-8 * size * (region[0].stop - region[0].start),
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
    every = masks_by_size(own)
    masks = every[: len(values)]
    rank = np.zeros(1 << own, np.int64)
    rank[masks] = np.arange(len(masks))
    reach = reached_units(children, own, bool(forward))
    joined = np.array(inputs["joined"][: len(masks)])
    joined[-1, -1] |= bool(final)  # an account need not hang together by itself
    best = np.zeros(values.shape)  # zeros_like would write to all of it
    filled = 0
    for name in sorted((n for n in inputs if n.startswith("best-")), key=lambda n: int(n[5:])):
        best[filled : filled + len(inputs[name])] = inputs[name]
        filled += len(inputs[name])
    wanted, width = wanted_rows(masks, own, bool(final)), 1 if final else values.shape[1]
    return Tables(values, joined, masks, rank, reach, wanted, best, filled, width)


def fill_rows(tables: Tables, region: Region) -> dict[str, Array]:
    """Part a range of mechanisms; those of one block come after all they need."""
    begin, end = (tables.begin + edge for edge in (region[0].start, region[0].stop))
    alpha = np.zeros((end - begin, tables.values.shape[1]))
    t = tables
    part_rows(t.values, t.joined, t.masks, t.rank, t.reach, t.wanted, begin, end, t.best, alpha)
    first = -t.width  # of an account, the pair of all units is all that counts
    return {"best": t.best[begin:end].copy(), "alpha": np.ascontiguousarray(alpha[:, first:])}


def part_at_once(side: Parting, values: Array) -> Array:
    """Part all mechanisms of a side here and now; returns alpha as :class:`Parted` has it."""
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


class Parted(NamedTuple):
    """What came of a parting."""

    parting: Parting
    stages: tuple[str, ...]
    alpha: Array
    """(rows, 2**other) bits that each pair loses under its least partition; the last column
    alone where only the pair of all units matters."""


def parted(
    sides: Sequence[Parting],
) -> Generator[tuple[Stage, ...], tuple[xr.Dataset, ...], list[Parted]]:
    """Part several sides, batch by batch, in step."""
    plans = [_batches(side) for side in sides]
    found: list[list[Array]] = [[] for _ in sides]
    for step in range(max(map(len, plans), default=0)):
        busy = [k for k, plan in enumerate(plans) if step < len(plan)]
        datasets = yield tuple(plans[k][step] for k in busy)
        for k, data in zip(busy, datasets, strict=True):
            found[k].append(data["alpha"].values)
    return [
        Parted(side, tuple(stage.name for stage in plan), np.concatenate(rows))
        for side, plan, rows in zip(sides, plans, found, strict=True)
    ]


def _batches(side: Parting) -> list[Stage]:
    masks = side.masks
    reach = reached_units(np.array(side.children), side.own, side.forward)
    wanted = wanted_rows(masks, side.own, side.final)
    seconds = STEP * row_costs(masks, len(masks), reach, wanted) + 1e-8 * (wanted << side.other)
    sizes = np.bitwise_count(masks.astype(np.uint64))
    ends = [int(np.searchsorted(sizes, k, side="right")) for k in range(side.order + 1)]
    cuts, begin = [], 0
    for here, further in zip(ends, [*ends[1:], None], strict=True):
        if further is None or seconds[begin:further].sum() > BATCH:
            cuts.append((begin, here))
            begin = here
    stages: list[Stage] = []
    for begin, end in cuts:
        stages.append(_batch(side, [s.name for s in stages], sizes, seconds, (begin, end)))
    return stages


def _batch(
    side: Parting, before: Sequence[str], sizes: Array, seconds: Array, rows: tuple[int, int]
) -> Stage:
    begin, end = rows
    width = 1 << side.other
    mixed = sizes[begin] != sizes[end - 1]
    return Stage(
        name=f"{side.name}/parting-{len(before)}",
        grid=Grid(("mechanism",), (end - begin,), whole=("mechanism",) if mixed else ()),
        fills=(
            variable("best", "float64", 0.0, (("purview", width),)),
            variable("alpha", "float64", 0.0, (("kept_purview", 1 if side.final else width),)),
        ),
        compute=fill_rows,
        inputs={**side.inputs(), **_stored(before)},
        prepare=prepare_parting,
        cost=RowCost(np.concatenate([[0.0], np.cumsum(seconds[begin:end])])),
        scratch=17 * len(sizes) * width,
        fixed=True,
    )


def _stored(stages: Sequence[str]) -> dict[str, Stored]:
    return {f"best-{k}": Stored(name, "best") for k, name in enumerate(stages)}


def named_stage(done: Parted, pairs: Array, least: Array) -> Stage:
    """Tied partitions of chosen pairs, and the one that is named.

    pairs : (k, 2) mechanism and purview masks; least : (k,) value of the best partition.
    """
    side = done.parting
    sizes = np.bitwise_count(pairs.astype(np.uint64)).sum(axis=1)
    seconds = 1e-6 + 2e-9 * np.exp2(sizes)
    return Stage(
        name=f"{side.name}/named",
        grid=Grid(("pair",), (len(pairs),)),
        fills=(
            variable("ways", "int64", 0),
            variable("kept", "int64", 0, (("unit", side.own),)),
        ),
        compute=fill_named,
        inputs={**side.inputs(), **_stored(done.stages), "pairs": pairs, "least": least},
        prepare=prepare_named,
        cost=RowCost(np.concatenate([[0.0], np.cumsum(seconds)])),
        fixed=side.final,
        scratch=17 * len(side.masks) * (1 << side.other),
    )


def prepare_named(inputs: Mapping[str, Array]) -> tuple[Tables, Mapping[str, Array]]:
    """Tables, and the pairs."""
    return prepare_parting(inputs), inputs


def fill_named(prepared: tuple[Tables, Mapping[str, Array]], region: Region) -> dict[str, Array]:
    """Name the partitions of a range of pairs."""
    t, inputs = prepared
    own, forward, *_ = inputs["numbers"].tolist()
    other = t.values.shape[1].bit_length() - 1
    rows = range(region[0].start, region[0].stop)
    ways, kept = np.zeros(len(rows), np.int64), np.zeros((len(rows), own), np.int64)
    for k, row in enumerate(rows):
        mechanism, purview = inputs["pairs"][row].tolist()
        least = float(inputs["least"][row])
        ways[k] = tied_partitions(
            t.values, t.best, t.rank, mechanism, purview, least, bool(forward), own, other, kept[k]
        )
    return {"ways": ways, "kept": kept}
