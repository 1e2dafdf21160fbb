"""Values of occurrences against sums over every state."""

from itertools import combinations, product

import numpy as np
import pytest

from iitdask.kernels.causation import (
    cause_values,
    effect_values,
    is_lexicographically_first,
    reached_units,
)
from iitdask.kernels.subsets import masks_by_size, segment_offsets, state_codes


def units_of(mask):
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def test_masks_by_size__begin_with_the_empty_one():
    every = [c for size in range(5) for c in combinations(range(4), size)]
    assert masks_by_size(4).tolist() == [sum(1 << i for i in c) for c in every]


@pytest.mark.parametrize("seed", range(5))
def test_cause_values__are_posteriors_of_the_actual_state(seed):
    rng = np.random.default_rng(seed)
    levels = np.array([2, 3, 2])
    offsets = segment_offsets(levels)
    state = np.array([rng.integers(k) for k in levels])
    codes = state_codes(offsets, state, 3)
    marginals = rng.random((offsets[-1], 2)) * (rng.random((offsets[-1], 2)) < 0.8)
    for mechanism in range(4):
        out = np.empty(8)
        cause_values(marginals, offsets, codes, mechanism, out)
        assert out[0] == 0.0
        for purview in range(1, 8):
            rows = range(offsets[purview], offsets[purview + 1])
            likelihood = {r: np.prod(marginals[r, units_of(mechanism)]) for r in rows}
            if mechanism == 0:
                expected = -np.log2(len(rows))
            elif sum(likelihood.values()) > 0:
                with np.errstate(divide="ignore"):
                    expected = np.log2(likelihood[codes[purview]] / sum(likelihood.values()))
            else:
                expected = np.nan
            np.testing.assert_allclose(out[purview], expected, rtol=1e-12)


def test_effect_values__add_the_logarithms_of_the_units():
    logs, out = np.log2(np.random.default_rng(1).random((4, 3))), np.empty(8)
    for mechanism in range(4):
        effect_values(logs, mechanism, out)
        for purview in range(8):
            expected = logs[mechanism, units_of(purview)].sum()
            assert out[purview] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("forward", [True, False])
def test_reached_units__share_a_connection(forward):
    edges = np.random.default_rng(4).random((3, 3)) < 0.5
    children = np.array([sum(1 << b for b in np.flatnonzero(row)) for row in edges])
    found = reached_units(children, 3, forward)
    links = edges if forward else edges.T
    for mechanism in range(8):
        reached = {int(b) for a in units_of(mechanism) for b in np.flatnonzero(links[a])}
        assert set(units_of(int(found[mechanism]))) == reached


@pytest.mark.parametrize("forward", [True, False])
def test_first_partition__is_the_one_whose_severed_pairs_come_first(forward):
    def severed(kept):
        pairs = [(i, j) for i in (0, 2) for j in (0, 1) if not kept[i] >> j & 1]
        return sorted(pairs if forward else [pair[::-1] for pair in pairs])

    partitions = [np.array([one, 0, other]) for one in range(4) for other in range(4)]
    for kept, named in product(partitions, repeat=2):
        found = is_lexicographically_first(kept, named, 0b101, 0b011, 3, 2, forward)
        assert found == (severed(kept) < severed(named))
