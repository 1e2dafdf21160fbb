"""The public functions about transitions: what caused what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import xarray as xr

from iitdask.cli.progress import watching
from iitdask.model.passage import Course, Passage
from iitdask.model.substrate import Substrate
from iitdask.model.transition import Transition
from iitdask.study.driver import run_point
from iitdask.study.spec import Point
from iitdask.theory.catalog import theory_options
from iitdask.view.accessor import register

if TYPE_CHECKING:
    from distributed import Client

    from iitdask.model.subject import Subject

__all__ = ["account", "causal_nexus", "true_events"]

register()  # results show themselves in notebooks


def account(
    substrate: Substrate,
    before: Any,
    after: Any,
    causes: Any = None,
    effects: Any = None,
    *,
    background: str | None = None,
    max_order: int | None = None,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find what caused what in a transition.

    Every occurrence, a set of units in their actual state, is asked for its actual
    cause among the causes before and its actual effect among the effects after:
    Albantakis et al. 2019, definitions 1 and 2.

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
    client : distributed.Client, optional
        Where to compute; this process when not given.
    store : str or path, optional
        Zarr store: the run becomes resumable and its result is kept there.
    progress : bool, optional
        True shows a bar.

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

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.account(iit.examples.load("causation2019-fig6"), "10", "10")
    >>> found["links"]["alpha"].values.round(3).tolist(), round(found.attrs["alpha"], 3)
    ([0.415, 0.415, 0.17, 0.415, 0.415], 0.17)
    """
    transition = Transition.of(substrate, before, after, causes, effects, max_order=max_order)
    return _computed(
        "account", transition, background, client=client, store=store, progress=progress
    )


def causal_nexus(
    substrate: Substrate,
    before: Any,
    after: Any,
    *,
    background: str | None = None,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find the causes and effects within a network whose account is most irreducible.

    Every set of units with outputs is tried with every set of units with inputs; of equal
    alpha the larger transition is taken. Parameters are those of :func:`account`.

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

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.causal_nexus(iit.examples.load("causation2019-fig6"), "10", "10")
    >>> found.attrs["causes"], found.attrs["effects"], round(found.attrs["alpha"], 3)
    ('OR', 'OR', 1.415)
    """
    passage = Passage.asked(substrate, {"before": before, "after": after})
    return _computed("nexus", passage, background, client=client, store=store, progress=progress)


def true_events(
    substrate: Substrate,
    before: Any,
    state: Any,
    after: Any,
    units: Any = None,
    *,
    background: str | None = None,
    max_order: int | None = None,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find the occurrences that something caused and that caused something.

    Parameters are those of :func:`account`, with three successive states of all units;
    the same ``units`` are causes and effects of both transitions.

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

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.true_events(iit.examples.load("causation2019-fig6"), "10", "10", "10")
    >>> found["events"]["mechanism"].values.tolist()
    [[True, False], [False, True]]
    """
    given = {"before": before, "state": state, "after": after, "units": units}
    course = Course.asked(substrate, given | {"max_order": max_order})
    return _computed("events", course, background, client=client, store=store, progress=progress)


def _computed(
    compute: str,
    subject: Subject,
    background: str | None,
    *,
    client: Client | None,
    store: str | os.PathLike[str] | None,
    progress: bool | None,
) -> xr.DataTree:
    options = theory_options("causation2019", background=background)
    point = Point(subject, options, compute)
    with watching(bool(progress)) as observers:
        return run_point(point, client=client, store=store, observers=observers)
