"""Systems in which ties are common, the same on every machine: kind and size follow from a number.

Lattices of probabilities, deterministic tables, tables that no rotation or no permutation of the
units changes, units with three values, candidates that are not strongly connected, and candidates
within a background.
"""

from __future__ import annotations

import numpy as np

from tests.strategies import SYMMETRIC, Case, gated, next_state, symmetric, table

KINDS = (
    "lattice",
    "deterministic",
    "rotation",
    "permutation",
    "apart",
    "levels",
    "background",
    "apart background",
    "halves",
    "symmetric",
    "gates",
)
NOISES = (0.0, 0.1)
LATTICE = (0.1, 0.3, 0.5, 0.7, 0.9)
UNITS = (2, 3, 3, 2, 3, 1, 3, 2, 3, 4)
LEVELS = ((3,), (2, 3), (3, 3), (2, 3, 2), (4, 2), (3, 2, 2))


def lattice_row(rng, k):
    """Probabilities in tenths."""
    if k == 2:
        on = rng.choice(LATTICE)
        return 1 - on, on
    cuts = np.sort(rng.choice(np.arange(1, 10), k - 1, replace=False))
    return np.diff([0, *cuts, 10]) / 10


def half_row(rng, k):
    """Probabilities 0, 1/2 and 1, few of them certain."""
    on = rng.choice([0.0, 0.5, 0.5, 1.0])
    return (1 - on, on) if k == 2 else np.eye(k)[rng.integers(k)]


def certain_row(rng, k):
    """A value that follows with certainty."""
    return np.eye(k)[rng.integers(k)]


def by_neighbours(rng, n, key):
    """Binary factors that compute one function of `key(x, unit)`, with probabilities in tenths."""
    drawn = {}

    def on(x, unit):
        kind = key(x, unit)
        if kind not in drawn:
            drawn[kind] = lattice_row(rng, 2)
        return drawn[kind]

    levels = (2,) * n
    return [table(levels, range(n), 2, lambda x, i=i: on(x, i)) for i in range(n)]


def rotated(x, unit):
    """The values of all units, seen from one."""
    return tuple(x[unit:] + x[:unit])


def counted(x, unit):
    """The value of a unit and how many of the others are on."""
    return x[unit], sum(x) - x[unit]


def drawn_factors(rng, levels, connected, row):
    """Factors over the inputs that a matrix allows."""
    inputs = [np.flatnonzero(connected[:, i]).tolist() for i in range(len(levels))]
    return [
        table(levels, inputs[i], levels[i], lambda _, i=i: row(rng, levels[i]))
        for i in range(len(levels))
    ]


def forward_edges(rng, n):
    """A graph without a way back: some edges to later units, some connections to oneself."""
    upper = np.triu(rng.random((n, n)) < 0.7, 1)
    return upper | np.diag(rng.random(n) < 0.6)


def drawn(number, seed=0):
    """System number so and so: a case of one of the kinds."""
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    units = UNITS[number // len(KINDS) % len(UNITS)]
    outside = int(rng.integers(1, 3)) if "background" in kind and units < 4 else 0
    levels = (2,) * (units + outside)
    if kind == "levels":
        levels = LEVELS[number // len(KINDS) % len(LEVELS)]
        units = len(levels)
    n = len(levels)
    connected = np.ones((n, n), bool)
    if kind in ("lattice", "halves", "background"):
        connected = (rng.random((n, n)) < 0.7) | np.roll(np.eye(n, dtype=bool), 1, axis=1)
    elif "apart" in kind:
        connected = forward_edges(rng, n)
    if kind == "symmetric":
        factors, connected = symmetric(str(rng.choice(SYMMETRIC)), n, float(rng.choice(NOISES)))
    elif kind == "gates":
        factors, connected = gated(rng, n, float(rng.choice(NOISES)))
    elif kind in ("rotation", "permutation"):
        factors = by_neighbours(rng, n, rotated if kind == "rotation" else counted)
    else:
        coarse = certain_row if kind == "deterministic" else half_row
        row = coarse if kind in ("deterministic", "halves") else lattice_row
        factors = drawn_factors(rng, levels, connected, row)
    chosen = tuple(sorted(rng.choice(n, units, replace=False).tolist()))
    return Case(kind, number, tuple(factors), connected, next_state(rng, factors), chosen)
