"""Sparse systems by name, and what their partitions and states are by definition."""

from __future__ import annotations

from itertools import product

import numpy as np

from tests.reference.systems import directed_partitions

KINDS = ("noisy", "gates", "noisy gates", "ferromagnet", "parity", "copy")
GRAPHS = ("line", "ring", "two sides", "random", "grid")


def graph(name, n, rng):
    """Inputs of every unit; the random graph is strongly connected, two inputs a unit."""
    if name == "line":
        return [[j for j in (i - 1, i, i + 1) if 0 <= j < n] for i in range(n)]
    if name == "ring":
        return [sorted({(i - 1) % n, i}) for i in range(n)]
    if name == "two sides":
        return [sorted({(i - 1) % n, (i + 1) % n}) for i in range(n)]
    if name == "grid":
        side = max(k for k in range(1, n + 1) if n % k == 0 and k * k <= n)
        steps = [1, -1, n // side, -(n // side)]
        near = [[i + s for s in steps if 0 <= i + s < n] for i in range(n)]
        inside = n // side
        return [
            sorted({i} | {j for j in near[i] if abs(i - j) > 1 or i // inside == j // inside})
            for i in range(n)
        ]
    order = rng.permutation(n)
    before = {int(order[k]): int(order[k - 1]) for k in range(n)}
    return [sorted({before[i], int(rng.integers(n))}) for i in range(n)]


def factors(name, kind, levels, rng):
    """(inputs, table) of every unit, and a state; kinds other than the first three are binary."""
    n, out = len(levels), []
    inputs = graph(name, n, rng)
    spins = rng.integers(0, 2, n) * 2 - 1
    for i, read in enumerate(inputs):
        shape = [levels[a] for a in read]
        if kind == "noisy":
            table = rng.random((*shape, levels[i])) + 0.02
        elif kind in ("gates", "noisy gates"):
            table = np.eye(levels[i])[rng.integers(0, levels[i], shape)]
            table = table if kind == "gates" else table + 0.1
        else:
            x = np.indices(shape) * 2 - 1
            if kind == "ferromagnet":
                weights = spins[read].reshape([-1] + [1] * len(read)) * rng.uniform(0.3, 1)
                on = 1 / (1 + np.exp(-2 * spins[i] * (weights * x).sum(axis=0)))
            elif kind == "parity":
                on = 0.05 + 0.9 * (np.indices(shape).sum(axis=0) % 2)
            else:
                on = 0.1 + 0.8 * np.indices(shape)[0]
            table = np.stack([1 - on, on], axis=-1)
        out.append((read, table / table.sum(axis=-1, keepdims=True)))
    state = [int(rng.integers(k)) for k in levels]
    if kind == "ferromagnet":
        state = ((spins + 1) // 2).tolist()
    if kind == "gates":
        state = [int(t[tuple(state[a] for a in r)].argmax()) for r, t in out]
    return out, state


def lost_bits(table, source, value):
    """Bits a unit loses with each set of its inputs kept, by averaging over all others."""
    count = table.ndim - 1
    out = np.zeros(1 << count)
    for kept in range(1 << count):
        away = tuple(a for a in range(count) if not kept >> a & 1)
        mean = table[..., value].mean(axis=away, keepdims=True)
        out[kept] = np.log2(np.broadcast_to(mean, table.shape[:-1])[tuple(source)])
    return out[-1] - out


def minimum(inputs, bits):
    """(cost, pairs, ways, severed set) of the least ratio over all directed partitions.

    inputs : of each unit; bits : lost by the inputs kept, little-endian over them
    """
    found = []
    for severed in directed_partitions(tuple(range(len(inputs)))):
        cost = 0.0
        for i, read in enumerate(inputs):
            kept = sum(1 << a for a, j in enumerate(read) if (j, i) not in severed)
            cost += bits[i][kept]
        found.append((cost, severed))
    least = min(cost / len(severed) for cost, severed in found)
    tied = [(c, s) for c, s in found if c - least * len(s) <= 1e-11]
    pairs = max(len(s) for _, s in tied)
    tied = [(c, s) for c, s in tied if len(s) == pairs]
    named = min((s for _, s in tied), key=sorted)
    return tied[0][0], pairs, len(tied), named


def state_products(tables, levels, values):
    """Product over units of P(value | state) for every state, little-endian.

    tables : (inputs, table) of every unit
    """
    states = [x[::-1] for x in product(*(range(k) for k in reversed(levels)))]
    return np.array(
        [
            np.prod([t[(*(x[a] for a in r), v)] for (r, t), v in zip(tables, values, strict=True)])
            for x in states
        ]
    )
