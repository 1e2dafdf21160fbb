"""The public functions: thin doors onto a point and its run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import xarray as xr

from iitdask.cli.progress import watching
from iitdask.model.pool import Pool
from iitdask.model.subject import Subject
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.run.forecast import Estimate
from iitdask.study.driver import run_point
from iitdask.study.inquiry import estimate_point, estimate_sweep
from iitdask.study.spec import Point, point_of, read_study
from iitdask.study.sweep import sweep_of
from iitdask.theory.catalog import theory_options
from iitdask.theory.options import Theory
from iitdask.view.accessor import register

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ces", "complexes", "estimate", "sia"]

register()  # results show themselves in notebooks


def sia(
    substrate: Substrate,
    state: Any,
    units: Any = None,
    theory: str | Theory | dict[str, Any] = "iit4",
    *,
    ties: str | None = None,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Analyse how irreducible a system is.

    Parameters
    ----------
    substrate : Substrate
        All units and what each computes.
    state : tuple of int, str or dict
        Current state of all units: ``(1, 0, 0)``, ``"100"`` or ``{"A": 1, "B": 0, "C": 0}``.
    units : labels or numbers, optional
        The candidate system; all units when not given.
    theory : str or options
        ``"iit4"`` (Albantakis et al. 2023), ``"iit4-2026"`` (with the cap on phi_s) or
        ``"iit3"`` (Oizumi et al. 2014; ``IIT3(background="2014")`` as published).
    ties : {"reference", "canonical"}, optional
        How tied states are chosen among: in the published order (default), or independently
        of how the units are numbered.
    client : distributed.Client, optional
        Where to compute; this process when not given.
    store : str or path, optional
        Zarr store: the run becomes resumable and its result is kept there.
    cache : str or path, optional
        Directory that keeps marginal tables for other studies of the same units.
    progress : bool, optional
        True shows a bar.

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

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.sia(iit.examples.load("basic"), "100")
    >>> round(float(found.phi), 4)
    0.415
    """
    tree = _run(
        "sia",
        substrate,
        state,
        units,
        theory,
        ties=ties,
        client=client,
        store=store,
        cache=cache,
        progress=progress,
    )
    return tree["system"].to_dataset()


def ces(
    substrate: Substrate,
    state: Any,
    units: Any = None,
    theory: str | Theory | dict[str, Any] = "iit4",
    *,
    ties: str | None = None,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Unfold the cause-effect structure of a system.

    Parameters are those of :func:`sia`.

    Returns
    -------
    DataTree
        ``/system``, the dataset of :func:`sia`; ``/distinctions`` with dim ``mechanism``:
        ``phi`` (bits), and for cause and effect purview, state, phi, intrinsic information,
        partition and ties; ``/relations``: ``count`` (exact), ``sum_phi`` (bits),
        ``count_by_degree``; attrs ``big_phi``, ``sum_phi_distinctions``,
        ``sum_phi_relations`` (bits), ``tie_sensitive``. Under IIT 3.0 ``/distinctions`` are the
        concepts with their repertoires, ``/cut_distinctions`` those of the system under its
        minimum partition; attrs ``big_phi``, ``conceptual_information``.

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.ces(iit.examples.load("xor"), "000")
    >>> tree.attrs["big_phi"], int(tree["relations"]["count"])
    (9.5, 15)
    """
    return _run(
        "ces",
        substrate,
        state,
        units,
        theory,
        ties=ties,
        client=client,
        store=store,
        cache=cache,
        progress=progress,
    )


def complexes(
    substrate: Substrate,
    state: Any,
    units: Any = None,
    theory: str | Theory | dict[str, Any] = "iit4",
    *,
    max_size: int | None = None,
    candidates: Iterable[Any] | None = None,
    ties: str | None = None,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Find the complexes of a network: the systems that no overlapping system excludes.

    Systems that fall apart once the units outside are fixed are not evaluated; see
    :mod:`iitdask.theory.generation` for why their phi_s is 0.

    Parameters
    ----------
    substrate, state, theory, ties, client, store, progress
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

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.complexes(iit.examples.load("iit4-2023-fig1"), "011")
    >>> found["complex"].values.tolist(), found["phi"].values.round(3).tolist()
    (['C', 'AB'], [0.212, 0.172])
    """
    options = theory_options(theory, ties=ties)
    pool = Pool.of(substrate, state, units, max_size, candidates)
    tree = _computed(
        "complexes", pool, options, client=client, store=store, cache=None, progress=progress
    )
    return tree["complexes"].to_dataset()


def estimate(spec: str | os.PathLike[str] | dict[str, Any], *, seconds: float = 3.0) -> Estimate:
    """Say what a study will take, before it is run.

    Parameters
    ----------
    spec : str, path or dict
        Study file, name of an example, or the content of a study.
    seconds : float
        Seconds to spend on each dear stage, computing a little of it here.

    Returns
    -------
    Estimate
        ``blocks``, ``core_seconds`` with ``low`` and ``high``, ``bytes_per_worker``,
        ``store_bytes``, ``wall_seconds(workers)``, and the same stage by stage.

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.estimate("iit4-2023-fig6a")
    >>> found.complete, found.low < found.core_seconds < found.high
    (True, True)
    """
    given = spec if isinstance(spec, dict) else os.fspath(spec)
    study, folder = read_study(given)
    where = "study" if isinstance(given, dict) else given
    options = {"block_seconds": study.run.block_seconds, "seconds": seconds}
    if study.sweep is not None:
        return estimate_sweep(sweep_of(study, folder, where), **options)
    return estimate_point(point_of(study, folder, where), **options)


def _run(
    compute: str,
    substrate: Substrate,
    state: Any,
    units: Any,
    theory: Any,
    *,
    ties: str | None,
    client: Client | None,
    store: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str] | None,
    progress: bool | None,
) -> xr.DataTree:
    options = theory_options(theory, ties=ties)
    system = System.of(substrate, state, units)
    return _computed(
        compute, system, options, client=client, store=store, cache=cache, progress=progress
    )


def _computed(
    compute: str,
    subject: Subject,
    options: Theory,
    *,
    client: Client | None,
    store: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str] | None,
    progress: bool | None,
) -> xr.DataTree:
    point = Point(subject, options, compute)
    with watching(bool(progress)) as observers:
        return run_point(point, client=client, store=store, observers=observers, cache=cache)
