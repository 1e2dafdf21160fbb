"""Structures of many distinctions, whole: a ring of noisy units that unfold all mechanisms."""

from itertools import islice

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.theory.iit4.repertoires import MAX_SHOWN_DISTINCTIONS


def ring(n):
    """Units that tend to take the value of their neighbours and, more so, their own."""
    weights = 2.0 * np.eye(n) + np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0)
    return iit.Substrate.from_weights(weights, activation="ising")


def values_of_single_units(tree):
    data = tree["distinctions"]
    return data["phi"].values[data["mechanism_units"].values.sum(axis=1) == 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "count"), [(13, 3_537), pytest.param(20, 150_407, marks=pytest.mark.exhaustive)]
)
def test_structure__of_many_distinctions_is_stored_shown_and_drawn(n, count, tmp_path):
    store = tmp_path / "s.zarr"
    theory = {"name": "iit4", "search": "sparse"}
    made = iit.ces(ring(n), "1" * n, theory=theory, store=store)
    assert made["distinctions"].sizes["mechanism"] == count > MAX_SHOWN_DISTINCTIONS
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) < 1000
    assert sum(path.stat().st_size for path in files) < 100e6

    tree = iit.open(store, figures=True)
    stored = xr.open_datatree(store, group="result", engine="zarr")
    for name in ("phi", "phi_cause", "phi_effect", "log2_fold"):
        values = tree["distinctions"][name].values
        np.testing.assert_array_equal(values, stored["distinctions"][name].values)
    # A rotation of the ring turns distinctions into others of the same phi.
    alone = values_of_single_units(tree)
    assert len(alone) == n
    assert np.ptp(alone) <= 1e-12 * alone.max()
    phis = [each.phi for each in islice(iit.relations.iterate(tree), 200)]
    assert phis == sorted(phis, reverse=True)
    degrees = tree["relations"]["count_by_degree"].values
    union = tree["distinctions"].to_dataset()
    bound = (union["purview_cause"] | union["purview_effect"]).values.astype(np.float32)
    overlaps = sum(
        int(np.count_nonzero(bound[k : k + 1000] @ bound.T)) for k in range(0, count, 1000)
    )
    assert degrees[:2].tolist() == [
        int((union["purview_cause"] & union["purview_effect"]).any("unit").sum()),
        (overlaps - count) // 2,
    ]

    page = iit.plot.explorer(tree)
    assert f"Of {count:,} distinctions this page has" in page.html
    assert len(page.html) < 10e6
    assert f"largest of {count:,}" in iit.plot.by_order(tree).title.text
    found = iit.compare(tree, made)
    assert (found["distinctions"]["status"].values == "same").all()
