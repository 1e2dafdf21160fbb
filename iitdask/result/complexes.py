"""Complexes of a network: labelling and summaries."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.model.candidate_set import CandidateSet
from iitdask.result.formatting import state_text, text_array, units_text
from iitdask.theory.complexes.recipe import EXCLUSION_REASONS, EXCLUSION_STATUS
from iitdask.theory.options import Theory

__all__ = [
    "complexes_summary",
    "complexes_table",
    "label_complexes",
]


def label_complexes(
    tree: xr.DataTree, pool: CandidateSet, options: Theory, about: dict[str, Any]
) -> xr.DataTree:
    """Name units, complexes, candidates and reasons.

    Parameters
    ----------
    tree
        What the recipe returned; its units are numbers.
    pool
        What it was computed for.
    options
        The theory and the choices made about it.
    about
        More attributes.
    """
    data = tree["complexes"].to_dataset()
    chosen = msgspec.to_builtins(options)
    fates = [EXCLUSION_STATUS[int(code)] for code in data["fate"].values]
    data = data.assign_coords(
        unit=("unit", text_array(pool.labels)),
        complex=("complex", _unit_set_names(data["units"].values, pool)),
        candidate=("candidate", _unit_set_names(data["candidate_units"].values, pool)),
        reason=("reason", text_array(EXCLUSION_REASONS)),
        meaning=("reason", text_array(EXCLUSION_REASONS.values())),
    )
    data["fate"] = ("candidate", text_array(fates), data["fate"].attrs)
    data = data.assign_attrs(
        {
            "theory": chosen.pop("name"),
            **chosen,
            "state": state_text(pool.state),
            "substrate_units": units_text(pool.labels),
            "substrate_fingerprint": pool.substrate.fingerprint,
            **about,
        }
    )
    return xr.DataTree.from_dict({"/complexes": data})


def _unit_set_names(inside: Any, pool: CandidateSet) -> Any:
    return text_array(units_text([pool.labels[i] for i in np.flatnonzero(row)]) for row in inside)


def complexes_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about a search, as names and values."""
    data = tree["complexes"].to_dataset()
    about = data.attrs
    shown = about["state"] if len(about["state"]) <= 40 else about["state"][:37] + "..."
    rows = [
        ("theory", str(about["theory"])),
        ("searched", f"{about['searched']}, state {shown}"),
        ("evaluated", f"{int(data['candidates_evaluated'])} candidate systems"),
    ]
    meanings = dict(zip(data["reason"].values, data["meaning"].values, strict=True))
    rows += [
        ("excluded", f"{_count_text(number)}: {meanings[name]}")
        for name, number in about["excluded_by"].items()
    ]
    if not about["exhaustive"]:
        left = _count_text(about["candidates_not_searched"])
        rows.append(("not searched", f"{left} candidate systems; the search was not exhaustive"))
    rows.append(("complexes", str(data.sizes["complex"])))
    return rows


def _count_text(number: str) -> str:
    return number if len(number) <= 12 else f"about 10^{len(number) - 1}"


def complexes_table(tree: xr.DataTree) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns, and one row per complex in order of acceptance."""
    data = tree["complexes"].to_dataset()
    decided = bool(np.isfinite(data["big_phi"].values).any())
    name = "Phi" if data.attrs["theory"] == "iit3" else "phi_s"
    columns = ("complex", name, "Phi") if decided else ("complex", name)
    rows = []
    for k, label in enumerate(data["complex"].values):
        row = [str(label), f"{float(data['phi'][k]):.6g}"]
        if decided:
            value = float(data["big_phi"][k])
            row.append(f"{value:.6g}" if np.isfinite(value) else "-")
        rows.append(tuple(row))
    return columns, rows
