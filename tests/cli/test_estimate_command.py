"""What a plan says its blocks hold."""

import re

import numpy as np
import pytest
import yaml

from iitdask.cli.estimate_command import plan
from iitdask.theory import point_rows
from iitdask.theory.iit4 import mechanisms
from iitdask.theory.iit4 import mechanisms as waves

TPM = [[0.1, 0.2, 0.8], [0.7, 0.4, 0.3], [0.6, 0.8, 0.1], [0.9, 0.3, 0.6]]
TPM += [[0.3, 0.9, 0.2], [0.2, 0.6, 0.7], [0.8, 0.1, 0.4], [0.4, 0.7, 0.9]]


@pytest.fixture
def planned(tmp_path, capsys):
    """Lines about the blocks of one stage, by stage."""

    def ask(compute, blocks=6, tpm=TPM, **asked):
        path = tmp_path / "study.yaml"
        study = {
            "substrate": {"tpm": tpm},
            "compute": compute,
            "run": {"block_seconds": 0.001},
        } | (asked or {"state": "111"})
        path.write_text(yaml.safe_dump(study))
        assert plan(str(path), blocks=blocks) == 0
        return stages(capsys.readouterr().out)

    return ask


def stages(said):
    parts = (part.split("\n  ") for part in said.strip().split("\n\n"))
    return {lines[0].split(":")[0]: lines[1:] for lines in parts if re.match(r"\S+: \d", lines[0])}


def test_plan_of_a_structure__names_mechanisms_and_purviews(planned, monkeypatch):
    monkeypatch.setattr(
        mechanisms, "mechanism_seconds", lambda x, _: np.full((2, 1 << len(x)), 0.01)
    )
    found = planned("ces")
    assert found["mice"][:2] == [
        "(1, 7): effect x mechanism ABC x all purviews",
        "(1, 6): effect x mechanism BC x all purviews",
    ]
    assert found["mice"][-1] == "and 10 more; --blocks 16 lists all"
    assert re.search(r"pairs? \w+ \((cause|effect) \w+\)", found["details"][0])


def test_plan_of_a_divided_mechanism__names_the_purviews_of_every_share(planned, monkeypatch):
    monkeypatch.setattr(
        waves, "DEFAULT_SHARDING", waves.Sharding(units=3, seconds=waves.SECONDS_PER_PAIR * 2**6)
    )
    found = planned("ces")
    assert found["waves/first"] == ["(0,): part ABC (effect purviews even in ABC)"]
    assert found["waves/later"] == ["(0,): part ABC (effect purviews odd in ABC)"]
    (block,) = found["mice"]
    assert block.endswith("x all purviews, but not the effects of ABC")
    monkeypatch.setattr(waves, "DEFAULT_SHARDING", waves.Sharding(units=4, seconds=0.0))
    found = planned("ces", tpm=[row * 2 for row in TPM] * 8, state="001111")
    assert "A (effect purviews even in AE, odd in BF, even in C, even in D)" in str(found)
    monkeypatch.setattr(waves, "DEFAULT_SHARDING", waves.Sharding(units=4))
    assert "waves/first" not in planned("ces")


def test_plan_of_a_sweep_of_larger_systems__names_units_by_number(planned, monkeypatch):
    monkeypatch.setattr(point_rows, "MAX_ROW_SECONDS", 0.0)  # as of points that take long
    tpm = [[(5 * row + 3 * unit) % 11 / 10 for unit in range(7)] for row in range(128)]
    states = ["0000000", "0000001"]
    found = planned("ces", tpm=tpm, keep="structures", sweep={"state": states})
    details = [lines[0] for stage, lines in found.items() if stage.endswith("/details")]
    assert details
    assert all(re.match(r"\(\d+,\): pairs [0-6]+ \((cause|effect) [0-6]+\)", x) for x in details)


def test_plan_of_a_system__says_that_it_holds_its_partitions(planned):
    (block,) = planned("sia")["system"]
    assert block.endswith("x all partitions of the system")


def test_plan_of_complexes__names_the_candidates(planned):
    (block,) = planned("complexes")["candidates"]
    assert block == "(0,): candidates ABC, BC, AC, AB, C, B, A"


def test_plan_of_an_account__names_both_sides(capsys):
    assert plan("causation2019-fig6") == 0
    found = stages(capsys.readouterr().out)
    assert found["causes/values"] == ["(0,): mechanisms ∅, OR, AND, OR,AND x all purviews"]
    assert found["causes/named"] == ["(0,): pairs OR (OR), AND (AND), OR,AND (OR,AND)"]


def test_plan__says_nothing_of_blocks_when_none_are_asked_for(planned):
    assert planned("sia", blocks=0) == {}


def test_plan_of_an_account__names_the_units_of_each_side(planned):
    found = planned("account", before="110", after="111", causes=["A", "B"], effects=["C"])
    names = {stage: lines[0].split(" x ")[0] for stage, lines in found.items()}
    assert names["causes/connected"].endswith(": mechanisms ∅, C")
    assert names["effects/connected"].endswith(": mechanisms ∅, A, B, AB")
    assert names["system/account/parting-0"].endswith(": mechanisms ∅, C")
