"""Exclusion: of overlapping systems only the most irreducible one exists (spec.md 9)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

__all__ = ["COMPLEX", "LESS_PHI", "OVERLAP", "TIED", "Contest", "excluded"]

COMPLEX, OVERLAP, LESS_PHI, TIED = 0, 1, 2, 3
"""What becomes of a candidate: it is a complex, it overlaps a complex of larger phi_s, it
overlaps systems of the same phi_s one of which has a larger Phi, or none of which has."""

Units = tuple[int, ...]
Contest = tuple[int, ...]
"""Candidates, by number, that overlap in a chain and have the same phi_s."""
_Row = TypeVar("_Row")


def excluded(
    candidates: Sequence[Units], phi: Sequence[float], tie: float = 1e-12
) -> Generator[tuple[Contest, ...], Sequence[int | None], tuple[list[int], dict[int, int]]]:
    """Decide which candidates are complexes.

    Parameters
    ----------
    candidates
        Unit numbers, in the order of the specification.
    phi
        Their phi_s; those of 0 do not take part.
    tie
        Relative difference up to which two of them tie.

    Yields
    ------
    tuple of Contest
        Contests of one tier; to be answered with the winner of each, None where nobody wins.

    Returns
    -------
    list of int
        Complexes by candidate number, in order of their acceptance.
    dict of int to int
        What became of every candidate with positive phi_s.
    """
    fates: dict[int, int] = {}
    accepted: list[int] = []
    taken: set[int] = set()
    for tier in _tiers(phi, tie):
        free = [k for k in tier if taken.isdisjoint(candidates[k])]
        fates.update((k, OVERLAP) for k in tier)
        groups = _overlapping(candidates, free)
        contests = tuple(group for group in groups if len(group) > 1)
        answers = iter((yield contests) if contests else ())
        for group in groups:
            winner = group[0] if len(group) == 1 else next(answers)
            fates.update((k, TIED if winner is None else LESS_PHI) for k in group)
            if winner is not None:
                fates[winner] = COMPLEX
                accepted.append(winner)
                taken.update(candidates[winner])
    return accepted, fates


def _tiers(phi: Sequence[float], tie: float) -> list[list[int]]:
    """Group candidates of equal phi: each tier holds what ties with its first member."""
    order = sorted((k for k, value in enumerate(phi) if value > 0), key=lambda k: -phi[k])
    tiers: list[list[int]] = []
    for k in order:
        first = phi[tiers[-1][0]] if tiers else 0.0
        if tiers and first - phi[k] <= tie * max(1.0, first):
            tiers[-1].append(k)
        else:
            tiers.append([k])
    return [sorted(tier) for tier in tiers]


def _overlapping(candidates: Sequence[Units], members: Sequence[int]) -> list[Contest]:
    """Connected components of the overlap graph, in order of their first members."""
    parent = {k: k for k in members}

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    owner: dict[int, int] = {}
    for k in members:
        for unit in candidates[k]:
            a, b = root(k), root(owner.setdefault(unit, k))
            parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for k in members:
        groups.setdefault(root(k), []).append(k)
    return [tuple(group) for group in groups.values()]
