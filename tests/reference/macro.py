"""Tables of macro systems by enumeration: every sequence of states of the whole universe.

`universe` is an array (2^N, N) of P(unit = 1 | state), rows little-endian. A unit is a dict of
`micro` (constituents, ascending), `grain` (micro updates), `table` (its value by the state of its
constituents in time, the oldest update first, the first digit fastest) and `background`. Nothing
is shared with the package; step numbers are those of docs/mathematics.md 14.2.
"""

from __future__ import annotations

from functools import reduce

import numpy as np


def bits(number, n):
    """Digits of a number, the lowest first."""
    return [number >> k & 1 for k in range(n)]


def composed(members, grain, table):
    """Micro unit from units of one grain and a table over their values in time."""
    micro = sorted(u for member in members for u in member["micro"])
    inner = members[0]["grain"]
    steps, out = inner * grain, []
    for window in range(1 << (len(micro) * steps)):
        digits = bits(window, len(micro) * steps)
        values = {(t, u): digits[t * len(micro) + k] for t in range(steps)
                  for k, u in enumerate(micro)}  # fmt: skip
        index = 0
        for t in range(grain):
            for k, member in enumerate(members):
                own = [values[t * inner + s, u] for s in range(inner) for u in member["micro"]]
                value = member["table"][sum(v << j for j, v in enumerate(own))]
                index |= value << (t * len(members) + k)
        out.append(table[index])
    background = sorted({u for member in members for u in member["background"]})
    return {"micro": micro, "grain": steps, "table": out, "background": background}


def micro(unit):
    """One micro unit as it is."""
    return {"micro": [unit], "grain": 1, "table": [0, 1], "background": []}


def discounted(universe, units, own):
    """P(unit = 1 | state) with all that the unit of number `own` does not hear averaged out."""
    states, n = universe.shape
    everyone = np.array([bits(x, n) for x in range(states)])
    out = np.empty_like(universe)
    for i in range(n):
        keeper = next((u for u in units if i in u["background"]), None)
        if i in units[own]["micro"]:
            out[:, i] = universe[:, i]
        elif keeper is not None:
            known = [j for j in range(n) if j in (*keeper["micro"], *keeper["background"])]
            for x in range(states):
                alike = (everyone[:, known] == everyone[x, known]).all(axis=1)
                out[x, i] = universe[alike, i].mean()
        else:
            out[:, i] = universe[:, i].mean()
    return out


def joint(probabilities):
    """P(next state | state) of independent units."""
    states, n = probabilities.shape
    out = np.ones((states, states))
    for y in range(states):
        for i, value in enumerate(bits(y, n)):
            out[:, y] *= probabilities[:, i] if value else 1 - probabilities[:, i]
    return out


def readings(unit, n):
    """Value of a unit after each sequence of states of the universe, (2^N, 2^N, ...)."""
    grain, own = unit["grain"], unit["micro"]
    index = np.zeros((1 << n,) * grain, int)
    for t in range(grain):
        shape = [1] * grain
        shape[t] = -1
        for k, u in enumerate(own):
            digit = np.array([x >> u & 1 for x in range(1 << n)]).reshape(shape)
            index = index + (digit << (t * len(own) + k))
    return np.array(unit["table"])[index]


def responses(universe, units, own):
    """P(unit = 1 | state of the universe that the sequence starts from), steps 1 and 2."""
    n = universe.shape[1]
    transition = joint(discounted(universe, units, own))
    sequences = transition
    for _ in range(units[own]["grain"] - 1):
        sequences = sequences[..., None] * transition
    value = readings(units[own], n)
    return (sequences * value).reshape(len(universe), -1).sum(axis=1)


def last_states(unit, value):
    """Share of the sequences of a value that end in each state of the constituents, step 4."""
    m, grain = len(unit["micro"]), unit["grain"]
    share = np.zeros(1 << m)
    for window, each in enumerate(unit["table"]):
        if each == value:
            share[window >> (m * (grain - 1))] += 1
    return share / share.sum()


def tables(universe, units, window):
    """Cause and effect table, (2^k, k) P(unit = 1 | macro state), rows little-endian."""
    universe = np.asarray(universe, float)
    states, n = universe.shape
    inside = sorted(u for unit in units for u in unit["micro"])
    outside = [u for u in range(n) if u not in inside]
    everyone = np.array([bits(x, n) for x in range(states)])
    code = [sum(v << i for i, v in enumerate(state)) for state in window]
    out = {"cause": np.zeros((1 << len(units), len(units)))}
    out["effect"] = out["cause"].copy()
    own_transition = joint(universe)
    for k, unit in enumerate(units):
        response = responses(universe, units, k)
        posterior = own_transition[:, code[len(code) - unit["grain"]]]
        weights = {"effect": np.zeros(states), "cause": np.zeros(states)}
        now = everyone[code[-1]]
        for x in range(states):
            alike = (everyone[:, outside] == everyone[x, outside]).all(axis=1)
            weights["cause"][x] = posterior[alike].sum() / posterior.sum()
            weights["effect"][x] = float((everyone[x, outside] == now[outside]).all())
        for row in range(1 << len(units)):
            share = np.ones(states)
            for each, value in zip(units, bits(row, len(units)), strict=True):
                last = last_states(each, value)
                place = [sum(int(everyone[x, u]) << j for j, u in enumerate(each["micro"]))
                         for x in range(states)]  # fmt: skip
                share *= last[place]
            for side, weight in weights.items():
                out[side][row, k] = (share * weight * response).sum()
    return out["cause"], out["effect"]


def state_of(units, window):
    """Value of each unit after a window of states, oldest first."""

    def value(unit):
        digits = [
            state[u] for state in window[len(window) - unit["grain"] :] for u in unit["micro"]
        ]
        return unit["table"][reduce(lambda total, digit: 2 * total + digit, reversed(digits), 0)]

    return [value(unit) for unit in units]
