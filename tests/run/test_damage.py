"""Every file of a small store harmed in every way: mended or named, never a wrong number."""

import json
import random
import shutil

import processes as proc
import pytest
import xarray as xr

from iitdask.cli.app import main
from iitdask.errors import (
    BusyStoreError,
    DamagedStoreError,
    IITError,
    LedgerMismatchError,
    StoreError,
)
from iitdask.run.coordination import open_session
from iitdask.run.events import StageOpened
from iitdask.run.result_group import drop_blocks, empty_store, load_result
from iitdask.run.storage import DirectoryStore, open_store
from iitdask.run.zarr_io import replace_root
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.study.problem import problem_from_study
from iitdask.study.run import run_job, verify_stored_run
from iitdask.study.spec import read_study


def deleted(path, _chance):
    path.unlink()


def halved(path, _chance):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped(path, chance):
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    path = proc.write_study(tmp_path_factory.mktemp("study"), 3, 3, 0.001, "small")
    study, folder = read_study(path)
    return problem_from_study(study, folder, "small")


@pytest.fixture(scope="module")
def whole(point, tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "run.zarr"
    return store, run_job(point, store=store, block_seconds=0.001)


def look(store):
    """What `show` gives, or None when it names damage."""
    try:
        return load_result(open_store(store))
    except IITError as error:
        assert str(store) in str(error)
        return None


def repeat(point, store):
    try:
        return run_job(point, store=store, block_seconds=0.001)
    except IITError as error:
        assert str(store) in str(error) or "stage" in str(error)
        return None


def check(store):
    try:
        return verify_stored_run(str(store), sample=3, seed=1).problems
    except IITError as error:
        return (str(error),)


HARMS = (deleted, halved, flipped)


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1, 2])
def test_store__damaged_in_one_file_is_mended_or_named(first, point, whole, tmp_path):
    """Three passes over all files; each harms a file in one of three ways."""
    store, expected = whole
    named = mended = 0
    chance = random.Random(5)
    files = sorted(p.relative_to(store) for p in store.rglob("*") if p.is_file())
    assert len(files) > 40
    for number, name in enumerate(files):
        harmed = tmp_path / "run.zarr"
        shutil.rmtree(harmed, ignore_errors=True)
        shutil.copytree(store, harmed)
        HARMS[(first + number) % 3](harmed / name, chance)
        left = (harmed / name).read_bytes() if (harmed / name).exists() else None
        changed = left is not None and left != (store / name).read_bytes()
        shown = look(harmed)
        if shown is not None:
            xr.testing.assert_identical(shown, expected)
        if name.parts[0] == "work" and "_inputs" not in name.parts:
            problems = check(harmed)
            named += bool(problems)
            if changed and name.name.startswith("c."):
                assert problems, f"{name} was harmed and verify found nothing"
        again = repeat(point, harmed)
        assert again is not None, f"{name} was not mended"
        mended += 1
        xr.testing.assert_identical(again, expected)
        xr.testing.assert_identical(load_result(open_store(harmed)), expected)
        assert check(harmed) == ()
    assert named
    assert mended


def blocks_done(store):
    """Time and number of every commit record: they change when a block is written again."""
    ticks = sorted(store.glob("work/**/tick/c.*"))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in ticks}


ROOTS = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "junk": lambda path: path.write_bytes(random.Random(1).randbytes(500)),
    "a digit": lambda path: path.write_text(
        path.read_text().replace('"created": "2', '"created": "1')
    ),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("harm", ROOTS)
def test_run__writes_a_damaged_root_anew_and_loses_no_block(harm, point, whole, tmp_path):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    before = blocks_done(store)
    ROOTS[harm](store / "zarr.json")
    with pytest.raises(DamagedStoreError, match=r"repeat `iitdask run` with its study .* --fresh"):
        load_result(open_store(store))
    xr.testing.assert_identical(run_job(point, store=store, block_seconds=0.001), whole[1])
    assert blocks_done(store) == before
    assert verify_stored_run(str(store)).problems == ()
    assert list(store.rglob("*.partial")) == []


def test_run__writes_no_damaged_root_of_another_study(whole, tmp_path):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    (store / "zarr.json").write_bytes(b"")
    path = proc.write_study(tmp_path, 3, 4, 0.001, "other")
    other = problem_from_study(*read_study(path), "other")
    with pytest.raises(LedgerMismatchError, match="filled for another study"):
        run_job(other, store=store)
    assert (store / "zarr.json").read_bytes() == b""
    shutil.rmtree(store / "log")  # nothing says whose it is, and its blocks have checksums
    assert run_job(other, store=store) is not None


def test_store__that_may_not_be_read_is_not_taken_for_damaged(whole, tmp_path, monkeypatch):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    read = DirectoryStore.read

    forbidden = []

    def refuse(self, key):
        if key in forbidden:
            raise PermissionError(13, "Permission denied")
        return read(self, key)

    monkeypatch.setattr(DirectoryStore, "read", refuse)
    for key, what in (("result/zarr.json", "result"), ("zarr.json", r"zarr\.json")):
        forbidden.append(key)
        with pytest.raises(StoreError, match=rf"{what} may not be read \(Permission denied\)"):
            load_result(open_store(store))
    with pytest.raises(StoreError, match=r"zarr\.json cannot be read"):
        ZarrLedger(open_store(store), {"x": 1})


def test_empty_store__deletes_what_a_run_wrote_and_nothing_else(point, whole, tmp_path):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    for name in ("notes.txt", "mine/data.csv", "result/why.md", "work/c.txt", "log/train.jsonl"):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_text("mine")
    empty_store(open_store(store))
    kept = sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())
    own = ["log/zarr.json", "zarr.json"]
    mine = ["log/train.jsonl", "mine/data.csv", "notes.txt", "result/why.md", "work/c.txt"]
    assert kept == sorted([*mine, *own])
    with pytest.raises(StoreError, match="emptied by --fresh; `iitdask run` begins again"):
        load_result(open_store(store))
    empty_store(open_store(store))  # as after a run that was killed before it began again
    xr.testing.assert_identical(run_job(point, store=store), whole[1])
    assert (store / "notes.txt").read_text() == "mine"


def test_run__on_a_store_whose_emptying_was_killed_begins_from_the_start(point, whole, tmp_path):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    shutil.copytree(store / "result", store / "roll/0")
    replace_root(open_store(store), {"format": 2, "emptied": "now"})
    events = []
    again = run_job(point, store=store, observers=[events.append])
    xr.testing.assert_identical(again, whole[1])
    assert sum(event.todo for event in events if isinstance(event, StageOpened)) > 0
    assert not (store / "roll").exists()


@pytest.mark.parametrize("harm", ROOTS)
def test_empty_store__needs_no_root_that_can_be_read(harm, whole, tmp_path):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    ROOTS[harm](store / "zarr.json")
    empty_store(open_store(store))
    assert not (store / "work").exists()


def test_empty_store__refuses_what_is_not_a_store_and_what_is_being_filled(point, whole, tmp_path):
    for name in ("work/plan.txt", "log/train.jsonl", "result/final.csv"):
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text('{"event": "mine"}')
    with pytest.raises(StoreError, match="expected a store of iitdask, found none"):
        empty_store(open_store(tmp_path / "project"))
    assert len(list((tmp_path / "project").rglob("*"))) == 6
    shutil.copytree(
        whole[0], tmp_path / "project/work/2026/run.zarr"
    )  # somebody keeps stores there
    before = sorted((tmp_path / "project").rglob("*"))
    for refused in (empty_store, load_result):
        with pytest.raises(StoreError, match="expected a store of iitdask, found none"):
            refused(open_store(tmp_path / "project"))
    with pytest.raises(StoreError, match="is not empty and not a store; use another"):
        run_job(point, store=tmp_path / "project")
    assert sorted((tmp_path / "project").rglob("*")) == before
    store = open_store(shutil.copytree(whole[0], tmp_path / "run.zarr"))
    with open_session(store), pytest.raises(BusyStoreError, match="is being filled by"):
        empty_store(store)
    assert load_result(store) is not None


def test_verify__names_the_damage_and_ends_with_1(whole, tmp_path, capsys):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(store)])
    assert ended.value.code == 0
    assert "computed again with the same bits" in capsys.readouterr().out
    next(store.glob("work/mice/phi/c.*")).write_bytes(b"nonsense")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(store)])
    assert ended.value.code == 1
    assert "stage 'mice', 1 block(s) are not what was written" in capsys.readouterr().out


def test_tidy__drops_the_blocks_and_keeps_the_result(point, whole, tmp_path):
    store = shutil.copytree(whole[0], tmp_path / "run.zarr")
    drop_blocks(open_store(store))
    assert not (store / "work").exists()
    xr.testing.assert_identical(load_result(open_store(store)), whole[1])
    assert verify_stored_run(str(store)).problems == ()
    events = []
    again = run_job(point, store=store, observers=[events.append])
    assert events == []
    xr.testing.assert_identical(again, whole[1])
    next(path for path in store.glob("result/distinctions/phi/c.*")).write_bytes(b"x")
    xr.testing.assert_identical(run_job(point, store=store), whole[1])
    assert (store / "work").exists()


def test_status__says_how_far_a_store_is(whole, capsys):
    with pytest.raises(SystemExit):
        main(["status", str(whole[0]), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["finished"]
    assert found["drivers"] == found["failures"] == []
    assert all(each["done"] == each["blocks"] for each in found["stages"].values())
    assert set(found["costs"]) == set(found["stages"])
    assert all(cost["actual"] > 0 for cost in found["costs"].values())
