"""Run the oracle over golden files and print every unexplained difference.

Usage, from the repository root: python -m tests.reference.check_goldens FOLDER [--slow] [--only X]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from tests import reference
from tests.reference import systems

THEORIES = {"iit4_2023": "iit4", "iit4_2026": "iit4-2026"}


def say(text):
    """Print a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def factors_of(golden):
    """Factors as N-D arrays over all units."""
    alphabet = golden["alphabet"]
    found = []
    for i, k in enumerate(alphabet):
        if golden["tpm_format"] == "state_by_node":
            on = np.array(golden["tpm"], dtype=float)[:, i]
            rows = np.stack([1 - on, on], axis=1)
        else:
            rows = np.array(golden["tpm"][i], dtype=float)
        found.append(rows.reshape((*alphabet, k), order="F"))
    return found


def close(x, y):
    """Equal within the suggested tolerance, None only with None."""
    if x is None or y is None:
        return x is y
    return abs(x - y) <= 1e-10 * (1 + abs(y))


def tuples(lists):
    """Nested lists as nested tuples."""
    return tuple(tuples(x) for x in lists) if isinstance(lists, list | tuple) else lists


def edge_set(edges):
    """A severed edge set."""
    return frozenset(tuples(edges))


def same_ties(ours, theirs, fragile):
    """Equal lists; where rounding decides the reference's ties, a part of ours."""
    ours, theirs = tuples(ours), tuples(theirs)
    return ours == theirs or (fragile and set(theirs) <= set(ours))


class Report:
    """Collects the differences of one file."""

    def __init__(self, golden):
        self.lines = []
        self.fragile = {(d, tuples(m), tuples(z)) for d, m, z, *_ in golden.get("fp_fragile", ())}

    def expect(self, ok, what, ours, theirs):
        """Note a difference."""
        if not ok:
            self.lines.append(f"{what}: oracle {ours!r}, golden {theirs!r}")

    def number(self, what, ours, theirs):
        """Compare two numbers."""
        self.expect(close(ours, theirs), what, ours, theirs)


def compare_sia(report, ours, theirs, system):
    """Compare a system analysis, field by field, with a golden one."""
    units = system.subset
    for key in ("phi", "normalized_phi", "cause_ii", "effect_ii"):
        if key in theirs:
            report.number(key, ours[key], theirs[key])
    report.expect(ours["null"] == theirs["null"], "null", ours["null"], theirs["null"])
    if "reasons" in theirs:
        report.expect(ours["reasons"] == theirs["reasons"], "reasons", ours, theirs)
    for d in ("cause", "effect"):
        report.expect(
            ours[f"{d}_state"] == tuples(theirs[f"{d}_state"]),
            f"{d}_state",
            ours[f"{d}_state"],
            theirs[f"{d}_state"],
        )
        key = f"tied_{d}_states"
        if key in theirs:
            ok = same_ties(ours[key], theirs[key], (d, units, units) in report.fragile)
            report.expect(ok, key, ours[key], theirs[key])
        if d in theirs.get("differentiation", {}):
            report.number(f"d_{d}", ours["differentiation"][d], theirs["differentiation"][d])
    if not theirs["null"]:
        compare_partition(report, ours, theirs, system)


def compare_partition(report, ours, theirs, system):
    """Compare the named partition, its phi values and the partitions tied with it."""
    named = edge_set(theirs["partition"])
    tied = ours["tied_partitions"]
    report.expect(named in tied, "partition", sorted(map(sorted, tied)), theirs["partition"])
    place = systems.directed_partitions(system.subset).index(named)
    for d in ("cause", "effect"):
        if f"{d}_phi" in theirs:
            signed = systems.partition_phis(system, d, ours[f"{d}_state"])[place]
            report.number(f"{d}_phi at the golden partition", max(0, signed), theirs[f"{d}_phi"])
            if named == ours["partition"]:
                report.number(f"{d}_phi", ours[f"{d}_phi"], theirs[f"{d}_phi"])
    if "num_tied_partitions" in theirs:
        listed = {edge_set(e) for e in theirs["tied_partitions"]}
        many = theirs["num_tied_partitions"] > len(listed)
        report.expect(
            ours["num_tied_partitions"] == theirs["num_tied_partitions"]
            and (listed <= tied if many else listed == tied),
            "tied partitions",
            len(tied),
            theirs["num_tied_partitions"],
        )


def compare_distinctions(report, name, ours, theirs):
    """Compare two lists of distinctions."""
    mine, golden = ({tuples(d["mechanism"]): d for d in many} for many in (ours, theirs))
    report.expect(list(mine) == list(golden), f"{name} mechanisms", list(mine), list(golden))
    for mechanism in set(mine) & set(golden):
        a, b = mine[mechanism], golden[mechanism]
        where = f"{name} {mechanism}"
        report.number(f"{where} phi", a["phi"], b["phi"])
        for d in ("cause", "effect"):
            compare_link(report, f"{where} {d}", a[d], b[d], (d, mechanism))


def compare_link(report, where, a, b, key):
    """Compare one direction of a distinction, allowing for what rounding decides."""
    fragile = any(spot[:2] == key for spot in report.fragile)
    pair = (a["purview"], a["state"])
    wanted = (tuples(b["purview"]), tuples(b["state"]))
    report.expect(pair == wanted, where, pair, wanted)
    for field in ("phi", "normalized_phi", "ii"):
        if field in b:
            report.number(f"{where} {field}", a[field], b[field])
    for field, only in (("purview_ties", wanted), ("state_ties", wanted[1])):
        if field in b or len(a[field]) > 1:
            listed = b.get(field, [only])
            ok = same_ties(a[field], listed, fragile)
            report.expect(ok, f"{where} {field}", a[field], listed)


def compare_structure(report, ours, theirs):
    """Compare distinctions, relations and Phi with the golden values present."""
    for name in ("raw_distinctions", "distinctions"):
        if name in theirs:
            compare_distinctions(report, name, ours[name], theirs[name])
    for d, state in theirs.get("resolution_state", {}).items():
        got = ours["resolution_state"][d]
        report.expect(got == tuples(state), f"resolution {d}", got, state)
    for key in ("sum_phi_distinctions", "big_phi"):
        report.number(key, ours[key], theirs[key])
    a, b = ours["relations"], theirs["relations"]
    report.expect(a["num"] == b["num"], "number of relations", a["num"], b["num"])
    report.number("sum phi_r", a["sum_phi"], b["sum_phi"])
    if b.get("by_degree") is not None and (b["by_degree"] or not b["num"]):
        listed = {int(g): row for g, row in b["by_degree"].items()}
        same_counts = {g: row[0] for g, row in a["by_degree"].items()} == {
            g: row[0] for g, row in listed.items()
        }
        report.expect(same_counts, "relations by degree", a["by_degree"], listed)
        for g in set(a["by_degree"]) & set(listed):
            report.number(f"sum phi_r, degree {g}", a["by_degree"][g][1], listed[g][1])


def check_candidate(golden, factors):
    """Differences of one candidate-system file, and the alternatives that were tried."""
    theory = THEORIES[golden["theory"]]
    args = (factors, golden["cm"], golden["state"], golden["subset"])
    system = reference.System(*args)
    whole = "big_phi" in golden
    ours = (
        reference.ces(*args, theory, "current")
        if whole
        else {"sia": reference.sia(*args, theory, "current")}
    )
    report = Report(golden)
    compare_sia(report, ours["sia"], golden["sia"], system)
    if whole:
        compare_structure(report, ours, golden)
    other = golden.get("tolerant_alternative")
    if report.lines and other:
        report = Report(golden)
        compare_sia(report, ours["sia"], other, system)
        if whole:
            compare_structure(report, ours, other)
    return report.lines


def check_complexes(golden, factors):
    """Differences of one complexes file."""
    ours = reference.complexes(
        factors, golden["cm"], golden["state"], THEORIES[golden["theory"]], "current"
    )
    report = Report(golden)
    accepted = golden.get("tolerant_complexes", golden["complexes"])
    for name, theirs in (("candidates", golden["candidates"]), ("complexes", accepted)):
        mine = [tuple(sorted(item["subset"])) for item in ours[name]]
        wanted = [tuple(item["subset"] if isinstance(item, dict) else item) for item in theirs]
        report.expect(mine == wanted, name, mine, wanted)
        if mine == wanted:
            for a, b in zip(ours[name], theirs, strict=True):
                if isinstance(b, dict):
                    report.number(f"{name} {a['subset']} phi", a["phi"], b["phi"])
    return report.lines


def main():
    """Check every golden file of a folder that is small enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slow", action="store_true", help="five units as well")
    parser.add_argument("--only", default="", help="part of the file names wanted")
    options = parser.parse_args()
    bad, times = 0, defaultdict(list)
    for path in sorted(options.folder.glob("*iit4_*.json")):
        golden = json.loads(path.read_text())
        units = golden["alphabet"] if golden.get("kind") == "complexes" else golden["subset"]
        if len(units) > (5 if options.slow else 4) or options.only not in path.name:
            continue
        if golden["theory"] not in THEORIES or path.name.startswith("macro"):
            continue
        check = check_complexes if golden.get("kind") == "complexes" else check_candidate
        began = time.perf_counter()
        lines = check(golden, factors_of(golden))
        kind = "complexes" if check is check_complexes else "ces" if "big_phi" in golden else "sia"
        times[kind, len(units)].append(time.perf_counter() - began)
        bad += bool(lines)
        for line in lines:
            say(f"{path.name}: {line}")
    for (kind, n), spent in sorted(times.items()):
        mean, most = sum(spent) / len(spent), max(spent)
        say(f"{kind} n={n}: {len(spent)} files, mean {mean:.3f} s, longest {most:.3f} s")
    say(f"{sum(map(len, times.values()))} files, {bad} with differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
