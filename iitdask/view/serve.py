"""A small Bokeh server: one read-only page, on this machine unless told otherwise."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from threading import Thread
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import Server

from iitdask.errors import InputError

__all__ = ["Served", "serve", "serve_beside"]

Page = Callable[[Document], None]
HOME = "127.0.0.1"


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A server that answers."""

    server: Any
    """Bokeh's."""
    url: str
    """Where the page is."""

    def wait(self) -> None:
        """Answer until interrupted."""
        self.server.io_loop.start()


@contextmanager
def serve(page: Page, address: str = HOME, port: int = 0) -> Iterator[Served]:
    """Serve a page from this thread; `page` fills a document for every visitor.

    Parameters
    ----------
    page : callable
        Puts the page into an empty document.
    address : str
        Where to listen; this machine only when not given.
    port : int
        0 for any free one.

    Raises
    ------
    InputError
        The address or port cannot be listened at.
    """
    served = _started(page, address, port)
    try:
        yield served
    finally:
        served.server.stop()


@contextmanager
def serve_beside(page: Page, address: str = HOME, port: int = 0) -> Iterator[Served]:
    """Serve a page from a thread of its own while this one works on, see :func:`serve`."""
    answer: Queue[Served | InputError] = Queue()

    def work() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            served = _started(page, address, port)
        except InputError as error:
            answer.put(error)
            return
        answer.put(served)
        served.server.io_loop.start()
        served.server.io_loop.close(all_fds=True)

    thread = Thread(target=work, daemon=True, name="live page")
    thread.start()
    served = answer.get()
    if isinstance(served, InputError):
        raise served
    try:
        yield served
    finally:
        served.server.io_loop.add_callback(_stop, served.server)
        thread.join(timeout=5)


def _stop(server: Any) -> None:
    server.stop()
    server.io_loop.stop()


def _require_free(address: str, port: int) -> None:
    """Try the port first: the server would leave a socket open when it cannot have it."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise InputError(f"--port: cannot listen at {address}:{port} ({error})") from error


def _started(page: Page, address: str, port: int) -> Served:
    _require_free(address, port)
    try:
        server = Server(
            {"/": Application(FunctionHandler(page))},
            address=address,
            port=port,
            # Any name of this machine may be in the address bar when others may look, too.
            allow_websocket_origin=None if address == HOME else ["*"],
            check_unused_sessions_milliseconds=2000,
            unused_session_lifetime_milliseconds=5000,
        )
    except OSError as error:
        raise InputError(f"--port: cannot listen at {address}:{port} ({error})") from error
    server.start()
    return Served(server, f"http://{address}:{server.port}/")
