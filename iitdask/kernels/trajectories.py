"""States that follow states in networks without chance, and the cycles where they end.

A unit's next value is ``tables[starts[unit] + sum(values of its parents * weights)]``. `parents`
and `weights` are (N, W) int64, parents -1 after the last; `starts` is (N,) int64, `tables` (R,)
uint8. States are (N,) uint8.
"""

import numpy as np

from iitdask.kernels.jit import kernel


@kernel
def write_next(state, parents, weights, starts, tables, out):
    """Write the state that follows a state."""
    for i in range(parents.shape[0]):
        row = starts[i]
        for k in range(parents.shape[1]):
            if parents[i, k] < 0:
                break
            row += state[parents[i, k]] * weights[i, k]
        out[i] = tables[row]


@kernel
def next_states(states, parents, weights, starts, tables):
    """Return the states (K, N) that follow states (K, N)."""
    out = np.empty_like(states)
    for k in range(states.shape[0]):
        write_next(states[k], parents, weights, starts, tables, out[k])
    return out


@kernel
def next_codes(begin, count, levels, parents, weights, starts, tables):
    """Return the numbers (count,) int64 of the states that follow those numbered from `begin`.

    levels : (N,) int64, values of each unit
    """
    n = levels.shape[0]
    state, after = np.empty(n, np.uint8), np.empty(n, np.uint8)
    rest = begin
    for i in range(n):
        state[i] = rest % levels[i]
        rest //= levels[i]
    out = np.empty(count, np.int64)
    for c in range(count):
        write_next(state, parents, weights, starts, tables, after)
        code, place = 0, 1
        for i in range(n):
            code += after[i] * place
            place *= levels[i]
        out[c] = code
        for i in range(n):
            state[i] += 1
            if state[i] < levels[i]:
                break
            state[i] = 0
    return out


@kernel
def follow_to_cycles(trajectories, parents, weights, starts, tables, most, period):
    """Replace states (K, N) by the least state of the cycle each leads to; fill periods (K,).

    States are compared unit by unit. The period is 0, and the state any, where none came back
    within `most` steps: Brent's method keeps the state after each power of two steps.

    Parameters
    ----------
    trajectories : (K, N) uint8, the states at which they begin
    parents, weights, starts, tables : of the network
    most : int, steps
    period : (K,) int64

    References
    ----------
    mathematics.md 34.1.
    """
    n = trajectories.shape[1]
    kept, state, after = np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n, np.uint8)
    for k in range(trajectories.shape[0]):
        least = trajectories[k]
        kept[:] = least
        state[:] = least
        since, power, period[k] = 0, 1, 0
        for _ in range(most):
            write_next(state, parents, weights, starts, tables, after)
            state[:] = after
            since += 1
            if is_equal(state, kept):
                period[k] = since
                break
            if since == power:
                kept[:] = state
                since, power = 0, 2 * power
        least[:] = state
        for _ in range(period[k] - 1):
            write_next(state, parents, weights, starts, tables, after)
            state[:] = after
            if is_before(state, least):
                least[:] = state


@kernel
def is_equal(state, other):
    """Tell whether two states are the same."""
    for i in range(state.shape[0]):
        if state[i] != other[i]:
            return False
    return True


@kernel
def is_before(state, other):
    """Tell whether a state has the smaller value at the first unit where two differ."""
    for i in range(state.shape[0]):
        if state[i] != other[i]:
            return state[i] < other[i]
    return False
