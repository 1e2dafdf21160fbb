"""The conda recipe asks for what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"POT": "pot", "PyYAML": "pyyaml", "dask": "dask-core"}


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "deploy/conda/recipe.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def parted(requirement):
    name, bound = re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), bound


def test_requirements__are_those_of_the_package(recipe, project):
    expected = [("python", project["requires-python"]), *map(parted, project["dependencies"])]
    assert [parted(entry) for entry in recipe["requirements"]["run"]] == expected


def test_version_and_entry_point__are_those_of_the_package(recipe, project):
    assert recipe["context"]["version"] == project["version"]
    scripts = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts


def test_source__is_this_repository(recipe):
    assert recipe["source"] == {"path": "../.."}
    assert (ROOT / "deploy/conda" / recipe["source"]["path"] / "pyproject.toml").resolve().is_file()
