"""Repertoires of a system whose units, some of them, lose inputs (IIT 3.0, spec.md 12).

A unidirectional cut severs every connection into some units, the ``target``, from all others. A
target unit then depends on its inputs within the target alone, so that every repertoire of the cut
system is made of the same tables as the intact one, read at fewer inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from iitdask.kernels.jit import leaf

__all__ = ["Repertoires", "fill_repertoires", "repertoire_room", "unit_distance"]


class Repertoires(NamedTuple):
    """All cause repertoires of a system in its state, and the marginals of both sides.

    Units are compared by ``compared`` columns: one for a binary unit, all values otherwise,
    weighed by ``weights`` so that the sum of differences is the total variation.
    """

    levels: np.ndarray
    """(n,) values per unit."""
    offsets: np.ndarray
    """(2**n + 1,) where the states of each purview begin, see codes.segment_offsets."""
    compared: np.ndarray
    """(n + 1,) where each unit's columns begin."""
    weights: np.ndarray
    """(n,) weight of each unit's columns."""
    cause: np.ndarray
    """(2**n, C) p_c(z | m) at [mechanism, code of (purview, z)]; zeros where impossible."""
    cause_marginals: np.ndarray
    """(2**n, 2**n, w) of each purview unit, at [mechanism, purview]."""
    effect: np.ndarray
    """(2**n, w) of each unit after the mechanism's current state, at [mechanism]."""
    reduced: np.ndarray
    """(C,) code of what a target unit sees of a code."""


def repertoire_room(levels: np.ndarray, offsets: np.ndarray) -> Repertoires:
    """Make room for the repertoires of a system."""
    n = len(levels)
    widths = np.where(levels == 2, 1, levels)
    compared = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
    size, codes, width = 1 << n, int(offsets[-1]), int(compared[-1])
    return Repertoires(
        levels=levels,
        offsets=offsets,
        compared=compared,
        weights=np.where(levels == 2, 1.0, 0.5),
        cause=np.zeros((size, codes)),
        cause_marginals=np.zeros((size, size, width)),
        effect=np.zeros((size, width)),
        reduced=np.zeros(codes, np.int64),
    )


@leaf
def fill_repertoires(forward, rows, target, out):
    """Compute every repertoire under a cut.

    forward : (C, n) float64    P(unit is in its current state | code), cause side
    rows    : (2**n, w) float64 P(unit takes value | the subset's current state), effect side
    target  : mask              the units that lose their inputs from all others; 0 cuts nothing
    out     : Repertoires       filled; time 6**n for binary units
    """
    n = out.levels.shape[0]
    size = 1 << n
    _reduce(target, out)
    for m in range(size):
        low = m & -m
        i = 0
        while low >> i > 1:
            i += 1
        for c in range(out.cause.shape[1]):
            if m == 0:
                out.cause[0, c] = 1.0
            else:
                seen = out.reduced[c] if target >> i & 1 else c
                out.cause[m, c] = out.cause[m ^ low, c] * forward[seen, i]
        for j in range(n):
            read = m & target if target >> j & 1 else m
            for c in range(out.compared[j], out.compared[j + 1]):
                out.effect[m, c] = rows[read, c]
    for m in range(size):
        for z in range(size):
            _normalize(m, z, out)


@leaf
def _reduce(target, out):
    """Code of the target units' part of each code."""
    n = out.levels.shape[0]
    out.reduced[0] = 0
    for j in range(n):
        for a in range(1 << j):
            size = out.offsets[a + 1] - out.offsets[a]
            kept = a & target
            step = 0
            to = kept
            if target >> j & 1:
                step = out.offsets[kept + 1] - out.offsets[kept]
                to = kept | (1 << j)
            for v in range(out.levels[j]):
                for x in range(size):
                    inside = out.reduced[out.offsets[a] + x] - out.offsets[kept]
                    code = out.offsets[a | (1 << j)] + v * size + x
                    out.reduced[code] = out.offsets[to] + inside + v * step


@leaf
def _normalize(m, z, out):
    """Divide by the sum over the purview's states and take the marginals."""
    begin, end = out.offsets[z], out.offsets[z + 1]
    total = 0.0
    for c in range(begin, end):
        total += out.cause[m, c]
    scale = 1.0 / total if total > 0.0 else 0.0
    for c in range(begin, end):
        out.cause[m, c] *= scale
    stride = 1
    j = 0
    while z >> j:
        if z >> j & 1:
            k = out.levels[j]
            first = out.compared[j]
            width = out.compared[j + 1] - first
            for v in range(width):
                value = 1 if width == 1 else v
                p = 0.0
                for block in range(begin + value * stride, end, stride * k):
                    for x in range(stride):
                        p += out.cause[m, block + x]
                out.cause_marginals[m, z, first + v] = p
            stride *= k
        j += 1


@leaf
def unit_distance(a, b, j, compared, weights):
    """Total variation between two rows of marginals at one unit."""
    d = 0.0
    for c in range(compared[j], compared[j + 1]):
        d += abs(a[c] - b[c])
    return d * weights[j]
