"""What is said first about any result."""

import pytest
import xarray as xr

import iitdask as iit
from iitdask.result.overview import overviews, summary_of, title_of

TITLES = {
    "structure": "Cause-effect structure of ABC in state 100",
    "concepts": "Cause-effect structure of ABC in state 100",
    "complexes": "Complexes of ABC in state 100",
    "account": "Account of OR,AND from 10 to 10",
    "cube": "Sweep over state, noise",
}
TABLES = {
    "structure": ["distinctions"],
    "concepts": ["concepts", "repertoires"],
    "complexes": ["complexes"],
    "account": ["links"],
    "cube": ["values of state", "values of noise"],
}


@pytest.fixture(params=TITLES)
def named(request):
    found = request.getfixturevalue(request.param)
    return request.param, found if isinstance(found, xr.DataTree) else xr.DataTree(found)


def test_title__says_what_and_in_which_state(named):
    name, tree = named
    assert title_of(tree) == TITLES[name]


def test_overview__has_the_tables_of_the_result(named):
    name, tree = named
    (overview,) = overviews(tree)
    assert [table.name for table in overview.tables] == TABLES[name]
    for table in overview.tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert all(isinstance(text, str) for row in table.rows for text in row)
    assert overview.summary == summary_of(tree)
    assert all(isinstance(text, str) for pair in overview.summary for text in pair)


def test_overview__of_a_system_alone_has_no_table():
    tree = xr.DataTree.from_dict({"/system": iit.sia(iit.examples.load("basic"), "100")})
    (overview,) = overviews(tree)
    assert overview.tables == []
    assert ("candidate system", "ABC in ABC, state 100") in overview.summary


def test_overview__of_a_nexus_has_that_of_its_account():
    spec = iit.examples.spec("causation2019-fig6")
    tree = iit.causal_nexus(iit.examples.load("causation2019-fig6"), spec["before"], spec["after"])
    first, second = overviews(tree)
    assert [table.name for table in first.tables] == ["candidates"]
    assert [table.name for table in second.tables] == ["links"]


def test_overview__of_what_nobody_knows_shows_the_attributes():
    (overview,) = overviews(xr.DataTree(xr.Dataset(attrs={"answer": 42})))
    assert overview == ([("answer", "42")], [])


def test_title__is_shortened():
    substrate = iit.Substrate.from_units(
        [{"gate": "COPY", "inputs": [(i + 1) % 100]} for i in range(100)]
    )
    found = iit.complexes(substrate, "1" * 100, max_size=2)
    title = title_of(xr.DataTree.from_dict({"/complexes": found}))
    assert title.startswith("Complexes of ")
    assert title.endswith("...")
    assert len(title) < 130
