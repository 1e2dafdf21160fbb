"""Sums of products of many small non-negative tables, without the table of everything.

A likelihood or posterior of a sparse substrate is a product of tables over a few
units each. Summing units out one after another (variable elimination) needs
tables as large as the graph is tangled, not as the substrate is large.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import opt_einsum
from opt_einsum import paths

from iitdask.errors import MemoryRefusedError
from iitdask.model.labels import first_names
from iitdask.types import Table

TABLE_BUDGET_BYTES = 2 * 2**30  # Bytes that one table may take, unless the caller says otherwise

# Multiplications of the largest step up to which the first plan is taken as it is
CHEAP_MULTIPLICATIONS = 1 << 18

MAX_TENSORS_AT_ONCE, MAX_STATES_AT_ONCE = 24, 1 << 13  # Of one sum without a plan
MAX_EINSUM_AXES = 50  # Axes that one step of numpy's einsum can name

EXACT_FILL_IN_UNITS = 400
"""Units up to which fill-in is counted exactly; beyond, neighbours are counted instead."""

Scope = frozenset[int]
Path = list[tuple[int, ...]]
Steps = list[tuple[Scope, Scope]]  # The units each contraction touches, and those its result keeps


class Tensor(NamedTuple):
    """A non-negative table over some units' values."""

    variables: tuple[int, ...]  # Unit numbers, one per axis
    values: Table  # ``(k_v0, k_v1, ...)``


def rescaled(values: Table) -> Table:
    """Return the table times the power of two that brings its maximum near 1: exact."""
    top = float(values.max())
    if top == 0.0:
        return values
    scaled_values: Table = np.ldexp(values, -math.frexp(top)[1])
    return scaled_values


def contract(
    tensors: Sequence[Tensor],
    keep: Sequence[int],
    labels: Sequence[str],
    budget: int = TABLE_BUDGET_BYTES,
) -> Table:
    """Return ``(k_keep0, k_keep1, ...)``: the product of all tensors, summed over other units.

    Up to a power of two: every intermediate is rescaled, so that products of thousands of tables
    do not underflow. A table of more than ``budget`` bytes is refused.
    """
    kept = frozenset(keep)
    reduced = _sum_private(tensors, kept)
    sizes = {v: k for t in reduced for v, k in zip(t.variables, t.values.shape, strict=True)}
    path, steps = _plan([frozenset(t.variables) for t in reduced], kept, sizes)
    _require_fit(steps, sizes, labels, budget)
    work = list(reduced)
    for numbers, (touched, left) in zip(path, steps, strict=True):
        picked = [work.pop(i) for i in sorted(numbers, reverse=True)]
        work.append(_multiply(picked, sorted(touched), left))
    (result,) = work
    order = [result.variables.index(v) for v in keep]
    return result.values.transpose(order)


def contract_at_once(
    tensors: Sequence[Tensor],
    keep: Sequence[int],
    labels: Sequence[str],
    budget: int = TABLE_BUDGET_BYTES,
) -> Table:
    """Return what :func:`contract` does, in one sum where all units together have few states.

    A plan and its steps take longer than that.
    """
    sizes = {v: k for t in tensors for v, k in zip(t.variables, t.values.shape, strict=True)}
    if len(tensors) > MAX_TENSORS_AT_ONCE or math.prod(sizes.values()) > MAX_STATES_AT_ONCE:
        return contract(tensors, keep, labels, budget)
    local = {v: i for i, v in enumerate(sizes)}
    operands: list[object] = []
    for t in tensors:
        operands += [t.values, [local[v] for v in t.variables]]
    summed: Table = np.einsum(*operands, [local[v] for v in keep])  # type: ignore[call-overload]
    return summed


def _sum_private(tensors: Sequence[Tensor], kept: Scope) -> list[Tensor]:
    """Sum out units that only one tensor depends on."""
    count = Counter(v for t in tensors for v in t.variables)
    reduced = []
    for t in tensors:
        private = tuple(a for a, v in enumerate(t.variables) if count[v] == 1 and v not in kept)
        variables = tuple(v for v in t.variables if count[v] > 1 or v in kept)
        reduced.append(Tensor(variables, t.values.sum(axis=private)) if private else t)
    return reduced


def _multiply(tensors: Sequence[Tensor], units: Sequence[int], kept: Scope) -> Tensor:
    """Return the product of tensors over ascending units, summed over those not kept."""
    local = {v: i for i, v in enumerate(units)}
    variables = tuple(v for v in units if v in kept)
    operands: list[object] = []
    for t in tensors:
        operands += [t.values, [local[v] for v in t.variables]]
    values = opt_einsum.contract(*operands, [local[v] for v in variables])
    return Tensor(variables, rescaled(np.asarray(values, dtype=np.float64)))


def _plan(scopes: Sequence[Scope], kept: Scope, sizes: Mapping[int, int]) -> tuple[Path, Steps]:
    """Return an order of contractions, and what each does."""
    path: Path = list(paths.greedy(list(scopes), kept, dict(sizes)))
    steps = _steps(scopes, path, kept)
    if _largest_step(steps, sizes) > CHEAP_MULTIPLICATIONS:
        other = _elimination_path(scopes, kept, sizes)
        other_steps = _steps(scopes, other, kept)
        if _largest_step(other_steps, sizes) < _largest_step(steps, sizes):
            path, steps = other, other_steps
    return path, steps


def _table_size(scope: Collection[int], sizes: Mapping[int, int]) -> int:
    return math.prod(sizes[v] for v in scope)


def _largest_step(steps: Steps, sizes: Mapping[int, int]) -> int:
    return max(_table_size(touched, sizes) for touched, _ in steps)


def _steps(scopes: Sequence[Scope], path: Path, kept: Scope) -> Steps:
    work = list(scopes)
    count = Counter(v for scope in work for v in scope)
    steps = []
    for numbers in path:
        picked = [work.pop(i) for i in sorted(numbers, reverse=True)]
        count.subtract(v for scope in picked for v in scope)
        touched: Scope = frozenset().union(*picked)
        result = frozenset(v for v in touched if v in kept or count[v] > 0)
        count.update(result)
        work.append(result)
        steps.append((touched, result))
    return steps


def _elimination_path(scopes: Sequence[Scope], kept: Scope, sizes: Mapping[int, int]) -> Path:
    """Return the path that sums the units out one after another, least fill-in first.

    On tangled graphs this beats opt_einsum's greedy search, which looks at pairs
    of tables and not at units (random networks of 100 units with 3 inputs each:
    tables of 2^25 instead of 2^28).
    """
    work = list(scopes)
    path: Path = []
    for variable in _elimination_order(scopes, kept):
        while True:
            holders = [i for i, scope in enumerate(work) if variable in scope]
            pair = tuple(sorted(sorted(holders, key=lambda i: _table_size(work[i], sizes))[:2]))
            if not pair:
                break
            merged: Scope = frozenset().union(*(work.pop(i) for i in reversed(pair)))
            rest: Scope = frozenset().union(*work)
            work.append(frozenset(v for v in merged if v in kept or v in rest))
            path.append(pair)
            if len(holders) <= 2:
                break
    while len(work) > 1:
        path.append((0, 1))
        work.append(work.pop(0) | work.pop(0))
    return path or [(0,)]


def _elimination_order(scopes: Sequence[Scope], kept: Scope) -> list[int]:
    near: dict[int, set[int]] = defaultdict(set)
    for scope in scopes:
        for v in scope:
            near[v] |= scope - {v}
    left = set(near) - kept
    exact = len(left) <= EXACT_FILL_IN_UNITS

    def fill(v: int) -> tuple[int, int, int]:
        missing = sum(len(near[v] - near[a]) - 1 for a in near[v]) if exact else 0
        return missing, len(near[v]), v

    order = []
    while left:
        chosen = min(left, key=fill)
        order.append(chosen)
        left.discard(chosen)
        around = near.pop(chosen)
        for a in around:
            near[a] = (near[a] | around) - {a, chosen}
    return order


def _require_fit(
    steps: Steps, sizes: Mapping[int, int], labels: Sequence[str], budget: int
) -> None:
    largest = max((left for _, left in steps), key=lambda scope: _table_size(scope, sizes))
    widest = max((touched for touched, _ in steps), key=len)
    if len(widest) > MAX_EINSUM_AXES:
        largest = widest
    need = 8 * _table_size(largest, sizes)
    if need > budget or len(widest) > MAX_EINSUM_AXES:
        some = sorted(largest)
        known = [labels[v] for v in some if v < len(labels)]  # beyond are counts of wide gates
        names = first_names(known, 6)
        raise MemoryRefusedError(
            f"background: the exact posterior needs a table over {len(some)} units ({names}) of "
            f"{need / 2**30:.3g} GiB, more than the budget of {budget / 2**30:.3g} GiB; "
            "give a larger budget or a sparser substrate"
        )
