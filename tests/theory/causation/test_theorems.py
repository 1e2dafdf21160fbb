"""Closed forms of Albantakis et al. 2019, theorems 1 and 2, on random instances of up to 8 inputs.

Inputs are fair coins and all of them may be causes; the one output is the effect.
"""

from itertools import combinations, pairwise, product
from math import comb, log2, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iitdask as iit
from tests.strategies import examples

MOST = 8


def coins(n):
    return [{"label": f"X{i}", "gate": "BIAS", "probability": 0.5} for i in range(n)]


def links(gate, inputs, value):
    """Links of the transition from the inputs to the output's value: {mechanism: (alpha, ties)}."""
    n = len(inputs)
    names = [f"X{i}" for i in range(n)]
    substrate = iit.Substrate.from_units([*coins(n), {"label": "Y", "inputs": names, **gate}])
    before, after = [*inputs, 0], [0] * n + [value]
    data = iit.account(substrate, before, after, names, ["Y"])["links"].to_dataset()
    effects, causes = {}, []
    for k in range(data.sizes["link"]):
        one = data.isel(link=k)
        alpha, count = float(one["alpha"]), int(one["n_tied_purviews"])
        ties = [tuple(np.flatnonzero(row).tolist()) for row in one["tied_purview"].values[:count]]
        if str(one["direction"].values) == "effect":
            assert ties == [(n,)]
            effects[tuple(np.flatnonzero(one["mechanism"].values).tolist())] = alpha
        else:
            causes.append((alpha, sorted(ties)))
    return effects, causes


def subsets(items, most):
    return [c for size in range(1, most + 1) for c in combinations(items, size)]


@st.composite
def threshold_units(draw):
    inputs = draw(st.lists(st.integers(0, 1), min_size=1, max_size=MOST))
    return inputs, draw(st.integers(1, len(inputs)))


@examples(40)
@given(threshold_units())
def test_theorem_1__linear_threshold_units(drawn):
    inputs, threshold = drawn
    n, value = len(inputs), int(sum(inputs) >= threshold)
    # an output of 0 is a threshold unit of the inputs that are off
    need = threshold if value else n - threshold + 1
    ready = [i for i, x in enumerate(inputs) if x == value]

    def chance(given):
        """P(output | so many inputs in its favour), the others being coins."""
        free = n - given
        return sum(comb(free, i) for i in range(max(0, need - given), free + 1)) / 2**free

    effects, causes = links({"gate": "THRESHOLD", "threshold": threshold}, inputs, value)
    assert set(effects) == set(subsets(ready, need))
    for mechanism, alpha in effects.items():
        size = len(mechanism)
        assert alpha == pytest.approx(log2(chance(size) / chance(size - 1)), abs=1e-9)
    ((alpha, ties),) = causes
    assert alpha == pytest.approx(-log2(chance(0)), abs=1e-9)
    assert ties == sorted(combinations(ready, need))


@st.composite
def disjunctions(draw):
    """Sizes of the conjunctions of disjoint inputs, and the inputs' state."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).filter(lambda s: sum(s) <= 8))
    state = draw(st.lists(st.integers(0, 1), min_size=sum(sizes), max_size=sum(sizes)))
    return sizes, state


@examples(40)
@given(disjunctions())
def test_theorem_2__disjunctions_of_conjunctions(drawn):
    sizes, state = drawn
    ends = np.cumsum([0, *sizes]).tolist()
    groups = [range(a, b) for a, b in pairwise(ends)]
    rows = product((0, 1), repeat=len(state))
    table = [int(any(all(x[::-1][i] for i in group) for group in groups)) for x in rows]
    value = int(any(all(state[i] for i in group) for group in groups))
    effects, causes = links({"gate": "TABLE", "table": table}, state, value)
    ((alpha, ties),) = causes
    misses = [1 - 2.0 ** -len(group) for group in groups]
    if value:
        expected = {}

        def chance(given):
            """P(output on | these inputs on), the others being coins."""
            return 1 - prod(1 - 2.0 ** -len({*group} - {*given}) for group in groups)

        on = [i for i, x in enumerate(state) if x]
        for mechanism in subsets(on, len(on)):
            whole = [group for group in groups if {*group} <= {*mechanism}]
            if not whole or {*mechanism} == {*whole[0]}:
                fewer = (chance(rest) for rest in combinations(mechanism, len(mechanism) - 1))
                expected[mechanism] = log2(chance(mechanism) / max(fewer))
        satisfied = [tuple(g) for g in groups if all(state[i] for i in g)]
        assert ties == sorted(satisfied)
        assert alpha == pytest.approx(-log2(1 - prod(misses)), abs=1e-9)
    else:
        off = [[i for i in group if not state[i]] for group in groups]
        choices = product(*([None, *zeros] for zeros in off))
        expected = {}
        for choice in choices:
            hit = [j for j, i in enumerate(choice) if i is not None]
            if hit:
                mechanism = tuple(i for i in choice if i is not None)
                expected[mechanism] = min(-log2(misses[j]) for j in hit)
        assert ties == sorted(product(*off))
        assert alpha == pytest.approx(-log2(prod(misses)), abs=1e-9)
    assert set(effects) == set(expected)
    for mechanism, strength in expected.items():
        assert effects[mechanism] == pytest.approx(strength, abs=1e-9)
