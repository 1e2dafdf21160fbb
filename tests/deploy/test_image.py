"""What the image is made of, and the script that builds and pushes it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"


def test_fetch__copies_a_folder(tmp_path):
    (tmp_path / "bucket/s/tables").mkdir(parents=True)
    (tmp_path / "bucket/s/study.yaml").write_text("a")
    (tmp_path / "bucket/s/tables/one.npy").write_bytes(b"\0" * 10**6)
    (tmp_path / "bucket/other").write_text("not of the study")
    words = [sys.executable, "-c", (FOLDER / "fetch.py").read_text()]
    url = f"file://{tmp_path}/bucket"
    subprocess.run([*words, f"{url}/s", str(tmp_path / "study")], check=True)
    found = {p.relative_to(tmp_path / "study").as_posix() for p in tmp_path.glob("study/**/*.*")}
    assert found == {"study.yaml", "tables/one.npy"}
    assert (tmp_path / "study/tables/one.npy").stat().st_size == 10**6
    (tmp_path / "none").mkdir()
    done = subprocess.run(
        [*words, f"file://{tmp_path}/none", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"study.url: expected files, found none in file://{tmp_path}/none\n"


DOCKER = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$*" in
*inspect*) exit 1 ;;
*"buildx build"*)
  while [ $# -gt 1 ]; do [ "$1" != --metadata-file ] || echo '{metadata}' >"$2"; shift; done ;;
esac
"""


def test_build__makes_both_architectures_and_says_what_to_give(tmp_path):
    docker = tmp_path / "docker"
    metadata = '{"buildx.build.ref": "x", "containerimage.digest": "sha256:12"}'
    docker.write_text(DOCKER.format(folder=tmp_path, metadata=metadata))
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def build(*words):
        return subprocess.run(
            ["sh", str(FOLDER / "build.sh"), *words],
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "expected REPOSITORY:TAG, got host:5000/iitdask" in build("host:5000/iitdask").stderr
    done = build("host:5000/iitdask:1")
    said = "--set image.repository=host:5000/iitdask,image.digest=sha256:12\n"
    assert (done.returncode, done.stdout) == (0, said)
    _, made, built = (tmp_path / "asked").read_text().splitlines()
    assert made == "buildx create --name iitdask --driver docker-container"
    assert "--platform linux/amd64,linux/arm64" in built
    assert "--tag host:5000/iitdask:1" in built


def test_constraints__are_within_what_the_package_allows():
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    allowed = {each.name: each for each in map(Requirement, allowed)}
    lines = (FOLDER / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {each.name for each in pinned} == {"dask", "distributed"}
    for each in pinned:
        (pin,) = each.specifier
        assert pin.operator == "=="
        assert pin.version in allowed[each.name].specifier


def test_install__is_what_the_image_is_built_with():
    text = (FOLDER / "Dockerfile").read_text()
    assert "RUN sh /src/deploy/kubernetes/install.sh /src" in text
    assert "USER 1000:1000" in text
    for script in ("install.sh", "start.sh", "build.sh"):
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


def test_start__on_arm_takes_kernels_for_every_processor_of_its_kind(tmp_path):
    uname = tmp_path / "uname"
    uname.write_text("#!/bin/sh\necho aarch64\n")
    uname.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IITDASK_NUMBA_CACHE": str(tmp_path)}
    for given, expected in (({}, "generic"), ({"NUMBA_CPU_NAME": "neoverse-n1"}, "neoverse-n1")):
        words = [str(FOLDER / "start.sh"), "sh", "-c", "echo $NUMBA_CPU_NAME"]
        assert subprocess.check_output(words, env=environment | given, text=True) == f"{expected}\n"
