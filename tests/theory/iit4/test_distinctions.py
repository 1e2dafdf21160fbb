"""Closed forms against listing every relation, and numbers that no machine word holds."""

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, islice, product
from math import comb, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import InputError
from iitdask.theory.iit4 import distinctions, relations
from iitdask.theory.iit4.relations import (
    Bindings,
    relation_sums,
    relations_by_degree,
    top_relations,
)
from tests.strategies import cases, examples, table

NEAR = [tuple(range(1, k)) for k in range(1, 8)]
CLOSE = {"rel": 1e-9, "abs": 1e-12}


@st.composite
def bindings(draw, most=9, units=6):
    """Random distinctions over a few unit-states."""
    count = draw(st.integers(0, most))
    mask = st.integers(1, 2**units - 1)
    sides = [draw(st.lists(mask, min_size=count, max_size=count)) for _ in range(2)]
    share = st.sampled_from((0.25, 0.5, 1.0, 0.1, 0.3, 1e-9))
    phi = draw(st.lists(share, min_size=count, max_size=count))
    return Bindings(np.array(phi, float), tuple(sides[0]), tuple(sides[1]))


def listed(found):
    """[(distinctions, phi)] of every relation, by looking at every set."""
    union, share, out = found.union, found.share, []
    for d, (c, e) in enumerate(zip(found.cause, found.effect, strict=True)):
        if c & e:
            out.append(((d,), (c & e).bit_count() * share[d]))
    for degree in range(2, len(union) + 1):
        for chosen in combinations(range(len(union)), degree):
            overlap = union[chosen[0]]
            for d in chosen:
                overlap &= union[d]
            if overlap:
                out.append((chosen, overlap.bit_count() * min(share[d] for d in chosen)))
    return out


@examples(150)
@given(bindings())
def test_sums__equal_the_list(found):
    every, sums = listed(found), relation_sums(found)
    assert sums.count == len(every)
    assert float(sums.phi) == pytest.approx(sum(phi for _, phi in every), **CLOSE)
    counts = [sum(len(c) == k for c, _ in every) for k in range(1, len(sums.by_degree) + 1)]
    assert list(sums.by_degree) == counts
    assert sum(sums.by_degree) == sums.count


@examples(60)
@given(bindings(most=8, units=90))
def test_sums__over_many_unit_states_equal_the_list(found):
    """Beyond what superset sums hold."""
    every, sums = listed(found), relation_sums(found)
    assert sums.count == len(every)
    counts = [sum(len(c) == k for c, _ in every) for k in range(1, len(sums.by_degree) + 1)]
    assert list(sums.by_degree) == counts


def test_sums__of_a_long_ring_end():
    """Two thousand distinctions over 124 unit-states: every state lies in the next six, too."""
    n = 124
    near = [sum(1 << (a + k) % n for k in (0, *ks)) for a in range(n) for ks in NEAR]
    sums = relation_sums(Bindings(np.full(len(near), 0.5), tuple(near), tuple(near)))
    # sets that meet lie in a window: the first of a run of unit-states of the ring counts each once
    inside = [[u >> a & 1 for u in near] for a in range(n)]
    both = [[u >> a & u >> (a + 1) % n & 1 for u in near] for a in range(n)]
    assert all(u for u in near)
    assert sums.count == sum(2 ** sum(i) - 1 for i in inside) - sum(2 ** sum(b) - 1 for b in both)
    assert sum(sums.by_degree) == sums.count


def test_sums__that_would_take_too_long_are_left_out(monkeypatch):
    monkeypatch.setattr(relations, "MAX_MEMBER_STATES", 100)
    rng = np.random.default_rng(0)
    masks = tuple(int(m) for m in rng.integers(1, 2**40, 30))
    found = relation_sums(Bindings(np.ones(30), masks, masks))
    assert found.count is None
    assert found.by_degree == (30,)
    assert found.phi > 0
    data = distinctions._relations_dataset(found, 1.0, 0.0)
    assert int(data["count"]) == -1
    assert np.isnan(data["log2_count"])
    assert data.attrs["count"] == ""
    assert "too many sets" in data.attrs["reason"]


@pytest.mark.parametrize(("bits", "begin"), [(14_284, "4"), (14_285, "0x1"), (150_000, "0x")])
def test_count__of_very_many_digits_is_hexadecimal(bits, begin):
    sums = relation_sums(Bindings(np.ones(1), (1,), (1,)))
    text = distinctions._relations_dataset(replace(sums, count=2 ** (bits - 1)), 1.0, 0.0)
    assert text.attrs["count"].startswith(begin)
    assert int(text.attrs["count"], 0) == 2 ** (bits - 1)
    assert float(text["log2_count"]) == bits - 1


@examples(150)
@given(bindings())
def test_folds__equal_the_list_and_add_up(found):
    every, sums = listed(found), relation_sums(found)
    fold = list(found.phi)
    for chosen, phi in every:
        for d in chosen:
            fold[d] += phi / len(chosen)
    assert sums.fold == pytest.approx(fold, rel=1e-12)
    assert sums.log2_fold == pytest.approx(np.log2(fold), rel=1e-12, abs=1e-12)
    assert sum(fold) == pytest.approx(sum(found.phi) + float(sums.phi), rel=1e-12)


def test_folds__of_fifty_structures_add_up():
    rng = np.random.default_rng(5)
    for _ in range(50):
        n = int(rng.integers(2, 5))
        tree = iit.ces(iit.Substrate.from_tpm(rng.uniform(size=(2**n, n))), (0,) * n)
        data = tree["distinctions"]
        expected = dict(zip(data["mechanism"].values, data["phi"].values.tolist(), strict=True))
        for relation in islice(iit.relations.iterate(tree), 10_000):
            for name in relation.mechanisms:
                expected[name] += relation.phi / relation.degree
        assert math.fsum(data["fold"].values) == pytest.approx(tree.attrs["big_phi"], rel=1e-12)
        if int(tree["relations"]["count"]) <= 10_000:
            assert data["fold"].values == pytest.approx(list(expected.values()), rel=1e-12)


@pytest.mark.parametrize("distinctions", [180, 961, 1500, 4000])
def test_folds__of_very_many_distinctions_add_up(distinctions):
    rng = np.random.default_rng(distinctions)
    mask = [1 << int(k) | 1 << int(j) for k, j in rng.integers(0, 4, (distinctions, 2))]
    few = [1 << 20] * 3  # distinctions that bind few others, far below the rest
    found = Bindings(rng.uniform(1e-9, 1, distinctions + 3), (*mask, *few), (*mask[::-1], *few))
    sums = relation_sums(found)
    exact = sums.phi + sum(map(Fraction, found.phi.tolist()))
    scale = max(0, int(sums.log2_fold.max()) - 900)
    total = sum(Fraction(2.0 ** (log - scale)) for log in sums.log2_fold.tolist()) * 2**scale
    assert float(total / exact) == pytest.approx(1.0, rel=1e-9)
    finite = np.isfinite(sums.fold)
    assert np.log2(sums.fold[finite]) == pytest.approx(sums.log2_fold[finite], rel=1e-12)
    assert finite[-3:].all()
    assert sums.fold[-3:].sum() == pytest.approx(self_contained(found, distinctions), rel=1e-12)


def self_contained(found, first):
    """Phi of the last distinctions alone, which bind nothing that the others bind."""
    rest = Bindings(found.phi[first:], found.cause[first:], found.effect[first:])
    return float(rest.phi.sum()) + sum(phi for _, phi in listed(rest))


@examples(80)
@given(bindings())
def test_by_degree__lists_each_relation_once(found):
    every = listed(found)
    for degree in range(1, len(found.phi) + 1):
        ours = [(r.distinctions, r.phi) for r in relations_by_degree(found, degree)]
        theirs = [each for each in every if len(each[0]) == degree]
        assert [d for d, _ in ours] == [d for d, _ in theirs]
        assert [p for _, p in ours] == pytest.approx([p for _, p in theirs], **CLOSE)


@examples(80)
@given(bindings(), st.one_of(st.none(), st.integers(1, 4)))
def test_top__lists_each_relation_once_and_phi_never_rises(found, degree):
    every = {c: p for c, p in listed(found) if degree in (None, len(c))}
    ours = list(top_relations(found, degree))
    assert {r.distinctions: r.phi for r in ours} == pytest.approx(every, **CLOSE)
    assert len(ours) == len(every)
    phis = [r.phi for r in ours]
    assert phis == sorted(phis, reverse=True)


@examples(40)
@given(cases())
def test_iterate__lists_what_the_structure_counts(case):
    tree = iit.ces(case.substrate(), case.state)
    node = tree["relations"]
    if int(node["count"]) > 3000:
        return
    every = list(iit.relations.iterate(tree))
    assert len(every) == int(node["count"])
    assert sum(r.phi for r in every) == pytest.approx(float(node["sum_phi"]), **CLOSE)
    for k, count in zip(node["degree"].values, node["count_by_degree"].values, strict=True):
        of_degree = list(iit.relations.iterate(tree, degree=int(k)))
        assert len(of_degree) == count
        assert {r.mechanisms for r in of_degree} == {r.mechanisms for r in every if r.degree == k}


@pytest.fixture(scope="module")
def many():
    """Seven all-to-all units whose 127 mechanisms are all distinctions."""
    levels = (2,) * 7

    def unit(i):
        def row(x):
            on = 0.05 + 0.9 / (1 + np.exp(-2 * (sum(x) + x[i] - 3.5)))
            return (1 - on, on)

        return table(levels, range(7), 2, row)

    return iit.ces(iit.Substrate.from_tpm([unit(i) for i in range(7)]), "0000000")


def test_count__beyond_int64_is_exact_as_text(many):
    node = many["relations"]
    exact = int(node.attrs["count"])
    assert many.attrs["n_distinctions"] == 127
    assert exact > 2**63
    assert int(node["count"]) == -1
    assert float(node["log2_count"]) == pytest.approx(log2(exact), rel=1e-14)
    assert float(node["log2_sum_phi"]) == pytest.approx(log2(float(node["sum_phi"])), rel=1e-12)
    assert (node["count_by_degree"].values == -1).any()
    assert node["count_by_degree"].dtype == np.int64


def test_count__beyond_int64_is_what_inclusion_and_exclusion_gives(many):
    data = many["distinctions"].to_dataset()
    atoms = [
        {
            (side_unit, v)
            for s in ("cause", "effect")
            for side_unit, v in enumerate(row[s])
            if v >= 0
        }
        for row in (
            {s: data[f"state_{s}"].values[k].tolist() for s in ("cause", "effect")}
            for k in range(data.sizes["mechanism"])
        )
    ]
    every, total = sorted(set().union(*atoms)), 0
    for size in range(1, len(every) + 1):
        for chosen in combinations(every, size):
            m = sum(set(chosen) <= u for u in atoms)
            total += (-1) ** (size - 1) * (2**m - m - 1)
    states = [data[f"state_{s}"].values for s in ("cause", "effect")]
    loops = int(((states[0] == states[1]) & (states[0] >= 0)).any(axis=1).sum())
    assert int(many["relations"].attrs["count"]) == total + loops


def test_top__is_lazy_among_more_relations_than_could_be_listed(many):
    phis = [r.phi for r in iit.relations.iterate(many, top=50)]
    assert len(phis) == 50
    assert phis == sorted(phis, reverse=True)
    assert phis[0] > 0
    pairs = list(iit.relations.iterate(many, top=5, degree=2))
    assert [r.degree for r in pairs] == [2] * 5


@pytest.mark.parametrize("distinctions", [64, 1023, 1024, 1025, 1200])
def test_sums__of_very_many_distinctions_are_exact(distinctions):
    phi = np.full(distinctions, 0.5)
    found = relation_sums(Bindings(phi, (1,) * distinctions, (2,) * distinctions))
    # every set of two or more shares both unit-states; no cause meets an effect
    assert found.count == 2**distinctions - distinctions - 1
    assert found.phi == Fraction(found.count, 2)
    assert found.by_degree[0] == 0
    for degree in (2, 3, 17):
        assert found.by_degree[degree - 1] == comb(distinctions, degree)


def test_sums__of_tiny_and_large_values_lose_nothing():
    phi = np.array([5e-324, 1e-300, 1.0, 1e300])
    found = relation_sums(Bindings(phi, (1,) * 4, (1,) * 4))
    exact = [Fraction(p) for p in phi.tolist()]
    assert found.phi == sum(p * (2 ** (4 - j)) for j, p in enumerate(exact, 1))
    assert found.count == 15


def test_log2__of_a_sum_beyond_every_double():
    from iitdask.theory.iit4.distinctions import float_and_log2

    value = Fraction(3, 2) * 2**1500
    assert float_and_log2(value) == (np.inf, pytest.approx(1500 + log2(1.5), rel=1e-15))
    assert float_and_log2(Fraction(0)) == (0.0, -np.inf)
    assert float_and_log2(Fraction(2**1022))[0] == 2.0**1022


def test_many_unit_states__are_counted_by_their_overlap():
    # 40 unit-states, more than the dense sum holds: a chain in which neighbours share one
    cause = tuple(1 << d for d in range(39))
    effect = tuple(2 << d for d in range(39))
    found = relation_sums(Bindings(np.ones(39), cause, effect))
    assert found.count == 38
    assert found.phi == Fraction(38, 2)


@pytest.mark.parametrize(("name", "value"), [("top", 0), ("degree", -1)])
def test_iterate__says_what_is_wrong(name, value, many):
    with pytest.raises(InputError, match=f"{name}: expected a positive number, got {value}"):
        next(iit.relations.iterate(many, **{name: value}))


def test_iterate__needs_distinctions():
    import xarray as xr

    with pytest.raises(InputError, match="expected a cause-effect structure"):
        next(iit.relations.iterate(xr.DataTree()))


@pytest.mark.parametrize("side", ["cause", "effect", "both"])
@pytest.mark.parametrize("name", ["grid3", "iit4-2023-fig7a", "iit4-2023-fig4"])
def test_pairs__are_those_of_their_sets_of_units(name, side):
    tree = iit.ces(iit.examples.load(name), iit.examples.state(name))
    found, data = iit.relations.pairs(tree, side), tree["distinctions"].to_dataset()
    sides = ["cause", "effect"] if side == "both" else [side]
    purviews = [
        frozenset(u for s in sides for u in np.flatnonzero(data[f"purview_{s}"].values[k]))
        for k in range(data.sizes["mechanism"])
    ]
    labels = [str(name) for name in data["mechanism"].values]
    for a, one in enumerate(purviews):
        own = set(np.flatnonzero(data["mechanism_units"].values[a]))
        assert bool(found["reflexive"][a]) == (one == own)
        assert int(found["multiplicity"][a]) == purviews.count(one)
        for b, other in enumerate(purviews):
            kind = found["kind"].values[a, b]
            if one == other:
                expected = "same"
            elif one > other:
                expected = "includes"
            elif one < other:
                expected = "included"
            else:
                expected = "connected" if one & other else "disjoint"
            assert kind == expected
            fused = [m for m, z in zip(labels, purviews, strict=True) if z == one | other]
            if expected in {"connected", "disjoint"}:
                assert found["fusion"].values[a, b] == (fused[0] if fused else "")
            else:
                assert found["fusion"].values[a, b] == ""


@pytest.mark.parametrize("order", [None, "reversed", "mixed"])
@pytest.mark.parametrize("name", ["grid3", "iit4-2023-fig7a", "iit4-2023-fig4"])
def test_pairs__directedness_and_counts_are_those_of_every_pair(name, order):
    tree = iit.ces(iit.examples.load(name), iit.examples.state(name))
    data = tree["distinctions"].to_dataset()
    labels = data["unit"].values.tolist()
    along = {"reversed": labels[::-1], "mixed": [*labels[1::2], *labels[::2]]}.get(order)
    found = iit.relations.pairs(tree, "cause", along)
    place = {label: k for k, label in enumerate(along or labels)}
    rows = []
    for k in range(data.sizes["mechanism"]):
        row = data.isel(mechanism=k)
        names = ("mechanism_units", "purview_cause", "purview_effect")
        rows.append([{labels[i] for i in np.flatnonzero(row[name].values)} for name in names])
    total, counts = 0, Counter()
    for (a, one), (b, other) in product(enumerate(rows), repeat=2):
        where = [Fraction(sum(map(place.get, units)), len(units)) for units in (one[0], other[0])]
        first, second = (one, other) if where[0] <= where[1] else (other, one)
        expected = 0
        if where[0] != where[1]:
            expected += (first[2] < second[2]) - (first[2] > second[2])
            expected -= (first[1] < second[1]) - (first[1] > second[1])
        assert int(found["directedness"][a, b]) == expected
        total += expected if a < b else 0
        if a != b:
            counts[str(found["kind"].values[a, b]), len(one[0]), len(other[0])] += 1
    assert found.attrs["directedness"] == total
    for key in product(*(found[dim].values.tolist() for dim in found["n_pairs"].dims)):
        where = dict(zip(found["n_pairs"].dims, key, strict=True))
        assert int(found["n_pairs"].sel(where)) == counts[key]


def test_pairs__say_what_is_wrong():
    tree = iit.ces(iit.examples.load("basic"), "100")
    with pytest.raises(InputError, match="order: expected each of A, B, C once, got 'AB'"):
        iit.relations.pairs(tree, order="AB")
    with pytest.raises(InputError, match="side: expected one of cause, effect, both, got 'up'"):
        iit.relations.pairs(tree, "up")
    with pytest.raises(InputError, match="tree: expected a cause-effect structure"):
        iit.relations.pairs(iit.complexes(iit.examples.load("basic"), "100").pipe(to_tree))


def to_tree(data):
    import xarray as xr

    return xr.DataTree(data)


@examples(40)
@given(bindings())
def test_top__lists_the_same_few_at_a_time(found):
    whole = list(top_relations(found))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relations, "EXTENSIONS_AT_ONCE", 2)
        assert list(top_relations(found)) == whole


@examples(40)
@given(bindings())
def test_relation_sums__by_members_are_those_over_all_sets(found):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relations, "FEW_UNIT_STATES", 0)
        dense = relation_sums(found)
        patch.setattr(relations, "SETS_PER_DISTINCTION", 0)
        by_members = relation_sums(found)
    assert dense.count == by_members.count
    assert dense.by_degree == by_members.by_degree


def test_degrees__of_many_distinctions_count_choices(monkeypatch):
    weights = {1: 3, 2: 5, 7: -2, 90: 4}
    monkeypatch.setattr(relations, "ALL_DEGREES_MAX_DISTINCTIONS", 1)
    wanted = [sum(w * comb(m, k) for m, w in weights.items()) for k in range(2, 65)]
    assert relations._degrees(weights, 100) == wanted
