"""The documentation names all that is public; `.ci/run docs` executes its examples."""

import json
import re
from pathlib import Path

import pytest

import iitdask as iit

DOCS = Path(__file__).parents[1] / "docs"
MODULES = {"errors", "examples", "formats", "plot", "relations", "__version__"}
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))


def test_api__has_every_public_function_and_class():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"auto(?:function|class):: (?:iitdask\.)?(\w+)", text))
    assert sorted(set(iit.__all__) - MODULES - listed) == []
    for module in (
        "iitdask.errors",
        "iitdask.model.examples",
        "iitdask.api.formats",
        "iitdask.view.plot",
    ):
        assert f"automodule:: {module}" in text


def test_api__has_every_figure():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    (members,) = re.findall(r"automodule:: iitdask.view.plot\n +:members: (.*)", text)
    assert sorted(members.split(", ")) == sorted(iit.plot.__all__)


def test_index__has_every_page():
    tables = "".join(
        (DOCS / f).read_text(encoding="utf-8")
        for f in ("index.md", "notebooks/index.md", "theory/index.md", "clusters/index.md")
    )
    listed = {line.split("/")[-1] for line in tables.splitlines()}
    pages = {
        path.stem
        for path in [*DOCS.rglob("*.md"), *NOTEBOOKS]
        if path.parent.name not in ("generated", "_build")
    }
    assert sorted(pages - listed - {"README", "index"}) == []


def test_questions__are_answered_by_pages_that_exist():
    text = (DOCS / "questions.md").read_text(encoding="utf-8")
    items = re.findall(r"^\d+\. ", text, re.MULTILINE)
    links = re.findall(r"\]\((\S+?\.md)\)", text)
    assert len(items) == 10
    assert [link for link in links if not (DOCS / link).is_file()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook__keeps_no_output(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_notebooks__are_eight():
    assert len(NOTEBOOKS) == 8
