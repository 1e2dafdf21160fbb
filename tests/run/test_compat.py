"""Private parts of dependencies still do what the package takes them to do."""

import asyncio
import re
from pathlib import Path

import pytest
from distributed import Event, get_worker

import iitdask
from iitdask.run.compat import CompletionQueue, run_coroutine, worker_thread_count

PRIVATE_IMPORT = re.compile(
    r"^\s*(?:from|import) (?:zarr\.core|numba\.core|xarray\.core|dask\._|\w+(?:\.\w+)*\._\w+)",
    re.MULTILINE,
)


def test_imports_of_private_modules__are_in_compat_and_the_cache_of_kernels():
    package = Path(iitdask.__file__).parent
    files = [p for p in package.rglob("*.py") if PRIVATE_IMPORT.search(p.read_text("utf-8"))]
    assert sorted(str(p.relative_to(package)) for p in files) == [
        "kernels/jit.py",
        "kernels/kernel_files.py",
        "run/compat.py",
    ]


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
    assert queue.take(0.01) == []
    futures = client.map(abs, [-1, -2, -3], pure=False)
    queue.add(futures)
    taken = []
    while len(taken) < len(futures):
        taken += queue.take(5.0)
    assert {future.key: result for future, result in taken} == {
        future.key: k + 1 for k, future in enumerate(futures)
    }
    assert queue.take(0.0) == []


def test_completion_queue__gives_an_error_as_a_result(client):
    queue = CompletionQueue(client)
    queue.add([client.submit(int, "x", pure=False)])
    while not (batch := queue.take(5.0)):
        pass
    ((future, result),) = batch
    assert future.status == "error"
    assert isinstance(result[1], ValueError)


def test_completion_queue__is_woken_by_a_future_that_ends(client):
    go, queue = Event("go", client=client), CompletionQueue(client)
    queue.add([client.submit(lambda: Event("go").wait(), pure=False)])
    assert queue.take(0.01) == []
    go.set()
    assert queue.take(60.0)


def test_worker_thread_count__is_that_of_the_cluster(client):
    assert client.submit(lambda: worker_thread_count(get_worker()), pure=False).result() == 2
