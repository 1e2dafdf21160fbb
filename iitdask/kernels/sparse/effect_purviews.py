"""Effects of one mechanism: branches over the units of the purview, along the linear order.

Every partition of the mechanism, an *option*, bounds phi of all purviews at once: each unit of the
purview pays what it loses at least, and severs what it severs at least. mathematics.md 27.3.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.mechanism_partition import COST_TOLERANCE_BITS, HUGE_BITS, ON_EFFECT
from iitdask.kernels.jit import ZERO_INT64, inner, merged
from iitdask.kernels.sparse.effect_states import ROUNDING, find_effect_states, read_values
from iitdask.kernels.sparse.local_pair_costs import needed_elements
from iitdask.kernels.sparse.local_partition import minimum_local_partition
from iitdask.kernels.sparse.local_tables import expanded_mask, is_connecting, local_mask
from iitdask.kernels.sparse.tied_purviews import falls_short, next_branch, note_purview
from iitdask.kernels.subsets import PHI_ZERO_BITS, phi_tolerance, popcount

ALL_OPTIONS_UNITS = 6  # units of a mechanism up to which all partitions into two blocks are options


class EffectScratch(NamedTuple):
    """What the effects of one mechanism share; n units, v values, K inputs, O options at most."""

    position: NDArray[np.int64]  # (n,) of each unit among those of the mechanism
    candidates: NDArray[np.int64]  # (n,) units that purviews consist of, ascending
    needed: NDArray[np.int64]  # (n,) units of the mechanism that suffice, see ``needed_elements``
    seen: NDArray[np.int64]  # (n,) local mask of the mechanism units among a candidate's inputs
    width: NDArray[np.int64]  # (n,) how many these are
    place: NDArray[np.int64]  # (n, K) and where in the mechanism
    levels: NDArray[np.int64]  # (n,) values of each candidate
    values: NDArray[np.float64]  # (n, v) P(value | mechanism)
    leading: NDArray[np.int64]  # (n,) likeliest value
    top: NDArray[np.float64]  # (n,) its probability
    rise: NDArray[np.float64]  # (n, v) see ``find_effect_states``
    cost: NDArray[np.float64]  # (n, v, 2**K) bits a value loses when only a part is kept
    option: NDArray[np.int64]  # (O,) first block of each option, 0: the complete partition
    first_option: NDArray[np.int64]  # (1,) to try first: the one that ruled out a branch before
    few: NDArray[np.float64]  # (O,) size of the smaller block
    many: NDArray[np.float64]  # (O,) and of the larger
    gain: NDArray[np.float64]  # (n, O) most a candidate loses over its values, over its top
    cut: NDArray[np.float64]  # (n, O) least it severs
    gain_left: NDArray[np.float64]  # (n + 1, O) the former times top, of all from a candidate on
    few_left: NDArray[np.float64]  # (n + 1, O) how many of these sever the smaller block
    many_left: NDArray[np.float64]  # (n + 1, O) and the larger
    gains: NDArray[np.float64]  # (n + 1, O) sum of ``gain`` of those chosen
    cuts: NDArray[np.float64]  # (n + 1, O) sum of ``cut`` of those chosen
    weight: NDArray[np.float64]  # (n + 1,) product of ``top`` of those chosen
    chosen: NDArray[np.int64]  # (n + 1,) how many
    kept: NDArray[np.int64]  # (n + 1,) which, a mask of candidates
    bound: NDArray[np.float64]  # (n + 1, 2) of the purviews without and with the next candidate
    tried: NDArray[np.int64]  # (n + 1,) branches tried
    member: NDArray[np.int64]  # (n,) candidates of the purview in hand
    user_levels: NDArray[np.int64]  # (n,) ``levels`` of these; likewise the next three
    user_values: NDArray[np.float64]  # (n, v)
    user_leading: NDArray[np.int64]  # (n,)
    user_rise: NDArray[np.float64]  # (n, v)


def make_effect_scratch(n: int, values: int, inputs: int) -> EffectScratch:
    """Allocate what the effects of one mechanism share."""
    options = n * (n // 2) + (1 << ALL_OPTIONS_UNITS)
    size = 1 << inputs
    arrays: list[Any] = [
        *(np.zeros(n, np.int64) for _ in range(5)),
        np.zeros((n, max(inputs, 1)), np.int64),
        np.zeros(n, np.int64),
        np.zeros((n, values)),
        np.zeros(n, np.int64),
        np.zeros(n),
        np.zeros((n, values)),
        np.zeros((n, values, size)),
        *(np.zeros(size, np.int64) for size in (options, 1)),
        *(np.zeros(options) for _ in range(2)),
        *(np.zeros((n + 1, options)) for _ in range(7)),
        np.zeros(n + 1),
        *(np.zeros(n + 1, np.int64) for _ in range(2)),
        np.zeros((n + 1, 2)),
        np.zeros(n + 1, np.int64),
        *(np.zeros(n, np.int64) for _ in range(2)),
        np.zeros((n, values)),
        np.zeros(n, np.int64),
        np.zeros((n, values)),
    ]
    return EffectScratch(*arrays)


@inner
def gather_candidates(net, s, w, mechanism):
    """List the units of the mechanism and of its purviews; (units, candidates)."""
    n, elements, reached = net.levels.shape[0], 0, 0
    for i in range(n):
        if mechanism >> i & 1:
            s.position[i] = elements
            w.levels[elements] = net.levels[i]
            elements += 1
            reached |= net.targets[i]
    count = 0
    for j in range(n):
        if reached >> j & 1:
            s.candidates[count] = j
            count += 1
    return elements, count


@inner
def fill_candidate(net, s, c, mechanism):
    """Fill probabilities and costs of one candidate of the purview."""
    j, tables = s.candidates[c], net.effect
    seen, width = local_mask(tables, j, mechanism), 0
    s.seen[c], s.levels[c] = seen, net.levels[j]
    for k in range(tables.width[j]):
        if seen >> k & 1:
            s.place[c, width] = s.position[tables.inputs[j, k]]
            width += 1
    s.width[c] = width
    row = tables.current[j, seen]
    lead = 0
    for v in range(s.levels[c]):
        s.values[c, v] = tables.probability[row, v]
        lead = v if s.values[c, v] > s.values[c, lead] else lead
    s.leading[c], s.top[c] = lead, s.values[c, lead]
    for part in range(1 << width):
        other = tables.current[j, expanded_mask(part, seen)]
        for v in range(s.levels[c]):
            loss = 0.0
            if s.values[c, v] > 0.0:
                loss = tables.logs[row, v] - tables.logs[other, v]
            s.cost[c, v, part] = loss
    s.needed[c] = needed_elements(s.cost[c], s.levels[c], width, s.place[c])
    first, states = tables.offsets[j, seen], 1
    for k in range(tables.width[j]):
        if seen >> k & 1:
            states *= net.levels[tables.inputs[j, k]]
    for v in range(s.levels[c]):
        p, least = s.values[c, v], HUGE_BITS
        for x in range(states):
            q = tables.probability[first + x, lead]
            if q > 0.0:
                least = min(least, tables.probability[first + x, v] / q)
        s.rise[c, v] = 0.0
        if v != lead and p > 0.0:
            s.rise[c, v] = HUGE_BITS
            if least > 0.0:
                s.rise[c, v] = max(0.0, np.log2(p / s.top[c] / least))


@inner
def list_options(s, elements):
    """List the partitions of the mechanism that bound; returns how many."""
    count, full = 0, (1 << elements) - 1
    if 1 < elements <= ALL_OPTIONS_UNITS:
        for block in range(1, 1 << (elements - 1)):
            s.option[count] = block
            count += 1
    elif elements > 1:
        for length in range(elements // 2, 0, -1):
            for start in range(elements):
                if 2 * length == elements and start >= length:
                    break
                arc = ((1 << length) - 1) << start
                s.option[count] = (arc | arc >> elements) & full
                count += 1
    for o in range(count):
        size = popcount(s.option[o])
        s.few[o], s.many[o] = min(size, elements - size), max(size, elements - size)
    s.option[count], s.few[count], s.many[count] = 0, elements, elements
    return count + 1


@inner
def cheapest_of_option(s, c, v, one, two, size, elements):
    """(cost, severed) of a value that keeps nothing or a block, the cheapest that severs most."""
    cost, cut = s.cost[c, v, 0], float(elements)
    if size > 0:
        value, few = s.cost[c, v, one], float(elements - size)
        if value < cost - COST_TOLERANCE_BITS:
            cost, cut = value, few
        value, few = s.cost[c, v, two], float(size)
        is_tied = value <= cost + COST_TOLERANCE_BITS and few > cut
        if value < cost - COST_TOLERANCE_BITS or is_tied:
            cost, cut = value, few
    return cost, cut


@inner
def price_options(s, count, options, elements):
    """Fill what every candidate loses and severs under every option, and sums from each on."""
    for o in range(options):
        s.gain_left[count, o], s.few_left[count, o], s.many_left[count, o] = 0.0, 0.0, 0.0
    for c in range(count - 1, -1, -1):
        for o in range(options):
            first, one = s.option[o], 0
            size = popcount(first)
            for k in range(s.width[c]):
                one |= (first >> s.place[c, k] & 1) << k
            two = ((1 << s.width[c]) - 1) ^ one
            most, least = 0.0, float(elements)
            for v in range(s.levels[c]):
                if s.values[c, v] > 0.0:
                    cost, cut = cheapest_of_option(s, c, v, one, two, size, elements)
                    most, least = max(most, s.values[c, v] * cost), min(least, cut)
            s.gain[c, o], s.cut[c, o] = most / s.top[c], least
            s.gain_left[c, o] = s.gain_left[c + 1, o] + most
            is_few = least == s.few[o]
            s.few_left[c, o] = s.few_left[c + 1, o] + (1.0 if is_few else 0.0)
            is_many = least == s.many[o] and not is_few
            s.many_left[c, o] = s.many_left[c + 1, o] + (1.0 if is_many else 0.0)


@merged
def bound_option(s, depth, take, o, elements):
    """Bound on phi under an option, over the weight: its ratio times all pairs.

    Of the undecided those join that sever least.
    """
    below = depth + 1
    gain, cuts = s.gains[depth, o] + s.gain_left[below, o], s.cuts[depth, o]
    if take:
        gain += s.gain[depth, o]
        cuts += s.cut[depth, o]
    count = float(s.chosen[depth] + take) + s.few_left[below, o]
    cuts += s.few_left[below, o] * s.few[o]
    if s.many_left[below, o] > 0.0 and s.many[o] * count < cuts:
        count += s.many_left[below, o]
        cuts += s.many_left[below, o] * s.many[o]
    if count > 0.0:
        gain *= elements * count / cuts
    elif s.many_left[below, o] > 0.0:
        gain *= elements / s.many[o]
    return gain


@merged
def bound_branch(s, depth, take, options, elements, best):
    """Upper bound on phi of the purviews with or without the next candidate, mathematics.md 27.3.

    No further option is tried once one rules out the branch.
    """
    weight = s.weight[depth] * (s.top[depth] if take else 1.0)
    bound = HUGE_BITS
    for turn in range(options + 1):
        o = s.first_option[0] if turn == 0 else turn - 1
        limit = weight * bound_option(s, depth, take, o, elements) * (1.0 + ROUNDING)
        if limit < bound:
            bound = limit
            if falls_short(bound, best):
                s.first_option[0] = o
                break
    return bound


@inner
def choose_purview(net, s, c, t, count, kept):
    """Write what is known of the units of a purview; returns how many."""
    users = 0
    for k in range(count):
        if kept >> k & 1:
            s.member[users], c.width[users] = k, s.width[k]
            for e in range(s.width[k]):
                c.place[users, e] = s.place[k, e]
            t.rows[users] = net.effect.offsets[s.candidates[k], s.seen[k]]
            s.user_levels[users], s.user_leading[users] = s.levels[k], s.leading[k]
            for v in range(s.levels[k]):
                s.user_values[users, v], s.user_rise[users, v] = s.values[k, v], s.rise[k, v]
            users += 1
    return users


@inner
def choose_effect_state(s, c, t, code, users):
    """Fill the costs of the users in one state of the purview."""
    read_values(t, code, users, s.user_levels)
    for u in range(users):
        for part in range(1 << c.width[u]):
            c.cost[u, part] = s.cost[s.member[u], t.value[u], part]


@inner
def find_states(net, s, c, w, t, users, elements):
    """Find the specified states of the purview in hand; (information, how many)."""
    chances = (s.user_levels, s.user_values, s.user_leading, s.user_rise)
    places = (c.width, c.place)
    return find_effect_states(w, t, net.effect.probability, places, users, elements, chances)


@merged
def effect_pair_phi(net, s, c, w, t, users, elements, best):
    """Phi of the purview in hand, negative when it is below the best."""
    information, count = find_states(net, s, c, w, t, users, elements)
    if information <= PHI_ZERO_BITS:
        return 0.0
    phi = -1.0
    for k in range(count):
        choose_effect_state(s, c, t, t.codes[k], users)
        reach, p = max(phi, best), t.weights[k]
        floor = (reach - phi_tolerance(reach)) / p
        cost, _ = minimum_local_partition(c, users, elements, ON_EFFECT, floor, PHI_ZERO_BITS / p)
        phi = max(phi, cost * p)
    return phi


@merged
def branch_bounds(s, depth, count, options, elements, best):
    """Bound both branches at a depth, below 0 where all of their purviews are reducible."""
    full, every = (1 << elements) - 1, (1 << count) - 1
    rest = every & ~((1 << (depth + 1)) - 1)
    for take in range(2):
        s.bound[depth, take] = -1.0
        if take or is_connecting(full, s.needed, s.kept[depth] | rest):
            s.bound[depth, take] = bound_branch(s, depth, take, options, elements, best)
    s.tried[depth] = 0


@merged
def enter_branch(s, depth, take, options):
    """Add up what is known of the purviews with or without the next candidate."""
    s.kept[depth + 1] = s.kept[depth] | take << depth
    s.chosen[depth + 1] = s.chosen[depth] + take
    s.weight[depth + 1] = s.weight[depth] * (s.top[depth] if take else 1.0)
    for o in range(options):
        gains, cuts = s.gains[depth, o], s.cuts[depth, o]
        s.gains[depth + 1, o] = gains + s.gain[depth, o] if take else gains
        s.cuts[depth + 1, o] = cuts + s.cut[depth, o] if take else cuts


@inner
def prepare_effects(net, s, c, w, mechanism):
    """Fill what the effects of a mechanism share; (elements, candidates, options)."""
    elements, count = gather_candidates(net, s, w, mechanism)
    for k in range(count):
        fill_candidate(net, s, k, mechanism)
    options = list_options(s, elements)
    price_options(s, count, options, elements)
    c.first_block[0], s.first_option[0] = 0, 0
    s.kept[0], s.chosen[0], s.weight[0] = 0, 0, 1.0
    for o in range(options):
        s.gains[0, o], s.cuts[0, o] = 0.0, 0.0
    return elements, count, options


@merged
def best_local_effects(net, s, c, w, t, mechanism, known, ties, tally):
    """Largest phi of the effects of a mechanism, and how many purviews were searched.

    known : a phi that the mechanism is known to attain, or 0, bits
    ties : TiedPurviews, filled
    tally : (2,) int64, purviews and branches; added to
    """
    elements, count, options = prepare_effects(net, s, c, w, mechanism)
    best, depth = known, ZERO_INT64
    ties.found[0] = 0
    if not is_connecting((1 << elements) - 1, s.needed, (1 << count) - 1):
        return 0.0
    is_new = True
    while depth >= 0:
        if is_new and depth < count:
            branch_bounds(s, depth, count, options, elements, best)
        is_new = False
        take = ZERO_INT64 if depth == count else next_branch(s, depth, best)
        if depth == count:
            tally[0] += 1
            users = choose_purview(net, s, c, t, count, s.kept[depth])
            phi = effect_pair_phi(net, s, c, w, t, users, elements, best)
            best = note_purview(ties, s.candidates, s.kept[depth], phi, best)
        if depth == count or take < 0:
            depth -= 1
            continue
        tally[1] += 1
        enter_branch(s, depth, take, options)
        depth += 1
        is_new = True
    return best if ties.found[0] > 0 else 0.0
