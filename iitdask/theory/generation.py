"""Candidate systems that can be irreducible, found without looking at all subsets.

*Certificate.* Let T be a candidate of two or more units, and let its graph on the effect
side (edges a -> b where a is an effective input of b, see model/influence.py) not be
strongly connected. Then T falls into non-empty A and B without an edge from A to B. The
directed partition {A out, B in} severs exactly the connections from A to B. No unit of B
has an effective input in A, so severing changes no effect probability: phi_e of this
partition is 0, and phi_s of T, the least over partitions of min(phi_c, phi_e), is 0. The
same holds on the cause side with C and phi_c. The only partition of a single unit severs
its connection to itself, so a unit that is not its own effective input on both sides has
phi_s 0. Hence *irreducible candidates are strongly connected on both sides*.

*Where one severed edge must show on both sides* (IIT 3.0 compares whole structures), a
cut loses nothing for sure only if it severs effective inputs of neither side; there the
union of the two graphs must be strongly connected (``jointly``).

*Recursion.* The graph of a set S contains the graphs of its parts (model/influence.py).
So every irreducible T within S lies in one strongly connected component of S, on either
side; each component is a smaller set with a smaller graph, and so on until nothing falls
apart any more. The parts of such a component are enumerated by fixing, one unit after
another, whether it belongs to T, shrinking what is left in the same way at each step: a
set that has fallen away from the fixed units takes all its subsets with it.

*Size.* In a strongly connected T of k units any two units are at most k - 1 steps apart,
either way, so units farther than that from a fixed one fall away too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb

from iitdask.errors import InputError
from iitdask.model.influence import Influence
from iitdask.model.pool import Pool

__all__ = ["Generated", "generated"]

MOST = 1 << 22
"""Candidates of one component beyond which a smaller max_size is asked for."""
SPARSE = 6
"""Inputs up to which a unit's graph is taken anew for every set, not once a component."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Candidates to be evaluated, and what became of the others."""

    candidates: tuple[tuple[int, ...], ...]
    """Unit numbers, in the order of spec.md 9: larger ones first."""
    components: tuple[tuple[int, ...], ...]
    """Sets that can hold irreducible candidates, when all subsets were asked for."""
    all_subsets: int
    """Non-empty subsets of the pool."""
    unable: int
    """Of those, subsets with a unit that has no declared input or no declared output."""
    apart: int
    """Subsets of the others that are not strongly connected, on the effect or cause side."""
    unsearched: int
    """Subsets of components beyond the largest size asked for, or not among those listed."""

    @property
    def exhaustive(self) -> bool:
        """Whether every subset was evaluated or shown to be reducible."""
        return self.unsearched == 0


def generated(pool: Pool, jointly: bool = False) -> Generated:
    """Find the candidates of a pool that no certificate excludes.

    Parameters
    ----------
    pool
        Which candidates are asked for.
    jointly
        Exclude only what falls apart in the union of the effect and the cause graph.

    Raises
    ------
    InputError
        There are too many of them for a list.
    """
    graphs = _Graphs(Influence(pool.substrate, pool.state, pool.background), jointly)
    total, able = (1 << len(pool.units)) - 1, (1 << len(pool.able)) - 1
    if pool.given is not None:
        kept = [each for each in pool.given if set(each) <= set(pool.able) and graphs.holds(each)]
        beyond = sum(1 for each in pool.given if not set(each) <= set(pool.able))
        return Generated(
            candidates=tuple(kept),
            components=(),
            all_subsets=total,
            unable=beyond,
            apart=len(pool.given) - beyond - len(kept),
            unsearched=total - len(pool.given),
        )
    components = sorted(graphs.components(pool.able))
    largest = pool.largest
    found: list[tuple[int, ...]] = []
    unsearched = 0
    for component in components:
        found += _Enumeration(graphs, component, min(largest, len(component))).candidates(pool)
        unsearched += sum(comb(len(component), k) for k in range(largest + 1, len(component) + 1))
    found.sort(key=lambda units: (-len(units), tuple(-i for i in reversed(units))))
    return Generated(
        candidates=tuple(found),
        components=tuple(components),
        all_subsets=total,
        unable=total - able,
        apart=able - unsearched - len(found),
        unsearched=unsearched,
    )


class _Graphs:
    """Effective inputs of sets of units on both sides, as masks over those units."""

    def __init__(self, influence: Influence, jointly: bool) -> None:
        effects, causes = influence.effects, influence.causes
        self._sides = ((effects, causes),) if jointly else ((effects,), (causes,))
        self.sides = range(len(self._sides))

    def inputs(self, units: Sequence[int], side: int) -> list[int]:
        """Per unit, the mask of its effective inputs among the units."""
        place = {unit: k for k, unit in enumerate(units)}
        return [
            sum(
                1 << place[a]
                for a in set().union(*(of(unit, place.keys()) for of in self._sides[side]))
            )
            for unit in units
        ]

    def holds(self, units: Sequence[int]) -> bool:
        """Whether the certificate leaves a candidate."""
        full = (1 << len(units)) - 1
        return all(_cyclic(self.inputs(units, side), full) for side in self.sides)

    def components(self, units: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Sets that hold every irreducible candidate, each strongly connected on both sides."""
        waiting = [tuple(units)]
        while waiting:
            now = waiting.pop()
            for side in self.sides:
                parts = list(_strong(self.inputs(now, side)))
                if parts != [(1 << len(now)) - 1]:
                    waiting += [_members(now, mask) for mask in parts]
                    break
            else:
                yield now


def _members(units: Sequence[int], mask: int) -> tuple[int, ...]:
    return tuple(unit for k, unit in enumerate(units) if mask >> k & 1)


def _strong(inputs: Sequence[int]) -> Iterator[int]:
    """Masks of the strongly connected components that contain a cycle."""
    outputs = _turned(inputs)
    left = (1 << len(inputs)) - 1
    while left:
        low = left & -left
        part = _reached(outputs, low, left) & _reached(inputs, low, left)
        if part != low or inputs[low.bit_length() - 1] & low:
            yield part
        left &= ~part


def _turned(inputs: Sequence[int]) -> list[int]:
    outputs = [0] * len(inputs)
    for b, mask in enumerate(inputs):
        while mask:
            low = mask & -mask
            outputs[low.bit_length() - 1] |= 1 << b
            mask ^= low
    return outputs


def _reached(steps: Sequence[int], start: int, inside: int, most: int = -1) -> int:
    """Units reached from a set within ``inside``, in at most so many steps (-1: any number)."""
    seen = front = start
    while front and most:
        new = 0
        while front:
            low = front & -front
            new |= steps[low.bit_length() - 1]
            front ^= low
        front = new & inside & ~seen
        seen |= front
        most -= 1
    return seen


def _cyclic(inputs: Sequence[int], mask: int) -> bool:
    """Whether a set is strongly connected; a single unit must feed itself."""
    low = mask & -mask
    if mask == low:
        return bool(inputs[low.bit_length() - 1] & low)
    if _reached(inputs, low, mask) != mask:
        return False
    return _reached(_turned(inputs), low, mask) == mask


class _Enumeration:
    """The candidates within one component."""

    def __init__(self, graphs: _Graphs, component: tuple[int, ...], largest: int) -> None:
        self._graphs = graphs
        self._units = component
        self._largest = largest
        whole = [graphs.inputs(component, side) for side in graphs.sides]
        self._fixed = [(inputs, _turned(inputs)) for inputs in whole]
        self._sparse = all(mask.bit_count() <= SPARSE for mask in whole[0])
        self._count = 0

    def candidates(self, pool: Pool) -> Iterator[tuple[int, ...]]:
        """Every part of the component that the certificate leaves, in some order."""
        full = (1 << len(self._units)) - 1
        for k in range(len(self._units)):
            for mask in self._within(full & ~((1 << k) - 1), 1 << k):
                self._count += 1
                if self._count > MOST:
                    names = ", ".join(pool.labels[u] for u in self._units[:6])
                    raise InputError(
                        f"complexes: the {len(self._units)} strongly connected units {names}, ... "
                        f"have more than {MOST} candidates; give max_size or candidates"
                    )
                yield _members(self._units, mask)

    def _within(self, most: int, least: int) -> Iterator[int]:
        """Candidates that contain ``least`` and lie within ``most``."""
        pending = [(most, least)]
        while pending:
            most, least = pending.pop()
            if least.bit_count() == self._largest:
                most = least
            most = self._shrunk(most, least)
            if least & ~most:
                continue
            if most == least:
                yield least
                continue
            free = most & ~least
            chosen = free & -free
            pending.append((most & ~chosen, least))
            pending.append((most, least | chosen))

    def _shrunk(self, most: int, least: int) -> int:
        """What stays strongly connected with the fixed units, 0 if they fall apart."""
        root = least & -least
        far = self._largest - 1
        while True:
            before = most
            for side in self._graphs.sides:
                inputs, outputs = self._graph(most, side)
                near = _reached(inputs, root, most, far)
                most = near & _reached(outputs, root, near, far)
                if least & ~most:
                    return 0
                if most == root and not inputs[root.bit_length() - 1] & root:
                    return 0
            if most == before:
                return most

    def _graph(self, mask: int, side: int) -> tuple[Sequence[int], Sequence[int]]:
        if not self._sparse or mask.bit_count() == len(self._units):
            return self._fixed[side]
        units = _members(self._units, mask)
        place = [k for k in range(len(self._units)) if mask >> k & 1]
        inputs = [0] * len(self._units)
        for k, local in zip(place, self._graphs.inputs(units, side), strict=True):
            inputs[k] = sum(1 << place[j] for j in range(len(place)) if local >> j & 1)
        return inputs, _turned(inputs)
