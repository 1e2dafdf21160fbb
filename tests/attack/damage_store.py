"""Flip, cut, delete and swap files of finished and half-finished stores.

Every command must then give the numbers that were written or refuse, a run must mend what is
damaged, and a store that was mended must stand `verify`. xarray alone must not read another number
from a chunk that is there: documents have no checksum in Zarr, and a chunk that is missing reads
as fill value.
"""

import json
import re
import shutil
import sys
import warnings

import numpy as np
import xarray as xr
import yaml

from iitdask.run.storage import open_store
from iitdask.run.zarr_io import create_group
from tests.attack.forks import call_in_fork, fork, import_everything, wait
from tests.attack.malformed import THREE_UNITS, trial_random
from tests.attack.report import Report, run_attack, trial_numbers

SUBSTRATE = {"units": THREE_UNITS}
STUDIES = {
    "ces": {"substrate": {"example": "iit4-2023-fig4"}, "state": "011", "units": "AB"},
    "sweep": {
        "substrate": SUBSTRATE,
        "compute": "sia",
        "sweep": {"state": "all", "noise": [0.01, 0.1, 0.2]},
    },
    "complexes": {"substrate": SUBSTRATE, "state": "100", "compute": "complexes"},
    "account": {"substrate": SUBSTRATE, "before": "110", "after": "100", "compute": "account"},
    "kept": {
        "substrate": SUBSTRATE,
        "compute": "ces",
        "keep": "structures",
        "sweep": {"state": ["100", "000"], "noise": [0.0, 0.1]},
    },
    "iit3": {"substrate": SUBSTRATE, "state": "100", "compute": "ces", "theory": "iit3"},
}
SHOW = ["show", "s.zarr", "--json"]
EXPORT = ["export", "s.zarr", "x.json"]
VERIFY = ["verify", "s.zarr", "--seed", "1"]
RUN = ["run", "s.yaml", "--quiet"]
SECONDS = 60
BYTE_HARMS = ("flip a bit", "change a byte", "cut", "empty", "junk", "change a digit", "grow")
UNFINISHED = ("finished", "result_check", "result_order", "provenance", "costs")
FOUND = "problem(s); `iitdask run` computes anew what is damaged"
HARMS = {
    "flip a bit": 8,
    "change a byte": 4,
    "cut": 3,
    "empty": 2,
    "delete": 3,
    "swap": 2,
    "junk": 3,
    "change a digit": 5,
    "delete a folder": 1,
    "grow": 1,
    "replace by a folder": 1,
}


# What is read


def read_plainly():
    """Print what a reader without iitdask sees."""
    warnings.simplefilter("ignore")
    with xr.open_datatree("s.zarr", group="result", engine="zarr") as tree:
        sys.stdout.write(tree_text(tree.load()))


def tree_text(tree):
    """Return every value of a tree as text."""
    lines = []
    for node in sorted(tree.subtree, key=lambda node: node.path):
        data = node.to_dataset(inherit=False)
        for name in sorted(set(map(str, data.variables)) - {"seconds"}):
            values = np.asarray(data[name].values).tolist()
            lines.append(f"{node.path} {name} {data[name].dims} {values!r}")
    return "\n".join(lines)


def plain(folder):
    """Return what a reader without iitdask sees; None if it refuses."""
    out, err = folder / ".out", folder / ".err"
    for path in (out, err):
        path.unlink(missing_ok=True)
    ended = wait(fork(read_plainly, folder, out, err), out, err, SECONDS)
    return ended.out if ended.code == 0 else None


def without_seconds(value):
    """Return JSON without what was measured, which no two runs share."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    return [without_seconds(each) for each in value] if isinstance(value, list) else value


def exported(folder):
    return without_seconds(json.loads((folder / "x.json").read_text()))


# What is harmed


def harm(r, store):
    """Harm one file of a store; return what was done, and where."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    weights = [3 if {"work", "result"} & set(path.parts) else 1 for path in files]
    path = r.choices(files, weights)[0]
    kind = r.choices(list(HARMS), list(HARMS.values()))[0]
    if kind == "change a digit":
        path = r.choice([each for each in files if each.name == "zarr.json"])
    where = path.relative_to(store)
    content = path.read_bytes()
    if kind == "delete a folder":
        folder = r.choice(sorted(each for each in store.rglob("*") if each.is_dir()))
        shutil.rmtree(folder)
        return kind, str(folder.relative_to(store))
    if kind in ("delete", "replace by a folder"):
        path.unlink()
        if kind != "delete":
            path.mkdir()
    elif kind == "swap":
        same = [each for each in files if each.stat().st_size == len(content) and each != path]
        other = r.choice(same or [each for each in files if each != path])
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        where = f"{where} and {other.relative_to(store)}"
    else:
        path.write_bytes(harmed(r, kind, bytearray(content)))
    return kind, str(where)


def harmed(r, kind, content):
    """Return the content of a file after a harm."""
    if kind == "empty":
        return b""
    if kind == "grow" or not content:
        return bytes(content) + r.randbytes(r.randint(1, 9))
    k = r.randrange(len(content))
    if kind == "flip a bit":
        content[k] ^= 1 << r.randrange(8)
    elif kind == "change a byte":
        content[k] = (content[k] + r.randrange(1, 256)) % 256
    elif kind == "cut":
        del content[k:]
    elif kind == "junk":
        return r.randbytes(len(content))
    elif places := [match.start() for match in re.finditer(rb"\d", content)]:
        k = r.choice(places)
        content[k : k + 1] = str((int(content[k : k + 1]) + r.randint(1, 9)) % 10).encode()
    return bytes(content)


def unfinish(store):
    """Leave a store as if its run had been killed before the result was written."""
    root = store / "zarr.json"
    about = json.loads(root.read_text())["attributes"]
    for name in (*UNFINISHED, "checksum"):
        about.pop(name, None)
    create_group(open_store(store), "", about)
    shutil.rmtree(store / "result", ignore_errors=True)


# Trials


def write_truth(folder, name):
    """Run a study without harm; return what the commands then say."""
    home = folder / "truth" / name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "s.yaml").write_text(yaml.safe_dump(STUDIES[name]))
    for words in (RUN, VERIFY, EXPORT):
        ended = call_in_fork(words, home, 600)
        assert ended.code == 0, ended.err
    return home, exported(home), plain(home)


class Trial:
    """One harmed copy of a store."""

    def __init__(self, report, number, home, truth, seen):
        self.report, self.number, self.home = report, number, home
        self.truth, self.seen = truth, seen
        self.done = ()
        self.harms_chunks = False

    def call(self, words, name=None):
        """Call a command and count its outcome; return it."""
        ended, name = call_in_fork(words, self.home, SECONDS), name or words[0]
        has_found = ended.outcome == "exit 1, no message" and FOUND in ended.out
        if not ended.is_right and not (words is VERIFY and has_found):
            self.fail(ended.outcome, f"{name}: {ended.site}")
        return ended

    def fail(self, outcome, kind):
        self.report.fail(outcome, kind, self.number, str(self.done))

    def read(self, when):
        """Read the result in two ways; both must be right or refused. Return True if right."""
        ended = self.call(EXPORT, f"export {when}")
        right = ended.code == 0
        if right and exported(self.home) != self.truth:
            self.fail("wrong", f"export {when}")
        text = plain(self.home)
        if text is not None and text != self.seen:
            if self.harms_chunks or when == "after run":
                self.fail("wrong", f"plain xarray {when}")
            else:
                self.report.count(f"plain xarray {when}: what Zarr cannot tell")
        self.report.count(f"export {when}: {'right' if right else 'refused'}")
        return right

    def mend(self):
        """Run once; the result must then be right, and verify."""
        ended = self.call(RUN)
        self.report.count(f"run: exit {ended.code}")
        if ended.code:
            self.fail("not mended", f"run: {ended.site}")
            return
        if not self.read("after run"):
            self.fail("not mended", "export after run")
        ended = self.call(VERIFY, "verify after run")
        if ended.code:
            self.fail("not mended", f"verify after run: {ended.site}")


def attack(options, folder):
    """Harm a copy of one of the stores once or twice per trial."""
    import_everything(["iit4", "iit3", "complexes", "causation2019", "sweep-sia", "sweep-ces"])
    truths = {name: write_truth(folder, name) for name in STUDIES}
    report = Report()
    for number in trial_numbers(options):
        r = trial_random(options.seed, number)
        whole, truth, seen = truths[r.choice(list(STUDIES))]
        home = folder / f"trial{number}"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(whole, home)
        if r.random() < 0.3:
            unfinish(home / "s.zarr")
        trial = Trial(report, number, home, truth, seen)
        trial.done = whole.name, *(harm(r, home / "s.zarr") for _ in range(r.choice([1, 1, 1, 2])))
        trial.harms_chunks = all(
            kind in BYTE_HARMS and "zarr.json" not in where for kind, where in trial.done[1:]
        )
        trial.read("before run")
        trial.call(SHOW)
        trial.call(["status", "s.zarr"])
        ended = trial.call(VERIFY)
        report.count(f"verify: exit {ended.code}")
        if r.random() < 0.5:
            trial.mend()
        if options.only is None:
            shutil.rmtree(home, ignore_errors=True)
    return report


if __name__ == "__main__":
    run_attack(attack, __doc__, 40)
