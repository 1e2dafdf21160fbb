"""The minimum partition of a sparse system in one direction.

mathematics.md 26. First partitions that are good, then guides: frontier programmes of the system
with inputs left out, each pruned by the one before. Then sweeps with sizes, first with the best
states of each step only. The last sweep keeps all that may tie: it proves the optimum, counts it
and names one.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.chord_bounds import backward_bounds, chord_numbers, relaxed_partition
from iitdask.kernels.frontier.frontier_states import Relaxed
from iitdask.kernels.frontier.local_costs import (
    HUGE_BITS,
    PART_BOTH,
    PART_IN,
    PART_OUT,
    LocalCosts,
    best_interval,
    descend,
    make_local_costs,
    partition_bits,
)
from iitdask.kernels.frontier.partial_partitions import TIE_BITS
from iitdask.kernels.frontier.relaxed_graphs import (
    BudgetError,
    build_graph,
    empty_graph,
    make_pruning,
    restrict_graph,
)
from iitdask.kernels.frontier.size_sweeps import sweep_sizes
from iitdask.kernels.frontier.thinned_inputs import thin_inputs, widest_frontier
from iitdask.kernels.frontier.tied_partitions import (
    count_tied_ways,
    first_tied_partition,
    severed_key,
)

FIRST_GUIDE_WIDTH, DESCENT_MIN_WIDTH = 3, 5
TWO_PARTS = ((PART_BOTH, PART_BOTH), (PART_IN, PART_OUT), (PART_OUT, PART_IN))  # Directions
GUIDE_STATES = 400_000  # Frontier states of a guide in one step, at most
BEAMS = (300, 3000)  # States that a sweep keeps which only looks for better partitions
BOUND_STEPS, BOUND_OCTAVES = (
    8,
    8,
)  # Prices at which a bound is tried: how many in each factor of two
BOUND_SHARE = 0.125  # Of the budget that each of these sweeps may try


class Minimum(NamedTuple):
    """Partitions of least ratio of bits to severed pairs, and among them of most pairs."""

    cost: float  # Bits lost
    pairs: int  # Severed
    ways: float  # How many there are; NaN where the budget did not suffice to count them
    key: NDArray[np.uint64]  # The named one, see system_witness
    is_proven: bool  # Whether no partition has a smaller ratio
    least_ratio: float  # That no partition is below; 0 where nothing is known


@dataclass(slots=True)
class PartitionSearch:
    """State of the search for the minimum partition in one direction."""

    costs: LocalCosts
    units: NDArray[np.int64]  # (n,) the number of each unit in order
    budget: float  # Transitions that may still be tried
    is_bounded: bool = (
        False  # Whether a least ratio is looked for where the budget does not suffice
    )
    bits: float = HUGE_BITS  # Of the best partition so far
    pairs: int = 1
    part: NDArray[np.int64] = field(init=False)
    direction: NDArray[np.int64] = field(init=False)
    guide: Relaxed = field(init=False, default_factory=empty_graph)  # The last that is complete

    def __post_init__(self) -> None:
        self.part = np.zeros(self.n + 1, np.int64)
        self.direction = np.zeros(self.n + 1, np.int64)

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def price(self) -> float:
        """Bits per severed pair of the best partition so far."""
        return self.bits / self.pairs

    def offer(self, part: NDArray[np.int64], direction: NDArray[np.int64]) -> bool:
        """Keep a partition if its ratio is smaller."""
        bits, pairs = partition_bits(self.costs, part, direction)
        if pairs == 0 or bits * self.pairs >= self.bits * pairs:
            return False
        self.bits, self.pairs = float(bits), int(pairs)
        self.part, self.direction = part.copy(), direction.copy()
        return True

    def find(self, zero: float) -> Minimum:
        """Run the search; see ``minimum_partition_by_frontier``."""
        part, direction = np.zeros((2, self.n + 1), np.int64)
        best_interval(self.costs, part, direction)
        self.offer(part, direction)
        given, first = self.budget, self.price
        try:
            ways = 1.0 if self.bits <= zero else self._prove(zero)
            least = max(0.0, self.price)
        except BudgetError:
            ways, least = np.nan, 0.0
            if self.is_bounded and self.bits > zero:
                least = self._bound(first, BOUND_SHARE * given)
        key = severed_key(self.part, self.direction, self.units)
        is_proven = bool(self.bits <= zero or not np.isnan(ways))
        ways = 1.0 if self.bits <= zero else ways
        return Minimum(self.bits, self.pairs, ways, key, is_proven, least)

    def _bound(self, first: float, budget: float) -> float:
        """Return a ratio that no partition is below: at lower prices sweeps end sooner.

        first : the price from which those that are tried descend; budget : of each sweep
        """
        beyond = BOUND_STEPS * BOUND_OCTAVES
        failed, proven = -1, beyond
        while proven - failed > 1:
            step = (failed + proven) // 2
            price = first * 2.0 ** (-step / BOUND_STEPS)
            if price < self.price and self._is_below_all(price, budget):
                proven = step
            else:
                failed = step
        if proven == beyond:
            return 0.0
        return float(max(0.0, first * 2.0 ** (-proven / BOUND_STEPS) - TIE_BITS))

    def _is_below_all(self, price: float, budget: float) -> bool:
        """Tell whether a sweep shows that every partition has at least this ratio."""
        if len(self.guide.source) == 0:
            return False
        try:
            found = sweep_sizes(self.costs, self.guide, price, 0, None, budget)
        except BudgetError:
            return False
        if found.ways is not None:
            part, direction = self.part.copy(), self.direction.copy()
            first_tied_partition(found.ways, self.units, part, direction)
            self.offer(part, direction)
        return found.ways is None

    def _prove(self, zero: float) -> float:
        """Improve the partition until nothing is better; returns how many there are."""
        guide, beams = self.last_guide(zero), [*BEAMS, None]
        while self.bits > zero:
            beam = beams[0]
            allowed = self.n**2 - self.pairs - (beam is not None)
            found = sweep_sizes(self.costs, guide, self.price, allowed, beam, self.budget)
            self.budget -= found.tried
            if found.ways is not None:
                ways, part, direction = found.ways, self.part.copy(), self.direction.copy()
                first_tied_partition(ways, self.units, part, direction)
                if found.value >= -TIE_BITS and beam is None:
                    self.bits, self.pairs = partition_bits(self.costs, part, direction)
                    self.part, self.direction = part, direction
                    return float(count_tied_ways(ways)[ways.ends].sum())
                if self.offer(part, direction):
                    continue
            if beam is None:
                return 1.0
            beams = beams[1:] if not found.is_complete else [None]
        return 1.0

    def last_guide(self, zero: float) -> Relaxed:
        """Build guides of growing width, the last one of the system itself if it is not too large.

        They offer partitions on the way; the search may be over with one that costs nothing.
        """
        width, guide = widest_frontier(self.costs.last)[0], empty_graph()
        chords, plain = chord_numbers(self.n)
        chords = chords[:plain]
        if width >= DESCENT_MIN_WIDTH:
            self._descend_from_intervals()
        for w in [*range(FIRST_GUIDE_WIDTH, width), width]:
            if self.bits <= zero:
                break
            is_strict, bounds = w == width, backward_bounds(guide, self.price, chords)
            costs = self.costs if is_strict else thin_inputs(self.costs, w)
            pruning = make_pruning(guide, bounds, self.price, chords, self.n)
            try:
                graph, tried = build_graph(costs, pruning, is_strict, GUIDE_STATES, self.budget)
            except BudgetError as error:
                self.budget -= error.args[0]
                if len(guide.source) == 0 or self.budget <= 0:
                    raise
                break
            self.budget -= tried
            self._follow_chords(graph, chords, zero if is_strict else None)
            less = restrict_graph(graph, self.price, chords) if self.bits > zero else graph
            guide = self.guide = less if less.starts[1] else graph
        return guide

    def _descend_from_intervals(self) -> None:
        """Descend from intervals of the order that go round, against the rest, and from the best.

        Each takes tens of microseconds; a good price leaves a fraction of what guides keep.
        """
        self._descend()
        place, n = np.arange(self.n + 1), self.n
        lengths = sorted({1, max(1, n // 8), max(1, n // 4), n // 2})
        starts = [(place - first) % n < k for k in lengths for first in range(n)]
        starts += [place < first for first in range(1, n)]
        for inside in starts:
            for two in TWO_PARTS:
                part, direction = inside.astype(np.int64), np.full(n + 1, PART_BOTH)
                direction[:2] = two
                descend(self.costs, part, direction)
                self.offer(part, direction)

    def _descend(self) -> None:
        part, direction = self.part.copy(), self.direction.copy()
        descend(self.costs, part, direction)
        self.offer(part, direction)

    def _follow_chords(self, graph: Relaxed, chords: NDArray[np.int64], zero: float | None) -> None:
        """Offer the partitions along the best ways of a graph, and where one is free that one."""
        part, direction = np.zeros((2, self.n + 1), np.int64)
        if zero is not None:
            bounds = backward_bounds(graph, 0.0, chords[:1])
            if bounds[0, 0] <= zero:
                relaxed_partition(graph, bounds, chords[:1], 0, 0.0, part, direction)
                self.offer(part, direction)
                return
        price = self.price
        bounds = backward_bounds(graph, price, chords)
        for x in range(len(chords)):
            if bounds[0, x] < HUGE_BITS:
                relaxed_partition(graph, bounds, chords, x, price, part, direction)
                self.offer(part, direction)
        if self.price < price:
            self._descend()


def minimum_partition_by_frontier(
    inputs: NDArray[np.int64],
    bits: NDArray[np.float64],
    units: NDArray[np.int64],
    zero: float,
    budget: float,
    is_bounded: bool = False,
) -> Minimum:
    """Find the minimum information partition of a sparse system in one direction.

    Parameters
    ----------
    inputs : (n, K) inputs of each unit by their place in the order, ascending, padded with -1
    bits : (n, 2**K) what each unit loses where only these of its inputs are kept
    units : (n,) the number of each unit in order
    zero : a cost up to this is no cost: the system is reducible
    budget : transitions that may be tried
    is_bounded : whether, where these do not suffice, as many again may be tried for a least ratio

    Returns
    -------
    Minimum, of which `is_proven` is false where the budget did not suffice: the partition is the
        best found, and `least_ratio` is one that no partition is below

    References
    ----------
    mathematics.md 8.3 and 26, Eq. (8.3).
    """
    costs = make_local_costs(inputs, bits)
    return PartitionSearch(costs, units, budget, is_bounded).find(zero)


def count_partitions_of_ratio(
    inputs: NDArray[np.int64],
    bits: NDArray[np.float64],
    units: NDArray[np.int64],
    ratio: float,
    pairs: int,
    budget: float,
) -> float:
    """Count the partitions of a ratio, the least there is, that sever so many pairs.

    Parameters
    ----------
    inputs, bits, units, budget : see ``minimum_partition_by_frontier``
    ratio : bits per severed pair, no larger than that of any partition
    pairs : severed

    Returns
    -------
    float, NaN where the budget does not suffice

    References
    ----------
    mathematics.md 21.5 and 26.6.
    """
    search = PartitionSearch(
        make_local_costs(inputs, bits), units, budget, bits=ratio * pairs, pairs=pairs
    )
    try:
        guide = search.last_guide(-HUGE_BITS)
        allowed = search.n**2 - pairs
        found = sweep_sizes(search.costs, guide, ratio, allowed, None, search.budget)
    except BudgetError:
        return float("nan")
    if found.ways is None or found.severed != pairs:
        return 0.0
    return float(count_tied_ways(found.ways)[found.ways.ends].sum())
