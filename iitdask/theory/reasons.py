"""Why the phi of a system is 0, or why a candidate is no complex: one enumeration, one text table.

The kernels write the same numbers, see :mod:`iitdask.kernels.iit4.system_phi`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import NamedTuple

from iitdask.kernels.iit4 import system_phi

__all__ = ["CANDIDATE_REASONS", "REASON_TEXTS", "Reason", "ReasonText"]


class Reason(IntFlag):
    """Why phi is 0; ``NO_CAUSE`` and ``NO_EFFECT`` can come together."""

    NONE = system_phi.IRREDUCIBLE
    NO_STRONG_CONNECTIVITY = system_phi.NO_STRONG_CONNECTIVITY
    MONAD_WITH_NO_SELFLOOP = system_phi.MONAD_WITH_NO_SELFLOOP
    SUBSTRATE_UNREACHABLE = system_phi.SUBSTRATE_UNREACHABLE
    SYSTEM_UNREACHABLE = system_phi.SYSTEM_UNREACHABLE
    UNREACHABLE = system_phi.UNREACHABLE
    NO_CAUSE = system_phi.NO_CAUSE
    NO_EFFECT = system_phi.NO_EFFECT
    ZERO_CUT = system_phi.ZERO_CUT
    REDUCIBLE = system_phi.REDUCIBLE
    CAPPED = system_phi.CAPPED
    # IIT 3.0
    MONAD = 1 << 9
    NO_CONCEPTS = 1 << 10
    # what a search for complexes makes of candidates
    NO_INPUT_OR_OUTPUT = 1 << 11
    NOT_STRONGLY_CONNECTED = 1 << 12
    OVERLAP = 1 << 13
    LESS_PHI = 1 << 14
    TIED = 1 << 15

    @property
    def names(self) -> str:
        """Names of the reasons, separated by spaces; empty when there is none."""
        return " ".join(str(reason.name) for reason in self)

    @property
    def text(self) -> str:
        """What they mean for one system; empty when there is none."""
        return "; ".join(REASON_TEXTS[reason].of_system for reason in self)


class ReasonText(NamedTuple):
    """What a reason means."""

    of_system: str = ""
    """In the analysis of one system."""
    of_candidate: str = ""
    """In a search for complexes."""


REASON_TEXTS: Mapping[Reason, ReasonText] = {
    Reason.NO_STRONG_CONNECTIVITY: ReasonText("the units are not strongly connected"),
    Reason.MONAD_WITH_NO_SELFLOOP: ReasonText("a single unit without a connection to itself"),
    Reason.SUBSTRATE_UNREACHABLE: ReasonText("no past state of the substrate leads to the state"),
    Reason.SYSTEM_UNREACHABLE: ReasonText(
        "no past state of the system leads to its state while the units outside have their "
        "current values"
    ),
    Reason.UNREACHABLE: ReasonText(
        of_candidate="no past state leads to its state while the outside has its values"
    ),
    Reason.NO_CAUSE: ReasonText(
        "the state has no cause: no past state is more probable than any other",
        "the state has no cause",
    ),
    Reason.NO_EFFECT: ReasonText(
        "the state has no effect: the next state is as probable as from any other",
        "the state has no effect",
    ),
    Reason.ZERO_CUT: ReasonText(of_candidate="a cut between two blocks loses nothing"),
    Reason.REDUCIBLE: ReasonText("a partition makes no difference", "a partition loses nothing"),
    Reason.CAPPED: ReasonText(
        "limited to zero by intrinsic information or differentiation (2026)",
        "limited to zero by intrinsic information or differentiation (2026)",
    ),
    Reason.MONAD: ReasonText("a single unit has no unidirectional partition"),
    Reason.NO_CONCEPTS: ReasonText("no mechanism is irreducible"),
    Reason.NO_INPUT_OR_OUTPUT: ReasonText(
        of_candidate="a unit has no declared input or no declared output"
    ),
    Reason.NOT_STRONGLY_CONNECTED: ReasonText(
        of_candidate="not strongly connected once the outside is fixed"
    ),
    Reason.OVERLAP: ReasonText(of_candidate="overlaps a complex of larger phi_s"),
    Reason.LESS_PHI: ReasonText(
        of_candidate="an overlapping system of equal phi_s has a larger Phi"
    ),
    Reason.TIED: ReasonText(
        of_candidate="overlapping systems of equal phi_s have the same Phi: none exists"
    ),
}

CANDIDATE_REASONS = (
    Reason.NO_INPUT_OR_OUTPUT,
    Reason.NOT_STRONGLY_CONNECTED,
    Reason.UNREACHABLE,
    Reason.NO_CAUSE,
    Reason.NO_EFFECT,
    Reason.ZERO_CUT,
    Reason.REDUCIBLE,
    Reason.CAPPED,
    Reason.OVERLAP,
    Reason.LESS_PHI,
    Reason.TIED,
)
"""Why a candidate is no complex, in the order of the result's axis ``reason``."""
