"""The reference implementation's accounts of transitions, file by file."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from tests.reference.causation import Transition

FOLDER = Path(__file__).parents[2] / "golden"
FILES = sorted(path.stem for path in FOLDER.glob("ac2019__*.json"))
TOLERANCE = 1e-9
SUMS = {"cause": "alpha_causes", "effect": "alpha_effects", "bidirectional": "alpha"}


@cache
def golden(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def factors_of(data):
    levels = data["alphabet"]
    if data["tpm_format"] == "state_by_node":
        on = np.array(data["tpm"], float)
        tables = [np.stack([1 - column, column], axis=1) for column in on.T]
    else:
        tables = [np.array(rows, float) for rows in data["tpm"]]
    return [t.reshape((*levels, t.shape[-1]), order="F") for t in tables]


def arguments(data):
    names = ("before_state", "after_state", "cause_indices", "effect_indices")
    return [data[name] for name in names]


@cache
def computed(name):
    data = golden(name)
    substrate = iit.Substrate.from_tpm(factors_of(data), data["cm"])
    return iit.account(substrate, *arguments(data))


def units_of(tree, data, row):
    labels = [chr(65 + i) for i in range(len(data["alphabet"]))]
    names = tree["links"]["unit"].values[row]
    return tuple(labels.index(name) for name in names)


def expected(data):
    """Values without the links that the reference drops (mathematics.md 13.2)."""
    return data.get("without_tie_bug", data)


@pytest.mark.parametrize("name", FILES)
def test_links__are_those_of_the_reference(name):
    data, tree = golden(name), computed(name)
    theirs = {(a["direction"], tuple(a["mechanism"])): a for a in expected(data)["account"]}
    links = tree["links"]
    ours = [
        (str(d), units_of(tree, data, m))
        for d, m in zip(links["direction"].values, links["mechanism"].values, strict=True)
    ]
    assert ours == list(theirs)
    for k, link in enumerate(theirs.values()):
        one = links.isel(link=k)
        for mine, their in (
            ("alpha", "alpha"),
            ("probability", "probability"),
            ("partitioned_probability", "partitioned_probability"),
            ("ratio", "ratio"),
        ):
            if their in link:
                assert float(one[mine]) == pytest.approx(link[their], abs=TOLERANCE), (k, mine)
        ties = [
            units_of(tree, data, row)
            for row in one["tied_purview"].values[: int(one["n_tied_purviews"])]
        ]
        assert sorted(ties) == sorted(map(tuple, link["extended_purview"]))
        assert ties[0] == tuple(link["purview"]) == min(ties)


@pytest.mark.parametrize("name", FILES)
def test_account__is_as_irreducible_as_in_the_reference(name):
    data, tree = golden(name), computed(name)
    total = float(tree["system"]["sum_alpha"])
    assert total == pytest.approx(expected(data)["sum_alpha"], abs=TOLERANCE)
    for direction, found in expected(data).get("sia", {}).items():
        ours = float(tree["system"][SUMS[direction]])
        assert ours == pytest.approx(found["alpha"], abs=TOLERANCE), direction


@pytest.mark.parametrize("name", [n for n in FILES if "sia" in expected(golden(n))])
def test_partitions__are_among_the_least(name):
    data, tree = golden(name), computed(name)
    made = Transition(factors_of(data), data["cm"], *arguments(data))
    for k in range(tree["links"].sizes["link"]):
        one = tree["links"].isel(link=k)
        mechanism, purview = (units_of(tree, data, one[x].values) for x in ("mechanism", "purview"))
        _, ties = made.alpha(str(one["direction"].values), mechanism, purview)
        inside = [int(x) for x in one["kept"].values]
        places = made.units
        kept = {
            (m, z)
            for m in mechanism
            for z in purview
            if inside[places.index(m)] >> places.index(z) & 1
        }
        severed = frozenset((m, z) for m in mechanism for z in purview) - kept
        assert severed in ties
        assert int(one["n_tied_partitions"]) == len(ties)
        cause = str(one["direction"].values) == "cause"
        listed = sorted(sorted((z, m) if cause else (m, z) for m, z in each) for each in ties)
        assert sorted((z, m) if cause else (m, z) for m, z in severed) == listed[0]
    least, cuts = made.irreducibility()
    if least > 0:
        cut = np.argwhere(tree["system"]["cut"].values)
        assert frozenset((made.units[a], made.units[b]) for a, b in cut) in cuts
        assert int(tree["system"]["n_tied_partitions"]) == len(cuts)


@pytest.mark.parametrize("name", [n for n in FILES if "causal_nexus" in golden(n)])
def test_nexus__is_that_of_the_reference(name):
    data = golden(name)
    substrate = iit.Substrate.from_tpm(factors_of(data), data["cm"])
    found = iit.causal_nexus(substrate, data["before_state"], data["after_state"])
    theirs = data["causal_nexus"]
    assert found.attrs["alpha"] == pytest.approx(theirs["alpha"], abs=TOLERANCE)
    for mine, their in (("causes", "cause_indices"), ("effects", "effect_indices")):
        assert found.attrs[mine] == "".join(substrate.labels[i] for i in theirs[their])
    assert found["system"].attrs["iitdask_version"]
    assert float(found["candidates"]["alpha"][0]) == pytest.approx(theirs["alpha"], abs=TOLERANCE)
