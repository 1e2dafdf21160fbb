"""What the workers of a Dask cluster are, the compiled kernels that they are given, their deaths.

Workers that differ from the driver in what could change a bit are refused in one line; kernels
compiled by the driver reach each worker before its first bundle; workers that die are reported.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from iitdask.cluster.local import available_cores
from iitdask.errors import BlockFailedError, InterruptedRunError, WorkerMismatchError
from iitdask.kernels.jit import unpack_kernels
from iitdask.run.checksum import (
    CARRYING_SOFTWARE,
    COMPUTING_SOFTWARE,
    build_id,
    software_versions,
)
from iitdask.run.task import BundleTask

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
    gc.freeze()  # the collector need not go through all modules again and again


GONE_TOPIC = "iitdask-workers-gone"  # Dask topic under which the scheduler tells who is gone
DEATH_TOPICS = (GONE_TOPIC, "worker-restart-memory")
"""Dask topics that tell that a worker is gone, and that it was ended for its memory."""
EXPLANATION_SECONDS = 1.0  # In which what ended a worker is told
MAX_MEMORY_DEATHS, MAX_DEATHS = 2, 4
"""Deaths at the same place after which a run stops: for want of memory, and of unknown cause."""
PAUSED_MEMORY_SHARE = 0.8  # Share of its memory at which Dask pauses a worker process


def watch_deaths(client: Client, on_event: Callable[[Any], None]) -> None:
    """Have the scheduler tell a client of workers that are gone, in words that can be sent."""
    from distributed import SchedulerPlugin

    class GoneWorkers(SchedulerPlugin):
        name, idempotent = GONE_TOPIC, True

        def remove_worker(self, scheduler: Any, worker: str, **_more: Any) -> None:
            for _, about in reversed(scheduler.get_events(worker)):
                if about.get("action") == "remove-worker":
                    keys = [str(key) for key in about["processing-tasks"]]
                    told = {"worker": worker, "expected": about["expected"], "keys": keys}
                    scheduler.log_event(self.name, told)
                    return

    # By value: a scheduler need not have iitdask.
    client.register_plugin(GoneWorkers())
    for topic in DEATH_TOPICS:
        client.subscribe_topic(topic, on_event)


@dataclass(slots=True)
class WorkerDeath:
    """A worker that died with bundles."""

    address: str
    keys: tuple[str, ...]  # Keys of the bundles that it had, the one that was sent first in front
    time: float  # When it was noticed, by time.monotonic
    task: BundleTask | None = None  # The first of its bundles that is of this run


class DeathWatch:
    """Reports workers that die with bundles, and stops a run that kills its workers.

    The methods that receive events are called in the thread of Dask's client.
    """

    def __init__(self) -> None:
        self._limits: dict[str, tuple[str, int, int]] = {}  # Name, memory and threads by address
        self._held: dict[str, int] = {}  # Bytes that workers held which were ended for them
        self._deaths: list[WorkerDeath] = []
        self._counts: Counter[tuple[str, bool]] = Counter()

    def knows(self, addresses: Iterable[str]) -> bool:
        """Return whether `update_workers` was told of all these workers."""
        return self._limits.keys() >= set(addresses)

    def update_workers(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Note what the scheduler says of its workers."""
        for address, about in workers.items():
            memory, threads = int(about.get("memory_limit") or 0), int(about.get("nthreads") or 1)
            self._limits[address] = str(about.get("name", address)), memory, threads

    def on_event(self, event: Any) -> None:
        """Receive an event of one of the ``DEATH_TOPICS``."""
        message = event[1]
        if "rss" in message:
            self._held[str(message["worker"])] = int(message["rss"])
        elif not message["expected"]:
            keys = tuple(sorted(message["keys"]))
            self._deaths.append(WorkerDeath(str(message["worker"]), keys, time.monotonic()))

    def reports(self, sent: Mapping[str, BundleTask]) -> list[tuple[str, str]]:
        """Return stage and message of every death that is not reported yet.

        Parameters
        ----------
        sent : bundles by key

        Raises
        ------
        BlockFailedError
            Workers die at the same place again and again.
        """
        now, waiting, found = time.monotonic(), list[WorkerDeath](), list[tuple[str, str]]()
        deaths, self._deaths = self._deaths, []
        for death in deaths:
            # Looked up at once: another worker may have filled the bundle before it is explained.
            ours = (sent[key] for key in death.keys if key in sent)
            death.task = death.task or next(ours, None)
            if death.task is None:
                continue
            if death.address not in self._held and now - death.time < EXPLANATION_SECONDS:
                waiting.append(death)
            else:
                found.append(self._report(death.address, death.task))
        self._deaths += waiting
        return found

    def _report(self, address: str, task: BundleTask) -> tuple[str, str]:
        name, limit, threads = self._limits.get(address, (address, 0, 1))
        held = self._held.pop(address, None)
        needed = 0 if task.needs is None else task.needs.process(threads)
        is_memory = held is not None or 0 < PAUSED_MEMORY_SHARE * limit < needed
        stage = task.context.layout.name
        place = f"stage {stage!r}, block {task.blocks[0]}"
        why = "was ended for its memory" if held is not None else "died (killed, or its machine)"
        has = f"; it had {_memory_text(limit)}" if limit else ""
        used = f" and held {_memory_text(held)}" if held is not None else ""
        needs = f", the stage needs about {_memory_text(needed)}" if needed else ""
        text = f"worker {name} {why} at {place}{has}{used}{needs}"
        self._counts[stage if is_memory else place, is_memory] += 1
        most = MAX_MEMORY_DEATHS if is_memory else MAX_DEATHS
        if self._counts[stage if is_memory else place, is_memory] >= most:
            least = _memory_text(1.1 * max(needed, limit) / PAUSED_MEMORY_SHARE)
            give = f"--memory {least} or more, or fewer threads" if is_memory else "another node"
            raise BlockFailedError(
                f"{text}; {most} workers died there: give {give}. Blocks already filled are kept"
            )
        return stage, text

    def stage_goes_on(self, stage: str) -> None:
        """Forget the deaths for want of memory at a stage: a bundle of it was filled."""
        self._counts.pop((stage, True), None)


def _memory_text(nbytes: float) -> str:
    """Return a number of bytes as people and options write it."""
    return f"{nbytes / 1e9:.2g}GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.3g}MB"
