"""A sweep as its store has it: enough to compute any block of small points again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from iitdask.model.batch import Batch
from iitdask.result.cube import STATUS
from iitdask.run.folder import stage_names
from iitdask.run.outcome import load_result, study_of
from iitdask.run.place import open_store
from iitdask.run.roll import enrolled
from iitdask.run.store import deposited
from iitdask.theory.points import SMALL, Points
from iitdask.theory.swept import Portion, blank, stage_name, swept

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iitdask.theory.base import Stages

__all__ = ["KeptSweep"]

TABLES = ("sizes", "levels", "starts", "tables", "children")


class KeptSweep:
    """The stages of small points of a sweep, made anew from what the store holds.

    Points that are split themselves are stages of their own, whose blocks have checksums.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        about = study_of(url)
        one = about["study"].get("compute")
        self.computes = about["axes"]["compute"] if one is None else [one]
        lists = enrolled(url)
        self.count = sum(map(len, lists))
        begin, self.portions = 0, list[Portion]()
        known = set(stage_names(open_store(url)))
        for k, digests in enumerate(lists):
            first = begin  # small points come before the others, see Cells
            for compute in SMALL:
                name = stage_name(k, compute)
                if name in known:
                    points = _points(url, name)
                    small = first + np.arange(len(points))
                    self.portions.append(Portion(name, compute, small, points))
                    first += len(points)
            begin += len(digests)
        self._out: dict[str, NDArray[Any]] = {}

    def recipe(self) -> Stages:
        """Make the recipe of the small points."""
        self._out = blank(self.computes, self.count)
        return swept(self.portions, {}, self._out)

    def finish(self, _tree: xr.DataTree) -> xr.DataTree:
        """Return the cube that is kept, with the outcomes of the small points put in anew."""
        cube = load_result(self.url).to_dataset()
        point = cube["point"].values
        numbers = np.concatenate([*(each.small for each in self.portions), np.zeros(0, np.int64)])
        ours = np.isin(point, numbers)
        for name, values in self._out.items():
            kept = cube[name].values.copy()
            fresh = values[point[ours]]
            if name == "status":
                fresh = np.array([STATUS[code] for code in fresh.tolist()], object)
            kept[ours] = fresh
            cube[name] = cube[name].copy(data=kept)
        return xr.DataTree(cube)


def _points(url: str, stage: str) -> Points:
    arrays = {name: deposited(url, stage, name) for name in ("points", *TABLES)}
    batch = Batch(**{name: arrays[name] for name in TABLES})
    substrate, code, units, cap = arrays["points"]
    return Points(batch, substrate, code, units, cap)
