"""Public functions of transitions: causal accounts, the causal nexus, true events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import xarray as xr

from iitdask.api.systems import PathLike, run_call
from iitdask.model.readers import require_substrate
from iitdask.model.substrate import Substrate
from iitdask.model.system import Target
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.study.problem import Problem
from iitdask.theory.catalog import theory_options
from iitdask.types import StateLike, UnitsLike

if TYPE_CHECKING:
    from distributed import Client


def account(
    substrate: Substrate,
    before: StateLike,
    after: StateLike,
    causes: UnitsLike | None = None,
    effects: UnitsLike | None = None,
    *,
    background: Literal["causal", "2019"] | None = None,
    max_order: int | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find what caused what in a transition.

    Every occurrence, a set of units in their actual state, is searched for its actual
    cause among the causes before and its actual effect among the effects after.

    Parameters
    ----------
    substrate : Substrate
        All units and what each computes.
    before, after : tuple of int, str or dict
        States of all units at t-1 and t: ``(1, 0)``, ``"10"`` or ``{"A": 1, "B": 0}``.
    causes, effects : labels or numbers, optional
        Units that may be causes, and effects; all units when not given.
    background : {"causal", "2019"}, optional
        Units that are neither: averaged with their posterior given the whole state after when
        causes are sought (default), or held at their state before, as published.
    max_order : int, optional
        Most units of an occurrence whose cause or effect is sought. Purviews are not limited.
    client, workers, store, progress
        As for :func:`sia`.

    Returns
    -------
    DataTree
        ``/links`` with dim ``link``: ``direction`` (``"cause"``: the purview caused the
        mechanism), ``mechanism(link, unit)``, ``purview(link, unit)``, ``alpha`` (bits),
        ``probability``, ``partitioned_probability``, ``ratio`` (bits), ``partition``, and
        ``tied_purview(link, tie, unit)`` with the ``n_tied_purviews`` purviews of the same
        alpha; ``/system``: ``alpha`` of the whole account (bits), ``alpha_causes``,
        ``alpha_effects``, ``sum_alpha``, ``cut(source, target)``, its weakest cut; not a
        number where cuts of so many units are too many, see attribute ``reason``.

    Raises
    ------
    StateError
        States or units do not fit the substrate.
    UnreachableStateError
        The effects cannot be as they are after the state before; or no past state leads to
        the state after and the posterior of the background needs one.
    MemoryRefusedError
        There are too many causes and effects for occurrences of this order.

    References
    ----------
    mathematics.md 13.1 to 13.5 (Albantakis et al. 2019, definitions 1 and 2).

    Examples
    --------
    >>> import iitdask as iit
    >>> result = iit.account(iit.examples.load("causation2019-fig6"), "10", "10")
    >>> result["links"]["alpha"].values.round(3).tolist(), round(result.attrs["alpha"], 3)
    ([0.415, 0.415, 0.17, 0.415, 0.415], 0.17)
    """
    substrate = require_substrate(substrate)
    transition = Transition.build(substrate, before, after, causes, effects, max_order=max_order)
    problem = _causation_problem("account", transition, background)
    return run_call(problem, progress, client, workers, store=store)


def causal_nexus(
    substrate: Substrate,
    before: StateLike,
    after: StateLike,
    *,
    background: Literal["causal", "2019"] | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find the causes and effects within a network whose account is most irreducible.

    Every set of units with outputs is tried with every set of units with inputs; of equal
    alpha the larger transition is taken.

    Parameters
    ----------
    substrate, before, after, background, client, workers, store, progress
        As for :func:`account`.

    Returns
    -------
    DataTree
        The account of the nexus, as :func:`account` returns it, with its ``causes`` and
        ``effects`` among the attributes; ``/candidates``: all irreducible ones, ``causes``,
        ``effects(candidate, unit)`` and ``alpha(candidate)`` (bits), the strongest first.
        Where none is irreducible ``/candidates`` is empty and there is no account.

    Raises
    ------
    UnreachableStateError
        A unit with inputs cannot be as it is after the state before.

    References
    ----------
    mathematics.md 13.6 (Albantakis et al. 2019).

    Examples
    --------
    >>> import iitdask as iit
    >>> result = iit.causal_nexus(iit.examples.load("causation2019-fig6"), "10", "10")
    >>> result.attrs["causes"], result.attrs["effects"], round(result.attrs["alpha"], 3)
    ('OR', 'OR', 1.415)
    """
    states = StatePair.build(require_substrate(substrate), before, after)
    problem = _causation_problem("nexus", states, background)
    return run_call(problem, progress, client, workers, store=store)


def true_events(
    substrate: Substrate,
    before: StateLike,
    state: StateLike,
    after: StateLike,
    units: UnitsLike | None = None,
    *,
    background: Literal["causal", "2019"] | None = None,
    max_order: int | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find the occurrences that something caused and that caused something.

    Parameters
    ----------
    substrate, background, max_order, client, workers, store, progress
        As for :func:`account`.
    before, state, after : tuple of int, str or dict
        Three successive states of all units.
    units : labels or numbers, optional
        Units that may be causes and effects in both transitions; all units when not given.

    Returns
    -------
    DataTree
        ``/events`` with dim ``event``: ``mechanism``, ``purview_cause``, ``purview_effect``
        ``(event, unit)``, ``alpha_cause``, ``alpha_effect`` (bits); ``/into`` and ``/out_of``,
        the accounts of both transitions.

    Raises
    ------
    UnreachableStateError
        One of the states cannot follow the one before it.

    References
    ----------
    mathematics.md 13.7 (Albantakis et al. 2019).

    Examples
    --------
    >>> import iitdask as iit
    >>> result = iit.true_events(iit.examples.load("causation2019-fig6"), "10", "10", "10")
    >>> result["events"]["mechanism"].values.tolist()
    [[True, False], [False, True]]
    """
    substrate = require_substrate(substrate)
    states = StateTriple.build(substrate, before, state, after, units, max_order=max_order)
    problem = _causation_problem("events", states, background)
    return run_call(problem, progress, client, workers, store=store)


def _causation_problem(compute: str, target: Target, background: str | None) -> Problem:
    return Problem(target, theory_options("causation2019", background=background), compute)
