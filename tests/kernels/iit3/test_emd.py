"""The earth mover's distance between states of units, against linear programming."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iitdask.kernels.iit3.emd import earth_movers_distance, fill_neighbours, make_flow_scratch
from iitdask.kernels.jit import kernel
from tests.reference.concepts import emd, marginal_distance

FAR = 1e9


@kernel
def distance(p, q, levels, limit, room):
    size, degree = fill_neighbours((1 << len(levels)) - 1, levels, room)
    for x in range(size):
        room.excess[x] = p[x] - q[x]
    return earth_movers_distance(size, degree, limit, room)


def distributions(seed, levels, kind):
    """Two distributions: dense, sparse, or in coarse steps with many ties."""
    rng, size = np.random.default_rng(seed), int(np.prod(levels))
    both = rng.random((2, size))
    if kind == "sparse":
        both *= rng.random((2, size)) < 0.3
    elif kind == "coarse":
        both = rng.integers(0, 3, (2, size)).astype(float)
    both[:, 0] += 1e-3 if kind != "coarse" else 1
    return both / both.sum(axis=1, keepdims=True)


def ours(p, q, levels, limit=FAR):
    levels = np.array(levels, np.int64)
    return distance(p, q, levels, limit, make_flow_scratch(levels))


def shaped(p, levels):
    return p.reshape(levels[::-1]).transpose()


systems = st.tuples(
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from((2, 2, 3)), min_size=1, max_size=4),
    st.sampled_from(("dense", "sparse", "coarse")),
)


@given(systems)
def test_distance__is_the_linear_programs(given):
    seed, levels, kind = given
    p, q = distributions(seed, levels, kind)
    assert ours(p, q, levels) == pytest.approx(emd(shaped(p, levels), shaped(q, levels)), abs=2e-8)


@given(systems)
def test_distance__is_a_metric_above_the_marginals(given):
    seed, levels, kind = given
    p, q = distributions(seed, levels, kind)
    r = distributions(seed + 1, levels, kind)[0]
    d = ours(p, q, levels)
    assert d == pytest.approx(ours(q, p, levels), abs=1e-12)
    assert ours(p, p, levels) == 0.0
    assert d <= ours(p, r, levels) + ours(r, q, levels) + 1e-12
    assert d >= marginal_distance(shaped(p, levels), shaped(q, levels)) - 1e-12


@given(systems, st.floats(0.01, 2.0))
def test_limit__ends_early_only_where_the_distance_is_not_below(given, part):
    seed, levels, kind = given
    p, q = distributions(seed, levels, kind)
    d = ours(p, q, levels)
    stopped = ours(p, q, levels, limit=part * d)
    if part * d > d + 1e-12:
        assert stopped == pytest.approx(d, abs=1e-12)
    else:
        assert part * d - 1e-12 <= stopped <= d + 1e-12


@pytest.mark.parametrize("n", [6, 7, 8])
def test_distance__of_products_is_the_sum_of_the_marginals(n):
    rng = np.random.default_rng(n)
    rows = rng.random((2, n))
    p, q = (np.array([1.0]), np.array([1.0]))
    for a, b in rows.T:
        p, q = np.outer([1 - a, a], p).ravel(), np.outer([1 - b, b], q).ravel()
    assert ours(p, q, [2] * n) == pytest.approx(np.abs(rows[0] - rows[1]).sum(), abs=1e-10)
