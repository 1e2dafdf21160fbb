"""IIT 3.0 of a small system in one block: the same steps as in several stages, kept nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.model.system import System
from iitdask.theory.base import Grid, Region, Stage
from iitdask.theory.concepts import (
    chosen_concepts,
    fill_concepts,
    prepare_sources,
    purview_ranks,
    repertoire_bytes,
    source_inputs,
)
from iitdask.theory.constellations import fill_cuts
from iitdask.theory.options import IIT3
from iitdask.theory.tables import fill_marginals, marginals_stage
from iitdask.theory.vocabulary import variable

__all__ = ["compact_stage"]

Array = NDArray[Any]


def compact_stage(system: System, options: IIT3, targets: Array) -> Stage:
    """How many concepts a system has, and their distance from those under every cut."""
    cut, n = (("cut", len(targets)),), system.n
    given = {**marginals_stage(system).inputs, **source_inputs(system, options)}
    del given["marginals"]  # made here
    return Stage(
        name="system",
        grid=Grid(("system",), (1,)),
        fills=(
            variable("concepts", "int64", -1),
            variable("distance", "float64", np.nan, cut),
            variable("exact", "bool", False, cut),
        ),
        compute=fill_compact,
        inputs={**given, "rank": purview_ranks(system, options.ties), "targets": targets},
        cost=lambda _region: 6e-8 * 18.0**n,
        scratch=2 * repertoire_bytes(system.levels),
    )


def fill_compact(inputs: Mapping[str, Array], _region: Region) -> dict[str, Array]:
    """Tables, concepts and cuts, one after the other."""
    tpm = inputs["tpm"]
    everything = slice(0, len(tpm)), slice(0, tpm.shape[2])
    marginals = fill_marginals(inputs, everything)["probability"]
    sources = prepare_sources({**inputs, "marginals": marginals})
    filled = fill_concepts(sources, (slice(0, len(sources.intact.effect)),))
    found = chosen_concepts(filled["phi_cause"], filled["phi_effect"], inputs["rank"])
    count, cuts = len(found.mechanisms), len(inputs["targets"])
    out = {"distance": np.zeros(cuts), "exact": np.zeros(cuts, bool)}
    if count:
        more = {
            **inputs,
            "intact_phi": filled["phi_cause"],
            "sides": found.sides,
            "purviews": found.purviews,
            "incumbent": np.array(np.inf),
        }
        out = fill_cuts(replace(sources, more=more), (slice(0, cuts),))
    return {
        "concepts": np.array([count]),
        "distance": out["distance"][None],
        "exact": out["exact"][None],
    }
