"""Public functions of studies: sweep over axes, estimate what a study takes, open a result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from iitdask.api.systems import PathLike, run_call
from iitdask.errors import InputError, SpecError, quote
from iitdask.model.dynamics import WholeNetwork, simulate
from iitdask.model.macro_system import AnySystem
from iitdask.model.readers import require_substrate
from iitdask.model.search_space import (
    SearchSpace,
    first_network,
    parse_space,
    require_count,
)
from iitdask.model.substrate import Substrate
from iitdask.result.cube import rank_networks
from iitdask.result.explanation import (
    as_result_tree,
    compare_results,
    explain_result,
    explained_target,
)
from iitdask.result.formatting import text_array
from iitdask.run.estimate import Estimate
from iitdask.study.problem import Problem
from iitdask.study.run import (
    BLOCK_SECONDS,
    estimate_job,
    job_from_study,
    open_stored_result,
    stored_target,
)
from iitdask.study.spec import read_named_study
from iitdask.study.sweep import build_sweep, sweep_from_study
from iitdask.study.sweep_axes import read_axes
from iitdask.theory.catalog import theory_options
from iitdask.theory.options import TheoryLike
from iitdask.types import StateLike

if TYPE_CHECKING:
    from distributed import Client

MAX_STEPS = 10**7  # Of a simulated trajectory


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
        States may be ``"all"``, ``"reachable"`` or ``{"trajectory": {"steps": 1000}}``, windows
        of macro units ``{"trajectory": {"steps": 1000, "length": 2}}``, units
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
    return run_call(job, progress, client, workers, **options).to_dataset()


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


def open_result(store: PathLike, *, figures: bool = False) -> xr.DataTree:
    """Open the result in a store, checked.

    Parameters
    ----------
    store : str or path
        Directory or URL of a store: what ``store=`` or ``--store`` named.
    figures : bool
        Whether the tree also gets what figures derive from the substrate, as the explorer of the
        store has it: ``/network``, of small substrates ``/transitions``, of a cause-effect
        structure ``/repertoires`` and ``/landscape``.

    Returns
    -------
    DataTree
        What was computed, in memory, every number verified: as ``xarray.open_datatree(store,
        group="result")`` gives it, and like the result of the call, of which :func:`sia`,
        :func:`complexes` and :func:`sweep` return one node. The cube of a sweep that is not
        finished has an attribute ``partial`` that says so. Of a structure under IIT 4.0 that is
        not finished, a node ``mechanisms`` has the irreducible mechanisms found so far, the
        largest phi (bits) first, each with one cause and effect purview; whether they agree with
        the states of the system is not known yet. Attributes ``partial``, ``blocks_searched``
        and ``blocks`` say how much of the search is done.

    Raises
    ------
    StoreError
        There is no result: no store, or a run that has not come so far.
    DamagedStoreError
        The result is not what was written.

    Warns
    -----
    PartialResultWarning
        The run has not finished: what a sweep lacks has the status ``pending``.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.open("none.zarr")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    iitdask.errors.MissingStoreError: ...none.zarr: expected a store of iitdask, found none...
    """
    return open_stored_result(store, figures=figures)


def explain(
    result: xr.Dataset | xr.DataTree | PathLike, substrate: Substrate | None = None
) -> xr.Dataset:
    """Say what decided phi_s, by how much, and why it is 0 where it is.

    Parameters
    ----------
    result : Dataset, DataTree, str or path
        What :func:`iitdask.sia` or :func:`iitdask.ces` returned under IIT 4.0, or its store.
    substrate : Substrate, optional
        All units, for a result that was read from a file or changed; one that a call returned
        knows its own.

    Returns
    -------
    Dataset
        ``decided_by`` (``"rule"``, ``"minimum partition"``, ``"cap: ..."``),
        ``binding_direction`` (``"cause"``, ``"effect"``, ``"both"``; empty where no partition was
        looked at), ``phi``, ``normalized_phi`` (bits), ``cut``; ``runner_up``, the least
        normalized value above the minimum by more than ties differ (bits), and its ``gap``;
        neither where there is none, of which attribute ``no_runner_up`` says why;
        ``n_tied_states``, ``n_tied_partitions``, ``cause_state``, ``effect_state``; ``reason``,
        why phi is 0. Of binary units ``phi_bound`` (bits) and ``phi_over_bound``; of structures
        also ``distinction_phi_bound(mechanism)`` and ``sum_phi_distinctions_bound``, each with
        what is attained of it (``_over_bound``).

    Raises
    ------
    InputError
        It is no result of a system under IIT 4.0.

    References
    ----------
    mathematics.md 8 and 41.

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.explain(iit.sia(iit.examples.load("basic"), "100"))
    >>> found["binding_direction"].item(), round(float(found["runner_up"]), 3)
    ('cause', 0.283)
    """
    target: Any = None
    if isinstance(result, xr.Dataset | xr.DataTree):
        tree = as_result_tree(result, "result")
        target = explained_target(result)
    else:
        tree = open_stored_result(result)
        target = stored_target(result)
    if substrate is not None and "system" in tree.children:
        about = tree["system"].attrs
        target = AnySystem.build(require_substrate(substrate), about["state"], about["units"])
    return explain_result(tree, target)


def compare(
    a: xr.Dataset | xr.DataTree | PathLike, b: xr.Dataset | xr.DataTree | PathLike
) -> xr.DataTree:
    """Compare two results: what changed, and what only chose otherwise among ties.

    Parameters
    ----------
    a, b : Dataset, DataTree, str or path
        Results, their stores, or cells of a cube, such as ``cube.sel(state="100")``.

    Returns
    -------
    DataTree
        ``/scalars`` with dim ``scalar``: ``a``, ``b`` and ``delta`` (b less a) of every number
        that both have; ``/distinctions`` with dim ``mechanism``, where both have some: ``status``
        (``"same"``, ``"changed"``, ``"only_a"``, ``"only_b"``), phi and folds of both and their
        differences; attributes ``cut`` (``"same"``, ``"tied"`` for another one of those that tie,
        ``"changed"``), ``same_theory``, ``same_iitdask_version`` and others, with both values
        where they differ.

    Raises
    ------
    InputError
        One of them is no result, or nothing can be compared.

    Examples
    --------
    >>> import iitdask as iit
    >>> basic = iit.examples.load("basic")
    >>> found = iit.compare(iit.ces(basic, "100"), iit.ces(basic, "101"))
    >>> found.attrs["cut"], found["distinctions"]["status"].values.tolist()
    ('same', ['only_a', 'changed'])
    """
    trees = []
    for name, given in (("a", a), ("b", b)):
        is_data = isinstance(given, xr.Dataset | xr.DataTree)
        trees.append(as_result_tree(given, name) if is_data else open_stored_result(given))
    return compare_results(trees[0], trees[1])


def dynamics(
    substrate: Substrate,
    start: StateLike | None = None,
    *,
    steps: int = 100,
    seed: int = 0,
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find the attractors of a network, their basins, and where it is in the long run.

    Networks without chance are followed from all states while those of the units that matter
    (units that feed no other do not) are at most 2^24, otherwise from 1,000 random states. Of
    networks with chance, of up to 1,024 states, attractors are the closed classes of states.

    Parameters
    ----------
    substrate : Substrate
        All units and what each computes.
    start : tuple of int, str or dict, optional
        State from which a trajectory is simulated beside; none when not given.
    steps, seed : int
        Steps of that trajectory, and seed of its chance.
    client, workers, store, progress
        As for :func:`iitdask.sia`.

    Returns
    -------
    DataTree
        ``/attractors`` with dim ``attractor``, those with the largest basins first: ``states``
        (text, in their order), ``period``, ``n_states``, ``basin`` (number of states that lead
        there, itself included), ``basin_share``; ``/long_run`` with dim ``state``:
        ``long_run_probability`` from a state chosen at random; ``/trajectory`` with dims ``time``
        and ``unit``: ``value``. Attributes ``exact``, ``deterministic``, ``n_attractors``; where
        starts are sampled ``n_starts`` and ``n_unresolved``.

    Raises
    ------
    StateError
        The start does not fit the substrate.
    InputError
        There are too many states with chance, or too many steps.

    References
    ----------
    mathematics.md 34.

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.dynamics(iit.examples.load("xor"))
    >>> found["attractors"]["states"].values.tolist(), found["attractors"]["basin"].values.tolist()
    (['000', '110', '101', '011'], [2.0, 2.0, 2.0, 2.0])
    """
    substrate = require_substrate(substrate)
    values = None if start is None else substrate.parse_state(start)
    for name, number in (("steps", steps), ("seed", seed)):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_STEPS:
            raise InputError(
                f"{name}: expected a whole number from 0 to {MAX_STEPS}, got {quote(number)}"
            )
    problem = Problem(WholeNetwork(substrate), theory_options("iit4"), "dynamics")
    tree = run_call(problem, progress, client, workers, store=store)
    if values is not None:
        path = simulate(substrate, values, steps, seed)
        coords = {"time": np.arange(len(path)), "unit": text_array(substrate.labels)}
        tree["trajectory"] = xr.DataTree(xr.Dataset({"value": (("time", "unit"), path)}, coords))
    return tree


def search(
    space: int | Mapping[str, Any] | Sequence[Any],
    maximise: str = "phi",
    states: Any = "all",
    top: int = 20,
    *,
    theory: TheoryLike = "iit4",
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Search for the networks with the largest phi_s, or Phi.

    Parameters
    ----------
    space : int, mapping, list or array
        What is searched. A number n of at most 3: all deterministic tables of n units of two
        values, one of each class of tables that differ only by names. A family such as
        ``{"family": "erdos-renyi", "n": 4, "count": 1000}``, or a list of substrates and families:
        all of them. A larger number up to 7, or ``{"tables": 4, "climbs": 20, "steps": 100,
        "seed": 0}``: hill climbing over tables, from random ones to the best of those that differ
        in one value, while one is better. An ``(N, N)`` matrix ``[source, target]``, or
        ``{"weights": matrix or N, "activation": "logistic", "bias": 0, "slope": 1, "neighbours":
        16, "scale": 1, ...}``: hill climbing over the weights that are not 0, by the best of as
        many random changes, each half as large once none helps; the first climb begins at the
        matrix, the others around it.
    maximise : str
        ``"phi"``, or a number that a sweep records of cause-effect structures: ``"big_phi"``,
        ``"n_distinctions"``, ... Of all tables only ``"phi"``.
    states : "all", "attractors", list
        States over which the maximum is taken, as on an axis of :func:`iitdask.sweep`; of climbs
        all or a list.
    top : int
        How many are kept.
    theory, client, workers, store, progress
        As for :func:`iitdask.sia`. With a store a search that was interrupted goes on, and
        ``iitdask status`` tells the largest so far.

    Returns
    -------
    Dataset
        Dim ``rank``, the largest first: ``phi`` (or ``maximised``), ``state``; of all tables
        ``tpm(rank, row, unit)``, its number ``table`` and ``class_size``, with attributes
        ``n_tables`` and ``n_classes``; of climbs ``climb``, ``steps``, ``at_peak`` and ``tpm`` or
        ``weights(rank, source, target)``, with attributes ``n_climbs``, ``n_evaluated``,
        ``n_different`` and ``seed``; otherwise ``substrate``, its label along the axis.

    Raises
    ------
    InputError
        There is no such space, or no such number.

    References
    ----------
    mathematics.md 35.

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.search(2, top=3)
    >>> found["phi"].values.tolist(), found.attrs["n_classes"]
    ([2.0, 2.0, 2.0], 43)
    >>> climbed = iit.search({"weights": [[0, 3], [3, 0]], "climbs": 2, "steps": 5}, top=1)
    >>> climbed["weights"].shape, climbed.attrs["exhaustive"]
    ((1, 2, 2), False)
    """
    require_count(top, "top")
    options: dict[str, Any] = {"store": store}
    about = {"maximise": maximise, "states": states, "top": top}
    chosen = _search_block(space)
    if chosen is not None:
        block = parse_space({**about, **chosen})
        target = SearchSpace.build(first_network(block), block)
        problem = Problem(target, theory_options(theory, compute="search"), "search")
        tree = run_call(problem, progress, client, workers, **options)
        return tree["ranking"].to_dataset()
    axes = read_axes({"substrate": space, "state": states}, "search")
    compute = "sia" if maximise == "phi" else "ces"
    shared = {"compute": compute, "theory": theory}
    job = build_sweep(axes, shared, Path(), "search")
    cube = run_call(job, progress, client, workers, **options).to_dataset()
    if maximise not in cube.data_vars or cube[maximise].dtype.kind not in "if":
        known = ", ".join(
            str(name) for name, each in cube.data_vars.items() if each.dtype.kind in "if"
        )
        raise InputError(f"maximise: expected one of {known}, got {quote(maximise)}")
    return rank_networks(cube, maximise, top)


def _search_block(space: Any) -> dict[str, Any] | None:
    """Return the ``search:`` block that a space stands for; None for substrates and families."""
    if isinstance(space, int) and not isinstance(space, bool):
        return {"tables": space}
    if isinstance(space, Mapping):
        return dict(space) if {"tables", "weights"} & space.keys() else None
    is_matrix = getattr(space, "ndim", 0) == 2 or (
        isinstance(space, list | tuple) and all(isinstance(row, list | tuple) for row in space)
    )
    return {"weights": space} if is_matrix and len(space) else None
