"""Every admissible joint choice among ties of a structure, and what the choices change (15.4).

A joint choice is a pair of system states that tie and, for every irreducible mechanism that can be
congruent with them, one congruent cause and one congruent effect among those that tie. Nothing is
searched cleverly: all of them are listed, and Phi is summed over all subsets of distinctions.
"""

from __future__ import annotations

from functools import cached_property
from itertools import islice, product
from math import prod

import numpy as np

from tests.reference.mechanisms import raw_distinctions
from tests.reference.substrate import CAUSE, EFFECT, same
from tests.reference.systems import gate, mip, partition_phis, specified

PHI_CHANGE = 1e-9  # relative: a smaller difference of Phi is rounding (15.4)
CELLS = 1 << 20  # choices times subsets that are summed at a time
MOST_CHOICES = 1 << 15  # listed before the oracle gives up


class TooManyChoices(Exception):
    """More joint choices than can be listed, and none of the first changes Phi."""


def tied_pairs(system):
    """The pairs (s_c, s_e) of specified states that tie for phi_s (8.1, 8.4, 10)."""
    found = specified(system)
    pairs = list(product(*(found[f"tied_{d}_states"] for d in (CAUSE, EFFECT))))
    if gate(system) or found["cause_ii"] == 0 or found["effect_ii"] == 0:
        return pairs  # phi_s is 0 whichever is taken
    cause, effect = (
        {s: partition_phis(system, d, s) for s in found[f"tied_{d}_states"]}
        for d in (CAUSE, EFFECT)
    )
    phis = {(c, e): mip(system, np.minimum(cause[c], effect[e]))[0] for c, e in pairs}
    best = max(phis.values())
    return [pair for pair in pairs if same(phis[pair], best)]


def congruent_options(link, subset, system_state):
    """Every (purview, state) among a link's ties that agrees with the system state (10)."""
    value = dict(zip(subset, system_state, strict=True))
    return [
        (tie.purview, state)
        for tie in link.purview_ties
        for state, _, _ in tie.ties
        if all(value[i] == x for i, x in zip(tie.purview, state, strict=True))
    ]


def options_by_mechanism(system, raw, pair):
    """[(mechanism, phi, its causes, its effects)] of all that can be congruent with a pair."""
    out = []
    for mechanism, phi, cause, effect in raw:
        causes = congruent_options(cause, system.subset, pair[0])
        effects = congruent_options(effect, system.subset, pair[1])
        if causes and effects:
            out.append((mechanism, phi, causes, effects))
    return out


def unit_state_mask(side, offsets):
    """The unit-states of a (purview, state) as a bit mask."""
    purview, state = side
    return sum(1 << offsets[i] + x for i, x in zip(purview, state, strict=True))


def big_phis(phi, cause, effect):
    """Phi of structures (11.3), from phi (D,) and unit-states of cause and effect (choices, D)."""
    union = cause | effect
    share = phi / np.maximum(np.bitwise_count(union), 1)
    loops = (np.bitwise_count(cause & effect) * share).sum(axis=1)
    overlap, least = np.full((len(union), 1), -1), np.full((len(union), 1), np.inf)
    for d in range(len(phi)):  # every subset, its last member d
        overlap = np.hstack([overlap, overlap & union[:, [d]]])
        least = np.hstack([least, np.minimum(least, share[:, [d]])])
    related = np.bitwise_count(np.arange(1 << len(phi))) >= 2
    sizes = np.bitwise_count(overlap[:, related])
    return phi.sum() + loops + (sizes * least[:, related]).sum(axis=1)


class Choices:
    """All admissible joint choices of a system."""

    def __init__(self, system):
        self._system = system
        raw = raw_distinctions(system)
        self.pairs = tied_pairs(system)
        self._options = [options_by_mechanism(system, raw, pair) for pair in self.pairs]

    def __len__(self):
        return sum(
            prod(len(causes) * len(effects) for _, _, causes, effects in options)
            for options in self._options
        )

    def structures(self):
        """Yield every structure: a set of (mechanism, cause, effect), each a (purview, state)."""
        for options in self._options:
            names = [mechanism for mechanism, *_ in options]
            for sides in product(*(product(c, e) for _, _, c, e in options)):
                yield frozenset((m, *pair) for m, pair in zip(names, sides, strict=True))

    def phis(self):
        """Yield arrays of Phi, in the order of `structures`."""
        offsets = dict(enumerate(np.cumsum([0, *self._system.alphabet]).tolist()))
        for options in self._options:
            phi = np.array([phi for _, phi, _, _ in options])
            masks = [
                [
                    (unit_state_mask(c, offsets), unit_state_mask(e, offsets))
                    for c, e in product(causes, effects)
                ]
                for _, _, causes, effects in options
            ]
            listed, step = product(*masks), max(1, CELLS >> len(phi))
            while rows := list(islice(listed, step)):
                sides = np.array(rows, np.int64).reshape(len(rows), len(phi), 2)
                yield big_phis(phi, sides[..., 0], sides[..., 1])

    def change_structure(self, reported):
        """Would another choice than the one reported have changed the structure?"""
        return any(structure != reported for structure in self.structures())

    @cached_property
    def _extremes(self):
        """Least and largest Phi met, until they differ: whichever is reported, one changes it."""
        least, largest, listed = np.inf, -np.inf, 0
        for phis in self.phis():
            least, largest = min(least, phis.min()), max(largest, phis.max())
            listed += len(phis)
            if largest - least > 3 * PHI_CHANGE * max(1.0, largest) or listed >= MOST_CHOICES:
                break
        return float(least), float(largest)

    def change_phi(self, reported):
        """Would another choice than the one reported have changed Phi?"""
        if any(abs(phi - reported) > PHI_CHANGE * max(1.0, reported) for phi in self._extremes):
            return True
        if len(self) > MOST_CHOICES:
            raise TooManyChoices
        return False
