"""Candidate systems that can be irreducible, found without looking at all subsets.

Irreducible candidates are strongly connected in the graph of effective inputs, and in that of
determining sets (model/influence.py) for every choice of these: docs/mathematics.md 24.2 has the
proof. Where a severed edge must show on both sides (IIT 3.0 compares whole structures), the graph
of inputs that either side varies with must be strongly connected (``jointly``).

The graphs of a set contain the graphs of its parts. So sets are split into strongly connected
components until nothing falls apart any more, and the parts of a component are enumerated by
fixing, one unit after another, whether it belongs (24.3): a set that has fallen away from the
fixed units takes all its subsets with it.

phi_s of many candidate systems is one stage: each block evaluates whole candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import comb, prod
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError, MemoryRefusedError, UnreachableStateError
from iitdask.kernels.iit4.candidate_phi import UnitFactors, fill_candidate_phis, make_candidate_phis
from iitdask.model.candidate_set import CandidateSet, Influence, flat_factors
from iitdask.model.labels import units_of_mask
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.frontier_search import (
    DENSE_MAX_UNITS,
    MIN_DENSE_STEPS,
    plan_frontier,
)
from iitdask.theory.iit4.phi_bounds import cap_phi
from iitdask.theory.iit4.recipe import sia
from iitdask.theory.iit4.system_analysis import is_bipartite
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import (
    Array,
    CumulativeCost,
    Grid,
    Recipe,
    Region,
    Stage,
    Steps,
    gather,
    scoped,
)
from iitdask.theory.variables import variable

MAX_COMPONENT_CANDIDATES = 1 << 22  # Of one component; beyond, a smaller max_size is asked for
SPARSE_MAX_INPUTS = 6  # Up to which a unit's graph is taken anew for every set of a component


@dataclass(frozen=True, slots=True)
class CandidateSets:
    """Candidates to be evaluated, and what became of the others."""

    candidates: tuple[tuple[int, ...], ...]  # Unit numbers, larger ones first (mathematics.md 9)
    components: tuple[tuple[int, ...], ...]  # That can hold irreducible ones, of all subsets
    all_subsets: int  # Non-empty subsets of the pool
    n_without_input_or_output: int  # Of those, with a unit without declared inputs or outputs
    n_not_strongly_connected: int  # Of the others, on the effect or cause side
    n_not_searched: int  # Subsets of components beyond the largest size, or not listed

    @property
    def exhaustive(self) -> bool:
        """True if every subset was evaluated or shown to be reducible."""
        return self.n_not_searched == 0


def candidate_search(pool: CandidateSet, jointly: bool = False) -> CandidateSets:
    """Find the candidates that no certificate excludes.

    ``jointly`` excludes only what falls apart in the union of the effect and the cause graph.
    Raises InputError if there are too many of them for a list. mathematics.md 24.
    """
    graphs = _Graphs(Influence(pool.substrate, pool.state, pool.background), jointly)
    able, total = pool.units_with_inputs_and_outputs, (1 << len(pool.units)) - 1
    if pool.candidates is not None:
        able_candidates = [units for units in pool.candidates if set(units) <= set(able)]
        irreducible = tuple(units for units in able_candidates if graphs.holds(units))
        return CandidateSets(
            candidates=irreducible,
            components=(),
            all_subsets=total,
            n_without_input_or_output=len(pool.candidates) - len(able_candidates),
            n_not_strongly_connected=len(able_candidates) - len(irreducible),
            n_not_searched=total - len(pool.candidates),
        )
    components = sorted(_irreducible_components(graphs, able))
    n_able = (1 << len(able)) - 1
    candidates: list[tuple[int, ...]] = []
    n_not_searched = 0
    for component in components:
        size = len(component)
        candidates += _Component(graphs, component, min(pool.largest, size)).candidates(pool)
        n_not_searched += sum(comb(size, k) for k in range(pool.largest + 1, size + 1))
    candidates.sort(key=lambda units: (-len(units), tuple(-i for i in reversed(units))))
    return CandidateSets(
        candidates=tuple(candidates),
        components=tuple(components),
        all_subsets=total,
        n_without_input_or_output=total - n_able,
        n_not_strongly_connected=n_able - n_not_searched - len(candidates),
        n_not_searched=n_not_searched,
    )


class _Graphs:
    """Graphs of inputs among a set of units, on both sides, as masks over those units."""

    def __init__(self, influence: Influence, jointly: bool) -> None:
        self._influence, self.jointly = influence, jointly
        self._side = influence.effective if jointly else influence.causes

    def choices(self, units: Sequence[int]) -> list[tuple[int, ...]]:
        """Per unit, masks of its minimal determining sets among the units."""
        if self.jointly:
            return [(mask,) for mask in self.inputs(units)]
        position = {unit: k for k, unit in enumerate(units)}
        sets = (self._influence.determining(unit, position.keys()) for unit in units)
        return [tuple(_local_mask(position, each) for each in of_unit) for of_unit in sets]

    def inputs(self, units: Sequence[int]) -> list[int]:
        """Per unit, the mask of its effective inputs on the cause side, or on either."""
        position = {unit: k for k, unit in enumerate(units)}
        return [_local_mask(position, self._side(unit, position.keys())) for unit in units]

    def declared(self, units: Sequence[int]) -> list[int]:
        """Per unit, the mask of its declared inputs."""
        position = {unit: k for k, unit in enumerate(units)}
        return [
            _local_mask(position, position.keys() & set(self._influence.parents(unit)))
            for unit in units
        ]

    def inputs_of(self, units: Sequence[int], k: int, mask: int) -> int:
        """Return `inputs` of one unit where those of its inputs that the mask has are inside."""
        inside = {units[j]: j for j in units_of_mask(mask)}
        return _local_mask(inside, self._side(units[k], inside.keys()))

    def holds(self, units: Sequence[int]) -> bool:
        """Return True if no certificate excludes a candidate."""
        full = (1 << len(units)) - 1
        return _Component(self, tuple(units), len(units)).reduced(full, full) == full


def find_certificate(
    pool: CandidateSet, units: Sequence[int], jointly: bool = False
) -> tuple[str, tuple[int, ...]] | None:
    """Return a cut that loses nothing, None if no such cut shows at once, mathematics.md 24.2.

    That is the side on which it loses nothing, ``effect``, ``cause`` or ``both``, and the smallest
    set found that needs nothing from the rest of the candidate: the cut severs all connections from
    the rest into these units; of a single unit, its connection to itself.
    """
    graphs = _Graphs(Influence(pool.substrate, pool.state, pool.background), jointly)
    choices, full = graphs.choices(units), (1 << len(units)) - 1
    sides = {"both": choices}
    if not jointly:
        sides = {"effect": choices, "cause": [(mask,) for mask in graphs.inputs(units)]}
    cuts: list[tuple[int, int, str]] = []
    for side, needs in sides.items():
        for k, sets in enumerate(needs):
            part = _closed_set(needs, 1 << k, full)
            if part != full or (len(units) == 1 and 0 in sets):
                cuts.append((part.bit_count(), part, side))
    if not cuts:
        return None
    _, part, side = min(cuts)
    return side, units_of_mask(part, units)


def _local_mask(place: Mapping[int, int], units: Iterable[int]) -> int:
    return sum(1 << place[unit] for unit in units)


def _transposed(inputs: Sequence[int]) -> list[int]:
    outputs = [0] * len(inputs)
    for b, mask in enumerate(inputs):
        for a in units_of_mask(mask):
            outputs[a] |= 1 << b
    return outputs


def _reachable(steps: Sequence[int], start: int, inside: int, most: int = -1) -> int:
    """Units reached from a set within ``inside``, in at most so many steps (-1: any number)."""
    seen = front = start
    while front and most:
        new = 0
        for k in units_of_mask(front):
            new |= steps[k]
        front = new & inside & ~seen
        seen |= front
        most -= 1
    return seen


def _strong_components(inputs: Sequence[int]) -> Iterator[int]:
    """Masks of the strongly connected components that contain a cycle."""
    outputs = _transposed(inputs)
    left = (1 << len(inputs)) - 1
    while left:
        low = left & -left
        part = _reachable(outputs, low, left) & _reachable(inputs, low, left)
        if part != low or inputs[low.bit_length() - 1] & low:
            yield part
        left &= ~part


def _closed_set(choices: Sequence[Sequence[int]], start: int, inside: int, avoided: int = 0) -> int:
    """Grow a set until each of its units has a determining set in it, avoiding some units."""
    closed = waiting = start
    while waiting:
        low = waiting & -waiting
        waiting ^= low
        wanted = min(
            (choice & inside & ~closed for choice in choices[low.bit_length() - 1]),
            key=lambda new: (bool(new & avoided), new.bit_count()),
        )
        closed |= wanted
        waiting |= wanted
    return closed


def _irreducible_components(graphs: _Graphs, units: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Sets that hold every irreducible candidate and do not fall apart as a whole."""
    waiting = [tuple(units)]
    while waiting:
        now = waiting.pop()
        parts = _split(graphs, now)
        if parts is None:
            yield now
        else:
            waiting += [units_of_mask(mask, now) for mask in parts if mask]


def _split(graphs: _Graphs, units: Sequence[int]) -> list[int] | None:
    """Masks of what a set falls into, None when it does not."""
    full = (1 << len(units)) - 1
    choices = graphs.choices(units)
    for inputs in ([each[0] for each in choices], graphs.inputs(units)):
        parts = list(_strong_components(inputs))
        if parts != [full]:
            return parts
    if any(len(each) > 1 for each in choices):
        for k in range(len(units)):
            closed = _closed_set(choices, 1 << k, full)
            if closed != full:
                return [closed, full & ~closed]
    return None


class _Component:
    """A component, and the candidates within it."""

    def __init__(self, graphs: _Graphs, units: tuple[int, ...], largest: int) -> None:
        self._graphs, self._units, self._largest = graphs, units, largest
        self._choices = graphs.choices(units)
        self._choosy = any(len(each) > 1 for each in self._choices)
        inputs = [each[0] for each in self._choices]
        self._effect = inputs, _transposed(inputs)
        inputs = graphs.inputs(units)
        self._cause = inputs, _transposed(inputs)
        self._sparse = all(mask.bit_count() <= SPARSE_MAX_INPUTS for mask in inputs)
        self._declared = graphs.declared(units)
        self._local: dict[tuple[int, int], int] = {}  # Cause inputs by unit and the inputs inside

    def candidates(self, pool: CandidateSet) -> Iterator[tuple[int, ...]]:
        """Every part of the component that the certificate leaves, in some order."""
        full = (1 << len(self._units)) - 1
        count = 0
        for k in range(len(self._units)):
            for mask in self._within(full & ~((1 << k) - 1), 1 << k):
                count += 1
                if count > MAX_COMPONENT_CANDIDATES:
                    names = ", ".join(pool.labels[u] for u in self._units[:6])
                    raise InputError(
                        f"complexes: the {len(self._units)} strongly connected units {names}, ... "
                        f"have more than {MAX_COMPONENT_CANDIDATES} candidates; give max_size or "
                        "candidates"
                    )
                yield units_of_mask(mask, self._units)

    def _within(self, most: int, least: int) -> Iterator[int]:
        """Candidates that contain ``least`` and lie within ``most``."""
        pending = [(most, least)]
        while pending:
            most, least = pending.pop()
            if least.bit_count() == self._largest:
                most = least
            most = self.reduced(most, least)
            if least & ~most:
                continue
            if most == least:
                yield least
                continue
            free = most & ~least
            chosen = free & -free
            pending.append((most & ~chosen, least))
            pending.append((most, least | chosen))

    def reduced(self, most: int, least: int) -> int:
        """Return what stays strongly connected with the fixed units, 0 if they fall apart."""
        root = least & -least
        far = self._largest - 1
        while True:
            before = most
            for inputs, outputs in (self._effect, self._causes_within(most)):
                near = _reachable(inputs, root, most, far)
                most = near & _reachable(outputs, root, near, far)
                if least & ~most or (most == root and not inputs[root.bit_length() - 1] & root):
                    return 0
            if self._choosy:
                most = self._uncut(most, least, root)
            if most == before or not most:
                return most

    def _uncut(self, most: int, least: int, root: int) -> int:
        """Apply closed sets: a candidate lies within each or outside it."""
        for k in units_of_mask(most):
            if not most >> k & 1:
                continue
            closed = _closed_set(self._choices, 1 << k, most, root)
            most = most & closed if closed & root else most & ~closed
            if least & ~most:
                return 0
        return most

    def _causes_within(self, mask: int) -> tuple[Sequence[int], Sequence[int]]:
        if not self._sparse or mask.bit_count() == len(self._units):
            return self._cause
        inputs = [0] * len(self._units)
        for k in units_of_mask(mask):
            key = k, mask & self._declared[k]
            if key not in self._local:
                self._local[key] = self._graphs.inputs_of(self._units, k, key[1])
            inputs[k] = self._local[key]
        return inputs, _transposed(inputs)


@dataclass(frozen=True, slots=True)
class CandidatePhi:
    """Integrated information of candidates."""

    phi: Array  # (C,) bits
    reason: Array  # (C,) int64 why it is 0, see :class:`Reason`; 0 where it is not


# Evaluates candidates of a pool under a theory's options
Evaluate = Callable[[CandidateSet, Sequence[tuple[int, ...]], Any], Steps[CandidatePhi]]


def candidate_name(units: Sequence[int]) -> str:
    """Return the name of a candidate in names of stages: its numbers, joined by hyphens."""
    return "-".join(map(str, units))


def evaluate(
    pool: CandidateSet, candidates: Sequence[tuple[int, ...]], options: Unfolding
) -> Steps[CandidatePhi]:
    """Compute phi of candidates under IIT 4.0; the 2026 theory caps what the 2023 one gives."""
    if is_bipartite(options):
        return (yield from evaluate_one_by_one(sia, pool, candidates, options))
    out = CandidatePhi(np.zeros(len(candidates)), np.zeros(len(candidates), np.int64))
    is_large = np.array([_is_large(pool, units, options) for units in candidates], bool)
    for rows, part in ((~is_large, _evaluate_by_tables), (is_large, _evaluate_along_edges)):
        chosen = [candidates[k] for k in np.flatnonzero(rows).tolist()]
        if chosen:
            found = yield from part(pool, chosen, options)
            out.phi[rows], out.reason[rows] = found.phi, found.reason
    return out


def _is_large(pool: CandidateSet, units: Sequence[int], options: Unfolding) -> bool:
    """Whether a candidate is analysed by itself, its partitions along its connections."""
    states = prod(pool.substrate.levels[unit] for unit in units)
    return options.search != "dense" and max(4.0 ** len(units), states**2.0) >= MIN_DENSE_STEPS


def _evaluate_along_edges(
    pool: CandidateSet, candidates: Sequence[tuple[int, ...]], options: Unfolding
) -> Steps[CandidatePhi]:
    """Compute phi of large candidates, NaN where their partitions are too many to be searched."""
    return (yield from evaluate_one_by_one(_affordable_sia, pool, candidates, options))


def _affordable_sia(system: CandidateSystem, options: Unfolding) -> Recipe:
    """Analyse a system unless that takes too much memory, or too long: then phi is NaN."""
    if system.n <= DENSE_MAX_UNITS or plan_frontier(system, options) is not None:
        with suppress(MemoryRefusedError):
            return (yield from sia(system, options))
    return xr.DataTree.from_dict({"/system": xr.Dataset({"phi": np.nan})})


def _evaluate_by_tables(
    pool: CandidateSet, candidates: Sequence[tuple[int, ...]], options: Unfolding
) -> Steps[CandidatePhi]:
    """Compute phi of candidates in one stage, by tables over the states of each."""
    (filled,) = yield (candidates_stage(pool, candidates),)
    phi, reason = filled["phi"].values, filled["reason"].values.copy()
    if isinstance(options, IIT42026):
        is_specified = options.differentiation == "specified"
        probabilities = filled["selectivity" if is_specified else "now"].values
        capped, _ = cap_phi(phi, filled["information"].values, probabilities)
        if is_specified:  # which of several tied pairs is named can matter: ask the full analysis
            tied = np.flatnonzero((filled["n_tied_states"].values > 1) & (phi > 0))
            of_tied = [candidates[int(k)] for k in tied]
            again = yield from evaluate_one_by_one(sia, pool, of_tied, options)
            capped[tied] = again.phi
        reason[(capped == 0) & (reason == Reason.NONE)] = Reason.CAPPED
        phi = capped
    return CandidatePhi(phi, reason)


def evaluate_one_by_one(
    analysis: Callable[[Any, Any], Recipe],
    pool: CandidateSet,
    candidates: Sequence[tuple[int, ...]],
    options: Any,
) -> Steps[CandidatePhi]:
    """Compute phi of candidates by a theory's own analysis of one system, under one plan.

    The recipe ``analysis`` of a system leaves a scalar ``phi`` at its node ``/system``.
    """
    phi, reason = np.zeros(len(candidates)), np.zeros(len(candidates), np.int64)
    recipes: dict[str, Recipe] = {}
    for k, units in enumerate(candidates):
        try:
            system = pool.system(units)
        except UnreachableStateError:
            reason[k] = Reason.UNREACHABLE
            continue
        recipes[str(k)] = scoped(f"candidates/{candidate_name(units)}", analysis(system, options))
    trees = yield from gather(recipes)
    for name, tree in trees.items():
        phi[int(name)] = float(tree["system"]["phi"])
        reason[int(name)] = Reason.NONE if phi[int(name)] > 0 else Reason.REDUCIBLE
        if np.isnan(phi[int(name)]):
            reason[int(name)] = Reason.UNDECIDED
    return CandidatePhi(phi, reason)


def candidates_stage(pool: CandidateSet, candidates: Sequence[tuple[int, ...]]) -> Stage:
    """Return the stage over candidates; a cell is a whole candidate."""
    levels = pool.substrate.levels
    widest = max(len(units) for units in candidates)
    rows = np.full((len(candidates), widest), -1, np.int64)
    for k, units in enumerate(candidates):
        rows[k, : len(units)] = units
    net = flat_factors(pool, {unit for units in candidates for unit in units})
    costs = np.array([_candidate_seconds(levels, units) for units in candidates])
    # Same units, same rows of the posterior: what a unit's columns take beside the searches.
    scan = np.diff(net["table_starts"]) * 4e-9
    costs += [sum(scan[unit] for unit in units) for units in candidates]
    most = max(prod(levels[u] for u in units) for units in candidates)
    scratch = 16 * most * max(sum(levels[u] for u in units) for units in candidates)
    scratch += 200 * 2**widest
    if scratch > 2 * pool.background.budget:
        raise MemoryRefusedError(
            f"complexes: a candidate of {widest} units needs {scratch / 2**30:.3g} GiB; "
            "give max_size"
        )
    sides = (("direction", 2),)
    return Stage(
        name="candidates",
        version=2,
        grid=Grid(("candidate",), (len(candidates),)),
        variables=(
            variable("phi", "float64", np.nan),
            *(
                variable(name, "float64", np.nan, sides)
                for name in ("information", "now", "selectivity")
            ),
            variable("reason", "int64", -1),
            variable("n_tied_states", "int64", 0),
        ),
        compute=fill_candidates,
        inputs={"candidates": rows, **net},
        axis_masks={"candidate": np.array([sum(1 << u for u in units) for units in candidates])},
        cost=CumulativeCost.from_seconds(costs),
        scratch=scratch,
    )


def _candidate_seconds(levels: Sequence[int], units: Sequence[int]) -> float:
    """Return the seconds of one candidate's searches when nothing shows that phi is 0."""
    n, states = len(units), prod(levels[u] for u in units)
    return float(3e-6 + 0.3e-9 * states**2 + 1e-7 * n * 2**n + 7e-9 * 4.0**n)


def fill_candidates(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Evaluate a range of candidates."""
    begin, end = region[0].start, region[0].stop
    factors = UnitFactors(*(inputs[name] for name in UnitFactors._fields))
    out = make_candidate_phis(end - begin)
    fill_candidate_phis(inputs["candidates"], begin, end, factors, out)
    return out._asdict()
