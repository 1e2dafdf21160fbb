"""Public functions of one system or network in a state: irreducibility, structure, complexes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from iitdask.model.candidate_set import CandidateSet
from iitdask.model.macro_system import AnySystem
from iitdask.model.readers import require_substrate
from iitdask.model.substrate import Substrate
from iitdask.model.unit import Unit
from iitdask.result.explanation import with_target
from iitdask.run.events import Observer, Warned
from iitdask.study.problem import Problem
from iitdask.study.run import StudyJob, precompile, run_job, uncompiled_families
from iitdask.theory.catalog import theory_options
from iitdask.theory.options import TheoryLike, Ties
from iitdask.types import StateLike, UnitsLike, WindowLike
from iitdask.view.progress import LargeRunObserver, compile_text, show_progress

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ces", "complexes", "sia"]

PathLike = str | os.PathLike[str]
MacroUnitsLike = UnitsLike | Unit | Iterable[Unit | str | int]
"""Units of a system, among which may be macro units."""


def sia(
    substrate: Substrate,
    state: WindowLike,
    units: MacroUnitsLike | None = None,
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
        digits, or ``{"A": 1, "B": 0, "C": 0}``. For macro units a list of states, oldest first, as
        long as the unit of the largest grain needs it.
    units : labels, numbers or units, optional
        The candidate system; all units when not given. Among them may be macro units, from
        :func:`iitdask.unit`, whose definitions are attributes of the result.
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
    system = AnySystem.build(require_substrate(substrate), state, units)
    problem = Problem(system, theory_options(theory, compute="sia", ties=ties), "sia")
    tree = run_call(problem, progress, client, workers, store=store, cache=cache)
    return with_target(tree["system"].to_dataset(), system)


def ces(
    substrate: Substrate,
    state: WindowLike,
    units: MacroUnitsLike | None = None,
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
    system = AnySystem.build(require_substrate(substrate), state, units)
    problem = Problem(system, theory_options(theory, compute="ces", ties=ties), "ces")
    tree = run_call(problem, progress, client, workers, store=store, cache=cache)
    return with_target(tree, system)


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
    tree = run_call(Problem(network, options, "complexes"), progress, client, workers, store=store)
    return tree["complexes"].to_dataset()


def _compile_kernels(job: StudyJob, observers: Sequence[Observer]) -> None:
    """Compile the kernels that a job lacks, and say so: the first call takes that much longer."""
    for family in uncompiled_families(job):
        for observer in observers:
            observer(Warned(compile_text(family)))
        precompile(family)


def run_call(
    job: StudyJob, progress: bool | None, client: Client | None, workers: int | None, **options: Any
) -> xr.DataTree:
    """Run a job with the keyword arguments of :func:`iitdask.study.run.run_job`."""
    large = LargeRunObserver(client, workers, is_stored=options["store"] is not None)
    with show_progress(False if progress is None else progress) as observers:
        if observers and client is None:
            _compile_kernels(job, observers)
        return run_job(
            job, observers=[*observers, large], client=client, workers=workers, **options
        )
