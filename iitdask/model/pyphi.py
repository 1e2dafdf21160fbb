"""Networks of PyPhi 1.x, as objects and in the JSON its ``jsonify`` module writes.

A network is a state-by-node table ``tpm[x_0][x_1]...[unit]`` of P(unit on), a connectivity
matrix ``cm[from][to]`` and ``node_labels``: https://pyphi.readthedocs.io, "network" and "jsonify".
A substrate of version 2 has ``factors``, one table ``[x_0, x_1, ..., value]`` per unit, or
``joint_tpm()``, ``[x_0, x_1, ..., unit, value]``; itself or as its ``tpm``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.model.labels import first_names, shortened

PYPHI_VERSION = "1.2.0"
NETWORK_CLASSES = ("Network", "Substrate")  # Names of the class in versions 1 and 2
SYNONYMS = {"connectivity": ("cm", "connectivity_matrix"), "labels": ("node_labels",)}
"""Names of the arguments of ``Substrate.from_tpm``, and what PyPhi calls the same."""
MAX_WRITTEN_UNITS = 20  # Of a whole table
PARENT_NAMES = ("network", "substrate")  # What a system of PyPhi calls its network


def is_pyphi_json(content: Any) -> bool:
    """Whether parsed JSON is that of an object of PyPhi."""
    return isinstance(content, Mapping) and "__class__" in content


def is_network(content: Any) -> bool:
    """Whether parsed JSON is that of a network."""
    return is_pyphi_json(content) and content["__class__"] in NETWORK_CLASSES


def parse_network(given: Any, where: str) -> dict[str, Any]:
    """Return the arguments of ``Substrate.from_tpm`` that a network gives."""
    is_json = isinstance(given, Mapping)
    parts = dict(given) if is_json else _attributes(given)
    parent = next((name for name in PARENT_NAMES if name in parts), None)
    is_other = is_json and is_pyphi_json(given) and not is_network(given)
    if is_other or (not is_json and parent and "state" in parts):
        what = "the JSON of a PyPhi Network" if is_json else "a PyPhi Network"
        kind = shortened(str(parts.get("__class__", type(given).__name__)), 60)
        hint = f"; its {parent!r} is one" if parent else ""
        raise SubstrateError(f"{where}: expected {what}, got a {kind}{hint}")
    sources = [parts.get("factored_tpm"), parts.get("tpm"), None if is_json else given]
    tables = (_table(source) for source in sources if source is not None)
    tpm = next((table for table in tables if table is not None), None)
    if tpm is None:
        raise SubstrateError(
            f"{where}: expected a PyPhi network with tpm and cm, got {type(given).__name__}"
        )
    known = {name for names in SYNONYMS.items() for name in (names[0], *names[1])}
    content = {name: value for name, value in parts.items() if name in known}
    return {"connectivity": None, "labels": None, **tpm_arguments({"tpm": tpm, **content}, where)}


def _attributes(given: Any) -> dict[str, Any]:
    names = ("tpm", "factored_tpm", "cm", "node_labels", "state", *PARENT_NAMES)
    return {name: getattr(given, name) for name in names if hasattr(given, name)}


def _table(source: Any) -> Any:
    """Return a table of probabilities, whole or one per unit; None if there is none."""
    factors = source.get("factors") if isinstance(source, Mapping) else None
    factors = getattr(source, "factors", factors)
    if factors is not None:
        return [np.asarray(factor, np.float64) for factor in factors]
    if callable(getattr(source, "joint_tpm", None)):
        return np.asarray(source.joint_tpm())
    if isinstance(source, list | tuple | np.ndarray) or hasattr(source, "columns"):
        return source
    array = np.asarray(source)
    return array if array.ndim else None


def tpm_arguments(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of ``Substrate.from_tpm`` in a mapping, under their own names.

    Examples
    --------
    >>> sorted(tpm_arguments({"tpm": [[1], [0]], "cm": [[1]]}, "given"))
    ['connectivity', 'tpm']
    """
    content = with_standard_names(content, where)
    if not {"tpm"} <= content.keys() <= {"tpm", *SYNONYMS}:
        got = first_names([*map(str, content)]) or "nothing"
        raise SubstrateError(
            f"{where}: expected tpm and optionally connectivity and labels, got {got}"
        )
    labels = content.get("labels")
    if isinstance(labels, Mapping):  # as the JSON of PyPhi has them
        labels = labels.get("labels", ())
    if labels is not None and not isinstance(labels, str | set | frozenset):
        try:
            labels = [str(label) for label in np.ravel(getattr(labels, "labels", labels))]
        except ValueError:  # lists of unequal lengths
            raise SubstrateError(
                f"{where}: labels: expected one name per unit, got {quote(labels)}"
            ) from None
    return content | ({} if labels is None else {"labels": labels})


def with_standard_names(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a mapping whose connectivity and labels have these names, not those of PyPhi."""
    out = dict(content)
    for name, others in SYNONYMS.items():
        present = [each for each in (name, *others) if each in out]
        if len(present) > 1:
            raise SubstrateError(f"{where}: {present[0]} and {present[1]} say the same; give one")
        if present:
            out[name] = out.pop(present[0])
    return out


def state_by_node(factors: Sequence[Any], levels: Sequence[int]) -> Any:
    """Return ``(2, ..., 2, N)`` P(unit on) of at most 20 units of two values each."""
    n = len(levels)
    if set(levels) != {2} or n > MAX_WRITTEN_UNITS:
        shown = f"{n} units of up to {max(levels)} values"
        raise SubstrateError(
            f"to_pyphi: expected at most {MAX_WRITTEN_UNITS} binary units, got {shown}"
        )
    tpm = np.empty((*levels, n))
    for i, factor in enumerate(factors):
        shape = [2 if j in factor.parents else 1 for j in range(n)]
        tpm[..., i] = factor.table[..., 1].reshape(shape)
    return tpm


def network_json(tpm: Any, connectivity: Any, labels: Any) -> dict[str, Any]:
    """Write a network of binary units as PyPhi 1.x reads it.

    tpm : (2, ..., 2, N) P(unit on); plain lists, numbers and text come out.
    """
    named = [str(label) for label in labels]
    numbers = list(range(len(named)))
    version = {"__version__": PYPHI_VERSION}
    names = {"labels": named, "node_indices": numbers, "__class__": "NodeLabels"}
    return {
        "tpm": np.asarray(tpm, float).tolist(),
        "cm": np.asarray(connectivity, int).tolist(),
        "size": len(named),
        "node_labels": {**names, **version, "__id__": 1},
        "__class__": "Network",
        **version,
        "__id__": 0,
    }
