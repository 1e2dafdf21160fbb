"""Substrates from study blocks and files."""

import json
import pickle

import numpy as np
import pytest

from iitdask.errors import SubstrateError
from iitdask.model import examples
from iitdask.model.readers import load, substrate_from_study

TPM = [[0, 0], [0, 1], [1, 0], [1, 1]]
SWAP = [[0, 1], [1, 0]]
UNITS = [
    {"label": "A", "gate": "COPY", "inputs": ["B"]},
    {"label": "B", "gate": "COPY", "inputs": ["A"]},
]


def write(folder):
    """One matrix in every format."""
    np.save(folder / "a.npy", np.array(TPM))
    np.savez(folder / "a.npz", tpm=TPM, connectivity=SWAP, labels=["P", "Q"])
    (folder / "a.csv").write_text("# A, B\n0,0\n0, 1\n\n1,0\n1,1\n")
    (folder / "a.txt").write_text("0 0\n0 1\n1 0\n1 1  # last\n")
    (folder / "a.json").write_text(json.dumps(TPM))
    (folder / "b.json").write_text(json.dumps({"tpm": TPM, "labels": ["P", "Q"]}))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv", "a.txt", "a.json", "b.json"])
def test_tpm_file__every_format(tmp_path, name):
    write(tmp_path)
    substrate = substrate_from_study({"tpm": name}, tmp_path)
    assert [f.parents for f in substrate.factors] == [(1,), (0,)]
    named = name in {"a.npz", "b.json"}
    assert substrate.labels == (("P", "Q") if named else ("A", "B"))
    assert substrate.connectivity.tolist() == (
        [[False, True], [True, False]] if name == "a.npz" else [[True, True], [True, True]]
    )


def test_tpm_file__what_the_block_says_has_priority(tmp_path):
    write(tmp_path)
    block = {"tpm": "a.npz", "labels": ["X", "Y"], "connectivity": [[1, 1], [1, 1]]}
    substrate = substrate_from_study(block, tmp_path)
    assert substrate.labels == ("X", "Y")
    assert substrate.connectivity.all()


@pytest.mark.parametrize(
    "block",
    [
        {"tpm": TPM, "connectivity": SWAP},
        {"units": UNITS},
        {
            "factors": [
                {"inputs": ["B"], "table": np.eye(2).tolist()},
                {"inputs": [0], "table": np.eye(2)},
            ]
        },
    ],
)
def test_inline__all_say_the_same(tmp_path, block):
    expected = substrate_from_study({"units": UNITS}, tmp_path).fingerprint
    assert substrate_from_study(block, tmp_path).fingerprint == expected


def test_example(tmp_path):
    found = substrate_from_study({"example": "basic"}, tmp_path)
    assert found.fingerprint == examples.load("basic").fingerprint


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (["a"], "substrate: expected a mapping with one of example, tpm, factors, units"),
        ({}, "expected exactly one of example, tpm, .*, weights, series, got none"),
        ({"tpm": TPM, "units": []}, "exactly one of .*, got tpm, units"),
        ({"tpm": TPM, "lables": "AB"}, "unknown key 'lables'; allowed: example, tpm, .*, labels"),
        ({"example": "basics"}, "no example is called 'basics'; did you mean 'basic'"),
        ({"example": "basic", "labels": "PQR"}, "a name that stands alone"),
        ({"units": "OR"}, "substrate.units: expected a list with one entry per unit, got 'OR'"),
        ({"units": UNITS[:1]}, "substrate.units: unit 'A' .*: inputs: no unit is called 'B'"),
        ({"factors": [{"inputs": []}]}, "factor 0: expected a mapping with inputs and table, got"),
        ({"factors": [[0, 1]]}, r"factor 0: expected .*, got \[0, 1\]"),
        ({"tpm": TPM, "connectivity": [[1]]}, r"substrate.tpm: expected connectivity of shape"),
    ],
)
def test_block__refuses(tmp_path, block, message):
    with pytest.raises(SubstrateError, match=message):
        substrate_from_study(block, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npy", None, r"none\.npy: expected a readable file: No such file"),
        ("a.mat", b"", r"a\.mat: expected a file ending in \.npy"),
        ("bad.npy", b"hello", r"bad\.npy: expected a NumPy array of numbers"),
        ("empty.npy", b"", r"empty\.npy: expected a NumPy array"),
        ("bad.npz", b"hello", r"bad\.npz: expected a NumPy archive"),
        ("bad.csv", b"0,0\n0,x\n", r"bad\.csv, line 2: expected numbers, got '0 x'"),
        ("short.csv", b"0,0\n0\n", r"short\.csv, line 2: expected 2 numbers .*, got 1"),
        ("empty.txt", b"# nothing\n", r"empty\.txt: expected rows of numbers, got an empty file"),
        ("binary.txt", b"\xff\xfe\x00", r"binary\.txt: expected text"),
        ("bad.json", b"[[0,", r"bad\.json: line 1: expected JSON, Expecting value"),
        ("other.json", b'{"matrix": []}', r"other\.json: expected tpm .*, got matrix"),
        ("row.csv", b"0,0\n0,2\n1,0\n1,1\n", r"row\.csv: row 1 \(A=1, B=0\), unit 'B'.* got 2"),
    ],
)
def test_tpm_file__refuses(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SubstrateError, match=message):
        substrate_from_study({"tpm": name}, tmp_path)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_never_loaded(tmp_path, suffix):
    path = tmp_path / f"bomb{suffix}"
    array = np.array([Bomb()], dtype=object)
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, tpm=array)
    with pytest.raises(SubstrateError, match="expected a NumPy"):
        substrate_from_study({"tpm": path.name}, tmp_path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SubstrateError, match="expected a NumPy"):
        substrate_from_study({"tpm": path.name}, tmp_path)


def test_npz__that_holds_one_array_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.eye(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(SubstrateError, match=r"one\.npz: expected a NumPy archive of arrays"):
        load(tmp_path / "one.npz")


STUDY = """
substrate:
  units:
    - {label: A, gate: COPY, inputs: [B]}
    - {label: B, gate: COPY, inputs: [A]}
state: "10"
"""


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_load__study_or_block(tmp_path, suffix):
    path = tmp_path / f"study{suffix}"
    path.write_text(STUDY)
    assert load(path).labels == ("A", "B")
    path.write_text("tpm: a.npy\nlabels: [P, Q]\n")
    write(tmp_path)
    assert load(str(path)).labels == ("P", "Q")


def test_load__json_and_npz(tmp_path):
    write(tmp_path)
    assert load(tmp_path / "a.npz").labels == ("P", "Q")
    path = tmp_path / "study.json"
    path.write_text(json.dumps(examples.spec("basic")))
    assert load(path).fingerprint == examples.load("basic").fingerprint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.toml",
            "",
            r"a\.toml: expected a file ending in \.yaml, \.yml, \.json, \.npz or \.graphml",
        ),
        ("no.yaml", None, r"no\.yaml: expected a readable file: No such file"),
        ("bad.yaml", "a: [", r"bad\.yaml: line 1: expected YAML, "),
        ("list.yaml", "- 1\n", r"list\.yaml: expected a study or its substrate block, got \[1\]"),
        ("key.yaml", "substrate: {tmp: x}", r"key\.yaml: substrate: unknown key 'tmp'"),
        ("null.yaml", "substrate:", r"null\.yaml: substrate: expected a mapping"),
        ("flag.yaml", "units: [{gate: NOT, inputs: [true]}]", r"got True \(quote labels in YAML\)"),
    ],
)
def test_load__refuses(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SubstrateError, match=message):
        load(tmp_path / name)


def test_load__a_folder_is_no_file(tmp_path):
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(SubstrateError, match="expected a readable file: Is a directory"):
        load(tmp_path / "x.yaml")


@pytest.mark.parametrize("path", [None, 5, {}, [], b"a.yaml"])
def test_load__refuses_what_is_no_path(path):
    with pytest.raises(SubstrateError, match="load: expected the path of a file, got "):
        load(path)
