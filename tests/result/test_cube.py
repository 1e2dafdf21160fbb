"""The cube of a sweep, its summaries, and results as files."""

import csv
import json
import math

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.errors import InputError
from iitdask.result.cube import (
    axis_table,
    cube_summary,
    is_cube,
    table_of,
    to_data_frame,
    write_result,
)


def test_cube__is_told_from_other_results(cube, structure):
    assert is_cube(xr.DataTree(cube))
    assert not is_cube(structure)


def test_cube_summary__counts_points_and_gives_ranges(cube):
    rows = dict(cube_summary(cube))
    assert rows["sweep"] == "state (4) x noise (2)"
    assert rows["computed"] == "ces"
    counts = {name: int(n) for n, name in (part.split() for part in rows["points"].split(", "))}
    status = cube["status"].values
    assert counts == {name: int((status == name).sum()) for name in counts}
    assert sum(counts.values()) == cube["status"].size
    values = cube["phi"].values
    above, rest = rows["phi_s"].split(" of ", 1)
    assert int(above) == int((values[np.isfinite(values)] > 0).sum())
    assert f"largest {np.nanmax(values):.6g} bits" in rest
    assert rows["different systems"] == str(len(np.unique(cube["point"].values)))


@pytest.mark.parametrize("dim", ["state", "noise"])
def test_axis_table__has_means_over_the_other_axes(cube, dim):
    columns, rows = axis_table(cube, dim)
    assert columns[:4] == (dim, "done", "mean phi_s", "largest phi_s")
    assert len(rows) == cube.sizes[dim]
    for row, label in zip(rows, cube[dim].values, strict=True):
        one = cube.sel({dim: label})
        done = int((one["status"] == "done").sum())
        assert int(row[1]) == done
        if done:
            assert float(row[2]) == pytest.approx(float(one["phi"].mean()), rel=1e-5, abs=1e-12)
            assert float(row[3]) == pytest.approx(float(one["phi"].max()), rel=1e-5, abs=1e-12)
        else:
            assert row[2:4] == ("-", "-")


def test_data_frame__of_a_cube_has_one_row_per_point(cube):
    frame = to_data_frame(xr.DataTree(cube))
    assert len(frame) == cube["status"].size
    row = frame[(frame["state"] == "11") & (frame["noise"] == 0.1)]
    assert row["phi"].item() == float(cube["phi"].sel(state="11", noise=0.1))


@pytest.mark.parametrize(
    ("name", "node", "dim"),
    [
        ("structure", "distinctions", "mechanism"),
        ("complexes", "complexes", "complex"),
        ("account", "links", "link"),
    ],
)
def test_csv__has_one_row_per_distinction_complex_or_link(name, node, dim, request, tmp_path):
    tree = request.getfixturevalue(name)
    path = write_result(tree, tmp_path / "rows.csv")
    with path.open(newline="") as text:
        rows = list(csv.DictReader(text))
    data = tree[node].to_dataset()
    assert len(rows) == data.sizes[dim] > 0
    value = "phi" if "phi" in data else "alpha"
    for row, expected in zip(rows, data[value].values.tolist(), strict=True):
        assert float(row[value]) == expected


def test_csv__is_the_first_table_that_has_rows():
    tree = iit.grains(iit.Substrate.from_tpm([[0.5, 0.5]] * 4), "10")
    assert tree["complexes"].sizes["complex"] == 0
    assert table_of(tree) == ("systems", "system")
    frame = to_data_frame(tree)
    systems = tree["systems"].to_dataset()
    assert frame["phi"].tolist() == systems["phi"].values.tolist()
    assert frame["units"].tolist() == systems["units"].values.tolist()
    found = iit.complexes(iit.Substrate.from_tpm([[0.5, 0.5]] * 4), "10")
    none = xr.DataTree.from_dict({"/complexes": found})
    assert table_of(none) == ("complexes", "complex")
    assert len(to_data_frame(none)) == 0


def test_csv__of_a_matrix_has_a_column_per_unit(structure):
    frame = to_data_frame(structure)
    expected = structure["distinctions"]["state_cause"].values
    found = frame[[f"state_cause_{unit}" for unit in "ABC"]].to_numpy()
    np.testing.assert_array_equal(found, expected)


def test_json__and_netcdf_hold_the_same_numbers(structure, tmp_path):
    found = json.loads(write_result(structure, tmp_path / "all.json").read_text())
    with xr.open_datatree(write_result(structure, tmp_path / "all.nc"), engine="h5netcdf") as tree:
        for node in ("system", "distinctions", "relations"):
            for name, variable in tree[node].to_dataset().variables.items():
                if variable.dtype.kind == "f" and np.isfinite(variable.values).all():
                    values = np.array(found[node]["variables"][name]["values"], float)
                    np.testing.assert_array_equal(values, variable.values)
        assert tree.attrs["n_distinctions"] == structure.attrs["n_distinctions"]


def test_write_result__knows_three_endings(structure, tmp_path):
    with pytest.raises(InputError, match=r"expected a file ending in \.csv, \.json, \.nc"):
        write_result(structure, tmp_path / "all.xlsx")


def test_write_result__leaves_nothing_when_it_fails(structure, tmp_path):
    with pytest.raises(InputError, match="expected a file that can be written"):
        write_result(structure, tmp_path / "none" / "all.json")
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(InputError, match="expected a file that can be written"):
        write_result(structure, tmp_path / "taken.json")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.json"]


def test_write_result__replaces_a_file_at_once(structure, tmp_path):
    path = tmp_path / "all.json"
    path.write_text("old")
    write_result(structure, path)
    assert json.loads(path.read_text())["attrs"]["theory"] == "iit4"
    assert math.isfinite(json.loads(path.read_text())["attrs"]["big_phi"])
