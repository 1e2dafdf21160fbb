"""Many small systems as one stage: a cell is one system, a block runs a range of cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.batch_phi import fill_system_phis
from iitdask.kernels.batch_structures import fill_marginal_tables, unfold_systems
from iitdask.kernels.batch_tables import STATE_UNREACHABLE, SYSTEM_UNREACHABLE, fill_system_tables
from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.iit4.pair import MarginalTables, make_pair_scratch
from iitdask.kernels.subsets import (
    PHI_ZERO_BITS,
    STATE_TIE_RELATIVE,
    nonempty_masks_by_size,
    segment_offsets,
    value_offsets,
)
from iitdask.model.batch import Batch
from iitdask.theory.options import IIT4, IIT42026, Theory
from iitdask.theory.stage import CumulativeCost, Grid, Region, Stage
from iitdask.theory.variables import variable

__all__ = [
    "CAPPED",
    "CES_MAX_UNITS",
    "COUNTS",
    "QUANTITIES",
    "SIA_MAX_UNITS",
    "SmallSystems",
    "is_batchable",
    "small_systems_stage",
]

Array = NDArray[Any]

CAPPED = 64
"""Phi_s is 0 because of the cap of 2026; beside what kernels.verdicts notes."""
QUANTITIES = (
    "phi",
    "normalized_phi",
    "phi_cause",
    "phi_effect",
    "intrinsic_information_cause",
    "intrinsic_information_effect",
    "big_phi",
    "sum_phi_distinctions",
    "sum_phi_relations",
)
"""What the axis ``quantity`` of a stage holds; the last three of structures only."""
COUNTS = ("reason", "n_tied_partitions", "n_tied_states", "n_distinctions", "n_relations")
"""What the axis ``number`` of a stage holds; the last two of structures only."""
SIA_QUANTITIES, SIA_COUNTS = 6, 3
SIA_MAX_UNITS, CES_MAX_UNITS = 7, 6
"""Units of a system that is worth a cell; larger ones are split themselves."""
CHUNK_BYTES = 1 << 19
"""Bytes of tables that are worked on at a time: they stay in cache."""


@dataclass(frozen=True, eq=False)
class SmallSystems:
    """Systems of small substrates, in states, under versions of IIT 4.0."""

    batch: Batch
    """The substrates."""
    substrate: Array
    """(P,) int64 number of the substrate."""
    code: Array
    """(P,) int64 state of all units, little-endian."""
    units: Array
    """(P,) int64 mask of the candidate's units."""
    cap: Array
    """(P,) int64 0: 2023; 1, 2: 2026, differentiation at the current, at the specified states."""

    def __len__(self) -> int:
        return len(self.substrate)

    def at(self, numbers: Array) -> SmallSystems:
        """Some of the points, in the order given, over the same substrates."""
        return replace(
            self,
            substrate=self.substrate[numbers],
            code=self.code[numbers],
            units=self.units[numbers],
            cap=self.cap[numbers],
        )

    def alone(self) -> SmallSystems:
        """The same points over the substrates they use, numbered as they come."""
        if not len(self):
            return replace(self, batch=Batch.empty())
        used, first, back = np.unique(self.substrate, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(used), np.int64)
        rank[order] = np.arange(len(used))
        return replace(self, batch=self.batch.chosen(used[order]), substrate=rank[back.ravel()])

    @staticmethod
    def is_light(levels: Array, max_units: int) -> bool:
        """Return True if a system of such units is small enough for one call of a kernel."""
        codes, states = math.prod((levels + 1).tolist()), math.prod(levels.tolist())
        return 0 < len(levels) <= max_units and states <= 128 and codes <= 2048

    def own_levels(self) -> Array:
        """(P, N) values of the candidates' units in substrate order, padded with 0."""
        levels = self.batch.levels[self.substrate]
        inside = (self.units[:, None] >> np.arange(levels.shape[1]) & 1).astype(bool)
        order = np.argsort(~inside, axis=1, kind="stable")
        return np.asarray(np.take_along_axis(np.where(inside, levels, 0), order, axis=1))


def is_batchable(options: Theory) -> bool:
    """Return True if the kernels for small systems know a theory with these options."""
    return isinstance(options, IIT4 | IIT42026) and options.ties == "reference"


def small_systems_stage(name: str, points: SmallSystems, structures: bool) -> Stage:
    """One grid over points, those of one shape side by side; the caller has sorted them."""
    own = points.own_levels()
    shapes = np.flatnonzero(np.r_[True, (own[1:] != own[:-1]).any(axis=1)])
    batch = points.batch
    seconds = _system_seconds(own[shapes], structures)
    each = np.repeat(seconds, np.diff(np.r_[shapes, len(points)]))
    outside = np.diff(batch.starts)[points.substrate] * 3e-9
    quantities = len(QUANTITIES) if structures else SIA_QUANTITIES
    counts = len(COUNTS) if structures else SIA_COUNTS
    return Stage(
        name=name,
        grid=Grid(("point",), (len(points),)),
        variables=(
            variable("value", "float64", np.nan, (("quantity", quantities),)),
            variable("number", "int64", -1, (("count", counts),)),
        ),
        compute=fill_structures if structures else fill_analyses,
        inputs={
            "points": np.stack([points.substrate, points.code, points.units, points.cap]),
            "shapes": np.r_[shapes, len(points)].astype(np.int64),
            "own": own[shapes],
            "sizes": batch.sizes,
            "levels": batch.levels,
            "starts": batch.starts,
            "tables": batch.tables,
            "children": batch.children,
        },
        cost=CumulativeCost.from_seconds(each + outside),
        scratch=4 * CHUNK_BYTES + 2**20,
        version=1,
    )


def _system_seconds(own: Array, structures: bool) -> Array:
    """Typical seconds of one point of each shape, measured on random gates."""
    units = (own > 0).sum(axis=1)
    states = np.where(own > 0, own, 1).prod(axis=1)
    sia = 5e-6 + 4e-7 * states + 1.2e-7 * 4.0**units
    return np.asarray(sia + structures * (1e-5 + 1.2e-6 * 4.0**units))


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Points of one shape that are worked on together."""

    points: tuple[Array, ...]
    begin: int
    end: int
    net: tuple[Array, ...]
    own: Array

    @property
    def length(self) -> int:
        return self.end - self.begin


def _chunks(inputs: Mapping[str, Array], region: Region, bytes_each: Any) -> Iterator[_Chunk]:
    """Cut a region where the shape changes, and into portions that stay in cache."""
    points = tuple(inputs["points"])
    net = tuple(inputs[name] for name in ("starts", "sizes", "levels", "tables", "children"))
    shapes, own = inputs["shapes"], inputs["own"]
    begin, stop = region[0].start, region[0].stop
    while begin < stop:
        shape = int(np.searchsorted(shapes, begin, side="right")) - 1
        levels = own[shape][own[shape] > 0].copy()
        portion = max(1, CHUNK_BYTES // bytes_each(levels))
        end = min(stop, int(shapes[shape + 1]), begin + portion)
        yield _Chunk(points, begin, end, net, levels)
        begin = end


def _sia_bytes(levels: Array) -> int:
    return 16 * int(levels.prod()) * int(levels.sum() + 4)


def _ces_bytes(levels: Array) -> int:
    return 24 * int((levels + 1).prod()) * int(levels.sum() + 1)


@dataclass(frozen=True, slots=True, eq=False)
class _SystemTables:
    """Tables of the points of a run."""

    effect: Array
    cause: Array
    current: Array
    children: Array
    standing: Array
    values: Array
    notes: Array
    """What kernels.verdicts filled: (B, 7) and (B, 5)."""
    information: Array
    """(B, 2) intrinsic information of the specified states."""
    forward_now: Array
    """(B, 2) probabilities of the current state."""


def _analyse(run: _Chunk) -> _SystemTables:
    """Lay out tables and analyse every system of a run."""
    count, n = run.length, len(run.own)
    states, width = int(run.own.prod()), int(run.own.sum())
    effect, cause = np.zeros((count, states, width)), np.zeros((count, states, width))
    current, children = np.zeros((count, n), np.int64), np.zeros((count, n), np.int64)
    code, standing = np.zeros(count, np.int64), np.zeros(count, np.int64)
    forward, mean = np.zeros((count, 2, states)), np.zeros((count, states))
    laid = (effect, cause, current, code, children, standing, forward, mean)
    fill_system_tables(run.points[:3], run.begin, run.end, run.net, run.own, laid)
    totals, information = _intrinsic_information(forward, mean)
    values, notes = np.empty((count, 7)), np.empty((count, 5), np.int64)
    fill_system_phis(
        run.points[:3],
        run.begin,
        run.end,
        run.net,
        run.own,
        (effect, cause, current, standing, children),
        (forward, totals, information),
        values,
        notes,
    )
    rows = np.arange(count)
    likely = forward[:, 0]
    first = (likely >= likely.max(axis=1)[:, None] * (1 - STATE_TIE_RELATIVE)).argmax(axis=1)
    named = np.stack([information[rows, 0, first], information[:, 1].max(axis=1)], axis=1)
    now = forward[rows, :, code]
    return _SystemTables(effect, cause, current, children, standing, values, notes, named, now)


def _intrinsic_information(forward: Array, mean: Array) -> tuple[Array, Array]:
    """Totals of the cause side and intrinsic information of every state, both directions.

    In NumPy, as in the analysis of one system: the same bits.
    """
    states = forward.shape[-1]
    cause = np.ascontiguousarray(forward[:, 0])
    totals = cause.sum(axis=1)
    safe = np.where(totals > 0, totals, 1.0)
    information = np.empty_like(forward)
    for side, weight, q in (
        (0, cause / safe[:, None], (safe / states)[:, None]),
        (1, forward[:, 1], mean / states),
    ):
        p = np.ascontiguousarray(forward[:, side])
        ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
        information[:, side] = weight * np.log2(ratio)
    return totals, information


def _summarise(run: _Chunk, laid: _SystemTables, quantities: int, counts: int) -> dict[str, Array]:
    """Put what is known of the systems into a block's arrays, the cap of 2026 applied."""
    values, numbers = np.full((run.length, quantities), np.nan), np.full((run.length, counts), -1)
    notes = laid.notes
    values[:, :4] = laid.values[:, :4]
    numbers[:, 0] = notes[:, 0]
    unreachable = np.isin(notes[:, 0], (STATE_UNREACHABLE, SYSTEM_UNREACHABLE))
    specified = (notes[:, 0] & 7) == 0
    information = np.where(laid.information > PHI_ZERO_BITS, laid.information, 0.0)
    searched = notes[:, 1] > 0
    kept = np.where(searched[:, None], laid.information, information)
    values[:, 4:6] = np.where(specified[:, None], kept, np.nan)
    numbers[:, 1] = np.where(unreachable, -1, laid.values[:, 4].astype(np.int64))
    numbers[:, 2] = np.where(unreachable, -1, notes[:, 1])
    _apply_cap(run.points[3][run.begin : run.end], laid, values, numbers)
    return {"value": values, "number": numbers}


def _apply_cap(cap: Array, laid: _SystemTables, values: Array, numbers: Array) -> None:
    """Limit phi_s to intrinsic information and differentiation, mathematics.md 8.5."""
    capped = np.flatnonzero((cap > 0) & (laid.notes[:, 1] > 0))
    if not len(capped):
        return
    at = (cap[capped] == 2)[:, None]
    p = np.where(at, laid.values[capped, 5:7], laid.forward_now[capped])
    inside = (p > 0) & (p < 1)
    bits = np.where(inside, -np.log2(np.where(inside, p, 1.0)), 0.0)
    phi = values[capped, 0]
    least = np.minimum(phi, np.minimum(laid.information[capped], bits).min(axis=1))
    least = np.where(least > PHI_ZERO_BITS, least, 0.0)
    numbers[capped, 0] = np.where((least == 0) & (phi > 0), CAPPED, numbers[capped, 0])
    values[capped, 0] = least
    values[capped, 1] = least / laid.notes[capped, 4]


def fill_analyses(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Analyse a range of systems."""
    found = [
        _summarise(run, _analyse(run), SIA_QUANTITIES, SIA_COUNTS)
        for run in _chunks(inputs, region, _sia_bytes)
    ]
    return {name: np.concatenate([each[name] for each in found]) for name in ("value", "number")}


def fill_structures(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Analyse and unfold a range of systems."""
    sequences = _size_orders(int(inputs["sizes"].max()))
    found = []
    for run in _chunks(inputs, region, _ces_bytes):
        laid = _analyse(run)
        made = _summarise(run, laid, len(QUANTITIES), len(COUNTS))
        _unfold(run, laid, sequences, made)
        found.append(made)
    return {name: np.concatenate([each[name] for each in found]) for name in ("value", "number")}


def _size_orders(most: int) -> Array:
    """Purviews of up to ``most`` units in the published order, a row each."""
    out = np.zeros((most + 1, 1 << most), np.int64)
    for n in range(1, most + 1):
        out[n, : (1 << n) - 1] = nonempty_masks_by_size(n)
    return out


def _unfold(run: _Chunk, laid: _SystemTables, sequences: Array, made: dict[str, Array]) -> None:
    """Add distinctions, relations and Phi to what is known of the systems of a run."""
    levels, count, n = run.own, run.length, len(run.own)
    offsets, columns = segment_offsets(levels), value_offsets(levels)
    whole = np.empty((count, offsets[-1], columns[-1]))
    codes, cause = np.empty((count, 1 << n), np.int64), np.empty((count, n, offsets[-1]))
    shape = (levels, columns, offsets)
    fill_marginal_tables(laid.effect, laid.cause, laid.current, shape, whole, codes, cause)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_cause = np.ascontiguousarray(np.log2(cause).transpose(0, 2, 1))
        log_effect = np.log2(np.take_along_axis(whole, codes[:, :, None], axis=1))
    first = MarginalTables(
        levels,
        columns,
        offsets,
        laid.children[0],
        codes[0],
        cause[0],
        log_cause[0],
        whole[0],
        log_effect[0],
    )
    values, counts = np.empty((count, 3)), np.empty((count, 2), np.int64)
    unfold_systems(
        np.array([ON_CAUSE, ON_EFFECT]),
        shape,
        run.points[:3],
        run.begin,
        run.end,
        run.net,
        (laid.children, codes, cause, log_cause, whole, log_effect, laid.standing),
        make_pair_scratch(first),
        laid.notes,
        sequences,
        values,
        counts,
    )
    made["value"][:, 6:9] = values
    made["number"][:, 3:5] = counts
