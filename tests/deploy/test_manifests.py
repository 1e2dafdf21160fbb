"""The manifests, held strictly against the schemas of the Dask operator and of Kubernetes."""

import copy
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUBERNETES = "1.34"
CHART = Path("dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator")
MANIFESTS = sorted(path for path in FOLDER.glob("*.yaml") if "values" not in path.name)
IDS = [path.name for path in MANIFESTS]
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def chart():
    return Path(str(distribution("dask-kubernetes").locate_file(CHART)))


def documents(path):
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def closed(schema):
    """The schema with every field that is not named forbidden, as a strict API server has it."""
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items() if key != "properties"}
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("anyOf", None)
        found["type"] = ["integer", "string"]
    if "items" in schema:
        found["items"] = closed(schema["items"])
    if "properties" in schema:
        found["properties"] = {key: closed(each) for key, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    return found


@pytest.fixture(scope="module")
def crds():
    found = {}
    for path in (chart() / "crds").glob("*.yaml"):
        crd = yaml.safe_load(path.read_text())
        schema = closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        for name in ("apiVersion", "kind"):
            schema["properties"][name] = {"type": "string"}
        schema["properties"]["metadata"] = {"type": "object"}
        found[crd["spec"]["names"]["kind"]] = schema
    return found


def pods(document):
    """Pod specs of a document, wherever they are."""
    found = []
    if isinstance(document, dict):
        if "containers" in document:
            found.append(document)
        for value in document.values():
            found += pods(value)
    elif isinstance(document, list):
        for value in document:
            found += pods(value)
    return found


def require_valid(document, crds):
    kind = document["kind"]
    if kind not in crds:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    jsonschema.validate(document, crds[kind])
    # The CRDs leave much of a pod open; Kubernetes does not.
    for spec in pods(document):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


INVALID = (jsonschema.ValidationError, kubernetes_validate.ValidationError)


@pytest.mark.parametrize("path", MANIFESTS, ids=IDS)
def test_manifest__is_valid(path, crds):
    (document,) = documents(path)
    require_valid(document, crds)


def spoiled(document, way, value):
    found = copy.deepcopy(document)
    inner = found
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    return found


@pytest.mark.parametrize(
    ("name", "way", "value"),
    [
        ("cluster-pvc", ["spec", "idleTimeOut"], 5),
        ("cluster-pvc", ["spec", "worker", "replicas"], "three"),
        ("cluster-pvc", ["spec", "worker", "replica"], 3),
        ("cluster-pvc", ["spec", "worker", "spec", "containers", 0, "resource"], {}),
        ("cluster-pvc", ["spec", "worker", "spec", "securityContext", "runAsNonRot"], True),
        ("job-bucket", ["spec", "job", "spec", "restartPolicy"], 3),
        ("job-bucket", ["spec", "job", "spec", "restart"], "Never"),
        ("autoscaler", ["spec", "maximum"], "many"),
        ("autoscaler", ["spec", "max"], 3),
        ("workers-pvc", ["spec", "completion"], 3),
        ("networkpolicy", ["spec", "ingres"], []),
        ("store-pvc", ["spec", "accessMode"], "ReadWriteMany"),
    ],
)
def test_schemas__refuse_what_is_misspelt(name, way, value, crds):
    (document,) = documents(FOLDER / f"{name}.yaml")
    with pytest.raises(INVALID):
        require_valid(spoiled(document, way, value), crds)


def size(text):
    number, unit = re.fullmatch(r"(\d+)([KMG]i)B?", text).groups()
    return int(number) * UNITS[unit]


def after(words, flag):
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("path", MANIFESTS, ids=IDS)
def test_pods__are_confined_and_say_what_they_need(path):
    for document in documents(path):
        assert document["kind"] != "Secret"
        for spec in pods(document):
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["automountServiceAccountToken"] is False
            for box in spec["containers"]:
                allowed = box["securityContext"]
                assert allowed["allowPrivilegeEscalation"] is False
                assert allowed["readOnlyRootFilesystem"] is True
                assert allowed["capabilities"] == {"drop": ["ALL"]}
                needs = box["resources"]
                assert needs["requests"]["memory"] == needs["limits"]["memory"]
                assert {"name": "tmp", "mountPath": "/tmp"} in box["volumeMounts"]


@pytest.mark.parametrize("path", MANIFESTS, ids=IDS)
def test_workers__are_told_the_cores_and_memory_of_their_pod(path):
    boxes = [box for each in documents(path) for spec in pods(each) for box in spec["containers"]]
    for box in (box for box in boxes if box["name"] == "worker"):
        words, limits = box["args"], box["resources"]["limits"]
        threads = "--threads" if "work" in words else "--nthreads"
        memory = "--memory" if "work" in words else "--memory-limit"
        assert after(words, threads) == limits["cpu"] == box["resources"]["requests"]["cpu"]
        assert size(after(words, memory)) == size(limits["memory"])


def test_images__are_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    texts = [path.read_text() for path in (*MANIFESTS, FOLDER / "Dockerfile")]
    assert {tag for text in texts for tag in re.findall(r"\biitdask:([\w.]+)", text)} == {version}


def test_job__holds_the_same_cluster_as_the_cluster_alone():
    for kind in ("pvc", "bucket"):
        (job,) = documents(FOLDER / f"job-{kind}.yaml")
        (cluster,) = documents(FOLDER / f"cluster-{kind}.yaml")
        assert job["spec"]["cluster"]["spec"] == cluster["spec"]
        assert cluster["spec"]["idleTimeout"] > 0


def test_commands__are_ones_that_exist():
    from iitdask.cli.app import COMMANDS
    from iitdask.cli.run_command import work

    for path in MANIFESTS:
        for document in documents(path):
            for spec in pods(document):
                for box in spec["containers"]:
                    program, *words = box["args"]
                    known = {"dask": ("scheduler", "worker"), "iitdask": COMMANDS}
                    assert words[0] in known[program]
    for flag in ("--spec", "--threads", "--memory"):
        assert flag.lstrip("-") in work.__annotations__


def test_values__name_only_what_the_chart_knows():
    def within(ours, theirs, way=""):
        for key, value in ours.items():
            assert key in theirs, f"{way}{key}"
            if isinstance(value, dict) and theirs[key]:
                within(value, theirs[key], f"{way}{key}.")

    values = yaml.safe_load((FOLDER / "operator-values.yaml").read_text())
    within(values, yaml.safe_load((chart() / "values.yaml").read_text()))


HELM = os.environ.get("IITDASK_HELM") or shutil.which("helm")


@pytest.mark.skipif(HELM is None, reason="helm is not installed; .ci/run tests fetches it")
def test_chart__with_our_values_gives_valid_objects(crds, tmp_path):
    words = [HELM, "template", "dask-operator", str(chart()), "--namespace", "dask-operator"]
    done = subprocess.run(
        [*words, "--values", str(FOLDER / "operator-values.yaml"), "--include-crds"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert {"Deployment", "ClusterRole", "ServiceAccount"} <= {each["kind"] for each in found}
    for document in found:
        if document["kind"] != "CustomResourceDefinition":
            require_valid(document, crds)


def test_install__is_what_the_image_is_built_with():
    text = (FOLDER / "Dockerfile").read_text()
    assert "RUN sh /src/deploy/kubernetes/install.sh /src" in text
    assert "USER 1000:1000" in text
    for script in ("install.sh", "start.sh"):
        checked = subprocess.run(["sh", "-n", str(FOLDER / script)], check=False)
        assert checked.returncode == 0


def test_start__copies_the_kernels_of_the_image_and_runs_a_command(tmp_path):
    (tmp_path / "image/kernels-1").mkdir(parents=True)
    (tmp_path / "image/kernels-1/one.nbi").write_bytes(b"index")
    cache = tmp_path / "own/cache"
    code = "import os; print(os.environ.get('NUMBA_CPU_NAME', ''))"
    for _ in range(2):
        done = subprocess.run(
            [str(FOLDER / "start.sh"), sys.executable, "-c", code],
            env={"IITDASK_IMAGE_KERNELS": str(tmp_path / "image"), "PATH": os.environ["PATH"]}
            | {"IITDASK_NUMBA_CACHE": str(cache)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() in ("x86-64-v3", "")
        assert (cache / "kernels-1/one.nbi").read_bytes() == b"index"
    assert cache.stat().st_mode & 0o777 == 0o700
