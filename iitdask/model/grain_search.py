"""What a search across grains looks at: candidates for units, their truth tables, their systems.

A candidate is a set of constituents with apportioned background. If it is valid, it becomes one
place for each number of updates: all units that differ in their truth tables only. A frame is a
set of places that can be together, and stands for a system for each choice of their tables.
mathematics.md 14.3; Marshall et al. 2024, section on intrinsic units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any, ClassVar

import numpy as np

from iitdask.errors import InputError, StateError, quote
from iitdask.model.background import Background
from iitdask.model.labels import is_listed, parse_units, state_text
from iitdask.model.macro_system import Member, State, parse_window, require_two_values
from iitdask.model.substrate import Substrate, target_fingerprint
from iitdask.model.system import Target
from iitdask.model.unit import MacroUnit, Unit, compose_tables, resolve_unit
from iitdask.types import Array

MAPPINGS = ("families", "exhaustive")
MAX_SEQUENCE_STATES = 16  # Of constituents, up to which all truth tables are listed
BOUNDS = ("updates", "depth", "constituents", "background")


@dataclass(frozen=True, eq=False)
class Candidate:
    """Constituents that may be a unit, with the background apportioned to it."""

    parts: tuple[MacroUnit, ...]  # By their first micro unit
    background: tuple[int, ...]  # Unit numbers, ascending
    # Of each part, the number of its place and of its truth table there
    origin: tuple[tuple[int, int], ...]

    @cached_property
    def units(self) -> tuple[int, ...]:
        """Micro constituents, ascending."""
        return tuple(sorted(unit for part in self.parts for unit in part.units))

    @property
    def is_micro(self) -> bool:
        """Whether it is one micro unit over one update."""
        return len(self.units) == 1 and self.parts[0].updates == 1

    @property
    def name(self) -> str:
        """Names of its parts."""
        plain = all(len(part.name) == 1 for part in self.parts)
        return ("" if plain else "+").join(part.name for part in self.parts)


@dataclass(frozen=True, eq=False)
class MappedUnits:
    """Units of one candidate over the same updates, one for each truth table."""

    candidate: Candidate
    updates: int  # Updates of the constituents
    tables: Array  # (T, 2**(constituents * updates)) uint8
    labels: tuple[str, ...]  # Of the substrate
    is_valid: bool = True  # Whether its candidate was found to be a unit
    _units: dict[int, MacroUnit] = field(default_factory=dict)

    @cached_property
    def mask(self) -> int:
        """Micro constituents as bits."""
        return sum(1 << unit for unit in self.candidate.units)

    @cached_property
    def stake(self) -> int:
        """Micro constituents and apportioned background as bits."""
        return self.mask | sum(1 << unit for unit in self.candidate.background)

    @cached_property
    def member(self) -> Member:
        """The place as part of a system."""
        parts = self.candidate.parts
        digits = range(len(parts) * self.updates)
        micro, tables = compose_tables(parts, digits, self.tables, "units")
        grain = self.updates * parts[0].updates
        return Member(
            self.candidate.units, grain, micro, tables, self.candidate.background, self.name(0)
        )

    def __len__(self) -> int:
        return len(self.tables)

    def name(self, table: int) -> str:
        """Return the name of the unit of one truth table."""
        return self.unit(table).name

    def unit(self, table: int) -> MacroUnit:
        """Return the unit of one truth table."""
        if table not in self._units:
            members = tuple(
                self.labels[part.units[0]] if part.definition.is_micro else part.definition
                for part in self.candidate.parts
            )
            background = tuple(self.labels[unit] for unit in self.candidate.background)
            digits = tuple(range(len(members) * self.updates))
            values = self.tables[table].astype(np.uint8).tobytes()
            definition = Unit(members, self.updates, digits, values, background)
            self._units[table] = resolve_unit(definition, self.labels)
        return self._units[table]


Frame = tuple[int, ...]  # Numbers of places, by their first micro unit


@dataclass(frozen=True, eq=False)
class GrainSearch(Target):
    """Units of all grains within bounds, and their systems.

    Build one with :meth:`build`.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "state", "window", "mappings", *BOUNDS, "footprints",
    )  # fmt: skip
    REQUIRED: ClassVar[int] = 1
    ALTERNATIVES: ClassVar[Mapping[str, str]] = {"state": "window"}

    window: tuple[State, ...]  # States of all micro units, oldest first, as many as are needed
    mappings: str  # Policy of truth tables, one of MAPPINGS
    updates: int  # Most updates of its constituents that one update of a unit spans
    depth: int  # Levels of units above the micro units
    constituents: int  # Most micro constituents of a unit
    background: int  # Most background units apportioned in a system
    footprints: tuple[tuple[tuple[int, ...], ...], ...]
    """Systems looked at, by the micro constituents of their units; empty: all."""

    @classmethod
    def build(  # noqa: PLR0917 - the fields of a study
        cls,
        substrate: Substrate,
        state: object = None,
        window: object = None,
        mappings: str = "families",
        updates: int = 1,
        depth: int = 1,
        constituents: int = 4,
        background: int = 0,
        footprints: Iterable[Any] | None = None,
    ) -> GrainSearch:
        """Build a search; of a longer window its last states are taken."""
        require_two_values(substrate.levels, substrate.labels)
        if state is not None and window is not None:
            raise StateError("window: expected either a state or a window, got both")
        given = state if window is None else window
        if not isinstance(mappings, str) or mappings not in MAPPINGS:
            known = ", ".join(MAPPINGS)
            raise InputError(f"mappings: expected one of {known}, got {quote(mappings)}")
        bounds = {"updates": updates, "depth": depth, "constituents": constituents}
        for name, value in {**bounds, "background": background}.items():
            least = int(name != "background")
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or value < least:
                text = f"expected a whole number from {least} on, got {quote(value)}"
                raise InputError(f"{name}: {text}")
        states = parse_window(substrate.levels, substrate.labels, given)
        needed = updates**depth
        if len(states) < needed:
            raise StateError(
                f"window: expected {needed} states, as many as units of {updates} updates on "
                f"{depth} level{'s' if depth > 1 else ''} span, got {len(states)}"
            )
        systems = _parse_footprints(footprints, substrate.labels)
        states = states[len(states) - needed :]
        Background.from_state(substrate, states[0])  # refuses a state that cannot be
        return cls(
            substrate, states, mappings, int(updates), int(depth), int(constituents),
            int(background), systems,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that build the search again."""
        labels = self.substrate.labels
        return {
            "window": [list(state) for state in self.window],
            "mappings": self.mappings,
            **{name: getattr(self, name) for name in BOUNDS},
            "footprints": [
                [[labels[unit] for unit in units] for units in system] for system in self.footprints
            ]
            or None,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results."""
        bounds = [MAPPINGS.index(self.mappings), *(getattr(self, name) for name in BOUNDS)]
        lists: list[Sequence[int]] = [*self.window, bounds]
        for system in self.footprints:
            lists += [(), *system]
        return target_fingerprint("grains", self.substrate, lists)

    @property
    def micro_state(self) -> State:
        """State of all micro units now."""
        return self.window[-1]

    @property
    def state_text(self) -> str:
        """The states of the window as text."""
        return " ".join(map(state_text, self.window))

    def micro_places(self) -> list[MappedUnits]:
        """Return the micro units, each a place of its own."""
        places, labels = [], self.substrate.labels
        for unit, label in enumerate(labels):
            part = resolve_unit(label, labels)
            table = np.array([[0, 1]], np.uint8)
            places.append(MappedUnits(Candidate((part,), (), ((unit, 0),)), 1, table, labels))
        return places

    def footprint_sizes(self) -> range:
        """Numbers of micro constituents that candidates have."""
        if self.footprints:
            return range(1, max(len(units) for system in self.footprints for units in system) + 1)
        most = min(self.substrate.n_units, self.constituents)
        return range(1 if self.updates > 1 else 2, most + 1)

    def candidates(
        self, size: int, places: Sequence[MappedUnits], numbers: Sequence[int]
    ) -> list[Candidate]:
        """Return the candidates of so many micro constituents, from the units of some places."""
        everyone = range(self.substrate.n_units)
        wanted: Iterable[tuple[int, ...]] = combinations(everyone, size)
        if self.footprints:
            listed = {units for system in self.footprints for units in system}
            wanted = sorted(units for units in listed if len(units) == size)
        found = []
        for units in wanted:
            mask = sum(1 << unit for unit in units)
            inside = [k for k in numbers if places[k].mask & ~mask == 0 and places[k].is_valid]
            for cover in _exact_covers(mask, inside, places):
                if len({places[k].member.updates for k in cover}) > 1:
                    continue
                if len(cover) == 1 and self.updates == 1:
                    continue
                for origin in _choices(cover, places):
                    parts = tuple(places[k].unit(t) for k, t in origin)
                    own = sorted({u for part in parts for u in part.background})
                    free = [u for u in everyone if not mask >> u & 1 and u not in own]
                    for extra in range(self.background - len(own) + 1):
                        for more in combinations(free, extra):
                            background = tuple(sorted((*own, *more)))
                            found.append(Candidate(parts, background, origin))
        return found

    def places_of(self, candidate: Candidate, *, is_valid: bool) -> list[MappedUnits]:
        """Return what a candidate becomes: a place for each number of updates."""
        m, found = len(candidate.parts), []
        for updates in range(2 if m == 1 else 1, self.updates + 1):
            tables = truth_tables(self.mappings, m, updates)
            found.append(MappedUnits(candidate, updates, tables, self.substrate.labels, is_valid))
        return found

    def frames(
        self, places: Sequence[MappedUnits], inside: int, allowed: int, strictly: bool
    ) -> Iterator[Frame]:
        """Yield the sets of valid places whose units lie inside, their background in `allowed`.

        `strictly` leaves out places that fill all of it.
        """
        fitting = [
            (k, place)
            for k, place in enumerate(places)
            if place.is_valid
            and place.mask & ~inside == 0
            and place.stake & ~place.mask & ~allowed == 0
            and not (strictly and place.mask == inside)
        ]
        yield from self._extended((), 0, fitting, places)

    def _extended(
        self,
        chosen: Frame,
        stakes: int,
        left: Sequence[tuple[int, MappedUnits]],
        places: Sequence[MappedUnits],
    ) -> Iterator[Frame]:
        for position, (k, place) in enumerate(left):
            if place.stake & stakes:
                continue
            frame, taken = (*chosen, k), stakes | place.stake
            inside = sum(places[j].mask for j in frame)
            if (taken & ~inside).bit_count() <= self.background:
                yield tuple(sorted(frame, key=lambda j: places[j].candidate.units[0]))
                yield from self._extended(frame, taken, left[position + 1 :], places)

    def listed_frames(self, places: Sequence[MappedUnits]) -> list[Frame]:
        """Return the frames of the footprints that were asked for."""
        found: list[Frame] = []
        for system in self.footprints:
            own = [
                [k for k, place in enumerate(places) if place.candidate.units == units]
                for units in system
            ]
            rows: list[Frame] = [()]
            for numbers in own:
                rows = [(*row, k) for row in rows for k in numbers]
            found += [row for row in rows if self._fits(row, places)]
        return list(dict.fromkeys(found))

    def _fits(self, frame: Frame, places: Sequence[MappedUnits]) -> bool:
        stakes = [places[k].stake for k in frame]
        masks = sum(places[k].mask for k in frame)
        is_disjoint = sum(stakes).bit_count() == sum(stake.bit_count() for stake in stakes)
        return is_disjoint and (sum(stakes) & ~masks).bit_count() <= self.background


def n_systems(frame: Frame, places: Sequence[MappedUnits]) -> int:
    """Return how many systems a frame stands for."""
    return prod(len(places[k]) for k in frame)


def _exact_covers(
    mask: int, numbers: Sequence[int], places: Sequence[MappedUnits]
) -> Iterator[Frame]:
    """Yield sets of places whose micro constituents fill a mask, by their first unit."""
    if not mask:
        yield ()
        return
    low = mask & -mask
    for k in numbers:
        place = places[k]
        if place.mask & low and place.mask & ~mask == 0:
            rest = [j for j in numbers if places[j].stake & place.stake == 0]
            for cover in _exact_covers(mask & ~place.mask, rest, places):
                yield (k, *cover)


def _choices(cover: Frame, places: Sequence[MappedUnits]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield one unit of each place of a cover, as numbers of places and truth tables."""
    if not cover:
        yield ()
        return
    for table in range(len(places[cover[0]])):
        for rest in _choices(cover[1:], places):
            yield ((cover[0], table), *rest)


def truth_tables(mappings: str, constituents: int, updates: int) -> Array:
    """Return the truth tables of a policy, (T, 2**(constituents * updates)) uint8.

    Each stands for its complement, too, and gives 0 for the first state. mathematics.md 14.3.

    Examples
    --------
    >>> ["".join(map(str, row)) for row in truth_tables("families", 2, 1).tolist()]
    ['0111', '0110', '0001', '0101', '0011']
    """
    states = np.arange(1 << (constituents * updates))
    if mappings == "exhaustive":
        if len(states) > MAX_SEQUENCE_STATES:
            raise InputError(
                f"mappings: exhaustive: expected at most {MAX_SEQUENCE_STATES} states of a "
                f"sequence, got {len(states)} of {constituents} constituents over {updates} "
                "updates; choose fewer, or families"
            )
        numbers = np.arange(1, 1 << (len(states) - 1))
        rows = numbers[:, None] >> states & 1
    else:
        rows = _family_tables(states, constituents, updates)
    rows = np.where(rows[:, :1] == 1, 1 - rows, rows)
    _, first = np.unique(rows, axis=0, return_index=True)
    return np.ascontiguousarray(rows[np.sort(first)], np.uint8)


def _family_tables(states: Array, constituents: int, updates: int) -> Array:
    """Return coarse-grainings, of one update, and black boxes that read the last update."""
    rows = []
    if updates == 1:
        on = np.bitwise_count(states.astype(np.uint64)).astype(np.int64)
        rows += [numbers >> on & 1 for numbers in range(1, 1 << constituents)]
    last = states >> (constituents * (updates - 1))
    rows += [(last & chosen == chosen).astype(np.int64) for chosen in range(1, 1 << constituents)]
    return np.array(rows)


def _parse_footprints(
    footprints: Any, labels: tuple[str, ...]
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return systems as the micro constituents of their units, ascending."""
    if footprints is None:
        return ()
    if isinstance(footprints, str) or not is_listed(footprints):
        raise InputError(
            'footprints: expected a list of systems such as ("ABC", "DEF"), '
            f"got {quote(footprints)}"
        )
    systems = []
    for number, system in enumerate(footprints):
        place = f"footprints: entry {number}"
        if isinstance(system, str) or not is_listed(system):
            raise InputError(f'{place}: expected units such as ("ABC", "DEF"), got {quote(system)}')
        units = sorted(tuple(sorted(parse_units(each, labels, place))) for each in system)
        everyone = [unit for each in units for unit in each]
        if not everyone or not all(units):
            raise InputError(f"{place}: expected at least one unit, got none")
        if len(set(everyone)) < len(everyone):
            twice = next(labels[unit] for unit in everyone if everyone.count(unit) > 1)
            raise InputError(f"{place}: expected units without common constituents, got {twice!r}")
        systems.append(tuple(units))
    if not systems:
        raise InputError("footprints: expected at least one system, got none")
    return tuple(systems)
