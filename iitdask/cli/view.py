"""``iitdask view``: the explorer of a result, as a file or served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from iitdask.cli.units import bytes_text
from iitdask.errors import InputError
from iitdask.study.exhibit import exhibit
from iitdask.view.explorer import fill, page
from iitdask.view.serve import serve

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["view"]


def view(
    store: str, /, *, html: str | None = None, port: int = 0, address: str = "127.0.0.1"
) -> int:
    """Show a result as linked figures, in a file or served until interrupted.

    Parameters
    ----------
    store
        Directory or URL of the store.
    html
        File to write; it needs nothing else, not even a network.
    port
        Port to serve at; any free one when not given.
    address
        Address to serve at. Whoever reaches it can read the result.
    """
    tree = exhibit(store)
    if html is not None:
        written = _written(Path(html), page(tree))
        print(f"{html}: {bytes_text(written)}")
        return 0

    def app(doc: Document) -> None:
        fill(doc, tree)

    with serve(app, address, port) as served:
        print(f"{served.url}  (Ctrl-C ends)", flush=True)
        served.wait()
    return 0


def _written(path: Path, text: str) -> int:
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"--html: expected a file that can be written, {error}") from error
    return len(text.encode())
