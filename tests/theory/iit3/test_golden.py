"""IIT 3.0: every reference value, to the six decimals the reference rounds its distances to."""

import json
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit

FILES = sorted((Path(__file__).parents[2] / "golden").glob("iit3__*.json"))
ROUNDED = 3e-6  # the reference rounds every distance on the way to six decimals
SIDES = ("cause", "effect")


def units_of(mask, data):
    return [data["subset"][i] for i in np.flatnonzero(mask)]


def same_side(row, one, side, data):
    assert units_of(row[f"purview_{side}"].values, data) == one["purview"]
    assert float(row[f"phi_{side}"]) == pytest.approx(one["phi"], abs=ROUNDED)
    for name in ("repertoire", "partitioned_repertoire"):
        if name in one:
            values = row[f"{name}_{side}"].values
            assert values[~np.isnan(values)] == pytest.approx(one[name], abs=1e-9)
    assert kept_pairs(row, side, data) == together(one["partition_as_parts"])


def together(parts):
    """Pairs of mechanism and purview units in the same part."""
    return {(m, z) for mechanism, purview in parts for m in mechanism for z in purview}


def kept_pairs(row, side, data):
    """The same from what each unit still sees."""
    pairs, units = set(), data["subset"]
    for i, seen in enumerate(row[f"kept_{side}"].values.tolist()):
        if seen >= 0:
            others = [units[j] for j in range(len(units)) if seen >> j & 1]
            pairs |= {(units[i], u) if side == "cause" else (u, units[i]) for u in others}
    return pairs


def same_concepts(found, expected, data):
    expected = {tuple(one["mechanism"]): one for one in expected}
    rows = [tuple(units_of(mask, data)) for mask in found["mechanism_units"].values]
    assert sorted(rows) == sorted(expected)
    for k, mechanism in enumerate(rows):
        row, one = found.isel(mechanism=k), expected[mechanism]
        assert float(row["phi"]) == pytest.approx(one["phi"], abs=ROUNDED)
        for side in SIDES:
            same_side(row, one[side], side, data)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_golden__concepts_and_big_phi(path):
    data = json.loads(path.read_text())
    substrate = iit.Substrate.from_tpm(data["tpm"], data["cm"])
    tree = iit.ces(substrate, data["state"], data["subset"], theory="iit3")
    system, attrs = tree["system"], tree.attrs
    assert float(system["phi"]) == pytest.approx(data["big_phi"], abs=ROUNDED)
    assert attrs["big_phi"] == float(system["phi"])
    assert attrs["sum_phi_distinctions"] == pytest.approx(data["sum_phi_concepts"], abs=2e-5)
    information = pytest.approx(data["conceptual_information"], abs=ROUNDED)
    assert attrs["conceptual_information"] == information
    same_concepts(tree["distinctions"].to_dataset(), data["concepts"], data)
    if data["big_phi"] > 0:
        cut = [[data["subset"][a], data["subset"][b]] for a, b in np.argwhere(system["cut"].values)]
        assert sorted(cut) == data["sia"]["partition"]
        assert int(system["n_tied_partitions"]) == len(data["sia"]["tied_partitions"])
        under = tree["cut_distinctions"].to_dataset()
        same_concepts(under, data["sia"]["partitioned_concepts"], data)
    else:
        assert system.attrs["reason"]
        assert not data["sia"]["reasons"] or not system["cut"].values.any()


def test_golden__sia_says_what_ces_says():
    data = json.loads(next(p for p in FILES if p.stem.endswith("fig4_100")).read_text())
    substrate = iit.Substrate.from_tpm(data["tpm"], data["cm"])
    alone = iit.sia(substrate, data["state"], theory="iit3")
    assert alone.identical(iit.ces(substrate, data["state"], theory="iit3")["system"].to_dataset())
