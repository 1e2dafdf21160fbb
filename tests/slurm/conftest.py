import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "run"))

import processes
from processes import folder, study, undisturbed  # noqa: F401 (fixtures)
from site_slurm import Site, missing

from iitdask.kernels.jit import cache_directory


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Three nodes of two cores."""
    if "IITDASK_SLURM" not in os.environ:
        pytest.skip("brings up a SLURM of its own: .ci/run slurm")
    if missing():
        pytest.skip(f"needs Debian's slurm-wlm and munge, lacks {', '.join(missing())}")
    with pytest.MonkeyPatch.context() as patch:
        # Nodes that are lost must be missed after seconds: no patience here.
        patch.setattr(processes, "IITDASK", "iitdask")
        # Compiled once, by the driver: the nodes are one machine.
        patch.setenv("IITDASK_NUMBA_CACHE", str(cache_directory().parent))
        found = Site(tmp_path_factory.mktemp("slurm"))
        for name, value in found.environment.items():
            patch.setenv(name, value)
        try:
            found.up()
            yield found
        finally:
            found.down()
