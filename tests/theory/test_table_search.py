"""Search of deterministic tables, against every table of two units; families and lists."""

import itertools

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError
from iitdask.theory import table_search
from iitdask.theory.table_search import renamed, table_symmetries, table_values
from tests.runs import kill_when_filled


def images(table):
    """All tables of two units, as tuples of next states, that renaming makes of one."""
    out = set()
    for order in itertools.permutations(range(2)):
        for flip in itertools.product((0, 1), repeat=2):
            states = list(itertools.product((0, 1), repeat=2))
            g = {x: tuple(x[order.index(i)] ^ flip[i] for i in range(2)) for x in states}
            inverse = {y: x for x, y in g.items()}
            out.add(tuple((y, g[table[x]]) for y, x in sorted(inverse.items())))
    return out


def as_mapping(number):
    values = table_values(np.array([number]), 2)[0]
    return {(s & 1, s >> 1): tuple(int(v) for v in values[s]) for s in range(4)}


def test_classes__are_those_of_renaming():
    symmetries = table_symmetries(2)
    assert len(symmetries) == 8
    assert len(table_symmetries(3)) == 48
    numbers = {tuple(sorted(as_mapping(k).items())): k for k in range(256)}
    firsts = set()
    for number in range(256):
        expected = {numbers[image] for image in images(as_mapping(number))}
        found = {int(renamed(np.array([number]), each)[0]) for each in symmetries}
        assert found == expected
        firsts.add(min(found))
    marked = table_search.mark_first_tables({"n_units": np.array([2])}, (slice(0, 256),))[
        "is_first"
    ]
    assert set(np.flatnonzero(marked).tolist()) == firsts
    pieces = [
        table_search.mark_first_tables({"n_units": np.array([2])}, (slice(k, k + 64),))["is_first"]
        for k in range(0, 256, 64)
    ]
    assert np.concatenate(pieces).tolist() == marked.tolist()


def largest_phi(tpm):
    """Largest phi_s of a table over states, one by one through the public function."""
    substrate = iit.Substrate.from_tpm(tpm)
    cube = iit.sweep({"state": "all"}, substrate)
    return float(cube["phi"].fillna(0).max())


def test_search__of_two_units_is_the_best_of_all_tables():
    found = iit.search(2, top=43)
    assert found.attrs["n_tables"] == 256
    assert found.attrs["n_classes"] == found.sizes["rank"] == 43
    assert found["class_size"].values.sum() == 256
    assert (np.diff(found["phi"].values) <= 0).all()
    for tpm, phi, state in zip(
        found["tpm"].values, found["phi"].values, found["state"].values, strict=True
    ):
        assert largest_phi(tpm) == pytest.approx(phi, abs=1e-12)
        if phi > 0:
            assert float(iit.sia(iit.Substrate.from_tpm(tpm), state).phi) == pytest.approx(phi)
    rng = np.random.default_rng(0)
    for number in rng.integers(0, 256, size=6).tolist():
        tpm = table_values(np.array([number]), 2)[0]
        assert largest_phi(tpm) <= found["phi"].values[0] + 1e-12
    capped = iit.search(2, theory="iit4-2026", top=1)
    assert float(capped["phi"][0]) <= float(found["phi"][0])


def test_search__of_families_and_lists_ranks_networks():
    family = {"family": "erdos-renyi", "n": 3, "count": 6, "seed": 2}
    space = [family, iit.examples.load("basic")]
    found = iit.search(space, top=4)
    cube = iit.sweep({"substrate": space, "state": "all"})
    best = cube["phi"].fillna(0).max("state").values
    assert found["phi"].values.tolist() == sorted(best.tolist(), reverse=True)[:4]
    assert found.attrs["n_networks"] == 7
    assert best[list(cube["substrate"].values).index(found["substrate"].values[0])] == best.max()
    big = iit.search([iit.examples.load("basic")], "big_phi", ["100"])
    tree = iit.ces(iit.examples.load("basic"), "100")
    assert big["big_phi"].values.tolist() == [pytest.approx(tree.attrs["big_phi"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8,), "tables: expected a whole number from 1 to 7, got 8"),
        ((2, "big_phi"), "of all tables expected maximise phi"),
        ((2, "phi", "all", 0), "top: expected a whole number from 1 to 1000000, got 0"),
        (([iit.examples.load("basic")], "status"), "maximise: expected one of phi, .*'status'"),
        (("basic",), "expected a list of values"),
    ],
)
def test_search__refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        iit.search(*arguments)


def test_search__of_units_with_more_values_is_refused():
    study = {"substrate": {"example": "gomez2020-p53-mdm2"}, "compute": "search"}
    with pytest.raises(InputError, match="search: expected at most 3 units of two values"):
        iit.estimate(study)


CODE = "import iitdask as iit; iit.search(3, store={store!r})"


@pytest.mark.slow
@pytest.mark.exhaustive
def test_search__of_three_units_goes_on_after_kill(tmp_path):
    store = tmp_path / "search.zarr"
    kill_when_filled(CODE.format(store=str(store)), store, "tables")
    resumed = iit.search(3, store=store)
    # What an undisturbed search gives
    assert resumed.table.values.tolist() == [
        1828, 1829, 1831, 1844, 1845, 1846, 1847, 1908, 1909, 1911,
        5924, 5925, 5926, 5927, 5940, 5941, 5942, 5943, 5988, 5989,
    ]  # fmt: skip
    assert set(resumed.phi.values) == {6.0}
    assert resumed.attrs["n_classes"] == 352_744
    assert resumed.attrs["n_irreducible"] == 211_070
