"""Partitions of a mechanism and a purview by scheme, and the least distance over them (IIT 3.0).

A partition splits the mechanism into blocks and gives each unit of the purview to a block, or to a
part without mechanism. Partitions that sever the same pairs are tried once: of several blocks
without purview one stands for all (mathematics.md 12.3). A scheme is a number, in the order of the
option ``mechanism_partitions`` of the theory.
"""

from typing import NamedTuple

import numpy as np

from iitdask.kernels.iit3.bipartition import (
    ZERO_DISTANCE,
    BipartitionScratch,
    make_bipartition_scratch,
    unit_distance,
)
from iitdask.kernels.iit3.emd import earth_movers_distance, fill_neighbours
from iitdask.kernels.iit3.measures import EMD, distribution_distance, is_tied, round_distance
from iitdask.kernels.jit import inner, kernel
from iitdask.kernels.subsets import is_purview, write_units

BIPARTITION, WEDGE, ALL = range(3)


class PartitionScratch(NamedTuple):
    """Working memory of the searches over partitions; one for each thread."""

    bipartitions: BipartitionScratch  # For bipartitions and the earth mover's distance
    units: np.ndarray  # (2, n) units of the mechanism and of the purview
    block: np.ndarray  # (n,) number of each mechanism unit's block, numbered as they appear
    masks: np.ndarray  # (2, n + 1) mechanism and purview units of each part, the last without any
    at: np.ndarray  # (2,) how many assignments of this set of blocks are done, of how many
    kept: np.ndarray  # (2, n) purview units that each mechanism unit keeps; second row: the best
    p: np.ndarray  # (S,) repertoire
    q: np.ndarray  # (S,) repertoire of the partition
    code: np.ndarray  # (S,) state of a part's purview in each state of the purview


def make_partition_scratch(levels: np.ndarray) -> PartitionScratch:
    """Allocate the working memory of the searches of a system."""
    n, states = len(levels), int(np.prod(levels))
    units, kept, masks = *np.zeros((2, 2, n), np.int64), np.zeros((2, n + 1), np.int64)
    block, at, code = np.zeros(n, np.int64), np.zeros(2, np.int64), np.zeros(states, np.int64)
    p, q = np.zeros((2, states))
    rows = (units, block, masks, at, kept, p, q, code)
    return PartitionScratch(make_bipartition_scratch(levels), *rows)


@inner
def _start_partitions(m, z, scratch):
    """Go before the first partition of a mechanism and a purview; returns how many units each."""
    count, width = write_units(m, scratch.units[0]), write_units(z, scratch.units[1])
    for i in range(count):
        scratch.block[i] = 0
    scratch.at[0], scratch.at[1] = 0, -1
    return count, width


@inner
def _next_blocks(count, most, block):
    """Go to the next set of at most so many blocks; returns how many, 0 after the last."""
    for i in range(count - 1, 0, -1):
        top = 0
        for j in range(i):
            top = max(top, block[j])
        if block[i] <= top and block[i] + 1 < most:
            block[i] += 1
            for j in range(i + 1, count):
                block[j] = 0
            top = 0
            for j in range(count):
                top = max(top, block[j])
            return top + 1
    return 0


@inner
def _next_partition(scheme, count, width, scratch):
    """Go to the next partition of a scheme; returns how many blocks, 0 after the last."""
    blocks = 1
    for i in range(count):
        blocks = max(blocks, scratch.block[i] + 1)
    while True:
        if scratch.at[0] == scratch.at[1]:
            blocks = _next_blocks(count, count if scheme == ALL else 2, scratch.block)
            if blocks == 0:
                return 0
            scratch.at[0], scratch.at[1] = 0, -1
        if scratch.at[1] < 0:
            # A single block keeps nothing, but in a bipartition; two are all there is to one.
            parts = blocks if blocks > 1 and scheme == BIPARTITION else blocks + 1
            is_severed = blocks == 1 and scheme != BIPARTITION
            scratch.at[1] = 1 if is_severed else parts**width
        _fill_parts(scheme, blocks, count, width, scratch)
        scratch.at[0] += 1
        if _is_first_of_its_kind(blocks, scratch.masks):
            return blocks


@inner
def _fill_parts(scheme, blocks, count, width, scratch):
    """Write the masks of the parts under the current assignment of purview units."""
    masks = scratch.masks
    for r in range(blocks + 1):
        masks[0, r], masks[1, r] = 0, 0
    for i in range(count):
        masks[0, scratch.block[i]] |= 1 << scratch.units[0, i]
    x = scratch.at[0]
    base = blocks if blocks > 1 and scheme == BIPARTITION else blocks + 1
    for j in range(width):
        r = 1 if scratch.at[1] == 1 and blocks == 1 else x % base
        x //= base
        masks[1, r] |= 1 << scratch.units[1, j]


@inner
def _is_first_of_its_kind(blocks, masks):
    """Tell whether a partition severs something, and stands for those that sever the same."""
    empty = 0
    for r in range(blocks):
        empty += masks[1, r] == 0
    return empty <= 1 and (blocks > 1 or masks[1, 1] != 0)


@inner
def _fill_part_codes(part, z, levels, scratch):
    """Write the state of a part of the purview in each state of it; returns its states."""
    scratch.code[0] = 0
    size, inside = 1, 1
    j = 0
    while z >> j:
        if z >> j & 1:
            step = inside if part >> j & 1 else 0
            for v in range(levels[j] - 1, -1, -1):
                for x in range(size):
                    scratch.code[v * size + x] = scratch.code[x] + v * step
            size *= levels[j]
            inside *= levels[j] if step else 1
        j += 1
    return size


@inner
def _multiply_part(m, part, z, is_cause, reps, scratch, out):
    """Multiply a distribution over the purview by the repertoire of a part of it."""
    if is_cause:
        size = _fill_part_codes(part, z, reps.levels, scratch)
        begin = reps.offsets[part]
        for x in range(size):
            out[x] *= reps.cause[m, begin + scratch.code[x]]
        return
    stride = 1
    size = 1
    j = 0
    while z >> j:
        size *= reps.levels[j] if z >> j & 1 else 1
        j += 1
    j = 0
    while z >> j:
        if z >> j & 1:
            k = reps.levels[j]
            if part >> j & 1:
                for x in range(size):
                    out[x] *= _effect_probability(m, j, x // stride % k, reps)
            stride *= k
        j += 1


@inner
def _effect_probability(m, j, value, reps):
    """P(unit j takes a value | mechanism's current state)."""
    first = reps.compared[j]
    if reps.compared[j + 1] - first > 1:
        return reps.effect[m, first + value]
    return reps.effect[m, first] if value else 1.0 - reps.effect[m, first]


@inner
def _purview_states(z, levels):
    size = 1
    j = 0
    while z >> j:
        size *= levels[j] if z >> j & 1 else 1
        j += 1
    return size


@inner
def _fill_whole(m, z, is_cause, reps, scratch):
    """Write the repertoire of a mechanism over a purview into ``scratch.p``; returns its states."""
    size = _purview_states(z, reps.levels)
    for x in range(size):
        scratch.p[x] = 1.0
    _multiply_part(m, z, z, is_cause, reps, scratch, scratch.p)
    return size


@inner
def _fill_partitioned(blocks, z, is_cause, size, reps, scratch):
    """Write the repertoire of the current partition into ``scratch.q``."""
    for x in range(size):
        scratch.q[x] = 1.0
    for r in range(blocks + 1):
        if scratch.masks[1, r]:
            part = scratch.masks[1, r]
            _multiply_part(scratch.masks[0, r], part, z, is_cause, reps, scratch, scratch.q)


@inner
def _marginal_distance(m, blocks, reps, masks):
    """Earth mover's distance of an effect: the sum of its units' distances, Eq. (12.2)."""
    total = 0.0
    for r in range(blocks + 1):
        j = 0
        while masks[1, r] >> j:
            if masks[1, r] >> j & 1:
                one, two = reps.effect[m], reps.effect[masks[0, r]]
                total += unit_distance(one, two, j, reps.compared, reps.weights)
            j += 1
    return total


@inner
def _current_distance(m, z, is_cause, size, blocks, limit, rule, reps, scratch):
    """Distance at the current partition; at least ``limit`` where it is not below that."""
    if rule[0] == EMD and not is_cause:
        return _marginal_distance(m, blocks, reps, scratch.masks)
    _fill_partitioned(blocks, z, is_cause, size, reps, scratch)
    if rule[0] != EMD:
        return distribution_distance(rule[0], scratch.p, scratch.q, size)
    flow = scratch.bipartitions.flow
    states, degree = fill_neighbours(z, reps.levels, flow)
    for x in range(size):
        flow.excess[x] = scratch.p[x] - scratch.q[x]
    return earth_movers_distance(states, degree, limit, flow)


@inner
def _least_distance(m, z, is_cause, rule, reps, scratch):
    """Least distance over the partitions of a mechanism and a purview, each of them tried.

    rule : (2,) int64, measure and scheme
    """
    size = _fill_whole(m, z, is_cause, reps, scratch)
    total = 0.0
    for x in range(size):
        total += scratch.p[x]
    if total == 0.0:
        return 0.0
    count, width = _start_partitions(m, z, scratch)
    best = np.inf
    while True:
        blocks = _next_partition(rule[1], count, width, scratch)
        if blocks == 0:
            return best
        best = min(best, _current_distance(m, z, is_cause, size, blocks, best, rule, reps, scratch))
        if best <= ZERO_DISTANCE:
            return 0.0


@kernel
def partition_phis(begin, end, target, rule, intact, reps, scratch, children, cause, effect):
    """Compute phi of a range of mechanisms over every purview, each partition tried.

    Parameters
    ----------
    begin, end : int, range of mechanisms
    target : int, mask of the units that a cut severs from all others; 0 where nothing is cut
    rule : (2,) int64, measure and scheme of partitions
    intact : (2**n, 2**n) float64, cause phi without a cut; where nothing is cut it is not read
    reps : Repertoires, of the system
    scratch : PartitionScratch, working memory
    children : (n,) int64, masks of the units that each unit feeds
    cause, effect : (end - begin, 2**n) float64, phi, rounded, 0 where inadmissible; filled

    References
    ----------
    mathematics.md 12.3.
    """
    size = cause.shape[1]
    for m in range(max(begin, 1), end):
        row = m - begin
        for z in range(1, size):
            # A cause changes only where units of the mechanism lose units of the purview.
            if target and (m & target == 0 or z & ~target == 0):
                cause[row, z] = intact[m, z]
            elif is_purview(m, z, children, False):
                d = _least_distance(m, z, True, rule, reps, scratch)
                cause[row, z] = round_distance(d)
            if is_purview(m, z, children, True):
                d = _least_distance(m, z, False, rule, reps, scratch)
                effect[row, z] = round_distance(d)


@inner
def _keep_pairs(count, scratch):
    """Write what each mechanism unit keeps of the purview under the current partition."""
    for i in range(count):
        unit = scratch.units[0, i]
        scratch.kept[0, unit] = scratch.masks[1, scratch.block[i]]


@inner
def _keeps_first_pairs(count, scratch):
    """Tell whether the first pair in which this partition and the best differ is kept by it."""
    for i in range(count):
        unit = scratch.units[0, i]
        different = scratch.kept[0, unit] ^ scratch.kept[1, unit]
        if different:
            return scratch.kept[0, unit] & (different & -different) != 0
    return False


@kernel
def describe_minimum(m, z, is_cause, phi, rule, reps, scratch, kept, both):
    """Name the partition of least distance that keeps the first pairs.

    Parameters
    ----------
    m, z : int, masks of mechanism and purview
    is_cause : bool, whether the purview is a cause
    phi : float, the least distance, rounded
    rule : (2,) int64, measure and scheme
    reps : Repertoires, of the system
    scratch : PartitionScratch, working memory
    kept : (n,) int64, purview units that each unit of the mechanism keeps; filled, others stay
    both : (2, S) float64, repertoire and that of the partition; filled up to the purview's states

    Returns
    -------
    int, how many partitions tie, those that sever the same pairs counted once

    References
    ----------
    mathematics.md 12.1 and 12.3.
    """
    size = _fill_whole(m, z, is_cause, reps, scratch)
    for x in range(size):
        both[0, x] = scratch.p[x]
    count, width = _start_partitions(m, z, scratch)
    ties = 0
    while True:
        blocks = _next_partition(rule[1], count, width, scratch)
        if blocks == 0:
            return ties
        d = _current_distance(m, z, is_cause, size, blocks, np.inf, rule, reps, scratch)
        if not is_tied(round_distance(d), phi):
            continue
        ties += 1
        _keep_pairs(count, scratch)
        if ties > 1 and not _keeps_first_pairs(count, scratch):
            continue
        _fill_partitioned(blocks, z, is_cause, size, reps, scratch)
        for x in range(size):
            both[1, x] = scratch.q[x]
        for i in range(count):
            unit = scratch.units[0, i]
            scratch.kept[1, unit] = scratch.kept[0, unit]
            kept[unit] = scratch.kept[0, unit]
