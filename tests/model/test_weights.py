"""Substrates from matrices of weights, against gates one by one and plain arithmetic."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import iitdask as iit
from iitdask.errors import SubstrateError
from iitdask.model import weights
from iitdask.model.factor import CountingFactor
from iitdask.model.substrate import Substrate
from iitdask.model.weighted_sums import logistic, subset_sums

N = 4
rng = np.random.default_rng(1)
W = np.where(rng.random((N, N)) < 0.6, rng.normal(size=(N, N)), 0.0)
BIAS = [0.3, -0.2, 0.0, 1.5]


def as_gate(activation, column, bias, slope):
    inputs = np.flatnonzero(column).tolist()
    own = [float(w) for w in column[inputs]]
    if not inputs:
        return None
    if activation == "threshold":
        return {"gate": "LINEAR", "inputs": inputs, "weights": own, "threshold": -bias}
    if activation == "logistic":
        more = {"slope": slope, "bias": bias, "spins": False}
        return {"gate": "LOGISTIC", "inputs": inputs, "weights": own, **more}
    return {
        "gate": "ISING",
        "inputs": inputs,
        "weights": own,
        "temperature": 1 / slope,
        "field": bias,
    }


@pytest.mark.parametrize("slope", [1, 0.7])
@pytest.mark.parametrize("activation", ["logistic", "ising", "tanh"])
def test_from_weights__is_gates_one_by_one_bit_for_bit(activation, slope):
    made = Substrate.from_weights(W, activation, bias=BIAS, slope=slope)
    units = [as_gate(activation, W[:, i], BIAS[i], slope) for i in range(N)]
    assert made == Substrate.from_units(units)


def test_from_weights__threshold_units_are_linear_gates():
    whole = np.array([[0, 1, -2], [1, 0, 1], [-1, 1, 3]])
    made = Substrate.from_weights(whole, "threshold", bias=[-1, 0, 2])
    units = [as_gate("threshold", whole[:, i], b, 1) for i, b in enumerate([-1, 0, 2])]
    assert made == Substrate.from_units(units)
    assert made.connectivity.tolist() == (whole != 0).tolist()


def field(column, state, bias, spins):
    values = [2 * x - 1 for x in state] if spins else state
    return math.fsum([bias, *(w * x for w, x in zip(column, values, strict=True))])


def probability(activation, h, slope):
    if activation == "threshold":
        return float(h >= 0)
    return 1 / (1 + math.exp(-(2 if activation == "ising" else 1) * slope * h))


def all_states(n):
    return [tuple(row >> j & 1 for j in range(n)) for row in range(1 << n)]


def p_on(substrate, unit, state):
    factor = substrate.factors[unit]
    return float(factor.table[(*(state[p] for p in factor.parents), 1)])


@pytest.mark.parametrize("activation", ["logistic", "ising", "threshold"])
def test_from_weights__is_the_formula_in_every_state(activation):
    made = Substrate.from_weights(W, activation, bias=BIAS, slope=[1, 2, 0.5, 3])
    for state in all_states(N):
        for i, slope in enumerate([1, 2, 0.5, 3]):
            h = field(W[:, i], state, BIAS[i], activation == "ising")
            assert p_on(made, i, state) == pytest.approx(
                probability(activation, h, slope), abs=1e-15
            )


def test_from_weights__slope_0_is_a_coin():
    for activation in ("logistic", "ising"):
        made = Substrate.from_weights(W, activation, slope=0)
        assert all((factor.table == 0.5).all() for factor in made.factors)


numbers = st.one_of(
    st.floats(-1e3, 1e3),
    st.integers(-8, 8).map(lambda k: k / 10),
    st.tuples(st.integers(-3, 3), st.integers(-120, 120)).map(lambda t: math.ldexp(*t)),
)


@given(st.lists(numbers, min_size=1, max_size=6), numbers, st.booleans())
def test_subset_sums__are_rounded_once(own, constant, spins):
    sums = subset_sums(np.array([own]), np.array([constant]), spins=spins)[0]
    for row, total in enumerate(sums):
        signs = [1 if row >> j & 1 else (-1 if spins else 0) for j in range(len(own))]
        exact = sum(map(Fraction, (s * w for s, w in zip(signs, own, strict=True))))
        assert total == float(exact + Fraction(constant))


def test_subset_sums__beyond_double_range_are_infinite():
    assert subset_sums(np.full((1, 2), 1e308), np.zeros(1), spins=True)[0].tolist() == [
        *(-math.inf, 0.0, 0.0),
        math.inf,
    ]
    own = np.array([[1.5e308, 1.5e308, -1.5e308]])
    assert subset_sums(own, np.zeros(1), spins=False)[0, 7] == 1.5e308


def test_logistic__of_far_fields_is_0_and_1():
    assert logistic(np.array([-1e5, 0.0, 1e5])).tolist() == pytest.approx([0, 0.5, 1])


class Tensor:
    """What is read of a tensor of PyTorch, dense or sparse."""

    def __init__(self, values, layout="torch.strided"):
        self.array, self.layout, self.shape = np.asarray(values), layout, np.shape(values)

    def detach(self):
        return self

    cpu = to_sparse_coo = coalesce = detach

    def double(self):
        return Tensor(self.array.astype(np.float64), self.layout)

    def numpy(self):
        return self.array

    def indices(self):
        return Tensor(np.nonzero(self.array))

    def values(self):
        return Tensor(self.array[np.nonzero(self.array)])


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        *(sparse.csr_array, sparse.coo_matrix, sparse.csc_matrix),
        *(Tensor, lambda w: Tensor(w, "torch.sparse_coo")),
    ],
)
def test_from_weights__takes_what_people_have(convert):
    assert Substrate.from_weights(convert(W)) == Substrate.from_weights(W)


def test_from_weights__takes_sparse_matrices_with_repeated_entries():
    twice = sparse.coo_array(([1.0, 0.5, 2.0], ([0, 0, 1], [1, 1, 0])), (2, 2))
    assert Substrate.from_weights(twice) == Substrate.from_weights([[0, 1.5], [2, 0]])
    assert twice.nnz == 3  # what the caller has is as it was


def test_from_weights__keeps_sparse_rows_sparse():
    """A dense matrix of so many units would take 20 GB."""
    n = 1000
    ring = sparse.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), (n, n))
    made = Substrate.from_weights(ring, "threshold", bias=-0.5)
    assert [factor.parents for factor in made.factors] == [((i - 1) % n,) for i in range(n)]
    assert int(made.connectivity.sum()) == n


def test_from_weights__equal_weights_of_many_inputs_are_counted():
    n = 30
    made = Substrate.from_weights(np.ones((n, n)), "threshold", bias=-3)
    assert isinstance(made.factors[0], CountingFactor)
    assert made.factors[0].probability_by_count[:, 1].tolist() == [0, 0, 0, *[1] * (n - 2)]
    spins = Substrate.from_weights(np.full((n, n), 0.1), "ising", bias=0.5)
    h = 0.1 * (2 * 7 - n) + 0.5
    assert spins.factors[3].probability_by_count[7, 1] == pytest.approx(1 / (1 + math.exp(-2 * h)))


@pytest.mark.parametrize("activation", ["logistic", "ising", "threshold"])
@pytest.mark.parametrize("seed", range(4))
def test_prune__bounds_the_change_of_any_probability_and_is_reached(activation, seed):
    own = np.random.default_rng(seed).normal(size=(N, N))
    whole = Substrate.from_weights(own, activation, bias=BIAS, slope=1.5)
    pruned = Substrate.from_weights(own, activation, bias=BIAS, slope=1.5, prune=0.4)
    change = [
        max(abs(p_on(whole, i, s) - p_on(pruned, i, s)) for s in all_states(N)) for i in range(N)
    ]
    bounds = pruned.attrs["pruning_bounds"]
    assert all(0 <= bound - d < 1e-12 for bound, d in zip(bounds, change, strict=True))
    assert pruned.attrs["pruning_bound"] == max(bounds)
    assert pruned.attrs["n_pruned"] == int((np.abs(own) <= 0.4).sum())
    assert whole.attrs["pruning_bound"] == 0 == whole.attrs["n_pruned"]


def test_attrs__survive_pickling_and_do_not_make_substrates_different():
    pruned = Substrate.from_weights(W, prune=0.1)
    again = pickle.loads(pickle.dumps(pruned))
    assert dict(again.attrs) == dict(pruned.attrs)
    assert pruned == Substrate.from_weights(np.where(np.abs(W) > 0.1, W, 0))


@pytest.mark.parametrize(
    ("given_weights", "options", "message"),
    [
        ([1, 2], {}, r"expected a square matrix \[source, target\] of weights, got shape \(2,\)"),
        (np.zeros((2, 3)), {}, r"got shape \(2, 3\)"),
        (sparse.csr_array((2, 3)), {}, r"got shape \(2, 3\)"),
        ([[0, np.nan], [0, 0]], {}, "'A' -> 'B': expected a finite weight, got nan"),
        ([["a"]], {}, "expected numbers in rows of equal length"),
        ([[1]], {"activation": "relu"}, "expected one of logistic, .*, tanh, got 'relu'"),
        ([[1]], {"bias": [1, 2]}, "bias: expected a finite number, or one for each of 1 units"),
        ([[1]], {"slope": np.inf}, "slope: expected a finite number"),
        ([[1]], {"prune": -1}, "prune: expected 0 or more, got -1"),
        ([[1]], {"labels": "AB"}, "expected 1 labels"),
    ],
)
def test_from_weights__refuses(given_weights, options, message):
    with pytest.raises(SubstrateError, match=message):
        Substrate.from_weights(given_weights, **options)


def test_from_weights__says_which_weights_to_leave_out_of_too_many():
    n = 24
    many = np.diag(np.full(n, 5.0))
    many[:, 3] = np.arange(1, n + 1) / 10
    with pytest.raises(SubstrateError, match="unit 'D': a table over 24 inputs") as caught:
        Substrate.from_weights(many)
    limit = float(str(caught.value).partition("prune=")[2].split()[0])
    assert limit == 0.4
    pruned = Substrate.from_weights(many, prune=limit)
    assert len(pruned.factors[3].parents) == 20


def test_from_weights__refuses_tables_beyond_the_memory(monkeypatch):
    def refuse(size):
        raise MemoryError(f"its {size} bytes are too many")

    monkeypatch.setattr(weights, "require_memory", refuse)
    with pytest.raises(SubstrateError, match=r"tables of all units: its 64 bytes .*; prune more"):
        Substrate.from_weights([[1, 0], [0, 1]])


def test_public_function__reads_weights():
    ring = np.roll(np.eye(3), 1, axis=1) * 4
    result = iit.sia(Substrate.from_weights(ring, bias=-2), "100")
    assert float(result.phi) > 0
