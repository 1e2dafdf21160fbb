"""The live page of a store: beside a run, on its scheduler's dashboard, or by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from iitdask.run.pulse import PulseReader
from iitdask.view.hosted import LivePage, page_of
from iitdask.view.monitor import live
from iitdask.view.serve import serve, serve_beside

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["dashboard", "watch"]


def _page(store: str, doc: Document) -> None:
    live(doc, PulseReader(store))


@contextmanager
def dashboard(store: str, address: str, port: int, client: Any = None) -> Iterator[None]:
    """Serve the live page of a store while a run fills it, on the Dask dashboard as well."""
    with serve_beside(lambda doc: _page(store, doc), address, port) as served:
        print(f"live page: {served.url}", file=sys.stderr, flush=True)
        if client is not None:
            print(_hosted(client), file=sys.stderr, flush=True)
        yield


def _hosted(client: Any) -> str:
    """Mount the page on a scheduler; one that cannot have it is no reason not to compute."""
    try:
        client.register_plugin(LivePage())
    except Exception as error:  # noqa: BLE001 the border: whatever the scheduler raised travels here
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"not on the Dask dashboard ({what})"
    return f"on the Dask dashboard: {page_of(client)}"


def watch(store: str, address: str, port: int) -> None:
    """Serve the live page of a store until interrupted."""
    with serve(lambda doc: _page(store, doc), address, port) as served:
        print(f"{served.url}  (Ctrl-C ends)", flush=True)
        served.wait()
