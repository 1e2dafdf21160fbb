"""Complexes by exclusion (spec section 9)."""

from __future__ import annotations

from itertools import combinations

from tests.reference.structure import unfold
from tests.reference.substrate import System, Unreachable, same
from tests.reference.systems import analyse


def candidates(factors, cm, state):
    """Reachable candidate systems, largest first (section 9)."""
    n = len(cm)
    able = [i for i in range(n) if any(cm[i]) and any(row[i] for row in cm)]
    for size in range(len(able), 0, -1):
        for chosen in combinations(reversed(able), size):
            try:
                yield System(factors, cm, state, chosen)
            except Unreachable:
                continue


def tiers(found):
    """Group (system, phi), sorted by falling phi, with equal neighbours of the first (9)."""
    groups = []
    for item in sorted(found, key=lambda item: -item[1]):
        if groups and same(groups[-1][0][1], item[1]):
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def overlap_components(items):
    """Connected components of the overlap graph, in order of their first member (9)."""
    rest, components = list(items), []
    while rest:
        component = [rest.pop(0)]
        covered = set(component[0][0].subset)
        grown = True
        while grown:
            joining = [item for item in rest if covered & set(item[0].subset)]
            rest = [item for item in rest if item not in joining]
            component += joining
            for item in joining:
                covered |= set(item[0].subset)
            grown = bool(joining)
        components.append(component)
    return components


def winner(component, theory, differentiation):
    """The member with the largest Phi, or None when that is tied (section 9)."""
    if len(component) == 1:
        return component[0]
    structures = [unfold(system, theory, differentiation)["big_phi"] for system, _ in component]
    best = max(structures)
    tied = [item for item, phi in zip(component, structures, strict=True) if same(phi, best)]
    return tied[0] if len(tied) == 1 else None


def search(factors, cm, state, theory="iit4", differentiation="specified"):
    """All candidates with phi_s, and the complexes among them in order (section 9)."""
    found = [
        (system, analyse(system, theory, differentiation)["phi"])
        for system in candidates(factors, cm, state)
    ]
    accepted, taken = [], set()
    for tier in tiers([item for item in found if item[1] > 0]):
        free = [item for item in tier if not taken & set(item[0].subset)]
        for component in overlap_components(free):
            best = winner(component, theory, differentiation)
            if best is not None:
                accepted.append(best)
                taken |= set(best[0].subset)
    return {
        "candidates": [{"subset": system.subset, "phi": phi} for system, phi in found],
        "complexes": [{"subset": system.subset, "phi": phi} for system, phi in accepted],
    }
