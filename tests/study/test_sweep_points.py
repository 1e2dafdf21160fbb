"""200 random points of random networks: a sweep has what each has alone, bit for bit."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import UnreachableStateError
from iitdask.model.batch import Family

FAMILY = {
    "family": "erdos-renyi",
    "n": 4,
    "count": 400,
    "seed": 11,
    "gates": ["AND", "OR", "XOR", "MAJORITY", {"gate": "XOR", "noise": 0.1}],
}
SYSTEM = ("phi", "normalized_phi", "phi_cause", "phi_effect", "n_tied_partitions", "n_tied_states")
SUMS = ("big_phi", "sum_phi_distinctions", "sum_phi_relations", "n_distinctions")


@pytest.mark.parametrize("compute", ["sia", "ces"])
def test_random_points__are_what_they_are_alone(compute):
    cube = iit.sweep({"substrate": FAMILY, "state": "all"}, compute=compute)
    (family,), rng = Family.from_block(FAMILY), np.random.default_rng(7)
    done = 0
    for _ in range(200):
        member, state = int(rng.integers(family.count)), int(rng.integers(16))
        one = cube.isel(substrate=member, state=state)
        network = iit.Substrate.from_units(family.block(member)["units"])
        try:
            found = getattr(iit, compute)(network, str(one.state.item()))
        except UnreachableStateError:
            assert one.status == "unreachable"
            continue
        done += 1
        system = found if compute == "sia" else found["system"].to_dataset()
        assert one.reason == system.attrs["reasons"]
        for name in SYSTEM:
            np.testing.assert_array_equal(one[name], system[name])
        if compute == "ces":
            assert one.n_relations == found["relations"]["count"]
            for name in SUMS:
                assert one[name] == found.attrs[name]
    assert done > 100


def test_accounts__as_a_sweep():
    spec = {"units": [{"gate": "OR", "inputs": ["A", "B"]}, {"gate": "AND", "inputs": ["A", "B"]}]}
    cube = iit.sweep({"before": "all", "after": ["10", "11"]}, spec, compute="account")
    assert dict(cube.sizes) == {"before": 4, "after": 2}
    one = cube.sel(before="10", after="10")
    alone = iit.account(iit.Substrate.from_units(spec["units"]), "10", "10")
    assert one.n_links == alone["links"].sizes["link"]
    assert one.sum_alpha.item() == pytest.approx(float(alone["links"]["alpha"].sum()))
    assert cube.status.sel(after="11").values.tolist() == [*["unreachable"] * 3, "done"]
    never = cube.sel(before="00", after="11")
    assert never.n_links == -1
    assert np.isnan(never.alpha)
    assert "can follow the state before 00, got A=1, B=1" in str(never.message.values)


def test_what_no_sweep_knows__is_named():
    with pytest.raises(iit.errors.InputError, match="expected one of sia, ces, complexes, grains"):
        iit.sweep({"noise": [0.1]}, "basic", compute="nexus", before="100", after="001")
