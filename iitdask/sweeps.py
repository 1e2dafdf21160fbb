"""The public function of sweeps: a thin door onto their axes and their run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from iitdask.cli.progress import watching
from iitdask.errors import SpecError
from iitdask.model.substrate import Substrate
from iitdask.study.axes import read_axes
from iitdask.study.spec import read_study
from iitdask.study.sweep import Sweep, made_sweep, run_sweep, sweep_of

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["sweep"]


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
    store: str | os.PathLike[str] | None = None,
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
    client : distributed.Client, optional
        Where to compute; this process when not given.
    store : str or path, optional
        Zarr store: the sweep becomes resumable and may grow along its axes; the cube is
        readable in its group ``result`` while it is computed.
    progress : bool, optional
        True shows a bar.

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
    made, block_seconds = _made(
        spec_or_axes, substrate, {"state": state, "units": units, **fields}, theory, (compute, keep)
    )
    with watching(bool(progress)) as observers:
        tree = run_sweep(
            made, client=client, store=store, observers=observers, block_seconds=block_seconds
        )
    return tree.to_dataset()


def _made(
    given: Any, substrate: Any, fields: Mapping[str, Any], theory: Any, what: tuple[str, str | None]
) -> tuple[Sweep, float]:
    if not isinstance(given, Mapping) or "sweep" in given:
        beside = {"substrate": substrate, "theory": theory, **fields}
        for name, value in beside.items():
            if value is not None:
                raise SpecError(f"{name}: is said by the study; give it there")
        where = "study" if isinstance(given, Mapping) else os.fspath(given)
        study, folder = read_study(dict(given) if isinstance(given, Mapping) else where)
        if study.sweep is None:
            raise SpecError(f"{where}: sweep: expected axes, got none")
        return sweep_of(study, folder, where), study.run.block_seconds
    compute, keep = what
    if keep not in (None, "structures"):
        raise SpecError(f"keep: expected structures, got {keep!r}")
    base = {"example": substrate} if isinstance(substrate, str) else substrate
    axes = read_axes(given)
    made = made_sweep(
        compute,
        substrate=base,
        axes=axes,
        fields=fields,
        theory=theory,
        folder=Path(),
        where="sweep",
        keep=keep is not None,
    )
    return made, 5.0
