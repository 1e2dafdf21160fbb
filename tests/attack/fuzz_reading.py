"""Read malformed studies and tables in one process, up to the point where a run would start.

Only an error of iitdask with one short line may come of it: no other exception, no hang, no
gigabytes. Each file is read as a study, and as a substrate.
"""

import os
import re
import resource
import traceback
import warnings
from pathlib import Path

from iitdask.errors import IITError
from iitdask.model.readers import load
from iitdask.study.run import job_from_study
from iitdask.study.spec import read_study
from tests.attack.malformed import trial_random, write_study
from tests.attack.report import LINE_LIMIT, HangError, Report, cpu_limit, run_attack, trial_numbers

MEMORY_BYTES = 3 << 30
"""Address space beyond what the process has at the start."""


def read_as_study(name):
    """Read a study as `iitdask run` does before it computes."""
    job = job_from_study(*read_study(name), name)
    return job.fingerprint, job.kernel_families()


READERS = {"study": read_as_study, "load": load}


def limit_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def site_of(error):
    """Return where in the package an exception comes from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/iitdask/" in f.filename]
    if not frames:
        return "outside"
    last = frames[-1]
    return f"{last.filename.split('/iitdask/')[-1]}:{last.lineno} {last.name}"


def without_details(text):
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d{2,}", "_", text[:1000])[:110]


def judge(report, number, reader, name):
    """Read a file and count what comes of it."""
    try:
        with cpu_limit():
            reader(name)
    except IITError as error:
        text = str(error)
        if len(text.splitlines()) > 1:
            report.fail("several lines", without_details(text), number, repr(text[:150]))
        elif len(text) > LINE_LIMIT:
            report.fail("long line", without_details(text), number, text[:150])
        else:
            report.count("one line")
    except HangError as error:
        report.fail("hang", site_of(error), number)
    except Exception as error:  # noqa: BLE001
        kind = f"{type(error).__name__} at {site_of(error)}"
        report.fail("traceback", kind, number, without_details(str(error)))
    else:
        report.count("read")


def attack(options, folder):
    """Write and read malformed files."""
    warnings.simplefilter("ignore")
    limit_memory()
    report = Report()
    os.chdir(folder)
    (folder / "folder.npy").mkdir(exist_ok=True)
    for fifo in ("fifo.npy", "fifo.json", "fifo"):
        if not Path(fifo).exists():
            os.mkfifo(fifo)
    for number in trial_numbers(options):
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()
        name = write_study(trial_random(options.seed, number), folder)
        for reader in READERS.values():
            judge(report, number, reader, name)
    return report


if __name__ == "__main__":
    run_attack(attack, __doc__, 2000)
