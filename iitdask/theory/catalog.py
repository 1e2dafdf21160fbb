"""Registry of theories and computations, and the small recipes that compile their kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.errors import InputError, StateError
from iitdask.kernels.iit4.mechanism_search import JOINT_BOUND_MIN_UNITS, make_purview_scratch
from iitdask.kernels.iit4.pair import MarginalTables, make_pair_scratch
from iitdask.kernels.iit4.pair_costs import cause_scan
from iitdask.kernels.iit4.purview_search import prepare_effects
from iitdask.model.batch import Batch
from iitdask.model.candidate_set import CandidateSet
from iitdask.model.substrate import Substrate
from iitdask.model.system import System, Target
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.theory.causation.account import account
from iitdask.theory.causation.nexus import events, nexus
from iitdask.theory.complexes.recipe import complexes, iit3_complexes
from iitdask.theory.iit3 import recipe
from iitdask.theory.iit4.distinctions import PurviewOrder
from iitdask.theory.iit4.mechanisms import details_stage, mice_stage
from iitdask.theory.iit4.recipe import ces, sia
from iitdask.theory.marginal_tables import marginals_stage
from iitdask.theory.options import IIT3, IIT4, IIT42026, Causation2019, Theory
from iitdask.theory.stage import Recipe, Region
from iitdask.theory.sweeps.small_systems import SmallSystems, small_systems_stage

__all__ = [
    "COMPILE_CASES",
    "COMPUTATIONS",
    "THEORIES",
    "Computation",
    "build_recipe",
    "default_theory",
    "get_computation",
    "target_from_fields",
    "theory_name",
    "theory_options",
]

THEORIES: Mapping[str, type[Theory]] = {
    "iit4": IIT4,
    "iit4-2026": IIT42026,
    "iit3": IIT3,
    "causation2019": Causation2019,
}


@dataclass(frozen=True, slots=True)
class Computation:
    """Something that can be computed: of what, and how under each theory."""

    target: type[Target]
    """What it is about."""
    recipes: Mapping[str, Callable[[Any, Any], Recipe]]
    """By name of the theory: makes the recipe from the subject and the theory's options."""


COMPUTATIONS: Mapping[str, Computation] = {
    "sia": Computation(System, {"iit4": sia, "iit4-2026": sia, "iit3": recipe.sia}),
    "ces": Computation(System, {"iit4": ces, "iit4-2026": ces, "iit3": recipe.ces}),
    "account": Computation(Transition, {"causation2019": account}),
    "nexus": Computation(StatePair, {"causation2019": nexus}),
    "events": Computation(StateTriple, {"causation2019": events}),
    "complexes": Computation(
        CandidateSet, {"iit4": complexes, "iit4-2026": complexes, "iit3": iit3_complexes}
    ),
}


def get_computation(compute: str, where: str = "compute") -> Computation:
    """Return what is registered under a name.

    Raises
    ------
    InputError
        Nothing is.
    """
    if compute not in COMPUTATIONS:
        raise InputError(f"{where}: expected one of {', '.join(COMPUTATIONS)}, got {compute!r}")
    return COMPUTATIONS[compute]


def default_theory(compute: str) -> str:
    """Return the theory that is meant when none is named."""
    return next(iter(get_computation(compute).recipes))


def target_from_fields(
    compute: str, substrate: Substrate, fields: Mapping[str, Any], where: str = "study"
) -> Target:
    """Build what a computation is about from the fields of a study; None means not given.

    Raises
    ------
    InputError
        A field is missing, or has no meaning for the computation.
    StateError
        A field does not fit the substrate.
    """
    kind = get_computation(compute, f"{where}: compute").target
    given = {name: value for name, value in fields.items() if value is not None}
    for name in kind.FIELDS[: kind.REQUIRED]:
        if name not in given:
            raise InputError(f"{where}: {name}: expected one for compute {compute!r}, got nothing")
    for name in given:
        if name not in kind.FIELDS:
            known = ", ".join(kind.FIELDS)
            raise InputError(
                f"{where}: {name}: has no meaning for compute {compute!r}, which takes {known}"
            )
    try:
        return kind.asked(substrate, given)
    except StateError as error:
        raise type(error)(f"{where}: {error}") from error


def theory_options(theory: Any, where: str = "theory", **choices: Any) -> Theory:
    """Turn a name, a mapping with a name, or options into checked options of a theory.

    Parameters
    ----------
    theory
        ``"iit4"``, ``{"name": "iit4", "ties": "canonical"}``, or an options value.
    where
        What to call it in messages.
    choices
        Options beside the name; those that are None are left out.
    """
    chosen = {key: value for key, value in choices.items() if value is not None}
    if isinstance(theory, msgspec.Struct):
        given = msgspec.to_builtins(theory)
    else:
        given = dict(theory) if isinstance(theory, Mapping) else {"name": theory}
    given |= chosen
    name = given.get("name")
    if name not in THEORIES:
        raise InputError(f"{where}: expected one of {', '.join(THEORIES)}, got {name!r}")
    try:
        return msgspec.convert(given, THEORIES[name])
    except msgspec.ValidationError as error:
        fields = ", ".join(THEORIES[name].__struct_fields__)
        raise InputError(f"{where} {name}: {error}; its options are {fields}") from error


def theory_name(options: Theory) -> str:
    """Return the name under which a theory is registered."""
    return str(msgspec.to_builtins(options)["name"])


def build_recipe(compute: str, subject: Target, options: Theory) -> Recipe:
    """Return the recipe of a computation under a theory.

    Raises
    ------
    InputError
        The theory does not define the computation.
    """
    found = get_computation(compute)
    name = theory_name(options)
    if name not in found.recipes:
        known = ", ".join(found.recipes)
        raise InputError(f"compute {compute!r}: expected theory {known}, got {name!r}")
    return found.recipes[name](subject, options)


def _two_units() -> System:
    pair = Substrate.from_tpm([[0.1, 0.2], [0.7, 0.4], [0.6, 0.8], [0.9, 0.3]])
    return System.of(pair, "10")


def _ces_case() -> Recipe:
    """A cause-effect structure, and the order of purviews where some tie: all there is."""
    system = _two_units()
    PurviewOrder(system, "reference").sort(3, True, [1, 2])
    return ces(system, IIT4())


def _sia_case() -> Recipe:
    """What precedes the search over purviews, the partitions of a system, then the search.

    In this order: the pairs it searches are in the cache by then, left there by another share.
    """
    system = _two_units()
    yield (marginals_stage(system),)
    (phi, *_) = mice_stage(system).variables
    yield (replace(mice_stage(system), name="scan", variables=(phi,), compute=_fill_scan),)
    yield from sia(system, IIT4())
    yield (mice_stage(system),)
    return xr.DataTree()


def _fill_scan(prepared: tuple[MarginalTables, Any], region: Region) -> Mapping[str, Any]:
    """The scan of the causes and the bounds of the effects, which a search begins with."""
    t, size, lanes = prepared[0], len(prepared[0].codes), 2
    room = make_purview_scratch(size, size, int(t.offsets[-1]))
    vectors, bounds = np.empty((6, lanes)), np.empty((size, lanes))
    weights, states = np.zeros((size, lanes)), np.zeros((size, lanes), np.int64)
    cause_scan(t.cause, t.log_cause, t.offsets, 0, 1, vectors, bounds, weights, states)
    prepare_effects(t, make_pair_scratch(t), 1, room)
    return {"phi": np.zeros([part.stop - part.start for part in region])}


def _details_case() -> Recipe:
    """States and named partitions of one pair a side, the order of purviews that tie."""
    system = _two_units()
    yield (marginals_stage(system),)
    yield (details_stage(system, np.array([[0, 3, 3], [1, 3, 3]]), (1, 1)),)
    PurviewOrder(system, "reference").sort(3, True, [1, 2])
    return xr.DataTree()


def _search_case() -> Recipe:
    """The search over purviews."""
    system = _two_units()
    yield (marginals_stage(system),)
    yield (mice_stage(system),)
    return xr.DataTree()


def _joint_bounds_case() -> Recipe:
    """The search over purviews of the smallest system whose effects are bounded together."""
    n = JOINT_BOUND_MIN_UNITS
    noisy = [[[0.8, 0.2], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]]
    ring = [([i, (i + 1) % n], noisy) for i in range(n)]
    system = System.of(Substrate.from_factors(ring), "0" * n)
    yield (marginals_stage(system),)
    yield (mice_stage(system),)
    return xr.DataTree()


def _iit3_ces_case() -> Recipe:
    """Concepts of IIT 3.0, their details and those of the system cut: all there is."""
    return recipe.ces(_two_units(), IIT3())


def _iit3_sia_case() -> Recipe:
    """The cuts of IIT 3.0."""
    return recipe.sia(_two_units(), IIT3())


def _account_case() -> Recipe:
    """A causal account."""
    return account(Transition.of(_two_units().substrate, "10", "11"), Causation2019())


def _candidates_case() -> Recipe:
    """All candidates of a pair of units."""
    return complexes(CandidateSet.of(_two_units().substrate, "10"), IIT4())


def _complexes_case() -> Recipe:
    """The candidates, and a structure as equal ones need it."""
    yield from _candidates_case()
    return (yield from _ces_case())


def _small_systems_case(structures: bool) -> Recipe:
    """One small system of a sweep."""
    one = np.zeros(1, np.int64)
    points = SmallSystems(Batch.of([_two_units().substrate]), one, one + 1, one + 3, one)
    yield (small_systems_stage("points", points, structures),)
    return xr.DataTree()


COMPILE_CASES: Mapping[str, tuple[Callable[[], Recipe], ...]] = {
    "iit4": (_ces_case, _sia_case, _details_case),
    "iit4-large": (_joint_bounds_case, _joint_bounds_case),
    "iit3": (_iit3_ces_case, _iit3_sia_case),
    "complexes": (_complexes_case, _candidates_case, _sia_case, _details_case),
    "causation2019": (_account_case, _account_case),
    "sweep-sia": (partial(_small_systems_case, False), partial(_small_systems_case, False)),
    "sweep-ces": (
        partial(_small_systems_case, True),
        partial(_small_systems_case, False),
        _search_case,
    ),
}
"""By family: the recipe that needs every kernel, then shares of it that take equally long, the
longest first: it begins while other processes still start."""
