"""The dataset of a system analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.model.labels import decode_state
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.system_analysis import SystemAnalysis
from iitdask.theory.variables import make_dataset

__all__ = ["system_dataset"]

Array = NDArray[Any]


def system_dataset(system: CandidateSystem, found: SystemAnalysis) -> xr.Dataset:
    """Return the dataset of a system analysis.

    Parameters
    ----------
    system : CandidateSystem
        What was analysed.
    found : SystemAnalysis
        Its outcome.

    Returns
    -------
    Dataset
        Phi and the minimum partition along ``unit``, ``source`` and ``target``, without labels.
    """
    n = system.n
    severed = np.zeros(n, np.int64) if found.severed is None else found.severed
    cut = (severed[None, :] >> np.arange(n)[:, None] & 1).astype(bool)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), found.phi),
        "normalized_phi": ((), found.normalized),
        "phi_cause": ((), found.phi_sides[0]),
        "phi_effect": ((), found.phi_sides[1]),
        "intrinsic_information_cause": ((), found.information[0]),
        "intrinsic_information_effect": ((), found.information[1]),
        "n_tied_partitions": ((), int(found.tied_partitions)),
        "n_tied_states": ((), len(found.tied_state_pairs)),
        "cause_state": (("unit",), _unit_states(system, found, 0)),
        "effect_state": (("unit",), _unit_states(system, found, 1)),
        "cut": (("source", "target"), cut),
        "part": (("unit",), _part_numbers(cut)),
    }
    if found.differentiation is not None:
        values["differentiation_cause"] = ((), found.differentiation[0])
        values["differentiation_effect"] = ((), found.differentiation[1])
    return make_dataset(values, {"reason": found.reason.text, "reasons": found.reason.names})


def _unit_states(system: CandidateSystem, found: SystemAnalysis, side: int) -> Array:
    if found.states is None:
        return np.full(system.n, -1)
    return np.array(decode_state(found.states[side], system.levels))


def _part_numbers(cut: Array) -> Array:
    """Number the parts: between two parts at least one direction is always severed."""
    part = np.full(len(cut), -1)
    for i in range(len(cut)):
        if part[i] < 0:
            part[(part < 0) & ~cut[i] & ~cut[:, i]] = part.max() + 1
            part[i] = part.max() if part[i] < 0 else part[i]
    return part
