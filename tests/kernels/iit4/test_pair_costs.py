"""The scan of causes against NumPy, on probabilities that tie wherever they can."""

import numpy as np
import pytest

from iitdask.kernels.iit4.pair_costs import cause_scan, make_cause_scan
from iitdask.kernels.subsets import reversed_bits, segment_offsets


@pytest.mark.parametrize("levels", [(2, 2, 2), (2, 3, 2), (3, 3), (3, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_cause_scan__finds_the_largest_state_or_that_some_tie(levels, seed):
    n, rng = len(levels), np.random.default_rng(seed)
    offsets = segment_offsets(np.array(levels))
    # Powers of two: products and sums are exact in any order, and ties are ties.
    q = rng.choice([0.25, 0.5, 1.0], size=(n, offsets[-1]), p=[0.6, 0.2, 0.2])
    size = 1 << n
    scan = make_cause_scan(size, size)
    logq = np.ascontiguousarray(np.log2(q).T)
    cause_scan(q, logq, offsets, 0, n, np.empty((6, size)), scan)
    tied = 0
    for lane in range(size):
        mechanism = reversed_bits(lane, n)
        inside = [i for i in range(n) if mechanism >> i & 1]
        for purview in range(1, size) if mechanism else ():
            like = q[inside, offsets[purview] : offsets[purview + 1]].prod(axis=0)
            top = like.max()
            alone = (like == top).sum() == 1
            tied += not alone
            assert scan.states[purview, lane] == (like.argmax() if alone else -1)
            assert scan.weights[purview, lane] == top / like.sum()
    assert tied > 0
