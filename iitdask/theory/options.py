"""What a user may choose about a theory, as frozen, typed values."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "IIT3",
    "IIT4",
    "IIT42026",
    "Causation2019",
    "Theory",
    "Unfolding",
]


class IIT3(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="iit3",
    tag_field="name",
):
    """IIT 3.0, Oizumi, Albantakis and Tononi 2014; distances are rounded to six decimals."""

    ties: Literal["reference", "canonical"] = "reference"
    """As in :class:`IIT4`; larger purviews come first in both."""
    background: Literal["causal", "2014"] = "causal"
    """Past of the units outside the system: what the current state tells about it, or their
    current state, as published in 2014."""


class IIT4(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="iit4",
    tag_field="name",
):
    """IIT 4.0, Albantakis et al. 2023."""

    ties: Literal["reference", "canonical"] = "reference"
    """Which of several tied states or purviews is named: the published order, or one that does
    not depend on how the units are numbered."""


class IIT42026(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="iit4-2026",
    tag_field="name",
):
    """IIT 4.0 with the intrinsic-information cap on phi_s, 2026."""

    ties: Literal["reference", "canonical"] = "reference"
    """As in :class:`IIT4`."""
    differentiation: Literal["current", "specified"] = "current"
    """Where differentiation is evaluated: at the current state (the reference) or at the
    specified states (the paper's equations 5-6)."""


class Causation2019(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="causation2019",
    tag_field="name",
):
    """Actual causation, Albantakis et al. 2019."""

    background: Literal["causal", "2019"] = "causal"
    """Units that are neither causes nor effects, when causes are sought: averaged with their
    posterior given the whole state after (the reference), or, with all units that are no causes,
    held at their state before (as published)."""


Unfolding = IIT4 | IIT42026
"""Theories of what a system is, with choices about ties."""
Theory = Unfolding | IIT3 | Causation2019
