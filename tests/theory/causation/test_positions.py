"""Where the reference and the paper part about actual causation: what iitdask decides."""

import json
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError, StateError, UnreachableStateError

GOLDEN = Path(__file__).parents[2] / "golden"
OR_AND = [
    {"label": "A", "gate": "OR", "inputs": ["A", "B"]},
    {"label": "B", "gate": "AND", "inputs": ["A", "B"]},
]


def golden(name):
    return json.loads((GOLDEN / f"ac2019__{name}.json").read_text())


def substrate_of(data):
    return iit.Substrate.from_tpm(np.array(data["tpm"], float), data["cm"])


def arguments(data):
    names = ("before_state", "after_state", "cause_indices", "effect_indices")
    return [data[name] for name in names]


def strengths(tree):
    """Alpha by direction and mechanism."""
    links = tree["links"].to_dataset()
    names = links["unit"].values
    return {
        (str(d), "".join(names[m])): round(float(alpha), 6)
        for d, m, alpha in zip(
            links["direction"].values, links["mechanism"].values, links["alpha"].values, strict=True
        )
    }


def example(name, **options):
    spec = iit.examples.spec(name)
    about = [spec[key] for key in ("before", "after", "causes", "effects")]
    return iit.account(iit.examples.load(name), *about, **options)


def test_purview__whose_least_partition_is_listed_twice_is_kept():
    data = golden("rand_dense_noisy_n3_s6350")
    kept, dropped = (
        next(
            link["alpha"]
            for link in each["account"]
            if link["mechanism"] == [0, 1] and link["direction"] == "effect"
        )
        for each in (data["without_tie_bug"], data)
    )
    assert kept > dropped + 0.1
    tree = iit.account(substrate_of(data), *arguments(data))
    assert strengths(tree)["effect", "AB"] == pytest.approx(kept, abs=1e-6)


def test_state_before__without_a_past_is_allowed():
    # OR is off and AND is on: nothing leads there, and what it leads to is well defined
    substrate = iit.Substrate.from_units(OR_AND)
    tree = iit.account(substrate, "01", "10")
    assert strengths(tree)["effect", "B"] == pytest.approx(np.log2(4 / 3), abs=1e-6)
    with pytest.raises(UnreachableStateError, match="unreachable"):
        iit.sia(substrate, "01")


def test_state_after__without_a_past_is_allowed_where_no_posterior_is_needed():
    # C copies A and D negates it: both cannot be on, but D alone asks for nothing else
    units = [
        {"label": "A", "gate": "BIAS", "probability": 0.5},
        {"label": "C", "gate": "COPY", "inputs": ["A"]},
        {"label": "D", "gate": "NOT", "inputs": ["A"]},
    ]
    substrate = iit.Substrate.from_units(units)
    tree = iit.account(substrate, "000", "011", "A", "D")
    assert strengths(tree) == {("cause", "D"): 1.0, ("effect", "A"): 1.0}


@pytest.mark.parametrize("background", ["causal", "2019"])
@pytest.mark.parametrize(
    ("before", "after", "effects", "named"),
    [
        ("10", "11", "B", "before 10, got B=1"),
        ("10", "01", None, "before 10, got A=0, B=1"),
        ("00", "11", "AB", "before 00, got A=1, B=1"),
    ],
)
def test_transition__that_never_happens_is_refused(background, before, after, effects, named):
    substrate = iit.Substrate.from_units(OR_AND)
    message = rf"^after: expected values that can follow the state {named}, of probability 0$"
    with pytest.raises(UnreachableStateError, match=message):
        iit.account(substrate, before, after, effects=effects, background=background, max_order=1)


def test_units_that_are_no_effects__may_be_as_they_cannot_be():
    substrate = iit.Substrate.from_units(OR_AND)
    tree = iit.account(substrate, "10", "11", effects="A", background="2019")
    assert ("cause", "A") in strengths(tree)


def test_nexus_and_events__of_what_never_happens_are_refused():
    substrate = iit.Substrate.from_units(OR_AND)
    with pytest.raises(UnreachableStateError, match=r"^after: .* before 10, got B=1, "):
        iit.causal_nexus(substrate, "10", "11")
    with pytest.raises(UnreachableStateError, match=r"^state: .* before 10, got B=1, "):
        iit.true_events(substrate, "10", "11", "11")
    with pytest.raises(UnreachableStateError, match=r"^after: .* before 10, got A=0, "):
        iit.true_events(substrate, "10", "10", "00")


def test_occurrence__too_improbable_for_doubles_is_named():
    # both units are on with 1e-200: possible, but 1e-400 is 0
    substrate = iit.Substrate.from_tpm(np.full((4, 2), 1e-200), np.ones((2, 2)))
    message = r"^after: .* of A=1, B=1 .*; its causes are not defined$"
    with pytest.raises(UnreachableStateError, match=message):
        iit.account(substrate, "00", "11")
    assert strengths(iit.account(substrate, "00", "11", max_order=1)) == {}


def test_posterior__that_is_not_defined_is_refused_when_it_is_needed():
    units = [
        {"label": "A", "gate": "BIAS", "probability": 0.5},
        {"label": "B", "gate": "COPY", "inputs": ["A"]},
        {"label": "C", "gate": "NOT", "inputs": ["A"]},
        {"label": "D", "gate": "AND", "inputs": ["A", "B"]},
    ]
    substrate = iit.Substrate.from_units(units)
    with pytest.raises(UnreachableStateError, match=r"^after: state 0111 is unreachable"):
        iit.account(substrate, "1100", "0111", "A", "D")
    tree = iit.account(substrate, "1100", "0111", "A", "D", background="2019")
    assert strengths(tree) == {("cause", "D"): 1.0, ("effect", "A"): 1.0}


def test_background__causal_is_the_default_and_2019_is_as_published():
    as_published = strengths(example("causation2019-fig8b", background="2019"))
    assert as_published["cause", "M"] == 3.0
    default = strengths(example("causation2019-fig8b"))
    assert default == strengths(example("causation2019-fig8b", background="causal"))
    # M on makes D likely to have been on, so that ABC were less needed
    assert default["cause", "M"] != 3.0
    assert [v for k, v in default.items() if k[0] == "effect"] == [1.0] * 7
    data = golden("pub_background_C1")
    tree = iit.account(substrate_of(data), *arguments(data), background="2019")
    assert tree.attrs["n_links"] == 0  # the output is on whatever A and B do
    assert tree["system"].attrs["reason"] == "no occurrence has an actual cause or effect"


def test_zero__is_exactly_zero():
    tree = example("causation2019-fig9a")
    assert tree.attrs["alpha"] == 0.0
    assert tree["links"]["alpha"].values.min() > 1e-3


@pytest.mark.parametrize("nudge", [0.0, 1e-16, -3e-16])
def test_ties__are_detected_with_a_tolerance(nudge):
    rows = np.array([0.1, 0.9, 0.9 + nudge, 0.9])
    tpm = np.column_stack([np.full(8, 0.5), np.full(8, 0.5), np.tile(rows, 2)])
    cm = [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    tree = iit.account(iit.Substrate.from_tpm(tpm, cm), "110", "001", "AB", "C")
    cause = tree["links"].isel(link=0)
    assert int(cause["n_tied_purviews"]) == 2
    assert cause["tied_purview"].values.tolist() == [[True, False, False], [False, True, False]]


def test_max_order__limits_occurrences_and_not_purviews():
    whole, limited = (example("causation2019-fig8a", max_order=most) for most in (None, 1))
    expected = {k: v for k, v in strengths(whole).items() if len(k[1]) == 1}
    assert strengths(limited) == expected
    assert limited["links"]["purview"].values[0].sum() == 3
    assert limited.attrs["max_order"] == 1


def test_units__that_are_not_connected_change_no_link():
    def links(inputs):
        one, either = ([], [0.5, 0.5]), ([0, inputs - 1], [[1, 0], [0, 1], [0, 1], [0, 1]])
        substrate = iit.Substrate.from_factors([one] * inputs + [either])
        before, after = [1] * (inputs + 1), [0] * inputs + [1]
        tree = iit.account(substrate, before, after, range(inputs), range(1, inputs + 1))
        return sorted(tree["links"]["alpha"].values.tolist())

    assert len(links(2)) == 3
    np.testing.assert_allclose(links(17), links(2), rtol=1e-12)


def test_size__that_cannot_be_held_leaves_out_what_needs_it(monkeypatch):
    whole, nowhere = (example(f"causation2019-fig8{part}") for part in "ba")
    monkeypatch.setattr("iitdask.theory.causation.account.TABLE_BUDGET_BYTES", 500)
    tree = example("causation2019-fig8b")
    assert tree["links"].to_dataset().equals(whole["links"].to_dataset())
    assert np.isnan(tree["system"]["alpha"])
    assert tree["system"].attrs["reason"].startswith("not computed")
    assert "alpha" not in tree.attrs
    assert not tree["system"]["cut"].values.any()
    tree = example("causation2019-fig8a")  # no link reaches one unit: nothing else is needed
    for name in ("alpha", "cut"):
        assert tree["system"][name].equals(nowhere["system"][name])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"before": "1"}, StateError, "before: .*expected 2 values"),
        ({"after": "12"}, StateError, "after: .*'AND' has values 0 to 1, got 2"),
        ({"causes": ["X"]}, StateError, "causes: .*'X'"),
        ({"effects": []}, StateError, "effects: expected at least one unit, got none"),
        ({"max_order": 0}, StateError, "max_order: expected a whole number from 1 on, got 0"),
        ({"background": "2014"}, InputError, "background"),
    ],
)
def test_wrong_input__is_named(change, error, message):
    given = {"before": "10", "after": "10"} | change
    with pytest.raises(error, match=message) as caught:
        iit.account(iit.examples.load("causation2019-fig6"), **given)
    assert "\n" not in str(caught.value)
