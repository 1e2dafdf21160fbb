"""The ledger on object storage: a real S3 server on loopback."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import toy_recipe as toys
import xarray as xr
from processes import PATIENCE, ROOT, call, end, start, wait_until, write_study
from zarr.storage import MemoryStore

from iitdask.errors import InputError, StoreError, UnreachableStoreError
from iitdask.run import storage
from iitdask.run.coordination import live_sessions, open_session
from iitdask.run.engines import SerialEngine
from iitdask.run.events import BlocksFilled
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.stage_group import WORK_GROUP, StageGroup
from iitdask.run.storage import Store, open_store
from iitdask.run.zarr_ledger import ZarrLedger

pytestmark = pytest.mark.slow

BUCKET = "iitdask-test"
RUN = """
import sys
sys.path.insert(0, sys.argv[2])
import toy_recipe as toys
from iitdask.run.engines import SerialEngine
from iitdask.run.execute import execute
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from tests.runs import Kill

how = {"observers": [Kill("squares", 6)], "block_seconds": 0.05}
execute(toys.toy(toys.slow_squares), ZarrLedger(open_store(sys.argv[1])), SerialEngine(), **how)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An S3 server with one bucket; the environment says where it is and who asks."""
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    process = start("moto.server", "-H", "127.0.0.1", "-p", port, log=log)
    said = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in said.items():
            patch.setenv(name, value)
        try:
            assert wait_until(lambda: listens(port)), log.read_text()
            import boto3

            boto3.client("s3").create_bucket(Bucket=BUCKET)
            yield port
        finally:
            process.terminate()
            process.wait()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def url(server, tmp_path):
    return f"s3://{BUCKET}/{tmp_path.name}/run.zarr"


@pytest.fixture(scope="module")
def expected():
    return execute(toys.toy(), MemoryLedger(), SerialEngine())


def rerun(url, **more):
    events = []
    ledger = ZarrLedger(open_store(url))
    tree = execute(toys.toy(**more), ledger, SerialEngine(), observers=[events.append])
    return tree, sum(event.blocks for event in events if isinstance(event, BlocksFilled))


def content(url):
    found = {}
    for stage in ("squares", "pairs"):
        folder = StageGroup.load(open_store(url), stage)
        arrays = folder.read_all(folder.layout.variables)
        found |= {(stage, name): array.tobytes() for name, array in arrays.items()}
    return found


def test_bucket__holds_the_same_bits_and_a_full_one_runs_nothing(url, expected, tmp_path):
    tree, blocks = rerun(url)
    xr.testing.assert_identical(tree, expected)
    assert blocks > 0
    assert rerun(url)[1] == 0
    on_disk = str(tmp_path / "run.zarr")
    execute(toys.toy(), ZarrLedger(open_store(on_disk)), SerialEngine())
    assert content(url) == content(on_disk)
    assert rerun(url, version=2)[1] > 0


def test_bucket__killed_midway_resumes_with_the_rest_and_the_same_bits(url, expected, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, str(script), url, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.wait(PATIENCE) == -signal.SIGKILL
    finally:
        end(process)
    ledger = ZarrLedger(open_store(url))
    total = len(ledger.open(toys.first_stage(), 5.0))
    done = len(ledger.done("squares"))
    assert 6 <= done < total
    tree, blocks = rerun(url)
    assert blocks == total - done + len(ledger.done("pairs"))
    xr.testing.assert_identical(tree, expected)


def test_bucket__damage_is_found_and_redone(url, expected):
    rerun(url)
    store = open_store(url)
    chunk = next(n for n in store.list_dir("work/squares/value") if n.startswith("c."))
    key = f"work/squares/value/{chunk}"
    store.write(key, (store.read(key) or b"")[:-1])
    tree, blocks = rerun(url)
    assert blocks == 1
    xr.testing.assert_identical(tree, expected)


def test_bucket__is_a_store_for_every_command(url):
    assert call("run", "basic", "--store", url, "--quiet").returncode == 0
    again = call("run", "basic", "--store", url)
    assert again.returncode == 0
    assert "already there" in again.stderr
    shown = call("show", url, "--json")
    assert '"phi"' in shown.stdout
    for command in ("status", "verify", "tidy"):
        done = call(command, url)
        assert done.returncode == 0, done.stderr
    assert call("show", url, "--json").stdout == shown.stdout
    fresh = call("run", "basic", "--store", url, "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert "already there" not in fresh.stderr


def test_work__shares_a_bucket_and_one_may_be_killed(url, tmp_path):
    study = write_study(tmp_path, 6, 3, 0.0005)
    crew = [start("iitdask", "work", url, "--spec", study) for _ in range(2)]
    try:
        ticks = f"{WORK_GROUP}/mice/tick"
        assert wait_until(lambda: len(open_store(url).list_dir(ticks)) > 3)
        end(crew[0])
        assert crew[1].wait(PATIENCE) == 0
    finally:
        for each in crew:
            end(each)
    here = str(tmp_path / "here.zarr")
    assert call("run", study, "--store", here, "--quiet").returncode == 0
    assert call("show", url, "--json").stdout == call("show", here, "--json").stdout


def test_session__works_on_a_bucket(url):
    ZarrLedger(open_store(url))
    with open_session(open_store(url)) as driver:
        assert [each.token for each in live_sessions(open_store(url))] == [driver.token]
    assert live_sessions(open_store(url)) == []


@pytest.fixture(params=["bucket", "folder", "memory"])
def place(request, tmp_path):
    if request.param == "bucket":
        return open_store(request.getfixturevalue("url"))
    if request.param == "folder":
        return open_store(str(tmp_path / "run.zarr"))
    return Store("memory", MemoryStore())


def test_create__succeeds_once(place):
    assert place.create("log/claim", b"one")
    assert not place.create("log/claim", b"two")
    assert place.read("log/claim") == b"one"
    assert place.list_dir("log") == ["claim"]
    place.delete("log/claim")
    assert not place.exists("log/claim")
    assert place.create("log/claim", b"three")
    place.delete_prefix("log")
    assert place.list_dir("log") == []


@pytest.mark.parametrize("place", ["bucket", "folder"], indirect=True)
def test_create__of_many_at_once_one_succeeds(place):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: place.create("log/claim", b"%d" % n), range(16)))
    assert won.count(True) == 1
    assert place.read("log/claim") == b"%d" % won.index(True)


def test_bucket__that_does_not_exist_is_named(server):
    with pytest.raises(StoreError, match="expected a bucket that exists, found none"):
        ZarrLedger(open_store("s3://iitdask-none/run.zarr"))
    done = call("run", "basic", "--store", "s3://iitdask-none/run.zarr")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "expected a bucket that exists" in done.stderr.splitlines()[-1]


def test_bucket__out_of_reach_is_not_taken_for_an_empty_one(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(storage, "MAX_RETRIES", 0)
    with pytest.raises(UnreachableStoreError, match="out of reach"):
        ZarrLedger(open_store(f"s3://{BUCKET}/run.zarr"))


def test_bucket__takes_no_secret_in_its_address():
    with pytest.raises(InputError, match="credentials in the environment, got them in the address"):
        open_store("s3://key:secret@bucket/run.zarr")


def test_bucket__without_obstore_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(InputError, match=r"pip install 'iitdask\[remote\]'"):
        open_store("gs://bucket/run.zarr")
