"""The systems of the benchmark: three kinds of all-to-all substrates, seeded."""

import numpy as np

import iitdask as iit

KINDS = ("dense", "ising", "deterministic")


def system(kind: str, n: int, seed: int = 0) -> tuple[iit.Substrate, tuple[int, ...]]:
    """A substrate of n binary units and one of its reachable states.

    dense: P(on) uniform in (0, 1) for every unit and state; ising: logistic units with normal
    weights of mean and deviation 1, slope 2 / sqrt(n); deterministic: a random Boolean map.
    """
    rng = np.random.default_rng(seed)
    size = 1 << n
    if kind == "dense":
        return iit.Substrate.from_tpm(rng.random((size, n))), (0,) * n
    if kind == "deterministic":
        tpm = (rng.random((size, n)) < 0.5).astype(float)
        return iit.Substrate.from_tpm(tpm), tuple(int(x) for x in tpm[0])
    weights = rng.normal(1.0, 1.0, (n, n))
    spins = ((np.arange(size)[:, None] >> np.arange(n)) & 1) * 2 - 1.0
    tpm = 1 / (1 + np.exp(-2 * spins @ weights / np.sqrt(n)))
    return iit.Substrate.from_tpm(tpm), (0,) * n
