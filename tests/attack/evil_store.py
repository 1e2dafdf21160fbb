"""Make stores that run code when they are opened carelessly, and open them with every command.

An array, or a group, of the store is in Zarr's format 2 with a pickle where numcodecs looks for
one. The pickle writes a file; no command may do that. `--count` trials are drawn; 0: all.
"""

import json
import pickle
import shutil
from itertools import product
from pathlib import Path
from random import Random

import yaml

from tests.attack.forks import call_in_fork, import_everything
from tests.attack.malformed import STUDIES
from tests.attack.report import Report, run_attack

PICKLE = {"id": "pickle", "protocol": 5}
TEXT = {"id": "vlen-utf8"}
CODECS = {
    "filter": {"filters": [PICKLE], "compressor": None},
    "compressor": {"filters": None, "compressor": PICKLE},
    # Zarr takes the first object codec for the data type, and asks no more of the others.
    "second filter": {"filters": [TEXT, PICKLE], "compressor": None},
    "compressor behind": {"filters": [TEXT], "compressor": PICKLE},
}
PLACES = ["array", "group", "work", "input", "substrate"]
COMMANDS = {
    "show": ["show", "evil.zarr"],
    "show --json": ["show", "evil.zarr", "--json"],
    "view": ["view", "evil.zarr", "--html", "o.html"],
    "export": ["export", "evil.zarr", "o.json"],
    "verify": ["verify", "evil.zarr"],
    "status": ["status", "evil.zarr", "--json"],
    "run": ["run", "s.yaml", "--store", "evil.zarr", "--quiet"],
    "work": ["work", "evil.zarr", "--spec", "s.yaml", "--quiet"],
    "tidy": ["tidy", "evil.zarr"],
}


class Payload:
    """Writes a file when it is unpickled, and gives back an array, so that nothing complains."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        text = f"(open({self.mark!r}, 'w').close(), __import__('numpy').zeros(()))[1]"
        return (eval, (text,))


def write_old_array(path, codec, mark):
    """Write an array of format 2, without dimensions, with a pickle as its only chunk."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    metadata = {"zarr_format": 2, "shape": [], "chunks": [], "fill_value": 0, "order": "C"}
    metadata["dtype"] = "|O" if TEXT in (CODECS[codec]["filters"] or []) else "<f8"
    (path / ".zarray").write_text(json.dumps(metadata | CODECS[codec]))
    (path / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": []}')
    (path / "0").write_bytes(pickle.dumps(Payload(mark)))


def replace_group(path):
    shutil.rmtree(path)
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text("{}")


def place_array(store, place, codec, mark):
    """Put an array that runs code at a place of a store."""
    if place in ("group", "substrate"):
        group = store / {"group": "result", "substrate": "substrate"}[place]
        replace_group(group)
        write_old_array(group / "phi", codec, mark)
        return
    top = {"array": "result", "work": "work", "input": "work"}[place]
    for metadata in (store / top).rglob("zarr.json"):
        content = json.loads(metadata.read_bytes())
        if content.pop("consolidated_metadata", None):  # else nobody looks for other arrays
            metadata.write_text(json.dumps(content))
    arrays = {path.parent for path in (store / top).rglob("c.*")}
    chosen = [path for path in arrays if ("_inputs" in path.parts) == (place == "input")]
    for path in sorted(chosen or arrays):
        write_old_array(path, codec, mark)


def write_good_store(folder):
    """Write a study and its store."""
    Path(folder, "s.yaml").write_text(yaml.safe_dump(STUDIES[0]))
    ended = call_in_fork(["run", "s.yaml", "--store", "good.zarr", "--quiet"], folder, 600)
    assert ended.code == 0, ended.err


def attack(options, folder):
    """Open a store of every kind with every command."""
    import_everything()
    write_good_store(folder)
    report, mark = Report(), folder / "mark"
    trials = [(*each, name) for each in product(PLACES, CODECS) for name in COMMANDS]
    if options.count:
        trials = Random(options.seed).sample(trials, options.count)
    for place, codec, name in trials:
        store = folder / "evil.zarr"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(folder / "good.zarr", store)
        place_array(store, place, codec, mark)
        ended = call_in_fork(COMMANDS[name], folder)
        trial = f"{codec} in {place}"
        if mark.exists():
            report.fail("code ran", name, trial)
            mark.unlink()
        elif ended.is_right:
            report.count(f"{name}: {ended.outcome}")
        else:
            report.fail(ended.outcome, f"{name}: {ended.site}", trial)
    return report


if __name__ == "__main__":
    run_attack(attack, __doc__, 0)
