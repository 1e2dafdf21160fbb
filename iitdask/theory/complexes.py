"""Complexes of a network: candidates, their integrated information, exclusion (spec.md 9)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.pool import Pool
from iitdask.theory import iit3
from iitdask.theory.base import Answer, Stage, Stages, gather, scoped
from iitdask.theory.candidates import (
    VERDICTS,
    Measure,
    Measured,
    analysed_by,
    candidate_name,
    measured,
)
from iitdask.theory.exclusion import COMPLEX, LESS_PHI, OVERLAP, TIED, Contest, excluded
from iitdask.theory.generation import Generated, certificate, generated
from iitdask.theory.iit4 import ces
from iitdask.theory.vocabulary import described

__all__ = ["FATES", "REASONS", "Rule", "complexes", "iit3_complexes"]

REASONS = {
    "NO_INPUT_OR_OUTPUT": "a unit has no declared input or no declared output",
    "NOT_STRONGLY_CONNECTED": "not strongly connected once the outside is fixed",
    "UNREACHABLE": "no past state leads to its state while the outside has its values",
    "NO_CAUSE": "the state has no cause",
    "NO_EFFECT": "the state has no effect",
    "ZERO_CUT": "a cut between two blocks loses nothing",
    "REDUCIBLE": "a partition loses nothing",
    "CAPPED": "limited to zero by intrinsic information or differentiation (2026)",
    "OVERLAP": "overlaps a complex of larger phi_s",
    "LESS_PHI": "an overlapping system of equal phi_s has a larger Phi",
    "TIED": "overlapping systems of equal phi_s have the same Phi: none exists",
}
FATES = {COMPLEX: "complex", OVERLAP: "OVERLAP", LESS_PHI: "LESS_PHI", TIED: "TIED"}

TIE = 1e-12
"""Relative difference up to which two values of Phi tie."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a theory says about candidates."""

    measure: Measure = measured
    """Evaluates candidates."""
    structure: Callable[[Any, Any], Stages] | None = ces
    """Unfolds a system of equal phi_s; attribute ``big_phi`` decides. None: nobody wins a tie."""
    jointly: bool = False
    """Whether a severed edge shows on both sides, see :mod:`iitdask.theory.generation`."""
    tie: float = TIE
    """Relative difference up to which two phi_s tie."""


IIT3_RULE = Rule(measure=analysed_by(iit3.sia), structure=None, jointly=True, tie=1e-6)
"""IIT 3.0: candidates by their own analysis, six decimals, ties never resolved (spec.md 12)."""


def iit3_complexes(pool: Pool, options: Any) -> Stages:
    """Find the complexes of a pool under IIT 3.0, see :func:`complexes`."""
    return complexes(pool, options, IIT3_RULE)


def complexes(pool: Pool, options: Any, rule: Rule = Rule()) -> Stages:
    """Find the complexes of a pool: a tree whose node ``/complexes`` is the dataset."""
    found = generated(pool, rule.jointly)
    result = yield from rule.measure(pool, found.candidates, options)
    search = excluded(found.candidates, result.phi.tolist(), rule.tie)
    judge = _Judge(pool, options, rule, found.candidates, {})
    answer: list[int | None] | None = None
    while True:
        try:
            contests = search.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            accepted, fates = stop.value
            break
        answer = yield from judge.winners(contests)
    made = _Outcome(found, result, accepted, fates, judge.big_phi)
    data = _dataset(pool, made)
    if pool.given is not None:
        data.attrs["certificates"] = _certificates(pool, found, rule)
    return xr.DataTree.from_dict({"/complexes": data})


def _certificates(pool: Pool, found: Generated, rule: Rule) -> dict[str, dict[str, Any]]:
    """By listed candidate that falls apart: a cut that loses nothing."""
    out: dict[str, dict[str, Any]] = {}
    for units in sorted(set(pool.given or ()) - set(found.candidates)):
        shown = certificate(pool, units, rule.jointly)
        if shown is not None:
            part = [pool.labels[unit] for unit in shown.part]
            out[candidate_name(units)] = {"side": shown.side, "into": part}
    return out


@dataclass(frozen=True, slots=True)
class _Judge:
    """Decides between overlapping systems of equal phi_s."""

    pool: Pool
    options: Any
    rule: Rule
    candidates: Sequence[tuple[int, ...]]
    big_phi: dict[int, float]
    """Phi of the candidates that were unfolded."""

    def winners(
        self, contests: Sequence[Contest]
    ) -> Generator[tuple[Stage, ...], tuple[Answer, ...], list[int | None]]:
        """Find the one system of largest Phi in each contest; None where that is tied."""
        unfold = self.rule.structure
        if unfold is None:
            return [None for _ in contests]
        names = {k: candidate_name(self.candidates[k]) for contest in contests for k in contest}
        recipes = {
            str(k): scoped(
                f"structures/{name}", unfold(self.pool.system(self.candidates[k]), self.options)
            )
            for k, name in names.items()
        }
        trees = yield from gather(recipes)
        sizes = {int(k): _size(tree) for k, tree in trees.items()}
        self.big_phi.update({int(k): float(tree.attrs["big_phi"]) for k, tree in trees.items()})
        return [_largest({k: sizes[k] for k in contest}) for contest in contests]


def _largest(sizes: dict[int, tuple[bool, float]]) -> int | None:
    beyond, most = max(sizes.values())
    slack = TIE * max(1.0, most)
    tied = [k for k, (big, size) in sizes.items() if big == beyond and most - size <= slack]
    return tied[0] if len(tied) == 1 else None


def _size(tree: xr.DataTree) -> tuple[bool, float]:
    """Phi as something that compares; its logarithm where no double holds it."""
    value = float(tree.attrs["big_phi"])
    if np.isfinite(value):
        return False, value
    return True, float(tree["relations"]["log2_sum_phi"])


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Everything a search found."""

    found: Generated
    result: Measured
    accepted: Sequence[int]
    fates: dict[int, int]
    big_phi: dict[int, float]


def _dataset(pool: Pool, made: _Outcome) -> xr.Dataset:
    found, result, accepted, fates = made.found, made.result, made.accepted, made.fates
    counts = _counts(found, result, fates)
    listed = sorted(fates)
    n_units = pool.substrate.n_units
    evaluated = len(found.candidates) - counts["UNREACHABLE"]
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": (("complex",), np.array([result.phi[k] for k in accepted], float)),
        "big_phi": (("complex",), np.array([made.big_phi.get(k, np.nan) for k in accepted], float)),
        "units": (("complex", "unit"), _members(found, accepted, n_units)),
        "candidates_evaluated": ((), evaluated),
        "candidates_excluded_by": (
            ("reason",),
            np.array([c if c < 2**63 else -1 for c in counts.values()], np.int64),
        ),
        "candidate_phi": (("candidate",), np.array([result.phi[k] for k in listed], float)),
        "candidate_units": (("candidate", "unit"), _members(found, listed, n_units)),
        "fate": (("candidate",), np.array([fates[k] for k in listed], np.int64)),
    }
    attrs = {
        "exhaustive": found.exhaustive,
        "searched": _searched(pool, found),
        "candidates": str(found.all_subsets),
        "candidates_not_searched": str(found.unsearched),
        "excluded_by": {name: str(count) for name, count in counts.items() if count},
    }
    return described(values, attrs)


def _members(found: Generated, numbers: Sequence[int], n_units: int) -> Any:
    out = np.zeros((len(numbers), n_units), bool)
    for row, k in enumerate(numbers):
        out[row, list(found.candidates[k])] = True
    return out


def _counts(found: Generated, result: Measured, fates: dict[int, int]) -> dict[str, int]:
    counts = dict.fromkeys(REASONS, 0)
    counts["NO_INPUT_OR_OUTPUT"], counts["NOT_STRONGLY_CONNECTED"] = found.unable, found.apart
    for code, name in VERDICTS.items():
        counts[name] = int((result.verdicts == code).sum())
    for code, name in FATES.items():
        if code != COMPLEX:
            counts[name] = sum(1 for fate in fates.values() if fate == code)
    return counts


def _searched(pool: Pool, found: Generated) -> str:
    """In words, which candidates were looked at."""
    inside, all_units = len(pool.units), pool.substrate.n_units
    of = f"all {all_units} units" if inside == all_units else f"{inside} of {all_units} units"
    if pool.given is not None:
        return f"{len(pool.given)} listed candidates of {of}"
    if found.exhaustive:
        return f"all non-empty subsets of {of}"
    return f"subsets of at most {pool.max_size} of {of}"
