"""Perception by listing every component, from the definitions (perception.md)."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np

from tests.reference.structure import distinctions_of, unit_states
from tests.reference.substrate import System, states


def triggered(factors, sensory, system, tau, clamp):
    """{stimulus: {state: probability}} by stepping every initial state (40.1)."""
    alphabet = [f.shape[-1] for f in factors]
    stimuli = list(states([alphabet[i] for i in sensory]))
    inner = list(states([alphabet[i] for i in system]))

    def factor(i, s, x):
        where = [0] * len(factors)
        for unit, value in (*zip(system, s, strict=True), *zip(sensory, x, strict=True)):
            where[unit] = value
        return factors[i][tuple(where)]

    def step(s, held):
        given = [held] if held is not None else stimuli
        rows = [np.mean([factor(i, s, x) for x in given], axis=0) for i in system]
        return {z: math.prod(row[v] for row, v in zip(rows, z, strict=True)) for z in inner}

    out = {}
    for x in stimuli:
        now = dict.fromkeys(inner, 1 / len(inner))
        for k in range(tau):
            after = dict.fromkeys(inner, 0.0)
            for s, weight in now.items():
                for z, p in step(s, x if k < clamp else None).items():
                    after[z] += weight * p
            now = after
        out[x] = now
    return out


def components(distinctions):
    """{component: (phi, mechanisms)} of distinctions and every relation among them."""
    found, names = {}, []
    for d in distinctions:
        c, e = unit_states(d[2]), unit_states(d[3])
        names.append(((d[0], tuple(sorted(c)), tuple(sorted(e)), round(d[1], 10)), c, e, d[1]))
        found["distinction", names[-1][0]] = d[1], (d[0],)
    for degree in range(1, len(names) + 1):
        for chosen in combinations(names, degree):
            if degree == 1:
                overlap = chosen[0][1] & chosen[0][2]
            else:
                overlap = frozenset.intersection(*(c | e for _, c, e, _ in chosen))
            if overlap:
                least = min(phi / len(c | e) for _, c, e, phi in chosen)
                key = frozenset(name for name, *_ in chosen)
                found["relation", key] = len(overlap) * least, tuple(n[0] for n, *_ in chosen)
    return found


def perceive(factors, cm, sensory, system, tau=1, clamp=None):
    """All numbers of a perception, each relation listed."""
    rows = triggered(factors, sensory, system, tau, tau if clamp is None else clamp)
    out, every, per = {"stimuli": {}}, {}, {}
    for x, row in rows.items():
        response = max(row, key=lambda s: round(row[s], 12))
        state = [0] * len(factors)
        for unit, value in (*zip(system, response, strict=True), *zip(sensory, x, strict=True)):
            state[unit] = value
        found = distinctions_of(System(factors, cm, state, system))
        t = {}
        for mechanism, *_ in found:
            at = [system.index(u) for u in mechanism]

            def prob(r, at=at, y=response):
                return sum(p for s, p in r.items() if all(s[k] == y[k] for k in at))

            p, q = prob(row), sum(map(prob, rows.values())) / len(rows)
            c = math.log2(p / q) if p > q else 0.0
            t[mechanism] = (c / -math.log2(q) if q < 1 else 0.0, c, p, q)
        rich, fold = 0.0, dict.fromkeys(t, 0.0)
        mine = components(found)
        for key, (phi, mechanisms) in mine.items():
            seen = phi * sum(t[m][0] for m in mechanisms) / len(mechanisms)
            rich += seen
            for m in mechanisms:
                fold[m] += phi / len(mechanisms)
            named = (key, tuple(response[system.index(u)] for m in mechanisms for u in m))
            every[named] = phi
            per[named] = max(per.get(named, 0.0), seen)
        out["stimuli"][x] = {
            "row": row,
            "response": response,
            "big_phi": sum(phi for phi, _ in mine.values()),
            "richness": rich,
            "t": t,
            "fold": fold,
        }
    out["D"], out["D_p"] = sum(every.values()), sum(per.values())
    return out


def matching_by_sequences(perceived, world, noise, length):
    """Mean of D_p over every sequence of stimuli; `perceived` is of a set of stimuli."""
    means = []
    for p in (world, noise):
        total = 0.0
        for sequence in product(range(len(p)), repeat=length):
            total += math.prod(p[k] for k in sequence) * perceived(frozenset(sequence))
        means.append(total)
    return means[0] - means[1]
