"""Repertoires of cut systems and phi by bipartition, against the definitions."""

from itertools import product

import numpy as np
import ot
import pytest

from iitdask.kernels.distributions import marginal_table, state_marginals
from iitdask.kernels.iit3.bipartition import (
    cause_phi,
    effect_phis,
    fill_repertoires,
    make_bipartition_scratch,
    make_repertoires,
)
from iitdask.kernels.subsets import deposit_bits, segment_offsets, value_offsets

NEAR = {"rtol": 1e-12, "atol": 1e-12}


def units_of(mask):
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def states_of(levels):
    return [digits[::-1] for digits in product(*map(range, reversed(levels)))]


class Cut:
    """A random system under a cut, its repertoires by the kernel and by definition."""

    def __init__(self, levels, target, seed):
        self.levels, self.target, rng = levels, target, np.random.default_rng(seed)
        n, states = len(levels), states_of(levels)
        self.tpm = np.hstack([rng.dirichlet(np.ones(k), len(states)) for k in levels])
        self.now = np.array([rng.integers(k) for k in levels])
        self.columns = value_offsets(np.array(levels))
        self.offsets = segment_offsets(np.array(levels))
        table = np.empty((self.offsets[-1], self.tpm.shape[1]))
        marginal_table(self.tpm, np.array(levels), self.offsets, table)
        self.found = make_repertoires(np.array(levels), self.offsets)
        rows = state_marginals(self.tpm, np.array(levels), self.now)
        kept = [
            self.columns[i] + v
            for i in range(n)
            for v in ([1] if levels[i] == 2 else range(levels[i]))
        ]
        forward = np.ascontiguousarray(table[:, self.columns[:-1] + self.now])
        fill_repertoires(forward, np.ascontiguousarray(rows[:, kept]), target, self.found)
        self.scratch = make_bipartition_scratch(np.array(levels))

    def mean(self, unit, value, given):
        """P(unit takes value | some units' values), all others uniform; cut inputs unknown."""
        inputs = {
            i: v for i, v in given.items() if not self.target >> unit & 1 or self.target >> i & 1
        }
        rows = [
            x
            for x, state in enumerate(states_of(self.levels))
            if all(state[i] == v for i, v in inputs.items())
        ]
        return self.tpm[rows, self.columns[unit] + value].mean()

    def cause(self, mechanism, purview):
        """Cause repertoire, mathematics.md 12."""
        units = units_of(purview)
        values = []
        for state in states_of([self.levels[i] for i in units]):
            given = dict(zip(units, state, strict=True))
            terms = [self.mean(i, self.now[i], given) for i in units_of(mechanism)]
            values.append(np.prod(terms))
        return np.array(values) / sum(values)

    def effect(self, mechanism, unit):
        """Effect repertoire of one unit."""
        given = {i: self.now[i] for i in units_of(mechanism)}
        return np.array([self.mean(unit, v, given) for v in range(self.levels[unit])])

    def joint_effect(self, mechanism, purview):
        out = np.ones(1)
        for unit in units_of(purview):
            out = np.outer(self.effect(mechanism, unit), out).ravel()
        return out

    def distance(self, first, second, purview):
        """Earth mover's distance with the number of units that differ as ground distance."""
        states = np.array(states_of([self.levels[i] for i in units_of(purview)]))
        ground = (states[:, None, :] != states[None, :, :]).sum(axis=2).astype(float)
        return ot.emd2(first / first.sum(), second / second.sum(), ground)

    def product(self, repertoire, parts, purview):
        """Product of the repertoires of two parts, as a distribution over the purview."""
        (m1, z1), (m2, z2) = parts
        one, two = repertoire(m1, z1), repertoire(m2, z2)
        units, values = units_of(purview), []
        for state in states_of([self.levels[i] for i in units]):
            place = [0, 0]
            weight = [1, 1]
            for i, v in zip(units, state, strict=True):
                side = 0 if z1 >> i & 1 else 1
                place[side] += v * weight[side]
                weight[side] *= self.levels[i]
            values.append(one[place[0]] * two[place[1]])
        return np.array(values)

    def phi(self, repertoire, mechanism, purview):
        """Least distance over all bipartitions, each of them tried."""
        whole = repertoire(mechanism, purview)
        return min(
            self.distance(whole, self.product(repertoire, parts, purview), purview)
            for parts in bipartitions(mechanism, purview)
        )


def submasks(mask):
    return [part for part in range(mask + 1) if part & ~mask == 0]


def bipartitions(mechanism, purview):
    """Both parts of every bipartition; neither is empty on both sides."""
    for m1, z1 in product(submasks(mechanism), submasks(purview)):
        m2, z2 = mechanism & ~m1, purview & ~z1
        if m1 | z1 and m2 | z2:
            yield (m1, z1), (m2, z2)


CASES = [((2, 2, 2), 0), ((2, 2, 2), 0b011), ((2, 3), 0), ((2, 3), 0b10), ((3, 2, 2), 0b101)]


@pytest.fixture(params=CASES, ids=str, scope="module")
def cut(request):
    return Cut(*request.param, seed=6)


def pairs(cut):
    every = range(1, 1 << len(cut.levels))
    return product(every, every)


def test_repertoires__of_a_cut_system_are_those_of_the_definition(cut):
    reps = cut.found
    for m, z in pairs(cut):
        found = reps.cause[m, cut.offsets[z] : cut.offsets[z + 1]]
        np.testing.assert_allclose(found, cut.cause(m, z), **NEAR)
        for j in units_of(z):
            shown = slice(reps.compared[j], reps.compared[j + 1])
            values = [1] if cut.levels[j] == 2 else range(cut.levels[j])
            np.testing.assert_allclose(reps.effect[m, shown], cut.effect(m, j)[values], **NEAR)
            states = np.array(states_of([cut.levels[i] for i in units_of(z)]))
            column = units_of(z).index(j)
            marginal = [cut.cause(m, z)[states[:, column] == v].sum() for v in values]
            np.testing.assert_allclose(reps.cause_marginals[m, z, shown], marginal, **NEAR)


def test_cause_phi__is_the_least_over_all_bipartitions(cut):
    for m, z in pairs(cut):
        found = cause_phi(m, z, 0.0, cut.found, cut.scratch)
        assert found == pytest.approx(cut.phi(cut.cause, m, z), abs=1e-9)


def test_effect_phis__are_the_least_over_all_bipartitions(cut):
    size = 1 << len(cut.levels)
    for m in range(1, size):
        found = np.empty(size)
        effect_phis(m, cut.found, cut.scratch, found)
        for z in range(1, size):
            assert found[z] == pytest.approx(cut.phi(cut.joint_effect, m, z), abs=1e-9)


def test_deposit_bits__numbers_the_subsets_of_a_mask():
    for mask in (0b1, 0b1010, 0b1101):
        count = 1 << mask.bit_count()
        assert sorted(deposit_bits(x, mask) for x in range(count)) == submasks(mask)
