"""Units of all grains and their complexes: recorded searches, published values, naive exclusion."""

import json
import re
from itertools import combinations

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.cli import app
from iitdask.errors import InputError
from iitdask.model.grain_search import GrainSearch
from iitdask.run.events import BlocksFilled
from iitdask.study.problem import Problem
from iitdask.study.run import run_job
from iitdask.theory import grain_systems, grain_verdicts
from iitdask.theory.catalog import theory_options
from tests.macro_cases import SEARCHES, names, substrate_of, window_of
from tests.runs import bits

BOUNDS = {
    "max_constituents": "constituents", "max_update_grain": "updates", "max_depth": "depth",
    "max_background": "background",
}  # fmt: skip


def searched(golden):
    how = {BOUNDS[name]: value for name, value in golden["bounds"].items() if name in BOUNDS}
    mappings = golden["bounds"].get("mappings", "families").lower()
    return iit.grains(substrate_of(golden), window_of(golden), mappings, **how)


def name_of(unit, labels):
    """Name of a recorded unit."""
    if not isinstance(unit, dict):
        return labels[unit]
    members = [
        defined_by_label(each, labels) if isinstance(each, dict) else labels[each]
        for each in unit["constituents"]
    ]
    return str(_unit(unit, members, labels))


def defined_by_label(unit, labels):
    members = [
        defined_by_label(each, labels) if isinstance(each, dict) else labels[each]
        for each in unit["constituents"]
    ]
    return _unit(unit, members, labels)


def _unit(unit, members, labels):
    return iit.unit(
        members,
        table=unit["mapping"],
        updates=unit["update_grain"],
        background=[labels[each] for each in unit["background_apportionment"]],
    )


@pytest.mark.parametrize("golden", SEARCHES, ids=names(SEARCHES))
def test_search__is_the_recorded_one(golden):
    tree = searched(golden)
    labels = substrate_of(golden).labels
    assert tree.attrs["n_systems"] == golden["num_records"]
    assert tree.attrs["n_ties"] == golden["num_ties"]
    units = tree["units"].to_dataset()
    assert units["verdict"].values.tolist() == [each["reason"] for each in golden["verdicts"]]
    expected = [each["num_competitors"] for each in golden["verdicts"]]
    assert units["n_competitors"].values.tolist() == expected
    for k, each in enumerate(golden["verdicts"]):
        assert units["phi"].values[k] == pytest.approx(each["phi"], abs=1e-9)
        if each.get("witness_phi") is not None:
            assert units["witness_phi"].values[k] == pytest.approx(each["witness_phi"], abs=1e-9)
    assert units["n_mappings"].values.sum() == len(golden["units"])
    complexes = tree["complexes"].to_dataset()
    phi = {
        " | ".join(name_of(unit, labels) for unit in each["units"]): each["phi"]
        for each in golden["complexes"]
    }
    assert set(complexes["units"].values) == set(phi)
    for name, value in zip(complexes["units"].values, complexes["phi"].values, strict=True):
        assert value == pytest.approx(phi[name], abs=1e-9)


def tpm(n, rule):
    states = [[row >> k & 1 for k in range(n)] for row in range(1 << n)]
    return [[rule(i, x) for i in range(n)] for x in states]


HORIZONTAL, VERTICAL, DIAGONAL = [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]
CG = iit.Substrate.from_tpm(
    tpm(
        4,
        lambda i, x: 0.05 + 0.01 * x[i] + 0.1 * x[HORIZONTAL[i]]
        + 0.8 * (x[VERTICAL[i]] & x[DIAGONAL[i]]),
    )
)  # fmt: skip
MIN = iit.Substrate.from_tpm([[0.05, 0.05], [0.05, 0.06], [0.06, 0.05], [0.95, 0.95]])
BU = iit.Substrate.from_tpm(
    [[int(c) for c in word] for word in ["111", "010", "000", "110", "001", "011", "101", "100"]]
)


def strong(weight):
    def rule(i, x):
        return 0.05 + 0.05 * x[i] + 0.6 * x[HORIZONTAL[i]] + weight * x[VERTICAL[i]]

    return iit.Substrate.from_tpm(tpm(4, rule))


@pytest.mark.parametrize(
    ("substrate", "window", "how", "n_systems", "complexes"),
    [
        (CG, "0000", {}, 80, {"AB:0001 | CD:0001": 1.0040208141253277}),
        (CG, "0000", {"background": 1}, 120, {"AB:0001 | CD:0001": 1.0040208141253277}),
        (
            CG, "0000", {"mappings": "exhaustive", "constituents": 2}, 120,
            {"AB:0001 | CD:0001": 1.0040208141253277},
        ),
        (MIN, "00", {"mappings": "exhaustive"}, 10, {"AB:0001": 0.7883339770634886}),
        (MIN, ["00", "00"], {"updates": 2}, 11, {"AB:0001": 0.7883339770634886}),
        (MIN, "00", {"depth": 2}, 8, {"AB:0001": 0.7883339770634886}),
        (strong(0.25), "0000", {}, 145, {"AC:0111 | BD:0111": 0.9224715413590249}),
        (BU, "000", {}, 6, {"A": 1.0, "B": 1.0}),
    ],
)  # fmt: skip
def test_search__of_published_systems(substrate, window, how, n_systems, complexes):
    tree = iit.grains(substrate, window, **how)
    found = tree["complexes"].to_dataset()
    assert tree.attrs["n_systems"] == tree["systems"].sizes["system"] == n_systems
    assert dict(zip(found["units"].values, found["phi"].values, strict=True)) == pytest.approx(
        complexes, abs=1e-12
    )
    assert tree.attrs["exclusion_rules_agree"]
    assert tree.attrs["exhaustive"]


def verdicts(tree):
    units = tree["units"].to_dataset()
    return dict(zip(units["candidate"].values, units["verdict"].values, strict=True))


def test_verdicts__of_published_systems():
    assert verdicts(iit.grains(strong(0), "0000"))["AC"] == "NOT_INTEGRATED"
    tree = iit.grains(strong(0.01), "0000")
    assert verdicts(tree)["AC"] == "NOT_MAXIMAL"
    units = tree["units"].to_dataset().sel(candidate="AC")
    assert units["phi"].item() == pytest.approx(0.004863714555961354, abs=1e-12)
    assert units["witness_phi"].item() == pytest.approx(0.023640988356789627, abs=1e-12)
    assert units["n_competitors"].item() == 2
    assert units["witness"].item() in {"A", "C"}
    tree = iit.grains(strong(0.25), "0000")
    assert verdicts(tree)["AC"] == verdicts(tree)["AB"] == "VALID"


def test_systems__have_the_phi_of_their_own_analysis():
    noisy = iit.Substrate.from_tpm(np.random.default_rng(8).uniform(0.05, 0.95, (8, 3)))
    window = ["011", "110"]
    tree = iit.grains(noisy, window, updates=2, background=1)
    systems = tree["systems"].to_dataset()
    assert (np.diff(systems["phi"].values) <= 0).all()
    for name, phi, grain in zip(
        *(systems[key].values[::7] for key in ("units", "phi", "grain")), strict=True
    ):
        units = [parsed(text) for text in name.split(" | ")]
        own = iit.sia(noisy, window[2 - grain :], units)
        assert own["phi"].item() == pytest.approx(phi, abs=1e-12)


def parsed(name):
    """Unit of a name such as ``AB:0001/C``."""
    head, _, background = name.partition("/")
    members, _, table = head.partition(":")
    table = table or "01"
    updates = (len(table).bit_length() - 1) // len(members)
    return iit.unit(list(members), table=table, updates=updates, background=background)


@pytest.mark.parametrize("theory", ["iit4", "iit4-2026"])
@pytest.mark.parametrize("seed", range(6))
def test_exclusion__is_that_of_every_pair(seed, theory):
    rng = np.random.default_rng([seed, 3])
    table = rng.uniform(0, 1, (8, 3)) if seed % 2 else rng.integers(0, 2, (8, 3)) * 0.9 + 0.05
    tree = iit.grains(iit.Substrate.from_tpm(table), "010", theory=theory)
    systems = tree["systems"].to_dataset()
    phi = systems["phi"].values
    parts = [set(text.replace(" | ", "")) for text in systems["footprint"].values]
    everyone = range(len(phi))
    near = 1e-12
    tops = [
        a for a in everyone
        if not any(parts[a] & parts[b] and phi[b] > phi[a] + near for b in everyone)
    ]  # fmt: skip
    pairs = [(a, b) for a, b in combinations(tops, 2) if parts[a] & parts[b]]
    tied = {k for pair in pairs for k in pair}
    expected = {systems["units"].values[k] for k in tops if k not in tied}
    assert set(tree["complexes"]["units"].values) == expected
    assert tree.attrs["n_ties"] == len(pairs)


def test_exclusion_rules__can_differ():
    """A beats AB, AB beats B: B is a complex only where excluded systems exclude nothing."""
    rules = []
    for seed in range(12):
        table = np.random.default_rng(seed).uniform(0, 1, (8, 3))
        tree = iit.grains(iit.Substrate.from_tpm(table), "010")
        rules.append(tree.attrs["exclusion_rules_agree"])
    assert {True, False} == set(rules)


def test_footprints__restrict_the_systems():
    noisy = iit.Substrate.from_tpm(np.random.default_rng(1).uniform(0.05, 0.95, (32, 5)))
    tree = iit.grains(noisy, "01011", "exhaustive", footprints=[("AB", "CDE")])
    assert tree.attrs["n_systems"] == 7 * 127
    assert set(tree["systems"]["footprint"].values) == {"AB | CDE"}
    assert not tree.attrs["exhaustive"]
    name = tree["systems"]["units"].values[100]
    own = iit.sia(noisy, "01011", [parsed(text) for text in name.split(" | ")])
    assert own["phi"].item() == pytest.approx(tree["systems"]["phi"].values[100], abs=1e-12)
    valid = set(verdicts(tree).values()) == {"VALID"}
    assert valid or not tree["complexes"].sizes["complex"]


def test_options__of_other_theories_and_ties_are_refused():
    with pytest.raises(InputError, match="ties: expected reference for compute 'grains'"):
        iit.grains(MIN, "00", theory={"name": "iit4", "ties": "canonical"})
    with pytest.raises(InputError, match="expected theory iit4, iit4-2026, got 'iit3'"):
        iit.grains(MIN, "00", theory="iit3")


STUDY = """
substrate: {example: macro}
window: ["0000", "0010"]
compute: grains
constituents: 2
updates: 2
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)

    def run(*words, code=0):
        with pytest.raises(SystemExit) as end:
            app.main(list(words))
        printed = capsys.readouterr()
        assert end.value.code == code, printed.err
        return printed.err if code else printed.out

    return run


def test_study__has_every_command(command, tmp_path):
    expected = iit.grains(iit.examples.load("macro"), ["0000", "0010"], constituents=2, updates=2)
    assert "units/1-2" in command("estimate", "study.yaml")
    assert "systems" in command("plan", "study.yaml")
    command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    shown = command("show", "x.zarr")
    assert "complexes" in shown
    assert "NOT_INTEGRATED" in shown
    assert "computed again" in command("verify", "x.zarr")
    assert "finished" in command("status", "x.zarr")
    command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    for name in ("x.nc", "x.csv", "x.json"):
        command("export", "x.zarr", name)
    command("view", "x.zarr", "--html", "x.html")
    assert "<title>Grains of ABCD" in (tmp_path / "x.html").read_text()
    result = json.loads(command("show", "x.zarr", "--json"))
    assert result["attrs"]["n_systems"] == expected.attrs["n_systems"]
    assert bits(iit.open("x.zarr")) == bits(expected)


def test_search__is_swept():
    cube = iit.sweep({"state": ["0000", "1100"]}, CG, compute="grains", constituents=2)
    assert cube["n_systems"].values.tolist() == [80, 15]
    for state in ("0000", "1100"):
        tree = iit.grains(CG, state, constituents=2)
        assert cube["phi"].sel(state=state).item() == tree["complexes"]["phi"].values.max(initial=0)


class Stop:
    """Interrupts a run after some blocks."""

    def __init__(self, most):
        self.left = most

    def __call__(self, event):
        if isinstance(event, BlocksFilled):
            self.left -= event.blocks
            if self.left <= 0:
                raise KeyboardInterrupt


def test_search__resumes_with_the_same_bits(tmp_path):
    resumes_with_the_same_bits(tmp_path, footprints=[("AB", "CDE")])


def resumes_with_the_same_bits(tmp_path, footprints):
    noisy = iit.Substrate.from_tpm(np.random.default_rng(1).uniform(0.05, 0.95, (32, 5)))
    search = GrainSearch.build(noisy, "01011", None, "exhaustive", footprints=footprints)
    problem = Problem(search, theory_options("iit4"), "grains")
    small = {"block_seconds": 1e-3}
    whole = run_job(problem, **small)
    for most in (2, 3):
        with pytest.raises((KeyboardInterrupt, iit.errors.InterruptedRunError)):
            run_job(problem, store=tmp_path / "x.zarr", observers=[Stop(most)], **small)
    assert bits(run_job(problem, store=tmp_path / "x.zarr", **small)) == bits(whole)


@pytest.fixture
def ranges(monkeypatch):
    """Make a function that has systems kept by ranges of some size, so many phi of each."""

    def of(size, kept):
        monkeypatch.setattr(grain_verdicts, "MAX_LISTED_SYSTEMS", 0)
        monkeypatch.setattr(grain_systems, "RANGE_SYSTEMS", size)
        monkeypatch.setattr(grain_systems, "KEPT_VALUES", kept)

    return of


def test_search__in_ranges_resumes_with_the_same_bits(ranges, tmp_path):
    ranges(37, 4)
    resumes_with_the_same_bits(tmp_path, footprints=[("AB", "CDE")])


RING = iit.Substrate.from_tpm(tpm(6, lambda i, x: 0.1 + 0.8 * (x[i - 1] ^ x[i - 2])))
GENERIC = iit.Substrate.from_tpm(np.random.default_rng(3).uniform(0.05, 0.95, (64, 6)))
PAIRS = [("AB", "CD", "EF"), ("AB", "CDE"), ("AB", "DE")]


@pytest.mark.parametrize(
    ("substrate", "how", "size", "table_bytes"),
    [
        (GENERIC, {"mappings": "exhaustive", "footprints": [("ABC", "DEF")]}, 3001, 1 << 24),
        (RING, {"mappings": "exhaustive", "footprints": PAIRS}, 101, 1 << 24),
        (RING, {"mappings": "exhaustive", "footprints": PAIRS}, 211, 3000),
        (CG, {"constituents": 2}, 11, 1 << 24),
        (CG, {"mappings": "exhaustive", "constituents": 3}, 23, 3000),
        (strong(0.25), {"constituents": 2, "background": 1}, 7, 1000),
    ],
    ids=["3+3", "2+2+2", "2+2+2 in portions", "cg", "cg exhaustive", "sfs"],
)
def test_ranges__keep_what_a_list_has(ranges, monkeypatch, substrate, how, size, table_bytes):
    window = "0" * substrate.n_units
    whole = iit.grains(substrate, window, **how)
    ranges(size, 9)
    monkeypatch.setattr(grain_systems, "TABLE_BYTES", table_bytes)
    found = iit.grains(substrate, window, **how)
    assert found.attrs["summarised"]
    assert not whole.attrs["summarised"]
    for node in ("units", "complexes", "recursive_complexes"):
        xr.testing.assert_allclose(found[node].to_dataset(), whole[node].to_dataset())
    for name in ("n_systems", "exclusion_rules_agree", "exhaustive"):
        assert found.attrs[name] == whole.attrs[name]
    if found.attrs["n_ties_exact"]:
        assert found.attrs["n_ties"] == whole.attrs["n_ties"]
    kept_rows_are_the_first(found["systems"].to_dataset(), whole["systems"].to_dataset())


def kept_rows_are_the_first(kept, listed):
    """Of every choice of units the largest phi, one system that has it, and how many have it."""
    assert (np.diff(kept["phi"].values) <= 0).all()
    found, expected = by_units(kept), by_units(listed)
    assert set(found) == set(expected)
    for key, own in found.items():
        every = expected[key]
        assert len(own) == len(every) or sum(len(known) for _, known, _ in own) >= 9
        for (phi, known, count), (value, all_names, total) in zip(own, every, strict=False):
            assert phi == pytest.approx(value, abs=1e-11)
            assert set(known) <= set(all_names)
            assert count == total or (phi == own[-1][0] and count < total)


def by_units(systems):
    """By micro constituents and background of units: phi, names and number of its systems.

    Values that differ by roundings are one.
    """
    counts = (
        systems["n_systems"].values if "n_systems" in systems else [1] * systems.sizes["system"]
    )
    found = {}
    for name, phi, count in zip(
        systems["units"].values, systems["phi"].values, counts, strict=True
    ):
        parts = (re.sub(":[01]+", ":", unit) for unit in name.split(" | "))
        rows = found.setdefault(tuple(parts), [])
        if rows and abs(rows[-1][0] - phi) < 1e-11:
            rows[-1] = (rows[-1][0], [*rows[-1][1], name], rows[-1][2] + int(count))
        else:
            rows.append((phi, [name], int(count)))
    return found


def test_ranges__say_when_ties_may_be_left_out(ranges):
    silent = iit.Substrate.from_tpm(np.full((16, 4), 0.5))
    how = {"mappings": "exhaustive", "footprints": [("AB", "CD")]}
    ranges(10, 1)
    found = iit.grains(silent, "0000", **how)  # all phi are 0: one value, kept with its number
    assert found.attrs["n_ties_exact"]
    assert found["systems"]["n_systems"].values.tolist() == [49]
    assert not iit.grains(CG, "0000", constituents=2).attrs["n_ties_exact"]
    ranges(10, 2)
    assert iit.grains(CG, "0000", constituents=2).attrs["n_ties_exact"]


def test_recursive_complexes__are_those_of_exclusion_one_after_another():
    for seed in range(12):
        table = np.random.default_rng(seed).uniform(0, 1, (8, 3))
        tree = iit.grains(iit.Substrate.from_tpm(table), "010")
        systems = tree["systems"].to_dataset()
        taken, expected = set(), []
        for units, footprint, phi in zip(
            *(systems[name].values for name in ("units", "footprint", "phi")), strict=True
        ):
            own = set(footprint.replace(" | ", ""))
            if phi > 0 and not own & taken:
                taken |= own
                expected.append(units)
        assert tree["recursive_complexes"]["units"].values.tolist() == expected
        same = set(tree["complexes"]["units"].values) == set(expected)
        assert tree.attrs["exclusion_rules_agree"] == same
