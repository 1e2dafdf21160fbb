"""Private parts of dependencies still do what the package takes them to do."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from distributed import Client, Event, LocalCluster, get_worker

import iitdask
from iitdask.kernels import jit
from iitdask.run.compat import CompletionQueue, run_coroutine, worker_thread_count

PRIVATE_IMPORT = re.compile(
    r"^\s*(?:from|import) (?:zarr\.core|numba\.core|xarray\.core|dask\._|\w+(?:\.\w+)*\._\w+)",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=3, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_imports_of_private_modules__are_in_compat_alone():
    package = Path(iitdask.__file__).parent
    files = [p for p in package.rglob("*.py") if PRIVATE_IMPORT.search(p.read_text("utf-8"))]
    assert [str(p.relative_to(package)) for p in files] == ["run/compat.py"]


def test_run_coroutine__waits_for_the_result_and_passes_errors_on():
    async def double(value):
        await asyncio.sleep(0)
        return 2 * value

    async def fail():
        raise OSError("no such key")

    assert run_coroutine(double(21)) == 42
    with pytest.raises(OSError, match="no such key"):
        run_coroutine(fail())


def test_completion_queue__gives_every_future_once_and_never_blocks(client):
    queue = CompletionQueue(client)
    assert not queue.has_ready()
    queue.wait(0.01)
    assert not queue.has_ready()
    futures = client.map(abs, [-1, -2, -3], pure=False)
    queue.add(futures)
    taken = []
    while len(taken) < len(futures):
        queue.wait(5.0)
        if queue.has_ready():
            taken += queue.take()
    assert {future.key: result for future, result in taken} == {
        future.key: k + 1 for k, future in enumerate(futures)
    }
    assert not queue.has_ready()


def test_completion_queue__gives_an_error_as_a_result(client):
    queue = CompletionQueue(client)
    queue.add([client.submit(int, "x", pure=False)])
    while not queue.has_ready():
        queue.wait(5.0)
    ((future, result),) = queue.take()
    assert future.status == "error"
    assert isinstance(result[1], ValueError)


def test_completion_queue__is_woken_by_a_future_that_ends(client):
    go, queue = Event("go", client=client), CompletionQueue(client)
    queue.add([client.submit(lambda: Event("go").wait(), pure=False)])
    queue.wait(0.01)
    assert not queue.has_ready()
    go.set()
    queue.wait(60.0)
    assert queue.has_ready()


def test_worker_thread_count__is_that_of_the_cluster(client):
    assert client.submit(lambda: worker_thread_count(get_worker()), pure=False).result() == 3


@pytest.mark.parametrize("decorate", [jit.kernel, jit.leaf])
def test_kernel_options__compile_what_python_can_call(decorate):
    @decorate
    def total(values):
        out = 0.0
        for value in values:
            out += value
        return out

    assert total(np.arange(4.0)) == 6.0
    assert total.signatures == [(numba.float64[::1],)]


def test_leaf_kernels__count_no_references():
    @jit.leaf
    def first(values):
        return values[0]

    first(np.arange(4.0))
    (text,) = first.inspect_llvm().values()
    assert "NRT_incref" not in text.partition("define")[2].partition("cpython")[0]


def test_inner_kernels__have_no_entry_from_python():
    @jit.inner
    def first(values):
        return values[0]

    @jit.kernel
    def twice(values):
        return 2 * first(values)

    assert twice(np.arange(1.0, 4.0)) == 2.0
    (text,) = first.inspect_llvm().values()
    assert "cpython" not in text


CACHED = """
import pathlib, sys
sys.path.insert(0, {root!r})
from iitdask.kernels import jit
import numba
before = numba.config.CACHE_DIR
@jit.kernel
def double(value):
    return 2 * value
assert numba.config.CACHE_DIR == before
assert double(2.5) == 5.0
directory = jit.cache_directory()
assert list(directory.rglob("*double*.nbc")), list(directory.rglob("*"))
"""


def test_kernel__keeps_its_machine_code_in_the_cache_directory(tmp_path):
    script = tmp_path / "cached.py"
    script.write_text(CACHED.format(root=str(Path(iitdask.__file__).parents[1])))
    run = subprocess.run(
        [sys.executable, str(script)],
        env={"IITDASK_NUMBA_CACHE": str(tmp_path / "cache"), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
