"""What queue systems are asked, and how their answers are read."""

import pytest

from iitdask.cluster.queues import SLURM, QueuedJob
from iitdask.errors import ClusterError


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Write a stand-in for a command of a queue."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(name, script):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


def test_queue__is_none_where_squeue_fails(command, monkeypatch):
    command("squeue", "echo '12|R|None'; echo '13|PD|Resources'")
    assert SLURM.queued_jobs() == {
        "12": QueuedJob(is_pending=False),
        "13": QueuedJob(is_pending=True, reason="Resources"),
    }
    command("squeue", "exit 1")
    assert SLURM.queued_jobs() is None
    monkeypatch.setenv("PATH", "")
    assert SLURM.queued_jobs() is None


def test_queue__that_refuses_beforehand_is_quoted(command):
    command("sbatch", "cat > /dev/null; echo 'sbatch: error: bad\n partition' >&2; exit 1")
    with pytest.raises(ClusterError, match="sbatch refused the job: sbatch: error: bad partition"):
        SLURM.require_accepted("#!/bin/sh")
    command("sbatch", "exit 0")
    SLURM.require_accepted("#!/bin/sh")


@pytest.mark.parametrize(
    "words",
    [
        "Requested nodes are busy",
        "Required node not available (down, drained or reserved)",
        "Required partition not available (inactive or drain)",
        "Requested partition configuration not available now",
    ],
)
def test_queue__that_lets_a_job_wait_does_not_refuse_it(words, command):
    command("sbatch", f"echo 'allocation failure: {words}' >&2; exit 1")
    SLURM.require_accepted("#!/bin/sh")


def test_queue__that_refuses_an_array_says_how_long_one_may_be(command):
    said = "allocation failure: Invalid job array specification"
    command("scontrol", "echo 'MaxArraySize            = 1001'")
    assert "have at most 1001 elements (MaxArraySize): give --workers 1001" in str(
        SLURM.refusal(said)
    )
    command("scontrol", "exit 1")
    assert "see MaxArraySize in `scontrol show config`" in str(SLURM.refusal(said))
