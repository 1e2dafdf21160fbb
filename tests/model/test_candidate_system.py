"""A candidate system that brings its own cause and effect tables."""

import hashlib

import numpy as np
import pytest

import iitdask as iit
from iitdask.model.system import System
from iitdask.study.problem import Problem
from iitdask.study.run import run_job
from iitdask.theory.catalog import theory_options


class OwnTables:
    """Units of one substrate that change as those of another one do."""

    def __init__(self, system, tables):
        self._system = system
        self.effect, self.cause = tables
        for name in (
            "substrate", "labels", "n", "levels", "units", "state", "local_state", "code",
            "connectivity", "budget_bytes", "network", "two_sided_network",
        ):  # fmt: skip
            setattr(self, name, getattr(system, name))

    @property
    def fingerprint(self):
        digest = hashlib.sha256(self._system.fingerprint.encode())
        for table in (self.effect, self.cause):
            digest.update(np.ascontiguousarray(table).tobytes())
        return digest.hexdigest()

    def to_dict(self):
        return self._system.to_dict()


def noisy(seed):
    table = np.random.default_rng(seed).uniform(0.05, 0.95, (8, 3))
    return System.build(iit.Substrate.from_tpm(table), "101")


@pytest.mark.parametrize("theory", ["iit4", "iit3"])
def test_ces__is_of_the_tables_that_a_system_brings(theory):
    here, there = noisy(0), noisy(1)
    own = OwnTables(here, (there.effect, there.cause))
    got, expected = (
        run_job(Problem(system, theory_options(theory), "ces")) for system in (own, there)
    )
    assert got["system"]["phi"].item() == expected["system"]["phi"].item()
    for name in ("phi", "purview_cause", "purview_effect"):
        np.testing.assert_array_equal(
            got["distinctions"][name].values, expected["distinctions"][name].values
        )
    plain = run_job(Problem(here, theory_options(theory), "ces"))
    phi = [sorted(tree["distinctions"]["phi"].values.tolist()) for tree in (got, plain)]
    assert phi[0] != phi[1]
