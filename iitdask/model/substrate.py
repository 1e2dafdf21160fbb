"""The substrate: units, their factors, and the declared graph; the accepted forms of a TPM."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError
from iitdask.model import gates, pyphi
from iitdask.model import labels as notation
from iitdask.model.factor import (
    SUM_TOLERANCE,
    CountingFactor,
    Factor,
    as_array,
    checked_probabilities,
    describe_row,
    first_index,
    first_outside,
    prune_inputs,
    read_only,
    restrict_to_declared,
    with_input_axes,
)
from iitdask.types import Array, Mask, Table

TPM_SHAPES = (
    "(2^N, N) state-by-node, (2, ..., 2, N) state-by-node, (2^N, 2^N) state-by-state "
    "or (k_0, ..., k_N-1, N, max k)"
)

UnitTable = tuple[tuple[int, ...], Table | CountingFactor]
"""Inputs of a unit and its table over them, before they are checked."""


def _tpm_form(
    shape: tuple[int, ...], where: str
) -> tuple[Callable[[Table, Sequence[str], str], list[Table]], int]:
    """Return what takes a matrix of a shape apart into tables, and the number of its units."""
    if len(shape) == 2 and shape[0] == shape[1]:
        count = shape[0].bit_length() - 1
        if count < 1 or shape[0] != 1 << count:
            raise SubstrateError(
                f"{where}: expected a square (state-by-state) matrix to have 2^N rows, got {shape}"
            )
        return _from_state_by_state, count
    count, levels = (shape[-1] if shape else 0), shape[:-2]
    if 1 <= count <= 62 and shape in ((1 << count, count), (2,) * count + (count,)):
        return _from_state_by_node, count
    if levels and shape[-2] == len(levels):
        if 1 in levels:
            raise SubstrateError(
                f"{where}: expected units with two or more values, got shape {shape}"
            )
        if shape[-1] == max(levels) and min(levels) >= 2:
            return _from_padded, len(levels)
    raise SubstrateError(f"{where}: expected shape {TPM_SHAPES}, got {shape}")


def _from_padded(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    levels = array.shape[:-2]
    for i, level in enumerate(levels):
        padding = array[..., i, level:]
        if (index := first_index(padding, padding != 0)) is not None:  # true for nan
            raise SubstrateError(
                f"{where}: {describe_row(index[:-1], labels, levels)}, unit {labels[i]!r} has "
                f"{level} values: expected 0 for value {level + index[-1]}, got {padding[index]}"
            )
    return [array[..., i, :level] for i, level in enumerate(levels)]


def _from_state_by_node(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    array = array.reshape((2,) * len(labels) + (len(labels),), order="F")
    # Checked here, where the number is still the one the caller wrote.
    if (index := first_outside(array)) is not None:
        raise SubstrateError(
            f"{where}: {describe_row(index[:-1], labels, array.shape[:-1])}, unit "
            f"{labels[index[-1]]!r}: expected a probability from 0 to 1, got {array[index]}"
        )
    on = np.clip(array, 0.0, 1.0)
    return [np.stack([1.0 - on[..., i], on[..., i]], axis=-1) for i in range(len(labels))]


def _from_state_by_state(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    """Return the tables of a state-by-state matrix, which must be their product."""
    count = len(labels)
    if (index := first_outside(array)) is not None:
        raise SubstrateError(
            f"{where}: row {index[0]} (state {_state_digits(index[0], count)}), column {index[1]}: "
            f"expected a probability from 0 to 1, got {array[index]}"
        )
    sums = array.sum(axis=1)
    if (bad := first_index(sums, np.abs(sums - 1) > SUM_TOLERANCE)) is not None:
        raise SubstrateError(
            f"{where}: row {bad[0]} (state {_state_digits(bad[0], count)}): "
            f"expected probabilities that sum to 1, got {sums[bad]}"
        )
    bits = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    on = np.clip(array @ bits.astype(np.float64), 0.0, 1.0)
    product = np.ones_like(array)
    for i in range(count):
        product *= np.where(bits[:, i] == 1, on[:, i, None], 1.0 - on[:, i, None])
    off = np.abs(array - product) - (1e-8 + 1e-5 * product)
    worst = int(np.argmax(off))
    if off.flat[worst] > 0:
        row, column = divmod(worst, 1 << count)
        raise SubstrateError(
            f"{where}: not conditionally independent: from state {_state_digits(row, count)} to "
            f"{_state_digits(column, count)} the units' own probabilities give "
            f"{product[row, column]:.9g}, expected the same in the matrix, "
            f"got {array[row, column]:.9g}"
        )
    return _from_state_by_node(on, labels, where)


def _state_digits(row: int, count: int) -> str:
    return "".join(str(row >> i & 1) for i in range(count))


def _factors_from_arrays(arrays: Sequence[Any], where: str) -> list[UnitTable]:
    """Return inputs and table per unit of factors whose axes of size 1 are no inputs."""
    count = len(arrays)
    given: list[UnitTable] = []
    for i, values in enumerate(arrays):
        table = as_array(values, where)
        if table.ndim != count + 1:
            raise SubstrateError(
                f"{where}: factor {i}: expected {count + 1} axes (every unit, own value), "
                f"got shape {table.shape}"
            )
        inputs = tuple(j for j in range(count) if table.shape[j] != 1)
        unused = tuple(j for j in range(count) if table.shape[j] == 1)
        given.append((inputs, table.squeeze(axis=unused)))
    return given


@dataclass(frozen=True, eq=False, repr=False)
class Substrate:
    """Units whose next values are independent of each other given the present state.

    States are numbered little-endian, mixed radix: unit 0 varies fastest. Build
    one with :meth:`from_tpm`, :meth:`from_factors` or :meth:`from_units`, which
    check everything; the arrays are read-only.

    Examples
    --------
    >>> pair = Substrate.from_units(
    ...     [{"gate": "COPY", "inputs": ["B"]}, {"gate": "NOT", "inputs": ["A"]}]
    ... )
    >>> pair
    Substrate(2 units: A B; binary; 2 edges)
    >>> pair.parse_state("10"), pair.parse_units("B")
    ((1, 0), (1,))
    """

    # One per unit, over the inputs its table varies with
    factors: tuple[Factor | CountingFactor, ...]
    # ``(N, N)`` declared edges, ``[from, to]``; may declare more than the factors use
    connectivity: Mask
    levels: tuple[int, ...]  # How many values each unit has
    labels: tuple[str, ...]  # One distinct name per unit

    def __post_init__(self) -> None:
        factors = tuple(type(f)(tuple(f.parents), read_only(f[-1])) for f in self.factors)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "connectivity", read_only(self.connectivity, np.bool_))

    def __reduce__(self) -> tuple[type[Substrate], tuple[Any, ...]]:
        # Unpickled arrays would be writable: rebuild instead.
        return Substrate, (self.factors, self.connectivity, self.levels, self.labels)

    @classmethod
    def from_tpm(
        cls,
        tpm: Any,
        connectivity: Any = None,
        labels: Iterable[str] | None = None,
        *,
        where: str = "tpm",
    ) -> Substrate:
        """Build a substrate from a whole transition probability matrix.

        Parameters
        ----------
        tpm
            State-by-node ``(2^N, N)`` or ``(2, ..., 2, N)``: P(unit on at t+1 |
            state); state-by-state ``(2^N, 2^N)``, which every square matrix is
            taken for; ``(k_0, ..., k_{N-1}, N, max k)``: P(value), padded with
            zeros; or a list of N numpy arrays ``(k_0 or 1, ..., k_{N-1} or 1, k_i)``.
        connectivity
            ``(N, N)`` zeros and ones, ``[from, to]``. Default: all ones.
        labels
            N names. Default: A, B, ... or U0, U1, ... beyond 26.
        where
            What to call the matrix in error messages, such as a file name.

        Raises
        ------
        SubstrateError
            The matrix, the connectivity or the labels are not acceptable.
        """
        named, given = _parse_tpm(tpm, labels, where)
        if connectivity is None:
            connectivity = np.ones((len(given), len(given)), dtype=np.bool_)
        return cls._assembled(given, connectivity, named, where)

    @classmethod
    def from_factors(
        cls,
        factors: Iterable[tuple[Any, Any]],
        connectivity: Any = None,
        labels: Iterable[str] | None = None,
        *,
        where: str = "factors",
    ) -> Substrate:
        """Build a substrate from one table per unit over the unit's own inputs.

        Parameters
        ----------
        factors
            Per unit ``(inputs, table)``: unit numbers or labels, and
            ``table[x_in0, x_in1, ..., value]``, or the same as a matrix
            ``(k_in0 * k_in1 * ..., k)`` with little-endian rows.
        connectivity
            ``(N, N)`` zeros and ones, ``[from, to]``. Default: the inputs given.
        labels, where
            As for :meth:`from_tpm`.

        Raises
        ------
        SubstrateError
            A table, an input, the connectivity or the labels are not acceptable.

        Examples
        --------
        >>> flip, copy = [[0, 1], [1, 0]], [[1, 0], [0, 1]]
        >>> Substrate.from_factors([(["B"], flip), (["A"], copy)])
        Substrate(2 units: A B; binary; 2 edges)
        """
        pairs = list(factors)
        named = notation.parse_labels(labels, len(pairs), where)
        given = []
        for label, (inputs, table) in zip(named, pairs, strict=True):
            place = f"{where}: unit {label!r}"
            # Numbers are meant as they are here, even if labels are digits.
            names = notation.with_labels(inputs, named)
            numbers = notation.parse_units(names, named, f"{place}: inputs", SubstrateError)
            given.append((numbers, as_array(table, place)))
        return cls._assembled(given, connectivity, named, where)

    @classmethod
    def from_units(
        cls,
        units: Iterable[Mapping[str, Any]],
        connectivity: Any = None,
        labels: Iterable[str] | None = None,
        *,
        where: str = "units",
    ) -> Substrate:
        """Build a substrate from gates by name.

        Parameters
        ----------
        units
            One mapping per unit: ``gate`` (or ``kind``), ``inputs``, optionally
            ``label``, and the gate's parameters; see :mod:`iitdask.model.gates`.
        connectivity, labels, where
            As for :meth:`from_factors`. Labels are given here or in the units.

        Raises
        ------
        SubstrateError
            An unknown gate, input or parameter, or one out of range.
        """
        named, given = gates.factors_from_units(list(units), labels, where)
        return cls._assembled(given, connectivity, named, where)

    @classmethod
    def from_pyphi(cls, network: Any, *, where: str = "network") -> Substrate:
        """Build a substrate from a network of PyPhi 1.x or a substrate of PyPhi 2.

        Parameters
        ----------
        network
            The object, or the parsed JSON that ``pyphi.jsonify`` writes; see
            :mod:`iitdask.model.pyphi`. PyPhi itself is not needed.

        Raises
        ------
        SubstrateError
            It has no table of probabilities, or one that is not acceptable.

        Examples
        --------
        >>> swap = {"tpm": [[0, 0], [0, 1], [1, 0], [1, 1]], "cm": [[0, 1], [1, 0]]}
        >>> Substrate.from_pyphi(swap)
        Substrate(2 units: A B; binary; 2 edges)
        """
        return cls.from_tpm(**pyphi.parse_network(network, where), where=where)

    def to_pyphi(self) -> dict[str, Any]:
        """Return a network of PyPhi 1.x as plain JSON: write it with ``json.dump``.

        Raises
        ------
        SubstrateError
            A unit has more than two values, or there are more than 20 units.
        """
        n = self.n_units
        if set(self.levels) != {2} or n > 20:
            shown = f"{n} units of up to {max(self.levels)} values"
            raise SubstrateError(f"to_pyphi: expected at most 20 binary units, got {shown}")
        tpm = np.empty((*self.levels, n))
        for i, factor in enumerate(self.factors):
            shape = [2 if j in factor.parents else 1 for j in range(n)]
            tpm[..., i] = factor.table[..., 1].reshape(shape)
        return pyphi.network_json(tpm, self.connectivity, self.labels)

    @classmethod
    def _assembled(
        cls, given: Sequence[UnitTable], connectivity: Any, labels: tuple[str, ...], where: str
    ) -> Substrate:
        levels = _unit_levels(given, labels, where)
        if connectivity is None:
            connectivity = np.zeros((len(given), len(given)), dtype=np.bool_)
            for i, (inputs, _) in enumerate(given):
                connectivity[list(inputs), i] = True
        edges = _parse_connectivity(connectivity, labels, where)
        factors: list[Factor | CountingFactor] = []
        for i, (inputs, table) in enumerate(given):
            place = f"{where}: unit {labels[i]!r}"
            if isinstance(table, CountingFactor):
                if any(levels[j] != 2 for j in inputs):
                    raise SubstrateError(
                        f"{place}: expected inputs with two values for so many of them"
                    )
                if not edges[list(inputs), i].all():
                    raise SubstrateError(
                        f"{place}: connectivity omits an input of a gate that reads it"
                    )
                factors.append(table._replace(parents=tuple(sorted(inputs))))
                continue
            full = with_input_axes(table, [levels[j] for j in inputs], levels[i], place)
            full = checked_probabilities(full, labels[i], [labels[j] for j in inputs], where)
            factor = prune_inputs(inputs, full)
            factors.append(restrict_to_declared(factor, edges[:, i], i, labels, where))
        return cls(tuple(factors), edges, levels, labels)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.levels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides results: levels, declared graph, factors; not labels."""
        digest = hashlib.sha256(b"iitdask substrate 1")
        digest.update(np.array([self.n_units, *self.levels], dtype="<i8").tobytes())
        digest.update(np.packbits(self.connectivity).tobytes())
        for parents, probabilities in self.factors:
            digest.update(np.array([len(parents), *parents], dtype="<i8").tobytes())
            digest.update(probabilities.astype("<f8").tobytes())
        return digest.hexdigest()

    def parse_state(self, state: object) -> tuple[int, ...]:
        """Return a state of all units as integers.

        Parameters
        ----------
        state
            Integers in unit order, a string with one digit per unit such as
            ``"100"`` (first unit first), or a mapping from label to value.

        Raises
        ------
        StateError
            A value is missing, out of range or no whole number.
        """
        return notation.parse_state(state, self.levels, self.labels)

    def parse_units(self, units: object = None) -> tuple[int, ...]:
        """Return a set of units as ascending unit numbers.

        Parameters
        ----------
        units
            None for all; unit numbers, labels, a string of one-letter labels
            such as ``"ABC"``, or a comma separated string.

        Raises
        ------
        StateError
            A unit is unknown or named twice.
        """
        if units is None:
            return tuple(range(self.n_units))
        return tuple(sorted(notation.parse_units(units, self.labels, "units")))

    def __repr__(self) -> str:
        shown = self.labels if self.n_units <= 12 else (*self.labels[:4], "...", self.labels[-1])
        levels = "binary" if set(self.levels) == {2} else f"up to {max(self.levels)} values"
        edges = int(self.connectivity.sum())
        return f"Substrate({self.n_units} units: {' '.join(shown)}; {levels}; {edges} edges)"


def target_fingerprint(kind: str, substrate: Substrate, lists: Iterable[Sequence[int]]) -> str:
    """Return the SHA-256 of a target: its kind, its substrate and lists of numbers."""
    digest = hashlib.sha256(f"iitdask {kind} 1".encode())
    digest.update(substrate.fingerprint.encode())
    for numbers in lists:
        digest.update(np.array([len(numbers), *numbers], dtype="<i8").tobytes())
    return digest.hexdigest()


def _parse_tpm(
    given: Any, labels: Iterable[str] | None, where: str
) -> tuple[tuple[str, ...], list[UnitTable]]:
    """Return labels and every unit's table of a whole matrix."""
    is_list = isinstance(given, (list, tuple))  # whose arrays may be the rows of a matrix, too
    if is_list and any(isinstance(f, np.ndarray) and f.ndim == len(given) + 1 for f in given):
        named = notation.parse_labels(labels, len(given), where)
        return named, _factors_from_arrays(given, where)
    array = as_array(given, where)
    tables_of, count = _tpm_form(array.shape, where)
    named = notation.parse_labels(labels, count, where)
    return named, [(tuple(range(count)), table) for table in tables_of(array, named, where)]


def _unit_levels(given: Sequence[UnitTable], labels: Sequence[str], where: str) -> tuple[int, ...]:
    if not given:
        raise SubstrateError(f"{where}: expected at least one unit, got none")
    levels = []
    for label, (_, table) in zip(labels, given, strict=True):
        shape = (2,) if isinstance(table, CountingFactor) else table.shape
        if not shape or shape[-1] < 2:
            raise SubstrateError(
                f"{where}: unit {label!r}: expected two or more values on the last axis, "
                f"got a table of shape {shape}"
            )
        levels.append(shape[-1])
    return tuple(levels)


def _parse_connectivity(connectivity: Any, labels: Sequence[str], where: str) -> Mask:
    count = len(labels)
    array: Array = connectivity
    # As floats, thousands of units would take gigabytes.
    if not isinstance(connectivity, np.ndarray) or connectivity.dtype != np.bool_:
        array = as_array(connectivity, f"{where}: connectivity")
    if array.shape != (count, count):
        raise SubstrateError(
            f"{where}: expected connectivity of shape {(count, count)} [from, to], "
            f"got {array.shape}"
        )
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        source, target = (int(i) for i in np.argwhere(wrong)[0])
        raise SubstrateError(
            f"{where}: connectivity {labels[source]!r} -> {labels[target]!r}: "
            f"expected 0 or 1, got {array[source, target]}"
        )
    return array.astype(np.bool_)
