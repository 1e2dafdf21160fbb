"""Whether another choice among ties would change a structure, and its Phi.

An admissible joint choice is a pair of system states that tie and, for every irreducible mechanism
that can be congruent with it, one congruent cause and one congruent effect among those that tie.
System states with which the same causes (effects) agree have the same structures and count once.

References: docs/mathematics.md 15.4 and 23.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from iitdask.kernels.state_product import StateProduct
from iitdask.model.labels import purview_unit_states
from iitdask.theory.iit4.distinctions import (
    CauseEffectSide,
    CauseEffectStructure,
    effect_unit_states,
)
from iitdask.theory.iit4.phi_range import Binding, BindingChoices, SearchBudget, big_phi_range
from iitdask.theory.iit4.relations import FIXED_POINT_BITS, fixed_big_phi, fixed_point
from iitdask.theory.stage import Array

MAX_STATE_PAIRS = 4096  # Pairs of system states tried; those with the same structures count once
MAX_COMBINED = 1 << 15  # States of groups of units that are combined, by what agrees with them
# Steps of the search for other values of Phi, about two microseconds each. As many joint choices as
# `KEPT_STATES` need fewer: the answer is exact.
BUDGET_STEPS = 1 << 18
MAX_SEARCHED_MECHANISMS = 1 << 13  # Of which the choices are searched; of more a few are tried
INVERSE_CHANGE = 10**9  # Phi changes if it does so by more than one part in so many


class _Agreement(NamedTuple):
    """Which rows agree with the states of one group of units."""

    always: Array  # (rows,) with all of them
    sometimes: Array  # (rows,) with some
    patterns: list[tuple[Array, int]]  # The different (rows,) that agree with one, and that state


class AgreeingSides:
    """Tied causes, or effects, of all mechanisms, and which of them agree with system states.

    A row is one purview in one of its tied states; a product of states, one of those of a side.
    """

    def __init__(
        self,
        tied: Sequence[Sequence[CauseEffectSide]],
        products: Sequence[StateProduct],
        levels: Sequence[int],
    ) -> None:
        rows = [(k, s.purview, z) for k, sides in enumerate(tied) for s in sides for z in s.states]
        self.mechanisms, self.purviews, self._states = np.array(rows, np.int64).reshape(-1, 3).T
        self._count = len(tied)
        # (rows, n) value of each unit in the state of a row, -1 outside its purview
        self._values = purview_unit_states(self._states.tolist(), levels, self.purviews.tolist())
        parts = [[self._of_group(p, g) for g in range(len(p.codes))] for p in products]
        # (products, rows) whether a row agrees with all states of a product, and with some
        self.always = np.array([np.all([p.always for p in each], axis=0) for each in parts])
        self.sometimes = np.array([np.all([p.sometimes for p in each], axis=0) for each in parts])
        # States with which the same rows agree: (classes, rows) which, and one of these states
        self.agrees: list[Array] = []
        self.examples: list[int] = []
        self.are_all_listed = True
        known: dict[bytes, int] = {}
        self.of_product = [self._combine(each, known) for each in parts]

    def _of_group(self, states: StateProduct, group: int) -> _Agreement:
        """Tell which rows agree with the states of one group as far as its units go."""
        units = [u for u in states.units[group] if (self._values[:, u] >= 0).any()]
        values, wanted = states.values(group)[:, units], self._values[:, units]
        _, first = np.unique(values, axis=0, return_index=True)
        first.sort()
        codes, values = states.codes[group][first], values[first]
        always, sometimes = np.ones(len(wanted), bool), np.zeros(len(wanted), bool)
        patterns: dict[bytes, tuple[Array, int]] = {}
        for code, own in zip(codes.tolist(), values, strict=True):
            agrees = ((wanted < 0) | (wanted == own)).all(axis=1)
            always &= agrees
            sometimes |= agrees
            patterns.setdefault(agrees.tobytes(), (agrees, code))
        return _Agreement(always, sometimes, list(patterns.values()))

    def _combine(self, parts: Sequence[_Agreement], known: dict[bytes, int]) -> list[int]:
        """Number the classes of the states of a product; adds those that are not known."""
        found = parts[0].patterns
        for part in parts[1:]:
            if len(part.patterns) * len(found) > MAX_COMBINED:
                self.are_all_listed = False
            both = islice(product(found, part.patterns), MAX_COMBINED)
            merged: dict[bytes, tuple[Array, int]] = {}
            for (one, code), (other, more) in both:
                agrees = one & other
                merged.setdefault(agrees.tobytes(), (agrees, code + more))
            found = list(merged.values())
        out = []
        for agrees, code in found:
            number = known.setdefault(agrees.tobytes(), len(known))
            if number == len(self.agrees):
                self.agrees.append(agrees)
                self.examples.append(code)
            out.append(number)
        return out

    def is_only(self, chosen: Sequence[tuple[int, CauseEffectSide]]) -> bool:
        """Whether what is chosen for mechanisms agrees with all states, and no other of theirs."""
        named = np.full((2, self._count), -1)
        for k, side in chosen:
            named[:, k] = side.purview, side.state
        purviews, states = named[:, self.mechanisms]
        is_chosen = (purviews == self.purviews) & (states == self._states)
        return bool((self.always[:, is_chosen]).all()) and not bool(
            self.sometimes[:, ~is_chosen & (purviews >= 0)].any()
        )

    def can_agree(self) -> Array:
        """Return (products, mechanisms) whether a cause agrees with some state of a product."""
        count = self._count
        can = [np.bincount(self.mechanisms[some], minlength=count) for some in self.sometimes]
        return np.stack(can) > 0

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
    if not tied or (states.count == 1 and not any(t.has_tied_purviews for t in tied)):
        return {"tie_sensitive": False, "phi_tie_sensitive": "no"}
    levels = structure.system.levels
    causes = AgreeingSides([t.cause for t in tied], [pair[0] for pair in states.pairs], levels)
    effects = AgreeingSides([t.effect for t in tied], [pair[1] for pair in states.pairs], levels)
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
    if not causes.is_only([(k, d.cause) for k, d in chosen]):
        return True
    if not effects.is_only([(k, d.effect) for k, d in chosen]):
        return True
    others = np.delete(np.arange(len(structure.tied)), reported)
    return bool((causes.can_agree() & effects.can_agree())[:, others].any())


def _phi_verdict(
    structure: CauseEffectStructure, causes: AgreeingSides, effects: AgreeingSides
) -> str:
    """Return whether an admissible choice changes Phi: yes, no, or unknown."""
    reported = int(structure.sums.phi * (1 << FIXED_POINT_BITS))
    reported += sum(fixed_point(d.phi) for d in structure.distinctions)
    least_change = max(reported, 1 << FIXED_POINT_BITS)

    def is_changed(phi: int) -> bool:
        return abs(phi - reported) * INVERSE_CHANGE > least_change

    def changes_phi(pair: tuple[int, int], budget: SearchBudget) -> bool:
        choices = _binding_choices(structure, causes, effects, pair, budget)
        return any(map(is_changed, big_phi_range(choices, budget)))

    if len(structure.tied) > MAX_SEARCHED_MECHANISMS:
        first = next(_pairs_of_classes(causes, effects))
        choices = _binding_choices(structure, causes, effects, first, SearchBudget(0))
        return "yes" if any(map(is_changed, _phi_of_some_choices(choices))) else "unknown"
    pairs, unfinished = _pairs_of_classes(causes, effects), list[tuple[int, int]]()
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
    are_all_tried = causes.are_all_listed and effects.are_all_listed and next(pairs, None) is None
    return "no" if are_all_tried else "unknown"


def _phi_of_some_choices(choices: Sequence[BindingChoices]) -> Iterator[int]:
    """Yield Phi where every distinction binds as few unit-states as it can, and as many."""
    for chosen in (min, max):
        own = [chosen(c.bindings, key=lambda b: (b.union.bit_count(), b)) for c in choices]
        union, common = ([b.union for b in own], [b.common for b in own])
        yield fixed_big_phi([c.phi for c in choices], union, common)


def _binding(cause: int, effect: int) -> Binding:
    return Binding(cause | effect, (cause & effect).bit_count())


def _pairs_of_classes(causes: AgreeingSides, effects: AgreeingSides) -> Iterator[tuple[int, int]]:
    """Yield every pair of a class of cause states and one of effect states that occurs."""
    seen = set[tuple[int, int]]()
    for own, partners in zip(causes.of_product, effects.of_product, strict=True):
        for pair in product(own, partners):
            if pair not in seen:
                seen.add(pair)
                yield pair


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
