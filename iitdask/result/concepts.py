"""Short views of IIT 3.0 results: what a table or a line of text shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from iitdask.result.labels import units_text
from iitdask.result.summary import number, severed_text

__all__ = [
    "COLUMNS",
    "REPERTOIRE_COLUMNS",
    "concept_rows",
    "is_conceptual",
    "repertoire_rows",
    "system_rows",
]

COLUMNS = ("mechanism", "phi", "cause", "phi cause", "effect", "phi effect")
REPERTOIRE_COLUMNS = ("mechanism", "side", "purview", "repertoire")
MOST_STATES = 8


def is_conceptual(tree: xr.DataTree) -> bool:
    """Whether a result is one of IIT 3.0."""
    return "system" in tree.children and tree["system"].attrs.get("theory") == "iit3"


def system_rows(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about the system, as names and values."""
    system = tree["system"].to_dataset()
    about = system.attrs
    where = f"{about['units']} in {about['substrate_units']}, state {about['state']}"
    rows = [
        ("theory", f"{about['theory']}, background {about['background']}"),
        ("candidate system", where),
        ("Phi", number(float(system["phi"]))),
    ]
    if about["reason"]:
        rows.append(("why 0", str(about["reason"])))
    if system["cut"].values.any():
        rows.append(("minimum partition", severed_text(system)))
    if "distinctions" in tree.children:
        total = number(tree.attrs["sum_phi_distinctions"])
        rows += [
            ("concepts", f"{tree.attrs['n_distinctions']}, sum phi {total}"),
            ("conceptual information", number(tree.attrs["conceptual_information"])),
        ]
    return rows


def concept_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """One row per concept, see ``COLUMNS``."""
    rows = []
    for one in _concepts(tree):
        row = [str(one["mechanism"].values), number(float(one["phi"]))]
        for side in ("cause", "effect"):
            row += [_purview(one, side), number(float(one[f"phi_{side}"]))]
        rows.append(tuple(row))
    return rows


def repertoire_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """Two rows per concept, see ``REPERTOIRE_COLUMNS``; states in little-endian order."""
    return [
        (
            str(one["mechanism"].values),
            side,
            _purview(one, side),
            _repertoire_text(one[f"repertoire_{side}"].values),
        )
        for one in _concepts(tree)
        for side in ("cause", "effect")
    ]


def _concepts(tree: xr.DataTree) -> list[xr.Dataset]:
    data = tree["distinctions"].to_dataset()
    order = np.argsort(-data["phi"].values, kind="stable")
    return [data.isel(mechanism=k) for k in order.tolist()]


def _purview(one: xr.Dataset, side: str) -> str:
    inside = one[f"purview_{side}"].values
    return units_text([str(x) for x in one["unit"].values[inside]])


def _repertoire_text(values: Any) -> str:
    known = values[~np.isnan(values)]
    shown = " ".join(f"{p:.3g}" for p in known[:MOST_STATES])
    return shown + (" ..." if len(known) > MOST_STATES else "")
