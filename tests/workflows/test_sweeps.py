"""The sweeps of `workflows/sweeps`, smaller where they are large."""

from pathlib import Path

import numpy as np
import pytest

from iitdask.model.batch import equivalent_rules
from iitdask.study.run import run_job
from iitdask.study.spec import read_study
from iitdask.study.sweep import sweep_from_study

FOLDER = Path(__file__).parents[2] / "workflows" / "sweeps"


def cube(name, **changes):
    study, _ = read_study(FOLDER / name)
    sweep = {**study.sweep, **changes}
    spec = {"compute": study.compute, "substrate": study.substrate, "sweep": sweep}
    spec = {key: value for key, value in spec.items() if value is not None}
    return run_job(sweep_from_study(*read_study(spec), name)).to_dataset()


def test_noise__is_what_the_readme_says():
    found = cube("noise.yaml")
    assert found.big_phi.sel(state="000", noise=0).item() == pytest.approx(7.58333, abs=1e-5)
    assert found.big_phi.sel(state="000", noise=0.45).item() == pytest.approx(0.32675, abs=1e-5)
    unreachable = (found.status == "unreachable").sel(noise=0)
    assert found.state.values[unreachable.values].tolist() == ["010", "011"]


def test_automata__have_the_same_phi_in_states_that_are_rotations():
    found = cube("automata.yaml", substrate={"family": "ring", "n": 4, "gates": "RULE"})
    phi = {str(state): found.phi.sel(state=state).values.ravel() for state in found.state.values}
    for state, values in phi.items():
        np.testing.assert_allclose(values, phi[state[1:] + state[:1]], atol=1e-12)
    assert (found.phi > 0).any()


def test_automata__equivalent_rules_have_the_same_phi():
    rules = list(equivalent_rules(110))
    found = cube(
        "automata.yaml",
        substrate={"family": "ring", "n": 5, "gates": "RULE"},
        number=rules,
        state="all",
    )
    for rule in rules:
        values = np.sort(found.phi.sel(number=rule).values, axis=None)
        np.testing.assert_allclose(values, np.sort(found.phi.values[:, 0], axis=None), atol=1e-12)


def test_random__begins_with_what_a_smaller_family_has():
    study, _ = read_study(FOLDER / "random.yaml")
    family = study.sweep["substrate"]
    found = cube("random.yaml", substrate={**family, "count": 40})
    fewer = cube("random.yaml", substrate={**family, "count": 10})
    assert (found.status == "done").all()
    np.testing.assert_array_equal(found.phi.values[:10], fewer.phi.values)
