"""Results with the names users gave: units, states, partitions, complexes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.candidate_set import CandidateSet
from iitdask.model.labels import join_labels, mask_namer, state_text, unit_set_names
from iitdask.model.system import System, Target
from iitdask.result.formatting import Overview, Table, partition_text, text_array, theory_attrs
from iitdask.run.checksum import package_version
from iitdask.theory.catalog import get_computation
from iitdask.theory.complexes.recipe import EXCLUSION_REASONS, EXCLUSION_STATUS
from iitdask.theory.options import Theory
from iitdask.theory.variables import (
    assemble_dataset,
    coordinate_labels,
    described_variable,
    replace_dataset,
)

MAX_STATE_CHARACTERS = 40
MAX_DIGITS = 12
"""Digits of a number of candidate systems; larger ones are written as powers of ten."""


def label_complexes(
    tree: xr.DataTree, candidates: CandidateSet, options: Theory, provenance: dict[str, Any]
) -> xr.DataTree:
    """Name units, complexes, candidates and reasons."""
    data, labels = tree["complexes"].to_dataset(), candidates.labels
    fates = [EXCLUSION_STATUS[int(code)] for code in data["fate"].values]
    coords: dict[str, Any] = {
        dim: (dim, text_array(unit_set_names(data[variable].values, labels)))
        for dim, variable in (("complex", "units"), ("candidate", "candidate_units"))
    }
    coords |= {
        "unit": ("unit", text_array(labels)),
        "reason": ("reason", text_array(EXCLUSION_REASONS)),
        "meaning": ("reason", text_array(EXCLUSION_REASONS.values())),
    }
    data = data.assign_coords(coords)
    data["fate"] = ("candidate", text_array(fates), data["fate"].attrs)
    about = {
        **theory_attrs(options),
        "state": state_text(candidates.state),
        "substrate_units": join_labels(labels, labels),
        "substrate_fingerprint": candidates.substrate.fingerprint,
        **provenance,
    }
    return xr.DataTree.from_dict({"/complexes": data.assign_attrs(about)})


def complexes_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a search for complexes, which are in order of acceptance."""
    data = tree["complexes"].to_dataset()
    about, state = data.attrs, data.attrs["state"]
    if len(state) > MAX_STATE_CHARACTERS:
        state = state[: MAX_STATE_CHARACTERS - 3] + "..."
    summary = [
        ("theory", str(about["theory"])),
        ("searched", f"{about['searched']}, state {state}"),
        ("evaluated", f"{int(data['candidates_evaluated'])} candidate systems"),
    ]
    meanings = dict(zip(data["reason"].values, data["meaning"].values, strict=True))
    summary += [
        ("excluded", f"{_count_text(number)}: {meanings[name]}")
        for name, number in about["excluded_by"].items()
    ]
    if not about["exhaustive"]:
        text = f"{_count_text(about['candidates_not_searched'])} candidate systems"
        summary.append(("not searched", f"{text}; the search was not exhaustive"))
    summary.append(("complexes", str(data.sizes["complex"])))
    columns = ["complex", "Phi" if about["theory"] == "iit3" else "phi_s"]
    values = [data["complex"].values.tolist(), [f"{phi:.6g}" for phi in data["phi"].values]]
    big_phi = data["big_phi"].values
    if np.isfinite(big_phi).any():
        columns.append("Phi")
        values.append([f"{phi:.6g}" if np.isfinite(phi) else "-" for phi in big_phi])
    rows = list(zip(*values, strict=True))
    return [Overview(summary, [Table("complexes", tuple(columns), rows)])]


def _count_text(number: str) -> str:
    return number if len(number) <= MAX_DIGITS else f"about 10^{len(number) - 1}"


UNIT_DIMENSIONS = ("unit", "source", "target")


def label_tree(tree: xr.DataTree, compute: str, target: Target, options: Theory) -> xr.DataTree:
    """Name the units, mechanisms and partitions of a result; that of a system changes in place."""
    label: Callable[..., xr.DataTree] = get_computation(compute).load("label")
    return label(tree, target, options, {"iitdask_version": package_version()})


def label_system(
    tree: xr.DataTree, system: System, options: Theory, provenance: dict[str, Any]
) -> xr.DataTree:
    """Label a system analysis or cause-effect structure; see :func:`label_tree`."""
    substrate = system.substrate
    about = {
        **theory_attrs(options),
        "state": state_text(system.state),
        "units": join_labels(system.labels, substrate.labels),
        "substrate_units": join_labels(substrate.labels, substrate.labels),
        "substrate_fingerprint": substrate.fingerprint,
        **provenance,
    }
    names = coordinate_labels(text_array(system.labels))  # converted once for all dimensions
    for node in tree.subtree:
        if node.path in ("/", "/system"):
            node.attrs |= about
        data = node.to_dataset(inherit=False)
        coords: dict[str, tuple[str, Any]] = {
            dim: (dim, names) for dim in UNIT_DIMENSIONS if dim in data.dims
        }
        if coords:  # all at once: every change of a dataset costs as much as making it
            variables = {str(name): data.variables[name] for name in data.data_vars}
            if "mechanism_units" in variables:
                coords["mechanism"], partitions = _mechanism_names(data, system)
                variables |= partitions
            if "cut" in variables:
                variables |= _network_variables(system)
            replace_dataset(node, assemble_dataset(variables, coords, data.attrs))
    return tree


def _network_variables(system: System) -> dict[str, xr.Variable]:
    """Return what a figure of the system needs beside its cut."""
    values = {
        "connectivity": (("source", "target"), np.array(system.connectivity)),
        "current_state": (("unit",), np.array(system.local_state)),
    }
    return {name: described_variable(name, *value) for name, value in values.items()}


def _mechanism_names(
    data: xr.Dataset, system: System
) -> tuple[tuple[str, Any], dict[str, xr.Variable]]:
    """Return the coordinate of mechanisms, and their minimum partitions as text."""
    weights = 1 << np.arange(system.n, dtype=np.int64)
    mechanisms, *purviews = (
        (data.variables[name].values @ weights).astype(np.int64).tolist()
        for name in ("mechanism_units", "purview_cause", "purview_effect")
    )
    name = mask_namer(system.labels)
    partitions = {}
    for side, masks in zip(("cause", "effect"), purviews, strict=True):
        kept = data.variables[f"kept_{side}"].values.tolist()
        texts = [
            partition_text(name, mechanism, purview, partners, side == "cause")
            for mechanism, purview, partners in zip(mechanisms, masks, kept, strict=True)
        ]
        partition = f"partition_{side}"
        partitions[partition] = described_variable(partition, ("mechanism",), text_array(texts))
    return ("mechanism", text_array(map(name, mechanisms))), partitions


def label_target(
    tree: xr.DataTree, target: Target, options: Theory, provenance: dict[str, Any]
) -> xr.DataTree:
    """Label the result of a target of any kind; see :func:`label_tree`.

    Dimensions of units get their names, the root the fields that build the target again.
    """
    names = text_array(target.labels)
    nodes = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        dims = [dim for dim in UNIT_DIMENSIONS if data.sizes.get(dim) == len(names)]
        nodes[node.path] = data.assign_coords({dim: (dim, names) for dim in dims})
    about = {name: str(value) for name, value in target.to_dict().items()}
    about["units"] = join_labels(target.labels, target.substrate.labels)
    if "state" in about:
        about["state"] = state_text(target.to_dict()["state"])
    nodes["/"] = nodes["/"].assign_attrs(theory_attrs(options) | about | provenance)
    return xr.DataTree.from_dict(nodes)
