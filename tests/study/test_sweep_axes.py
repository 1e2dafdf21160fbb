"""The registry of axes: what it reads, and which computations take what it has."""

import pytest

import iitdask as iit
from iitdask.errors import InputError, SpecError
from iitdask.model.batch import Family
from iitdask.study import sweep_axes
from iitdask.study.sweep_axes import AXES, AxisKind, ValueRule, read_axes
from iitdask.theory.catalog import COMPUTATIONS


def test_axes__with_a_meaning_are_fields_of_a_target():
    fields = {name for each in COMPUTATIONS.values() for name in each.target.FIELDS}
    assert {name for name, kind in AXES.items() if kind.resolve is not None} <= fields


def test_read_axes__knows_short_forms():
    axes = read_axes(
        {
            "state": {"trajectory": {"steps": 5, "seed": 2}},
            "units": {"size": 2},
            "number": "elementary-88",
            "A.temperature": {"linspace": [0, 1, 3]},
            "zip": {"substrate": [{"family": "ring", "n": 3, "count": 2, "gates": ["XOR"]}],
                    "theory": ["iit4", "iit3"]},
        }
    )  # fmt: skip
    by_name = {axis.name: axis for axis in axes}
    assert by_name["state"].values == ValueRule("trajectory", steps=5, seed=2)
    assert by_name["units"].values == ValueRule("size", size=2)
    assert len(by_name["number"].listed) == 88
    assert by_name["A.temperature"].values == (0.0, 0.5, 1.0)
    assert [axis.is_parameter for axis in axes] == [False, False, True, True, False, False]
    assert isinstance(by_name["substrate"].values[0][0], Family)
    assert [number for _, number in by_name["substrate"].values] == [0, 1]
    assert by_name["theory"].dim == "substrate"


def test_read_axes__elementary_88_is_for_rule_numbers_only():
    with pytest.raises(SpecError, match="temperature: expected a list of values"):
        read_axes({"temperature": "elementary-88"})


def test_axis__of_the_registry_is_read_and_resolved_from_there(monkeypatch):
    """A new axis touches the registry alone: here states given as whole numbers."""

    def expand(value, where):
        if not isinstance(value, int):
            raise SpecError(f"{where}: expected a number, got {value!r}")
        return (f"{value:03b}"[::-1],)

    states = AxisKind(expand=expand, resolve=AXES["state"].resolve, is_required=True)
    monkeypatch.setitem(sweep_axes.AXES, "state", states)
    cube = iit.sweep({"state": [1, 4]}, iit.examples.load("basic"))
    assert cube["state"].values.tolist() == ["100", "001"]
    with pytest.raises(SpecError, match="expected a number, got '100'"):
        iit.sweep({"state": ["100"]}, iit.examples.load("basic"))


@pytest.mark.parametrize("given", [(1, 0, 0), (1, 0), ()])
def test_tuples__are_no_substrates(given):
    for call in (
        lambda: iit.sweep({"noise": [0.1]}, given, "all"),
        lambda: iit.sweep({"substrate": [given, given]}, state="all"),
    ):
        with pytest.raises(InputError, match="substrate"):
            call()


def test_values__that_cannot_be_written_are_refused():
    nested = []
    for _ in range(5000):
        nested = [nested]
    for value in (10**5000, nested):
        for axis in ("state", "units", "noise"):
            with pytest.raises(InputError, match=r"too long|expected"):
                iit.sweep({axis: [value]}, "basic")
