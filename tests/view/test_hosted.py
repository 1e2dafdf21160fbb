"""The live page as a route of a scheduler's web server."""

import socket
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from distributed import Client, LocalCluster

import iitdask as iit
from iitdask.view.hosted import PATH, LivePage, page_of
from tests.view.browser import opened

sys.path.insert(0, str(Path(__file__).parents[1] / "run"))

import processes as proc

pytestmark = pytest.mark.cluster

SAYS = "(word) => Bokeh.documents[0].get_model_by_name('status').text.includes(word)"


def free_ports(n):
    taken = [socket.socket() for _ in range(n)]
    try:
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]
    finally:
        for each in taken:
            each.close()


@pytest.fixture
def client():
    with (
        LocalCluster(
            n_workers=1, processes=False, memory_limit=0, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def told(client, path):
    port = client.scheduler_info()["services"]["dashboard"]
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return answer.status, answer.read().decode()


def test_page__is_a_route_beside_those_of_dask(client, tmp_path):
    with pytest.raises(HTTPError, match="404"):
        told(client, f"/{PATH}")
    for _ in range(2):  # whoever comes second finds it there
        client.register_plugin(LivePage())
    status, html = told(client, f"/{PATH}")
    assert status == 200
    assert "iitdask: live" in html
    assert told(client, "/status")[0] == 200
    iit.ces(iit.examples.load("xor"), "000", client=client, store=tmp_path / "xor.zarr")
    assert f'src="/{PATH}/static/js/bokeh' in told(client, f"/{PATH}")[1]


def test_page__takes_no_orders(client):
    client.register_plugin(LivePage())
    where = page_of(client)
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(HTTPError, match="405"):
            urlopen(Request(where, b"x", method=method), timeout=30)


def test_page__shows_the_latest_run_of_a_scheduler_and_links_the_others(browser, client, tmp_path):
    client.register_plugin(LivePage())
    for name in ("first", "second"):
        iit.ces(iit.examples.load("xor"), "000", client=client, store=tmp_path / f"{name}.zarr")
    with opened(browser, page_of(client), "hosted") as page:
        page.wait_for_function(SAYS, arg="second.zarr")
        page.wait_for_function(SAYS, arg="finished")
        page.get_by_role("link", name="first.zarr").click()
        page.wait_for_function("() => window.Bokeh?.documents[0]?.is_idle")
        page.wait_for_function(SAYS, arg="first.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("preload", [False, True], ids=["plugin", "preload"])
def test_run__has_its_page_on_the_dashboard_of_another_process(browser, tmp_path, preload):
    port, web = free_ports(2)
    study, log = proc.write_study(tmp_path, 5, 5, 0.003), tmp_path / "log"
    address = f"tcp://127.0.0.1:{port}"
    where = ["--host", "127.0.0.1", "--port", port, "--dashboard-address", f"127.0.0.1:{web}"]
    where += ["--preload", "iitdask.view.hosted"] if preload else []
    first = proc.start("distributed.cli.dask_scheduler", *where, log=log)
    hand = proc.start("distributed.cli.dask_worker", address, "--no-nanny", log=log)
    try:
        words = ["run", study, "--store", tmp_path / "s.zarr", "--cluster", address]
        done = proc.call(*words, *([] if preload else ["--dashboard"]))
        assert done.returncode == 0, done.stderr
        url = f"http://127.0.0.1:{web}/{PATH}"
        assert preload or f"on the Dask dashboard: {url}" in done.stderr
        with opened(browser, url, "hosted-preload" if preload else "hosted-plugin") as page:
            page.wait_for_function(SAYS, arg="finished")
    finally:
        for process in (first, hand):
            proc.end(process)
