"""Published systems by name, such as ``iit4-2023-fig6a``, and substrates written out in a study.

An example is a study in ``published/NAME.json``. Its probabilities are the published ones, or
gates that give them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

import msgspec

from iitdask.errors import IdleEdgesWarning, SubstrateError, quote
from iitdask.model.checkpoints import WEIGHT_KEYS
from iitdask.model.labels import entries_of, parse_labels, parse_units, suggestion
from iitdask.model.pyphi import with_standard_names
from iitdask.model.substrate import Substrate

__all__ = ["SUBSTRATE_KEYS", "load", "names", "spec", "state"]

SUBSTRATE_KEYS = ("example", "tpm", "factors", "units", "weights", "series")  # Exactly one
OPTIONAL_KEYS = ("connectivity", "labels")  # Keys that may stand beside it
SERIES_KEYS = ("lag", "levels", "parents", "prior")
KIND_KEYS = {
    "weights": ("labels", *WEIGHT_KEYS),
    "series": ("labels", *SERIES_KEYS),
}  # The same for kinds that have others

SOURCE_KEYS = ("name", "title", "citation")  # What a substrate knows of the study it is from
PUBLISHED = resources.files("iitdask.model") / "published"  # Folder of the examples


def substrate_kind(block: object, where: str) -> str:
    """Return the key that says how a substrate block describes its substrate."""
    expected = ", ".join(SUBSTRATE_KEYS)
    if not isinstance(block, Mapping):
        raise SubstrateError(f"{where}: expected a mapping with one of {expected}")
    kinds = [key for key in SUBSTRATE_KEYS if key in block]
    known = (*SUBSTRATE_KEYS, *KIND_KEYS.get(kinds[0] if kinds else "", OPTIONAL_KEYS))
    for key in block:
        if key not in known:
            allowed = ", ".join(known)
            raise SubstrateError(f"{where}: unknown key {quote(key)}; allowed: {allowed}")
    if len(kinds) != 1:
        got = ", ".join(kinds) or "none"
        raise SubstrateError(f"{where}: expected exactly one of {expected}, got {got}")
    return kinds[0]


def inline_substrate(block: Mapping[str, Any], where: str) -> Substrate:
    """Return the substrate of a block whose ``tpm``, ``factors`` or ``units`` is written out."""
    block = with_standard_names(block, where) if isinstance(block, Mapping) else block
    kind = substrate_kind(block, where)
    more = {key: block.get(key) for key in OPTIONAL_KEYS}
    place, entries = f"{where}.{kind}", block[kind]
    if kind == "tpm":
        return Substrate.from_tpm(entries, **more, where=place)
    if kind == "units":
        return Substrate.from_units(entries, **more, where=place)
    factors = []
    entries = entries_of(entries, place)
    labels = parse_labels(more["labels"], len(entries), place)
    for i, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or set(entry) != {"inputs", "table"}:
            got = list(entry) if isinstance(entry, Mapping) else entry
            raise SubstrateError(
                f"{place}: factor {i}: expected a mapping with inputs and table, got {quote(got)}"
            )
        inputs_place = f"{place}: unit {quote(labels[i])}: inputs"
        inputs = parse_units(entry["inputs"], labels, inputs_place, SubstrateError)
        factors.append((inputs, entry["table"]))
    return Substrate.from_factors(factors, **more, where=place)


def names() -> tuple[str, ...]:
    """Return the names of all examples.

    Returns
    -------
    tuple of str
        Names, sorted.
    """
    files = (file.name for file in PUBLISHED.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in files if name.endswith(".json")))


def spec(name: str) -> dict[str, Any]:
    """Return an example as a study.

    Parameters
    ----------
    name
        One of :func:`names`.

    Returns
    -------
    dict
        ``substrate``, ``theory``, ``compute``, and ``state`` and ``units``, or
        ``before``, ``after``, ``causes`` and ``effects`` where the study is of a
        transition; for the reader ``name``, ``title``, ``citation``, ``figure``, ``note``.

    Raises
    ------
    SubstrateError
        No example has this name.
    """
    known = names()
    if not isinstance(name, str) or name not in known:
        raise SubstrateError(f"no example is called {quote(name)}; {suggestion(name, known)}")
    study: dict[str, Any] = msgspec.json.decode((PUBLISHED / f"{name}.json").read_bytes())
    return study


def load(name: str) -> Substrate:
    """Return the substrate of an example.

    Parameters
    ----------
    name
        One of :func:`names`.

    Returns
    -------
    Substrate
        The substrate that the example is about.

    Examples
    --------
    >>> load("basic")
    Substrate(3 units: A B C; binary; 5 edges)
    """
    study = spec(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdleEdgesWarning)  # they are as published
        made = inline_substrate(study["substrate"], f"example {quote(name)}")
    return with_source(made, study)


def with_source(substrate: Substrate, source: Mapping[str, Any]) -> Substrate:
    """Return a substrate that knows the name, title and citation of a study, where it has them."""
    said = {key: source[key] for key in SOURCE_KEYS if source.get(key)}
    return replace(substrate, attrs={**substrate.attrs, **said}) if said else substrate


def state(name: str) -> tuple[int, ...]:
    """Return the state of all units that an example is about.

    Parameters
    ----------
    name
        One of :func:`names`.

    Returns
    -------
    tuple of int
        The current state; of a transition, the state after it.

    Examples
    --------
    >>> state("basic")
    (1, 0, 0)
    """
    study = spec(name)
    return load(name).parse_state(study["state"] if "state" in study else study["after"])
