"""A cluster that the Dask operator creates from a manifest, reached by its address.

All requests go through ``kubectl``, with its rights and its context. The phase that the
operator reports is ignored, because it may say Pending although everything runs: a cluster
counts as ready when its scheduler answers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from iitdask.errors import InputError, InterruptedRunError
from iitdask.model.documents import read_file

if TYPE_CHECKING:
    from distributed import Client

SCHEDULER_START_SECONDS = 300.0
"""Seconds until the scheduler must answer: images are pulled and nodes started first."""
RETRY_SECONDS = 1.0
SCHEDULER_PORT = 8786
CREATED_LINE = re.compile(r"^(\S+/\S+) created$", re.MULTILINE)
FORWARDING_LINE = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file that describes a cluster."""

    path: Path
    name: str  # Name of the DaskCluster in it
    namespace: str | None  # Its namespace; None stands for that of kubectl's context

    @classmethod
    def read(cls, path: str | None) -> Manifest:
        """Read a manifest file."""
        if path is None:
            raise InputError(
                "--manifest: expected a file with a DaskCluster for --cluster kubernetes, got "
                "nothing; `helm template` of deploy/kubernetes makes one"
            )
        content = read_file(Path(path), InputError, "a file with a DaskCluster for --manifest")
        try:
            documents = list(yaml.safe_load_all(content.decode()))
        except (ValueError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
            what = " ".join(str(error).split())
            raise InputError(f"--manifest: {path}: cannot be read ({what})") from error
        clusters = [
            doc for doc in documents if isinstance(doc, dict) and doc.get("kind") == "DaskCluster"
        ]
        if len(clusters) != 1:
            raise InputError(f"--manifest: {path}: expected one DaskCluster, found {len(clusters)}")
        metadata = clusters[0].get("metadata") or {}
        if "name" not in metadata:
            raise InputError(f"--manifest: {path}: expected a DaskCluster with a name, found none")
        return cls(Path(path), str(metadata["name"]), metadata.get("namespace"))

    def kubectl(self, *words: str) -> list[str]:
        """Return a command line of kubectl in the manifest's namespace."""
        namespace = [] if self.namespace is None else ["--namespace", self.namespace]
        return ["kubectl", *namespace, *words]

    def run_kubectl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run kubectl in the manifest's namespace."""
        return subprocess.run(self.kubectl(*words), capture_output=True, text=True, check=False)


@contextmanager
def kubernetes(
    manifest: Manifest, workers: int | None = None, patience: float = SCHEDULER_START_SECONDS
) -> Iterator[Client]:
    """Open a client of the cluster of a manifest; create the cluster if it is not there.

    Its scheduler must answer within `patience` seconds; without `workers` the manifest decides.
    """
    if shutil.which("kubectl") is None:
        raise InputError("--cluster kubernetes: expected kubectl on this machine, found none")
    deadline = time.monotonic() + patience
    with ExitStack() as stack:
        applied = manifest.run_kubectl("apply", "--filename", str(manifest.path))
        if applied.returncode:
            raise InputError(f"kubectl refused the manifest: {_one_line(applied.stderr)}")
        # Only this run's own: what was there before stays, and so do results.
        created = [name for name in CREATED_LINE.findall(applied.stdout) if not _is_volume(name)]
        if created:
            stack.callback(_delete, manifest, created)
        if workers is not None:
            _scale(manifest, workers, deadline)
        yield stack.enter_context(_client(manifest, deadline))


def _scale(manifest: Manifest, workers: int, deadline: float) -> None:
    group = f"daskworkergroup.kubernetes.dask.org/{manifest.name}-default"
    while True:
        done = manifest.run_kubectl("scale", group, f"--replicas={workers}")
        if done.returncode == 0:
            return
        # The operator creates the worker group a moment after the cluster.
        _wait_or_raise(
            deadline, f"the workers of {manifest.name} cannot be scaled: {_one_line(done.stderr)}"
        )


@contextmanager
def _address(manifest: Manifest, deadline: float) -> Iterator[str]:
    service = f"{manifest.name}-scheduler"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        inside = "" if manifest.namespace is None else f".{manifest.namespace}"
        yield f"tcp://{service}{inside}:{SCHEDULER_PORT}"
        return
    process, port = _port_forward(manifest, f"service/{service}", deadline)
    with process:  # closes the pipe and waits
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()


def _port_forward(
    manifest: Manifest, service: str, deadline: float
) -> tuple[subprocess.Popen[str], int]:
    words = manifest.kubectl("port-forward", "--address=127.0.0.1", service, f":{SCHEDULER_PORT}")
    while True:
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        line = process.stdout.readline() if process.stdout is not None else ""
        match = FORWARDING_LINE.search(line)
        if match is not None:
            return process, int(match.group(1))
        process.kill()
        rest, _ = process.communicate()
        _wait_or_raise(deadline, f"{service} cannot be reached: {_one_line(line + rest)}")


@contextmanager
def _client(manifest: Manifest, deadline: float) -> Iterator[Client]:
    from distributed import Client

    while True:
        # A new one each time: kubectl ends a forwarding whose target does not listen yet.
        with _address(manifest, deadline) as address:
            try:
                client: Any = Client(address, timeout=10)
            except OSError as error:
                complaint = f"the scheduler at {address} does not answer: {_one_line(str(error))}"
            else:
                with client:
                    yield client
                return
        _wait_or_raise(deadline, complaint)


def _is_volume(name: str) -> bool:
    return name.startswith("persistentvolume")


def _delete(manifest: Manifest, names: list[str]) -> None:
    with suppress(OSError):
        manifest.run_kubectl("delete", *names, "--wait=false", "--ignore-not-found")


def _wait_or_raise(deadline: float, complaint: str) -> None:
    if time.monotonic() > deadline:
        raise InterruptedRunError(f"{complaint}; run again when the cluster is up")
    time.sleep(RETRY_SECONDS)


def _one_line(text: str) -> str:
    return " ".join(text.split())[-300:]
