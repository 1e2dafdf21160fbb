"""Weighted sums over all states of a unit's inputs, correctly rounded, and what they lead to."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from iitdask.types import Mask, Table

MAX_TIE_SHARE = 0.4999  # Share of the spacing of numbers from which on rounding is decided exactly
OVERFLOW_SCALE = 2.0**-64  # Brings terms whose sum is beyond double range back into it


def subset_sums(weights: Table, constants: Table, *, spins: bool) -> Table:
    """Return ``(K, 2^m)``: constant + sum of weights of units, one per little-endian row.

    `weights` is ``(K, m)``, `constants` ``(K,)``. An input has the values 0 and 1, with `spins` -1
    and 1. The sums are those of exact numbers, rounded once, as `math.fsum` rounds them: they do
    not depend on the order of the inputs, so symmetric inputs give bitwise equal numbers and ties
    between states stay ties (mathematics 26.1).
    """
    parts = [constants[:, None] + 0.0, np.zeros((len(weights), 1)), np.zeros((len(weights), 1))]
    inexact = np.zeros((len(weights), 1), np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        for weight in weights.T[..., None]:
            on, on_lost = _plus(parts, weight)
            off, off_lost = _plus(parts, -weight) if spins else (parts, False)
            parts = [np.concatenate(pair, axis=1) for pair in zip(off, on, strict=True)]
            inexact = np.concatenate([inexact | off_lost, inexact | on_lost], axis=1)
        sums, is_doubtful = _rounded(parts)
    for k, row in np.argwhere(inexact | is_doubtful):
        values = [w if row >> j & 1 else (-w if spins else 0.0) for j, w in enumerate(weights[k])]
        sums[k, row] = _exact_sum([constants[k], *values])
    return sums


def _two_sum(a: Table, b: Table) -> tuple[Table, Table]:
    """Return the rounded sum and what rounding took away, exactly."""
    total = a + b
    added = total - a
    return total, (a - (total - added)) + (b - added)


def _plus(parts: list[Table], term: Table) -> tuple[list[Table], Mask]:
    """Add a term to sums of three parts; return also where something was lost."""
    first, rest = _two_sum(parts[0], term)
    second, rest = _two_sum(parts[1], rest)
    third, rest = _two_sum(parts[2], rest)
    return [first, second, third], rest != 0  # true for nan


def _rounded(parts: list[Table]) -> tuple[Table, Mask]:
    """Return the sums of three parts, and where a tie of rounding may have been decided wrongly."""
    high, low = _two_sum(parts[0], parts[1])
    low, rest = _two_sum(low, parts[2])
    sums, low = _two_sum(high, low)  # correctly rounded where there is no rest
    # Below a power of two numbers are twice as dense.
    is_power = np.frexp(sums)[0] == np.copysign(0.5, sums)
    is_near_tie = np.abs(low) > MAX_TIE_SHARE * np.spacing(np.abs(sums))
    return sums + 0.0, ~np.isfinite(sums) | ((rest != 0) & (is_power | is_near_tie | (low == 0)))


def _exact_sum(terms: Iterable[float]) -> float:
    terms = list(terms)
    try:
        return math.fsum(terms) + 0.0
    except OverflowError:  # the sum of some of them is beyond double range, perhaps not that of all
        scaled = math.fsum(term * OVERFLOW_SCALE for term in terms)
        try:
            return scaled / OVERFLOW_SCALE
        except OverflowError:
            return math.copysign(math.inf, scaled)


def logistic(values: Table) -> Table:
    """Return 1 / (1 + exp(-value)), each by the same operations wherever it stands."""
    # NumPy's exp may differ in the last bit by the position in an array.
    powers = map(math.exp, np.minimum(-values, 700.0).ravel().tolist())
    exponentials = np.fromiter(powers, np.float64, values.size).reshape(values.shape)
    out: Table = 1.0 / (1.0 + exponentials)
    return out
