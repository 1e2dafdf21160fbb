"""What decided a result, and what differs between two: datasets, and summaries of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from iitdask.errors import InputError, quote
from iitdask.model.labels import state_text
from iitdask.model.system import CandidateSystem, Target
from iitdask.result.cube import is_cube
from iitdask.result.formatting import number_text, system_partition_text, text_array
from iitdask.theory.iit4.cut_values import MAX_RUNNER_UP_UNITS, StatePairCosts, runner_up
from iitdask.theory.variables import described_variable
from iitdask.types import Array

SIDES = ("cause", "effect")
CAPS = (
    "intrinsic_information_cause", "intrinsic_information_effect",
    "differentiation_cause", "differentiation_effect",
)  # fmt: skip
PHI_BOUNDS = ("phi_low", "phi_high", "normalized_phi_low", "normalized_phi_high")
SAME_RELATIVE = 1e-9  # Relative difference of numbers that two results share
DELTAS = ("phi", "phi_cause", "phi_effect", "fold")


def explain_system(data: xr.Dataset, system: CandidateSystem | None) -> xr.Dataset:
    """Say what decided phi_s, and by how much: variables as :func:`iitdask.explain` returns them.

    Without the `system` no other partition can be looked at: there is no runner-up.
    """
    theory, phi = str(data.attrs.get("theory")), float(data["phi"])
    sides = [float(data[f"phi_{side}"]) for side in SIDES]
    out: dict[str, Any] = {
        "decided_by": _decided_by(data, sides),
        "binding_direction": _binding_direction(*sides),
        "phi": phi,
        "normalized_phi": float(data["normalized_phi"]),
        "n_tied_states": int(data["n_tied_states"]),
        "n_tied_partitions": int(data["n_tied_partitions"]),
        "reason": str(data.attrs.get("reason", "")),
    }
    attrs = {"theory": theory}
    out |= {name: float(data[name]) for name in PHI_BOUNDS if name in data}
    for side in SIDES:
        state = data[f"{side}_state"].values.tolist()
        out[f"{side}_state"] = state_text(state) if min(state) >= 0 else ""
    if "phi_low" in data:
        attrs["no_runner_up"] = "the search for the minimum partition did not end"
    elif not data["cut"].values.any():
        attrs["no_runner_up"] = "a rule decided before any partition was looked at"
    elif system is None:
        attrs["no_runner_up"] = "the substrate is not known: give it beside the result"
    elif system.n > MAX_RUNNER_UP_UNITS:
        attrs["no_runner_up"] = f"only systems of up to {MAX_RUNNER_UP_UNITS} units are searched"
    else:
        states = [_state_code(data[f"{side}_state"].values, system.levels) for side in SIDES]
        costs = StatePairCosts.from_states(system, (states[0], states[1]))
        most = 2 if data.attrs.get("system_partitions") == "bipartition" else None
        least, following = runner_up(costs, most)
        if following is None:
            attrs["no_runner_up"] = "all partitions attain the minimum"
        else:
            out |= {"runner_up": following, "gap": following - least}
        out["least_normalized"] = least
    variables = {name: described_variable(name, (), value) for name, value in out.items()}
    variables["cut"] = data["cut"].variable
    return xr.Dataset(variables, {dim: data[dim] for dim in ("source", "target")}, attrs)


def explain_result(tree: xr.DataTree, target: Target | None) -> xr.Dataset:
    """Explain the analysis of a system, which is a result or a node of one."""
    system = tree.children.get("system")
    if system is None or "n_tied_states" not in system.dataset.data_vars:
        raise InputError("result: expected one of a system under IIT 4.0, got another one")
    data = system.to_dataset()
    known = target if isinstance(target, CandidateSystem) else None
    if known is not None and known.labels != tuple(data["unit"].values):
        raise InputError(f"substrate: expected units {quote(data.attrs['units'])}, got others")
    found = explain_system(data, known)
    if known is None or set(known.levels) == {2}:
        found = found.assign(_bounds(tree, data.sizes["unit"]))
    return found


def _bounds(tree: xr.DataTree, n: int) -> dict[str, xr.Variable]:
    """Return bounds of binary systems, section 41.1, and what is attained of each."""
    out: dict[str, Any] = {}
    if n > 1:
        out["phi_bound"] = float(n * (n - 1))
        out["phi_over_bound"] = float(tree["system"]["phi"]) / out["phi_bound"]
    variables = {name: described_variable(name, (), value) for name, value in out.items()}
    if "distinctions" not in tree.children or "state_cause" not in tree["distinctions"]:
        return variables
    data, line = tree["distinctions"].to_dataset(), ("mechanism",)
    size = data["mechanism_units"].values.sum(axis=1)
    purviews = [data[f"purview_{side}"].values.sum(axis=1) for side in SIDES]
    bound = (size * np.minimum(*purviews)).astype(float)
    total = n * (n + 1) * 2.0**n / 4
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "distinction_phi_bound": (line, bound),
        "distinction_phi_over_bound": (line, data["phi"].values / np.maximum(bound, 1)),
        "sum_phi_distinctions_bound": ((), total),
        "sum_phi_distinctions_over_bound": ((), float(data["phi"].sum()) / total),
    }
    variables |= {name: described_variable(name, *value) for name, value in values.items()}
    labels = xr.Variable(line, data["mechanism"].values)
    return {"mechanism": labels, **variables}


def explanation_tree(found: xr.Dataset) -> xr.DataTree:
    """Return an explanation as a tree, as JSON is written from."""
    return xr.DataTree(found)


def _state_code(values: Any, levels: tuple[int, ...]) -> int:
    code = 0
    for value, k in zip(reversed(values.tolist()), reversed(levels), strict=True):
        code = code * k + value
    return code


def _binding_direction(cause: float, effect: float) -> str:
    """Return the side of the smaller phi; both where they are equal, neither where none is."""
    if math.isnan(cause) or math.isnan(effect):
        return ""
    if math.isclose(cause, effect, rel_tol=1e-12, abs_tol=1e-12):
        return "both"
    return "cause" if cause < effect else "effect"


def _decided_by(data: xr.Dataset, sides: list[float]) -> str:
    if "phi_low" in data:
        return "not computed"
    if not data["cut"].values.any():
        return "rule"
    smaller, phi = min(sides), float(data["phi"])
    if "differentiation_cause" in data and smaller - phi > 1e-12 * max(1.0, smaller):
        least = min(CAPS, key=lambda name: float(data[name]))
        return f"cap: {least}"
    return "minimum partition"


def explanation_rows(found: xr.Dataset) -> list[tuple[str, str]]:
    """Return an explanation as pairs of name and value."""
    rows = [("decided by", str(found["decided_by"].item()))]
    if found["reason"].item():
        why = "why 0" if "phi_low" not in found else "why not computed"
        rows.append((why, str(found["reason"].item())))
    if "phi_low" in found:
        for label, name in (("phi_s", "phi"), ("per severed pair", "normalized_phi")):
            ends = [number_text(float(found[f"{name}_{end}"])) for end in ("low", "high")]
            rows.append((label, f"{ends[0]} to {ends[1]} bits"))
    if found["binding_direction"].item():
        rows.append(("binding direction", str(found["binding_direction"].item())))
    if found["cut"].values.any():
        text = system_partition_text(found["cut"].values, found["source"].values)
        rows.append(("minimum partition", text))
        value = number_text(float(found["normalized_phi"]))
        rows.append(("per severed pair", f"{value} bits, {int(found['n_tied_partitions'])} tie"))
    if "runner_up" in found:
        text = f"{number_text(float(found['runner_up']))} bits per severed pair"
        rows.append(("runner-up", f"{text}, {number_text(float(found['gap']))} above"))
    else:
        rows.append(("runner-up", f"none: {found.attrs['no_runner_up']}"))
    states = ((f"{side} state", str(found[f"{side}_state"].item())) for side in SIDES)
    rows += [row for row in states if row[1]]
    if "phi_bound" in found and "phi_low" not in found:
        share = number_text(100 * float(found["phi_over_bound"]))
        rows.append(("bound of phi_s", f"{int(found['phi_bound'])} bits, {share} % attained"))
    if int(found["n_tied_states"]) > 1:
        rows.append(("tied states", f"{int(found['n_tied_states'])} pairs of states"))
    return rows


def compare_results(a: xr.DataTree, b: xr.DataTree) -> xr.DataTree:
    """Compare two results: scalars, minimum partitions, distinctions, theories and versions."""
    scalars = [_scalars(tree) for tree in (a, b)]
    names = [name for name in scalars[0] if name in scalars[1]]
    if not names:
        raise InputError("compare: expected two results with a number in common, got none")
    values = np.array([[scalar[name] for name in names] for scalar in scalars])
    with np.errstate(invalid="ignore"):
        delta = values[1] - values[0]
    data = xr.Dataset(
        {"a": ("scalar", values[0]), "b": ("scalar", values[1]), "delta": ("scalar", delta)},
        {"scalar": text_array(names)},
    )
    abouts = [_attrs_of(tree) for tree in (a, b)]
    attrs = {"cut": _cut_difference(a, b), **_attr_differences(*abouts)}
    nodes = {"/": xr.Dataset(attrs=attrs), "/scalars": data}
    if all("distinctions" in tree.children for tree in (a, b)):
        nodes["/distinctions"] = _compared_distinctions(a, b)
    return xr.DataTree.from_dict(nodes)


def _attrs_of(tree: xr.DataTree) -> dict[Any, Any]:
    about = dict(tree.attrs)
    return about | dict(tree["system"].attrs) if "system" in tree.children else about


def _scalars(tree: xr.DataTree) -> dict[str, float]:
    """Return the numbers of a result: those of its nodes without dimension, and of its root."""
    found: dict[str, float] = {}
    for name, value in tree.attrs.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[str(name)] = float(value)
    for node in tree.subtree:
        for name, variable in node.dataset.data_vars.items():
            if variable.ndim == 0 and variable.dtype.kind in "if":
                prefix = f"{node.name}_" if node.name == "relations" else ""
                found[f"{prefix}{name}"] = float(variable)
    return found


def _attr_differences(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> dict[str, Any]:
    """Return theories, versions and substrates of both, each as a pair where they differ."""
    out: dict[str, Any] = {}
    for name in (
        "theory", "ties", "differentiation", "background", "measure", "mechanism_partitions",
        "structure_distance", "system_partitions", "state", "units", "iitdask_version",
        "substrate_fingerprint",
    ):  # fmt: skip
        one, other = a.get(name), b.get(name)
        if isinstance(one, str) or isinstance(other, str):
            out[f"same_{name}"] = one == other
            if one != other:
                out |= {f"{name}_a": str(one), f"{name}_b": str(other)}
    return out


def _cut_difference(a: xr.DataTree, b: xr.DataTree) -> str:
    """Return whether cuts are the same, another one among those that tie, or changed."""
    systems = [tree["system"].to_dataset() for tree in (a, b) if "system" in tree.children]
    if len(systems) < 2 or any("cut" not in data for data in systems):
        return ""
    one, other = (data["cut"].values for data in systems)
    labels = [data["source"].values.tolist() for data in systems]
    if labels[0] != labels[1] or one.shape != other.shape:
        return "changed"
    if (one == other).all():
        return "same"
    name = "normalized_phi" if "normalized_phi" in systems[0] else "phi"
    values = [float(data[name]) for data in systems]
    tied = all(int(data.get("n_tied_partitions", 1)) > 1 for data in systems)
    is_equal = math.isclose(*values, rel_tol=SAME_RELATIVE, abs_tol=1e-12)
    return "tied" if tied and is_equal else "changed"


def _compared_distinctions(a: xr.DataTree, b: xr.DataTree) -> xr.Dataset:
    sides = [tree["distinctions"].to_dataset() for tree in (a, b)]
    rows = [{str(n): k for k, n in enumerate(data["mechanism"].values)} for data in sides]
    names = list(dict.fromkeys([*rows[0], *rows[1]]))
    numbers = [name for name in DELTAS if all(name in data for data in sides)]
    at = np.array([[row.get(mechanism, -1) for row in rows] for mechanism in names], int)
    at = at.reshape(len(names), 2).T
    status = np.where(at[0] < 0, "only_b", "only_a").astype(object)
    is_common = (at >= 0).all(axis=0)
    both = [data.isel(mechanism=own[is_common]) for data, own in zip(sides, at, strict=True)]
    status[is_common] = np.where(_are_same(both[0], both[1], numbers), "same", "changed")
    variables: dict[str, Any] = {"status": ("mechanism", text_array(status.tolist()))}
    for name in numbers:
        values = np.full((2, len(names)), np.nan)
        for out, data, own in zip(values, sides, at, strict=True):
            out[own >= 0] = data[name].values[own[own >= 0]]
        one, other = values
        variables |= {f"{name}_a": ("mechanism", one), f"{name}_b": ("mechanism", other)}
        delta = np.zeros(len(names))  # also of two numbers beyond what a double holds
        np.subtract(other, one, out=delta, where=one != other)
        variables[f"delta_{name}"] = ("mechanism", delta)
    return xr.Dataset(variables, {"mechanism": text_array(names)})


def _are_same(a: xr.Dataset, b: xr.Dataset, numbers: list[str]) -> Array:
    """Whether purviews, states and numbers but folds, which depend on others, agree, by row."""
    same = np.ones(a.sizes["mechanism"], bool)
    for side in SIDES:
        for name in (f"purview_{side}", f"state_{side}"):
            if name in a and name in b:
                one, other = a[name].values, b[name].values
                same &= one.shape == other.shape and (one == other).all(axis=1)
    for name in numbers:
        if name != "fold":
            one, other = a[name].values, b[name].values
            largest = np.maximum(abs(one), abs(other))
            same &= abs(one - other) <= np.maximum(SAME_RELATIVE * largest, 1e-12)
    return same


def as_result_tree(given: Any, where: str) -> xr.DataTree:
    """Return a result, a node of one or a cell of a cube as a tree; InputError for others."""
    if isinstance(given, xr.DataTree):
        return given
    if not isinstance(given, xr.Dataset):
        raise InputError(f"{where}: expected a result or a store, got {quote(given)}")
    tree = xr.DataTree(given)
    if is_cube(tree):
        if given["status"].ndim:
            raise InputError(
                f"{where}: expected one cell of a cube, got {dict(given.sizes)}; choose it with sel"
            )
        return tree
    return xr.DataTree.from_dict({"/system": given}) if "cut" in given else tree


def comparison_rows(found: xr.DataTree) -> tuple[list[tuple[str, str]], list[tuple[str, ...]]]:
    """Return a comparison as pairs of name and value, and the rows of what changed."""
    about, data = found.attrs, found["scalars"].to_dataset()
    rows = [("cut", str(about["cut"]))] if about["cut"] else []
    for name, is_same in about.items():
        if str(name).startswith("same_") and not is_same:
            key = str(name).removeprefix("same_")
            rows.append((key, f"{about[f'{key}_a']} / {about[f'{key}_b']}"))
    names, *columns = (data[name].values for name in ("scalar", "a", "b", "delta"))
    for name, *values in zip(names, *columns, strict=True):
        if values[2] != 0 and not math.isnan(values[2]):
            one, other, delta = map(number_text, values)
            rows.append((str(name), f"{one} / {other}, {delta}"))
    table: list[tuple[str, ...]] = []
    if "distinctions" in found.children:
        changed = found["distinctions"].to_dataset()
        for k, status in enumerate(changed["status"].values):
            if status != "same":
                phi = [number_text(float(changed[f"phi_{end}"][k])) for end in "ab"]
                table.append((str(changed["mechanism"].values[k]), str(status), *phi))
        rows.append(("distinctions", f"{len(table)} of {changed.sizes['mechanism']} differ"))
    return rows, table


Result = TypeVar("Result", xr.Dataset, xr.DataTree)
TARGET_KEY = "iitdask_target"
"""Entry of a result's encoding, which no file keeps: what it is of."""


def with_target(result: Result, target: Target) -> Result:
    """Return a result that knows what it is of, as long as it is this object or a copy."""
    nodes: list[Any] = [result]
    if isinstance(result, xr.DataTree) and "system" in result.children:
        nodes.append(result.children["system"])
    for node in nodes:
        node.encoding = {**node.encoding, TARGET_KEY: target}
    return result


def explained_target(result: Any) -> Any:
    """Return what a result is of, None where it does not know."""
    return result.encoding.get(TARGET_KEY)
