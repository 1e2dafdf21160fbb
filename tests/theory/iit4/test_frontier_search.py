"""phi_s of sparse systems along their connections, against the search over all sets of units."""

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.errors import InputError, UnreachableStateError
from iitdask.kernels.frontier import specified_causes, specified_effects
from iitdask.model.system import System
from iitdask.result.explanation import explanation_rows
from iitdask.result.formatting import system_summary
from iitdask.theory.iit4 import frontier_search
from iitdask.theory.iit4.recipe import sia
from iitdask.theory.options import IIT4
from tests.reference import sparse_systems
from tests.reference.sparse_systems import GRAPHS, KINDS

SCALARS = ("phi", "normalized_phi", "n_tied_partitions", "n_tied_states")
BOTH = ("phi", "intrinsic_information", "differentiation")


def network(name, kind, n, seed=0, levels=None):
    factors, state = sparse_systems.factors(
        name, kind, levels or [2] * n, np.random.default_rng(seed)
    )
    return factors, state


def searched(substrate, state, search, units=None, **options):
    theory = {"name": "iit4", "search": search, **options}
    return iit.sia(substrate, state, units, theory=theory)


def same(sparse, dense):
    """Both analyses say the same, up to rounding; partitions where there is something to lose."""
    assert (sparse.attrs["system_search"], dense.attrs["system_search"]) == ("sparse", "dense")
    assert sparse.attrs["reasons"] == dense.attrs["reasons"]
    names = [*SCALARS, *(f"{name}_{side}" for name in BOTH for side in ("cause", "effect"))]
    is_reducible = "REDUCIBLE" in dense.attrs["reasons"].split()
    for name in names:
        if name in dense and not (is_reducible and name in ("phi_cause", "phi_effect")):
            np.testing.assert_allclose(sparse[name], dense[name], rtol=1e-12, atol=1e-12)
    for name in ("cause_state", "effect_state"):
        assert sparse[name].values.tolist() == dense[name].values.tolist()
    if not is_reducible:
        assert (sparse["cut"].values == dense["cut"].values).all()


def compare(seed, units):
    """Search a system of a number both ways; returns whether there was one, irreducible."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(*units))
    kind, is_binary = KINDS[seed % len(KINDS)], seed % 5 > 0 or seed % len(KINDS) > 2 or n > 6
    levels = [2] * n if is_binary else rng.choice([2, 3], n).tolist()
    factors, state = network(GRAPHS[seed // 7 % len(GRAPHS)], kind, n, seed, levels)
    substrate = iit.Substrate.from_factors(factors)
    inside = sorted(rng.permutation(n)[: n - 1].tolist()) if seed % 4 == 1 else None
    options = {"ties": ("reference", "canonical")[seed % 2]}
    if seed % 3 == 0:
        options |= {"name": "iit4-2026", "differentiation": ("specified", "current")[seed % 2]}
    try:
        dense = searched(substrate, state, "dense", inside, **options)
    except UnreachableStateError:
        return False
    sparse = searched(substrate, state, "sparse", inside, **options)
    if dense.attrs["reasons"] not in ("NO_STRONG_CONNECTIVITY", "MONAD_WITH_NO_SELFLOOP"):
        same(sparse, dense)
    return float(dense["phi"]) > 0


def test_both_searches__agree_on_small_systems():
    assert sum(compare(seed, (3, 9)) for seed in range(60)) > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds",
    [range(1000, 1200), pytest.param(range(1200, 1500), marks=pytest.mark.exhaustive)],
    ids=["200", "500"],
)
def test_both_searches__agree_on_hundreds_of_systems(seeds):
    irreducible = sum(compare(seed, (3, 12 if seed % 25 else 15)) for seed in seeds)
    assert irreducible > 0.16 * len(seeds)


def test_larger_systems__are_searched_along_their_connections_where_they_are_sparse(monkeypatch):
    factors, state = network("ring", "ferromagnet", 15)
    ring = iit.Substrate.from_factors(factors)
    assert searched(ring, state, "auto").attrs["system_search"] == "sparse"
    factors, state = network("ring", "ferromagnet", 14)
    small = System.build(iit.Substrate.from_factors(factors), state)
    assert frontier_search.plan_frontier(small, IIT4()) is None
    monkeypatch.setattr(frontier_search, "MAX_WIDTH", 1)
    wide = System.build(ring, [0] * 15)
    assert frontier_search.plan_frontier(wide, IIT4()) is None
    with pytest.raises(InputError, match="'sparse': expected a sparse system, got a frontier of 2"):
        frontier_search.plan_frontier(wide, IIT4(search="sparse"))


def test_ring_of_30__has_the_phi_of_its_cheapest_arc():
    n, strong, weak = 30, 0.95, 0.6
    on = [strong] * n
    on[7] = on[20] = weak  # copies with two weak connections
    factors = [([(i - 1) % n], [[p, 1 - p], [1 - p, p]]) for i, p in enumerate(on)]
    found = iit.sia(iit.Substrate.from_factors(factors), [0] * n)
    # Both weak connections severed: one part of the 13 units between them, severed both ways, and
    # of the 17 others eight that are severed inwards, then nine outwards, which keep 72 pairs.
    selectivity, lost = strong ** (n - 2) * weak**2, 2 * np.log2(weak / 0.5)
    pairs = n**2 - (13**2 + 8**2 + 9**2 + 8 * 9)
    assert float(found["phi"]) == pytest.approx(selectivity * lost, rel=1e-9)
    assert float(found["normalized_phi"]) == pytest.approx(selectivity * lost / pairs, rel=1e-9)
    assert int(found["cut"].sum()) == pairs
    assert found.attrs["system_search"] == "sparse"


def test_system_of_24_units__is_the_same_under_other_numbers():
    factors, state = network("random", "ferromagnet", 24, 4)
    place = np.random.default_rng(1).permutation(24)
    moved, moved_state = [None] * 24, [0] * 24
    for i, (read, table) in enumerate(factors):
        moved[place[i]] = (place[read].tolist(), table)
        moved_state[place[i]] = state[i]
    one = iit.sia(iit.Substrate.from_factors(factors), state)
    other = iit.sia(iit.Substrate.from_factors(moved), moved_state)
    for name in (*SCALARS, "phi_cause", "phi_effect"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-11)
    if int(one["n_tied_partitions"]) == 1:
        cut = other["cut"].values[np.ix_(place, place)]
        assert (one["cut"].values == cut).all()


def test_4096_tied_causes__that_lose_the_same_are_searched_once(monkeypatch):
    parity = np.array([[[0.95, 0.05], [0.05, 0.95]], [[0.05, 0.95], [0.95, 0.05]]])
    # a ring of twelve pairs, both units of a pair read both of the one before
    factors = [([(i - 1) % 12, (i - 1) % 12 + 12], parity) for i in range(24)]
    calls = []
    search = frontier_search.minimum_partition_by_frontier
    monkeypatch.setattr(
        frontier_search,
        "minimum_partition_by_frontier",
        lambda *given: calls.append(1) or search(*given),
    )
    found = iit.sia(iit.Substrate.from_factors(factors), [0] * 24)
    assert int(found["n_tied_states"]) == 4096
    assert len(calls) == 2


def test_tied_states__that_lose_differently_are_searched_by_class(monkeypatch):
    monkeypatch.setattr(frontier_search, "MANY_CLASSES", 0)  # tries one partition for all of them
    assert sum(compare(seed, (3, 8)) for seed in range(300, 340)) > 5


def test_structures__depend_on_tied_states_alike_either_way():
    several = 0
    for seed in range(24):
        factors, state = network(GRAPHS[seed % len(GRAPHS)], "gates", 5, seed)
        factors[0] = (factors[0][0], np.full_like(factors[0][1], 0.5))  # it has neither
        substrate = iit.Substrate.from_factors(factors)
        try:
            trees = [
                iit.ces(substrate, state, theory={"name": "iit4", "search": search})
                for search in ("sparse", "dense")
            ]
        except UnreachableStateError:
            continue
        for name in ("tie_sensitive", "phi_tie_sensitive", "big_phi"):
            assert trees[0].attrs[name] == pytest.approx(trees[1].attrs[name], abs=1e-9)
        for side in ("cause", "effect"):
            states = [tree["system"][f"{side}_state"].values.tolist() for tree in trees]
            assert states[0] == states[1]
        several += trees[0].attrs["tie_sensitive"]
    assert several > 2


def test_millions_of_tied_causes__need_not_be_listed():
    either = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    # a ring of 20 pairs, both units of a pair are on if any of the pair before is; or by chance
    factors = [([(i - 1) % 20, (i - 1) % 20 + 20], either) for i in range(40)]
    for i in (0, 20):
        factors[i] = (factors[i][0], np.full((2, 2, 2), 0.5))
    found = iit.sia(iit.Substrate.from_factors(factors), [1] * 40)
    assert (float(found["phi"]), found.attrs["reasons"]) == (0.0, "REDUCIBLE")
    assert int(found["n_tied_states"]) == 3**19 * 4 * 4
    assert found.attrs["system_search"] == "sparse"
    assert found["cause_state"].values.tolist() == [1] * 19 + [0] * 21


def test_tied_states__in_unions_of_products_are_analysed_alike(monkeypatch):
    monkeypatch.setattr(specified_causes, "MAX_SPECIFIED", 1)
    monkeypatch.setattr(specified_effects, "MAX_SPECIFIED", 0)
    irreducible = 0
    for seed in range(340, 440):
        monkeypatch.setattr(specified_causes, "MAX_LISTED", 1 + seed % 3)
        irreducible += compare(seed, (3, 8))
    assert irreducible > 15


def test_structures__of_unions_of_products_are_as_sensitive_to_ties(monkeypatch):
    several = 0
    for seed in range(20):
        factors, state = network(GRAPHS[seed % len(GRAPHS)], "gates", 5, seed)
        substrate, sensitive = iit.Substrate.from_factors(factors), []
        for most in (1, 1 << 16):
            with monkeypatch.context() as patch:
                patch.setattr(specified_causes, "MAX_SPECIFIED", most)
                patch.setattr(specified_causes, "MAX_LISTED", 1)
                try:
                    tree = iit.ces(substrate, state, theory={"name": "iit4", "search": "sparse"})
                except UnreachableStateError:
                    break
            names = ("tie_sensitive", "phi_tie_sensitive")
            counts = tree["system"]["n_tied_states"].item()
            sensitive.append(([tree.attrs[name] for name in names], counts))
        assert len(sensitive) != 2 or sensitive[0] == sensitive[1]
        several += len(sensitive) == 2 and sensitive[0][1] > 1
    assert several > 2


def test_trillions_of_tied_causes__of_one_group_are_counted():
    both = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    factors = [(sorted([(i - 1) % 60, i]), both) for i in range(60)]
    found = iit.sia(iit.Substrate.from_factors(factors), [0] * 60)
    assert (float(found["phi"]), found.attrs["reasons"]) == (0.0, "REDUCIBLE")
    a, b = 2, 1
    for _ in range(60):
        a, b = b, a + b
    assert int(found["n_tied_states"]) == a  # sets of which no two are neighbours on a ring
    assert found["cause_state"].values.tolist() == [0] * 60


def test_tied_effects__of_groups_that_read_different_units_multiply():
    leans = np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.1, 0.9], [0.5, 0.5]]])
    # a ring of twenty pairs, both units of a pair read both of the one before
    factors = [([(i - 1) % 20, (i - 1) % 20 + 20], leans) for i in range(40)]
    found = iit.sia(iit.Substrate.from_factors(factors), [0] * 40)
    small = iit.Substrate.from_factors([([(i - 1) % 3, (i - 1) % 3 + 3], leans) for i in range(6)])
    exact = searched(small, [0] * 6, "dense")
    assert found.attrs["reasons"] == exact.attrs["reasons"] == "REDUCIBLE"
    assert (int(found["n_tied_states"]), int(exact["n_tied_states"])) == (2**20, 2**3)


def test_search_of_many_classes__is_not_repeated_on_a_store(tmp_path, caplog):
    leans = np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.1, 0.9], [0.5, 0.5]]])
    factors = [([(i - 1) % 8, (i - 1) % 8 + 8], leans) for i in range(16)]
    substrate, store = iit.Substrate.from_factors(factors), tmp_path / "s.zarr"
    options = {"theory": {"name": "iit4", "search": "sparse"}, "store": store}
    first = iit.sia(substrate, [0] * 16, **options)
    stages = {"frontier", "frontier/any_effect"}
    assert {str(p.parent.relative_to(store / "work")) for p in store.glob("work/**/tick")} >= stages
    assert iit.sia(substrate, [0] * 16, **options).identical(first)
    assert not [line for line in caplog.messages if "planned afresh" in line]


def test_system_without_effect__has_no_phi_however_large():
    flips = np.full((2, 2), 0.5)
    factors = [([(i - 1) % 30], flips) for i in range(30)]
    found = iit.sia(iit.Substrate.from_factors(factors), [0] * 30)
    assert float(found["phi"]) == 0.0
    assert found.attrs["reasons"] == "NO_CAUSE NO_EFFECT"
    assert int(found["n_tied_states"]) == 0


def test_search_that_does_not_end__says_so_or_leaves_it_to_the_other(monkeypatch):
    factors, state = network("ring", "ferromagnet", 9)
    ring = iit.Substrate.from_factors(factors)
    monkeypatch.setattr(frontier_search, "MOST_TRANSITIONS", 50.0)
    monkeypatch.setattr(frontier_search, "MIN_DENSE_STEPS", 1.0)
    assert searched(ring, state, "auto").attrs["system_search"] == "dense"
    found = searched(ring, state, "sparse")
    assert np.isnan(float(found["phi"]))
    assert found.attrs["reasons"] == "UNDECIDED"
    assert "not computed" in found.attrs["reason"]
    assert "lie between" in found.attrs["bound"]
    assert (found["cause_state"].values >= 0).all()
    tree = xr.DataTree.from_dict({"/system": found})
    for rows in (system_summary(tree), explanation_rows(iit.explain(found))):
        text = dict(rows)
        assert "within its budget" in text["why not computed"]
        assert " to " in text.get("bounds of phi_s", text["phi_s"])


def is_within(found, exact):
    """Tell whether the bounds of an analysis hold, that did not end; or it is the exact one."""
    if "phi_low" not in found:
        np.testing.assert_allclose(found["phi"], exact["phi"], rtol=1e-12, atol=1e-12)
        return False
    for name in ("phi", "normalized_phi"):
        low, high = (float(found[f"{name}_{end}"]) for end in ("low", "high"))
        value = float(exact[name])
        assert low * (1 - 1e-12) <= value <= high * (1 + 1e-12)
    return float(found["phi_low"]) > 0


def bounded(seed, monkeypatch):
    """Analyse a system within a few transitions; whether a bound above 0 was found."""
    rng = np.random.default_rng(seed)
    n, kind = int(rng.integers(5, 10)), ("ferromagnet", "ferromagnet", "noisy", "gates")[seed % 4]
    factors, state = network(GRAPHS[seed // 4 % len(GRAPHS)], kind, n, seed)
    substrate, options = iit.Substrate.from_factors(factors), {}
    if seed % 3 == 0:
        options = {"name": "iit4-2026", "differentiation": ("specified", "current")[seed % 2]}
    try:
        exact = searched(substrate, state, "dense", **options)
    except UnreachableStateError:
        return False
    with monkeypatch.context() as patch:
        patch.setattr(frontier_search, "MOST_TRANSITIONS", float(10 ** rng.uniform(2.5, 4)))
        patch.setattr(frontier_search, "MAX_CLASSES", int(rng.choice([1, 4096])))
        patch.setattr(frontier_search, "MANY_CLASSES", int(rng.choice([0, 32])))
        found = searched(substrate, state, "sparse", **options)
    return is_within(found, exact)


def test_bounds__of_searches_that_do_not_end_hold_the_exact_phi(monkeypatch):
    assert sum(bounded(seed, monkeypatch) for seed in range(40)) > 2


@pytest.mark.slow
@pytest.mark.exhaustive
def test_bounds__hold_on_hundreds_of_systems(monkeypatch):
    assert sum(bounded(seed, monkeypatch) for seed in range(100, 700)) > 30


def test_plan__that_computes_nothing_goes_on_as_if_the_search_ended():
    factors, state = network("ring", "ferromagnet", 16)
    recipe = sia(System.build(iit.Substrate.from_factors(factors), state), IIT4())
    (stage,) = next(recipe)
    assert stage.name == "frontier"
    assert 0 < stage.cost((slice(0, 2),)) < 1
    unfilled = {}
    for each in stage.variables:
        shape = stage.grid.shape + tuple(length for _, length in each.inner)
        dims = [f"axis{k}" for k in range(len(shape))]
        unfilled[each.name] = xr.Variable(dims, np.full(shape, each.fill, each.dtype))
    with pytest.raises(StopIteration):
        recipe.send((unfilled,))
