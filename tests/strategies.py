"""Random systems: drawn by hypothesis as a kind, sizes and a seed, so that failures repeat.

A :class:`Case` holds what both the oracle and the package need: full factors over all units.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from iitdask.model.substrate import Substrate

MOST_STATES = 36
ASYMMETRIC = ("dense", "sparse", "coarse")
SYMMETRIC = ("copy ring", "not ring", "and all", "or all", "xor all", "majority all", "and ring")
KINDS = (*ASYMMETRIC, "gates", *SYMMETRIC)
GATES = {
    "and": lambda xs: float(all(xs)),
    "or": lambda xs: float(any(xs)),
    "xor": lambda xs: float(sum(xs) % 2),
    "nor": lambda xs: float(not any(xs)),
    "majority": lambda xs: float(2 * sum(xs) > len(xs)),
    "copy": lambda xs: float(xs[0]),
    "not": lambda xs: float(not xs[0]),
}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
FEW = 6
"""Of how many examples one is drawn unless the profile is "thorough"."""


def count_examples(most):
    """Return how many examples the profile draws where a thorough run draws so many."""
    return most if PROFILE == "thorough" else -(-most // FEW)


def examples(most, **how):
    """Mark a property as randomized and say how many examples a thorough run draws."""

    def decorate(test):
        drawn = settings(max_examples=count_examples(most), **how)(test)
        return pytest.mark.randomized(drawn)

    return decorate


@dataclass(frozen=True)
class Case:
    """A substrate as full factors, its declared graph, a state and a candidate."""

    kind: str
    seed: int
    factors: tuple[np.ndarray, ...]
    cm: np.ndarray
    state: tuple[int, ...]
    units: tuple[int, ...]

    def __repr__(self):
        levels = [f.shape[-1] for f in self.factors]
        return (
            f"Case({self.kind}, seed {self.seed}, levels {levels}, state {self.state}, "
            f"units {self.units}, cm {self.cm.astype(int).tolist()})"
        )

    @property
    def levels(self):
        return tuple(f.shape[-1] for f in self.factors)

    def substrate(self):
        return Substrate.from_tpm(list(self.factors), connectivity=self.cm)

    def given(self):
        """Arguments of the oracle."""
        return self.factors, self.cm.astype(int), self.state, self.units

    def permuted(self, order):
        """The same system with unit ``order[k]`` called unit k."""
        n = len(order)
        place = {unit: k for k, unit in enumerate(order)}
        factors = tuple(np.ascontiguousarray(self.factors[u].transpose([*order, n])) for u in order)
        return Case(
            self.kind,
            self.seed,
            factors,
            self.cm[np.ix_(order, order)],
            tuple(self.state[u] for u in order),
            tuple(sorted(place[u] for u in self.units)),
        )


def table(levels, inputs, k, row):
    """A full factor whose distribution depends on some inputs: ``row(values) -> (k,)``."""
    out = np.empty((*levels, k))
    drawn = {}
    for x in product(*map(range, levels)):
        values = tuple(x[j] for j in inputs)
        if values not in drawn:
            drawn[values] = np.asarray(row(values), float)
        out[x] = drawn[values]
    return out


def gate(levels, inputs, name, noise=0.0):
    """A binary factor that computes a gate, wrong with probability ``noise``."""

    def row(values):
        on = noise + (1 - 2 * noise) * GATES[name](values)
        return (1 - on, on)

    return table(levels, inputs, 2, row)


def coarse_row(rng, k):
    """Probabilities in quarters: zeros, ones and many ties."""
    cuts = np.sort(rng.integers(0, 5, k - 1))
    return np.diff([0, *cuts, 4]) / 4


def asymmetric(rng, kind, levels):
    n = len(levels)
    cm = np.ones((n, n), bool)
    inputs = [list(range(n))] * n
    if kind == "sparse":
        cm = rng.random((n, n)) < 0.6
        inputs = [np.flatnonzero(cm[:, i]).tolist() for i in range(n)]
    rows = coarse_row if kind == "coarse" else (lambda rng, k: rng.dirichlet(np.full(k, 0.8)))
    factors = [
        table(levels, inputs[i], levels[i], lambda _, i=i: rows(rng, levels[i])) for i in range(n)
    ]
    return factors, cm


def gated(rng, n, noise):
    levels, cm, factors = (2,) * n, np.zeros((n, n), bool), []
    for i in range(n):
        drawn = rng.choice(n, size=rng.integers(1, min(n, 3) + 1), replace=False).tolist()
        inputs = sorted({*drawn[1:], (i - 1) % n})  # a ring at least: strongly connected
        cm[inputs, i] = True
        factors.append(gate(levels, inputs, str(rng.choice(list(GATES))), noise))
    if rng.random() < 0.3:
        cm[:] = True  # declared more than is used
    return factors, cm


def symmetric(kind, n, noise):
    levels, cm, factors = (2,) * n, np.zeros((n, n), bool), []
    name, shape = kind.split()
    for i in range(n):
        before = (i - 1) % n
        inputs = [before] if shape == "ring" else list(range(n))
        if kind == "and ring":
            inputs = sorted({before, i})
        cm[inputs, i] = True
        factors.append(gate(levels, inputs, name, noise))
    return factors, cm


def next_state(rng, factors):
    """A state that some past state leads to."""
    levels = [f.shape[-1] for f in factors]
    past = tuple(int(rng.integers(k)) for k in levels)
    return tuple(int(rng.choice(k, p=f[past])) for k, f in zip(levels, factors, strict=True))


@st.composite
def cases(draw, kinds=KINDS, units=(2, 4), background=False, noises=(0.0, 0.05, 0.1, 0.25)):
    """A random system; some candidates are unreachable when the background is deterministic."""
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 2**32 - 1))
    n = draw(st.integers(*units))
    rng = np.random.default_rng(seed)
    more = draw(st.integers(1, 2)) if background else 0
    noise = draw(st.sampled_from(noises))
    size = min(n + more, 5)
    if kind in ASYMMETRIC:
        levels = draw(st.lists(st.sampled_from((2, 2, 3)), min_size=size, max_size=size))
        while prod(levels) > MOST_STATES:
            levels[levels.index(3)] = 2
        factors, cm = asymmetric(rng, kind, tuple(levels))
    elif kind == "gates":
        factors, cm = gated(rng, size, noise)
    else:
        factors, cm = symmetric(kind, size, noise)
    chosen = range(size)
    if background:
        chosen = sorted(rng.choice(size, size=max(1, size - more), replace=False).tolist())
    return Case(kind, seed, tuple(factors), cm, next_state(rng, factors), tuple(chosen))
