"""Distances between a repertoire and that of a partition, other than the earth mover's (IIT 3.0).

A measure is a number, in the order of the option ``measure`` of the theory.
"""

import numpy as np

from iitdask.kernels.jit import leaf

EMD, L1, KLD, ENTROPY_DIFFERENCE, PSQ2, MP2Q, ID, AID = range(8)

DISTANCE_PRECISION = 1e-6  # rounds distances; up to it they tie (mathematics.md 12)
STEP_SLACK = 1e-9  # so that two that are one step of it apart tie, whatever their last bits


@leaf
def round_distance(x):
    """A distance to six decimals."""
    return np.rint(x * 1e6) / 1e6


@leaf
def is_tied(x, y):
    """Tell whether two rounded distances count as equal, mathematics.md, Eq. (12.1)."""
    limit = max(DISTANCE_PRECISION * max(abs(x), abs(y)), DISTANCE_PRECISION)
    return abs(x - y) <= limit + STEP_SLACK


@leaf
def is_positive(x):
    """Tell whether a rounded distance counts as more than nothing, mathematics.md 0.2."""
    return x > 0.0 and not is_tied(x, 0.0)


@leaf
def _bits(p):
    """P log2 p, 0 where p is 0."""
    return p * np.log2(p) if p > 0.0 else 0.0


@leaf
def _square_bits(p, size):
    """p**2 log2(p N), 0 where p is 0."""
    return p * p * np.log2(p * size) if p > 0.0 else 0.0


@leaf
def _difference(measure, p, q, size):
    """What one state adds to a sum over states."""
    if measure == L1:
        return abs(p - q)
    if measure == ENTROPY_DIFFERENCE:
        return _bits(q) - _bits(p)
    if measure == PSQ2:
        return _square_bits(p, size) - _square_bits(q, size)
    if p == 0.0:
        return 0.0
    return (p if measure == KLD else p * p / q / size) * np.log2(p / q)


@leaf
def distribution_distance(measure, p, q, size):
    """Distance of a distribution from another, mathematics.md 12.3, Eq. (12.4) to (12.10).

    measure : int, any but ``EMD``
    p, q : float64, probabilities of ``size`` states; p is 0 wherever q is
    """
    total, top = 0.0, 0.0
    for x in range(size):
        if measure >= ID:
            value = p[x] * np.log2(p[x] / q[x]) if p[x] > 0.0 else 0.0
            top = max(top, abs(value) if measure == AID else value)
        else:
            total += _difference(measure, p[x], q[x], size)
    return top if measure >= ID else abs(total)
