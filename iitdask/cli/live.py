"""The live page of a store, beside a run or by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iitdask.run.pulse import PulseReader
from iitdask.view.monitor import live
from iitdask.view.serve import serve, serve_beside

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["dashboard", "watch"]


def _page(store: str, doc: Document) -> None:
    live(doc, PulseReader(store))


@contextmanager
def dashboard(store: str, address: str, port: int) -> Iterator[None]:
    """Serve the live page of a store while a run fills it."""
    with serve_beside(lambda doc: _page(store, doc), address, port) as served:
        print(f"live page: {served.url}", file=sys.stderr, flush=True)
        yield


def watch(store: str, address: str, port: int) -> None:
    """Serve the live page of a store until interrupted."""
    with serve(lambda doc: _page(store, doc), address, port) as served:
        print(f"{served.url}  (Ctrl-C ends)", flush=True)
        served.wait()
