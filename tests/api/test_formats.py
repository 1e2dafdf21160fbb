"""Forms of other programs: what is written is read again, and bad files give one clear line."""

import json

import networkx as nx
import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError, SubstrateError

EXAMPLES = ("basic", "xor", "iit4-2023-fig6a", "findlay2024-pqrs", "iit3-2014-fig4")


def k_ary():
    """A substrate of units with 2, 3 and 2 values, each reading two."""
    rng = np.random.default_rng(3)
    levels, inputs = (2, 3, 2), ((1, 2), (0, 1), (0, 1))
    tables = []
    for unit, own in enumerate(inputs):
        table = rng.random((*(levels[j] for j in own), levels[unit]))
        tables.append((own, table / table.sum(axis=-1, keepdims=True)))
    return iit.Substrate.from_factors(tables, labels=["P", "Q", "R"])


def one_line(error):
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_state_by_node__is_read_again(name):
    substrate = iit.examples.load(name)
    table = iit.formats.state_by_node(substrate)
    again = iit.Substrate.from_tpm(table, substrate.connectivity, substrate.labels)
    assert again == substrate
    for state in range(0, len(table), 3):
        values = tuple(state >> i & 1 for i in range(substrate.n_units))
        for unit, factor in enumerate(substrate.factors):
            on = factor.table[tuple(values[j] for j in factor.parents)][1]
            assert table[state, unit] == on


def test_state_by_state__is_the_product_over_units():
    substrate = k_ary()
    matrix = iit.formats.state_by_state(substrate)
    assert matrix.shape == (12, 12)
    states = [(a, b, c) for c in range(2) for b in range(3) for a in range(2)]
    for row, now in enumerate(states):
        for column, later in enumerate(states):
            expected = 1.0
            for unit, factor in enumerate(substrate.factors):
                expected *= factor.table[tuple(now[j] for j in factor.parents)][later[unit]]
            assert matrix[row, column] == pytest.approx(expected, abs=1e-15)
    again = iit.Substrate.nearest_product(matrix, levels=(2, 3, 2))
    assert again.attrs["largest_row_divergence"] == pytest.approx(0, abs=1e-12)
    basic = iit.examples.load("basic")
    square = iit.formats.state_by_state(basic)
    assert iit.Substrate.from_tpm(square, basic.connectivity, basic.labels) == basic


def test_matrices__are_refused_where_they_do_not_fit():
    with pytest.raises(SubstrateError, match="expected at most 20 binary units, got 3 units"):
        iit.formats.state_by_node(k_ary())
    ring = [{"gate": "COPY", "inputs": [(i - 1) % 13]} for i in range(13)]
    with pytest.raises(SubstrateError, match="at most 4096 states, got 8192"):
        iit.formats.state_by_state(iit.Substrate.from_units(ring))


@pytest.mark.parametrize("substrate", [*map(iit.examples.load, EXAMPLES), k_ary()])
def test_graphs__are_read_again(tmp_path, substrate):
    assert iit.formats.from_networkx(iit.formats.to_networkx(substrate)) == substrate
    path = iit.formats.write_graphml(substrate, tmp_path / "network.graphml")
    assert iit.formats.read_graphml(path) == iit.load(path) == substrate


def test_graph_of_gates__is_that_of_its_units():
    graph = nx.DiGraph()
    graph.add_node("X", gate="AND", noise=0.1)
    graph.add_node("Y", gate="OR")
    graph.add_node("Z")
    graph.add_edges_from([("Y", "X"), ("Z", "X"), ("X", "Y"), ("Z", "Y"), ("X", "Z")])
    units = [
        {"label": "X", "gate": "AND", "inputs": ["Y", "Z"], "noise": 0.1},
        {"label": "Y", "gate": "OR", "inputs": ["X", "Z"]},
        {"label": "Z", "gate": "NOT", "inputs": ["X"]},
    ]
    assert iit.formats.from_networkx(graph, gate="NOT") == iit.Substrate.from_units(units)
    ring = nx.cycle_graph(4)
    found = iit.formats.from_networkx(ring, gate="XOR")
    assert found.labels == ("0", "1", "2", "3")
    assert (found.connectivity == nx.to_numpy_array(ring, dtype=int)).all()


def test_graph_of_weights__is_that_of_the_matrix(tmp_path):
    weights = np.array([[0, 1.5, 0], [-2.0, 0, 0.25], [0.5, 0, 1.0]])
    graph = nx.from_numpy_array(weights, create_using=nx.DiGraph)
    expected = iit.Substrate.from_weights(weights, "ising", labels=["0", "1", "2"])
    assert iit.formats.from_networkx(graph, activation="ising") == expected
    nx.write_graphml(graph, tmp_path / "weights.graphml")
    again = iit.formats.read_graphml(tmp_path / "weights.graphml", activation="ising")
    assert again == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": None}, "node 'A': expected a gate or a table, got neither"),
        ({"gate": "NAN"}, "NAN"),
        ({"table": "[[1, 0"}, r"node 'A': table: expected JSON, got '\[\[1, 0'"),
        ({"table": [[1, 0]], "inputs": ["Q"]}, "inputs: expected names of nodes"),
        ({"table": [[1, 0], [0, 1]], "inputs": ["A"]}, "inputs: expected an edge from A"),
        ({"label": ""}, "expected names of nodes, got ''"),
    ],
)
def test_graph__refuses_in_one_line(change, message):
    graph = nx.DiGraph([("B", "A"), ("A", "B")])
    graph.nodes["B"].update(gate="COPY")
    graph.nodes["A"].update(change)
    with pytest.raises(SubstrateError, match=message) as raised:
        iit.formats.from_networkx(graph)
    one_line(raised)


def test_graph__refuses_what_is_none(tmp_path):
    for graph, message in (
        ([[0, 1]], "expected a graph of networkx"),
        (nx.DiGraph(), "expected a graph with nodes, got none"),
        (nx.MultiDiGraph([(0, 1), (0, 1)]), "at most one edge"),
        (nx.DiGraph([(0, 1, {"weight": "heavy"})]), "weight: expected a number on each edge"),
    ):
        with pytest.raises(SubstrateError, match=message) as raised:
            iit.formats.from_networkx(graph, activation="ising")
        one_line(raised)
    (tmp_path / "bad.graphml").write_text("<graphml><graph>", encoding="utf-8")
    with pytest.raises(SubstrateError, match=r"bad\.graphml: expected GraphML: ") as raised:
        iit.formats.read_graphml(tmp_path / "bad.graphml")
    one_line(raised)
    (tmp_path / "bad.graphml").write_text(
        '<?xml version="1.0" encoding="utz-8"?>', encoding="utf-8"
    )
    with pytest.raises(SubstrateError, match=r"expected GraphML: unknown encoding: utz-8"):
        iit.formats.read_graphml(tmp_path / "bad.graphml")
    with pytest.raises(SubstrateError, match=r"none\.graphml: expected a readable file: No such"):
        iit.formats.read_graphml(tmp_path / "none.graphml")
    with pytest.raises(InputError, match="expected a file that can be written"):
        iit.formats.write_graphml(k_ary(), tmp_path / "none" / "a.graphml")


def write_animat(folder, born=128, noise=()):
    """Files of an animat of three units: a sensor, A = S and M, M = S or A."""
    head = "0_t0,1_t0,2_t0,,0_t1,1_t1,2_t1\n"
    rows = []
    for state in range(8):
        s, a, m = (state >> i & 1 for i in range(3))
        rows.append(f"{s},{a},{m},,0,{s & m},{s | a}\n")
    life = "T0_0,T0_1,T0_2,,T1_0,T1_1,T1_2,\n" + "1,0,0,,0,0,1,\n0,0,1,,1,0,0,\n"
    stem = f"trial0_{born}"
    (folder / f"{stem}_FullLogicTable.txt").write_text(head + "".join(rows), encoding="utf-8")
    (folder / f"{stem}_LifetimeLogicTable.txt").write_text(life, encoding="utf-8")
    edges = "0   1\n2   1\n0   2\n1   2\n"
    (folder / f"{stem}_EdgeList.txt").write_text(edges, encoding="utf-8")
    for kind, text in noise:
        (folder / f"{stem}_{kind}.txt").write_text(text, encoding="utf-8")


def test_animats__are_networks_and_lives(tmp_path):
    write_animat(tmp_path, 512)
    write_animat(tmp_path, 128)
    (tmp_path / "trial0_128_EdgeList.txt").unlink()
    first, second = iit.formats.read_animats(tmp_path, labels=["S", "A", "M"])
    assert (first.run, first.born, second.born) == ("trial0", 128, 512)
    expected = iit.Substrate.from_factors(
        [([], [[1, 0]]), (["S", "M"], [[[1, 0], [1, 0]], [[1, 0], [0, 1]]]),
         (["S", "A"], [[[1, 0], [0, 1]], [[0, 1], [0, 1]]])],
        labels=["S", "A", "M"],
    )  # fmt: skip
    assert first.substrate == second.substrate == expected
    assert first.before.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert first.after.tolist() == [[0, 0, 1], [1, 0, 0]]
    series = iit.Substrate.from_series(first.recordings(), prior=0.5)
    assert series.attrs["n_transitions"] == 2


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("FullLogicTable", "", "FullLogicTable.txt: expected a head and rows of 0 and 1"),
        ("FullLogicTable", "a,,b\n", "expected rows of 0 and 1, got a head alone"),
        ("FullLogicTable", "a,,b\n0,,1\n0,,1\n", "expected every state once, got none of 1"),
        ("FullLogicTable", "a,,b\n0,,1\n", r"expected 2\^1 states of 1 units, got 1"),
        ("FullLogicTable", "a,b\n0,1\n", "line 1: expected as many values before an empty column"),
        ("FullLogicTable", "a,,b\n0,,2\n", "line 2: expected 0 or 1 for 1 units before and after"),
        ("LifetimeLogicTable", "a,,b\n0,,1\n", "expected 3 units as in its full table, got 1"),
        ("EdgeList", "0 1\n0 7\n", "EdgeList.txt, line 2: expected two numbers of units below 3"),
    ],
)
def test_animats__name_file_and_line_of_what_is_wrong(tmp_path, kind, text, message):
    write_animat(tmp_path, noise=[(kind, text)])
    with pytest.raises(SubstrateError, match=message) as raised:
        iit.formats.read_animats(tmp_path)
    one_line(raised)


def test_animats__of_no_files_are_refused(tmp_path):
    with pytest.raises(SubstrateError, match="expected files ending in _FullLogicTable"):
        iit.formats.read_animats(tmp_path)
    with pytest.raises(SubstrateError, match="expected a folder of animats"):
        iit.formats.read_animats(tmp_path / "none")


def pyphi_object(kind, number=None, **attributes):
    """JSON of an object as `jsonify` writes it."""
    mark = {} if number is None else {"__id__": number}
    return {**attributes, "__class__": kind, "__version__": "1.2.0", **mark}


def written_as_pyphi(tree):
    """Our structure in the form of PyPhi's: what reading it must give back."""
    data = tree["distinctions"].to_dataset()
    network = pyphi_object(
        "Network", 1, node_labels=pyphi_object("NodeLabels", 2, labels=["A", "B", "C"])
    )
    subsystem = pyphi_object("Subsystem", 3, network=network, state=[1, 0, 0])
    concepts = []
    for k in range(data.sizes["mechanism"]):
        sides = {}
        for side in ("cause", "effect"):
            purview = np.flatnonzero(data[f"purview_{side}"].values[k]).tolist()
            ria = pyphi_object(
                "RepertoireIrreducibilityAnalysis",
                phi=float(data[f"phi_{side}"][k]),
                purview=purview,
                repertoire=[[0.25, 0.75]],
            )
            sides[side] = pyphi_object("MaximallyIrreducibleCause", ria=ria)
        concepts.append(
            pyphi_object(
                "Concept",
                mechanism=np.flatnonzero(data["mechanism_units"].values[k]).tolist(),
                phi=float(data["phi"][k]),
                subsystem=pyphi_object("Subsystem", 3),
                **sides,
            )
        )
    return pyphi_object(
        "SystemIrreducibilityAnalysis",
        phi=float(tree["system"]["phi"]),
        ces=pyphi_object("CauseEffectStructure", concepts=concepts, time=0.1),
        partitioned_ces=pyphi_object("CauseEffectStructure", concepts=concepts[:1]),
        subsystem=subsystem,
    )


def test_pyphi_result__compares_with_ours(tmp_path):
    ours = iit.ces(iit.examples.load("basic"), "100", theory="iit3")
    path = tmp_path / "sia.json"
    path.write_text(json.dumps(written_as_pyphi(ours)), encoding="utf-8")
    theirs = iit.formats.read_pyphi_result(path)
    assert theirs.attrs == {
        "source": "PyPhi", "class": "SystemIrreducibilityAnalysis", "version": "1.2.0"
    }  # fmt: skip
    assert theirs["system"].attrs["state"] == "100"
    for name in ("phi", "phi_cause", "phi_effect", "purview_cause", "mechanism"):
        same = theirs["distinctions"][name].values == ours["distinctions"][name].values
        assert np.all(same)
    compared = iit.compare(ours, theirs)
    assert set(compared["distinctions"]["status"].values) == {"same"}
    inside = theirs["pyphi/ces/concepts/0/cause/ria"]
    assert inside.attrs["class"] == "RepertoireIrreducibilityAnalysis"
    assert inside["repertoire"].values.tolist() == [[0.25, 0.75]]


def test_pyphi_result__resolves_what_repeats_and_takes_lists(tmp_path):
    content = written_as_pyphi(iit.ces(iit.examples.load("basic"), "100", theory="iit3"))
    content = {"subsystem": content.pop("subsystem"), **content}
    path = tmp_path / "sia.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    tree = iit.formats.read_pyphi_result(path)
    assert tree["pyphi/ces/concepts/0/subsystem"].attrs["same_as"] == "/pyphi/subsystem"
    path.write_text(json.dumps(content["ces"]["concepts"]), encoding="utf-8")
    listed = iit.formats.read_pyphi_result(path)
    assert (
        listed["distinctions"]["phi"].values.tolist() == tree["distinctions"]["phi"].values.tolist()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "result.json: "),
        ("[]", "expected the JSON of a result of PyPhi"),
        ('{"phi": 1}', "expected the JSON of a result of PyPhi, an object with __class__"),
        ('{"__class__": "Network", "tpm": [[0]]}', "got a network, which iit.load reads"),
        (
            '{"__class__": "CES", "concepts": [{"mechanism": ["A"], "cause": null}]}',
            "concept 0: mechanism: expected numbers of units below 1",
        ),
    ],
)
def test_pyphi_result__refuses_in_one_line(tmp_path, text, message):
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as raised:
        iit.formats.read_pyphi_result(path)
    one_line(raised)


def test_pyphi_result__takes_objects_that_tell_no_class(tmp_path):
    path = tmp_path / "result.json"
    content = {"__class__": "CES", "concepts": [], "more": {"__id__": 3, "x": [1, 2]}}
    path.write_text(json.dumps(content), encoding="utf-8")
    tree = iit.formats.read_pyphi_result(path)
    assert tree["pyphi/more"]["x"].values.tolist() == [1, 2]


def test_pyphi_result__is_a_json_file(tmp_path):
    with pytest.raises(InputError, match=r"expected a file ending in \.json"):
        iit.formats.read_pyphi_result(tmp_path / "result.txt")
    with pytest.raises(InputError, match="expected a readable file"):
        iit.formats.read_pyphi_result(tmp_path / "result.json")
