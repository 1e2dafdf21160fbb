"""The grain of a network: which constituents are a unit, and the complexes across all grains.

Candidates of one number of micro units are a wave: the systems that decide about them are one
stage. Units that are found compete for larger ones. mathematics.md 14.3; Marshall et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.errors import InputError
from iitdask.model.grain_search import Candidate, Frame, GrainSearch, MappedUnits, n_systems
from iitdask.model.labels import join_labels, units_of_mask
from iitdask.theory.complexes.recipe import PHI_TIE, decide_exclusion
from iitdask.theory.grain_systems import (
    EQUAL_DECIMALS,
    MAX_LISTED_SYSTEMS,
    grain_range_stage,
    grain_stage,
    possible_phi,
    range_begins,
    range_size,
)
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.stage import Array, Filled, Recipe, Steps
from iitdask.theory.variables import Outcome, assemble_tree, attr_of, make_dataset, size_of

VALID, NOT_INTEGRATED, NOT_MAXIMAL, TIED = "VALID", "NOT_INTEGRATED", "NOT_MAXIMAL", "TIED"
MAX_LISTED_TIES = 20
MAX_DEFINED = 500  # Rows of a table that come with the definitions of their units


def _largest_phi(tree: xr.DataTree) -> float:
    phi = np.asarray(tree["complexes"].to_dataset()["phi"].values)
    return float(phi.max(initial=0.0))


# Numbers that a sweep records of a search across grains
GRAINS_OUTCOMES = (
    Outcome("phi", "bit", "phi_s of the complex with the largest; 0 without one", _largest_phi),
    Outcome("n_complexes", "count", "complexes", size_of("complexes", "complex")),
    Outcome("n_systems", "count", "systems whose phi_s was compared", attr_of("n_systems")),
    Outcome("n_ties", "count", "pairs of systems that exclude each other", attr_of("n_ties")),
)


class Verdict(NamedTuple):
    """Whether a candidate is a unit, and what decided it."""

    candidate: Candidate
    verdict: str
    phi: float  # Of the system of its constituents, bits
    n_competitors: int
    witness: str  # Best competitor where that decided it
    witness_phi: float
    n_mappings: int  # Units that it became


@dataclass(frozen=True, slots=True, eq=False)
class _Largest:
    """The largest phi of the systems of a frame, and who has them."""

    phi: Array  # (V,) bits, of the first system, different to EQUAL_DECIMALS, descending
    counts: Array  # (V,) systems that have it
    first: Array  # (V,) the first of them, C order
    second: Array  # (V,) the second, -1 without one
    n_possible: int  # Systems that can be in their state
    is_cut: bool  # Whether there are smaller phi

    @classmethod
    def merged(cls, filled: Filled, part: slice, size: int) -> _Largest:
        """Merge what is known of the ranges of a frame, each of `size` systems.

        Below the smallest phi that a range has kept of more, nothing is complete.
        """
        phi, counts, first, second = (
            filled[name].values[part] for name in ("phi", "n_systems", "first", "second")
        )
        kept = ~np.isnan(phi)
        is_cut = filled["n_values"].values[part] > kept.sum(axis=1)
        rounded = np.round(phi, EQUAL_DECIMALS)
        kept &= rounded >= rounded[is_cut, -1].max(initial=-np.inf)
        values, at = np.unique(-rounded[kept], return_inverse=True)
        total = np.zeros(len(values), np.int64)
        np.add.at(total, at, counts[kept])
        offsets = np.broadcast_to(np.arange(len(phi))[:, None] * size, phi.shape)[kept]
        # The two first systems of each phi are among those of the ranges.
        numbers = [np.where(each < 0, -1, each + offsets) for each in (first[kept], second[kept])]
        system, group = np.concatenate(numbers), np.tile(at, 2)
        order = np.lexsort((system, group))
        order = order[system[order] >= 0]
        begins = np.searchsorted(group[order], np.arange(len(values)))
        following = order[np.minimum(begins + 1, max(len(order) - 1, 0))]
        return cls(
            phi=np.tile(phi[kept], 2)[order[begins]],
            counts=total,
            first=system[order[begins]],
            second=np.where(total > 1, system[following], -1),
            n_possible=int(filled["n_possible"].values[part].sum()),
            is_cut=bool(is_cut.any()),
        )


@dataclass(slots=True)
class _SearchState:
    """Places found so far, and phi of the systems of frames that were analysed."""

    search: GrainSearch
    cap: int
    places: list[MappedUnits]
    phi: dict[Frame, Array] = field(default_factory=dict)  # (T_0, T_1, ...) bits, nan: impossible
    largest: dict[Frame, _Largest] = field(default_factory=dict)  # Of frames that are not listed

    def unknown(self, frames: Iterable[Frame]) -> list[Frame]:
        """Return the frames that were not analysed yet, small systems first."""
        return sorted((k for k in dict.fromkeys(frames) if k not in self.phi), key=len)

    def evaluated(self, frames: Iterable[Frame], name: str) -> Steps[None]:
        """Analyse the systems of frames that are not known, in one stage."""
        new = self.unknown(frames)
        if not new:
            return
        stage = grain_stage(name, self.search, self.places, new, self.cap)
        (filled,) = yield (stage,)
        values = possible_phi(filled["phi"].values, filled["reason"].values)
        begin = 0
        for frame in new:
            shape = tuple(len(self.places[k]) for k in frame)
            size = int(np.prod(shape))
            self.phi[frame] = values[begin : begin + size].reshape(shape)
            begin += size

    def evaluated_in_ranges(self, frames: Iterable[Frame], name: str) -> Steps[None]:
        """Analyse the same, and keep of each frame the systems of largest phi."""
        new = self.unknown(frames)
        counts = [n_systems(frame, self.places) for frame in new]
        size = range_size(sum(counts))
        (filled,) = yield (
            grain_range_stage(name, self.search, self.places, new, self.cap, size=size),
        )
        begins = range_begins(counts, size).tolist()
        for frame, (begin, end) in zip(new, pairwise(begins), strict=True):
            self.largest[frame] = _Largest.merged(filled, slice(begin, end), size)

    def final_frames(self) -> list[Frame]:
        """Return the frames of the systems among which complexes are searched."""
        if self.search.footprints:
            return self.search.listed_frames(self.places)
        everyone = (1 << self.search.substrate.n_units) - 1
        return list(self.search.frames(self.places, everyone, everyone, strictly=False))

    def name(self, frame: Frame, index: Sequence[int]) -> str:
        """Return the name of one system."""
        units = zip(frame, index, strict=True)
        return " | ".join(self.places[k].name(int(t)) for k, t in units)

    def definition(self, place: int, table: int) -> dict[str, Any]:
        """Return the mapping that builds one unit again."""
        return self.places[place].unit(table).definition.to_dict(self.search.substrate.labels)


def grains(search: GrainSearch, options: Unfolding) -> Recipe:
    """Find the units of all grains within bounds, and the complexes among their systems.

    Parameters
    ----------
    search : the search
    options : options of the theory

    Yields
    ------
    tuple of Stage

    Returns
    -------
    DataTree, ``/units``, ``/systems``, ``/complexes``

    References
    ----------
    Marshall et al. 2024, equations 15 to 19; docs/mathematics.md 14.3 and 14.5.
    """
    if options.ties != "reference":
        raise InputError("ties: expected reference for compute 'grains', whose phi names no state")
    if options.system_partitions != "all":
        raise InputError("system_partitions: expected all for compute 'grains', got bipartition")
    cap = 0
    if isinstance(options, IIT42026):
        cap = 2 if options.differentiation == "specified" else 1
    known = _SearchState(search, cap, search.micro_places())
    verdicts = yield from _micro_verdicts(known)
    judged: set[Any] = set()
    for level in range(1, search.depth + 1):
        previous = range(len(known.places))
        for size in search.footprint_sizes():
            found = search.candidates(size, known.places, previous)
            new = [each for each in found if (each.origin, each.background) not in judged]
            judged |= {(each.origin, each.background) for each in new}
            verdicts += yield from _judged(known, new, f"units/{level}-{size}")
        if len(known.places) == len(previous):
            break
    frames = known.final_frames()
    if sum(n_systems(k, known.places) for k in known.unknown(frames)) > MAX_LISTED_SYSTEMS:
        yield from known.evaluated_in_ranges(frames, "systems")
    else:
        yield from known.evaluated(frames, "systems")
    return _result(known, verdicts, frames)


def _micro_verdicts(known: _SearchState) -> Steps[list[Verdict]]:
    """Return the verdicts on micro units, which are units without a test."""
    frames = [(k,) for k in range(len(known.places))]
    yield from known.evaluated(frames, "units/micro")
    found = []
    for k, place in enumerate(known.places):
        phi = float(known.phi[k,][0])
        found.append(
            Verdict(place.candidate, VALID, 0.0 if np.isnan(phi) else phi, 0, "", np.nan, 1)
        )
    return found


def _judged(
    known: _SearchState, candidates: Sequence[Candidate], name: str
) -> Steps[list[Verdict]]:
    """Judge the candidates of one wave, and add those that are units to the places."""
    rivals: dict[tuple[int, int], list[Frame]] = {}
    own: list[tuple[Frame, tuple[int, ...]]] = []
    for each in candidates:
        key = _masks(each)
        if key not in rivals:
            rivals[key] = list(known.search.frames(known.places, *key, strictly=True))
        own.append((tuple(k for k, _ in each.origin), tuple(t for _, t in each.origin)))
    needed = [frame for frames in rivals.values() for frame in frames]
    yield from known.evaluated([*(frame for frame, _ in own), *needed], name)
    verdicts, places = [], []
    for each, (frame, index) in zip(candidates, own, strict=True):
        verdict = _verdict(known, each, frame, index, rivals[_masks(each)])
        is_valid = verdict.verdict == VALID
        if is_valid or known.search.footprints:
            new = known.search.places_of(each, is_valid=is_valid)
            verdict = verdict._replace(n_mappings=sum(map(len, new)))
            places += new
        verdicts.append(verdict)
    known.places += places
    return verdicts


def _masks(candidate: Candidate) -> tuple[int, int]:
    """Return micro constituents and apportioned background as bits."""
    units, background = candidate.units, candidate.background
    return sum(1 << u for u in units), sum(1 << u for u in background)


def _verdict(
    known: _SearchState,
    candidate: Candidate,
    frame: Frame,
    index: tuple[int, ...],
    rivals: Sequence[Frame],
) -> Verdict:
    """Compare the system of the constituents with its competitors, mathematics 14.3."""
    phi = float(np.nan_to_num(known.phi[frame][index]))
    count, best, witness = 0, -np.inf, ""
    for rival in rivals:
        values = known.phi[rival]
        if rival == frame:
            values = values.copy()
            values[index] = np.nan
        possible = ~np.isnan(values)
        count += int(possible.sum())
        if possible.any() and np.nanmax(values) > best:
            place = np.unravel_index(int(np.nanargmax(values)), values.shape)
            best, witness = float(values[place]), known.name(rival, [int(t) for t in place])
    slack = PHI_TIE * max(1.0, abs(best) if np.isfinite(best) else 0.0)
    if phi <= 0.0:
        verdict = NOT_INTEGRATED
    elif best > phi + slack:
        verdict = NOT_MAXIMAL
    elif best >= phi - slack:
        verdict = TIED
    else:
        verdict = VALID
    if verdict in {VALID, NOT_INTEGRATED}:
        best, witness = np.nan, ""
    return Verdict(candidate, verdict, phi, count, witness, best, 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Systems:
    """All systems that are compared, in the order of their frames.

    Of a frame that is not listed two rows stand for all systems of equal phi: the first system, and
    the second one with all others.
    """

    frames: Sequence[Frame]
    frame: Array  # (P,) position among the frames
    index: Array  # (P,) place within its frame, C order
    phi: Array  # (P,) bits
    mask: Array  # (P,) micro constituents, as a number of the distinct masks
    masks: list[int]  # Distinct sets of micro constituents as bits
    is_valid: Array  # (P,) whether all of its units are valid
    counts: Array  # (P,) systems that the row stands for
    equals: Array  # (P,) systems of its frame with this phi; 0 of a row that the one before shows
    n_systems: int  # Those that can be in their state
    is_cut: Array  # (F,) whether smaller phi of a frame are left out

    @classmethod
    def collected(cls, known: _SearchState, frames: Sequence[Frame]) -> _Systems:
        """Collect the systems of frames that can be in their state."""
        masks = [sum(known.places[k].mask for k in frame) for frame in frames]
        distinct = {mask: number for number, mask in enumerate(dict.fromkeys(masks))}
        columns: list[tuple[Array, ...]] = []
        total, is_cut = 0, np.zeros(len(frames), bool)
        for f, frame in enumerate(frames):
            if frame in known.largest:
                largest = known.largest[frame]
                total, is_cut[f] = total + largest.n_possible, largest.is_cut
                rows = _two_rows(largest)
            else:
                values = known.phi[frame].ravel()
                at = np.flatnonzero(~np.isnan(values))
                total += len(at)
                rows = at, values[at], *np.ones((2, len(at)), np.int64)
            valid = all(known.places[k].is_valid for k in frame)
            whole = [np.full(len(rows[0]), x) for x in (f, distinct[masks[f]], valid)]
            columns.append((*rows, whole[0], whole[1], whole[2].astype(bool)))
        types = (np.int64, np.float64, *[np.int64] * 4, np.bool_)
        empty: list[Array] = [np.zeros(0, each) for each in types]
        index, phi, counts, equals, frame_of, mask, is_valid = (
            np.concatenate(each) for each in zip(empty, *columns, strict=True)
        )
        return cls(
            frames, frame_of, index, phi, mask, list(distinct), is_valid, counts, equals, total,
            is_cut,
        )  # fmt: skip

    def member_indices(self, known: _SearchState, k: int) -> tuple[Frame, list[int]]:
        """Return the frame of a system, and the number of each unit at its place."""
        frame = self.frames[int(self.frame[k])]
        shape = tuple(len(known.places[j]) for j in frame)
        return frame, [int(t) for t in np.unravel_index(int(self.index[k]), shape)]

    def overlaps(self) -> Array:
        """(M, M) bool, whether two of the distinct masks have common micro constituents."""
        return np.array([[bool(a & b) for b in self.masks] for a in self.masks], bool)

    def maxima(self, among: Array) -> Array:
        """(M,) largest phi of the systems of each mask, -inf without one."""
        largest = np.full(len(self.masks), -np.inf)
        np.maximum.at(largest, self.mask[among], self.phi[among])
        return largest


def _two_rows(largest: _Largest) -> tuple[Array, ...]:
    """Return systems, phi, and how many systems the rows stand for and show."""
    rows = np.repeat(np.arange(len(largest.phi)), 1 + (largest.counts > 1))
    is_other = np.r_[False, rows[1:] == rows[:-1]][: len(rows)]
    counts = largest.counts[rows]
    system = np.where(is_other, largest.second[rows], largest.first[rows])
    stands = np.where(is_other, counts - 1, 1)
    return system, largest.phi[rows], stands, np.where(is_other, 0, counts)


class _Exclusion(NamedTuple):
    complexes: Array  # Numbers of the complexes, largest phi first
    recursive: Array  # The same of the rule that lets excluded systems exclude nothing
    n_ties: int  # Pairs of overlapping systems that none exceeds
    ties: list[tuple[int, int]]  # The first of them
    are_all_ties: bool  # Whether no tie can be among what is left out


def _exclude(systems: _Systems) -> _Exclusion:
    """Apply exclusion among systems of overlapping micro constituents, mathematics 14.3."""
    everyone = np.flatnonzero(systems.is_valid)
    if not len(everyone):
        return _Exclusion(everyone, everyone, 0, [], are_all_ties=True)
    overlaps = systems.overlaps()
    largest = systems.maxima(everyone)
    bound = np.where(overlaps, largest, -np.inf).max(axis=1)
    slack = PHI_TIE * np.maximum(1.0, np.abs(bound))
    tops = everyone[systems.phi[everyone] >= (bound - slack)[systems.mask[everyone]]]
    counts = np.zeros(len(systems.masks), np.int64)
    np.add.at(counts, systems.mask[tops], systems.counts[tops])
    rivals = overlaps @ counts  # tops that overlap a mask, its own among them
    free = tops[rivals[systems.mask[tops]] == 1]
    # Python's numbers: there may be more pairs than an int64 holds
    n_pairs = (int(rivals.astype(object) @ counts) - int(counts.sum())) // 2
    return _Exclusion(
        complexes=_largest_first(systems, free),
        recursive=_largest_first(systems, _recursive_complexes(systems, everyone)),
        n_ties=n_pairs,
        ties=_first_ties(systems, tops, overlaps),
        are_all_ties=_are_all_listed(systems, bound - slack),
    )


def _largest_first(systems: _Systems, numbers: Array) -> Array:
    return np.asarray(numbers[np.lexsort((numbers, -systems.phi[numbers]))])


def _are_all_listed(systems: _Systems, needed: Array) -> bool:
    """Return True if of all masks every system with the phi that is needed has a row."""
    for f in np.flatnonzero(systems.is_cut):
        rows = np.flatnonzero(systems.frame == f)
        last = int(rows[np.argmin(systems.phi[rows])])
        if systems.is_valid[last] and systems.phi[last] >= needed[systems.mask[last]]:
            return False
    return True


def _first_ties(systems: _Systems, tops: Array, overlaps: Array) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for position, a in enumerate(tops.tolist()):
        for b in tops[position + 1 :].tolist():
            if len(found) == MAX_LISTED_TIES:
                return found
            if overlaps[systems.mask[a], systems.mask[b]]:
                found.append((a, b))
    return found


def _recursive_complexes(systems: _Systems, everyone: Array) -> Array:
    """Return the complexes of the rule that lets excluded systems exclude nothing."""
    largest = systems.maxima(everyone)
    slack = PHI_TIE * np.maximum(1.0, np.abs(largest))
    near = everyone[systems.phi[everyone] >= (largest - slack)[systems.mask[everyone]]]
    kept: list[int] = []  # two of a mask are a tie, however many there are
    seen = np.zeros(len(systems.masks), np.int64)
    for k in near.tolist():
        seen[systems.mask[k]] += 1
        if seen[systems.mask[k]] <= 2:
            kept.append(k)
    units = [units_of_mask(systems.masks[systems.mask[k]]) for k in kept]
    steps = decide_exclusion(units, [float(systems.phi[k]) for k in kept], PHI_TIE)
    answer: Any = None
    while True:
        try:
            contests = steps.send(answer)
        except StopIteration as stop:
            return np.array([kept[k] for k in stop.value[0]], np.int64)
        answer = [None for _ in contests]


def _result(
    known: _SearchState, verdicts: Sequence[Verdict], frames: Sequence[Frame]
) -> xr.DataTree:
    """Make the tree of a search; its rows have names, its attributes are not complete yet."""
    systems = _Systems.collected(known, frames)
    exclusion = _exclude(systems)
    tree = assemble_tree(
        {
            "/units": _units_dataset(known, verdicts),
            "/systems": _systems_dataset(known, systems),
            "/complexes": _complexes_dataset(known, systems, exclusion.complexes),
            "/recursive_complexes": _complexes_dataset(known, systems, exclusion.recursive),
        }
    )
    positive = exclusion.complexes[systems.phi[exclusion.complexes] > 0]
    tree.attrs = {
        "exhaustive": not known.search.footprints,
        "n_systems": systems.n_systems,
        "n_ties": exclusion.n_ties,
        "tied_systems": [
            " = ".join(_system_name(known, systems, k) for k in pair) for pair in exclusion.ties
        ],
        "exclusion_rules_agree": set(positive.tolist()) == set(exclusion.recursive.tolist()),
        "summarised": bool(known.largest),
    }
    if known.largest:
        tree.attrs["n_ties_exact"] = exclusion.are_all_ties
    return tree


def _complexes_dataset(known: _SearchState, systems: _Systems, numbers: Array) -> xr.Dataset:
    texts = _texts(_system_name(known, systems, int(k)) for k in numbers)
    values = {"phi": (("complex",), systems.phi[numbers]), "units": (("complex",), texts)}
    attrs = {"definitions": _definitions(known, systems, numbers)}
    return make_dataset(values, attrs, coords={"complex": ("complex", texts)})


def _definitions(known: _SearchState, systems: _Systems, numbers: Array) -> list[Any]:
    """Return the units of the first of these systems as mappings that build them again."""
    found = []
    for k in numbers[:MAX_DEFINED].tolist():
        frame, index = systems.member_indices(known, k)
        units = zip(frame, index, strict=True)
        found.append([known.definition(place, table) for place, table in units])
    return found


def _texts(values: Iterable[str]) -> Array:
    texts = list(values)
    return np.array(texts, dtype=object if texts else np.dtypes.StringDType())


def _system_name(known: _SearchState, systems: _Systems, k: int) -> str:
    return known.name(*systems.member_indices(known, k))


def _units_dataset(known: _SearchState, verdicts: Sequence[Verdict]) -> xr.Dataset:
    labels = known.search.substrate.labels
    columns: dict[str, Any] = {
        "constituents": _texts(each.candidate.name for each in verdicts),
        "background": _texts(
            join_labels([labels[u] for u in each.candidate.background], labels)
            if each.candidate.background
            else ""
            for each in verdicts
        ),
        "verdict": _texts(each.verdict for each in verdicts),
        "phi": np.array([each.phi for each in verdicts], float),
        "witness": _texts(each.witness for each in verdicts),
        "witness_phi": np.array([each.witness_phi for each in verdicts], float),
        "n_competitors": np.array([each.n_competitors for each in verdicts], np.int64),
        "n_mappings": np.array([each.n_mappings for each in verdicts], np.int64),
    }
    names = _texts(
        f"{name}/{background}" if background else name
        for name, background in zip(columns["constituents"], columns["background"], strict=True)
    )
    data = {name: (("candidate",), values) for name, values in columns.items()}
    definitions = [
        [known.definition(place, table) for place, table in each.candidate.origin]
        for each in verdicts[:MAX_DEFINED]
    ]
    attrs = {"definitions": definitions}
    return make_dataset(data, attrs, coords={"candidate": ("candidate", names)})


def _systems_dataset(known: _SearchState, systems: _Systems) -> xr.Dataset:
    labels = known.search.substrate.labels
    order = _largest_first(systems, np.flatnonzero(systems.equals))
    footprints, grains_of = [], []
    for frame in systems.frames:
        members = [known.places[k].member for k in frame]
        texts = [join_labels([labels[u] for u in member.units], labels) for member in members]
        footprints.append(" | ".join(texts))
        grains_of.append(max(member.updates for member in members))
    at = systems.frame[order].tolist()
    columns: dict[str, Any] = {
        "phi": systems.phi[order],
        "footprint": _texts(footprints[f] for f in at),
        "grain": np.array([grains_of[f] for f in at], np.int64),
        "units": _texts(_system_name(known, systems, int(k)) for k in order),
    }
    if known.largest:
        columns["n_systems"] = systems.equals[order]
    data = {name: (("system",), values) for name, values in columns.items()}
    attrs = {"definitions": _definitions(known, systems, order)}
    return make_dataset(data, attrs, coords={"system": ("system", columns["units"])})
