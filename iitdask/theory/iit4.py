"""IIT 4.0, top to bottom: Albantakis et al. 2023, and the 2026 cap on phi_s."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.system import System
from iitdask.theory.analysis import Analysis, analysis, system_dataset
from iitdask.theory.base import Stage, Stages
from iitdask.theory.distinctions import (
    Choices,
    Distinction,
    PurviewOrder,
    Side,
    alternatives,
    choose,
    gather_choices,
    state_digits,
)
from iitdask.theory.irreducibility import specified_states, states_stage
from iitdask.theory.mechanisms import details_stage, mice_stage, tied_pairs
from iitdask.theory.options import Theory
from iitdask.theory.relations import Bindings, Sums, relation_sums
from iitdask.theory.tables import marginals_stage
from iitdask.theory.vocabulary import described

__all__ = ["bindings_of", "ces", "sia"]

SWAPS = 2000  # choices tried at most when asking whether another one would change Phi


def sia(system: System, options: Theory) -> Stages:
    """System irreducibility analysis: a tree whose node ``/system`` is the dataset."""
    found = yield from analysis(system, options)
    return xr.DataTree.from_dict({"/system": system_dataset(system, found)})


def ces(system: System, options: Theory) -> Stages:
    """Cause-effect structure: system, distinctions and relations."""
    found = yield from analysis(system, options)
    states = found.states
    if states is None:  # disconnected systems still have distinctions, spec.md 10
        states = yield from _default_states(system)
    yield (marginals_stage(system),)
    (mice,) = yield (mice_stage(system),)
    pairs = tied_pairs(mice)
    every: list[Choices] = []
    if len(pairs):
        (details,) = yield (details_stage(system, pairs),)
        every = gather_choices(pairs, details, PurviewOrder(system, options.ties))
    chosen = choose(system, every, states, options.ties)
    sums = relation_sums(bindings_of(system, chosen, states))
    return _tree(system, options, found, states, every, chosen, sums, mice)


def _default_states(
    system: System,
) -> Generator[tuple[Stage, ...], tuple[xr.Dataset, ...], tuple[int, int]]:
    (filled,) = yield (states_stage(system),)
    cause, effect = specified_states(filled)
    return cause.states[0], effect.states[0]


def bindings_of(system: System, chosen: Sequence[Distinction], states: tuple[int, int]) -> Bindings:
    """Unit-states that each distinction binds; a unit with one state on both sides counts once."""
    n, everything = system.n, (1 << system.n) - 1
    values = [state_digits(system, everything, s) for s in states]
    differing = int(sum(1 << i for i in range(n) if values[0][i] != values[1][i]))

    def effect_bits(purview: int) -> int:
        return (purview & ~differing) | (purview & differing) << n

    return Bindings(
        np.array([d.phi for d in chosen]),
        tuple(d.cause.purview for d in chosen),
        tuple(effect_bits(d.effect.purview) for d in chosen),
    )


def _tree(
    system: System,
    options: Theory,
    found: Analysis,
    states: tuple[int, int],
    every: Sequence[Choices],
    chosen: Sequence[Distinction],
    sums: Sums,
    mice: xr.Dataset,
) -> xr.DataTree:
    phi_d = float(sum(d.phi for d in chosen))
    phi_r, log_r = _reported(sums.phi)
    attrs: dict[str, Any] = {
        "sum_phi_distinctions": phi_d,
        "sum_phi_relations": phi_r,
        "big_phi": phi_d + phi_r,
        "n_distinctions": len(chosen),
        "n_irreducible_mechanisms": len(every),
        "n_tied_mechanisms": sum(1 for d in chosen if _is_tied(d)),
        "search": _search_statistics(system, mice),
        **_sensitivity(system, options, found, states, every, chosen, sums),
    }
    system_node = system_dataset(system, found)
    for name, code in zip(("cause_state", "effect_state"), states, strict=True):
        if found.states is None:  # the states that congruence was judged by
            values = state_digits(system, (1 << system.n) - 1, code)
            system_node[name] = system_node[name].copy(data=values)
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=attrs),
            "/system": system_node,
            "/distinctions": _distinctions_dataset(system, chosen),
            "/relations": _relations_dataset(sums, phi_r, log_r),
        }
    )


def _is_tied(found: Distinction) -> bool:
    sides = (found.choices.cause, found.choices.effect)
    return any(len(side) > 1 or len(side[0].states) > 1 for side in sides)


def _reported(value: Any) -> tuple[float, float]:
    """A fraction as a double (infinite beyond its range) and as log2."""
    if value == 0:
        return 0.0, -np.inf
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    scaled = value / 2**shift if shift >= 0 else value * 2**-shift
    log = shift + float(np.log2(float(scaled)))
    return (float(value) if shift < 1023 else np.inf), log


def _search_statistics(system: System, mice: xr.Dataset) -> dict[str, int]:
    searched = int(mice["searched"].sum())
    pairs = 2 * (2**system.n - 1) ** 2
    return {
        "pairs": pairs,
        "pairs_bounded_away": pairs - searched,
        "pairs_searched": searched,
        "bound_tables": int(mice["tables"].sum()),
        "search_nodes": int(mice["nodes"].sum()),
    }


def _sensitivity(
    system: System,
    options: Theory,
    found: Analysis,
    states: tuple[int, int],
    every: Sequence[Choices],
    chosen: Sequence[Distinction],
    sums: Sums,
) -> dict[str, Any]:
    """Whether another admissible choice among ties would change the structure, and its Phi."""
    others = [alternatives(system, d, states) for d in chosen]
    open_sides = [
        (k, side, option)
        for k, sides in enumerate(others)
        for side, options_ in enumerate(sides)
        for option in options_
        if option.purview != (chosen[k].cause, chosen[k].effect)[side].purview
    ]
    other_states = [pair for pair in found.state_options if pair != states]
    sensitive = bool(open_sides or other_states)
    total = sum(d.phi for d in chosen) + float(_reported(sums.phi)[0])

    def differs(candidate: Sequence[Distinction], at: tuple[int, int]) -> bool:
        again = relation_sums(bindings_of(system, candidate, at))
        phi = sum(d.phi for d in candidate) + _reported(again.phi)[0]
        return bool(abs(phi - total) > 1e-9 * max(1.0, abs(total))) or again.count != sums.count

    verdict = "no"
    tries = [
        (lambda pair=pair: differs(choose(system, every, pair, options.ties), pair))
        for pair in other_states
    ]
    tries += [
        (lambda k=k, side=side, option=option: differs(_swapped(chosen, k, side, option), states))
        for k, side, option in open_sides
    ]
    if any(attempt() for attempt in tries[:SWAPS]):
        verdict = "yes"
    elif len(tries) > SWAPS:
        verdict = "not determined"
    return {"tie_sensitive": sensitive, "phi_tie_sensitive": verdict}


def _swapped(chosen: Sequence[Distinction], k: int, side: int, option: Side) -> list[Distinction]:
    out = list(chosen)
    old = out[k]
    pair = (option, old.effect) if side == 0 else (old.cause, option)
    out[k] = Distinction(old.choices, *pair)
    return out


def _distinctions_dataset(system: System, chosen: Sequence[Distinction]) -> xr.Dataset:
    n, count = system.n, len(chosen)
    bits = np.arange(n)

    def units(masks: Sequence[int]) -> Any:
        return (np.array(masks, np.int64).reshape(count, 1) >> bits & 1).astype(bool)

    rows, line = ("mechanism", "unit"), ("mechanism",)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "mechanism_units": (rows, units([d.choices.mechanism for d in chosen])),
        "phi": (line, np.array([d.phi for d in chosen], float)),
    }
    for name in ("cause", "effect"):
        sides: list[Side] = [getattr(d, name) for d in chosen]
        tied: list[tuple[Side, ...]] = [getattr(d.choices, name) for d in chosen]
        states = [state_digits(system, s.purview, s.state) for s in sides]
        values |= {
            f"phi_{name}": (line, np.array([s.phi for s in sides], float)),
            f"purview_{name}": (rows, units([s.purview for s in sides])),
            f"state_{name}": (rows, np.array(states, np.int64).reshape(count, n)),
            f"intrinsic_information_{name}": (
                line,
                np.array([s.information for s in sides], float),
            ),
            f"kept_{name}": (rows, np.array([s.kept for s in sides], np.int64).reshape(count, n)),
            f"n_tied_purviews_{name}": (line, np.array([len(t) for t in tied], np.int64)),
            f"n_tied_states_{name}": (line, np.array([len(s.states) for s in sides], np.int64)),
        }
    return described(values)


def _relations_dataset(sums: Sums, phi: float, log_phi: float) -> xr.Dataset:
    fits: Callable[[int], int] = lambda x: x if x < 2**63 else -1  # noqa: E731

    def log2(x: int) -> float:
        shift = max(0, x.bit_length() - 60)
        return float(np.log2(x >> shift)) + shift if x else -np.inf

    degrees = sums.by_degree
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "count": ((), fits(sums.count)),
        "log2_count": ((), log2(sums.count)),
        "sum_phi": ((), phi),
        "log2_sum_phi": ((), log_phi),
        "count_by_degree": (("degree",), np.array([fits(x) for x in degrees], np.int64)),
        "log2_count_by_degree": (("degree",), np.array([log2(x) for x in degrees], float)),
    }
    return described(values, {"count": str(sums.count)}).assign_coords(
        degree=np.arange(1, len(degrees) + 1)
    )
