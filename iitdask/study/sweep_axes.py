"""Parser of the ``sweep:`` block of a study, and the registry of the axes it may have.

What the values read here mean for each substrate is in :mod:`iitdask.study.axis_values`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iitdask.errors import SpecError
from iitdask.model.batch import Family, rule_classes
from iitdask.study.axis_values import (
    Axis,
    AxisValues,
    SubstrateGrid,
    ValueRule,
    candidate_values,
    state_values,
)

MAX_AXIS_VALUES = 10**7  # Values an axis may have
STATE_RULES = ("all", "reachable")  # Rules that a study names by a word; `trajectory` is a mapping
SPACINGS = ("linspace", "geomspace", "range")  # Numbers given by their ends, as NumPy does
TRAJECTORY_DEFAULTS: dict[str, Any] = {"start": None, "steps": None, "burn": 0, "seed": 0}

Values = ValueRule | tuple[Any, ...]


def read_axes(block: Any, where: str = "sweep") -> tuple[Axis, ...]:
    """Read the axes of a sweep: a mapping from the name of an axis to its values.

    Values are a list, or a mapping with one of ``linspace``, ``geomspace`` and ``range``, or a
    rule that the kind of the axis in ``AXES`` reads. Under ``zip`` there is a mapping, or a list
    of mappings, of axes that go through their values together.
    """
    if not isinstance(block, Mapping) or not block:
        raise SpecError(f"{where}: expected a mapping from axes to values, got {block!r}")
    axes: list[Axis] = []
    for name, content in block.items():
        if name == "zip":
            groups = content if isinstance(content, list | tuple) else [content]
            for number, group in enumerate(groups):
                axes += _read_zipped(group, f"{where}: zip {number}")
        else:
            axes.append(_read_axis(str(name), content, f"{where}: {name}"))
    for name, count in Counter(axis.name for axis in axes).items():
        if count > 1:
            raise SpecError(f"{where}: {name}: an axis is given twice")
    return tuple(axes)


def _read_zipped(group: Any, where: str) -> list[Axis]:
    """Read axes that share a dimension; only the first, which names it, needs distinct values."""
    if not isinstance(group, Mapping) or len(group) < 2:
        raise SpecError(f"{where}: expected a mapping of two or more axes, got {group!r}")
    dim = str(next(iter(group)))
    axes = []
    for name, content in group.items():
        axis = _read_axis(str(name), content, f"{where}: {name}", dim)
        if isinstance(axis.values, ValueRule):
            raise SpecError(f"{where}: {name}: expected a list to go with others, got {content!r}")
        axes.append(axis)
    lengths = {axis.name: len(axis.listed) for axis in axes}
    if len(set(lengths.values())) > 1:
        raise SpecError(f"{where}: expected axes of one length, got {lengths}")
    return axes


def _read_axis(name: str, content: Any, where: str, dim: str | None = None) -> Axis:
    """Read an axis; its values must be distinct unless it shares the dimension of another."""
    kind = AXES.get(name, PARAMETER_AXIS)
    values = kind.read_rule(content, where)
    if values is None and isinstance(content, Mapping):
        values = _read_spaced(content, where)
    elif values is None:
        values = _read_list(content, where, kind, distinct=dim in (None, name))
    return Axis(name, values, dim or name, kind.is_parameter)


def _read_list(content: Any, where: str, kind: AxisKind, *, distinct: bool) -> tuple[Any, ...]:
    if isinstance(content, str) or not isinstance(content, Sequence | np.ndarray):
        raise SpecError(f"{where}: expected a list of values, got {content!r}")
    values = tuple(value.item() if isinstance(value, np.generic) else value for value in content)
    values = tuple(one for value in values for one in kind.expand(value, where))
    if not 0 < len(values) <= MAX_AXIS_VALUES:
        raise SpecError(f"{where}: expected 1 to {MAX_AXIS_VALUES} values, got {len(values)}")
    if distinct and kind.is_distinct:
        for text, count in Counter(map(repr, values)).items():
            if count > 1:
                raise SpecError(f"{where}: value {text} is given twice")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_spaced(content: Mapping[str, Any], where: str) -> tuple[float, ...]:
    """Read numbers given by their ends."""
    kind = next(iter(content)) if len(content) == 1 else ""
    if kind not in SPACINGS:
        known = ", ".join(SPACINGS)
        raise SpecError(f"{where}: expected a list or one of {known}, got {dict(content)!r}")
    where, three = f"{where}: {kind}", content[kind]
    is_triple = isinstance(three, list | tuple) and len(three) == 3
    if not is_triple or not all(_is_number(v) and math.isfinite(v) for v in three):
        form = "[first, end, step]" if kind == "range" else "[first, last, how many]"
        raise SpecError(f"{where}: expected {form}, got {three!r}")
    first, last, third = three
    if kind == "range":
        if third == 0 or (last - first) / third > MAX_AXIS_VALUES:
            raise SpecError(f"{where}: expected a step that leads to the end, got {three!r}")
        values = np.arange(first, last, third)
    else:
        if not isinstance(third, int) or not 1 <= third <= MAX_AXIS_VALUES:
            raise SpecError(f"{where}: expected a whole number of values, got {third!r}")
        if kind == "geomspace" and first * last <= 0:
            raise SpecError(f"{where}: expected ends of one sign, got {three!r}")
        values = (np.linspace if kind == "linspace" else np.geomspace)(first, last, third)
    if not len(values):
        raise SpecError(f"{where}: expected at least one value, got none")
    return tuple(values.tolist())


def _units_rule(content: Any, where: str) -> ValueRule | None:
    """Read ``all`` or ``{size: n}``."""
    if isinstance(content, str) and content == "all":
        return ValueRule("all")
    if not isinstance(content, Mapping):
        return None
    if set(content) != {"size"} or not _is_whole(content["size"]):
        raise SpecError(f"{where}: expected {{size: how many}}, got {dict(content)!r}")
    return ValueRule("size", size=content["size"])


def _state_rule(content: Any, where: str) -> ValueRule | None:
    """Read ``all``, ``reachable`` or ``{trajectory: {...}}``."""
    if isinstance(content, str):
        if content not in STATE_RULES:
            raise SpecError(
                f"{where}: expected all, reachable or a list of states, got {content!r}"
            )
        return ValueRule(content)
    if not isinstance(content, Mapping):
        return None
    if set(content) != {"trajectory"} or not isinstance(content["trajectory"], Mapping):
        raise SpecError(f"{where}: expected {{trajectory: {{steps: ...}}}}, got {content!r}")
    where, given = f"{where}: trajectory", content["trajectory"]
    for key in given:
        if key not in TRAJECTORY_DEFAULTS:
            known = ", ".join(TRAJECTORY_DEFAULTS)
            raise SpecError(f"{where}: unknown key {key!r}; it has {known}")
    settings = TRAJECTORY_DEFAULTS | dict(given)
    for key in ("steps", "burn", "seed"):
        if not _is_whole(settings[key]) or settings[key] < (key == "steps"):
            raise SpecError(f"{where}: {key}: expected a whole number, got {settings[key]!r}")
    return ValueRule("trajectory", **settings)


def _is_family(value: Any) -> bool:
    return isinstance(value, Mapping) and "family" in value


def _substrate_rule(content: Any, where: str) -> tuple[Any, ...] | None:
    """Read one family in place of a list."""
    return _expand_family(content, where) if _is_family(content) else None


def _expand_family(value: Any, where: str) -> tuple[Any, ...]:
    """Return every member of the families of a block; any other substrate unchanged."""
    if not _is_family(value):
        return (value,)
    families = Family.from_block(value, where)
    return tuple((family, number) for family in families for number in range(family.count))


def _number_rule(content: Any, _where: str) -> tuple[int, ...] | None:
    """Read ``elementary-88``: one rule number of each class of cellular automata."""
    return rule_classes() if isinstance(content, str) and content == "elementary-88" else None


def _one_parameter(value: Any, where: str) -> tuple[Any, ...]:
    numbers = value if isinstance(value, list | tuple) else [value]
    if not numbers or not all(map(_is_number, numbers)):
        raise SpecError(f"{where}: expected numbers, or lists of numbers, got {value!r}")
    return (value,)


@dataclass(frozen=True, slots=True)
class AxisKind:
    """How the values of an axis are read, and what they mean.

    A computation takes the axes that are fields of its target, see
    :data:`iitdask.theory.catalog.COMPUTATIONS`, and all that are no such fields.
    """

    read_rule: Callable[[Any, str], Values | None] = lambda _content, _where: None
    """Reads a short form that stands for many values; None for anything else."""
    expand: Callable[[Any, str], tuple[Any, ...]] = lambda value, _where: (value,)
    """Checks one value of a list; returns the values it stands for."""
    is_distinct: bool = True  # Whether a value may be listed once only
    resolve: Callable[[Any, SubstrateGrid, str], AxisValues] | None = None
    """Finds what the values mean for each kind of substrate, for a field of targets."""
    is_required: bool = False  # Whether a computation that takes the field needs a value of it
    is_parameter: bool = False  # Whether units have it as a parameter of their gates


STATE_AXIS = AxisKind(read_rule=_state_rule, resolve=state_values, is_required=True)
AXES: Mapping[str, AxisKind] = {
    "substrate": AxisKind(read_rule=_substrate_rule, expand=_expand_family, is_distinct=False),
    "state": STATE_AXIS,
    "before": STATE_AXIS,
    "after": STATE_AXIS,
    "units": AxisKind(read_rule=_units_rule, resolve=candidate_values),
    "theory": AxisKind(),
    "compute": AxisKind(),
    "number": AxisKind(read_rule=_number_rule, expand=_one_parameter, is_parameter=True),
}
"""The axes by name; any other name is a ``PARAMETER_AXIS``."""
PARAMETER_AXIS = AxisKind(expand=_one_parameter, is_parameter=True)
"""A parameter of all units that have it, or ``UNIT.parameter``, ``UNIT.weights.SOURCE``."""
