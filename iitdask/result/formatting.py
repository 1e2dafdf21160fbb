"""Text for people: amounts, partitions, and summaries of IIT 3.0 and 4.0 results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec
import numpy as np

from iitdask.model.examples import SOURCE_KEYS
from iitdask.model.labels import (
    join_labels,
    labels_in_name,
    mask_namer,
    shortened,
    state_text,
    unit_set_names,
)
from iitdask.model.substrate import Substrate
from iitdask.run.checksum import package_version
from iitdask.theory.options import IIT3, IIT4, IIT42026, LATER_OPTIONS, Theory, describe_options

if TYPE_CHECKING:
    import xarray as xr

DISTINCTION_COLUMNS = (
    "mechanism", "phi", "cause", "state", "phi cause", "effect", "state", "phi effect",
)  # fmt: skip
CONCEPT_COLUMNS = ("mechanism", "phi", "cause", "phi cause", "effect", "phi effect")
REPERTOIRE_COLUMNS = ("mechanism", "side", "purview", "repertoire")
DIRECTIONS = ("cause", "effect")
SOURCE_ATTRS = {f"substrate_{key}": key for key in SOURCE_KEYS}
ORIGIN_ATTRS = {"substrate_origin": "observed", **SOURCE_ATTRS}
"""Attributes of a result, and those of a substrate that they repeat; an estimate was `observed`."""
TIE_TEXTS = {
    "yes": "other choices change the structure and Phi",
    "no": "other choices change the structure, but not Phi",
    "unknown": "other choices change the structure; they are too many to tell of Phi",
}
"""What a summary says of ties, by whether they change Phi."""
MAX_SHOWN_STATES = 8  # States of a repertoire
BOUNDED = (("phi_s", "phi"), ("phi_s per severed pair", "normalized_phi"))
MAX_SET_NAME = 60  # Characters in the name of a part of a partition
MAX_DIGITS = 15  # Digits of a number of relations; larger ones are written as powers of two


class Table(NamedTuple):
    """Rows of text under columns."""

    name: str  # What the rows are, in the plural
    columns: tuple[str, ...]  # Names of the columns
    rows: Sequence[tuple[str, ...]]  # One text per column


class Rows(Sequence[tuple[str, ...]]):
    """Rows of text that are made when they are read: there may be a hundred thousand."""

    def __init__(self, count: int, make: Callable[[range], list[tuple[str, ...]]]) -> None:
        self._range, self._make = range(count), make

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, ...] | list[tuple[str, ...]]:
        if isinstance(index, slice):
            return self._make(self._range[index])
        chosen = self._range[index]
        return self._make(range(chosen, chosen + 1))[0]

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self[:])


class Overview(NamedTuple):
    """A summary and the tables that belong to it."""

    summary: list[tuple[str, str]]  # Pairs of name and value
    tables: list[Table]  # Most important first


def text_array(values: Iterable[str]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return texts as an array of objects: Zarr has no settled form for fixed-width unicode."""
    texts = list(values)
    # Without any text, an array of objects would be stored as numbers.
    return np.array(texts, dtype=object if texts else np.dtypes.StringDType())


def theory_attrs(options: Theory) -> dict[str, Any]:
    """Return the theory and its options as attributes of a result; `search` are its counts."""
    fields: dict[str, Any] = msgspec.to_builtins(options)
    names = {"name": "theory", "search": "search_option"}
    return {names.get(key, key): value for key, value in fields.items()}


def target_attrs(substrate: Substrate, options: Theory, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a result; `texts` are those that describe its target."""
    return {
        **theory_attrs(options),
        **texts,
        "substrate_units": join_labels(substrate.labels, substrate.labels),
        "substrate_fingerprint": substrate.fingerprint,
        **origin_attrs([substrate]),
        "iitdask_version": package_version(),
    }


def origin_attrs(substrates: Iterable[Substrate]) -> dict[str, str]:
    """Return attributes that name substrates and values, cite a source, and tell estimates."""
    found: dict[str, set[str]] = {}
    for each in substrates:
        for attr, key in ORIGIN_ATTRS.items():
            if key in each.attrs:
                found.setdefault(attr, set()).add(str(each.attrs[key]))
        if each.values:
            named = (f"{each.labels[i]}: {' '.join(own)}" for i, own in sorted(each.values.items()))
            found.setdefault("value_names", set()).add(", ".join(named))
    return {attr: "; ".join(sorted(texts)) for attr, texts in found.items()}


def source_attrs(source: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes that name what a study or a substrate is about and cite its source."""
    return {attr: str(source[key]) for attr, key in SOURCE_ATTRS.items() if source.get(key)}


def seconds_text(seconds: float) -> str:
    """Return a duration as text: ``350 ms``, ``12 min``, ``3.4 h``; ``unknown`` for nan."""
    if math.isnan(seconds):
        return "unknown"
    if seconds < 0.001:
        return "0 s" if seconds <= 0 else "< 1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


def bytes_text(count: float) -> str:
    """Return a number of bytes as text: ``12 kB``, ``3.4 GB``."""
    for limit, unit, size in ((1e3, "B", 1), (1e6, "kB", 1e3), (1e9, "MB", 1e6)):
        if count < limit:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e9:.3g} GB"


def number_text(value: float) -> str:
    """Return a number as text, six significant digits; ``-`` for nan."""
    if np.isnan(value):
        return "-"
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.5e}"


def partition_text(
    name: Callable[[int], str], mechanism: int, purview: int, kept: Sequence[int], cause: bool
) -> str:
    """Return a disintegrating partition as mechanism/purview parts.

    ``kept`` has per unit the mask of partners it is still connected with: purview units for a unit
    of the mechanism (cause), mechanism units for one of the purview (effect); -1 elsewhere.

    Examples
    --------
    >>> from iitdask.model.labels import mask_namer
    >>> partition_text(mask_namer("ABC"), 0b011, 0b100, [0b100, 0, -1], True)
    'A/C × B/∅'
    """
    blocks: dict[int, int] = {}  # in the order of their first units
    for unit, block in enumerate(kept):
        if block >= 0:
            blocks[block] = blocks.get(block, 0) | 1 << unit
    unconnected = (purview if cause else mechanism) & ~sum(blocks)
    if unconnected:
        blocks[unconnected] = 0
    parts = [
        f"{name(units)}/{name(block)}" if cause else f"{name(block)}/{name(units)}"
        for block, units in blocks.items()
    ]
    return " × ".join(parts)


def known_labels(tree: xr.DataTree) -> tuple[str, ...]:
    """Return the labels of all units of the substrate that a result is about."""
    return labels_in_name(str(tree.attrs.get("substrate_units", "")))


def partition_texts(
    labels: Sequence[str],
    cause: bool,
    sides: tuple[Any, Any, Any],
    known: Iterable[str],
) -> np.ndarray[Any, np.dtype[Any]]:
    """Return partitions as :func:`partition_text`, told apart from the labels `known`.

    The `sides` are mechanisms and purviews, as rows of units, and the partners each unit keeps.
    """
    mechanisms, purviews, kept = sides
    name, weights = mask_namer(labels, known), 1 << np.arange(len(labels), dtype=np.int64)
    rows = zip(mechanisms @ weights, purviews @ weights, kept.tolist(), strict=True)
    return text_array(partition_text(name, int(m), int(p), masks, cause) for m, p, masks in rows)


def severed_text(cut: Any, sources: Any, targets: Any) -> str:
    """Return what a cut, ``(sources, targets)`` bool, severs: sources with the same targets joined.

    Examples
    --------
    >>> severed_text(np.array([[1, 1, 0], [1, 1, 0]], bool), "AB", "CDE")
    'severs AB→CD'
    """
    from_row: dict[bytes, list[int]] = {}
    for source in np.flatnonzero(cut.any(axis=1)).tolist():
        from_row.setdefault(cut[source].tobytes(), []).append(source)
    groups = (
        f"{_set_name(rows, sources)}→{_set_name(np.flatnonzero(cut[rows[0]]), targets)}"
        for rows in from_row.values()
    )
    return f"severs {', '.join(groups)}"


def system_partition_text(cut: Any, labels: Any) -> str:
    """Return a partition of a system by its parts; ``cut``, ``(unit, unit)`` bool, is severed.

    Between two parts at least one direction is severed, and of two units in a part none.

    Examples
    --------
    >>> one_way = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]], bool)
    >>> system_partition_text(one_way, "ABC")
    'A | BC, severs A→BC'
    >>> system_partition_text(one_way | one_way.T, "ABC")
    'A | BC, severs both ways'
    >>> system_partition_text(np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]], bool), "ABC")
    'A | B | C, severs outputs of A and inputs of C'
    """
    own = ~(cut | cut.T) | np.eye(len(cut), dtype=bool)
    parts = [np.flatnonzero(row) for row in np.unique(own, axis=0)[::-1]]
    across = ~own
    names = " | ".join(_set_name(part, labels) for part in parts)
    if len(parts) > 1 and (cut == across).all():
        return f"{names}, severs both ways"
    out_of = [part for part in parts if (cut | own)[part].all()]
    into = [part for part in parts if (cut | own)[:, part].all()]
    severed = np.zeros_like(cut)
    for part in out_of:
        severed[part] = True
    for part in into:
        severed[:, part] = True
    if len(parts) < 3 or ((severed & across) != cut).any():
        return f"{names}, {severed_text(cut, labels, labels)}"
    ends = (("outputs of", out_of), ("inputs of", into))
    listed = ((end, " | ".join(_set_name(part, labels) for part in some)) for end, some in ends)
    texts = (f"{end} {some}" for end, some in listed if some)
    return f"{names}, severs {' and '.join(texts)}"


def _set_name(units: Iterable[int], labels: Any) -> str:
    """Return the name of some of the units with these labels; how many they are if it is long."""
    some = [str(labels[unit]) for unit in units]
    name = join_labels(some, [str(label) for label in labels])
    return name if len(name) <= MAX_SET_NAME else f"{len(some)} units"


def is_iit3(tree: xr.DataTree) -> bool:
    """Return True for results of IIT 3.0 on a system."""
    return "system" in tree.children and tree["system"].attrs.get("theory") == "iit3"


def _range_text(system: xr.Dataset, name: str) -> str:
    low, high = (number_text(float(system[f"{name}_{end}"])) for end in ("low", "high"))
    return f"{low} to {high} bits"


def system_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return the summary of a system analysis or structure as pairs of name and value."""
    system, is_concepts = tree["system"].to_dataset(), is_iit3(tree)
    about = system.attrs
    has_bits = "units" in system["phi"].attrs
    rows = [
        ("theory", _theory_text(about)),
        (
            "candidate system",
            f"{about['units']} in {about['substrate_units']}, state {about['state']}",
        ),
        *_macro_rows(about),
        ("Phi" if is_concepts else "phi_s", _with_unit(float(system["phi"]), not has_bits)),
    ]
    if "phi_low" in system:
        rows += [(f"bounds of {label}", _range_text(system, name)) for label, name in BOUNDED]
    elif "bound" in about:
        rows.append(("bound", str(about["bound"])))
    if about["reason"]:
        why = "why 0" if "phi_low" not in system else "why not computed"
        rows.append((why, str(about["reason"])))
    for side in DIRECTIONS:
        if f"{side}_state" in system and (system[f"{side}_state"].values >= 0).all():
            information = _with_unit(float(system[f"intrinsic_information_{side}"]))
            state = state_text(system[f"{side}_state"].values.tolist())
            rows.append((f"{side} state", f"{state}, {information}"))
    if system["cut"].values.any():
        text = system_partition_text(system["cut"].values, system["unit"].values)
        rows.append(("minimum partition", text))
    if "distinctions" in tree.children:
        rows += _concepts_summary(tree) if is_concepts else _structure_summary(tree)
    return rows


def _theory_text(about: Mapping[Any, Any]) -> str:
    """Return a theory with the background of IIT 3.0, and options that are not the default."""
    theory = str(about["theory"])
    kinds: dict[str, type[Theory]] = {"iit4": IIT4, "iit4-2026": IIT42026, "iit3": IIT3}
    shown = [
        f"{row.name} {about[row.name]}"
        for row in describe_options(kinds[theory])
        if row.name in LATER_OPTIONS - {"search"}
        and about.get(row.name, row.default) != row.default
    ]
    background = [f"background {about['background']}"] if theory == "iit3" else []
    return ", ".join([theory, *background, *shown])


def _macro_rows(about: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """Return the definitions of macro units and their window, if a result is about such units."""
    if "macro_units" not in about:
        return []
    units, window = about["macro_units"], about["window"]
    return [("macro units", " | ".join(units)), ("window", shortened(" ".join(window), 60))]


def _with_unit(value: float, is_distance: bool = False) -> str:
    """Return phi as text; earth mover's distances have no unit."""
    return number_text(value) if is_distance else f"{number_text(value)} bits"


def _concepts_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    total = number_text(tree.attrs["sum_phi_distinctions"])
    return [
        ("concepts", f"{tree.attrs['n_distinctions']}, sum phi {total}"),
        ("conceptual information", number_text(tree.attrs["conceptual_information"])),
    ]


def _structure_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    about, relations = tree.attrs, tree["relations"]
    count, total = str(relations.attrs["count"]), float(relations["sum_phi"])
    shown = count if len(count) <= MAX_DIGITS else f"2^{float(relations['log2_count']):.1f}"
    if not count:
        shown = str(relations.attrs["reason"])
    # Sums beyond the largest float are known by their logarithm.
    sum_text = (
        number_text(total) if np.isfinite(total) else f"2^{float(relations['log2_sum_phi']):.3f}"
    )
    big_phi = float(about["big_phi"])
    total_text = number_text(about["sum_phi_distinctions"])
    rows = [
        ("distinctions", f"{about['n_distinctions']}, sum phi {total_text} bits"),
        ("relations", f"{shown}, sum phi {sum_text} bits"),
        ("Phi", f"{number_text(big_phi) if np.isfinite(big_phi) else sum_text} bits"),
    ]
    if about["tie_sensitive"]:
        rows.append(("ties", TIE_TEXTS[str(about["phi_tie_sensitive"])]))
    return rows


def distinction_rows(tree: xr.DataTree) -> Rows:
    """Return one row per distinction, largest phi first; concepts of IIT 3.0 have no states."""
    data, known = tree["distinctions"].to_dataset(), known_labels(tree)
    descending = np.argsort(-data["phi"].values, kind="stable")

    def make(chosen: range) -> list[tuple[str, ...]]:
        return _distinction_rows(data.isel(mechanism=descending[list(chosen)]), known)

    return Rows(len(descending), make)


def _distinction_rows(data: xr.Dataset, known: Sequence[str]) -> list[tuple[str, ...]]:
    columns: list[Any] = [map(str, data["mechanism"].values), map(number_text, data["phi"].values)]
    for side in DIRECTIONS:
        inside = data[f"purview_{side}"].values
        columns.append(unit_set_names(inside, data["unit"].values, known))
        if f"state_{side}" in data:
            states = zip(data[f"state_{side}"].values, inside, strict=True)
            columns.append([state_text(row[units].tolist()) for row, units in states])
        columns.append(map(number_text, data[f"phi_{side}"].values))
    return list(zip(*columns, strict=True))


def repertoire_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """Return two rows per concept, see ``REPERTOIRE_COLUMNS``; states in little-endian order."""
    data = tree["distinctions"].to_dataset()
    columns: list[Any] = [map(str, data["mechanism"].values)]
    for side in DIRECTIONS:
        columns += [
            unit_set_names(data[f"purview_{side}"].values, data["unit"].values, known_labels(tree)),
            map(_repertoire_text, data[f"repertoire_{side}"].values),
        ]
    return [
        (mechanism, side, *pair)
        for mechanism, *pairs in _by_phi(data, columns)
        for side, pair in zip(DIRECTIONS, (pairs[:2], pairs[2:]), strict=True)
    ]


def _by_phi(data: xr.Dataset, columns: list[Any]) -> list[tuple[str, ...]]:
    """Return the columns as rows, those of largest phi first."""
    rows = list(zip(*columns, strict=True))
    return [rows[k] for k in np.argsort(-data["phi"].values, kind="stable").tolist()]


def _repertoire_text(values: Any) -> str:
    known = values[~np.isnan(values)]
    shown = " ".join(f"{p:.3g}" for p in known[:MAX_SHOWN_STATES])
    return shown + (" ..." if len(known) > MAX_SHOWN_STATES else "")


def as_json(tree: xr.DataTree) -> dict[str, Any]:
    """Return a result as lists, numbers and text; numbers that are not finite become None."""
    out: dict[str, Any] = {"attrs": tree.attrs}
    if tree.dataset.variables:
        out["variables"] = _json_variables(tree.to_dataset())
    for name, node in tree.children.items():
        out[name] = {"attrs": node.attrs, "variables": _json_variables(node.to_dataset())}
    text = msgspec.json.encode(out, enc_hook=lambda value: value.tolist())
    plain: dict[str, Any] = msgspec.json.decode(text)
    return plain


def _json_variables(data: xr.Dataset) -> dict[str, Any]:
    return {
        str(key): {"dims": list(map(str, value.dims)), "values": value.values}
        for key, value in data.variables.items()
    }
