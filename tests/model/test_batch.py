"""Families: all members at once are the members one by one."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import SubstrateError
from iitdask.model.batch import Batch, Family, equivalent_rules, rule_classes
from iitdask.model.substrate import Substrate

BLOCKS = {
    "erdos-renyi": {
        "family": "erdos-renyi",
        "n": 4,
        "count": 30,
        "seed": 3,
        "gates": ["AND", "XOR", {"gate": "OR", "noise": 0.1}],
    },
    "loops": {"family": "erdos-renyi", "n": 3, "count": 20, "p": 0.3, "self_loops": True},
    "watts-strogatz": {
        "family": "watts-strogatz",
        "n": 5,
        "k": 3,
        "p": 0.4,
        "count": 20,
        "gates": ["MAJORITY", "NAND"],
    },
    "lattice": {"family": "lattice", "n": 5, "k": 3, "count": 3, "gates": ["AND", "XOR"]},
    "barabasi-albert": {"family": "barabasi-albert", "n": [4, 6], "m": 2, "count": 5},
    "modular": {"family": "modular", "n": [4, 7], "modules": 2, "count": 5},
    "ring": {"family": "ring", "n": [4, 5], "gates": {"gate": "RULE", "number": 110}},
    "weights": {
        "family": "erdos-renyi",
        "n": 3,
        "count": 5,
        "gates": [{"gate": "ISING", "weights": {"normal": [0, 1]}}],
    },
}
COPY_AND = Substrate.from_units(
    [{"gate": "COPY", "inputs": ["B"]}, {"gate": "AND", "inputs": ["A", "B"]}]
)
NOISY = Substrate.from_units(
    [
        {"gate": "NOT", "inputs": ["B"], "noise": 0.3},
        {"gate": "COPY", "inputs": ["A"], "noise": 0.2},
    ]
)


def one_by_one(family):
    return [Substrate.from_units(family.block(i)["units"]) for i in range(family.count)]


@pytest.mark.parametrize("name", BLOCKS)
def test_members__are_what_their_blocks_say(name):
    for family in Family.from_block(BLOCKS[name]):
        members, batch = one_by_one(family), family.batch()
        apart = Batch.from_substrates(members)
        np.testing.assert_array_equal(batch.tables, apart.tables)
        np.testing.assert_array_equal(batch.children, apart.children)
        np.testing.assert_array_equal(batch.digests(), apart.digests())
        again = batch.substrate(family.count - 1, family.labels)
        assert again.fingerprint == members[-1].fingerprint


def connections(block):
    """Connections [from, to] of all members of a family."""
    (family,) = Family.from_block({"gates": ["OR"], **block})
    return np.array([member.connectivity for member in one_by_one(family)])


def test_lattice__every_unit_reads_its_nearest_on_a_ring():
    found = connections({"family": "lattice", "n": 7, "k": 3, "count": 2})
    for i, j in np.ndindex(7, 7):
        assert found[0, i, j] == ((i - j) % 7 in {1, 6, 5})
    assert (found[0] == found[1]).all()
    assert (found.sum(axis=1) == 3).all()


def test_barabasi_albert__grows_by_m_both_ways_towards_degree():
    found = connections({"family": "barabasi-albert", "n": 9, "m": 2, "count": 400, "seed": 3})
    assert (found == found.transpose(0, 2, 1)).all()
    assert (found.sum(axis=(1, 2)) == 2 * (2 + 2 * 6)).all()
    assert not found[:, range(9), range(9)].any()
    for new in range(3, 9):
        assert (found[:, new, :new].sum(axis=1) == 2).all()
    # Unit 3 is joined to two of a star's centre (degree 2) and its two ends (degree 1).
    centre = found[:, 3, 0].mean()
    expected = 1 - (2 * 1 / 4 * 1 / 3)  # not: first an end (1/2), then the other end (1/3)
    assert centre == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 400) ** 0.5)


def test_modular__connects_within_modules_more_often():
    block = {"family": "modular", "n": 8, "modules": 2, "p_in": 0.7, "p_out": 0.2, "count": 300}
    found = connections({**block, "seed": 5})
    module = np.arange(8) // 4
    same = (module[:, None] == module) & ~np.eye(8, dtype=bool)
    assert found[:, same].mean() == pytest.approx(0.7, abs=0.03)
    assert found[:, module[:, None] != module].mean() == pytest.approx(0.2, abs=0.03)
    assert found.any(axis=1).all()  # no unit without an input
    alone = connections({"family": "modular", "n": 5, "p_in": 0, "p_out": 0, "count": 20})
    assert (alone.sum(axis=1) == 1).all()


@pytest.mark.parametrize("name", ["erdos-renyi", "watts-strogatz", "weights"])
def test_larger_family__begins_with_the_smaller_one(name):
    block = BLOCKS[name]
    (small,), (large,) = (
        Family.from_block(block),
        Family.from_block({**block, "count": block["count"] + 7}),
    )
    tables = small.batch().tables
    np.testing.assert_array_equal(large.batch().tables[: len(tables)], tables)


def test_watts_strogatz__every_unit_has_k_inputs_none_itself():
    (family,) = Family.from_block(BLOCKS["watts-strogatz"])
    for member in one_by_one(family):
        edges = member.connectivity
        assert (edges.sum(axis=0) == 3).all()
        assert not edges.diagonal().any()


def test_rule_110_on_a_ring__reads_left_self_right():
    family = Family.from_block(BLOCKS["ring"])[0]
    ring = one_by_one(family)[0]
    before = (0, 1, 1, 0)
    after = [
        110 >> (before[i - 1] << 2 | before[i] << 1 | before[(i + 1) % 4]) & 1 for i in range(4)
    ]
    code = sum(v << i for i, v in enumerate(before))
    rows = Batch.from_substrates([ring]).tables.reshape(16, 8)[code]
    assert rows[1::2].tolist() == after


def test_rules__fall_into_88_classes():
    classes = rule_classes()
    assert len(classes) == 88
    assert {110, 30, 90, 54} <= set(classes)
    assert sum(len(equivalent_rules(number)) for number in classes) == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "small-world"}, "family: expected one of erdos-renyi, watts-strogatz, ring"),
        ({"n": 40}, "n: expected a whole number from 1 to 12, got 40"),
        ({"p": 2}, "p: expected a probability from 0 to 1, got 2"),
        ({"k": 2}, "unknown key 'k'"),
        ({"name": 3}, "name: expected a text, got 3"),
        ({"gates": ["FOO"]}, "gates: expected gates by name, got 'FOO'"),
    ],
)
def test_wrong_family__is_named(change, message):
    with pytest.raises(SubstrateError, match=message):
        Family.from_block({**BLOCKS["erdos-renyi"], **change})


def test_reachable_states__are_those_of_deterministic_units():
    # (A, B) -> (B, A and B): 00 -> 00, 10 -> 00, 01 -> 10, 11 -> 11.
    batch = Batch.concatenate([Batch.from_substrates([NOISY]), Batch.from_substrates([COPY_AND])])
    assert batch.reachable_states(np.array([1])).tolist() == [0, 1, 3]
    assert batch.reachable_states(np.array([0, 1])).tolist() == [0, 1, 2, 3]
    assert batch.reachable_states(np.array([], int)).tolist() == []


def visited_share(batch, start, steps, **how):
    """Share of the steps of a trajectory in each of four states."""
    return np.bincount(batch.trajectory(0, start, steps, **how), minlength=4) / steps


def test_trajectory__follows_deterministic_units():
    batch = Batch.from_substrates([COPY_AND])
    share = visited_share(batch, 2, steps=4)
    assert share.tolist() == [0.75, 0.25, 0.0, 0.0]
    assert visited_share(batch, 2, steps=4, burn=1).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_trajectory__approaches_the_stationary_distribution():
    batch = Batch.from_substrates([NOISY])
    share = visited_share(batch, None, steps=20_000, burn=100, seed=1)
    rows = batch.tables.reshape(4, 4)  # state by (A off, A on, B off, B on)
    matrix = np.array([[row[x & 1] * row[2 + (x >> 1)] for x in range(4)] for row in rows])
    stationary = np.linalg.matrix_power(matrix, 200)[0]
    assert share == pytest.approx(stationary, abs=0.02)
    again = visited_share(batch, None, steps=20_000, burn=100, seed=1)
    np.testing.assert_array_equal(share, again)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "more",
    [
        {"family": "erdos-renyi"},
        {"family": "erdos-renyi", "self_loops": True, "p": 0.0},
        {"family": "watts-strogatz"},
        {"family": "watts-strogatz", "p": 1.0},
        {"family": "ring", "gates": ["XOR"]},
    ],
    ids=lambda more: "-".join(map(str, more.values())),
)
def test_families__of_one_and_two_units_are_computed(n, more):
    block = {"n": n, "count": 3, "seed": 2, **more}
    family = Family.from_block(block)[0]
    for number in range(3):
        for unit in family.block(number)["units"]:
            assert len(set(unit["inputs"])) == len(unit["inputs"]) > 0
    cube = iit.sweep({"substrate": block, "state": "all"})
    assert cube.sizes == {"substrate": 3, "state": 2**n}
    assert set(cube["status"].values.ravel().tolist()) <= {"done", "unreachable"}
