"""The substrate: units, their factors, and the declared graph; the accepted forms of a TPM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from types import MappingProxyType
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError
from iitdask.model import gates, pyphi
from iitdask.model import labels as notation
from iitdask.model.assembly import assemble, fixed_factors, inferred_edges, warn_of_idle_edges
from iitdask.model.connection_drawing import ConnectionDrawing
from iitdask.model.factor import CountingFactor, Factor, read_only
from iitdask.model.series import (
    UnitCounts,
    drawn_table,
    estimate_series,
    estimated_table,
    frozen_counts,
    generators,
)
from iitdask.model.tpm import UnitTable, marginal_tables, parse_factors, parse_tpm
from iitdask.model.weights import units_from_weights
from iitdask.types import Mask

MAX_SHOWN_UNITS = 20  # Rows of the table in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Substrate:
    """Units whose next values are independent of each other given the present state.

    States are numbered little-endian, mixed radix: unit 0 varies fastest. Build
    one with :meth:`from_tpm`, :meth:`from_factors`, :meth:`from_units`, :meth:`from_weights` or
    :meth:`from_series`, which check everything; the arrays are read-only.

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
    # How it was obtained, such as what pruning changed; no result depends on it
    attrs: Mapping[str, Any] = field(default_factory=dict)
    # Names of the values of units, by unit number
    values: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    # Of an estimate the transitions counted, one per unit
    counts: tuple[UnitCounts, ...] | None = None

    def __post_init__(self) -> None:
        factors = tuple(type(f)(tuple(f.parents), read_only(f[-1])) for f in self.factors)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "connectivity", read_only(self.connectivity, np.bool_))
        object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        if self.counts is not None:
            object.__setattr__(self, "counts", frozen_counts(self.counts))

    def __eq__(self, other: object) -> bool:
        """Whether alphabets, tables, connectivity and labels are the same."""
        if self is other:
            return True
        if not isinstance(other, Substrate):
            return NotImplemented
        return self.labels == other.labels and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash((self.labels, self.fingerprint))

    def __reduce__(self) -> tuple[type[Substrate], tuple[Any, ...]]:
        # Unpickled arrays would be writable: rebuild instead.
        content = (self.factors, self.connectivity, self.levels, self.labels)
        return Substrate, (*content, dict(self.attrs), dict(self.values), self.counts)

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
            A mapping holds ``tpm`` and, where they are not given here, ``connectivity`` or
            ``cm`` and ``labels`` or ``node_labels``.
        connectivity
            ``(N, N)`` zeros and ones, ``[from, to]``, or ``"inferred"``: edges along which a
            probability varies by more than 1e-12. Default: all ones.
        labels
            N names. Default: A, B, ... or U0, U1, ... beyond 26.
        where
            What to call the matrix in error messages, such as a file name.

        Raises
        ------
        SubstrateError
            The matrix, the connectivity or the labels are not acceptable.

        Warns
        -----
        IdleEdgesWarning
            A declared edge makes no difference: it is no input, but counts in partitions.
        """
        if isinstance(tpm, Mapping):
            content = pyphi.tpm_arguments(tpm, where)
            tpm = content["tpm"]
            connectivity = content.get("connectivity") if connectivity is None else connectivity
            labels = content.get("labels") if labels is None else labels
        named, given = parse_tpm(tpm, labels, where)
        declared = connectivity is not None
        if connectivity is None:
            connectivity = np.ones((len(given), len(given)), dtype=np.bool_)
        return cls._assembled(given, connectivity, named, where, declared=declared)

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
            ``(N, N)`` zeros and ones, ``[from, to]``, or ``"inferred"``. Default: the inputs given.
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
        named, given = parse_factors(factors, labels, where)
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
        entries = notation.entries_of(units, where)
        named, given = gates.factors_from_units(entries, labels, where)
        return cls._assembled(given, connectivity, named, where)

    @classmethod
    def from_weights(  # noqa: PLR0917 - in the order in which they are told
        cls,
        W: Any,
        activation: str = "logistic",
        bias: Any = 0,
        slope: Any = 1,
        prune: float = 0,
        labels: Iterable[str] | None = None,
        *,
        where: str = "weights",
    ) -> Substrate:
        """Build a substrate of two-valued units from a matrix of weights.

        The field of unit i is h_i = sum over j of ``W[j, i]`` x_j + bias_i.

        Parameters
        ----------
        W
            ``(N, N)`` weights ``[source, target]``: an array, lists, a sparse matrix of SciPy or
            a tensor of PyTorch. Weights of 0 are no connections.
        activation
            ``"logistic"``: x is 0 or 1, P(on) = 1 / (1 + exp(-slope h)); ``"ising"`` or
            ``"tanh"``: x is -1 or 1, P(on) = 1 / (1 + exp(-2 slope h)); ``"threshold"``: x is 0
            or 1, on exactly if h >= 0.
        bias, slope
            A number, or one per unit.
        prune
            Weights of at most this size are left out. ``attrs["pruning_bound"]`` is the largest
            change of any probability, in any state, that this makes.
        labels, where
            As for :meth:`from_tpm`.

        Raises
        ------
        SubstrateError
            The matrix is not square or not finite, an option has no meaning, or a unit has too
            many inputs for a table: more than 20 whose weights are not all equal.

        References
        ----------
        mathematics.md 32.1 and 32.2.

        Examples
        --------
        >>> Substrate.from_weights([[0.0, 2.0], [-1.0, 0.5]], activation="ising")
        Substrate(2 units: A B; binary; 3 edges)
        """
        options = {"activation": activation, "bias": bias, "slope": slope, "prune": prune}
        units = units_from_weights(W, **options, labels=labels, where=where)
        attrs = {
            "activation": activation.lower(),
            "n_pruned": units.n_pruned,
            "pruning_bound": float(units.pruning_bounds.max()),
            "pruning_bounds": units.pruning_bounds.tolist(),
        }
        return cls(units.factors, units.edges, (2,) * len(units.labels), units.labels, attrs)

    @classmethod
    def from_series(  # noqa: PLR0917 - in the order in which they are told
        cls,
        X: Any,
        lag: int = 1,
        levels: Any = None,
        parents: Any = "all",
        prior: float = 0.5,
        labels: Iterable[str] | None = None,
        *,
        where: str = "series",
    ) -> Substrate:
        """Estimate a substrate from what was observed of it.

        Recordings show what happened, not what interventions would bring about: parents are
        those of a statistical model, and common causes outside of the recording look like edges.

        Parameters
        ----------
        X
            ``(time, unit)`` values, or a list of such recordings. No transition leads from one
            recording to another.
        lag
            Times between the two states of a transition.
        levels
            None: values are states 0, 1, ...; ``"median"``: whether a value is above the median
            of its unit; a number k: in which of k parts, between quantiles, it is.
        parents
            ``"all"``; ``(N, N)`` zeros and ones ``[from, to]``; or ``"bic"``: of each unit those
            that remain when parents are dropped as long as the Bayesian information criterion
            falls.
        prior
            Added to each count. Probabilities are (n + prior) / (sum + k prior), means of the
            posterior under a symmetric Dirichlet prior; 0 gives plain frequencies.
        labels, where
            As for :meth:`from_tpm`.

        Returns
        -------
        Substrate
            Its ``attrs`` say what the estimate is worth: ``observed``, ``causal`` (False),
            ``n_transitions``, ``rows_never_seen`` of each unit's table, ``least_count`` of any
            row, ``independence_statistic``, ``independence_degrees_of_freedom`` and
            ``independence_p_value`` (whether units are independent given the state before).
            ``counts`` are the transitions of each unit, which :meth:`draw` needs.

        Raises
        ------
        SubstrateError
            The recordings are not acceptable, or prior is 0 and a row was never seen.

        References
        ----------
        mathematics.md 33.

        Examples
        --------
        >>> substrate = Substrate.from_series([[0], [1], [1], [0], [1]], prior=0)
        >>> substrate.factors[0].table.tolist(), substrate.attrs["observed"]
        ([[0.0, 1.0], [0.5, 0.5]], 'observed, not intervened')
        """
        options = {"lag": lag, "levels": levels, "parents": parents, "prior": prior}
        found = estimate_series(X, **options, labels=labels, where=where)
        given = [(unit.parents, estimated_table(unit, found.prior)) for unit in found.counts]
        made = cls._assembled(given, found.edges, found.labels, where, declared=False)
        return replace(made, attrs=found.attrs, counts=found.counts)

    def draw(self, number: int, seed: int = 0) -> Substrate:
        """Return one substrate drawn from the posterior of an estimate.

        Parameters
        ----------
        number
            Which draw. Each is the same however many there are.
        seed
            Of the random generator.

        Raises
        ------
        SubstrateError
            The substrate was not estimated from recordings.

        References
        ----------
        mathematics.md, Eq. (33.2).
        """
        if self.counts is None:
            raise SubstrateError("draw: expected a substrate from Substrate.from_series")
        prior = float(self.attrs["prior"])
        random = generators(seed, number, self.n_units)
        given: list[UnitTable] = [
            (unit.parents, drawn_table(unit, prior, rng))
            for unit, rng in zip(self.counts, random, strict=True)
        ]
        made = self._assembled(given, self.connectivity, self.labels, "draw", declared=False)
        return replace(made, attrs={**self.attrs, "draw": number, "seed": seed})

    @classmethod
    def from_pyphi(cls, network: Any, *, where: str = "network") -> Substrate:
        """Build a substrate from a network of PyPhi 1.x or a substrate of PyPhi 2.

        Parameters
        ----------
        network
            The object, or the parsed JSON that ``pyphi.jsonify`` writes; see
            :mod:`iitdask.model.pyphi`. Units of version 2 may have any number of values.
            PyPhi itself is not needed.

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
        tpm = pyphi.state_by_node(self.factors, self.levels)
        return pyphi.network_json(tpm, self.connectivity, self.labels)

    @classmethod
    def _assembled(
        cls,
        given: Sequence[UnitTable],
        connectivity: Any,
        labels: tuple[str, ...],
        where: str,
        *,
        declared: bool = True,
    ) -> Substrate:
        """Build a substrate from its tables; without connectivity their inputs are the edges."""
        parts = assemble(given, connectivity, labels, where)
        made = cls(parts.factors, parts.edges, parts.levels, labels)
        if declared:
            warn_of_idle_edges(made.connectivity & ~made.inferred, labels, where)
        return made

    @classmethod
    def nearest_product(
        cls,
        tpm: Any,
        connectivity: Any = None,
        labels: Iterable[str] | None = None,
        *,
        levels: Sequence[int] | None = None,
        where: str = "tpm",
    ) -> Substrate:
        """Build the substrate whose units come closest to a table that is no product of units.

        Parameters
        ----------
        tpm
            State-by-state ``(S, S)`` P(next state | state), states little-endian.
        connectivity, labels, where
            As for :meth:`from_tpm`.
        levels
            Number of values of each unit. Default: two each.

        Returns
        -------
        Substrate
            Each unit has its marginal probabilities. ``attrs["largest_row_divergence"]`` is the
            largest Kullback-Leibler divergence (bits) of a row from the product, 0 for a table
            that is conditionally independent; ``attrs["largest_row"]`` is the state of that row.

        Raises
        ------
        SubstrateError
            The matrix is not square, or a row is no distribution.

        References
        ----------
        mathematics.md, Eq. (1.3).
        """
        named, given, attrs = marginal_tables(tpm, levels, labels, where)
        declared = connectivity is not None
        if connectivity is None:
            connectivity = np.ones((len(given), len(given)), dtype=np.bool_)
        made = cls._assembled(given, connectivity, named, where, declared=declared)
        return replace(made, attrs=attrs)

    def fixed(self, values: Any) -> Substrate:
        """Return the substrate with some units held at a value, whatever their inputs.

        Parameters
        ----------
        values
            A mapping from units (labels or numbers) to values. Held units stay units; they have
            no inputs, nor are they inputs: the others' tables are those with them at the value.

        Raises
        ------
        StateError
            A unit is unknown, or has no such value.

        Examples
        --------
        >>> pair = Substrate.from_units(
        ...     [{"gate": "AND", "inputs": ["A", "B"]}, {"gate": "NOT", "inputs": ["A"]}]
        ... )
        >>> pair.fixed({"B": 1}).factors[0].table.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        held = notation.parse_values_of_units(values, self.levels, self.labels, "fixed")
        factors = tuple(fixed_factors(self.factors, held, self.levels))
        edges = np.array(self.connectivity)
        edges[list(held)] = edges[:, list(held)] = False
        return replace(self, factors=factors, connectivity=edges, counts=None)

    def with_value_names(self, names: Mapping[Any, Iterable[str]]) -> Substrate:
        """Return the substrate with names for the values of some units, for :meth:`parse_state`.

        Parameters
        ----------
        names
            A mapping from units (labels or numbers) to one distinct name per value.

        Raises
        ------
        StateError
            A unit is unknown, or the names do not fit its values.

        Examples
        --------
        >>> flip = Substrate.from_units([{"gate": "NOT", "inputs": ["A"]}])
        >>> flip.with_value_names({"A": ["low", "high"]}).parse_state({"A": "high"})
        (1,)
        """
        named = notation.parse_value_names(names, self.levels, self.labels)
        return replace(self, values={**self.values, **named})

    @cached_property
    def inferred(self) -> Mask:
        """``(N, N)`` edges, ``[from, to]``, along which a probability varies by more than 1e-12."""
        return inferred_edges(self.factors)

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
            ``"100"`` (first unit first), or a mapping from label to value; names of values, see
            :meth:`with_value_names`, may stand for numbers in lists and mappings.

        Raises
        ------
        StateError
            A value is missing, out of range or no whole number.
        """
        if self.values:
            state = notation.replace_value_names(state, self.values, self.labels)
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

    def _repr_html_(self) -> str:
        """Return a picture and a table of the units for a notebook, the first ones of many."""
        rows = [
            (
                self.labels[i],
                " ".join(self.values.get(i, ())) or self.levels[i],
                " ".join(self.labels[j] for j in factor.parents) or "-",
            )
            for i, factor in enumerate(self.factors[:MAX_SHOWN_UNITS])
        ]
        more = self.n_units - len(rows)
        picture = "" if more else ConnectionDrawing(self.labels, self.connectivity).svg
        return (
            f"<b>{escape(repr(self))}</b><br>{picture}<table><tr><th>unit</th><th>values</th>"
            "<th>depends on</th></tr>"
            + "".join(
                f"<tr>{''.join(f'<td>{escape(str(each))}</td>' for each in row)}</tr>"
                for row in rows
            )
            + f"</table>{f'<p>and {more} more</p>' if more else ''}"
        )


def target_fingerprint(kind: str, substrate: Substrate, lists: Iterable[Sequence[int]]) -> str:
    """Return the SHA-256 of a target: its kind, its substrate and lists of numbers."""
    digest = hashlib.sha256(f"iitdask {kind} 1".encode())
    digest.update(substrate.fingerprint.encode())
    for numbers in lists:
        digest.update(np.array([len(numbers), *numbers], dtype="<i8").tobytes())
    return digest.hexdigest()
