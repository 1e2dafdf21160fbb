"""Clusters of this machine: nobody but their own processes can connect to them."""

import logging
import os
import ssl
import subprocess
import sys
import tempfile
from urllib.parse import urlsplit

import dask
import psutil
import pytest
from distributed import LocalCluster
from distributed.comm import CommClosedError

from iitdask.cluster.local import dashboard_settings, local, silence_lost_connections
from tests.attack.serve_probe import ask, open_websocket

NOBODY = 65534
SECONDS = 600
STRANGER = """
import asyncio, os, sys
from distributed import Client
from distributed.comm import connect
from distributed.security import Security
import distributed.comm.tcp
user, *addresses = sys.argv[1:]
of_others = Security.temporary().get_connection_args("client")
if user != "here":
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))

def refused(attempt):
    try:
        attempt()
    except (OSError, TypeError) as error:
        print("refused", type(error).__name__, flush=True)
    else:
        print("CONNECTED", flush=True)

for address in addresses:
    plain = address.replace("tls", "tcp")
    refused(lambda: asyncio.run(connect(plain, timeout=3)))
    refused(lambda: asyncio.run(connect(address, timeout=3)))
    refused(lambda: asyncio.run(connect(address, timeout=3, **of_others)))
refused(lambda: Client(addresses[0].replace("tls", "tcp"), timeout=3))
os._exit(0)  # a client that was refused would wait for its connection
"""


def listening_ports():
    """Return the ports on which this process and those it has started listen, and their hosts."""
    own = psutil.Process()
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.fixture(scope="module")
def before():
    return listening_ports()


@pytest.fixture(scope="module")
def processes(before):
    with local(2) as client:
        client.wait_for_workers(2)
        yield client


@pytest.mark.cluster
@pytest.mark.parametrize("user", ["here", NOBODY])
def test_strangers__cannot_connect(processes, user):
    if user != "here" and os.getuid() != 0:
        pytest.skip("only root may become another user")
    info = processes.scheduler_info(n_workers=-1)
    workers = info["workers"].values()
    addresses = [info["address"], *info["workers"], *(each["nanny"] for each in workers)]
    assert len(addresses) == 5
    assert {address.split(":")[0] for address in addresses} == {"tls"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(user), *addresses],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    said = done.stdout.splitlines()
    assert len(said) == 3 * len(addresses) + 1, done
    assert all(line.startswith("refused") for line in said), said
    assert processes.submit(abs, -3, pure=False).result() == 3


@pytest.mark.cluster
def test_processes__listen_for_tls_on_loopback_alone(processes, before):
    places = listening_ports() - before
    assert len(places) == 5  # the scheduler, two workers and the processes that watch these
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for host, port in places:
        assert host == "127.0.0.1"
        assert "dask-internal" not in ssl.get_server_certificate((host, port))


@pytest.mark.cluster
def test_keys__are_in_the_memory_of_the_processes_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with local(1) as client:
        client.wait_for_workers(1)
        key = client.cluster.security.tls_client_key
        line = max(key.splitlines(), key=len)
        for process in psutil.Process().children(recursive=True):
            shown = [*process.cmdline(), *process.environ().values()]
            assert not any("PRIVATE KEY" in text or line in text for text in shown)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in files if b"PRIVATE KEY" in path.read_bytes()]
        assert client.run(os.getppid)  # its connection is one with this key


def test_threads__listen_nowhere():
    before = listening_ports()
    with local() as client:
        assert client.scheduler.address.startswith("inproc://")
        assert client.submit(abs, -3).result() == 3
        assert listening_ports() == before


def test_a_key__is_made_for_each_cluster():
    with local(1) as one, local(1) as two:
        keys = {client.cluster.security.tls_worker_key for client in (one, two)}
        assert len(keys) == 2


def test_dashboards__answer_pages_of_their_own_address_alone():
    name = "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin"
    with dask.config.set({name: ["*"]}):
        assert dashboard_settings() == {name: []}
    with dask.config.set({name: ["portal.example"]}):
        assert dashboard_settings() == {}
    with (
        dask.config.set(dashboard_settings()),
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
    ):
        place = ("127.0.0.1", int(urlsplit(cluster.dashboard_link).port))
        page = ask(place, "/status")
        own = f"http://localhost:{place[1]}"
        for origin, code in ((own, "101"), ("http://evil.example", "403"), ("null", "403")):
            assert code in open_websocket(place, page, origin, path="/status/ws")


@pytest.mark.parametrize("name", ["tornado.application", "asyncio"])
def test_lost_connections__are_errors_of_the_run_and_no_tracebacks_beside_it(name, monkeypatch):
    # A handler of its own: Dask silences all others while a cluster of another test is open.
    handler, records = logging.Handler(), []
    handler.emit = records.append
    log = logging.getLogger(name)
    monkeypatch.setattr(log, "handlers", [*log.handlers, handler])
    silence_lost_connections()
    log.error("Exception in callback", exc_info=CommClosedError("in <TCP>: Stream is closed"))
    assert records == []
    log.error("Exception in callback", exc_info=ValueError("another"))
    assert [record.exc_info[0] for record in records] == [ValueError]


LEVEL = """
import logging
from iitdask.cluster.local import silence_lost_connections
silence_lost_connections()
import distributed
print(logging.getLogger("distributed.client").level == logging.CRITICAL)
"""


def test_lost_connections__stay_silent_when_dask_is_imported():
    done = subprocess.run([sys.executable, "-c", LEVEL], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
