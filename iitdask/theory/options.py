"""Options of theories: frozen, typed values, and a table that describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta

Ties = Annotated[
    Literal["reference", "canonical"],
    Meta(
        description="Which of several tied states or purviews is named: the first in the published "
        "order, or in an order that does not depend on how the units are numbered."
    ),
]

Search = Annotated[
    Literal["auto", "sparse", "dense"],
    Meta(
        description="How it is searched: along the connections of sparse systems, over all sets of "
        "units, or by whichever the number of units and their inputs promise to be faster. The "
        "result is the same."
    ),
]


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name"):
    """What the options of all theories have in common: how they are read."""


class IIT3(_Options, frozen=True, kw_only=True, tag="iit3"):
    """IIT 3.0, Oizumi, Albantakis and Tononi 2014; distances are rounded to six decimals.

    Of tied purviews larger ones come first in both orders.
    """

    ties: Ties = "reference"
    background: Annotated[
        Literal["causal", "2014"],
        Meta(
            description="Past of the units outside the system: distributed as the current state of "
            "all units implies, or fixed at their current state, as published in 2014."
        ),
    ] = "causal"


class IIT4(_Options, frozen=True, kw_only=True, tag="iit4"):
    """IIT 4.0, Albantakis et al. 2023."""

    ties: Ties = "reference"
    search: Search = "auto"


class IIT42026(_Options, frozen=True, kw_only=True, tag="iit4-2026"):
    """IIT 4.0 with the intrinsic-information cap on phi_s, 2026."""

    ties: Ties = "reference"
    search: Search = "auto"
    differentiation: Annotated[
        Literal["specified", "current"],
        Meta(
            description="State at which differentiation is evaluated: the specified states, as in "
            "equations 5 and 6 of the paper, or the current state, as the reference "
            "implementation does."
        ),
    ] = "specified"


class Causation2019(_Options, frozen=True, kw_only=True, tag="causation2019"):
    """Actual causation, Albantakis et al. 2019."""

    background: Annotated[
        Literal["causal", "2019"],
        Meta(
            description="Units that are neither causes nor effects, when causes are sought: "
            "averaged with their posterior given the whole state after (as the reference "
            "implementation does), or, with all units that are no causes, held at their state "
            "before (as published)."
        ),
    ] = "causal"


Unfolding = IIT4 | IIT42026  # Theories of what a system is, with choices about ties
Theory = Unfolding | IIT3 | Causation2019
TheoryLike = (
    Literal["iit4", "iit4-2026", "iit3", "IIT4", "IIT4-2026", "IIT42026", "IIT3"]
    | Theory
    | type[IIT4]
    | type[IIT42026]
    | type[IIT3]
    | Mapping[str, Any]
)
"""Theory by name, by its options, or by a mapping of both."""


def recorded_options(options: Theory) -> dict[str, Any]:
    """Return a theory's name and options as studies record them.

    What is left to the engine, as how it searches, is no part of a study.
    """
    fields: dict[str, Any] = msgspec.to_builtins(options)
    return {key: value for key, value in fields.items() if (key, value) != ("search", "auto")}


class OptionInfo(NamedTuple):
    """One option of a theory: its name in a study, and what it means in one or two sentences."""

    name: str
    values: tuple[str, ...]
    default: str
    meaning: str

    def __str__(self) -> str:
        """Write the option with its values, the default first."""
        others = [value for value in self.values if value != self.default]
        return f"{self.name} ({', '.join([self.default, *others])})"


def describe_options(theory: type[Theory]) -> tuple[OptionInfo, ...]:
    """Return one row per option of a theory.

    Examples
    --------
    >>> [(row.name, row.values, row.default) for row in describe_options(IIT4)]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('ties', ('reference', 'canonical'), 'reference'),
     ('search', ('auto', 'sparse', 'dense'), 'auto')]
    """
    hints: dict[str, Any] = get_type_hints(theory, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(theory):
        kind, meta = get_args(hints[field.name])
        rows.append(OptionInfo(field.name, get_args(kind), str(field.default), meta.description))
    return tuple(rows)
