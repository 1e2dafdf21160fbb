"""Flip every bit of one chunk of every result array and read it as users do, with xarray alone.

A flip must be refused or change nothing. `--count` flips are drawn; 0: all.
"""

import re
import shutil
import warnings
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from random import Random

import numpy as np
import xarray as xr

import iitdask as iit
from tests.attack.malformed import STUDIES, THREE_UNITS
from tests.attack.report import Report, run_attack

MEASURED = ("seconds",)
"""Arrays that say how long something took."""
CHUNK = re.compile(r"c(\.\d+)*")


def write_stores(folder):
    """Write one store of every kind of result; return them by name."""
    substrate = iit.Substrate.from_units(THREE_UNITS)
    calls = {
        "ces": lambda store: iit.ces(substrate, "100", store=store),
        "iit3": lambda store: iit.ces(substrate, "100", theory="iit3", store=store),
        "complexes": lambda store: iit.complexes(substrate, "100", store=store),
        "account": lambda store: iit.account(substrate, "110", "100", store=store),
        "sweep": lambda store: iit.sweep(STUDIES[10], store=store),
    }
    stores = {name: folder / f"{name}.zarr" for name in calls}
    for name, call in calls.items():
        if not stores[name].exists():
            call(stores[name])
    return stores


def result_arrays(store):
    """Return the chunks of every array of a result, by the names of its group and its own."""
    found = {}
    for path in sorted((store / "result").rglob("*")):
        parts = path.relative_to(store).parts
        chunk = next((k for k, part in enumerate(parts) if CHUNK.fullmatch(part)), None)
        if path.is_file() and chunk is not None and parts[chunk - 1] not in MEASURED:
            group = "/".join(["", *parts[1 : chunk - 1]])
            found.setdefault((group, parts[chunk - 1]), []).append(path)
    return found


def is_same(one, other):
    is_float = one.dtype.kind == "f"
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=is_float)


@contextmanager
def reader(store, group, name):
    """Give a function that reads an array from its files each time it is called."""

    def opened():
        return xr.open_datatree(store, group="result", engine="zarr", cache=False)

    with opened() as tree:
        data = tree[group].dataset
        if name in data.indexes:  # in memory from then on
            yield lambda: np.asarray(opened()[group].dataset[name].values)
        else:
            yield lambda: np.asarray(data[name].values)


def flip(report, store, group, name, chunk, bits):
    """Flip bits of a chunk, one at a time, and count what is read."""
    content, where = chunk.read_bytes(), f"{store.stem} {group} {name}"
    with reader(store, group, name) as read:
        truth = read().copy()
        for bit in bits:
            other = bytearray(content)
            other[bit // 8] ^= 1 << bit % 8
            chunk.write_bytes(bytes(other))
            try:
                values = read()
            except Exception:  # noqa: BLE001
                report.count("refused")
            else:
                if is_same(values, truth):
                    report.count("the same")
                else:
                    report.fail("silently wrong", where, bit)
    chunk.write_bytes(content)


def attack(options, folder):
    """Flip bits of the first chunk of every array of every kind of result."""
    warnings.simplefilter("ignore")
    report, flips = Report(), {}
    for store in write_stores(folder).values():
        copy = folder / "copy" / store.name
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(store, copy)
        flips |= {(copy, *key): chunks[0] for key, chunks in result_arrays(copy).items()}
    bits = [(key, bit) for key, chunk in flips.items() for bit in range(8 * chunk.stat().st_size)]
    if options.count:
        bits = sorted(Random(options.seed).sample(bits, options.count))
    for key, chosen in groupby(bits, key=itemgetter(0)):
        flip(report, *key, flips[key], [bit for _, bit in chosen])
    return report


if __name__ == "__main__":
    run_attack(attack, __doc__, 0)
