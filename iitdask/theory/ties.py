"""Orders among tied choices: the published one, and one that ignores how units are numbered.

``ties="reference"`` follows mathematics.md 8.4 for system states. ``ties="canonical"``
numbers the units by an invariant of (substrate, state, candidate): colours are
refined by what each unit computes from which colours and whom it feeds, and
where several units still share a colour, each is singled out in turn and the
numbering with the smallest form wins. Units that stay exchangeable are related
by an automorphism; for them the choice cannot matter up to relabelling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from iitdask.kernels.state_product import StateProduct
from iitdask.kernels.subsets import hash_set_order, nonempty_masks_by_size
from iitdask.model.labels import decode_state, units_of_mask
from iitdask.model.substrate import Substrate
from iitdask.model.system import CandidateSystem
from iitdask.theory.marginal_tables import child_masks
from iitdask.theory.stage import Array

PERMUTED_MAX_UNITS = 8  # the published rule tries all permutations of the units
SET_ORDER_MAX_UNITS = 14  # beyond, the published order would walk 2**N purviews per mechanism
MAX_LABELLINGS = 500  # numberings compared at most; more exist only for exotic symmetric graphs


def first_state_pair(
    system: CandidateSystem, ties: str, choices: Sequence[tuple[StateProduct, StateProduct]]
) -> tuple[int, int]:
    """Return the pair of (cause, effect) states that is named among tied ones.

    Parameters
    ----------
    system : the candidate system
    ties : the order among ties, ``reference`` or ``canonical``
    choices : every cause of one of these pairs with every effect of it

    Returns
    -------
    tuple of int, the states, little-endian
    """
    if len(choices) == 1 and all(states.count == 1 for states in choices[0]):
        return choices[0][0].first, choices[0][1].first
    if ties == "canonical":
        orders = [tuple(np.argsort(canonical_ranks(system)[list(system.units)]).tolist())]
    elif system.n == system.network.n_units <= PERMUTED_MAX_UNITS:
        orders = _smallest_relabellings(system.network)
    else:  # that of the smallest number
        orders = [tuple(reversed(range(system.n)))]

    def first(states: StateProduct) -> tuple[tuple[int, ...], int]:
        lowest = [(states.lowest(order), order) for order in orders]
        decoded = ((code, decode_state(code, system.levels), order) for code, order in lowest)
        return min((tuple(state[i] for i in order), code) for code, state, order in decoded)

    firsts = ((first(cause), first(effect)) for cause, effect in choices)
    keys = ((c_key, e_key, c_code, e_code) for (c_key, c_code), (e_key, e_code) in firsts)
    named = min(keys)
    return named[2], named[3]


def _smallest_relabellings(substrate: Substrate) -> list[tuple[int, ...]]:
    """Return the permutations that keep levels and edges and give the smallest joint table."""
    n, levels, cm = substrate.n_units, substrate.levels, substrate.connectivity
    joint = _joint_table(substrate)
    smallest, permutations_kept = b"", list[tuple[int, ...]]()
    for pi in permutations(range(n)):
        order = list(pi)
        if [levels[i] for i in order] != list(levels) or (cm[np.ix_(order, order)] != cm).any():
            continue
        moved = joint.transpose([*order, n, n + 1])[..., order, :]
        form = np.ascontiguousarray(moved).tobytes()
        if not permutations_kept or form < smallest:
            smallest, permutations_kept = form, [pi]
        elif form == smallest:
            permutations_kept.append(pi)
    return permutations_kept


def _joint_table(substrate: Substrate) -> Array:
    """Return P(unit takes value | state), axes (x_0 .. x_{N-1}, unit, value), to 12 decimals."""
    n, levels = substrate.n_units, substrate.levels
    out = np.zeros((*levels, n, max(levels)))
    for i, factor in enumerate(substrate.factors):
        shape = [levels[j] if j in factor.parents else 1 for j in range(n)]
        out[..., i, : levels[i]] = factor.table.reshape([*shape, levels[i]])
    return np.round(out, 12) + 0.0


class PurviewOrder:
    """Order among the tied purviews of a mechanism: the published order, or the canonical one."""

    def __init__(self, system: CandidateSystem, ties: str) -> None:
        self._system, connectivity = system, system.network.connectivity
        self.is_canonical = ties == "canonical" or len(connectivity) > SET_ORDER_MAX_UNITS
        self._children = None if self.is_canonical else child_masks(connectivity)

    @cached_property
    def _ranks(self) -> Array:
        return canonical_ranks(self._system)[list(self._system.units)]

    @cached_property
    def _all_purviews(self) -> Array:
        return nonempty_masks_by_size(self._system.network.n_units)

    @cached_property
    def _outer(self) -> list[int]:
        """Masks over the substrate's units, by mask over those of the system."""
        masks = [0]
        for unit in self._system.units:
            masks += [mask | 1 << unit for mask in masks]
        return masks

    def sort(self, mechanism: int, forward: bool, purviews: Sequence[int]) -> list[int]:
        """Return purview masks in order, the representative first (mathematics.md 15.2, 15.3).

        In the published order those that are not admissible are left out.
        """
        if len(purviews) == 1:
            return list(purviews)
        if self.is_canonical:
            return sorted(purviews, key=self._canonical_key)
        inner = {self._outer[purview]: purview for purview in purviews}
        order = hash_set_order(self._outer[mechanism], self._all_purviews, self._children, forward)
        return [inner[mask] for mask in order.tolist() if mask in inner]

    def _canonical_key(self, purview: int) -> tuple[int, tuple[int, ...]]:
        """Return a key by which larger purviews come first, then those of lower canonical ranks."""
        ranks = self._ranks[list(units_of_mask(purview))].tolist()
        return -len(ranks), tuple(sorted(ranks))


def canonical_ranks(system: CandidateSystem) -> Array:
    """Number the units of a system's network in a way that ignores how they are numbered.

    Parameters
    ----------
    system : the candidate system; its state and units count, too

    Returns
    -------
    ndarray, (N,) rank of every unit of the network

    References
    ----------
    docs/mathematics.md 15.3.
    """
    substrate = system.two_sided_network
    inside = np.isin(np.arange(substrate.n_units), system.units)
    parts = zip(substrate.levels, system.state, inside.tolist(), strict=True)
    colours = [_digest(*unit) for unit in parts]
    search = _CanonicalLabelling(substrate, colours)
    search.descend(colours)
    return search.ranks


def _digest(*parts: Any) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")


class _CanonicalLabelling:
    """Depth-first search over refinements of a colouring; keeps the smallest form."""

    def __init__(self, substrate: Substrate, colours: Sequence[int]) -> None:
        self._substrate = substrate
        self._fixed = tuple(colours)
        self._best: bytes | None = None
        self._leaves = 0
        self.ranks: Array = np.arange(substrate.n_units)

    def descend(self, colours: Sequence[int]) -> None:
        """Refine, then single out the members of one ambiguous colour in turn."""
        colours = self._refine(list(colours))
        classes: dict[int, list[int]] = {}
        for unit, colour in enumerate(colours):
            classes.setdefault(colour, []).append(unit)
        shared = [c for c in sorted(classes) if len(classes[c]) > 1]
        if not shared:
            self._consider(colours)
            return
        members = classes[min(shared, key=lambda c: (len(classes[c]), c))]
        tried: list[int] = []
        for unit in members:
            if self._leaves >= MAX_LABELLINGS:
                return
            if any(self._exchangeable(unit, other) for other in tried):
                continue  # an automorphism maps this branch onto one already taken
            tried.append(unit)
            singled = list(colours)
            singled[unit] = _digest("chosen", colours[unit])
            self.descend(singled)

    def _consider(self, colours: Sequence[int]) -> None:
        self._leaves += 1
        order = np.argsort(np.array(colours, dtype=np.uint64))
        form = self._form(order.tolist())
        if self._best is None or form < self._best:
            self._best = form
            self.ranks = np.argsort(order)

    def _exchangeable(self, a: int, b: int) -> bool:
        """Return True if swapping two units leaves substrate, state and candidate as they are."""
        same = list(range(self._substrate.n_units))
        swapped = list(same)
        swapped[a], swapped[b] = b, a
        return self._form(same) == self._form(swapped)

    def _form(self, order: list[int]) -> bytes:
        """Return the bytes of everything that is known, with the units numbered in this order."""
        substrate = self._substrate
        place = {unit: k for k, unit in enumerate(order)}
        digest = hashlib.sha256(np.array([self._fixed[i] for i in order], np.int64).tobytes())
        digest.update(substrate.connectivity[np.ix_(order, order)].tobytes())
        for unit in order:
            parents, table = substrate.factors[unit].parents, substrate.factors[unit].table
            axes = sorted(range(len(parents)), key=lambda k: place[parents[k]])
            digest.update(repr([place[parents[k]] for k in axes]).encode())
            moved = np.round(table.transpose([*axes, len(parents)]), 12) + 0.0
            digest.update(np.ascontiguousarray(moved).tobytes())
        return digest.digest()

    def _refine(self, colours: list[int]) -> list[int]:
        count = len(set(colours))
        while True:
            colours = self._recolour(colours)
            now = len(set(colours))
            if now in (count, len(colours)):
                return colours
            count = now

    def _recolour(self, colours: list[int]) -> list[int]:
        """Refine colours once: what a unit computes from which colours, what it feeds and how."""
        substrate = self._substrate
        feeds: list[list[int]] = [[] for _ in colours]
        own = []
        for unit, factor in enumerate(substrate.factors):
            parents, table = factor.parents, factor.table
            rows, codes = _coloured_rows(table, [colours[p] for p in parents])
            own.append(_digest(colours[unit], _multiset(codes, rows)))
            for axis, parent in enumerate(parents):
                others = [-1 if k == axis else colours[p] for k, p in enumerate(parents)]
                _, rest = _coloured_rows(table, others)
                feeds[parent].append(_digest(own[-1], _multiset(rest, rows)))
        cm = substrate.connectivity
        return [
            _digest(
                own[i],
                sorted(feeds[i]),
                sorted(colours[j] for j in np.flatnonzero(cm[i])),
                sorted(colours[j] for j in np.flatnonzero(cm[:, i])),
                bool(cm[i, i]),
            )
            for i in range(len(colours))
        ]


def _coloured_rows(table: Array, colours: Sequence[int]) -> tuple[Array, Array]:
    """Return rows of a table, each with a code of its inputs that depends on their colours only."""
    shape = table.shape[:-1]
    codes = np.zeros(shape, np.uint64)
    for axis, colour in enumerate(colours):
        weights = np.array([_digest(colour, v) for v in range(shape[axis])], np.uint64)
        codes += weights.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return np.round(table.reshape(-1, table.shape[-1]), 12) + 0.0, codes.ravel()


def _multiset(codes: Array, rows: Array) -> str:
    order = np.lexsort((*rows.T, codes))
    return hashlib.sha256(codes[order].tobytes() + rows[order].tobytes()).hexdigest()
