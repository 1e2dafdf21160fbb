"""Perception: which part of a structure a stimulus triggered (Mayner, Juel and Tononi 2024).

The distribution over the states of the system that every stimulus triggers is one stage; the
structure of each different triggered system is a cause-effect structure like any other.

References: docs/mathematics.md 40.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.errors import UnreachableStateError
from iitdask.model.labels import decode_state
from iitdask.model.perceptual_system import PerceptualSystem
from iitdask.model.system import System
from iitdask.theory.differentiation import (
    ComponentSets,
    Interval,
    TriggeredStructures,
    differentiation,
    perceived_differentiation,
)
from iitdask.theory.iit4.recipe import ces
from iitdask.theory.options import Unfolding
from iitdask.theory.reasons import SYSTEM_TEXTS, Reason
from iitdask.theory.stage import Array, Grid, Recipe, Region, Stage, Steps, gather, scoped
from iitdask.theory.variables import (
    Outcome,
    assemble_tree,
    attr_of,
    described_variable,
    make_dataset,
    variable,
)

RESPONSE_TIE_RELATIVE = 1e-12  # Relative difference of probabilities that are counted as ties


def _attr_outcome(name: str, doc: str) -> Outcome:
    return Outcome(name, "bit", doc, attr_of(name))


# Numbers that a sweep records of the perception of a system
PERCEPTION_OUTCOMES = (
    _attr_outcome("differentiation", "sum of phi over the components of all triggered structures"),
    _attr_outcome("differentiation_perceived", "the same of what is perceived of them"),
    _attr_outcome("max_richness", "largest richness of a perception"),
    _attr_outcome("max_big_phi", "largest Phi of a triggered structure"),
)


class _Aligned(NamedTuple):
    """Distinctions of all structures side by side; see `TriggeredStructures`."""

    mechanism: Array
    phi: Array
    fold: Array  # (K, D) bits
    cause: Array
    effect: Array


class _Triggered(NamedTuple):
    """What each stimulus that was asked for triggers, and what any of them does."""

    rows: Array  # (K, S) P(state | stimulus) of the stimuli asked for
    mean: Array  # (S,) mean over all stimuli
    responses: tuple[tuple[int, ...], ...]  # (K,) most probable states
    ties: Array  # (K,) states that are as probable


def perception(target: PerceptualSystem, options: Unfolding) -> Recipe:
    """Find what stimuli trigger in a system, and what it perceives of them.

    Parameters
    ----------
    target : the system and its sensory interface
    options : options of the theory

    Returns
    -------
    DataTree, ``/stimuli`` and ``/distinctions``; differentiation among the attributes

    References
    ----------
    Mayner, Juel and Tononi 2024; docs/mathematics.md 40.
    """
    (filled,) = yield (triggered_stage(target),)
    triggered = _read_triggered(target, filled["triggered_probability"].values)
    trees, of_stimulus, texts = yield from _structures(target, options, triggered)
    aligned = _align(target, [trees.get(name) for name in of_stimulus])
    nodes = _datasets(target, triggered, aligned, of_stimulus)
    nodes["/stimuli"]["why_none"] = described_variable(
        "why_none", ("stimulus",), np.array(texts, object)
    )
    sets = ComponentSets.from_structures(triggered_structures(nodes))
    attrs: dict[str, Any] = {"tau": target.tau, "clamp": target.clamp, "n_structures": len(trees)}
    attrs |= _interval_attrs("differentiation", differentiation(sets))
    attrs |= _interval_attrs("differentiation_perceived", perceived_differentiation(sets))
    for name in ("richness", "big_phi"):
        attrs[f"max_{name}"] = float(nodes["/stimuli"][name].values.max())
    return assemble_tree({"/": xr.Dataset(attrs=attrs), **nodes})


def _interval_attrs(name: str, found: Interval) -> dict[str, float]:
    if found.is_exact:
        return {name: found.low}
    return {f"{name}_low": found.low, f"{name}_high": found.high}


def triggered_stage(target: PerceptualSystem) -> Stage:
    """Return the stage of the distributions that stimuli trigger, a row for each of all stimuli.

    Parameters
    ----------
    target : the system and its sensory interface

    Returns
    -------
    Stage, ``probability`` (stimuli, states)

    References
    ----------
    docs/mathematics.md, Eq. (40.1) and (40.2).
    """
    stimuli, states = len(target.all_stimuli), math.prod(target.system_levels)
    steps = target.tau * states**3
    return Stage(
        name="triggered",
        grid=Grid(("stimulus",), (stimuli,)),
        variables=(variable("triggered_probability", "float64", np.nan, (("state", states),)),),
        compute=fill_triggered,
        inputs={
            "tables": target.step_tables(),
            "levels": np.array(target.system_levels, np.int64),
            "steps": np.array([target.clamp, target.tau - target.clamp], np.int64),
        },
        cost=lambda region: 1e-4 + 1e-10 * steps * (region[0].stop - region[0].start),
        scratch=32 * states * states,
    )


def fill_triggered(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Fill a range of stimuli: steps with the interface held, then steps with it free."""
    tables, levels, (held, free) = inputs["tables"], inputs["levels"], inputs["steps"].tolist()
    free_step = transition_matrix(tables.mean(axis=0), levels)
    rows = []
    for k in range(region[0].start, region[0].stop):
        held_step = transition_matrix(tables[k], levels)
        steps = [held_step] * held + [free_step] * free
        rows.append(reduce(np.matmul, steps).mean(axis=0))  # the first state is uniform
    return {"triggered_probability": np.array(rows)}


def transition_matrix(table: Array, levels: Array) -> Array:
    """Return ``(S, S)`` P(next state | state), both little-endian, from independent units."""
    out, column = np.ones((len(table), 1)), 0
    for k in levels.tolist():  # later units vary slower
        values = table[:, column : column + k].copy()
        values[:, 0] = 1 - values[:, 1:].sum(axis=1)  # as means are rounded: sums stay 1
        out = (values[:, :, None] * out[:, None, :]).reshape(len(table), -1)
        column += k
    return out


def _read_triggered(target: PerceptualSystem, every: Array) -> _Triggered:
    number = {stimulus: k for k, stimulus in enumerate(target.all_stimuli)}
    rows = every[[number[stimulus] for stimulus in target.requested]]
    is_top = rows >= rows.max(axis=1, keepdims=True) * (1 - RESPONSE_TIE_RELATIVE)
    codes = rows.argmax(axis=1).tolist()
    states = tuple(decode_state(code, target.system_levels) for code in codes)
    return _Triggered(rows, every.mean(axis=0), states, is_top.sum(axis=1))


def _structures(
    target: PerceptualSystem, options: Unfolding, triggered: _Triggered
) -> Steps[tuple[dict[str, xr.DataTree], list[str], list[str]]]:
    """Unfold each different triggered system, and name that of every stimulus.

    A state that no past state leads to has no structure: its name is empty, and the text says why.
    """
    systems: dict[str, System] = {}
    names: list[str] = []
    texts: list[str] = []
    known: dict[str, str] = {}
    for stimulus, response in zip(target.requested, triggered.responses, strict=True):
        try:
            system = target.triggered_system(stimulus, response)
        except UnreachableStateError:
            names.append("")
            texts.append(SYSTEM_TEXTS[Reason.SUBSTRATE_UNREACHABLE])
            continue
        name = known.setdefault(system.fingerprint, f"structures/{len(known)}")
        systems.setdefault(name, system)
        names.append(name)
        texts.append("")
    recipes = {name: scoped(name, ces(system, options)) for name, system in systems.items()}
    trees = yield from gather(recipes)
    return trees, names, texts


def _align(target: PerceptualSystem, trees: Sequence[xr.DataTree | None]) -> _Aligned:
    """Put the distinctions of all structures side by side, a column for each mechanism."""
    n, weights = len(target.system), 1 << np.arange(len(target.system))
    found: list[tuple[xr.Dataset | None, Array]] = []
    for tree in trees:
        data = None if tree is None else tree["distinctions"].to_dataset()
        masks = [] if data is None else data["mechanism_units"].values @ weights
        found.append((data, np.asarray(masks, int)))
    every = sorted({mask for _, masks in found for mask in masks.tolist()})
    column = {mask: k for k, mask in enumerate(every)}
    shape = (len(trees), len(every))
    phi, fold = np.full((2, *shape), np.nan)
    cause, effect = np.full((2, *shape, n), -1)
    for k, (data, masks) in enumerate(found):
        if data is not None:
            at = [column[mask] for mask in masks.tolist()]
            phi[k, at], fold[k, at] = data["phi"].values, data["fold"].values
            cause[k, at], effect[k, at] = data["state_cause"].values, data["state_effect"].values
    inside = np.array(every, np.int64)[:, None] >> np.arange(n) & 1
    return _Aligned(inside.reshape(-1, n).astype(bool), phi, fold, cause, effect)


def _datasets(
    target: PerceptualSystem,
    triggered: _Triggered,
    structures: _Aligned,
    of_stimulus: Sequence[str],
) -> dict[str, xr.Dataset]:
    """Return ``/stimuli`` and ``/distinctions``."""
    fold = structures.fold
    p, q = _state_probabilities(target, triggered, structures.mechanism)
    absent = np.isnan(structures.phi)
    p, q = np.where(absent, np.nan, p), np.where(absent, np.nan, q)
    c, t = triggered_share(p, q)
    richness = np.nansum(t * fold, axis=1)
    numbers = [int(name.rpartition("/")[2]) if name else -1 for name in of_stimulus]
    stimuli = {
        "row": (("stimulus", "system_state"), triggered.rows),
        "response_state": (("stimulus", "unit"), np.array(triggered.responses)),
        "response_ties": (("stimulus",), triggered.ties),
        "big_phi": (("stimulus",), np.nansum(fold, axis=1)),
        "richness": (("stimulus",), richness),
        "structure": (("stimulus",), np.array(numbers, np.int64)),
    }
    cells, units = ("stimulus", "mechanism"), ("stimulus", "mechanism", "unit")
    distinctions = {
        "mechanism_units": (("mechanism", "unit"), structures.mechanism),
        "t": (cells, t),
        "c": (cells, c),
        "p": (cells, p),
        "q": (cells, q),
        "phi": (cells, structures.phi),
        "fold": (cells, fold),
        "state_cause": (units, structures.cause),
        "state_effect": (units, structures.effect),
    }
    data = make_dataset(stimuli)
    data["big_phi"].attrs["comment"] = "Phi of the structure that the stimulus triggers"
    return {"/stimuli": data, "/distinctions": make_dataset(distinctions)}


def triggered_structures(nodes: Mapping[str, xr.Dataset]) -> TriggeredStructures:
    """Return what the nodes ``/stimuli`` and ``/distinctions`` say of the structures."""
    data = nodes["/distinctions"]
    names = ("phi", "t", "state_cause", "state_effect")
    return TriggeredStructures(
        data["mechanism_units"].values,
        nodes["/stimuli"]["response_state"].values,
        *(data[name].values for name in names),
    )


def _state_probabilities(
    target: PerceptualSystem, triggered: _Triggered, mechanism: Array
) -> tuple[Array, Array]:
    """Return (K, D) probability of each mechanism's state, given the stimulus and on average."""
    levels = target.system_levels[::-1]  # the last unit varies slowest
    n, shape = len(levels), (len(triggered.rows), len(mechanism))
    p, q = np.empty(shape), np.empty(shape)
    rows, mean = triggered.rows.reshape(-1, *levels), triggered.mean.reshape(levels)
    for d, inside in enumerate(mechanism):
        outside = tuple(n - 1 - unit for unit in range(n) if not inside[unit])
        every, average = rows.sum(axis=tuple(1 + axis for axis in outside)), mean.sum(axis=outside)
        for k, response in enumerate(triggered.responses):
            state = tuple(response[unit] for unit in reversed(range(n)) if inside[unit])
            p[k, d], q[k, d] = every[k][state], average[state]
    return p, q


def triggered_share(p: Array, q: Array) -> tuple[Array, Array]:
    """Return the connectedness of mechanisms with stimuli, and what these triggered of them.

    Parameters
    ----------
    p : (...) probability of the mechanism's state given the stimulus, NaN where there is none
    q : (...) its mean over all stimuli

    Returns
    -------
    tuple, c in bits, and t from 0 to 1

    References
    ----------
    docs/mathematics.md, Eq. (40.3) and (40.4).
    """
    is_raised = p > q
    ratio = np.divide(p, q, out=np.ones_like(p), where=is_raised)
    c = np.where(np.isnan(p), np.nan, np.log2(ratio))
    is_open = is_raised & (q < 1)
    most = np.where(is_open, -np.log2(np.where(is_open, q, 0.5)), 1.0)
    return c, np.where(np.isnan(p), np.nan, np.where(is_open, c / most, 0.0))
