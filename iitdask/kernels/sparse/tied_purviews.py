"""The purviews of one mechanism that tie for its largest phi, and which branches can hold more."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import inner
from iitdask.kernels.subsets import PHI_ZERO_BITS, phi_tolerance


class TiedPurviews(NamedTuple):
    """Purviews kept, T of them at most."""

    found: NDArray[np.int64]  # (1,) how many tie; from more than T on only counted
    phis: NDArray[np.float64]  # (T,) phi of each, bits
    purviews: NDArray[np.int64]  # (T,) masks of units


def make_tied_purviews(most: int) -> TiedPurviews:
    """Allocate room for so many purviews."""
    return TiedPurviews(np.zeros(1, np.int64), np.zeros(most), np.zeros(most, np.int64))


@inner
def falls_short(bound, best):
    """Whether no phi up to a bound is one, or ties with the best."""
    return bound <= PHI_ZERO_BITS or bound < best - phi_tolerance(best)


@inner
def next_branch(s, depth, best):
    """The next branch to enter at a depth, the one of the larger bound first; -1 if none is left.

    s : EffectScratch or CauseScratch, whose ``bound`` and ``tried`` are read
    """
    first = 1 if s.bound[depth, 1] >= s.bound[depth, 0] else 0
    while s.tried[depth] < 2:
        take = first if s.tried[depth] == 0 else 1 - first
        s.tried[depth] += 1
        if not falls_short(s.bound[depth, take], best):
            return take
    return -1


@inner
def drop_lower_purviews(ties, best):
    """Drop what does not tie with the best phi. Of more than fit, all or none."""
    least, kept = best - phi_tolerance(best), 0
    if ties.found[0] > ties.phis.shape[0]:
        return
    for k in range(ties.found[0]):
        if ties.phis[k] >= least:
            ties.phis[kept], ties.purviews[kept] = ties.phis[k], ties.purviews[k]
            kept += 1
    ties.found[0] = kept


@inner
def note_purview(ties, units, kept, phi, best):
    """Note a purview if its phi reaches the best; returns the best phi.

    units : the candidates, of which ``kept`` is a mask
    """
    if phi <= PHI_ZERO_BITS or phi < best - phi_tolerance(best):
        return best
    if phi > best:
        if phi > best + phi_tolerance(best):
            ties.found[0] = 0 if ties.found[0] > ties.phis.shape[0] else ties.found[0]
        drop_lower_purviews(ties, phi)
        best = phi
    place = ties.found[0]
    if place < ties.phis.shape[0]:
        mask, k = 0, 0
        while kept >> k:
            mask |= (kept >> k & 1) << units[k]
            k += 1
        ties.phis[place], ties.purviews[place] = phi, mask
    ties.found[0] += 1
    return best
