"""The table of the options of theories: what it says is what is accepted, and README names it."""

from pathlib import Path

import pytest

import iitdask as iit
from iitdask.theory.catalog import THEORIES, theory_options
from iitdask.theory.options import describe_options

README = Path(__file__).parents[2] / "README.md"
ROWS = [(theory, row) for theory, options in THEORIES.items() for row in describe_options(options)]
IDS = [f"{theory}-{row.name}" for theory, row in ROWS]


def test_table__has_every_option():
    assert {(theory, row.name) for theory, row in ROWS} == {
        (theory, name) for theory, kind in THEORIES.items() for name in kind.__struct_fields__
    }


@pytest.mark.parametrize(("theory", "row"), ROWS, ids=IDS)
def test_option__has_the_values_and_the_default_of_its_row(theory, row):
    assert getattr(theory_options(theory), row.name) == row.default
    for value in row.values:
        options = theory_options({"name": theory, row.name: value})
        assert getattr(options, row.name) == value
    assert row.default in row.values
    assert row.meaning.endswith(".")


@pytest.mark.parametrize(("theory", "row"), ROWS, ids=IDS)
def test_option__of_another_value_is_refused_with_those_it_has(theory, row):
    others = ", ".join(value for value in row.values if value != row.default)
    listed = rf"{theory}: .*; its options are .*{row.name} \({row.default}, {others}\)"
    with pytest.raises(iit.errors.InputError, match=listed):
        theory_options({"name": theory, row.name: "no such value"})


def test_option__that_no_theory_has_is_refused():
    with pytest.raises(iit.errors.InputError, match=r"its options are ties \(reference, canonical"):
        theory_options({"name": "iit4", "tie": "canonical"})


@pytest.mark.parametrize("row", {row.name: row for _, row in ROWS}.values(), ids=str)
def test_readme__names_every_option(row):
    text = README.read_text(encoding="utf-8")
    assert f"`{row.name}=" in text or f"({row.name}=" in text
