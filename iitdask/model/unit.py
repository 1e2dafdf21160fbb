"""Units of any grain: several constituents over several updates that are taken for one unit.

A :class:`Unit` is a definition by labels. :class:`MacroUnit` is what it means for the units of one
substrate: micro constituents, micro updates, and one truth table over their values in time.
mathematics.md 14.1; Marshall et al. 2024, equations 12 and 22.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from iitdask.errors import InputError, StateError, quote
from iitdask.model.factor import read_only
from iitdask.model.labels import Labels, is_listed, parse_units, shortened
from iitdask.types import Array

MAX_DIGITS = 24  # Digits that one truth table may depend on
MAX_UPDATES = 1 << 12  # Updates of the constituents that one update may span
MAX_SHOWN_TABLE = 16  # Values of a whole truth table in the name of a unit
KEYS = ("of", "table", "on", "counts", "reads", "updates", "background")
"""What the mapping of a unit in a study has: the parameters of :func:`make_unit`."""
TABLE_KEYS = ("table", "on", "counts", "reads")


@dataclass(frozen=True, repr=False)
class Unit:
    """Definition of a unit; build one with :func:`make_unit`.

    Its truth table is kept over the digits that it depends on: a digit is a constituent at an
    update. Two definitions are equal if they have the same constituents, updates, background and
    truth table.

    Examples
    --------
    >>> make_unit("AB", on=["11"])
    Unit(AB:0001)
    >>> make_unit("AB", on=["11"]) == make_unit(["A", "B"], table="0001")
    True
    """

    of: tuple[str | int | Unit, ...]  # Constituents, ordered
    updates: int  # Updates of the constituents that one update of the unit spans
    # Digits that decide: update times the number of constituents plus the place of one, ascending
    digits: tuple[int, ...]
    values: bytes  # Its value by the state of those digits, the first varies fastest
    background: tuple[str | int, ...]  # Background units apportioned to it

    @property
    def micro_updates(self) -> int:
        """Micro updates that one update of the unit spans."""
        first = self.of[0]
        return self.updates * (first.micro_updates if isinstance(first, Unit) else 1)

    @property
    def is_micro(self) -> bool:
        """True for one constituent of the substrate as it is."""
        is_single = len(self.of) == 1 and not isinstance(self.of[0], Unit)
        return is_single and self.updates == 1 and self.values == b"\x00\x01"

    def __str__(self) -> str:
        """Return a short name: constituents, truth table, background."""
        return unit_name(self, [str(each) for each in self.of], map(str, self.background))

    def __repr__(self) -> str:
        return f"Unit({self})"

    def to_dict(self, labels: Sequence[str] | None = None) -> dict[str, Any]:
        """Return what builds the unit again, with labels in place of unit numbers."""

        def named(each: str | int | Unit) -> Any:
            if isinstance(each, Unit):
                return each.to_dict(labels)
            return each if isinstance(each, str) or labels is None else labels[each]

        return {
            "of": [named(each) for each in self.of],
            "updates": self.updates,
            "digits": list(self.digits),
            "values": table_text(self.values),
            "background": [named(each) for each in self.background],
        }


def table_text(values: Iterable[int]) -> str:
    """Return the values of a truth table as text."""
    return "".join("1" if value else "0" for value in values)


def unit_name(unit: Unit, members: Sequence[str], background: Iterable[str]) -> str:
    """Return the name of a unit from those of its constituents."""
    plain = all(len(name) == 1 for name in members)
    name = ("" if plain else "+").join(
        f"({text})" if isinstance(each, Unit) and not each.is_micro else text
        for each, text in zip(unit.of, members, strict=True)
    )
    size, length = len(members), len(members) * unit.updates
    if unit.is_micro:
        pass
    elif length <= MAX_SHOWN_TABLE.bit_length() - 1:
        name += f":{table_text(full_table(unit))}"
    else:
        places = [f"{members[d % size]}{d // size + 1}" for d in unit.digits]
        name += f":{shortened(table_text(unit.values), 64)}({','.join(places)})"
    rest = "+".join(background)
    return f"{name}/{rest}" if rest else name


def full_table(unit: Unit) -> Array:
    """Return the truth table over all digits of a unit, the first varies fastest."""
    length = len(unit.of) * unit.updates
    states = np.arange(1 << length)
    index = np.zeros_like(states)
    for k, digit in enumerate(unit.digits):
        index |= (states >> digit & 1) << k
    table: Array = np.frombuffer(unit.values, np.uint8)[index]
    return table


def make_unit(
    of: Any,
    *,
    table: Any = None,
    on: Any = None,
    counts: Any = None,
    reads: Any = None,
    updates: int = 1,
    background: Any = (),
    where: str = "unit",
) -> Unit:
    """Build a unit; `where` begins the messages, see :func:`iitdask.api.unit`."""
    whole = isinstance(updates, int | np.integer) and not isinstance(updates, bool)
    if not whole or not 1 <= updates <= MAX_UPDATES:
        text = f"expected a whole number from 1 to {MAX_UPDATES}, got {quote(updates)}"
        raise InputError(f"{where}: updates: {text}")
    given = {"table": table, "on": on, "counts": counts, "reads": reads}
    named = [name for name in TABLE_KEYS if given[name] is not None]
    if len(named) > 1:
        raise InputError(f"{where}: expected one of table, on, counts, reads, got {named}")
    kind = named[0] if named else "identity"
    value = given[kind] if named else None
    members = _read_members(of, value, kind, int(updates), where)
    readers = {
        "table": _read_table, "on": _read_words, "counts": _read_counts, "reads": _read_reads,
        "identity": _read_identity,
    }  # fmt: skip
    digits, values = readers[kind](value, members, int(updates), f"{where}: {kind}")
    digits, values = _pruned(digits, values)
    if not digits:
        got = f"only {int(values[0])}"
        raise InputError(f"{where}: {kind}: expected a table with a 0 and a 1, got {got}")
    rest = _read_background(background, where)
    return Unit(members, int(updates), digits, values.astype(np.uint8).tobytes(), rest)


def unit_from_mapping(content: Any, where: str) -> Unit:
    """Build a unit from a mapping, as a study or a store has it."""
    if isinstance(content, Unit):
        return content
    if not isinstance(content, Mapping):
        return make_unit(content, where=where)
    if "digits" in content:
        return _stored_unit(content, where)
    for key in content:
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise InputError(f"{where}: unknown key {quote(key)}; a unit has {known}")
    if "of" not in content:
        raise InputError(f"{where}: of: expected the constituents of the unit, got nothing")
    return make_unit(**content, where=where)


def _stored_unit(content: Mapping[str, Any], where: str) -> Unit:
    """Build a unit from what :meth:`Unit.to_dict` returns."""
    try:
        members = tuple(
            _stored_unit(each, where) if isinstance(each, Mapping) else each
            for each in content["of"]
        )
        values = np.array([int(value) for value in content["values"]], np.uint8)
        digits = tuple(int(digit) for digit in content["digits"])
        updates, background = int(content["updates"]), tuple(content["background"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: expected a unit as it was stored: {error}") from error
    places = range(len(members) * updates)
    ascending = list(digits) == [place for place in places if place in digits]
    if not ascending or len(values) != 1 << len(digits) or set(values.tolist()) != {0, 1}:
        raise InputError(f"{where}: expected a unit as it was stored: digits and values do not fit")
    digits, values = _pruned(digits, values)
    return Unit(members, updates, digits, values.tobytes(), background)


def _read_members(
    of: Any, value: Any, kind: str, updates: int, where: str
) -> tuple[str | int | Unit, ...]:
    """Read constituents; letters that stand together are one label where the table says so."""
    if isinstance(of, Unit | int | np.integer | Mapping) and not isinstance(of, bool):
        of = [of]
    if isinstance(of, str):
        return _split_text(of, value, kind, updates, where)
    if not is_listed(of) or isinstance(of, set | frozenset | bytes):
        text = f"expected labels, unit numbers or units in their order, got {quote(of)}"
        raise InputError(f"{where}: of: {text}")
    members: list[str | int | Unit] = []
    for number, each in enumerate(of):
        place = f"{where}: of: entry {number}"
        if isinstance(each, Mapping):
            members.append(unit_from_mapping(each, place))
        elif isinstance(each, Unit | str):
            is_plain = isinstance(each, Unit) and each.is_micro and not each.background
            members.append(each.of[0] if isinstance(each, Unit) and is_plain else each)
        elif isinstance(each, int | np.integer) and not isinstance(each, bool):
            members.append(int(each))
        else:
            text = f"expected a label, a unit number or a unit, got {quote(each)}"
            raise InputError(f"{place}: {text} (quote labels in YAML)")
    if not members:
        raise InputError(f"{where}: of: expected at least one constituent, got none")
    for number, each in enumerate(members):
        if each in members[:number]:
            raise InputError(f"{where}: of: {quote(each)} is named twice")
    return tuple(members)


def _split_text(
    of: str, value: Any, kind: str, updates: int, where: str
) -> tuple[str | int | Unit, ...]:
    if "," in of:
        return _read_members([part.strip() for part in of.split(",")], value, kind, updates, where)
    if not of:
        raise InputError(f"{where}: of: expected at least one constituent, got none")
    length = None
    if kind == "table" and is_listed(value):
        length = len(list(value)).bit_length() - 1
    elif kind == "on" and is_listed(value):
        words = [value] if isinstance(value, str) else list(value)
        length = len(words[0]) if words and isinstance(words[0], str) else None
    is_label = kind == "identity" or length == updates or (kind == "reads" and value == of)
    return _read_members([of] if is_label else list(of), value, kind, updates, where)


def _read_table(
    value: Any, members: Sequence[Any], updates: int, where: str
) -> tuple[tuple[int, ...], Array]:
    length = len(members) * updates
    if isinstance(value, str):
        entries: Any = list(value)
    elif is_listed(value) and not isinstance(value, set | frozenset | Mapping):
        entries = [int(each) if isinstance(each, bool | np.bool_) else each for each in value]
    else:
        hint = f'; quote it: table: "{quote(value)}"' if isinstance(value, int) else ""
        raise InputError(
            f"{where}: expected zeros and ones as text or a list, got {quote(value)}{hint}"
        )
    if len(entries) != 1 << min(length, 63):
        what = f"{len(members)} constituents" if len(members) > 1 else "1 constituent"
        what += f" over {updates} updates" if updates > 1 else ""
        raise InputError(f"{where}: expected 2^{length} values for {what}, got {len(entries)}")
    for number, each in enumerate(entries):
        if each not in (0, 1, "0", "1"):
            raise InputError(f"{where}: entry {number}: expected 0 or 1, got {quote(each)}")
    return tuple(range(length)), np.array([int(each) for each in entries], np.uint8)


def _read_words(
    value: Any, members: Sequence[Any], updates: int, where: str
) -> tuple[tuple[int, ...], Array]:
    words = [value] if isinstance(value, str) else value
    length = len(members) * updates
    if not is_listed(words):
        raise InputError(f'{where}: expected state words such as "11", got {quote(value)}')
    if length > MAX_DIGITS:
        raise InputError(f"{where}: expected at most {MAX_DIGITS} digits, got {length}; use reads")
    table = np.zeros(1 << length, np.uint8)
    for word in words:
        is_word = isinstance(word, str) and len(word) == length and set(word) <= {"0", "1"}
        if not is_word:
            raise InputError(
                f"{where}: expected words of {length} zeros and ones, one per constituent and "
                f"update, got {quote(word)}"
            )
        table[int(word[::-1], 2)] = 1
    return tuple(range(length)), table


def _read_counts(
    value: Any, members: Sequence[Any], updates: int, where: str
) -> tuple[tuple[int, ...], Array]:
    if updates != 1:
        raise InputError(f"{where}: expected updates to be 1 with counts, got {updates}")
    size = len(members)
    numbers = [value] if isinstance(value, int | np.integer) else value
    if not is_listed(numbers) or isinstance(numbers, str):
        raise InputError(f"{where}: expected numbers of constituents, got {quote(value)}")
    numbers = list(numbers)
    if size > MAX_DIGITS:
        raise InputError(f"{where}: expected at most {MAX_DIGITS} constituents, got {size}")
    for number in numbers:
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or not 0 <= number <= size:
            raise InputError(f"{where}: expected numbers from 0 to {size}, got {quote(number)}")
    on = np.bitwise_count(np.arange(1 << size, dtype=np.uint64))
    return tuple(range(size)), np.isin(on, np.array(numbers, np.int64)).astype(np.uint8)


def _read_reads(
    value: Any, members: Sequence[Any], updates: int, where: str
) -> tuple[tuple[int, ...], Array]:
    names = [value] if isinstance(value, int | np.integer | Unit) else value
    if isinstance(names, str):
        is_one = names in members
        parts = names.split(",") if "," in names else list(names)
        names = [names] if is_one else [part.strip() for part in parts]
    if not is_listed(names):
        raise InputError(f"{where}: expected constituents, got {quote(value)}")
    places = []
    for each in names:
        if each not in members:
            known = ", ".join(map(str, members))
            raise InputError(f"{where}: expected constituents of {known}, got {quote(each)}")
        places.append(members.index(each))
    if not 0 < len(places) <= MAX_DIGITS:
        raise InputError(f"{where}: expected 1 to {MAX_DIGITS} constituents, got {len(places)}")
    digits = tuple(sorted({(updates - 1) * len(members) + place for place in places}))
    values = np.zeros(1 << len(digits), np.uint8)
    values[-1] = 1
    return digits, values


def _read_identity(
    _value: Any, members: Sequence[Any], updates: int, where: str
) -> tuple[tuple[int, ...], Array]:
    if len(members) != 1 or updates != 1:
        where = where.removesuffix(": identity")
        got = f"{len(members)} constituents" if len(members) > 1 else f"{updates} updates"
        raise InputError(f"{where}: expected one of table, on, counts, reads for {got}, got none")
    return (0,), np.array([0, 1], np.uint8)


def _read_background(given: Any, where: str) -> tuple[str | int, ...]:
    if isinstance(given, str):
        given = [part.strip() for part in given.split(",")] if "," in given else list(given)
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        given = [given]
    if given is None or not is_listed(given):
        text = f"expected labels or unit numbers, got {quote(given)}"
        raise InputError(f"{where}: background: {text}")
    units = []
    for each in given:
        whole = isinstance(each, int | np.integer) and not isinstance(each, bool)
        if not whole and not isinstance(each, str):
            text = f"expected labels or unit numbers, got {quote(each)}"
            raise InputError(f"{where}: background: {text} (quote labels in YAML)")
        units.append(int(each) if whole else each)
    if len(set(units)) < len(units):
        raise InputError(f"{where}: background: a unit is named twice in {quote(given)}")
    return tuple(units)


def _pruned(digits: Sequence[int], values: Array) -> tuple[tuple[int, ...], Array]:
    """Return a truth table over the digits that it depends on."""
    kept = list(digits)
    table = values.reshape((2,) * len(kept), order="F")
    for digit in digits:
        axis = kept.index(digit)
        off, on = np.take(table, 0, axis), np.take(table, 1, axis)
        if (off == on).all():
            table = off
            kept.remove(digit)
    return tuple(kept), np.asarray(table.reshape(-1, order="F"))


@dataclass(frozen=True, eq=False)
class MacroUnit:
    """What a unit means for the units of a substrate."""

    definition: Unit
    units: tuple[int, ...]  # Micro constituents, ascending unit numbers
    updates: int  # Micro updates that one update spans
    digits: tuple[
        tuple[int, int], ...
    ]  # (micro update from 1, unit number) of each axis, ascending
    table: Array  # uint8, (2, 2, ...), its value
    background: tuple[int, ...]  # Units apportioned to it, ascending
    name: str  # See :func:`unit_name`

    @cached_property
    def stake(self) -> frozenset[int]:
        """Micro constituents and apportioned background."""
        return frozenset(self.units) | frozenset(self.background)

    def value(self, window: Sequence[Sequence[int]]) -> int:
        """Return the value of the unit after a window of states of all units, oldest first."""
        first = len(window) - self.updates - 1
        return int(self.table[tuple(window[first + time][unit] for time, unit in self.digits)])


def resolve_unit(definition: Any, labels: Labels, where: str = "units") -> MacroUnit:
    """Return what a definition means for the units of a substrate; refuse one that does not fit.

    Composes the truth tables of constituents that are units themselves: mathematics.md 14.1.
    """
    if not isinstance(definition, Unit):
        definition = make_unit([definition], where=where)
    parts: list[MacroUnit] = []
    for each in definition.of:
        if isinstance(each, Unit):
            parts.append(resolve_unit(each, labels, where))
        else:
            (number,) = parse_units([each], labels, where)
            parts.append(_micro_unit(number, labels[number]))
    background = tuple(sorted(parse_units(definition.background, labels, where)))
    name = unit_name(definition, [part.name for part in parts], (labels[i] for i in background))
    _check_parts(parts, background, f"{where}: unit {name}", labels)
    grain = parts[0].updates
    values = np.frombuffer(definition.values, np.uint8)[None]
    place = f"{where}: unit {name}"
    digits, tables = compose_tables(parts, definition.digits, values, place)
    units = tuple(sorted(chain.from_iterable(part.units for part in parts)))
    table = read_only(tables[0], np.uint8)
    return MacroUnit(definition, units, definition.updates * grain, digits, table, background, name)


def _micro_unit(number: int, label: str) -> MacroUnit:
    definition = Unit((label,), 1, (0,), b"\x00\x01", ())
    table = np.array([0, 1], np.uint8)
    return MacroUnit(definition, (number,), 1, ((1, number),), table, (), label)


def _check_parts(
    parts: Sequence[MacroUnit], background: tuple[int, ...], where: str, labels: Sequence[str]
) -> None:
    seen: dict[int, str] = {}
    for part in parts:
        for unit in part.units:
            if unit in seen:
                raise StateError(
                    f"{where}: expected constituents without common units, got {labels[unit]!r} "
                    f"in {seen[unit]} and {part.name}"
                )
            seen[unit] = part.name
    if len({part.updates for part in parts}) > 1:
        grains = ", ".join(f"{part.name} ({part.updates})" for part in parts)
        raise StateError(f"{where}: expected constituents of one update grain, got {grains}")
    for unit in background:
        if unit in seen:
            raise StateError(
                f"{where}: expected background outside of the unit, got {labels[unit]!r}, one of "
                "its constituents"
            )
    for part in parts:
        missing = [labels[unit] for unit in part.background if unit not in background]
        if missing:
            raise StateError(
                f"{where}: background: expected all that is apportioned to the constituent "
                f"{part.name}; {', '.join(missing)} is missing"
            )


def compose_tables(
    parts: Sequence[MacroUnit], digits: Sequence[int], values: Array, where: str
) -> tuple[tuple[tuple[int, int], ...], Array]:
    """Return truth tables over micro units in time, from those over constituents.

    Parameters
    ----------
    parts : constituents, of one grain
    digits : digits over the constituents, see :class:`Unit`
    values : (T, 2**digits) uint8, T truth tables
    where : begin of the message where there are too many digits

    Returns
    -------
    tuple, the digits as (micro update, unit number), ascending; (T, 2, 2, ...) uint8
    """
    grain, places = parts[0].updates, []
    for digit in digits:
        update, number = divmod(digit, len(parts))
        at = [(update * grain + time, unit) for time, unit in parts[number].digits]
        places.append((parts[number], at))
    micro = tuple(sorted(chain.from_iterable(at for _, at in places)))
    if len(micro) > MAX_DIGITS:
        raise StateError(
            f"{where}: expected a table that depends on at most {MAX_DIGITS} values of micro "
            f"units in time, got {len(micro)}"
        )
    axis = {place: k for k, place in enumerate(micro)}
    index = np.zeros((1,) * len(micro), np.int64)
    for bit, (part, at) in enumerate(places):
        order = np.argsort([axis[place] for place in at]).tolist()
        shape = [1] * len(micro)
        for place in at:
            shape[axis[place]] = 2
        index = index + (part.table.transpose(order).reshape(shape).astype(np.int64) << bit)
    return micro, values[:, index]
