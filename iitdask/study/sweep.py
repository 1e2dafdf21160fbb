"""Run a sweep: what is new is computed once, and the cube is readable from the first minute."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xarray as xr
import zarr

from iitdask.errors import IITError, LedgerMismatchError, SpecError
from iitdask.model.substrate import Substrate
from iitdask.result.assemble import labelled
from iitdask.result.cube import cube
from iitdask.run.checksum import text_digest
from iitdask.run.engines import Futures, Inline, worker_memory
from iitdask.run.events import BlocksFilled, Event, Observer, StageOpened
from iitdask.run.execute import execute
from iitdask.run.journal import Journal
from iitdask.run.memory import MemoryLedger
from iitdask.run.mosaic import Mosaic
from iitdask.run.outcome import consolidate, load_result, save_apart, save_result, study_of
from iitdask.run.place import open_store
from iitdask.run.presence import driving
from iitdask.run.roll import enrol, enrolled
from iitdask.run.store import ZarrLedger
from iitdask.run.survey import costs_of
from iitdask.study.axes import Axis, read_axes
from iitdask.study.cells import Cells, cells_of
from iitdask.study.grounds import grounds_of
from iitdask.study.provenance import provenance
from iitdask.study.spec import Study, asked_in
from iitdask.theory.catalog import default_theory, theory_options
from iitdask.theory.swept import DONE, Heavy, Keep, Portion, blank, book, swept

if TYPE_CHECKING:
    from distributed import Client
    from numpy.typing import NDArray

    from iitdask.model.subject import Subject
    from iitdask.run.ledger import Ledger

__all__ = ["Sweep", "made_sweep", "run_sweep", "sweep_of"]

SECONDS = 1.0
"""Least seconds between two looks at what has arrived."""
SHARE = 20.0
"""How much longer than writing the cube the time between two writings is."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """A sweep that can be run."""

    cells: Cells
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

    def described(self) -> dict[str, Any]:
        """The study as a store records it."""
        return {**self.fixed, "sweep": dict(self._dims())}


def sweep_of(study: Study, folder: Path, where: str) -> Sweep:
    """Build the sweep that a study asks for."""
    axes = read_axes(study.sweep, f"{where}: sweep")
    fields = asked_in(study)
    theory = study.theory or default_theory(study.compute)
    return made_sweep(
        study.compute,
        substrate=study.substrate,
        axes=axes,
        fields=fields,
        theory=theory,
        folder=folder,
        where=where,
        keep=study.keep is not None,
    )


def made_sweep(
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
    """Build a sweep from its parts, see :func:`iitdask.study.cells.cells_of`."""
    grounds = grounds_of(substrate, axes, folder, where)
    cells = cells_of(
        compute,
        axes=axes,
        grounds=grounds,
        fields=fields,
        theory=theory,
        where=where,
        apart=keep,
    )
    names = {axis.name for axis in axes}
    fixed: dict[str, Any] = {"compute": compute}
    if "theory" not in names:
        fixed["theory"] = json.loads(json.dumps(msgspec.to_builtins(theory_options(theory))))
    for name, value in fields.items():
        if value is not None and name not in names:
            fixed[name] = json.loads(json.dumps(value, default=str))
    if not grounds.dims:
        fixed["substrate"] = grounds.fingerprint(0)
    elif "substrate" not in names:
        fixed["substrate"] = text_digest([json.loads(json.dumps(substrate, default=_listed))])
    if keep:
        fixed["keep"] = "structures"
    return Sweep(cells, fixed, keep)


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """Points in the order in which they became part of the store."""

    cells: Cells
    """The cells; their points are numbered in this order."""
    portions: tuple[Portion, ...]
    heavy: dict[int, Any]
    count: int


def _ordered(cells: Cells, lists: Sequence[NDArray[Any]]) -> _Order:
    place = {bytes(each): p for p, each in enumerate(cells.digests)}
    small, begin = len(cells.points), 0
    portions: list[Portion] = []
    heavy: dict[int, Any] = {}
    number = np.full(len(cells.digests), -1)
    for k, digests in enumerate(lists):
        known = np.array([place[bytes(each)] for each in digests], np.int64)
        number[known] = begin + np.arange(len(known))
        light = known < small
        points = cells.points.at(known[light]).alone()
        portions.append(Portion(f"sweep/{k}", begin + np.flatnonzero(light), points))
        heavy |= {
            begin + int(i): cells.heavy[int(known[i]) - small] for i in np.flatnonzero(~light)
        }
        begin += len(known)
    point = np.where(cells.point >= 0, number[cells.point], -1)
    return _Order(replace(cells, point=point), tuple(portions), heavy, begin)


def run_sweep(
    sweep: Sweep,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    observers: Sequence[Observer] = (),
    block_seconds: float = 5.0,
    memory: int | None = None,
    join: bool = False,
) -> xr.DataTree:
    """Compute a sweep, or what is missing of it.

    Parameters are those of :func:`iitdask.study.driver.run_point`.

    Returns
    -------
    DataTree
        Its root is the cube.

    Raises
    ------
    LedgerMismatchError
        The store holds another study, or values along an axis that this sweep lacks.
    """
    options: dict[str, Any] = {"block_seconds": block_seconds, "memory": memory}
    if store is None:
        if sweep.keep:
            raise SpecError("keep: structures: expected a store to keep them in; give one")
        order = _ordered(sweep.cells, [sweep.cells.digests])
        return _computed(order, MemoryLedger(), client, None, observers, **options)
    url = os.fspath(store)
    ledger = ZarrLedger(url, sweep.described(), sweep.fingerprint)
    with driving(url, join) as driver:
        order = _ordered(sweep.cells, _grown(url, sweep))
        if "tidied" in study_of(url):
            return load_result(url)
        journal, about = Journal(url, driver), provenance()
        journal.begin({"study": sweep.fingerprint, "provenance": about})
        try:
            options["keep"] = _keeping(url) if sweep.keep else None
            tree = _computed(order, ledger, client, url, [*observers, journal], **options)
            save_result(url, tree, about, costs_of(url))
            consolidate(url)
        except KeyboardInterrupt:
            journal.end({"reason": "interrupted"})
            raise
        except IITError as error:
            journal.end({"reason": str(error).splitlines()[0]})
            raise
    return tree


def _grown(url: str, sweep: Sweep) -> list[NDArray[Any]]:
    """Make the points of a sweep part of its store; all lists of points it has then."""
    about, digests = study_of(url), sweep.cells.digests
    axes = json.loads(json.dumps(sweep.axes))
    before = about.get("axes", {})
    for name, labels in before.items():
        lost = [label for label in labels if label not in axes[name]]
        if lost:
            raise LedgerMismatchError(
                f"{url} has {name}={lost[0]!r}, which this study lacks: an axis may grow, not "
                "shrink. Use another store"
            )
    lists = enrolled(url)
    wanted = {bytes(each) for each in digests}
    known = {bytes(each) for each in np.concatenate([*lists, digests[:0]])}
    if known - wanted:
        raise LedgerMismatchError(
            f"{url} has {len(known - wanted)} points that this study lacks: the same labels stand "
            "for other substrates. Use another store"
        )
    new = np.array([bytes(each) not in known for each in digests], bool)
    if new.any():
        enrol(url, len(lists), digests[new])
        lists.append(digests[new])
    if axes != before:
        root = zarr.open_group(open_store(url), mode="r+")
        kept = {k: v for k, v in root.attrs.asdict().items() if k not in ("finished", "tidied")}
        root.attrs.put({**kept, "axes": axes})
    return lists


def _computed(
    order: _Order,
    ledger: Ledger,
    client: Client | None,
    url: str | None,
    observers: Sequence[Observer],
    *,
    block_seconds: float,
    memory: int | None,
    keep: Keep | None = None,
) -> xr.DataTree:
    out = blank(order.cells.compute, order.count)
    keeper = _Keeper(order, ledger, url, out, keep is not None)
    execute(
        swept(order.portions, order.heavy, order.cells.compute, out, keep=keep),
        ledger,
        Inline() if client is None else Futures(client),
        block_seconds=block_seconds,
        observers=[*observers, keeper],
        memory=worker_memory(client, memory),
    )
    return xr.DataTree(keeper.cube())


def _keeping(url: str) -> Keep:
    """Return what writes the whole result of a point into the store."""

    def keep(point: Heavy, subject: Subject, tree: xr.DataTree) -> None:
        save_apart(url, f"structures/{point.key}", labelled(tree, subject, point.options))

    return keep


class _Keeper:
    """Sees blocks arrive, and keeps the cube in the store up to date.

    What it knows beyond the ledger may be lost at any time.
    """

    def __init__(
        self,
        order: _Order,
        ledger: Ledger,
        url: str | None,
        out: dict[str, NDArray[Any]],
        whole: bool,
    ) -> None:
        self._whole = whole
        self._order, self._ledger, self._url, self._out = order, ledger, url, out
        self._stages = {portion.name: portion for portion in order.portions}
        self._seen: dict[str, set[Any]] = {name: set() for name in self._stages}
        self._heavy: dict[str, set[str]] = {}
        self._keys = {point.key: number for number, point in order.heavy.items()}
        self._mosaic: Mosaic | None = None
        self._shown = np.zeros(order.count, np.int8)
        self._next = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, StageOpened) and event.stage.startswith("points/"):
            self._heavy.setdefault(event.stage.split("/")[1], set()).add(event.stage)
        now = time.monotonic()
        if self._url is None or not isinstance(event, StageOpened | BlocksFilled):
            return
        if now >= self._next and "finished" not in study_of(self._url):
            self._write(self._url)
            self._next = time.monotonic() + max(SECONDS, SHARE * (time.monotonic() - now))

    def cube(self) -> xr.Dataset:
        """Return the cube as far as it is known."""
        cells = self._order.cells
        return cube(
            cells.compute,
            dims=cells.dims,
            coords=cells.coords,
            cells=(cells.point, cells.problem, cells.problems),
            outcomes=self._out,
            extra={
                "n_units": cells.n_units,
                "frequency": cells.frequency,
                "seconds": _spread(self._seconds(), cells.point),
                "structure": self._structures() if self._whole else None,
                "point": cells.point,
            },
            attrs={},
        )

    def _structures(self) -> NDArray[Any]:
        """Where in the store the whole result of each cell is."""
        groups = np.full(self._order.count + 1, "", object)
        for number, point in self._order.heavy.items():
            if self._out["status"][number] == DONE:
                groups[number] = f"structures/{point.key}"
        # The last one is that of no point.
        return np.asarray(groups[self._order.cells.point])

    def _write(self, url: str) -> None:
        for name, portion in self._stages.items():
            self._look(name, portion)
        data = self.cube()
        fresh = self._out["status"] != self._shown
        self._shown = self._out["status"].copy()
        if self._mosaic is None:
            self._mosaic = Mosaic(url, data)
            return
        point = self._order.cells.point
        changed = np.where(point >= 0, fresh[point], False)
        self._mosaic.update(data, changed.reshape(tuple(self._order.cells.dims.values())))

    def _look(self, name: str, portion: Portion) -> None:
        """Take over the blocks of a stage that have arrived since."""
        try:
            tiling, done = self._ledger.tiling(name), self._ledger.done(name)
        except (IITError, KeyError):
            return  # not opened yet
        for block in sorted(done - self._seen[name]):
            region = tiling.region(block)[0]
            arrays = self._ledger.arrays(name, block)
            book(self._out, portion.small[region], arrays["value"], arrays["number"])
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


def _spread(values: NDArray[Any], point: NDArray[Any]) -> NDArray[Any]:
    return np.where(point >= 0, values[point], np.nan)
