"""A sweep as one job: its points, its recipe, and the cube written while blocks arrive."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.errors import IITError, LedgerMismatchError, SpecError
from iitdask.model.substrate import Substrate
from iitdask.model.system import Target
from iitdask.result.cube import build_cube
from iitdask.result.label_tree import label_tree
from iitdask.run.checksum import text_digest
from iitdask.run.coordination import critical_section
from iitdask.run.events import BlocksFilled, Event, StageOpened
from iitdask.run.ledger import Ledger
from iitdask.run.result_group import (
    IncrementalResult,
    append_point_ids,
    read_point_ids,
    save_tree,
    store_attrs,
)
from iitdask.run.storage import Store
from iitdask.run.zarr_io import create_group, read_attrs
from iitdask.study.axis_values import Axis, build_substrates
from iitdask.study.job import JobRun
from iitdask.study.spec import Study, problem_fields
from iitdask.study.sweep_axes import read_axes
from iitdask.study.sweep_layout import SweepLayout, build_layout
from iitdask.theory.catalog import (
    batched_computations,
    default_theory,
    kernel_families,
    theory_name,
    theory_options,
)
from iitdask.theory.stage import Recipe
from iitdask.theory.sweeps.recipe import (
    DONE,
    LargeProblem,
    OnResult,
    PointBatch,
    batch_stage_name,
    empty_outcomes,
    store_outcomes,
    sweep_recipe,
)

__all__ = [
    "CubeWriter",
    "PointOrder",
    "Sweep",
    "build_sweep",
    "order_points",
    "register_points",
    "sweep_from_study",
]

MIN_WRITE_INTERVAL_SECONDS = 1.0
"""Least seconds between two looks at what has arrived."""
WRITE_INTERVAL_RATIO = 20.0
"""How much longer than writing the cube the time between two writings is."""


@dataclass(frozen=True, slots=True, eq=False)
class PointOrder:
    """Points in the order in which they became part of the store."""

    cells: SweepLayout
    """The cells; their points are numbered in this order."""
    portions: tuple[PointBatch, ...]
    """The small points, stage by stage."""
    heavy: dict[int, Any]
    """The others, by number."""
    count: int
    """How many there are."""


def order_points(cells: SweepLayout, lists: Sequence[NDArray[Any]]) -> PointOrder:
    """Number the points of a sweep in the order in which a store lists them."""
    place = {bytes(each): p for p, each in enumerate(cells.digests)}
    small, begin = cells.n_small, 0
    portions: list[PointBatch] = []
    heavy: dict[int, Any] = {}
    number = np.full(len(cells.digests), -1)
    for k, digests in enumerate(lists):
        known = np.array([place[bytes(each)] for each in digests], np.int64)
        number[known] = begin + np.arange(len(known))
        first = 0
        for compute, points in cells.points.items():
            own = np.flatnonzero((known >= first) & (known < first + len(points)))
            chosen = points.take(known[own] - first).compacted()
            portions.append(PointBatch(batch_stage_name(k, compute), compute, begin + own, chosen))
            first += len(points)
        heavy |= {
            begin + int(i): cells.heavy[int(known[i]) - small]
            for i in np.flatnonzero(known >= small)
        }
        begin += len(known)
    point = np.where(cells.point >= 0, number[cells.point], -1)
    return PointOrder(replace(cells, point=point), tuple(portions), heavy, begin)


class CubeWriter:
    """Sees blocks arrive, and keeps the cube in the store up to date.

    What it knows beyond the ledger may be lost at any time.
    """

    def __init__(
        self,
        order: PointOrder,
        ledger: Ledger,
        store: Store | None,
        out: dict[str, NDArray[Any]],
        whole: bool,
    ) -> None:
        self._whole = whole
        self._order, self._ledger, self._store, self._out = order, ledger, store, out
        self._stages = {portion.name: portion for portion in order.portions}
        self._seen: dict[str, set[Any]] = {name: set() for name in self._stages}
        self._heavy: dict[str, set[str]] = {}
        self._keys = {point.key: number for number, point in order.heavy.items()}
        self._mosaic: IncrementalResult | None = None
        self._shown = np.zeros(order.count, np.int8)
        self._next = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, StageOpened) and event.stage.startswith("points/"):
            self._heavy.setdefault(event.stage.split("/")[1], set()).add(event.stage)
        now = time.monotonic()
        if self._store is None or not isinstance(event, StageOpened | BlocksFilled):
            return
        if now >= self._next and "finished" not in store_attrs(self._store):
            self._write(self._store)
            self._next = time.monotonic() + max(
                MIN_WRITE_INTERVAL_SECONDS, WRITE_INTERVAL_RATIO * (time.monotonic() - now)
            )

    def cube(self) -> xr.Dataset:
        """Return the cube as far as it is known."""
        cells = self._order.cells
        return build_cube(
            cells.computes,
            dims=cells.dims,
            coords=cells.coords,
            cells=(cells.point, cells.problem, cells.problems),
            outcomes=self._out,
            extra={
                "n_units": cells.n_units,
                "frequency": cells.frequency,
                "seconds": _values_by_cell(self._seconds(), cells.point),
                "structure": self._structures() if self._whole else None,
                "point": cells.point,
            },
            attrs={} if cells.theory is None else {"theory": cells.theory},
        )

    def _structures(self) -> NDArray[Any]:
        """Where in the store the whole result of each cell is."""
        groups = np.full(self._order.count + 1, "", object)
        for number, point in self._order.heavy.items():
            if self._out["status"][number] == DONE:
                groups[number] = f"structures/{point.key}"
        # The last one is that of no point.
        return np.asarray(groups[self._order.cells.point])

    def _write(self, store: Store) -> None:
        for name, portion in self._stages.items():
            self._look(name, portion)
        data = self.cube()
        fresh = self._out["status"] != self._shown
        self._shown = self._out["status"].copy()
        if self._mosaic is None:
            self._mosaic = IncrementalResult(store, data)
            return
        point = self._order.cells.point
        changed = np.where(point >= 0, fresh[point], False)
        self._mosaic.update(data, changed.reshape(tuple(self._order.cells.dims.values())))

    def _look(self, name: str, portion: PointBatch) -> None:
        """Take over the blocks of a stage that have arrived since."""
        try:
            tiling, done = self._ledger.tiling(name), self._ledger.done(name)
        except (IITError, KeyError):
            return  # not opened yet
        for block in sorted(done - self._seen[name]):
            region = tiling.region(block)[0]
            arrays = self._ledger.arrays(name, block)
            store_outcomes(self._out, portion.small[region], arrays["value"], arrays["number"])
            self._seen[name].add(block)

    def _seconds(self) -> NDArray[Any]:
        """(points,) seconds each took, of those that are there."""
        out = np.full(self._order.count, np.nan)
        for name, portion in self._stages.items():
            if not len(portion.points):
                continue
            try:
                tiling, ticks = self._ledger.tiling(name), self._ledger.ticks(name)
            except (IITError, KeyError):
                continue
            for block, seconds in ticks.items():
                region = tiling.region(block)[0]
                out[portion.small[region]] = seconds / (region.stop - region.start)
        for key, names in self._heavy.items():
            ticks_of = [sum(self._ledger.ticks(name).values()) for name in sorted(names)]
            out[self._keys[key]] = sum(ticks_of)
        return out


def _values_by_cell(values: NDArray[Any], point: NDArray[Any]) -> NDArray[Any]:
    return np.where(point >= 0, values[point], np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Many points laid out along axes: a :class:`iitdask.study.job.StudyJob`."""

    cells: SweepLayout
    """What is computed, and where it goes."""
    fixed: Mapping[str, Any]
    """What all cells have in common."""
    keep: bool = False
    """Whether the whole result of every point is kept."""

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The axes with their labels."""
        return {name: list(labels) for name, (_, labels) in self.cells.coords.items()}

    @property
    def fingerprint(self) -> str:
        """Digest of what a store cannot grow out of: all but the values along the axes."""
        return text_digest([dict(self.fixed), list(self.cells.coords.items()) and self._dims()])

    def _dims(self) -> list[tuple[str, str]]:
        return [(name, dim) for name, (dim, _) in self.cells.coords.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the study as a store records it: what cells share, and the axes' dimensions."""
        return {**self.fixed, "sweep": dict(self._dims())}

    @property
    def is_sweep(self) -> bool:
        """True: a store does not hold the substrates of all cells."""
        return True

    @property
    def target(self) -> None:
        """None: a sweep is about many targets."""
        return

    def kernel_families(self) -> list[str]:
        """Return the families of kernels that the points need compiled."""
        batched = [batched_computations()[compute].family for compute in self.cells.points]
        single = {
            family
            for each in self.cells.heavy
            for family in kernel_families(
                theory_name(each.options),
                each.compute,
                len(each.fields.get("units") or each.substrate.labels),
            )
        }
        return batched + sorted(single)

    def recipe(self) -> Recipe:
        """Return the stages of all points, as if nothing were stored."""
        order = order_points(self.cells, [self.cells.digests])
        outcomes = empty_outcomes(self.cells.computes, order.count)
        return sweep_recipe(order.portions, order.heavy, outcomes)

    def start(self, ledger: Ledger, store: Store | None = None, *, live: bool = True) -> JobRun:
        """Add the points to the store and return one execution of the sweep.

        Points keep the order in which they became part of the store.

        Raises
        ------
        LedgerMismatchError
            The store holds another sweep, or values along an axis that this one lacks.
        SpecError
            Structures are to be kept, and there is no store.
        """
        if store is None and self.keep:
            raise SpecError("keep: structures: expected a store to keep them in; give one")
        lists = [self.cells.digests] if store is None else register_points(store, self)
        order = order_points(self.cells, lists)
        outcomes = empty_outcomes(self.cells.computes, order.count)
        on_result = _structure_writer(store) if store is not None and self.keep else None
        writer = CubeWriter(order, ledger, store if live else None, outcomes, self.keep)
        work = sweep_recipe(order.portions, order.heavy, outcomes, on_result=on_result)
        return JobRun(work, lambda _: xr.DataTree(writer.cube()), (writer,))


def sweep_from_study(study: Study, folder: Path, where: str) -> Sweep:
    """Build the sweep that a study asks for."""
    axes = read_axes(study.sweep, f"{where}: sweep")
    fields = problem_fields(study)
    return build_sweep(
        study.compute,
        substrate=study.substrate,
        axes=axes,
        fields=fields,
        theory=study.theory,
        folder=folder,
        where=where,
        keep=study.keep is not None,
    )


def build_sweep(
    compute: str,
    *,
    substrate: Substrate | Mapping[str, Any] | None,
    axes: Sequence[Axis],
    fields: Mapping[str, Any],
    theory: Any,
    folder: Path,
    where: str,
    keep: bool = False,
) -> Sweep:
    """Build a sweep from its parts, see :func:`iitdask.study.sweep_layout.build_layout`."""
    substrates = build_substrates(substrate, axes, folder, where)
    cells = build_layout(
        compute,
        axes=axes,
        substrates=substrates,
        fields=fields,
        theory=theory,
        where=where,
        apart=keep,
    )
    names = {axis.name for axis in axes}
    fixed: dict[str, Any] = {} if "compute" in names else {"compute": compute}
    if theory is None and "compute" not in names:
        theory = default_theory(compute)
    if theory is not None and "theory" not in names:
        fixed["theory"] = json.loads(json.dumps(msgspec.to_builtins(theory_options(theory))))
    for name, value in fields.items():
        if value is not None and name not in names:
            fixed[name] = json.loads(json.dumps(value, default=str))
    if not substrates.dims:
        fixed["substrate"] = substrates.substrate(0).fingerprint
    elif "substrate" not in names:
        fixed["substrate"] = text_digest([json.loads(json.dumps(substrate, default=_as_json))])
    if keep:
        fixed["keep"] = "structures"
    return Sweep(cells, fixed, keep)


def _as_json(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def register_points(store: Store, sweep: Sweep) -> list[NDArray[Any]]:
    """Make the points of a sweep part of its store; all lists of points it has then."""
    with critical_section(store, "roll"):
        return _grow_axes(store, sweep)


def _grow_axes(store: Store, sweep: Sweep) -> list[NDArray[Any]]:
    about, digests = store_attrs(store), sweep.cells.digests
    axes = json.loads(json.dumps(sweep.axes))
    before = about.get("axes", {})
    for name, labels in before.items():
        lost = [label for label in labels if label not in axes[name]]
        if lost:
            raise LedgerMismatchError(
                f"{store.url} has {name}={lost[0]!r}, which this study lacks: an axis may grow, not "
                "shrink. Use another store"
            )
    lists = read_point_ids(store)
    wanted = {bytes(each) for each in digests}
    known = {bytes(each) for each in np.concatenate([*lists, digests[:0]])}
    if known - wanted:
        raise LedgerMismatchError(
            f"{store.url} has {len(known - wanted)} points that this study lacks: the same labels stand "
            "for other substrates. Use another store"
        )
    new = np.array([bytes(each) not in known for each in digests], bool)
    if new.any():
        append_point_ids(store, len(lists), digests[new])
        lists.append(digests[new])
    if axes != before:
        kept = {k: v for k, v in read_attrs(store).items() if k not in ("finished", "tidied")}
        create_group(store, "", {**kept, "axes": axes})
    return lists


def _structure_writer(store: Store) -> OnResult:
    """Return what writes the whole result of a point into the store."""

    def keep(point: LargeProblem, subject: Target, tree: xr.DataTree) -> None:
        labelled = label_tree(tree, point.compute, subject, point.options)
        save_tree(store, f"structures/{point.key}", labelled)

    return keep
