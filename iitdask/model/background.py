"""Background conditions: the posterior of the previous state of the units outside a system."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iitdask.errors import UnreachableStateError
from iitdask.model.contraction import TABLE_BUDGET_BYTES, Tensor, contract, rescaled
from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.labels import first_names, shortened, state_text
from iitdask.model.substrate import Substrate
from iitdask.types import Table


@dataclass(frozen=True, eq=False, repr=False)
class Background:
    """Posterior of the previous state of all units, given their current values.

    It is kept as a product over independent groups of units, never as a table over all:
    mathematics.md 2.1; Albantakis et al. 2023, eq. 3 and 4.
    """

    state: tuple[int, ...]  # Current state of all units
    labels: tuple[str, ...]  # Names of all units
    certain: Mapping[int, int]  # Previous value of the units for which only one is possible
    # Likelihoods of each connected component of the factor graph
    groups: tuple[tuple[Tensor, ...], ...]
    group_of: Mapping[int, int]  # Group of a unit; units without one have a uniform posterior
    budget: int = TABLE_BUDGET_BYTES  # Bytes that one table may take
    _marginals: dict[tuple[int, ...], Table] = field(default_factory=dict)

    @classmethod
    def from_state(
        cls, substrate: Substrate, state: tuple[int, ...], budget: int = TABLE_BUDGET_BYTES
    ) -> Background:
        """Return the posterior given a state of all units."""
        units = tuple(range(substrate.n_units))
        what = (
            f"state {_short_state(state)} is unreachable: "
            "no past state of the substrate leads to it"
        )
        certain, groups = _likelihood_groups(
            substrate.factors, units, state, substrate.labels, what=what, budget=budget
        )
        group_of = {v: g for g, group in enumerate(groups) for t in group for v in t.variables}
        return cls(state, substrate.labels, certain, groups, group_of, budget)

    def marginal(self, units: tuple[int, ...]) -> Table:
        """Return the joint posterior of ascending units of one group, ``(k_0, k_1, ...)``."""
        if units not in self._marginals:
            group = self.groups[self.group_of[units[0]]]
            table = contract(group, units, self.labels, self.budget)
            self._marginals[units] = table / table.sum()
        return self._marginals[units]

    def joint(self, units: tuple[int, ...], levels: Sequence[int]) -> Table:
        """Return the joint posterior of any ascending units, ``(k_0, k_1, ...)``."""
        grouped: dict[int, list[int]] = defaultdict(list)
        out = np.ones((1,) * len(units))
        for axis, unit in enumerate(units):
            if unit in self.group_of:
                grouped[self.group_of[unit]].append(unit)
                continue
            line = np.full(levels[unit], 1.0 / levels[unit])
            if unit in self.certain:
                line = np.eye(levels[unit])[self.certain[unit]]
            out = out * line.reshape([-1 if a == axis else 1 for a in range(len(units))])
        for members in grouped.values():
            table = self.marginal(tuple(members))
            shape = [levels[u] if u in members else 1 for u in units]
            out = out * table.reshape(shape)
        return np.asarray(np.broadcast_to(out, [levels[u] for u in units]))

    def averaged(self, factor: Factor | CountingFactor, inside: Collection[int]) -> Factor:
        """Return a factor over its parents ``inside``, the others averaged over the posterior."""
        table, parents = factor.table, list(factor.parents)
        grouped: dict[int, list[int]] = defaultdict(list)
        for unit in factor.parents:
            if unit in inside:
                continue
            if unit in self.group_of:
                grouped[self.group_of[unit]].append(unit)
                continue
            axis = parents.index(unit)
            parents.remove(unit)
            value = self.certain.get(unit)
            table = np.asarray(table.mean(axis) if value is None else table.take(value, axis))
        for units in grouped.values():
            axes = [parents.index(unit) for unit in units]
            weights = self.marginal(tuple(units))
            table = np.tensordot(weights, table, axes=(list(range(len(units))), axes))
            parents = [unit for unit in parents if unit not in units]
        return Factor(tuple(parents), table)


def require_reachable(
    substrate: Substrate,
    state: tuple[int, ...],
    units: tuple[int, ...],
    budget: int = TABLE_BUDGET_BYTES,
) -> None:
    """Refuse a candidate whose state has no predecessor while the other units are fixed."""
    inside = frozenset(units)
    factors = [substrate.factors[i].conditioned(inside, state) for i in units]
    names = first_names([substrate.labels[i] for i in units])
    what = (
        f"state {_short_state(state)} is unreachable for the system {names}: no past state of it "
        "leads there while the units outside have their current values"
    )
    _likelihood_groups(factors, units, state, substrate.labels, what=what, budget=budget)


def _short_state(state: Sequence[int]) -> str:
    return shortened(state_text(state) if max(state) < 10 else str(tuple(state)), 64)


def _likelihood_groups(
    factors: Sequence[Factor | CountingFactor],
    units: tuple[int, ...],
    state: tuple[int, ...],
    labels: Sequence[str],
    *,
    what: str,
    budget: int,
) -> tuple[dict[int, int], tuple[tuple[Tensor, ...], ...]]:
    """Return certain values and groups of likelihoods; refuse a state without a predecessor."""
    likelihoods: list[Tensor] = []
    owner: list[int] = []
    auxiliary = len(labels)
    for f, i in zip(factors, units, strict=True):
        own = f.likelihoods(state[i], auxiliary)
        auxiliary += len(own) - 1
        likelihoods += own
        owner += [i] * len(own)
    tensors, certain = _propagate(likelihoods)
    groups = overlap_groups([tensor.variables for tensor in tensors])
    for group in groups:
        members = [tensors[j] for j in group]
        # A table of its own group is possible where any value is positive, a product where all are.
        surely = [t.values.min() if len(members) > 1 else t.values.max() for t in members]
        if min(surely) > 0 or contract(members, (), labels, budget) > 0:
            continue
        units_of = dict.fromkeys(owner[j] for j in group)
        names = first_names([f"{labels[i]}={state[i]}" for i in units_of])
        raise UnreachableStateError(f"{what} (impossible: {names})")
    joined = tuple(tuple(tensors[j] for j in g) for g in groups if tensors[g[0]].variables)
    return certain, joined


def _propagate(tensors: Sequence[Tensor]) -> tuple[list[Tensor], dict[int, int]]:
    """Simplify likelihoods until nothing changes.

    A value that a likelihood leaves no choice about is put into all others (a COPY
    or an AND that is on fixes its inputs), and axes that make no difference are
    dropped; on deterministic networks most of the graph disappears this way.
    """
    work = list(tensors)
    readers: dict[int, set[int]] = defaultdict(set)
    for j, tensor in enumerate(work):
        for v in tensor.variables:
            readers[v].add(j)
    certain: dict[int, int] = {}
    queue = deque(range(len(work)))
    waiting = set(queue)
    while queue:
        j = queue.popleft()
        waiting.discard(j)
        work[j] = _condense(work[j], certain)
        for v, value in decided_values(work[j]).items():
            certain[v] = value
            new = sorted(readers[v] - waiting)
            queue.extend(new)
            waiting.update(new)
    return work, certain


def _condense(tensor: Tensor, certain: Mapping[int, int]) -> Tensor:
    index = tuple(certain.get(v, slice(None)) for v in tensor.variables)
    variables = [v for v in tensor.variables if v not in certain]
    values = rescaled(np.asarray(tensor.values[index]))
    for v in tuple(variables):
        axis = variables.index(v)
        if (values == values[(slice(None),) * axis + (slice(0, 1),)]).all():
            values = np.take(values, 0, axis=axis)
            variables.remove(v)
    return Tensor(tuple(variables), np.asarray(values))


def decided_values(tensor: Tensor) -> dict[int, int]:
    """Return the units for which only one value has any likelihood."""
    positive = tensor.values > 0
    if positive.all():
        lengths = zip(tensor.variables, positive.shape, strict=True)
        return {v: 0 for v, length in lengths if length == 1}
    decided = {}
    for axis, v in enumerate(tensor.variables):
        others = tuple(a for a in range(positive.ndim) if a != axis)
        possible = np.flatnonzero(positive.any(axis=others))
        if len(possible) == 1:
            decided[v] = int(possible[0])
    return decided


def overlap_groups(sets: Sequence[Collection[int]]) -> list[list[int]]:
    """Return the positions of sets, grouped so that sets with a common element are together.

    Groups are in the order of their first members; an empty set is a group of its own.
    """
    holders: dict[int, list[int]] = defaultdict(list)
    for position, members in enumerate(sets):
        for element in members:
            holders[element].append(position)
    seen: set[int] = set()
    groups = []
    for start in range(len(sets)):
        if start not in seen:
            group: set[int] = set()
            border = {start}
            while border:
                group |= border
                elements = {element for position in border for element in sets[position]}
                border = {j for element in elements for j in holders[element]} - group
            seen |= group
            groups.append(sorted(group))
    return groups
