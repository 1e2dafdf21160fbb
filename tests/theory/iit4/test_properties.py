"""What must hold of any system, whatever its numbers."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import assume, given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import LedgerMismatchError
from iitdask.kernels.distributions import marginal_table
from iitdask.kernels.iit4.system_phi import fill_state_probabilities
from iitdask.kernels.subsets import segment_offsets, value_offsets
from iitdask.model.system import System
from iitdask.run.result_group import load_result
from iitdask.run.storage import open_store
from iitdask.study.problem import Problem
from iitdask.study.run import run_job
from iitdask.theory.catalog import theory_options
from tests.runs import Blocks, bits
from tests.strategies import ASYMMETRIC, KINDS, SYMMETRIC, Case, cases, examples, gate

CLOSE = {"rel": 1e-9, "abs": 1e-9}


def unfold(case, **options):
    return iit.ces(case.substrate(), case.state, case.units, **options)


def orders(case):
    return st.sampled_from(list(permutations(range(len(case.levels)))))


def invariants(tree):
    """Numbers that do not mention a unit."""
    return [
        float(tree["system"]["phi"]),
        float(tree["system"]["normalized_phi"]),
        tree.attrs["big_phi"],
        tree.attrs["sum_phi_distinctions"],
        float(tree.attrs["n_distinctions"]),
        float(tree["relations"]["log2_count"]),
        *sorted(tree["distinctions"]["phi"].values.tolist()),
    ]


def structure(tree, names):
    """Distinctions by the units' names in the first numbering: purviews, states and numbers."""
    data, found = tree["distinctions"].to_dataset(), {}
    for k in range(data.sizes["mechanism"]):
        row = data.isel(mechanism=k)
        mechanism = frozenset(names[i] for i in np.flatnonzero(row["mechanism_units"].values))
        found[mechanism] = tuple(
            frozenset(
                (names[i], int(row[f"state_{side}"][i]))
                for i in np.flatnonzero(row[f"purview_{side}"].values)
            )
            for side in ("cause", "effect")
        )
    return found


@examples(120)
@given(st.data())
def test_relabelling__changes_no_number(data):
    case = data.draw(cases(kinds=KINDS))
    other = case.permuted(data.draw(orders(case)))
    ours, theirs = unfold(case, ties="canonical"), unfold(other, ties="canonical")
    assert invariants(ours) == pytest.approx(invariants(theirs), **CLOSE)


@examples(80)
@given(st.data())
def test_relabelling__permutes_states_and_distinctions(data):
    case = data.draw(cases(kinds=("dense", "sparse"), background=data.draw(st.booleans())))
    order = data.draw(orders(case))
    other = case.permuted(order)
    ours, theirs = unfold(case, ties="canonical"), unfold(other, ties="canonical")
    assert structure(ours, case.units) == structure(theirs, [order[k] for k in other.units])
    for name in ("cause_state", "effect_state"):
        mine = dict(zip(case.units, ours["system"][name].values.tolist(), strict=True))
        moved = [order[k] for k in other.units]
        assert mine == dict(zip(moved, theirs["system"][name].values.tolist(), strict=True))


@examples(40)
@given(st.data())
def test_relabelling__symmetric_systems_keep_their_relations(data):
    case = data.draw(cases(kinds=SYMMETRIC))
    other = case.permuted(data.draw(orders(case)))
    ours, theirs = (unfold(each, ties="canonical")["relations"] for each in (case, other))
    assert ours.attrs["count"] == theirs.attrs["count"]
    xr.testing.assert_identical(ours["count_by_degree"], theirs["count_by_degree"])


@examples(60)
@given(cases(), st.sampled_from(("iit4", "iit4-2026")))
def test_reference_and_canonical_ties__give_the_same_phi_s(case, theory):
    found = [
        iit.sia(case.substrate(), case.state, theory=theory, ties=t)
        for t in ("reference", "canonical")
    ]
    assert float(found[0]["phi"]) == pytest.approx(float(found[1]["phi"]), **CLOSE)


def side_by_side(one, two, declared):
    """Two systems that do not touch each other, in one substrate."""
    n = len(one.levels)
    factors = [
        f.reshape((*one.levels, *(1 for _ in two.levels), f.shape[-1])) for f in one.factors
    ] + [f.reshape((*(1 for _ in one.levels), *two.levels, f.shape[-1])) for f in two.factors]
    levels = one.levels + two.levels
    full = tuple(np.broadcast_to(f, (*levels, f.shape[-1])).copy() for f in factors)
    cm = np.zeros((len(levels),) * 2, bool)
    cm[:n, :n], cm[n:, n:] = one.cm, two.cm
    cm |= declared
    return Case("two", 0, full, cm, one.state + two.state, tuple(range(len(levels))))


@examples(60)
@given(cases(units=(1, 2)), cases(units=(1, 2)), st.booleans())
def test_disconnected__phi_is_exactly_zero(one, two, declared):
    found = unfold(side_by_side(one, two, declared))["system"]
    assert float(found["phi"]) == 0.0
    assert found.attrs["reason"]


@examples(40)
@given(cases(units=(1, 2)), cases(units=(1, 2)))
def test_disconnected__mechanisms_stay_within_their_half(one, two):
    joint, n = side_by_side(one, two, False), len(one.levels)
    halves = [unfold(one), unfold(two)]
    masks = unfold(joint)["distinctions"]["mechanism_units"].values
    assert not (masks[:, :n].any(axis=1) & masks[:, n:].any(axis=1)).any()
    irreducible = sum(tree.attrs["n_irreducible_mechanisms"] for tree in halves)
    assert unfold(joint).attrs["n_irreducible_mechanisms"] == irreducible


@examples(60)
@given(cases(kinds=ASYMMETRIC))
def test_marginals__every_unit_sums_to_one(case):
    system = System.build(case.substrate(), case.state)
    levels = np.array(system.levels, np.int64)
    offsets, columns = segment_offsets(levels), value_offsets(levels)
    table = np.empty((offsets[-1], columns[-1]))
    marginal_table(np.ascontiguousarray(system.effect), levels, offsets, table)
    sums = np.add.reduceat(table, columns[:-1], axis=1)
    assert sums == pytest.approx(np.ones_like(sums), abs=1e-12)


@examples(60)
@given(cases(kinds=ASYMMETRIC, background=True))
def test_repertoires__sum_to_one_and_match_the_definition(case):
    try:
        system = System.build(case.substrate(), case.state, case.units)
    except iit.errors.UnreachableStateError:
        assume(False)
    levels = np.array(system.levels, np.int64)
    current = np.array(system.local_state, np.int64)
    forward, mean = np.empty((2, len(system.effect))), np.empty(len(system.effect))
    code = fill_state_probabilities(system.effect, system.cause, levels, current, forward, mean)
    assert code == system.code
    cause, effect = forward
    assert effect.sum() == pytest.approx(1.0, abs=1e-12)
    assert (effect >= 0).all()
    assert cause.sum() > 0
    assert (cause <= 1 + 1e-12).all()
    assert mean.sum() == pytest.approx(len(mean), rel=1e-12)


@examples(80)
@given(cases(background=True))
def test_phi__is_never_negative_and_belongs_to_the_lesser_side(case):
    try:
        tree = unfold(case)
    except iit.errors.UnreachableStateError:
        assume(False)
    system, data = tree["system"].to_dataset(), tree["distinctions"].to_dataset()
    phi = float(system["phi"])
    assert phi >= 0.0
    if phi > 0:
        assert phi == pytest.approx(
            min(float(system["phi_cause"]), float(system["phi_effect"])), **CLOSE
        )
        assert float(system["normalized_phi"]) * int(system["cut"].sum()) == pytest.approx(
            phi, **CLOSE
        )
    sides = np.minimum(data["phi_cause"].values, data["phi_effect"].values)
    assert data["phi"].values == pytest.approx(sides, **CLOSE)
    assert (data["phi"].values > 0).all()
    for side in ("cause", "effect"):
        assert (data[f"n_tied_purviews_{side}"].values >= 1).all()
        assert (data[f"n_tied_states_{side}"].values >= 1).all()


@examples(60)
@given(cases())
def test_phi__of_one_unit_on_one_unit_is_its_intrinsic_information(case):
    data = unfold(case)["distinctions"].to_dataset()
    single = data["mechanism_units"].sum("unit").values == 1
    for side in ("cause", "effect"):  # the only partition leaves the unconstrained probability
        alone = single & ((data[f"purview_{side}"].sum("unit").values == 1) | (side == "cause"))
        phi, ii = data[f"phi_{side}"].values, data[f"intrinsic_information_{side}"].values
        assert phi[alone] == pytest.approx(ii[alone], **CLOSE)


@examples(80)
@given(cases())
def test_2026__is_capped_by_information_and_differentiation(case):
    older, newer = (
        iit.sia(case.substrate(), case.state, theory=theory) for theory in ("iit4", "iit4-2026")
    )
    phi = float(newer["phi"])
    assert 0.0 <= phi <= float(older["phi"]) + 1e-12
    for name in ("intrinsic_information", "differentiation"):
        for side in ("cause", "effect"):
            if f"{name}_{side}" in newer and float(older["phi"]) > 0:
                assert phi <= float(newer[f"{name}_{side}"]) + 1e-12


@examples(80)
@given(cases())
def test_relations__are_no_more_than_sets_of_distinctions(case):
    tree = unfold(case)
    count, found = int(tree["relations"].attrs["count"]), tree.attrs["n_distinctions"]
    assert 0 <= count <= 2**found - 1
    assert int(tree["relations"]["count_by_degree"].sum()) == count


def a_point(compute="ces", state="0110", **options):
    """Four noisy units in a ring of gates, with a unit of background."""
    levels = (2,) * 5
    names = ("or", "and", "xor", "majority")
    factors = [gate(levels, [(i - 1) % 4, i, 4], names[i], 0.1 + i / 50) for i in range(4)]
    factors.append(gate(levels, [0], "copy", 0.2))
    substrate = iit.Substrate.from_tpm(factors)
    system = System.build(substrate, state + "1", "ABCD")
    return Problem(system, theory_options("iit4", **options), compute)


@pytest.fixture(scope="module")
def whole():
    return run_job(a_point())


def test_blocks__one_and_many_give_the_same_bits(whole):
    blocks = Blocks()
    tree = run_job(a_point(), observers=[blocks], block_seconds=1e-6)
    assert blocks.filled > 20
    assert bits(tree) == bits(whole)


@examples(15)
@given(cases())
def test_blocks__one_and_many_give_the_same_bits_for_any_system(case):
    point = Problem(System.build(case.substrate(), case.state), theory_options("iit4"), "ces")
    assert bits(run_job(point, block_seconds=1e-6)) == bits(run_job(point))


def test_store__gives_the_same_as_memory_when_written_and_when_read(whole, tmp_path):
    url = str(tmp_path / "run.zarr")
    written = run_job(a_point(), store=url, block_seconds=1e-4)
    assert bits(written) == bits(whole)
    read = load_result(open_store(url))
    assert bits(read) == bits(whole)
    xr.testing.assert_equal(read, whole)


def test_client__gives_the_same_as_memory(whole, tmp_path):
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        kept = run_job(a_point(), client=client, store=tmp_path / "a.zarr", block_seconds=1e-4)
        unkept = run_job(a_point(), client=client, block_seconds=1e-4)
    assert bits(kept) == bits(whole)
    assert bits(unkept) == bits(whole)


def test_replay__of_a_full_store_fills_no_block(whole, tmp_path):
    first, second = Blocks(), Blocks()
    run_job(a_point(), store=tmp_path / "run.zarr", observers=[first])
    again = run_job(a_point(), store=tmp_path / "run.zarr", observers=[second])
    assert first.filled > 0
    assert second.filled == 0
    xr.testing.assert_identical(again, whole)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (a_point(compute="sia"), r"compute='ces', this study says 'sia'"),
        (a_point(state="1110"), r"state=\[0, 1, 1, 0, 1\], this study says \[1, 1, 1, 0, 1\]"),
        (a_point(ties="canonical"), r"ties='reference', this study says 'canonical'"),
    ],
    ids=["compute", "state", "ties"],
)
def test_store__of_another_study_is_refused_by_name(other, difference, tmp_path):
    run_job(a_point(), store=tmp_path / "run.zarr")
    with pytest.raises(LedgerMismatchError, match=difference):
        run_job(other, store=tmp_path / "run.zarr")
