"""Label the result of a recipe: coordinates, partitions as text, provenance.

A kind of target that no labeller is registered for gets coordinates along ``unit`` and the fields
that build the target again as attributes: enough for export, tables and pages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.candidate_set import CandidateSet
from iitdask.model.labels import join_labels, mask_namer, state_text
from iitdask.model.system import System, Target
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.result.causation import label_account, label_events, label_nexus
from iitdask.result.complexes import label_complexes
from iitdask.result.formatting import partition_text, text_array, theory_attrs
from iitdask.theory.options import Theory
from iitdask.theory.variables import VARIABLES, make_dataset

__all__ = ["label_tree", "package_version"]

UNIT_DIMENSIONS = ("unit", "source", "target")


@cache
def package_version() -> str:
    """Return the version of this package."""
    try:
        return version("iitdask")
    except PackageNotFoundError:
        return "unknown"


def label_tree(tree: xr.DataTree, target: Target, options: Theory) -> xr.DataTree:
    """Name the units, mechanisms and partitions of a recipe's result.

    Parameters
    ----------
    tree
        Result of the recipe, whose units are numbers. That of a system is changed in place.
    target
        What it was computed for.
    options
        The theory and its options.

    Returns
    -------
    DataTree
        The labelled result; the README lists its variables.
    """
    provenance = {"iitdask_version": package_version()}
    for kind, label in LABELLERS.items():
        if isinstance(target, kind):
            return label(tree, target, options, provenance)
    return _label_target(tree, target, options, provenance)


def _label_system(
    tree: xr.DataTree, system: System, options: Theory, provenance: dict[str, Any]
) -> xr.DataTree:
    """Label a system analysis or cause-effect structure."""
    substrate = system.substrate
    about = {
        **theory_attrs(options),
        "state": state_text(system.state),
        "units": join_labels(system.labels, substrate.labels),
        "substrate_units": join_labels(substrate.labels, substrate.labels),
        "substrate_fingerprint": substrate.fingerprint,
        **provenance,
    }
    names = xr.Variable("unit", text_array(system.labels)).to_index()  # one for three dims
    for node in tree.subtree:
        if node.path in ("/", "/system"):
            node.attrs |= about
        data = node.to_dataset(inherit=False)
        coords: dict[Any, Any] = {dim: (dim, names) for dim in UNIT_DIMENSIONS if dim in data.dims}
        values: dict[Any, Any] = dict(data.data_vars.variables)
        if "mechanism_units" in data:
            coords["mechanism"], partitions = _mechanism_names(data, system)
            values |= partitions
        if "cut" in data:
            values |= _network_variables(system)
        if coords:  # all at once: every change of a dataset costs as much as making it
            coords = dict(data.coords.variables) | coords
            node.dataset = xr.Dataset(values, coords, data.attrs)
    return tree


def _network_variables(system: System) -> dict[Any, xr.Variable]:
    """Return what a figure of the system needs beside its cut."""
    values = {
        "connectivity": (("source", "target"), np.array(system.connectivity)),
        "current_state": (("unit",), np.array(system.local_state)),
    }
    return dict(make_dataset(values).variables)


def _mechanism_names(data: xr.Dataset, system: System) -> tuple[tuple[str, Any], dict[str, Any]]:
    """Return the coordinate of mechanisms, and their minimum partitions as text."""
    weights = 1 << np.arange(system.n, dtype=np.int64)
    mechanisms, *purviews = (
        (data[name].values @ weights).astype(np.int64).tolist()
        for name in ("mechanism_units", "purview_cause", "purview_effect")
    )
    name = mask_namer(system.labels)
    partitions = {}
    for side, masks in zip(("cause", "effect"), purviews, strict=True):
        kept = data[f"kept_{side}"].values.tolist()
        texts = [
            partition_text(name, mechanism, purview, partners, side == "cause")
            for mechanism, purview, partners in zip(mechanisms, masks, kept, strict=True)
        ]
        about = {"comment": VARIABLES[f"partition_{side}"][1]}
        partitions[f"partition_{side}"] = ("mechanism", text_array(texts), about)
    return ("mechanism", text_array(map(name, mechanisms))), partitions


def _label_target(
    tree: xr.DataTree, target: Target, options: Theory, provenance: dict[str, Any]
) -> xr.DataTree:
    """Label the result of a target of any kind."""
    names = text_array(target.labels)
    nodes = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        dims = [dim for dim in UNIT_DIMENSIONS if data.sizes.get(dim) == len(names)]
        nodes[node.path] = data.assign_coords({dim: (dim, names) for dim in dims})
    about = {name: str(value) for name, value in target.to_dict().items()}
    nodes["/"] = nodes["/"].assign_attrs(theory_attrs(options) | about | provenance)
    return xr.DataTree.from_dict(nodes)


LABELLERS: dict[type, Callable[[xr.DataTree, Any, Theory, dict[str, Any]], xr.DataTree]] = {
    System: _label_system,
    StatePair: label_nexus,
    StateTriple: label_events,
    Transition: label_account,
    CandidateSet: label_complexes,
}
"""Labeller of each kind of target."""
