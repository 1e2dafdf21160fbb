"""Text for people: names of unit sets, states, partitions, and summaries of IIT 3.0 and 4.0 results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

__all__ = [
    "CONCEPT_COLUMNS",
    "REPERTOIRE_COLUMNS",
    "as_json",
    "concept_rows",
    "distinction_rows",
    "iit3_summary",
    "iit4_summary",
    "is_iit3",
    "mask_namer",
    "partition_text",
    "repertoire_rows",
    "state_text",
    "text_array",
    "units_of_mask",
    "units_text",
]

EMPTY_SET = "\N{EMPTY SET}"


def text_array(values: Iterable[str]) -> np.ndarray[Any, np.dtype[Any]]:
    """Text as objects: Zarr has no settled form for fixed-width unicode."""
    given = list(values)
    # Of no text at all, an array of objects would be kept as numbers.
    return np.array(given, dtype=object if given else np.dtypes.StringDType())


def units_of_mask(mask: int) -> list[int]:
    """Units of a mask, ascending."""
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def units_text(labels: Sequence[str]) -> str:
    """Write a set of units: ``AB``, or ``T0R0,T1R1`` when names are long; empty is an empty set.

    Examples
    --------
    >>> units_text(["A", "B"]), units_text(["T0", "T1"])
    ('AB', 'T0,T1')
    """
    if not labels:
        return EMPTY_SET
    return ("" if all(len(label) == 1 for label in labels) else ",").join(labels)


def state_text(values: Sequence[int]) -> str:
    """Write a state, first unit first: ``100``, or ``1,10,0`` when a value needs two digits.

    Examples
    --------
    >>> state_text([1, 0, 0]), state_text([1, 10])
    ('100', '1,10')
    """
    return ("" if all(0 <= v < 10 for v in values) else ",").join(str(int(v)) for v in values)


def mask_namer(labels: Sequence[str]) -> Callable[[int], str]:
    """Return what writes a mask as ``units_text`` does, each mask once.

    Examples
    --------
    >>> namer("ABC")(0b101)
    'AC'
    """
    if all(len(label) == 1 for label in labels):
        return cache(lambda mask: "".join([labels[i] for i in units_of_mask(mask)]) or EMPTY_SET)
    return cache(lambda mask: units_text([labels[i] for i in units_of_mask(mask)]))


def partition_text(
    name: Callable[[int], str], mechanism: int, purview: int, kept: Sequence[int], cause: bool
) -> str:
    """Write a disintegrating partition as mechanism/purview parts.

    Parameters
    ----------
    name
        Writes a mask of the system's units, see ``mask_namer``.
    mechanism, purview
        Masks.
    kept
        Per unit, the partners it still sees: purview units for a mechanism's unit (cause),
        mechanism units for a purview's unit (effect); -1 elsewhere.
    cause
        Which of the two.

    Examples
    --------
    >>> partition_text(namer("ABC"), 0b011, 0b100, [0b100, 0, -1], True)
    'A/C × B/∅'
    """
    blocks: dict[int, int] = {}  # in the order of their first units
    for unit, block in enumerate(kept):
        if block >= 0:
            blocks[block] = blocks.get(block, 0) | 1 << unit
    left = (purview if cause else mechanism) & ~sum(blocks)
    if left:  # what no unit keeps
        blocks[left] = 0
    parts = [
        f"{name(own)}/{name(block)}" if cause else f"{name(block)}/{name(own)}"
        for block, own in blocks.items()
    ]
    return " × ".join(parts)


DISTINCTION_COLUMNS = (
    "mechanism",
    "phi",
    "cause",
    "state",
    "phi cause",
    "effect",
    "state",
    "phi effect",
)


def number_text(value: float) -> str:
    """Write a number of bits for people."""
    if np.isnan(value):
        return "-"
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.5e}"


def iit4_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about the system, as names and values."""
    system = tree["system"].to_dataset()
    about = system.attrs
    rows = [
        ("theory", str(about["theory"])),
        (
            "candidate system",
            f"{about['units']} in {about['substrate_units']}, state {about['state']}",
        ),
        ("phi_s", f"{number_text(float(system['phi']))} bits"),
    ]
    if about["reason"]:
        rows.append(("why 0", str(about["reason"])))
    for side in ("cause", "effect"):
        values = system[f"{side}_state"].values
        if (values >= 0).all():
            ii = float(system[f"intrinsic_information_{side}"])
            rows.append((f"{side} state", f"{state_text(values.tolist())}, {number_text(ii)} bits"))
    if system["cut"].values.any():
        rows.append(("minimum partition", severed_text(system)))
    if "distinctions" in tree.children:
        rows += _structure_summary(tree)
    return rows


def _structure_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    about, relations = tree.attrs, tree["relations"]
    count = str(relations.attrs["count"])
    shown = count if len(count) <= 15 else f"2^{float(relations['log2_count']):.1f}"
    rows = [
        (
            "distinctions",
            f"{about['n_distinctions']}, sum phi {number_text(about['sum_phi_distinctions'])} bits",
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
        number_text(value)
        if np.isfinite(value)
        else f"2^{float(tree['relations']['log2_sum_phi']):.3f}"
    )


def _big_phi_text(tree: xr.DataTree) -> str:
    value = float(tree.attrs["big_phi"])
    return number_text(value) if np.isfinite(value) else _sum_text(tree)


def severed_text(system: xr.Dataset, most: int = 12) -> str:
    """Name the connections a partition severs."""
    cut = system["cut"].values
    labels = [str(x) for x in system["unit"].values]
    edges = [f"{labels[a]}→{labels[b]}" for a, b in zip(*np.nonzero(cut), strict=True)]
    shown = " ".join(edges[:most])
    return f"severs {shown}" + (f" and {len(edges) - most} more" if len(edges) > most else "")


def distinction_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """One row per distinction, see ``DISTINCTION_COLUMNS``."""
    data = tree["distinctions"].to_dataset()
    labels = np.array([str(x) for x in data["unit"].values], dtype=object)
    rows = []
    for k in range(data.sizes["mechanism"]):
        one = data.isel(mechanism=k)
        row = [str(one["mechanism"].values), number_text(float(one["phi"]))]
        for side in ("cause", "effect"):
            inside = one[f"purview_{side}"].values
            row += [
                units_text(labels[inside].tolist()),
                state_text(one[f"state_{side}"].values[inside]),
                number_text(float(one[f"phi_{side}"])),
            ]
        rows.append(tuple(row))
    return rows


def as_json(tree: xr.DataTree) -> dict[str, Any]:
    """Return a result as plain lists, numbers and text; what is not a number becomes None."""
    out: dict[str, Any] = {"attrs": _json_value(dict(tree.attrs))}
    if tree.dataset.variables:
        out["variables"] = _json_variables(tree.to_dataset())
    for name, node in tree.children.items():
        data = node.to_dataset()
        out[name] = {
            "attrs": _json_value(dict(data.attrs)),
            "variables": _json_variables(data),
        }
    return out


def _json_variables(data: xr.Dataset) -> dict[str, Any]:
    return {
        str(key): {"dims": list(map(str, value.dims)), "values": _json_value(value.values)}
        for key, value in data.variables.items()
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _json_value(value.tolist())
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    if isinstance(value, np.generic):
        return _json_value(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


CONCEPT_COLUMNS = ("mechanism", "phi", "cause", "phi cause", "effect", "phi effect")
REPERTOIRE_COLUMNS = ("mechanism", "side", "purview", "repertoire")
MAX_SHOWN_STATES = 8


def is_iit3(tree: xr.DataTree) -> bool:
    """Whether a result is one of IIT 3.0."""
    return "system" in tree.children and tree["system"].attrs.get("theory") == "iit3"


def iit3_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about the system, as names and values."""
    system = tree["system"].to_dataset()
    about = system.attrs
    where = f"{about['units']} in {about['substrate_units']}, state {about['state']}"
    rows = [
        ("theory", f"{about['theory']}, background {about['background']}"),
        ("candidate system", where),
        ("Phi", number_text(float(system["phi"]))),
    ]
    if about["reason"]:
        rows.append(("why 0", str(about["reason"])))
    if system["cut"].values.any():
        rows.append(("minimum partition", severed_text(system)))
    if "distinctions" in tree.children:
        total = number_text(tree.attrs["sum_phi_distinctions"])
        rows += [
            ("concepts", f"{tree.attrs['n_distinctions']}, sum phi {total}"),
            ("conceptual information", number_text(tree.attrs["conceptual_information"])),
        ]
    return rows


def concept_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """One row per concept, see ``CONCEPT_COLUMNS``."""
    rows = []
    for one in _concepts_by_phi(tree):
        row = [str(one["mechanism"].values), number_text(float(one["phi"]))]
        for side in ("cause", "effect"):
            row += [_purview_text(one, side), number_text(float(one[f"phi_{side}"]))]
        rows.append(tuple(row))
    return rows


def repertoire_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """Two rows per concept, see ``REPERTOIRE_COLUMNS``; states in little-endian order."""
    return [
        (
            str(one["mechanism"].values),
            side,
            _purview_text(one, side),
            _repertoire_text(one[f"repertoire_{side}"].values),
        )
        for one in _concepts_by_phi(tree)
        for side in ("cause", "effect")
    ]


def _concepts_by_phi(tree: xr.DataTree) -> list[xr.Dataset]:
    data = tree["distinctions"].to_dataset()
    order = np.argsort(-data["phi"].values, kind="stable")
    return [data.isel(mechanism=k) for k in order.tolist()]


def _purview_text(one: xr.Dataset, side: str) -> str:
    inside = one[f"purview_{side}"].values
    return units_text([str(x) for x in one["unit"].values[inside]])


def _repertoire_text(values: Any) -> str:
    known = values[~np.isnan(values)]
    shown = " ".join(f"{p:.3g}" for p in known[:MAX_SHOWN_STATES])
    return shown + (" ..." if len(known) > MAX_SHOWN_STATES else "")
