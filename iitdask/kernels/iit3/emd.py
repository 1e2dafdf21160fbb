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
def fill_neighbours(units, levels, room):
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
                room.back[degree + d - 1] = degree + k - d - 1
            for u in range(size):
                v = u // stride % k
                for d in range(1, k):
                    room.near[u, degree + d - 1] = u + ((v + d) % k - v) * stride
            degree += k - 1
            stride *= k
        i += 1
    return size, degree


@leaf
def earth_movers_distance(size, degree, limit, room):
    """Least cost of levelling ``room.excess``; at least ``limit`` when it is not below that.

    size, degree : what ``fill_neighbours`` returned for the units at hand
    """
    left = 0.0
    for u in range(size):
        room.potential[u] = 0
        room.settled[u] = 0
        if room.excess[u] > 0.0:
            left += room.excess[u]
        for e in range(degree):
            room.carried[u, e] = 0.0
    cost = 0.0
    depth = 0
    turn = 0
    while left > MASS_EPSILON * size:
        turn += 1
        level = _raise_potentials(size, degree, turn, room)
        if level < 0:
            break
        depth += level
        if cost + left * depth >= limit:
            return cost + left * depth
        moved = 0.0
        while _fill_layers(size, degree, room):
            for source in range(size):
                while room.excess[source] > MASS_EPSILON:
                    amount = _augment(source, degree, room)
                    if amount == 0.0:
                        break
                    moved += amount
        if moved == 0.0:
            break
        cost += moved * depth
        left -= moved
    return cost


@leaf
def _reduced_cost(u, e, room):
    """Cost of a step less the potentials: moving back what was moved is free."""
    v = room.near[u, e]
    if room.carried[v, room.back[e]] > MASS_EPSILON:
        return 0
    return 1 + room.potential[u] - room.potential[v]


@leaf
def _raise_potentials(size, degree, turn, room):
    """Raise the potentials to the nearest need; returns its distance, -1 where there is none."""
    for b in range(3):
        room.filled[b] = 0
    for u in range(size):
        room.distance[u] = FAR_STEPS
        if room.excess[u] > MASS_EPSILON:
            room.distance[u] = 0
            room.buckets[0, room.filled[0]] = u
            room.filled[0] += 1
    level = 0
    found = False
    while not found:
        b = level % 3
        i = 0
        while i < room.filled[b]:
            u = room.buckets[b, i]
            i += 1
            if room.settled[u] == turn:
                continue
            room.settled[u] = turn
            if room.excess[u] < -MASS_EPSILON:
                found = True
            for e in range(degree):
                v = room.near[u, e]
                if room.settled[v] == turn:
                    continue
                reach = level + _reduced_cost(u, e, room)
                if reach < room.distance[v]:
                    room.distance[v] = reach
                    c = reach % 3
                    room.buckets[c, room.filled[c]] = v
                    room.filled[c] += 1
        room.filled[b] = 0
        if not found:
            if room.filled[0] + room.filled[1] + room.filled[2] == 0:
                return -1
            level += 1
    for u in range(size):
        room.potential[u] += min(room.distance[u], level)
    return level


@leaf
def _fill_layers(size, degree, room):
    """Count the free steps from any surplus to each state; whether they lead to a need."""
    head = 0
    tail = 0
    found = False
    for u in range(size):
        room.step[u] = 0
        room.hops[u] = -1
        if room.excess[u] > MASS_EPSILON:
            room.hops[u] = 0
            room.path[tail] = u
            tail += 1
    while head < tail:
        u = room.path[head]
        head += 1
        found = found or room.excess[u] < -MASS_EPSILON
        for e in range(degree):
            v = room.near[u, e]
            if room.hops[v] < 0 and _reduced_cost(u, e, room) == 0:
                room.hops[v] = room.hops[u] + 1
                room.path[tail] = v
                tail += 1
    return found


@leaf
def _augment(source, degree, room):
    """Move mass from a surplus to some need along layered free steps; returns how much."""
    length = 0
    room.path[0] = source
    while True:
        u = room.path[length]
        if room.excess[u] < -MASS_EPSILON:
            return _push(source, length, room)
        e = room.step[u]
        if e == degree:
            if length == 0:
                return 0.0
            length -= 1
            room.step[room.path[length]] += 1
            continue
        v = room.near[u, e]
        if room.hops[v] == room.hops[u] + 1 and _reduced_cost(u, e, room) == 0:
            length += 1
            room.path[length] = v
        else:
            room.step[u] += 1


@leaf
def _push(source, length, room):
    """Move as much as the path allows."""
    sink = room.path[length]
    amount = min(room.excess[source], -room.excess[sink])
    for i in range(length):
        v = room.path[i + 1]
        there = room.carried[v, room.back[room.step[room.path[i]]]]
        if there > MASS_EPSILON:
            amount = min(amount, there)
    for i in range(length):
        u = room.path[i]
        v = room.path[i + 1]
        e = room.step[u]
        if room.carried[v, room.back[e]] > MASS_EPSILON:
            room.carried[v, room.back[e]] -= amount
        else:
            room.carried[u, e] += amount
    room.excess[source] -= amount
    room.excess[sink] += amount
    return amount
