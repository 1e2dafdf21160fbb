"""Networks of PyPhi 1.x, as objects and in the JSON its ``jsonify`` module writes.

A network is a state-by-node table ``tpm[x_0][x_1]...[unit]`` of P(unit on), a connectivity
matrix ``cm[from][to]`` and ``node_labels``: https://pyphi.readthedocs.io, "network" and "jsonify".
Substrates of version 2 have the same attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError

PYPHI_VERSION = "1.2.0"


def is_network(content: Any) -> bool:
    """Whether parsed JSON is that of a network."""
    return isinstance(content, Mapping) and content.get("__class__") == "Network"


def parse_network(given: Any, where: str) -> dict[str, Any]:
    """Return the arguments of ``Substrate.from_tpm`` that a network gives."""
    if isinstance(given, Mapping):
        if given.get("__class__", "Network") != "Network":
            kind = given["__class__"]
            raise SubstrateError(f"{where}: expected the JSON of a PyPhi Network, got a {kind}")
        found = dict(given)
    else:
        names = ("tpm", "cm", "node_labels")
        found = {name: getattr(given, name) for name in names if hasattr(given, name)}
    if "tpm" not in found:
        raise SubstrateError(
            f"{where}: expected a PyPhi network with tpm and cm, got {type(given).__name__}"
        )
    cm = found.get("cm", found.get("connectivity_matrix"))
    tpm = found["tpm"]
    if not isinstance(tpm, list | tuple):
        tpm = np.asarray(tpm)
    labels = found.get("node_labels")
    if isinstance(labels, Mapping):
        labels = labels.get("labels", ())
    if labels is not None:
        labels = [str(label) for label in getattr(labels, "labels", labels)]
    return {"tpm": tpm, "connectivity": cm, "labels": labels}


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
