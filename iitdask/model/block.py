"""A substrate written out in a study: numbers or gates, no files and no names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from iitdask.errors import SubstrateError
from iitdask.model.substrate import Substrate

__all__ = ["KINDS", "inline", "require_keys"]

KINDS = ("example", "tpm", "factors", "units")
"""The keys of a substrate block of which there must be exactly one."""

BESIDE = ("connectivity", "labels")
"""The keys that may stand beside it."""


def require_keys(block: object, where: str) -> str:
    """Return the kind of a substrate block; refuse unknown, missing or contradicting keys."""
    if not isinstance(block, Mapping):
        raise SubstrateError(f"{where}: expected a mapping with one of {_list(KINDS)}")
    for key in block:
        if key not in KINDS + BESIDE:
            raise SubstrateError(f"{where}: unknown key {key!r}; allowed: {_list(KINDS + BESIDE)}")
    kinds = [key for key in KINDS if key in block]
    if len(kinds) != 1:
        raise SubstrateError(
            f"{where}: expected exactly one of {_list(KINDS)}, got {_list(kinds) or 'none'}"
        )
    return kinds[0]


def inline(block: Mapping[str, Any], where: str) -> Substrate:
    """Return the substrate of a block whose ``tpm``, ``factors`` or ``units`` is written out."""
    kind = require_keys(block, where)
    beside = {key: block.get(key) for key in BESIDE}
    place = f"{where}.{kind}"
    if kind == "tpm":
        return Substrate.from_tpm(block["tpm"], **beside, where=place)
    entries = block[kind]
    if isinstance(entries, (str, Mapping)) or not isinstance(entries, Iterable):
        raise SubstrateError(f"{place}: expected a list with one entry per unit, got {entries!r}")
    if kind == "units":
        return Substrate.from_units(entries, **beside, where=place)
    return Substrate.from_factors(
        [_factor(entry, i, place) for i, entry in enumerate(entries)], **beside, where=place
    )


def _factor(entry: object, number: int, where: str) -> tuple[Any, Any]:
    if not isinstance(entry, Mapping) or set(entry) != {"inputs", "table"}:
        got = list(entry) if isinstance(entry, Mapping) else entry
        raise SubstrateError(
            f"{where}: factor {number}: expected a mapping with inputs and table, got {got!r}"
        )
    return entry["inputs"], entry["table"]


def _list(keys: Iterable[str]) -> str:
    return ", ".join(keys)
