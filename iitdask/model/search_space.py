"""What a search for networks looks at: all tables, a family, or climbs over tables or weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from iitdask.errors import InputError, quote
from iitdask.model.array_input import as_array
from iitdask.model.batch import Family
from iitdask.model.labels import decode_state, suggestion
from iitdask.model.substrate import Substrate, target_fingerprint
from iitdask.model.system import Target

MAX_LISTED_UNITS = 3  # Four units have 2^64 tables
MAX_CLIMBING_UNITS = 7  # Of the networks that hill climbing moves among
MAX_NUMBER = 10**6  # Of climbs, steps and neighbours
KINDS = ("tables", "weights", "family")
CLIMB_DEFAULTS: Mapping[str, Any] = {"climbs": 20, "steps": 100, "seed": 0}
WEIGHT_DEFAULTS: Mapping[str, Any] = {
    **CLIMB_DEFAULTS,
    "neighbours": 16,
    "scale": 1.0,
    "activation": "logistic",
    "bias": 0,
    "slope": 1,
}
COMMON_DEFAULTS: Mapping[str, Any] = {"maximise": "phi", "states": "all", "top": 20}


@dataclass(frozen=True, eq=False)
class SearchSpace(Target):
    """The networks that a search looks at, what is the largest of them, and how it climbs."""

    FIELDS: ClassVar[tuple[str, ...]] = ("search",)
    REQUIRED: ClassVar[int] = 0

    search: Mapping[str, Any]  # All options, as plain numbers, texts and lists

    @classmethod
    def build(cls, substrate: Substrate, search: Any = None) -> Self:
        """Build the target; without a space it is all tables of as many units."""
        if search is None:
            search = {"tables": substrate.n_units}
            if set(substrate.levels) != {2} or substrate.n_units > MAX_LISTED_UNITS:
                raise InputError(
                    f"search: expected at most {MAX_LISTED_UNITS} units of two values, got "
                    f"{substrate.n_units} units of up to {max(substrate.levels)}"
                )
        return cls(substrate, parse_space(search))

    @classmethod
    def own_substrate(cls, search: Any = None, **_fields: Any) -> Substrate | None:
        """Return the network that climbs over weights begin with, or one with as many units."""
        return None if search is None else first_network(parse_space(search))

    @property
    def kind(self) -> str:
        """``tables``, ``weights`` or ``family``."""
        return kind_of(self.search)

    @property
    def is_exhaustive(self) -> bool:
        """Whether all networks are looked at."""
        return "climbs" not in self.search

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results; how many are shown does not."""
        said = {key: value for key, value in self.search.items() if key != "top"}
        text = json.dumps(said, sort_keys=True)
        first = target_fingerprint("search", self.substrate, [])
        return hashlib.sha256(f"{first}\n{text}".encode()).hexdigest()

    def state_codes(self) -> list[int]:
        """Return the numbers of the states over which the maximum is taken."""
        n = self.substrate.n_units
        if self.search["states"] == "all":
            return list(range(2**n))
        states = [self.substrate.parse_state(state) for state in self.search["states"]]
        return [sum(value << i for i, value in enumerate(state)) for state in states]

    def state_values(self, code: int) -> tuple[int, ...]:
        """Return the values of the units in a state by number."""
        return tuple(decode_state(code, self.substrate.levels))


def kind_of(space: Mapping[str, Any]) -> str:
    """Return what a space consists of."""
    return next(kind for kind in KINDS if kind in space)


def family_block(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return the family that a space is, without what else is said of the search."""
    return {key: value for key, value in space.items() if key not in COMMON_DEFAULTS}


def first_network(space: Mapping[str, Any]) -> Substrate:
    """Return a network of a space: of weights that of the start, of tables one of as many units."""
    if "weights" in space:
        return start_network(space, np.array(space["weights"], np.float64))
    if "family" in space:
        (family,) = Family.from_block(family_block(space), "search")
        return Substrate.from_units(family.block(0)["units"])
    return Substrate.from_units([{"gate": "BIAS", "probability": 0.5}] * space["tables"])


def start_network(space: Mapping[str, Any], weights: Any) -> Substrate:
    """Return the network of a matrix of weights under the options of a space."""
    options = {name: space[name] for name in ("activation", "bias", "slope")}
    return Substrate.from_weights(weights, **options, where="search: weights")


def parse_space(given: Any, where: str = "search") -> dict[str, Any]:
    """Return all options of a search, checked, those not given at their defaults.

    Examples
    --------
    >>> parse_space({"tables": 4, "climbs": 2})["steps"]
    100
    """
    found = [kind for kind in KINDS if kind in given] if isinstance(given, Mapping) else []
    if len(found) != 1:
        raise InputError(
            f"{where}: expected a mapping with one of {', '.join(KINDS)}, got {quote(given)}"
        )
    (kind,) = found
    options = dict(COMMON_DEFAULTS)
    if kind == "family":
        space = {**options, **given}
        families = Family.from_block(family_block(space), where)
        if len(families) != 1:
            raise InputError(f"{where}: n: expected one number of units, got {quote(given['n'])}")
    else:
        options |= WEIGHT_DEFAULTS if kind == "weights" else _table_defaults(given, where)
        for key in given:
            if key != kind and key not in options:
                raise InputError(f"{where}: unknown key {quote(key)}; {suggestion(key, options)}")
        space = {kind: given[kind], **options, **given}
        if kind == "weights":
            space["weights"] = _start_weights(given["weights"], f"{where}: weights")
        _check_climbs(space, where)
    if not isinstance(space["maximise"], str):
        raise InputError(f"{where}: maximise: expected a name, got {quote(space['maximise'])}")
    states = space["states"]
    if states != "all" and not (isinstance(states, list | tuple) and states):
        raise InputError(f"{where}: states: expected all or a list, got {quote(states)}")
    require_count(space["top"], f"{where}: top")
    return space


def _table_defaults(given: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the options of climbs, where tables are too many to list or climbs are asked for."""
    n = given["tables"]
    require_count(n, f"{where}: tables", MAX_CLIMBING_UNITS)
    is_climb = n > MAX_LISTED_UNITS or CLIMB_DEFAULTS.keys() & given.keys()
    return CLIMB_DEFAULTS if is_climb else {}


def _start_weights(given: Any, where: str) -> list[list[float]]:
    """Return the matrix that climbs begin with, (N, N) [source, target]; a number: all 1."""
    if isinstance(given, int):
        require_count(given, where, MAX_CLIMBING_UNITS)
        return [[1.0] * given] * given
    weights = as_array(given, where)
    n = len(weights) if weights.ndim == 2 and weights.shape[0] == weights.shape[1] else 0
    if not 1 <= n <= MAX_CLIMBING_UNITS or weights.dtype.kind not in "iuf":
        expected = f"expected a number of units or a square matrix of at most {MAX_CLIMBING_UNITS}"
        raise InputError(f"{where}: {expected}, got {quote(given)}")
    return [[float(value) for value in row] for row in weights.tolist()]


def _check_climbs(space: Mapping[str, Any], where: str) -> None:
    for name in ("climbs", "steps", "neighbours"):
        if name in space:
            require_count(space[name], f"{where}: {name}")
    if "seed" in space:
        require_count(space["seed"], f"{where}: seed", 2**63 - 1, least=0)
    scale = space.get("scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < np.inf:
        raise InputError(f"{where}: scale: expected a number above 0, got {quote(scale)}")


def require_count(value: Any, where: str, most: int = MAX_NUMBER, least: int = 1) -> None:
    """Refuse what is no whole number of a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(
            f"{where}: expected a whole number from {least} to {most}, got {quote(value)}"
        )
