"""The published figures of IIT 3.0, as `workflows/iit3_2014` recomputes them."""

import pytest

from workflows.iit3_2014.analyse import rows, structure

ROUNDED = 3e-6


@pytest.fixture(scope="module")
def found():
    return rows()


def test_figures__as_published(found):
    printed = [row for row in found if "published" in row]
    assert len(printed) >= 13
    for row in printed:
        assert row["2014"] == pytest.approx(row["published"], abs=0.005), row["figure"]


@pytest.mark.parametrize(("rule", "told"), [("2014", "release"), ("causal", "reference")])
def test_figures__as_the_packages_say(found, rule, told):
    known = [row for row in found if told in row]
    assert len(known) >= 4
    for row in known:
        assert row[rule] == pytest.approx(row[told], abs=ROUNDED), row["figure"]


def test_figure_12__noises_the_connections_from_ab_to_c_and_leaves_a_and_b():
    tree = structure("iit3-2014-fig4", "100", "ABC", "2014")
    cut = tree["system"]["cut"]
    severed = {(a, b) for a in "ABC" for b in "ABC" if cut.sel(source=a, target=b)}
    assert severed == {("A", "C"), ("B", "C")}
    assert tree["cut_distinctions"]["mechanism"].values.tolist() == ["A", "B"]
