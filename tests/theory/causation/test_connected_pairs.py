"""Accounts by connected pairs alone are those by tables over all pairs, and of brute force."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import InputError, MemoryRefusedError
from iitdask.model.transition import Transition
from iitdask.run.result_group import load_result
from iitdask.run.storage import open_store
from iitdask.study.problem import Problem
from iitdask.study.run import estimate_job, run_job
from iitdask.theory.catalog import theory_options
from iitdask.theory.causation import account, connected_pairs, packing_rows, partitions
from tests.runs import Blocks, bits
from tests.strategies import cases, examples, gate
from tests.theory.causation import test_golden
from tests.theory.causation.test_sparse_causes import (
    account_of,
    assert_links_are_those_of,
    links_beside_brute_force,
    sparse_transitions,
)

TOLERANCE = 1e-12


def by_pairs(**changes):
    """Have every account computed by connected pairs, as if tables took for ever."""
    never = {"MIN_UNITS": 0, "least_table_seconds": lambda *_: np.inf}
    return patch.multiple(connected_pairs, **never | changes)


def assert_same(ours, theirs):
    assert ours.attrs.keys() == theirs.attrs.keys()
    assert ours["system"].attrs == theirs["system"].attrs
    for node in ("links", "system"):
        mine, other = ours[node].to_dataset(), theirs[node].to_dataset()
        assert list(mine.variables) == list(other.variables)
        for name, values in other.variables.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(
                    mine[name].values, values.values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
                )
            else:
                assert (mine[name].values == values.values).all(), name


@examples(300, suppress_health_check=list(HealthCheck))
@given(sparse_transitions(), st.sampled_from((1, 2, 64)), st.sampled_from((1, 2**28)))
def test_account__does_not_depend_on_the_way(drawn, stored, kept):
    dense = account_of(drawn)
    with by_pairs(STORED_PAIRS=stored), patch.object(packing_rows, "ROW_BYTES", kept):
        sparse = account_of(drawn)
    assert_same(sparse, dense)


@pytest.mark.oracle
@examples(60, suppress_health_check=list(HealthCheck))
@given(cases(units=(3, 4), kinds=("sparse", "gates", "copy ring"), background=True), st.booleans())
def test_links_and_their_partitions__are_those_of_brute_force(case, published):
    links, made = links_beside_brute_force(case, published, by_pairs())
    assert_links_are_those_of(made, links)
    places = np.array(made.units)
    for k, (direction, mechanism) in enumerate(made.account):
        one = links.isel(link=k)
        named = tuple(places[one["purview"].values].tolist())
        _, partitions_of_it = made.alpha(direction, mechanism, named)
        assert int(one["n_tied_partitions"]) == len(partitions_of_it)
        kept = {int(places[i]): int(one["kept"].values[i]) for i in range(len(places))}
        severed = frozenset(
            (m, z) for m in mechanism for z in named if not kept[m] >> made.units.index(z) & 1
        )
        assert severed in partitions_of_it


@pytest.mark.parametrize("name", test_golden.FILES)
def test_account__is_that_of_the_reference(name):
    data = test_golden.golden(name)
    substrate = iit.Substrate.from_tpm(test_golden.factors_of(data), data["cm"])
    with by_pairs():
        found = iit.account(substrate, *test_golden.arguments(data))
    assert_same(found, test_golden.computed(name))


def a_line(n, seed, ends=()):
    """Factors of noisy units that read themselves and their neighbours, with gaps behind some."""
    rng = np.random.default_rng(seed)
    factors = []
    for unit in range(n):
        near = [unit - 1] * (unit - 1 not in ends) + [unit] + [unit + 1] * (unit not in ends)
        inputs = [u for u in near if 0 <= u < n]
        on = rng.random((2,) * len(inputs))
        factors.append((inputs, np.stack([1 - on, on], axis=-1)))
    return factors


def account_between(factors, before, after, **changes):
    return iit.account(iit.Substrate.from_factors(factors), before, after, **changes)


def links_of(tree):
    """Mechanism, purview and alpha of every link, by direction, as unit numbers."""
    links = tree["links"].to_dataset()
    rows = zip(
        links["direction"].values,
        links["mechanism"].values,
        links["purview"].values,
        links["alpha"].values,
        strict=True,
    )
    return {
        (str(side), *np.flatnonzero(mechanism)): (tuple(np.flatnonzero(purview)), float(alpha))
        for side, mechanism, purview, alpha in rows
    }


def shifted(links, by):
    return {
        (side, *(unit + by for unit in mechanism)): (tuple(unit + by for unit in purview), alpha)
        for (side, *mechanism), (purview, alpha) in links.items()
    }


def test_networks_side_by_side__have_the_links_of_each():
    """Fourteen units: no table over all pairs of their sets fits into memory."""
    first, second = a_line(7, 1), a_line(7, 2)
    before, after = (0, 1) * 7, (1, 1, 0) * 4 + (0, 1)
    moved = [([unit + 7 for unit in inputs], table) for inputs, table in second]
    both = account_between([*first, *moved], before, after)
    parts = [
        links_of(account_between(first, before[:7], after[:7])),
        shifted(links_of(account_between(second, before[7:], after[7:])), 7),
    ]
    expected = parts[0] | parts[1]
    found = links_of(both)
    assert found.keys() == expected.keys()
    for key, (purview, alpha) in expected.items():
        assert found[key][0] == purview
        assert found[key][1] == pytest.approx(alpha, abs=1e-11)
    assert both["system"].attrs["reason"] == "the units do not hang together"


def test_labels_do_not_matter():
    n = 10
    factors, order = a_line(n, 3), np.random.default_rng(0).permutation(n)
    before, after = (1, 0) * 5, (1, 0, 0) * 3 + (1,)
    place = {int(unit): k for k, unit in enumerate(order)}
    turned = [([place[u] for u in factors[unit][0]], factors[unit][1]) for unit in order]
    with by_pairs():
        here = account_between(factors, before, after)
        there = account_between(
            turned, [before[unit] for unit in order], [after[unit] for unit in order]
        )
    assert there.attrs["n_links"] == here.attrs["n_links"] > 20
    ours = {
        (side, *sorted(place[unit] for unit in mechanism)): alpha
        for (side, *mechanism), (_, alpha) in links_of(here).items()
    }
    theirs = links_of(there)
    assert ours.keys() == theirs.keys()
    for key, alpha in ours.items():
        assert theirs[key][1] == pytest.approx(alpha, abs=1e-11)


def test_few_units_at_a_time__of_forty():
    """Occurrences of two units of a line are those of the pieces they lie in."""
    factors = a_line(40, 4)
    before, after = (0, 1) * 20, (1, 0) * 20
    tree = account_between(factors, before, after, max_order=2)
    found = {key: link for key, link in links_of(tree).items() if key[1] == 20}
    units = [f"N{u}" for u in range(16, 26)]
    labels = [f"N{u}" for u in range(40)]
    piece = iit.account(
        iit.Substrate.from_factors(factors, labels=labels),
        before,
        after,
        units,
        units,
        background="2019",
        max_order=2,
    )
    near = {key: link for key, link in shifted(links_of(piece), 16).items() if key[1] == 20}
    assert found.keys() == near.keys()
    assert len(found) > 1
    for key, (purview, alpha) in near.items():
        assert found[key][0] == purview
        assert found[key][1] == pytest.approx(alpha, abs=1e-11)


@examples(40, suppress_health_check=list(HealthCheck))
@given(sparse_transitions())
def test_cut_between_links__loses_nothing(drawn):
    dense = account_of(drawn)
    with by_pairs(), patch.object(account, "TABLE_BUDGET_BYTES", 0):
        sparse = account_of(drawn)
    for name in ("alpha", "alpha_causes", "alpha_effects"):
        ours = float(sparse["system"][name])
        assert np.isnan(ours) or ours == float(dense["system"][name])
    if not sparse["system"].attrs["reason"]:
        return
    cut = sparse["system"]["cut"].values
    if cut.any():
        severed = cut & drawn[1].astype(bool)[np.ix_(*[sorted({*drawn[4], *drawn[5]})] * 2)]
        assert severed.sum() <= cut.sum()


def a_ring(n, width):
    """Problem of noisy gates in a ring that read themselves and the next ones."""
    factors = [
        ([(i + k) % n for k in range(width)], gate((2,) * width, range(width), "or", 0.1))
        for i in range(n)
    ]
    moved = Transition.build(iit.Substrate.from_factors(factors), (1, 0) * (n // 2), (1,) * n)
    return Problem(moved, theory_options("causation2019"), "account")


def test_way__follows_from_the_connections():
    for problem, is_sparse in (
        (a_ring(12, 2), True),
        (a_ring(12, 8), False),
        (a_ring(8, 2), False),
    ):
        both = partitions.pair_searches(problem.target)
        found = connected_pairs.sparse_searches(problem.target, "causal", both)
        assert (found is not None) == is_sparse


def test_blocks__one_and_many_give_the_same_bits(tmp_path):
    url = str(tmp_path / "run.zarr")
    with by_pairs(BATCH_SECONDS=0.0):
        whole, full = run_job(a_ring(6, 2)), Blocks()
        tree = run_job(a_ring(6, 2), observers=[full], block_seconds=1e-9)
        found = estimate_job(a_ring(6, 2), seconds=0.0)
        first, second = Blocks(20), Blocks()
        with pytest.raises(KeyboardInterrupt):
            run_job(a_ring(6, 2), store=url, observers=[first], block_seconds=1e-9)
        again = run_job(a_ring(6, 2), store=url, observers=[second], block_seconds=1e-9)
    assert full.filled > 40
    assert bits(tree) == bits(whole) == bits(again) == bits(load_result(open_store(url)))
    assert first.filled + second.filled == full.filled
    assert found.complete


def test_rows_that_are_too_long__are_refused():
    transition = a_ring(14, 2).target
    too_long = patch.object(connected_pairs, "MAX_SCRATCH_BYTES", 0)
    with (
        too_long,
        pytest.raises(MemoryRefusedError, match="choose fewer units or a smaller max_order"),
    ):
        iit.account(transition.substrate, transition.before, transition.after)


def test_transitions__of_more_units_than_a_mask_holds_are_refused():
    substrate = a_ring(64, 2).target.substrate
    with pytest.raises(InputError, match="at most 62 causes and 62 effects, got 64 and 64"):
        iit.account(substrate, [0] * 64, [0] * 64, max_order=1)


def test_occurrence_without_a_past__is_refused():
    """Two copies of one unit cannot differ, and nothing before leads to it."""
    units = [{"gate": "BIAS", "probability": 0.5}, *({"gate": "COPY", "inputs": ["A"]},) * 2]
    substrate = iit.Substrate.from_units(units)
    apart = Transition(substrate, (1, 0, 0), (0, 0, 1), (0, 1, 2), (0, 1, 2), 3)
    problem = Problem(apart, theory_options("causation2019"), "account")
    with by_pairs(), pytest.raises(iit.errors.UnreachableStateError, match="B=0, C=1"):
        run_job(problem)
