"""IIT 4.0, top to bottom: Albantakis et al. 2023, and the 2026 cap on phi_s."""

from __future__ import annotations

from collections.abc import Generator
from itertools import product

import xarray as xr

from iitdask.model.system import System
from iitdask.theory.analysis import analysis, system_dataset
from iitdask.theory.base import Answer, Stage, Stages
from iitdask.theory.distinctions import Choices, PurviewOrder, choose, gather_choices
from iitdask.theory.irreducibility import specified_states, states_stage
from iitdask.theory.kept_repertoires import kept_repertoires, repertoires_stage
from iitdask.theory.mechanisms import details_stage, search_statistics, tied_pairs
from iitdask.theory.options import Unfolding
from iitdask.theory.relations import relation_sums
from iitdask.theory.sensitivity import tie_sensitivity
from iitdask.theory.structure import Structure, bindings_of, structure_tree
from iitdask.theory.symmetry import StateOrder
from iitdask.theory.tables import marginals_stage
from iitdask.theory.waves import Split, find_mice

__all__ = ["ces", "sia"]


def sia(system: System, options: Unfolding) -> Stages:
    """Analyse how irreducible a system is: a tree whose node ``/system`` is the dataset."""
    found = yield from analysis(system, options)
    return xr.DataTree.from_dict({"/system": system_dataset(system, found)})


def ces(system: System, options: Unfolding, split: Split | None = None) -> Stages:
    """Unfold a cause-effect structure: system, distinctions and relations."""
    found = yield from analysis(system, options)
    states = found.states
    if states is None:  # disconnected systems still have distinctions, spec.md 10
        states = yield from _default_states(system, options)
    yield (marginals_stage(system),)
    mice = yield from find_mice(system, split)
    pairs = tied_pairs(mice)
    every: list[Choices] = []
    if len(pairs):
        (details,) = yield (details_stage(system, pairs, states),)
        every = gather_choices(pairs, details, PurviewOrder(system, options.ties))
    chosen = choose(system, every, states, options.ties)
    sums = relation_sums(bindings_of(system, chosen, states))
    made = Structure(
        system, options, found, states, every, chosen, sums, search_statistics(system, mice)
    )
    tree = structure_tree(made, tie_sensitivity(made))
    stage = repertoires_stage(system, chosen)
    if stage is not None:
        (filled,) = yield (stage,)
        tree["repertoires"] = xr.DataTree(kept_repertoires(stage, filled))
    return tree


def _default_states(
    system: System, options: Unfolding
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], tuple[int, int]]:
    """States of greatest intrinsic information where the analysis specified none."""
    (filled,) = yield (states_stage(system),)
    cause, effect = specified_states(filled)
    if options.ties == "canonical":
        choices = list(product(cause.states, effect.states))
        return choices[StateOrder(system, options.ties).first(choices)]
    return cause.states[0], effect.states[0]
