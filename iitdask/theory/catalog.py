"""Names of theories and of what can be computed under them, as literal tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from iitdask.errors import InputError
from iitdask.model.system import System
from iitdask.theory.base import Stages
from iitdask.theory.iit4 import ces, sia
from iitdask.theory.options import IIT4, IIT42026, Theory

__all__ = ["COMPUTATIONS", "THEORIES", "recipe", "theory_options"]

THEORIES: Mapping[str, type[Theory]] = {"iit4": IIT4, "iit4-2026": IIT42026}
COMPUTATIONS: Mapping[str, Callable[[System, Theory], Stages]] = {"sia": sia, "ces": ces}


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


def recipe(compute: str, system: System, options: Theory) -> Stages:
    """Return the recipe of a computation under a theory."""
    if compute not in COMPUTATIONS:
        raise InputError(f"compute: expected one of {', '.join(COMPUTATIONS)}, got {compute!r}")
    return COMPUTATIONS[compute](system, options)
