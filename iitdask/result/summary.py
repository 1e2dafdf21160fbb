"""Short views of results: what a table or a line of text shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from iitdask.result.labels import state_text, units_text

__all__ = ["as_json", "distinction_rows", "system_rows"]

COLUMNS = ("mechanism", "phi", "cause", "state", "phi cause", "effect", "state", "phi effect")


def number(value: float) -> str:
    """Write a number of bits for people."""
    if np.isnan(value):
        return "-"
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.5e}"


def system_rows(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about the system, as names and values."""
    system = tree["system"].to_dataset()
    about = system.attrs
    rows = [
        ("theory", str(about["theory"])),
        (
            "candidate system",
            f"{about['units']} in {about['substrate_units']}, state {about['state']}",
        ),
        ("phi_s", f"{number(float(system['phi']))} bits"),
    ]
    if about["reason"]:
        rows.append(("why 0", str(about["reason"])))
    for side in ("cause", "effect"):
        values = system[f"{side}_state"].values
        if (values >= 0).all():
            ii = float(system[f"intrinsic_information_{side}"])
            rows.append((f"{side} state", f"{state_text(values.tolist())}, {number(ii)} bits"))
    if system["cut"].values.any():
        rows.append(("minimum partition", severed_text(system)))
    if "distinctions" in tree.children:
        rows += _structure_rows(tree)
    return rows


def _structure_rows(tree: xr.DataTree) -> list[tuple[str, str]]:
    about, relations = tree.attrs, tree["relations"]
    count = str(relations.attrs["count"])
    shown = count if len(count) <= 15 else f"2^{float(relations['log2_count']):.1f}"
    rows = [
        (
            "distinctions",
            f"{about['n_distinctions']}, sum phi {number(about['sum_phi_distinctions'])} bits",
        ),
        ("relations", f"{shown}, sum phi {_sum_text(tree)} bits"),
        ("Phi", f"{_big_phi_text(tree)} bits"),
    ]
    if about["tie_sensitive"]:
        rows.append(
            (
                "ties",
                f"other choices change the structure; Phi: {about['phi_tie_sensitive']}",
            )
        )
    return rows


def _sum_text(tree: xr.DataTree) -> str:
    value = float(tree["relations"]["sum_phi"])
    return (
        number(value) if np.isfinite(value) else f"2^{float(tree['relations']['log2_sum_phi']):.3f}"
    )


def _big_phi_text(tree: xr.DataTree) -> str:
    value = float(tree.attrs["big_phi"])
    return number(value) if np.isfinite(value) else _sum_text(tree)


def severed_text(system: xr.Dataset, most: int = 12) -> str:
    """Name the connections a partition severs."""
    cut = system["cut"].values
    labels = [str(x) for x in system["unit"].values]
    edges = [f"{labels[a]}→{labels[b]}" for a, b in zip(*np.nonzero(cut), strict=True)]
    shown = " ".join(edges[:most])
    return f"severs {shown}" + (f" and {len(edges) - most} more" if len(edges) > most else "")


def distinction_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """One row per distinction, see ``COLUMNS``."""
    data = tree["distinctions"].to_dataset()
    labels = np.array([str(x) for x in data["unit"].values], dtype=object)
    rows = []
    for k in range(data.sizes["mechanism"]):
        one = data.isel(mechanism=k)
        row = [str(one["mechanism"].values), number(float(one["phi"]))]
        for side in ("cause", "effect"):
            inside = one[f"purview_{side}"].values
            row += [
                units_text(labels[inside].tolist()),
                state_text(one[f"state_{side}"].values[inside]),
                number(float(one[f"phi_{side}"])),
            ]
        rows.append(tuple(row))
    return rows


def as_json(tree: xr.DataTree) -> dict[str, Any]:
    """Return a result as plain lists, numbers and text; what is not a number becomes None."""
    out: dict[str, Any] = {"attrs": _plain(dict(tree.attrs))}
    if tree.dataset.variables:
        out["variables"] = _variables(tree.to_dataset())
    for name, node in tree.children.items():
        data = node.to_dataset()
        out[name] = {
            "attrs": _plain(dict(data.attrs)),
            "variables": _variables(data),
        }
    return out


def _variables(data: xr.Dataset) -> dict[str, Any]:
    return {
        str(key): {"dims": list(map(str, value.dims)), "values": _plain(value.values)}
        for key, value in data.variables.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
