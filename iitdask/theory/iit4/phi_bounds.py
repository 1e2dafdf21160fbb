"""What limits phi_s: caps (2026), and bounds where the search for a partition did not end.

The ratio of any partition bounds the least ratio from above, the least ratio that a search proves
bounds it from below; phi_s is the least ratio times the pairs that its partition severs, of which
there are n - 1 at least and n (n - 1) at most (docs/mathematics.md 26.9).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from iitdask.kernels.iit4.state_pair import RATIO_TIE_BITS
from iitdask.kernels.iit4.system_phi import DirectionMinima
from iitdask.kernels.subsets import PHI_ZERO_BITS
from iitdask.theory.stage import Array


class SideRanges(NamedTuple):
    """What is known of one side at each class of its specified states, bits."""

    ratio: tuple[Array, Array]  # Two (m,): the least and the largest that the least ratio can be
    phi: tuple[Array, Array]  # The same of phi at the partition of the least ratio
    is_proven: Array  # (m,) whether both ends are the same


class PhiBounds(NamedTuple):
    """Between which values phi_s and normalized phi_s lie, bits."""

    phi: tuple[float, float]
    normalized: tuple[float, float]


def side_ranges(
    found: DirectionMinima, is_proven: Array, least_ratio: Array, most: Array, n: int
) -> SideRanges:
    """Return what the partitions found on one side leave open.

    Parameters
    ----------
    found : the best partitions found, by class of states
    is_proven : (m,) whether there is no better one
    least_ratio : (m,) that no partition is below, bits before selectivity
    most : (m,) bits before selectivity that any partition loses at most
    n : units

    Returns
    -------
    SideRanges
    """
    value = found.cost * found.selectivity
    ratio_high = np.where(value > 0.0, value / np.maximum(found.pairs, 1), 0.0)
    ratio_low = np.where(
        is_proven, ratio_high, np.minimum(least_ratio * found.selectivity, ratio_high)
    )
    ratio_low = np.where(ratio_low * (n - 1) > PHI_ZERO_BITS, ratio_low, 0.0)
    high = np.minimum(ratio_high * n * (n - 1), most * found.selectivity)
    phi = (np.where(is_proven, value, ratio_low * (n - 1)), np.where(is_proven, value, high))
    return SideRanges((ratio_low, ratio_high), phi, is_proven)


def phi_bounds(cause: SideRanges, effect: SideRanges) -> PhiBounds:
    """Return between which values phi_s lies: the largest over pairs of states.

    Of each pair a side decides that may have the smaller ratio.

    Parameters
    ----------
    cause, effect : SideRanges, of both sides

    Returns
    -------
    PhiBounds

    References
    ----------
    mathematics.md 26.9.
    """
    low, high = (np.minimum.outer(c, e) for c, e in zip(cause.ratio, effect.ratio, strict=True))
    by_cause = cause.ratio[0][:, None] <= effect.ratio[1] + RATIO_TIE_BITS
    by_effect = effect.ratio[0] <= cause.ratio[1][:, None] + RATIO_TIE_BITS
    least, most = (
        (np.where(by_cause, c[:, None], other), np.where(by_effect, e, other))
        for c, e, other in zip(cause.phi, effect.phi, (np.inf, 0.0), strict=True)
    )
    phi_low, phi_high = np.minimum(*least), np.maximum(*most)
    at_least = float(phi_low.max())
    may_be_largest = phi_high >= at_least * (1.0 - 1e-12)
    return PhiBounds(
        (at_least, float(phi_high.max())),
        (float(low[may_be_largest].min()), float(high[may_be_largest].max())),
    )


def cap_phi(phi: Array, information: Array, probabilities: Array) -> tuple[Array, Array]:
    """Limit phi_s to intrinsic information and differentiation (2026).

    Parameters
    ----------
    phi : (...) phi_s of 2023, bits
    information : (..., 2) intrinsic information of the specified states, bits
    probabilities : (..., 2) of the states whose differentiation counts, cause and effect side

    Returns
    -------
    capped : (...) phi_s, bits; 0 up to the tolerance
    differentiation : (..., 2) bits; 0 where the probability is 0 or 1

    References
    ----------
    mathematics.md 8.5, Eq. (8.5) to (8.7).
    """
    is_open = (probabilities > 0) & (probabilities < 1)
    bits = np.where(is_open, -np.log2(np.where(is_open, probabilities, 1.0)), 0.0)
    capped = np.minimum(phi, np.minimum(information, bits).min(axis=-1))
    return np.where(capped > PHI_ZERO_BITS, capped, 0.0), bits


def cap_bounds(
    bounds: PhiBounds,
    information: Array,
    selectivity: Sequence[Array],
    current: Array | None,
    n: int,
) -> PhiBounds:
    """Limit bounds as ``cap_phi`` limits phi_s, whichever pair of states is chosen.

    Parameters
    ----------
    bounds : before the caps
    information : (2,) intrinsic information of the specified states, bits
    selectivity : of both sides, (m,) probabilities of the specified states
    current : (2,) probabilities whose differentiation counts; None: those of the specified states
    n : units

    Returns
    -------
    PhiBounds
    """
    phi = []
    for value, end in zip(bounds.phi, (np.max, np.min), strict=True):
        # differentiation falls with the probability
        likely = np.array([end(side) for side in selectivity]) if current is None else current
        phi.append(float(cap_phi(np.array(value), information, likely)[0]))
    low, high = bounds.normalized
    normalized = min(low, phi[0] / (n * (n - 1))), min(high, phi[1] / (n - 1))
    return PhiBounds((phi[0], phi[1]), normalized)
