"""A Dask cluster on this machine: threads of this process, or worker processes.

Worker processes preload this module, see `dask_setup`.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from iitdask.errors import ClusterError, InputError, quote

if TYPE_CHECKING:
    from distributed import Client

CLOSE_SECONDS, INTERRUPTED_CLOSE_SECONDS = 30.0, 2.0
"""Seconds that a cluster may take to close, and after an interruption."""
CONNECT_SECONDS = 5.0  # In which a scheduler must listen; it may just have been started
RETRY_SECONDS = 0.2
HANDSHAKE_SECONDS = 10.0  # In which it must answer
SCHEDULER_SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")
TEMPORARY_DIRECTORY = "temporary-directory"  # Key of Dask's configuration


IDLE_SETTINGS = {
    # By default Dask samples the stack of each task and looks at its own loop and memory many times
    # a second: 2 % of a core for each worker, and as much for the process that started it. Kernels
    # have no stack to show, and what a block needs is known before it starts.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}


def worker_environment() -> dict[str, str]:
    """Return the environment of workers: one thread per kernel call, since Dask parallelises."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return dict.fromkeys(names, "1")


def job_prologue() -> list[str]:
    """Return lines of a job script: the environment, and a kernel cache on the node's own disk.

    Many nodes that compile into one network directory corrupt each other's files. A directory
    that somebody else made is not used, because compiled code is executed when it is loaded.
    """
    folder = "IITDASK_NUMBA_CACHE"
    return [
        *(f"export {name}={value}" for name, value in worker_environment().items()),
        *(f"export {_variable_name(name)}={value}" for name, value in IDLE_SETTINGS.items()),
        # A statement a line: some queues take lines that are joined.
        f'[ -n "${{{folder}:-}}" ] || own_cache="${{TMPDIR:-/tmp}}/iitdask-$(id -u)"',
        '[ -z "${own_cache:-}" ] || mkdir -p -m 700 "$own_cache" 2>/dev/null || true',
        '[ -z "${own_cache:-}" ] || [ -O "$own_cache" ] || own_cache=$(mktemp -d)',
        f'export {folder}="${{own_cache:-${folder}}}"',
    ]


def _variable_name(setting: str) -> str:
    """Return the variable of the environment that holds a setting of Dask."""
    return f"DASK_{setting.upper().replace('.', '__').replace('-', '_')}"


def dashboard_settings() -> dict[str, Any]:
    """Return settings by which Dask's pages answer other pages of their own address alone.

    By default any page that a user looks at may read them. What a site has set stays.
    """
    import dask
    import distributed  # noqa: F401 - makes its defaults known

    name = "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin"
    return {name: []} if dask.config.get(name) == ["*"] else {}


def available_cores() -> int:
    """Return the number of cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def local(workers: int | None = None, memory: str | int | None = None) -> Iterator[Client]:
    """Open a client of a cluster on this machine: `workers` processes of one thread each.

    Without `workers` the kernels, which release the interpreter lock, run in threads of this
    process, one per core. `memory` is that of one worker process, such as ``"4GB"``.

    Processes talk TLS, with a key made for this cluster that only its processes get: whoever can
    connect to a scheduler or a worker can run code as its user. Threads need no connection.
    """
    import dask
    from distributed import Client, LocalCluster
    from distributed.security import Security

    settings: dict[str, Any] = {
        # Dask's own pages, which nobody is told of, would be open to every user of the machine.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        # A worker between two restarts would otherwise be dropped for good after 15 s.
        "distributed.deploy.lost-worker-timeout": "1h",
        "distributed.nanny.environ": worker_environment(),
        **IDLE_SETTINGS,
        "distributed.scheduler.allowed-failures": 10,
        # Threads of this process spill nothing: a site's directory may be missing on this machine.
        TEMPORARY_DIRECTORY: _scratch_directory() if workers else tempfile.gettempdir(),
    }
    with dask.config.set(settings):
        with _silenced_resource_tracker(), _start_errors():
            cluster = LocalCluster(
                n_workers=workers or 1,
                threads_per_worker=1 if workers else available_cores(),
                processes=bool(workers),
                memory_limit=memory or "auto" if workers else 0,
                host="127.0.0.1" if workers else None,
                protocol="tls://" if workers else "inproc://",
                security=Security.temporary() if workers else None,
                scheduler_kwargs={"dashboard": False},
                dashboard_address="127.0.0.1:0",  # without a host it would be on all interfaces
                silence_logs=50,  # what goes wrong reaches the driver as an event or an error
                **({"worker_class": _nanny_class(), "preload": __name__} if workers else {}),
            )
        cluster.sync(_stop_http_servers, cluster)
        client = Client(cluster)
        seconds = CLOSE_SECONDS
        try:
            yield client
        except KeyboardInterrupt:
            seconds = INTERRUPTED_CLOSE_SECONDS
            raise
        finally:
            # In a thread: a worker that does not answer must not delay the end.
            closing = Thread(target=_close, args=(client, cluster, seconds), daemon=True)
            closing.start()
            closing.join(seconds + 1.0)


def dask_setup(worker: Any) -> None:
    """Stop listening in a worker process for what Dask would show of it.

    Dask calls this function when it preloads the module.
    """
    worker.http_server.stop()


async def _stop_http_servers(cluster: Any) -> None:
    """Stop listening for what Dask would show of a cluster, as far as it is in this process."""
    for node in (cluster.scheduler, *cluster.workers.values()):
        if server := getattr(node, "http_server", None):  # nannies have none
            server.stop()


def _nanny_class() -> Any:
    """Return a nanny whose worker never hears SIGINT: the driver handles it and ends its workers.

    Ctrl-C on a terminal reaches every process started from it; workers that broke off, be it in
    the middle of their imports, would only add their tracebacks.
    """
    from distributed import Nanny

    class QuietNanny(Nanny):
        async def instantiate(self) -> Any:
            # Otherwise the first worker starts it, and unblocks the signal again.
            resource_tracker.ensure_running()
            # In the thread of the event loop. Threads started from it, and the process that one
            # of them starts, inherit what it blocks.
            if hasattr(signal, "pthread_sigmask"):  # not on every system
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            return await super().instantiate()

    return QuietNanny


def _scratch_directory() -> str:
    """Return the directory in which worker processes spill, by Dask's configuration."""
    import dask

    directory = dask.config.get(TEMPORARY_DIRECTORY, None) or tempfile.gettempdir()
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return str(directory)
    except OSError as error:
        raise InputError(
            f"{TEMPORARY_DIRECTORY} of Dask's configuration (DASK_TEMPORARY_DIRECTORY): expected "
            f"a directory that can be written, got {quote(directory)} ({error.strerror})"
        ) from error


@contextmanager
def _start_errors() -> Iterator[None]:
    """Turn what keeps a cluster from starting into an error that says so."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ClusterError(
            f"workers cannot be started on this machine: {type(cause).__name__}: {cause}"
        ) from error


def _close(client: Any, cluster: Any, seconds: float) -> None:
    with suppress(TimeoutError, OSError, RuntimeError):
        client.close(timeout=seconds)
        cluster.close(timeout=seconds)


@contextmanager
def _silenced_resource_tracker() -> Iterator[None]:
    """Silence the warning of multiprocessing's resource tracker when a run is interrupted."""
    name, old = "PYTHONWARNINGS", os.environ.get("PYTHONWARNINGS")
    rule = "ignore::UserWarning:multiprocessing.resource_tracker"
    os.environ[name] = ",".join(filter(None, (old, rule)))
    try:
        yield
    finally:
        del os.environ[name]
        os.environ |= {} if old is None else {name: old}


class _LostConnections(logging.Filter):
    """Drops what is logged about connections that were lost."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for the traceback of a connection."""
        return not (record.exc_info and isinstance(record.exc_info[1], OSError | CancelledError))


LOST_CONNECTIONS = _LostConnections()


def silence_lost_connections() -> None:
    """Log no traceback of a lost connection: a scheduler that dies is an error of the run."""
    import distributed  # noqa: F401 - sets the levels of its loggers

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    for name in ("tornado.application", "asyncio", "distributed.core", "distributed.utils"):
        logging.getLogger(name).addFilter(LOST_CONNECTIONS)


def connect(address: str) -> Client:
    """Open a client of the scheduler at an address ``tcp://HOST:PORT``."""
    import dask
    from distributed import Client

    try:
        with dask.config.set({"distributed.comm.timeouts.connect": HANDSHAKE_SECONDS}):
            return Client(address, timeout=HANDSHAKE_SECONDS)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise _silent_scheduler(address, f"{type(error).__name__}: {reason}") from error


def require_scheduler(address: str) -> None:
    """Raise a ClusterError if nothing listens at the address of a scheduler, nor soon will."""
    host_and_port = _host_and_port(address)
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            with socket.create_connection(host_and_port, CONNECT_SECONDS) as connection:
                if address.startswith("tcp:"):
                    _require_greeting(address, connection)
        except (OSError, UnicodeError) as error:
            is_unknown = isinstance(error, socket.gaierror | UnicodeError)
            if is_unknown or time.monotonic() > deadline:
                reason = getattr(error, "strerror", None) or error
                raise _silent_scheduler(address, reason) from error
            time.sleep(RETRY_SECONDS)
        else:
            return


def _require_greeting(address: str, connection: socket.socket) -> None:
    """Raise a ClusterError unless a scheduler speaks first, as Dask's do."""
    connection.settimeout(HANDSHAKE_SECONDS)
    try:
        if connection.recv(1):
            return
        reason = "the connection was closed"
    except TimeoutError:
        reason = f"nothing came in {HANDSHAKE_SECONDS:g} s"
    raise _silent_scheduler(address, reason)


def _silent_scheduler(address: str, reason: object) -> ClusterError:
    return ClusterError(
        f"no scheduler answers at {address} ({reason}); start one with `dask scheduler`, or "
        "look at the address"
    )


def _host_and_port(address: str) -> tuple[str, int]:
    expected = "--cluster: expected the address of a scheduler such as tcp://HOST:PORT"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{expected}, got {quote(address)} ({error})") from error
    if parts.scheme not in SCHEDULER_SCHEMES or not host or not port:
        raise InputError(f"{expected}, got {quote(address)}")
    return host, port
