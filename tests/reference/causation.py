"""Actual causation from the definitions: repertoires, links, accounts and their cuts (section 13).

Cuts are made as the definition says, by averaging severed inputs out of every factor and searching
the whole account again.
"""

from __future__ import annotations

from functools import cached_property, reduce
from itertools import product
from math import log2

import numpy as np

from tests.reference.mechanisms import admissible, partitions
from tests.reference.substrate import CAUSE, EFFECT, Unreachable, subsets

ZERO = 1e-11  # sums of logarithms carry more rounding than one
TIE = 1e-10


class Transition:
    """x(t-1) -> y(t), with causes sought among A and effects among B (13.1).

    `cut` is a set of severed edges; `background` is "causal" (posterior given y) or "2019" (all
    units outside A held at x in both directions).
    """

    def __init__(self, factors, cm, before, after, causes, effects, background="causal", cut=()):
        self.given = (factors, cm, before, after, causes, effects, background)
        self.factors = [np.asarray(f, float) for f in factors]
        self.cm = np.array(cm, int)
        self.levels = tuple(f.shape[-1] for f in self.factors)
        self.before, self.after = tuple(before), tuple(after)
        self.causes, self.effects = tuple(sorted(causes)), tuple(sorted(effects))
        self.units = tuple(sorted({*self.causes, *self.effects}))
        self.background = background
        for a, b in cut:
            self.cm[a, b] = 0
        n = len(self.levels)
        self.outside = tuple(i for i in range(n) if i not in self.units)
        self.others = tuple(i for i in range(n) if i not in self.causes)
        self.tables = {
            CAUSE: {i: self._severed(i, self._cause_table(i), cut) for i in self.effects},
            EFFECT: {i: self._severed(i, self._effect_table(i), cut) for i in self.effects},
        }

    def _held(self, factor):
        index = tuple(
            slice(self.before[i], self.before[i] + 1) if i in self.others else slice(None)
            for i in range(len(self.levels))
        )
        return factor[index]

    def _cause_table(self, unit):
        """P(unit = y | x_A); every axis but A's has length 1."""
        factor = self.factors[unit][..., self.after[unit]]
        if self.background == "2019":
            return self._held(factor)
        if self.outside:
            parts = [f[..., y] for f, y in zip(self.factors, self.after, strict=True)]
            joint = reduce(np.multiply, parts)
            if not joint.sum() > 0:
                raise Unreachable("no past leads to the state after")
            q = joint.sum(axis=self.units, keepdims=True) / joint.sum()
            factor = (q * factor).sum(axis=self.outside, keepdims=True)
        extra = tuple(i for i in self.others if i not in self.outside)
        return factor.mean(axis=extra, keepdims=True)

    def _effect_table(self, unit):
        return self._held(self.factors[unit])[..., self.after[unit]]

    def _severed(self, unit, table, cut):
        axes = tuple(a for a, b in cut if b == unit and a in self.causes)
        return np.broadcast_to(table.mean(axis=axes, keepdims=True), table.shape)

    def _marginal(self, direction, unit, inputs):
        """P(unit = y | x_inputs) over all states of some causes, the other causes uniform."""
        axes = tuple(a for a in range(len(self.levels)) if a not in inputs)
        return self.tables[direction][unit].mean(axis=axes)

    def rho(self, direction, mechanism, purview):
        """Probability of the purview's actual state in the mechanism's repertoire."""
        if direction == EFFECT:
            at = tuple(self.before[a] for a in mechanism)
            chosen = [self._marginal(EFFECT, i, mechanism)[at] for i in purview]
            return float(np.prod(chosen)) if chosen else 1.0
        shape = tuple(self.levels[a] for a in purview)
        parts = [self._marginal(CAUSE, i, purview) for i in mechanism]
        forward = reduce(np.multiply, parts, np.ones(shape))
        total = forward.sum()
        return float(forward[tuple(self.before[a] for a in purview)] / total) if total > 0 else 0.0

    @cached_property
    def table(self):
        """rho of every pair of subsets, by direction."""
        out = {}
        for direction, own, other in self._sides():
            for m in ((), *subsets(own)):
                for z in ((), *subsets(other)):
                    out[direction, m, z] = self.rho(direction, m, z)
        return out

    def _sides(self):
        return (CAUSE, self.effects, self.causes), (EFFECT, self.causes, self.effects)

    def alpha(self, direction, mechanism, purview):
        """Alpha of one pair, with every tied partition as its severed pairs (13.2)."""
        whole = self.table[direction, mechanism, purview]
        if whole <= 0:
            return 0.0, set()
        mech, pur, _ = partitions(len(mechanism), len(purview))
        blocks = np.array(
            [[self.table[direction, m, z] for z in picks(purview)] for m in picks(mechanism)]
        )
        parted = blocks[mech, pur].prod(axis=1)
        alphas = np.array([log2(whole / p) if p > 0 else 0.0 for p in parted])
        least = alphas.min()
        if least <= ZERO:
            return 0.0, set()
        tied = np.flatnonzero(alphas <= least + TIE)
        return float(least), {severed(mechanism, purview, mech[k], pur[k]) for k in tied}

    def link(self, direction, mechanism):
        """The actual cause or effect of an occurrence, alpha and tied purviews, or None (13.3)."""
        own = self.causes if direction == CAUSE else self.effects
        found = {}
        for z in subsets(own):
            if admissible(self.cm, direction, mechanism, z):
                found[z] = self.alpha(direction, mechanism, z)[0]
        best = max(found.values(), default=0.0)
        if best <= 0:
            return None
        tied = [z for z, value in found.items() if value >= best - TIE]
        return best, [z for z in tied if not any(set(o) < set(z) for o in tied)]

    @cached_property
    def account(self):
        """Links by direction and mechanism (13.4)."""
        out = {}
        for direction, own, _ in self._sides():
            for m in subsets(own):
                found = self.link(direction, m)
                if found is not None:
                    out[direction, m] = found
        return out

    def strength(self, directions=(CAUSE, EFFECT)):
        """Sum of alpha over the links of some directions."""
        return sum(alpha for (d, _), (alpha, _) in self.account.items() if d in directions)

    def cuts(self, directions):
        """Severed edges within V of every partition (13.5)."""
        out = set()
        for direction, own, other in self._sides():
            if direction not in directions:
                continue
            for mech, pur, _ in zip(*partitions(len(own), len(other)), strict=True):
                edges = set()
                for m, z in zip(mech, pur, strict=True):
                    m = [u for k, u in enumerate(own) if m >> k & 1]
                    z = [u for k, u in enumerate(other) if z >> k & 1]
                    source, kept = (z, m) if direction == CAUSE else (m, z)
                    edges |= {(a, b) for a in source for b in self.units if b not in kept}
                out.add(frozenset(edges))
        return out

    def irreducibility(self, directions=(CAUSE, EFFECT)):
        """ALPHA of the account, with every cut that ties (13.5)."""
        if not self._hangs_together() or self.strength(directions) <= ZERO:
            return 0.0, set()
        known, losses = {}, {}
        for edges in self.cuts(directions):
            key = frozenset(e for e in edges if e[0] in self.causes and e[1] in self.effects)
            if key not in known:
                parted = Transition(*self.given, cut=key)
                known[key] = self.strength(directions) - parted.strength(directions)
            losses[edges] = known[key]
        least = min(losses.values())
        if least <= ZERO:
            return 0.0, set()
        return least, {edges for edges, loss in losses.items() if loss <= least + TIE}

    def _hangs_together(self):
        reached, border = {self.units[0]}, [self.units[0]]
        while border:
            a = border.pop()
            new = {b for b in self.units if self.cm[a, b] or self.cm[b, a]} - reached
            reached |= new
            border += new
        return len(reached) == len(self.units)


def picks(units):
    """Every subset as a tuple, in the order of bit masks."""
    return [
        tuple(u for k, u in enumerate(units) if mask >> k & 1) for mask in range(1 << len(units))
    ]


def severed(mechanism, purview, mech, pur):
    """(mechanism unit, purview unit) pairs in different parts."""
    part_m = {u: r for r, m in enumerate(mech) for k, u in enumerate(mechanism) if m >> k & 1}
    part_z = {u: r for r, z in enumerate(pur) for k, u in enumerate(purview) if z >> k & 1}
    return frozenset((a, b) for a, b in product(mechanism, purview) if part_m[a] != part_z[b])


def nexus(factors, cm, before, after, background="causal"):
    """The transition of largest ALPHA, then of most units (13.6)."""
    cm = np.asarray(cm)
    sources = [i for i in range(len(cm)) if cm[i].any()]
    targets = [i for i in range(len(cm)) if cm[:, i].any()]
    found = []
    for a in subsets(sources):
        for b in subsets(targets):
            made = Transition(factors, cm, before, after, a, b, background)
            found.append((made.irreducibility()[0], len({*a, *b}), a, b))
    best = max(alpha for alpha, *_ in found)
    tied = [row for row in found if row[0] >= best - TIE]
    return max(tied, key=lambda row: row[1])


def events(factors, cm, triple, units, background="causal"):
    """Occurrences with both an actual cause and an actual effect (13.7)."""
    past, now, future = triple
    causes = Transition(factors, cm, past, now, units, units, background).account
    effects = Transition(factors, cm, now, future, units, units, background).account
    return {
        m: (causes[CAUSE, m], effects[EFFECT, m])
        for m in subsets(units)
        if (CAUSE, m) in causes and (EFFECT, m) in effects
    }
