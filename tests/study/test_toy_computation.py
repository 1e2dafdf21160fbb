"""A computation that is registered here, and nowhere else, has every command."""

import csv
import json

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.cli import app
from iitdask.model.system import System
from iitdask.theory.catalog import COMPUTATIONS, Computation
from iitdask.theory.stage import Grid, Stage, Variable, uniform_cost
from iitdask.theory.variables import Outcome, value_of

STUDY = 'substrate: {example: basic}\nstate: "100"\ncompute: inputs\n'


def count_inputs(inputs, region):
    return {"n_inputs": inputs["connectivity"][:, region[0]].sum(axis=0)}


def count_stage(system):
    return Stage(
        name="inputs",
        grid=Grid(("unit",), (system.n,)),
        variables=(Variable("n_inputs", "int64", -1, "count", "declared inputs"),),
        compute=count_inputs,
        inputs={"connectivity": system.connectivity},
        cost=uniform_cost(1e-6),
    )


def inputs_recipe(system, _options):
    (filled,) = yield (count_stage(system),)
    counts = filled["n_inputs"].values
    data = xr.Dataset({"n_inputs": ("unit", counts), "total": ((), counts.sum())})
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"most": counts.max()}), "/inputs": data})


TOY = Computation(
    target=System,
    recipes={"iit4": inputs_recipe},
    nodes={"inputs": "n_inputs"},
    title="Inputs",
    tables=(("inputs", "unit"),),
    outcomes=(Outcome("total", "count", "declared inputs", value_of("inputs", "total")),),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(COMPUTATIONS, "inputs", TOY)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory with the toy's study; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)

    def run(*words):
        with pytest.raises(SystemExit) as end:
            app.main(list(words))
        printed = capsys.readouterr()
        assert end.value.code == 0, printed.err
        return printed.out

    return run


def test_toy__is_run_and_shown(command):
    printed = command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    assert ["most", "2"] in [line.split() for line in printed.splitlines()]
    assert command("show", "x.zarr") == printed
    result = json.loads(command("show", "x.zarr", "--json"))
    connectivity = np.array(iit.examples.load("basic").connectivity)
    values = result["inputs"]["variables"]
    assert values["n_inputs"]["values"] == connectivity.sum(axis=0).tolist()
    assert values["unit"]["values"] == ["A", "B", "C"]
    assert result["attrs"]["theory"] == "iit4"


def test_toy__is_estimated_planned_and_verified(command):
    assert "inputs" in command("estimate", "study.yaml")
    assert "inputs" in command("plan", "study.yaml")
    command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    assert "1 of them computed again" in command("verify", "x.zarr")
    assert "finished" in command("status", "x.zarr")


def test_toy__is_exported_and_viewed(command, tmp_path):
    command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    command("export", "x.zarr", "x.csv")
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert [row["unit"] for row in rows] == ["A", "B", "C"]
    command("view", "x.zarr", "--html", "x.html")
    page = (tmp_path / "x.html").read_text()
    assert "<title>Inputs of ABC in state 100</title>" in page
    assert "most" in page


def test_toy__is_swept(command):
    command("run", "study.yaml", "--quiet", "--store", "x.zarr")
    result = json.loads(command("show", "x.zarr", "--json"))
    total = result["inputs"]["variables"]["total"]["values"]
    cube = iit.sweep({"state": ["001", "100"]}, iit.examples.load("basic"), compute="inputs")
    assert cube["total"].values.tolist() == [total, total]
    assert cube["status"].values.tolist() == ["done", "done"]
    assert cube["total"].attrs["comment"] == "declared inputs"


def test_toy__shows_itself_in_a_notebook():
    iit.sia(iit.examples.load("basic"), "100")  # registers the accessor
    data = xr.Dataset({"n_inputs": ("unit", [1, 2])})
    assert "<b>Inputs</b>" in data.iit._repr_html_()


def test_toy__that_is_misspelled_is_refused():
    with pytest.raises(iit.errors.InputError, match=r"expected one of .*inputs.*, got .input."):
        iit.sweep({"state": ["100"]}, iit.examples.load("basic"), compute="input")
