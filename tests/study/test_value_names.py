"""Names of values stand in states of studies and axes, and in what results say."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError

NAMES = {"P": ["low", "middle", "high"], "Mc": ["off", "on"]}


def test_names__stand_in_axes_and_results(tmp_path):
    plain = iit.examples.load("gomez2020-p53-mdm2")
    named = plain.with_value_names(NAMES)
    states = [{"P": "high", "Mc": "on", "Mn": 0}, ["low", "off", 1]]
    cube = iit.sweep({"state": states}, named)
    expected = iit.sweep({"state": ["210", "001"]}, plain)
    assert cube["state"].values.tolist() == ["210", "001"]
    np.testing.assert_array_equal(cube["phi"].values, expected["phi"].values)
    assert cube.attrs["value_names"] == "P: low middle high, Mc: off on"
    result = iit.sia(named, states[0], store=tmp_path / "one.zarr")
    assert result.attrs["value_names"] == "P: low middle high, Mc: off on"
    opened = iit.open(tmp_path / "one.zarr")
    assert opened["system"].attrs["value_names"] == result.attrs["value_names"]
    with pytest.raises(InputError, match="no value is called 'huge'"):
        iit.sweep({"state": [["huge", "off", 1]]}, named)


def test_study__names_values(tmp_path):
    study = {
        "substrate": {
            "units": [{"gate": "COPY", "inputs": ["B"]}, {"gate": "NOT", "inputs": ["A"]}],
            "values": {"A": ["rest", "fire"]},
        },
        "compute": "sia",
        "sweep": {"state": [{"A": "fire", "B": 0}, "01"]},
    }
    cube = iit.sweep(study)
    assert cube["state"].values.tolist() == ["10", "01"]
    assert cube.attrs["value_names"] == "A: rest fire"
    study["substrate"]["values"] = {"A": ["rest"]}
    with pytest.raises(InputError, match="substrate: values: unit 'A': expected 2 distinct names"):
        iit.sweep(study)
