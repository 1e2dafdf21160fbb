"""How fast: ``pytest tests/benchmarks --benchmark-enable``; otherwise each only runs once.

The largest only runs where ``IITDASK_BENCH`` is set.
"""

import os

import numpy as np
import pytest

import iitdask as iit

BENCH = "IITDASK_BENCH" in os.environ


def random_substrate(n, seed=0):
    """Units that listen to themselves and three others: nothing ties."""
    rng = np.random.default_rng(seed)
    factors = []
    for i in range(n):
        inputs = sorted({(i + step) % n for step in (0, 1, 2, n - 1)})
        on = rng.uniform(0.02, 0.98, size=(2,) * len(inputs))
        factors.append((inputs, np.stack([1 - on, on], axis=-1)))
    return iit.Substrate.from_factors(factors)


def dense_substrate(n, seed=0):
    """Units that listen to all units, with noise."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n, n))
    states = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return iit.Substrate.from_tpm(1 / (1 + np.exp(-(2 * states - 1) @ weights)))


@pytest.mark.parametrize("n", [10, 12])
def test_sia(n, benchmark):
    substrate = dense_substrate(n)
    found = benchmark.pedantic(iit.sia, (substrate, (0,) * n), rounds=3, warmup_rounds=1)
    assert found["cut"].values.any()


@pytest.mark.parametrize("n", [8, 10] if BENCH else [8])
def test_ces(n, benchmark):
    substrate = random_substrate(n)
    tree = benchmark.pedantic(iit.ces, (substrate, (0,) * n), rounds=3, warmup_rounds=1)
    assert tree.attrs["n_distinctions"] > n
    assert tree.attrs["search"]["pairs"] == 2 * (2**n - 1) ** 2


def majority_substrate(n, noise=0.1):
    """Noisy majorities of all units, the unit itself counted twice."""
    states = np.arange(2**n)[:, None] >> np.arange(n) & 1
    on = 2 * (states.sum(axis=1, keepdims=True) + states) > n + 1
    return iit.Substrate.from_tpm(np.where(on, 1 - noise, noise))


@pytest.mark.parametrize("kind", ["dense", "majority"])
@pytest.mark.parametrize("n", [3, 4, 5, 6, 7] if BENCH else [3, 4, 5])
def test_iit3(n, kind, benchmark):
    substrate = dense_substrate(n) if kind == "dense" else majority_substrate(n)
    state = tuple(i % 2 for i in range(n))
    found = benchmark.pedantic(
        iit.sia, (substrate, state), {"theory": "iit3"}, rounds=3 if n < 6 else 1
    )
    assert float(found["phi"]) > 0


@pytest.mark.parametrize("n", [10, 12, 14] if BENCH else [10])
def test_complexes(n, benchmark):
    substrate = dense_substrate(n)
    found = benchmark.pedantic(iit.complexes, (substrate, (0,) * n), rounds=3, warmup_rounds=1)
    assert int(found["candidates_evaluated"]) == 2**n - 1


def test_account__of_a_majority_of_ten(benchmark):
    names = [f"X{i}" for i in range(10)]
    coins = [{"label": name, "gate": "BIAS", "probability": 0.5} for name in names]
    gate = {"label": "M", "gate": "MAJORITY", "inputs": names}
    substrate = iit.Substrate.from_units([*coins, gate])
    given = (substrate, [1] * 6 + [0] * 5, [0] * 10 + [1], names, ["M"])
    tree = benchmark.pedantic(iit.account, given, rounds=3, warmup_rounds=1)
    assert tree.attrs["n_links"] == 2**6  # each set of the six, and the cause


def test_account__of_two_sparse_layers(benchmark):
    n = 10 if BENCH else 8
    layers = random_substrate(n)
    factors = [([], [0.5, 0.5])] * n + [(f.parents, f.table) for f in layers.factors]
    substrate = iit.Substrate.from_factors(factors)
    given = (substrate, [1, 0] * n, [0, 1] * n, range(n), range(n, 2 * n))
    tree = benchmark.pedantic(iit.account, given, rounds=3, warmup_rounds=1)
    assert tree.attrs["n_links"] > n
