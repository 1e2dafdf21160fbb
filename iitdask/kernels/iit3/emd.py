"""Earth mover's distance on the states of some units, where a step changes one unit.

Moving mass costs the number of units that differ (IIT 3.0: Oizumi et al. 2014, text S2). That is
a minimum cost flow whose arcs all cost 1 and carry any amount, so node potentials are small
integers and the distance is found level by level: all mass that can be moved over ``depth`` steps
is, then depth grows. Potentials and flow certify each other, and what is left times the depth is
a lower bound at any time, which ends a search early.
"""

from typing import NamedTuple

import numpy as np

from iitdask.kernels.jit import leaf

MASS_EPSILON = 1e-14  # Mass up to this is rounding
FAR_STEPS = 1 << 30


class FlowScratch(NamedTuple):
    """Working memory of ``earth_movers_distance``; one for each thread."""

    excess: np.ndarray  # (S,) what is to be moved: positive where there is too much
    near: np.ndarray  # (S, d) the states one step away
    back: np.ndarray  # (d,) which step of the neighbour leads back
    carried: np.ndarray  # (S, d) mass moved along each step
    potential: np.ndarray  # (S,) dual values
    distance: np.ndarray  # (S,) steps from the nearest surplus, reduced by the potentials
    buckets: np.ndarray  # (3, 4 S) states by distance
    filled: np.ndarray  # (3,) how many
    settled: np.ndarray  # (S,) in which round the distance was final
    hops: np.ndarray  # (S,) free steps from the nearest surplus
    path: np.ndarray  # (S,) states on the way
    step: np.ndarray  # (S,) next step to try at each


def make_flow_scratch(levels: np.ndarray) -> FlowScratch:
    """Make room for distributions over all units with so many values each."""
    size, degree = int(np.prod(levels)), int(np.sum(levels - 1))
    potential, distance, settled, hops, path, step = np.zeros((6, size), np.int64)
    near, back = np.zeros((size, degree), np.int64), np.zeros(degree, np.int64)
    buckets, filled = np.zeros((3, 4 * size), np.int64), np.zeros(3, np.int64)
    excess, carried = np.zeros(size), np.zeros((size, degree))
    flow = (excess, near, back, carried, potential, distance)
    return FlowScratch(*flow, buckets, filled, settled, hops, path, step)


@leaf
def fill_neighbours(units, levels, scratch):
    """Write the steps between the states of the units of a mask; returns (states, steps)."""
    size = 1
    degree = 0
    i = 0
    while units >> i:
        if units >> i & 1:
            size *= levels[i]
        i += 1
    stride = 1
    i = 0
    while units >> i:
        if units >> i & 1:
            k = levels[i]
            for d in range(1, k):
                scratch.back[degree + d - 1] = degree + k - d - 1
            for u in range(size):
                v = u // stride % k
                for d in range(1, k):
                    scratch.near[u, degree + d - 1] = u + ((v + d) % k - v) * stride
            degree += k - 1
            stride *= k
        i += 1
    return size, degree


@leaf
def earth_movers_distance(size, degree, limit, scratch):
    """Least cost of levelling ``scratch.excess``; at least ``limit`` when it is not below that.

    size, degree : what ``fill_neighbours`` returned for the units at hand
    """
    left = 0.0
    for u in range(size):
        scratch.potential[u] = 0
        scratch.settled[u] = 0
        if scratch.excess[u] > 0.0:
            left += scratch.excess[u]
        for e in range(degree):
            scratch.carried[u, e] = 0.0
    cost = 0.0
    depth = 0
    turn = 0
    while left > MASS_EPSILON * size:
        turn += 1
        level = _raise_potentials(size, degree, turn, scratch)
        if level < 0:
            break
        depth += level
        if cost + left * depth >= limit:
            return cost + left * depth
        moved = 0.0
        while _fill_layers(size, degree, scratch):
            for source in range(size):
                while scratch.excess[source] > MASS_EPSILON:
                    amount = _augment(source, degree, scratch)
                    if amount == 0.0:
                        break
                    moved += amount
        if moved == 0.0:
            break
        cost += moved * depth
        left -= moved
    return cost


@leaf
def _reduced_cost(u, e, scratch):
    """Cost of a step less the potentials: moving back what was moved is free."""
    v = scratch.near[u, e]
    if scratch.carried[v, scratch.back[e]] > MASS_EPSILON:
        return 0
    return 1 + scratch.potential[u] - scratch.potential[v]


@leaf
def _raise_potentials(size, degree, turn, scratch):
    """Raise the potentials to the nearest need; returns its distance, -1 where there is none."""
    for b in range(3):
        scratch.filled[b] = 0
    for u in range(size):
        scratch.distance[u] = FAR_STEPS
        if scratch.excess[u] > MASS_EPSILON:
            scratch.distance[u] = 0
            scratch.buckets[0, scratch.filled[0]] = u
            scratch.filled[0] += 1
    level = 0
    found = False
    while not found:
        b = level % 3
        i = 0
        while i < scratch.filled[b]:
            u = scratch.buckets[b, i]
            i += 1
            if scratch.settled[u] == turn:
                continue
            scratch.settled[u] = turn
            if scratch.excess[u] < -MASS_EPSILON:
                found = True
            for e in range(degree):
                v = scratch.near[u, e]
                if scratch.settled[v] == turn:
                    continue
                reach = level + _reduced_cost(u, e, scratch)
                if reach < scratch.distance[v]:
                    scratch.distance[v] = reach
                    c = reach % 3
                    scratch.buckets[c, scratch.filled[c]] = v
                    scratch.filled[c] += 1
        scratch.filled[b] = 0
        if not found:
            if scratch.filled[0] + scratch.filled[1] + scratch.filled[2] == 0:
                return -1
            level += 1
    for u in range(size):
        scratch.potential[u] += min(scratch.distance[u], level)
    return level


@leaf
def _fill_layers(size, degree, scratch):
    """Count the free steps from any surplus to each state; whether they lead to a need."""
    head = 0
    tail = 0
    found = False
    for u in range(size):
        scratch.step[u] = 0
        scratch.hops[u] = -1
        if scratch.excess[u] > MASS_EPSILON:
            scratch.hops[u] = 0
            scratch.path[tail] = u
            tail += 1
    while head < tail:
        u = scratch.path[head]
        head += 1
        found = found or scratch.excess[u] < -MASS_EPSILON
        for e in range(degree):
            v = scratch.near[u, e]
            if scratch.hops[v] < 0 and _reduced_cost(u, e, scratch) == 0:
                scratch.hops[v] = scratch.hops[u] + 1
                scratch.path[tail] = v
                tail += 1
    return found


@leaf
def _augment(source, degree, scratch):
    """Move mass from a surplus to some need along layered free steps; returns how much."""
    length = 0
    scratch.path[0] = source
    while True:
        u = scratch.path[length]
        if scratch.excess[u] < -MASS_EPSILON:
            return _push(source, length, scratch)
        e = scratch.step[u]
        if e == degree:
            if length == 0:
                return 0.0
            length -= 1
            scratch.step[scratch.path[length]] += 1
            continue
        v = scratch.near[u, e]
        if scratch.hops[v] == scratch.hops[u] + 1 and _reduced_cost(u, e, scratch) == 0:
            length += 1
            scratch.path[length] = v
        else:
            scratch.step[u] += 1


@leaf
def _push(source, length, scratch):
    """Move as much as the path allows."""
    sink = scratch.path[length]
    amount = min(scratch.excess[source], -scratch.excess[sink])
    for i in range(length):
        v = scratch.path[i + 1]
        there = scratch.carried[v, scratch.back[scratch.step[scratch.path[i]]]]
        if there > MASS_EPSILON:
            amount = min(amount, there)
    for i in range(length):
        u = scratch.path[i]
        v = scratch.path[i + 1]
        e = scratch.step[u]
        if scratch.carried[v, scratch.back[e]] > MASS_EPSILON:
            scratch.carried[v, scratch.back[e]] -= amount
        else:
            scratch.carried[u, e] += amount
    scratch.excess[source] -= amount
    scratch.excess[sink] += amount
    return amount
