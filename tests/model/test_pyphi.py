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


class Version2:
    """What PyPhi 2 offers: tables per unit, or one whole table with an axis of values."""

    def __init__(self, factors, cm, labels):
        self.factors, self.cm, self.node_labels = tuple(factors), cm, labels

    def joint_tpm(self):
        most = max(factor.shape[-1] for factor in self.factors)
        out = np.zeros((*self.factors[0].shape[:-1], len(self.factors), most))
        for i, factor in enumerate(self.factors):
            out[..., i, : factor.shape[-1]] = factor
        return out


def kinds_of_version_2(factors, cm, labels):
    """Every place where the tables may be."""
    whole = Version2(factors, cm, labels)
    named = {"cm": cm, "node_labels": labels}
    return {
        "factors": SimpleNamespace(factors=whole.factors, **named),
        "joint": SimpleNamespace(joint_tpm=whole.joint_tpm, **named),
        "tpm.factors": SimpleNamespace(tpm=SimpleNamespace(factors=whole.factors), **named),
        "tpm.joint": SimpleNamespace(tpm=SimpleNamespace(joint_tpm=whole.joint_tpm), **named),
        "opaque tpm": SimpleNamespace(tpm=object(), joint_tpm=whole.joint_tpm, **named),
        "factored_tpm": SimpleNamespace(
            tpm=object(), factored_tpm=SimpleNamespace(factors=whole.factors), **named
        ),
    }


@pytest.mark.parametrize("levels", [(2,), (3,), (2, 2), (2, 3), (3, 2, 2), (2, 2, 2, 2)])
def test_objects_of_version_2__are_read_wherever_their_tables_are(levels):
    n = len(levels)
    rng = np.random.default_rng(n)
    factors = [rng.dirichlet(np.ones(k), levels) for k in levels]
    labels = tuple(f"n{i}" for i in range(n))
    expected = iit.Substrate.from_tpm(factors, labels=labels)
    for kind, given in kinds_of_version_2(factors, np.ones((n, n)), labels).items():
        found = iit.Substrate.from_pyphi(given)
        assert found.labels == labels, kind
        assert found.levels == levels, kind
        for one, other in zip(found.factors, expected.factors, strict=True):
            np.testing.assert_allclose(one.table, other.table, rtol=0, atol=1e-15)


def test_objects_of_version_2__may_have_no_connectivity_and_no_labels(basic):
    factors = [np.full((2, 2, 2), 0.5)] * 2
    for given in (SimpleNamespace(factors=factors), SimpleNamespace(factors=factors, cm=None)):
        assert iit.Substrate.from_pyphi(given).labels == ("A", "B")


@pytest.mark.parametrize("parent", ["network", "substrate"])
def test_systems__are_refused_with_what_to_give(basic, parent):
    system = SimpleNamespace(
        tpm=np.zeros((2, 2, 2)), cm=np.ones((2, 2)), state=(0, 0), **{parent: None}
    )
    with pytest.raises(SubstrateError, match=f"expected a PyPhi Network, got a .*its '{parent}'"):
        iit.Substrate.from_pyphi(system)


@pytest.mark.parametrize("name", ["a.json", "b.json"])
def test_json__of_other_objects_is_refused_with_what_to_give(tmp_path, name):
    network = json.loads(WRITTEN)
    subsystem = {"network": network, "state": [1, 0, 0], "__class__": "Subsystem"}
    (tmp_path / "a.json").write_text(json.dumps(subsystem))
    (tmp_path / "b.json").write_text(json.dumps({"substrate": {"tpm": "a.json"}}))
    with pytest.raises(SubstrateError, match="got a Subsystem; its 'network' is one"):
        iit.load(tmp_path / name)


def test_json__of_a_list_is_refused_in_one_line(tmp_path):
    (tmp_path / "list.json").write_text(json.dumps([json.loads(WRITTEN)] * 9))
    with pytest.raises(
        SubstrateError, match=r"list\.json: expected a study or its .*, got \["
    ) as e:
        iit.load(tmp_path / "list.json")
    assert len(str(e.value)) < 400
