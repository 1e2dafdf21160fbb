"""Clusters on this machine, and schedulers that are somewhere or nowhere."""

import socket
import tempfile
from pathlib import Path
from threading import Thread

import dask
import pytest

from iitdask.cluster import local as cluster
from iitdask.cluster.local import local, require_scheduler
from iitdask.errors import ClusterError, InputError


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_scheduler__that_is_not_there_is_said(port, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.3)
    with pytest.raises(ClusterError, match=rf"no scheduler answers at tcp://127.0.0.1:{port} \("):
        require_scheduler(f"tcp://127.0.0.1:{port}")


def test_scheduler__of_a_machine_that_nobody_knows_is_said():
    with pytest.raises(ClusterError, match=r"no scheduler answers at tcp://nowhere\.invalid:8786"):
        require_scheduler("tcp://nowhere.invalid:8786")


def test_scheduler__that_begins_to_listen_is_waited_for(port, monkeypatch):
    listening = socket.socket()
    waits = []

    def greet():
        with listening.accept()[0] as connection:
            connection.sendall(b"x")

    def sleep(_):
        if not waits:
            listening.bind(("127.0.0.1", port))
            listening.listen()
            Thread(target=greet, daemon=True).start()
        waits.append(1)

    monkeypatch.setattr(cluster.time, "sleep", sleep)
    with listening:
        require_scheduler(f"tcp://127.0.0.1:{port}")
    assert len(waits) == 1


def test_scheduler__that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(cluster, "HANDSHAKE_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no scheduler answers at {address}"):
            require_scheduler(address)


@pytest.mark.parametrize("address", ["://", "tcp://", "tcp://host", "http://h:1", "tcp://h:port"])
def test_scheduler__at_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="expected the address of a scheduler such as tcp://HOST"):
        require_scheduler(address)


@pytest.mark.cluster
def test_local__needs_no_directory_for_threads(tmp_path):
    (tmp_path / "file").touch()
    with (
        dask.config.set({"temporary-directory": str(tmp_path / "file" / "below")}),
        local() as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3


def test_local__names_a_directory_that_workers_cannot_use(tmp_path):
    (tmp_path / "file").touch()
    directory = str(tmp_path / "file" / "below")
    expected = "temporary-directory of Dask's configuration .*below"
    with (
        dask.config.set({"temporary-directory": directory}),
        pytest.raises(InputError, match=expected),
        local(2),
    ):
        pass


def test_local__says_why_a_cluster_does_not_start(monkeypatch, tmp_path):
    gone = tmp_path / "file"
    gone.touch()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(gone / "below"))
    with pytest.raises(ClusterError, match="cannot be started on this machine: NotADir"), local():
        pass


def blocked_signals():
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("SigBlk")]
    return int(line.split()[1], 16)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_local__starts_workers_that_hear_no_interruption():
    with local(2) as client:
        masks = client.run(blocked_signals).values()
        assert [mask >> 1 & 1 for mask in masks] == [1, 1]
    assert blocked_signals() >> 1 & 1 == 0
