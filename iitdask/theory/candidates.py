"""phi_s of many candidate systems as one stage: each block evaluates whole candidates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import MemoryRefusedError, UnreachableStateError
from iitdask.kernels.candidates import (
    IRREDUCIBLE,
    NO_CAUSE,
    NO_EFFECT,
    REDUCIBLE,
    UNREACHABLE,
    ZERO_CUT,
    irreducibilities,
)
from iitdask.kernels.purviews import ZERO
from iitdask.model.net import net_arrays
from iitdask.model.pool import Pool
from iitdask.theory.base import Answer, Grid, Region, Stage, Stages, gather, scoped
from iitdask.theory.iit4 import sia
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.vocabulary import variable

__all__ = ["VERDICTS", "Measure", "Measured", "analysed_by", "candidate_name", "measured"]

Array = NDArray[Any]

CAPPED = 6
VERDICTS = {
    UNREACHABLE: "UNREACHABLE",
    NO_CAUSE: "NO_CAUSE",
    NO_EFFECT: "NO_EFFECT",
    ZERO_CUT: "ZERO_CUT",
    REDUCIBLE: "REDUCIBLE",
    CAPPED: "CAPPED",
}
"""Why a candidate's phi_s is 0."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Integrated information of candidates."""

    phi: Array
    """(C,) bits."""
    verdicts: Array
    """(C,) why it is 0, see ``VERDICTS``; 0 where it is not."""


Measure = Callable[
    [Pool, Sequence[tuple[int, ...]], Any],
    Generator[tuple[Stage, ...], tuple[Answer, ...], Measured],
]
"""Evaluates candidates of a pool under a theory's options."""


def candidate_name(units: Sequence[int]) -> str:
    """Name of a candidate in stage names: its unit numbers."""
    return "-".join(map(str, units))


def measured(
    pool: Pool, candidates: Sequence[tuple[int, ...]], options: Unfolding
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Measured]:
    """Evaluate candidates under IIT 4.0; the 2026 theory caps what the 2023 one gives."""
    if not candidates:
        return Measured(np.zeros(0), np.zeros(0, np.int64))
    (filled,) = yield (candidates_stage(pool, candidates),)
    values = filled["value"].values
    phi, verdicts = values[:, 0].copy(), filled["verdict"].values.copy()
    if isinstance(options, IIT42026):
        where = options.differentiation == "specified"
        probabilities = values[:, 5:7] if where else values[:, 3:5]
        open_ = (probabilities > 0) & (probabilities < 1)
        bits = np.where(open_, -np.log2(np.where(open_, probabilities, 1.0)), 0.0)
        capped = np.minimum(phi, np.minimum(values[:, 1:3], bits).min(axis=1))
        if where:  # which of several tied pairs is named can matter: ask the full analysis
            tied = np.flatnonzero((filled["tied_pairs"].values > 1) & (phi > 0))
            again = yield from analysed_by(sia)(pool, [candidates[int(k)] for k in tied], options)
            capped[tied] = again.phi
        capped = np.where(capped > ZERO, capped, 0.0)
        verdicts[(capped == 0) & (verdicts == IRREDUCIBLE)] = CAPPED
        phi = capped
    return Measured(phi, verdicts)


def analysed_by(analysis: Callable[[Any, Any], Stages]) -> Measure:
    """Evaluate candidates by a theory's own analysis of one system, all under one plan.

    Parameters
    ----------
    analysis
        Recipe of a system under the theory's options; scalar ``phi`` of its node ``/system``.
    """

    def measure(
        pool: Pool, candidates: Sequence[tuple[int, ...]], options: Any
    ) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Measured]:
        phi, verdicts = np.zeros(len(candidates)), np.zeros(len(candidates), np.int64)
        recipes: dict[str, Stages] = {}
        for k, units in enumerate(candidates):
            try:
                system = pool.system(units)
            except UnreachableStateError:
                verdicts[k] = UNREACHABLE
                continue
            recipes[str(k)] = scoped(
                f"candidates/{candidate_name(units)}", analysis(system, options)
            )
        trees = yield from gather(recipes)
        for name, tree in trees.items():
            phi[int(name)] = float(tree["system"]["phi"])
            verdicts[int(name)] = IRREDUCIBLE if phi[int(name)] > 0 else REDUCIBLE
        return Measured(phi, verdicts)

    return measure


def candidates_stage(pool: Pool, candidates: Sequence[tuple[int, ...]]) -> Stage:
    """One grid over candidates; a cell is a whole candidate."""
    levels = pool.substrate.levels
    widest = max(len(units) for units in candidates)
    rows = np.full((len(candidates), widest), -1, np.int64)
    for k, units in enumerate(candidates):
        rows[k, : len(units)] = units
    net = net_arrays(pool, {unit for units in candidates for unit in units})
    costs = np.array([_seconds(levels, units) for units in candidates])
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
    return Stage(
        name="candidates",
        grid=Grid(("candidate",), (len(candidates),)),
        fills=(
            variable("verdict", "int64", -1),
            variable("tied_pairs", "int64", 0),
            variable("value", "float64", np.nan, (("quantity", 7),)),
        ),
        compute=fill_candidates,
        inputs={"candidates": rows, **net},
        members={"candidate": np.array([sum(1 << u for u in units) for units in candidates])},
        cost=Cost(np.concatenate([[0.0], np.cumsum(costs)])),
        scratch=scratch,
    )


def _seconds(levels: Sequence[int], units: Sequence[int]) -> float:
    """Seconds that the searches of one candidate take when nothing shows that phi is 0."""
    n, states = len(units), prod(levels[u] for u in units)
    return float(3e-6 + 0.3e-9 * states**2 + 1e-7 * n * 2**n + 7e-9 * 4.0**n)


@dataclass(frozen=True, slots=True, eq=False)
class Cost:
    """Predicted seconds of a range of candidates."""

    total: Array
    """(C + 1,) seconds of the candidates before each."""

    def __call__(self, region: Region) -> float:
        """Sum over the region."""
        return float(self.total[region[0].stop] - self.total[region[0].start])


NET = ("starts", "parents", "table_starts", "tables", "posterior_starts", "posteriors")


def fill_candidates(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Evaluate a range of candidates."""
    begin, end = region[0].start, region[0].stop
    verdicts, ties = np.zeros(end - begin, np.int64), np.zeros(end - begin, np.int64)
    values = np.zeros((end - begin, 7))
    arrays = tuple(inputs[name] for name in NET)
    irreducibilities(
        inputs["candidates"],
        begin,
        end,
        inputs["levels"],
        inputs["state"],
        arrays,
        verdicts,
        ties,
        values,
    )
    return {"verdict": verdicts, "tied_pairs": ties, "value": values}
