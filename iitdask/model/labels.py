"""Names and states of units as people write them, and states as little-endian numbers.

A set of units is written by joining their labels: ``AB``. Labels cannot hold commas, so a comma
separates them wherever a plain join could be misread: when a label is longer than one character
(``T0,T1``), or when the join is itself a label (``A,B`` beside a unit ``AB``).
"""

from __future__ import annotations

import difflib
import operator
import re
import string
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from functools import cache, lru_cache
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import InputError, StateError, SubstrateError, quote
from iitdask.types import Array, Mask

Labels = tuple[str, ...]

EMPTY_SET = "\N{EMPTY SET}"
MASK_UNITS = 62  # Units whose sets an int64 mask can hold
MAX_NUMBER_DIGITS = 9  # Of a unit's number or of its value, written as text
MAX_COMPARED = 100  # Characters of a name that known ones are compared with
SEPARATOR = ","  # Between labels that are not joined directly; no label holds one


def default_labels(count: int) -> Labels:
    """Return ``A`` to ``Z``, or ``U0``, ``U1``, ... when letters do not suffice."""
    if count <= len(string.ascii_uppercase):
        return tuple(string.ascii_uppercase[:count])
    return tuple(f"U{i}" for i in range(count))


def parse_labels(labels: Iterable[str] | None, count: int, where: str) -> Labels:
    """Return one distinct label per unit, or raise what is wrong with ``labels``."""
    if labels is None:
        return default_labels(count)
    if isinstance(labels, str):
        labels = [part.strip() for part in labels.split(",")] if "," in labels else list(labels)
    if isinstance(labels, (Set, Mapping)) or not is_listed(labels):
        raise SubstrateError(f"{where}: expected a list of labels, got {quote(labels)}")
    named = tuple(labels)
    for label in named:
        if not isinstance(label, str):
            raise SubstrateError(
                f"{where}: expected a label to be text, got {quote(label)} (quote it in YAML)"
            )
        if not label.strip() or "," in label:
            raise SubstrateError(f"{where}: expected a label without commas, got {quote(label)}")
    if len(named) != count:
        raise SubstrateError(f"{where}: expected {count} labels, one per unit, got {len(named)}")
    if len(set(named)) < len(named):
        twice = next(label for k, label in enumerate(named) if label in named[:k])
        raise SubstrateError(f"{where}: label {twice!r} is given to two units")
    return named


def is_listed(values: object) -> TypeGuard[Iterable[Any]]:
    """Return True for what can be gone through; an array without dimensions cannot."""
    has_dimensions = not isinstance(values, np.ndarray) or values.ndim > 0
    return isinstance(values, Iterable) and has_dimensions


def entries_of(values: object, where: str) -> list[Any]:
    """Return a list with one entry per unit; refuse what is none."""
    if isinstance(values, str | bytes | Mapping | Set) or not is_listed(values):
        text = f"expected a list with one entry per unit, got {quote(values)}"
        raise SubstrateError(f"{where}: {text}")
    return list(values)


def require_order(values: Any, where: str) -> None:
    """Refuse a set where the order of its elements would mean something."""
    if isinstance(values, set | frozenset):
        raise SubstrateError(f"{where}: expected a list, got a set, whose order is not its own")


def join_labels(labels: Sequence[str], known: Collection[str] = ()) -> str:
    """Return the name of a set of units, told apart from the labels `known`.

    Examples
    --------
    >>> join_labels(["A", "B"]), join_labels(["T0", "T1"]), join_labels([])
    ('AB', 'T0,T1', '∅')
    >>> join_labels(["A", "B"], known=["A", "B", "AB"])
    'A,B'
    """
    if not labels:
        return EMPTY_SET
    name = "".join(labels)
    is_plain = all(len(label) == 1 for label in labels) and (len(labels) == 1 or name not in known)
    return name if is_plain else SEPARATOR.join(labels)


def mask_namer(labels: Sequence[str], known: Iterable[str] = ()) -> Callable[[int], str]:
    """Return a function that names the units of a mask, each mask once.

    Names differ from the labels and from those `known` beside them, of units outside.

    Examples
    --------
    >>> mask_namer("ABC")(0b101)
    'AC'
    """
    known = frozenset([*labels, *known])
    return cache(lambda mask: join_labels([labels[i] for i in units_of_mask(mask)], known))


def unit_set_names(inside: Mask, labels: Iterable[Any], known: Iterable[str] = ()) -> list[str]:
    """Return the name of each row's set of units, ``(sets, units)`` bool; see `mask_namer`."""
    texts = [str(label) for label in labels]
    known = frozenset([*texts, *known])
    return [join_labels([texts[i] for i in np.flatnonzero(row)], known) for row in inside]


def labels_in_name(name: str) -> tuple[str, ...]:
    """Return the labels in the name of all units of a substrate, see :func:`join_labels`.

    Examples
    --------
    >>> labels_in_name("ABC"), labels_in_name("A,B,AB")
    (('A', 'B', 'C'), ('A', 'B', 'AB'))
    """
    return tuple(name.split(SEPARATOR) if SEPARATOR in name else name)


def units_of_mask(mask: int, units: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the unit numbers of a mask, ascending; with `units`, those at the mask's bits.

    Examples
    --------
    >>> units_of_mask(0b101), units_of_mask(0b101, (4, 6, 9))
    ((0, 2), (4, 9))
    """
    bits = []
    while mask:  # from unit to unit: masks of thousands of units have few
        lowest = mask & -mask
        bits.append(lowest.bit_length() - 1)
        mask ^= lowest
    return tuple(bits) if units is None else tuple(units[i] for i in bits)


def state_text(values: Sequence[int]) -> str:
    """Return a state as text, first unit first: ``100``; ``1,10`` if a value has two digits.

    Examples
    --------
    >>> state_text([1, 0, 0]), state_text([1, 10])
    ('100', '1,10')
    """
    return ("" if all(0 <= v < 10 for v in values) else SEPARATOR).join(str(int(v)) for v in values)


@lru_cache(maxsize=16)  # built anew for every set of units, thousands of labels would take long
def unit_numbers(labels: Labels) -> dict[str, int]:
    """Return the unit number of each label, in unit order."""
    return {label: i for i, label in enumerate(labels)}


def suggestion(name: object, known: Iterable[str], limit: int = 12) -> str:
    """Return the names to suggest: the close ones, or else the first few of all."""
    known = list(known)
    compared = name[:MAX_COMPARED] if isinstance(name, str) else ""
    close = difflib.get_close_matches(compared, known, n=4, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(map(quote, close)) + "?"
    return "known: " + first_names(known, limit)


def field_suggestion(error: object, known: Iterable[str]) -> str:
    """Return what to write instead of a field that a message calls unknown, "" if unknown.

    Examples
    --------
    >>> field_suggestion("Object contains unknown field `thoery`", ["theory", "state"])
    "did you mean 'theory'?"
    """
    found = re.search(r"unknown field `(.+?)`", str(error))
    text = suggestion(found[1], known) if found else ""
    return text if text.startswith("did you mean") else ""


def shortened(text: str, max_characters: int) -> str:
    """Return a text for a message or a title, its end left out if it is long."""
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."


def first_names(names: Sequence[str], limit: int = 8) -> str:
    """Return names for a message, the first few of many."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def parse_units(
    units: object, labels: Labels, where: str, error: type[InputError] = StateError
) -> tuple[int, ...]:
    """Return the numbers of units in their order, written as for ``Substrate.parse_units``.

    A number that is also the label of another unit is refused: nobody knows which is meant.
    """
    numbers = unit_numbers(labels)
    parts = _split_units(units, numbers)
    if not is_listed(parts):
        raise error(f"{where}: expected labels or unit numbers, got {quote(units)}")
    found = tuple(_unit_number(part, numbers, where, error) for part in parts)
    if len(set(found)) < len(found):
        twice = next(i for i in found if found.count(i) > 1)
        raise error(f"{where}: unit {labels[twice]!r} is named twice")
    return found


def with_labels(units: Any, labels: Labels) -> Any:
    """Return a sequence with labels in place of the unit numbers in it."""
    if not isinstance(units, Sequence | np.ndarray) or isinstance(units, str):
        return units
    entries: list[Any] = list(units) if is_listed(units) else [units]
    numbers = range(len(labels))
    is_number = [isinstance(e, int | np.integer) and not isinstance(e, bool) for e in entries]
    return [
        labels[entry] if known and entry in numbers else entry
        for entry, known in zip(entries, is_number, strict=True)
    ]


def _split_units(units: Any, numbers: Mapping[str, int]) -> Any:
    if isinstance(units, (bool, int, np.integer)):
        return [units]
    if not isinstance(units, str):
        return units
    if units in numbers:
        return [units]
    if "," in units:
        return [part if part in numbers else part.strip() for part in units.split(",")]
    if all(letter in numbers for letter in units):
        return list(units)
    return [units]


def _unknown_units(unit: str, numbers: Mapping[str, int]) -> str:
    """Say what of a text is no unit, and which units there are."""
    letters = [letter for letter in unit if letter not in numbers]
    if 0 < len(letters) < len(unit) and all(len(label) == 1 for label in numbers):
        return f", nor {quote(letters[0])}; known: {first_names([*numbers], 12)}"
    return f"; {suggestion(unit, numbers)}"


def _unit_number(
    unit: object, numbers: Mapping[str, int], where: str, error: type[InputError]
) -> int:
    if isinstance(unit, str) and unit in numbers:
        return numbers[unit]
    if isinstance(unit, str) and not (unit.isdecimal() and len(unit) <= MAX_NUMBER_DIGITS):
        raise error(f"{where}: no unit is called {quote(unit)}{_unknown_units(unit, numbers)}")
    if isinstance(unit, (bool, np.bool_)) or not isinstance(unit, (int, str, np.integer)):
        raise error(
            f"{where}: expected a label or a unit number, got {quote(unit)} (quote labels in YAML)"
        )
    number = int(unit)
    if not 0 <= number < len(numbers):
        raise error(
            f"{where}: expected a unit number from 0 to {len(numbers) - 1}, got {quote(unit)}"
        )
    if numbers.get(str(number), number) != number:
        label = list(numbers)[number]
        raise error(
            f"{where}: {number} could be unit number {number}, which is called {quote(label)}, or "
            f'the unit called "{number}"; quote its label'
        )
    return number


def parse_state(
    state: object, levels: Sequence[int], labels: Labels, where: str = "state"
) -> tuple[int, ...]:
    """Return one value per unit, in unit order; forms as in ``Substrate.parse_state``."""
    values = _parse_values(state, labels, where)
    if len(values) != len(levels):
        raise StateError(
            f"{where}: expected {len(levels)} values, one per unit, got {len(values)} in "
            f"{quote(state)}"
        )
    for label, value, level in zip(labels, values, levels, strict=True):
        if not 0 <= value < level:
            raise StateError(
                f"{where}: unit {quote(label)} has values 0 to {level - 1}, got {value} in "
                f"{quote(state)}"
            )
    return values


def _parse_values(state: object, labels: Labels, where: str) -> tuple[int, ...]:
    if isinstance(state, Mapping):
        numbers = parse_units(list(state), labels, where)
        value_of = dict(zip(numbers, state.values(), strict=True))
        for i, label in enumerate(labels):
            if i not in value_of:
                raise StateError(f"{where}: unit {quote(label)} is given no value")
        state = [value_of[i] for i in range(len(labels))]
    if isinstance(state, str):
        return _parse_state_text(state, len(labels), where)
    if not isinstance(state, (Sequence, np.ndarray)) or not is_listed(state):
        raise StateError(
            f'{where}: expected a list of values or a string such as "100" (quoted in YAML), '
            f"got {quote(state)}"
        )
    return tuple(_parse_value(value, where) for value in state)


def _parse_state_text(state: str, count: int, where: str) -> tuple[int, ...]:
    """Return the values in a text as :func:`state_text` writes it."""
    parts: Sequence[str] = state
    if SEPARATOR in state:
        parts = [part.strip() for part in state.split(SEPARATOR)]
    elif count == 1:
        parts = [state]
    if not all(
        part.isascii() and part.isdecimal() and len(part) <= MAX_NUMBER_DIGITS for part in parts
    ):
        raise StateError(f"{where}: expected one digit per unit, got {quote(state)}")
    return tuple(int(part) for part in parts)


def _parse_value(value: Any, where: str) -> int:
    if isinstance(value, np.bool_):
        return int(value)
    is_number = isinstance(value, str) and value.isascii() and value.isdecimal()
    try:
        return (
            int(value) if is_number and len(value) <= MAX_NUMBER_DIGITS else operator.index(value)
        )
    except TypeError:
        raise StateError(f"{where}: expected whole numbers, got {quote(value)}") from None


def parse_values_of_units(
    values: object, levels: Sequence[int], labels: Labels, where: str
) -> dict[int, int]:
    """Return values of some units by unit number."""
    if not isinstance(values, Mapping) or not values:
        raise StateError(f"{where}: expected a mapping from units to values, got {quote(values)}")
    numbers = parse_units(list(values), labels, where)
    found = {}
    for i, value in zip(numbers, values.values(), strict=True):
        found[i] = _parse_value(value, where)
        if not 0 <= found[i] < levels[i]:
            raise StateError(
                f"{where}: unit {quote(labels[i])} has values 0 to {levels[i] - 1}, "
                f"got {quote(value)}"
            )
    return found


def parse_value_names(
    names: object, levels: Sequence[int], labels: Labels
) -> dict[int, tuple[str, ...]]:
    """Return the names of the values of some units by unit number."""
    if not isinstance(names, Mapping):
        raise StateError(f"values: expected a mapping from units to names, got {quote(names)}")
    found = {}
    for i, own in zip(parse_units(list(names), labels, "values"), names.values(), strict=True):
        listed = list(own) if is_listed(own) and not isinstance(own, str) else []
        are_names = all(isinstance(each, str) and not each.isdecimal() for each in listed)
        if len(listed) != levels[i] or len(set(map(str, listed))) < levels[i] or not are_names:
            raise StateError(
                f"values: unit {quote(labels[i])}: expected {levels[i]} distinct names that are no "
                f"numbers, got {quote(own)}"
            )
        found[i] = tuple(listed)
    return found


def replace_value_names(
    state: object, names: Mapping[int, tuple[str, ...]], labels: Labels
) -> object:
    """Return a list or mapping of values with numbers in place of their names.

    Examples
    --------
    >>> replace_value_names(["on", 1], {0: ("off", "on")}, ("A", "B"))
    [1, 1]
    """
    if isinstance(state, Mapping):
        numbers = parse_units(list(state), labels, "state")
        pairs = zip(state.items(), numbers, strict=True)
        return {key: _value_number(value, names.get(i, ())) for (key, value), i in pairs}
    if isinstance(state, list | tuple):
        return [_value_number(value, names.get(i, ())) for i, value in enumerate(state)]
    return state


def _value_number(value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, str) or value in names or not names or value.isdecimal():
        return names.index(value) if isinstance(value, str) and value in names else value
    raise StateError(f"state: no value is called {quote(value)}; {suggestion(value, names)}")


def decode_state(code: int, levels: Sequence[int]) -> tuple[int, ...]:
    """Value of each unit in a state.

    Examples
    --------
    >>> decode_state(5, (2, 3))
    (1, 2)
    """
    out = []
    for k in levels:
        out.append(code % k)
        code //= k
    return tuple(out)


def states_within(code: int, levels: Sequence[int], purviews: Array) -> Array:
    """(count,) state of each of some purviews that a state of all units implies.

    Examples
    --------
    >>> states_within(0b10, (2, 2), np.array([0b10, 0b11])).tolist()
    [1, 2]
    """
    out, weight = np.zeros(len(purviews), np.int64), np.ones(len(purviews), np.int64)
    for i, (value, k) in enumerate(zip(decode_state(code, levels), levels, strict=True)):
        inside = (purviews >> i & 1).astype(bool)
        out[inside] += value * weight[inside]
        weight[inside] *= k
    return out


def purview_unit_states(
    codes: Sequence[int], levels: Sequence[int], purviews: Sequence[int]
) -> NDArray[np.int64]:
    """(count, n) state of each unit of purviews in given states, -1 outside the purview.

    Examples
    --------
    >>> purview_unit_states([2, 1], (2, 2, 2), [0b011, 0b100]).tolist()
    [[0, 1, -1], [-1, -1, 1]]
    """
    masks, rest = np.array(purviews, np.int64), np.array(codes, np.int64)
    out = np.full((len(masks), len(levels)), -1)
    for i, k in enumerate(levels):
        inside = (masks >> i & 1).astype(bool)
        out[inside, i] = rest[inside] % k
        rest[inside] //= k
    return out
