"""Many small systems as one stage: a cell is one system, a block runs a range of cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iitdask.kernels.batch_phi import BatchPhis, fill_system_phis, make_batch_phis
from iitdask.kernels.batch_structures import BatchStructures, make_batch_structures, unfold_systems
from iitdask.kernels.batch_tables import (
    BatchPoints,
    BatchSubstrates,
    BatchSystems,
    SystemShape,
    fill_marginal_tables,
    fill_system_tables,
    make_batch_marginals,
    make_batch_systems,
)
from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.iit4.pair import MarginalTables, make_pair_scratch
from iitdask.kernels.subsets import (
    PHI_ZERO_BITS,
    nonempty_masks_by_size,
    segment_offsets,
    value_offsets,
)
from iitdask.model.batch import Batch
from iitdask.theory.iit4.phi_bounds import cap_phi
from iitdask.theory.iit4.recipe import CES_OUTCOMES
from iitdask.theory.iit4.system_analysis import intrinsic_information
from iitdask.theory.options import IIT4, IIT42026, Theory
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import Array, CumulativeCost, Grid, Region, Stage
from iitdask.theory.variables import variable

# What the axes ``quantity`` and ``number`` of a stage hold, the last ones of structures only
QUANTITIES = tuple(outcome.name for outcome in CES_OUTCOMES if outcome.unit == "bit")
COUNTS = ("reason", *(outcome.name for outcome in CES_OUTCOMES if outcome.unit == "count"))
SIA_QUANTITIES, SIA_COUNTS = 6, 3
SIA_MAX_UNITS, CES_MAX_UNITS = 7, 6  # Of a system that is worth a cell; larger ones are split
SUBSTRATE_ARRAYS = ("sizes", "levels", "starts", "tables", "children")  # Of the batch
CHUNK_BYTES = 1 << 19  # Bytes of tables that are worked on at a time: they stay in cache


@dataclass(frozen=True, eq=False)
class SmallSystems:
    """Systems of small substrates, in states, under versions of IIT 4.0."""

    batch: Batch  # The substrates
    substrate: Array  # (P,) int64 number of the substrate
    code: Array  # (P,) int64 state of all units, little-endian
    units: Array  # (P,) int64 mask of the candidate's units
    cap: Array  # (P,) int64 0: 2023; 1, 2: 2026, differentiation at current, specified states

    def __len__(self) -> int:
        return len(self.substrate)

    def take(self, numbers: Array) -> SmallSystems:
        """Return some of the systems, in the order given, over the same substrates."""
        columns = (self.substrate, self.code, self.units, self.cap)
        return SmallSystems(self.batch, *(column[numbers] for column in columns))

    def compacted(self) -> SmallSystems:
        """Return the same systems over the substrates they use, numbered as they come."""
        if not len(self):
            return replace(self, batch=Batch.empty())
        used, first, back = np.unique(self.substrate, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.argsort(order)[back.ravel()]
        return replace(self, batch=self.batch.take(used[order]), substrate=rank)

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
    if not isinstance(options, IIT4 | IIT42026):
        return False
    return options.ties == "reference" and options.system_partitions == "all"


def small_systems_stage(name: str, points: SmallSystems, structures: bool) -> Stage:
    """Return the stage over systems, sorted by shape, along axis ``point``."""
    own = points.own_levels()
    shapes = np.flatnonzero(np.r_[True, (own[1:] != own[:-1]).any(axis=1)])
    bounds, batch = np.r_[shapes, len(points)].astype(np.int64), points.batch
    each = np.repeat(_system_seconds(own[shapes], structures), np.diff(bounds))
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
            "shapes": bounds,
            "own": own[shapes],
            **{name: getattr(batch, name) for name in SUBSTRATE_ARRAYS},
        },
        cost=CumulativeCost.from_seconds(each + outside),
        scratch=4 * CHUNK_BYTES + 2**20,
        version=2,
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

    points: BatchPoints
    cap: Array  # (B,) see :class:`SmallSystems`
    batch: BatchSubstrates  # Their substrates
    own: Array  # (n,) values of the candidates' units


def _chunks(inputs: Mapping[str, Array], region: Region, bytes_each: Any) -> Iterator[_Chunk]:
    """Cut a region where the shape changes, and into portions that stay in cache."""
    names = ("starts", "sizes", "levels", "tables", "tables", "children")
    batch = BatchSubstrates(*(inputs[name] for name in names))
    shapes, own = inputs["shapes"], inputs["own"]
    begin, stop = region[0].start, region[0].stop
    while begin < stop:
        shape = int(np.searchsorted(shapes, begin, side="right")) - 1
        levels = own[shape][own[shape] > 0].copy()
        portion = max(1, CHUNK_BYTES // bytes_each(levels))
        end = min(stop, int(shapes[shape + 1]), begin + portion)
        *points, cap = inputs["points"][:, begin:end]
        yield _Chunk(BatchPoints(*points), cap, batch, levels)
        begin = end


def _sia_bytes(levels: Array) -> int:
    return 16 * int(levels.prod()) * int(levels.sum() + 4)


def _ces_bytes(levels: Array) -> int:
    return 24 * int((levels + 1).prod()) * int(levels.sum() + 1)


def _analyse(chunk: _Chunk) -> tuple[BatchSystems, BatchPhis]:
    """Fill the tables of a chunk and analyse each of its systems."""
    systems, phis = make_batch_systems(len(chunk.cap), chunk.own), make_batch_phis(len(chunk.cap))
    given = (chunk.points, chunk.batch, chunk.own, systems)
    fill_system_tables(*given)
    totals, information = intrinsic_information(systems.forward, systems.mean)
    fill_system_phis(*given, totals, information, phis)
    return systems, phis


def _summarise(chunk: _Chunk, found: BatchPhis, quantities: int, counts: int) -> dict[str, Array]:
    """Put what is known of the systems into a block's arrays, the cap of 2026 applied."""
    values = np.full((len(chunk.cap), quantities), np.nan)
    numbers = np.full((len(chunk.cap), counts), -1)
    is_searched, is_reached = found.n_tied_states > 0, found.reason & Reason.UNREACHABLE == 0
    values[:, 0], values[:, 1], values[:, 2:4] = found.phi, found.normalized, found.phi_sides
    tiny = (found.information <= PHI_ZERO_BITS) & ~is_searched[:, None]
    values[:, 4:6] = np.where(tiny, 0.0, found.information)
    numbers[:, 0] = found.reason
    numbers[is_reached, 1] = found.n_tied_partitions[is_reached].astype(np.int64)
    numbers[is_reached, 2] = found.n_tied_states[is_reached]
    rows = np.flatnonzero((chunk.cap > 0) & is_searched)
    if len(rows):
        at = (chunk.cap[rows] == 2)[:, None]
        probabilities = np.where(at, found.selectivity[rows], found.now[rows])
        capped, _ = cap_phi(found.phi[rows], found.information[rows], probabilities)
        numbers[rows[(capped == 0) & (found.phi[rows] > 0)], 0] = Reason.CAPPED
        values[rows, 0], values[rows, 1] = capped, capped / found.n_severed[rows]
    return {"value": values, "number": numbers}


def fill_analyses(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Analyse a range of systems."""
    chunks = _chunks(inputs, region, _sia_bytes)
    filled = [_summarise(chunk, _analyse(chunk)[1], SIA_QUANTITIES, SIA_COUNTS) for chunk in chunks]
    return {name: np.concatenate([each[name] for each in filled]) for name in filled[0]}


def analyse_tables(effect: Array, cause: Array, code: Array, cap: int) -> tuple[Array, Array]:
    """Analyse systems that bring their own tables, all edges declared, all units of two values.

    Parameters
    ----------
    effect, cause : (K, 2**n, 2 n) float64 tables, see ``CandidateSystem``
    code : (K,) int64 current state, little-endian
    cap : version of IIT 4.0, see :class:`SmallSystems`

    Returns
    -------
    tuple, (K, SIA_QUANTITIES) float64 and (K, SIA_COUNTS) int64: variables of the stage of a sweep
    """
    count, states, width = effect.shape
    n, everyone = width // 2, (1 << width // 2) - 1
    own = np.full(n, 2, np.int64)
    portion = max(1, CHUNK_BYTES // _sia_bytes(own))
    values, numbers = [np.empty((0, SIA_QUANTITIES))], [np.empty((0, SIA_COUNTS), np.int64)]
    for begin in range(0, count, portion):
        part = slice(begin, min(begin + portion, count))
        size = part.stop - part.start
        batch = BatchSubstrates(
            np.arange(size + 1, dtype=np.int64) * states * width,
            np.full(size, n, np.int64),
            np.full((size, n), 2, np.int64),
            np.ascontiguousarray(effect[part]).ravel(),
            np.ascontiguousarray(cause[part]).ravel(),
            np.full((size, n), everyone, np.int64),
        )
        index, mask = np.arange(size, dtype=np.int64), np.full(size, everyone, np.int64)
        points = BatchPoints(index, np.ascontiguousarray(code[part], np.int64), mask)
        chunk = _Chunk(points, np.full(size, cap, np.int64), batch, own)
        filled = _summarise(chunk, _analyse(chunk)[1], SIA_QUANTITIES, SIA_COUNTS)
        values.append(filled["value"])
        numbers.append(filled["number"])
    return np.concatenate(values), np.concatenate(numbers)


def fill_structures(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Analyse and unfold a range of systems."""
    most, filled = int(inputs["sizes"].max()), []
    masks = np.zeros((most + 1, 1 << most), np.int64)  # purviews in the published order, by units
    for n in range(1, most + 1):
        masks[n, : (1 << n) - 1] = nonempty_masks_by_size(n)
    for chunk in _chunks(inputs, region, _ces_bytes):
        systems, found = _analyse(chunk)
        arrays = _summarise(chunk, found, len(QUANTITIES), len(COUNTS))
        unfolded = _unfold(chunk, systems, found.states, masks)
        arrays["value"][:, SIA_QUANTITIES:] = np.stack(unfolded[:3], axis=1)
        arrays["number"][:, SIA_COUNTS:] = np.stack(unfolded[3:], axis=1)
        filled.append(arrays)
    return {name: np.concatenate([each[name] for each in filled]) for name in filled[0]}


def _unfold(chunk: _Chunk, systems: BatchSystems, states: Array, masks: Array) -> BatchStructures:
    """Distinctions, relations and Phi of the systems of a chunk, in their named states."""
    levels = chunk.own
    shape = SystemShape(levels, value_offsets(levels), segment_offsets(levels))
    tables, out = make_batch_marginals(len(chunk.cap), shape), make_batch_structures(len(chunk.cap))
    fill_marginal_tables(systems, shape, tables)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_cause = np.ascontiguousarray(np.log2(tables.cause).transpose(0, 2, 1))
        now = np.take_along_axis(tables.effect, tables.codes[:, :, None], axis=1)
        tables = tables._replace(log_cause=log_cause, log_effect=np.log2(now))
    scratch = make_pair_scratch(
        MarginalTables(*shape, systems.children[0], *(each[0] for each in tables))
    )
    sides, points = np.array([ON_CAUSE, ON_EFFECT]), (chunk.points, chunk.batch)
    unfold_systems(sides, shape, *points, systems, tables, scratch, states, masks, out)
    return out
