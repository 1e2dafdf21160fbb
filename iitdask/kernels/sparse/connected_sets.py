"""Mechanisms that can be irreducible: connected by shared inputs, and by shared outputs.

Sets that are connected in two graphs at once: two of them with a unit in common have such a union,
so the maximal ones are disjoint, and a smaller one lies in one of the maximal ones that are left
when a unit outside it is taken away. mathematics.md 27.2.
"""

import numpy as np

from iitdask.kernels.jit import inner, kernel
from iitdask.kernels.sparse.local_tables import index_of, is_connecting


@inner
def component_of(mask, graph):
    """Component of the lowest unit of a set in a graph, as a mask; graph : (n,) neighbours."""
    seen = mask & -mask
    new = seen
    while new != 0:
        low = new & -new
        more = graph[index_of(low)] & mask & ~seen
        seen |= more
        new = (new ^ low) | more
    return seen


@inner
def next_connected(left, graphs):
    """The maximal set connected in both graphs that has the lowest unit of ``left``."""
    mask = left
    while True:
        one = component_of(mask, graphs[0])
        two = component_of(one, graphs[1])
        if two == mask:
            return mask
        mask = two


@inner
def slot_of(table, mask):
    """Place of a set in a hash table of a power of two, or where it would be put."""
    last = np.uint64(table.shape[0] - 1)
    at = np.uint64(mask) * np.uint64(0x9E3779B97F4A7C15)
    at = (at ^ at >> np.uint64(29)) & last
    while table[at] != 0 and table[at] != mask:
        at = (at + np.uint64(1)) & last
    return at


@kernel
def connected_sets(graphs, limit):
    """List the sets of units that are connected in both of two graphs.

    Parameters
    ----------
    graphs : (2, n) int64, masks of the neighbours of each unit
    limit : int, most sets that are listed

    Returns
    -------
    ndarray, int64 masks, ascending; one more than ``limit`` of them where there are more

    References
    ----------
    mathematics.md 27.2.
    """
    n = graphs.shape[1]
    table = np.zeros(1024, np.int64)
    found = np.empty(512, np.int64)
    count, done = 0, -1
    while done < count and count <= limit:
        base = (np.int64(1) << n) - 1 if done < 0 else found[done]
        units = np.int64(1) if done < 0 else base
        while units != 0 and count <= limit:
            left = base if done < 0 else base ^ (units & -units)
            units &= units - 1
            while left != 0:
                mask = next_connected(left, graphs)
                left &= ~mask
                at = slot_of(table, mask)
                if table[at] != 0:
                    continue
                table[at] = mask
                found[count] = mask
                count += 1
                if count == found.shape[0]:
                    table = np.zeros(2 * table.shape[0], np.int64)
                    more = np.empty(2 * count, np.int64)
                    more[:count] = found
                    found = more
                    for k in range(count):
                        table[slot_of(table, found[k])] = found[k]
        done += 1
    return np.sort(found[:count])


@inner
def count_connecting(full, edges, count, limit, kept, step):
    """How many sets of candidates cover and connect ``full``, at most ``limit``."""
    every, found, depth = (1 << count) - 1, 0, 0
    kept[0], step[0] = 0, 0
    while depth >= 0 and found < limit:
        if depth == count:
            found += 1
            depth -= 1
            continue
        if step[depth] == 2:
            depth -= 1
            continue
        chosen = kept[depth] | step[depth] << depth
        step[depth] += 1
        rest = every & ~((1 << (depth + 1)) - 1)
        if is_connecting(full, edges, chosen | rest):
            depth += 1
            kept[depth], step[depth] = chosen, 0
    return found


@kernel
def count_purviews(mechanisms, neighbours, shared, limit):
    """Count the admissible purviews of mechanisms, each up to ``limit``.

    Parameters
    ----------
    mechanisms : (m,) int64, masks
    neighbours : (n,) int64, masks of the units that purviews of each unit consist of
    shared : (n,) int64, the same seen from the units of the purview
    limit : int, where counting stops

    Returns
    -------
    ndarray, (m,) int64

    References
    ----------
    mathematics.md 27.3.
    """
    n = neighbours.shape[0]
    kept, step, edges = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64), np.zeros(n, np.int64)
    out = np.zeros(mechanisms.shape[0], np.int64)
    for k in range(mechanisms.shape[0]):
        mechanism, every, count = mechanisms[k], 0, 0
        for i in range(n):
            if mechanism >> i & 1:
                every |= neighbours[i]
        for j in range(n):
            if every >> j & 1:
                edges[count] = shared[j] & mechanism
                count += 1
        if is_connecting(mechanism, edges, (1 << count) - 1):
            out[k] = count_connecting(mechanism, edges, count, limit, kept, step)
    return out
