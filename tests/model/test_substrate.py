"""Substrate: accepted forms, refusals, round trips, names."""

import pickle
import tracemalloc

import numpy as np
import pandas
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from iitdask.errors import StateError, SubstrateError
from iitdask.model.candidate_set import CandidateSet
from iitdask.model.substrate import Substrate

COPY = [[1, 0], [0, 1]]
FLIP = [[0, 1], [1, 0]]
XOR = [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
BASIC = [[int(c) for c in row] for row in ["000", "001", "101", "100", "110", "111", "111", "110"]]


def on_probabilities(substrate):
    """State-by-node, by brute force."""
    n = substrate.n_units
    states = [[r >> i & 1 for i in range(n)] for r in range(1 << n)]
    return np.array(
        [[f.table[(*(x[p] for p in f.parents), 1)] for f in substrate.factors] for x in states]
    )


def full_factors(tpm):
    n = tpm.shape[1]
    grid = tpm.reshape((2,) * n + (n,), order="F")
    return [(range(n), np.stack([1 - grid[..., i], grid[..., i]], -1)) for i in range(n)]


def state_by_state(tpm):
    n = tpm.shape[1]
    matrix = np.ones((1 << n, 1 << n))
    for i in range(n):
        bit = np.arange(1 << n) >> i & 1
        matrix *= np.where(bit, tpm[:, i, None], 1 - tpm[:, i, None])
    return matrix


tpms = st.integers(1, 4).flatmap(
    lambda n: arrays(np.float64, (1 << n, n), elements=st.floats(0, 1, width=32))
)


@given(tpms)
@settings(max_examples=40, deadline=None)
def test_round_trip__state_by_node_and_factors(tpm):
    substrate = Substrate.from_tpm(tpm)
    assert np.array_equal(on_probabilities(substrate), tpm)
    n = tpm.shape[1]
    grid = tpm.reshape((2,) * n + (n,), order="F")
    ones = np.ones((n, n))
    same = [Substrate.from_tpm(grid), Substrate.from_factors(full_factors(tpm), ones)]
    assert {s.fingerprint for s in same} == {substrate.fingerprint}
    again = Substrate.from_factors([(f.parents, f.table) for f in substrate.factors], ones)
    assert again.fingerprint == substrate.fingerprint


@given(tpms)
@settings(max_examples=40, deadline=None)
def test_round_trip__state_by_state(tpm):
    substrate = Substrate.from_tpm(state_by_state(tpm))
    np.testing.assert_allclose(on_probabilities(substrate), tpm, atol=1e-12)


@given(st.permutations([0, 1, 2]), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_from_factors__order_of_inputs_and_form_do_not_matter(order, seed):
    levels = (2, 3, 4)
    rng = np.random.default_rng(seed)
    table = rng.dirichlet([1, 1], size=levels)
    rest = [((), [0.5, 0.25, 0.25]), ((), [0.25] * 4)]
    plain = Substrate.from_factors([((0, 1, 2), table), *rest])
    moved = table.transpose(*order, 3)
    flat = moved.reshape(-1, 2, order="F")
    for form in (moved, flat):
        assert Substrate.from_factors([(order, form), *rest]).fingerprint == plain.fingerprint


def test_from_tpm__explicit_alphabet_with_padding():
    rng = np.random.default_rng(1)
    tables = [rng.dirichlet([1] * k, size=(2, 3)) for k in (2, 3)]
    array = np.zeros((2, 3, 2, 3))
    array[..., 0, :2], array[..., 1, :] = tables
    substrate = Substrate.from_tpm(array)
    assert substrate.levels == (2, 3)
    assert all(np.array_equal(f.table, t) for f, t in zip(substrate.factors, tables, strict=True))
    assert Substrate.from_tpm(tables).fingerprint == substrate.fingerprint


def test_from_tpm__factor_arrays_of_length_one_are_no_inputs():
    copy_b = np.array(COPY, float).reshape(1, 2, 2)
    constant = np.array([[[0.5, 0.5]]])
    substrate = Substrate.from_tpm([copy_b, constant])
    assert [f.parents for f in substrate.factors] == [(1,), ()]
    assert substrate.connectivity.all()


def test_from_tpm__rows_may_be_arrays():
    rows = [np.array(row) for row in BASIC]
    assert Substrate.from_tpm(rows).fingerprint == Substrate.from_tpm(BASIC).fingerprint


def test_inputs_without_influence_are_dropped_and_stay_declared():
    table = np.stack([np.array(COPY, float)] * 2)
    substrate = Substrate.from_factors([((0, 1), table), ((), [0.5, 0.5])])
    assert substrate.factors[0].parents == (1,)
    assert substrate.connectivity.tolist() == [[True, False], [True, False]]


def test_undeclared_rounding_is_averaged_out():
    tpm = [[0.3, 0.5], [0.3 + 4e-14, 0.5], [0.6, 0.5], [0.6, 0.5]]
    substrate = Substrate.from_tpm(tpm, [[0, 0], [1, 0]])
    assert substrate.factors[0].parents == (1,)
    assert substrate.factors[0].table[0, 1] == pytest.approx(0.3 + 2e-14, abs=1e-16)


@pytest.mark.parametrize(
    ("tpm", "connectivity", "labels", "message"),
    [
        ([[0.5, 0.5, 0.5]], None, None, r"tpm: expected shape .* got \(1, 3\)"),
        (np.ones((3, 3)) / 3, None, None, r"square .* 2\^N rows, got \(3, 3\)"),
        ([[1, 2], [3]], None, None, "expected numbers in rows of equal length"),
        ([["a", "b"]] * 4, None, None, "expected numbers"),
        ([[0, 0], [0, 1.5], [1, 0], [1, 1]], None, "PQ", r"row 1 \(P=1, Q=0\), unit 'Q'.* 1.5"),
        ([[0, 0], [0, -0.1], [1, 0], [1, 1]], None, None, r"from 0 to 1, got -0.1"),
        ([[0, 0], [0, np.nan], [1, 0], [1, 1]], None, None, r"unit 'B': .* got nan"),
        ([[0, 0], [0, np.inf], [1, 0], [1, 1]], None, None, r"unit 'B': .* got inf"),
        ([[0.4, 0.5], [0, 1]], None, None, r"row 0 \(state 0\): .* sum to 1, got 0.9"),
        ([[1.4, -0.4], [0, 1]], None, None, r"row 0 \(state 0\), column 0: .* got 1.4"),
        (
            [[0.5, 0, 0, 0.5], *np.eye(4)[1:].tolist()],
            None,
            None,
            "not conditionally independent: from state 00 to 00 .* 0.25, .* got 0.5",
        ),
        (BASIC, np.eye(2), None, r"connectivity of shape \(3, 3\) \[from, to\], got \(2, 2\)"),
        (BASIC, np.full((3, 3), 2), None, "connectivity 'A' -> 'A': expected 0 or 1, got 2"),
        (
            BASIC,
            [[0, 0, 1], [1, 0, 1], [0, 1, 0]],
            None,
            "omits the edge 'C' -> 'A', but 'A' depends on 'C' by 1;",
        ),
        (BASIC, None, ["A", "B"], "expected 3 labels, one per unit, got 2"),
        (BASIC, None, ["A", "B", "A"], "label 'A' is given to two units"),
        (BASIC, None, ["A", "B", 3], "label to be text, got 3"),
        (BASIC, None, ["A", "B", " "], "label without commas, got ' '"),
        (np.zeros((2, 3, 2, 3)), None, None, "'A', row 0 .* sum to 1, got 0"),
        (np.full((2, 3, 2, 3), 0.5), None, None, "'A' has 2 values: expected 0 for value 2"),
        (np.ones((1, 1, 1)), None, None, "units with two or more values"),
        ([np.ones((1, 1, 2)), np.ones((1, 2))], None, None, "factor 1: expected 3 axes"),
    ],
)
def test_from_tpm__refuses(tpm, connectivity, labels, message):
    with pytest.raises(SubstrateError, match=message):
        Substrate.from_tpm(tpm, connectivity, labels)


def test_from_tpm__names_the_file():
    with pytest.raises(SubstrateError, match=r"^net\.npy: row 0 "):
        Substrate.from_tpm([[2.0], [0.0]], where="net.npy")


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([], "at least one unit"),
        ([((), [1.0])], r"'A': expected two or more values .* shape \(1,\)"),
        ([((), 1.0)], "'A': expected two or more values"),
        ([(["Z"], COPY)], "unit 'A': inputs: no unit is called 'Z'; known: A"),
        ([([4], COPY)], "expected a unit number from 0 to 0, got 4"),
        ([([True], COPY)], "got True"),
        ([(["A", 0], XOR)], "unit 'A' is named twice"),
        ([((0,), [[1, 0]])], r"expected a table of shape \(2, 2\) .* got \(1, 2\)"),
        ([((0,), [[0.5, 0.6], [1, 0]])], r"'A', row 0 \(A=0\): .* got 1.1"),
        ([((0,), [[1.5, -0.5], [1, 0]])], r"row 0 \(A=0\), value 0: .* got 1.5"),
        ([((), [0.5, 0.4])], "its only row: .* got 0.9"),
        ([((), [0.5, np.nan])], "value 1: .* got nan"),
    ],
)
def test_from_factors__refuses(factors, message):
    with pytest.raises(SubstrateError, match=message):
        Substrate.from_factors(factors)


def test_given_tables_are_not_renormalised():
    table = [[0.25, 0.75 + 4e-9], [1, 0]]
    assert Substrate.from_factors([((0,), table)]).factors[0].table.tolist() == table


def test_arrays_are_private_and_read_only_even_after_pickling():
    given_table = np.array(COPY, float)
    substrate = Substrate.from_factors([((0,), given_table)])
    given_table[0] = 0.5
    copy = pickle.loads(pickle.dumps(substrate))
    assert copy.fingerprint == substrate.fingerprint
    for each in (substrate, copy):
        assert each.factors[0].table.tolist() == COPY
        with pytest.raises(ValueError, match="read-only"):
            each.factors[0].table[0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            each.connectivity[0, 0] = False


def test_fingerprint__decides_by_results_not_labels():
    basic = Substrate.from_tpm(BASIC)
    assert Substrate.from_tpm(BASIC, labels="XYZ").fingerprint == basic.fingerprint
    narrow = Substrate.from_tpm(BASIC, [[0, 0, 1], [1, 0, 1], [1, 1, 0]])
    other = Substrate.from_tpm(np.clip(BASIC, 0, 1 - 1e-15))
    assert len({basic.fingerprint, narrow.fingerprint, other.fingerprint}) == 3


def test_thousands_of_units_take_kilobytes():
    tracemalloc.start()
    ring = Substrate.from_factors([(((i - 1) % 2000,), FLIP) for i in range(2000)])
    assert sum(f.table.nbytes for f in ring.factors) == 2000 * 32
    assert tracemalloc.get_traced_memory()[1] < 100e6  # the dense graph of 2000 units twice or so
    tracemalloc.stop()
    assert ring.labels[1999] == "U1999"
    assert repr(ring) == "Substrate(2000 units: U0 U1 U2 U3 ... U1999; binary; 2000 edges)"


MIXED = Substrate.from_factors([((), [0.5, 0.5]), ((), [0.2, 0.3, 0.5]), ((), [0.5, 0.5])])


@pytest.mark.parametrize(
    "state", ["120", (1, 2, 0), [1, 2, 0], np.array([1, 2, 0]), {"B": 2, "A": 1, "C": 0}]
)
def test_parse_state__accepts(state):
    parsed = MIXED.parse_state(state)
    assert parsed == (1, 2, 0)
    assert {type(value) for value in parsed} == {int}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("12", "expected 3 values, one per unit, got 2 in '12'"),
        ("1x0", "expected one digit per unit, got '1x0'"),
        ("130", "unit 'B' has values 0 to 2, got 3"),
        ((1, -1, 0), "unit 'B' has values 0 to 2, got -1"),
        ((1, 0.5, 0), "expected whole numbers, got 0.5"),
        (120, "quoted in YAML"),
        (None, "got None"),
        ({"A": 1, "B": 1}, "unit 'C' is given no value"),
        ({"A": 1, "B": 1, "C": 1, "Z": 0}, "no unit is called 'Z'"),
    ],
)
def test_parse_state__refuses(state, message):
    with pytest.raises(StateError, match=message):
        MIXED.parse_state(state)


@pytest.mark.parametrize(
    ("units", "parsed"),
    [
        (None, (0, 1, 2)),
        ("CA", (0, 2)),
        ("A, C", (0, 2)),
        ("0,2", (0, 2)),
        (["C", 0], (0, 2)),
        (np.array([2, 0]), (0, 2)),
        (1, (1,)),
        ("B", (1,)),
        ([], ()),
    ],
)
def test_parse_units__accepts(units, parsed):
    assert MIXED.parse_units(units) == parsed


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("AD", "no unit is called 'AD', nor 'D'; known: A, B, C"),
        (["D"], "no unit is called 'D'; known: A, B, C"),
        ([3], "unit number from 0 to 2, got 3"),
        ("AA", "unit 'A' is named twice"),
        ([0, "A"], "unit 'A' is named twice"),
        ([1.0], "got 1.0"),
        (True, "got True"),
        (2.5, "expected labels or unit numbers, got 2.5"),
    ],
)
def test_parse_units__refuses(units, message):
    with pytest.raises(StateError, match=message):
        MIXED.parse_units(units)


def test_parse_units__long_labels():
    pair = Substrate.from_factors([((), [0.5, 0.5])] * 2, labels=["T0/1", "IR"])
    assert pair.parse_units("T0/1") == (0,)
    assert pair.parse_units("IR,T0/1") == (0, 1)
    with pytest.raises(StateError, match=r"no unit is called 'T0/2'; did you mean 'T0/1'\?"):
        pair.parse_units("T0/2")


@pytest.mark.parametrize("kind", [list, np.ma.stack])
def test_tables__behind_a_mask_are_missing(kind):
    table = np.ma.masked_array(BASIC, dtype=float)
    table[3, 1] = np.ma.masked
    with pytest.raises(SubstrateError, match=r"row 3 .*unit 'B'.*got nan"):
        Substrate.from_tpm(kind(list(table)))
    with pytest.raises(SubstrateError, match=r"row 3 .*unit 'B'.*got nan"):
        Substrate.from_tpm(np.ma.masked_array(BASIC, mask=table.mask))


def test_tables__with_a_mask_that_hides_nothing_are_tables():
    assert Substrate.from_tpm(np.ma.masked_array(BASIC)).levels == (2, 2, 2)


def test_connectivity__behind_a_mask_is_refused():
    edges = np.ma.masked_array(np.ones((3, 3)))
    edges[0, 1] = np.ma.masked
    with pytest.raises(SubstrateError, match=r"connectivity 'A' -> 'B': expected 0 or 1, got nan"):
        Substrate.from_tpm(BASIC, edges)


def test_tables__of_pandas_lose_no_names():
    frame = pandas.DataFrame(BASIC)
    assert Substrate.from_tpm(frame).levels == (2, 2, 2)
    for named, what in (
        (frame.set_axis(["A", "B", "C"], axis=1), "columns"),
        (frame.set_axis([f"{k:03b}" for k in range(8)], axis=0), "index"),
    ):
        with pytest.raises(SubstrateError, match=f"got a DataFrame with {what}; .*to_numpy"):
            Substrate.from_tpm(named)


def test_tables__of_xarray_lose_no_names():
    array = xr.DataArray(np.array(BASIC), dims=("state", "unit"))
    assert Substrate.from_tpm(array).levels == (2, 2, 2)
    with pytest.raises(SubstrateError, match="got a DataArray with coords"):
        Substrate.from_tpm(array.assign_coords(unit=list("ABC")))


@pytest.mark.parametrize("dtype", [np.complex128, "M8[s]", "m8[s]", "V8"])
def test_tables__of_other_numbers_are_refused(dtype):
    with pytest.raises(SubstrateError, match="expected real numbers, got an array of"):
        Substrate.from_tpm(np.zeros((4, 2), dtype))


@pytest.mark.parametrize(
    "table",
    [[[10**5000]], [[1], [1, 2]], [["x", "y"]] * 4, [[1j, 0]] * 4, {"a": 1}, "0001", None],
    ids=["huge", "unequal", "text", "complex", "mapping", "digits", "none"],
)
def test_tables__and_connectivity_that_are_none_are_refused_in_one_line(table):
    calls = (
        lambda: Substrate.from_tpm(table),
        lambda: Substrate.from_tpm(BASIC, table if table is not None else "x"),
        lambda: Substrate.from_factors([([0], table)]),
    )
    for call in calls:
        with pytest.raises(SubstrateError, match=": ") as caught:
            call()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("entries", [5, None, "AB", {"A": 1}, np.array(5), {1, 2}])
def test_units_and_factors__that_are_no_list_are_refused(entries):
    for build in (Substrate.from_units, Substrate.from_factors):
        with pytest.raises(SubstrateError, match="expected a list with one entry per unit, got "):
            build(entries)


def test_arrays_without_dimensions__are_refused():
    pair = Substrate.from_factors([([1], COPY), ([0], FLIP)])
    one = np.array(1)
    for call in (
        lambda: pair.parse_state(one),
        lambda: pair.parse_units(np.array("A")),
        lambda: Substrate.from_factors([(one, COPY)]),
        lambda: Substrate.from_tpm([[0], [1]], labels=np.array("A")),
        lambda: CandidateSet.build(pair, "10", candidates=one),
    ):
        with pytest.raises((StateError, SubstrateError), match=r"expected .*, got array"):
            call()
