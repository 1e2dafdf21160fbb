"""Shares of a mechanism's purviews: a power of two of them, alike, searched one by one.

The units are dealt to groups; the share of a purview says of every group whether the purview has
an odd number of its units. So each share has purviews of all sizes and with all units, takes about
as long as any other, and the best of one is near the best of all. Purviews by decreasing bound
were tried: among the first there is rarely one near the best, and they take as long.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.codes import popcounts
from iitdask.kernels.leading import make_leads
from iitdask.kernels.mechanisms import Found, make_room, search_effects_together
from iitdask.kernels.pairs import Tables, make_scratch

__all__ = ["Best", "EffectShares", "group_masks", "share_numbers"]

Array = NDArray[Any]


def group_masks(n: int, groups: int) -> list[int]:
    """Units of every group: dealt in turn."""
    return [sum(1 << unit for unit in range(first, n, groups)) for first in range(groups)]


def share_numbers(n: int, groups: int) -> Array:
    """(2**n,) int64, the share of every purview: bit g is set when it is odd in group g."""
    counts, every = popcounts(n), np.arange(1 << n)
    shares = np.zeros(1 << n, np.int64)
    for g, mask in enumerate(group_masks(n, groups)):
        shares |= (counts[every & mask] & 1) << g
    return shares


class Best(NamedTuple):
    """The best purviews of a share."""

    phi: float
    """Largest phi, or what was known of others when none attains that, bits."""
    ties: int
    """How many purviews attain it."""
    lowest: float
    """The smallest phi of these; nan when there is none."""
    bits: Array
    """(ceil(2**n / 8),) uint8, one bit per tied purview."""
    searched: int
    """Purviews not bounded away."""
    nodes: Array
    """(2,) int64 bound tables built and nodes visited."""


class EffectShares:
    """Searches the effect purviews of mechanisms share by share."""

    def __init__(self, tables: Tables) -> None:
        self._tables, self._scratch = tables, make_scratch(tables)
        states = len(self._scratch.like)
        self._room = make_room(len(tables.codes), states, int(tables.offsets[-1]))
        self._leads = make_leads(len(tables.levels), states)
        self._groups, self._shares = -1, np.empty(0, np.int64)

    def best(self, mechanism: int, groups: int, share: int, known: float) -> Best:
        """Search one share; ``known`` is a phi that the mechanism is known to attain, or 0."""
        if groups != self._groups:
            self._groups = groups
            self._shares = share_numbers(len(self._tables.levels), groups)
        own = self._shares == share
        found = Found(
            np.zeros(1),
            np.zeros(1, np.int64),
            np.zeros((1, (len(own) + 7) // 8), np.uint8),
            np.zeros(1, np.int64),
            np.zeros((1, 2), np.int64),
        )
        given = (self._tables, self._scratch, self._leads, mechanism, self._room)
        search_effects_together(*given, found, own, known)
        tied = own & np.unpackbits(found.bits[0], count=len(own), bitorder="little").astype(bool)
        ties, values = int(tied.sum()), -self._room.bounds  # the search keeps them negated
        lowest = float(values[tied].min()) if ties else float("nan")
        bits = np.packbits(tied, bitorder="little")
        return Best(
            float(found.phis[0]), ties, lowest, bits, int(found.searched[0]), found.nodes[0]
        )
