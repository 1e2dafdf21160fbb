"""Directed system partitions and system phi (spec sections 7 and 8)."""

from __future__ import annotations

import math
from functools import cache
from itertools import permutations, product

import numpy as np

from tests.reference.mechanisms import least, specified_states
from tests.reference.substrate import CAUSE, EFFECT, TAU, ZERO, clean, ratio, same, set_partitions

IN, OUT, BOTH = "in", "out", "both"
NEAR = 1e-9  # partitions this close to the winner are reported as tied


@cache
def directed_partitions(units, most=None):
    """Distinct severed edge sets of every directed partition, in lexicographic order (7).

    most : blocks at most; as many as there are units where it is not given
    """
    if len(units) == 1:
        return (frozenset({(units[0], units[0])}),)
    found = set()
    for blocks in set_partitions(units):
        for directions in product((IN, OUT, BOTH), repeat=len(blocks)):
            severed = set()
            for block, direction in zip(blocks, directions, strict=True):
                outside = [u for u in units if u not in block]
                if direction in (IN, BOTH):
                    severed |= set(product(outside, block))
                if direction in (OUT, BOTH):
                    severed |= set(product(block, outside))
            if 1 < len(blocks) <= (most or len(units)):
                found.add(frozenset(severed))
    return tuple(sorted(found, key=sorted))


def partition_phis(system, direction, state, most=None):
    """Signed phi of every directed partition for one specified state (8.2)."""
    units, now = system.subset, system.at(system.subset)
    sel = system.selectivity(direction, units, units)[state]
    whole = system.forward(direction, units, units)[state]
    values, inputs = (state, now) if direction == EFFECT else (now, state)
    signed = []
    for severed in directed_partitions(units, most):
        cut = 1.0
        for i, value in zip(units, values, strict=True):
            kept = tuple(a for a in units if (a, i) not in severed)
            given = tuple(x for a, x in zip(units, inputs, strict=True) if a in kept)
            cut *= system.marginal(direction, i, kept)[(*given, value)]
        signed.append(sel * ratio(whole, cut) if sel > 0 else 0.0)
    return np.array(signed)


def strongly_connected(cm):
    """Is every unit reachable from every other? A single unit is (8.1)."""
    reach = np.asarray(cm) > 0
    np.fill_diagonal(reach, True)
    for _ in range(len(reach)):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    return bool(reach.all())


def gate(system):
    """Reasons for a null result known before any state is specified (8.1)."""
    inner = system.cm[np.ix_(system.subset, system.subset)]
    if not system.subset:
        return ["EMPTY"]
    if not strongly_connected(inner):
        return ["NO_STRONG_CONNECTIVITY"]
    if len(system) == 1 and not inner[0, 0]:
        return ["MONAD_WITH_NO_SELFLOOP"]
    return []


def canonical(system):
    """The function canon(x): least relabelling of a substrate state (8.4)."""
    n, cm, alphabet = len(system.universe), system.cm, system.alphabet
    joint = np.zeros((*alphabet, n, max(alphabet)))
    for i, factor in enumerate(system.factors):
        joint[..., i, : alphabet[i]] = factor
    strings = {}
    for pi in permutations(range(n)):
        fits = all(alphabet[i] == alphabet[pi[i]] for i in range(n))
        if fits and (cm[np.ix_(pi, pi)] == cm).all():
            moved = joint.transpose(*pi, n, n + 1)[..., list(pi), :]
            rounded = np.ascontiguousarray(np.round(moved, 12), dtype="<f8")
            strings[pi] = rounded.tobytes()
    smallest = min(strings.values())
    best = [pi for pi, string in strings.items() if string == smallest]
    return lambda x: min(tuple(x[a] for a in pi) for pi in best)


def choose_states(system, phis):
    """Among {(s_c, s_e): phi_s} in loop order, the pair that is reported (8.4)."""
    best = max(phis.values())
    tied = [pair for pair, phi in phis.items() if same(phi, best)]
    if len(tied) > 1 and system.subset == system.universe:
        canon = canonical(system)
        return min(tied, key=lambda pair: (canon(pair[0]), canon(pair[1])))
    return tied[0]


def mip(system, signed, most=None):
    """The minimum partition and everything tied with it, for fixed states (8.3)."""
    edges = directed_partitions(system.subset, most)
    sizes = np.array([len(e) for e in edges])
    phi = np.where(signed > ZERO, signed, 0.0)
    lowest, normal = least(phi, sizes)
    near = (np.abs(phi / sizes - normal) <= NEAR) & (np.abs(phi - lowest) <= NEAR)
    exact = (np.abs(phi / sizes - normal) <= TAU) & (np.abs(phi - lowest) <= TAU)
    chosen = int(np.flatnonzero(exact)[0])
    return lowest, normal, chosen, frozenset(edges[k] for k in np.flatnonzero(near))


def differentiation_caps(system, formula, cause_state, effect_state):
    """d_c and d_e of the 2026 theory (8.5)."""
    units = system.subset
    now = system.at(units)
    if formula == "current":
        p_c = system.forward(CAUSE, units, units)[now]
        p_e = system.forward(EFFECT, units, units)[now]
    elif formula == "specified":
        p_c = system.selectivity(CAUSE, units, units)[cause_state]
        p_e = system.selectivity(EFFECT, units, units)[effect_state]
    else:
        raise ValueError(f"unknown differentiation {formula!r}")
    return tuple(0.0 if p <= 0 or p >= 1 else -math.log2(p) for p in (p_c, p_e))


def null(reasons):
    """A null result: phi_s is 0 and there is no partition (8.1)."""
    absent = ["partition"]
    for d in (CAUSE, EFFECT):
        absent += [f"{d}_state", f"{d}_ii", f"{d}_phi", f"tied_{d}_states"]
    return {
        "phi": 0.0,
        "normalized_phi": 0.0,
        "null": True,
        "reasons": reasons,
        "tied_partitions": frozenset(),
        "num_tied_partitions": 0,
        **dict.fromkeys(absent),
    }


def specified(system):
    """The states specified by the whole system, per direction (8.1, 8.4)."""
    found = {}
    for direction in (CAUSE, EFFECT):
        ii, tied = specified_states(system, direction, system.subset, system.subset)
        found[f"{direction}_ii"] = clean(ii)
        found[f"{direction}_state"] = tied[0]
        found[f"tied_{direction}_states"] = tied
    return found


def analyse(system, theory="iit4", differentiation="specified", most=None):
    """System phi of one candidate, as a dict (section 8); of partitions into `most` blocks."""
    if theory not in ("iit4", "iit4-2026"):
        raise ValueError(f"unknown theory {theory!r}")
    reasons = gate(system)
    if reasons:
        return null(reasons)
    found = specified(system)
    reasons = [f"NO_{d.upper()}" for d in (CAUSE, EFFECT) if found[f"{d}_ii"] == 0]
    if reasons:
        return null(reasons) | found
    causes, effects = (
        {s: partition_phis(system, d, s, most) for s in found[f"tied_{d}_states"]}
        for d in (CAUSE, EFFECT)
    )
    mips = {
        (c, e): mip(system, np.minimum(causes[c], effects[e]), most)
        for c, e in product(causes, effects)
    }
    pair = choose_states(system, {key: value[0] for key, value in mips.items()})
    phi, normal, chosen, tied = mips[pair]
    result = found | {
        "null": False,
        "reasons": [],
        "cause_state": pair[0],
        "effect_state": pair[1],
        "cause_phi": clean(causes[pair[0]][chosen]),
        "effect_phi": clean(effects[pair[1]][chosen]),
        "partition": directed_partitions(system.subset, most)[chosen],
        "tied_partitions": tied,
        "num_tied_partitions": len(tied),
    }
    if theory == "iit4-2026":
        caps = differentiation_caps(system, differentiation, *pair)
        phi = clean(min(phi, found["cause_ii"], found["effect_ii"], *caps))
        normal = phi / len(result["partition"])
        result["differentiation"] = dict(zip((CAUSE, EFFECT), caps, strict=True))
    return result | {"phi": phi, "normalized_phi": normal}
