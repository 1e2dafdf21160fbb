"""Search for networks: all members of a family, or climbs over tables or weights.

A climb is one cell of a stage: it depends on the space, the seed and its own number alone, so that
climbs run anywhere, and an interrupted search goes on with those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.errors import InputError, quote
from iitdask.model.batch import Batch, Family
from iitdask.model.labels import state_text
from iitdask.model.search_space import SearchSpace, family_block
from iitdask.model.substrate import Substrate
from iitdask.model.weights import ACTIVATIONS
from iitdask.theory.options import Theory
from iitdask.theory.small_systems import (
    CES_MAX_UNITS,
    COUNTS,
    QUANTITIES,
    SIA_COUNTS,
    SIA_QUANTITIES,
    SmallSystems,
    small_systems_stage,
)
from iitdask.theory.stage import Array, Grid, Recipe, Region, Stage, uniform_cost
from iitdask.theory.table_search import search_tables, theory_version
from iitdask.theory.variables import make_dataset, variable

BETTER_BITS = 1e-9  # Of a neighbour, so that rounding decides no step
SMALLEST_SCALE = 1 / 64  # Of changes of weights, at which a climb ends
MAX_COMPARED_UNITS = 5  # Whose tables are compared up to names
ACTIVATION_NAMES = tuple(ACTIVATIONS)


class Quantity(NamedTuple):
    """What is the largest: one of the numbers that the kernels for small systems return."""

    column: int  # In ``QUANTITIES`` or ``COUNTS``
    is_count: bool
    unfolds: bool  # Whether it takes the whole cause-effect structure


class Climb(NamedTuple):
    """What a climb is given, beside its number."""

    weights: Array  # (N, N) the start; of tables (N, 0)
    bias: Array  # (N,)
    slope: Array  # (N,)
    activation: str
    scale: float  # Of the first changes of weights
    codes: Array  # Numbers of the states over which the maximum is taken
    steps: int
    neighbours: int
    seed: int
    cap: int  # Version of IIT 4.0
    quantity: Quantity


def search_networks(target: SearchSpace, options: Theory) -> Recipe:
    """Rank the networks of a space by the largest value over states.

    Parameters
    ----------
    target : the space
    options : the theory

    Returns
    -------
    DataTree, ``/ranking`` with dim ``rank``

    References
    ----------
    docs/mathematics.md 35.
    """
    if target.kind == "tables" and target.is_exhaustive:
        about = target.search
        if about["maximise"] != "phi" or about["states"] != "all":
            got = f"{quote(about['maximise'])} and {quote(about['states'])}"
            raise InputError(f"search: of all tables expected maximise phi, states all, got {got}")
        return (yield from search_tables(target, options))
    quantity = _find_quantity(target)
    if target.kind == "family":
        return (yield from _rank_family(target, theory_version(options), quantity))
    return (yield from _rank_climbs(target, theory_version(options), quantity))


def _find_quantity(target: SearchSpace) -> Quantity:
    name = target.search["maximise"]
    known = [*QUANTITIES, *COUNTS[1:]]
    if name not in known:
        raise InputError(f"maximise: expected one of {', '.join(known)}, got {quote(name)}")
    is_count = name in COUNTS
    column = (COUNTS if is_count else QUANTITIES).index(name)
    unfolds = column >= (SIA_COUNTS if is_count else SIA_QUANTITIES)
    n = target.substrate.n_units
    if unfolds and n > CES_MAX_UNITS:
        raise InputError(f"search: {name}: expected at most {CES_MAX_UNITS} units, got {n}")
    return Quantity(column, is_count, unfolds)


def _points(batch: Batch, codes: Array, cap: int) -> SmallSystems:
    """Return every network of a batch as a whole, in every state."""
    count, n = len(batch), int(batch.sizes[0])
    each = np.repeat(np.arange(count), len(codes))
    fill = np.full(len(each), (1 << n) - 1, np.int64)
    return SmallSystems(batch, each, np.tile(codes, count), fill, np.full(len(each), cap, np.int64))


def _largest(arrays: Mapping[str, Any], quantity: Quantity, codes: Array) -> tuple[Array, Array]:
    """Return the largest value of each network over its states, and the first such state."""
    kind = "number" if quantity.is_count else "value"
    values = np.asarray(arrays[kind])[:, quantity.column].astype(np.float64).reshape(-1, len(codes))
    values = np.where(np.isnan(values), -np.inf, values)  # states without a past
    best = values.argmax(axis=1)
    return values[np.arange(len(values)), best], codes[best]


def _rank_family(target: SearchSpace, cap: int, quantity: Quantity) -> Recipe:
    (family,) = Family.from_block(family_block(target.search), "search")
    batch, codes = family.batch(), np.array(target.state_codes())
    stage = small_systems_stage("members", _points(batch, codes, cap), quantity.unfolds)
    (filled,) = yield (stage,)
    arrays = {name: each.values for name, each in filled.items()}
    values, states = _largest(arrays, quantity, codes)
    order = np.argsort(-values, kind="stable")[: target.search["top"]]
    names = np.array([family.member_name(int(k)) for k in order], object)
    more = {"network": (("rank",), names)}
    attrs = {"n_networks": len(batch), "exhaustive": True}
    return _ranking(target, (values[order], states[order]), more, attrs)


def _rank_climbs(target: SearchSpace, cap: int, quantity: Quantity) -> Recipe:
    (filled,) = yield (_climbs_stage(target, cap, quantity),)
    name = _value_name(target)
    values, states = filled[name].values, filled["best_state"].values
    found = filled["weights" if target.kind == "weights" else "next_state"].values
    is_first = np.zeros(len(values), bool)
    keys = found if target.kind == "weights" else _named_alike(found, target.substrate.n_units)
    is_first[np.unique(keys.reshape(len(keys), -1), axis=0, return_index=True)[1]] = True
    order = np.flatnonzero(is_first)
    order = order[np.argsort(-values[order], kind="stable")][: target.search["top"]]
    more: dict[str, Any] = {"climb": (("rank",), order)}
    more |= {key: (("rank",), filled[key].values[order]) for key in ("steps", "at_peak")}
    if target.kind == "weights":
        more["weights"] = (("rank", "source", "target"), found[order])
    else:
        values_of = found[order, :, None] >> np.arange(target.substrate.n_units) & 1
        more["tpm"] = (("rank", "row", "unit"), values_of.astype(np.int8))
    attrs = {
        "n_climbs": len(values),
        "n_evaluated": int(filled["evaluated"].values.sum()),
        "n_different": int(is_first.sum()),
        "seed": target.search["seed"],
        "exhaustive": False,
    }
    return _ranking(target, (values[order], states[order]), more, attrs)


def _value_name(target: SearchSpace) -> str:
    return "phi" if target.search["maximise"] == "phi" else "maximised"


def _ranking(
    target: SearchSpace,
    found: tuple[Array, Array],
    more: Mapping[str, Any],
    attrs: Mapping[str, Any],
) -> xr.DataTree:
    texts = [state_text(target.state_values(int(code))) for code in found[1]]
    values = {
        _value_name(target): (("rank",), found[0]),
        "state": (("rank",), np.array(texts, object)),
        **more,
    }
    about = {"maximise": target.search["maximise"], **attrs}
    return xr.DataTree.from_dict({"/ranking": make_dataset(values, about)})


def _named_alike(tables: Array, n: int) -> Array:
    """Return of tables (K, 2**n) the smallest that renaming units and values makes of each."""
    if n > MAX_COMPARED_UNITS:
        return tables
    states, best = np.arange(1 << n), tables.copy()
    for order in permutations(range(n)):
        moved = np.zeros_like(states)
        for i in range(n):
            moved |= (states >> i & 1) << order[i]
        for flips in range(1 << n):
            image = np.empty_like(tables)
            image[:, moved ^ flips] = moved[tables] ^ flips
            differs = image != best
            rows, first = np.arange(len(tables)), differs.argmax(axis=1)
            is_less = differs.any(axis=1) & (image[rows, first] < best[rows, first])
            best[is_less] = image[is_less]
    return best


def _climbs_stage(target: SearchSpace, cap: int, quantity: Quantity) -> Stage:
    space, n = target.search, target.substrate.n_units
    codes = np.array(target.state_codes())
    if target.kind == "weights":
        inner: tuple[tuple[str, int], ...] = (("source", n), ("target", n))
        found, neighbours = variable("weights", "float64", np.nan, inner), space["neighbours"]
        start = np.array(space["weights"], np.float64)
        activation = ACTIVATION_NAMES.index(space["activation"].lower())
    else:
        found, neighbours = variable("next_state", "int64", -1, (("row", 1 << n),)), n << n
        start, activation = np.zeros((n, 0)), 0
    per_unit = [np.broadcast_to(np.float64(space.get(k, 0)), (n,)) for k in ("bias", "slope")]
    about = [activation, space["steps"], neighbours, space["seed"], cap, *map(int, quantity)]
    seconds = 2e-6 + (1.2e-6 if quantity.unfolds else 7e-8) * 4.0**n  # of a network in a state
    steps = space["steps"] if target.kind == "weights" else min(space["steps"], n)  # most end soon
    return Stage(
        name="climbs",
        grid=Grid(("climb",), (space["climbs"],)),
        variables=(
            variable(_value_name(target), "float64", np.nan),
            variable("best_state", "int64", -1),
            variable("steps", "int64", -1),
            variable("evaluated", "int64", -1),
            variable("at_peak", "bool", False),
            found,
        ),
        compute=fill_climbs,
        inputs={
            "start": start,
            "bias": np.array(per_unit[0]),
            "slope": np.array(per_unit[1]),
            "scale": np.array([float(space.get("scale", 1.0))]),
            "codes": codes,
            "about": np.array(about, np.int64),
        },
        cost=uniform_cost(steps * neighbours * len(codes) * seconds),
        size_is_known=True,
    )


def fill_climbs(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Climb from the starts of a range of climbs."""
    activation, steps, neighbours, seed, cap, *which = inputs["about"].tolist()
    climb = Climb(
        weights=inputs["start"],
        bias=inputs["bias"],
        slope=inputs["slope"],
        activation=ACTIVATION_NAMES[activation],
        scale=float(inputs["scale"][0]),
        codes=inputs["codes"],
        steps=steps,
        neighbours=neighbours,
        seed=seed,
        cap=cap,
        quantity=Quantity(which[0], bool(which[1]), bool(which[2])),
    )
    is_table = climb.weights.shape[1] == 0
    run = _climb_tables if is_table else _climb_weights
    found = [run(climb, number) for number in range(region[0].start, region[0].stop)]
    names = ("best_state", "steps", "evaluated", "at_peak", "next_state" if is_table else "weights")
    arrays = {name: np.array([each[k + 1] for each in found]) for k, name in enumerate(names)}
    is_phi = climb.quantity == Quantity(0, False, False)
    return {"phi" if is_phi else "maximised": np.array([each[0] for each in found]), **arrays}


def _evaluate(climb: Climb, batch: Batch) -> tuple[Array, Array]:
    """Return the largest value of each network of a batch over states, and the first such state."""
    points = _points(batch, climb.codes, climb.cap)
    stage = small_systems_stage("neighbours", points, climb.quantity.unfolds)
    inputs: Any = stage.inputs
    return _largest(stage.compute(inputs, (slice(0, len(points)),)), climb.quantity, climb.codes)


def _climb_tables(climb: Climb, number: int) -> tuple[Any, ...]:
    """Climb over tables: to the best that differs in one value, while one is better."""
    n = len(climb.weights)
    rng = np.random.default_rng([climb.seed, number])
    table = rng.integers(0, 1 << n, 1 << n)
    bits = np.repeat(np.arange(1 << n), n), 1 << np.tile(np.arange(n), 1 << n)

    def evaluate(tables: Array) -> tuple[Array, Array]:
        on = (tables[:, :, None] >> np.arange(n) & 1).astype(np.float64)
        both = np.stack([1.0 - on, on], axis=-1).reshape(len(on), 1 << n, 2 * n)
        children = np.full((len(on), n), (1 << n) - 1)
        return _evaluate(climb, Batch.from_tables((2,) * n, both, children))

    def around(table: Array, _step: int, _scale: float) -> Array:
        near = np.tile(table, (len(bits[0]), 1))
        near[np.arange(len(near)), bits[0]] ^= bits[1]
        return near

    return _ascend(climb, table, evaluate, around, SMALLEST_SCALE)


def _climb_weights(climb: Climb, number: int) -> tuple[Any, ...]:
    """Climb over weights: to the best of some random changes, which become smaller."""
    n, is_there = len(climb.weights), climb.weights != 0
    places = np.argwhere(is_there)
    rng = np.random.default_rng([climb.seed, number])
    start = climb.weights
    if number:  # the first climb begins at the weights that were given
        start = start + is_there * rng.normal(0.0, climb.scale, (n, n))

    def evaluate(matrices: Array) -> tuple[Array, Array]:
        options: dict[str, Any] = {"bias": climb.bias, "slope": climb.slope}
        made = [Substrate.from_weights(matrix, climb.activation, **options) for matrix in matrices]
        return _evaluate(climb, Batch.from_substrates(made))

    def around(weights: Array, step: int, scale: float) -> Array:
        draws = np.random.default_rng([climb.seed, number, step])
        near = np.tile(weights, (climb.neighbours, 1, 1))
        chosen = places[draws.integers(0, len(places), climb.neighbours)]
        changes = draws.normal(0.0, scale, climb.neighbours)
        near[np.arange(climb.neighbours), chosen[:, 0], chosen[:, 1]] += changes
        return near

    smallest = climb.scale * SMALLEST_SCALE if len(places) else np.inf
    return _ascend(climb, start, evaluate, around, smallest)


def _ascend(
    climb: Climb,
    start: Array,
    evaluate: Callable[[Array], tuple[Array, Array]],
    around: Callable[[Array, int, float], Array],
    smallest: float,
) -> tuple[Any, ...]:
    """Go to the best neighbour while one is better; where none is, look closer."""
    (value,), (state,) = evaluate(start[None])
    here, scale, evaluated, step, is_peak = start, climb.scale, 1, 0, False
    is_table = not climb.weights.shape[1]
    while step < climb.steps and not is_peak:
        near = around(here, step, scale)
        values, states = evaluate(near)
        evaluated, step, best = evaluated + len(near), step + 1, int(values.argmax())
        if values[best] > value + BETTER_BITS:
            here, value, state = near[best], values[best], states[best]
        else:
            scale /= 2
            is_peak = is_table or scale < smallest
    return value, state, step, evaluated, is_peak, here
