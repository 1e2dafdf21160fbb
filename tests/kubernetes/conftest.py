import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "run"))

from archive import Image, dockerfile_image, iitdask_tag, write_archive
from site_kubernetes import PAUSE, Node

DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes"
OPERATOR = "ghcr.io/dask/dask-kubernetes-operator:2026.3.0"


@pytest.fixture(scope="session")
def node():
    """One node, with the images that the manifests name."""
    given = os.environ.get("IITDASK_KUBERNETES")
    if given is None:
        pytest.skip("brings up a Kubernetes of its own: .ci/run kubernetes")
    folder = Path(given)
    archive = folder / "images.tar"
    if not archive.exists():
        ours = dockerfile_image(DEPLOY / "Dockerfile", f"docker.io/library/{iitdask_tag(DEPLOY)}")
        kopf = ("kopf", "run", "--module", "dask_kubernetes.operator.controller", "--verbose")
        # The operator asks who it is, and user 1000 has no name here.
        operator = Image(OPERATOR, kopf, {"USER": "operator", "HOME": "/tmp"})
        write_archive(
            folder / "root", [ours, operator, Image(PAUSE, ("sleep", "infinity"))], archive
        )
    found = Node(folder / "node", folder / "bin", archive)
    try:
        found.up()
        sys.stdout.write(
            f"\n{found.kubectl('version')}{found.kubectl('get', 'nodes', '-o', 'wide')}"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", found.environment["KUBECONFIG"])
            yield found
    finally:
        found.down()
