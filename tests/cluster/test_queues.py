"""What queue systems are asked, and how their answers are read."""

import getpass

import pytest

from iitdask.cluster.queues import HTCONDOR, LSF, OAR, PBS, QUEUES, SGE, SLURM, QueuedJob
from iitdask.errors import ClusterError, InputError


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


RUNNING = QueuedJob(is_pending=False)
LISTINGS = {
    "pbs": (
        """
server:
                                                            Req'd  Req'd   Elap
Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time
--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----
12.server       me       batch    iitdask       --    1   4   15gb 26:30 Q   --
    Not Running: Insufficient amount of resource: ncpus
13.server       me       batch    iitdask     4242    1   4   15gb 26:30 R 00:01
    Job run at Mon Nov 30 at 08:00 on (n1:ncpus=4)
14.server       me       batch    iitdask       --    1   4   15gb 26:30 H   --
""",
        {
            "12": QueuedJob(
                is_pending=True, reason="Not Running: Insufficient amount of resource: ncpus"
            ),
            "13": RUNNING,
            "14": QueuedJob(is_pending=True),
        },
    ),
    "lsf": (
        "12|PEND|Job slot limit reached;\n13|RUN|-\n14|PSUSP| -\n15|USUSP|\n",
        {
            "12": QueuedJob(is_pending=True, reason="Job slot limit reached"),
            "13": RUNNING,
            "14": QueuedJob(is_pending=True),
            "15": RUNNING,
        },
    ),
    "sge": (
        """job-ID  prior   name       user         state submit/start at     queue   slots
-------------------------------------------------------------------------------------
     12 0.55500 iitdask    me           r     11/30/2026 08:00:00 all.q@n1    4
     13 0.00000 iitdask    me           qw    11/30/2026 08:00:01             4
     14 0.00000 iitdask    me           Eqw   11/30/2026 08:00:01             4
""",
        {
            "12": RUNNING,
            "13": QueuedJob(is_pending=True),
            "14": QueuedJob(is_pending=True, reason="Eqw"),
        },
    ),
    "htcondor": (
        "12 0 1 undefined\n13 0 2 undefined\n14 0 5 Error from slot1: no disk\n15 0 4 undefined\n",
        {
            "12.0": QueuedJob(is_pending=True),
            "13.0": RUNNING,
            "14.0": QueuedJob(is_pending=True, reason="Error from slot1: no disk"),
        },
    ),
    "oar": (
        """{"12": {"state": "Waiting", "message": "Karma = 0.1"}, "13": {"state": "Running"}}""",
        {"12": QueuedJob(is_pending=True, reason="Karma = 0.1"), "13": RUNNING},
    ),
}


@pytest.mark.parametrize("name", LISTINGS)
def test_listing__of_each_queue_is_read(name):
    text, expected = LISTINGS[name]
    assert QUEUES[name].read_listing(text) == expected
    assert QUEUES[name].read_listing("") == {}


def test_listing__asks_for_the_jobs_of_this_user(command):
    command("qstat", 'echo "1.s $* q j - 1 1 1gb 01:00 Q --"')
    assert PBS.queued_jobs() is not None
    command("qstat", f'[ "$*" = "-s -u {getpass.getuser()}" ] || exit 1')
    assert PBS.queued_jobs() == {}


def test_listing__of_lsf_without_jobs_is_empty(command):
    command("bjobs", "echo 'No unfinished job found' >&2; exit 255")
    assert LSF.queued_jobs() == {}


def test_listing__that_cannot_be_read_is_none(command):
    command("oarstat", "echo '<html>'")
    assert OAR.queued_jobs() is None
    command("condor_q", "echo 12")
    assert HTCONDOR.queued_jobs() is None


@pytest.mark.parametrize("queue", QUEUES.values(), ids=QUEUES)
def test_queue__names_the_commands_that_are_missing(queue, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=f"{queue.title}'s commands .* no {queue.submit[0]}, "):
        queue.require_commands()


def test_queue__without_a_test_is_asked_nothing_beforehand(command):
    command("qsub", "exit 1")
    SGE.require_accepted("#!/bin/sh")
