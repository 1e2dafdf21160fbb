"""Matching: how much more a system perceives of one environment than of another.

References: docs/mathematics.md 40.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError, quote
from iitdask.model.labels import suggestion
from iitdask.theory.differentiation import (
    ComponentSets,
    TriggeredStructures,
    perceived_differentiation,
)
from iitdask.theory.perception import triggered_structures
from iitdask.theory.stage import Array
from iitdask.theory.variables import make_dataset

MAX_EXACT_STIMULI = 10  # Stimuli of which all sets are looked at
LAYERS = ("segment", "point", "noise")


def require_perception(tree: Any) -> list[str]:
    """Return the stimuli of a perception as text; InputError for anything else."""
    if not isinstance(tree, xr.DataTree) or not {"stimuli", "distinctions"} <= set(tree.children):
        raise InputError(f"perceived: expected what iit.perception returns, got {quote(tree)}")
    return [str(text) for text in tree.children["stimuli"].to_dataset()["stimulus"].values]


def perceived_by_set(tree: xr.DataTree) -> Callable[[frozenset[int]], float]:
    """Return a function from a set of stimuli, by number, to the differentiation perceived."""
    nodes = {f"/{name}": tree.children[name].to_dataset() for name in ("stimuli", "distinctions")}
    structures = triggered_structures(nodes)

    @cache
    def perceived(chosen: frozenset[int]) -> float:
        rows = sorted(chosen)
        if not rows:
            return 0.0
        some = TriggeredStructures(structures.mechanism, *(x[rows] for x in structures[1:]))
        found = perceived_differentiation(ComponentSets.from_structures(some))
        if not found.is_exact:
            raise InputError(
                "perceived: too many components are shared by structures to tell what is perceived "
                f"of {len(rows)} stimuli together; it lies between {found.low:.6g} and "
                f"{found.high:.6g} bits"
            )
        return found.low

    return perceived


def environment_probabilities(given: Any, stimuli: Sequence[str], where: str) -> Array:
    """Return the probability of every stimulus in an environment.

    Parameters
    ----------
    given : probabilities by stimulus or in the order of the stimuli; ``"uniform"``; or a layer
        ``{"segment": [length, p]}``, ``{"point": p}``, ``{"noise": p}``, or a list of such layers,
        each independent of the others, of which a unit that any switches on is on
    stimuli : all stimuli as text, little-endian
    where : name of the argument in messages

    Returns
    -------
    Array, (stimuli,), sums to 1

    References
    ----------
    docs/mathematics.md, Eq. (40.10).
    """
    if isinstance(given, str) and given == "uniform":
        return np.full(len(stimuli), 1.0 / len(stimuli))
    layers: list[Any] = [given] if isinstance(given, Mapping) else []
    if isinstance(given, list | tuple):
        layers = list(given)
    if layers and all(isinstance(each, Mapping) and set(each) <= {*LAYERS} for each in layers):
        return _superposed(layers, stimuli, where)
    if isinstance(given, Mapping):
        for name in given:
            if str(name) not in stimuli:
                hint = suggestion(str(name), stimuli)
                raise InputError(f"{where}: expected a stimulus, got {quote(name)}{hint}")
        given = [given.get(name, 0.0) for name in stimuli]
    try:
        values = np.asarray(given, float)
    except (TypeError, ValueError):
        raise InputError(
            f"{where}: expected probabilities of stimuli or layers, got {quote(given)}"
        ) from None
    if values.shape != (len(stimuli),) or not (values >= 0).all() or not values.sum() > 0:
        raise InputError(
            f"{where}: expected {len(stimuli)} probabilities, one per stimulus, got {quote(given)}"
        )
    if abs(values.sum() - 1) > 1e-9:
        raise InputError(f"{where}: expected probabilities that sum to 1, got {values.sum():.9g}")
    return np.asarray(values / values.sum())


def _superposed(layers: Sequence[Mapping[str, Any]], stimuli: Sequence[str], where: str) -> Array:
    """Probability of each stimulus where a unit is on if a layer switches it on."""
    n = int(math.log2(len(stimuli)))
    if len(stimuli) != 1 << n or any(set(each) - {*"01"} for each in stimuli):
        raise InputError(f"{where}: expected binary sensory units for layers, got others")
    total = np.zeros(len(stimuli))
    total[0] = 1.0
    for layer in layers:
        own = np.zeros(len(stimuli))
        for name, value in layer.items():
            own += _layer(name, value, n, f"{where}: {name}")
        joined = np.zeros(len(stimuli))
        for a, b in product(range(len(stimuli)), repeat=2):
            joined[a | b] += total[a] * own[b]
        total = joined
    return total


def _layer(name: str, value: Any, n: int, where: str) -> Array:
    """Probability of each set of units that are on."""
    out = np.zeros(1 << n)
    numbers = [1, value] if name == "point" else value
    if name == "noise":
        p = _probability(value, where)
        for mask in range(1 << n):
            out[mask] = p ** mask.bit_count() * (1 - p) ** (n - mask.bit_count())
        return out
    if not isinstance(numbers, list | tuple) or len(numbers) != 2:
        raise InputError(f"{where}: expected a length and a probability, got {quote(value)}")
    length, p = numbers[0], _probability(numbers[1], where)
    if not isinstance(length, int) or not 1 <= length <= n:
        raise InputError(f"{where}: expected a length from 1 to {n}, got {quote(length)}")
    places = n - length + 1
    out[0] = 1 - p
    for place in range(places):
        out[((1 << length) - 1) << place] += p / places
    return out


def _probability(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{where}: expected a probability, got {quote(value)}")
    return float(value)


def matching(
    tree: xr.DataTree,
    environments: tuple[Array, Array],
    windows: Sequence[tuple[int, int]],
    trials: int | None,
    seed: int,
) -> xr.Dataset:
    """Compare what is perceived of sequences from two environments.

    Parameters
    ----------
    tree : what a system perceives of its stimuli
    environments : world and noise, (X,) probability of every stimulus of the tree
    windows : first and last position, from 1, of the parts of a sequence that are compared
    trials : sequences that are drawn of both with the same random numbers; None: expectations
    seed : of the random numbers

    Returns
    -------
    Dataset, ``matching``, ``window``, and the mean, or the values of every trial, by window

    References
    ----------
    docs/mathematics.md, Eq. (40.11).
    """
    perceived = perceived_by_set(tree)
    if trials is None:
        lengths = [last - first + 1 for first, last in windows]
        values = [[_expected(p, k, perceived) for k in lengths] for p in environments]
        trial_values = np.array(values)[:, :, None]
    else:
        draws = np.random.default_rng(seed).random((trials, max(last for _, last in windows)))
        trial_values = np.array([
            [_drawn(p, draws[:, first - 1 : last], perceived) for first, last in windows]
            for p in environments
        ])  # fmt: skip
    means = (trial_values[0] - trial_values[1]).mean(axis=1)
    best = int(means.argmax())
    values_by_trial = (("window_number", "trial"), trial_values[0])
    return make_dataset(
        {
            "matching": ((), means[best]),
            "window": (("edge",), np.array(windows[best], np.int64)),
            "windows": (("window_number", "edge"), np.array(windows, np.int64)),
            "mean_difference": (("window_number",), means),
            "perceived_world": values_by_trial,
            "perceived_noise": (values_by_trial[0], trial_values[1]),
        },
        {"exact": trials is None},
    )


def _drawn(p: Array, draws: Array, perceived: Callable[[frozenset[int]], float]) -> list[float]:
    """What is perceived of the stimuli of each trial, drawn by the inverse distribution."""
    edges = np.cumsum(p)
    numbers = np.searchsorted(edges, draws * edges[-1], side="right")
    return [perceived(frozenset(row)) for row in numbers.tolist()]


def _expected(p: Array, length: int, perceived: Callable[[frozenset[int]], float]) -> float:
    """Mean over sequences of so many independent stimuli, by the set of stimuli that occur."""
    possible = np.flatnonzero(p).tolist()
    if len(possible) > MAX_EXACT_STIMULI:
        raise InputError(
            f"trials: expected a number of trials for {len(possible)} possible stimuli, got none; "
            f"up to {MAX_EXACT_STIMULI} have an exact mean"
        )
    within = np.zeros(1 << len(possible))
    for k, stimulus in enumerate(possible):  # probability that a stimulus is in each set
        within[1 << k : 2 << k] = within[: 1 << k] + p[stimulus]
    exactly = within**length
    for k in range(len(possible)):
        halves = exactly.reshape(-1, 2, 1 << k)
        halves[:, 1] -= halves[:, 0]
    sets = (
        frozenset(s for k, s in enumerate(possible) if mask >> k & 1)
        for mask in range(len(exactly))
    )
    values = [perceived(chosen) if q > 0 else 0.0 for chosen, q in zip(sets, exactly, strict=True)]
    return math.fsum((exactly * np.array(values)).tolist())
