"""IIT 4.0, top to bottom: Albantakis et al. 2023, and the 2026 cap on phi_s."""

from __future__ import annotations

from itertools import product

import xarray as xr

from iitdask.model.system import System
from iitdask.theory.iit4.distinctions import (
    CauseEffectStructure,
    PurviewOrder,
    TiedPurviews,
    collect_ties,
    congruent_distinctions,
    relation_bindings,
    structure_tree,
    tie_sensitivity,
)
from iitdask.theory.iit4.mechanisms import (
    Sharding,
    details_stage,
    find_maximal_causes_effects,
    search_statistics,
    tied_purview_pairs,
)
from iitdask.theory.iit4.relations import relation_sums
from iitdask.theory.iit4.repertoires import repertoires_stage, stored_repertoires
from iitdask.theory.iit4.system_analysis import (
    analyse_system,
    specified_states,
    states_stage,
    system_dataset,
)
from iitdask.theory.marginal_tables import marginals_stage
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Recipe, Steps
from iitdask.theory.ties import StateOrder

__all__ = [
    "ces",
    "sia",
]


def sia(system: System, options: Unfolding) -> Recipe:
    """Analyse how irreducible a system is: a tree whose node ``/system`` is the dataset."""
    found = yield from analyse_system(system, options)
    return xr.DataTree.from_dict({"/system": system_dataset(system, found)})


def ces(system: System, options: Unfolding, split: Sharding | None = None) -> Recipe:
    """Unfold a cause-effect structure: system, distinctions and relations."""
    found = yield from analyse_system(system, options)
    states = found.states
    if states is None:  # disconnected systems still have distinctions, mathematics.md 10
        states = yield from _default_states(system, options)
    yield (marginals_stage(system),)
    mice = yield from find_maximal_causes_effects(system, split)
    pairs = tied_purview_pairs(mice)
    every: list[TiedPurviews] = []
    if len(pairs):
        (details,) = yield (details_stage(system, pairs, states),)
        every = collect_ties(pairs, details, PurviewOrder(system, options.ties))
    chosen = congruent_distinctions(system, every, states, options.ties)
    sums = relation_sums(relation_bindings(system, chosen, states))
    made = CauseEffectStructure(
        system, options, found, states, every, chosen, sums, search_statistics(system, mice)
    )
    tree = structure_tree(made, tie_sensitivity(made))
    stage = repertoires_stage(system, chosen)
    if stage is not None:
        (filled,) = yield (stage,)
        tree["repertoires"] = xr.DataTree(stored_repertoires(stage, filled))
    return tree


def _default_states(system: System, options: Unfolding) -> Steps[tuple[int, int]]:
    """States of greatest intrinsic information where the analysis specified none."""
    (filled,) = yield (states_stage(system),)
    cause, effect = specified_states(filled)
    if options.ties == "canonical":
        choices = list(product(cause.states, effect.states))
        return choices[StateOrder(system, options.ties).first(choices)]
    return cause.states[0], effect.states[0]
