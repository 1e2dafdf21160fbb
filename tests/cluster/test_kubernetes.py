"""What kubectl is asked for: a stand-in answers, the scheduler behind it is real."""

import os

import pytest
from distributed import LocalCluster

from iitdask.cluster.kubernetes import Manifest, kubernetes
from iitdask.errors import InputError, InterruptedRunError

DOCUMENTS = """\
kind: DaskCluster
metadata: {name: iitdask}
---
kind: ServiceAccount
metadata: {name: iitdask}
---
kind: PersistentVolumeClaim
metadata: {name: iitdask-store}
"""
KUBECTL = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$*" in
*apply*)
  echo "daskcluster.kubernetes.dask.org/iitdask {applied}"
  echo "serviceaccount/iitdask unchanged"
  echo "networkpolicy.networking.k8s.io/iitdask {applied}"
  echo "persistentvolumeclaim/iitdask-store {applied}" ;;
*scale*) [ -e {folder}/group ] || {{ touch {folder}/group; echo "not found" >&2; exit 1; }} ;;
*port-forward*)
  [ -e {folder}/service ] || {{ touch {folder}/service; echo "no endpoints"; exit 1; }}
  [ -e {folder}/listens ] || {{
    touch {folder}/listens; echo "Forwarding from 127.0.0.1:1 -> 8786"; exit 1
  }}
  echo "Forwarding from 127.0.0.1:{port} -> 8786"; exec sleep 60 ;;
esac
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    def put(applied="created", port=1):
        command = tmp_path / "kubectl"
        command.write_text(KUBECTL.format(folder=tmp_path, applied=applied, port=port))
        command.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("iitdask.cluster.kubernetes.RETRY_SECONDS", 0.05)
    put.asked = lambda: (tmp_path / "asked").read_text().splitlines()
    return put


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(DOCUMENTS)
    return Manifest.read(str(path))


@pytest.fixture
def port():
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp"
    ) as cluster:
        yield int(cluster.scheduler_address.rpartition(":")[2])


@pytest.mark.parametrize("applied", ["created", "unchanged"])
def test_kubernetes__applies_scales_and_connects(applied, kubectl, port, manifest):
    kubectl(applied, port)
    with kubernetes(manifest, workers=3) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    asked = kubectl.asked()
    assert asked[0] == f"apply --filename {manifest.path}"
    # The group and the service come a moment after the cluster.
    scale = "scale daskworkergroup.kubernetes.dask.org/iitdask-default --replicas=3"
    assert asked[1:3] == [scale, scale]
    forward = "port-forward --address=127.0.0.1 service/iitdask-scheduler :8786"
    # The second one ended when the scheduler did not listen yet.
    assert asked[3:6] == [forward, forward, forward]
    # What was there before stays, and so does a volume, which holds results.
    made = "daskcluster.kubernetes.dask.org/iitdask networkpolicy.networking.k8s.io/iitdask"
    delete = f"delete {made} --wait=false --ignore-not-found"
    assert asked[6:] == ([delete] if applied == "created" else [])


def test_kubernetes__that_does_not_come_is_given_up_and_removed(kubectl, manifest):
    kubectl(port=1)
    with (
        pytest.raises(InterruptedRunError, match="does not answer"),
        kubernetes(manifest, patience=0.5),
    ):
        pass
    assert kubectl.asked()[-1].startswith("delete ")


def test_kubernetes__refused_is_quoted(tmp_path, monkeypatch, manifest):
    command = tmp_path / "kubectl"
    command.write_text("#!/bin/sh\necho 'no matches for kind DaskCluster' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with (
        pytest.raises(InputError, match="refused the manifest: no matches for kind DaskCluster"),
        kubernetes(manifest),
    ):
        pass


def test_kubernetes__without_kubectl_is_said(tmp_path, monkeypatch, manifest):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(InputError, match="expected kubectl on this machine"),
        kubernetes(manifest),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Pod", "expected one DaskCluster, found 0"),
        ("kind: DaskCluster\n---\nkind: DaskCluster", "found 2"),
        ("kind: DaskCluster", "expected a DaskCluster with a name"),
        ("a: [", "cannot be read"),
    ],
)
def test_manifest__that_is_none_is_refused(text, message, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Manifest.read(str(path))


def test_manifest__must_be_given():
    with pytest.raises(InputError, match="--manifest: expected a file with a DaskCluster"):
        Manifest.read(None)
    with pytest.raises(InputError, match="expected a file with a DaskCluster for --manifest"):
        Manifest.read(os.devnull + "/none")


def test_manifest__may_name_its_namespace(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("kind: DaskCluster\nmetadata: {name: iit, namespace: brains}")
    words = Manifest.read(str(path)).kubectl("get", "pods")
    assert words == ["kubectl", "--namespace", "brains", "get", "pods"]


def test_manifest__that_cannot_be_read_is_refused_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "deep.yaml").write_text("[" * 5000)
    (tmp_path / "time.yaml").write_text("a: !!timestamp x")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("fifo", "deep.yaml", "time.yaml", "binary.yaml", "none.yaml", "a\0b"):
        with pytest.raises(InputError, match="--manifest") as caught:
            Manifest.read(str(tmp_path / name))
        assert len(str(caught.value)) < 400
