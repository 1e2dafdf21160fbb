"""Congruence, distinctions, relations and Phi (spec sections 10 and 11)."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from itertools import combinations

from tests.reference.mechanisms import raw_distinctions
from tests.reference.substrate import CAUSE, EFFECT
from tests.reference.systems import analyse, specified

ENUMERATE_UP_TO = 14  # distinctions; beyond this, subsets are counted by their overlap


def congruent_link(link, system_state):
    """The link that agrees with the system state, or None (section 10).

    `system_state` maps units to values.
    """

    def agrees(purview, state):
        return all(system_state[i] == x for i, x in zip(purview, state, strict=True))

    for state, phi, normal in link.ties:
        if agrees(link.purview, state):
            return replace(link, state=state, phi=phi, normalized_phi=normal)
    fitting = [tie for tie in link.purview_ties if agrees(tie.purview, tie.state)]
    if not fitting:
        return None
    largest = max(fitting, key=lambda tie: len(tie.purview))
    return replace(largest, purview_ties=link.purview_ties)


def congruent(system, raw, resolution):
    """The distinctions that survive congruence with the system states (section 10)."""
    cause_state, effect_state = (
        dict(zip(system.subset, resolution[d], strict=True)) for d in (CAUSE, EFFECT)
    )
    kept = []
    for mechanism, phi, cause, effect in raw:
        new_cause = congruent_link(cause, cause_state)
        new_effect = congruent_link(effect, effect_state)
        if new_cause is not None and new_effect is not None:
            kept.append((mechanism, phi, new_cause, new_effect))
    return kept


def unit_states(link):
    """The unit-states {(i, z(i))} a link specifies (section 11)."""
    return frozenset(zip(link.purview, link.state, strict=True))


def self_relations(distinctions):
    """Phi of every self-relation (section 11)."""
    found = []
    for _, phi, cause, effect in distinctions:
        c, e = unit_states(cause), unit_states(effect)
        if c & e:
            found.append(len(c & e) * phi / len(c | e))
    return found


def enumerated_relations(nodes):
    """{degree: (count, sum)} by looking at every subset of >= 2 distinctions (section 11).

    `nodes` lists (unit-states, r) of each distinction.
    """
    found = {}
    for degree in range(2, len(nodes) + 1):
        phis = []
        for chosen in combinations(nodes, degree):
            overlap = frozenset.intersection(*(u for u, _ in chosen))
            if overlap:
                phis.append(len(overlap) * min(r for _, r in chosen))
        if phis:
            found[degree] = (len(phis), math.fsum(phis))
    return found


def counted_relations(nodes):
    """The same by adding distinctions in order of falling r, counting subsets by their overlap.

    A subset's least r is that of its last member, so its phi is known when that one joins.
    """
    subsets = defaultdict(int)  # (overlap, degree) -> number of subsets
    count, total = defaultdict(int), defaultdict(list)
    for u, r in sorted(nodes, key=lambda node: -node[1]):
        for (overlap, degree), number in list(subsets.items()):
            common = overlap & u
            if common:
                subsets[common, degree + 1] += number
                count[degree + 1] += number
                total[degree + 1].append(number * len(common) * r)
        subsets[u, 1] += 1
    return {degree: (count[degree], math.fsum(total[degree])) for degree in sorted(count)}


def relations(distinctions):
    """Number, sum of phi and both by degree of all relations (section 11)."""
    nodes = []
    for _, phi, cause, effect in distinctions:
        u = unit_states(cause) | unit_states(effect)
        nodes.append((u, phi / len(u)))
    own = self_relations(distinctions)
    by_degree = {1: (len(own), math.fsum(own))} if own else {}
    few = len(nodes) <= ENUMERATE_UP_TO
    by_degree |= enumerated_relations(nodes) if few else counted_relations(nodes)
    return {
        "num": sum(count for count, _ in by_degree.values()),
        "sum_phi": math.fsum(total for _, total in by_degree.values()),
        "by_degree": by_degree,
    }


def describe_link(link):
    """A link as a dict."""
    return {
        "purview": link.purview,
        "state": link.state,
        "phi": link.phi,
        "normalized_phi": link.normalized_phi,
        "ii": link.ii,
        "state_ties": [state for state, _, _ in link.ties],
        "purview_ties": [(tie.purview, tie.state) for tie in link.purview_ties],
    }


def describe(distinctions):
    """Distinctions as a list of dicts."""
    return [
        {
            "mechanism": mechanism,
            "phi": phi,
            "cause": describe_link(cause),
            "effect": describe_link(effect),
        }
        for mechanism, phi, cause, effect in distinctions
    ]


def distinctions_of(system):
    """Only the congruent distinctions, as `congruent` gives them."""
    sia = analyse(system)
    states = sia if sia["cause_state"] is not None else specified(system)
    resolution = {d: states[f"{d}_state"] for d in (CAUSE, EFFECT)}
    return congruent(system, raw_distinctions(system), resolution)


def unfold(system, theory="iit4", differentiation="specified"):
    """The whole cause-effect structure of one candidate, as a dict (sections 10 and 11)."""
    sia = analyse(system, theory, differentiation)
    states = sia if sia["cause_state"] is not None else specified(system)
    resolution = {d: states[f"{d}_state"] for d in (CAUSE, EFFECT)}
    raw = raw_distinctions(system)
    kept = congruent(system, raw, resolution)
    related = relations(kept)
    sum_phi = math.fsum(phi for _, phi, _, _ in kept)
    return {
        "sia": sia,
        "raw_distinctions": describe(raw),
        "distinctions": describe(kept),
        "resolution_state": resolution,
        "sum_phi_distinctions": sum_phi,
        "relations": related,
        "big_phi": sum_phi + related["sum_phi"],
    }
