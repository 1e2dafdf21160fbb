"""Macro units in studies: analyses, structures, sweeps, commands and stores."""

import csv
import json

import numpy as np
import pytest

import iitdask as iit
from iitdask.cli import app
from iitdask.errors import InputError, SpecError, StateError
from tests.macro_cases import SYSTEMS, defined, drawn, names, substrate_of, window_of
from tests.runs import bits

CURRENT = {"name": "iit4-2026", "differentiation": "current"}
STUDY = """
substrate: {example: macro}
window: ["0010", "0110"]
units:
  - {of: [A, B], on: ["1100", "1111"], updates: 2, background: [D]}
  - C
compute: ces
"""
MACRO = iit.examples.load("macro")
ALPHA, BETA = iit.unit("AB", on=["11"]), iit.unit("CD", on=["11"])


@pytest.mark.parametrize("golden", SYSTEMS, ids=names(SYSTEMS))
def test_structure__is_the_golden_one(golden):
    arguments = substrate_of(golden), window_of(golden), [defined(u) for u in golden["units"]]
    tree = iit.ces(*arguments)
    assert tree["system"]["phi"].item() == pytest.approx(golden["phi_2023"], abs=1e-9)
    assert tree.attrs["big_phi"] == pytest.approx(golden["big_phi"], abs=1e-9)
    assert tree["distinctions"].sizes["mechanism"] == golden["n_distinctions"]
    if "phi_2026" in golden:
        phi = iit.sia(*arguments, theory=CURRENT)["phi"].item()
        assert phi == pytest.approx(golden["phi_2026"], abs=1e-9)


@pytest.mark.parametrize("theory", ["iit4", "iit4-2026", "iit3"])
@pytest.mark.parametrize("ties", ["reference", "canonical"])
def test_order_of_units__does_not_matter(theory, ties):
    case = drawn(13)
    units = case.definitions()
    assert len(units) > 1
    one, other = (
        iit.ces(case.substrate, case.window, order, theory=theory, ties=ties)
        for order in (units, units[::-1])
    )
    for name in ("phi", "n_tied_partitions"):
        assert one["system"][name].item() == pytest.approx(other["system"][name].item(), abs=1e-12)
    assert one.attrs["big_phi"] == pytest.approx(other.attrs["big_phi"], abs=1e-12)


def test_micro_units__in_a_system_of_all_edges_are_the_candidate():
    basic = iit.Substrate.from_tpm(np.random.default_rng(2).uniform(0, 1, (8, 3)))
    named = iit.sia(basic, "101", "AC")
    defined_ones = iit.sia(basic, ["101"], [iit.unit("A"), "C"])
    assert defined_ones["phi"].item() == pytest.approx(named["phi"].item(), abs=1e-14)
    assert "macro_units" not in named.attrs
    assert defined_ones.attrs["macro_units"] == ["A", "C"]


def test_complementing_a_table__keeps_phi():
    one = iit.ces(MACRO, "1100", [ALPHA, BETA])
    other = iit.ces(MACRO, "1100", [iit.unit("AB", table="1110"), BETA])
    assert one["system"]["phi"].item() == pytest.approx(other["system"]["phi"].item(), abs=1e-13)
    assert one.attrs["big_phi"] == pytest.approx(other.attrs["big_phi"], abs=1e-12)
    assert one["system"].attrs["state"] == "10"
    assert other["system"].attrs["state"] == "00"


def test_result__says_what_its_units_are():
    tree = iit.ces(MACRO, "1100", [ALPHA, "C"])
    assert tree["system"]["unit"].values.tolist() == ["AB", "C"]
    assert tree["distinctions"]["mechanism"].values.tolist()[0] == "AB"
    about = tree.attrs
    assert about["macro_units"] == ["AB:0001", "C"]
    assert about["window"] == ["1100"]
    assert iit.macro_tables(MACRO, "1100", about["definitions"]).equals(
        iit.macro_tables(MACRO, "1100", [ALPHA, "C"])
    )


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory with the study; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)

    def run(*words, code=0):
        with pytest.raises(SystemExit) as end:
            app.main(list(words))
        printed = capsys.readouterr()
        assert end.value.code == code, printed.err
        return printed.err if code else printed.out

    return run


def test_study__is_run_shown_verified_exported_and_viewed(command, tmp_path):
    assert "system" in command("estimate", "study.yaml")
    command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    shown = command("show", "x.zarr")
    assert "macro units" in shown
    assert "0010 0110" in shown
    assert "computed again" in command("verify", "x.zarr")
    assert "finished" in command("status", "x.zarr")
    command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    command("export", "x.zarr", "x.nc")
    command("export", "x.zarr", "x.csv")
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert {row["mechanism"] for row in rows} <= {"AB", "C", "AB,C"}
    command("view", "x.zarr", "--html", "x.html")
    result = json.loads(command("show", "x.zarr", "--json"))
    unit = iit.unit("AB", on=["1100", "1111"], updates=2, background="D")
    expected = iit.ces(MACRO, ["0010", "0110"], [unit, "C"])
    assert result["attrs"]["big_phi"] == expected.attrs["big_phi"]
    assert bits(iit.open("x.zarr")) == bits(expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("units: [{of: [A, B], on: [11]}]", "on: expected words of 2 zeros and ones, .* got 11"),
        ("units: [{of: [A, X], on: ['11']}]", "no unit is called 'X'"),
        ("units: [{of: [A, B], at: ['11']}]", "unknown key 'at'; a unit has of"),
        ("units: [{of: [A, B], on: ['11']}]\nstate: '0000'", "either a state or a window"),
        ("units: [{of: [A], table: '01110000', updates: 3}]", "expected 3 states, .* got 1"),
    ],
)
def test_study__is_refused_in_one_line(command, tmp_path, line, message):
    study = f'substrate: {{example: macro}}\nwindow: ["0010"]\ncompute: sia\n{line}\n'
    (tmp_path / "study.yaml").write_text(study)
    printed = command("run", "study.yaml", "--quiet", code=2)
    assert len(printed.splitlines()) == 1
    with pytest.raises(InputError, match=message):
        iit.estimate("study.yaml")


def test_study__needs_a_state_or_a_window(command, tmp_path):
    (tmp_path / "study.yaml").write_text("substrate: {example: macro}\ncompute: sia\n")
    assert "state: expected one" in command("run", "study.yaml", "--quiet", code=2)


def test_sweep__takes_macro_units_beside_micro_ones():
    cube = iit.sweep({"units": ["AB", [ALPHA, BETA], [ALPHA, "C"], [ALPHA]]}, MACRO, "0000")
    labels = ["AB", "AB:0001 | CD:0001", "AB:0001 | C", "AB:0001"]
    assert cube["units"].values.tolist() == labels
    assert cube["n_units"].values.tolist() == [2, 2, 2, 1]
    for label, units in zip(labels, ["AB", [ALPHA, BETA], [ALPHA, "C"], [ALPHA]], strict=True):
        phi = iit.sia(MACRO, "0000", units)["phi"].item()
        assert cube["phi"].sel(units=label).item() == phi


def test_sweep__over_windows():
    box = iit.unit("AB", reads="B", updates=2)
    windows = [["0010", "0110"], ["1111", "0110"]]
    cube = iit.sweep({"window": windows}, MACRO, units=[box, "C"])
    assert cube["window"].values.tolist() == ["0010 0110", "1111 0110"]
    for k, window in enumerate(windows):
        assert cube["phi"].values[k] == iit.sia(MACRO, window, [box, "C"])["phi"].item()


def test_sweep__takes_windows_along_a_trajectory(tmp_path):
    box = {"of": ["A", "B"], "reads": "B", "updates": 2}
    study = {
        "substrate": {"example": "macro"},
        "units": [box, "C"],
        "compute": "sia",
        "sweep": {"window": {"trajectory": {"steps": 20, "seed": 3}}},
    }
    cube = iit.sweep(study, store=tmp_path / "x.zarr")
    assert all(len(label.split()) == 2 for label in cube["window"].values)
    assert cube["frequency"].values.sum() == pytest.approx(1)
    windows = [label.split() for label in cube["window"].values]
    again = iit.sweep({**study, "sweep": {"window": windows}})
    np.testing.assert_array_equal(again["phi"].values, cube["phi"].values)
    assert iit.open(tmp_path / "x.zarr")["phi"].values.tolist() == cube["phi"].values.tolist()


def test_sweep__refuses_a_trajectory_that_is_too_short():
    box = iit.unit("AB", reads="B", updates=3)
    rule = {"window": {"trajectory": {"steps": 2}}}
    with pytest.raises(SpecError, match="expected at least 3 steps, got 2"):
        iit.sweep(rule, MACRO, units=[box])
    with pytest.raises(SpecError, match="length: expected a whole number of states, got 0"):
        iit.sweep({"window": {"trajectory": {"steps": 9, "length": 0}}}, MACRO, units=[box])
    with pytest.raises(SpecError, match="unknown key 'length'"):
        iit.sweep({"state": {"trajectory": {"steps": 9, "length": 2}}}, MACRO)


def test_k_ary_micro_units__are_refused():
    three = iit.Substrate.from_factors([(["A"], [[0.5, 0.3, 0.2]] * 3)])
    with pytest.raises(StateError, match="macro units are defined for micro units of two values"):
        iit.sia(three, "0", [iit.unit("A", counts=[1])])
