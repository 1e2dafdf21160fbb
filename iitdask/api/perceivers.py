"""Public functions of perception: what stimuli trigger, and how a system matches its world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from iitdask.api.systems import PathLike, run_call
from iitdask.errors import InputError, quote
from iitdask.model.perceptual_system import PerceptualSystem
from iitdask.model.readers import require_substrate
from iitdask.model.substrate import Substrate
from iitdask.study.problem import Problem
from iitdask.theory.catalog import theory_options
from iitdask.theory.matching import environment_probabilities, require_perception
from iitdask.theory.matching import matching as compare_environments
from iitdask.theory.options import TheoryLike, Ties
from iitdask.types import StateLike, UnitsLike

if TYPE_CHECKING:
    from distributed import Client


def perception(  # noqa: PLR0917 - in the order in which they are told
    substrate: Substrate,
    sensory: UnitsLike,
    system: UnitsLike,
    tau: int = 1,
    clamp: int | None = None,
    stimuli: Literal["all"] | Iterable[StateLike] = "all",
    *,
    theory: TheoryLike = "iit4",
    ties: Ties | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    cache: PathLike | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find what stimuli trigger in a system, and how much of its structures they account for.

    Parameters
    ----------
    substrate : Substrate
        All units: those of the system and of its sensory interface, no others.
    sensory, system : labels or numbers
        Units whose states are the stimuli, and units of the system.
    tau : int
        Steps from the first state of the system, of which nothing is known, to its response.
    clamp : int, optional
        The first steps, for which the interface is held in the stimulus; then its states are as
        probable as one another. `tau` when not given; 0 is legal.
    stimuli : "all" or list
        States of the interface, as text or lists, first sensory unit first.
    theory, ties, client, workers, store, cache, progress
        As for :func:`iitdask.sia`.

    Returns
    -------
    DataTree
        ``/stimuli`` with dim ``stimulus``: ``row(stimulus, system_state)``, the distribution that
        it triggers, ``response``, its most probable state, ``response_ties``, ``big_phi`` and
        ``richness`` (bits) of the structure of the system in that state with the interface in
        the stimulus; ``/distinctions`` with dims ``stimulus``, ``mechanism``: ``p``, ``q``, ``c``
        (bits), ``t`` (triggered share), ``phi``, ``fold`` (bits), NaN where the structure has no
        such distinction. Attributes ``differentiation``, ``differentiation_perceived`` (bits), or
        each with ``_low`` and ``_high`` where only bounds are known.

    Raises
    ------
    StateError
        Units, stimuli or steps do not fit the substrate.
    MemoryRefusedError
        There are too many stimuli or states of the system.

    References
    ----------
    mathematics.md 40 (Mayner, Juel and Tononi 2024).

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.perception(iit.examples.load("grid3"), "A", "BC")
    >>> tree["stimuli"]["response"].values.tolist(), round(tree.attrs["differentiation"], 6)
    (['00', '11'], 6.543298)
    """
    substrate = require_substrate(substrate)
    target = PerceptualSystem.build(substrate, sensory, system, tau, clamp, stimuli)
    options = theory_options(theory, compute="perception", ties=ties)
    problem = Problem(target, options, "perception")
    return run_call(problem, progress, client, workers, store=store, cache=cache)


def matching(
    perceived: xr.DataTree,
    world: Any,
    noise: Any = "uniform",
    trials: int | None = None,
    seed: int = 0,
    *,
    length: int = 1,
    windows: Sequence[tuple[int, int]] | None = None,
) -> xr.Dataset:
    """Compare how differently the stimuli of two environments are perceived.

    Parameters
    ----------
    perceived : DataTree
        What :func:`perception` returns, of all stimuli that can occur.
    world, noise : mapping, sequence or str
        Environments: probability by stimulus, or in the order of the stimuli; ``"uniform"``; or
        layers that are superposed: ``{"segment": [3, 0.6]}``, a run of three units with
        probability 0.6 at any place, ``{"point": 0.9}``, ``{"noise": 0.05}``, each unit by itself.
    trials : int, optional
        Sequences that are drawn, with the same random numbers in both environments; the exact
        means over all sequences when not given.
    seed : int
        Of the random numbers.
    length : int
        Stimuli of a sequence, independent of one another.
    windows : list of pairs, optional
        First and last position, from 1, of the parts that are compared; the whole sequence when
        not given.

    Returns
    -------
    Dataset
        ``matching``, the largest mean difference (bits), the ``window`` it is of,
        ``mean_difference(window_number)``, ``perceived_world`` and ``perceived_noise``
        ``(window_number, trial)``; attribute ``exact``.

    Raises
    ------
    InputError
        An environment, a number or a window cannot be meant, or too much would be listed.

    References
    ----------
    mathematics.md 40.4 (Mayner, Juel and Tononi 2024).

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.perception(iit.examples.load("grid3"), "A", "BC")
    >>> found = iit.matching(tree, {"1": 1.0}, length=2)
    >>> round(float(found["matching"]), 6)
    -0.083108
    """
    stimuli = require_perception(perceived)
    for name, value in (("length", length), ("trials", trials)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InputError(f"{name}: expected a whole number from 1, got {quote(value)}")
    chosen = [(1, length)] if windows is None else [(first, last) for first, last in windows]
    for first, last in chosen:
        if not 1 <= first <= last <= length:
            raise InputError(
                f"windows: expected positions from 1 to {length}, got {quote((first, last))}"
            )
    environments = (
        environment_probabilities(world, stimuli, "world"),
        environment_probabilities(noise, stimuli, "noise"),
    )
    return compare_environments(perceived, environments, chosen, trials, seed)
