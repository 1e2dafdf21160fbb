"""Relations: their number, sums, faces, and what each distinction contributes to Phi.

A distinction binds a set of unit-states u_d, the union of its cause's and its effect's. Any set of
two or more distinctions whose u_d intersect is a relation, and one whose cause and effect intersect
is a self-relation; there can be 2**D of them, so they are summed and counted without being listed.
Numbers are exact integers and fractions until they are reported.

References: docs/mathematics.md 11 and 23.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import compress, islice
from math import comb
from operator import or_

import numpy as np

from iitdask.theory.stage import Array

ALL_DEGREES_MAX_DISTINCTIONS = 1024  # beyond, only the first degrees are counted one by one
COUNTED_DEGREES = 64
FIXED_POINT_BITS = 1200  # every double is a whole multiple of 2**-1074
FEW_UNIT_STATES = 10  # up to which superset sums take no time
SETS_PER_DISTINCTION = 64  # of unit-states, up to which superset sums are quicker than anything
DENSE_MAX_UNIT_STATES = 26  # superset sums over this many unit-states fit in memory
MAX_MEMBER_STATES = 1 << 19  # sets of distinctions that have unit-states in common, kept at a time
MAX_MEMBER_WORDS = 1 << 28  # of 64 bits, that all of these take over all steps
MAX_HELD_WORDS = 1 << 25  # the same at one step
HORNER_MEMBERS = 64  # of a sum of minima that is taken one by one
EACH_MAX_UNIT_STATES, EACH_MAX_SETS = 20, 2**24  # the same for one distinction after the other
EXTENSIONS_AT_ONCE = 64  # of a set of distinctions, that are looked for by decreasing phi
UNSCALED_MAX_MEMBERS = 960  # distinctions over one unit-state whose sums are doubles as they are


@dataclass(frozen=True, slots=True)
class Bindings:
    """Unit-states that distinctions bind, as bitmasks, and phi of the distinctions."""

    phi: Array  # (D,) phi_d, bits
    cause: tuple[int, ...]  # Unit-states of the cause purview, bitmask
    effect: tuple[int, ...]  # Unit-states of the effect purview, bitmask

    @property
    def union(self) -> list[int]:
        """Unit-states of cause and effect together, bitmasks."""
        return [c | e for c, e in zip(self.cause, self.effect, strict=True)]

    @property
    def share(self) -> list[float]:
        """r_d = phi_d / |u_d|, bits per unit-state."""
        return [float(p) / u.bit_count() for p, u in zip(self.phi, self.union, strict=True)]


@dataclass(frozen=True, slots=True)
class RelationSums:
    """Totals over all relations, exact but for folds."""

    count: int | None  # None where counting takes too long
    phi: Fraction  # Sum of phi_r, bits
    # Relations of 1, 2, ... distinctions; cut off for very many distinctions, and with the count
    by_degree: tuple[int, ...]
    fold: Array  # (D,) phi of each distinction and its part of that of its relations, bits, or inf
    log2_fold: Array  # (D,) log2 of it


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation."""

    distinctions: tuple[int, ...]  # Positions of the related distinctions, ascending
    overlap: int  # Unit-states they have in common, bitmask
    phi: float  # Integrated information of the relation, bits


def relation_sums(bindings: Bindings) -> RelationSums:
    """Count and sum all relations without listing them.

    Parameters
    ----------
    bindings : unit-states that distinctions bind, and their phi

    Returns
    -------
    RelationSums, exact totals

    References
    ----------
    docs/mathematics.md 11.2, Eqs. (11.4) to (11.6), and 23.
    """
    loops = sum(1 for c, e in zip(bindings.cause, bindings.effect, strict=True) if c & e)
    union = bindings.union
    weights, count = _signed_multiplicities(union), None
    degrees: tuple[int, ...] = (loops,)
    if weights is not None:
        count = loops + sum(w * (2**m - m - 1) for m, w in weights.items())
        degrees = (loops, *_degrees(weights, len(union)))
    share = bindings.share
    order = sorted(range(len(share)), key=share.__getitem__)
    inside = _unit_states_inside([union[d] for d in order])
    ascending = [share[d] for d in order]
    common = [(bindings.cause[d] & bindings.effect[d]).bit_count() for d in order]
    fold = _folds(bindings.phi[order], np.array(ascending), np.array(common), inside)
    fold[:, order] = fold.copy()
    phi = _relation_phi(ascending, common, inside)
    return RelationSums(count, phi, degrees, *fold)


def fixed_big_phi(phi: Sequence[float], union: Sequence[int], common: Sequence[int]) -> int:
    """Return Phi of distinctions as a multiple of 2**-FIXED_POINT_BITS, exactly.

    Parameters
    ----------
    phi : (D,) phi_d, bits
    union : (D,) unit-states that each binds, bitmasks
    common : (D,) unit-states in both its cause and its effect

    Returns
    -------
    int

    References
    ----------
    docs/mathematics.md 11.2, Eq. (11.4).
    """
    share = [p / u.bit_count() for p, u in zip(phi, union, strict=True)]
    order = sorted(range(len(share)), key=share.__getitem__)
    ascending, own = [share[d] for d in order], [common[d] for d in order]
    relations = _relation_phi(ascending, own, _unit_states_inside([union[d] for d in order]))
    return sum(map(fixed_point, phi)) + int(relations * (1 << FIXED_POINT_BITS))


def _unit_states_inside(union: Sequence[int]) -> Array:
    """Return whether each distinction binds each unit-state, (D, unit-states) uint8."""
    width = (max(union, default=0).bit_length() + 7) // 8
    packed = b"".join(u.to_bytes(width, "little") for u in union)
    masks = np.frombuffer(packed, np.uint8).reshape(len(union), width)
    return np.unpackbits(masks, axis=1, bitorder="little")


def _relation_phi(ascending: Sequence[float], common: Sequence[int], inside: Array) -> Fraction:
    """Sum phi over all relations, Eq. (11.4), from ascending shares."""
    scaled = [fixed_point(r) for r in ascending]
    total = sum(r * k for r, k in zip(scaled, common, strict=True) if k)
    for is_member in inside.T.tolist():
        total += _sum_of_minima(list(compress(scaled, is_member)))
    return Fraction(total, 1 << FIXED_POINT_BITS)


def _folds(phi: Array, share: Array, common: Array, inside: Array) -> Array:
    """Return (2, D) what each distinction contributes to Phi, bits, and its log2.

    Parameters
    ----------
    phi : (D,) phi_d, bits, of distinctions with ascending shares
    share : (D,) r_d, bits per unit-state, ascending
    common : (D,) unit-states in both cause and effect
    inside : (D, unit-states) whether a distinction binds a unit-state, uint8

    Returns
    -------
    Array, inf where a double cannot hold it

    References
    ----------
    docs/mathematics.md, Eq. (11.8).
    """
    total, exponent = phi + common * share, np.zeros(len(phi), int)
    members = inside.sum(axis=0, dtype=int)
    scales = np.maximum(members - UNSCALED_MAX_MEMBERS, 0)
    for scale in sorted(set(scales.tolist())):
        chosen = inside[:, scales == scale] if scales.any() else inside
        above = chosen.sum(axis=0, dtype=int) - np.cumsum(chosen, axis=0, dtype=int)
        least, other = _fold_weights(int(above.max(initial=0)) + 1, scale)
        own = chosen * share[:, None]
        passed = own * other[above]
        part = (own * least[above] + chosen * (np.cumsum(passed, axis=0) - passed)).sum(axis=1)
        if scale:  # sums over other unit-states may be far smaller
            total = np.where(part > 0, np.ldexp(total, exponent - scale), total)
            exponent = np.where(part > 0, scale, exponent)
        total += part
    with np.errstate(over="ignore", divide="ignore"):
        return np.stack([np.ldexp(total, exponent), np.log2(total) + exponent])


@lru_cache(maxsize=4)
def _fold_weights(count: int, scale: int) -> tuple[Array, Array]:
    """Weights of Eq. (11.8) of 0 to `count` - 1 distinctions above, over 2**scale."""
    above = np.arange(count)
    half = np.ldexp(0.5, -above)  # 2**-(above + 1)
    least = np.ldexp((1 - half) / (above + 1) - half, above + 1 - scale)
    pairs = np.maximum(above * (above + 1.0), 1.0)
    other = np.ldexp((2 * (above - 1) + 4 * half) / pairs, above - 1 - scale)
    return least, other


def fixed_point(value: float) -> int:
    """Return a double as a multiple of 2**-FIXED_POINT_BITS, exactly."""
    mantissa, power = math.frexp(value)
    return int(mantissa * 2**53) << (power - 53 + FIXED_POINT_BITS)


def _sum_of_minima(ascending: Sequence[int]) -> int:
    """Sum, over subsets of two or more, the least member: r_(j) leads 2**(m - j) - 1 of them."""
    return _halving_sum(ascending) - sum(ascending)


def _halving_sum(ascending: Sequence[int]) -> int:
    """Sum r_(j) 2**(m - j), the last as it is; long sums in halves, which have fewer digits."""
    if len(ascending) > HORNER_MEMBERS:
        middle = len(ascending) // 2
        first, second = ascending[:middle], ascending[middle:]
        return (_halving_sum(first) << len(second)) + _halving_sum(second)
    total = 0
    for r in ascending:  # Horner's rule, the least shifted farthest
        total = (total << 1) + r
    return total


def _signed_multiplicities(union: Sequence[int]) -> dict[int, int] | None:
    """Sum (-1)**(|A| - 1) over the sets A of unit-states that lie in exactly m of the u_d, by m.

    None where that takes too long.
    """
    every = reduce(or_, union, 0)
    used = [bit for bit in range(every.bit_length()) if every >> bit & 1]
    packed = union
    if every >> len(used):  # leave out the bits that are never used
        known = {u: _packed(u, used) for u in set(union)}
        packed = [known[u] for u in union]
    if len(used) > FEW_UNIT_STATES and 1 << len(used) > SETS_PER_DISTINCTION * len(union):
        found = _multiplicities_by_members(packed)
        if found is not None or len(used) > DENSE_MAX_UNIT_STATES:
            return found
    inside = _distinctions_binding(packed, len(used))
    odd = np.zeros(1, bool)
    for _ in used:
        odd = np.concatenate([odd, ~odd])
    out: dict[int, int] = {}
    for sign, sizes in ((1, inside[odd]), (-1, inside[~odd][1:])):  # without the empty set
        counts = np.bincount(sizes)
        for m in np.flatnonzero(counts).tolist():
            if m:
                out[m] = out.get(m, 0) + sign * int(counts[m])
    return out


def relations_of_each(bindings: Bindings) -> list[int] | None:
    """Count the relations that each distinction takes part in, without listing them.

    Parameters
    ----------
    bindings : unit-states that distinctions bind, and their phi

    Returns
    -------
    list of int, or None where distinctions bind too many unit-states to look at every set of them

    References
    ----------
    docs/mathematics.md 11.2, Eq. (11.6) over the sets of unit-states that one distinction binds.
    """
    union = bindings.union
    every = reduce(or_, union, 0)
    used = [bit for bit in range(every.bit_length()) if every >> bit & 1]
    if len(used) > EACH_MAX_UNIT_STATES or sum(2 ** u.bit_count() for u in union) > EACH_MAX_SETS:
        return None
    inside = _distinctions_binding([_packed(u, used) for u in union], len(used))
    counts = []
    for d, u in enumerate(union):
        subsets, odd = np.zeros(1, np.int64), np.zeros(1, bool)
        for k, bit in enumerate(used):
            if u >> bit & 1:
                subsets = np.concatenate([subsets, subsets | 1 << k])
                odd = np.concatenate([odd, ~odd])
        members = inside[subsets]
        signs = np.bincount(members[odd], minlength=len(union) + 1)
        signs = signs - np.bincount(members[~odd][1:], minlength=len(union) + 1)
        # Of m distinctions that bind a set, 2**(m - 1) - 1 choices hold this one and another.
        own = sum(int(signs[m]) * (2 ** (m - 1) - 1) for m in np.flatnonzero(signs).tolist())
        counts.append(own + bool(bindings.cause[d] & bindings.effect[d]))
    return counts


def _packed(mask: int, used: Sequence[int]) -> int:
    """Return a bitmask without the bits that are never used."""
    return sum(1 << k for k, bit in enumerate(used) if mask >> bit & 1)


def _distinctions_binding(packed: Sequence[int], width: int) -> Array:
    """Return, for every set of unit-states, how many distinctions bind all of them, int32."""
    inside = np.bincount(packed, minlength=1 << width).astype(np.int32)
    for b in range(width):
        halves = inside.reshape(-1, 2, 1 << b)
        halves[:, 0] += halves[:, 1]
    return inside


def _multiplicities_by_members(packed: Sequence[int]) -> dict[int, int] | None:
    """Do the same for many unit-states, taken up one by one: mathematics.md 23.2.

    A state is the set of distinctions that bind all unit-states chosen so far, with the sum of the
    signs of the choices; where one more unit-state leaves the set as it is, they cancel.
    """
    times = Counter(packed)
    binding = sorted(times)
    members = [0] * max(binding, default=0).bit_length()
    for k, mask in enumerate(binding):
        for bit in range(mask.bit_length()):
            members[bit] |= (mask >> bit & 1) << k
    signs, work = {(1 << len(binding)) - 1: -1}, 0
    for bit in _by_distance(binding, len(members)):
        held = len(signs) * (len(binding) // 64 + 1)
        work += held
        if work > MAX_MEMBER_WORDS or held > MAX_HELD_WORDS or len(signs) > MAX_MEMBER_STATES:
            return None
        following = dict(signs)
        for state, sign in signs.items():
            within = state & members[bit]
            if within:
                left = following.get(within, 0) - sign
                if left:
                    following[within] = left
                else:
                    del following[within]
        signs = following
    kinds = dict.fromkeys(set(times.values()), 0)
    for k, mask in enumerate(binding):
        kinds[times[mask]] |= 1 << k
    out = {len(packed): 1}  # the empty set is none of the sets A
    for state, sign in signs.items():
        m = sum(k * (state & mask).bit_count() for k, mask in kinds.items())
        out[m] = out.get(m, 0) + sign
    return out


def _by_distance(binding: Sequence[int], count: int) -> list[int]:
    """Order unit-states so that each follows those that most distinctions bind together."""
    if not count:
        return []
    inside = _unit_states_inside(binding)[:, :count].astype(float)
    together = inside.T @ inside
    left, order, near = set(range(1, count)), [0], together[0].copy()
    while left:
        best = max(sorted(left), key=near.__getitem__)
        left.remove(best)
        order.append(best)
        near += together[best]
    return order


def _degrees(weights: dict[int, int], distinctions: int) -> list[int]:
    """Count relations of 2, 3, ... distinctions: sum over A the ways to choose among its m."""
    if distinctions > ALL_DEGREES_MAX_DISTINCTIONS:
        counts = [0] * (COUNTED_DEGREES - 1)
        for m, w in weights.items():
            ways = w * comb(m, 2)
            for k in range(len(counts)):  # from the ways to choose k + 2 to those of one more
                counts[k] += ways
                ways = ways * (m - k - 2) // (k + 3)
        return counts
    # One whole number holds the polynomial: a coefficient is at most 2**distinctions.
    width = distinctions // 8 + 2  # bytes each
    packed = 0
    for m in range(max(weights, default=0), -1, -1):  # Horner in 1 + x, at x = 256**width
        packed += (packed << 8 * width) + weights.get(m, 0)
    data = packed.to_bytes(width * (distinctions + 1), "little")
    poly = [int.from_bytes(data[k : k + width], "little") for k in range(0, len(data), width)]
    while len(poly) > 2 and poly[-1] == 0:
        poly.pop()
    return poly[2:]


def relations_by_degree(bindings: Bindings, degree: int) -> Iterator[Relation]:
    """Yield the relations of `degree` distinctions, in lexicographic order."""
    union, share = bindings.union, bindings.share
    if degree == 1:
        yield from _self_relations(bindings)
        return
    stack: list[tuple[tuple[int, ...], int]] = [
        ((d,), union[d]) for d in reversed(range(len(union)))
    ]
    while stack:
        related, overlap = stack.pop()
        if len(related) == degree:
            yield Relation(related, overlap, overlap.bit_count() * min(share[d] for d in related))
            continue
        stack += [
            ((*related, d), overlap & union[d])
            for d in range(len(union) - 1, related[-1], -1)
            if overlap & union[d]
        ]


def _self_relations(bindings: Bindings) -> Iterator[Relation]:
    sides = zip(bindings.cause, bindings.effect, bindings.share, strict=True)
    for d, (c, e, share) in enumerate(sides):
        if c & e:
            yield Relation((d,), c & e, (c & e).bit_count() * share)


Extension = tuple[float, tuple[int, ...], int]  # Phi, negated, the distinctions, their overlap


class _Extensions:
    """Sets of distinctions that one distinction more makes of a set, by decreasing phi."""

    def __init__(self, bindings: Bindings) -> None:
        self._union, self._share = bindings.union, np.array(bindings.share)
        self._width = max(self._union, default=0).bit_length() // 64 + 1
        self._bound = self._words(self._union)

    def _words(self, masks: Sequence[int]) -> Array:
        """Return masks of unit-states, (masks, words) uint64."""
        packed = b"".join(mask.to_bytes(8 * self._width, "little") for mask in masks)
        return np.frombuffer(packed, "<u8").reshape(len(masks), self._width)

    def following(self, related: tuple[int, ...], overlap: int) -> Iterator[Extension]:
        """Yield the extensions of a set by a distinction that follows, of equal phi in order.

        Few are looked for at a time: nearly all of the extensions of most sets are never asked for.
        """
        below = math.inf
        while below > 0:
            found, below = self._largest(related, overlap, below)
            for d, phi in found:
                yield -phi, (*related, d), overlap & self._union[d]

    def _largest(
        self, related: tuple[int, ...], overlap: int, below: float
    ) -> tuple[list[tuple[int, float]], float]:
        """Return added distinctions and phi, below a limit and largest first, and the least phi.

        Of less than that others are left; 0 where none are.
        """
        first = related[-1] + 1 if related else 0
        least = np.min(self._share[list(related)], initial=math.inf)
        common = self._words([overlap]) & self._bound[first:]
        counts = np.bitwise_count(common).sum(axis=1, dtype=np.int64)
        phi = counts * np.minimum(least, self._share[first:])
        rows = np.flatnonzero((counts > 0) & (phi < below))
        limit = 0.0
        if len(rows) > EXTENSIONS_AT_ONCE:
            limit = float(np.partition(phi[rows], -EXTENSIONS_AT_ONCE)[-EXTENSIONS_AT_ONCE])
            rows = rows[phi[rows] >= limit]
        rows = rows[np.argsort(-phi[rows], kind="stable")]
        return list(zip((first + rows).tolist(), phi[rows].tolist(), strict=True)), limit


def top_relations(bindings: Bindings, degree: int | None = None) -> Iterator[Relation]:
    """Yield relations, of `degree` distinctions or all, by decreasing phi, lazily.

    Adding a distinction never raises phi of a set of two or more, so the best-first search over
    sets, each extended upwards only, yields in order. Of the extensions of one set the largest that
    is left waits, and not all: they are as many as distinctions.
    """
    extensions = _Extensions(bindings)
    heap: list[tuple[float, tuple[int, ...], int, bool, Iterator[Extension]]]
    heap = [(-r.phi, r.distinctions, r.overlap, True, iter(())) for r in _self_relations(bindings)]
    heapq.heapify(heap)

    def push_next(extended: Iterator[Extension]) -> None:
        for extension in islice(extended, 1):
            heapq.heappush(heap, (*extension, False, extended))

    push_next(extensions.following((), reduce(or_, bindings.union, 0)))
    while heap:
        bound, related, overlap, loop, siblings = heapq.heappop(heap)
        push_next(siblings)
        if (loop or len(related) > 1) and degree in (None, len(related)):
            yield Relation(related, overlap, -bound)
        if not loop and (degree is None or len(related) < degree):
            push_next(extensions.following(related, overlap))


SIDES = ("cause", "effect", "both")


def relation_faces(bound: Sequence[Sequence[int]]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the faces of a relation: a side of each distinction, and what these overlap in.

    Parameters
    ----------
    bound : by distinction the unit-states of its cause and of its effect, bitmasks

    Yields
    ------
    tuple, of ``SIDES``, and a bitmask; in the order of ``SIDES``, the last distinction fastest

    References
    ----------
    docs/mathematics.md 11.1.
    """
    choices = [(cause, effect, cause & effect) for cause, effect in bound]
    if len(choices) == 1:
        yield SIDES[2:], choices[0][2]
        return
    stack: list[tuple[tuple[str, ...], int]] = [((), -1)]
    while stack:
        sides, overlap = stack.pop()
        if len(sides) == len(choices):
            yield sides, overlap
            continue
        following = zip(SIDES[::-1], choices[len(sides)][::-1], strict=True)
        stack += [((*sides, side), overlap & mask) for side, mask in following if overlap & mask]
