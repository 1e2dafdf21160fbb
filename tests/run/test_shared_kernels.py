"""Kernels that the driver compiled reach workers, which then compile nothing."""

import gc
import os
import tempfile
from functools import partial

import numpy as np
import pytest
from distributed import Client, LocalCluster

import iitdask as iit
from iitdask.kernels import jit
from iitdask.kernels.kernel_files import pack_folder, read_checked, unpack_folder, write_checked
from iitdask.model.system import System
from iitdask.run.checksum import build_id
from iitdask.run.worker_inventory import prepare_kernels, share_kernels
from iitdask.study.problem import Problem
from iitdask.study.run import load_kernels, run_job
from iitdask.theory.options import IIT4


def compiled_here():
    """Signatures of kernels that this process compiled, and those that it loaded."""

    from numba.core.dispatcher import Dispatcher

    gc.unfreeze()  # or what a worker has loaded at its start is not listed
    kernels = [each for each in gc.get_objects() if isinstance(each, Dispatcher)]
    kernels = [each for each in kernels if each.py_func.__module__.startswith("iitdask.")]
    misses = sum(sum(each.stats.cache_misses.values()) for each in kernels)
    return misses, sum(sum(each.stats.cache_hits.values()) for each in kernels)


def six_units():
    rng = np.random.default_rng(5)
    return iit.Substrate.from_tpm(rng.uniform(0.05, 0.95, (2**6, 6)))


@pytest.mark.cluster
def test_worker_with_an_empty_cache__compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("iitdask.run.execute.LOCAL_SECONDS", -1.0)
    load_kernels(["iit4"])
    caches = [tmp_path / name for name in ("first", "second")]
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        for number, cache in enumerate(caches):
            add_worker(cluster, cache)
            client.wait_for_workers(number + 1)
            result = iit.ces(six_units(), (1,) * 6, client=client)
        found = client.run(compiled_here)
    assert len(found) == 2
    for misses, hits in found.values():
        assert misses == 0
        assert hits > 10
    for cache in caches:
        (folder,) = cache.iterdir()
        assert (folder / "iit4.warm").is_file()
    assert result.identical(iit.ces(six_units(), (1,) * 6))


@pytest.mark.parametrize("is_stored", [False, True])
def test_run__keeps_the_collector_out_of_what_was_there_before(client, is_stored, tmp_path):
    gc.unfreeze()
    problem, frozen = Problem(System.build(six_units(), "111111"), IIT4(), "sia"), []
    run_job(
        problem,
        client=client,
        store=tmp_path / "a.zarr" if is_stored else None,
        observers=[lambda _: frozen.append(gc.get_freeze_count())],
    )
    assert min(frozen) > 10_000
    assert gc.get_freeze_count() == 0


def add_worker(cluster, cache):
    """Start a worker process that keeps its kernels in a folder of its own."""
    ((name, spec),) = cluster.new_worker_spec().items()
    options = {**spec["options"], "env": {jit.CACHE_VARIABLE: str(cache)}}
    cluster.worker_spec[name] = {**spec, "options": options}
    cluster.sync(cluster._correct_state)


def test_kernels__are_sent_once_to_a_cluster(client, tmp_path):
    packed = []
    name = os.urandom(4).hex()
    load = partial(tempfile.mkdtemp, dir=str(tmp_path))
    for _ in range(3):
        share_kernels(client, name, lambda: packed.append(1) or b"none", load)
    assert len(packed) == 1
    assert len(list(tmp_path.iterdir())) == 1
    share_kernels(client, os.urandom(4).hex(), lambda: None, load)
    assert len(list(tmp_path.iterdir())) == 2


def test_preparation__leaves_a_worker_of_another_build_alone():
    prepare_kernels(b"", lambda: pytest.fail("it was called"), "0.0.1+abc")


def test_preparation_that_fails__is_left_to_the_first_bundle(caplog):
    def broken():
        raise ZeroDivisionError("in a kernel")

    prepare_kernels(b"junk", broken, build_id())
    assert "kernels cannot be prepared" in caplog.text


@pytest.fixture
def folders(tmp_path):
    """A folder with a kernel and the mark of a family, and an empty one of the same name."""
    full, empty = tmp_path / "a/kernels-1", tmp_path / "b/kernels-1"
    for folder in (full, empty):
        folder.mkdir(parents=True)
    for name in ("search.all-3.py311.1.nbc", "search.all-3.py311.nbi", "toy.warm"):
        write_checked(str(full / name), name.encode())
    return full, empty


def test_archive__holds_what_a_folder_holds(folders):
    full, empty = folders
    archive = pack_folder(full)
    assert archive == pack_folder(full)
    assert unpack_folder(archive, empty)
    assert {p.name: p.read_bytes() for p in full.iterdir()} == {
        p.name: p.read_bytes() for p in empty.iterdir()
    }


def test_archive__leaves_out_what_is_damaged_or_no_kernel(folders):
    full, empty = folders
    (full / "toy.warm").write_bytes(b"x" * 50)
    (full / "note.txt").write_text("hello")
    (full / "sub").mkdir()
    assert unpack_folder(pack_folder(full), empty)
    assert sorted(path.suffix for path in empty.iterdir()) == [".nbc", ".nbi"]


def test_archive__of_other_sources_or_processors_is_not_unpacked(folders):
    full, empty = folders
    other = empty.with_name("kernels-2")
    other.mkdir()
    assert not unpack_folder(pack_folder(full), other)
    assert not list(other.iterdir())


@pytest.mark.parametrize("cut", [slice(0, -40), slice(0, 0), slice(30, None)], ids=str)
def test_archive__that_is_damaged_changes_nothing_that_counts(folders, cut):
    full, empty = folders
    assert not unpack_folder(pack_folder(full)[cut], empty)
    assert all(read_checked(str(path)) for path in empty.iterdir())


def test_archive__keeps_kernels_that_were_compiled_meanwhile(folders):
    full, empty = folders
    write_checked(str(empty / "search.all-3.py311.nbi"), b"own index")
    assert unpack_folder(pack_folder(full), empty)
    assert read_checked(str(empty / "search.all-3.py311.nbi")) == b"own index"
    assert not (empty / "search.all-3.py311.1.nbc").exists()


def test_archive__names_no_file_elsewhere(folders):
    import zipfile
    from io import BytesIO

    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.comment = b"kernels-1"
        archive.writestr("../evil.nbc", pack_folder(folders[0])[:40])
    assert not unpack_folder(content.getvalue(), folders[1])
    assert not (folders[1].parent / "evil.nbc").exists()
