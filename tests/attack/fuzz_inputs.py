"""Give malformed studies, tables, options and stores to whole commands.

A command must end well, or with one line of at most 400 characters on stderr and exit code 2 or
1; never with a traceback, a hang or gigabytes. Each command is a fork of one process, or with
`--real` a process of its own, as users start it.
"""

import re
import shutil
import subprocess
import sys

import yaml

from iitdask.theory.catalog import KERNEL_FAMILIES
from tests.attack.forks import Ended, call_in_fork, import_everything
from tests.attack.malformed import STUDIES, trial_random
from tests.attack.malformed_commands import command_line
from tests.attack.report import CPU_SECONDS, WAITING, Report, run_attack, trial_numbers

FAMILIES = [name for name, family in KERNEL_FAMILIES.items() if family.min_units <= 4]
REAL_SECONDS = 4 * CPU_SECONDS
"""A start alone takes seconds of the processor."""


def write_good_stores(folder):
    """Write a study with its store, and the store of a sweep."""
    folder.mkdir()
    for name, number in {"good": 0, "sweep": 10}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(STUDIES[number]))
        ended = call_in_fork(["run", f"{name}.yaml", "--quiet"], folder, 600)
        assert ended.code == 0, ended.err


def call_process(words, folder):
    """Run the command as a process of its own."""
    words = [word.replace("\0", "?") for word in words]  # an argument cannot hold one
    try:
        done = subprocess.run(
            [sys.executable, "-m", "iitdask", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAITING * REAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ended(None, "", "", signal=9)
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Ended(done.returncode, out, err)


def judge(report, number, kind, words, ended):
    """Count how a command ended."""
    if ended.is_right:
        report.count(f"{kind}: {ended.outcome}")
    else:
        site = re.sub(r"'[^']*'|\d{3,}", "_", ended.site)[:150]
        report.fail(f"{kind}: {ended.outcome}", site, number, " ".join(map(repr, words))[:150])


def attack(options, folder):
    """Run malformed commands, one after the other."""
    if not options.real:
        import_everything(FAMILIES)
    good = folder / "good"
    shutil.rmtree(good, ignore_errors=True)
    write_good_stores(good)
    report = Report()
    for number in trial_numbers(options):
        r, home = trial_random(options.seed, number), folder / str(number)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        words, kind = command_line(r, good, home)
        ended = call_process(words, home) if options.real else call_in_fork(words, home)
        judge(report, number, kind, words, ended)
        if options.only is None:
            shutil.rmtree(home, ignore_errors=True)
        else:
            sys.stdout.write(f"{words} in {home}: {ended.outcome}\n{ended.err[-3000:]}\n")
    return report


def add_options(parser):
    """Add what only this attack can be asked."""
    parser.add_argument("--real", action="store_true", help="a process of its own per command")


if __name__ == "__main__":
    run_attack(attack, __doc__, 500, add_options)
