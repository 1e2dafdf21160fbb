"""Tables as people have them: of single precision, with rounding errors, in mappings."""

import json
import pickle

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import SubstrateError
from iitdask.model.readers import load, substrate_from_study

ROWS = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]]
BASIC = [
    *([0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]),
    *([1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]),
]
EDGES = [[0, 0, 1], [1, 0, 1], [1, 1, 0]]


def sums(substrate):
    return [factor.table.sum(axis=-1) for factor in substrate.factors]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist], ids=["array", "list"])
def test_factors__of_a_shorter_type_are_normalised(dtype, form):
    table = np.array(ROWS, dtype)
    assert abs(table.astype(float).sum(axis=1) - 1).max() > 1e-8
    substrate = iit.Substrate.from_factors([([0], form(table))])
    np.testing.assert_allclose(sums(substrate)[0], 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(substrate.factors[0].table, ROWS, rtol=0, atol=5e-4)


@pytest.mark.parametrize("value", [0.9, 0.7, 0.1, 1 / 3])
def test_state_by_state__of_single_precision_is_taken(value):
    table = np.array([[value, 1 - value], [1 - value, value]], "f4")
    found = iit.Substrate.from_tpm(table).factors[0].table
    np.testing.assert_allclose(found, [[value, 1 - value], [1 - value, value]], rtol=0, atol=1e-7)


def test_state_by_state__of_single_precision_and_several_units_is_taken():
    on = np.random.default_rng(1).random((8, 3))
    bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
    joint = np.where(bits[None] == 1, on[:, None], 1 - on[:, None]).prod(axis=-1).astype("f4")
    found = iit.Substrate.from_tpm(joint)
    exact = iit.Substrate.from_tpm(on)
    for one, other in zip(found.factors, exact.factors, strict=True):
        np.testing.assert_allclose(one.table, other.table, rtol=0, atol=1e-6)


def test_padded_tables__of_single_precision_are_normalised():
    joint = np.zeros((3, 3, 2, 3), "f4")
    joint[..., 0, :] = joint[..., 1, :] = np.array(ROWS, "f4")[:, None]
    for each in sums(iit.Substrate.from_tpm(joint)):
        np.testing.assert_allclose(each, 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "rows", [[[0.5, 0.5 + 1e-7], [0.5, 0.5]], [[0.3333333] * 3] * 3], ids=["pair", "thirds"]
)
def test_factors__of_double_precision_must_add_up(rows):
    with pytest.raises(SubstrateError, match="sum to 1, got"):
        iit.Substrate.from_factors([([0], rows)])


def test_factors__of_single_precision_must_add_up_as_far_as_it_goes():
    with pytest.raises(SubstrateError, match=r"row 0 .*sum to 1, got 0\.99"):
        iit.Substrate.from_factors([([0], np.array([[0.5, 0.49], [0.5, 0.5]], "f4"))])


def test_connectivity__does_not_see_rounding_of_single_precision():
    on = np.array([[0.3, 0.3], [0.6, 0.3], [0.3, 0.3], [0.6, 0.3]], "f4")
    on[2, 0] += np.float32(3e-8)
    only_self = [[1, 0], [0, 1]]
    assert iit.Substrate.from_tpm(on, only_self).factors[0].parents == (0,)
    with pytest.raises(SubstrateError, match="connectivity omits the edge 'B' -> 'A'"):
        iit.Substrate.from_tpm(on + np.array([[0, 0], [0, 0], [1e-5, 0], [0, 0]], "f4"), only_self)


@pytest.mark.parametrize("error", [1e-16, 1e-12, 5e-10])
def test_probabilities__outside_by_rounding_are_clipped(error):
    substrate = iit.Substrate.from_tpm(np.array(BASIC) * (1 + 2 * error) - error)
    assert all(0 <= factor.table.min() <= factor.table.max() <= 1 for factor in substrate.factors)
    pair = iit.Substrate.from_factors([([0], [[1 + error, -error], [0, 1]])])
    assert pair.factors[0].table.tolist() == [[1, 0], [0, 1]]


def test_probabilities__outside_by_single_precision_are_clipped():
    table = np.array(BASIC, "f4")
    table[table == 1] = np.nextafter(np.float32(1), np.float32(2))
    assert iit.Substrate.from_tpm(table) == iit.Substrate.from_tpm(BASIC)


@pytest.mark.parametrize("error", [1e-6, 0.08])
def test_probabilities__outside_by_more_are_refused(error):
    with pytest.raises(SubstrateError, match=r"row 0 .*unit 'A'.*from 0 to 1, got -"):
        iit.Substrate.from_tpm(np.array(BASIC) - error)


def test_masked__numbers_are_missing_however_they_are_nested():
    table = [[[np.ma.masked, 1.0], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]
    for missing in (table, np.nan):
        rows = table if missing is table else [[[np.nan, 1.0], [0.5, 0.5]], *table[1:]]
        with pytest.raises(SubstrateError, match=r"row 0 .*got nan \(a missing probability\)"):
            iit.Substrate.from_factors([([0, 1], rows), ([0], [[1, 0], [0, 1]])])


def test_dependent_units__are_told_by_how_much_and_where():
    joint = np.full((4, 4), 0.25)
    joint[2] = [0.5, 0, 0, 0.5]
    with pytest.raises(SubstrateError, match=r"from state 01 to .*off by 0\.25; 1 of 4 rows"):
        iit.Substrate.from_tpm(joint)


def write(folder, **names):
    np.savez(folder / "t.npz", tpm=np.array(BASIC), **{k: np.array(v) for k, v in names.items()})
    (folder / "t.json").write_text(json.dumps({"tpm": BASIC, **names}))


@pytest.mark.parametrize("edges", ["cm", "connectivity", "connectivity_matrix"])
@pytest.mark.parametrize("labels", ["labels", "node_labels"])
def test_mappings__are_read_with_the_names_of_pyphi(tmp_path, edges, labels):
    names = {edges: EDGES, labels: ["P", "Q", "R"]}
    write(tmp_path, **names)
    expected = iit.Substrate.from_tpm(BASIC, EDGES, "PQR")
    content = {"tpm": BASIC, **names}
    found = [
        iit.Substrate.from_tpm(content),
        iit.Substrate.from_tpm(np.load(tmp_path / "t.npz")),
        iit.Substrate.from_pyphi(content),
        load(tmp_path / "t.npz"),
        load(tmp_path / "t.json"),
        substrate_from_study(content, tmp_path),
        substrate_from_study({"tpm": "t.json"}, tmp_path),
        substrate_from_study({"tpm": "t.npz"}, tmp_path),
    ]
    assert found == [expected] * len(found)
    assert iit.Substrate.from_tpm(content, labels="XYZ").labels == ("X", "Y", "Z")


def test_mappings__that_say_one_thing_twice_are_refused():
    with pytest.raises(SubstrateError, match="connectivity and cm say the same; give one"):
        iit.Substrate.from_tpm({"tpm": BASIC, "cm": EDGES, "connectivity": EDGES})
    with pytest.raises(SubstrateError, match=r"expected tpm and optionally .*, got tpm, state"):
        iit.Substrate.from_tpm({"tpm": BASIC, "state": "100"})


@pytest.mark.parametrize(
    ("name", "separator"), [("a.CSV", ","), ("a.tsv", "\t"), ("a.TSV", "\t"), ("a.TXT", " ")]
)
def test_tables_of_text__are_known_by_any_ending(tmp_path, name, separator):
    lines = [separator.join(map(str, row)) for row in BASIC]
    (tmp_path / name).write_text("\n".join(lines))
    assert substrate_from_study({"tpm": name}, tmp_path) == iit.Substrate.from_tpm(BASIC)


def test_files__are_known_by_endings_in_capitals(tmp_path):
    write(tmp_path, cm=EDGES)
    np.save(tmp_path / "t.npy", np.array(BASIC))
    for name in ("t.npz", "t.json", "t.npy"):
        capital = tmp_path / name.upper()
        (tmp_path / name).rename(capital)
        assert substrate_from_study({"tpm": capital.name}, tmp_path).n_units == 3
    assert load(tmp_path / "T.NPZ") == load(tmp_path / "T.JSON")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 1]], r"factors: unit 'A': "),
        ([5], r"factor 0: expected \(inputs, table\), got 5"),
        ([([0], [[1, 0], [0, 1]], 3)], r"factor 0: expected \(inputs, table\), got"),
        ([({0, 1}, np.full((2, 2, 2), 0.5))] * 2, "inputs: expected a list, got a set"),
    ],
)
def test_factors__of_other_forms_are_refused(pairs, message):
    with pytest.raises(SubstrateError, match=message):
        iit.Substrate.from_factors(pairs)


def test_substrates__are_equal_where_everything_is():
    one, other = iit.examples.load("basic"), iit.examples.load("basic")
    again = pickle.loads(pickle.dumps(one))
    assert one == other == again
    assert hash(one) == hash(other) == hash(again)
    assert len({one, other, again}) == 1
    basic = iit.Substrate.from_tpm(BASIC)
    assert basic != iit.Substrate.from_tpm(BASIC, EDGES)
    assert basic != iit.Substrate.from_tpm(BASIC, labels="PQR")
    assert basic != iit.Substrate.from_tpm(np.array(BASIC) * 0.5)
    assert basic != BASIC
    two, three = ([np.full((k, k), 1 / k)] for k in (2, 3))
    assert iit.Substrate.from_tpm(two) != iit.Substrate.from_tpm(three)


def test_substrates__show_themselves_in_notebooks():
    substrate = iit.Substrate.from_tpm(np.full((1 << 3, 3), 0.5), labels=["<b>", "y", "z"])
    assert "&lt;b&gt;" in substrate._repr_html_()
    assert "<td>-</td>" in substrate._repr_html_()
    assert "and 97 more" in iit.examples.load("findlay2024-computer-pqrs")._repr_html_()
