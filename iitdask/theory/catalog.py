"""Registry of theories, of what can be computed under them, and of the kernels that takes.

A computation is one record of ``COMPUTATIONS``. Running, sweeping, estimating, verifying,
labelling, showing, exporting and drawing ask that record; nothing else tells computations apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pkgutil import resolve_name
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.errors import InputError, StateError, quote
from iitdask.kernels.iit4.mechanism_search import JOINT_BOUND_MIN_UNITS, make_purview_scratch
from iitdask.kernels.iit4.pair import MarginalTables, make_pair_scratch
from iitdask.kernels.iit4.pair_costs import cause_scan, make_cause_scan
from iitdask.kernels.iit4.purview_search import prepare_effects
from iitdask.model.batch import Batch
from iitdask.model.candidate_set import CandidateSet
from iitdask.model.dynamics import WholeNetwork
from iitdask.model.grain_search import GrainSearch
from iitdask.model.labels import field_suggestion
from iitdask.model.macro_system import AnySystem
from iitdask.model.perceptual_system import PerceptualSystem
from iitdask.model.search_space import SearchSpace
from iitdask.model.substrate import Substrate
from iitdask.model.system import CandidateSystem, System, Target
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.theory.attractors import DYNAMICS_OUTCOMES, dynamics
from iitdask.theory.causation.account import ACCOUNT_OUTCOMES, account
from iitdask.theory.causation.connected_pairs import sparse_searches
from iitdask.theory.causation.nexus import events, nexus
from iitdask.theory.causation.partitions import pair_searches
from iitdask.theory.complexes.candidates import evaluate_one_by_one
from iitdask.theory.complexes.recipe import COMPLEXES_OUTCOMES, complexes
from iitdask.theory.grain_verdicts import GRAINS_OUTCOMES, grains
from iitdask.theory.hill_climbing import search_networks
from iitdask.theory.iit3 import recipe
from iitdask.theory.iit3.concepts import rule_numbers
from iitdask.theory.iit4.frontier_search import plan_frontier
from iitdask.theory.iit4.local_mechanisms import find_connected_mechanisms
from iitdask.theory.iit4.mechanisms import details_stage, mice_stage
from iitdask.theory.iit4.recipe import (
    CES_OUTCOMES,
    SIA_OUTCOMES,
    analysis_seconds,
    ces,
    sia,
    structure_seconds,
)
from iitdask.theory.iit4.repertoires import stage_of_pairs, view_nodes
from iitdask.theory.iit4.search_path import choose_search
from iitdask.theory.iit4.system_analysis import one_block_stage
from iitdask.theory.marginal_tables import marginals_stage
from iitdask.theory.options import IIT3, IIT4, IIT42026, Causation2019, Theory, describe_options
from iitdask.theory.perception import PERCEPTION_OUTCOMES, perception
from iitdask.theory.small_systems import (
    CES_MAX_UNITS,
    SIA_MAX_UNITS,
    SmallSystems,
    small_systems_stage,
)
from iitdask.theory.stage import Recipe, Region, Stage
from iitdask.theory.ties import PurviewOrder
from iitdask.theory.variables import Outcome

THEORIES: Mapping[str, type[Theory]] = {
    "iit4": IIT4,
    "iit4-2026": IIT42026,
    "iit3": IIT3,
    "causation2019": Causation2019,
}
THEORY_NAMES = {name: name for name in THEORIES} | {
    options.__name__.lower(): name for name, options in THEORIES.items()
}
"""Names of theories by their spellings in small letters: as here, or as their classes."""


@dataclass(frozen=True, slots=True)
class KernelFamily:
    """Kernels that are compiled together, before they are needed."""

    seconds: int  # About how long that takes on two cores
    # The smallest recipe that needs all of them, then shares of it that take equally long, the
    # longest first: it begins while other processes still start
    cases: tuple[Callable[[], Recipe], ...]
    min_units: int = 0  # Units of a target from which these kernels are used
    # Whether a target with options of its theory needs them; None: always
    is_needed: Callable[[Any, Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Batching:
    """Batched computation of small systems: many in one block of a sweep."""

    stage: Callable[[str, SmallSystems], Stage]  # Makes the stage of a name over some systems
    max_units: int  # Units of the largest system that is worth a cell
    family: str  # Kernels it needs, a key of ``KERNEL_FAMILIES``


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """One thing that can be computed, with everything that depends on which one it is.

    Functions of higher floors are named as ``module:function`` and imported when they are needed.
    """

    target: type[Target]  # Kind of target: a candidate system, a set of candidates, a transition
    # By theory: makes the recipe from the target and the theory's options. The first theory is the
    # default.
    recipes: Mapping[str, Callable[[Any, Any], Recipe]]
    # Nodes that every result has, each with a variable that no other node has
    nodes: Mapping[str, str]
    # Title of a result; ``{name}`` stands for an attribute. Units and state follow if it has none.
    title: str
    # ``label(tree, target, options)``: the result with the names users gave
    label: str = "iitdask.result.label_tree:label_target"
    # ``overviews(tree)``: summaries and tables of a result
    overviews: str = "iitdask.result.overview:attribute_overviews"
    # ``panels(document, tree)``: figures of a result in the explorer
    panels: str = "iitdask.view.explorer:overview_panels"
    # Node and dimension of the rows of a CSV export, the first of which a result has any; without
    # these, the scalars of the first node
    tables: tuple[tuple[str, str], ...] = ()
    # Computes nodes that a view shows beside those of a result, from the target and the nodes
    view_nodes: Callable[[Any, Mapping[str, xr.Dataset]], Mapping[str, xr.Dataset]] | None = None
    # Numbers that a sweep records of each point; without any, there are no sweeps of it
    outcomes: tuple[Outcome, ...] = ()
    # By theory: the families of kernels it needs
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # How a sweep computes small systems in batches; None: each by its own recipe
    batching: Batching | None = None
    # By theory: predicted seconds of a system, from the values of its units; inf where it is not
    # computed in one piece
    point_seconds: Mapping[str, Callable[[Sequence[int]], float]] = field(default_factory=dict)

    def load(self, name: str) -> Callable[..., Any]:
        """Import the function that one of the fields names."""
        function: Callable[..., Any] = resolve_name(getattr(self, name))
        return function


def get_computation(compute: str, where: str = "compute") -> Computation:
    """Return the computation of a name; `where` names the field in the InputError of another."""
    if compute not in COMPUTATIONS:
        raise InputError(
            f"{where}: expected one of {', '.join(COMPUTATIONS)}, got {quote(compute)}"
        )
    return COMPUTATIONS[compute]


def computation_of(tree: xr.DataTree) -> Computation | None:
    """Return the computation that a result is of, None if none has such nodes.

    Where the nodes of several computations are there, the one registered last is meant: the others
    are parts of it.
    """
    found = [each for each in COMPUTATIONS.values() if each.nodes.keys() <= tree.children.keys()]
    return found[-1] if found else None


def batched_computations() -> dict[str, Batching]:
    """Return the computations that sweeps batch, in the order in which points are numbered."""
    batchings = {name: each.batching for name, each in COMPUTATIONS.items()}
    return {name: each for name, each in batchings.items() if each is not None}


def kernel_families(
    theory: str, compute: str, n_units: int, target: Target | None = None, options: Any = None
) -> list[str]:
    """Return the families of kernels, keys of ``KERNEL_FAMILIES``, that a computation needs.

    Without a target those are left out of which it depends on the target whether they are needed.
    """

    def is_needed(family: KernelFamily) -> bool:
        if family.is_needed is None or n_units < family.min_units:
            return n_units >= family.min_units
        return target is not None and family.is_needed(target, options)

    names = get_computation(compute).families.get(theory, ())
    return [name for name in names if is_needed(KERNEL_FAMILIES[name])]


def default_theory(compute: str) -> str:
    """Return the theory meant when none is named: the first that defines a computation."""
    return next(iter(get_computation(compute).recipes))


def target_from_fields(
    compute: str, substrate: Substrate, fields: Mapping[str, Any], where: str = "study"
) -> Target:
    """Build the target of a computation from the fields of a study; None means not given."""
    target = get_computation(compute, f"{where}: compute").target
    present = {name: value for name, value in fields.items() if value is not None}
    for name in target.FIELDS[: target.REQUIRED]:
        if name not in present and target.ALTERNATIVES.get(name) not in present:
            raise InputError(f"{where}: {name}: expected one for compute {compute!r}, got nothing")
    for name in present:
        if name not in target.FIELDS:
            what = f"compute {compute!r}, which takes {', '.join(target.FIELDS)}"
            raise InputError(f"{where}: {name}: has no meaning for {what}")
    try:
        return target.build(substrate, **present)
    except StateError as error:
        raise type(error)(f"{where}: {error}") from error


def theory_options(
    theory: Any, where: str = "theory", *, compute: str | None = None, **choices: Any
) -> Theory:
    """Return the options of a theory, checked.

    `theory` is a name, a mapping such as ``{"name": "iit4", "ties": "canonical"}``, or an options
    value or its class; `choices` stand beside its options, where None means not given. Of a
    `compute` the message of an unknown theory lists those that define it.
    """
    named = {key: value for key, value in choices.items() if value is not None}
    if isinstance(theory, type) and theory in THEORIES.values():
        theory = theory()
    if isinstance(theory, msgspec.Struct):
        content = msgspec.to_builtins(theory)
    else:
        content = dict(theory) if isinstance(theory, Mapping) else {"name": theory}
    name = content.get("name")
    if isinstance(name, str):
        name = THEORY_NAMES.get(name.lower(), name)
    if not isinstance(name, str) or name not in THEORIES:
        known = THEORIES if compute is None else get_computation(compute).recipes
        raise InputError(f"{where}: expected one of {', '.join(known)}, got {quote(name)}")
    try:
        return msgspec.convert(content | named | {"name": name}, THEORIES[name])
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        known_options = ", ".join(map(str, describe_options(THEORIES[name])))
        hint = field_suggestion(error, THEORIES[name].__struct_fields__)
        raise InputError(
            f"{where} {name}: {error}; {hint + ' ' if hint else ''}its options are {known_options}"
        ) from error


def theory_name(options: Theory) -> str:
    """Return the key of ``THEORIES`` under which a theory is registered."""
    return str(msgspec.to_builtins(options)["name"])


def build_recipe(compute: str, target: Target, options: Theory) -> Recipe:
    """Return the recipe of a computation; InputError if the theory does not define it."""
    recipes, name = get_computation(compute).recipes, theory_name(options)
    if name not in recipes:
        known = ", ".join(recipes)
        raise InputError(f"compute {compute!r}: expected theory {known}, got {quote(name)}")
    return recipes[name](target, options)


def _two_units() -> System:
    pair = Substrate.from_tpm([[0.1, 0.2], [0.7, 0.4], [0.6, 0.8], [0.9, 0.3]])
    return System.build(pair, "10")


def _ces_case() -> Recipe:
    """Unfold a structure and order tied purviews: all kernels of IIT 4.0."""
    system = _two_units()
    PurviewOrder(system, "reference").sort(3, True, [1, 2])
    return ces(system, IIT4())


def _sia_case() -> Recipe:
    """Scan causes, minimise over partitions of a system, search over purviews, name its states.

    In this order: kernels of pairs, then those of named states are in the cache by the time they
    are needed, compiled by another share.
    """
    system = _two_units()
    yield (marginals_stage(system),)
    (phi, *_) = mice_stage(system).variables
    yield (replace(mice_stage(system), name="scan", variables=(phi,), compute=_fill_scan),)
    yield (one_block_stage(system, IIT4()),)
    yield (mice_stage(system),)
    yield from sia(system, IIT4())
    return xr.DataTree()


def _fill_scan(prepared: tuple[MarginalTables, Any], region: Region) -> Mapping[str, Any]:
    """Run the scan of causes and the bounds of effects, with which a search begins."""
    t, size, lanes = prepared[0], len(prepared[0].codes), 2
    scratch = make_purview_scratch(size, size, int(t.offsets[-1]))
    vectors, scan = np.empty((6, lanes)), make_cause_scan(size, lanes)
    prepare_effects(t, make_pair_scratch(t), 1, scratch)
    cause_scan(t.cause, t.log_cause, t.offsets, 0, 1, vectors, scan)
    return {"phi": np.zeros([part.stop - part.start for part in region])}


def _details_case() -> Recipe:
    """Order tied purviews, describe a pair on each side, write its repertoires, name states.

    In this order: kernels of marginals and bounds are in the cache by then, from another share.
    """
    system = _two_units()
    PurviewOrder(system, "reference").sort(3, True, [1, 2])
    yield (marginals_stage(system),)
    pairs = np.array([[0, 3, 3], [1, 3, 3]])
    yield (details_stage(system, pairs, (1, 1)),)
    if (stage := stage_of_pairs(system, pairs)) is not None:
        yield (stage,)
    yield from sia(system, IIT4())
    return xr.DataTree()


def _search_case(system: System | None = None) -> Recipe:
    """Search over purviews, by default those of two units."""
    system = system or _two_units()
    yield (marginals_stage(system),)
    yield (mice_stage(system),)
    return xr.DataTree()


def _sparse_case() -> Recipe:
    """Search connected pairs only, and describe those that tie."""
    system, options = _two_units(), IIT4(search="sparse")
    search = choose_search(system, options)
    if search is not None:
        yield from find_connected_mechanisms(system, search, (0, 0), options.ties)
    return xr.DataTree()


def _frontier_case() -> Recipe:
    """Search the partitions of a small system as those of large sparse ones are."""
    noisy = [[0.9, 0.1], [0.2, 0.8]]
    ring = Substrate.from_factors([([(i - 1) % 5], noisy) for i in range(5)])
    return sia(System.build(ring, "1" * 5), IIT4(search="sparse"))


def _is_along_frontier(target: Any, options: Any) -> bool:
    return isinstance(target, CandidateSystem) and plan_frontier(target, options) is not None


def _joint_bounds_case() -> Recipe:
    """Search over purviews of the smallest system whose effects are bounded together."""
    n = JOINT_BOUND_MIN_UNITS
    noisy = [[[0.8, 0.2], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]]
    ring = [([i, (i + 1) % n], noisy) for i in range(n)]
    return _search_case(System.build(Substrate.from_factors(ring), "0" * n))


def _partitions_case() -> Recipe:
    return recipe.sia(_two_units(), IIT3(measure="AID"))


def _account_case() -> Recipe:
    return account(Transition.build(_two_units().substrate, "10", "11"), Causation2019())


def _sparse_account_case() -> Recipe:
    """Search connected pairs of a transition that is too large for tables over all pairs."""
    n, noisy = 16, [[[0.8, 0.2], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]]
    line = [([i, i + 1], noisy) for i in range(n - 1)]
    substrate = Substrate.from_factors([*line, ([], [0.5, 0.5])])
    return account(Transition.build(substrate, "0" * n, "1" * n, max_order=3), Causation2019())


def _is_account_by_connections(target: Any, options: Any) -> bool:
    if not isinstance(target, Transition):
        return False
    searches = pair_searches(target)
    return sparse_searches(target, options.background, searches) is not None


def _candidates_case() -> Recipe:
    return complexes(CandidateSet.build(_two_units().substrate, "10"), IIT4())


def _complexes_case() -> Recipe:
    """Evaluate candidates, and unfold a structure as ties between them need it."""
    yield from _candidates_case()
    return (yield from _ces_case())


def _small_systems_case(structures: bool) -> Recipe:
    one = np.zeros(1, np.int64)
    batch = Batch.from_substrates([_two_units().substrate])
    points = SmallSystems(batch, one, one + 1, one + 3, one)
    yield (small_systems_stage("points", points, structures),)
    return xr.DataTree()


_FIRST_SHARE = partial(_small_systems_case, False)

KERNEL_FAMILIES: Mapping[str, KernelFamily] = {
    "iit4": KernelFamily(15, (_ces_case, _sia_case, _details_case)),
    "iit4-large": KernelFamily(
        10, (_joint_bounds_case, _joint_bounds_case), min_units=JOINT_BOUND_MIN_UNITS
    ),
    "iit4-sparse": KernelFamily(
        25,
        (_sparse_case, _sparse_case),
        is_needed=lambda target, options: (
            isinstance(target, CandidateSystem) and choose_search(target, options) is not None
        ),
    ),
    "iit4-frontier": KernelFamily(
        20, (_frontier_case, _frontier_case), is_needed=_is_along_frontier
    ),
    "iit3": KernelFamily(
        15, (lambda: recipe.ces(_two_units(), IIT3()), lambda: recipe.sia(_two_units(), IIT3()))
    ),
    "iit3-partitions": KernelFamily(
        10,
        (_partitions_case, _partitions_case),
        is_needed=lambda _target, options: (
            isinstance(options, IIT3) and bool(rule_numbers(options).any())
        ),
    ),
    "complexes": KernelFamily(20, (_complexes_case, _candidates_case, _sia_case, _details_case)),
    "causation2019": KernelFamily(5, (_account_case, _account_case)),
    "causation2019-sparse": KernelFamily(
        15, (_sparse_account_case, _sparse_account_case), is_needed=_is_account_by_connections
    ),
    "sweep-sia": KernelFamily(20, (_FIRST_SHARE, _FIRST_SHARE)),
    "sweep-ces": KernelFamily(35, (partial(_small_systems_case, True), _FIRST_SHARE, _search_case)),
}

# IIT 3.0: candidates by their own analysis, six decimals, ties never resolved
_IIT3_COMPLEXES = partial(
    complexes,
    measure=partial(evaluate_one_by_one, recipe.sia),
    structure=None,
    bounds=None,
    jointly=True,
    tie=1e-6,
)
_IIT4_SYSTEMS = ("iit4", "iit4-frontier")
_IIT4_STRUCTURES = ("iit4", "iit4-large", "iit4-sparse", "iit4-frontier")
_IIT4_COMPLEXES = ("complexes", "iit4-large")
_CONCEPTS = ("iit3", "iit3-partitions")
_CAUSATION = {"causation2019": ("causation2019",)}

# By the name that a study's ``compute`` gives; one that builds on others comes after them
COMPUTATIONS: dict[str, Computation] = {
    "sia": Computation(
        target=AnySystem,  # type: ignore[type-abstract]
        recipes={"iit4": sia, "iit4-2026": sia, "iit3": recipe.sia},
        nodes={"system": "cut"},
        title="System",
        label="iitdask.result.label_tree:label_system",
        overviews="iitdask.result.overview:system_overviews",
        panels="iitdask.view.explorer:system_panels",
        outcomes=SIA_OUTCOMES,
        families={"iit4": _IIT4_SYSTEMS, "iit4-2026": _IIT4_SYSTEMS, "iit3": _CONCEPTS},
        batching=Batching(
            partial(small_systems_stage, structures=False), SIA_MAX_UNITS, "sweep-sia"
        ),
        point_seconds={
            "iit4": analysis_seconds,
            "iit4-2026": analysis_seconds,
            "iit3": recipe.analysis_seconds,
        },
    ),
    "ces": Computation(
        target=AnySystem,  # type: ignore[type-abstract]
        recipes={"iit4": ces, "iit4-2026": ces, "iit3": recipe.ces},
        nodes={"system": "cut", "distinctions": "mechanism_units"},
        title="Cause-effect structure",
        label="iitdask.result.label_tree:label_system",
        overviews="iitdask.result.overview:system_overviews",
        panels="iitdask.view.explorer:structure_panels",
        view_nodes=view_nodes,
        tables=(("distinctions", "mechanism"),),
        outcomes=CES_OUTCOMES,
        families={"iit4": _IIT4_STRUCTURES, "iit4-2026": _IIT4_STRUCTURES, "iit3": _CONCEPTS},
        batching=Batching(
            partial(small_systems_stage, structures=True), CES_MAX_UNITS, "sweep-ces"
        ),
        point_seconds={
            "iit4": structure_seconds,
            "iit4-2026": structure_seconds,
            "iit3": recipe.analysis_seconds,
        },
    ),
    "complexes": Computation(
        target=CandidateSet,
        recipes={"iit4": complexes, "iit4-2026": complexes, "iit3": _IIT3_COMPLEXES},
        nodes={"complexes": "candidates_evaluated"},
        title="Complexes",
        label="iitdask.result.label_tree:label_complexes",
        overviews="iitdask.result.label_tree:complexes_overviews",
        panels="iitdask.view.network_figures:complexes_panels",
        tables=(("complexes", "complex"),),
        outcomes=COMPLEXES_OUTCOMES,
        families={"iit4": _IIT4_COMPLEXES, "iit4-2026": _IIT4_COMPLEXES, "iit3": _CONCEPTS},
    ),
    "grains": Computation(
        target=GrainSearch,
        recipes={"iit4": grains, "iit4-2026": grains},
        nodes={"complexes": "units", "units": "verdict", "systems": "footprint"},
        title="Grains of {substrate_units} in window {window}",
        label="iitdask.result.label_tree:label_grains",
        overviews="iitdask.result.label_tree:grains_overviews",
        panels="iitdask.view.grain_figures:grains_panels",
        tables=(("complexes", "complex"), ("systems", "system"), ("units", "candidate")),
        outcomes=GRAINS_OUTCOMES,
        families={"iit4": ("sweep-sia",), "iit4-2026": ("sweep-sia",)},
    ),
    "account": Computation(
        target=Transition,
        recipes={"causation2019": account},
        nodes={"links": "direction"},
        title="Account of {substrate_units} from {before} to {after}",
        label="iitdask.result.causal_accounts:label_account",
        overviews="iitdask.result.causal_accounts:account_overviews",
        panels="iitdask.view.account_figures:account_panels",
        tables=(("links", "link"),),
        outcomes=ACCOUNT_OUTCOMES,
        families={"causation2019": ("causation2019", "causation2019-sparse")},
    ),
    "nexus": Computation(
        target=StatePair,
        recipes={"causation2019": nexus},
        nodes={"candidates": "causes"},
        title="Account of {substrate_units} from {before} to {after}",
        label="iitdask.result.causal_accounts:label_nexus",
        overviews="iitdask.result.causal_accounts:nexus_overviews",
        panels="iitdask.view.explorer:nexus_panels",
        tables=(("links", "link"), ("candidates", "candidate")),
        families=_CAUSATION,
    ),
    "perception": Computation(
        target=PerceptualSystem,
        recipes={"iit4": perception, "iit4-2026": perception},
        nodes={"stimuli": "richness"},
        title="Perception of {system} through {sensory}",
        label="iitdask.result.label_tree:label_perception",
        overviews="iitdask.result.label_tree:perception_overviews",
        tables=(("stimuli", "stimulus"),),
        outcomes=PERCEPTION_OUTCOMES,
        families={"iit4": _IIT4_STRUCTURES, "iit4-2026": _IIT4_STRUCTURES},
    ),
    "search": Computation(
        target=SearchSpace,
        recipes={"iit4": search_networks, "iit4-2026": search_networks},
        nodes={"ranking": "state"},
        title="Networks with the largest {maximise}",
        label="iitdask.result.label_tree:label_search",
        overviews="iitdask.result.label_tree:search_overviews",
        tables=(("ranking", "rank"),),
        families={
            "iit4": ("sweep-sia", "sweep-ces"),
            "iit4-2026": ("sweep-sia", "sweep-ces"),
        },
    ),
    "dynamics": Computation(
        target=WholeNetwork,
        recipes={"iit4": dynamics},
        nodes={"attractors": "basin"},
        title="Dynamics",
        label="iitdask.result.label_tree:label_network",
        overviews="iitdask.result.overview:attribute_overviews",
        tables=(("attractors", "attractor"),),
        outcomes=DYNAMICS_OUTCOMES,
    ),
    "events": Computation(
        target=StateTriple,
        recipes={"causation2019": events},
        nodes={"events": "alpha_cause"},
        title="True events",
        label="iitdask.result.causal_accounts:label_events",
        overviews="iitdask.result.causal_accounts:events_overviews",
        tables=(("events", "event"),),
        families=_CAUSATION,
    ),
}
