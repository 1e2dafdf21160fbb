"""What a store tells beside its stages: provenance, a stored sweep, data for views."""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
from typing import Any

import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.errors import InputError, StoreError
from iitdask.model.batch import Batch
from iitdask.result.cube import STATUS_NAMES
from iitdask.result.formatting import text_array
from iitdask.result.label_tree import package_version
from iitdask.run.result_group import load_result, read_point_ids, store_attrs
from iitdask.run.stage_group import StageGroup, list_stages
from iitdask.run.storage import Store
from iitdask.study.problem import Problem, read_problem
from iitdask.theory.catalog import batched_computations, get_computation
from iitdask.theory.stage import Recipe
from iitdask.theory.sweeps.recipe import PointBatch, batch_stage_name, empty_outcomes, sweep_recipe
from iitdask.theory.sweeps.small_systems import SmallSystems
from iitdask.theory.variables import make_dataset


def provenance() -> dict[str, Any]:
    """Return where and with which versions a result is made."""
    about: dict[str, Any] = {
        "iitdask": package_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }
    state = git_state()
    return about if state is None else about | {"git": state}


def git_state() -> dict[str, Any] | None:
    """Return the commit of the working directory and whether it has changes; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    found = []
    for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(
                [git, *words], capture_output=True, text=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        found.append(done.stdout.strip())
    return {"commit": found[0], "changed": bool(found[1])}


BATCH_TABLES = ("sizes", "levels", "starts", "tables", "children")


class StoredSweep:
    """The batchable points of a sweep, rebuilt from what its store holds.

    The other points are stages of their own, whose blocks have checksums.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        about = store_attrs(store)
        one = about["study"].get("compute")
        self.computes = about["axes"]["compute"] if one is None else [one]
        lists = read_point_ids(store)
        self.count = sum(map(len, lists))
        begin, self.batches = 0, list[PointBatch]()
        known = set(list_stages(store))
        for k, digests in enumerate(lists):
            first = begin  # batchable points come before the others
            for compute in batched_computations():
                name = batch_stage_name(k, compute)
                if name in known:
                    points = _read_small_systems(store, name)
                    small = first + np.arange(len(points))
                    self.batches.append(PointBatch(name, compute, small, points))
                    first += len(points)
            begin += len(digests)
        self._out: dict[str, NDArray[Any]] = {}

    def recipe(self) -> Recipe:
        """Return the stages of the batchable points."""
        self._out = empty_outcomes(self.computes, self.count)
        return sweep_recipe(self.batches, {}, self._out)

    def finish(self, _tree: xr.DataTree) -> xr.DataTree:
        """Return the stored cube with the outcomes of the batchable points replaced."""
        cube = load_result(self.store).to_dataset()
        point = cube["point"].values
        numbers = np.concatenate([*(each.small for each in self.batches), np.zeros(0, np.int64)])
        ours = np.isin(point, numbers)
        for name, values in self._out.items():
            kept = cube[name].values.copy()
            fresh = values[point[ours]]
            if name == "status":
                fresh = np.array([STATUS_NAMES[code] for code in fresh.tolist()], object)
            kept[ours] = fresh
            cube[name] = cube[name].copy(data=kept)
        return xr.DataTree(cube)


def _read_small_systems(store: Store, stage: str) -> SmallSystems:
    arrays = StageGroup.load(store, stage).read_inputs()
    batch = Batch(**{name: arrays[name] for name in BATCH_TABLES})
    substrate, code, units, cap = arrays["points"]
    return SmallSystems(batch, substrate, code, units, cap)


def load_for_view(store: Store) -> xr.DataTree:
    """Load a result and add what views derive from its substrate, if that can be read.

    ``/network`` holds all units and their connections, ``/repertoires`` and ``/landscape`` are
    those of a cause-effect structure, the latter where the system is small enough.
    """
    tree = load_result(store)
    try:
        problem = read_problem(store)
    except (StoreError, InputError):  # damaged, or that of a sweep, which has many
        return tree
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    nodes["/network"] = _network_dataset(problem)
    view_nodes = get_computation(problem.compute).view_nodes
    if view_nodes is not None:
        nodes |= view_nodes(problem.target, nodes)
    return xr.DataTree.from_dict(nodes)


def _network_dataset(problem: Problem) -> xr.Dataset:
    substrate, target = problem.target.substrate, problem.target
    units = getattr(target, "units", range(substrate.n_units))
    inside = np.isin(np.arange(substrate.n_units), list(units))
    state = getattr(target, "state", None)
    names = text_array(substrate.labels)
    values = {
        "connectivity": (("source", "target"), np.array(substrate.connectivity)),
        "levels": (("unit",), np.array(substrate.levels)),
        "inside": (("unit",), inside),
        "current_state": (
            ("unit",),
            np.full(substrate.n_units, -1) if state is None else np.array(state),
        ),
    }
    return make_dataset(values).assign_coords(unit=names, source=names, target=names)
