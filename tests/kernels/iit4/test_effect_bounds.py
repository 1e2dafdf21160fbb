"""Effect purviews bounded together and one by one: the same answers to the last bit."""

import pytest
import xarray as xr
from hypothesis import assume, given, settings

import iitdask as iit
from iitdask.errors import UnreachableStateError
from iitdask.kernels.iit4 import mechanism_search
from tests.benchmarks.systems import system
from tests.strategies import ASYMMETRIC, SYMMETRIC, cases, count_examples


def unfolded(*given, together):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mechanism_search, "JOINT_BOUND_MIN_UNITS", 0 if together else 99)
        tree = iit.ces(*given)
    searched = tree.attrs.pop("search")
    return tree, searched


def same(*given):
    (one, looked), (other, looked_alone) = (
        unfolded(*given, together=together) for together in (True, False)
    )
    xr.testing.assert_identical(one, other)
    return looked, looked_alone


@pytest.mark.randomized
@pytest.mark.parametrize("kinds", [ASYMMETRIC, ("gates",), SYMMETRIC], ids="-".join)
def test_ces__does_not_depend_on_how_effects_are_bounded(kinds):
    @settings(max_examples=count_examples(80))
    @given(cases(kinds=kinds))
    def compare(case):
        try:
            same(case.substrate(), case.state, case.units)
        except UnreachableStateError:
            assume(False)

    compare()


@pytest.mark.parametrize("kind", ["dense", "ising", "deterministic"])
def test_ces__of_seven_units_by_either_way(kind):
    together, alone = same(*system(kind, 7))
    assert together["pairs_searched"] < alone["pairs_searched"]
