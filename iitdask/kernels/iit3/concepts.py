"""Concepts of an intact or cut system: the best cause and effect of every mechanism (IIT 3.0)."""

import numpy as np

from iitdask.kernels.iit3.bipartition import cause_phi, effect_phis
from iitdask.kernels.iit3.measures import is_positive, is_tied, round_distance
from iitdask.kernels.jit import kernel, leaf
from iitdask.kernels.subsets import is_purview, popcount

TIE_MARGIN = 3e-6  # distances that differ by more, and by more than this part, never tie


@kernel
def purview_phis(begin, end, reps, scratch, children, cause, effect):
    """Compute phi of a range of mechanisms over every purview.

    Parameters
    ----------
    begin, end : int, range of mechanisms
    reps : Repertoires, of the system
    scratch : BipartitionScratch, working memory
    children : (n,) int64, masks of the units that each unit feeds
    cause, effect : (end - begin, 2**n) float64, phi, rounded, 0 where inadmissible; filled

    References
    ----------
    mathematics.md 12.1, Eq. (12.2).
    """
    size = cause.shape[1]
    for m in range(max(begin, 1), end):
        row = m - begin
        effect_phis(m, reps, scratch, effect[row])
        for z in range(1, size):
            effect[row, z] = (
                round_distance(effect[row, z]) if is_purview(m, z, children, True) else 0.0
            )
            if is_purview(m, z, children, False):
                cause[row, z] = round_distance(cause_phi(m, z, 0.0, reps, scratch))


@leaf
def _best_purview(phis, rank, found):
    """Largest phi, then largest purview, then least rank; writes purview and ties."""
    top = 0.0
    for z in range(1, phis.shape[0]):
        top = max(top, phis[z])
    found[0], found[1] = 0, 0
    if not is_positive(top):
        return 0.0
    units = 0
    for z in range(1, phis.shape[0]):
        if is_tied(phis[z], top):
            units = max(units, popcount(z))
    for z in range(1, phis.shape[0]):
        if is_tied(phis[z], top) and popcount(z) == units:
            if found[1] == 0 or rank[z] < rank[found[0]]:
                found[0] = z
            found[1] += 1
    return phis[found[0]]


@kernel
def choose_concepts(cause, effect, rank, phi, purview, ties):
    """Choose the best cause and effect of every mechanism, given all phis, mathematics.md 12.1.

    cause, effect : (2**n, 2**n) float64, see ``purview_phis``; the others as for ``find_concepts``
    """
    found = np.zeros(2, np.int64)
    for m in range(1, phi.shape[1]):
        phi[0, m] = _best_purview(cause[m], rank[0, m], found)
        purview[0, m], ties[0, m] = found
        phi[1, m] = _best_purview(effect[m], rank[1, m], found)
        purview[1, m], ties[1, m] = found
        if phi[0, m] == 0.0 or phi[1, m] == 0.0:
            phi[0, m], phi[1, m] = 0.0, 0.0


@kernel
def find_concepts(target, intact, rank, children, reps, scratch, known, phi, purview, ties):
    """Find the best cause and effect of every mechanism of a system under a cut.

    A cause purview changes only where units of the mechanism lose units of it; and where all
    units of either are on one side, what changed is reducible (mathematics.md 12.1 and 25.1).
    target : mask of the units cut off from all others; 0 where nothing is cut
    intact : (2**n, 2**n) float64, cause phi of the intact system, see ``purview_phis``
    rank : (2, 2**n, 2**n) int64, preference among tied cause and effect purviews
    children : (n,) units that each unit feeds, severed ones left out
    known : (7**n,) float64 or empty, what earlier cuts found, see ``_cache_key``; added to
    phi : (2, 2**n) float64, filled; 0 in both rows where there is no concept
    purview, ties : (2, 2**n) int64, purviews, and how many tie; filled
    """
    size = intact.shape[0]
    phis = np.empty(size)
    found = np.zeros(2, np.int64)
    for m in range(1, size):
        phi[0, m], phi[1, m] = 0.0, 0.0
        effect_phis(m, reps, scratch, phis)
        for z in range(1, size):
            phis[z] = round_distance(phis[z]) if is_purview(m, z, children, True) else 0.0
        top = _best_purview(phis, rank[1, m], found)
        if top == 0.0:
            continue
        purview[1, m], ties[1, m] = found
        phi[1, m] = top
        _fill_cause_phis(m, target, intact[m], children, reps, scratch, known, phis)
        top = _best_purview(phis, rank[0, m], found)
        if top == 0.0:
            phi[1, m] = 0.0
            continue
        purview[0, m], ties[0, m] = found
        phi[0, m] = top


@leaf
def _fill_cause_phis(m, target, intact, children, reps, scratch, known, phis):
    """Cause phi of a mechanism over every purview, exact for those that may be the largest."""
    size = phis.shape[0]
    changed = 0  # purview units that some unit of the mechanism no longer sees
    if m & target:
        changed = (size - 1) & ~target
    best = 0.0
    for z in range(size):
        if z & changed == 0:
            phis[z] = intact[z]
            best = max(best, phis[z])
        else:
            phis[z] = 0.0
    if m & target == 0 or m & ~target == 0:
        return
    for z in range(size - 1, 0, -1):
        if z & changed and z & target and is_purview(m, z, children, False):
            floor = best * (1.0 - TIE_MARGIN) - TIE_MARGIN
            phis[z] = round_distance(_cached_cause_phi(m, z, target, floor, reps, scratch, known))
            best = max(best, phis[z])


@leaf
def _cached_cause_phi(m, z, target, floor, reps, scratch, known):
    """Cause phi over a purview, or a value below the floor, from an earlier cut if it is there."""
    if known.shape[0] == 0:
        return cause_phi(m, z, floor, reps, scratch)
    key = _cache_key(m, z, target)
    held = known[key]
    if held >= 0.0:
        return held
    if -1.0 - held < floor:  # only known to be below this; comparing what is not a number fails
        return -1.0 - held
    value = cause_phi(m, z, floor, reps, scratch)
    known[key] = value if value >= floor else -1.0 - value
    return value


@leaf
def _cache_key(m, z, target):
    """Number that cuts share when they leave the same inputs to a mechanism over a purview.

    Per unit: whether it is in the mechanism, in the purview, and if so, on which side of the cut.
    """
    key = 0
    weight = 1
    i = 0
    while (m | z) >> i:
        digit = 2 * (m >> i & 1) + 4 * (z >> i & 1)
        if digit:
            key += weight * (digit - (target >> i & 1))
        weight *= 7
        i += 1
    return key
