"""A sweep as one job: its points, its recipe, and the cube written while blocks arrive."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.errors import DamagedStoreError, LedgerMismatchError, SpecError, quote
from iitdask.model import examples
from iitdask.model.macro_system import n_macro_units
from iitdask.model.substrate import Substrate
from iitdask.model.system import Target
from iitdask.result.cube import build_cube
from iitdask.result.formatting import origin_attrs, source_attrs
from iitdask.result.label_tree import label_tree
from iitdask.run.checksum import text_digest
from iitdask.run.coordination import critical_section
from iitdask.run.events import BlocksFilled, Event, StageOpened
from iitdask.run.ledger import Ledger
from iitdask.run.result_group import (
    POINT_IDS_GROUP,
    STRUCTURES_GROUP,
    IncrementalResult,
    append_point_ids,
    intact_point_ids,
    json_default,
    save_tree,
    store_attrs,
)
from iitdask.run.storage import Store
from iitdask.run.zarr_io import create_group, read_attrs
from iitdask.study.spec import JobRun, Study, problem_fields
from iitdask.study.sweep_axes import read_axes
from iitdask.study.sweep_layout import SweepLayout, build_grid, build_layout, field_json
from iitdask.study.sweep_substrates import Axis, build_substrates
from iitdask.theory.catalog import (
    batched_computations,
    default_theory,
    kernel_families,
    theory_name,
    theory_options,
)
from iitdask.theory.options import recorded_options
from iitdask.theory.point_rows import DONE, LargeProblem, row_inputs
from iitdask.theory.stage import Recipe
from iitdask.theory.sweep_recipe import (
    PointBatch,
    RowBatch,
    batch_stage_name,
    empty_outcomes,
    row_stage_name,
    sweep_recipe,
)
from iitdask.types import Array

MIN_WRITE_INTERVAL_SECONDS = 1.0  # Least seconds between two writings of the cube
MAX_SAMPLED_POINTS = 12  # Points with recipes of their own that an estimate looks at
WRITE_INTERVAL_RATIO = 20.0  # Time between two writings of the cube, in durations of one writing


def order_points(
    layout: SweepLayout, lists: Sequence[Array]
) -> tuple[SweepLayout, list[PointBatch | RowBatch], dict[int, LargeProblem]]:
    """Number the points of a sweep in the order in which a store lists them.

    Each of the `lists` holds the (points, 2) uint64 digests of the points that became part of
    the store together: one list for each time the sweep has grown. Return the layout with these
    numbers, its points stage by stage, and those with a recipe of their own by number.
    """
    index = {bytes(digest): p for p, digest in enumerate(layout.digests)}
    batches: list[PointBatch | RowBatch] = []
    large: dict[int, LargeProblem] = {}
    number = np.full(len(layout.digests), -1)
    begin = 0
    for k, digests in enumerate(lists):
        points = np.array([index[bytes(digest)] for digest in digests], np.int64)
        number[points] = begin + np.arange(len(points))
        first = 0
        for compute, systems in layout.points.items():
            inside = np.flatnonzero((points >= first) & (points < first + len(systems)))
            chosen = systems.take(points[inside] - first).compacted()
            stage = batch_stage_name(k, compute)
            batches.append(PointBatch(stage, compute, begin + inside, chosen))
            first += len(systems)
        own = np.flatnonzero(points >= first).tolist()
        others = {i: layout.large[int(points[i]) - first] for i in own}
        large.update({begin + i: each for i, each in others.items() if not each.is_row})
        batches += _row_batches(k, begin, {i: p for i, p in others.items() if p.is_row})
        begin += len(points)
    point = np.where(layout.point >= 0, number[layout.point], -1)
    return replace(layout, point=point), batches, large


def _row_batches(k: int, begin: int, rows: Mapping[int, LargeProblem]) -> list[RowBatch]:
    """Return the stages of points that are rows, by their position in the k-th list of points."""
    batches = []
    for compute in dict.fromkeys(problem.compute for problem in rows.values()):
        chosen = {i: problem for i, problem in rows.items() if problem.compute == compute}
        inputs = row_inputs(list(chosen), list(chosen.values()))
        numbers = begin + np.array(list(chosen))
        seconds = np.array([problem.seconds for problem in chosen.values()])
        batches.append(RowBatch(row_stage_name(k, compute), compute, numbers, inputs, seconds))
    return batches


def _size_of(problem: LargeProblem) -> tuple[int, int]:
    """Return by what the work on points differs most: units, and connections between them."""
    substrate = problem.substrate
    units = len(problem.fields.get("units") or substrate.labels)
    return units, int(np.count_nonzero(substrate.connectivity))


class CubeWriter:
    """Observer that keeps the cube in the store up to date while blocks arrive.

    All it knows beyond the ledger may be lost at any time.
    """

    def __init__(
        self,
        layout: SweepLayout,
        batches: Sequence[PointBatch | RowBatch],
        large: Mapping[int, LargeProblem],
        ledger: Ledger,
        store: Store | None,
        *,
        has_structures: bool,
    ) -> None:
        self.outcomes = empty_outcomes(layout.grid.computes, len(layout.digests))
        self._layout, self._ledger, self._store = layout, ledger, store
        self._has_structures = has_structures
        self._batches = {batch.name: batch for batch in batches}
        self._opened: set[str] = set()  # Stages that the ledger has
        self._collected: dict[str, set[Any]] = {name: set() for name in self._batches}
        self._numbers = {point.key: number for number, point in large.items()}
        self._incremental: IncrementalResult | None = None
        self._written_status = self.outcomes["status"].copy()
        self._next_write = 0.0

    def __call__(self, event: Event) -> None:
        """Collect what an event says has arrived."""
        if isinstance(event, StageOpened):
            self._opened.add(event.stage)
        now = time.monotonic()
        if self._store is None or not isinstance(event, StageOpened | BlocksFilled):
            return
        if now >= self._next_write and "finished" not in store_attrs(self._store):
            self._write(self._store)
            self._next_write = time.monotonic() + max(
                MIN_WRITE_INTERVAL_SECONDS, WRITE_INTERVAL_RATIO * (time.monotonic() - now)
            )

    def cube(self) -> xr.Dataset:
        """Return the cube as far as it is known."""
        layout, grid = self._layout, self._layout.grid
        theory = grid.theory_label()
        return build_cube(
            grid.computes,
            dims=grid.dims,
            coords=grid.coords,
            cells=(layout.point, layout.problem, layout.problems),
            outcomes=self.outcomes,
            extra={
                "n_units": grid.n_units,
                "frequency": grid.frequency,
                "seconds": np.where(layout.point >= 0, self._seconds()[layout.point], np.nan),
                "structure": self._structures() if self._has_structures else None,
                "point": layout.point,
            },
            attrs={
                **({} if theory is None else {"theory": theory}),
                **origin_attrs(grid.substrates.single.values()),
            },
        )

    def _structures(self) -> Array:
        """Group of the store that holds the whole result of each cell."""
        groups = np.full(len(self._layout.digests) + 1, "", object)
        for key, number in self._numbers.items():
            if self.outcomes["status"][number] == DONE:
                groups[number] = f"{STRUCTURES_GROUP}/{key}"
        # Number -1, of cells without a point, reads the last one.
        return np.asarray(groups[self._layout.point])

    def _write(self, store: Store) -> None:
        for name in self._opened & self._batches.keys():
            self._collect(name)
        data = self.cube()
        fresh = self.outcomes["status"] != self._written_status
        self._written_status = self.outcomes["status"].copy()
        if self._incremental is None:
            self._incremental = IncrementalResult(store, data)
            return
        point = self._layout.point
        changed = np.where(point >= 0, fresh[point], False)
        self._incremental.update(data, changed.reshape(tuple(self._layout.grid.dims.values())))

    def _collect(self, stage: str) -> None:
        """Record the outcomes of blocks that have arrived since the last call."""
        batch, tiling = self._batches[stage], self._ledger.tiling(stage)
        for block in sorted(self._ledger.done(stage) - self._collected[stage]):
            try:
                arrays = self._ledger.read_block(stage, block)
            except DamagedStoreError:  # the run fills it again
                continue
            batch.store(self.outcomes, batch.numbers[tiling.region(block)[0]], arrays)
            self._collected[stage].add(block)

    def _seconds(self) -> Array:
        """(points,) seconds each point took, NaN where it is not computed."""
        out = np.full(len(self._layout.digests), np.nan)
        for name in sorted(self._opened):
            blocks = self._ledger.block_seconds(name)
            if name in self._batches:
                tiling, batch = self._ledger.tiling(name), self._batches[name]
                for block, seconds in blocks.items():
                    region = tiling.region(block)[0]
                    out[batch.numbers[region]] = seconds / (region.stop - region.start)
            else:
                number = self._numbers[name.split("/")[1]]
                out[number] = np.nan_to_num(out[number]) + sum(blocks.values())
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Many points laid out along axes: a job whose store needs the study file to rebuild it."""

    layout: SweepLayout  # Cells of the cube and the points to compute
    fixed: Mapping[str, Any]  # Fields of the study that all cells share
    keep: bool = False  # True if the store keeps the whole result of every point
    source: Mapping[str, str] = field(default_factory=dict)  # Attributes that name its substrate
    is_sweep = True
    target = None

    @property
    def fingerprint(self) -> str:
        """Digest of all that a store cannot change: everything but the values along the axes."""
        return text_digest([dict(self.fixed), self._dims()])

    def _dims(self) -> list[tuple[str, str]]:
        return [(name, dim) for name, (dim, _) in self.layout.grid.coords.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the study as a store records it: what cells share, and the axes' dimensions."""
        return {**self.fixed, "sweep": dict(self._dims())}

    def kernel_families(self) -> list[str]:
        """Return the families of kernels that the points need compiled."""
        batched = [batched_computations()[compute].family for compute in self.layout.points]
        single: set[str] = set()
        for each in self.layout.large:
            units = each.fields.get("units")
            n_units = n_macro_units(units) or len(units or each.substrate.labels)
            single.update(kernel_families(theory_name(each.options), each.compute, n_units))
        return batched + sorted(single)

    def recipe(self) -> Recipe:
        """Return the stages of all points, as if nothing were stored."""
        _, batches, large = order_points(self.layout, [self.layout.digests])
        outcomes = empty_outcomes(self.layout.grid.computes, len(self.layout.digests))
        return sweep_recipe(batches, large, outcomes)

    def sampled_recipe(self) -> tuple[Recipe, float]:
        """Return the stages of an estimate, and how many points each of its points stands for.

        Of the points with recipes of their own some are taken, small and large ones alike.
        """
        _, batches, large = order_points(self.layout, [self.layout.digests])
        numbers = sorted(large, key=lambda k: _size_of(large[k]))
        chosen = numbers
        if len(numbers) > MAX_SAMPLED_POINTS:
            at = (np.arange(MAX_SAMPLED_POINTS) + 0.5) * len(numbers) / MAX_SAMPLED_POINTS
            chosen = [numbers[k] for k in at.astype(int)]
        outcomes = empty_outcomes(self.layout.grid.computes, len(self.layout.digests))
        share = len(numbers) / len(chosen) if chosen else 1.0
        return sweep_recipe(batches, {k: large[k] for k in chosen}, outcomes), share

    def start(self, ledger: Ledger, store: Store | None = None, *, live: bool = True) -> JobRun:
        """Add the points to the store and return one execution of the sweep.

        Points keep the order in which they became part of the store.
        """
        if store is None and self.keep:
            raise SpecError("keep: structures: expected a store to keep them in; give one")
        lists = [self.layout.digests]
        if store is not None:
            with critical_section(store, POINT_IDS_GROUP):
                lists = register_points(store, self)
        layout, batches, large = order_points(self.layout, lists)
        on_result = partial(_save_structure, store) if store is not None and self.keep else None
        written = store if live else None
        writer = CubeWriter(layout, batches, large, ledger, written, has_structures=self.keep)
        work = sweep_recipe(batches, large, writer.outcomes, on_result=on_result)
        return JobRun(work, lambda _: xr.DataTree(self._named(writer.cube())), (writer,))

    def _named(self, cube: xr.Dataset) -> xr.Dataset:
        return cube.assign_attrs({**self.source, **cube.attrs})


def sweep_from_study(study: Study, folder: Path, where: str) -> Sweep:
    """Build the sweep that a study describes."""
    axes = read_axes(study.sweep, f"{where}: sweep", folder)
    shared = {"compute": study.compute, "substrate": study.substrate, "theory": study.theory}
    made = build_sweep(axes, shared | problem_fields(study), folder, where, study.keep)
    return replace(made, source={**made.source, **source_attrs(msgspec.structs.asdict(study))})


def build_sweep(
    axes: Sequence[Axis],
    shared: Mapping[str, Any],
    folder: Path,
    where: str,
    keep: str | None = None,
) -> Sweep:
    """Build a sweep from its axes and what its cells share where no axis says otherwise.

    `shared` are the ``compute``, ``substrate`` and ``theory`` of a study and the fields of its
    target, None where not given; see :func:`iitdask.study.sweep_layout.build_grid`.
    """
    if keep is not None and not (isinstance(keep, str) and keep == "structures"):
        raise SpecError(f"keep: expected structures, got {quote(keep)}")
    shared = {name: value for name, value in shared.items() if value is not None}
    substrate, compute = shared.pop("substrate", None), shared.get("compute")
    if not isinstance(compute, str):
        raise SpecError(f"{where}: compute: expected the name of one, got {quote(compute)}")
    substrates = build_substrates(substrate, axes, folder, where)
    grid = build_grid(axes, substrates, shared, where)
    names = {axis.name for axis in axes}
    if "compute" not in names:
        shared.setdefault("theory", default_theory(compute))
    fixed = {name: value for name, value in shared.items() if name not in names}
    if "theory" in fixed:
        fixed["theory"] = recorded_options(theory_options(fixed["theory"]))
    fixed = json.loads(json.dumps(fixed, default=field_json))
    if not substrates.dims:
        fixed["substrate"] = substrates.substrate(0).fingerprint
    elif not any(axis.is_source for axis in axes):
        fixed["substrate"] = text_digest([json.loads(json.dumps(substrate, default=json_default))])
    if keep is not None:
        fixed["keep"] = keep
    layout, source = build_layout(grid, apart=keep is not None), _named_source(substrate)
    return Sweep(layout, fixed, keep is not None, source)


def _named_source(substrate: Any) -> dict[str, str]:
    """Return the attributes that name the substrate from which those of a sweep are made."""
    block = {"example": substrate} if isinstance(substrate, str) else substrate
    if isinstance(block, Mapping) and block.get("example") in examples.names():
        return source_attrs(examples.spec(block["example"]))
    return source_attrs(substrate.attrs) if isinstance(substrate, Substrate) else {}


def register_points(store: Store, sweep: Sweep) -> list[Array]:
    """Add the points of a sweep to its store; return all lists of points the store has then."""
    about, digests = store_attrs(store), sweep.layout.digests
    coords = sweep.layout.grid.coords
    axes = json.loads(json.dumps({name: list(labels) for name, (_, labels) in coords.items()}))
    before = about.get("axes", {})
    for name, labels in before.items():
        lost = [label for label in labels if label not in axes[name]]
        if lost:
            raise LedgerMismatchError(
                f"{store.url} has {name}={lost[0]!r}, which this study lacks: an axis may grow, "
                "not shrink. Use another store"
            )
    lists = intact_point_ids(store)
    wanted = {bytes(each) for each in digests}
    known = {bytes(each) for each in np.concatenate([*lists, digests[:0]])}
    if known - wanted:
        raise LedgerMismatchError(
            f"{store.url} has {len(known - wanted)} points that this study lacks: the same labels "
            "stand for other substrates. Use another store"
        )
    new = np.array([bytes(each) not in known for each in digests], bool)
    if new.any():
        append_point_ids(store, len(lists), digests[new])
        lists.append(digests[new])
    if axes != before:
        kept = {k: v for k, v in read_attrs(store).items() if k not in ("finished", "tidied")}
        create_group(store, "", {**kept, "axes": axes})
    return lists


def _save_structure(store: Store, point: LargeProblem, target: Target, tree: xr.DataTree) -> None:
    """Write the whole result of a point into the store."""
    labelled = label_tree(tree, point.compute, target, point.options)
    save_tree(store, f"{STRUCTURES_GROUP}/{point.key}", labelled)
