"""Single questions against the definitions."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError, StateError
from tests.reference.mechanisms import link, partition_phis, partitions, purviews
from tests.reference.substrate import CAUSE, EFFECT, System, clean, subsets
from tests.reference.systems import analyse, directed_partitions
from tests.reference.systems import partition_phis as system_phis

CLOSE = {"rel": 1e-9, "abs": 1e-12}
LABELS = "ABCD"
CASES = [((2, 2, 2), (0, 1, 2)), ((2, 3, 2), (0, 1, 2)), ((2, 2, 2, 2), (0, 2, 3)),
         ((3, 2), (0, 1))]  # fmt: skip


def made(levels, subset, seed=0):
    """A substrate, its state, and both again for the reference."""
    rng = np.random.default_rng(seed)
    tables = [rng.dirichlet(np.ones(k), size=levels) for k in levels]
    state = [int(rng.integers(k)) for k in levels]
    cm = np.ones((len(levels), len(levels)), int)
    return iit.Substrate.from_tpm(tables, cm), state, System(tables, cm, state, subset)


def names(units):
    return "".join(LABELS[unit] for unit in units)


def text(state):
    return "".join(map(str, state))


@pytest.mark.oracle
@pytest.mark.parametrize(("levels", "subset"), CASES)
def test_repertoire__is_that_of_the_definition(levels, subset):
    substrate, state, system = made(levels, subset)
    for mechanism in subsets(subset):
        for purview in subsets(subset):
            for direction in (CAUSE, EFFECT):
                found = iit.repertoire(
                    substrate, state, names(mechanism), names(purview), direction, names(subset)
                )
                theirs = system.selectivity(direction, mechanism, purview)
                free = (
                    system.unconstrained(EFFECT, mechanism, purview)
                    if direction == EFFECT
                    else np.full(theirs.shape, 1 / theirs.size)
                )
                for z in np.ndindex(theirs.shape):
                    row = found.sel(state=text(z)).values
                    assert row == pytest.approx([theirs[z], free[z]], **CLOSE)


@pytest.mark.oracle
@pytest.mark.parametrize(("levels", "subset"), CASES)
def test_mechanism__has_every_purview(levels, subset):
    substrate, state, system = made(levels, subset)
    for mechanism in subsets(subset):
        found = iit.mechanism(substrate, state, names(mechanism), names(subset))
        for direction in (CAUSE, EFFECT):
            allowed = purviews(system, direction, mechanism)
            for purview in subsets(subset):
                row = found.sel(direction=direction, purview=names(purview))
                if purview not in allowed:
                    assert np.isnan(float(row["phi"]))
                    continue
                theirs = link(system, direction, mechanism, purview)
                assert float(row["phi"]) == pytest.approx(theirs.phi, **CLOSE)
                assert float(row["normalized_phi"]) == pytest.approx(theirs.normalized_phi, **CLOSE)
                assert float(row["intrinsic_information"]) == pytest.approx(theirs.ii, **CLOSE)
                ours = tuple(v for v in row["state"].values.tolist() if v >= 0)
                assert ours in [tie[0] for tie in theirs.ties]
                assert (row["partition"].item() != "") == (theirs.phi > 0) or theirs.phi == 0


@pytest.mark.oracle
@pytest.mark.parametrize(("levels", "subset"), CASES)
def test_partition__of_a_mechanism_costs_what_the_definition_says(levels, subset):
    substrate, state, system = made(levels, subset, seed=1)
    rng = np.random.default_rng(0)
    every = [(m, z, d) for m in subsets(subset) for z in subsets(subset) for d in (CAUSE, EFFECT)]
    for k in rng.choice(len(every), 8, replace=False):
        mechanism, purview, direction = every[k]
        theirs = link(system, direction, mechanism, purview)
        mech, pur, n_cut = partitions(len(mechanism), len(purview))
        phis, _ = partition_phis(system, direction, mechanism, purview, theirs.state)
        for j in rng.choice(len(mech), min(6, len(mech)), replace=False):
            parts = [
                (
                    [LABELS[u] for i, u in enumerate(mechanism) if a >> i & 1],
                    [LABELS[u] for i, u in enumerate(purview) if b >> i & 1],
                )
                for a, b in zip(mech[j], pur[j], strict=True)
                if a or b
            ]
            found = iit.partition(
                substrate, state, parts, names(mechanism), names(purview), direction, names(subset)
            )
            assert float(found["phi"]) == pytest.approx(phis[j], **CLOSE)
            assert int(found["severed"].sum()) == n_cut[j]
            assert float(found["normalized_phi"]) == pytest.approx(phis[j] / n_cut[j], **CLOSE)
            assert tuple(v for v in found["state"].values.tolist() if v >= 0) == theirs.state


@pytest.mark.oracle
@pytest.mark.parametrize(("levels", "subset"), CASES)
@pytest.mark.parametrize("theory", ["iit4", "iit4-2026"])
def test_partition__of_a_system_costs_what_the_definition_says(levels, subset, theory):
    substrate, state, system = made(levels, subset)
    sia = analyse(system, theory)
    edges = list(directed_partitions(subset))
    values = {side: system_phis(system, side, sia[f"{side}_state"]) for side in (CAUSE, EFFECT)}
    n, ways = len(subset), ("cause", "effect", "both")
    rng = np.random.default_rng(3)
    for _ in range(12):
        cut = int(rng.integers(1, 2**n - 1))
        blocks = [[u for i, u in enumerate(subset) if (cut >> i & 1) == side] for side in (0, 1)]
        parts = [(names(block), ways[int(rng.integers(3))]) for block in blocks]
        found = iit.partition(substrate, state, parts, units=names(subset), theory=theory)
        severed = frozenset((subset[a], subset[b]) for a, b in np.argwhere(found["severed"].values))
        k = edges.index(severed)
        sides = [clean(values[side][k]) for side in (CAUSE, EFFECT)]
        assert [float(found[f"phi_{side}"]) for side in (CAUSE, EFFECT)] == pytest.approx(
            sides, **CLOSE
        )
        expected = min(sides)
        if theory == "iit4-2026":
            caps = sia["differentiation"].values()
            expected = clean(min(expected, sia["cause_ii"], sia["effect_ii"], *caps))
        assert float(found["phi"]) == pytest.approx(expected, **CLOSE)
        assert float(found["normalized_phi"]) == pytest.approx(expected / len(severed), **CLOSE)


def test_partition__of_the_minimum_is_the_minimum():
    rng = np.random.default_rng(5)
    substrate = iit.Substrate.from_tpm(rng.uniform(size=(32, 5)))
    sia = iit.sia(substrate, "00000")
    parts = [(sia["unit"].values[sia["part"].values == k].tolist(), "both") for k in range(2)]
    found = iit.partition(substrate, "00000", parts)
    assert float(found["normalized_phi"]) >= float(sia["normalized_phi"]) - 1e-12
    ces = iit.ces(substrate, "00000")["distinctions"].to_dataset()
    for name in ces["mechanism"].values[:6]:
        row = ces.sel(mechanism=name)
        every = iit.mechanism(substrate, "00000", str(name))
        for side in ("cause", "effect"):
            best = float(every["phi"].sel(direction=side).max())
            assert best == pytest.approx(float(row[f"phi_{side}"]), rel=1e-12)


def test_partition__of_a_system_that_a_rule_decides_costs_nothing():
    # A drives B, nothing comes back: not strongly connected, no states from the analysis
    tables = [np.array([[0.7, 0.3]] * 4), np.array([[0.9, 0.1], [0.2, 0.8]] * 2)]
    chain = iit.Substrate.from_tpm(
        [table.reshape((2, 2, 2), order="F") for table in tables], [[0, 1], [0, 0]]
    )
    found = iit.partition(chain, "00", [("A", "cause"), ("B", "effect")])
    assert float(found["phi"]) == 0.0
    assert int(found["severed"].sum()) == 1


BASIC = {"substrate": iit.examples.load("basic"), "state": "100"}
WRONG = [
    ("repertoire", {"mechanism": "A", "purview": "Q", "direction": "cause"}, "purview: "),
    ("repertoire", {"mechanism": "A", "purview": "B", "direction": "up"}, "cause or effect"),
    ("repertoire", {"mechanism": [], "purview": "B", "direction": "cause"}, "mechanism: expected"),
    ("mechanism", {"mechanism": "C", "units": "AB"}, "mechanism: expected units of the candidate"),
    ("mechanism", {"mechanism": "C", "theory": "iit3"}, "theory: expected iit4 or iit4-2026"),
    ("partition", {"parts": [("A", "both")]}, "each of the units of the system A, B, C in one"),
    ("partition", {"parts": [("ABC", "both")]}, "at least two blocks"),
    ("partition", {"parts": [("A", "up"), ("BC", "both")]}, "entry 0: expected one of cause"),
    ("partition", {"parts": "AB"}, "parts: expected a list of pairs"),
    ("partition", {"parts": [("A", "B")], "mechanism": "A"}, "got mechanism alone"),
    (
        "partition",
        {"parts": [("A", "B")], "mechanism": "A", "purview": "B", "direction": "cause"},
        "severs something",
    ),
    (
        "partition",
        {"parts": [("A", "")], "mechanism": "A", "purview": "B", "direction": "effect"},
        "each of the units of the purview B",
    ),
]


@pytest.mark.parametrize(("query", "fields", "said"), WRONG)
def test_queries__say_what_is_wrong(query, fields, said):
    with pytest.raises((InputError, StateError), match=said):
        getattr(iit, query)(**BASIC, **fields)
