"""A folder as container images, several names with one layer between them, without any docker."""

import hashlib
import io
import json
import re
import shlex
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import yaml

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True)
class Image:
    """What a name stands for beside the files."""

    name: str
    entrypoint: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    user: str = ""
    folder: str = "/"


def dockerfile_image(path, name):
    """The image of a Dockerfile of ours: what it says beside the files it copies."""
    text = path.read_text().replace("\\\n", " ")
    said = re.findall(r"^(ENV|USER|WORKDIR|ENTRYPOINT) (.*)$", text, re.MULTILINE)
    words = dict(said)
    environment = dict(
        word.split("=", 1) for key, value in said if key == "ENV" for word in shlex.split(value)
    )
    entrypoint = tuple(json.loads(words["ENTRYPOINT"]))
    return Image(name, entrypoint, environment, words["USER"], words["WORKDIR"])


def write_archive(root, images, path):
    """Write an archive that ``ctr images import`` takes."""
    layer = path.with_suffix(".layer")
    words = ("--sort=name", "--mtime=@0", "--numeric-owner", "--exclude=./dev/*")
    subprocess.run(["tar", *words, "-C", str(root), "-cf", str(layer), "."], check=True)
    with layer.open("rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    blobs = {}
    layers = [{"mediaType": LAYER, "digest": digest, "size": layer.stat().st_size}]
    index = {
        "schemaVersion": 2,
        "manifests": [_manifest(image, digest, layers, blobs) for image in images],
    }
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", _bytes({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _bytes(index))
        for name, blob in blobs.items():
            _add(archive, _place(name), blob)
        archive.add(layer, arcname=_place(digest))
    layer.unlink()


def _manifest(image, digest, layers, blobs):
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path} | image.environment
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": list(image.entrypoint),
            "Env": [f"{key}={value}" for key, value in environment.items()],
            "User": image.user,
            "WorkingDir": image.folder,
        },
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    described = _describe(CONFIG, config, blobs)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}
    marks = {
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
    }
    return _describe(MANIFEST, manifest, blobs) | {"annotations": marks}


def _describe(kind, value, blobs):
    blob = _bytes(value)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    blobs[digest] = blob
    return {"mediaType": kind, "digest": digest, "size": len(blob)}


def _place(digest):
    return f"blobs/{digest.replace(':', '/')}"


def _bytes(value):
    return json.dumps(value).encode()


def _add(archive, name, blob):
    about = tarfile.TarInfo(name)
    about.size = len(blob)
    archive.addfile(about, io.BytesIO(blob))


def iitdask_tag(folder):
    """The image that the chart in a folder names."""
    about = yaml.safe_load((Path(folder) / "Chart.yaml").read_text())
    values = yaml.safe_load((Path(folder) / "values.yaml").read_text())
    return f"{values['image']['repository']}:{about['appVersion']}"
