"""A cluster that the Dask operator makes from a manifest, reached by its address.

Spoken to through ``kubectl``, with whatever rights and context that has. The phase
that the operator reports is not believed (it may say Pending while all runs): a
cluster is there when its scheduler answers.
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

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "Manifest",
    "kubernetes",
]

SCHEDULER_START_SECONDS = 300.0
"""Seconds a cluster may take until its scheduler answers: images are pulled, nodes started."""
RETRY_SECONDS = 1.0
SCHEDULER_PORT = 8786
MANIFEST_KIND = "DaskCluster"
FORWARDING_LINE = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file that describes a cluster."""

    path: Path
    """The file."""
    name: str
    """Name of the DaskCluster in it."""
    namespace: str | None
    """Its namespace; None: that of kubectl's context."""

    @classmethod
    def read(cls, path: str | None) -> Manifest:
        """Find the cluster in a file.

        Raises
        ------
        InputError
            The file cannot be read, or has not exactly one DaskCluster.
        """
        if path is None:
            raise InputError(
                "--manifest: expected a file with a DaskCluster for --cluster kubernetes, got "
                "nothing; deploy/kubernetes/ has some"
            )
        try:
            found = list(yaml.safe_load_all(Path(path).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            what = " ".join(str(error).split())
            raise InputError(f"--manifest: {path}: cannot be read ({what})") from error
        clusters = [
            each for each in found if isinstance(each, dict) and each.get("kind") == MANIFEST_KIND
        ]
        if len(clusters) != 1:
            raise InputError(
                f"--manifest: {path}: expected one {MANIFEST_KIND}, found {len(clusters)}"
            )
        about = clusters[0].get("metadata") or {}
        if "name" not in about:
            raise InputError(
                f"--manifest: {path}: expected a {MANIFEST_KIND} with a name, found none"
            )
        return cls(Path(path), str(about["name"]), about.get("namespace"))

    def kubectl(self, *words: str) -> list[str]:
        """Command line of kubectl in the manifest's namespace."""
        where = [] if self.namespace is None else ["--namespace", self.namespace]
        return ["kubectl", *where, *words]


@contextmanager
def kubernetes(
    manifest: Manifest, workers: int | None = None, patience: float = SCHEDULER_START_SECONDS
) -> Iterator[Client]:
    """Open a client of the cluster of a manifest, made when it is not there.

    Parameters
    ----------
    manifest : Manifest
        What to apply.
    workers : int, optional
        Number of workers; as the manifest says when not given.
    patience : float
        Seconds until the scheduler must answer.

    Raises
    ------
    InputError
        There is no kubectl, or it refuses the manifest.
    InterruptedRunError
        The scheduler does not answer in time.
    """
    if shutil.which("kubectl") is None:
        raise InputError("--cluster kubernetes: expected kubectl on this machine, found none")
    deadline = time.monotonic() + patience
    with ExitStack() as stack:
        said = _kubectl_output(manifest.kubectl("apply", "--filename", str(manifest.path)))
        if re.search(rf"daskcluster\S*/{re.escape(manifest.name)} created", said):
            # Ours alone: one that was there before stays.
            stack.callback(_delete, manifest)
        if workers is not None:
            _scale(manifest, workers, deadline)
        yield stack.enter_context(_client(manifest, deadline))


def _scale(manifest: Manifest, workers: int, deadline: float) -> None:
    group = f"daskworkergroup.kubernetes.dask.org/{manifest.name}-default"
    words = manifest.kubectl("scale", group, f"--replicas={workers}")
    while True:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        # The operator makes the group a moment after the cluster.
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
    process = _port_forward(manifest, f"service/{service}", deadline)
    try:
        yield f"tcp://127.0.0.1:{process[1]}"
    finally:
        process[0].terminate()
        with suppress(subprocess.TimeoutExpired):
            process[0].wait(timeout=5)
        process[0].kill()
        process[0].wait()
        if process[0].stdout is not None:
            process[0].stdout.close()


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
        said = process.stdout.readline() if process.stdout is not None else ""
        found = FORWARDING_LINE.search(said)
        if found is not None:
            return process, int(found.group(1))
        process.kill()
        rest, _ = process.communicate()
        _wait_or_raise(deadline, f"{service} cannot be reached: {_one_line(said + rest)}")


@contextmanager
def _client(manifest: Manifest, deadline: float) -> Iterator[Client]:
    from distributed import Client

    while True:
        # Each time anew: kubectl ends a forwarding through which nothing could be reached yet.
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


def _delete(manifest: Manifest) -> None:
    kind = f"daskcluster.kubernetes.dask.org/{manifest.name}"
    with suppress(OSError):
        subprocess.run(
            manifest.kubectl("delete", kind, "--wait=false", "--ignore-not-found"),
            capture_output=True,
            check=False,
        )


def _kubectl_output(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"kubectl refused the manifest: {_one_line(done.stderr)}")
    return done.stdout


def _wait_or_raise(deadline: float, complaint: str) -> None:
    if time.monotonic() > deadline:
        raise InterruptedRunError(f"{complaint}; run again when the cluster is up")
    time.sleep(RETRY_SECONDS)


def _one_line(text: str) -> str:
    return " ".join(text.split())[-300:]
