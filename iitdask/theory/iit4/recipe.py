"""IIT 4.0, top to bottom: Albantakis et al. 2023, and the 2026 cap on phi_s."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import inf, prod
from typing import Any

import numpy as np

from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.distinctions import (
    CauseEffectStructure,
    TiedPurviews,
    collect_ties,
    congruent_distinctions,
    described_sides,
    relation_bindings,
    structure_nodes,
)
from iitdask.theory.iit4.local_mechanisms import find_connected_mechanisms
from iitdask.theory.iit4.mechanisms import (
    Sharding,
    details_stage,
    find_maximal_causes_effects,
    mechanism_seconds,
    search_statistics,
    tied_purview_pairs,
)
from iitdask.theory.iit4.partition_stages import (
    SECONDS_PER_PARTITION,
    SECONDS_PER_SUBSET,
    SPLIT_MIN_UNITS,
)
from iitdask.theory.iit4.relations import relation_sums
from iitdask.theory.iit4.repertoires import repertoires_dataset, repertoires_stage
from iitdask.theory.iit4.search_path import choose_search
from iitdask.theory.iit4.state_classes import TiedStates
from iitdask.theory.iit4.system_analysis import (
    analyse_system,
    specify_states,
    system_dataset,
)
from iitdask.theory.iit4.tie_sensitivity import tie_sensitivity
from iitdask.theory.marginal_tables import marginals_stage
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Filled, Recipe, Steps, gather
from iitdask.theory.ties import PurviewOrder, first_state_pair
from iitdask.theory.variables import VARIABLES, Outcome, assemble_tree, attr_of, size_of, value_of


def _of_system(name: str, doc: str = "") -> Outcome:
    unit, meaning = VARIABLES[name]
    return Outcome(name, unit, doc or meaning, value_of("system", name))


# Numbers that a sweep records of a system analysis
SIA_OUTCOMES = (
    _of_system("phi", "integrated information of the system, phi_s"),
    _of_system("normalized_phi", "the same per severed pair"),
    _of_system("phi_cause", "cause side at the minimum partition"),
    _of_system("phi_effect", "effect side at the minimum partition"),
    _of_system("intrinsic_information_cause"),
    _of_system("intrinsic_information_effect"),
    _of_system("n_tied_partitions", "partitions tied for the minimum"),
    _of_system("n_tied_states"),
)
_RELATIONS = "relations; -1 where int64 cannot hold them"
# Numbers that a sweep records of a cause-effect structure
CES_OUTCOMES = (
    *SIA_OUTCOMES,
    Outcome("big_phi", "bit", "Phi of the cause-effect structure", attr_of("big_phi")),
    Outcome(
        "sum_phi_distinctions", "bit", "sum over distinctions", attr_of("sum_phi_distinctions")
    ),
    Outcome("sum_phi_relations", "bit", "sum over relations", attr_of("sum_phi_relations")),
    Outcome("n_distinctions", "count", "distinctions", size_of("distinctions", "mechanism")),
    Outcome("n_relations", "count", _RELATIONS, value_of("relations", "count")),
)


_RECIPE_SECONDS = 0.008  # Of an analysis however small the system
_SECONDS_PER_DISTINCTION = 3e-4


def analysis_seconds(levels: Sequence[int]) -> float:
    """Predict the seconds of the analysis of a system; inf from where it is split into blocks."""
    n, states = len(levels), float(prod(levels))
    if n >= SPLIT_MIN_UNITS or states >= 1 << SPLIT_MIN_UNITS:
        return inf
    partitions = SECONDS_PER_SUBSET * 3.0**n + SECONDS_PER_PARTITION * 4.0**n
    return _RECIPE_SECONDS + 2 * states * states * 0.3e-9 + 4 * partitions


def structure_seconds(levels: Sequence[int]) -> float:
    """Predict the seconds of unfolding a system; inf from where its analysis is split."""
    analysis = analysis_seconds(levels)
    if analysis == inf:
        return inf
    mechanisms = float(mechanism_seconds(levels, np.empty(0, np.int64)).sum())
    return analysis + mechanisms + _SECONDS_PER_DISTINCTION * 2.0 ** len(levels)


def sia(system: CandidateSystem, options: Unfolding) -> Recipe:
    """Analyse how irreducible a system is.

    Parameters
    ----------
    system : the candidate system
    options : options of the theory

    Returns
    -------
    DataTree, the node ``/system``

    References
    ----------
    Albantakis et al. 2023; docs/mathematics.md 8.
    """
    analysis = yield from analyse_system(system, options)
    return assemble_tree({"/system": system_dataset(system, analysis)})


def ces(system: CandidateSystem, options: Unfolding, sharding: Sharding | None = None) -> Recipe:
    """Unfold a cause-effect structure: system, distinctions and relations.

    Parameters
    ----------
    system : the candidate system
    options : options of the theory
    sharding : how expensive mechanisms are divided; no result depends on it

    Yields
    ------
    tuple of Stage

    Returns
    -------
    DataTree, ``/system``, ``/distinctions``, ``/relations`` and, unless too large,
        ``/repertoires``; Phi is an attribute of the root

    References
    ----------
    Albantakis et al. 2023; docs/mathematics.md 8, 10 and 11.
    """
    search, mice = choose_search(system, options), None
    if search is None and system.n >= SPLIT_MIN_UNITS:
        # The analysis takes several steps then, of a few blocks each.
        beside = {"analysis": analyse_system(system, options), "mice": _search(system, sharding)}
        results = yield from gather(beside)
        analysis, mice = results["analysis"], results["mice"]
    else:
        analysis = yield from analyse_system(system, options)
    states, tied_states = analysis.states, analysis.tied_states
    if states is None or tied_states is None:  # disconnected systems still have distinctions
        states, tied_states = yield from _default_states(system, options)
    if search is None:
        mice = mice or (yield from _search(system, sharding))
        tied, statistics = yield from _describe_ties(system, options, states, mice)
    else:
        tied, statistics = yield from find_connected_mechanisms(
            system, search, states, options.ties
        )
    distinctions = congruent_distinctions(system, tied, states, options.ties)
    sums = relation_sums(relation_bindings(system, distinctions, states))
    structure = CauseEffectStructure(
        system=system,
        options=options,
        analysis=analysis,
        states=states,
        tied_states=tied_states,
        tied=tied,
        distinctions=distinctions,
        sums=sums,
        search=statistics,
    )
    nodes = structure_nodes(structure, tie_sensitivity(structure))
    network = None if search is None else search.network
    stage = repertoires_stage(system, distinctions, network)
    if stage is not None:
        (filled,) = yield (stage,)
        nodes["/repertoires"] = repertoires_dataset(stage, filled)
    return assemble_tree(nodes)


def _search(system: CandidateSystem, sharding: Sharding | None) -> Steps[Filled]:
    """Search all mechanisms and purviews; no result depends on the states of the system."""
    yield (marginals_stage(system),)
    return (yield from find_maximal_causes_effects(system, sharding))


def _describe_ties(
    system: CandidateSystem, options: Unfolding, states: tuple[int, int], mice: Filled
) -> Steps[tuple[list[TiedPurviews], dict[str, Any]]]:
    """Return irreducible mechanisms with their tied purviews, and counts."""
    pairs = tied_purview_pairs(mice)
    tied: list[TiedPurviews] = []
    if len(pairs):
        (details,) = yield (details_stage(system, pairs, states),)
        tied = collect_ties(described_sides(pairs, details), PurviewOrder(system, options.ties))
    return tied, {"path": "dense", **search_statistics(system, mice)}


def _default_states(
    system: CandidateSystem, options: Unfolding
) -> Steps[tuple[tuple[int, int], TiedStates]]:
    """Return states of greatest intrinsic information where the analysis specified none.

    Which are chosen, mathematics.md 10, and all that tie.
    """
    specified = yield from specify_states(system, options)
    causes, effects = specified.states
    chosen = causes.first, effects.first
    pairs = tuple(product(causes.products, effects.products))
    if options.ties == "canonical":
        chosen = first_state_pair(system, options.ties, pairs)
    return chosen, TiedStates(pairs)
