"""Whether another admissible choice among ties would have changed the structure, or its Phi."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import fsum
from typing import Any

from iitdask.theory.distinctions import Distinction, Side, alternatives, choose
from iitdask.theory.relations import relation_phi
from iitdask.theory.states import restrictions
from iitdask.theory.structure import Structure, bindings_of, reported

__all__ = ["tie_sensitivity"]

SWAPS = 2000  # other choices tried at most


def tie_sensitivity(made: Structure) -> dict[str, Any]:
    """Return ``tie_sensitive`` (the structure) and ``phi_tie_sensitive`` (yes, no, not determined).

    The first asks for any other admissible choice of system states or purviews; the second tries
    them, one tie at a time.
    """
    others = [pair for pair in made.found.state_options if pair != made.states]
    swaps = list(_swaps(made))
    total = fsum(d.phi for d in made.chosen) + reported(made.sums.phi)[0]
    verdict = "no"
    if any(abs(phi - total) > 1e-9 * max(1.0, total) for phi in _tried(made, others, swaps)):
        verdict = "yes"
    elif len(others) + len(swaps) > SWAPS:
        verdict = "not determined"
    return {"tie_sensitive": bool(others or swaps), "phi_tie_sensitive": verdict}


def _swaps(made: Structure) -> Iterator[tuple[int, int, Side]]:
    """Distinction, side and every admissible purview that was not chosen."""
    implied = [restrictions(state, made.system.levels) for state in made.states]
    for k, found in enumerate(made.chosen):
        if len(found.choices.cause) == len(found.choices.effect) == 1:
            continue
        now = (found.cause.purview, found.effect.purview)
        for side, options in enumerate(alternatives(found, implied)):
            yield from ((k, side, option) for option in options if option.purview != now[side])


def _tried(
    made: Structure,
    others: Sequence[tuple[int, int]],
    swaps: Sequence[tuple[int, int, Side]],
) -> Iterator[float]:
    for pair in islice(others, SWAPS):
        yield _big_phi(made, choose(made.system, made.every, pair, made.options.ties), pair)
    for k, side, option in islice(swaps, max(0, SWAPS - len(others))):
        old = made.chosen[k]
        sides = (option, old.effect) if side == 0 else (old.cause, option)
        swapped = [*made.chosen[:k], Distinction(old.choices, *sides), *made.chosen[k + 1 :]]
        yield _big_phi(made, swapped, made.states)


def _big_phi(made: Structure, chosen: Sequence[Distinction], states: tuple[int, int]) -> float:
    relations = relation_phi(bindings_of(made.system, chosen, states))
    return fsum(d.phi for d in chosen) + reported(relations)[0]
