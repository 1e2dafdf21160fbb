"""Complexes of a network: labelling and summaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.candidate_set import CandidateSet
from iitdask.model.labels import join_labels, state_text, unit_set_names
from iitdask.result.formatting import text_array, theory_attrs
from iitdask.theory.complexes.recipe import EXCLUSION_REASONS, EXCLUSION_STATUS
from iitdask.theory.options import Theory

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


def complexes_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return the summary of a search as pairs of name and value."""
    data = tree["complexes"].to_dataset()
    about, state = data.attrs, data.attrs["state"]
    if len(state) > MAX_STATE_CHARACTERS:
        state = state[: MAX_STATE_CHARACTERS - 3] + "..."
    rows = [
        ("theory", str(about["theory"])),
        ("searched", f"{about['searched']}, state {state}"),
        ("evaluated", f"{int(data['candidates_evaluated'])} candidate systems"),
    ]
    meanings = dict(zip(data["reason"].values, data["meaning"].values, strict=True))
    rows += [
        ("excluded", f"{_count_text(number)}: {meanings[name]}")
        for name, number in about["excluded_by"].items()
    ]
    if not about["exhaustive"]:
        number = _count_text(about["candidates_not_searched"])
        rows.append(("not searched", f"{number} candidate systems; the search was not exhaustive"))
    rows.append(("complexes", str(data.sizes["complex"])))
    return rows


def _count_text(number: str) -> str:
    return number if len(number) <= MAX_DIGITS else f"about 10^{len(number) - 1}"


def complexes_table(tree: xr.DataTree) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns, and one row per complex in order of acceptance."""
    data = tree["complexes"].to_dataset()
    name = "Phi" if data.attrs["theory"] == "iit3" else "phi_s"
    phi, big_phi = data["phi"].values, data["big_phi"].values
    has_big_phi = bool(np.isfinite(big_phi).any())
    columns: tuple[str, ...] = ("complex", name, "Phi")
    rows: list[tuple[str, ...]] = [
        (str(label), f"{value:.6g}", f"{big:.6g}" if np.isfinite(big) else "-")
        for label, value, big in zip(data["complex"].values, phi, big_phi, strict=True)
    ]
    return (columns, rows) if has_big_phi else (columns[:2], [row[:2] for row in rows])
