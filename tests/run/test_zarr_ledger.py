import errno
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest
import toy_recipe as toys
import xarray as xr
from zarr.storage import MemoryStore

from iitdask.errors import DamagedStoreError, InputError, LedgerMismatchError, StoreError
from iitdask.run import storage
from iitdask.run import zarr_ledger as store_room
from iitdask.run.coordination import BlockClaims, open_session
from iitdask.run.engines import SerialEngine, SharedStoreEngine
from iitdask.run.events import BlocksFilled, StageOpened
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.result_group import load_result, save_result
from iitdask.run.stage_group import StageGroup, list_stages, with_stored_inputs
from iitdask.run.storage import Store, open_store, write_errors_as_store_errors
from iitdask.run.task import InputRef, StageLayout
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.stage import StageRef

STUDY = {"theory": "toy", "state": "100", "options": {"ties": "all", "rounds": 3}}


@pytest.fixture(scope="module")
def expected():
    return execute(toys.toy(), MemoryLedger(), SerialEngine())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A small full store; tests copy it before they do it harm."""
    url = tmp_path_factory.mktemp("full") / "run.zarr"
    execute(toys.toy(), ZarrLedger(open_store(url)), SerialEngine(), block_seconds=0.5)
    return url


@pytest.fixture
def copied(full, tmp_path):
    return shutil.copytree(full, tmp_path / "run.zarr")


def rerun(path):
    events = []
    tree = execute(
        toys.toy(), ZarrLedger(open_store(path)), SerialEngine(), observers=[events.append]
    )
    return tree, sum(e.blocks for e in events if isinstance(e, BlocksFilled))


def damaged(path, stage):
    return StageGroup.load(open_store(path), stage).damaged_blocks()


def delete(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def halve(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(where):
    def flipped(path):
        content = bytearray(path.read_bytes())
        content[int(where * (len(content) - 1))] ^= 4
        path.write_bytes(content)

    return flipped


HARMS = {
    "deleted": delete,
    "emptied": empty,
    "halved": halve,
    "flipped-start": flip(0.0),
    "flipped-middle": flip(0.5),
    "flipped-end": flip(1.0),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_store__mends_every_file_under_work(harm, full, copied, expected):
    files = sorted(path.relative_to(full) for path in (full / "work").rglob("*") if path.is_file())
    # All chunks of a variable are alike: one of each, and every file of metadata.
    chosen = {(file.parent, file.name == "zarr.json"): file for file in files}
    assert len(chosen) > 7
    for file in chosen.values():
        harm(copied / file)
        xr.testing.assert_identical(rerun(copied)[0], expected)
    assert rerun(copied)[1] == 0


def test_store__redoes_only_the_damaged_block(copied, expected):
    flip(0.5)(copied / "work/squares/value/c.1.0")
    delete(copied / "work/squares/moments/c.0.1.0")
    empty(copied / "work/pairs/tick/c.0.0.0")
    assert damaged(copied, "squares") == {(0, 1), (1, 0)}
    assert damaged(copied, "pairs") == {(0, 0)}
    tree, blocks = rerun(copied)
    assert blocks == 3
    xr.testing.assert_identical(tree, expected)


def test_read__names_and_unticks_a_damaged_block(copied):
    flip(0.5)(copied / "work/squares/value/c.1.0")
    ledger = ZarrLedger(open_store(copied))
    with pytest.raises(DamagedStoreError, match=r"'squares', 1 block\(s\).*: \(1, 0\)"):
        ledger.read_variable(StageRef("squares", "value"))
    assert (1, 0) not in ledger.done("squares")
    with pytest.raises(StoreError, match=r"1 block\(s\) are missing"):
        ledger.read_variable(StageRef("squares", "value"))


def test_read__minds_only_the_variable_it_returns(copied):
    flip(0.5)(copied / "work/squares/moments/c.1.0.0")
    ledger = ZarrLedger(open_store(copied))
    assert ledger.read_variable(StageRef("squares", "value")).shape == (2, toys.CODES)
    with pytest.raises(DamagedStoreError, match="squares"):
        ledger.read_block("squares", (1, 0))


def test_read__names_the_variables_there_are(copied):
    with pytest.raises(InputError, match="no variable 'valu'; it has value, moments, odd"):
        ZarrLedger(open_store(copied)).read_variable(StageRef("squares", "valu"))
    with pytest.raises(StoreError, match="no stage 'cubes'"):
        ZarrLedger(open_store(copied)).read_variable(StageRef("cubes", "value"))


def test_answer__of_a_large_stage_is_checked_and_read_lazily(copied, expected, monkeypatch):
    monkeypatch.setattr(store_room, "MAX_EAGER_BYTES", 0)
    lazy = ZarrLedger(open_store(copied)).read_stage("squares")
    assert not lazy["value"]._in_memory
    xr.testing.assert_identical(xr.Dataset(lazy), expected["one"].to_dataset())
    flip(0.5)(copied / "work/squares/value/c.1.0")
    tree, blocks = rerun(copied)
    assert blocks == 1
    xr.testing.assert_identical(tree, expected)


def test_store__opens_in_xarray_as_it_is(full, expected):
    found = xr.open_zarr(full / "work/squares")
    assert found["value"].dims == ("side", "code")
    assert found["value"].attrs["comment"] == "Squared logarithm."
    np.testing.assert_array_equal(found["moments"], expected["one/moments"])


def test_store__refuses_another_study_and_names_what_differs(tmp_path):
    url = str(tmp_path / "run.zarr")
    assert (
        ZarrLedger(open_store(url), STUDY).fingerprint
        == ZarrLedger(open_store(url), STUDY).fingerprint
    )
    other = {**STUDY, "state": "111", "options": {"ties": "first"}}
    with pytest.raises(LedgerMismatchError) as caught:
        ZarrLedger(open_store(url), other)
    message = str(caught.value)
    assert "state='100', this study says state" not in message
    assert "state='100', this study says '111'" in message
    assert "options.ties='all', this study says 'first'" in message
    assert "options.rounds=3, this study says nothing" in message
    with pytest.raises(LedgerMismatchError, match="another fingerprint of the same study"):
        ZarrLedger(open_store(url), STUDY, "abc")
    assert ZarrLedger(open_store(url)).study == STUDY


def test_store__records_what_it_is(tmp_path):
    ZarrLedger(open_store(tmp_path / "run.zarr"), STUDY, "abc")
    attrs = json.loads((tmp_path / "run.zarr/zarr.json").read_text())["attributes"]
    assert attrs["study"] == STUDY
    assert attrs["fingerprint"] == "abc"
    assert {"format", "created", "iitdask"} <= set(attrs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"zarr_format": 3, "node_type": "group", "attributes": {}}', "not a store of iitdask"),
        ("{", "zarr.json cannot be read"),
        (None, "not empty and not a store"),
    ],
)
def test_store__refuses_what_is_not_one(tmp_path, content, message):
    if content is None:
        (tmp_path / "thesis.tex").touch()
    else:
        (tmp_path / "zarr.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        ZarrLedger(open_store(tmp_path))


def test_store__refuses_a_later_format(tmp_path):
    ZarrLedger(open_store(tmp_path / "run.zarr"))
    meta = tmp_path / "run.zarr/zarr.json"
    document = json.loads(meta.read_text())
    document["attributes"] |= {"format": 3, "checksum": "made otherwise"}
    meta.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="has store format 3, this iitdask reads 2"):
        ZarrLedger(open_store(tmp_path / "run.zarr"))


def test_open__wipes_a_changed_stage_but_not_the_stages_below_its_path(tmp_path):
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    below = toys.renamed(toys.first_stage(), "squares/below")
    for stage in (toys.first_stage(), below):
        ledger.open(stage, 5.0)
        ledger.write_block(stage.name, (0, 0), _block(ledger, stage), 0.1)
    ledger.open(toys.first_stage(version=2), 5.0)
    assert ledger.done("squares") == set()
    assert ledger.done("squares/below") == {(0, 0)}


def _block(ledger, stage):
    tiling = ledger.open(stage, 5.0)
    return toys.squares(np.log1p(stage.inputs["table"]), tiling.region((0, 0)))


def test_done__ignores_what_killed_writers_left(tmp_path):
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    ledger.open(toys.first_stage(), 5.0)
    left = tmp_path / "run.zarr/work/squares/tick/c.0.0.0123abc.partial"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert ledger.done("squares") == set()


def test_ledger__keeps_what_it_is_given(ledger):
    stage = toys.first_stage()
    tiling = ledger.open(stage, 5.0)
    arrays = _block(ledger, stage)
    ledger.write_block("squares", (0, 0), arrays, 1.5)
    assert ledger.done("squares") == {(0, 0)}
    assert ledger.block_seconds("squares") == {(0, 0): 1.5}
    assert ledger.block_seconds("squares", [(0, 0), (0, 1)]) == {(0, 0): 1.5}
    for name, array in ledger.read_block("squares", (0, 0)).items():
        np.testing.assert_array_equal(array, arrays[name])
    answer = ledger.read_stage("squares")
    assert np.isnan(answer["value"].values[1]).all()
    assert ledger.input_bytes(StageRef("squares", "moments")) == 2 * toys.CODES * 3 * 8
    with pytest.raises(StoreError, match="missing"):
        ledger.read_variable(StageRef("squares", "value"))
    with pytest.raises(StoreError, match="not filled"):
        ledger.read_block("squares", (0, 1))
    with pytest.raises(StoreError, match="no stage 'cubes'"):
        ledger.done("cubes")
    ledger.delete_blocks("squares", tiling)
    assert ledger.done("squares") == set()
    assert np.isnan(ledger.read_stage("squares")["value"].values).all()


def test_ledger__keeps_every_bit(tmp_path):
    odd = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, 5e-324])
    stage = toys.search_stage()
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    tiling = ledger.open(stage, 5.0)
    for block in tiling:
        part = tiling.region(block)[0]
        ledger.write_block("search", block, {"x": np.full(part.stop - part.start, -np.nan)}, 0.0)
    x = np.resize(odd, tiling.chunks)
    ledger.write_block("search", (1,), {"x": x}, 0.0)
    assert damaged(tmp_path / "run.zarr", "search") == set()
    assert (
        ledger.read_variable(StageRef("search", "x"))[tiling.region((1,))].tobytes() == x.tobytes()
    )


def test_store__does_not_take_a_stragglers_block_for_its_own(tmp_path, expected):
    ledger, url = ZarrLedger(open_store(tmp_path / "run.zarr")), str(tmp_path / "run.zarr")
    old = toys.first_stage(scale=2.0)
    ledger.open(old, 5.0)
    straggler = StageGroup.load(open_store(url), "squares")
    execute(toys.toy(), ledger, SerialEngine())
    straggler.write((0, 0), _block(MemoryLedger(), old), 0.1)
    assert damaged(url, "squares") == {(0, 0)}
    xr.testing.assert_identical(rerun(url)[0], expected)


def test_store__names_an_input_damaged_in_between_and_mends_it_next_time(copied, expected):
    shutil.rmtree(copied / "work/pairs")

    def harm_once(event):
        if isinstance(event, StageOpened) and event.stage == "pairs":
            flip(0.5)(copied / "work/squares/value/c.1.0")

    with pytest.raises(DamagedStoreError, match=r"'squares'.*\(1, 0\); run again"):
        execute(toys.toy(), ZarrLedger(open_store(copied)), SerialEngine(), observers=[harm_once])
    xr.testing.assert_identical(rerun(copied)[0], expected)


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.zeros((0, 3)),
        np.asfortranarray(np.eye(3)),
        np.arange(4) > 2,
        np.arange(9)[::2],
    ],
    ids=["scalar", "empty", "fortran", "bool", "strided"],
)
def test_write_inputs__are_read_back_verified(array, tmp_path):
    url = str(tmp_path / "run.zarr")
    ZarrLedger(open_store(url)).open(toys.first_stage(), 5.0)
    group = StageGroup.load(open_store(url), "squares")
    refs = group.write_inputs({"a": array, "b": np.arange(3)})
    assert group.write_inputs({"a": array, "b": np.arange(3)}) == refs
    read = group.read_input(refs["a"])
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    with pytest.raises(DamagedStoreError, match="_inputs/a is not what was written"):
        group.read_input(InputRef("a", 0))
    with pytest.raises(DamagedStoreError, match="_inputs/c cannot be read"):
        group.read_input(InputRef("c", 0))
    assert set(group.write_inputs({"a": np.arange(2)})) == {"a"}
    np.testing.assert_array_equal(group.read_inputs()["a"], np.arange(2))


def test_read_inputs__tells_a_chunk_of_another_array(tmp_path):
    store = open_store(tmp_path / "run.zarr")
    ZarrLedger(store).open(toys.first_stage(), 5.0)
    group = StageGroup.load(store, "squares")
    group.write_inputs({"a": np.arange(3), "b": np.arange(3) + 1})
    a, b = (f"work/squares/_inputs/{name}/c.0" for name in "ab")
    store.write(a, store.read(b))
    with pytest.raises(DamagedStoreError, match="_inputs is not what was written"):
        group.read_inputs()
    group.write_inputs({"a": np.arange(3), "b": np.arange(3) + 1})
    np.testing.assert_array_equal(group.read_inputs()["a"], np.arange(3))


def test_with_stored_inputs__sends_references_in_place_of_arrays(tmp_path):
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    stage = toys.first_stage()
    ledger.open(stage, 5.0)
    context = ledger.worker_context(stage)
    np.testing.assert_array_equal(context.inputs["table"], stage.inputs["table"])
    assert not (tmp_path / "run.zarr/work/squares/_inputs").exists()
    (ref,) = with_stored_inputs(context).inputs.values()
    read = StageGroup.load(context.store, "squares").read_input(ref)
    np.testing.assert_array_equal(read, stage.inputs["table"])


def test_worker_context__names_a_store_that_means_the_same_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = ZarrLedger(open_store("run.zarr"))
    ledger.open(toys.first_stage(), 5.0)
    store = pickle.loads(pickle.dumps(ledger.worker_context(toys.first_stage()).store))
    assert store == ledger.store
    assert store.address == str(tmp_path / "run.zarr")


def test_layout__survives_json():
    stage = toys.first_stage()
    ledger = MemoryLedger()
    layout = StageLayout.from_stage(stage, ledger.open(stage, 5.0), "abc")
    text = json.dumps(layout.to_json(), allow_nan=False)
    again = StageLayout.from_json(json.loads(text))
    assert again.to_json() == layout.to_json()
    with pytest.raises(ValueError, match="does not match its checksum"):
        StageLayout.from_json(json.loads(text.replace('"abc"', '"abd"')))


def test_store__works_in_any_zarr_store(expected):
    store = Store("memory", MemoryStore())
    xr.testing.assert_identical(rerun(store)[0], expected)
    assert rerun(store)[1] == 0
    execute(toys.toy(version=2), ZarrLedger(store), SerialEngine())
    assert rerun(store)[1] > 0
    assert "zarr.json" in store.list_dir("")


def test_store__says_so_when_the_disk_is_full(tmp_path, monkeypatch):
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    ledger.open(toys.first_stage(), 5.0)
    block = _block(ledger, toys.first_stage())
    monkeypatch.setattr(storage, "_write_file", fail)
    with pytest.raises(StoreError, match=r"block .0, 0.: no space left .* free some space"):
        ledger.write_block("squares", (0, 0), block, 0.0)
    with pytest.raises(StoreError, match="no space left"):
        execute(toys.toy(), ledger, SerialEngine())
    with pytest.raises(OSError, match="other trouble"), write_errors_as_store_errors("x"):
        raise OSError(errno.EIO, "other trouble")


def test_result__of_two_drivers_that_end_together_is_whole(full, tmp_path):
    tree = xr.DataTree.from_dict(
        {f"/{name}": xr.Dataset({"value": ("unit", np.arange(5.0))}) for name in "abcde"}
    )
    for turn in range(5):
        url = str(shutil.copytree(full, tmp_path / f"{turn}.zarr"))
        start = Barrier(3)

        def save(url=url, start=start):
            start.wait()
            save_result(open_store(url), tree, {})

        with ThreadPoolExecutor(3) as pool:
            for each in [pool.submit(save) for _ in range(3)]:
                each.result()
        assert load_result(open_store(url)).identical(tree)


def test_store__made_by_another_process_meanwhile_is_opened(full, tmp_path, monkeypatch):
    url, looks = tmp_path / "run.zarr", []

    def holds(path):
        if not looks:
            shutil.copytree(full, path)  # made between the two looks
        looks.append(path)
        return path.exists()

    monkeypatch.setattr(store_room, "_is_occupied", holds)
    assert ZarrLedger(open_store(url)).fingerprint == ZarrLedger(open_store(full)).fingerprint
    assert len(looks) == 1


def test_stage__is_read_once_for_all_processes_that_share_a_store(tmp_path, monkeypatch):
    store = open_store(tmp_path / "run.zarr")
    ZarrLedger(store)
    with open_session(store, join=True) as one, open_session(store, join=True) as two:
        trees = []
        for session in (one, two):
            claims = BlockClaims(session)
            ledger = ZarrLedger(store, claims=claims)
            trees.append(execute(toys.toy(), ledger, SharedStoreEngine(claims), block_seconds=0.02))
            monkeypatch.setattr(StageGroup, "read_all", lambda *_: pytest.fail("read again"))
    assert trees[0].identical(trees[1])
    assert "squares/_filled" not in list_stages(store)


def test_filled_stage__that_is_damaged_is_read_from_its_blocks(tmp_path):
    store = open_store(tmp_path / "run.zarr")
    ledger = ZarrLedger(store)
    execute(toys.toy(), ledger, SerialEngine(), block_seconds=0.02)
    group = ledger.stage("squares")
    arrays = group.read_all(group.layout.variables)
    assert group.read_filled() is None
    group.write_filled(arrays)
    assert group.read_filled().keys() == arrays.keys()
    (path,) = (tmp_path / "run.zarr/work/squares/_filled/value").glob("c*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert group.read_filled() is None
    group.write_filled(arrays)
    other = StageGroup(store, replace(group.layout, lineage="0" * 16))
    assert other.read_filled() is None
    group.clear()
    assert group.read_filled() is None
