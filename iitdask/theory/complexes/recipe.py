"""Complexes of a network: candidates, their phi_s, and exclusion among overlapping systems."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from iitdask.model.background import overlap_groups
from iitdask.model.candidate_set import CandidateSet
from iitdask.theory.complexes.candidates import (
    CandidatePhi,
    CandidateSets,
    Evaluate,
    candidate_name,
    candidate_search,
    evaluate,
    find_certificate,
)
from iitdask.theory.complexes.phi_bounds import open_candidates, phi_upper_bounds
from iitdask.theory.iit4.recipe import ces
from iitdask.theory.reasons import CANDIDATE_TEXTS, Reason
from iitdask.theory.stage import Array, Recipe, Steps, answer_steps, gather, scoped
from iitdask.theory.variables import (
    VARIABLES,
    Outcome,
    assemble_tree,
    make_dataset,
    size_of,
    value_of,
)


def _largest_phi(tree: xr.DataTree) -> float:
    values = np.asarray(tree["complexes"].to_dataset()["phi"].values)
    return float(values[0]) if len(values) else 0.0


def _largest_n_units(tree: xr.DataTree) -> int:
    inside = np.asarray(tree["complexes"].to_dataset()["units"].values)
    return int(inside[0].sum()) if len(inside) else 0


# Numbers that a sweep records of a search for complexes
_EVALUATED = "candidates_evaluated"
COMPLEXES_OUTCOMES = (
    Outcome("phi", "bit", "phi_s of the complex with the largest; 0 without one", _largest_phi),
    Outcome("n_units_largest", "count", "units of that complex", _largest_n_units),
    Outcome("n_complexes", "count", "complexes", size_of("complexes", "complex")),
    Outcome(_EVALUATED, *VARIABLES[_EVALUATED], value_of("complexes", _EVALUATED)),
)

# Status of a candidate: it is a complex, it overlaps a complex of larger phi_s, it overlaps systems
# of the same phi_s one of which has a larger Phi, or none of which has
COMPLEX, OVERLAP, LESS_PHI, TIED = 0, 1, 2, 3

FIRST_MEASURED_UNITS = 8  # Up to which candidates are measured at once, whatever their bound
ALL_MEASURED_UNITS = 14  # Largest candidate up to which all of them are
ROUND_CANDIDATES, ROUND_SHARE = 64, 0.5  # Of a round: at most, and of its largest bound at least

Bounds = Callable[[CandidateSet, Sequence[tuple[int, ...]], bool], Array]  # (C,) of phi from above
UnitSet = tuple[int, ...]
Contest = tuple[int, ...]  # Candidates, by number, that overlap in a chain and have the same phi_s
_Row = TypeVar("_Row")


def decide_exclusion(
    candidates: Sequence[UnitSet], phi: Sequence[float], tie: float = 1e-12
) -> Generator[tuple[Contest, ...], Sequence[int | None], tuple[list[int], dict[int, int]]]:
    """Decide which candidates are complexes.

    Yields the contests of one tier; the reply is the winner of each, None where nobody wins.

    Parameters
    ----------
    candidates : (C,) units of each
    phi : (C,) bits
    tie : relative difference up to which two phi are equal

    Returns
    -------
    tuple, numbers of the complexes in order of acceptance; status of all candidates by number

    References
    ----------
    docs/mathematics.md 9.
    """
    fates: dict[int, int] = {}
    accepted: list[int] = []
    taken: set[int] = set()
    for tier in _tiers(phi, tie):
        free = [k for k in tier if taken.isdisjoint(candidates[k])]
        fates.update((k, OVERLAP) for k in tier)
        positions = overlap_groups([candidates[k] for k in free])
        groups = [tuple(free[j] for j in group) for group in positions]
        contests = tuple(group for group in groups if len(group) > 1)
        answers = iter((yield contests) if contests else ())
        for group in groups:
            winner = group[0] if len(group) == 1 else next(answers)
            fates.update((k, TIED if winner is None else LESS_PHI) for k in group)
            if winner is not None:
                fates[winner] = COMPLEX
                accepted.append(winner)
                taken.update(candidates[winner])
    return accepted, fates


def _tiers(phi: Sequence[float], tie: float) -> list[list[int]]:
    """Group candidates of equal phi: each tier holds what ties with its first member."""
    order = sorted((k for k, value in enumerate(phi) if value > 0), key=lambda k: -phi[k])
    tiers: list[list[int]] = []
    for k in order:
        first = phi[tiers[-1][0]] if tiers else 0.0
        if tiers and first - phi[k] <= tie * max(1.0, first):
            tiers[-1].append(k)
        else:
            tiers.append([k])
    return [sorted(tier) for tier in tiers]


# Why a candidate is no complex: names and meanings, in the order of the result's axis
EXCLUSION_REASONS = {str(reason.name): text for reason, text in CANDIDATE_TEXTS.items()}
EXCLUSION_STATUS = {COMPLEX: "complex", OVERLAP: "OVERLAP", LESS_PHI: "LESS_PHI", TIED: "TIED"}

PHI_TIE = 1e-12  # Relative difference up to which two values of Phi tie


def complexes(
    pool: CandidateSet,
    options: Any,
    *,
    measure: Evaluate = evaluate,
    structure: Callable[[Any, Any], Recipe] | None = ces,
    bounds: Bounds | None = phi_upper_bounds,
    jointly: bool = False,
    tie: float = PHI_TIE,
) -> Recipe:
    """Find the complexes of a network.

    Parameters
    ----------
    pool : the candidates
    options : options of the theory
    measure : computes phi of candidates
    structure : recipe that computes Phi to break ties between overlapping systems of equal phi_s;
        None if ties stay unresolved
    bounds : upper bounds of phi, by which candidates of large networks are left out; None where
        every candidate is measured
    jointly : whether a severed edge shows on both sides, see ``theory.complexes.candidates``
    tie : relative difference up to which two phi_s tie

    Returns
    -------
    DataTree, the node ``/complexes``

    References
    ----------
    docs/mathematics.md 9 and 24.
    """
    search = candidate_search(pool, jointly)
    if bounds is None or not _are_bounds_used(search, options):
        result = yield from measure(pool, search.candidates, options)
    else:
        limits = bounds(pool, search.candidates, False)

        def weighed(chosen: Sequence[UnitSet]) -> Array:
            return bounds(pool, chosen, True)

        def measured(chosen: Sequence[UnitSet]) -> Steps[CandidatePhi]:
            return measure(pool, chosen, options)

        result = yield from _measure_largest(search.candidates, limits, weighed, measured, tie)
    exclusion = decide_exclusion(search.candidates, result.phi.tolist(), tie)
    big_phi: dict[int, float] = {}  # of the candidates that are unfolded

    def winners(contests: Sequence[Contest]) -> Steps[list[int | None]]:
        """Find the one system of largest Phi in each contest; None where that is tied."""
        if structure is None:
            return [None for _ in contests]
        recipes = {}
        for k in (k for contest in contests for k in contest):
            units = search.candidates[k]
            steps = structure(pool.system(units), options)
            recipes[str(k)] = scoped(f"structures/{candidate_name(units)}", steps)
        trees = yield from gather(recipes)
        sizes = {int(k): _comparable_phi(tree) for k, tree in trees.items()}
        big_phi.update({int(k): float(tree.attrs["big_phi"]) for k, tree in trees.items()})
        return [_unique_largest({k: sizes[k] for k in contest}) for contest in contests]

    accepted, fates = yield from answer_steps(exclusion, winners)
    data = _complexes_dataset(pool, search, result, accepted, fates, big_phi=big_phi)
    if pool.candidates is not None:
        data.attrs["certificates"] = _certificates(pool, search, jointly)
    return assemble_tree({"/complexes": data})


def _are_bounds_used(search: CandidateSets, options: Any) -> bool:
    """Whether candidates are left out that cannot exceed a complex which they overlap."""
    widest = max(map(len, search.candidates), default=0)
    if options.system_partitions == "bipartition":  # the bounds are of all partitions
        return False
    return options.search == "sparse" or (options.search == "auto" and widest > ALL_MEASURED_UNITS)


def _measure_largest(
    candidates: Sequence[UnitSet],
    limits: Array,
    weighed: Callable[[Sequence[UnitSet]], Array],
    measured: Callable[[Sequence[UnitSet]], Steps[CandidatePhi]],
    tie: float,
) -> Steps[CandidatePhi]:
    """Compute phi of small candidates, then of those that may still be complexes.

    limits : (C,) upper bounds of phi; weighed : closer ones of some candidates; measured :
    evaluates some

    References
    ----------
    mathematics.md 24.4.
    """
    out = CandidatePhi(np.zeros(len(candidates)), np.full(len(candidates), Reason.BOUNDED))
    values = limits.copy()
    is_known, is_weighed = np.zeros((2, len(candidates)), bool)
    chosen = [k for k, units in enumerate(candidates) if len(units) <= FIRST_MEASURED_UNITS]
    rounds = 0
    while True:
        steps = measured([candidates[k] for k in chosen])
        found = yield from scoped(f"larger/{rounds}", steps) if rounds else steps
        rounds += 1
        out.phi[chosen], out.reason[chosen] = found.phi, found.reason
        is_decided = found.reason != Reason.UNDECIDED
        values[chosen] = np.where(is_decided, found.phi, values[chosen])
        is_known[chosen] = is_decided
        left = open_candidates(candidates, values, is_known, tie)
        if vague := [k for k in left if not (is_weighed[k] or is_known[k])]:
            values[vague] = np.minimum(values[vague], weighed([candidates[k] for k in vague]))
            is_weighed[vague] = True
            left = open_candidates(candidates, values, is_known, tie)
        left = [k for k in left if out.reason[k] == Reason.BOUNDED]
        is_planned = bool((found.reason < 0).any())  # Nothing is computed, and nothing follows
        if not left or is_planned:
            return out
        chosen = [k for k in left if values[k] >= ROUND_SHARE * values[left[0]]]
        chosen = chosen[:ROUND_CANDIDATES]


def _certificates(
    pool: CandidateSet, search: CandidateSets, jointly: bool
) -> dict[str, dict[str, Any]]:
    """Return, by listed candidate that falls apart, a cut that loses nothing."""
    out: dict[str, dict[str, Any]] = {}
    for units in sorted(set(pool.candidates or ()) - set(search.candidates)):
        certificate = find_certificate(pool, units, jointly)
        if certificate is not None:
            side, part = certificate
            out[candidate_name(units)] = {"side": side, "into": [pool.labels[i] for i in part]}
    return out


def _unique_largest(sizes: dict[int, tuple[bool, float]]) -> int | None:
    beyond, most = max(sizes.values())
    slack = PHI_TIE * max(1.0, most)
    tied = [k for k, (big, size) in sizes.items() if big == beyond and most - size <= slack]
    return tied[0] if len(tied) == 1 else None


def _comparable_phi(tree: xr.DataTree) -> tuple[bool, float]:
    """Return Phi as something that compares; its logarithm where no double holds it."""
    value = float(tree.attrs["big_phi"])
    if np.isfinite(value):
        return False, value
    return True, float(tree["relations"]["log2_sum_phi"])


def _complexes_dataset(
    pool: CandidateSet,
    search: CandidateSets,
    result: CandidatePhi,
    accepted: Sequence[int],
    fates: dict[int, int],
    *,
    big_phi: dict[int, float],
) -> xr.Dataset:
    counts = _excluded_counts(search, result, fates)
    unmeasured, n_undecided = ("UNREACHABLE", "BOUNDED", "UNDECIDED"), counts["UNDECIDED"]
    excluded_by = np.array([c if c < 2**63 else -1 for c in counts.values()], np.int64)
    unfolded = np.array([big_phi.get(k, np.nan) for k in accepted], float)
    listed = sorted(fates)
    n_units = pool.substrate.n_units
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": (("complex",), np.array([result.phi[k] for k in accepted], float)),
        "big_phi": (("complex",), unfolded),
        "units": (("complex", "unit"), _membership(search, accepted, n_units)),
        "candidates_evaluated": ((), len(search.candidates) - sum(counts[r] for r in unmeasured)),
        "candidates_excluded_by": (("reason",), excluded_by),
        "candidate_phi": (("candidate",), np.array([result.phi[k] for k in listed], float)),
        "candidate_units": (("candidate", "unit"), _membership(search, listed, n_units)),
        "fate": (("candidate",), np.array([fates[k] for k in listed], np.int64)),
    }
    attrs = {
        "exhaustive": search.exhaustive and not n_undecided,
        "searched": _scope_text(pool, search, n_undecided),
        "candidates": str(search.all_subsets),
        "candidates_not_searched": str(search.n_not_searched + n_undecided),
        "excluded_by": {name: str(count) for name, count in counts.items() if count},
    }
    return make_dataset(values, attrs)


def _membership(search: CandidateSets, numbers: Sequence[int], n_units: int) -> Any:
    out = np.zeros((len(numbers), n_units), bool)
    for row, k in enumerate(numbers):
        out[row, list(search.candidates[k])] = True
    return out


def _excluded_counts(
    search: CandidateSets, result: CandidatePhi, fates: dict[int, int]
) -> dict[str, int]:
    counts = dict.fromkeys(EXCLUSION_REASONS, 0)
    counts["NO_INPUT_OR_OUTPUT"] = search.n_without_input_or_output
    counts["NOT_STRONGLY_CONNECTED"] = search.n_not_strongly_connected
    for reason in CANDIDATE_TEXTS:
        if reason <= Reason.CAPPED or reason in (Reason.BOUNDED, Reason.UNDECIDED):
            counts[str(reason.name)] = int((result.reason & reason > 0).sum())
    for code, name in EXCLUSION_STATUS.items():
        if code != COMPLEX:
            counts[name] = sum(1 for fate in fates.values() if fate == code)
    return counts


def _scope_text(pool: CandidateSet, search: CandidateSets, n_undecided: int) -> str:
    """Return in words which candidates were searched."""
    inside, all_units = len(pool.units), pool.substrate.n_units
    of = f"all {all_units} units" if inside == all_units else f"{inside} of {all_units} units"
    if pool.candidates is not None:
        return f"{len(pool.candidates)} listed candidates of {of}"
    text = f"all non-empty subsets of {of}"
    if not search.exhaustive:
        text = f"subsets of at most {pool.max_size} of {of}"
    return f"{text} but {n_undecided}" if n_undecided else text
