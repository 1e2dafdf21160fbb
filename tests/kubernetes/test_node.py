"""Runs on a real Kubernetes, from the chart, and what clusters do to them.

Only what has to differ on a node of two cores is changed in what the chart renders: requests
of CPU (``fit.py``).
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import processes as proc
import pytest
import yaml
from fit import fitted
from site_kubernetes import ADDRESS

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

CHART = Path(__file__).parents[2] / "deploy/kubernetes"
OPERATOR = Path("dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator")
OPERATORS = ("--namespace", "dask-operator")
LOG = ("logs", "deployment/dask-operator-dask-kubernetes-operator", *OPERATORS)
DONE = "--output=jsonpath={.status.succeeded}"
REPLICAS = "--output=jsonpath={.spec.worker.replicas}"
CREDENTIALS = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "anyone",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_ALLOW_HTTP": "true",
    "AWS_ENDPOINT_URL": f"http://{ADDRESS}:9000",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Eleven units in a thousand blocks."""
    return proc.write_study(tmp_path_factory.mktemp("study"), 11, 7, 0.005)


@pytest.fixture(scope="module")
def undisturbed(study):
    return proc.filled(study)


class Helm:
    """Helm on a node: studies by their names."""

    def __init__(self, node, folder):
        self.node = node
        self.program = os.environ.get("IITDASK_HELM") or shutil.which("helm")
        assert self.program is not None, "helm is not installed; .ci/run kubernetes fetches it"
        self.fit = folder / "fit"
        self.fit.write_text(
            f"#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name('fit.py')}\n"
        )
        self.fit.chmod(0o755)

    def __call__(self, *words):
        done = subprocess.run(
            [self.program, *map(str, words)],
            env=self.node.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, name, *values):
        sets = [word for each in values for word in ("--set", each)]
        tell(self("install", name, CHART, "--post-renderer", self.fit, *sets))


@pytest.fixture(scope="module")
def helm(node, study, tmp_path_factory):
    """Helm on a cluster that has the operator."""
    found = Helm(node, tmp_path_factory.mktemp("helm"))
    chart = distribution("dask-kubernetes").locate_file(OPERATOR)
    words = (*OPERATORS, "--create-namespace", "--values", CHART / "operator-values.yaml")
    found("upgrade", "--install", "dask-operator", chart, *words)
    node.kubectl("rollout", "status", LOG[1], *OPERATORS, "--timeout=110s")
    return found


@pytest.fixture
def empty(helm):
    """The cluster, from which everything that was installed is removed."""
    yield helm.node
    for name in helm("list", "--short").split():
        helm("uninstall", name)
    for kind in ("daskclusters", "jobs"):
        helm.node.kubectl("delete", kind, "--all", "--timeout=100s")
    helm.node.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    helm.node.kubectl("delete", "persistentvolumeclaims,persistentvolumes", "--all")


@pytest.fixture
def volume(empty, tmp_path):
    """The folder behind the first claim that comes."""
    folder = tmp_path / "volume"
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    about = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "volume"},
        "spec": {
            "capacity": {"storage": "50Gi"},
            "accessModes": ["ReadWriteMany"],
            "hostPath": {"path": str(folder)},
        },
    }
    empty.apply(about)
    return folder


@pytest.fixture
def bucket(empty, tmp_path, monkeypatch):
    """A bucket `runs` of an S3 server, credentials for it here and in a secret `keys`."""
    import boto3

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "s3"
    server = proc.start("moto.server", "-H", ADDRESS, "-p", 9000, log=log)
    try:
        assert proc.wait_until(lambda: "Running on" in log.read_text())
        client = boto3.client("s3")
        client.create_bucket(Bucket="runs")
        given = [f"--from-literal={name}={value}" for name, value in CREDENTIALS.items()]
        empty.kubectl("create", "secret", "generic", "keys", *given)
        yield client
        empty.kubectl("delete", "secret", "keys")
    finally:
        proc.end(server)


def begun(node, store, count=10):
    assert proc.wait_until(lambda: len(proc.ticks(store)) > count, 0.1), node.state()


def kill(node, **labels):
    """Delete a pod as if its machine had gone; return its name."""
    name = node.pods(**labels)[0]["metadata"]["name"]
    node.kubectl("delete", "pod", name, "--force", "--grace-period=0")
    return name


def tell(text):
    """Say what happens, for those who look on."""
    sys.stdout.write(f"\n{text}\n")


def is_same(store, undisturbed):
    assert proc.content(store) == proc.content(undisturbed)
    assert proc.shown(store) == proc.shown(undisturbed)
    return True


def is_finished(store):
    return (store / "zarr.json").exists() and '"finished"' in (store / "zarr.json").read_text()


def has_succeeded(node, job):
    return proc.wait_until(lambda: node.kubectl("get", "job", job, DONE) not in ("", "0"), 0.5)


def phase(pod):
    return pod["status"]["phase"]


def of_component(component):
    return {"app.kubernetes.io/component": component, "app.kubernetes.io/instance": "mine"}


def test_run__outlives_its_workers_and_its_scheduler(helm, empty, volume, study, undisturbed):
    files = {"study.yaml": study, **{path.name: path for path in study.parent.glob("*.npy")}}
    given = [f"--from-file={name}={path}" for name, path in files.items()]
    empty.kubectl("create", "configmap", "tables", *given)
    helm.install("mine", "study.configMap=tables", "workers.count=2")
    # Beside another study of the namespace, one that is wrong.
    helm.install(
        "other",
        "study.text=substrate: 3",
        "shape=workers",
        "backoffLimit=0",
        "store.claim=mine-store",
    )
    store = volume / "mine.zarr"
    begun(empty, store)
    tell(f"{len(proc.ticks(store))} blocks, a worker is deleted\n{empty.kubectl('get', 'pods')}")
    kill(empty, **of_component("worker"))
    begun(empty, store, len(proc.ticks(store)) + 5)
    tell(f"{len(proc.ticks(store))} blocks, the scheduler is deleted")
    kill(empty, **of_component("scheduler"))
    assert not is_finished(store)
    assert proc.wait_until(lambda: is_finished(store), 0.2), empty.state()
    assert has_succeeded(empty, "mine-driver"), empty.state()
    lost, last = sorted(empty.pods(**of_component("driver")), key=phase)
    assert (phase(lost), phase(last)) == ("Failed", "Succeeded")
    said = empty.kubectl("logs", last["metadata"]["name"])
    tell(f"{len(proc.ticks(store))} blocks, done\n{empty.kubectl('get', 'pods')}{said}")
    # The driver lost its scheduler, was followed by another, and that went on.
    assert "already there" in said
    assert "compil" not in said  # the image's kernels are used
    assert is_same(store, undisturbed)
    (wrong,) = empty.pods(**of_component("worker") | {"app.kubernetes.io/instance": "other"})
    ended = wrong["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 2
    # Uninstalled, the store stays.
    helm("uninstall", "mine")
    assert empty.kubectl("get", "persistentvolumeclaim", "mine-store", "--output=name")


def test_workers__without_an_operator_outlive_one_of_them(helm, empty, volume, study, undisturbed):
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    about = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    empty.apply(about | {"spec": claim})
    shutil.copytree(study.parent, volume / "input", ignore=shutil.ignore_patterns("*.zarr"))
    (volume / "input").chmod(0o755)
    values = ("study.claim=data", "study.file=input/study.yaml", "store.claim=data")
    helm.install("mine", "shape=workers", "workers.count=2", *values)
    store = volume / "mine.zarr"
    begun(empty, store)
    tell(f"{len(proc.ticks(store))} blocks, a pod is deleted\n{empty.kubectl('get', 'pods')}")
    kill(empty, **of_component("worker"))
    assert not is_finished(store)
    assert proc.wait_until(lambda: is_finished(store), 0.2), empty.state()
    assert has_succeeded(empty, "mine-workers"), empty.state()
    tell(f"{len(proc.ticks(store))} blocks, done\n{empty.kubectl('get', 'pods')}")
    assert is_same(store, undisturbed)


def test_run__in_a_bucket_has_as_many_workers_as_there_is_work_for(helm, empty, bucket, tmp_path):
    study = proc.write_study(tmp_path, 12, 7, 0.2)
    for path in (study, *study.parent.glob("*.npy")):
        bucket.upload_file(str(path), "runs", f"input/{path.name}")
    places = ("study.url=s3://runs/input", "store.url=s3://runs/mine.zarr", "store.secret=keys")
    scale = ("autoscaler.enabled=true", "autoscaler.maximum=3", "workers.count=1")
    helm.install("mine", *places, *scale, "workers.cpu=1")
    seen = []

    def has_ended():
        number = empty.kubectl(
            "get", "daskworkergroup", "--ignore-not-found", "mine-default", REPLICAS
        )
        if number and seen[-1:] != [number]:
            seen.append(number)
        return empty.kubectl("get", "job", "mine-driver", DONE) == "1"

    assert proc.wait_until(has_ended, 0.5), empty.state()
    tell(empty.kubectl("logs", "job/mine-driver"))
    assert proc.wait_until(lambda: has_ended() and seen[-1] == "1", 0.5), empty.state()
    tell(f"workers: {' '.join(seen)}")
    assert max(map(int, seen)) > 1
    said = empty.kubectl(*LOG)
    assert "Retired workers" in said
    assert "falling back" not in said
    verified = proc.call("verify", "s3://runs/mine.zarr")
    assert verified.returncode == 0, verified.stderr


def test_driver__outside_of_the_cluster_and_a_store_on_object_storage(
    helm, empty, bucket, study, undisturbed, tmp_path
):
    sets = ("shape=cluster", "store.url=s3://runs/run", "store.secret=keys", "workers.count=1")
    words = [word for each in sets for word in ("--set", each)]
    documents = yaml.safe_load_all(
        helm("template", "mine", CHART, "--kube-version", "1.20", *words)
    )
    manifest = tmp_path / "cluster.yaml"
    manifest.write_text(yaml.safe_dump_all([fitted(each) for each in documents if each]))
    words = ("run", study, "--cluster", "kubernetes", "--manifest", manifest, "-n", "1")
    done = proc.call(*words, "--store", "s3://runs/run")
    assert done.returncode == 0, done.stderr + empty.state()
    tell(done.stderr)
    # What the command made it has removed.
    kinds = "daskclusters,networkpolicies,poddisruptionbudgets"
    assert json.loads(empty.kubectl("get", kinds, "--output=json"))["items"] == []
    found = proc.call("show", "s3://runs/run", "--json")
    assert json.loads(found.stdout) == proc.shown(undisturbed)
