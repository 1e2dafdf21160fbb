"""Units from matrices of weights: NumPy arrays, SciPy's sparse matrices, tensors.

A matrix is taken apart into the inputs of each unit, so that sparse matrices stay sparse. Weights
that are pruned change probabilities by no more than a bound that is reported, mathematics 32.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import SubstrateError, quote
from iitdask.model import labels as notation
from iitdask.model.array_input import as_array
from iitdask.model.documents import require_memory
from iitdask.model.factor import CountingFactor, Factor, prune_inputs
from iitdask.model.gates import MAX_TABULATED_INPUTS
from iitdask.model.weighted_sums import logistic, subset_sums
from iitdask.types import Mask, Table

ROUNDING_OF_PROBABILITY = 2.0**-50  # Added to bounds on differences of computed probabilities
ENTRIES_AT_ONCE = 1 << 15  # Sums computed together: as many as stay in a cache
BYTES_PER_ROW = 16  # Of a table of two-valued units


class Activation(NamedTuple):
    """How the weighted sum of a unit's inputs becomes the probability that it is on."""

    spins: bool  # Whether values of inputs count as -1 and 1, not 0 and 1
    probability: Callable[[Table, Table], Table]  # P(on) from fields and slopes
    is_step: bool = False  # Whether it jumps where the field is 0


def _ising(fields: Table, slopes: Table) -> Table:
    with np.errstate(divide="ignore"):  # slope 0 is an infinite temperature
        temperatures: Table = 1.0 / slopes
    return logistic(2.0 * fields / temperatures)


def _threshold(fields: Table, _slopes: Table) -> Table:
    return (fields >= 0).astype(np.float64)


ISING = Activation(True, _ising)
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "logistic": Activation(False, lambda fields, slopes: logistic(slopes * fields)),
        "ising": ISING,
        "threshold": Activation(False, _threshold, is_step=True),
        "tanh": ISING,
    }
)
"""By name; a tanh unit is on with the probability of an Ising spin."""


class _Inputs(NamedTuple):
    """What one unit reads."""

    sources: tuple[int, ...]
    weights: Table  # (m,)
    below: float  # Least sum of the weights that are pruned
    above: float  # Largest sum of them


@dataclass(frozen=True, slots=True, eq=False)
class WeightedUnits:
    """All units of a matrix, and what pruning changed."""

    labels: tuple[str, ...]
    factors: tuple[Factor | CountingFactor, ...]
    edges: Mask  # (N, N) weights that are neither 0 nor pruned
    n_pruned: int  # Weights left out that are not 0
    pruning_bounds: Table  # (N,) largest change of any probability of each unit


def units_from_weights(
    weights: Any,
    *,
    activation: Any,
    bias: Any,
    slope: Any,
    prune: Any,
    labels: Any,
    where: str,
) -> WeightedUnits:
    """Return the units of a matrix ``[source, target]``, see :meth:`Substrate.from_weights`."""
    if not isinstance(activation, str) or activation.lower() not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        text = f"expected one of {known}, got {quote(activation)}"
        raise SubstrateError(f"{where}: activation: {text}")
    rule = ACTIVATIONS[activation.lower()]
    columns = _columns(weights, where)
    count = len(columns)
    named = notation.parse_labels(labels, count, where)
    biases = _per_unit(bias, count, f"{where}: bias")
    slopes = _per_unit(slope, count, f"{where}: slope")
    limit = float(_per_unit(prune, 1, f"{where}: prune")[0])
    if limit < 0:
        raise SubstrateError(f"{where}: prune: expected 0 or more, got {quote(prune)}")
    _require_finite(columns, named, where)
    inputs = [_prune(sources, values, limit, rule) for sources, values in columns]
    _require_tables(inputs, columns, named, where)
    factors: dict[int, Factor | CountingFactor] = {}
    edges, bounds = np.zeros((count, count), np.bool_), np.zeros(count)
    for i, each in enumerate(inputs):
        edges[list(each.sources), i] = True
    for units in _groups_of_equal_size(inputs):
        fields = subset_sums(
            np.array([inputs[i].weights for i in units]), biases[units], spins=rule.spins
        )
        on = rule.probability(fields, slopes[units, None])
        own = [inputs[i] for i in units]
        bounds[units] = _pruning_bounds((fields, on), slopes[units, None], own, rule)
        both = np.stack([1.0 - on, on], axis=-1)
        for i, table in zip(units, both, strict=True):
            shape = (2,) * len(inputs[i].sources) + (2,)
            factors[i] = prune_inputs(inputs[i].sources, table.reshape(shape, order="F"))
    for i in (k for k, each in enumerate(inputs) if len(each.sources) > MAX_TABULATED_INPUTS):
        fields = _fields_by_count(inputs[i], biases[i], spins=rule.spins)[None]
        on = rule.probability(fields, slopes[[i], None])
        bounds[i] = _pruning_bounds((fields, on), slopes[[i], None], [inputs[i]], rule)[0]
        by_count = np.stack([1.0 - on[0], on[0]], axis=-1)
        factors[i] = CountingFactor(inputs[i].sources, by_count)
    n_pruned = sum(int((values != 0).sum()) for _, values in columns) - int(edges.sum())
    ordered = tuple(factors[i] for i in range(count))
    return WeightedUnits(named, ordered, edges, n_pruned, bounds)


def _columns(weights: Any, where: str) -> list[tuple[NDArray[np.int64], Table]]:
    """Return sources and weights of each target; of a sparse matrix what it stores."""
    if hasattr(weights, "detach"):  # a tensor, perhaps with a gradient and on another device
        weights = weights.detach()
        if "strided" not in str(getattr(weights, "layout", "strided")):
            stored = weights.to_sparse_coo().coalesce()
            rows, columns = stored.indices().cpu().numpy()
            _require_square(tuple(stored.shape), where)
            values = as_array(stored.values().double().cpu().numpy(), where)
            return [(rows[columns == k], values[columns == k]) for k in range(stored.shape[1])]
        weights = weights.double().cpu().numpy()
    if hasattr(weights, "tocsc"):
        _require_square(tuple(weights.shape), where)
        stored = weights.tocsc(copy=True)
        stored.sum_duplicates()
        values = as_array(stored.data, where)
        parts = np.split(np.arange(len(values)), stored.indptr[1:-1])
        return [(stored.indices[part].astype(np.int64), values[part]) for part in parts]
    array = as_array(weights, where)
    _require_square(array.shape, where)
    sources = [np.flatnonzero(column) for column in array.T]
    return [(own, array[own, k]) for k, own in enumerate(sources)]


def _require_square(shape: tuple[int, ...], where: str) -> None:
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise SubstrateError(
            f"{where}: expected a square matrix [source, target] of weights, got shape {shape}"
        )


def _per_unit(value: Any, count: int, where: str) -> Table:
    array = as_array(value, where)
    if array.ndim > 1 or (array.ndim == 1 and len(array) != count) or not np.isfinite(array).all():
        raise SubstrateError(
            f"{where}: expected a finite number, or one for each of {count} units, "
            f"got {quote(value)}"
        )
    return np.broadcast_to(array, (count,))


def _require_finite(columns: Sequence[Any], labels: Sequence[str], where: str) -> None:
    for target, (sources, values) in enumerate(columns):
        if not np.isfinite(values).all():
            k = int(np.argmin(np.isfinite(values)))
            raise SubstrateError(
                f"{where}: {labels[sources[k]]!r} -> {labels[target]!r}: expected a finite weight, "
                f"got {values[k]}"
            )


def _prune(sources: NDArray[np.int64], values: Table, limit: float, rule: Activation) -> _Inputs:
    is_kept = np.abs(values) > limit
    pruned = values[~is_kept]
    size = float(np.abs(pruned).sum()) * (1 + ROUNDING_OF_PROBABILITY)
    share = 1 + ROUNDING_OF_PROBABILITY
    below = -size if rule.spins else float(pruned[pruned < 0].sum()) * share
    above = size if rule.spins else float(pruned[pruned > 0].sum()) * share
    return _Inputs(tuple(sources[is_kept].tolist()), values[is_kept], below, above)


def _require_tables(
    inputs: Sequence[_Inputs], columns: Sequence[Any], labels: Sequence[str], where: str
) -> None:
    """Refuse units whose tables would be too large, and say which weights to leave out."""
    most = MAX_TABULATED_INPUTS
    for label, each in zip(labels, inputs, strict=True):
        if len(each.sources) > most and (each.weights != each.weights[0]).any():
            # Of each unit that has more, the largest weight that has to go.
            limit = max(np.sort(np.abs(v))[-most - 1] for _, v in columns if len(v) > most)
            raise SubstrateError(
                f"{where}: unit {label!r}: a table over {len(each.sources)} inputs is too large; "
                f"expected at most {most} unless all weights are equal; "
                f"prune={limit:.17g} leaves so many"
            )
    try:
        require_memory(
            sum(BYTES_PER_ROW << len(e.sources) for e in inputs if len(e.sources) <= most)
        )
    except MemoryError as error:
        raise SubstrateError(f"{where}: tables of all units: {error}; prune more") from None


def _groups_of_equal_size(inputs: Sequence[_Inputs]) -> Iterator[list[int]]:
    """Yield units with as many inputs, some at a time; none with more than a table has."""
    sizes = np.array([len(each.sources) for each in inputs])
    for size in np.unique(sizes[sizes <= MAX_TABULATED_INPUTS]).tolist():
        units = np.flatnonzero(sizes == size).tolist()
        step = max(ENTRIES_AT_ONCE >> size, 1)
        yield from (units[begin : begin + step] for begin in range(0, len(units), step))


def _fields_by_count(inputs: _Inputs, bias: float, *, spins: bool) -> Table:
    """Return the fields of a unit with equal weights by the number of inputs that are on."""
    count, weight = len(inputs.sources), inputs.weights[0]
    totals = weight * (np.arange(count + 1) * (2.0 if spins else 1.0) - (count if spins else 0))
    fields: Table = totals + bias
    return fields


def _pruning_bounds(
    now: tuple[Table, Table], slopes: Table, units: Sequence[_Inputs], rule: Activation
) -> Table:
    """Return the largest change of P(on) over all states, Eq. (32.2); 0 where nothing is pruned.

    `now` are the fields without the pruned weights and the probabilities they give, (units, rows).
    """
    fields, on = now
    below = np.array([[each.below] for each in units])
    above = np.array([[each.above] for each in units])
    if not below.any() and not above.any():
        return np.zeros(len(units))
    if rule.is_step:
        margin = ROUNDING_OF_PROBABILITY * (np.abs(fields) + above - below)
        rises = (fields < 0) & (above > 0) & (fields + above >= -margin)
        falls = (fields >= 0) & (below < 0) & (fields + below < margin)
        jumps: Table = (rises | falls).any(axis=1).astype(np.float64)
        return jumps
    ends = [rule.probability(fields + delta, slopes) for delta in (below, above)]
    change: Table = np.maximum(*(np.abs(end - on) for end in ends)).max(axis=1)
    is_pruned = ((below != 0) | (above != 0))[:, 0]
    bounds: Table = np.where(is_pruned, np.minimum(change + ROUNDING_OF_PROBABILITY, 1.0), 0.0)
    return bounds
