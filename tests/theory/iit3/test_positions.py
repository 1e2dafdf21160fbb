"""Where the reference and the 2014 paper part on IIT 3.0: one test for each decision."""

import numpy as np
import pytest

import iitdask as iit
from tests.reference.concepts import analyse
from tests.strategies import Case, gate, table

PAPER = {"name": "iit3", "background": "2014"}


def test_background__is_the_references_unless_asked_for_the_papers():
    substrate, state = iit.examples.load("iit3-2014-fig14"), iit.examples.state("iit3-2014-fig14")
    reference = iit.sia(substrate, state, "ABC", theory="iit3")
    paper = iit.sia(substrate, state, "ABC", theory=PAPER)
    assert float(reference["phi"]) == pytest.approx(1.07445, abs=3e-6)
    assert float(paper["phi"]) == pytest.approx(1.916667, abs=3e-6)  # D is off: the OR of Fig. 4
    assert reference.attrs["background"] == "causal"
    assert paper.attrs["background"] == "2014"


def test_background__makes_no_difference_to_the_whole_substrate():
    substrate = iit.examples.load("iit3-2014-fig4")
    both = [iit.ces(substrate, "101", theory=t) for t in ("iit3", PAPER)]
    assert both[0]["distinctions"].equals(both[1]["distinctions"])
    assert both[0]["system"].equals(both[1]["system"])


def ternary(seed):
    rng = np.random.default_rng(seed)
    levels = (3, 2)
    factors = [table(levels, (0, 1), k, lambda _, k=k: rng.dirichlet(np.ones(k))) for k in levels]
    return Case("ternary", seed, tuple(factors), np.ones((2, 2), bool), (2, 1), (0, 1))


@pytest.mark.parametrize("seed", range(5))
def test_units_of_more_values__are_expanded_along_all_their_axes(seed):
    # The reference recognises purview axes by their size 2 and goes wrong here.
    case = ternary(seed)
    expected = analyse(*case.given())
    tree = iit.ces(case.substrate(), case.state, theory="iit3")
    assert float(tree["system"]["phi"]) == pytest.approx(expected["phi"], abs=3e-6)
    assert expected["phi"] > 0
    information = pytest.approx(expected["conceptual_information"], abs=3e-6)
    assert tree.attrs["conceptual_information"] == information


def all_to_all(name, n, noise, state):
    levels = (2,) * n
    factors = tuple(gate(levels, range(n), name, noise) for _ in range(n))
    return Case(name, 0, factors, np.ones((n, n), bool), state, tuple(range(n)))


def test_minimum_cut__is_the_one_whose_first_pairs_are_kept():
    case = all_to_all("or", 3, 0.1, (0, 0, 0))
    found = iit.sia(case.substrate(), case.state, theory="iit3")
    expected = analyse(*case.given())
    assert int(found["n_tied_partitions"]) == len(expected["tied_cuts"]) > 1
    assert set(map(tuple, np.argwhere(found["cut"].values).tolist())) == expected["cut"]


def test_minimum_partition__is_the_one_whose_first_pairs_are_kept():
    case = all_to_all("majority", 3, 0.1, (0, 0, 0))
    tree = iit.ces(case.substrate(), case.state, theory="iit3")
    expected, found = analyse(*case.given())["concepts"], tree["distinctions"].to_dataset()
    tied = 0
    for k in range(found.sizes["mechanism"]):
        row = found.isel(mechanism=k)
        one = expected[tuple(np.flatnonzero(row["mechanism_units"].values).tolist())]
        for name, end in (("cause", one[1]), ("effect", one[2])):
            values = row[f"partitioned_repertoire_{name}"].values
            exact = pytest.approx(end.partitioned.ravel(order="F"), abs=1e-12)
            assert values[~np.isnan(values)] == exact
            tied += int(row[f"n_tied_partitions_{name}"]) > 1
    assert tied


def test_ties__canonical_does_not_depend_on_the_numbering():
    rng = np.random.default_rng(3)
    levels = (2,) * 3
    factors = tuple(
        gate(levels, inputs, name, 0.1)
        for name, inputs in (("or", (0, 1)), ("and", (0, 2)), ("xor", (0, 1, 2)))
    )
    case = Case("gates", 0, factors, np.ones((3, 3), bool), (0, 1, 1), (0, 1, 2))
    values = set()
    for _ in range(4):
        moved = case.permuted(rng.permutation(3).tolist())
        found = iit.ces(moved.substrate(), moved.state, theory="iit3", ties="canonical")
        sums = found.attrs["sum_phi_distinctions"], found.attrs["conceptual_information"]
        values.add((round(float(found["system"]["phi"]), 5), *(round(x, 4) for x in sums)))
    assert len(values) == 1


def test_reducible__is_exactly_zero_and_says_why():
    pairs = iit.Substrate.from_units([{"gate": "COPY", "inputs": [name]} for name in "BADC"])
    declared = iit.Substrate.from_tpm(list(copy_rows()), np.ones((4, 4), bool))
    for substrate, why in ((pairs, "not strongly connected"), (declared, "makes no difference")):
        found = iit.sia(substrate, "1010", theory="iit3")
        assert float(found["phi"]) == 0.0
        assert why in found.attrs["reason"]


def copy_rows():
    for row in range(16):
        a, b, c, d = (row >> i & 1 for i in range(4))
        yield float(b), float(a), float(d), float(c)


def test_monad__is_zero_but_has_its_concept():
    copy = iit.Substrate.from_units([{"gate": "COPY", "inputs": ["A"]}])
    tree = iit.ces(copy, "0", theory="iit3")
    assert float(tree["system"]["phi"]) == 0.0
    assert "single unit" in tree["system"].attrs["reason"]
    assert tree["distinctions"]["phi"].values.tolist() == [0.5]
