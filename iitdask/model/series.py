"""Units from recordings: transitions counted, probabilities estimated, parents selected.

What was observed without intervention need not be what interventions would show: estimates say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.model import labels as notation
from iitdask.model.array_input import as_array
from iitdask.model.factor import describe_row, read_only
from iitdask.types import Array, Mask, Table

OBSERVED = "observed, not intervened"
MAX_LEVELS = 255  # Values of a unit
MAX_COUNTED_ROWS = 1 << 24  # Rows of the table of one unit
MAX_CODE = 2**62  # Rows that an int64 numbers
GAMMA_STEPS = 10_000  # Of the expansions of the incomplete gamma function
GAMMA_PRECISION = 1e-15


class UnitCounts(NamedTuple):
    """How often a unit took each value after each state of its parents."""

    parents: tuple[int, ...]  # Unit numbers, ascending
    table: Array  # ``table[x_p0, x_p1, ..., value]`` int64


class IndependenceTest(NamedTuple):
    """Whether units are independent of each other given the state before, Eq. (33.3)."""

    statistic: float  # G, asymptotically chi-square distributed where they are
    degrees_of_freedom: int
    p_value: float  # Probability of a larger statistic where they are; 1 without any freedom


@dataclass(frozen=True, slots=True, eq=False)
class SeriesEstimate:
    """Everything that recordings say about a substrate."""

    labels: tuple[str, ...]
    levels: tuple[int, ...]
    counts: tuple[UnitCounts, ...]
    prior: float
    edges: Mask  # (N, N) [parent, unit]
    attrs: Mapping[str, Any]  # What an estimate is worth, in plain values


def estimate_series(
    recordings: Any, *, lag: Any, levels: Any, parents: Any, prior: Any, labels: Any, where: str
) -> SeriesEstimate:
    """Count transitions and select parents, see :meth:`Substrate.from_series`."""
    lag = _whole(lag, 1, f"{where}: lag")
    weight = _prior(prior, f"{where}: prior")
    arrays = _recordings(recordings, where)
    count = arrays[0].shape[1]
    named = notation.parse_labels(labels, count, where)
    states, sizes = _states(arrays, levels, named, where)
    before = np.concatenate([each[:-lag] for each in states])
    after = np.concatenate([each[lag:] for each in states])
    if not len(before):
        longest = max(map(len, arrays))
        raise SubstrateError(f"{where}: expected more than {lag} times (lag), got {longest}")
    edges = _edges(parents, before, after, sizes, where)
    parents_of = [np.flatnonzero(column) for column in edges.T]
    counts = tuple(
        count_transitions(before, after[:, i], own, sizes, unit=i, where=where)
        for i, own in enumerate(parents_of)
    )
    if weight == 0:
        _require_seen(counts, sizes, named, where)
    rows = [unit.table.sum(axis=-1) for unit in counts]
    test = independence_test(before, after)
    attrs = {
        "observed": OBSERVED,
        "causal": False,
        "n_transitions": len(before),
        "lag": lag,
        "prior": weight,
        "rows_never_seen": [int((each == 0).sum()) for each in rows],
        "least_count": int(min(each.min() for each in rows)),
        "independence_statistic": test.statistic,
        "independence_degrees_of_freedom": test.degrees_of_freedom,
        "independence_p_value": test.p_value,
    }
    return SeriesEstimate(named, sizes, counts, weight, edges, attrs)


def _whole(value: Any, least: int, where: str) -> int:
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise SubstrateError(
            f"{where}: expected a whole number from {least} on, got {quote(value)}"
        )
    return int(value)


def _prior(value: Any, where: str) -> float:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise SubstrateError(f"{where}: expected a number from 0 on, got {quote(value)}")
    return float(value)


def _recordings(given: Any, where: str) -> list[Table]:
    """Return recordings ``(time, unit)``: one, or those of a list."""
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    if isinstance(given, list | tuple) and given and np.ndim(given[0]) == 2:
        arrays = [as_array(each, f"{where}: recording {k}") for k, each in enumerate(given)]
    else:
        array = as_array(given, where)
        arrays = list(array) if array.ndim == 3 else [array]
    if not arrays:
        raise SubstrateError(f"{where}: expected at least one recording, got none")
    for k, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != arrays[0].shape[1] or not array.size:
            units = arrays[0].shape[1] if arrays[0].ndim == 2 else "unit"
            raise SubstrateError(
                f"{where}: recording {k}: expected shape (time, {units}), got {array.shape}"
            )
        if not np.isfinite(array).all():
            time, unit = (int(v) for v in np.argwhere(~np.isfinite(array))[0])
            text = f"expected a number at time {time}, unit {unit}, got {array[time, unit]}"
            raise SubstrateError(f"{where}: recording {k}: {text}")
    return arrays


def _states(
    arrays: Sequence[Table], levels: Any, labels: Sequence[str], where: str
) -> tuple[list[Array], tuple[int, ...]]:
    """Return recordings as states, and the number of values of each unit."""
    together = np.concatenate(arrays)
    if levels is None:
        wrong = (together != np.floor(together)) | (together < 0) | (together >= MAX_LEVELS)
        if wrong.any():
            unit = int(np.argwhere(wrong)[0][1])
            value = together[wrong[:, unit], unit][0]
            raise SubstrateError(
                f"{where}: unit {labels[unit]!r}: expected states 0, 1, ..., got {value:g}; "
                "levels='median' or a number of levels makes states of measurements"
            )
        sizes = tuple(max(int(top) + 1, 2) for top in together.max(axis=0))
        return [array.astype(np.int64) for array in arrays], sizes
    k = 2 if isinstance(levels, str) and levels == "median" else levels
    if isinstance(k, str):
        raise SubstrateError(
            f"{where}: levels: expected None, 'median' or a whole number, got {quote(levels)}"
        )
    k = _whole(k, 2, f"{where}: levels")
    if k > MAX_LEVELS:
        raise SubstrateError(f"{where}: levels: expected at most {MAX_LEVELS}, got {k}")
    cuts = np.quantile(together, np.arange(1, k) / k, axis=0)
    states = [(array[None] > cuts[:, None]).sum(axis=0) for array in arrays]
    return states, (k,) * together.shape[1]


def _edges(parents: Any, before: Array, after: Array, levels: Sequence[int], where: str) -> Mask:
    count = len(levels)
    if not isinstance(parents, str):
        array = as_array(parents, f"{where}: parents")
        if array.shape != (count, count) or not np.isin(array, (0, 1)).all():
            raise SubstrateError(
                f"{where}: parents: expected 'all', 'bic' or {(count, count)} zeros and ones "
                f"[from, to], got {quote(parents)}"
            )
        return array.astype(np.bool_)
    if parents not in ("all", "bic"):
        raise SubstrateError(
            f"{where}: parents: expected 'all', 'bic' or a connectivity, got {quote(parents)}"
        )
    edges = np.ones((count, count), np.bool_)
    if parents == "bic":
        for i in range(count):
            edges[:, i] = False
            edges[select_parents(before, after[:, i], levels, levels[i]), i] = True
    return edges


def _codes(states: Array, units: Sequence[int], levels: Sequence[int]) -> tuple[Array, int]:
    """Return the number of each state of some units, and how many there are."""
    rows = math.prod(levels[j] for j in units)
    code = np.zeros(len(states), np.int64)
    if rows >= MAX_CODE:
        return np.unique(states[:, list(units)], axis=0, return_inverse=True)[1].ravel(), rows
    weight = 1
    for j in units:
        code += states[:, j] * weight
        weight *= levels[j]
    return code, rows


def count_transitions(
    before: Array, after: Array, parents: Any, levels: Sequence[int], *, unit: int, where: str
) -> UnitCounts:
    """Count the values of a unit after the states of its parents."""
    own = tuple(int(j) for j in parents)
    code, rows = _codes(before, own, levels)
    size = levels[unit]
    if rows > MAX_COUNTED_ROWS:
        raise SubstrateError(
            f"{where}: unit {unit}: a table over {len(own)} parents is too large; "
            "give parents, or parents='bic'"
        )
    flat = np.bincount(code + rows * after, minlength=rows * size)
    shape = (*(levels[j] for j in own), size)
    return UnitCounts(own, flat.reshape(shape, order="F"))


def estimated_table(counts: UnitCounts, prior: float) -> Table:
    """Return posterior means, Eq. (33.1); with prior 0 the frequencies."""
    smoothed = counts.table + prior
    table: Table = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return table


def drawn_table(counts: UnitCounts, prior: float, rng: np.random.Generator) -> Table:
    """Return one table drawn from the posterior, Eq. (33.2)."""
    gammas = rng.standard_gamma(counts.table + prior)
    # All of them may be below the smallest number: of the value that is then meant, one is 1.
    lost = gammas.sum(axis=-1) == 0
    if lost.any():
        one_hot = np.eye(gammas.shape[-1])[rng.integers(gammas.shape[-1], size=int(lost.sum()))]
        gammas[lost] = one_hot
    table: Table = gammas / gammas.sum(axis=-1, keepdims=True)
    return table


def _require_seen(
    counts: Sequence[UnitCounts], levels: Sequence[int], labels: Sequence[str], where: str
) -> None:
    for label, unit in zip(labels, counts, strict=True):
        unseen = unit.table.sum(axis=-1) == 0
        if unseen.any():
            index = np.argwhere(np.atleast_1d(unseen))[0][: unseen.ndim]
            row = describe_row(
                index, [labels[j] for j in unit.parents], [levels[j] for j in unit.parents]
            )
            raise SubstrateError(
                f"{where}: unit {label!r}, {row}: was never seen, and prior 0 says nothing of it; "
                f"{int(unseen.sum())} of {unseen.size} rows were not seen"
            )


def select_parents(
    before: Array, after: Array, levels: Sequence[int], size: int
) -> tuple[int, ...]:
    """Return the parents that remain when the least informative one goes as long as BIC falls.

    References
    ----------
    mathematics.md, Eq. (33.4).
    """
    kept = tuple(range(len(levels)))
    best = bic(before, after, kept, levels, size)
    while kept:
        trials = {
            without: bic(before, after, without, levels, size)
            for without in (tuple(j for j in kept if j != out) for out in kept)
        }
        candidate = min(trials, key=lambda each: (trials[each], each))
        if trials[candidate] > best:
            break
        kept, best = candidate, trials[candidate]
    return kept


def bic(
    before: Array, after: Array, parents: Sequence[int], levels: Sequence[int], size: int
) -> float:
    """Return the Bayesian information criterion of a set of parents, Eq. (33.4)."""
    code, rows = _codes(before, parents, levels)
    if rows > MAX_COUNTED_ROWS // size:
        code = np.unique(code, return_inverse=True)[1]
    seen = int(code.max()) + 1
    counts = np.bincount(code + seen * after, minlength=seen * size).reshape(size, seen)
    log_likelihood = _n_log_n(counts) - _n_log_n(counts.sum(axis=0))
    return -2.0 * log_likelihood + math.log(len(before)) * float(rows) * (size - 1)


def _n_log_n(counts: Array) -> float:
    positive = counts[counts > 0].astype(np.float64)
    return float((positive * np.log(positive)).sum())


def independence_test(before: Array, after: Array) -> IndependenceTest:
    """Test whether units are independent of each other given the whole state before.

    References
    ----------
    mathematics.md, Eq. (33.3).
    """
    _, state = np.unique(before, axis=0, return_inverse=True)
    state = state.ravel()
    order = np.argsort(state, kind="stable")
    starts = np.flatnonzero(np.diff(state[order], prepend=-1))
    statistic, freedom = 0.0, 0
    for rows in np.split(order, starts[1:]):
        own = after[rows]
        joint = np.unique(own, axis=0, return_counts=True)[1]
        singles = [np.unique(column, return_counts=True)[1] for column in own.T]
        n = len(rows)
        statistic += 2.0 * (
            _n_log_n(joint) - sum(map(_n_log_n, singles)) + (len(singles) - 1) * n * math.log(n)
        )
        sizes = [len(each) for each in singles]
        freedom += math.prod(sizes) - 1 - sum(size - 1 for size in sizes)
    statistic = max(statistic, 0.0)
    return IndependenceTest(statistic, freedom, chi_square_tail(statistic, freedom))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Return the probability of a larger chi-square value; 1 without any freedom.

    Examples
    --------
    >>> round(chi_square_tail(3.841458820694124, 1), 12), chi_square_tail(0.0, 0)
    (0.05, 1.0)
    """
    if freedom <= 0 or statistic <= 0:
        return 1.0
    a, x = freedom / 2.0, statistic / 2.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1.0:
        return min(max(1.0 - scale * _gamma_series(a, x), 0.0), 1.0)
    return min(max(scale * _gamma_fraction(a, x), 0.0), 1.0)


def _gamma_series(a: float, x: float) -> float:
    term = total = 1.0 / a
    for k in range(1, GAMMA_STEPS):
        term *= x / (a + k)
        total += term
        if term < total * GAMMA_PRECISION:
            break
    return total


def _gamma_fraction(a: float, x: float) -> float:
    """Return the continued fraction of the upper incomplete gamma function (Lentz)."""
    tiny = 1e-300
    b = x + 1.0 - a
    c, d = 1.0 / tiny, 1.0 / b
    h = d
    for k in range(1, GAMMA_STEPS):
        factor = -k * (k - a)
        b += 2.0
        d = factor * d + b or tiny
        c = b + factor / c or tiny
        d = 1.0 / d
        h *= d * c
        if abs(d * c - 1.0) < GAMMA_PRECISION:
            break
    return h


def generators(seed: int, number: int, count: int) -> Iterator[np.random.Generator]:
    """Yield the random generator of each unit for one draw; draws do not depend on each other."""
    return (np.random.default_rng([seed, number, unit]) for unit in range(count))


def frozen_counts(counts: Sequence[UnitCounts]) -> tuple[UnitCounts, ...]:
    """Return counts whose arrays cannot be written."""
    return tuple(UnitCounts(tuple(c.parents), read_only(c.table, np.int64)) for c in counts)
