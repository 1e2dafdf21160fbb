"""The public functions: thin doors onto a point and its run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import xarray as xr

from iitdask.cli.progress import watching
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.study.driver import run_point
from iitdask.study.spec import Point
from iitdask.theory.catalog import theory_options
from iitdask.theory.options import Theory

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ces", "sia"]


def sia(
    substrate: Substrate,
    state: Any,
    units: Any = None,
    theory: str | Theory | dict[str, Any] = "iit4",
    *,
    ties: str | None = None,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
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
        ``"iit4"`` (Albantakis et al. 2023) or ``"iit4-2026"`` (with the cap on phi_s).
    ties : {"reference", "canonical"}, optional
        How tied states are chosen among: in the published order (default), or independently
        of how the units are numbered.
    client : distributed.Client, optional
        Where to compute; this process when not given.
    store : str or path, optional
        Zarr store: the run becomes resumable and its result is kept there.
    progress : bool, optional
        True shows a bar.

    Returns
    -------
    Dataset
        Scalars ``phi``, ``normalized_phi``, ``phi_cause``, ``phi_effect``,
        ``intrinsic_information_cause``, ``intrinsic_information_effect`` (bits),
        ``n_tied_partitions``; ``cause_state(unit)``, ``effect_state(unit)``;
        ``cut(source, target)``, the connections the minimum partition severs; ``part(unit)``.

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
    tree = _run("sia", substrate, state, units, theory, ties, client, store, progress)
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
        ``sum_phi_relations`` (bits), ``tie_sensitive``.

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.ces(iit.examples.load("xor"), "000")
    >>> tree.attrs["big_phi"], int(tree["relations"]["count"])
    (9.5, 15)
    """
    return _run("ces", substrate, state, units, theory, ties, client, store, progress)


def _run(
    compute: str,
    substrate: Substrate,
    state: Any,
    units: Any,
    theory: Any,
    ties: str | None,
    client: Client | None,
    store: str | os.PathLike[str] | None,
    progress: bool | None,
) -> xr.DataTree:
    point = Point(System.of(substrate, state, units), theory_options(theory, ties=ties), compute)
    with watching(bool(progress)) as observers:
        return run_point(point, client=client, store=store, observers=observers)
