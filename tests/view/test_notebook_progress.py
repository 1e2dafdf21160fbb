"""Bars in the output of a notebook's cell."""

import re
import sys
from types import SimpleNamespace

import pytest

import iitdask as iit
from iitdask.api import systems
from iitdask.run.events import BlockFailed, BlocksFilled, StageCompleted, StageOpened, Warned
from iitdask.view import progress
from iitdask.view.progress import NotebookProgress, show_progress


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook's display was given, in order; IPython as its kernel has it."""
    shown = []

    def display(html, display_id):
        assert display_id
        shown.append(html)
        return SimpleNamespace(update=shown.append)

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    module = SimpleNamespace(display=display, HTML=str)
    monkeypatch.setattr(progress, "import_module", {"IPython.display": module}.get)
    return shown


def bars(html):
    """Stage and share of each bar."""
    return re.findall(r'value="([\d.]+)" max="1" aria-label="(\w+)"', html)


def test_bars__grow_with_predicted_cost(monkeypatch):
    shown = []
    observer = NotebookProgress(shown.append)
    monkeypatch.setattr(progress, "MIN_DRAW_SECONDS", -1.0)
    observer(StageOpened("mice", 4, 4, 8.0))
    observer(StageOpened("filled", 4, 0, 0.0))  # nothing to do: no bar
    assert bars(shown[-1]) == [("0.0000", "mice")]
    observer(BlocksFilled("mice", 1, 0.1, 2.0, "me"))
    assert bars(shown[-1]) == [("0.2500", "mice")]
    observer(StageCompleted("mice", 1.5))
    assert bars(shown[-1]) == [("1.0000", "mice")]
    assert "1.5 s" in shown[-1]
    observer(Warned("compiling <b>"))
    assert "compiling &lt;b&gt;" in shown[-1]
    observer(BlockFailed("mice", (3,), "no memory", 3))
    assert "mice: block (3,) failed: no memory" in shown[-1]


def test_progress__of_a_call_in_a_notebook_is_a_bar_for_each_stage(notebook, capsys):
    iit.ces(iit.examples.load("xor"), "000", progress=True)
    names = [name for _, name in bars(notebook[-1])]
    assert {"system", "mice"} <= set(names)
    assert {share for share, _ in bars(notebook[-1])} == {"1.0000"}
    assert capsys.readouterr() == ("", "")


def test_progress__in_a_terminal_of_ipython_is_text(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=SimpleNamespace))
    iit.sia(iit.examples.load("xor"), "000", progress=True)
    assert "system: 1 block" in capsys.readouterr().err


def test_progress__says_that_kernels_are_compiled(notebook, monkeypatch):
    compiled = []
    monkeypatch.setattr(systems, "uncompiled_families", lambda _: ["iit4"])
    monkeypatch.setattr(systems, "precompile", compiled.append)
    iit.sia(iit.examples.load("xor"), "000", progress=True)
    assert compiled == ["iit4"]
    assert any("compiling kernels of iit4, once on this machine" in html for html in notebook)
    iit.sia(iit.examples.load("xor"), "000")  # nobody looks: nothing is compiled ahead
    assert compiled == ["iit4"]


def test_progress__that_is_not_asked_for_shows_nothing(notebook):
    with show_progress(False) as observers:
        assert observers == ()
    assert notebook == []
