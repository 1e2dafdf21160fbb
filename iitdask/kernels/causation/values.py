"""How strongly one occurrence determines another: probabilities of actual states, in bits.

An occurrence is a set of units in their actual state. ``values[Z]`` is log2 of the probability of
the purview Z's actual state in the repertoire of one mechanism; minus infinity when it is 0.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel

__all__ = ["cause_values", "effect_values", "masks_by_size"]

UNDEFINED = np.nan


@kernel
def masks_by_size(count):
    """List all masks of some units by size, then lexicographically, the empty one first.

    Parameters
    ----------
    count : int
        Number of units.

    Returns
    -------
    (2**count,) int64
        Masks.
    """
    size = 1 << count
    out = np.empty(size, np.int64)
    filled = 0
    chosen = np.empty(count + 1, np.int64)
    for order in range(count + 1):
        for k in range(order):
            chosen[k] = k
        while True:
            mask = 0
            for k in range(order):
                mask |= 1 << chosen[k]
            out[filled] = mask
            filled += 1
            k = order - 1
            while k >= 0 and chosen[k] == count - order + k:
                k -= 1
            if k < 0:
                break
            chosen[k] += 1
            for later in range(k + 1, order):
                chosen[later] = chosen[later - 1] + 1
    return out


@kernel
def cause_values(marginals, offsets, codes, mechanism, out):
    """Fill the log-probability of every set Z of causes, given the state of a mechanism.

    Parameters
    ----------
    marginals : (c, b) float64
        P(unit takes its actual value | code's causes in code's states).
    offsets : (2**a + 1,) int64
        Where the states of each set of causes begin.
    codes : (2**a,) int64
        Row of the actual state of each set.
    mechanism : int
        Mask of effect units; 0: nothing is known.
    out : (2**a,) float64
        log2 pi_c(x_Z | y_M), bits; filled. Not a number where no state of Z leads to the
        mechanism's state.

    References
    ----------
    mathematics.md 13.1, Eq. (13.1); Albantakis et al. 2019, Eq. (3) to (6).
    """
    units = np.empty(marginals.shape[1], np.int64)
    count = 0
    for i in range(marginals.shape[1]):
        if mechanism >> i & 1:
            units[count] = i
            count += 1
    out[0] = 0.0
    for purview in range(1, codes.shape[0]):
        total, actual = 0.0, 0.0
        for row in range(offsets[purview], offsets[purview + 1]):
            p = 1.0
            for k in range(count):
                p *= marginals[row, units[k]]
            total += p
            if row == codes[purview]:
                actual = p
        if mechanism == 0:
            out[purview] = -np.log2(float(offsets[purview + 1] - offsets[purview]))
        elif total > 0.0:
            out[purview] = np.log2(actual / total)
        else:
            out[purview] = UNDEFINED


@kernel
def effect_values(logs, mechanism, out):
    """Fill the log-probability of every set Z of effects, given the state of a mechanism.

    Parameters
    ----------
    logs : (2**a, b) float64
        log2 P(unit takes its actual value | some causes in their states).
    mechanism : int
        Mask of cause units.
    out : (2**b,) float64
        log2 pi_e(y_Z | x_M), bits; filled.

    References
    ----------
    mathematics.md 13.1, Eq. (13.1); Albantakis et al. 2019, Eq. (3) to (6).
    """
    out[0] = 0.0
    for i in range(logs.shape[1]):
        for rest in range(1 << i):
            out[1 << i | rest] = out[rest] + logs[mechanism, i]
