"""Networks of PyPhi: objects by their attributes, and the JSON that PyPhi 1.x writes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import SubstrateError
from iitdask.model.pyphi import is_network

# What PyPhi 1.2.0 writes for the three units of its first example.
WRITTEN = """{"tpm":[[[[0.0,0.0,0.0],[1.0,1.0,0.0]],[[1.0,0.0,1.0],[1.0,1.0,1.0]]],
[[[0.0,0.0,1.0],[1.0,1.0,1.0]],[[1.0,0.0,0.0],[1.0,1.0,0.0]]]],
"cm":[[0,0,1],[1,0,1],[1,1,0]],"size":3,
"node_labels":{"labels":["A","B","C"],"node_indices":[0,1,2],"__class__":"NodeLabels",
"__version__":"1.2.0","__id__":7571553469590140956},
"__class__":"Network","__version__":"1.2.0","__id__":2071559778353181572}"""


@pytest.fixture
def basic():
    return iit.examples.load("basic")


def test_json__is_read(basic, tmp_path):
    path = tmp_path / "net.json"
    path.write_text(WRITTEN)
    for substrate in (iit.load(path), iit.Substrate.from_pyphi(json.loads(WRITTEN))):
        assert substrate.fingerprint == basic.fingerprint
        assert substrate.labels == ("A", "B", "C")


def test_json__is_the_table_of_a_study(basic, tmp_path):
    (tmp_path / "net.json").write_text(WRITTEN)
    (tmp_path / "study.json").write_text(json.dumps({"substrate": {"tpm": "net.json"}}))
    assert iit.load(tmp_path / "study.json").fingerprint == basic.fingerprint


def test_json__written_is_what_pyphi_writes(basic):
    def plain(content):
        if not isinstance(content, dict):
            return content
        return {k: plain(v) for k, v in content.items() if k != "__id__"}

    written = json.loads(json.dumps(basic.to_pyphi()))
    assert plain(written) == plain(json.loads(WRITTEN))
    assert is_network(written)


def test_json__keeps_every_bit():
    rng = np.random.default_rng(0)
    given = iit.Substrate.from_tpm(rng.random((16, 4)), labels=["w", "x", "y", "z"])
    again = iit.Substrate.from_pyphi(json.loads(json.dumps(given.to_pyphi())))
    assert again.fingerprint == given.fingerprint
    assert again.labels == given.labels


def test_objects__are_read_by_their_attributes(basic):
    content = json.loads(WRITTEN)
    labels = SimpleNamespace(labels=("A", "B", "C"))
    for named in (labels, ("A", "B", "C")):
        network = SimpleNamespace(
            tpm=np.array(content["tpm"]), cm=np.array(content["cm"]), node_labels=named
        )
        assert iit.Substrate.from_pyphi(network).fingerprint == basic.fingerprint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "network: expected a PyPhi network with tpm and cm, got int"),
        ({"__class__": "Subsystem"}, "network: expected the JSON of a PyPhi Network, got a Subsys"),
        ({"tpm": [[0.5, 2.0]] * 4}, "network: "),
    ],
)
def test_wrong_input__is_explained(given, message):
    with pytest.raises(SubstrateError, match=f"^{message}"):
        iit.Substrate.from_pyphi(given)


def test_more_values__cannot_be_written():
    three = iit.Substrate.from_tpm([np.full((3, 3), 1 / 3)])
    with pytest.raises(SubstrateError, match="expected at most 20 binary units, got 1 units of up"):
        three.to_pyphi()
