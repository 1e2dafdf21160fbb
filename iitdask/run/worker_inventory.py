"""What the workers of a Dask cluster are, and the compiled kernels that they are given.

Workers that differ from the driver in what could change a bit are refused in one line; kernels
compiled by the driver reach each worker before its first bundle.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from iitdask.cluster.local import available_cores
from iitdask.errors import InterruptedRunError, WorkerMismatchError
from iitdask.kernels.jit import unpack_kernels
from iitdask.run.checksum import (
    CARRYING_SOFTWARE,
    COMPUTING_SOFTWARE,
    build_id,
    software_versions,
)

if TYPE_CHECKING:
    from distributed import Client  # heavy, and not needed by runs in memory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Build and configuration of one worker."""

    build_id: str  # Version and source digest of its iitdask
    cores: int  # Cores its process may use
    threads: int = 0  # Blocks it computes at a time
    name: str = ""  # Name that Dask gives it
    versions: Mapping[str, str] = field(default_factory=dict)  # Of the software it computes with


def this_process() -> dict[str, Any]:
    """Return the build, the number of cores and the software of this process."""
    return {"build_id": build_id(), "cores": available_cores(), "versions": software_versions()}


def query_workers(client: Client) -> list[WorkerInfo]:
    """Query the build and configuration of every worker of a cluster."""
    try:
        workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            return []
        # First a function of any Python: a worker that cannot unpickle ours closes its connection.
        answers: dict[str, Any] = client.run(find_spec, "iitdask", on_error="return")
        if not any(_lacks_iitdask(answer) for answer in answers.values()):
            answers = client.run(this_process, on_error="return")
    except (OSError, TimeoutError) as error:
        raise InterruptedRunError(f"the workers cannot be asked what they are: {error}") from error
    infos = []
    for address, answer in answers.items():
        dask_info = workers.get(address, {})
        name = str(dask_info.get("name", address))
        if not isinstance(answer, dict):
            if not _lacks_iitdask(answer):
                continue
            raise WorkerMismatchError(
                f"worker {name}: expected iitdask {build_id()}, got none that answers "
                f"({answer or 'not installed'}); install the same on every machine"
            )
        infos.append(WorkerInfo(**answer, threads=int(dask_info.get("nthreads", 0)), name=name))
    return infos


def _lacks_iitdask(answer: Any) -> bool:
    """Return True if a worker cannot import iitdask; one that disconnected does not count."""
    return answer is None or (isinstance(answer, Exception) and not isinstance(answer, OSError))


def require_same_build(workers: Iterable[WorkerInfo]) -> None:
    """Check that all workers have the iitdask of this process."""
    expected = build_id()
    others = [worker for worker in workers if worker.build_id != expected]
    if others:
        raise WorkerMismatchError(
            f"worker {others[0].name}: expected iitdask {expected} as in this process, got "
            f"{others[0].build_id} ({len(others)} worker(s) in all); install the same on every "
            "machine"
        )


def require_same_versions(
    workers: Iterable[WorkerInfo], versions: Mapping[str, str] | None = None
) -> None:
    """Check that all workers compute with the Python, NumPy and numba of the driver."""
    others = _version_differences(workers, COMPUTING_SOFTWARE, versions)
    if others:
        more = f" ({len(others)} worker(s) in all)" if len(others) > 1 else ""
        raise WorkerMismatchError(f"{others[0]}{more}; install the same on every machine")


def version_warnings(
    workers: Iterable[WorkerInfo], versions: Mapping[str, str] | None = None
) -> list[str]:
    """Return at most one warning: that workers have another Dask or Zarr than the driver."""
    others = _version_differences(workers, CARRYING_SOFTWARE, versions)
    more = f" ({len(others)} worker(s) in all)" if len(others) > 1 else ""
    return [f"{each}{more}; if they fail, install the same" for each in others[:1]]


def _version_differences(
    workers: Iterable[WorkerInfo], names: Sequence[str], versions: Mapping[str, str] | None
) -> list[str]:
    """Describe the workers that have other versions of some software than the driver."""
    expected = software_versions() if versions is None else versions
    differences = []
    for worker in workers:
        got = {name: worker.versions.get(name, expected[name]) for name in names}
        other = [name for name in names if got[name] != expected[name]]
        if other:
            wanted = ", ".join(f"{name} {expected[name]}" for name in other)
            found = ", ".join(f"{name} {got[name]}" for name in other)
            differences.append(f"worker {worker.name}: expected {wanted} as here, got {found}")
    return differences


def oversubscription_warnings(workers: Iterable[WorkerInfo]) -> list[str]:
    """Return a warning for every worker that has more threads than cores."""
    return [
        f"worker {worker.name} has {worker.threads} threads on {worker.cores} core(s): "
        "they take turns; give it as many cores as threads"
        for worker in workers
        if worker.threads > worker.cores
    ]


def share_kernels(
    client: Client, name: str, pack: Callable[[], bytes | None], load: Callable[[], None]
) -> None:
    """Give the workers of a cluster, and those that join it, kernels that were compiled here.

    Every worker unpacks what `pack` returns and calls `load` before its first bundle; one that has
    no use for it compiles. `name` tells what is sent: it is sent once to a cluster.
    """
    key = [f"iitdask-kernels-{build_id()}", name]
    if client.get_metadata(key, default=None):
        return
    plugin = _kernel_plugin("-".join(key), pack() or b"", load, build_id())
    client.register_plugin(plugin)
    client.set_metadata(key, True)


def _kernel_plugin(
    plugin_name: str, archive: bytes, load: Callable[[], None], expected_build: str
) -> Any:
    """Return a plugin of workers that prepares their kernels."""
    from distributed import WorkerPlugin

    class KernelPlugin(WorkerPlugin):
        name = plugin_name

        async def setup(self, worker: Any) -> None:  # noqa: ARG002 its interface
            # In a thread: a worker that has to compile must go on answering its scheduler.
            await asyncio.to_thread(prepare_kernels, archive, load, expected_build)

    return KernelPlugin()


def prepare_kernels(archive: bytes, load: Callable[[], None], expected_build: str) -> None:
    """Unpack kernels in a worker and load them; what fails here, its first bundle will report."""
    if build_id() != expected_build:
        return
    try:
        unpack_kernels(archive)
        load()
    except Exception:
        log.exception("kernels cannot be prepared")
