"""Results with names: coordinates, partitions as text, provenance."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.model.system import System
from iitdask.run.checksum import package_version

LABELS = ("left", "right", "V1")
UNITS = [
    {"label": "left", "gate": "OR", "inputs": ["right", "V1"]},
    {"label": "right", "gate": "COPY", "inputs": ["V1"]},
    {"label": "V1", "gate": "XOR", "inputs": ["left", "right"]},
]


@pytest.fixture(scope="module")
def named():
    return iit.ces(iit.Substrate.from_units(UNITS), "100")


def test_units__are_coordinates_of_every_node(named):
    for node in named.subtree:
        for dim in ("unit", "source", "target"):
            if dim in node.dims:
                assert tuple(node[dim].values) == LABELS


def test_names__do_not_change_a_number(named, structure):
    for node in structure.subtree:
        data, other = node.to_dataset(inherit=False), named[node.path].to_dataset(inherit=False)
        assert set(data.data_vars) == set(other.data_vars)
        for name, variable in data.data_vars.items():
            if variable.dtype.kind in "fib":
                np.testing.assert_array_equal(variable.values, other[name].values)


def test_mechanisms__are_named_by_their_units(named):
    data = named["distinctions"].to_dataset()
    inside = data["mechanism_units"].values
    assert len(set(data["mechanism"].values)) == len(inside)
    for name, row in zip(data["mechanism"].values, inside, strict=True):
        for label, included in zip(LABELS, row, strict=True):
            assert (label in name) == included


def test_partitions__name_units_of_the_mechanism_and_the_purview(structure):
    data = structure["distinctions"].to_dataset()
    for side in ("cause", "effect"):
        rows = zip(
            data[f"partition_{side}"].values,
            data["mechanism"].values,
            data[f"purview_{side}"].values,
            strict=True,
        )
        for text, mechanism, inside in rows:
            parts = [part.split("/") for part in text.split(" × ")]
            units, partners = ("".join(sorted("".join(each))) for each in zip(*parts, strict=True))
            assert units.replace("∅", "") == mechanism
            assert partners.replace("∅", "") == "".join(data["unit"].values[inside])


def test_attributes__say_what_was_computed(named):
    about = named["system"].attrs
    assert about["theory"] == "iit4"
    assert about["state"] == "100"
    assert about["iitdask_version"] == package_version() != "unknown"
    substrate = iit.Substrate.from_units(UNITS)
    assert about["substrate_fingerprint"] == substrate.fingerprint


def test_network__stands_beside_the_cut(structure):
    system = structure["system"]
    basic = System.build(iit.examples.load("basic"), "100")
    np.testing.assert_array_equal(system["connectivity"].values, basic.connectivity)
    assert system["current_state"].values.tolist() == [1, 0, 0]
