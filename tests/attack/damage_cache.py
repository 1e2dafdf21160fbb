"""Cut, empty, flip or replace files of compiled kernels, and compute.

The command must give the numbers it gave before; never a traceback, and never other numbers.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from iitdask.kernels.jit import cache_directory
from tests.attack.malformed import trial_random
from tests.attack.report import Report, run_attack, trial_numbers

KINDS = [f"{harm} {what}" for harm in ("cut", "empty", "junk", "flip") for what in ("nbi", "nbc")]
FLIPPED_FILES = 40
SECONDS = 900


def run(cache, folder):
    """Run a small published account with a cache of kernels; return its code and its output.

    Its kernels are those that are compiled in the shortest time.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    environment = {**os.environ, "IITDASK_NUMBA_CACHE": str(cache)}
    command = ["run", "causation2019-fig6", "--quiet", "--store", "s.zarr"]
    return subprocess.run(
        [sys.executable, "-m", "iitdask", *command],
        cwd=folder,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def damage(r, cache, kind):
    """Harm the index or the code of every kernel; flip bits of some."""
    harm, ending = kind.split()
    files = sorted(cache.rglob(f"*.{ending}"))
    for path in r.sample(files, min(len(files), FLIPPED_FILES)) if harm == "flip" else files:
        content = bytearray(path.read_bytes())
        if harm == "flip":
            content[r.randrange(len(content))] ^= 1 << r.randrange(8)
        shapes = {"cut": content[: r.randrange(len(content))], "empty": b"", "flip": content}
        path.write_bytes(bytes(shapes[harm]) if harm in shapes else r.randbytes(len(content)))


def copied(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for path in [target, *(p for p in target.rglob("*") if p.is_dir())]:
        path.chmod(0o700)
    return target


def attack(options, folder):
    """Damage a copy of the cache of this machine once per trial."""
    used = cache_directory()
    assert used is not None
    whole = folder / "whole"
    copied(Path(used), whole / Path(used).name)
    truth = run(whole, folder / "truth")
    assert truth.returncode == 0, truth.stderr
    report = Report()
    for number in trial_numbers(options):
        kind = KINDS[number % len(KINDS)]
        cache = copied(whole, folder / "cache")
        damage(trial_random(options.seed, number), cache, kind)
        done = run(cache, folder / "run")
        last = (done.stderr.strip().splitlines() or [""])[-1]
        if done.returncode == 0 and done.stdout == truth.stdout:
            report.count(f"{kind}: the same numbers")
        elif done.returncode == 0:
            report.fail("other numbers", kind, number)
        else:
            report.fail(f"exit {done.returncode}", f"{kind}: {last[:100]}", number)
    return report


if __name__ == "__main__":
    run_attack(attack, __doc__, 8)
