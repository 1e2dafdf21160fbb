"""Pages are served to those who reach the server by a name of its own, and to no other pages."""

import re
import socket

import pytest

from iitdask.errors import InputError
from iitdask.view.pages import html_block, serve_page
from tests.attack.serve_probe import PATHS, ask, open_websocket

ADDRESSES = ["127.0.0.1", "localhost", "127.0.0.2", "::1"]
STRANGERS = [
    "http://evil.example",
    "null",
    "http://evil.example:{}",
    "http://localhost.evil.example",
]


def fill(doc):
    doc.add_root(html_block("secret"))


def status(answer):
    return int(answer.split()[1])


def place_of(url):
    name, port = re.fullmatch(r"http://(.+):(\d+)/", url).groups()
    return name.strip("[]"), int(port)


def skip_without(address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no address {address}")


@pytest.mark.parametrize("address", ADDRESSES)
def test_websockets__open_for_pages_of_the_server_alone(address):
    skip_without(address)
    with serve_page(fill, address) as url:
        place = place_of(url)
        page = ask(place, "/")
        assert status(open_websocket(place, page, url[:-1])) == 101
        # by a tunnel, whose port is another
        assert status(open_websocket(place, page, "http://localhost:8787", "localhost:8787")) == 101
        for origin in STRANGERS:
            assert status(open_websocket(place, page, origin.format(place[1]))) == 403


@pytest.mark.parametrize("address", ADDRESSES)
def test_pages__are_not_shown_under_the_names_of_others(address):
    skip_without(address)
    with serve_page(fill, address) as url:
        place = place_of(url)
        for host in ("evil.example", f"evil.example:{place[1]}", "localhost.evil.example", "*", ""):
            for path in ("/", "/autoload.js?bokeh-autoload-element=x", "/static/js/bokeh.min.js"):
                assert status(ask(place, path, host=host)) in {400, 403}
        for host in ("localhost", f"127.0.0.1:{place[1]}", "[::1]:8787", "LOCALHOST"):
            assert status(ask(place, "/", host=host)) == 200


def test_pages__are_shown_under_any_name_where_every_interface_is_said():
    with serve_page(fill, "0.0.0.0") as url:
        place = ("127.0.0.1", place_of(url)[1])
        page = ask(place, "/", host="any.name:80")
        assert status(page) == 200
        assert status(open_websocket(place, page, "http://any.name", "any.name")) == 101


def test_paths__do_not_leave_the_folder_of_the_server():
    with serve_page(fill) as url:
        for path in PATHS:
            answer = ask(place_of(url), path)
            assert status(answer) in {403, 404}
            assert b"root:" not in answer


@pytest.mark.parametrize("address", ["no such name", "a" * 300, "192.0.2.77"])
def test_addresses__that_cannot_be_had_are_named(address):
    with pytest.raises(InputError, match="--port: cannot listen at"), serve_page(fill, address):
        pass
