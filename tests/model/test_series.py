"""Substrates estimated from recordings: counts by hand, convergence, coverage, parents."""

import itertools
import json
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import iitdask as iit
from iitdask.errors import SpecError, SubstrateError
from iitdask.model.readers import substrate_from_study
from iitdask.model.series import (
    UnitCounts,
    bic,
    chi_square_tail,
    drawn_table,
    estimated_table,
    generators,
    independence_test,
    select_parents,
)
from iitdask.model.substrate import Substrate

HAND = [[0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [1, 1]]
"""States AB: 00 10 01 11 00 10 11."""


def test_counts__by_hand():
    substrate = Substrate.from_series(HAND)
    a, b = substrate.counts
    # [A before, B before, value]: after 00 twice A on; after 10 off once, on once; ...
    assert a.table.tolist() == [[[0, 2], [0, 1]], [[1, 1], [1, 0]]]
    assert b.table.tolist() == [[[2, 0], [0, 1]], [[0, 2], [1, 0]]]
    assert substrate.factors[0].table[0, 0].tolist() == [0.5 / 3, 2.5 / 3]
    assert substrate.factors[0].table[1, 0].tolist() == [0.5, 0.5]
    assert substrate.attrs["n_transitions"] == 6
    assert substrate.attrs["rows_never_seen"] == [0, 0]
    assert substrate.attrs["least_count"] == 1
    assert substrate.attrs["observed"] == "observed, not intervened"
    assert substrate.attrs["causal"] is False


def test_prior_0__gives_frequencies_and_refuses_rows_never_seen():
    substrate = Substrate.from_series(HAND, prior=0)
    assert substrate.factors[0].table[1, 0].tolist() == [0.5, 0.5]
    assert substrate.factors[1].table[1, 0].tolist() == [0.0, 1.0]
    message = r"unit 'A', row 3 \(A=1, B=1\): was never seen, .*; 1 of 4 rows were not seen"
    with pytest.raises(SubstrateError, match=message):
        Substrate.from_series(HAND[:4], prior=0)
    smoothed = Substrate.from_series(HAND[:4])
    assert smoothed.attrs["rows_never_seen"] == [1, 1]
    assert smoothed.attrs["least_count"] == 0


def test_recordings__no_transition_leads_from_one_to_another():
    first, second = HAND[:3], HAND[3:]
    both = Substrate.from_series([np.array(first), np.array(second)])
    parts = [Substrate.from_series(each) for each in (first, second)]
    for unit in range(2):
        total = sum(part.counts[unit].table for part in parts)
        assert both.counts[unit].table.tolist() == total.tolist()
    trials = np.array([HAND[:3], HAND[3:6]])
    assert Substrate.from_series(trials).attrs["n_transitions"] == 4
    assert Substrate.from_series([HAND, HAND[:1]]).attrs["n_transitions"] == 6


def test_lag__skips_times():
    substrate = Substrate.from_series(HAND, lag=2)
    pairs = list(zip(HAND[:-2], HAND[2:], strict=True))
    for unit, counts in enumerate(substrate.counts):
        for before in itertools.product((0, 1), repeat=2):
            for value in (0, 1):
                expected = sum(tuple(b) == before and a[unit] == value for b, a in pairs)
                assert counts.table[(*before, value)] == expected


def test_levels__are_states_median_or_quantile_bins():
    measured = np.array([[0.1, 5.0], [0.4, 1.0], [0.2, 2.0], [0.9, 9.0], [0.3, 3.0]])
    median = Substrate.from_series(measured, levels="median")
    above = (measured > np.median(measured, axis=0)).astype(int)
    assert median == Substrate.from_series(above) == Substrate.from_series(measured, levels=2)
    three = Substrate.from_series(measured, levels=3)
    assert three.levels == (3, 3)
    ranks = np.array([[0, 2], [2, 0], [0, 0], [2, 2], [1, 1]])
    assert three == Substrate.from_series(ranks)
    assert Substrate.from_series([[0, 2], [0, 1], [0, 0]]).levels == (2, 3)


def test_parents__given_are_the_only_ones():
    edges = [[0, 1], [1, 0]]
    substrate = Substrate.from_series(HAND, parents=edges)
    assert substrate.connectivity.tolist() == [[False, True], [True, False]]
    assert [unit.parents for unit in substrate.counts] == [(1,), (0,)]
    assert substrate.counts[0].table.tolist() == [[1, 3], [1, 1]]


def simulate(substrate, steps, seed):
    """States of a trajectory, unit by unit, from nothing but its tables."""
    rng = np.random.default_rng(seed)
    state = tuple(rng.integers(k) for k in substrate.levels)
    states = [state]
    for _ in range(steps):
        rows = [f.table[tuple(state[p] for p in f.parents)] for f in substrate.factors]
        state = tuple(
            int(np.searchsorted(np.cumsum(row)[:-1], rng.random(), "right")) for row in rows
        )
        states.append(state)
    return np.array(states)


def noisy(substrate, noise=0.1):
    factors = [(f.parents, (1 - noise) * f.table + noise / 2) for f in substrate.factors]
    return Substrate.from_factors(factors)


def full(substrate, unit):
    factor, n = substrate.factors[unit], substrate.n_units
    shape = [substrate.levels[j] if j in factor.parents else 1 for j in range(n)]
    table = factor.table.reshape(*shape, substrate.levels[unit])
    return np.broadcast_to(table, (*substrate.levels, substrate.levels[unit]))


def test_estimates__converge_as_one_over_the_root_of_time():
    truth = noisy(iit.examples.load("basic"))
    errors = []
    for steps in (400, 6400):
        found = [
            Substrate.from_series(simulate(truth, steps, seed), prior=0.5) for seed in range(5)
        ]
        squares = [np.square(full(s, i) - full(truth, i)).mean() for s in found for i in range(3)]
        errors.append(math.sqrt(np.mean(squares)))
    assert 3 < errors[0] / errors[1] < 5.3  # the root of 16 is 4
    assert errors[1] < 0.03


def test_bic__finds_the_parents_of_a_known_network():
    truth = noisy(iit.examples.load("basic"))
    found = Substrate.from_series(simulate(truth, 4000, 3), parents="bic")
    real = [factor.parents for factor in truth.factors]
    assert [unit.parents for unit in found.counts] == real


def naive_bic(before, after, parents, levels, size):
    rows = {}
    for b, a in zip(before, after, strict=True):
        rows.setdefault(tuple(b[list(parents)]), [0] * size)[a] += 1
    log_likelihood = sum(
        n * math.log(n / sum(counts)) for counts in rows.values() for n in counts if n
    )
    n_rows = math.prod(levels[j] for j in parents)
    return -2 * log_likelihood + math.log(len(before)) * n_rows * (size - 1)


def test_bic__is_its_formula():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 3, size=(50, 3)), rng.integers(0, 2, size=50)
    for size in range(4):
        for parents in itertools.combinations(range(3), size):
            expected = naive_bic(before, after, parents, (3, 3, 3), 2)
            assert bic(before, after, parents, (3, 3, 3), 2) == pytest.approx(expected)
    assert select_parents(before, before[:, 1], (3, 3, 3), 3) == (1,)


def naive_test(before, after):
    """2 sum_s n_s KL(p(.|s) || prod p_i(.|s)) by dictionaries."""
    groups = {}
    for b, a in zip(map(tuple, before), map(tuple, after), strict=True):
        groups.setdefault(b, []).append(a)
    statistic, freedom = 0.0, 0
    for states in groups.values():
        n, units = len(states), range(len(states[0]))
        singles = [
            {v: sum(s[i] == v for s in states) / n for v in {s[i] for s in states}} for i in units
        ]
        for state in set(states):
            p = states.count(state) / n
            q = math.prod(singles[i][state[i]] for i in units)
            statistic += 2 * n * p * math.log(p / q)
        freedom += math.prod(map(len, singles)) - 1 - sum(len(each) - 1 for each in singles)
    return statistic, freedom


@pytest.mark.parametrize("seed", range(5))
def test_independence__is_its_formula(seed):
    rng = np.random.default_rng(seed)
    before, after = rng.integers(0, 2, size=(80, 2)), rng.integers(0, 3, size=(80, 3))
    found = independence_test(before, after)
    statistic, freedom = naive_test(before, after)
    assert found.statistic == pytest.approx(statistic)
    assert found.degrees_of_freedom == freedom
    assert found.p_value == pytest.approx(stats.chi2.sf(statistic, freedom))


def test_independence__holds_in_networks_and_not_with_a_common_cause():
    rng = np.random.default_rng(1)
    truth = noisy(iit.examples.load("iit4-2023-fig2"), 0.2)
    p_values = [
        Substrate.from_series(simulate(truth, 1000, seed)).attrs["independence_p_value"]
        for seed in range(12)
    ]
    assert sum(p < 0.05 for p in p_values) <= 3
    hidden = rng.integers(0, 2, size=2000)
    both = np.stack([hidden, hidden ^ (rng.random(2000) < 0.1)], axis=1)
    assert Substrate.from_series(both).attrs["independence_p_value"] < 1e-6
    alone = Substrate.from_series([[0], [1], [1], [0], [0]]).attrs
    assert alone["independence_degrees_of_freedom"] == 0
    assert alone["independence_p_value"] == 1


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 57, 1000])
@pytest.mark.parametrize("tail", [0.999, 0.5, 0.1, 1e-3, 1e-9])
def test_chi_square_tail(freedom, tail):
    x = float(stats.chi2.isf(tail, freedom))
    assert chi_square_tail(x, freedom) == pytest.approx(tail, rel=1e-8, abs=1e-13)


def test_coverage__of_90_percent_intervals_over_200_networks():
    """Truths are drawn from the prior; a third of the rows of each network are hardly seen."""
    inside, total = 0, 0
    rng = np.random.default_rng(7)
    for network in range(200):
        tables = [rng.dirichlet([0.5, 0.5], size=8).reshape(2, 2, 2, 2) for _ in range(3)]
        truth = Substrate.from_factors([((0, 1, 2), table) for table in tables])
        found = Substrate.from_series(simulate(truth, 100, network), prior=0.5)
        for unit, counts in enumerate(found.counts):
            many = counts._replace(table=np.broadcast_to(counts.table, (399, *counts.table.shape)))
            draws = drawn_table(many, 0.5, next(generators(network, unit, 1)))[..., 1]
            low, high = np.quantile(draws, [0.05, 0.95], axis=0)
            p = tables[unit][..., 1]
            inside, total = inside + int(((low <= p) & (p <= high)).sum()), total + p.size
    assert total == 200 * 24
    assert 0.88 < inside / total < 0.92


def test_draws__have_the_moments_of_the_posterior():
    counts = UnitCounts((0,), np.array([[3, 1, 0], [0, 0, 0]]))
    rng = np.random.default_rng(5)
    draws = np.stack([drawn_table(counts, 0.5, rng) for _ in range(4000)])
    assert np.allclose(draws.sum(axis=-1), 1)
    alpha = counts.table + 0.5
    mean = alpha / alpha.sum(axis=-1, keepdims=True)
    deviation = np.sqrt(mean * (1 - mean) / (alpha.sum(axis=-1, keepdims=True) + 1))
    assert np.abs(draws.mean(axis=0) - mean).max() < 0.03
    assert np.abs(draws.std(axis=0) - deviation).max() < 0.02
    assert np.allclose(estimated_table(counts, 0.5), mean)
    tiny = np.stack([drawn_table(counts, 1e-9, rng) for _ in range(300)])
    assert sorted({tuple(row) for row in tiny[:, 1].tolist()}) == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]


def test_draw__is_the_same_whenever_it_is_made():
    substrate = Substrate.from_series(HAND)
    again = pickle.loads(pickle.dumps(substrate))
    assert substrate.draw(3) == again.draw(3)
    assert len({substrate.draw(k) for k in range(5)} | {substrate.draw(3, seed=1)}) == 6
    assert substrate.draw(3).attrs["draw"] == 3
    assert not substrate.counts[0].table.flags.writeable
    with pytest.raises(SubstrateError, match=r"draw: expected a substrate from Substrate.from_ser"):
        iit.examples.load("basic").draw(0)


def test_draws__are_an_axis_of_a_sweep(tmp_path):
    series = simulate(noisy(iit.examples.load("basic")), 200, 1).tolist()
    substrate = Substrate.from_series(series)
    cube = iit.sweep({"draw": 4}, substrate, "100")
    expected = [float(iit.sia(substrate.draw(k), "100").phi) for k in range(4)]
    assert cube["draw"].values.tolist() == [0, 1, 2, 3]
    assert cube["phi"].values.tolist() == expected
    assert cube.attrs["substrate_origin"] == "observed, not intervened"
    study = {
        "substrate": {"series": series},
        "state": "100",
        "compute": "sia",
        "sweep": {"draw": 2},
    }
    store = tmp_path / "s.zarr"
    iit.sweep(study, store=store)
    study["sweep"]["draw"] = 4
    grown = iit.sweep(study, store=store)
    assert grown["phi"].values.tolist() == expected
    other = iit.sweep({"draw": {"count": 2, "seed": 9}}, substrate, "100")
    assert float(iit.sia(substrate.draw(1, seed=9), "100").phi) == other["phi"].values[1]


@pytest.mark.parametrize("content", [0, "many", {"count": 3, "sead": 1}, {"count": 3, "seed": -1}])
def test_draws__are_refused(content):
    with pytest.raises(SpecError, match="draw: expected"):
        iit.sweep({"draw": content}, Substrate.from_series(HAND), "10")


def test_draws__of_what_was_not_estimated_are_refused():
    with pytest.raises(SpecError, match=r"draw: expected a substrate from Substrate.from_series"):
        iit.sweep({"draw": 3}, "basic", "100")


def test_results__say_that_nobody_intervened(tmp_path):
    substrate = Substrate.from_series(HAND)
    result = iit.sia(substrate, "10", store=tmp_path / "s.zarr")
    assert result.attrs["substrate_origin"] == "observed, not intervened"
    opened = iit.open(tmp_path / "s.zarr")
    assert opened["system"].attrs["substrate_origin"] == "observed, not intervened"
    assert "substrate_origin" not in iit.sia(iit.examples.load("basic"), "100").attrs


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".npz"])
def test_block__reads_recordings_from_files(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, np.array(HAND))
    elif suffix == ".npz":
        np.savez(path, first=np.array(HAND[:3]), second=np.array(HAND[3:]))
    else:
        path.write_text("\n".join(",".join(map(str, row)) for row in HAND))
    block = {"series": path.name, "parents": "bic", "prior": 1, "labels": ["X", "Y"]}
    given = [HAND[:3], HAND[3:]] if suffix == ".npz" else HAND
    expected = Substrate.from_series(given, parents="bic", prior=1, labels="XY")
    assert substrate_from_study(block, tmp_path) == expected
    if suffix == ".npy":
        twice = {"series": ["x.npy", "x.npy"]}
        assert substrate_from_study(twice, tmp_path).attrs["n_transitions"] == 12
    (tmp_path / "s.json").write_text(json.dumps({"substrate": block}))
    assert iit.load(tmp_path / "s.json") == expected


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        ([], {}, r"expected shape \(time, unit\), got \(0,\)"),
        ([0, 1, 1], {}, r"recording 0: expected shape \(time, unit\), got \(3,\)"),
        ([HAND, [[1, 0, 1]]], {}, r"recording 1: expected shape \(time, 2\), got \(1, 3\)"),
        ([[0, math.nan]], {}, "recording 0: expected a number at time 0, unit 1, got nan"),
        ([[0, 0.5]], {}, "unit 'B': expected states 0, 1, ..., got 0.5; levels='median' or"),
        ([[0, -1]], {}, "unit 'B': expected states 0, 1, ..., got -1"),
        (HAND[:1], {}, r"expected more than 1 times \(lag\), got 1"),
        (HAND, {"lag": 0}, "lag: expected a whole number from 1 on, got 0"),
        (HAND, {"lag": 1.5}, "lag: expected a whole number"),
        (HAND, {"levels": "mean"}, "levels: expected None, 'median' or a whole number"),
        (HAND, {"levels": 1}, "levels: expected a whole number from 2 on, got 1"),
        (HAND, {"levels": 999}, "levels: expected at most 255, got 999"),
        (HAND, {"parents": "some"}, "parents: expected 'all', 'bic' or a connectivity"),
        (HAND, {"parents": [[1]]}, r"parents: expected 'all', 'bic' or \(2, 2\) zeros and ones"),
        (HAND, {"prior": -1}, "prior: expected a number from 0 on, got -1"),
        (HAND, {"prior": "half"}, "prior: expected a number from 0 on"),
        (HAND, {"labels": "ABC"}, "expected 2 labels"),
    ],
)
def test_from_series__refuses(series, options, message):
    with pytest.raises(SubstrateError, match=message):
        Substrate.from_series(series, **options)


def test_from_series__refuses_tables_over_too_many_parents():
    many = np.zeros((3, 30), int)
    with pytest.raises(SubstrateError, match="a table over 30 parents is too large; give parents"):
        Substrate.from_series(many)
    edges = np.eye(30, dtype=int)
    assert Substrate.from_series(many, parents=edges).n_units == 30
