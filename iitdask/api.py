"""Public functions of iitdask: analyse a system, find complexes, explain a transition, sweep.

Each builds a job from its arguments, a problem or a sweep, and runs it. The keyword
arguments ``client``, ``workers``, ``store``, ``cache`` and ``progress`` mean the same everywhere
and are described at :func:`sia`. Nothing is printed unless ``progress=True``; a call that will
take more than ten minutes or most of the memory gives a :class:`~iitdask.errors.LargeRunWarning`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from iitdask.errors import SpecError
from iitdask.model.candidate_set import CandidateSet
from iitdask.model.readers import require_substrate
from iitdask.model.substrate import Substrate
from iitdask.model.system import System, Target
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.run.estimate import Estimate
from iitdask.study.problem import Problem
from iitdask.study.run import (
    BLOCK_SECONDS,
    StudyJob,
    estimate_job,
    job_from_study,
    open_stored_result,
    run_job,
)
from iitdask.study.spec import read_named_study
from iitdask.study.sweep import build_sweep, sweep_from_study
from iitdask.study.sweep_axes import read_axes
from iitdask.theory.catalog import theory_options
from iitdask.theory.options import TheoryLike, Ties
from iitdask.types import StateLike, UnitsLike
from iitdask.view.accessor import register
from iitdask.view.progress import LargeRunObserver, show_progress

if TYPE_CHECKING:
    from distributed import Client

PathLike = str | os.PathLike[str]

register()  # results show themselves in notebooks


def sia(
    substrate: Substrate,
    state: StateLike,
    units: UnitsLike | None = None,
    theory: TheoryLike = "iit4",
    *,
    ties: Ties | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    cache: PathLike | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Analyse how irreducible a system is.

    Parameters
    ----------
    substrate : Substrate
        All units and what each computes.
    state : tuple of int, str or dict
        Current state of all units: ``(1, 0, 0)``, ``"100"``, ``"1,10"`` where a value has two
        digits, or ``{"A": 1, "B": 0, "C": 0}``.
    units : labels or numbers, optional
        The candidate system; all units when not given.
    theory : str, options or their class
        ``"iit4"`` (Albantakis et al. 2023), ``"iit4-2026"`` (with the cap on phi_s) or
        ``"iit3"`` (Oizumi et al. 2014; ``IIT3(background="2014")`` as published).
    ties : {"reference", "canonical"}, optional
        Rule that chooses among tied states: the published order (default), or one that does
        not depend on the numbers of the units.
    client : distributed.Client, optional
        Cluster to compute on; this process when not given.
    workers : int, optional
        Threads of this process that compute blocks, instead of a cluster; 1 when not given.
    store : str or path, optional
        Zarr store: the run becomes resumable and its result is kept there.
    cache : str or path, optional
        Directory that keeps marginal tables for other studies of the same units.
    progress : bool, optional
        Show a bar on standard error; off by default.

    Returns
    -------
    Dataset
        Scalars ``phi``, ``normalized_phi``, ``phi_cause``, ``phi_effect``,
        ``intrinsic_information_cause``, ``intrinsic_information_effect`` (bits),
        ``n_tied_partitions``; ``cause_state(unit)``, ``effect_state(unit)``;
        ``cut(source, target)``, the connections the minimum partition severs; ``part(unit)``.
        Under IIT 3.0 ``phi`` is big Phi, and of the others there are those it defines.

    Raises
    ------
    StateError
        The state or units do not fit the substrate, or no past state leads to the state.
    InputError
        The theory or an option of it is not known.
    LedgerMismatchError
        The store holds another study.

    References
    ----------
    mathematics.md 7, 8 (IIT 4.0: Albantakis et al. 2023; IIT 4.0 of 2026: Mayner et al. 2026)
    and 12.2 (IIT 3.0: Oizumi et al. 2014).

    Examples
    --------
    >>> import iitdask as iit
    >>> result = iit.sia(iit.examples.load("basic"), "100")
    >>> round(float(result.phi), 4)
    0.415
    """
    system = System.build(require_substrate(substrate), state, units)
    problem = Problem(system, theory_options(theory, compute="sia", ties=ties), "sia")
    tree = _run(problem, progress, client, workers, store=store, cache=cache)
    return tree["system"].to_dataset()


def ces(
    substrate: Substrate,
    state: StateLike,
    units: UnitsLike | None = None,
    theory: TheoryLike = "iit4",
    *,
    ties: Ties | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    cache: PathLike | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Unfold the cause-effect structure of a system.

    Parameters
    ----------
    substrate, state, units, theory, ties, client, workers, store, cache, progress
        As for :func:`sia`.

    Returns
    -------
    DataTree
        ``/system``, the dataset of :func:`sia`; ``/distinctions`` with dim ``mechanism``:
        ``phi`` (bits), and for cause and effect purview, state, phi, intrinsic information,
        partition and ties; ``/relations``: ``count`` (exact), ``sum_phi`` (bits),
        ``count_by_degree``; attrs ``big_phi``, ``sum_phi_distinctions``,
        ``sum_phi_relations`` (bits), ``tie_sensitive``, ``phi_tie_sensitive`` (whether another
        choice among ties changes the structure, its Phi). Under IIT 3.0 ``/distinctions`` are the
        concepts with their repertoires, ``/cut_distinctions`` those of the system under its
        minimum partition; attrs ``big_phi``, ``conceptual_information``.

    Raises
    ------
    StateError, InputError, LedgerMismatchError
        As for :func:`sia`.

    References
    ----------
    mathematics.md 6, 10, 11 (IIT 4.0: Albantakis et al. 2023) and 12 (IIT 3.0: Oizumi et al.
    2014).

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.ces(iit.examples.load("xor"), "000")
    >>> tree.attrs["big_phi"], int(tree["relations"]["count"])
    (9.5, 15)
    """
    system = System.build(require_substrate(substrate), state, units)
    problem = Problem(system, theory_options(theory, compute="ces", ties=ties), "ces")
    return _run(problem, progress, client, workers, store=store, cache=cache)


def complexes(
    substrate: Substrate,
    state: StateLike,
    units: UnitsLike | None = None,
    theory: TheoryLike = "iit4",
    *,
    max_size: int | None = None,
    candidates: Iterable[UnitsLike] | None = None,
    ties: Ties | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Find the complexes of a network: the systems that no overlapping system excludes.

    Systems that fall apart once the units outside are fixed are not evaluated; see
    :mod:`iitdask.theory.complexes.candidates` for why their phi_s is 0.

    Parameters
    ----------
    substrate, state, theory, ties, client, workers, store, progress
        As for :func:`sia`.
    units : labels or numbers, optional
        Units that candidates consist of; all units when not given.
    max_size : int, optional
        Most units of a candidate.
    candidates : list, optional
        The candidates themselves, each as labels or numbers; all subsets when not given.

    Returns
    -------
    Dataset
        ``phi(complex)`` in bits, most irreducible first; ``units(complex, unit)``;
        ``big_phi(complex)`` where equal phi_s had to be decided by Phi;
        ``candidates_evaluated``; ``candidates_excluded_by(reason)`` (-1 beyond int64, exact
        in attribute ``excluded_by``); ``candidate_phi(candidate)``, ``candidate_units``
        and ``fate(candidate)`` of every candidate with phi_s above 0. Attributes
        ``exhaustive``, ``searched``, ``candidates_not_searched``.

    Raises
    ------
    StateError
        The state or units do not fit the substrate, or no past state leads to the state.
    InputError
        There are more candidates than a list can hold: give ``max_size`` or ``candidates``.
    MemoryRefusedError
        The exact background needs a table larger than the budget.

    References
    ----------
    mathematics.md 9 (Albantakis et al. 2023) and 24 (which candidates need no search).

    Examples
    --------
    >>> import iitdask as iit
    >>> result = iit.complexes(iit.examples.load("iit4-2023-fig1"), "011")
    >>> result["complex"].values.tolist(), result["phi"].values.round(3).tolist()
    (['C', 'AB'], [0.212, 0.172])
    """
    options = theory_options(theory, compute="complexes", ties=ties)
    substrate = require_substrate(substrate)
    network = CandidateSet.build(substrate, state, units, max_size, candidates)
    tree = _run(Problem(network, options, "complexes"), progress, client, workers, store=store)
    return tree["complexes"].to_dataset()


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
    return _run(problem, progress, client, workers, store=store)


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
    return _run(problem, progress, client, workers, store=store)


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
    return _run(problem, progress, client, workers, store=store)


def sweep(
    spec_or_axes: str | os.PathLike[str] | Mapping[str, Any],
    substrate: Substrate | Mapping[str, Any] | str | None = None,
    state: Any = None,
    units: Any = None,
    theory: Any = None,
    *,
    compute: str = "sia",
    keep: str | None = None,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
    **fields: Any,
) -> xr.Dataset:
    """Compute many points at once: one labelled cube over all axes.

    Parameters
    ----------
    spec_or_axes : str, path or mapping
        A study with a ``sweep:`` block (its file, or its content), or the axes alone: from
        ``state``, ``units``, ``theory``, ``compute``, ``substrate`` or the name of a parameter
        of units (``temperature``, ``noise``, ``A.threshold``, ``A.weights.B``) to its values.
        States may be ``"all"``, ``"reachable"`` or ``{"trajectory": {"steps": 1000}}``, units
        ``"all"`` or ``{"size": 4}``, numbers ``{"linspace": [0.1, 2, 20]}``, substrates a list
        or a family such as ``{"family": "erdos-renyi", "n": 4, "count": 1000, "seed": 1}``.
        Axes under ``zip`` go through their values together.
    substrate : Substrate, mapping or str, optional
        With axes: the substrate, its block (whose units' parameters can be axes), or the name
        of an example.
    state, units, theory, **fields
        With axes: what is the same everywhere, as for :func:`sia`.
    compute : {"sia", "ces", "complexes", "account"}
        With axes: what is computed at every point, unless that is an axis: then a variable
        that some computations lack names in its attribute ``computations`` those it is of,
        and what a computation does not take (the state ``before`` for ``sia``) changes nothing.
    keep : {"structures"}, optional
        With axes: keep the whole result of every point in the store, in the group that the
        variable ``structure`` names.
    client, workers, progress
        As for :func:`sia`.
    store : str or path, optional
        Zarr store: the sweep becomes resumable and may grow along its axes; the cube is
        readable in its group ``result`` while it is computed.

    Returns
    -------
    Dataset
        The axes as dimensions; ``phi`` (phi_s, bits), of structures also ``big_phi``,
        ``n_distinctions``, ``n_relations`` and sums; ``status`` (``done``, ``unreachable``,
        ``failed``), ``message``, ``reason`` (why phi is 0), ``seconds``.

    Raises
    ------
    SpecError
        An axis has no meaning, or no point of it can be built.
    LedgerMismatchError
        The store holds another sweep.

    Examples
    --------
    >>> import iitdask as iit
    >>> cube = iit.sweep({"state": "all"}, iit.examples.load("basic"))
    >>> round(cube.phi.sel(state="100").item(), 4), cube.status.sel(state="010").item()
    (0.415, 'unreachable')
    """
    fields = {"state": state, "units": units, **fields}
    block_seconds = BLOCK_SECONDS
    if isinstance(spec_or_axes, Mapping) and "sweep" not in spec_or_axes:
        if isinstance(substrate, str):
            substrate = {"example": substrate}
        shared = {"compute": compute, "substrate": substrate, "theory": theory, **fields}
        job = build_sweep(read_axes(spec_or_axes), shared, Path(), "sweep", keep)
    else:
        for name, value in {"substrate": substrate, "theory": theory, **fields}.items():
            if value is not None:
                raise SpecError(f"{name}: is said by the study; give it there")
        study, folder, where = read_named_study(spec_or_axes)
        if study.sweep is None:
            raise SpecError(f"{where}: sweep: expected axes, got none")
        job, block_seconds = sweep_from_study(study, folder, where), study.run.block_seconds
    options: dict[str, Any] = {"store": store, "block_seconds": block_seconds}
    return _run(job, progress, client, workers, **options).to_dataset()


def estimate(spec: str | os.PathLike[str] | dict[str, Any], *, seconds: float = 3.0) -> Estimate:
    """Estimate the time, memory and storage of a study before it is run.

    Parameters
    ----------
    spec : str, path or dict
        Study file, name of an example, or the content of a study.
    seconds : float
        Seconds to spend on each expensive stage, computing a sample of it in this process.

    Returns
    -------
    Estimate
        ``blocks``, ``core_seconds`` with ``low`` and ``high``, ``bytes_per_worker``,
        ``store_bytes``, ``wall_seconds(workers)``, and the same stage by stage.

    Raises
    ------
    SpecError
        The study cannot be read, or a field of it is unknown.
    InputError
        The study does not fit its substrate, theory or computation.

    Examples
    --------
    >>> import iitdask as iit
    >>> result = iit.estimate("iit4-2023-fig6a")
    >>> result.complete, result.low < result.core_seconds < result.high
    (True, True)
    """
    study, folder, where = read_named_study(spec)
    job = job_from_study(study, folder, where)
    return estimate_job(job, block_seconds=study.run.block_seconds, seconds=seconds)


def open_result(store: PathLike) -> xr.DataTree:
    """Open the result in a store, checked.

    Parameters
    ----------
    store : str or path
        Directory or URL of a store: what ``store=`` or ``--store`` named.

    Returns
    -------
    DataTree
        What was computed, in memory, every number verified: as ``xarray.open_datatree(store,
        group="result")`` gives it, and like the result of the call, of which :func:`sia`,
        :func:`complexes` and :func:`sweep` return one node. The cube of a sweep that is not
        finished has an attribute ``partial`` that says so.

    Raises
    ------
    StoreError
        There is no result: no store, or a run that has not finished and is no sweep.
    DamagedStoreError
        The result is not what was written.

    Warns
    -----
    PartialResultWarning
        The sweep has not finished: what is missing has the status ``pending``.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.open("none.zarr")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    iitdask.errors.MissingStoreError: ...none.zarr: expected a store of iitdask, found none...
    """
    return open_stored_result(store)


def _run(
    job: StudyJob, progress: bool | None, client: Client | None, workers: int | None, **options: Any
) -> xr.DataTree:
    """Run a job with the keyword arguments of :func:`iitdask.study.run.run_job`."""
    large = LargeRunObserver(client, workers, is_stored=options["store"] is not None)
    with show_progress(bool(progress)) as observers:
        return run_job(
            job, observers=[*observers, large], client=client, workers=workers, **options
        )


def _causation_problem(compute: str, target: Target, background: str | None) -> Problem:
    return Problem(target, theory_options("causation2019", background=background), compute)
