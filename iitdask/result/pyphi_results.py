"""Results of PyPhi, in the JSON that its ``jsonify`` module writes, as trees.

An object is a mapping of its attributes with ``__class__``, ``__version__`` and, in some versions,
``__id__``; one that repeats what is there already has these alone
(https://pyphi.readthedocs.io/en/latest/api/jsonify.html). Nothing else is taken for granted: nodes
and variables have the names of the attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError, quote
from iitdask.model.labels import MASK_UNITS, default_labels, state_text, unit_set_names
from iitdask.model.pyphi import is_network
from iitdask.result.formatting import text_array

META = ("__class__", "__version__", "__id__")
STRUCTURE_KEYS = ("ces", "concepts", "distinctions", "constellation", "unpartitioned_constellation")
"""Attributes that hold the structure of a system, in several versions."""
ANALYSIS_KEYS = ("ria", "mip", "_ria", "_mip")  # What holds phi and purview of a cause or effect
MAX_NODES = 10**5  # Of one tree


def pyphi_tree(content: Any, where: str) -> xr.DataTree:
    """Return the tree of a result, see :func:`iitdask.formats.read_pyphi_result`."""
    if is_network(content):
        raise InputError(
            f"{where}: expected a result of PyPhi, got a network, which iit.load reads"
        )
    is_object = isinstance(content, Mapping) and "__class__" in content
    if not is_object and not (isinstance(content, list) and content and _is_concept(content[0])):
        expected = "expected the JSON of a result of PyPhi, an object with __class__"
        raise InputError(f"{where}: {expected}, got {quote(content)}")
    nodes: dict[str, xr.Dataset] = {}
    _add_nodes(nodes, "/pyphi", content, {})
    if len(nodes) > MAX_NODES:
        raise InputError(f"{where}: expected at most {MAX_NODES} objects, got {len(nodes)}")
    labels = _labels(content)
    about: dict[str, Any] = {"source": "PyPhi"}
    if is_object:
        about |= {
            "class": str(content["__class__"]),
            "version": str(content.get("__version__", "")),
        }
        nodes["/system"] = _system(content)
    concepts = _concepts(content)
    if concepts is not None:
        nodes["/distinctions"] = _distinctions(concepts, labels, where)
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), **nodes})


def _is_concept(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and "mechanism" in value
        and bool({"cause", "effect"} & value.keys())
    )


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    return ((str(key), each) for key, each in pairs if key not in META)


def _add_nodes(nodes: dict[str, xr.Dataset], path: str, value: Any, known: dict[Any, str]) -> None:
    """Put an object and all that it holds into nodes under a path."""
    variables: dict[str, Any] = {}
    attrs: dict[str, Any] = {}
    inside: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        attrs |= {key.strip("_"): str(value[key]) for key in META[:2] if key in value}
        if "__id__" in value:
            mark = f"{value.get('__class__')} {value['__id__']}"
            if mark in known and not set(value) - set(META):
                nodes[path] = xr.Dataset(attrs={**attrs, "same_as": known[mark]})
                return
            known.setdefault(mark, path)
    for name, each in _attributes(value):
        key = name.replace("/", "|")
        array = None if isinstance(each, Mapping | str) or each is None else _array(each)
        if array is not None:
            dims = [f"{key}_{axis}" for axis in range(array.ndim)]
            variables[key] = (dims, array)
        elif isinstance(each, Mapping) or (isinstance(each, list) and _holds_objects(each)):
            inside.append((key, each))
        elif each is not None:
            attrs[key] = each if isinstance(each, str) else str(each)
    nodes[path] = xr.Dataset(variables, attrs=attrs)
    for key, each in inside:
        _add_nodes(
            nodes, f"{path}/{key}" if key not in variables else f"{path}/{key}_", each, known
        )


def _holds_objects(values: list[Any]) -> bool:
    return any(isinstance(each, Mapping | list) for each in values)


def _array(value: Any) -> Any:
    """Return numbers, or lists of equal lengths of them; None for anything else."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return None
    return array if array.dtype.kind in "biuf" and array.size else None


def _labels(content: Any) -> tuple[str, ...]:
    """Return the names of units that a result tells, or the usual ones."""
    waiting, largest = [content], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            named = value.get(
                "node_labels", value if value.get("__class__") == "NodeLabels" else None
            )
            names = named.get("labels") if isinstance(named, Mapping) else named
            if isinstance(names, list) and names and all(isinstance(n, str) for n in names):
                return tuple(names)
            for key in ("mechanism", "purview", "node_indices"):
                units = value.get(key)
                if isinstance(units, list) and units and all(isinstance(u, int) for u in units):
                    largest = max(largest, *units)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return default_labels(min(largest, MASK_UNITS) + 1)


def _concepts(content: Any) -> list[Any] | None:
    """Return the causes and effects of a structure, not of a partitioned one."""
    if isinstance(content, list):
        return content if all(map(_is_concept, content)) else None
    if not isinstance(content, Mapping):
        return None
    for key in (*STRUCTURE_KEYS, *(k for k in content if k not in STRUCTURE_KEYS)):
        if key in content and not str(key).startswith("partitioned"):
            found = _concepts(content[key])
            if found is not None:
                return found
    return None


def _system(content: Mapping[str, Any]) -> xr.Dataset:
    """Return the numbers of the object itself, with the state it is of."""
    numbers = {
        name: float(value)
        for name, value in _attributes(content)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    attrs = {}
    for holder in (content, content.get("subsystem", {}), content.get("system", {})):
        state = holder.get("state") if isinstance(holder, Mapping) else None
        if isinstance(state, list) and all(isinstance(each, int) for each in state):
            attrs = {"state": state_text(state)}
    return xr.Dataset({name: ((), value) for name, value in numbers.items()}, attrs=attrs)


def _distinctions(concepts: list[Any], labels: tuple[str, ...], where: str) -> xr.Dataset:
    """Return mechanisms with phi and purviews, named as those of our own structures are."""
    sides: dict[str, list[Any]] = {"cause": [], "effect": []}
    mechanisms = []
    for number, concept in enumerate(concepts):
        place = f"{where}: concept {number}"
        mechanisms.append(_mask(concept["mechanism"], len(labels), f"{place}: mechanism"))
        for side, found in sides.items():
            value, purview = _analysis(concept.get(side))
            found.append((value, _mask(purview, len(labels), f"{place}: {side}: purview")))
    inside = np.array(mechanisms, np.int64).reshape(-1, 1) >> np.arange(len(labels)) & 1 > 0
    pairs = [[value for value, _ in found] for found in sides.values()]
    phi = np.array(pairs, np.float64).reshape(2, len(concepts))
    own = [concept.get("phi") for concept in concepts]
    least = [value if isinstance(value, int | float) else np.nan for value in own]
    data: dict[str, Any] = {
        "mechanism_units": (("mechanism", "unit"), inside),
        "phi": ("mechanism", np.where(np.isnan(least), phi.min(axis=0), least)),
    }
    for row, (side, found) in enumerate(sides.items()):
        masks = np.array([mask for _, mask in found], np.int64).reshape(-1, 1)
        data[f"phi_{side}"] = ("mechanism", phi[row])
        data[f"purview_{side}"] = (("mechanism", "unit"), masks >> np.arange(len(labels)) & 1 > 0)
    names = text_array(unit_set_names(inside, labels))
    return xr.Dataset(data, {"mechanism": names, "unit": text_array(labels)})


def _analysis(side: Any) -> tuple[float, Any]:
    """Return phi and purview of a cause or effect, which may stand within its analysis."""
    while isinstance(side, Mapping):
        if "phi" in side and "purview" in side:
            phi = side["phi"]
            return (float(phi) if isinstance(phi, int | float) else np.nan), side["purview"]
        side = next((side[key] for key in ANALYSIS_KEYS if key in side), None)
    return np.nan, []


def _mask(units: Any, n: int, where: str) -> int:
    """Return a set of units as a mask."""
    if units is None:
        return 0
    if not isinstance(units, list) or not all(isinstance(u, int) and 0 <= u < n for u in units):
        raise InputError(f"{where}: expected numbers of units below {n}, got {quote(units)}")
    return sum(1 << unit for unit in set(units))
