"""Public functions of macro units: their definition, their tables, and the search for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from iitdask.api.systems import PathLike, run_call
from iitdask.model.grain_search import GrainSearch
from iitdask.model.labels import decode_state, state_text
from iitdask.model.macro_system import MacroSystem
from iitdask.model.readers import require_substrate
from iitdask.model.substrate import Substrate
from iitdask.model.unit import Unit, make_unit
from iitdask.result.formatting import text_array
from iitdask.result.label_tree import macro_attrs
from iitdask.study.problem import Problem
from iitdask.theory.catalog import theory_options
from iitdask.theory.options import TheoryLike
from iitdask.theory.variables import make_dataset
from iitdask.types import UnitsLike, WindowLike

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["grains", "macro_tables", "unit"]


def unit(
    of: UnitsLike | Unit | Sequence[Unit | str | int],
    *,
    table: str | Sequence[int] | None = None,
    on: str | Sequence[str] | None = None,
    counts: Iterable[int] | None = None,
    reads: UnitsLike | None = None,
    updates: int = 1,
    background: UnitsLike = (),
) -> Unit:
    """Define a unit: several constituents over several updates that are taken for one.

    At most one of `table`, `on`, `counts` and `reads` says when the unit is on; none is needed for
    one constituent over one update, which is the unit as it is.

    Parameters
    ----------
    of : labels, numbers or units
        Constituents in their order: ``"AB"``, ``["T0", "T1"]``, or units of a grain between
        (``[unit("AB", on=["11"]), unit("CD", on=["11"])]``).
    table : str or list of int, optional
        Truth table, 0 and 1. Its digits are the constituents at the oldest update, then those at
        the next one, ...; the first digit varies fastest.
    on : str or list of str, optional
        The states that give 1, each of ``len(of) * updates`` digits in the order of the table.
    counts : set of int, optional
        The unit is on if so many of its constituents are: a coarse-graining of one update.
    reads : labels, optional
        The unit is on if these constituents are all on at the last update: a black box.
    updates : int
        Updates of the constituents that one update of the unit spans.
    background : labels or numbers, optional
        Background units apportioned to the unit: they remember within its updates. It needs all
        that is apportioned to its constituents.

    Returns
    -------
    Unit
        A frozen value, for ``units=`` of :func:`iitdask.sia`, :func:`iitdask.ces`,
        :func:`macro_tables` and studies.

    Raises
    ------
    InputError
        The truth table is not one, does not fit the constituents, or is constant.

    References
    ----------
    mathematics.md 14.1 (Marshall et al. 2024, equations 12 and 22).

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.unit("AB", counts={2}), iit.unit("ABCD", reads="C", updates=2)
    (Unit(AB:0001), Unit(ABCD:01(C2)))

    A name holds constituents and truth table; of larger tables the digits that decide, here C at
    the second update. Units may consist of units, and have background apportioned to them:

    >>> pair = [iit.unit("AB", on=["11"]), iit.unit("CD", on=["11"], background="E")]
    >>> iit.unit(pair, table="0111", background="E")
    Unit((AB:0001)+(CD:0001/E):0111/E)

    In a study the same is a mapping, ``{of: [A, B], on: ["11"]}``, wherever units are named.
    Labels of several letters are listed, or separated by commas:

    >>> iit.unit("T0,T1", reads="T1") == iit.unit(["T0", "T1"], table="0011")
    True
    """
    return make_unit(
        of, table=table, on=on, counts=counts, reads=reads, updates=updates, background=background
    )


def macro_tables(substrate: Substrate, window: WindowLike, units: Any) -> xr.Dataset:
    """Compute the cause and the effect table of a system of units of any grain.

    What it takes depends on the constituents and the apportioned background of each unit, not on
    the number of units of the substrate.

    Parameters
    ----------
    substrate : Substrate
        All micro units, each of two values.
    window : list of states
        States of all micro units, oldest first, as many as the unit of the largest grain spans;
        one state stands for a window of one.
    units : list
        The units of the system, from :func:`unit`; micro units may be labels or numbers.

    Returns
    -------
    Dataset
        ``cause(row, unit)``, ``effect(row, unit)``: P(unit = 1) given a state of the system, rows
        little-endian; ``state(unit)``, the current state.

    Raises
    ------
    StateError
        Units overlap, or do not fit the substrate or the window.
    UnreachableStateError
        The oldest state a unit spans, or the state of the system, cannot be reached.

    Notes
    -----
    The table of a unit is that of the probability that its constituents go through a sequence of
    states that its truth table maps to 1. On the effect side the background has its values in the
    last state of the window; on the cause side it has the posterior probability of its values
    before the oldest state that the unit spans. Both tables are the same where nothing is outside.

    References
    ----------
    mathematics.md 14.2, Eq. (14.1) (Marshall et al. 2024, equations 26 to 42).

    Examples
    --------
    >>> import iitdask as iit
    >>> alpha, beta = iit.unit("AB", on=["11"]), iit.unit("CD", on=["11"])
    >>> tables = iit.macro_tables(iit.examples.load("macro"), "0000", [alpha, beta])
    >>> tables.effect.values.round(2).tolist()
    [[0.09, 0.09], [0.09, 1.0], [1.0, 0.09], [1.0, 1.0]]
    """
    system = MacroSystem.build(require_substrate(substrate), window, units)
    rows = [state_text(decode_state(row, system.levels)) for row in range(len(system.effect))]
    values = {
        "cause": (("row", "unit"), system.cause[:, 1::2]),
        "effect": (("row", "unit"), system.effect[:, 1::2]),
        "state": (("unit",), list(system.state)),
    }
    coords = {"row": text_array(rows), "unit": text_array(system.labels)}
    return make_dataset(values, macro_attrs(system)).assign_coords(coords)


def grains(  # noqa: PLR0917 - the order in which a study names them
    substrate: Substrate,
    window: WindowLike,
    mappings: Literal["families", "exhaustive"] = "families",
    updates: int = 1,
    depth: int = 1,
    constituents: int = 4,
    background: int = 0,
    footprints: Sequence[Sequence[UnitsLike]] | None = None,
    *,
    theory: TheoryLike = "iit4",
    client: Client | None = None,
    workers: int | None = None,
    store: PathLike | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Find the grain at which a network exists: its units, and its complexes across all grains.

    Parameters
    ----------
    substrate, theory, client, workers, store, progress
        As for :func:`iitdask.sia`; micro units have two values, theories are those of IIT 4.0.
    window : list of states
        States of all micro units, oldest first; the last ``updates ** depth`` count. One state
        stands for a window of one.
    mappings : {"families", "exhaustive"}
        Truth tables of a unit, up to complement: coarse-grainings by how many constituents are on
        and black boxes that read some of them at the last update, or all truth tables.
    updates : int
        Most updates of its constituents that one update of a unit spans.
    depth : int
        Levels of units above the micro units.
    constituents : int
        Most micro units of a unit.
    background : int
        Most background units apportioned in one system.
    footprints : list, optional
        Systems to look at, each as the micro constituents of its units: ``[("ABC", "DEF")]``. Their
        units are combined whatever their verdict; only valid ones make a complex.

    Returns
    -------
    DataTree
        ``/units`` with dim ``candidate``: ``constituents``, ``background``, ``verdict`` (``VALID``,
        ``NOT_INTEGRATED``, ``NOT_MAXIMAL``, ``TIED``), ``phi`` (bits, of the constituents),
        ``witness`` and its ``witness_phi``, ``n_competitors``, ``n_mappings``; ``/systems`` with
        dim ``system``: ``phi`` (bits), ``footprint``, ``grain``, ``units``, the largest phi first;
        ``/complexes`` with dim ``complex``: ``phi`` (bits), ``units``, those that exceed every
        overlapping system; ``/recursive_complexes``, the same of exclusion one after another, in
        which an excluded system excludes nothing. Attributes ``exhaustive`` (within the bounds),
        ``n_systems``, ``n_ties``, ``tied_systems`` (the first pairs), ``exclusion_rules_agree``
        (whether both rules leave the same complexes) and ``summarised``.

    Raises
    ------
    InputError
        A bound, policy or footprint is not acceptable.
    StateError
        The window is too short, or does not fit the substrate.
    UnreachableStateError
        No past state leads to the oldest state that counts.

    Notes
    -----
    Of more than about a million systems, such as those of all truth tables of two units of four
    constituents, none is listed one by one: attribute ``summarised`` is true, and ``/systems`` has
    of every choice of units' constituents the largest phi, the first system that has it, and
    ``n_systems``, how many have it (to 13 decimals). Complexes and ``n_systems`` of the attributes
    are those of all systems; ``n_ties`` too, unless ``n_ties_exact`` is false: then it counts what
    was kept. Estimate such a search first (:func:`iitdask.estimate`), and give it a store.

    References
    ----------
    mathematics.md 14.3 and 14.5 (Marshall et al. 2024, equations 15 to 19).

    Examples
    --------
    >>> import iitdask as iit
    >>> noisy = iit.Substrate.from_tpm([[0.05, 0.05], [0.05, 0.06], [0.06, 0.05], [0.95, 0.95]])
    >>> tree = iit.grains(noisy, "00")
    >>> found = tree["complexes"]
    >>> found["units"].values.tolist(), found["phi"].values.round(5).tolist()
    (['AB:0001'], [0.78833])
    """
    search = GrainSearch.build(
        require_substrate(substrate), None, window, mappings, updates, depth, constituents,
        background, footprints,
    )  # fmt: skip
    problem = Problem(search, theory_options(theory, compute="grains"), "grains")
    return run_call(problem, progress, client, workers, store=store)
