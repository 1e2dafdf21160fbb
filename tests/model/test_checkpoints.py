"""Files of arrays, substrate blocks with weights, and checkpoints in the order of training."""

import json

import numpy as np
import pytest
from scipy import sparse

import iitdask as iit
from iitdask.errors import SpecError, SubstrateError
from iitdask.model.array_files import read_arrays, read_matrix
from iitdask.model.checkpoints import list_checkpoints
from iitdask.model.readers import load, substrate_from_study
from iitdask.model.substrate import Substrate

rng = np.random.default_rng(2)
STEPS = [np.round(rng.normal(size=(3, 3)), 2) for _ in range(3)]


def write_safetensors(path, arrays):
    """Write tensors as the format says: length, header, numbers."""
    names = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        begin = len(data)
        data += array.tobytes()
        kind = names[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64"])
def test_safetensors__are_read(tmp_path, dtype):
    array = (np.arange(6).reshape(2, 3) / 2).astype(dtype)
    write_safetensors(tmp_path / "a.safetensors", {"x": array, "y": array[0]})
    read = read_arrays(tmp_path / "a.safetensors")
    assert read["x"].dtype == dtype
    assert read["x"].tolist() == array.tolist()
    assert read["y"].tolist() == array[0].tolist()


def test_safetensors__of_bfloat16_are_float32(tmp_path):
    values = np.array([[1.0, -2.5]], np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    write_safetensors(tmp_path / "a.safetensors", {"x": upper})
    assert read_arrays(tmp_path / "a.safetensors")["x"].tolist() == values.tolist()


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]", b"\x05" + b"\0" * 9]
)
def test_safetensors__damaged_are_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(SubstrateError, match="expected a safetensors file"):
        read_arrays(tmp_path / "a.safetensors")


def test_read_matrix__finds_the_one_that_is_meant(tmp_path):
    np.savez(tmp_path / "one.npz", m=STEPS[0], b=np.zeros(3))
    assert (read_matrix(tmp_path / "one.npz") == STEPS[0]).all()
    np.savez(tmp_path / "two.npz", m=STEPS[0], W=STEPS[1])
    assert (read_matrix(tmp_path / "two.npz") == STEPS[1]).all()
    np.savez(tmp_path / "three.npz", m=STEPS[0], n=STEPS[1])
    assert (read_matrix(tmp_path / "three.npz", "n") == STEPS[1]).all()
    with pytest.raises(SubstrateError, match=r"expected one square array, got 2; .* array: m, n"):
        read_matrix(tmp_path / "three.npz")
    with pytest.raises(SubstrateError, match="has no array 'x'; known: m, n"):
        read_matrix(tmp_path / "three.npz", "x")
    np.save(tmp_path / "four.npy", STEPS[0])
    with pytest.raises(SubstrateError, match="array: expected an archive"):
        read_matrix(tmp_path / "four.npy", "W")


def test_read_matrix__reads_what_scipy_wrote(tmp_path):
    sparse.save_npz(tmp_path / "s.npz", sparse.csr_array(STEPS[0]))
    read = read_matrix(tmp_path / "s.npz")
    assert sparse.issparse(read)
    assert (read.toarray() == STEPS[0]).all()


def test_block__describes_weights(tmp_path):
    np.savez(tmp_path / "net.npz", W=STEPS[0].T, b=[0.5, 0, -0.5])
    options = {"activation": "ising", "slope": 2, "prune": 0.1, "labels": ["X", "Y", "Z"]}
    expected = Substrate.from_weights(STEPS[0], bias=[0.5, 0, -0.5], **options)
    inline = {"weights": STEPS[0].tolist(), "bias": [0.5, 0, -0.5], **options}
    assert substrate_from_study(inline, tmp_path) == expected
    file = {"weights": "net.npz", "array": "W", "bias": "b", "transpose": True, **options}
    assert substrate_from_study(file, tmp_path) == expected
    (tmp_path / "study.json").write_text(json.dumps({"substrate": file}))
    assert load(tmp_path / "study.json") == expected


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"weights": "a.csv"}, "a.csv: expected a file ending in .npy, .npz, .safetensors"),
        ({"weights": [[0]], "array": "W"}, "array: expected the name of a file"),
        ({"weights": "a.npy", "array": 3}, "array: expected a name, got 3"),
        ({"weights": [[0]], "transpose": 1}, "transpose: expected true or false, got 1"),
        ({"weights": [[0]], "tpm": [[1]]}, "exactly one of .*, got tpm, weights"),
        ({"weights": [[0]], "lag": 1}, "unknown key 'lag'; allowed: .*, slope, prune, array"),
        ({"weights": "a.npy", "bias": "b"}, "bias: has no array 'b'"),
    ],
)
def test_block__of_weights_is_refused(block, message, tmp_path):
    np.save(tmp_path / "a.npy", STEPS[0])
    with pytest.raises(SubstrateError, match=message):
        substrate_from_study(block, tmp_path)


def test_checkpoints__are_named_by_numbers_in_their_order(tmp_path):
    for number in (100, 20, 3):
        np.save(tmp_path / f"run1-step{number}.npy", STEPS[0])
    (tmp_path / "config.json").write_text("{}")
    assert [each.name for each in list_checkpoints(str(tmp_path), "epoch")] == [3, 20, 100]
    np.save(tmp_path / "best.npy", STEPS[0])
    assert [each.name for each in list_checkpoints(tmp_path, "epoch")] == [
        *("best", "run1-step100", "run1-step20"),
        "run1-step3",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nowhere", "expected a folder of checkpoints, got '.*nowhere'"),
        ("empty", "expected files ending in .npy"),
        ([], r"expected a list of matrices or files, or the name of a folder, got \[\]"),
        ({"weights": 3}, "got 3"),
        (np.zeros((2, 2)), "expected a list of matrices"),
    ],
)
def test_checkpoints__are_refused(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SubstrateError, match=message):
        list_checkpoints(content, "epoch")


def one_by_one(state, **options):
    return [float(iit.sia(Substrate.from_weights(W, **options), state).phi) for W in STEPS]


@pytest.mark.parametrize("content", [STEPS, np.array(STEPS)])
def test_epochs__are_an_axis_of_a_sweep(content):
    cube = iit.sweep({"epoch": content, "state": ["110", "001"]})
    assert cube["epoch"].values.tolist() == [0, 1, 2]
    assert cube["phi"].sel(state="110").values.tolist() == one_by_one("110")


def test_epochs__take_options_from_the_axis_and_from_the_substrate():
    expected = one_by_one("110", activation="ising", slope=2.0)
    beside = iit.sweep({"epoch": STEPS}, {"activation": "ising", "slope": 2}, "110")
    assert beside["phi"].values.tolist() == expected
    inside = {"weights": STEPS, "activation": "ising"}
    cube = iit.sweep({"epoch": inside, "slope": [1, 2], "prune": [0, 0.5]}, state="110")
    assert cube["phi"].sel(slope=2, prune=0).values.tolist() == expected


def test_checkpoints__in_the_folder_of_a_study_are_an_axis(tmp_path):
    (tmp_path / "runs").mkdir()
    for number, weights in enumerate(STEPS):
        np.savez(tmp_path / "runs" / f"step-{10 * number}.npz", W=weights)
    study = {
        "substrate": {"activation": "ising", "slope": 2.0},
        "state": "110",
        "compute": "sia",
        "sweep": {"checkpoint": "runs"},
    }
    (tmp_path / "study.json").write_text(json.dumps(study))
    cube = iit.sweep(tmp_path / "study.json", store=tmp_path / "s.zarr")
    assert cube["checkpoint"].values.tolist() == [0, 10, 20]
    assert cube["phi"].values.tolist() == one_by_one("110", activation="ising", slope=2.0)


@pytest.mark.parametrize(
    ("axes", "substrate", "message"),
    [
        (
            {"epoch": STEPS, "checkpoint": STEPS},
            None,
            "one axis of substrates, got epoch and check",
        ),
        ({"epoch": STEPS}, {"example": "basic"}, "substrate: expected options of weights beside"),
        ({"epoch": STEPS, "temperature": [1]}, None, "temperature: expected bias, slope, prune of"),
        ({"epoch": "nowhere"}, None, "epoch: expected a folder of checkpoints"),
        ({"epoch": [[[1, 2]]]}, None, "expected a square matrix"),
    ],
)
def test_axes__of_weights_are_refused(axes, substrate, message):
    with pytest.raises(SpecError, match=message):
        iit.sweep(axes, substrate, "110")
