"""What the chart renders, held strictly against the schemas of the Dask operator and Kubernetes."""

import copy
import functools
import json
import os
import re
import shutil
import subprocess
import tomllib
import urllib.request
from importlib.metadata import distribution
from pathlib import Path

import jsonschema
import kubernetes_validate
import numpy as np
import pytest
import yaml

import iitdask as iit

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OLDEST, NEW = "1.20", "1.31"
SCHEMAS = ("1.31", "1.37")
CHART = Path("dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator")
HELM = os.environ.get("IITDASK_HELM") or shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="needs helm; .ci/run tests fetches it")
SHAPES = ("run", "cluster", "workers")
PLACES = {
    "volume": ("study.text=x", "store.claim=data"),
    "bucket": ("study.url=s3://b/s", "store.url=s3://b/s.zarr", "store.secret=keys"),
}
RENDERED = [(shape, place) for shape in SHAPES for place in PLACES]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def helm(*words):
    environment = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    return subprocess.run(
        [HELM, *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )


def template(*sets, version=NEW):
    words = [word for each in sets for word in ("--set", each)]
    return helm("template", "mine", FOLDER, "--kube-version", version, *words)


@functools.cache
def render(*sets, version=NEW):
    """Objects of the chart with these values, by kind and name."""
    done = template(*sets, version=version)
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.load_all(done.stdout, LOADER) if each is not None]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def rendered(shape, place="volume", *more, version=NEW):
    sets = (f"shape={shape}", *PLACES[place], *more)
    return copy.deepcopy(render(*sets, version=version))


def chart():
    return Path(str(distribution("dask-kubernetes").locate_file(CHART)))


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


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once():
    """The schemas of Kubernetes are some megabytes, read again for every object otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        read = functools.cache(kubernetes_validate.utils.schema_contents)
        patch.setattr(kubernetes_validate.utils, "schema_contents", read)
        yield


@pytest.fixture(scope="module")
def crds():
    found = {}
    for path in (chart() / "crds").glob("*.yaml"):
        crd = yaml.load(path.read_text(), LOADER)
        schema = closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        for name in ("apiVersion", "kind"):
            schema["properties"][name] = {"type": "string"}
        schema["properties"]["metadata"] = {"type": "object"}
        found[crd["spec"]["names"]["kind"]] = jsonschema.Draft7Validator(schema)
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


def require_valid(document, crds, schemas=SCHEMAS):
    kind = document["kind"]
    checked = [document]
    if kind in crds:
        crds[kind].validate(document)
        # The CRDs leave much of a pod open; Kubernetes does not.
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
        checked = [about | {"spec": spec} for spec in pods(document)]
    for each in checked:
        for schema in schemas:
            kubernetes_validate.validate(each, schema, strict=True)


def boxes(objects, name):
    """Containers of a name, wherever they are."""
    found = [box for each in objects.values() for spec in pods(each) for box in spec["containers"]]
    return [box for box in found if box["name"] == name]


INVALID = (jsonschema.ValidationError, kubernetes_validate.ValidationError)


@needs_helm
@pytest.mark.parametrize(("shape", "place"), RENDERED)
def test_chart__gives_valid_objects(shape, place, crds):
    more = ("autoscaler.enabled=true", "workers.spot=true", "store.claim=")
    objects = rendered(shape, place, *more)
    for each in objects.values():
        require_valid(each, crds)
    kinds = {name.partition("/")[0] for name in objects}
    assert {"ServiceAccount", "NetworkPolicy"} <= kinds
    assert ("PersistentVolumeClaim" in kinds) == (place == "volume")
    assert ("ConfigMap" in kinds) == (place == "volume" and shape != "cluster")
    assert ({"DaskCluster", "DaskAutoscaler"} <= kinds) == (shape != "workers")
    assert ("Job" in kinds) == (shape != "cluster")
    # Any number of studies in a namespace: all are named after theirs.
    assert all(re.match(r".*/mine(-|$)", name) for name in objects)


@needs_helm
def test_chart__for_an_old_server_has_none_of_what_came_later(crds):
    new, old = (rendered("run", version=version) for version in (NEW, OLDEST))
    assert new["PodDisruptionBudget/mine-driver"]["apiVersion"] == "policy/v1"
    assert old["PodDisruptionBudget/mine-driver"]["apiVersion"] == "policy/v1beta1"
    assert "unhealthyPodEvictionPolicy" not in old["PodDisruptionBudget/mine-driver"]["spec"]
    later = {"podFailurePolicy", "ttlSecondsAfterFinished"}
    assert later <= set(new["Job/mine-driver"]["spec"])
    assert not later & set(old["Job/mine-driver"]["spec"])
    middle = rendered("run", version="1.28")["Job/mine-driver"]["spec"]
    assert later & set(middle) == {"ttlSecondsAfterFinished"}
    for version in ("1.25", "1.28"):
        for each in rendered("run", version=version).values():
            require_valid(each, crds, (version,))


def spoiled(document, way, value):
    found = copy.deepcopy(document)
    inner = found
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    return found


@needs_helm
@pytest.mark.parametrize(
    ("name", "way", "value"),
    [
        ("DaskCluster/mine", ["spec", "idleTimeOut"], 5),
        ("DaskCluster/mine", ["spec", "worker", "replicas"], "three"),
        ("DaskCluster/mine", ["spec", "worker", "replica"], 3),
        ("DaskCluster/mine", ["spec", "worker", "spec", "containers", 0, "resource"], {}),
        ("DaskCluster/mine", ["spec", "worker", "spec", "securityContext", "runAsNonRot"], True),
        ("Job/mine-driver", ["spec", "template", "spec", "restartPolicy"], 3),
        ("Job/mine-driver", ["spec", "podFailurePolicy", "rules", 0, "onExitCode"], {}),
        ("Job/mine-driver", ["spec", "ttlSeconds"], 3),
        ("PodDisruptionBudget/mine-driver", ["spec", "minAvailible"], 1),
        ("NetworkPolicy/mine", ["spec", "ingres"], []),
        ("ServiceAccount/mine", ["automountServiceAccountTokens"], False),
    ],
)
def test_schemas__refuse_what_is_misspelt(name, way, value, crds):
    document = spoiled(rendered("run")[name], way, value)
    with pytest.raises(INVALID):
        require_valid(document, crds, SCHEMAS[:1])


def size(text):
    number, unit = re.fullmatch(r"(\d+)([KMG]i)B?", text).groups()
    return int(number) * UNITS[unit]


def after(words, flag):
    return words[words.index(flag) + 1]


@needs_helm
@pytest.mark.parametrize(("shape", "place"), RENDERED)
def test_pods__are_confined_and_say_what_they_need(shape, place):
    objects = rendered(shape, place)
    assert not any(name.startswith("Secret/") for name in objects)
    specs = [spec for each in objects.values() for spec in pods(each)]
    assert specs
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        for box in (*spec["containers"], *spec.get("initContainers", ())):
            allowed = box["securityContext"]
            assert allowed["allowPrivilegeEscalation"] is False
            assert allowed["readOnlyRootFilesystem"] is True
            assert allowed["capabilities"] == {"drop": ["ALL"]}
            needs = box["resources"]
            assert needs["requests"]["memory"] == needs["limits"]["memory"]
            assert {"name": "tmp", "mountPath": "/tmp"} in box["volumeMounts"]
            assert box["image"] == f"iitdask:{VERSION}"


@needs_helm
@pytest.mark.parametrize(("shape", "place"), RENDERED)
def test_workers__are_told_the_cores_and_memory_of_their_pod(shape, place):
    (box,) = boxes(rendered(shape, place, "workers.cpu=3", "workers.memory=7Gi"), "worker")
    words, limits = box["args"], box["resources"]["limits"]
    threads = "--threads" if "work" in words else "--nthreads"
    memory = "--memory" if "work" in words else "--memory-limit"
    assert after(words, threads) == limits["cpu"] == box["resources"]["requests"]["cpu"] == "3"
    assert size(after(words, memory)) == size(limits["memory"]) == 7 * 2**30


def test_versions__are_those_of_the_package():
    about = yaml.safe_load((FOLDER / "Chart.yaml").read_text())
    assert about["appVersion"] == VERSION
    assert about["version"] == VERSION.replace(".dev", "-dev.")
    text = (FOLDER / "Dockerfile").read_text()
    assert set(re.findall(r"\biitdask:([\w.]+)", text)) == {VERSION}


@needs_helm
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels__are_kept_where_no_volume_is(shape):
    """Kubernetes lets all write to a volume, and iitdask loads nothing from where others can."""
    (cache,) = re.findall(r"IITDASK_NUMBA_CACHE=(\S+) \\", (FOLDER / "Dockerfile").read_text())
    for each in rendered(shape).values():
        for spec in pods(each):
            for box in spec["containers"]:
                mounts = [mount["mountPath"] for mount in box["volumeMounts"]]
                assert not any(Path(cache).is_relative_to(mount) for mount in mounts)


@needs_helm
@pytest.mark.slow
def test_memory__is_enough_for_fourteen_units():
    from iitdask.run.worker_inventory import PAUSED_MEMORY_SHARE

    tpm = np.random.default_rng(3).random((2**14, 14))
    study = {"substrate": {"tpm": tpm.tolist()}, "state": "0" * 14, "compute": "ces"}
    costs = iit.estimate(study, seconds=0)
    for shape, name in (("run", "worker"), ("run", "driver"), ("workers", "worker")):
        (box,) = boxes(rendered(shape), name)
        limit = size(box["resources"]["limits"]["memory"])
        assert costs.bytes_per_worker <= PAUSED_MEMORY_SHARE * limit


@needs_helm
def test_commands__are_ones_that_exist():
    from iitdask.cli.app import COMMANDS
    from iitdask.cli.run_command import run, work

    known = {"dask": ("scheduler", "worker"), "iitdask": COMMANDS}
    for shape in SHAPES:
        for name in ("scheduler", "worker", "driver"):
            for box in boxes(rendered(shape), name):
                program, *words = box["args"]
                assert words[0] in known[program]
                if program == "iitdask":
                    flags = [word[2:] for word in words if word.startswith("--")]
                    assert set(flags) <= set({"run": run, "work": work}[words[0]].__annotations__)


@needs_helm
def test_jobs__of_a_wrong_study_fail_at_once_and_evicted_pods_count_for_nothing(tmp_path):
    from iitdask.cli.app import main

    (tmp_path / "study.yaml").write_text("substrate: nothing")
    for shape, name in (("run", "driver"), ("workers", "workers")):
        spec = rendered(shape)[f"Job/mine-{name}"]["spec"]
        fails, ignores = spec["podFailurePolicy"]["rules"]
        (box,) = spec["template"]["spec"]["containers"]
        assert fails["action"] == "FailJob"
        assert fails["onExitCodes"]["containerName"] == box["name"]
        assert spec["template"]["spec"]["restartPolicy"] == "Never"  # else there is no such policy
        words = [word.replace("/study/", f"{tmp_path}/") for word in box["args"][1:]]
        words = [word.replace("/store/", f"{tmp_path}/") for word in words]
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert fails["onExitCodes"]["values"] == [stop.value.code]
        assert ignores["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


@needs_helm
def test_scheduler__answers_the_operator_over_http():
    import dask
    from distributed import LocalCluster

    (box,) = boxes(rendered("run"), "scheduler")
    settings = dask.config.collect_env({each["name"]: each["value"] for each in box["env"]})
    defaults = dask.config.get("distributed.scheduler.http.routes")
    routes = settings["distributed"]["scheduler"]["http"]["routes"]
    assert set(routes) > set(defaults)
    quiet = {"dashboard_address": "127.0.0.1:0", "n_workers": 0, "processes": False}
    with (
        dask.config.set({"distributed.scheduler.http.routes": routes}),
        LocalCluster(**quiet) as cluster,
    ):
        port = cluster.scheduler.identity()["services"]["dashboard"]
        target = f"http://127.0.0.1:{port}/api/v1/adaptive_target"
        with urllib.request.urlopen(target) as answer:
            assert json.load(answer) == {"workers": 0}


@needs_helm
def test_selectors__find_the_pods_of_a_study_and_no_others():
    objects = rendered("run")
    cluster = objects["DaskCluster/mine"]["spec"]
    labels = {
        "scheduler": cluster["scheduler"]["metadata"]["labels"],
        "worker": cluster["worker"]["metadata"]["labels"],
        "driver": objects["Job/mine-driver"]["spec"]["template"]["metadata"]["labels"],
    }
    policy = objects["NetworkPolicy/mine"]["spec"]
    chosen = policy["podSelector"]["matchLabels"]
    assert chosen["app.kubernetes.io/instance"] == "mine"
    assert {"podSelector": {"matchLabels": chosen}} in policy["ingress"][0]["from"]
    assert all(chosen.items() <= each.items() for each in labels.values())
    for name in ("scheduler", "driver"):
        budget = objects[f"PodDisruptionBudget/mine-{name}"]["spec"]["selector"]["matchLabels"]
        found = [each for each, own in labels.items() if budget.items() <= own.items()]
        assert found == [name]


@needs_helm
def test_study_and_store__in_one_volume_are_mounted_from_it_once():
    sets = ("shape=workers", "study.claim=data", "store.claim=data", "study.file=a/b.yaml")
    (spec,) = pods(render(*sets)["Job/mine-workers"])
    assert [each["name"] for each in spec["volumes"]] == ["tmp", "store"]
    mounts = {each["mountPath"]: each["name"] for each in spec["containers"][0]["volumeMounts"]}
    assert mounts == {"/tmp": "tmp", "/store": "store", "/study": "store"}
    assert after(spec["containers"][0]["args"], "--spec") == "/study/a/b.yaml"


@needs_helm
@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ((), "expected one of text, configMap, claim, url, got none"),
        (("study.text=x", "study.url=s3://b/x"), "claim, url, got text, url"),
        (("workers.memroy=4Gi",), "workers: Additional property memroy is not allowed"),
        (("workers.memory=4GB",), "workers.memory: Does not match pattern"),
        (("workers.cpu=0",), "workers.cpu: Must be greater than or equal to 1"),
        (("shape=jobs",), "shape: shape must be one of"),
        (("study.url=http://x",), "study.url: Does not match pattern"),
    ],
)
def test_values__that_are_wrong_are_refused(sets, message):
    done = template(*sets)
    assert done.returncode == 1
    assert message in done.stderr


@needs_helm
def test_study__too_large_for_a_config_map_is_refused(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_text("#" * 1_000_001)
    done = helm("template", "mine", FOLDER, "--set-file", f"study.text={path}")
    assert "study.text: expected at most 1000000 bytes, got 1000001; put study" in done.stderr


OTHER_VALUES = {
    "shape": "workers",
    "image.digest": "sha256:" + "0" * 64,
    "image.pullPolicy": "Always",
    "study.text": None,  # one of the four, which exclude each other: see PLACES and the others
    "study.url": None,
    "study.configMap": None,
    "study.claim": None,
    "study.file": "other.json",
    "store.url": "s3://b/x",
    "store.accessModes": "{ReadWriteOnce}",
    "store.size": "1Gi",
    "workers.memory": "5Gi",
    "workers.scratch": "5Gi",
    "scheduler.cpu": "250m",
    "scheduler.memory": "5Gi",
    "driver.memory": "5Gi",
    "driver.scratch": "5Gi",
}
"""Values to be tried in place of the chart's own; others are numbers, lists, maps or free texts."""
FREE = {
    "env": "env.A=b",
    "podLabels": "podLabels.a=b",
    "podAnnotations": "podAnnotations.a=b",
    "annotations": "serviceAccount.annotations.a=b",
    "nodeSelector": "{0}.a=b",
    "tolerations": "{0}[0].key=a",
    "affinity": "{0}.podAffinity.a=b",
    "topologySpreadConstraints": "{0}[0].maxSkew=1",
    "args": "{0}={{--quiet}}",
    "pullSecrets": "{0}={{a}}",
}


def leaves(values, way=""):
    """Every value by its name."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{way}{key}.")
        else:
            yield f"{way}{key}", value


def another(name, value):
    """What ``--set`` is told to give a value that differs."""
    if name in OTHER_VALUES:
        return f"{name}={OTHER_VALUES[name]}"
    if isinstance(value, bool):
        return f"{name}={str(not value).lower()}"
    if isinstance(value, int):
        return f"{name}={value + 1}"
    if isinstance(value, dict | list):
        return FREE[name.rpartition(".")[2]].format(name)
    return f"{name}=other"


VALUES = dict(leaves(yaml.safe_load((FOLDER / "values.yaml").read_text())))


@needs_helm
@pytest.mark.parametrize(
    "name", [each for each in VALUES if OTHER_VALUES.get(each, "") is not None]
)
def test_value__is_honoured(name):
    base = ("study.text=x", "autoscaler.enabled=true")
    if name == "autoscaler.enabled":
        base = base[:1]
    changed = another(name, VALUES[name])
    assert render(*base, changed) != render(*base)


@needs_helm
def test_study__is_taken_from_each_place():
    found = {}
    for place, given in {"text": "x", "configMap": "c", "claim": "v", "url": "s3://b/s"}.items():
        (spec,) = pods(render(f"study.{place}={given}")["Job/mine-driver"])
        (volume,) = [each for each in spec["volumes"] if each["name"] == "study"]
        found[place] = volume
    assert found["text"]["configMap"]["name"] == "mine-study"
    assert found["configMap"]["configMap"]["name"] == "c"
    assert found["claim"]["persistentVolumeClaim"] == {"claimName": "v", "readOnly": True}
    assert "emptyDir" in found["url"]


def test_schema__knows_the_values_and_no_others():
    def named(schema, way=""):
        for key, value in schema["properties"].items():
            if "properties" in value:
                yield from named(value, f"{way}{key}.")
            else:
                yield f"{way}{key}"

    schema = json.loads((FOLDER / "values.schema.json").read_text())
    assert set(named(schema)) == set(VALUES) | {"global"}  # Helm's own


def test_operator_values__name_only_what_its_chart_knows():
    def within(ours, theirs, way=""):
        for key, value in ours.items():
            assert key in theirs, f"{way}{key}"
            if isinstance(value, dict) and theirs[key]:
                within(value, theirs[key], f"{way}{key}.")

    values = yaml.safe_load((FOLDER / "operator-values.yaml").read_text())
    within(values, yaml.safe_load((chart() / "values.yaml").read_text()))


@needs_helm
def test_operator__with_our_values_has_valid_objects(crds):
    words = ("template", "dask-operator", chart(), "--namespace", "dask-operator")
    values = ("--values", FOLDER / "operator-values.yaml", "--include-crds")
    done = helm(*words, *values)
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.load_all(done.stdout, LOADER) if each]
    assert {"Deployment", "ClusterRole", "ServiceAccount"} <= {each["kind"] for each in found}
    for document in found:
        if document["kind"] != "CustomResourceDefinition":
            require_valid(document, crds)
