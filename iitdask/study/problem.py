"""One problem: what it is, how its store keeps it, and what else a store holds of a study."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numba
import numpy as np
import xarray as xr

from iitdask.errors import DamagedStoreError, InputError, SpecError, StoreError
from iitdask.model.batch import Batch
from iitdask.model.examples import with_source
from iitdask.model.labels import decode_state, state_text
from iitdask.model.readers import substrate_from_study
from iitdask.model.substrate import Substrate
from iitdask.model.substrate_arrays import substrate_arrays, substrate_from_arrays
from iitdask.model.system import Target, factor_rows
from iitdask.result.cube import STATUS_NAMES
from iitdask.result.formatting import text_array
from iitdask.result.label_tree import label_tree
from iitdask.run.checksum import package_version
from iitdask.run.coordination import critical_section
from iitdask.run.ledger import Ledger
from iitdask.run.result_group import (
    SUBSTRATE_GROUP,
    load_result,
    read_point_ids,
    store_attrs,
)
from iitdask.run.stage_group import DAMAGE_ERRORS, StageGroup, list_stages
from iitdask.run.storage import Store, write_errors_as_store_errors
from iitdask.run.zarr_io import read_group, write_group
from iitdask.study.spec import JobRun, Study, problem_fields
from iitdask.theory.catalog import (
    batched_computations,
    build_recipe,
    default_theory,
    get_computation,
    kernel_families,
    target_from_fields,
    theory_name,
    theory_options,
)
from iitdask.theory.options import Theory, recorded_options
from iitdask.theory.point_rows import PointRows
from iitdask.theory.small_systems import SUBSTRATE_ARRAYS, SmallSystems
from iitdask.theory.stage import Recipe
from iitdask.theory.sweep_recipe import (
    PointBatch,
    RowBatch,
    batch_stage_name,
    empty_outcomes,
    row_stage_name,
    sweep_recipe,
)
from iitdask.theory.variables import make_dataset

# Fields of targets that name units
UNIT_FIELDS = {"units", "candidates", "causes", "effects", "sensory", "system"}
MAX_DRAWN_STATES = 64  # Of a substrate whose states a view shows


@dataclass(frozen=True, slots=True)
class Problem:
    """One target, one theory, one computation: a job whose store can rebuild it."""

    target: Target  # What it is about, such as a candidate system in its substrate and state
    options: Theory  # Theory with its options
    compute: str  # Name of the computation
    is_sweep = False

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the numbers; labels, cluster and block size do not."""
        chosen = json.dumps(recorded_options(self.options), sort_keys=True)
        parts = [self.compute, chosen, self.target.fingerprint]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the study as a store records it: normalised, comparable field by field."""
        substrate = self.target.substrate
        return {
            "compute": self.compute,
            "theory": recorded_options(self.options),
            **self.target.to_dict(),
            "labels": list(substrate.labels),
            "substrate": substrate.fingerprint,
        }

    def kernel_families(self) -> list[str]:
        """Return the families of kernels that the problem needs compiled."""
        theory, n_units = theory_name(self.options), len(self.target.labels)
        return kernel_families(theory, self.compute, n_units, self.target, self.options)

    def recipe(self) -> Recipe:
        """Return the stages of the computation."""
        return build_recipe(self.compute, self.target, self.options)

    @property
    def finish(self) -> Callable[[xr.DataTree], xr.DataTree]:
        """Function that labels what the recipe returned; it may change the tree."""
        return partial(label_tree, compute=self.compute, target=self.target, options=self.options)

    def start(self, ledger: Ledger, store: Store | None = None, *, live: bool = True) -> JobRun:  # noqa: ARG002
        """Write the substrate into the store and return one execution of the problem."""
        if store is not None:
            write_substrate(store, self.target.substrate)
        return JobRun(self.recipe(), self.finish)


def problem_from_study(study: Study, folder: Path, where: str) -> Problem:
    """Build what a study asks for."""
    get_computation(study.compute, f"{where}: compute")
    if study.sweep is not None:
        raise SpecError(f"{where}: sweep: expected a study of one point, got axes")
    substrate, fields = _substrate_of(study, folder, where), problem_fields(study)
    options = theory_options(study.theory or default_theory(study.compute), f"{where}: theory")
    target = target_from_fields(study.compute, substrate, fields, where)
    return Problem(target, options, study.compute)


def _substrate_of(study: Study, folder: Path, where: str) -> Substrate:
    """Return the substrate that a study names, or that of its target."""
    if study.substrate is None:
        target = get_computation(study.compute, f"{where}: compute").target
        fields = {name: getattr(study, name) for name in target.FIELDS}
        try:
            own = target.own_substrate(**fields)
        except InputError as error:
            raise type(error)(f"{where}: {error}") from error
        if own is not None:
            return own
    made = substrate_from_study(study.substrate or {}, folder, f"{where}: substrate")
    return with_source(made, msgspec.structs.asdict(study))


def write_substrate(store: Store, substrate: Substrate) -> None:
    """Write the substrate of a problem into its store, unless it is there."""
    with critical_section(store, SUBSTRATE_GROUP):
        try:
            known = _read_substrate(store)
            ours = substrate.fingerprint, substrate.attrs, substrate.values
            if (known.fingerprint, known.attrs, known.values) == ours:
                return
        except (*DAMAGE_ERRORS, InputError):
            pass
        _write_tables(store, substrate)


def _write_tables(store: Store, substrate: Substrate) -> None:
    store.delete_groups(SUBSTRATE_GROUP)
    tables, document = substrate_arrays(substrate)
    comment = (
        "Probability tables of all units, one after the other; see `parents`. "
        "A `counted` unit has one row for each number of its inputs that are on."
    )
    with write_errors_as_store_errors(f"{store.url}: {SUBSTRATE_GROUP}"):
        write_group(store, SUBSTRATE_GROUP, {"tables": tables}, {**document, "comment": comment})


def read_problem(store: Store) -> Problem:
    """Rebuild the problem of a store."""
    about = store_attrs(store)
    if "sweep" in about.get("study", {}):
        raise InputError(
            f"{store.url}: holds a sweep, which its study file tells; give it with --spec"
        )
    damaged, mending = f"{store.url}: the study of the store", "run it again to mend this"
    try:
        study = about["study"]
        compute = study["compute"]
        substrate = _read_substrate(store)
        fields = {name: study.get(name) for name in get_computation(compute).target.FIELDS}
        named = {name: _labels_of(fields[name], substrate) for name in UNIT_FIELDS & fields.keys()}
        target = target_from_fields(compute, substrate, fields | named, store.url)
        problem = Problem(target, theory_options(study["theory"]), compute)
        intact = problem.fingerprint == about["fingerprint"]
    except (*DAMAGE_ERRORS, InputError, msgspec.ValidationError) as error:
        what = " ".join(str(error).split())
        raise DamagedStoreError(f"{damaged} cannot be read ({what}); {mending}") from error
    if not intact:
        raise DamagedStoreError(f"{damaged} is not what was written; {mending}")
    return problem


def _labels_of(numbers: Any, substrate: Substrate) -> Any:
    """Return labels for the numbers in nested lists: a label may be another unit's number."""
    if isinstance(numbers, list):
        return [_labels_of(each, substrate) for each in numbers]
    return substrate.labels[numbers] if isinstance(numbers, int) else numbers


def _read_substrate(store: Store) -> Substrate:
    attrs, arrays = read_group(store, SUBSTRATE_GROUP)
    # An array of its own in stores of format 1.
    attrs = {"connectivity": arrays.get("connectivity"), **attrs}
    return substrate_from_arrays(arrays["tables"], attrs)


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
    words = ["describe", "--always", "--dirty", "--abbrev=64", "--exclude=*"]  # ignores tags
    try:
        done = subprocess.run([git, *words], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit, _, dirty = done.stdout.strip().partition("-")
    return None if done.returncode else {"commit": commit, "changed": bool(dirty)}


class StoredSweep:
    """The points of a sweep that share stages, rebuilt from what its store holds.

    The other points are stages of their own, whose blocks have checksums.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        about = store_attrs(store)
        one = about["study"].get("compute")
        self.computes = about["axes"]["compute"] if one is None else [one]
        lists = read_point_ids(store)
        self.count = sum(map(len, lists))
        begin, self.batches = 0, list[PointBatch | RowBatch]()
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
            for compute in self.computes:
                name = row_stage_name(k, compute)
                if name in known:
                    inputs = StageGroup.load(store, name).read_inputs()
                    numbers = begin + PointRows.from_inputs(inputs).numbers
                    seconds = np.ones(len(numbers))  # blocks that are there are not planned
                    self.batches.append(RowBatch(name, compute, numbers, inputs, seconds))
            begin += len(digests)

    def recipe(self) -> Recipe:
        """Return the stages that points share."""
        return sweep_recipe(self.batches, {}, empty_outcomes(self.computes, self.count))

    def finish(self, tree: xr.DataTree) -> xr.DataTree:
        """Return the stored cube with the outcomes of these points replaced."""
        cube = load_result(self.store).to_dataset()
        point = cube["point"].values
        numbers = np.concatenate([*(each.numbers for each in self.batches), np.zeros(0, np.int64)])
        ours = np.isin(point, numbers)
        for name, values in tree.data_vars.items():
            kept = cube[name].values.copy()
            fresh = values.values[point[ours]]
            if name == "status":
                fresh = np.array([STATUS_NAMES[code] for code in fresh.tolist()], object)
            kept[ours] = fresh
            cube[name] = cube[name].copy(data=kept)
        return xr.DataTree(cube)


def _read_small_systems(store: Store, stage: str) -> SmallSystems:
    arrays = StageGroup.load(store, stage).read_inputs()
    batch = Batch(**{name: arrays[name] for name in SUBSTRATE_ARRAYS})
    substrate, code, units, cap = arrays["points"]
    return SmallSystems(batch, substrate, code, units, cap)


def load_for_view(store: Store) -> xr.DataTree:
    """Load a result and add what views derive from its substrate."""
    return with_figure_nodes(load_result(store), store)


def with_figure_nodes(tree: xr.DataTree, store: Store) -> xr.DataTree:
    """Return the result of a store with what views derive from its substrate, if that can be read.

    ``/network`` holds all units and their connections, ``/transitions`` the probabilities of a
    substrate of few states; ``/repertoires`` and ``/landscape`` are those of a cause-effect
    structure, the latter where the system is small enough.
    """
    try:
        problem = read_problem(store)
    except (StoreError, InputError):  # damaged, or that of a sweep, which has many
        return tree
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    nodes["/network"] = _network_dataset(problem)
    if prod(problem.target.substrate.levels) <= MAX_DRAWN_STATES:
        nodes["/transitions"] = _transitions_dataset(problem.target.substrate)
    view_nodes = get_computation(problem.compute).view_nodes
    if view_nodes is not None:
        nodes |= view_nodes(problem.target, nodes)
    return xr.DataTree.from_dict(nodes)


def _transitions_dataset(substrate: Substrate) -> xr.Dataset:
    """Return P(unit takes value next | state now) of all units, a little-endian row per state."""
    levels, labels = substrate.levels, substrate.labels
    everyone = range(substrate.n_units)
    local = {unit: unit for unit in everyone}
    table = np.hstack([factor_rows(factor, local, levels) for factor in substrate.factors])
    states = [decode_state(row, levels) for row in range(prod(levels))]
    columns = [f"{labels[unit]}={value}" for unit in everyone for value in range(levels[unit])]
    values = {
        "next_probability": (("row", "column"), table),
        "past_state": (("row", "unit"), np.array(states)),
    }
    names = {"row": text_array(map(state_text, states)), "column": text_array(columns)}
    return make_dataset(values).assign_coords(names)


def _network_dataset(problem: Problem) -> xr.Dataset:
    substrate, target = problem.target.substrate, problem.target
    units = getattr(target, "micro_units", getattr(target, "units", range(substrate.n_units)))
    inside = np.isin(np.arange(substrate.n_units), list(units))
    state = getattr(target, "micro_state", getattr(target, "state", None))
    names = text_array(substrate.labels)
    state_values = np.full(substrate.n_units, -1) if state is None else np.array(state)
    values = {
        "connectivity": (("source", "target"), np.array(substrate.connectivity)),
        "levels": (("unit",), np.array(substrate.levels)),
        "inside": (("unit",), inside),
        "current_state": (("unit",), state_values),
    }
    return make_dataset(values).assign_coords(unit=names, source=names, target=names)
