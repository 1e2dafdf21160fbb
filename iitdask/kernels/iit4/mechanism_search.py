"""Maximal causes and effects of ranges of mechanisms, and of shards of one mechanism's purviews.

A mechanism's purviews can be split into a power of two of shards that are alike. The units are
dealt to groups; the shard of a purview says of every group whether the purview has an odd number
of its units. So each shard has purviews of all sizes and with all units, takes about as long as
any other, and the best of one is near the best of all.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.leading_bounds import make_leading_states
from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.iit4.pair import MarginalTables, PairScratch, make_pair_scratch
from iitdask.kernels.iit4.pair_costs import cause_scan, make_cause_scan
from iitdask.kernels.iit4.purview_search import best_effect_purviews, best_purviews, prepare_effects
from iitdask.kernels.jit import jitable, leaf
from iitdask.kernels.subsets import popcounts, reversed_bits

Array = NDArray[Any]
JOINT_BOUND_MIN_UNITS = 8  # from which bounding effects jointly pays; a third of all compilation
LOG2_MECHANISMS_PER_SCAN = 8  # six vectors of 2 kB stay in cache


class MechanismResults(NamedTuple):
    """What a range of m mechanisms leaves behind, filled in place."""

    phis: Array  # (m,) float64 largest phi, bits
    ties: Array  # (m,) int64 how many purviews attain it
    bits: Array  # (m, ceil(2**n / 8)) uint8, one bit per tied purview
    searched: Array  # (m,) int64 purviews not bounded away
    nodes: Array  # (m, 2) int64 bound tables built and nodes visited


class PurviewScratch(NamedTuple):
    """Working memory of the search over purviews, beside that of one pair."""

    joint: Array  # (S,) float64 effects of a mechanism, summed over its states
    sums: Array  # (codes,) float64 the same summed down to every purview
    bounds: Array  # (2**n,) float64 upper bounds on phi of every purview, later the values, negated
    best: Array  # (2**n,) float64
    gains: Array  # (2**n,) float64
    heap: Array  # (2**n,) int64 purviews, the largest bound first


@jitable
def make_purview_scratch(size, states, codes):
    """Allocate the working memory of a search over purviews; size : 2**n subsets."""
    return PurviewScratch(
        np.empty(states),
        np.empty(codes),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size, np.int64),
    )


@leaf
def search_mechanisms(side, tables, work, first, width, scan, scratch, found):
    """Search the purviews of the 2**width mechanisms from ``first`` on.

    Parameters
    ----------
    side : int, ON_CAUSE or ON_EFFECT
    tables : MarginalTables, the system
    work : PairScratch, working memory of a pair
    first : int, first mechanism; a multiple of 2**width
    width : int, log2 of their number
    scan : CauseScan, of these mechanisms; on the effect side unused
    scratch : PurviewScratch, working memory
    found : MechanismResults, a row each, filled

    References
    ----------
    mathematics.md 6.4 and 22.4, Eq. (6.4) and (22.8).
    """
    for lane in range(1 << width):
        row = reversed_bits(lane, width)
        mechanism = first + row
        if mechanism > 0:
            if side == ON_CAUSE:
                for purview in range(scan.bounds.shape[0]):
                    scratch.bounds[purview] = scan.bounds[purview, lane]
            else:
                prepare_effects(tables, work, mechanism, scratch)
            bits, nodes = found.bits[row], found.nodes[row]
            one = best_purviews(side, tables, work, mechanism, scratch, scan, lane, bits, nodes)
            found.phis[row], found.ties[row], found.searched[row] = one


@leaf
def search_effects_jointly(tables, work, leads, first, scratch, found, kept, known):
    """The same for effects, by the bounds that hold for all purviews of a mechanism together.

    kept : (2**n,) bool, the purviews that are searched; none given: all of them
    known : see ``best_effect_purviews``
    """
    bits, nodes = found.bits, found.nodes
    for row in range(found.phis.shape[0]):
        mechanism = first + row
        if mechanism > 0:
            prepare_effects(tables, work, mechanism, scratch)
            for purview in range(kept.shape[0]):
                scratch.bounds[purview] = scratch.bounds[purview] if kept[purview] else 0.0
            one = best_effect_purviews(
                tables, work, leads, mechanism, scratch, bits[row], nodes[row], known
            )
            found.phis[row], found.ties[row], found.searched[row] = one


def search_mechanism_range(
    side: np.int64, tables: MarginalTables, work: PairScratch, begin: int, found: MechanismResults
) -> None:
    """Search the purviews of the mechanisms from ``begin`` on, mathematics.md 6.4 and 22.4.

    found : a row per mechanism, a power of two that divides ``begin``; filled
    """
    n, size, count = len(tables.levels), len(tables.codes), len(found.phis)
    scratch = make_purview_scratch(size, len(work.like), int(tables.offsets[-1]))
    if side == ON_EFFECT and n >= JOINT_BOUND_MIN_UNITS:
        leads, every = make_leading_states(n, len(work.like)), np.empty(0, np.bool_)
        search_effects_jointly(tables, work, leads, begin, scratch, found, every, 0.0)
        return
    width = min(LOG2_MECHANISMS_PER_SCAN, count.bit_length() - 1)
    lanes = 1 << width
    vectors, scan = np.empty((6, lanes)), make_cause_scan(size, lanes)
    for row in range(0, count, lanes):
        first, rows = begin + row, MechanismResults(*(each[row : row + lanes] for each in found))
        if side == ON_CAUSE:
            cause_scan(tables.cause, tables.log_cause, tables.offsets, first, width, vectors, scan)
        search_mechanisms(side, tables, work, first, width, scan, scratch, rows)


def group_masks(n: int, groups: int) -> list[int]:
    """Deal the units to groups in turn; returns the mask of each group."""
    return [sum(1 << unit for unit in range(first, n, groups)) for first in range(groups)]


def shard_numbers(n: int, groups: int) -> Array:
    """(2**n,) int64, the share of every purview: bit g is set when it is odd in group g."""
    counts, every = popcounts(n), np.arange(1 << n)
    shares = np.zeros(1 << n, np.int64)
    for g, mask in enumerate(group_masks(n, groups)):
        shares |= (counts[every & mask] & 1) << g
    return shares


def search_effect_shards(
    tables: MarginalTables, shards: Array, known: Array, found: MechanismResults
) -> Array:
    """Search the effect purviews of shards; returns the smallest phi that ties in each, or nan.

    shards : (p, 4) int64, direction, mechanism, number of groups and shard; known : (p,) a phi that
    the mechanism is known to attain, or 0, bits; found : a row each, filled
    """
    n, work = len(tables.levels), make_pair_scratch(tables)
    states, lowest = len(work.like), np.full(len(shards), np.nan)
    scratch = make_purview_scratch(len(tables.codes), states, int(tables.offsets[-1]))
    leads = make_leading_states(n, states)
    numbers = {groups: shard_numbers(n, groups) for groups in set(shards[:, 2].tolist())}
    for row, (_, mechanism, groups, shard) in enumerate(shards.tolist()):
        inside = numbers[groups] == shard
        part = MechanismResults(*(each[row : row + 1] for each in found))
        attained = float(known[row])
        search_effects_jointly(tables, work, leads, mechanism, scratch, part, inside, attained)
        bits = np.unpackbits(part.bits[0], count=len(inside), bitorder="little")
        tied = inside & bits.astype(bool)
        part.ties[0], part.bits[0] = tied.sum(), np.packbits(tied, bitorder="little")
        if tied.any():
            lowest[row] = -scratch.bounds[tied].max()  # the search keeps values negated
    return lowest
