"""The units that have a name: logic gates, threshold, sigmoid and Ising units, tables.

Each gate is a function in one table, :data:`GATES`; its keyword arguments are
the parameters a unit may give. Every gate also takes ``noise``: the probability
with which its output is replaced by another value (for two values: flipped).
Gates that only count how many inputs are on may have any number of inputs, see
:mod:`iitdask.model.factor`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import SubstrateError, quote
from iitdask.model import labels as notation
from iitdask.model.array_input import as_array
from iitdask.model.factor import CountingFactor, with_input_axes
from iitdask.model.weighted_sums import logistic, subset_sums
from iitdask.types import Table

Rows = NDArray[np.int64]  # ``(2^m, m)`` values of m two-valued inputs, little-endian rows

MAX_TABULATED_INPUTS = 20  # Inputs up to which a gate that only counts them becomes a table
MAX_TABLE_ENTRIES = 1 << 27  # A gate over more inputs than fit is refused before it is tabulated


class Gate(NamedTuple):
    """How a gate becomes a table."""

    # ``rule(rows, **parameters)``: P(on) per row; or, if wide, the whole table from ``rule(input
    # levels, own levels, **parameters)``
    rule: Callable[..., Any]
    least: int  # Fewest inputs
    most: int | None  # Most inputs
    wide: bool = False  # Whether inputs and output may have more than two values
    counts: bool = False  # Whether only the number of inputs that are on matters


def _xor(rows: Rows) -> Any:
    return rows.sum(axis=1) % 2


def _threshold(rows: Rows, *, threshold: float) -> Any:
    return rows.sum(axis=1) >= threshold


def _weighted_sums(rows: Rows, weights: Sequence[float], constant: float, *, spins: bool) -> Table:
    """Return constant + sum of weighted inputs per row, see `subset_sums`."""
    if len(weights) != rows.shape[1]:
        raise ValueError(f"expected {rows.shape[1]} weights, one per input, got {len(weights)}")
    sums: Table = subset_sums(np.array([weights], np.float64), np.array([constant]), spins=spins)[0]
    return sums


def _linear(rows: Rows, *, weights: Sequence[float], threshold: float) -> Any:
    return _weighted_sums(rows, weights, 0.0, spins=False) >= threshold


def _sigmoid(
    rows: Rows,
    *,
    weights: Sequence[float],
    slope: float = 1.0,
    bias: float = 0.0,
    spins: bool = True,
) -> Any:
    return logistic(slope * _weighted_sums(rows, weights, bias, spins=spins))


def _ising(
    rows: Rows, *, weights: Sequence[float], temperature: float = 1.0, field: float = 0.0
) -> Any:
    return logistic(2.0 * _weighted_sums(rows, weights, field, spins=True) / temperature)


def _rule(rows: Rows, *, number: int) -> Any:
    return number >> (rows @ np.array([4, 2, 1])) & 1


def _bias(rows: Rows, *, probability: float) -> Any:
    return np.full(len(rows), probability)


def _copy(inputs: Sequence[int], levels: int) -> Table:
    if inputs[0] != levels:
        raise ValueError(f"expected an input with {levels} values like its own, got {inputs[0]}")
    return np.eye(levels)


def _constant(inputs: Sequence[int], levels: int, *, value: int) -> Table:
    if inputs or not value < levels:
        raise ValueError(f"expected a value from 0 to {levels - 1}, got {value}")
    one_hot: Table = np.eye(levels)[value]
    return one_hot


def _table(inputs: Sequence[int], levels: int, *, table: Any) -> Table:
    array = as_array(table, "table")
    if array.ndim == 0:
        raise ValueError(f'expected a table, got {quote(table)}; quote it: table: "{quote(table)}"')
    if array.ndim != 1 or not inputs:
        return with_input_axes(array, inputs, levels, "table")
    rows = math.prod(inputs)
    if array.shape != (rows,):
        raise ValueError(f"expected a flat table to have {rows} rows, got {len(array)}")
    if levels == 2:
        return with_input_axes(np.stack([1.0 - array, array], axis=-1), inputs, levels, "table")
    if not np.isin(array, np.arange(levels)).all():
        raise ValueError(f"expected a flat table to hold values from 0 to {levels - 1}")
    return with_input_axes(np.eye(levels)[array.astype(np.int64)], inputs, levels, "table")


GATES: Mapping[str, Gate] = MappingProxyType(
    {
        "COPY": Gate(_copy, 1, 1, wide=True),
        "NOT": Gate(lambda rows: 1 - rows[:, 0], 1, 1),
        "AND": Gate(lambda rows: rows.all(axis=1), 1, None, counts=True),
        "OR": Gate(lambda rows: rows.any(axis=1), 1, None, counts=True),
        "NAND": Gate(lambda rows: ~rows.all(axis=1), 1, None, counts=True),
        "NOR": Gate(lambda rows: ~rows.any(axis=1), 1, None, counts=True),
        "XOR": Gate(_xor, 1, None, counts=True),
        "XNOR": Gate(lambda rows: 1 - _xor(rows), 1, None, counts=True),
        "MAJORITY": Gate(lambda rows: 2 * rows.sum(axis=1) > rows.shape[1], 1, None, counts=True),
        "MINORITY": Gate(lambda rows: 2 * rows.sum(axis=1) < rows.shape[1], 1, None, counts=True),
        "THRESHOLD": Gate(_threshold, 1, None, counts=True),
        "LINEAR": Gate(_linear, 1, None),
        "SIGMOID": Gate(_sigmoid, 1, None),
        "LOGISTIC": Gate(_sigmoid, 1, None),
        "ISING": Gate(_ising, 1, None),
        "RULE": Gate(_rule, 3, 3),
        "BIAS": Gate(_bias, 0, 0),
        "CONSTANT": Gate(_constant, 0, 0, wide=True),
        "TABLE": Gate(_table, 0, None, wide=True),
    }
)
"""Every gate by name. Ties of MAJORITY and MINORITY give 0; RULE reads left, self, right."""


def _finite(value: Any) -> float:
    # A masked number would be read as nan, with a warning of NumPy's.
    if isinstance(value, (bool, str)) or np.ma.is_masked(value) or not math.isfinite(float(value)):
        raise ValueError("a finite number")
    return float(value)


def _number(
    expected: str, accepts: Callable[[float], bool] = math.isfinite
) -> tuple[Callable[[Any], float], str]:
    """Return a conversion to numbers of a kind, and how the kind is called."""

    def convert(value: Any) -> float:
        if not accepts(_finite(value)):
            raise ValueError(expected)
        return float(value)

    return convert, expected


def _weights(value: Any) -> list[float]:
    return [_finite(each) for each in value]


def _table_values(value: Any) -> Any:
    """Return a table, a list for a text with one digit per row."""
    if not isinstance(value, str):
        return value
    if not (value.isascii() and value.isdecimal()):
        raise ValueError("digits")
    return [int(digit) for digit in value]


def _boolean(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError("true or false")
    return bool(value)


def _whole_number(least: int, most: int) -> tuple[Callable[[Any], int], str]:
    convert, expected = _number(
        f"a whole number from {least} to {most}", lambda v: v == int(v) and least <= v <= most
    )
    return lambda value: int(convert(value)), expected


PARAMETERS: Mapping[str, tuple[Callable[[Any], Any], str]] = MappingProxyType(
    {
        "threshold": _number("a finite number"),
        "weights": (_weights, "a list of finite numbers, one per input"),
        "slope": _number("a finite number"),
        "bias": _number("a finite number"),
        "spins": (_boolean, "true or false"),
        "temperature": _number("a number above 0", lambda v: v > 0),
        "field": _number("a finite number"),
        "number": _whole_number(0, 255),
        "probability": _number("a probability from 0 to 1", lambda v: 0 <= v <= 1),
        "noise": _number("a probability from 0 to 1", lambda v: 0 <= v <= 1),
        "value": _whole_number(0, 254),
        "levels": _whole_number(2, 255),
        "table": (_table_values, "a table of probabilities, or text with a digit per row"),
    }
)
"""Conversion of each parameter of any gate, and what it must be."""


class _Unit(NamedTuple):
    """One entry of a units list, checked except for its table."""

    place: str
    gate: Gate
    inputs: tuple[int, ...]
    levels: int
    noise: float
    parameters: dict[str, Any]


def factors_from_units(
    units: Sequence[Mapping[str, Any]], labels: Iterable[str] | None, where: str
) -> tuple[tuple[str, ...], list[tuple[tuple[int, ...], Table | CountingFactor]]]:
    """Return labels, and each unit's inputs and table; of a wide gate, what it counts."""
    named = unit_labels(units, labels, where)
    read = [
        _parse_unit(unit, named, f"{where}: unit {label!r}")
        for unit, label in zip(units, named, strict=True)
    ]
    levels = [unit.levels for unit in read]
    return named, [(unit.inputs, _unit_table(unit, levels)) for unit in read]


def unit_labels(units: Any, labels: Iterable[str] | None, where: str) -> tuple[str, ...]:
    """Return the labels that a list of units has, or that stand beside it."""
    units = notation.entries_of(units, where)
    for i, unit in enumerate(units):
        if not isinstance(unit, Mapping):
            raise SubstrateError(f"{where}: unit {i}: expected a mapping, got {quote(unit)}")
    own: list[Any] = [unit.get("label") for unit in units]
    if all(label is None for label in own):
        return notation.parse_labels(labels, len(units), where)
    if labels is not None:
        raise SubstrateError(f"{where}: labels are given twice, in the units and beside them")
    if None in own:
        raise SubstrateError(f"{where}: unit {own.index(None)} has no label, others have one")
    return notation.parse_labels(own, len(own), where)


def _parse_unit(unit: Mapping[str, Any], labels: tuple[str, ...], place: str) -> _Unit:
    if "gate" in unit and "kind" in unit:
        raise SubstrateError(f"{place}: expected either gate or kind, got both")
    name = unit.get("gate", unit.get("kind"))
    if callable(name):
        return _parse_function(name, unit, labels, place)
    if not isinstance(name, str) or name.upper() not in GATES:
        raise SubstrateError(
            f"{place}: expected a gate, one of {', '.join(GATES)}; got {quote(name)}"
        )
    return _parse_gate(GATES[name.upper()], unit, labels, f"{place} ({name.upper()})")


def _parse_function(
    function: Callable[..., Any], unit: Mapping[str, Any], labels: tuple[str, ...], place: str
) -> _Unit:
    """Read a unit whose gate is a function of the values of its inputs, in their order."""
    place = f"{place} ({getattr(function, '__name__', 'function')})"
    gate = Gate(partial(_function_table, function), 0, None, wide=True)
    return _parse_gate(gate, unit, labels, place)


def _function_table(function: Callable[..., Any], inputs: Sequence[int], levels: int) -> Table:
    """Return the table of a function: a value, or probabilities; of two values P(on)."""
    table = np.zeros((*inputs, levels))
    for values in np.ndindex(*inputs):
        try:
            given = np.asarray(function(*values), dtype=np.float64)
        except Exception as error:  # noqa: BLE001 - of what a user gave
            raise ValueError(f"of inputs {values} the function raised {error!r}") from None
        if given.shape == (levels,):
            table[values] = given
        elif given.shape == () and levels == 2 and 0 <= given <= 1:
            table[values] = 1.0 - given, given
        elif given.shape == () and given in range(levels):
            table[(*values, int(given))] = 1.0
        else:
            expected = "a probability from 0 to 1" if levels == 2 else f"a value below {levels}"
            raise ValueError(
                f"of inputs {values} expected {expected} or {levels} probabilities, "
                f"got {quote(given.tolist())}"
            )
    return table


def _parse_gate(gate: Gate, unit: Mapping[str, Any], labels: tuple[str, ...], place: str) -> _Unit:
    inputs = notation.parse_units(
        unit.get("inputs", ()), labels, f"{place}: inputs", SubstrateError
    )
    if len(inputs) < gate.least or (gate.most is not None and len(inputs) > gate.most):
        wanted = str(gate.least) if gate.most == gate.least else f"{gate.least} or more"
        raise SubstrateError(f"{place}: expected {wanted} inputs, got {len(inputs)}")
    given = {k: v for k, v in unit.items() if k not in {"label", "gate", "kind", "inputs"}}
    parameters = _parse_parameters(gate, given, place)
    noise = parameters.pop("noise", 0.0)
    levels = parameters.pop("levels", None) or _table_levels(
        parameters.get("table"), len(inputs), place
    )
    return _Unit(place, gate, inputs, levels, noise, parameters)


def _table_levels(table: Any, inputs: int, place: str) -> int:
    """Return the length of a table's last axis, 2 where there is none."""
    if table is None:
        return 2
    shape = as_array(table, f"{place}: table").shape
    return shape[-1] if len(shape) > 1 or (shape and not inputs) else 2


def has_parameter(name: object, parameter: str) -> bool:
    """Return True if a gate has a parameter; False for what is no gate."""
    return (
        isinstance(name, str)
        and name.upper() in GATES
        and parameter in _parameters(GATES[name.upper()])
    )


def _parameters(gate: Gate) -> dict[str, bool]:
    """Return the parameters of a gate by name, True for those that must be given."""
    signature = inspect.signature(gate.rule).parameters.values()
    own = {p.name: p.default is p.empty for p in signature if p.kind is p.KEYWORD_ONLY}
    return {**own, "noise": False, **({"levels": False} if gate.wide else {})}


def _parse_parameters(gate: Gate, given: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return converted parameters; the gate's own signature says which there are."""
    allowed = _parameters(gate)
    for name in given:
        if name not in allowed:
            raise SubstrateError(
                f"{place}: unknown parameter {quote(name)}; expected {', '.join(allowed)}"
            )
    for name, is_required in allowed.items():
        if is_required and name not in given:
            raise SubstrateError(f"{place}: expected {name}: {PARAMETERS[name][1]}; got none")
    converted = {}
    for name, value in given.items():
        convert, expected = PARAMETERS[name]
        try:
            converted[name] = convert(value)
        except (TypeError, ValueError, OverflowError):
            message = f"{place}: expected {name} to be {expected}, got {quote(value)}"
            raise SubstrateError(message) from None
    return converted


def _unit_table(unit: _Unit, levels: Sequence[int]) -> Table | CountingFactor:
    shape = tuple(levels[j] for j in unit.inputs)
    if len(shape) > MAX_TABULATED_INPUTS and unit.gate.counts and set(shape) == {2}:
        rows = np.tri(len(shape) + 1, len(shape), -1, dtype=np.int64)
        return CountingFactor(unit.inputs, _output_probabilities(unit, rows))
    if math.prod(shape) * unit.levels > MAX_TABLE_ENTRIES:
        raise SubstrateError(f"{unit.place}: a table over {len(shape)} inputs is too large")
    if not unit.gate.wide and set(shape) - {2}:
        raise SubstrateError(
            f"{unit.place}: expected inputs with two values, got {max(shape)}; use TABLE"
        )
    try:
        if unit.gate.wide:
            return _with_noise(unit.gate.rule(shape, unit.levels, **unit.parameters), unit.noise)
        rows = (np.arange(1 << len(shape))[:, None] >> np.arange(len(shape))) & 1
        return _output_probabilities(unit, rows).reshape((*shape, 2), order="F")
    except ValueError as error:
        raise SubstrateError(f"{unit.place}: {error}") from None


def _output_probabilities(unit: _Unit, rows: Rows) -> Table:
    """Return ``(rows, 2)``: P(value | values of the inputs) of a unit with two values."""
    on = np.asarray(unit.gate.rule(rows, **unit.parameters), dtype=np.float64)
    on = (1.0 - unit.noise) * on + unit.noise * (1.0 - on)
    pairs: Table = np.stack([1.0 - on, on], axis=-1)
    return pairs


def _with_noise(table: Table, noise: float) -> Table:
    """Return the table with each value replaced, with probability ``noise``, by another."""
    noisy: Table = (1.0 - noise) * table + noise * (1.0 - table) / (table.shape[-1] - 1)
    return noisy
