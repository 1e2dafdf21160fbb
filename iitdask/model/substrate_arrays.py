"""Substrates as one array of numbers and documents that JSON can hold, as stores keep them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.substrate import Substrate
from iitdask.types import Array


def substrate_arrays(substrate: Substrate) -> tuple[Array, dict[str, Any]]:
    """Return the probability tables of all units one after the other, and how to read them.

    Of a ``counted`` unit there is one row for each number of its inputs that are on.
    """
    counted = [unit for unit, f in enumerate(substrate.factors) if isinstance(f, CountingFactor)]
    tables = [
        np.ravel(f.probability_by_count if isinstance(f, CountingFactor) else f.table)
        for f in substrate.factors
    ]
    document: dict[str, Any] = {
        "levels": list(substrate.levels),
        "labels": list(substrate.labels),
        "parents": [list(factor.parents) for factor in substrate.factors],
        "counted": counted,
        "connectivity": np.array(substrate.connectivity).tolist(),
        **({"origin": dict(substrate.attrs)} if substrate.attrs else {}),
    }
    if substrate.values:
        document["values"] = {str(unit): list(names) for unit, names in substrate.values.items()}
    return np.concatenate(tables), document


def substrate_from_arrays(flat: Array, document: Mapping[str, Any]) -> Substrate:
    """Return the substrate that `substrate_arrays` was given."""
    levels, parents = document["levels"], document["parents"]
    counted = set(document.get("counted", ()))
    factors: list[Factor | CountingFactor] = []
    begin = 0
    for unit, inputs in enumerate(parents):
        rows = [len(inputs) + 1] if unit in counted else [levels[j] for j in inputs]
        shape = (*rows, levels[unit])
        end = begin + int(np.prod(shape))
        kind = CountingFactor if unit in counted else Factor
        factors.append(kind(tuple(inputs), flat[begin:end].reshape(shape)))
        begin = end
    edges, origin = np.array(document["connectivity"]), dict(document.get("origin", {}))
    values = {int(unit): tuple(names) for unit, names in document.get("values", {}).items()}
    labels = tuple(document["labels"])
    return Substrate(tuple(factors), edges, tuple(levels), labels, origin, values)
