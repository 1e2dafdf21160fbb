"""The substrate: units, what each one's next value depends on, and the declared graph."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from iitdask.errors import SubstrateError
from iitdask.model import gates, notation, pyphi, tpm
from iitdask.model.factor import (
    Factor,
    Table,
    as_array,
    checked,
    declared,
    frozen,
    pruned,
    shaped,
)
from iitdask.model.wide import Wide

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Factor", "Substrate"]


class _Given(NamedTuple):
    """What the caller says about one unit, before it is checked."""

    inputs: tuple[int, ...]
    table: Table | Wide


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

    factors: tuple[Factor | Wide, ...]
    """One per unit, over the inputs its table varies with."""
    connectivity: NDArray[np.bool_]
    """``(N, N)`` declared edges, ``[from, to]``; may declare more than the factors use."""
    levels: tuple[int, ...]
    """How many values each unit has."""
    labels: tuple[str, ...]
    """One distinct name per unit."""

    def __post_init__(self) -> None:
        factors = tuple(
            f._replace(counted=frozen(f.counted))
            if isinstance(f, Wide)
            else Factor(tuple(f.parents), frozen(f.table))
            for f in self.factors
        )
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "connectivity", frozen(self.connectivity, np.bool_))

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
        named, given = _whole(tpm, labels, where)
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
        named = notation.as_labels(labels, len(pairs), where)
        known = notation.numbered(named)
        given = []
        for label, (inputs, table) in zip(named, pairs, strict=True):
            place = f"{where}: unit {label!r}"
            numbers = notation.resolved(inputs, known, f"{place}: inputs", SubstrateError)
            given.append(_Given(numbers, as_array(table, place)))
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
        named, factors = gates.factors(list(units), labels, where)
        given = [_Given(inputs, table) for inputs, table in factors]
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
        found = pyphi.network_of(network, where)
        return cls.from_tpm(found.tpm, found.connectivity, found.labels, where=where)

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
        cls, given: Sequence[_Given], connectivity: Any, labels: tuple[str, ...], where: str
    ) -> Substrate:
        levels = _levels(given, labels, where)
        edges = _edges(given) if connectivity is None else connectivity
        edges = _checked_edges(edges, labels, where)
        factors: list[Factor | Wide] = []
        for i, (inputs, table) in enumerate(given):
            place = f"{where}: unit {labels[i]!r}"
            if isinstance(table, Wide):
                factors.append(_wide(table, inputs, levels, edges[:, i], place))
                continue
            full = shaped(table, [levels[j] for j in inputs], levels[i], place)
            full = checked(full, labels[i], [labels[j] for j in inputs], where)
            factor = pruned(inputs, full)
            factors.append(declared(factor, edges[:, i], i, labels, where))
        return cls(tuple(factors), edges, levels, labels)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.levels)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return notation.numbered(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides results: levels, declared graph, factors; not labels."""
        digest = hashlib.sha256(b"iitdask substrate 1")
        digest.update(np.array([self.n_units, *self.levels], dtype="<i8").tobytes())
        digest.update(np.packbits(self.connectivity).tobytes())
        for factor in self.factors:
            digest.update(np.array([len(factor.parents), *factor.parents], dtype="<i8").tobytes())
            table = factor.counted if isinstance(factor, Wide) else factor.table
            digest.update(table.astype("<f8").tobytes())
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
        return notation.as_state(state, self.levels, self.labels)

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
        return tuple(sorted(notation.resolved(units, self._numbers, "units")))

    def __repr__(self) -> str:
        shown = self.labels if self.n_units <= 12 else (*self.labels[:4], "...", self.labels[-1])
        levels = "binary" if set(self.levels) == {2} else f"up to {max(self.levels)} values"
        edges = int(self.connectivity.sum())
        return f"Substrate({self.n_units} units: {' '.join(shown)}; {levels}; {edges} edges)"


def _whole(
    given: Any, labels: Iterable[str] | None, where: str
) -> tuple[tuple[str, ...], list[_Given]]:
    """Return labels and every unit's table of a whole matrix."""
    if _is_factor_list(given):
        named = notation.as_labels(labels, len(given), where)
        pairs = tpm.factor_list(given, where)
        return named, [_Given(tuple(inputs), table) for inputs, table in pairs]
    array = as_array(given, where)
    named = notation.as_labels(labels, tpm.unit_count(array, where), where)
    everyone = tuple(range(len(named)))
    return named, [_Given(everyone, table) for table in tpm.tables(array, named, where)]


def _is_factor_list(given: Any) -> bool:
    """Tell factors over all units from the rows of a matrix, which may be arrays too."""
    return isinstance(given, (list, tuple)) and any(
        isinstance(each, np.ndarray) and each.ndim == len(given) + 1 for each in given
    )


def _levels(given: Sequence[_Given], labels: Sequence[str], where: str) -> tuple[int, ...]:
    if not given:
        raise SubstrateError(f"{where}: expected at least one unit, got none")
    for label, (_, table) in zip(labels, given, strict=True):
        if isinstance(table, Wide):
            continue
        if table.ndim == 0 or table.shape[-1] < 2:
            raise SubstrateError(
                f"{where}: unit {label!r}: expected two or more values on the last axis, "
                f"got a table of shape {table.shape}"
            )
    return tuple(2 if isinstance(table, Wide) else table.shape[-1] for _, table in given)


def _wide(
    gate: Wide,
    inputs: Sequence[int],
    levels: Sequence[int],
    allowed: NDArray[np.bool_],
    where: str,
) -> Wide:
    """Return a gate without a table over its numbered inputs."""
    if any(levels[j] != 2 for j in inputs):
        raise SubstrateError(f"{where}: expected inputs with two values for so many of them")
    made = Wide(tuple(sorted(inputs)), gate.counted)
    if not made.declared(allowed):
        raise SubstrateError(f"{where}: connectivity omits an input of a gate that reads it")
    return made


def _edges(given: Sequence[_Given]) -> NDArray[np.bool_]:
    edges = np.zeros((len(given), len(given)), dtype=np.bool_)
    for i, (inputs, _) in enumerate(given):
        edges[list(inputs), i] = True
    return edges


def _checked_edges(connectivity: Any, labels: Sequence[str], where: str) -> NDArray[np.bool_]:
    count = len(labels)
    array: NDArray[Any] = np.asarray(connectivity)
    if array.dtype != np.bool_:  # as floats, thousands of units would take gigabytes
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
