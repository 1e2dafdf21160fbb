"""Hill climbing over tables and weights, ranking of families, and their studies."""

import itertools

import numpy as np
import pytest

import iitdask as iit
from iitdask.__main__ import main
from iitdask.errors import InputError
from tests.runs import kill_when_filled

WEIGHTS = [[0.0, 2.0, 0.0], [-1.0, 0.0, 1.5], [2.0, 0.5, -0.5]]


def largest(substrate, name="phi", compute="sia"):
    """Largest value over states, one by one through the public function."""
    cube = iit.sweep({"state": "all"}, substrate, compute=compute)
    return float(cube[name].fillna(0).max())


def test_climbs_over_tables__end_where_no_neighbour_is_better():
    found = iit.search({"tables": 2, "climbs": 30, "seed": 3}, top=30)
    assert found.attrs["n_climbs"] == 30
    assert found.attrs["n_different"] == found.sizes["rank"] < 30
    assert found["at_peak"].values.all()
    assert float(found["phi"][0]) == float(iit.search(2, top=1)["phi"][0])
    assert (np.diff(found["phi"].values) <= 0).all()
    for tpm, phi in zip(found["tpm"].values[:2], found["phi"].values[:2], strict=True):
        assert largest(iit.Substrate.from_tpm(tpm)) == pytest.approx(phi, abs=1e-12)
        for row, unit in itertools.product(range(4), range(2)):
            near = tpm.copy()
            near[row, unit] ^= 1
            assert largest(iit.Substrate.from_tpm(near)) <= phi + 1e-9


def test_climbs_over_tables_of_four_units__are_found_again():
    space = {"tables": 4, "climbs": 3, "steps": 4, "seed": 1}
    found, again = iit.search(space), iit.search({**space, "climbs": 2})
    for rank in range(2):
        same = [k for k in range(3) if found["climb"].values[k] == again["climb"].values[rank]]
        assert (found["tpm"].values[same[0]] == again["tpm"].values[rank]).all()
    best, state = iit.Substrate.from_tpm(found["tpm"].values[0]), found["state"].item(0)
    assert float(iit.sia(best, state)["phi"]) == pytest.approx(found["phi"].item(0), abs=1e-12)
    assert (found["steps"] <= 4).all()


def test_climbs_over_weights__begin_at_the_matrix_and_keep_its_zeros():
    space = {"weights": WEIGHTS, "climbs": 3, "steps": 6, "neighbours": 5, "activation": "ising"}
    found = iit.search(space)
    matrix = found["weights"].values
    assert ((matrix == 0) == (np.array(WEIGHTS) == 0)).all()
    for k in range(3):
        substrate = iit.Substrate.from_weights(matrix[k], "ising")
        assert largest(substrate) == pytest.approx(found["phi"].item(k), abs=1e-12)
        at = iit.sia(substrate, found["state"].item(k))
        assert float(at["phi"]) == pytest.approx(found["phi"].item(k), abs=1e-12)
    start = largest(iit.Substrate.from_weights(WEIGHTS, "ising"))
    (first,) = np.flatnonzero(found["climb"].values == 0)
    assert found["phi"].item(first) >= start
    only = iit.search({**space, "climbs": 1, "steps": 1, "scale": 1e-9})
    assert only["phi"].item() == pytest.approx(start, abs=1e-6)
    assert only["weights"].values[0] == pytest.approx(np.array(WEIGHTS), abs=1e-6)


def test_climbs__maximise_other_numbers_over_given_states():
    space = {"weights": 2, "climbs": 2, "steps": 3, "slope": 2, "bias": [-1, -1]}
    found = iit.search(space, "big_phi", ["11", "10"])
    best = iit.Substrate.from_weights(found["weights"].values[0], bias=[-1, -1], slope=2)
    values = {state: float(iit.ces(best, state).attrs["big_phi"]) for state in ("11", "10")}
    assert found["maximised"].item(0) == pytest.approx(max(values.values()), rel=1e-9)
    assert values[found["state"].item(0)] == max(values.values())
    matrix = iit.search(np.array([[0.0, 1.0], [1.0, 0.0]]), top=1)
    assert matrix["weights"].shape == (1, 2, 2)


def test_study_of_a_family__ranks_all_members(tmp_path, capsys):
    path, store = tmp_path / "family.yaml", tmp_path / "family.zarr"
    path.write_text(
        "compute: search\nsearch: {family: erdos-renyi, n: 3, count: 6, seed: 2, top: 2}\n",
        encoding="utf-8",
    )
    with pytest.raises(SystemExit, match="0"):
        main(["run", str(path), "--store", str(store)])
    text = capsys.readouterr().out
    ranking = iit.open(store)["ranking"].to_dataset()
    expected = iit.search({"family": "erdos-renyi", "n": 3, "count": 6, "seed": 2}, top=2)
    assert ranking["phi"].values == pytest.approx(expected["phi"].values, abs=1e-12)
    assert ranking["network"].values.tolist() == expected["substrate"].values.tolist()
    assert ranking.attrs["exhaustive"]
    assert "networks    6" in text


def test_study_of_climbs__resumes_and_shows(tmp_path, capsys):
    path, store = tmp_path / "climb.yaml", tmp_path / "climb.zarr"
    path.write_text(
        "compute: search\nsearch: {tables: 3, climbs: 3, steps: 2, seed: 5}\n", encoding="utf-8"
    )
    for words in (["run", path, "--store", store], ["show", store], ["verify", store]):
        with pytest.raises(SystemExit, match="0"):
            main([str(word) for word in words])
    assert "evaluated" in capsys.readouterr().out
    found = iit.search({"tables": 3, "climbs": 3, "steps": 2, "seed": 5}, store=store)
    assert found.attrs["n_climbs"] == 3
    assert found["tpm"].values.tolist() == iit.open(store)["ranking"]["tpm"].values.tolist()
    assert iit.estimate(path).complete


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (8, "search: tables: expected a whole number from 1 to 7, got 8"),
        ({"tables": 4, "climb": 3}, "search: unknown key 'climb'; .*climbs"),
        ({"tables": 4, "climbs": 0}, "search: climbs: expected a whole number from 1"),
        ({"tables": 4, "seed": -1}, "search: seed: expected a whole number from 0"),
        ({"weights": [[1.0, 2.0]]}, "search: weights: expected a number of units or a square"),
        ({"weights": 2, "scale": 0}, "search: scale: expected a number above 0, got 0"),
        ({"weights": 2, "activation": "relu"}, "activation: expected one of"),
        ({"weights": 2, "tables": 2}, "expected a mapping with one of tables, weights, family"),
    ],
)
def test_search__refuses_in_one_line(space, message):
    with pytest.raises(InputError, match=message) as raised:
        iit.search(space)
    assert "\n" not in str(raised.value)


def test_search__refuses_what_it_cannot_maximise():
    with pytest.raises(InputError, match=r"maximise: expected one of phi, .*got 'size'"):
        iit.search({"weights": 2}, "size")
    with pytest.raises(InputError, match="big_phi: expected at most 6 units, got 7"):
        iit.search({"tables": 7, "climbs": 1}, "big_phi")
    with pytest.raises(InputError, match="states: expected all or a list"):
        iit.search({"tables": 4}, states="attractors")
    with pytest.raises(InputError, match=r"study: search: n: expected one number of units"):
        iit.estimate({"compute": "search", "search": {"family": "ring", "n": [3, 4]}})


CODE = """
import iitdask as iit
iit.search({{"tables": 4, "climbs": 60, "steps": 40, "seed": 9}}, store={store!r})
"""


@pytest.mark.slow
def test_climbs__go_on_after_kill_and_give_the_same_list(tmp_path):
    store = tmp_path / "climb.zarr"
    kill_when_filled(CODE.format(store=str(store)), store, "climbs")
    space = {"tables": 4, "climbs": 60, "steps": 40, "seed": 9}
    resumed, whole = iit.search(space, store=store), iit.search(space)
    assert resumed["phi"].values.tolist() == whole["phi"].values.tolist()
    assert resumed["tpm"].values.tolist() == whole["tpm"].values.tolist()
    assert resumed.attrs["n_evaluated"] == whole.attrs["n_evaluated"]
