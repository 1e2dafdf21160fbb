"""What the values along an axis mean for each kind of substrate of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import InputError, SpecError
from iitdask.kernels.batches import reachable_states
from iitdask.model import notation
from iitdask.model.batch import LARGEST
from iitdask.result.labels import state_text, units_text
from iitdask.study.axes import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from iitdask.study.grounds import Grounds, Kind

__all__ = ["Column", "state_column", "units_column"]

NO_SUCH_STATE = "a substrate with units like these has no such state"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of an axis of states or of candidate systems."""

    labels: tuple[str, ...]
    """What each is called in the result."""
    raw: tuple[Any, ...]
    """Each as it was given."""
    numbers: NDArray[Any]
    """(kinds, values) state as a little-endian number, units as a mask; -1 where none fits."""
    problems: dict[tuple[int, int], str]
    """Why a value does not fit a kind."""
    frequency: NDArray[Any] | None = None
    """(G, values) share of a trajectory's steps, where the values come from one."""


def state_column(given: Any, grounds: Grounds, where: str) -> Column:
    """Read states: one, a list of them, or a rule.

    Raises
    ------
    SpecError
        A rule needs all states of a substrate that has too many, or no state fits anywhere.
    """
    if isinstance(given, Rule):
        return _ruled(given, grounds, where)
    return _column(given, grounds.kinds, _state_number, where)


def units_column(given: Any, grounds: Grounds, where: str) -> Column:
    """Read candidate systems: one, a list of them, or a rule."""
    if isinstance(given, Rule):
        names: dict[str, Any] = {}
        for kind in grounds.kinds:
            n = len(kind.labels)
            if n > 16 and given.kind == "all":
                raise SpecError(f"{where}: all: {2**n - 1} candidates are too many; give a size")
            sizes = [given.size] if given.kind == "size" else range(1, n + 1)
            for size in sizes:
                for chosen in combinations(range(n), size):
                    own = [kind.labels[i] for i in chosen]
                    names.setdefault(units_text(own), own)
        if not names:
            raise SpecError(f"{where}: no substrate has {given.size} units")
        given = tuple(names.values())
    return _column(given, grounds.kinds, _mask, where)


def _column(given: Sequence[Any], kinds: Sequence[Kind], read: Any, where: str) -> Column:
    numbers = np.full((len(kinds), len(given)), -1)
    problems: dict[tuple[int, int], str] = {}
    labels: list[str] = []
    for v, value in enumerate(given):
        name = None
        for k, kind in enumerate(kinds):
            try:
                numbers[k, v], text = read(value, kind)
                name = name or text
            except InputError as error:
                problems[k, v] = str(error)
        labels.append(name or str(value))
    if len(problems) == numbers.size:
        raise SpecError(f"{where}: {next(iter(problems.values()))}")
    return Column(_distinct(labels), tuple(given), numbers, problems)


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels with what repeats numbered: two writings of one value are two values."""
    seen: dict[str, int] = {}
    out = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        out.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return tuple(out)


def _state_number(value: Any, kind: Kind) -> tuple[int, str]:
    state = notation.as_state(value, kind.levels, kind.labels)
    if math.prod(kind.levels) > LARGEST:
        return 0, state_text(state)
    code = 0
    for one, k in zip(reversed(state), reversed(kind.levels), strict=True):
        code = code * k + one
    return code, state_text(state)


def _mask(value: Any, kind: Kind) -> tuple[int, str]:
    if value is None:
        chosen = tuple(range(len(kind.labels)))
    else:
        chosen = tuple(sorted(notation.resolved(value, notation.numbered(kind.labels), "units")))
    if not chosen:
        raise InputError("units: expected at least one unit, got none")
    text = units_text([kind.labels[i] for i in chosen])
    return (sum(1 << i for i in chosen) if len(kind.labels) <= 62 else 0), text


def _ruled(rule: Rule, grounds: Grounds, where: str) -> Column:
    """States that a rule stands for, over all kinds of substrates."""
    for kind in grounds.kinds:
        if math.prod(kind.levels) > LARGEST:
            raise SpecError(
                f"{where}: {rule.kind}: a substrate of {len(kind.levels)} units has too many "
                f"states to list (at most {LARGEST}); give a list of states"
            )
    visits = _visits(rule, grounds) if rule.kind == "trajectory" else None
    labels: dict[str, int] = {}
    codes: list[dict[str, int]] = []
    for k, kind in enumerate(grounds.kinds):
        every: Sequence[int] = range(math.prod(kind.levels))
        if rule.kind == "reachable":
            every = _reachable(k, grounds)
        elif visits is not None:
            here = visits[grounds.kind == k][:, : len(every)]
            every = np.flatnonzero(here.any(axis=0)).tolist()
        own = {state_text(_digits(code, kind.levels)): code for code in every}
        codes.append(
            {state_text(_digits(c, kind.levels)): c for c in range(math.prod(kind.levels))}
        )
        for label in own:
            labels.setdefault(label, len(labels))
    if not labels:
        raise SpecError(f"{where}: {rule.kind}: there is no such state")
    numbers = np.array([[own.get(label, -1) for label in labels] for own in codes])
    problems = {(int(k), int(v)): NO_SUCH_STATE for k, v in np.argwhere(numbers < 0)}
    frequency = None
    if visits is not None:
        frequency = np.zeros((len(grounds.kind), len(labels)))
        for g, k in enumerate(grounds.kind.tolist()):
            if k >= 0:
                there = numbers[k] >= 0
                frequency[g, there] = visits[g, numbers[k][there]]
    return Column(tuple(labels), tuple(labels), numbers, problems, frequency)


def _digits(code: int, levels: Sequence[int]) -> list[int]:
    out = []
    for k in levels:
        out.append(code % k)
        code //= k
    return out


def _reachable(k: int, grounds: Grounds) -> list[int]:
    """States that have a past in some substrate of a kind."""
    batch = grounds.batch
    out = np.zeros(math.prod(grounds.kinds[k].levels), np.bool_)
    levels = np.array(grounds.kinds[k].levels, np.int64)
    for place in np.unique(grounds.place[grounds.kind == k]).tolist():
        reachable_states(batch.tables, batch.starts, place, place + 1, levels, out)
        if out.all():
            break
    return np.flatnonzero(out).tolist()


def _visits(rule: Rule, grounds: Grounds) -> NDArray[Any]:
    """(G, states) share of the steps that the trajectory of each substrate spends in a state."""
    most = max(math.prod(kind.levels) for kind in grounds.kinds)
    out = np.zeros((len(grounds.kind), most))
    for g, k in enumerate(grounds.kind.tolist()):
        if k < 0:
            continue
        kind, place = grounds.kinds[k], int(grounds.place[g])
        begin, end = grounds.batch.starts[place : place + 2]
        table = grounds.batch.tables[begin:end].reshape(math.prod(kind.levels), -1)
        rng = np.random.default_rng([rule.seed, 1])
        code = int(rng.integers(len(table)))
        if rule.start is not None:
            code, _ = _state_number(rule.start, kind)
        draws = rng.random((rule.burn + rule.steps, len(kind.levels)))
        for step in range(rule.burn + rule.steps):
            code = _next(table[code], kind.levels, draws[step])
            if step >= rule.burn:
                out[g, code] += 1.0
    return out / rule.steps


def _next(row: NDArray[Any], levels: Sequence[int], draws: NDArray[Any]) -> int:
    code, weight, column = 0, 1, 0
    for i, k in enumerate(levels):
        total, value = 0.0, 0
        while value < k - 1:
            total += row[column + value]
            if draws[i] < total:
                break
            value += 1
        code += value * weight
        weight *= k
        column += k
    return code
