"""Published systems: every one loads, is reachable, and is what it says."""

import numpy as np
import pytest

from iitdask.errors import SubstrateError
from iitdask.model import examples
from iitdask.model.substrate import Substrate
from iitdask.model.system import System

EXPECTED = [
    "basic",
    "xor",
    "rule110",
    "rule154",
    "grid3",
    "macro",
    "iit4-2023-fig1",
    "iit4-2023-fig2",
    "iit4-2023-fig4",
    "iit4-2023-fig6a",
    "iit4-2023-fig6b",
    "iit4-2023-fig6c",
    "iit4-2023-fig6d",
    "iit4-2023-fig6e",
    "iit4-2023-fig7a",
    "iit4-2023-fig7b",
    "iit4-2023-fig7c",
    "iit3-2014-fig1",
    "iit3-2014-fig4",
    "iit3-2014-fig5a",
    "iit3-2014-fig5b",
    "iit3-2014-fig14",
    "iit3-2014-fig16",
    "gomez2020-p53-mdm2",
    "causation2019-fig6",
    "causation2019-fig7-or",
    "causation2019-fig7-and",
    "causation2019-fig7-xnor",
    "causation2019-fig7-prevention",
    "causation2019-fig8a",
    "causation2019-fig8b",
    "causation2019-fig9a",
    "causation2019-fig9b",
    "causation2019-fig10",
    "causation2019-fig12",
    "causation2019-fig13",
    "causation2019-fig15",
    "findlay2024-pqrs",
    "findlay2024-wxyz",
    "findlay2024-computer-pqrs",
    "findlay2024-computer-pqrs-feedback",
    "findlay2024-computer-wxyz",
    "findlay2024-computer-wxyz-feedback",
]


def test_names():
    assert set(EXPECTED) <= set(examples.names())
    assert examples.names() == tuple(sorted(examples.names()))


@pytest.mark.parametrize("name", examples.names())
def test_every_example__loads_and_is_reachable(name):
    spec = examples.spec(name)
    assert spec["name"] == name
    assert all(spec[key] for key in ("title", "citation", "theory", "compute", "substrate"))
    assert {"figure", "note"} <= set(spec)
    substrate = examples.load(name)
    system = System.build(substrate, examples.state(name), spec.get("units"))
    assert system.n >= 1
    for key in ("before", "after", "state"):
        if key in spec:
            substrate.parse_state(spec[key])
    for key in ("causes", "effects"):
        if key in spec:
            assert substrate.parse_units(spec[key])


def test_unknown_name__suggests():
    with pytest.raises(SubstrateError, match="'iit4-2023-fig6f'; did you mean 'iit4-2023-fig6"):
        examples.load("iit4-2023-fig6f")
    with pytest.raises(SubstrateError, match="known: basic, causation2019"):
        examples.state("zzzzzzzz")


def test_spec__is_a_fresh_copy():
    examples.spec("basic")["state"] = "000"
    assert examples.state("basic") == (1, 0, 0)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("xor", "000 011 101 110 110 101 011 000"),
        ("rule110", "000 101 110 111 011 111 111 000"),
        ("iit3-2014-fig1", "000 001 101 100 100 111 101 110"),
        (
            "rule154",
            """00000 01001 10100 10101 01010 00011 11010 11011 00101 01100 10001 10000 01101 00100
            11101 11100 10010 01011 00110 10111 11000 00001 01000 11001 10110 01111 00010 10011
            11110 00111 01110 11111""",
        ),
    ],
)
def test_gates_give_the_published_matrix(name, rows):
    published = np.array([[int(c) for c in row] for row in rows.split()])
    substrate = examples.load(name)
    effect = System.build(substrate, (0,) * substrate.n_units).effect
    assert np.array_equal(effect[:, 1::2], published)


def test_p53__has_a_three_valued_unit():
    assert examples.load("gomez2020-p53-mdm2").levels == (3, 2, 2)


def step(substrate: Substrate, state):
    return tuple(
        int(f.table[tuple(state[p] for p in f.parents)].argmax()) for f in substrate.factors
    )


@pytest.mark.parametrize("variant", ["", "-feedback"])
@pytest.mark.parametrize("target", ["pqrs", "wxyz"])
def test_findlay_computer__emulates_its_target(target, variant):
    computer = examples.load(f"findlay2024-computer-{target}{variant}")
    assert computer.n_units == 117
    assert computer.connectivity.sum() == (251 if variant else 231)
    small, now = examples.load(f"findlay2024-{target}"), examples.state(f"findlay2024-{target}")
    registers = [computer.labels.index(f"T{i}R0") for i in range(4)]
    state = examples.state(f"findlay2024-computer-{target}{variant}")
    if not variant:  # with feedback the example is at update 1 already
        state = step(computer, state)
    for _ in range(12):
        assert tuple(state[i] for i in registers) == now
        now = step(small, now)
        for _ in range(8):
            state = step(computer, state)


def test_findlay_computer__units_in_their_whole_universe():
    computer = examples.load("findlay2024-computer-pqrs")
    state = examples.state("findlay2024-computer-pqrs")
    # T0R0 is off; its past is uniform noise, so as a cause it tells nothing.
    register = System.build(computer, state, "T0R0")
    assert register.cause.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert register.effect.tolist() == [[1, 0], [0, 1]]
    ring = System.build(computer, state, ["T0/5", "T1/5", "T2/5", "T3/5"])
    assert np.array_equal(ring.cause, ring.effect)
