"""Why the phi of a system is 0, or why a candidate is no complex: one enumeration, two tables.

The kernels write the same numbers, see :mod:`iitdask.kernels.iit4.system_phi`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag

from iitdask.kernels.iit4 import system_phi


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
    # what a search that has to stop makes of a system
    UNDECIDED = 1 << 16
    # what a search for complexes did not compute
    BOUNDED = 1 << 17

    @property
    def names(self) -> str:
        """Names of the reasons, separated by spaces; empty when there is none."""
        return " ".join(str(reason.name) for reason in self)

    @property
    def text(self) -> str:
        """What they mean for one system; empty when there is none."""
        return "; ".join(SYSTEM_TEXTS.get(reason, "") for reason in self)


# What a reason means in the analysis of one system
SYSTEM_TEXTS: Mapping[Reason, str] = {
    Reason.NO_STRONG_CONNECTIVITY: "the units are not strongly connected",
    Reason.MONAD_WITH_NO_SELFLOOP: "a single unit without a connection to itself",
    Reason.SUBSTRATE_UNREACHABLE: "no past state of the substrate leads to the state",
    Reason.SYSTEM_UNREACHABLE: "no past state of the system leads to its state while the units "
    "outside have their current values",
    Reason.NO_CAUSE: "the state has no cause: no past state is more probable than any other",
    Reason.NO_EFFECT: "the state has no effect: the next state is as probable as from any other",
    Reason.REDUCIBLE: "a partition makes no difference",
    Reason.CAPPED: "limited to zero by intrinsic information or differentiation (2026)",
    Reason.UNDECIDED: "not computed: the search for the minimum partition did not end within its "
    "budget; it lies between the bounds given",
    Reason.MONAD: "a single unit has no unidirectional partition",
    Reason.NO_CONCEPTS: "no mechanism is irreducible",
}

# Why a candidate is no complex, in the order of the result's axis ``reason``
CANDIDATE_TEXTS: Mapping[Reason, str] = {
    Reason.NO_INPUT_OR_OUTPUT: "a unit has no declared input or no declared output",
    Reason.NOT_STRONGLY_CONNECTED: "not strongly connected once the outside is fixed",
    Reason.UNREACHABLE: "no past state leads to its state while the outside has its values",
    Reason.NO_CAUSE: "the state has no cause",
    Reason.NO_EFFECT: "the state has no effect",
    Reason.ZERO_CUT: "a cut between two blocks loses nothing",
    Reason.REDUCIBLE: "a partition loses nothing",
    Reason.CAPPED: "limited to zero by intrinsic information or differentiation (2026)",
    Reason.OVERLAP: "overlaps a complex of larger phi_s",
    Reason.LESS_PHI: "an overlapping system of equal phi_s has a larger Phi",
    Reason.TIED: "overlapping systems of equal phi_s have the same Phi: none exists",
    Reason.BOUNDED: "an upper bound of phi_s is below that of a complex it overlaps",
    Reason.UNDECIDED: "the search for the minimum partition did not end within its budget",
}
