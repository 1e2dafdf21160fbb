"""Random systems for IIT 3.0, the same on every machine: kind and size follow from the number."""

from __future__ import annotations

import numpy as np

from tests.strategies import ASYMMETRIC, SYMMETRIC, Case, asymmetric, gated, next_state, symmetric

KINDS = (*ASYMMETRIC, "gates", "gates", "symmetric")
BACKGROUNDS = ("causal", "2014")


def drawn(number, units):
    """System number so and so with candidates of so many units, and a background rule."""
    rng = np.random.default_rng([units, number])
    kind = KINDS[number % len(KINDS)]
    outside = int(rng.integers(0, 2)) if units < 4 else 0
    size = units + outside
    noise = float(rng.choice([0.0, 0.05, 0.2]))
    if kind == "symmetric":
        factors, cm = symmetric(SYMMETRIC[number // len(KINDS) % len(SYMMETRIC)], size, noise)
    elif kind == "gates":
        factors, cm = gated(rng, size, noise)
    else:
        levels = [2] * size
        if size < 4 and number % 4 == 0:
            levels[int(rng.integers(size))] = 3
        factors, cm = asymmetric(rng, kind, tuple(levels))
    state = next_state(rng, factors)
    chosen = tuple(sorted(rng.choice(size, units, replace=False).tolist()))
    return Case(kind, number, tuple(factors), cm, state, chosen), BACKGROUNDS[number % 2]
