"""IIT 3.0, top to bottom: Oizumi, Albantakis and Tononi 2014."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import MemoryRefusedError
from iitdask.kernels.iit3.measures import is_positive, is_tied
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit3.concepts import (
    Concepts,
    concepts_stage,
    details_stage,
    fill_concepts,
    mechanism_seconds,
    prepare_sources,
    purview_ranks,
    repertoire_bytes,
    select_concepts,
    source_inputs,
)
from iitdask.theory.iit3.constellations import (
    CutSearch,
    cut_concepts_stage,
    cut_seconds,
    cuts_stage,
    fill_cuts,
)
from iitdask.theory.iit4.system_analysis import is_strongly_connected_system
from iitdask.theory.marginal_tables import fill_marginals, marginals_stage
from iitdask.theory.options import IIT3
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import Array, Filled, Grid, Recipe, Region, Stage, Steps
from iitdask.theory.variables import assemble_tree, make_dataset, units_of_masks, variable

ONE_BLOCK_MAX_UNITS = 6  # units up to which a system is analysed in one block
DIRECTIONS = ("cause", "effect")
BIT_MEASURES = {"KLD", "ENTROPY_DIFFERENCE", "PSQ2", "MP2Q", "ID", "AID"}  # measured in bits


@dataclass(frozen=True, slots=True)
class SystemAnalysis:
    """Analysis of one candidate system."""

    phi: float = 0.0  # Distance at the minimum cut, Phi of the system
    target: int = 0  # Units that the minimum cut severs from all others, as a mask; 0 without a cut
    ties: int = 0  # Cuts that tie
    reason: Reason = Reason.NONE  # Why Phi is 0, when a rule decided it


def sia(system: CandidateSystem, options: IIT3) -> Recipe:
    """Analyse how irreducible a system is.

    Parameters
    ----------
    system : the candidate system
    options : options of the theory

    Returns
    -------
    DataTree, the node ``/system``

    References
    ----------
    Oizumi, Albantakis and Tononi 2014; docs/mathematics.md 12.2.
    """
    reason = _zero_phi_reason(system)
    if reason:
        analysis = SystemAnalysis(reason=reason)
    elif system.n <= ONE_BLOCK_MAX_UNITS:
        single, others = _cut_targets(system.n)
        targets = single + others
        (filled,) = yield (one_block_stage(system, options, np.array(targets)),)
        analysis = SystemAnalysis(reason=Reason.NO_CONCEPTS)
        if int(filled["concepts"].values[0]):
            distances, exact = filled["distance"].values[0], filled["exact"].values[0]
            analysis = _minimum_cut(system.n, targets, distances, exact)
    else:
        analysis, _, _ = yield from _analyse(system, options)
    return assemble_tree({"/system": _system_dataset(system, analysis, options)})


def ces(system: CandidateSystem, options: IIT3) -> Recipe:
    """Unfold the conceptual structure of a system, and that of the system under its minimum cut.

    Parameters
    ----------
    system : the candidate system
    options : options of the theory

    Returns
    -------
    DataTree, ``/system``, ``/distinctions`` and, unless Phi is 0 by a rule, ``/cut_distinctions``

    References
    ----------
    Oizumi, Albantakis and Tononi 2014; docs/mathematics.md 12.
    """
    analysis, concepts_intact, rank = yield from _analyse(system, options)
    nodes = {"/system": _system_dataset(system, analysis, options)}
    structures = [("distinctions", 0, concepts_intact)]
    if analysis.target:
        cutting = CutSearch(system, options, rank, concepts_intact)
        (filled,) = yield (cut_concepts_stage(cutting, analysis.target),)
        structures.append(("cut_distinctions", analysis.target, Concepts.from_filled(filled)))
    rows = [
        (target, side, m, int(concepts.purviews[side, m]), concepts.sides[side, m])
        for _, target, concepts in structures
        for m in concepts.mechanisms
        for side in range(2)
    ]
    stage = details_stage(system, options, rows)
    inner = {v: dict(v.inner) for v in stage.variables}
    details: Filled = {
        v.name: xr.Variable(("side", *sizes), np.empty((0, *sizes.values()), v.dtype))
        for v, sizes in inner.items()
    }
    if rows:
        (details,) = yield (stage,)
    begin, mechanisms = 0, concepts_intact.mechanisms
    for name, _, concepts in structures:
        selected = slice(begin, begin + 2 * len(concepts.mechanisms))
        rows_of_structure = _select_rows(details, selected)
        nodes[f"/{name}"] = _concepts_dataset(system, concepts, rows_of_structure, options)
        begin = selected.stop
    away = details["distance_to_null"].values[: 2 * len(mechanisms)].reshape(-1, 2).sum(axis=1)
    if options.structure_distance == "SUM_SMALL_PHI":
        away = np.ones(len(mechanisms))
    attrs = {
        "big_phi": analysis.phi,
        "sum_phi_distinctions": float(concepts_intact.phi.sum()),
        "conceptual_information": round(float(concepts_intact.phi[mechanisms] @ away), 6),
        "n_distinctions": len(mechanisms),
    }
    return assemble_tree({"/": xr.Dataset(attrs=attrs), **nodes})


def _analyse(
    system: CandidateSystem, options: IIT3
) -> Steps[tuple[SystemAnalysis, Concepts, Array]]:
    """Find concepts, apply the rules of mathematics.md 8.1, and find the minimum cut."""
    need, budget = repertoire_bytes(system.levels), system.budget_bytes
    if need > budget:
        raise MemoryRefusedError(
            f"iit3: the repertoires of {system.n} units need {need / 2**30:.3g} GiB, more than "
            f"the budget of {budget / 2**30:.3g} GiB; choose fewer units"
        )
    yield (marginals_stage(system),)
    (filled,) = yield (concepts_stage(system, options),)
    rank = purview_ranks(system, options.ties)
    concepts = select_concepts(filled["phi_cause"].values, filled["phi_effect"].values, rank)
    reason = _zero_phi_reason(system)
    if not reason and not concepts.mechanisms:
        reason = Reason.NO_CONCEPTS
    if reason:
        return SystemAnalysis(reason=reason), concepts, rank
    targets, distances, exact = list[int](), list[float](), list[bool]()
    cutting = CutSearch(system, options, rank, concepts)
    incumbent = np.inf
    for name, masks in zip(("cuts", "cuts/more"), _cut_targets(system.n), strict=True):
        if not masks:
            continue
        (cuts,) = yield (cuts_stage(cutting, name, np.array(masks), incumbent),)
        targets += masks
        distances += cuts["distance"].values.tolist()
        exact += cuts["exact"].values.tolist()
        attained = (d for d, sure in zip(distances, exact, strict=True) if sure)
        incumbent = min(attained, default=np.inf)  # an estimate computes few or none of them
    return _minimum_cut(system.n, targets, distances, exact), concepts, rank


def _minimum_cut(n: int, targets: Sequence[int], distances: Any, exact: Any) -> SystemAnalysis:
    """Return the cut of least distance; among ties the one that keeps the first connections."""
    away = np.asarray(distances, float).tolist()
    attained = (d for d, sure in zip(away, np.asarray(exact).tolist(), strict=True) if sure)
    least = min(attained, default=None)
    if least is None:  # in an estimate: the first stands for the minimum
        return SystemAnalysis(np.nan, targets[0])
    tied = [t for t, d in zip(targets, away, strict=True) if is_tied(d, least)]
    target = min(tied, key=lambda t: _severed_connections(n, t).ravel().tolist())
    if not is_positive(least):
        return SystemAnalysis(0.0, target, 0, Reason.REDUCIBLE)
    return SystemAnalysis(away[list(targets).index(target)], target, len(tied))


def _zero_phi_reason(system: CandidateSystem) -> Reason:
    if not is_strongly_connected_system(system):
        return Reason.NO_STRONG_CONNECTIVITY
    return Reason.MONAD if system.n == 1 else Reason.NONE


def _cut_targets(n: int) -> tuple[list[int], list[int]]:
    """Return the cuts as masks of the units they isolate: one against the rest, then others."""
    masks, first = range(1, (1 << n) - 1), (1, n - 1)
    single = [t for t in masks if t.bit_count() in first]
    return single, [t for t in masks if t.bit_count() not in first]


def _severed_connections(n: int, target: int) -> Array:
    inside = (target >> np.arange(n) & 1).astype(bool)
    return np.asarray(~inside[:, None] & inside[None])


def _system_dataset(system: CandidateSystem, analysis: SystemAnalysis, options: IIT3) -> xr.Dataset:
    inside = analysis.target >> np.arange(system.n) & 1
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), analysis.phi),
        "n_tied_partitions": ((), analysis.ties),
        "cut": (("source", "target"), _severed_connections(system.n, analysis.target)),
        "part": (("unit",), inside ^ inside[0]),
    }
    attrs = {"reason": analysis.reason.text, "reasons": analysis.reason.names}
    is_bits = options.measure in BIT_MEASURES and options.structure_distance == "SUM_SMALL_PHI"
    return _with_units(make_dataset(values, attrs), is_bits=is_bits)


def _with_units(data: xr.Dataset, *, is_bits: bool) -> xr.Dataset:
    """Drop the unit bit where it is none: earth mover's distances count units that differ."""
    if is_bits:
        return data
    for name in ("phi", "phi_cause", "phi_effect"):
        if name in data:
            data[name].attrs.pop("units")
    return data


def _select_rows(details: Filled, rows: slice) -> dict[str, xr.Variable]:
    """Return a range of causes and effects."""
    return {name: values.isel(side=rows) for name, values in details.items()}


def _concepts_dataset(
    system: CandidateSystem, concepts: Concepts, details: Filled, options: IIT3
) -> xr.Dataset:
    mechanisms, n = concepts.mechanisms, system.n
    rows, line, states = ("mechanism", "unit"), ("mechanism",), ("mechanism", "purview_state")
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "mechanism_units": (rows, units_of_masks(mechanisms, n)),
        "phi": (line, concepts.phi[mechanisms]),
    }
    for side, name in enumerate(DIRECTIONS):
        purviews = concepts.purviews[side, mechanisms]
        values |= {
            f"phi_{name}": (line, concepts.sides[side, mechanisms]),
            f"purview_{name}": (rows, units_of_masks(purviews, n)),
            f"n_tied_purviews_{name}": (line, concepts.ties[side, mechanisms]),
        }
        of_side = _select_rows(details, slice(side, None, 2))
        values |= {
            f"kept_{name}": (rows, of_side["kept"].values),
            f"n_tied_partitions_{name}": (line, of_side["ties"].values),
            f"repertoire_{name}": (states, of_side["repertoire"].values),
            f"partitioned_repertoire_{name}": (states, of_side["partitioned_repertoire"].values),
        }
    return _with_units(make_dataset(values), is_bits=options.measure in BIT_MEASURES)


def analysis_seconds(levels: Sequence[int]) -> float:
    """Predict the seconds of the analysis of a system with units of so many values."""
    return float(0.004 + 6e-8 * math.prod(levels) ** math.log2(18.0))


def one_block_stage(system: CandidateSystem, options: IIT3, targets: Array) -> Stage:
    """Return the stage that analyses a small system in one block, given the cuts' target masks.

    The steps are those of the several stages; what lies between them is not stored.
    """
    cut = (("cut", len(targets)),)
    seconds = float(mechanism_seconds(system, options).sum())
    seconds += len(targets) * cut_seconds(system, options)
    shared_inputs = {**marginals_stage(system).inputs, **source_inputs(system, options)}
    del shared_inputs["marginals"]  # made here
    return Stage(
        name="system",
        grid=Grid(("system",), (1,)),
        variables=(
            variable("concepts", "int64", -1),
            variable("distance", "float64", np.nan, cut),
            variable("exact", "bool", False, cut),
        ),
        compute=fill_one_block,
        inputs={
            **shared_inputs,
            "rank": purview_ranks(system, options.ties),
            "targets": targets,
            "is_sum": np.array(options.structure_distance == "SUM_SMALL_PHI"),
        },
        cost=lambda _region: seconds,
        scratch=2 * repertoire_bytes(system.levels),
    )


def fill_one_block(inputs: Mapping[str, Array], _region: Region) -> dict[str, Array]:
    """Compute tables, concepts and cuts, one after the other."""
    tpm = inputs["tpm"]
    everything = slice(0, len(tpm)), slice(0, tpm.shape[2])
    marginals = fill_marginals(inputs, everything)["probability"]
    sources = prepare_sources({**inputs, "marginals": marginals})
    filled = fill_concepts(sources, (slice(0, len(sources.intact.effect)),))
    concepts = select_concepts(filled["phi_cause"], filled["phi_effect"], inputs["rank"])
    count, cuts = len(concepts.mechanisms), len(inputs["targets"])
    out = {"distance": np.zeros(cuts), "exact": np.zeros(cuts, bool)}
    if count:
        more = {
            **inputs,
            "intact_phi": filled["phi_cause"],
            "sides": concepts.sides,
            "purviews": concepts.purviews,
            "incumbent": np.array(np.inf),
        }
        out = fill_cuts(replace(sources, more=more), (slice(0, cuts),))
    distance, exact = out["distance"][None], out["exact"][None]
    return {"concepts": np.array([count]), "distance": distance, "exact": exact}
