"""Causes of one mechanism: branches over the units of the purview, along the linear order.

A unit of the mechanism is *settled* once the last of its inputs has been taken or left. Its factor
then joins two vectors over the states of the frontier: sums and largest values of p(m | z) over the
states of the units summed out. Their ratio bounds the selectivity of every purview to come.
mathematics.md 27.3 and 27.4.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.mechanism_partition import HUGE_BITS
from iitdask.kernels.jit import ZERO_INT64, inner, merged
from iitdask.kernels.sparse.cause_states import (
    IS_TIED,
    cause_pair_phi,
    choose_cause_purview,
    trace_state,
)
from iitdask.kernels.sparse.local_tables import is_connecting
from iitdask.kernels.sparse.tied_purviews import falls_short, next_branch, note_purview

ROUNDING = 1e-12  # relative, of a bound
NEARLY_TIED = 1e-11  # relative difference from which no states tie


class CauseScratch(NamedTuple):
    """What the causes of one mechanism share; n units, K inputs, S states of a frontier at most.

    Where an axis of 2 follows one of n + 1: without and with the candidate before that depth.
    """

    units: NDArray[np.int64]  # (n,) units of the mechanism, ascending: the users
    candidates: NDArray[np.int64]  # (n,) units that purviews consist of, ascending
    position: NDArray[np.int64]  # (n,) of each unit among these
    edges: NDArray[np.int64]  # (n,) users with a declared edge from each candidate
    levels: NDArray[np.int64]  # (n,) values of each candidate
    place: NDArray[np.int64]  # (n, K) candidates that are the inputs of each user
    settled: NDArray[np.int64]  # (n,) candidate with which each user is settled
    turn: NDArray[np.int64]  # (n,) users in the order in which they are settled
    turns: NDArray[np.int64]  # (n + 1,) where those settled with each candidate begin
    until: NDArray[np.int64]  # (n,) candidate with which the last user of each is settled
    most_lost: NDArray[np.float64]  # (n + 1,) most bits that users not settled can lose, in all
    least_lost: NDArray[np.float64]  # (n + 1,) and the one that can lose least
    log_left: NDArray[np.float64]  # (n + 1,) most that these can add to log2 p(m | z)
    lost: NDArray[np.float64]  # (n + 1, 2) the same of settled users, in all
    least: NDArray[np.float64]  # (n + 1, 2) and of one
    kept: NDArray[np.int64]  # (n + 1,) candidates taken
    branch: NDArray[np.int64]  # (n + 1,) by which branch each depth was entered
    bound: NDArray[np.float64]  # (n + 1, 2) on phi
    selectivity: NDArray[np.float64]  # (n + 1, 2) bound on it, largest of ``tops`` over ``sums``
    log_top: NDArray[np.float64]  # (n + 1, 2) log2 of the largest of ``tops``
    tried: NDArray[np.int64]  # (n + 1,) branches tried
    members: NDArray[np.int64]  # (n + 1, 2) units of the frontier
    frontier: NDArray[np.int64]  # (n + 1, 2, n) these
    sums: NDArray[np.float64]  # (n + 1, 2, S)
    tops: NDArray[np.float64]  # (n + 1, 2, S)
    before: NDArray[np.int64]  # (n + 1, 2) states of the frontier before the candidate joined
    gone: NDArray[np.int64]  # (n + 1, 2) units summed out
    gone_unit: NDArray[np.int64]  # (n + 1, 2, n) these, in turn
    gone_stride: NDArray[np.int64]  # (n + 1, 2, n) their strides
    gone_at: NDArray[np.int64]  # (n + 1, 2, n) where their values in ``winner`` begin
    winner: NDArray[np.int16]  # (n + 1, 2, S) value that attains the largest product
    codes: NDArray[np.int64]  # (S,) local state of a user at every state of the frontier
    part: NDArray[np.int64]  # (n,) local mask of the purview among the inputs of each user
    element: NDArray[np.int64]  # (n,) of each candidate in the purview in hand
    element_levels: NDArray[np.int64]  # (n,) values of these
    last: NDArray[np.int64]  # (n,) last element that each user depends on
    value: NDArray[np.int64]  # (n,) state of the purview in hand
    part_states: NDArray[np.int64]  # (2**K,) number of states of the parts of a user's elements
    part_code: NDArray[np.int64]  # (2**K,) of these the one in hand
    part_mask: NDArray[np.int64]  # (2**K,) local masks of these parts
    first_block: NDArray[
        np.int64
    ]  # (1,) block that ruled out a purview before, a mask of candidates


def make_cause_scratch(n: int, inputs: int, states: int) -> CauseScratch:
    """Allocate what the causes of one mechanism share."""
    more, size = n + 1, 1 << inputs

    def numbers(*shape: int) -> NDArray[np.int64]:
        return np.zeros(shape, np.int64)

    arrays: list[Any] = [
        *(numbers(n) for _ in range(5)),
        numbers(n, max(inputs, 1)),
        *(numbers(n), numbers(n), numbers(more), numbers(n)),
        *(np.zeros(more) for _ in range(3)),
        *(np.zeros((more, 2)) for _ in range(2)),
        *(numbers(more) for _ in range(2)),
        *(np.zeros((more, 2)) for _ in range(3)),
        *(numbers(more), numbers(more, 2), numbers(more, 2, n)),
        *(np.zeros((more, 2, states)) for _ in range(2)),
        *(numbers(more, 2), numbers(more, 2)),
        *(numbers(more, 2, n) for _ in range(3)),
        np.zeros((more, 2, states), np.int16),
        numbers(states),
        *(numbers(n) for _ in range(5)),
        *(numbers(size) for _ in range(3)),
        numbers(1),
    ]
    return CauseScratch(*arrays)


@inner
def gather_causes(net, s, mechanism):
    """List the users and the candidates of a mechanism's causes; (users, candidates)."""
    n, users, reached = net.levels.shape[0], 0, 0
    for i in range(n):
        if mechanism >> i & 1:
            s.units[users] = i
            users += 1
            reached |= net.sources[i]
    count = 0
    for x in range(n):
        if reached >> x & 1:
            s.candidates[count], s.position[x], s.levels[count] = x, count, net.levels[x]
            s.edges[count], s.until[count] = 0, count
            for u in range(users):
                s.edges[count] |= (net.targets[x] >> s.units[u] & 1) << u
            count += 1
    for u in range(users):
        i = s.units[u]
        s.settled[u] = 0
        for k in range(net.cause.width[i]):
            s.place[u, k] = s.position[net.cause.inputs[i, k]]
            s.settled[u] = max(s.settled[u], s.place[u, k])
    for u in range(users):
        for k in range(net.cause.width[s.units[u]]):
            s.until[s.place[u, k]] = max(s.until[s.place[u, k]], s.settled[u])
    turns = 0
    for d in range(count):
        s.turns[d] = turns
        for u in range(users):
            if s.settled[u] == d:
                s.turn[turns] = u
                turns += 1
    s.turns[count] = turns
    return users, count


@inner
def sum_losses(net, s, users, count):
    """Fill what users that are not settled can lose and add, from each candidate on."""
    tables = net.cause
    s.most_lost[count], s.least_lost[count], s.log_left[count] = 0.0, HUGE_BITS, 0.0
    for d in range(count - 1, -1, -1):
        s.most_lost[d], s.least_lost[d] = s.most_lost[d + 1], s.least_lost[d + 1]
        s.log_left[d] = s.log_left[d + 1]
        for turn in range(s.turns[d], s.turns[d + 1]):
            i, most, log = s.units[s.turn[turn]], 0.0, -HUGE_BITS
            full, states = (1 << tables.width[i]) - 1, 1
            for part in range(1, full + 1):
                most = max(most, net.losses[i, part])
            for k in range(tables.width[i]):
                states *= net.levels[tables.inputs[i, k]]
            for x in range(states):
                log = max(log, tables.logs[tables.offsets[i, full] + x, 0])
            s.most_lost[d] += most
            s.least_lost[d] = min(s.least_lost[d], most)
            s.log_left[d] += log
    alone = 0.0
    for u in range(users):
        alone += tables.logs[tables.current[s.units[u], 0], 0]
    return alone


@merged
def settle_users(net, s, depth, take, kept):
    """Add up what the users settled with a candidate lose; False if one depends on no candidate."""
    was, below = s.branch[depth], depth + 1
    lost, least = s.lost[depth, was], s.least[depth, was]
    for turn in range(s.turns[depth], s.turns[depth + 1]):
        u = s.turn[turn]
        i, part = s.units[u], 0
        for k in range(net.cause.width[i]):
            part |= (kept >> s.place[u, k] & 1) << k
        if part == 0:
            return False  # the unit can be detached at no cost
        s.part[u] = part
        lost += net.losses[i, part]
        least = min(least, net.losses[i, part])
    s.lost[below, take], s.least[below, take] = lost, least
    return True


@merged
def join_factor(net, s, user, depth, take, size):
    """Multiply a settled user's factor into both vectors."""
    tables, i, part = net.cause, s.units[user], s.part[user]
    states = 1
    s.codes[0] = 0
    for f in range(s.members[depth, take]):
        e, weight, here = s.frontier[depth, take, f], 1, 0
        for k in range(tables.width[i]):
            if part >> k & 1:
                here = weight if s.place[user, k] == e else here
                weight *= s.levels[s.place[user, k]]
        for v in range(1, s.levels[e]):
            for x in range(states):
                s.codes[v * states + x] = s.codes[x] + v * here
        states *= s.levels[e]
    row = tables.offsets[i, part]
    for x in range(size):
        q = tables.probability[row + s.codes[x], 0]
        s.sums[depth, take, x] *= q
        s.tops[depth, take, x] *= q


@merged
def sum_out(s, depth, take, f, stride, size, at):
    """Sum a unit out of one vector, take the largest of the other; returns the states left."""
    k = s.levels[s.frontier[depth, take, f]]
    size //= k
    sums, tops, winner = s.sums[depth, take], s.tops[depth, take], s.winner[depth, take]
    for high in range(size // stride):  # what is written lies before what is still to be read
        for low in range(stride):
            total, most, second, value = 0.0, -1.0, -1.0, 0
            for v in range(k):
                here = (high * k + v) * stride + low
                total += sums[here]
                p = tops[here]
                if p > most:
                    second, most, value = most, p, v
                else:
                    second = max(second, p)
            x = high * stride + low
            sums[x], tops[x] = total, most
            is_tied = second >= most * (1.0 - NEARLY_TIED)
            winner[at + x] = np.int16(value) | (IS_TIED if is_tied else np.int16(0))
    return size


@merged
def leave_frontier(s, depth, take, size, reached):
    """Sum out all units whose last user is settled; returns the states left."""
    f, stride, at, gone = 0, 1, 0, 0
    while f < s.members[depth, take]:
        e = s.frontier[depth, take, f]
        if s.until[e] > reached:
            stride *= s.levels[e]
            f += 1
            continue
        size = sum_out(s, depth, take, f, stride, size, at)
        s.gone_unit[depth, take, gone], s.gone_stride[depth, take, gone] = e, stride
        s.gone_at[depth, take, gone] = at
        at += size
        gone += 1
        s.members[depth, take] -= 1
        for g in range(f, s.members[depth, take]):
            s.frontier[depth, take, g] = s.frontier[depth, take, g + 1]
    s.gone[depth, take] = gone
    return size


@merged
def enter_candidate(s, depth, take, size):
    """Copy both vectors to a branch below a depth, with a new axis if the candidate is taken."""
    below, was = depth + 1, s.branch[depth]
    members = s.members[depth, was]
    for f in range(members):
        s.frontier[below, take, f] = s.frontier[depth, was, f]
    copies = 1
    if take:
        copies = s.levels[depth]
        s.frontier[below, take, members] = depth
        members += 1
    for v in range(copies):
        for x in range(size):
            s.sums[below, take, v * size + x] = s.sums[depth, was, x]
            s.tops[below, take, v * size + x] = s.tops[depth, was, x]
    s.members[below, take], s.before[below, take] = members, size
    return size * copies


@inner
def bound_from(s, depth, take, before, was, users, alone):
    """Eq. (27.2) from what users have lost up to a depth and the vectors of it or the one before.

    before, was : depth and branch of these vectors
    """
    cost = s.lost[depth, take] + s.most_lost[depth]
    cost = min(cost, s.log_top[before, was] + s.log_left[before] - alone)
    if users > 1:
        cost = min(cost, users * min(s.least[depth, take], s.least_lost[depth]))
    return s.selectivity[before, was] * cost * (1.0 + ROUNDING)


@merged
def fill_branch_vectors(net, s, depth, take):
    """Fill both vectors of a branch below a depth; False where no state is possible."""
    size, below = 1, depth + 1
    for f in range(s.members[depth, s.branch[depth]]):
        size *= s.levels[s.frontier[depth, s.branch[depth], f]]
    size = enter_candidate(s, depth, take, size)
    for turn in range(s.turns[depth], s.turns[depth + 1]):
        join_factor(net, s, s.turn[turn], below, take, size)
    size = leave_frontier(s, below, take, size, depth)
    selectivity, top = 0.0, 0.0
    for x in range(size):
        if s.sums[below, take, x] > 0.0:
            selectivity = max(selectivity, s.tops[below, take, x] / s.sums[below, take, x])
        top = max(top, s.tops[below, take, x])
    s.selectivity[below, take] = selectivity
    if selectivity <= 0.0:
        return False
    s.log_top[below, take] = np.log2(top)
    return True


@merged
def bound_cause_branch(net, s, depth, take, users, count, alone, best):
    """Prepare a branch and bound phi of its purviews, mathematics.md 27.3; below 0 if it has none.

    alone : log2 of p(m) with no purview, bits
    best : a phi that is attained; a branch that falls short of it is not prepared; below 0: all are
    """
    kept, below = s.kept[depth] | take << depth, depth + 1
    every = (1 << count) - 1
    rest = every & ~((1 << below) - 1)
    if take == 0 and not is_connecting((1 << users) - 1, s.edges, kept | rest):
        return -1.0
    if not settle_users(net, s, depth, take, kept):
        return -1.0
    bound = bound_from(s, below, take, depth, s.branch[depth], users, alone)
    if best >= 0.0 and falls_short(bound, best):
        return bound
    if not fill_branch_vectors(net, s, depth, take):
        return -1.0
    return bound_from(s, below, take, below, take, users, alone)


@inner
def prepare_causes(net, s, mechanism):
    """Fill what the causes of a mechanism share; (users, candidates, log2 of p(m))."""
    users, count = gather_causes(net, s, mechanism)
    alone = sum_losses(net, s, users, count)
    s.kept[0], s.branch[0], s.members[0, 0], s.first_block[0] = 0, 0, 0, 0
    s.sums[0, 0, 0], s.tops[0, 0, 0] = 1.0, 1.0
    s.lost[0, 0], s.least[0, 0] = 0.0, HUGE_BITS
    s.selectivity[0, 0], s.log_top[0, 0] = 1.0, 0.0
    return users, count, alone


@inner
def enter_cause_branch(s, depth, take):
    """Go down a branch that has been prepared."""
    s.kept[depth + 1] = s.kept[depth] | take << depth
    s.branch[depth + 1] = take


@inner
def bound_cause_branches(net, s, depth, users, count, alone, best):
    """Prepare and bound both branches at a depth."""
    for take in range(2):
        s.bound[depth, take] = bound_cause_branch(net, s, depth, take, users, count, alone, best)
    s.tried[depth] = 0


@merged
def best_local_causes(net, s, c, t, mechanism, known, ties, tally):
    """As ``best_local_effects`` for causes."""
    users, count, alone = prepare_causes(net, s, mechanism)
    best, depth = known, ZERO_INT64
    ties.found[0] = 0
    if not is_connecting((1 << users) - 1, s.edges, (1 << count) - 1):
        return 0.0
    is_new = True
    while depth >= 0:
        if is_new and depth < count:
            bound_cause_branches(net, s, depth, users, count, alone, best)
        is_new = False
        take = ZERO_INT64 if depth == count else next_branch(s, depth, best)
        if depth == count:
            tally[0] += 1
            elements = choose_cause_purview(net, s, c, t, users, count, s.kept[depth])
            is_traced = trace_state(s, count)
            phi = cause_pair_phi(net, s, c, t, users, elements, depth, is_traced, best)
            best = note_purview(ties, s.candidates, s.kept[depth], phi, best)
        if depth == count or take < 0:
            depth -= 1
            continue
        tally[1] += 1
        enter_cause_branch(s, depth, take)
        depth += 1
        is_new = True
    return best if ties.found[0] > 0 else 0.0
