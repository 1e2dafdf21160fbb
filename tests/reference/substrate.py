"""Substrates, candidate systems and repertoires, from the definitions (spec sections 0 to 3)."""

from __future__ import annotations

import math
from functools import reduce
from itertools import combinations, product

import numpy as np

TAU = 1e-12  # tolerance of every comparison of phi
ZERO = 1e-13  # values up to this are returned as exactly 0
CAUSE, EFFECT = "cause", "effect"


class Unreachable(ValueError):
    """The current state cannot follow any state (section 1)."""


def same(x, y):
    """Tolerant equality of two phi values (section 0)."""
    return abs(x - y) <= TAU * max(1.0, abs(x), abs(y))


def clean(x):
    """|x|+, with values that are 0 up to rounding returned as 0.0 (section 0)."""
    return float(x) if x > ZERO else 0.0


def ratio(p, q):
    """The pointwise log-ratio L(p, q) for scalars (section 0)."""
    if p == q:
        return 0.0
    if p == 0 or q == 0:
        return -np.finfo(float).max if p == 0 else np.finfo(float).max
    return math.log2(p / q)


def states(sizes):
    """All states of units with these alphabet sizes, little-endian order (section 0)."""
    for reverse in product(*(range(k) for k in reversed(sizes))):
        yield tuple(reversed(reverse))


def subsets(items):
    """Nonempty subsets, by size and then lexicographically (section 0)."""
    for size in range(1, len(items) + 1):
        yield from combinations(items, size)


def set_partitions(items):
    """All set partitions of a tuple, as tuples of tuples."""
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for smaller in set_partitions(rest):
        for i, block in enumerate(smaller):
            yield (*smaller[:i], (first, *block), *smaller[i + 1 :])
        yield ((first,), *smaller)


class System:
    """A candidate system S within its substrate, in the current state (sections 1 to 3).

    `factors[i]` has shape (k_0, ..., k_{N-1}, k_i); units keep their substrate numbers, arrays over
    S have one axis per unit of S in ascending order.
    """

    def __init__(self, factors, cm, state, subset):
        self.factors = [np.asarray(f, dtype=float) for f in factors]
        self.cm = np.asarray(cm, dtype=int)
        self.universe = tuple(range(len(self.factors)))
        self.alphabet = tuple(f.shape[-1] for f in self.factors)
        self.now = tuple(int(x) for x in state)
        self.subset = tuple(sorted(subset))
        self.sizes = tuple(self.alphabet[i] for i in self.subset)
        self._marginals = {}
        self._check()
        self.tpm = {EFFECT: self._effect(), CAUSE: self._cause()}

    def __len__(self):
        return len(self.subset)

    def at(self, units):
        """The current state of some units."""
        return tuple(self.now[i] for i in units)

    def _check(self):
        """Shapes, row sums and declared inputs (section 1)."""
        n = len(self.factors)
        if self.cm.shape != (n, n) or len(self.now) != n:
            raise ValueError("factors, cm and state disagree about the number of units")
        for b, f in enumerate(self.factors):
            if f.shape != (*self.alphabet, self.alphabet[b]):
                raise ValueError(f"factor {b} has shape {f.shape}")
            if np.abs(f.sum(axis=-1) - 1).max() > 1e-9:
                raise ValueError(f"factor {b} does not sum to 1")
            for a in range(n):
                if not self.cm[a, b] and np.ptp(f, axis=a).max() > 1e-13:
                    raise ValueError(f"undeclared input {a} -> {b}")

    def _likelihood(self, units):
        """prod_{i in units} F_i(x)[u_i] over all x of the substrate."""
        parts = [self.factors[i][..., self.now[i]] for i in units]
        return reduce(np.multiply, parts, np.ones(self.alphabet))

    def _fixed_background(self):
        return tuple(slice(None) if i in self.subset else self.now[i] for i in self.universe)

    def _effect(self):
        """E_i: the background held at its current state (section 2)."""
        where = self._fixed_background()
        if not (self._likelihood(self.subset)[where] > 0).any():
            raise Unreachable("no state of the system leads to its current state")
        return {i: self.factors[i][(*where, slice(None))] for i in self.subset}

    def _cause(self):
        """C_i: the background weighted by its posterior given the whole current state (2)."""
        joint = self._likelihood(self.universe)
        if not joint.sum() > 0:
            raise Unreachable("no state of the substrate leads to its current state")
        background = tuple(i for i in self.universe if i not in self.subset)
        q = joint.sum(axis=self.subset, keepdims=True) / joint.sum()
        return {i: (q[..., None] * self.factors[i]).sum(axis=background) for i in self.subset}

    def marginal(self, direction, unit, given):
        """TPM of `unit` given the inputs `given`, uniform mean over the others (section 3).

        One axis per unit of `given` in ascending order, then the value of `unit`.
        """
        key = (direction, unit, given)
        if key not in self._marginals:
            axes = tuple(k for k, a in enumerate(self.subset) if a not in given)
            self._marginals[key] = self.tpm[direction][unit].mean(axis=axes)
        return self._marginals[key]

    def probability(self, direction, units, values, given, inputs):
        """prod_{i in units} P(values_i | given = inputs); 1 for no units (section 3).

        For effects this is pi_e(values | inputs), for causes p_c(values | inputs).
        """
        result = 1.0
        for i, value in zip(units, values, strict=True):
            result *= self.marginal(direction, i, given)[(*inputs, value)]
        return result

    def effect_repertoire(self, mechanism, state, purview):
        """pi_e(z|m) over all z (section 3)."""
        rows = [self.marginal(EFFECT, i, mechanism)[tuple(state)] for i in purview]
        return reduce(np.multiply.outer, rows, np.ones(()))

    def unconstrained_effect(self, mechanism, purview):
        """p_e(z; M): the joint mixture over mechanism states (section 3)."""
        sizes = [self.alphabet[i] for i in mechanism]
        each = [self.effect_repertoire(mechanism, m, purview) for m in states(sizes)]
        return sum(each) / len(each)

    def forward_cause(self, mechanism, purview):
        """p_c(m|z) over all z, m the current state (section 3)."""
        columns = [self.marginal(CAUSE, i, purview)[..., self.now[i]] for i in mechanism]
        shape = tuple(self.alphabet[i] for i in purview)
        return reduce(np.multiply, columns, np.ones(shape))

    def selectivity(self, direction, mechanism, purview):
        """The repertoire pi(z|m) over all z: pi_e or pi_c (section 3)."""
        if direction == EFFECT:
            return self.effect_repertoire(mechanism, self.at(mechanism), purview)
        forward = self.forward_cause(mechanism, purview)
        total = forward.sum()
        return forward / total if total > 0 else np.zeros_like(forward)

    def forward(self, direction, mechanism, purview):
        """The probability compared with its partitioned version: pi_e(z|m) or p_c(m|z)."""
        if direction == EFFECT:
            return self.effect_repertoire(mechanism, self.at(mechanism), purview)
        return self.forward_cause(mechanism, purview)

    def unconstrained(self, direction, mechanism, purview):
        """p_e(z; M), or p_c(m; Z) for every z (section 3)."""
        if direction == EFFECT:
            return self.unconstrained_effect(mechanism, purview)
        forward = self.forward_cause(mechanism, purview)
        return np.full_like(forward, forward.mean())
