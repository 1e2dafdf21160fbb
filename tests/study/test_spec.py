"""Studies that cannot be read are refused in one line that says what to do."""

import pytest
import yaml

import iitdask as iit
from iitdask.errors import IITError, SpecError
from iitdask.study.run import job_from_study
from iitdask.study.spec import read_study

UNITS = [{"gate": "COPY", "inputs": [1]}, {"gate": "NOT", "inputs": [0], "noise": 0.1}]
STUDY = {"substrate": {"units": UNITS}, "state": "10", "compute": "sia"}
SWEEP = {"substrate": {"units": UNITS}, "compute": "sia", "sweep": {"state": "all"}}


def job(study):
    return job_from_study(*read_study(study), "s.yaml")


def refused(study, message):
    with pytest.raises(IITError, match=message) as caught:
        job(study)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("field", ["state", "before", "after", "units", "causes", "effects"])
@pytest.mark.parametrize("value", [100, 1.5, True, 10**300])
def test_study__says_that_numbers_must_be_quoted(field, value):
    refused(STUDY | {field: value}, f"{field}: expected text or a list, got .*quote it: {field}: ")


def test_study__says_that_zeros_would_be_lost(tmp_path):
    for text in ("state: 0100", "substrate: {units: [{gate: TABLE, inputs: [0, 1], table: 0001}]}"):
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(SpecError, match=r"line 1: zeros .* would be lost; quote it: '\d+'"):
            read_study(tmp_path / "s.yaml")


def test_table__may_be_text_with_a_digit_per_row():
    unit = {"gate": "TABLE", "inputs": [0, 1]}
    text, rows = ([unit | {"table": table}] * 2 for table in ("0001", [0, 0, 0, 1]))
    one, other = (iit.Substrate.from_units(units) for units in (text, rows))
    assert one.fingerprint == other.fingerprint
    for table in ("01", "00x1", "", "\u0660\u0660\u0660\u0661"):
        with pytest.raises(iit.errors.SubstrateError, match="table"):
            iit.Substrate.from_units([unit | {"table": table}] * 2)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", None])
def test_run_options__refuse_blocks_that_take_no_time(value):
    refused(STUDY | {"run": {"block_seconds": value}}, r"block_seconds|float")


def test_run_options__refuse_fewer_than_one_worker():
    refused(
        STUDY | {"run": {"workers": 0}}, "workers: expected a whole number from 1 to 10000, got 0"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"theory": {"name": ["iit4"]}},
        {"theory": {"name": {"a": 1}}},
        {"theory": {"name": "iit4", "ties": "\ud800"}},
        {"name": "\ud800", "state": ["\ud800"]},
        {"compute": "x" * 10**6},
        {"substrate": {"units": [{"gate": ["COPY"], "inputs": [0]}]}},
        {"substrate": {"units": [{"gate": "COPY", "inputs": [10**5000]}]}},
        {"substrate": {"units": [{"gate": "LOGISTIC", "inputs": [0], "weights": [10**400]}]}},
        {"substrate": {"units": [{"gate": "TABLE", "table": 5}]}},
        {"substrate": {"units": {"A": 1}}},
        {"substrate": {"example": ["basic"]}},
        {"substrate": {"tpm": "a\0.npy"}},
        {"substrate": {"tpm": "\ud800.npy"}},
        {"substrate": {"tpm": "x\ny"}},
        {"max_size": 10**30, "compute": "complexes"},
        {"compute": "complexes", "candidates": [[10**30]]},
    ],
)
def test_study__is_refused_in_one_line(changes):
    refused(STUDY | changes, ": ")


@pytest.mark.parametrize(
    ("sweep", "changes"),
    [
        ({"noise": [0.1]}, {"substrate": {"units": [{"gate": "COPYY", "inputs": [0]}]}}),
        ({"noise": [0.1]}, {"substrate": {"units": [{"gate": ["COPY"], "inputs": [0]}]}}),
        ({"noise": [0.1]}, {"substrate": {"units": [1]}}),
        ({"noise": [0.1]}, {"substrate": {"units": ["abc"]}}),
        ({"noise": [0.1]}, {"substrate": {"units": 3}}),
        ({"noise": [0.1]}, {"substrate": {"units": "abc"}}),
        ({"noise": [0.1]}, {"substrate": {"example": ["basic"]}}),
        ({"noise": [10**400]}, {}),
        ({"noise": {"linspace": [0, 10**400, 3]}}, {}),
        ({"compute": ["sia", {"a": 1}]}, {}),
        ({"theory": [["iit4"], "iit3"]}, {}),
        ({"state": {"trajectory": {"steps": 10**9}}}, {}),
        ({"state": {"trajectory": {"steps": 10**30}}}, {}),
        ({"substrate": {"family": {"a": 1}, "n": 3, "gates": "OR"}}, {}),
        ({"substrate": {"family": "ring", "n": 3, "gates": "OR", "count": 10**30}}, {}),
        ({"substrate": {"family": "ring", "n": 3, "gates": "RULE"}, "number": [10**400]}, {}),
        ({"substrate": [{"tpm": [[10**400]]}]}, {}),
        ({"substrate": {"family": "ring", "n": [], "gates": "OR"}}, {}),
        *(
            (
                {"substrate": {"family": "ring", "n": 3, "gates": {"gate": "ISING", "weights": w}}},
                {},
            )
            for w in ({}, {"normal": 3}, {"normal": ["a", "b"]}, {"uniform": [1, 2, 3]}, "x", [1])
        ),
    ],
)
def test_sweep__is_refused_in_one_line(sweep, changes):
    study = SWEEP | {"sweep": {"state": "all"} | sweep} | changes
    if "substrate" in sweep:
        del study["substrate"]
    refused(study, ": ")


def test_sweep__may_give_a_parameter_that_units_lack():
    units = [{"gate": "RULE", "inputs": [2, 0, 1]}] * 3
    found = job(
        {"substrate": {"units": units}, "compute": "sia", "state": "100"}
        | {"sweep": {"number": [30, 110]}}
    )
    assert found.is_sweep


def test_study__reads_a_file_as_it_reads_its_content(tmp_path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY))
    assert job(tmp_path / "s.yaml").fingerprint == job(STUDY).fingerprint
