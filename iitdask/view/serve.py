"""A small Bokeh server: one read-only page, on this machine unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import Server

from iitdask.errors import InputError

__all__ = ["Served", "serve"]


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
def serve(
    app: Callable[[Document], None], address: str = "127.0.0.1", port: int = 0
) -> Iterator[Served]:
    """Serve a page; `app` fills a document for every visitor.

    Parameters
    ----------
    app : callable
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
    try:
        server = Server(
            {"/": Application(FunctionHandler(app))},
            address=address,
            port=port,
            allow_websocket_origin=None if address == "127.0.0.1" else ["*"],
            check_unused_sessions_milliseconds=2000,
            unused_session_lifetime_milliseconds=5000,
        )
    except OSError as error:
        raise InputError(f"--port: cannot listen at {address}:{port} ({error})") from error
    server.start()
    try:
        yield Served(server, f"http://{address}:{server.port}/")
    finally:
        server.stop()
