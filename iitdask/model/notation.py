"""How people write units and states: labels, numbers, strings, mappings."""

from __future__ import annotations

import difflib
import operator
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from iitdask.errors import InputError, StateError, SubstrateError

__all__ = ["as_labels", "as_state", "close_names", "default_labels", "numbered", "resolved"]

Labels = tuple[str, ...]


def default_labels(count: int) -> Labels:
    """Return ``A`` to ``Z``, or ``U0``, ``U1``, ... when letters do not suffice."""
    if count <= len(string.ascii_uppercase):
        return tuple(string.ascii_uppercase[:count])
    return tuple(f"U{i}" for i in range(count))


def as_labels(labels: Iterable[str] | None, count: int, where: str) -> Labels:
    """Return one distinct label per unit, or raise what is wrong with ``labels``."""
    if labels is None:
        return default_labels(count)
    if isinstance(labels, str):
        labels = [part.strip() for part in labels.split(",")] if "," in labels else list(labels)
    named = tuple(_as_label(label, where) for label in labels)
    if len(named) != count:
        raise SubstrateError(f"{where}: expected {count} labels, one per unit, got {len(named)}")
    seen: set[str] = set()
    for label in named:
        if label in seen:
            raise SubstrateError(f"{where}: label {label!r} is given to two units")
        seen.add(label)
    return named


def _as_label(label: object, where: str) -> str:
    if not isinstance(label, str):
        raise SubstrateError(
            f"{where}: expected a label to be text, got {label!r} (quote it in YAML)"
        )
    if not label.strip() or "," in label:
        raise SubstrateError(f"{where}: expected a label without commas, got {label!r}")
    return str(label)


def numbered(labels: Labels) -> dict[str, int]:
    """Return the unit number of each label, in unit order."""
    return {label: i for i, label in enumerate(labels)}


def close_names(name: str, known: Iterable[str], limit: int = 12) -> str:
    """Return the names to suggest: the close ones, or else the first few of all."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(each) for each in close) + "?"
    rest = ", ..." if len(known) > limit else ""
    return "known: " + ", ".join(known[:limit]) + rest


def resolved(
    units: object, numbers: Mapping[str, int], where: str, error: type[InputError] = StateError
) -> tuple[int, ...]:
    """Return unit numbers in the given order.

    Parameters
    ----------
    units
        A unit number, a label, a string of one-character labels such as
        ``"ABC"``, a comma separated string, or a sequence of numbers and labels.
    numbers
        The number of every label of the substrate, see :func:`numbered`.
    where
        What to call the input in a message.
    error
        What to raise.
    """
    parts = _split(units, numbers)
    if not isinstance(parts, Iterable):
        raise error(f"{where}: expected labels or unit numbers, got {units!r}")
    found = tuple(_number(part, numbers, where, error) for part in parts)
    if len(set(found)) < len(found):
        twice = next(i for i in found if found.count(i) > 1)
        raise error(f"{where}: unit {list(numbers)[twice]!r} is named twice")
    return found


def _split(units: Any, numbers: Mapping[str, int]) -> Any:
    if isinstance(units, (bool, int, np.integer)):
        return [units]
    if not isinstance(units, str):
        return units
    if units in numbers:
        return [units]
    if "," in units:
        return [part.strip() for part in units.split(",")]
    if all(letter in numbers for letter in units):
        return list(units)
    return [units]


def _number(unit: object, numbers: Mapping[str, int], where: str, error: type[InputError]) -> int:
    if isinstance(unit, str) and unit in numbers:
        return numbers[unit]
    if isinstance(unit, str) and not unit.isdecimal():
        raise error(f"{where}: no unit is called {unit!r}; {close_names(unit, numbers)}")
    if isinstance(unit, (bool, np.bool_)) or not isinstance(unit, (int, str, np.integer)):
        raise error(
            f"{where}: expected a label or a unit number, got {unit!r} (quote labels in YAML)"
        )
    number = int(unit)
    if not 0 <= number < len(numbers):
        raise error(f"{where}: expected a unit number from 0 to {len(numbers) - 1}, got {unit!r}")
    return number


def as_state(
    state: object, levels: Sequence[int], labels: Labels, where: str = "state"
) -> tuple[int, ...]:
    """Return one value per unit, in unit order.

    Parameters
    ----------
    state
        Integers in unit order, a string with one digit per unit, or a mapping
        from label (or unit number) to value.
    levels
        How many values each unit has.
    """
    values = _values(state, labels, where)
    if len(values) != len(levels):
        raise StateError(
            f"{where}: expected {len(levels)} values, one per unit, got {len(values)} in {state!r}"
        )
    for label, value, level in zip(labels, values, levels, strict=True):
        if not 0 <= value < level:
            raise StateError(
                f"{where}: unit {label!r} has values 0 to {level - 1}, got {value} in {state!r}"
            )
    return values


def _values(state: object, labels: Labels, where: str) -> tuple[int, ...]:
    if isinstance(state, Mapping):
        return _ordered(state, labels, where)
    if isinstance(state, str):
        if not (state.isascii() and state.isdecimal()):
            raise StateError(f"{where}: expected one digit per unit, got {state!r}")
        return tuple(int(digit) for digit in state)
    if not isinstance(state, (Sequence, np.ndarray)):
        raise StateError(
            f'{where}: expected a list of values or a string such as "100" (quoted in YAML), '
            f"got {state!r}"
        )
    return tuple(_whole(value, where) for value in state)


def _ordered(state: Mapping[Any, Any], labels: Labels, where: str) -> tuple[int, ...]:
    numbers = resolved(list(state), numbered(labels), where)
    values = dict(zip(numbers, state.values(), strict=True))
    for i, label in enumerate(labels):
        if i not in values:
            raise StateError(f"{where}: unit {label!r} is given no value")
    return tuple(_whole(values[i], where) for i in range(len(labels)))


def _whole(value: Any, where: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise StateError(f"{where}: expected whole numbers, got {value!r}") from None
