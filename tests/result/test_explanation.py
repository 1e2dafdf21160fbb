"""Explanations against every directed partition, and comparisons of results."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from iitdask.cli.app import main
from iitdask.errors import InputError
from tests.reference.check_goldens import factors_of
from tests.reference.substrate import CAUSE, EFFECT, TAU, ZERO, System
from tests.reference.systems import directed_partitions, partition_phis

FOLDER = Path(__file__).parents[1] / "golden"
FILES = sorted(path.stem for path in FOLDER.glob("iit4_*.json"))
THEORIES = {
    "iit4_2023": "iit4",
    "iit4_2026": {"name": "iit4-2026", "differentiation": "current"},
}


@cache
def golden(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def size(name):
    return len(golden(name)["subset"])


def substrate_of(data):
    return iit.Substrate.from_tpm(factors_of(data), data["cm"])


def next_value(data, found):
    """Least normalised value, and the next one, over every directed partition."""
    system = System(factors_of(data), data["cm"], data["state"], data["subset"])
    states = [tuple(found[f"{side}_state"].values.tolist()) for side in ("cause", "effect")]
    pair = zip((CAUSE, EFFECT), states, strict=True)
    phi = np.min([partition_phis(system, side, state) for side, state in pair], axis=0)
    sizes = np.array([len(edges) for edges in directed_partitions(system.subset)])
    values = np.where(phi > ZERO, phi, 0.0) / sizes
    least = values.min()
    above = values[values > least + TAU * max(1.0, abs(least))]
    return least, above.min() if len(above) else None


def check(name):
    data = golden(name)
    found = iit.sia(substrate_of(data), data["state"], data["subset"], THEORIES[data["theory"]])
    said = iit.explain(found)
    assert float(said["phi"]) == float(found["phi"])
    if not found["cut"].values.any():
        assert said["decided_by"].item() == "rule"
        assert said["reason"].item()
        assert "runner_up" not in said
        return
    least, following = next_value(data, found)
    assert float(said["least_normalized"]) == pytest.approx(least, rel=1e-9, abs=1e-12)
    if following is None:
        assert "runner_up" not in said
    else:
        assert float(said["runner_up"]) == pytest.approx(following, rel=1e-9, abs=1e-12)
        assert float(said["gap"]) == pytest.approx(following - least, rel=1e-9, abs=1e-12)
    cause, effect = float(found["phi_cause"]), float(found["phi_effect"])
    binding = said["binding_direction"].item()
    expected = "both" if abs(cause - effect) < 1e-12 else "cause" if cause < effect else "effect"
    assert binding == expected


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in FILES if size(name) < 4])
def test_explain__finds_the_runner_up(name):
    check(name)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if size(name) == 4])
def test_explain__finds_the_runner_up_of_four_units(name):
    check(name)


def test_explain__says_which_cap_decided():
    # differentiation limits phi_s of nearly deterministic units
    def is_capped(sia):
        sides = sia["cause_phi"] or 0, sia["effect_phi"] or 0
        return 0 < sia["phi"] < min(sides) - 1e-6

    name = next(n for n in FILES if "2026" in n and is_capped(golden(n)["sia"]))
    data = golden(name)
    found = iit.sia(substrate_of(data), data["state"], data["subset"], THEORIES["iit4_2026"])
    decided = iit.explain(found)["decided_by"].item()
    assert decided.startswith("cap: ")
    assert float(found[decided.removeprefix("cap: ")]) == pytest.approx(float(found["phi"]))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder, basic = tmp_path_factory.mktemp("stores"), iit.examples.load("basic")
    for state in ("100", "101"):
        iit.ces(basic, state, store=folder / f"{state}.zarr")
    return folder


def test_explain__takes_results_stores_and_substrates(stores):
    basic = iit.examples.load("basic")
    tree = iit.ces(basic, "100")
    expected = float(iit.explain(tree)["runner_up"])
    node = tree["system"].to_dataset()
    for given in (iit.sia(basic, "100"), tree["system"].to_dataset(), stores / "100.zarr"):
        assert float(iit.explain(given)["runner_up"]) == expected
    opened = iit.open(stores / "100.zarr")
    assert "give it beside" in iit.explain(opened).attrs["no_runner_up"]
    assert float(iit.explain(opened, basic)["runner_up"]) == expected
    with pytest.raises(InputError, match="expected units 'ABC', got others"):
        iit.explain(node.assign_coords(unit=["X", "Y", "Z"]), basic)
    with pytest.raises(InputError, match=r"expected one of a system under IIT 4\.0"):
        iit.explain(iit.sia(basic, "100", theory="iit3"))
    with pytest.raises(InputError, match="result: expected one of a system"):
        iit.explain(iit.complexes(basic, "100"))


def test_explain__of_many_units_says_what_was_not_searched():
    rng = np.random.default_rng(0)
    large = iit.sia(iit.Substrate.from_tpm(rng.uniform(size=(2**10, 10))), "0" * 10)
    found = iit.explain(large)
    assert "up to 9 units" in found.attrs["no_runner_up"]
    assert found["decided_by"].item() == "minimum partition"


def test_compare__of_a_result_with_itself_finds_nothing():
    tree = iit.ces(iit.examples.load("grid3"), "100")
    found = iit.compare(tree, tree)
    assert found.attrs["cut"] == "same"
    assert all(value for name, value in found.attrs.items() if name.startswith("same_"))
    assert set(found["distinctions"]["status"].values) == {"same"}
    delta = found["scalars"]["delta"].values
    assert (delta[np.isfinite(delta)] == 0).all()


def test_compare__says_what_changed(stores):
    found = iit.compare(stores / "100.zarr", stores / "101.zarr")
    again = iit.compare(*(iit.open(stores / f"{s}.zarr") for s in ("100", "101")))
    assert found.identical(again)
    assert found.attrs["state_a"] == "100"
    assert found.attrs["state_b"] == "101"
    rows = dict(
        zip(found["distinctions"]["mechanism"].values, found["distinctions"]["status"].values,
            strict=True)
    )  # fmt: skip
    assert rows == {"B": "only_a", "C": "changed"}
    scalars = found["scalars"].to_dataset()
    big_phi = scalars.sel(scalar="big_phi")
    assert float(big_phi["delta"]) == pytest.approx(float(big_phi["b"] - big_phi["a"]))
    theories = iit.compare(*(iit.sia(iit.examples.load("basic"), "100", theory=t)
                             for t in ("iit4", "iit4-2026")))  # fmt: skip
    assert theories.attrs["theory_a"], theories.attrs["theory_b"] == ("iit4", "iit4-2026")
    assert theories.attrs["cut"] == "same"


def test_compare__tells_another_choice_among_ties_from_a_change():
    found = iit.sia(iit.examples.load("xor"), "000")
    found["n_tied_partitions"] = found["n_tied_partitions"] + 1
    other = found.copy()
    other["cut"] = found["cut"].copy(data=~found["cut"].values)
    assert iit.compare(found, other).attrs["cut"] == "tied"
    other["normalized_phi"] = other["normalized_phi"] + 0.1
    assert iit.compare(found, other).attrs["cut"] == "changed"


def test_compare__takes_cells_of_a_cube():
    cube = iit.sweep({"state": "all"}, iit.examples.load("basic"))
    found = iit.compare(cube.sel(state="100"), cube.sel(state="101"))
    delta = float(found["scalars"].to_dataset().sel(scalar="phi")["delta"])
    assert delta == pytest.approx(
        float(cube["phi"].sel(state="101")) - float(cube["phi"].sel(state="100"))
    )
    with pytest.raises(InputError, match="a: expected one cell of a cube"):
        iit.compare(cube, cube)
    with pytest.raises(InputError, match="expected a path or an address"):
        iit.compare(cube.sel(state="100"), 5)


def call(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return ended.value.code, said.out


def test_commands__explain_and_compare(stores, capsys):
    code, out = call(capsys, "show", stores / "100.zarr", "--explain")
    assert code == 0
    assert "runner-up" in out
    assert "minimum partition" in out
    code, out = call(capsys, "show", stores / "100.zarr", "--explain", "--json")
    assert code == 0
    assert json.loads(out)["variables"]["runner_up"]["values"] > 0
    code, out = call(capsys, "compare", stores / "100.zarr", stores / "101.zarr")
    assert code == 0
    assert "only_a" in out
    code, out = call(capsys, "compare", stores / "100.zarr", stores / "101.zarr", "--json")
    assert code == 0
    assert json.loads(out)["attrs"]["cut"] == "same"
    assert call(capsys, "compare", stores / "100.zarr", stores / "none.zarr")[0] == 2


def test_explain__says_what_of_the_bounds_is_attained():
    tree = iit.ces(iit.examples.load("xor"), "000")
    found, data = iit.explain(tree), tree["distinctions"].to_dataset()
    assert float(found["phi_bound"]) == 6.0
    assert float(found["phi_over_bound"]) == pytest.approx(float(tree["system"]["phi"]) / 6)
    sides = [data[f"purview_{side}"].values.sum(axis=1) for side in ("cause", "effect")]
    bound = data["mechanism_units"].values.sum(axis=1) * np.minimum(*sides)
    assert found["distinction_phi_bound"].values.tolist() == bound.tolist()
    assert (found["distinction_phi_over_bound"].values <= 1 + 1e-12).all()
    assert float(found["sum_phi_distinctions_bound"]) == 3 * 4 * 8 / 4
    kary = iit.Substrate.from_tpm([np.full((3, 2, 3), 1 / 3), np.full((3, 2, 2), 0.5)])
    assert "phi_bound" not in iit.explain(iit.sia(kary, "00"))
