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


SystemPartitions = Annotated[
    Literal["all", "bipartition"],
    Meta(
        description="Partitions of a system: all directed set partitions, or into two parts alone, "
        "whose least normalized phi is an upper bound of that over all."
    ),
]


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name"):
    """What the options of all theories have in common: how they are read."""


Measure = Literal["EMD", "L1", "KLD", "ENTROPY_DIFFERENCE", "PSQ2", "MP2Q", "ID", "AID"]
MechanismPartitions = Literal["bipartition", "wedge", "all"]
StructureDistance = Literal["EMD", "SUM_SMALL_PHI"]


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
    measure: Annotated[
        Measure,
        Meta(
            description="Distance of a repertoire from that of a partition: the earth mover's as "
            "published, of later work the absolute intrinsic difference AID among others."
        ),
    ] = "EMD"
    mechanism_partitions: Annotated[
        MechanismPartitions,
        Meta(
            description="Partitions of a mechanism and a purview: into two parts as published; "
            "wedge: a mechanism in two and a purview in up to three; or all of IIT 4.0."
        ),
    ] = "bipartition"
    structure_distance: Annotated[
        StructureDistance,
        Meta(
            description="Distance of the structures of the whole and the cut system: the extended "
            "earth mover's as published, or the difference of their sums of phi."
        ),
    ] = "EMD"


class IIT4(_Options, frozen=True, kw_only=True, tag="iit4"):
    """IIT 4.0, Albantakis et al. 2023."""

    ties: Ties = "reference"
    search: Search = "auto"
    system_partitions: SystemPartitions = "all"


class IIT42026(_Options, frozen=True, kw_only=True, tag="iit4-2026"):
    """IIT 4.0 with the intrinsic-information cap on phi_s, 2026."""

    ties: Ties = "reference"
    search: Search = "auto"
    system_partitions: SystemPartitions = "all"
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


LATER_OPTIONS = {
    "search", "measure", "mechanism_partitions", "structure_distance", "system_partitions",
}  # fmt: skip
"""Options that studies record only where they are not the default."""


def recorded_options(options: Theory) -> dict[str, Any]:
    """Return a theory's name and options as studies record them.

    What is left to the engine, as how it searches, is no part of a study, and defaults of later
    options are left out: studies recorded before these were there ask for the same.
    """
    fields: dict[str, Any] = msgspec.to_builtins(options)
    plain = {field.name: field.default for field in msgspec.structs.fields(options)}
    return {
        key: value
        for key, value in fields.items()
        if key not in LATER_OPTIONS or value != plain[key]
    }


class OptionInfo(NamedTuple):
    """One option of a theory: its name in a study, and what it means in one or two sentences."""

    name: str
    values: tuple[str, ...]
    default: str
    meaning: str

    @property
    def values_text(self) -> str:
        """Its values, the default first."""
        return ", ".join([self.default, *(each for each in self.values if each != self.default)])

    def __str__(self) -> str:
        """Write the option with its values, the default first."""
        return f"{self.name} ({self.values_text})"


def describe_options(theory: type[Theory]) -> tuple[OptionInfo, ...]:
    """Return one row per option of a theory.

    Examples
    --------
    >>> [(row.name, row.values, row.default) for row in describe_options(IIT4)]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('ties', ('reference', 'canonical'), 'reference'),
     ('search', ('auto', 'sparse', 'dense'), 'auto'),
     ('system_partitions', ('all', 'bipartition'), 'all')]
    """
    hints: dict[str, Any] = get_type_hints(theory, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(theory):
        kind, meta = get_args(hints[field.name])
        rows.append(OptionInfo(field.name, get_args(kind), str(field.default), meta.description))
    return tuple(rows)
