import logging
import sys
from pathlib import Path

import pytest

# The toy recipe must be importable by name, here and in worker processes.
sys.path.insert(0, str(Path(__file__).parent))

from distributed import Client, LocalCluster
from processes import folder, study, undisturbed  # noqa: F401 (fixtures)

from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger


@pytest.fixture(scope="session")
def client():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
        # Their streams are pytest's, and closed by now; the cluster logs its own end.
        logging.getLogger("distributed").handlers.clear()


@pytest.fixture(params=["memory", "zarr"])
def ledger(request, tmp_path):
    return (
        MemoryLedger()
        if request.param == "memory"
        else ZarrLedger(open_store(tmp_path / "run.zarr"))
    )


@pytest.fixture(params=["inline", "futures"])
def engine(request):
    return (
        SerialEngine()
        if request.param == "inline"
        else DaskEngine(request.getfixturevalue("client"))
    )
