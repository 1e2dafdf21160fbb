"""Names of theories and of what can be computed under them, as literal tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from iitdask.errors import InputError, StateError
from iitdask.model.passage import Course, Passage
from iitdask.model.pool import Pool
from iitdask.model.subject import Subject
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.model.transition import Transition
from iitdask.theory import iit3
from iitdask.theory.account import account
from iitdask.theory.base import Stages
from iitdask.theory.complexes import complexes, iit3_complexes
from iitdask.theory.events import events
from iitdask.theory.iit4 import ces, sia
from iitdask.theory.nexus import nexus
from iitdask.theory.options import IIT3, IIT4, IIT42026, Causation2019, Theory

__all__ = [
    "COMPUTATIONS",
    "THEORIES",
    "Computation",
    "computation",
    "default_theory",
    "recipe",
    "subject_of",
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

    subject: type[Subject]
    """What it is about."""
    recipes: Mapping[str, Callable[[Any, Any], Stages]]
    """By name of the theory: makes the recipe from the subject and the theory's options."""


COMPUTATIONS: Mapping[str, Computation] = {
    "sia": Computation(System, {"iit4": sia, "iit4-2026": sia, "iit3": iit3.sia}),
    "ces": Computation(System, {"iit4": ces, "iit4-2026": ces, "iit3": iit3.ces}),
    "account": Computation(Transition, {"causation2019": account}),
    "nexus": Computation(Passage, {"causation2019": nexus}),
    "events": Computation(Course, {"causation2019": events}),
    "complexes": Computation(
        Pool, {"iit4": complexes, "iit4-2026": complexes, "iit3": iit3_complexes}
    ),
}


def computation(compute: str, where: str = "compute") -> Computation:
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
    return next(iter(computation(compute).recipes))


def subject_of(
    compute: str, substrate: Substrate, fields: Mapping[str, Any], where: str = "study"
) -> Subject:
    """Build what a computation is about from the fields of a study; None means not given.

    Raises
    ------
    InputError
        A field is missing, or has no meaning for the computation.
    StateError
        A field does not fit the substrate.
    """
    kind = computation(compute, f"{where}: compute").subject
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


def recipe(compute: str, subject: Subject, options: Theory) -> Stages:
    """Return the recipe of a computation under a theory.

    Raises
    ------
    InputError
        The theory does not define the computation.
    """
    found = computation(compute)
    name = theory_name(options)
    if name not in found.recipes:
        known = ", ".join(found.recipes)
        raise InputError(f"compute {compute!r}: expected theory {known}, got {name!r}")
    return found.recipes[name](subject, options)
