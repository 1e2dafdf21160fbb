"""From the tables of units to checked factors, and the edges along which they vary."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from iitdask.errors import IdleEdgesWarning, SubstrateError, levels_to_user, quote
from iitdask.model.array_input import as_array, coarse_tolerance
from iitdask.model.factor import (
    CountingFactor,
    Factor,
    checked_probabilities,
    prune_inputs,
    read_only,
    restrict_to_declared,
    with_input_axes,
)
from iitdask.model.tpm import UnitTable
from iitdask.types import Array, Mask

INFERRED = "inferred"  # In place of a connectivity: the edges along which tables vary
INFERRED_TOLERANCE = 1e-12  # Largest variation of a table along what is no edge
MAX_SHOWN_EDGES = 4


class Assembled(NamedTuple):
    """Everything that makes a substrate, but its labels."""

    factors: tuple[Factor | CountingFactor, ...]
    edges: Mask  # (N, N) declared edges, [from, to]
    levels: tuple[int, ...]


def assemble(
    given: Sequence[UnitTable], connectivity: Any, labels: tuple[str, ...], where: str
) -> Assembled:
    """Check tables of units and their declared edges; without edges they are the inputs given."""
    levels = unit_levels(given, labels, where)
    if isinstance(connectivity, str):
        if connectivity != INFERRED:
            raise SubstrateError(
                f"{where}: connectivity: expected zeros and ones [from, to] or 'inferred', "
                f"got {quote(connectivity)}"
            )
        whole = assemble(given, None, labels, where)
        edges = inferred_edges(whole.factors)
        factors = tuple(
            _without_faint_inputs(factor, edges[:, i]) for i, factor in enumerate(whole.factors)
        )
        return Assembled(factors, edges, levels)
    if connectivity is None:
        connectivity = np.zeros((len(given), len(given)), dtype=np.bool_)
        for i, (inputs, _) in enumerate(given):
            connectivity[list(inputs), i] = True
    edges = _parse_connectivity(connectivity, labels, where)
    factors = tuple(
        _checked_factor(given, i, edges[:, i], levels, labels=labels, where=where)
        for i in range(len(given))
    )
    return Assembled(factors, edges, levels)


def _checked_factor(
    given: Sequence[UnitTable],
    i: int,
    allowed: Mask,
    levels: Sequence[int],
    *,
    labels: Sequence[str],
    where: str,
) -> Factor | CountingFactor:
    """Return the factor of unit `i` over those of its inputs that are declared."""
    inputs, table = given[i]
    place = f"{where}: unit {labels[i]!r}"
    if isinstance(table, CountingFactor):
        if any(levels[j] != 2 for j in inputs):
            raise SubstrateError(f"{place}: expected inputs with two values for so many of them")
        if not allowed[list(inputs)].all():
            raise SubstrateError(f"{place}: connectivity omits an input of a gate that reads it")
        return table._replace(parents=tuple(sorted(inputs)))
    full = with_input_axes(table, [levels[j] for j in inputs], levels[i], place)
    checked = checked_probabilities(full, labels[i], [labels[j] for j in inputs], where)
    factor = prune_inputs(inputs, checked)
    is_declared = allowed[list(factor.parents)].all()
    # The first column may be 1 less the others.
    rounding = 0.0 if is_declared else coarse_tolerance(full[..., 1:])
    return restrict_to_declared(factor, allowed, i, labels, where, rounding=rounding)


def inferred_edges(factors: Sequence[Factor | CountingFactor]) -> Mask:
    """Return the edges along which a probability varies, (N, N) ``[from, to]``."""
    edges = np.zeros((len(factors), len(factors)), np.bool_)
    for i, factor in enumerate(factors):
        if isinstance(factor, CountingFactor):
            edges[list(factor.parents), i] = (
                np.ptp(factor.probability_by_count, axis=0).max() > INFERRED_TOLERANCE
            )
            continue
        for axis, parent in enumerate(factor.parents):
            edges[parent, i] = np.ptp(factor.table, axis=axis).max() > INFERRED_TOLERANCE
    edges.setflags(write=False)
    return edges


def _without_faint_inputs(factor: Factor | CountingFactor, edges: Mask) -> Factor | CountingFactor:
    """Return the factor without inputs along which it varies by rounding alone."""
    if isinstance(factor, CountingFactor):
        return (
            factor
            if edges[list(factor.parents)].all()
            else Factor((), read_only(factor.probability_by_count.mean(axis=0)))
        )
    faint = tuple(axis for axis, parent in enumerate(factor.parents) if not edges[parent])
    if not faint:
        return factor
    kept = tuple(parent for parent in factor.parents if edges[parent])
    return Factor(kept, read_only(factor.table.mean(axis=faint)))


def fixed_factors(
    factors: Sequence[Factor | CountingFactor], held: Mapping[int, int], levels: Sequence[int]
) -> Iterator[Factor | CountingFactor]:
    """Yield the factors with some units held at a value, which others then do not depend on."""
    state = [held.get(i, 0) for i in range(len(factors))]
    free = [i for i in range(len(factors)) if i not in held]
    for i, factor in enumerate(factors):
        if i in held:
            yield Factor((), np.eye(levels[i])[held[i]])
        elif isinstance(conditioned := factor.conditioned(free, state), CountingFactor):
            yield conditioned
        else:
            yield prune_inputs(conditioned.parents, conditioned.table)


def warn_of_idle_edges(idle: Mask, labels: Sequence[str], where: str) -> None:
    """Warn of edges that are declared and make no difference."""
    pairs = np.argwhere(idle)
    if not len(pairs):
        return
    names = [f"{labels[source]} -> {labels[target]}" for source, target in pairs[:MAX_SHOWN_EDGES]]
    more = ", ..." if len(pairs) > MAX_SHOWN_EDGES else ""
    what = "declared edge makes" if len(pairs) == 1 else "declared edges make"
    warnings.warn(
        f"{where}: {len(pairs)} {what} no difference ({', '.join(names)}{more}); they count in "
        "partitions and move ties; connectivity='inferred' leaves them out",
        IdleEdgesWarning,
        stacklevel=levels_to_user(),
    )


def unit_levels(given: Sequence[UnitTable], labels: Sequence[str], where: str) -> tuple[int, ...]:
    """Return the number of values of each unit."""
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
    if type(connectivity) is not np.ndarray or connectivity.dtype != np.bool_:
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
