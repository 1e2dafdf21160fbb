"""Where the reference and the papers part: one test for each thing iitdask decides."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.errors import LedgerMismatchError
from iitdask.model.system import System
from iitdask.run.engines import SerialEngine
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.theory.iit4.mechanisms import mice_stage
from iitdask.theory.marginal_tables import marginals_stage
from tests import reference
from tests.strategies import Case, gate, table

GOLDEN = Path(__file__).parents[2] / "golden"
RING3 = [{"gate": "COPY", "inputs": [name]} for name in "CAB"]


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def system(levels, factors, state, cm=None, units=None):
    n = len(levels)
    cm = np.ones((n, n), bool) if cm is None else np.array(cm, bool)
    units = tuple(range(n)) if units is None else units
    return Case("explicit", 0, tuple(factors), cm, tuple(state), units)


def noisy_and_all(n, noise=0.1, nudge=0.0):
    levels = (2,) * n
    factors = [gate(levels, range(n), "and", noise) for _ in range(n)]
    factors[0] = factors[0] + np.array([nudge, -nudge])
    return system(levels, factors, (0,) * n)


def test_ties__are_detected_with_a_relative_tolerance():
    nudges = (0.0, 1e-16, 3e-16, -3e-16, 1e-15)
    cases = [noisy_and_all(3, nudge=x) for x in nudges]
    trees = [iit.ces(case.substrate(), case.state) for case in cases]
    for tree in trees[1:]:
        for name in ("n_tied_purviews_cause", "n_tied_states_cause", "n_tied_purviews_effect"):
            assert tree["distinctions"][name].values.tolist() == (
                trees[0]["distinctions"][name].values.tolist()
            )
        assert tree["system"]["n_tied_partitions"] == trees[0]["system"]["n_tied_partitions"]
    assert (trees[0]["distinctions"]["n_tied_purviews_cause"].values > 1).any()


def test_ties__no_phi_ties_with_a_phi_that_is_small():
    # each unit follows the other by so little that phi is nearer to zero than what ties
    nudge = 3e-13
    factor = np.array([[0.3 + nudge, 0.7 - nudge], [0.3 - nudge, 0.7 + nudge]])
    pair = System.build(iit.Substrate.from_factors([([1], factor), ([0], factor)]), "11")
    mice = execute(searched(pair), MemoryLedger(), SerialEngine())
    assert mice["phi"].values[1, 1:3] == pytest.approx(nudge / np.log(2), rel=1e-2)
    assert mice["ties"].values[1, 1:3].tolist() == [1, 1]  # the purview that is fed, no other


def searched(given):
    """The stages that search the purviews of mechanisms, and what they find."""
    yield (marginals_stage(given),)
    (mice,) = yield (mice_stage(given),)
    return xr.DataTree(xr.Dataset(mice))


def test_ties__where_rounding_decides_the_reference_we_take_the_tolerant_value():
    data = golden("iit4_2023__rand_gates_n3_s1003")
    substrate = iit.Substrate.from_tpm(data["tpm"], data["cm"])
    tree, right = iit.ces(substrate, data["state"]), data["tolerant_alternative"]
    assert tree["system"]["cause_state"].values.tolist() == right["cause_state"]
    assert tree["system"]["cause_state"].values.tolist() != data["sia"]["cause_state"]
    assert tree.attrs["big_phi"] == pytest.approx(right["big_phi"], rel=1e-9)


def tied_but_smaller():
    """A golden system in whose published order a smaller tied purview comes first."""
    for path in sorted(GOLDEN.glob("iit4_2023__*.json")):
        data = json.loads(path.read_text())
        for found in data.get("distinctions", ()):
            for side in ("cause", "effect"):
                sizes = [len(z) for z, _ in found[side].get("purview_ties", ())]
                chosen = len(found[side]["purview"])
                if (
                    sizes
                    and chosen == sizes[0] < max(sizes)
                    and data["tpm_format"] == "state_by_node"
                ):
                    yield path.stem, found["mechanism"], side


def test_representative__reference_follows_the_published_order_and_says_so():
    name, mechanism, side = next(tied_but_smaller())
    data = golden(name)
    substrate = iit.Substrate.from_tpm(data["tpm"], data["cm"])
    tree = iit.ces(substrate, data["state"], data["subset"])
    one = next(d for d in data["distinctions"] if d["mechanism"] == mechanism)[side]
    assert chosen(tree, mechanism, side, data["subset"]) == one["purview"]
    assert ties(tree, mechanism, side, data["subset"]) == len(one["purview_ties"])
    assert tree.attrs["tie_sensitive"]
    assert tree.attrs["ties"] == "reference"


def test_representative__canonical_takes_a_larger_congruent_purview():
    larger = 0
    for name, mechanism, side in tied_but_smaller():
        data = golden(name)
        substrate = iit.Substrate.from_tpm(data["tpm"], data["cm"])
        trees = [
            iit.ces(substrate, data["state"], data["subset"], ties=t)
            for t in ("reference", "canonical")
        ]
        if set(trees[0]["distinctions"]["mechanism"].values) != set(
            trees[1]["distinctions"]["mechanism"].values
        ):
            continue
        sizes = [len(chosen(tree, mechanism, side, data["subset"])) for tree in trees]
        assert sizes[1] >= sizes[0]
        larger += sizes[1] > sizes[0]
        assert trees[1].attrs["ties"] == "canonical"
    assert larger > 0


def row_of(tree, mechanism, units):
    masks = tree["distinctions"]["mechanism_units"].values
    wanted = [u in mechanism for u in units]
    return int(np.flatnonzero((masks == wanted).all(axis=1))[0])


def chosen(tree, mechanism, side, units):
    row = row_of(tree, mechanism, units)
    inside = tree["distinctions"][f"purview_{side}"].values[row]
    return [u for u, yes in zip(units, inside, strict=True) if yes]


def ties(tree, mechanism, side, units):
    return int(tree["distinctions"][f"n_tied_purviews_{side}"][row_of(tree, mechanism, units)])


def test_tie_sensitive__is_false_where_there_is_nothing_to_choose():
    rng = np.random.default_rng(5)
    levels = (2, 2, 2)
    factors = [table(levels, range(3), 2, lambda _: rng.dirichlet((1, 1))) for _ in range(3)]
    case = system(levels, factors, (1, 0, 1))
    tree = iit.ces(case.substrate(), case.state)
    assert not tree.attrs["tie_sensitive"]
    assert tree.attrs["phi_tie_sensitive"] == "no"
    assert tree.attrs["n_tied_mechanisms"] == 0


def test_tie_sensitive__says_whether_phi_would_change():
    verdicts = set()
    for name in ("pub_basic", "pub_basic_state000", "pub_xor", "pub_rule110"):
        path = GOLDEN / f"iit4_2023__{name}.json"
        if not path.exists():
            continue
        data = json.loads(path.read_text())
        tree = iit.ces(iit.Substrate.from_tpm(data["tpm"], data["cm"]), data["state"])
        verdicts.add((tree.attrs["tie_sensitive"], tree.attrs["phi_tie_sensitive"]))
    assert verdicts <= {(True, "yes"), (True, "no"), (False, "no")}
    assert any(sensitive for sensitive, _ in verdicts)


@pytest.mark.parametrize(("n", "state"), [(3, "000"), (3, "110"), (4, "1000")])
def test_partition__named_is_the_first_among_those_tied_and_they_are_counted(n, state):
    levels = (2,) * n
    cm = np.roll(np.eye(n), 1, axis=1)
    copies = [gate(levels, [(i - 1) % n], "copy", 0.05) for i in range(n)]
    case = system(levels, copies, map(int, state), cm)
    ours = iit.sia(case.substrate(), state)
    theirs = reference.sia(*case.given())
    tied = sorted(sorted(cut) for cut in theirs["tied_partitions"])
    severed = [(int(a), int(b)) for a, b in np.argwhere(ours["cut"].values)]
    assert len(tied) == n
    assert severed == tied[0]
    assert int(ours["n_tied_partitions"]) == len(tied)


def test_part__numbers_the_parts_of_the_named_partition():
    ours = iit.sia(iit.examples.load("basic"), "100")
    part, cut = ours["part"].values, ours["cut"].values
    apart = part[:, None] != part[None, :]
    assert not (cut & ~apart).any()
    assert (apart <= (cut | cut.T)).all()


NOISY_NOT = [[0.8], [0.3]]


CURRENT = {"name": "iit4-2026", "differentiation": "current"}


def test_differentiation__at_the_current_state_is_the_references():
    found = iit.sia(iit.Substrate.from_tpm(NOISY_NOT), "0", theory=CURRENT)
    assert float(found["phi"]) == pytest.approx(0.43245, abs=5e-6)


def test_differentiation__at_the_specified_state_is_the_papers_and_the_default():
    found = iit.sia(iit.Substrate.from_tpm(NOISY_NOT), "0", theory="iit4-2026")
    assert float(found["phi"]) == pytest.approx(0.32193, abs=5e-6)
    assert float(found["differentiation_effect"]) == pytest.approx(-np.log2(0.8), rel=1e-12)


def test_differentiation__of_a_store_is_named_where_a_run_asks_for_another(tmp_path):
    substrate, store = iit.Substrate.from_tpm(NOISY_NOT), tmp_path / "not.zarr"
    iit.sia(substrate, "0", theory=CURRENT, store=store)
    with pytest.raises(LedgerMismatchError, match="'current', this study says 'specified'"):
        iit.sia(substrate, "0", theory="iit4-2026", store=store)


def test_differentiation__of_a_noisy_not_is_largest_between_noise_and_certainty():
    def phi(p, theory):
        return float(iit.sia(iit.Substrate.from_tpm([[p], [1 - p]]), "0", theory=theory)["phi"])

    chances = np.arange(0.7, 0.9995, 0.001)
    published, current = ([phi(p, t) for p in chances] for t in ("iit4-2026", CURRENT))
    assert max(published) == pytest.approx(0.426590648, abs=5e-10)
    assert chances[np.argmax(published)] == pytest.approx(0.744)
    assert np.argmax(current) == len(chances) - 1
    assert max(current) > 0.99


@pytest.mark.parametrize(
    ("name", "published", "current"),
    [
        ("iit4-2023-fig6c", 0.15710886597, 1.746674816095),
        ("iit4-2023-fig6d", 0.48563247586, 1.0539002975041),
    ],
)
def test_2026__values_of_systems_of_six_units(name, published, current):
    substrate, state = iit.examples.load(name), iit.examples.state(name)
    for theory, phi in (("iit4-2026", published), (CURRENT, current)):
        assert float(iit.sia(substrate, state, theory=theory)["phi"]) == pytest.approx(
            phi, abs=1e-10
        )


def test_2026__a_deterministic_system_is_capped_to_zero_and_says_why():
    substrate = iit.Substrate.from_units(RING3)
    older, newer = (iit.sia(substrate, "100", theory=t) for t in ("iit4", "iit4-2026"))
    assert float(older["phi"]) > 0
    assert float(newer["phi"]) == 0.0
    assert newer.attrs["reasons"] == "CAPPED"


def two_pairs(declared):
    levels = (2,) * 4
    factors = [gate(levels, [i ^ 1], "copy", 0.1) for i in range(4)]
    cm = np.ones((4, 4), bool) if declared else np.kron(np.eye(2), 1 - np.eye(2))
    return system(levels, factors, (1, 0, 1, 0), cm)


@pytest.mark.parametrize(
    ("declared", "reason"), [(False, "NO_STRONG_CONNECTIVITY"), (True, "REDUCIBLE")]
)
def test_ces__of_a_system_that_is_not_one_is_computed_and_phi_says_why(declared, reason):
    case = two_pairs(declared)
    tree = iit.ces(case.substrate(), case.state)
    theirs = reference.ces(*case.given())
    assert float(tree["system"]["phi"]) == 0.0
    assert tree["system"].attrs["reasons"] == reason
    assert tree["system"].attrs["reason"]
    assert tree.attrs["n_distinctions"] == len(theirs["distinctions"]) > 0
    assert tree.attrs["big_phi"] == pytest.approx(theirs["big_phi"], rel=1e-9)
    assert tree.attrs["big_phi"] > 0


def test_sia__of_a_disconnected_system_names_no_state_and_no_cut():
    case = two_pairs(False)
    found = iit.sia(case.substrate(), case.state)
    assert (found["cause_state"].values == -1).all()
    assert not found["cut"].values.any()
    assert int(found["n_tied_partitions"]) == 0


def test_zero_partition__named_is_a_witness():
    case = two_pairs(True)
    found = iit.sia(case.substrate(), case.state)
    severed = frozenset((int(a), int(b)) for a, b in np.argwhere(found["cut"].values))
    assert severed in reference.sia(*case.given())["tied_partitions"]
    assert int(found["n_tied_partitions"]) == 0


REDUCIBLE = [
    path.stem
    for path in sorted(GOLDEN.glob("iit4_*.json"))
    if json.loads(path.read_text())["sia"]["phi"] <= 1e-12
]


def test_zeros__up_to_rounding_are_exactly_zero():
    for name in REDUCIBLE:
        data = golden(name)
        if data["tpm_format"] != "state_by_node":
            continue
        substrate = iit.Substrate.from_tpm(data["tpm"], data["cm"])
        theory = {"iit4_2023": "iit4", "iit4_2026": "iit4-2026"}[data["theory"]]
        found = iit.sia(substrate, data["state"], data["subset"], theory)
        assert float(found["phi"]) == 0.0
        assert float(found["normalized_phi"]) == 0.0
        assert found.attrs["reason"]
    assert len(REDUCIBLE) > 20


MONADS = {
    "copy": ([[0.0], [1.0]], 1.0, 0.0),
    "not": ([[1.0], [0.0]], 1.0, 0.0),
    "noisy copy": ([[0.1], [0.9]], 0.7631972158994551, 0.15200309344504995),
    "constant": ([[0.0], [0.0]], 0.0, 0.0),
    "coin": ([[0.5], [0.5]], 0.0, 0.0),
}


@pytest.mark.parametrize("name", MONADS)
def test_monads(name):
    tpm, older, newer = MONADS[name]
    for theory, phi in (("iit4", older), ("iit4-2026", newer)):
        found = iit.sia(iit.Substrate.from_tpm(tpm), "0", theory=theory)
        assert float(found["phi"]) == pytest.approx(phi, rel=1e-12, abs=0)


def test_monads__without_a_loop_or_an_effect_say_why():
    alone = iit.sia(iit.Substrate.from_units(RING3), "000", "A")
    assert alone.attrs["reasons"] == "MONAD_WITH_NO_SELFLOOP"
    coin = iit.sia(iit.Substrate.from_tpm([[0.5], [0.5]]), "0")
    assert coin.attrs["reasons"] == "NO_CAUSE NO_EFFECT"


WORKED = {
    "basic": ("100", 0.41503749927884376, 1.0, 0),
    "xor": ("000", 1.5, 9.5, 15),
}


@pytest.mark.parametrize("name", WORKED)
def test_worked_numbers(name):
    state, phi, big_phi, relations = WORKED[name]
    tree = iit.ces(iit.examples.load(name), state)
    assert float(tree["system"]["phi"]) == pytest.approx(phi, rel=1e-12)
    assert tree.attrs["big_phi"] == pytest.approx(big_phi, rel=1e-12)
    assert int(tree["relations"]["count"]) == relations
