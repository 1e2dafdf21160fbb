"""The live page in a browser, while real runs come and go."""

import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from iitdask.view.pages import serve_page
from iitdask.view.status_page import fill_status_page
from tests.view.browser import opened

sys.path.insert(0, str(Path(__file__).parents[1] / "run"))

import processes as proc

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

DONE = """() => {
  const bars = Bokeh.documents[0].get_model_by_name("progress").data
  return Array.from(bars.done).reduce((a, b) => a + b, 0)
}"""

SAYS = "(word) => Bokeh.documents[0].get_model_by_name('status').text.includes(word)"
DOES = "() => Bokeh.documents[0].get_model_by_name('workers').text"


@contextmanager
def scheduler(log, port):
    """A scheduler and a worker, each a process of its own."""
    where = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
    first = proc.start("distributed.cli.dask_scheduler", *where, log=log)
    options = ("--nthreads", 1, "--death-timeout", proc.PATIENCE, "--no-dashboard", "--no-nanny")
    address = f"tcp://127.0.0.1:{port}"
    hand = proc.start("distributed.cli.dask_worker", address, *options, log=log)
    assert proc.wait_until(lambda: proc.listens(port))
    try:
        yield first, address
    finally:
        for process in (first, hand):
            proc.end(process)


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_live__advances_with_a_real_run_and_survives_a_scheduler_restart(browser, tmp_path, port):
    study = proc.write_study(tmp_path, 11, 5, 0.01)
    store = tmp_path / "live.zarr"
    words = ("iitdask", "run", study, "--store", store, "--quiet", "--cluster")
    log = tmp_path / "log"

    def app(doc):
        fill_status_page(doc, str(store), period=200)

    with serve_page(app) as served, opened(browser, served, "live") as page:
        page.wait_for_function(SAYS, arg="waiting")
        with scheduler(log, port) as (first, address):
            driver = proc.start(*words, address, log=log)
            page.wait_for_function(f"() => ({DONE})() > 3.05")
            page.wait_for_function(SAYS, arg="running")
            page.wait_for_function(f"() => ({DOES})().includes('mechanism ')")
            before = page.evaluate(DONE)
            page.wait_for_function(f"() => ({DONE})() > {before}")
            first.kill()
            assert driver.wait(proc.PATIENCE) != 0
            page.wait_for_function(SAYS, arg="stopped")
            kept = page.evaluate(DONE)
            assert kept > 3
        with scheduler(log, port) as (_, address):
            driver = proc.start(*words, address, log=log)
            page.wait_for_function(f"() => ({DONE})() > {kept}")
            assert driver.wait(proc.PATIENCE) == 0, log.read_text()
        page.wait_for_function(SAYS, arg="finished")
        every = "() => Bokeh.documents[0].get_model_by_name('progress').data.done.length"
        assert page.evaluate(DONE) == pytest.approx(page.evaluate(every))
        assert page.get_by_text("purviews searched").is_visible()


@contextmanager
def served(port, *words):
    process = proc.start("iitdask", *words, "--port", port)
    try:
        assert proc.wait_until(lambda: proc.listens(port))
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(proc.PATIENCE) == 130


def test_status__serves_the_page_of_a_store_until_interrupted(browser, stores, port):
    with (
        served(port, "status", stores("rule110"), "--serve") as url,
        opened(browser, url, "status") as page,
    ):
        page.wait_for_function(SAYS, arg="finished")
        assert page.evaluate(DONE) >= 1


def test_view__serves_the_explorer_until_interrupted(browser, stores, port):
    with (
        served(port, "view", stores("rule110")) as url,
        opened(browser, url, "explorer-served") as page,
    ):
        chosen = """() => Array.from(
          Bokeh.documents[0].get_model_by_name("distinctions").selected.indices)"""
        page.wait_for_function(f"() => ({chosen})().length === 1")
