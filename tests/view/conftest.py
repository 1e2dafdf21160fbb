import pytest
from playwright.sync_api import sync_playwright

import iitdask as iit
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view, problem_from_study
from iitdask.study.run import run_job
from iitdask.study.spec import read_study
from iitdask.view.explorer import explorer_html
from tests.view.browser import FLAGS, chromium


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """Finished stores of published systems, made when first asked for."""
    folder, made = tmp_path_factory.mktemp("stores"), {}

    def store(name):
        if name not in made:
            made[name] = str(folder / f"{name}.zarr")
            study, where = read_study(name)
            run_job(problem_from_study(study, where, name), store=made[name])
        return made[name]

    return store


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """The written explorer of a sweep over states, noise and candidate systems."""
    folder = tmp_path_factory.mktemp("sweep")
    gates = [("A", "OR", "BC"), ("B", "COPY", "C"), ("C", "XOR", "AB")]
    units = [{"label": a, "gate": gate, "inputs": list(b)} for a, gate, b in gates]
    axes = {"state": "all", "noise": [0.0, 0.1, 0.2], "units": ["ABC", "AB"]}
    cube = iit.sweep(axes, {"units": units}, store=str(folder / "cube.zarr"))
    path = folder / "cube.html"
    path.write_text(
        explorer_html(load_for_view(open_store(folder / "cube.zarr"))), encoding="utf-8"
    )
    return path, cube


@pytest.fixture(scope="session")
def explorers(stores, tmp_path_factory):
    """Written explorers of published systems."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def explorer(name):
        if name not in made:
            made[name] = folder / f"{name}.html"
            made[name].write_text(
                explorer_html(load_for_view(open_store(stores(name)))), encoding="utf-8"
            )
        return made[name]

    return explorer


@pytest.fixture(scope="session")
def browser():
    where = chromium()
    if where is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=where, args=FLAGS)
        yield browser
        browser.close()
