"""Systems partitioned into two parts alone, against each of them tried; an upper bound."""

import numpy as np
import pytest
from hypothesis import assume, given

import iitdask as iit
from iitdask.errors import InputError, UnreachableStateError
from iitdask.theory.iit4.system_bipartitions import directed_bipartitions
from tests.reference.substrate import System
from tests.reference.systems import analyse, directed_partitions
from tests.strategies import cases, examples

BIPARTITIONS = {"name": "iit4", "system_partitions": "bipartition"}


@pytest.mark.parametrize("n", range(1, 6))
def test_directed_bipartitions__are_those_of_the_definition(n):
    found = {
        frozenset((a, b) for b in range(n) for a in range(n) if lost[b] >> a & 1)
        for lost in directed_bipartitions(n).tolist()
    }
    assert found == set(directed_partitions(tuple(range(n)), 2))
    assert len(found) == len(directed_bipartitions(n)) == max(1, 3 * (2 ** (n - 1) - 1))


@examples(60, deadline=None)
@given(case=cases(units=(2, 4)))
@pytest.mark.parametrize("theory", ["iit4", "iit4-2026"])
def test_sia__is_the_minimum_over_bipartitions_and_bounds_that_over_all(theory, case):
    options = {"name": theory, "system_partitions": "bipartition"}
    try:
        found = iit.sia(case.substrate(), case.state, case.units, theory=options)
    except UnreachableStateError:
        assume(False)
    theirs = analyse(System(*case.given()), theory, most=2)
    assert float(found["phi"]) == pytest.approx(theirs["phi"], rel=1e-9, abs=1e-9)
    assert float(found["normalized_phi"]) == pytest.approx(theirs["normalized_phi"], abs=1e-9)
    if theirs["null"]:
        return
    severed = {(case.units[a], case.units[b]) for a, b in np.argwhere(found["cut"].values)}
    assert severed in theirs["tied_partitions"]
    if min(theirs["cause_phi"], theirs["effect_phi"]) > 0:
        assert int(found["n_tied_partitions"]) == theirs["num_tied_partitions"]
        assert sorted(severed) == min(map(sorted, theirs["tied_partitions"]))
    assert "upper bound" in found.attrs["bound"]
    if theory == "iit4":
        least = iit.sia(case.substrate(), case.state, case.units)["normalized_phi"]
        assert float(found["normalized_phi"]) >= float(least) - 1e-12


def test_every_search_of_bipartitions__says_the_same():
    gates = iit.examples.load("rule110")
    whole = iit.sia(gates, "101", theory=BIPARTITIONS)
    assert whole.attrs["system_partitions"] == "bipartition"
    swept = iit.sweep({"theory": [BIPARTITIONS, "iit4"]}, gates, "101")
    assert swept["phi"].values.tolist() == [
        float(whole["phi"]),
        float(iit.sia(gates, "101")["phi"]),
    ]
    found = iit.complexes(gates, "101", theory=BIPARTITIONS)
    units = "".join(found["unit"].values[found["units"].values[0]])
    alone = iit.sia(gates, "101", units, theory=BIPARTITIONS)
    assert float(found["phi"][0]) == float(alone["phi"]) > 0


def test_explain__takes_the_runner_up_of_bipartitions():
    figure = iit.examples.load("iit4-2023-fig6a")
    found = iit.explain(iit.sia(figure, iit.examples.state("iit4-2023-fig6a"), theory=BIPARTITIONS))
    assert float(found["least_normalized"]) == pytest.approx(float(found["normalized_phi"]))
    assert float(found["gap"]) > 0


def test_computations_of_compiled_batches__refuse_bipartitions():
    with pytest.raises(InputError, match="system_partitions: expected all for compute 'search'"):
        iit.search(2, theory=BIPARTITIONS)
