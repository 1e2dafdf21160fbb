"""Specified states of a cause purview: those that tie for the largest p(m | z).

mathematics.md 27.4. Sums and largest values are carried along the linear order by
``cause_purviews.py``; here the states that attain the largest value are read off or enumerated.
"""

import numpy as np

from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE
from iitdask.kernels.jit import inner, merged
from iitdask.kernels.sparse.effect_states import read_values
from iitdask.kernels.sparse.local_partition import minimum_local_partition
from iitdask.kernels.subsets import PHI_ZERO_BITS, STATE_TIE_RELATIVE, phi_tolerance

ROUNDING = 1e-12  # relative, of a bound
IS_TIED = np.int16(1 << 12)  # added to a value that another one may tie with


@inner
def factor_of_values(table, row, width, place, levels, value, user):
    """P(current value of a user | values of the purview units it depends on)."""
    code, weight = 0, 1
    for k in range(width[user]):
        e = place[user, k]
        code += value[e] * weight
        weight *= levels[e]
    return table[row + code, 0]


@inner
def find_cause_states(c, t, table, levels, last, users, elements, top):
    """List the states whose product of factors ties with ``top``; returns how many.

    Depth first over the values of the purview units; the largest values of the factors to come
    bound what is left. Fills ``t.codes``; ``t.rows`` is where the table of each user begins.
    """
    t.weight_left[elements] = 1.0
    for e in range(elements - 1, -1, -1):
        t.weight_left[e] = t.weight_left[e + 1]
        for u in range(users):
            if last[u] == e:
                states, most = 1, 0.0
                for k in range(c.width[u]):
                    states *= levels[c.place[u, k]]
                for x in range(states):
                    most = max(most, table[t.rows[u] + x, 0])
                t.weight_left[e] *= most
    least, count, depth = top * (1.0 - STATE_TIE_RELATIVE), 0, 0
    t.weight[0], t.tried[0] = 1.0, 0
    while depth >= 0:
        if depth == elements:
            if count == t.codes.shape[0]:
                t.overflow[0] = 1
                return 0
            code = 0
            for e in range(elements - 1, -1, -1):
                code = code * levels[e] + t.value[e]
            t.codes[count] = code
            count += 1
            depth -= 1
            continue
        if t.tried[depth] == levels[depth]:
            depth -= 1
            continue
        t.value[depth] = t.tried[depth]
        t.tried[depth] += 1
        p = t.weight[depth]
        for u in range(users):
            if last[u] == depth:
                p *= factor_of_values(table, t.rows[u], c.width, c.place, levels, t.value, u)
        slack = 1.0 if depth == elements - 1 else 1.0 - ROUNDING
        if p <= 0.0 or p * t.weight_left[depth + 1] < least * slack:
            continue
        depth += 1
        t.weight[depth] = p
        if depth < elements:
            t.tried[depth] = 0
    return count


@inner
def trace_state(s, count):
    """Follow the largest values back to the state that attains them; False where others may tie."""
    x, e = 0, count
    while e > 0:
        take = s.branch[e]
        for g in range(s.gone[e, take] - 1, -1, -1):
            unit, stride = s.gone_unit[e, take, g], s.gone_stride[e, take, g]
            won = s.winner[e, take, s.gone_at[e, take, g] + x]
            if won & IS_TIED:
                return False
            low = x % stride
            x = (x - low) * s.levels[unit] + won * stride + low
            s.value[unit] = won
        if take:
            x %= s.before[e, take]
        e -= 1
    return True


@inner
def choose_cause_purview(net, s, c, t, users, count, kept):
    """Write what the users of a purview depend on, ``kept`` of the candidates; its units."""
    elements = 0
    for x in range(count):
        if kept >> x & 1:
            s.element[x], s.element_levels[elements] = elements, s.levels[x]
            elements += 1
    for u in range(users):
        i, part, width = s.units[u], 0, 0
        for k in range(net.cause.width[i]):
            x = s.place[u, k]
            if kept >> x & 1:
                part |= 1 << k
                c.place[u, width] = s.element[x]
                width += 1
        s.part[u], c.width[u], t.rows[u] = part, width, net.cause.offsets[i, part]
        s.last[u] = c.place[u, width - 1]
    return elements


@inner
def choose_cause_state(net, s, c, t, code, users, elements):
    """Fill the costs of the users in one state of the purview."""
    read_values(t, code, elements, s.element_levels)
    logs, states, codes, masks = net.cause.logs, s.part_states, s.part_code, s.part_mask
    for u in range(users):
        states[0], codes[0], masks[0] = 1, 0, 0
        left, k, size = s.part[u], 0, 1
        while left != 0:
            low = left & -left
            left ^= low
            e = c.place[u, k]
            for b in range(size):
                states[size + b] = states[b] * s.element_levels[e]
                codes[size + b] = codes[b] + t.value[e] * states[b]
                masks[size + b] = masks[b] | low
            size *= 2
            k += 1
        whole = logs[t.rows[u] + codes[size - 1], 0]
        for b in range(size):
            row = net.cause.offsets[s.units[u], masks[b]] + codes[b]
            c.cost[u, b] = whole - logs[row, 0]


@inner
def place_first_block(s, c, kept):
    """Turn the block to try first, of candidates, into one of the units of this purview."""
    block, e, x = 0, 0, 0
    while kept >> x:
        if kept >> x & 1:
            block |= (s.first_block[0] >> x & 1) << e
            e += 1
        x += 1
    c.first_block[0] = block


@inner
def keep_first_block(s, c, kept):
    """Note the block that ruled out a purview, to be tried first in others of the mechanism."""
    block, e, x = 0, 0, 0
    while kept >> x:
        if kept >> x & 1:
            block |= (c.first_block[0] >> e & 1) << x
            e += 1
        x += 1
    s.first_block[0] = block


@inner
def list_cause_states(net, s, c, t, users, elements, depth, is_traced):
    """List the specified states of the purview in hand; returns how many."""
    if not is_traced:
        top, table = s.tops[depth, s.branch[depth], 0], net.cause.probability
        return find_cause_states(c, t, table, s.element_levels, s.last, users, elements, top)
    code, weight, x, kept = 0, 1, 0, s.kept[depth]
    while kept >> x:
        if kept >> x & 1:
            code += s.value[x] * weight
            weight *= s.levels[x]
        x += 1
    t.codes[0] = code
    return 1


@merged
def cause_pair_phi(net, s, c, t, users, elements, depth, is_traced, best):
    """Phi of the purview in hand, whose vectors lie at a depth; negative when below the best."""
    branch, kept = s.branch[depth], s.kept[depth]
    p = s.tops[depth, branch, 0] / s.sums[depth, branch, 0]
    count, phi = list_cause_states(net, s, c, t, users, elements, depth, is_traced), -1.0
    place_first_block(s, c, kept)
    was = c.first_block[0]
    for k in range(count):
        choose_cause_state(net, s, c, t, t.codes[k], users, elements)
        reach = max(phi, best)
        floor = (reach - phi_tolerance(reach)) / p
        cost, _ = minimum_local_partition(c, users, elements, ON_CAUSE, floor, PHI_ZERO_BITS / p)
        phi = max(phi, cost * p)
    if c.first_block[0] != was:
        keep_first_block(s, c, kept)
    return phi
