"""Whether another choice among ties would change a structure, and its Phi.

An admissible joint choice is a pair of system states that tie and, for every irreducible mechanism
that can be congruent with it, one congruent cause and one congruent effect among those that tie.
System states with which the same causes (effects) agree have the same structures and count once.

References: docs/mathematics.md 15.4 and 23.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product

import numpy as np

from iitdask.model.labels import states_within
from iitdask.theory.iit4.distinctions import (
    CauseEffectSide,
    CauseEffectStructure,
    effect_unit_states,
)
from iitdask.theory.iit4.phi_range import Binding, BindingChoices, SearchBudget, big_phi_range
from iitdask.theory.iit4.relations import FIXED_POINT_BITS
from iitdask.theory.stage import Array

MAX_STATE_PAIRS = 4096  # Pairs of system states tried; those with the same structures count once
# Steps of the search for other values of Phi, about two microseconds each. As many joint choices as
# `KEPT_STATES` need fewer: the answer is exact.
BUDGET_STEPS = 1 << 18
INVERSE_CHANGE = 10**9  # Phi changes if it does so by more than one part in so many


class AgreeingSides:
    """Tied causes, or effects, of all mechanisms, and which of them agree with each system state.

    A row is one purview in one of its tied states; `agrees` has a row for each class of states.
    """

    def __init__(
        self,
        tied: Sequence[Sequence[CauseEffectSide]],
        states: Array,
        levels: Sequence[int],
    ) -> None:
        rows = [(k, s.purview, z) for k, sides in enumerate(tied) for s in sides for z in s.states]
        self.mechanisms, self.purviews, self._states = np.array(rows, np.int64).reshape(-1, 3).T
        self._count = len(tied)
        classes: dict[bytes, int] = {}
        self.agrees: list[Array] = []
        self.examples: list[int] = []
        of_state = []
        for state in states.tolist():
            agrees = states_within(state, levels, self.purviews) == self._states
            of_state.append(classes.setdefault(agrees.tobytes(), len(classes)))
            if len(classes) > len(self.agrees):
                self.agrees.append(agrees)
                self.examples.append(state)
        self.of_state = np.array(of_state, np.int64)  # (states,) class of every state
        # (classes, mechanisms) number of causes that agree
        self.counts = self._by_mechanism(np.ones(len(self.mechanisms), bool))

    def is_only(self, chosen: Sequence[tuple[int, CauseEffectSide]]) -> Array:
        """Return (classes, mechanisms) whether the cause chosen agrees, and no other."""
        named = np.full((2, self._count), -1)
        for k, side in chosen:
            named[:, k] = side.purview, side.state
        purviews, states = named[:, self.mechanisms]
        is_chosen = (purviews == self.purviews) & (states == self._states)
        out: Array = (self._by_mechanism(is_chosen) == 1) & (self.counts == 1)
        return out

    def _by_mechanism(self, rows: Array) -> Array:
        count = self._count
        return np.stack(
            [np.bincount(self.mechanisms[a & rows], minlength=count) for a in self.agrees]
        )

    def agreeing_purviews(self, k: int) -> list[list[int]]:
        """Return the purviews that agree with the states of a class, by mechanism."""
        out: list[list[int]] = [[] for _ in range(self._count)]
        rows = self.agrees[k]
        pairs = zip(self.mechanisms[rows].tolist(), self.purviews[rows].tolist(), strict=True)
        for mechanism, purview in pairs:
            out[mechanism].append(purview)
        return out


def tie_sensitivity(structure: CauseEffectStructure) -> dict[str, bool | str]:
    """Return whether another choice among ties would change a structure.

    Parameters
    ----------
    structure : the structure that is reported, with all that was tied

    Returns
    -------
    dict, ``tie_sensitive``, whether an admissible choice gives other distinctions or other causes
        or effects; ``phi_tie_sensitive``, whether one gives another Phi: ``yes``, ``no``, or
        ``unknown`` where there are too many choices to tell

    References
    ----------
    docs/mathematics.md 15.4.
    """
    states, tied = structure.tied_states, structure.tied
    if not tied or (states.is_unique and not any(t.has_tied_purviews for t in tied)):
        return {"tie_sensitive": False, "phi_tie_sensitive": "no"}
    levels = structure.system.levels
    causes = AgreeingSides([t.cause for t in tied], states.causes, levels)
    effects = AgreeingSides([t.effect for t in tied], states.effects, levels)
    if not _is_structure_sensitive(structure, causes, effects):
        return {"tie_sensitive": False, "phi_tie_sensitive": "no"}
    return {"tie_sensitive": True, "phi_tie_sensitive": _phi_verdict(structure, causes, effects)}


def _is_structure_sensitive(
    structure: CauseEffectStructure, causes: AgreeingSides, effects: AgreeingSides
) -> bool:
    """Return whether some choice gives other distinctions, causes or effects, exactly.

    None does if the mechanisms reported have one choice under every pair of states, the one
    reported, and no other mechanism can be congruent under any.
    """
    position = {t.mechanism: k for k, t in enumerate(structure.tied)}
    reported = [position[d.choices.mechanism] for d in structure.distinctions]
    chosen = list(zip(reported, structure.distinctions, strict=True))
    is_only = (
        causes.is_only([(k, d.cause) for k, d in chosen]),
        effects.is_only([(k, d.effect) for k, d in chosen]),
    )
    if not all(only[:, reported].all() for only in is_only):
        return True
    others = np.delete(np.arange(len(structure.tied)), reported)
    some = causes.counts[:, others] > 0, effects.counts[:, others] > 0
    if structure.tied_states.is_product:
        return bool((some[0].any(axis=0) & some[1].any(axis=0)).any())
    pairs = zip(causes.of_state.tolist(), effects.of_state.tolist(), strict=True)
    return any((some[0][a] & some[1][b]).any() for a, b in set(pairs))


def _phi_verdict(
    structure: CauseEffectStructure, causes: AgreeingSides, effects: AgreeingSides
) -> str:
    """Return whether an admissible choice changes Phi: yes, no, or unknown."""
    reported, _ = big_phi_range(_reported_bindings(structure), SearchBudget(0))
    least_change = max(reported, 1 << FIXED_POINT_BITS)

    def changes_phi(pair: tuple[int, int], budget: SearchBudget) -> bool:
        choices = _binding_choices(structure, causes, effects, pair, budget)
        phis = big_phi_range(choices, budget)
        return any(abs(phi - reported) * INVERSE_CHANGE > least_change for phi in phis)

    pairs, unfinished = _pairs_of_classes(structure, causes, effects), list[tuple[int, int]]()
    for pair in islice(pairs, MAX_STATE_PAIRS):  # as a rule the first few states of a search tell
        budget = SearchBudget(0)
        if changes_phi(pair, budget):
            return "yes"
        if budget.is_exhausted:
            unfinished.append(pair)
    budget = SearchBudget(BUDGET_STEPS)
    for pair in unfinished:
        if changes_phi(pair, budget):
            return "yes"
        if budget.is_exhausted:
            return "unknown"
    return "unknown" if next(pairs, None) else "no"


def _reported_bindings(structure: CauseEffectStructure) -> list[BindingChoices]:
    mask = effect_unit_states(structure.system, structure.states)
    sides = ((d.phi, d.cause.purview, mask(d.effect.purview)) for d in structure.distinctions)
    return [BindingChoices(phi, (_binding(cause, effect),)) for phi, cause, effect in sides]


def _binding(cause: int, effect: int) -> Binding:
    return Binding(cause | effect, (cause & effect).bit_count())


def _pairs_of_classes(
    structure: CauseEffectStructure, causes: AgreeingSides, effects: AgreeingSides
) -> Iterator[tuple[int, int]]:
    """Yield every pair of a class of cause states and one of effect states that occurs."""
    if structure.tied_states.is_product:
        return product(range(len(causes.agrees)), range(len(effects.agrees)))
    pairs = zip(causes.of_state.tolist(), effects.of_state.tolist(), strict=True)
    return iter(dict.fromkeys(pairs))


def _binding_choices(
    structure: CauseEffectStructure,
    causes: AgreeingSides,
    effects: AgreeingSides,
    pair: tuple[int, int],
    budget: SearchBudget,
) -> list[BindingChoices]:
    """Return the distinctions under a pair of states, and what each can bind."""
    states = causes.examples[pair[0]], effects.examples[pair[1]]
    mask, out = effect_unit_states(structure.system, states), []
    sides = causes.agreeing_purviews(pair[0]), effects.agreeing_purviews(pair[1])
    for tied, cause, effect in zip(structure.tied, *sides, strict=True):
        most = budget.enter(len(cause) * len(effect))
        if most:
            bound = product(cause, map(mask, effect))
            bindings = dict.fromkeys(_binding(c, e) for c, e in islice(bound, most))
            out.append(BindingChoices(tied.phi, tuple(bindings)))
    return out
