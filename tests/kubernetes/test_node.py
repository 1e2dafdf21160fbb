"""Runs on a real Kubernetes, from the manifests, and what clusters do to them.

Only what has to differ on a node of two cores is changed in the manifests: requests of CPU,
and the number of pods.
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
from site_kubernetes import ADDRESS

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes"
CHART = Path("dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator")
PATIENCE = 600
CPU = {"worker": "200m", "scheduler": "100m", "job": "100m"}
DONE = "--output=jsonpath={.status.succeeded}"
CREDENTIALS = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "anyone",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_ALLOW_HTTP": "true",
}


def document(name):
    return fitted(yaml.safe_load((DEPLOY / f"{name}.yaml").read_text()))


def fitted(value):
    """The same for a small node."""
    if isinstance(value, dict):
        value = {key: fitted(each) for key, each in value.items()}
        if value.get("name") in CPU and "resources" in value:
            value["resources"]["requests"]["cpu"] = CPU[value["name"]]
    elif isinstance(value, list):
        value = [fitted(each) for each in value]
    return value


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Nine units in some hundred blocks."""
    return proc.write_study(tmp_path_factory.mktemp("study"), 9, 7, 0.005)


@pytest.fixture(scope="module")
def undisturbed(study):
    store = study.parent / "undisturbed.zarr"
    done = proc.call("run", study, "--store", store, "--quiet")
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture(scope="module")
def cluster(node, study):
    """The operator, and the study as the manifests look for it."""
    helm = os.environ.get("IITDASK_HELM") or shutil.which("helm")
    assert helm is not None, "helm is not installed; .ci/run kubernetes fetches it"
    chart = str(distribution("dask-kubernetes").locate_file(CHART))
    words = ("--namespace", "dask-operator", "--create-namespace")
    values = ("--values", DEPLOY / "operator-values.yaml")
    subprocess.run(
        list(map(str, (helm, "upgrade", "--install", "dask-operator", chart, *words, *values))),
        env=node.environment,
        capture_output=True,
        check=True,
    )
    deployment = "deployment/dask-operator-dask-kubernetes-operator"
    where = ("--namespace", "dask-operator")
    node.kubectl("rollout", "status", deployment, *where, "--timeout=110s")
    files = [f"--from-file={name}={path}" for name, path in named(study).items()]
    node.kubectl("create", "configmap", "iitdask-study", *files)
    node.apply(document("networkpolicy"))
    return node


def named(study):
    """Files of a study by the names they have in the pods."""
    return {"study.yaml": study, **{path.name: path for path in study.parent.glob("*.npy")}}


@pytest.fixture
def empty(cluster):
    """The cluster, from which everything that was applied is removed."""
    yield cluster
    for kind in ("daskjobs", "daskautoscalers", "daskclusters", "jobs"):
        cluster.kubectl("delete", kind, "--all", "--timeout=100s")
    cluster.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    cluster.kubectl("delete", "persistentvolumeclaims,persistentvolumes", "--all")


@pytest.fixture
def volume(empty, tmp_path):
    """The folder behind the claim of the manifests."""
    folder = tmp_path / "volume"
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    claim = document("store-pvc")
    about = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "store"},
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "hostPath": {"path": str(folder)},
        },
    }
    empty.apply(about)
    empty.apply(claim)
    return folder


def begun(node, store, count=10):
    claim = lambda: len(proc.ticks(store)) > count  # noqa: E731
    assert proc.wait_until(claim, PATIENCE, 0.1), node.state()


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


def test_job__outlives_its_workers_and_its_scheduler(cluster, volume, undisturbed):
    store = volume / "run.zarr"
    cluster.apply(document("job-pvc"))
    begun(cluster, store)
    of_run = {"dask.org/cluster-name": "iitdask"}
    tell(f"{len(proc.ticks(store))} blocks, a worker is deleted\n{cluster.kubectl('get', 'pods')}")
    kill(cluster, **of_run, **{"dask.org/component": "worker"})
    seen = len(proc.ticks(store))
    begun(cluster, store, seen + 5)
    tell(f"{len(proc.ticks(store))} blocks, the scheduler is deleted")
    kill(cluster, **of_run, **{"dask.org/component": "scheduler"})
    assert not is_finished(store)
    assert proc.wait_until(lambda: is_finished(store), PATIENCE, 0.2), cluster.state()
    status = "--output=jsonpath={.status.jobStatus}"
    successful = lambda: cluster.kubectl("get", "daskjob", "iitdask", status) == "Successful"  # noqa: E731
    assert proc.wait_until(successful, PATIENCE, 0.5), cluster.state()
    said = cluster.kubectl("logs", "iitdask-runner")
    tell(f"{len(proc.ticks(store))} blocks, done\n{cluster.kubectl('get', 'pods')}{said}")
    # The driver lost its scheduler, was started again, and went on.
    assert "already there" in said
    assert is_same(store, undisturbed)


def test_workers__without_an_operator_outlive_one_of_them(cluster, volume, undisturbed):
    store = volume / "run.zarr"
    workers = document("workers-pvc")
    workers["spec"] |= {"completions": 2, "parallelism": 2}
    cluster.apply(workers)
    begun(cluster, store)
    tell(f"{len(proc.ticks(store))} blocks, a pod is deleted\n{cluster.kubectl('get', 'pods')}")
    kill(cluster, **{"job-name": "iitdask-workers"})
    assert not is_finished(store)
    assert proc.wait_until(lambda: is_finished(store), PATIENCE, 0.2), cluster.state()
    ended = lambda: cluster.kubectl("get", "job", "iitdask-workers", DONE) == "2"  # noqa: E731
    assert proc.wait_until(ended, PATIENCE, 0.5), cluster.state()
    tell(f"{len(proc.ticks(store))} blocks, done\n{cluster.kubectl('get', 'pods')}")
    assert is_same(store, undisturbed)


def test_driver__outside_of_the_cluster_and_a_store_on_object_storage(
    empty, study, undisturbed, tmp_path, monkeypatch
):
    log = tmp_path / "s3"
    server = proc.start("moto.server", "-H", ADDRESS, "-p", 9000, log=log)
    said = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{ADDRESS}:9000"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    manifest = tmp_path / "cluster.yaml"
    manifest.write_text(yaml.safe_dump(document("cluster-bucket")))
    try:
        assert proc.wait_until(lambda: "Running on" in log.read_text())
        import boto3

        boto3.client("s3").create_bucket(Bucket="runs")
        given = [f"--from-literal={name}={value}" for name, value in said.items()]
        empty.kubectl("create", "secret", "generic", "iitdask-store", *given)
        words = ("run", study, "--cluster", "kubernetes", "--manifest", manifest, "-n", "1")
        words = (*words, "--store", "s3://runs/run")
        done = subprocess.run(
            [sys.executable, "-m", "iitdask", *map(str, words)],
            env=proc.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr + empty.state()
        tell(done.stderr)
        # What the command made it has removed.
        assert json.loads(empty.kubectl("get", "daskclusters", "--output=json"))["items"] == []
        found = proc.call("show", "s3://runs/run", "--json")
        assert json.loads(found.stdout) == proc.shown(undisturbed)
    finally:
        proc.end(server)
