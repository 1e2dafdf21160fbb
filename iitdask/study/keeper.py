"""Keeps the cube of a sweep in its store up to date while blocks arrive."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from iitdask.errors import IITError
from iitdask.result.cube import cube
from iitdask.run.events import BlocksFilled, Event, StageOpened
from iitdask.run.mosaic import Mosaic
from iitdask.run.outcome import study_of
from iitdask.study.cells import Cells
from iitdask.theory.swept import DONE, Portion, book, stage_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iitdask.run.ledger import Ledger

__all__ = ["Keeper", "Order", "ordered"]

SECONDS = 1.0
"""Least seconds between two looks at what has arrived."""
SHARE = 20.0
"""How much longer than writing the cube the time between two writings is."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Points in the order in which they became part of the store."""

    cells: Cells
    """The cells; their points are numbered in this order."""
    portions: tuple[Portion, ...]
    """The small points, stage by stage."""
    heavy: dict[int, Any]
    """The others, by number."""
    count: int
    """How many there are."""


def ordered(cells: Cells, lists: Sequence[NDArray[Any]]) -> Order:
    """Number the points of a sweep as the lists of a store do, see :mod:`iitdask.run.roll`."""
    place = {bytes(each): p for p, each in enumerate(cells.digests)}
    small, begin = cells.n_small, 0
    portions: list[Portion] = []
    heavy: dict[int, Any] = {}
    number = np.full(len(cells.digests), -1)
    for k, digests in enumerate(lists):
        known = np.array([place[bytes(each)] for each in digests], np.int64)
        number[known] = begin + np.arange(len(known))
        first = 0
        for compute, points in cells.points.items():
            own = np.flatnonzero((known >= first) & (known < first + len(points)))
            chosen = points.at(known[own] - first).alone()
            portions.append(Portion(stage_name(k, compute), compute, begin + own, chosen))
            first += len(points)
        heavy |= {
            begin + int(i): cells.heavy[int(known[i]) - small]
            for i in np.flatnonzero(known >= small)
        }
        begin += len(known)
    point = np.where(cells.point >= 0, number[cells.point], -1)
    return Order(replace(cells, point=point), tuple(portions), heavy, begin)


class Keeper:
    """Sees blocks arrive, and keeps the cube in the store up to date.

    What it knows beyond the ledger may be lost at any time.
    """

    def __init__(
        self,
        order: Order,
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
            cells.computes,
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
