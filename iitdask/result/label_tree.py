"""Label the result of a recipe: coordinates, partitions in words, provenance."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.model.candidate_set import CandidateSet
from iitdask.model.system import System, Target
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.result.causation import label_account, label_causation
from iitdask.result.complexes import label_complexes
from iitdask.result.formatting import mask_namer, partition_text, state_text, text_array, units_text
from iitdask.theory.options import Theory
from iitdask.theory.variables import VARIABLES, make_dataset

__all__ = [
    "label_tree",
    "package_version",
]


@cache
def package_version() -> str:
    """Version of this package."""
    try:
        return version("iitdask")
    except PackageNotFoundError:
        return "unknown"


def label_tree(tree: xr.DataTree, subject: Target, options: Theory) -> xr.DataTree:
    """Name the units, mechanisms and partitions of a recipe's result.

    Parameters
    ----------
    tree
        What the recipe returned; its units are numbers. That of a system is taken over: the
        names are put into it.
    subject
        What it was computed for.
    options
        The theory and the choices made about it.

    Returns
    -------
    DataTree
        The contract of the computation: see the README.
    """
    if isinstance(subject, System):
        return _label_system(tree, subject, options)
    if isinstance(subject, (StatePair, StateTriple)):
        more = {"iitdask_version": package_version()}
        return label_causation(tree, subject, options, more)
    if isinstance(subject, Transition):
        return label_account(tree, subject, options, {"iitdask_version": package_version()})
    if isinstance(subject, CandidateSet):
        return label_complexes(tree, subject, options, {"iitdask_version": package_version()})
    raise TypeError(f"no labels are known for a {type(subject).__name__}")


def _label_system(tree: xr.DataTree, system: System, options: Theory) -> xr.DataTree:
    """Label a system analysis or cause-effect structure."""
    about = _system_attrs(system, options)
    names = xr.Variable("unit", text_array(system.labels)).to_index()  # one for three dims
    for node in tree.subtree:
        if node.path in ("/", "/system"):
            node.attrs |= about
        data = node.to_dataset(inherit=False)
        coords: dict[Any, Any] = {
            dim: (dim, names) for dim in ("unit", "source", "target") if dim in data.dims
        }
        values: dict[Any, Any] = dict(data.data_vars.variables)
        if "mechanism_units" in data:
            coords["mechanism"], partitions = _mechanism_coords(data, system)
            values |= partitions
        if "cut" in data:
            values |= _network_variables(system)
        if coords:  # all at once: every change of a dataset costs as much as making it
            coords = dict(data.coords.variables) | coords
            node.dataset = xr.Dataset(values, coords, data.attrs)
    return tree


def _network_variables(system: System) -> dict[Any, xr.Variable]:
    """What a picture of the system needs beside its cut."""
    values = {
        "connectivity": (("source", "target"), np.array(system.connectivity)),
        "current_state": (("unit",), np.array(system.local_state)),
    }
    return dict(make_dataset(values).variables)


def _system_attrs(system: System, options: Theory) -> dict[str, Any]:
    chosen = msgspec.to_builtins(options)
    return {
        "theory": chosen.pop("name"),
        **chosen,
        "state": state_text(system.state),
        "units": units_text(system.labels),
        "substrate_units": units_text(system.substrate.labels),
        "substrate_fingerprint": system.substrate.fingerprint,
        "iitdask_version": package_version(),
    }


def _mechanism_coords(data: xr.Dataset, system: System) -> tuple[tuple[str, Any], dict[str, Any]]:
    """Names of the mechanisms, and their minimum partitions in words."""
    weights = 1 << np.arange(system.n, dtype=np.int64)
    masks = {
        name: (data[name].values @ weights).astype(np.int64).tolist()
        for name in ("mechanism_units", "purview_cause", "purview_effect")
    }
    name = mask_namer(system.labels)
    names = [name(m) for m in masks["mechanism_units"]]
    partitions = {}
    for side in ("cause", "effect"):
        kept = data[f"kept_{side}"].values.tolist()
        texts = [
            partition_text(name, m, p, k, side == "cause")
            for m, p, k in zip(
                masks["mechanism_units"], masks[f"purview_{side}"], kept, strict=True
            )
        ]
        about = {"comment": VARIABLES[f"partition_{side}"][1]}
        partitions[f"partition_{side}"] = ("mechanism", text_array(texts), about)
    return ("mechanism", text_array(names)), partitions
