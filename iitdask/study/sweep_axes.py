"""Axes of a sweep: how a study writes them, and what they mean for each of its substrates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from iitdask.errors import InputError, SpecError, SubstrateError, quote
from iitdask.model import labels as notation
from iitdask.model.batch import MAX_TABLE_STATES, Family, rule_classes
from iitdask.model.checkpoints import list_checkpoints
from iitdask.model.dynamics import recurrent_states
from iitdask.model.labels import join_labels, state_text
from iitdask.study.sweep_substrates import (
    Axis,
    Draw,
    FamilyMember,
    SubstrateGrid,
    UnitSignature,
    ValueRule,
    make_unique,
    require_parameter_name,
)
from iitdask.types import Array

MAX_STEPS = 10**7  # Of a trajectory
MAX_EXACT_FLOAT = 2**53
MAX_FLOAT_BITS = 1000  # Of an integer
MAX_AXIS_VALUES = 10**7  # Values an axis may have
STATE_RULES = (
    "all",
    "reachable",
    "attractors",
)  # Rules that a study names by a word; `trajectory` is a mapping
SPACINGS = ("linspace", "geomspace", "range")  # Numbers given by their ends, as NumPy does
TRAJECTORY_DEFAULTS: dict[str, Any] = {"start": None, "steps": None, "burn": 0, "seed": 0}
WINDOW_DEFAULTS: dict[str, Any] = TRAJECTORY_DEFAULTS | {"length": None}
MAX_SEED = 2**63
MAX_LISTED_UNITS = 16  # Units up to which all candidate systems of a substrate are listed
NO_SUCH_STATE = "a substrate with units like these has no such state"


@dataclass(frozen=True, slots=True, eq=False)
class AxisValues:
    """The values of an axis of states or of candidate systems."""

    labels: tuple[Any, ...]  # Labels in the result: texts, or numbers
    raw: tuple[Any, ...]  # Values as they were given
    # (signatures, values) number of the state or mask of the units; -1 if none fits, 0 of windows
    # and of macro units
    numbers: Array
    problems: Mapping[tuple[int, int], str]  # Why a value does not fit, by (signature, value)
    frequency: Array | None = None  # (G, values) share of a trajectory's steps, if there is one


def state_values(values: ValueRule | Sequence[Any], grid: SubstrateGrid, where: str) -> AxisValues:
    """Resolve states: a list of them, or a rule: those of all signatures, as they are met."""
    if not isinstance(values, ValueRule):
        return _resolve(values, grid, UnitSignature.state_code, where)
    for signature in grid.signatures:
        if signature.n_states > MAX_TABLE_STATES:
            raise SpecError(
                f"{where}: {values.kind}: a substrate of {len(signature.levels)} units has too "
                f"many states to list (at most {MAX_TABLE_STATES}); give a list of states"
            )
    visits = _trajectory_shares(values, grid) if values.kind == "trajectory" else None
    states: dict[tuple[int, ...], None] = {}
    for k, signature in enumerate(grid.signatures):
        codes: Sequence[int] = range(signature.n_states)
        if visits is not None:
            codes = np.flatnonzero(visits[grid.signature == k].any(axis=0)).tolist()
        elif values.kind == "attractors":
            codes = _attractor_states(grid, k, values.size)
        elif values.kind == "reachable":
            members = np.unique(grid.batch_index[grid.signature == k])
            codes = grid.batch.reachable_states(members).tolist()
        states |= dict.fromkeys(notation.decode_state(code, signature.levels) for code in codes)
    if not states:
        raise SpecError(f"{where}: {values.kind}: there is no such state")
    resolved = _resolve(tuple(states), grid, UnitSignature.state_code, where)
    frequency = None
    if visits is not None:
        # (G, values); numbers below 0 do not fit the substrate.
        own = resolved.numbers[grid.signature]
        shares = np.take_along_axis(visits, np.maximum(own, 0), axis=1)
        frequency = np.where((own >= 0) & (grid.signature >= 0)[:, None], shares, 0.0)
    problems = dict.fromkeys(resolved.problems, NO_SUCH_STATE)
    return replace(resolved, raw=resolved.labels, problems=problems, frequency=frequency)


def _attractor_states(grid: SubstrateGrid, signature: int, most: int) -> list[int]:
    """Return the states of attractors of all substrates of a signature; `most` of each, 0 all."""
    codes: set[int] = set()
    for g in np.flatnonzero(grid.signature == signature).tolist():
        codes |= recurrent_states(grid.substrate(g), most or None).keys()
    return sorted(codes)


def candidate_values(
    values: ValueRule | Sequence[Any], grid: SubstrateGrid, where: str
) -> AxisValues:
    """Resolve candidate systems: a list of them, or a rule."""
    if isinstance(values, ValueRule):
        candidates: dict[str, list[str]] = {}
        for signature in grid.signatures:
            n = len(signature.labels)
            if n > MAX_LISTED_UNITS and values.kind == "all":
                raise SpecError(f"{where}: all: {2**n - 1} candidates are too many; give a size")
            for size in [values.size] if values.kind == "size" else range(1, n + 1):
                for chosen in combinations(signature.labels, size):
                    candidates.setdefault(join_labels(chosen, signature.labels), list(chosen))
        if not candidates:
            raise SpecError(f"{where}: no substrate has {values.size} units")
        values = tuple(candidates.values())
    return _resolve(values, grid, UnitSignature.unit_mask, where)


def window_values(values: ValueRule | Sequence[Any], grid: SubstrateGrid, where: str) -> AxisValues:
    """Resolve windows of states: a list of them, or those along a trajectory."""
    if not isinstance(values, ValueRule):
        return _resolve(values, grid, UnitSignature.window_text, where)
    length, shares = values.length or 1, dict[tuple[str, ...], Array]()
    for g, k in enumerate(grid.signature.tolist()):
        if k < 0:
            continue
        signature = grid.signatures[k]
        if grid.batch_index[g] < 0:
            raise SpecError(f"{where}: trajectory: a substrate of so many states; give a list")
        path = grid.batch.trajectory(
            int(grid.batch_index[g]), *_trajectory_arguments(values, signature)
        )
        states = [state_text(notation.decode_state(c, signature.levels)) for c in path.tolist()]
        count = len(states) - length + 1
        for first in range(count):
            window = tuple(states[first : first + length])
            shares.setdefault(window, np.zeros(len(grid.signature)))[g] += 1 / count
    if not shares:
        raise SpecError(
            f"{where}: trajectory: expected at least {length} steps, got {values.steps}"
        )
    resolved = _resolve([list(w) for w in shares], grid, UnitSignature.window_text, where)
    problems = dict.fromkeys(resolved.problems, NO_SUCH_STATE)
    return replace(resolved, problems=problems, frequency=np.stack([*shares.values()], axis=1))


def field_values(values: ValueRule | Sequence[Any], grid: SubstrateGrid, _where: str) -> AxisValues:
    """Resolve values of a field that mean the same for all substrates."""
    listed = () if isinstance(values, ValueRule) else tuple(values)
    numbers = np.zeros((len(grid.signatures), len(listed)), np.int64)
    return AxisValues(listed, listed, numbers, {})


def _resolve(
    values: Sequence[Any],
    grid: SubstrateGrid,
    number_of: Callable[[UnitSignature, Any], tuple[int, str]],
    where: str,
) -> AxisValues:
    """Find the number of each value for each signature."""
    numbers = np.full((len(grid.signatures), len(values)), -1)
    problems: dict[tuple[int, int], str] = {}
    labels: list[str] = []
    for v, value in enumerate(values):
        label = None
        for k, signature in enumerate(grid.signatures):
            try:
                numbers[k, v], text = number_of(signature, value)
                label = label or text
            except InputError as error:
                problems[k, v] = str(error)
        labels.append(label or str(value))
    if len(problems) == numbers.size:
        raise SpecError(f"{where}: {next(iter(problems.values()))}")
    return AxisValues(make_unique(labels, "{} ({})"), tuple(values), numbers, problems)


def _trajectory_shares(rule: ValueRule, grid: SubstrateGrid) -> Array:
    """(G, states) share of the steps that the trajectory of each substrate spends in a state."""
    shares = np.zeros((len(grid.signature), max(s.n_states for s in grid.signatures)))
    for g, k in enumerate(grid.signature.tolist()):
        if k >= 0:
            signature, number = grid.signatures[k], int(grid.batch_index[g])
            path = grid.batch.trajectory(number, *_trajectory_arguments(rule, signature))
            shares[g] = np.bincount(path, minlength=shares.shape[1]) / rule.steps
    return shares


def _trajectory_arguments(
    rule: ValueRule, signature: UnitSignature
) -> tuple[int | None, int, int, int]:
    """Return start, steps, steps before those, and seed of a trajectory."""
    start = None if rule.start is None else signature.state_code(rule.start)[0]
    return start, rule.steps, rule.burn, rule.seed


def read_axes(block: Any, where: str = "sweep", folder: Path = Path()) -> tuple[Axis, ...]:
    """Read the axes of a sweep: a mapping from the name of an axis to its values.

    Names of folders are seen from `folder`.

    Values are a list, or a mapping with one of ``linspace``, ``geomspace`` and ``range``, or a
    rule that the kind of the axis in ``AXES`` reads. Under ``zip`` there is a mapping, or a list
    of mappings, of axes that go through their values together.
    """
    if not isinstance(block, Mapping) or not block:
        raise SpecError(f"{where}: expected a mapping from axes to values, got {quote(block)}")
    axes: list[Axis] = []
    for name, content in block.items():
        if name in AXES:
            content = AXES[name].in_folder(content, folder)
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
        raise SpecError(f"{where}: expected a mapping of two or more axes, got {quote(group)}")
    dim = str(next(iter(group)))
    axes = []
    for name, content in group.items():
        place = f"{where}: {name}"
        axis = _read_axis(str(name), content, place, dim)
        if isinstance(axis.values, ValueRule):
            raise SpecError(f"{place}: expected a list to go with others, got {quote(content)}")
        axes.append(axis)
    lengths = {axis.name: len(axis.listed) for axis in axes}
    if len(set(lengths.values())) > 1:
        raise SpecError(f"{where}: expected axes of one length, got {lengths}")
    return axes


def _read_axis(name: str, content: Any, where: str, dim: str | None = None) -> Axis:
    """Read an axis; its values must be distinct unless it shares the dimension of another."""
    kind = AXES.get(name, PARAMETER_AXIS)
    if kind.is_parameter and name not in AXES:
        require_parameter_name(name, where)
    values = kind.read_rule(content, where)
    if values is None and isinstance(content, Mapping):
        values = _read_spaced(content, where)
    elif values is None:
        values = _read_list(content, where, kind, distinct=dim in (None, name))
    return Axis(name, values, dim or name, kind.is_parameter, kind.is_source)


def _read_list(content: Any, where: str, kind: AxisKind, *, distinct: bool) -> tuple[Any, ...]:
    if isinstance(content, np.ndarray) and content.ndim:
        content = list(content)
    if isinstance(content, str) or not isinstance(content, Sequence):
        raise SpecError(f"{where}: expected a list of values, got {quote(content)}")
    values = tuple(value.item() if isinstance(value, np.generic) else value for value in content)
    values = tuple(one for value in values for one in kind.expand(value, where))
    if not 0 < len(values) <= MAX_AXIS_VALUES:
        raise SpecError(f"{where}: expected 1 to {MAX_AXIS_VALUES} values, got {len(values)}")
    if distinct and kind.is_distinct:
        for text, count in Counter(_written(value, where) for value in values).items():
            if count > 1:
                raise SpecError(f"{where}: value {text} is given twice")
    return values


def _written(value: Any, where: str) -> str:
    """Return the text by which a value is told apart from others."""
    try:
        return repr(value)
    except (ValueError, RecursionError) as error:  # thousands of digits, or of lists in lists
        raise SpecError(f"{where}: a value is too long: {quote(value)}") from error


def _is_number(value: Any) -> bool:
    """Return True for a number that a float can hold."""
    is_small = isinstance(value, int) and value.bit_length() < MAX_FLOAT_BITS
    return (is_small or isinstance(value, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_spaced(content: Mapping[str, Any], where: str) -> tuple[float, ...]:
    """Read numbers given by their ends."""
    kind = next(iter(content)) if len(content) == 1 else ""
    if kind not in SPACINGS:
        known = ", ".join(SPACINGS)
        raise SpecError(f"{where}: expected a list or one of {known}, got {quote(dict(content))}")
    where, three = f"{where}: {kind}", content[kind]
    is_triple = isinstance(three, list | tuple) and len(three) == 3
    if not is_triple or not all(_is_number(v) and math.isfinite(v) for v in three):
        form = "[first, end, step]" if kind == "range" else "[first, last, how many]"
        raise SpecError(f"{where}: expected {form}, got {quote(three)}")
    first, last, third = three
    if max(abs(first), abs(last)) > MAX_EXACT_FLOAT:
        first, last = float(first), float(last)
    if kind == "range":
        if third == 0 or (last - first) / third > MAX_AXIS_VALUES:
            raise SpecError(f"{where}: expected a step that leads to the end, got {quote(three)}")
        values = np.arange(first, last, third)
    else:
        if not isinstance(third, int) or not 1 <= third <= MAX_AXIS_VALUES:
            raise SpecError(f"{where}: expected a whole number of values, got {quote(third)}")
        if kind == "geomspace" and first * last <= 0:
            raise SpecError(f"{where}: expected ends of one sign, got {quote(three)}")
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
        raise SpecError(f"{where}: expected {{size: how many}}, got {quote(dict(content))}")
    return ValueRule("size", size=content["size"])


def _state_rule(content: Any, where: str) -> ValueRule | None:
    """Read a word of ``STATE_RULES``, ``{attractors: how many}`` or ``{trajectory: {...}}``."""
    if isinstance(content, str):
        if content not in STATE_RULES:
            raise SpecError(
                f"{where}: expected {', '.join(STATE_RULES)} or a list of states, "
                f"got {quote(content)}"
            )
        return ValueRule(content)
    if isinstance(content, Mapping) and set(content) == {"attractors"}:
        most = content["attractors"]
        if most != "all" and not (_is_whole(most) and most > 0):
            raise SpecError(f"{where}: attractors: expected all or how many, got {quote(most)}")
        return ValueRule("attractors", size=0 if most == "all" else most)
    return _trajectory_rule(content, where, TRAJECTORY_DEFAULTS)


def _window_rule(content: Any, where: str) -> ValueRule | None:
    """Read ``{trajectory: {...}}``."""
    rule = _trajectory_rule(content, where, WINDOW_DEFAULTS)
    length = None if rule is None else rule.length
    if length is not None and not (_is_whole(length) and length >= 1):
        text = f"expected a whole number of states, got {quote(length)}"
        raise SpecError(f"{where}: trajectory: length: {text}")
    return rule


def _trajectory_rule(content: Any, where: str, defaults: Mapping[str, Any]) -> ValueRule | None:
    if not isinstance(content, Mapping):
        return None
    if set(content) != {"trajectory"} or not isinstance(content["trajectory"], Mapping):
        raise SpecError(f"{where}: expected {{trajectory: {{steps: ...}}}}, got {quote(content)}")
    where, given = f"{where}: trajectory", content["trajectory"]
    for key in given:
        if key not in defaults:
            known = ", ".join(defaults)
            raise SpecError(f"{where}: unknown key {quote(key)}; it has {known}")
    settings = dict(defaults) | dict(given)
    for key in ("steps", "burn", "seed"):
        if not _is_whole(settings[key]) or settings[key] < (key == "steps"):
            raise SpecError(f"{where}: {key}: expected a whole number, got {quote(settings[key])}")
    if settings["burn"] + settings["steps"] > MAX_STEPS:
        raise SpecError(f"{where}: expected at most {MAX_STEPS} steps, those of burn among them")
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
    return tuple(FamilyMember(each, number) for each in families for number in range(each.count))


def _checkpoint_rule(content: Any, where: str) -> tuple[Any, ...]:
    """Read a folder, a list of matrices, or a mapping of either with options of weights."""
    try:
        return list_checkpoints(content, where)
    except SubstrateError as error:
        raise SpecError(str(error)) from None


def _checkpoints_in_folder(content: Any, folder: Path) -> Any:
    if isinstance(content, Mapping):
        return {**content, "weights": _checkpoints_in_folder(content.get("weights"), folder)}
    return folder / content if isinstance(content, str) else content


def _draw_rule(content: Any, where: str) -> tuple[Draw, ...]:
    """Read how many draws there are, or ``{count: how many, seed: ...}``."""
    given = {"seed": 0, **(content if isinstance(content, Mapping) else {"count": content})}
    if set(given) != {"count", "seed"} or not all(_is_whole(value) for value in given.values()):
        expected = "expected how many draws, or {count: how many, seed: a number}"
        raise SpecError(f"{where}: {expected}, got {quote(content)}")
    if not 1 <= given["count"] <= MAX_AXIS_VALUES or not 0 <= given["seed"] < MAX_SEED:
        expected = f"expected 1 to {MAX_AXIS_VALUES} draws and a seed from 0 on"
        raise SpecError(f"{where}: {expected}, got {quote(content)}")
    return tuple(Draw(number, given["seed"]) for number in range(given["count"]))


def _number_rule(content: Any, _where: str) -> tuple[int, ...] | None:
    """Read ``elementary-88``: one rule number of each class of cellular automata."""
    return rule_classes() if isinstance(content, str) and content == "elementary-88" else None


def _one_step_count(least: int, value: Any, where: str) -> tuple[Any, ...]:
    if not _is_whole(value) or value < least:
        raise SpecError(f"{where}: expected whole numbers from {least} on, got {quote(value)}")
    return (value,)


def _one_parameter(value: Any, where: str) -> tuple[Any, ...]:
    numbers = value if isinstance(value, list | tuple) else [value]
    if not numbers or not all(map(_is_number, numbers)):
        raise SpecError(f"{where}: expected numbers, or lists of numbers, got {quote(value)}")
    return (value,)


@dataclass(frozen=True, slots=True)
class AxisKind:
    """How the values of an axis are read, and what they mean.

    A computation takes the axes that are fields of its target, see
    :data:`iitdask.theory.catalog.COMPUTATIONS`, and all that are no such fields.
    """

    read_rule: Callable[[Any, str], ValueRule | tuple[Any, ...] | None] = lambda _content, _where: (
        None
    )
    """Reads a short form that stands for many values; None for anything else."""
    expand: Callable[[Any, str], tuple[Any, ...]] = lambda value, _where: (value,)
    """Checks one value of a list; returns the values it stands for."""
    is_distinct: bool = True  # Whether a value may be listed once only
    resolve: Callable[[Any, SubstrateGrid, str], AxisValues] | None = None
    """Finds what the values mean for each kind of substrate, for a field of targets."""
    is_optional: bool = False  # Whether a field that no axis gives is left to the target
    is_required: bool = False  # Whether a computation that takes the field needs a value of it
    alternative: str = ""  # Axis or field in place of which this one is given
    is_parameter: bool = False  # Whether units have it as a parameter of their gates
    is_source: bool = False  # Whether its values are the substrates
    in_folder: Callable[[Any, Path], Any] = lambda content, _folder: content
    """Returns what is written with the names of files as they are seen from elsewhere."""


CHECKPOINT_AXIS = AxisKind(
    read_rule=_checkpoint_rule, is_distinct=False, is_source=True, in_folder=_checkpoints_in_folder
)
STATE_AXIS = AxisKind(read_rule=_state_rule, resolve=state_values, is_required=True)
AXES: Mapping[str, AxisKind] = {
    "substrate": AxisKind(
        read_rule=_substrate_rule, expand=_expand_family, is_distinct=False, is_source=True
    ),
    "epoch": CHECKPOINT_AXIS,
    "checkpoint": CHECKPOINT_AXIS,
    "state": STATE_AXIS,
    "before": STATE_AXIS,
    "after": STATE_AXIS,
    "window": AxisKind(read_rule=_window_rule, resolve=window_values, alternative="state"),
    "units": AxisKind(read_rule=_units_rule, resolve=candidate_values),
    **{
        name: AxisKind(
            expand=partial(_one_step_count, least), resolve=field_values, is_optional=True
        )
        for name, least in (("tau", 1), ("clamp", 0))
    },
    "theory": AxisKind(),
    "compute": AxisKind(),
    "draw": AxisKind(read_rule=_draw_rule, is_parameter=True),
    "number": AxisKind(read_rule=_number_rule, expand=_one_parameter, is_parameter=True),
}
"""The axes by name; any other name is a ``PARAMETER_AXIS``."""
PARAMETER_AXIS = AxisKind(expand=_one_parameter, is_parameter=True)
"""A parameter of all units that have it, or ``UNIT.parameter``, ``UNIT.weights.SOURCE``."""
