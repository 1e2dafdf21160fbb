"""Measures, partitions of mechanisms and distances of structures, against each one tried."""

import json
from itertools import product
from pathlib import Path

import pytest

import iitdask as iit
from iitdask.errors import UnreachableStateError
from iitdask.theory.options import recorded_options
from tests.reference import Unreachable
from tests.reference.concepts import MEASURES, SCHEMES, Rule
from tests.reference.random_systems import drawn
from tests.reference.store_answers import answer
from tests.theory.iit3.test_oracle import compare, ours

GOLDEN = Path(__file__).parents[2] / "golden" / "iit3_measures.json"
PUBLISHED = json.loads(GOLDEN.read_text())["published"]
STRUCTURES = ("EMD", "SUM_SMALL_PHI")
RULES = [Rule(*each) for each in product(MEASURES, SCHEMES, STRUCTURES)]
MANY = 10  # systems of every rule and size


def options(rule):
    return {
        "measure": rule.measure,
        "mechanism_partitions": rule.partitions,
        "structure_distance": rule.structure,
    }


def agree(rule, numbers, units):
    for number in numbers:
        case, background = drawn(number, units)
        try:
            expected = answer(number, units, rule)
        except Unreachable:
            with pytest.raises(UnreachableStateError, match="unreachable"):
                ours(case, background, **options(rule))
            continue
        compare(ours(case, background, **options(rule)), expected, case.units)


def seed_of(rule):
    """Other systems for every rule."""
    return 7 * RULES.index(rule) % 60


def marked(rule):
    """Of each measure and scheme the sum of phi is quick, the transport of few."""
    is_quick = rule.structure == "SUM_SMALL_PHI" or rule in (Rule("AID", "wedge"), Rule("L1"))
    name = "-".join(vars(rule).values())
    return pytest.param(rule, id=name, marks=() if is_quick else pytest.mark.slow)


@pytest.mark.oracle
@pytest.mark.parametrize("rule", [marked(rule) for rule in RULES[1:]])
def test_every_rule__of_three_units(rule):
    agree(rule, [seed_of(rule)], 3)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("rule", [marked(rule) for rule in RULES[1:]])
def test_every_rule__of_many_systems(rule):
    for units in (2, 3):
        agree(rule, range(MANY), units)


@pytest.mark.parametrize("printed", PUBLISHED, ids=lambda printed: printed["example"])
def test_published__phi_under_other_options(printed):
    substrate = iit.examples.load(printed["example"])
    theory = {"name": "iit3", **printed["options"]}
    found = iit.ces(substrate, printed["state"], theory=theory)
    assert float(found["system"]["phi"]) == pytest.approx(printed["phi"], abs=0.005)
    assert found["distinctions"].sizes["mechanism"] == printed["n_mechanisms"]
    assert found.attrs.items() >= printed["options"].items()
    assert found["system"]["phi"].attrs["units"] == "bit"


def test_store__of_one_measure_is_not_that_of_another(tmp_path):
    basic, store = iit.examples.load("basic"), str(tmp_path / "aid.zarr")
    theory = {"name": "iit3", "measure": "AID"}
    first = iit.sia(basic, "100", theory=theory, store=store)
    assert first.identical(iit.sia(basic, "100", theory=theory, store=store))
    with pytest.raises(iit.errors.LedgerMismatchError, match="measure"):
        iit.sia(basic, "100", theory="iit3", store=store)


def test_recorded__options_of_the_default_are_those_of_earlier_stores():
    assert recorded_options(iit.IIT3()) == {
        "name": "iit3", "ties": "reference", "background": "causal",
    }  # fmt: skip
    assert recorded_options(iit.IIT3(measure="ID"))["measure"] == "ID"
