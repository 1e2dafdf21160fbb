"""Sums over distinctions and relations, against listing every relation."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from iitdask.kernels.batch_structures import (
    add_double_double,
    count_relations,
    restrict_state,
    substrate_mask,
    sum_structure,
)


def relations(phi, cause, effect):
    """(count, sum of phi) over all sets of distinctions whose unit-states overlap."""
    union = [c | e for c, e in zip(cause, effect, strict=True)]
    share = [Fraction(p) / u.bit_count() for p, u in zip(phi, union, strict=True)]
    count, total = 0, Fraction(0)
    for d, (c, e) in enumerate(zip(cause, effect, strict=True)):
        if c & e:
            count, total = count + 1, total + (c & e).bit_count() * share[d]
    for size in range(2, len(phi) + 1):
        for chosen in combinations(range(len(phi)), size):
            common = ~0
            for d in chosen:
                common &= union[d]
            if common:
                count += 1
                total += common.bit_count() * min(share[d] for d in chosen)
    return count, total


@pytest.mark.parametrize("seed", range(20))
def test_structure__is_the_sum_over_listed_relations(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    cause, effect = rng.integers(1, 1 << 6, (2, count))
    phi = rng.random(count)
    if seed % 3 == 0:
        phi[:] = 0.25  # equal shares
    n_relations, total = relations(phi.tolist(), cause.tolist(), effect.tolist())
    big_phi, of_distinctions, of_relations, found = sum_structure(phi, cause, effect)
    assert found == n_relations
    assert of_relations == pytest.approx(float(total), rel=1e-15)
    assert of_distinctions == pytest.approx(float(sum(map(Fraction, phi.tolist()))), rel=1e-15)
    assert big_phi == of_distinctions + of_relations


def test_count__of_forty_distinctions_over_one_unit_state_is_exact():
    union = np.full(40, 1, np.int64)
    assert count_relations(union, 3) == 2**40 - 40 - 1 + 3
    assert count_relations(np.array([1, 2, 4]), 0) == 0


def test_double_double__keeps_what_a_double_loses():
    high, low = 0.0, 0.0
    for _ in range(1000):
        high, low = add_double_double(high, low, 0.1)
    assert high + low == float(1000 * Fraction(0.1))
    assert sum([0.1] * 1000) != high + low


def test_restrict_state__keeps_the_digits_of_the_purview():
    levels = np.array([2, 3, 2])
    for code in range(12):
        digits = [code % 2, code // 2 % 3, code // 6]
        for purview in range(8):
            expected, weight = 0, 1
            for i in range(3):
                if purview >> i & 1:
                    expected += digits[i] * weight
                    weight *= levels[i]
            assert restrict_state(code, levels, purview) == expected


def test_substrate_mask__puts_units_where_the_candidate_has_them():
    units = 0b101101
    places = [0, 2, 3, 5]
    for mask in range(16):
        expected = sum(1 << places[i] for i in range(4) if mask >> i & 1)
        assert substrate_mask(mask, units) == expected
