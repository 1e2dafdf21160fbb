"""IIT 3.0 from the definitions: concepts, cuts, extended earth mover's distance (spec section 12).

Earth mover's distances are linear programs; nothing is bounded away except partitions whose
marginals alone already cost more than the best one found (they cannot be the minimum). Under
another measure or scheme of partitions every partition is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
from scipy.optimize import linprog

from tests.reference.mechanisms import admissible, set_order
from tests.reference.substrate import CAUSE, EFFECT, System, set_partitions, subsets
from tests.reference.systems import strongly_connected

TAU = 1e-6
LAST_BITS = 1e-9  # two distances of six decimals that are 1e-6 apart tie, whatever their last bits


def eq(x, y):
    """Tolerant equality at precision 6 (section 0)."""
    return abs(x - y) <= max(TAU * max(abs(x), abs(y)), TAU) + LAST_BITS


def positive(x):
    return x > 0 and not eq(x, 0)


def transport(supply, demand, cost):
    """Least cost of moving a supply to a demand, as a linear program."""
    supply, demand, cost = np.asarray(supply), np.asarray(demand), np.asarray(cost)
    rows, columns = np.flatnonzero(supply > 0), np.flatnonzero(demand > 0)
    if not len(rows) or not len(columns):
        return 0.0
    a, b, c = supply[rows], demand[columns], cost[np.ix_(rows, columns)]
    b = b * (a.sum() / b.sum())
    if len(a) == 1 or len(b) == 1:
        return float((np.outer(a, b) / a.sum() * c).sum())
    equal = np.zeros((len(a) + len(b), c.size))
    for i, j in product(range(len(a)), range(len(b))):
        equal[i, i * len(b) + j] = equal[len(a) + j, i * len(b) + j] = 1
    found = linprog(c.ravel(), A_eq=equal[:-1], b_eq=np.concatenate([a, b])[:-1], method="highs")
    assert found.status == 0, found.message
    return float(found.fun)


def emd(p, q):
    """Earth mover's distance of joint distributions, cost = number of differing units (12.1)."""
    surplus = (p - q).ravel()  # the cost is a metric: what both have in common stays
    if np.abs(surplus).max() < 1e-15:
        return 0.0
    states = np.array(list(np.ndindex(p.shape))).reshape(p.size, p.ndim)
    cost = (states[:, None] != states[None]).sum(axis=2)
    return transport(np.maximum(surplus, 0), np.maximum(-surplus, 0), cost)


def marginal_distance(p, q):
    """Sum over units of the total variation of their marginals (12.1)."""
    total = 0.0
    for axis in range(p.ndim):
        others = tuple(a for a in range(p.ndim) if a != axis)
        total += 0.5 * np.abs((p - q).sum(axis=others)).sum()
    return float(total)


def bits(p, factor):
    """Sum of p log2(factor) over the states that p allows."""
    return float((p[p > 0] * np.log2(factor[p > 0])).sum())


def information(p):
    return bits(p**2, p * p.size)


MEASURES = {
    "EMD": emd,
    "L1": lambda p, q: float(np.abs(p - q).sum()),
    "KLD": lambda p, q: bits(p, ratio(p, q)),
    "ENTROPY_DIFFERENCE": lambda p, q: abs(bits(p, p) - bits(q, q)),
    "PSQ2": lambda p, q: abs(information(p) - information(q)),
    "MP2Q": lambda p, q: bits(p * ratio(p, q), ratio(p, q)) / p.size,
    "ID": lambda p, q: float(pointwise(p, q).max()),
    "AID": lambda p, q: float(np.abs(pointwise(p, q)).max()),
}


def ratio(p, q):
    return np.divide(p, q, out=np.ones_like(p), where=p > 0)


def pointwise(p, q):
    return p * np.log2(np.where(p > 0, ratio(p, q), 1.0))


@dataclass(frozen=True)
class Rule:
    """Measure, partitions of mechanisms and distance of structures; the defaults are published."""

    measure: str = "EMD"
    partitions: str = "bipartition"
    structure: str = "EMD"


class Cut:
    """A system with the edges from some units to the others severed (section 2)."""

    def __init__(self, system, origin=(), background="causal", rule=None):
        self.system, self.origin, self.rule = system, tuple(origin), rule or Rule()
        self.units = system.subset
        self.target = tuple(i for i in self.units if i not in origin) if origin else ()
        self.cm = system.cm.copy()
        self.cm[np.ix_(self.origin, self.target)] = 0
        tpm = dict(system.tpm)
        if background == "2014":
            tpm[CAUSE] = tpm[EFFECT]
        axes = tuple(self.units.index(i) for i in self.origin)
        self.tpm = {
            side: {
                i: np.broadcast_to(f.mean(axis=axes, keepdims=True), f.shape)
                if i in self.target
                else f
                for i, f in factors.items()
            }
            for side, factors in tpm.items()
        }
        self._repertoires = {}

    def marginal(self, side, unit, given):
        axes = tuple(k for k, a in enumerate(self.units) if a not in given)
        return self.tpm[side][unit].mean(axis=axes)

    def repertoire(self, side, mechanism, purview):
        """pi_e or pi_c over all states of the purview, one axis per unit (section 3)."""
        key = side, mechanism, purview
        if key not in self._repertoires:
            self._repertoires[key] = self._repertoire(*key)
        return self._repertoires[key]

    def _repertoire(self, side, mechanism, purview):
        if side == EFFECT:
            now = self.system.at(mechanism)
            rows = [self.marginal(side, j, mechanism)[now] for j in purview]
            return reduce(np.multiply.outer, rows, np.ones(()))
        shape = tuple(self.system.alphabet[i] for i in purview)
        now = [(i, self.system.now[i]) for i in mechanism]
        columns = [self.marginal(side, i, purview)[..., value] for i, value in now]
        forward = reduce(np.multiply, columns, np.ones(shape))
        return forward / forward.sum() if forward.sum() > 0 else np.zeros(shape)


def bipartitions(m, z):
    """Unordered bipartitions of M times ordered ones of Z, no part empty on both sides (12.1)."""
    for a in range(2 ** max(0, len(m) - 1)):
        for b in range(2 ** len(z)):
            one = (
                tuple(x for k, x in enumerate(m) if a >> k & 1),
                tuple(x for k, x in enumerate(z) if b >> k & 1),
            )
            two = (
                tuple(x for k, x in enumerate(m) if not a >> k & 1),
                tuple(x for k, x in enumerate(z) if not b >> k & 1),
            )
            if one != ((), ()) and two != ((), ()):
                yield one, two


def blockwise(m, z, most):
    """Partitions into up to so many blocks of M and one part without; each severed set once."""
    found = {}
    for blocks in set_partitions(m):
        for assigned in product(range(len(blocks) + 1), repeat=len(z)):
            parts = [
                (units, tuple(u for u, r in zip(z, assigned, strict=True) if r == k))
                for k, units in enumerate((*blocks, ()))
            ]
            is_whole = len(blocks) == 1 and parts[0][1]
            if len(blocks) <= most and not is_whole:
                found.setdefault(severed_pairs(parts), tuple(parts))
    return list(found.values())


SCHEMES = {
    "bipartition": bipartitions,
    "wedge": lambda m, z: blockwise(m, z, 2),
    "all": lambda m, z: blockwise(m, z, len(m)),
}


def severed_pairs(parts):
    severed = set()
    for r, (mechanism, _) in enumerate(parts):
        others = [z for s, (_, purview) in enumerate(parts) if s != r for z in purview]
        severed |= set(product(mechanism, others))
    return frozenset(severed)


def key_bytes(pairs, size):
    matrix = np.zeros((size, size), np.uint8)
    for a, b in pairs:
        matrix[a, b] = 1
    return matrix.tobytes()


def partitioned(cut, side, purview, parts):
    """Product of the parts' repertoires, axes in the order of the purview (12.1)."""
    joint, order = np.ones(()), ()
    for m, z in parts:
        joint, order = np.multiply.outer(joint, cut.repertoire(side, m, z)), order + z
    return joint.transpose([order.index(u) for u in purview])


@dataclass(frozen=True)
class Side:
    """Cause or effect of a mechanism."""

    purview: tuple[int, ...]
    phi: float
    parts: tuple | None
    repertoire: np.ndarray
    ties: tuple[tuple[int, ...], ...] = ()
    partitioned: np.ndarray | None = None


def irreducibility(cut, side, mechanism, purview):
    """Least distance over partitions and the partition that attains it (12.1)."""
    whole = cut.repertoire(side, mechanism, purview)
    if not whole.any():
        return 0.0, None
    scheme = SCHEMES[cut.rule.partitions]
    each = [(p, partitioned(cut, side, purview, p)) for p in scheme(mechanism, purview)]
    if cut.rule.measure != "EMD":
        measure = MEASURES[cut.rule.measure]
        found = [(round(measure(whole, q), 6), k) for k, (_, q) in enumerate(each)]
        return named(each, found, 1 + max(mechanism + purview))
    bounds = [marginal_distance(whole, q) for _, q in each]
    best, tied = np.inf, []
    for k in np.argsort(bounds, kind="stable"):
        if bounds[k] > best + 3 * TAU:
            break
        d = bounds[k] if side == EFFECT or len(purview) == 1 else emd(whole, each[k][1])
        d = round(d, 6)
        best = min(best, d)
        tied.append((d, k))
        if not positive(d):
            return 0.0, each[k][0]
    return named(each, tied, 1 + max(mechanism + purview))


def named(each, found, size):
    """The least distance, and the first of the tied partitions by the pairs they sever (12.1)."""
    best = min(d for d, _ in found)
    tied = [(key_bytes(severed_pairs(each[k][0]), size), k, d) for d, k in found if eq(d, best)]
    _, k, d = min(tied)
    return (d if positive(d) else 0.0), each[k][0]


def maximal(cut, side, mechanism):
    """Cause or effect with the largest phi, then the largest purview, then set order (12.1)."""
    system = cut.system
    every = [z for z in subsets(system.universe) if admissible(system.cm, side, mechanism, z)]
    inside = [z for z in set_order(every) if set(z) <= set(cut.units)]
    left = [z for z in inside if admissible(cut.cm, side, mechanism, z)]
    found = [(*irreducibility(cut, side, mechanism, z), z) for z in left]
    if not found:
        return None
    best = max(phi for phi, _, _ in found)
    if not positive(best):
        return None
    ties = [f for f in found if eq(f[0], best)]
    size = max(len(z) for _, _, z in ties)
    phi, parts, z = next(f for f in ties if len(f[2]) == size)
    chosen = tuple(f[2] for f in ties if len(f[2]) == size)
    rest = partitioned(cut, side, z, parts)
    return Side(z, phi, parts, cut.repertoire(side, mechanism, z), chosen, rest)


def concepts(cut, mechanisms):
    """{mechanism: (phi, cause, effect)} of the irreducible ones (12.1)."""
    found = {}
    for m in mechanisms:
        cause = maximal(cut, CAUSE, m)
        effect = maximal(cut, EFFECT, m) if cause else None
        if effect:
            found[m] = (min(cause.phi, effect.phi), cause, effect)
    return found


def expanded(intact, side, purview, repertoire, wider):
    """A repertoire over more units, by the intact unconstrained repertoire of the rest (12.2)."""
    rest = tuple(u for u in wider if u not in purview)
    joint = np.multiply.outer(repertoire, intact.repertoire(side, (), rest))
    joint = joint.transpose([(purview + rest).index(u) for u in wider])
    return joint / joint.sum()


def distance(intact, one, two):
    """Between two concepts; None is the null concept (12.2)."""
    total = 0.0
    for k, side in ((1, CAUSE), (2, EFFECT)):
        a = (one[k].purview, one[k].repertoire) if one else ((), np.ones(()))
        b = (two[k].purview, two[k].repertoire) if two else ((), np.ones(()))
        wider = tuple(sorted({*a[0], *b[0]}))
        p, q = (expanded(intact, side, z, r, wider) for z, r in (a, b))
        # effects are products over units: their distance is the marginals' sum
        total += round(emd(p, q) if side == CAUSE else marginal_distance(p, q), 6)
    return total


def unmatched(first, second):
    """Concepts of the first structure that the second does not have alike (12.2)."""

    def alike(m):
        if m not in second or not eq(first[m][0], second[m][0]):
            return False
        pairs = zip(first[m][1:], second[m][1:], strict=True)
        return all(
            a.purview == b.purview and np.allclose(a.repertoire, b.repertoire, 0, 1e-12)
            for a, b in pairs
        )

    return [first[m] for m in first if not alike(m)]


def structure_distance(intact, first, second):
    """Extended earth mover's distance with the null concept (12.2)."""
    if intact.rule.structure == "SUM_SMALL_PHI":
        return round(sum(c[0] for c in first.values()) - sum(c[0] for c in second.values()), 6)
    one, two = unmatched(first, second), unmatched(second, first)
    if not one or not two:
        return round(sum(c[0] * distance(intact, c, None) for c in one or two), 6)
    sums = sum(c[0] for c in one), sum(c[0] for c in two)
    supply = [c[0] for c in one] + [max(sums) - sums[0]]
    demand = [c[0] for c in two] + [max(sums) - sums[1]]
    cost = [[distance(intact, a, b) if a or b else 0.0 for b in [*two, None]] for a in [*one, None]]
    return round(transport(supply, demand, cost), 6)


def cuts(units):
    """Ordered splits of the system (12.2)."""
    for a in range(1, 2 ** len(units) - 1):
        yield tuple(u for k, u in enumerate(units) if a >> k & 1)


def analyse(factors, cm, state, subset, background="causal", rule=None):
    """Concepts of a candidate, its big Phi and the cut that attains it (12.2)."""
    system = System(factors, cm, state, subset)
    intact = Cut(system, (), background, rule)
    units = system.subset
    whole = concepts(intact, list(subsets(units)))
    out = {
        "concepts": whole,
        "phi": 0.0,
        "cut": None,
        "tied_cuts": [],
        "cuts": {},
        "conceptual_information": structure_distance(intact, whole, {}),
    }
    if len(units) == 1 or not strongly_connected(system.cm[np.ix_(units, units)]) or not whole:
        return out
    for origin in cuts(units):
        cut = Cut(system, origin, background, rule)
        again = [m for m in subsets(units) if m in whole or spans(m, origin)]
        parts = concepts(cut, again)
        out["cuts"][origin] = structure_distance(intact, whole, parts)
    best = min(out["cuts"].values())
    if not positive(best):
        return out
    tied = [o for o, phi in out["cuts"].items() if eq(phi, best)]
    pairs = [frozenset(product(o, sorted(set(units) - set(o)))) for o in tied]
    size = 1 + max(units)
    out["tied_cuts"] = pairs
    out["cut"] = min(pairs, key=lambda p: key_bytes(p, size))
    out["phi"] = out["cuts"][tied[pairs.index(out["cut"])]]
    return out


def spans(mechanism, origin):
    """Whether a mechanism has units on both sides of a cut."""
    return bool(set(mechanism) & set(origin)) and bool(set(mechanism) - set(origin))
