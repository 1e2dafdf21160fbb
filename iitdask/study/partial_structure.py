"""What the store of an unfinished cause-effect structure holds: its mechanisms so far."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import xarray as xr

from iitdask.errors import DamagedStoreError, UnreachableStoreError
from iitdask.model.labels import state_text, unit_set_names
from iitdask.model.system import CandidateSystem
from iitdask.result.formatting import target_attrs, text_array
from iitdask.run.result_group import load_partial_result, store_attrs
from iitdask.run.stage_group import StageGroup, read_stage_layout
from iitdask.run.storage import Store
from iitdask.study.problem import read_problem
from iitdask.theory.iit4.local_network import local_factors
from iitdask.theory.iit4.search_path import connected_mechanisms
from iitdask.theory.iit4.symmetries import find_orbits
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Array, Region
from iitdask.theory.variables import make_dataset, units_of_masks

DENSE_STAGE, SPARSE_STAGE = "mice", "sparse/mice"  # Stages that search mechanisms
SEARCH_STAGES = {DENSE_STAGE: "tied_purviews", SPARSE_STAGE: "tied_masks"}
SIDES = ("cause", "effect")


class PartialSearch:
    """What the blocks of a search of mechanisms show that are filled."""

    def __init__(self, system: CandidateSystem, stage: str) -> None:
        """Begin with none.

        system : the candidate system; stage : one of SEARCH_STAGES
        """
        self._system, self._is_dense = system, stage == DENSE_STAGE
        masks = None if self._is_dense else connected_mechanisms(system)
        # Masks of all mechanisms; of the dense search all subsets by number
        self.mechanisms: Array = np.arange(1 << system.n) if masks is None else masks
        sides = None if self._is_dense else local_factors(system)
        # Of the sparse search one of those is searched that symmetries turn into each other
        self._orbits = None if sides is None else find_orbits(system, sides, self.mechanisms)
        searched = self.mechanisms if self._orbits is None else self._orbits.representatives
        # Of cause and effect side: (2, searched) largest phi, NaN where not searched yet, bits;
        # and one purview that attains it
        self.phi = np.full((2, len(searched)), np.nan)
        self.purviews = np.zeros((2, len(searched)), np.int64)

    def add(self, region: Region, phi: Array, tied: Array) -> None:
        """Take up a block: largest phi and purviews that attain it."""
        if self._is_dense:
            at = region
            first = (tied != 0).argmax(axis=-1)
            byte = np.take_along_axis(tied, first[..., None], axis=-1)[..., 0].astype(np.int64)
            purviews = 8 * first + np.log2(np.maximum(byte & -byte, 1)).astype(np.int64)
        else:
            at = (slice(None), region[0])
            phi, purviews = phi.T, tied[..., 0].T
        self.phi[at], self.purviews[at] = phi, purviews

    def dataset(self) -> xr.Dataset:
        """Return the mechanisms irreducible on both sides, the largest phi first."""
        phis, sides = self.phi, list(self.purviews)
        if self._orbits is not None:
            which, how = self._orbits.which, self._orbits.how
            phis = phis[:, which]
            sides = [self._orbits.restored(purviews[which], how) for purviews in sides]
        both = phis.min(axis=0)
        chosen = np.flatnonzero(both > 0.0)
        chosen = chosen[np.argsort(-both[chosen], kind="stable")]
        line, n = ("mechanism",), self._system.n
        values: dict[str, tuple[tuple[str, ...], Array]] = {
            "phi": (line, both[chosen]),
            "mechanism_units": ((*line, "unit"), units_of_masks(self.mechanisms[chosen], n)),
        }
        for side, phi, purviews in zip(SIDES, phis, sides, strict=True):
            values[f"phi_{side}"] = (line, phi[chosen])
            values[f"purview_{side}"] = ((*line, "unit"), units_of_masks(purviews[chosen], n))
        return make_dataset(values, {})


def load_stored_result(store: Store) -> xr.DataTree:
    """Return the result of a store, or what there is of one that is not finished."""
    found = partial_structure(store)
    return load_partial_result(store) if found is None else found


def partial_structure(store: Store) -> xr.DataTree | None:
    """Return the irreducible mechanisms that an unfinished run has found.

    Parameters
    ----------
    store : Store

    Returns
    -------
    DataTree, the node ``/mechanisms``; None where there is nothing of the kind

    Raises
    ------
    StoreError
        If the study of the store cannot be read.
    """
    about = store_attrs(store)
    if "finished" in about or about["study"].get("compute") != "ces":
        return None
    layouts = [read_stage_layout(store, name) for name in SEARCH_STAGES]
    layout = next((layout for layout in layouts if layout is not None), None)
    problem = read_problem(store) if layout is not None else None
    if layout is None or problem is None or not isinstance(problem.options, Unfolding):
        return None
    system = problem.target
    if not isinstance(system, CandidateSystem):
        return None
    found, group = PartialSearch(system, layout.name), StageGroup(store, layout)
    names = ("phi", SEARCH_STAGES[layout.name])
    blocks = 0
    for block in sorted(group.done()):
        with suppress(DamagedStoreError, UnreachableStoreError):
            phi, tied = (group.read_part(block, layout.variable(name)) for name in names)
            found.add(layout.tiling.region(block), phi, tied)
            blocks += 1
    return _labelled(found.dataset(), system, problem.options, blocks, len(layout.tiling))


def _labelled(
    data: xr.Dataset, system: CandidateSystem, options: Unfolding, done: int, blocks: int
) -> xr.DataTree:
    text = (
        f"the structure is not finished: {done} of {blocks} blocks of its mechanisms are searched; "
        f"{data.sizes['mechanism']} irreducible ones so far, whether they agree with the states "
        "of the system is not known yet"
    )
    labels = system.labels
    names = unit_set_names(data["mechanism_units"].values, labels)
    coords = {"mechanism": text_array(names), "unit": text_array(labels)}
    texts = {
        "partial": text,
        "blocks_searched": done,
        "blocks": blocks,
        "state": state_text(system.state),
        "units": ", ".join(labels),
    }
    about = target_attrs(system.substrate, options, texts)
    data = data.assign_coords({dim: (dim, value) for dim, value in coords.items()})
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), "/mechanisms": data})
