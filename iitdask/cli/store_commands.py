"""Commands on a store: status, show, view, verify, export, tidy; and examples."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import yaml
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from iitdask.cli.output import bytes_text, print_result, seconds_text
from iitdask.errors import BusyStoreError, InputError
from iitdask.model import examples as published
from iitdask.result.cube import write_result as write
from iitdask.result.formatting import as_json
from iitdask.run.coordination import live_sessions
from iitdask.run.result_group import drop_blocks, load_partial_result
from iitdask.run.status import RunMonitor, StageStatus, StoreStatus, read_status
from iitdask.run.storage import local_path
from iitdask.run.zarr_ledger import list_entries
from iitdask.study.run import verify_stored_run
from iitdask.study.store_contents import load_for_view
from iitdask.view.explorer import explorer_html, fill_explorer
from iitdask.view.pages import serve_page, serve_page_in_thread
from iitdask.view.status_page import fill_status_page

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = [
    "examples",
    "export",
    "serve_status_page",
    "show",
    "status",
    "status_page",
    "tidy",
    "verify",
    "view",
]


def _fill_page(store: str, doc: Document) -> None:
    fill_status_page(doc, RunMonitor(store))


@contextmanager
def status_page(store: str, address: str, port: int) -> Iterator[None]:
    """Serve the status page of a store while a run fills it."""
    with serve_page_in_thread(lambda doc: _fill_page(store, doc), address, port) as served:
        print(f"live page: {served.url}", file=sys.stderr, flush=True)
        yield


def serve_status_page(store: str, address: str, port: int) -> None:
    """Serve the live page of a store until interrupted."""
    with serve_page(lambda doc: _fill_page(store, doc), address, port) as served:
        print(f"{served.url}  (Ctrl-C ends)", flush=True)
        served.wait()


def show(
    store: str | None = None,
    /,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    cache: str | None = None,
) -> int:
    """Show the results of a store, or what a cache holds.

    Parameters
    ----------
    store
        Directory or URL of the store.
    json_
        Everything, as JSON.
    cache
        Directory of a cache, instead of a store.
    """
    if cache is not None:
        return _show_cache(cache)
    if store is None:
        raise InputError("show: expected a store or --cache DIR, got neither")
    tree = load_partial_result(store)
    if json_:
        print(json.dumps(as_json(tree), indent=1))
    else:
        print_result(tree)
    return 0


def _show_cache(directory: str) -> int:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("stage", "entry", "blocks", "size", "last used", "in use"):
        table.add_column(column)
    found = list_entries(directory)
    for jar in sorted(found, key=lambda each: -each.used):
        used = datetime.fromtimestamp(jar.used, UTC).isoformat(timespec="seconds")
        entry = jar.path.name.rsplit("-", 1)[-1]
        done, size = f"{jar.done} of {jar.blocks}", bytes_text(jar.nbytes)
        table.add_row(jar.stage, entry, done, size, used, "yes" if jar.in_use else "no")
    Console(highlight=False).print(table)
    print(f"{len(found)} entries, {bytes_text(sum(jar.nbytes for jar in found))}")
    return 0


def examples(name: str | None = None, /) -> int:
    """List published systems, or print one as a study to start from.

    Parameters
    ----------
    name
        Name of an example.
    """
    if name is not None:
        print(yaml.safe_dump(published.spec(name), sort_keys=False, allow_unicode=True, width=100))
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("name", "source", "compute"):
        table.add_column(column)
    for each in published.names():
        about = published.spec(each)
        table.add_row(
            each, ", ".join(filter(None, (about["title"], about["figure"]))), about["compute"]
        )
    Console(highlight=False).print(table)
    return 0


def status(
    store: str,
    /,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    serve: Annotated[bool, Parameter(negative=())] = False,
    port: int = 0,
    address: str = "127.0.0.1",
) -> int:
    """Say how far a store is, whether or not a run is at work on it.

    Parameters
    ----------
    store
        Directory or URL of the store.
    json_
        Everything, as JSON.
    serve
        A page that follows the store, read-only, until interrupted.
    port
        Port to serve at; any free one when not given.
    address
        Address to serve at. Whoever reaches it can read how far the store is.
    """
    found = read_status(store)
    if serve:
        serve_status_page(store, address, port)
        return 0
    if json_:
        print(json.dumps(_status_json(found), indent=1))
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("stage", "done", "blocks", "core time left"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for each in found.stages:
        left = seconds_text(each.seconds_left) if _is_open(each) else "-"
        table.add_row(each.name, str(each.done), str(each.blocks), left)
    Console(highlight=False).print(table)
    print()
    for line in _status_lines(found):
        print(line)
    return 0


def _is_open(stage: StageStatus) -> bool:
    return stage.done < stage.blocks and not stage.partial


def _status_lines(found: StoreStatus) -> list[str]:
    lines = [f"driven by {each.describe()}" for each in found.sessions]
    if "finished" in found.about:
        dropped = ", blocks dropped (iitdask tidy)" if "tidied" in found.about else ""
        lines.append(f"finished {found.about['finished']}{dropped}")
    elif not found.sessions:
        why = f" (the last one: {found.ended})" if found.ended else ""
        lines.append(f"no run is at work{why}; `iitdask run` goes on from here")
    if found.sessions:
        lines.append(
            f"rate {found.rate:.3g} core-seconds a second; stages known so far: "
            f"{seconds_text(found.seconds_left)} left"
        )
    if found.failures:
        lines.append(f"{len(found.failures)} block(s) given up in the last run:")
        lines += [f"  {each}" for each in found.failures[:20]]
    return lines


def _status_json(found: StoreStatus) -> dict[str, object]:
    return {
        "store": found.url,
        "finished": found.about.get("finished"),
        "fingerprint": found.about.get("fingerprint"),
        "stages": {each.name: {"done": each.done, "blocks": each.blocks} for each in found.stages},
        "drivers": [asdict(each) for each in found.sessions],
        "failures": list(found.failures),
        "rate": found.rate,
        "costs": found.about.get("costs"),
    }


def verify(store: str, /, *, sample: int = 10, seed: int | None = None) -> int:
    """Check that a store is complete and as written, and compute a sample of it again.

    Parameters
    ----------
    store
        Directory or URL of the store.
    sample
        Blocks to compute again and compare bit by bit.
    seed
        Chooses the same sample each time.
    """
    found = verify_stored_run(store, sample, seed)
    for problem in found.problems:
        print(problem)
    if found.problems:
        print(f"{len(found.problems)} problem(s); `iitdask run` computes anew what is damaged")
        return 1
    what = (
        "result as written; its blocks were dropped"
        if found.tidied
        else (
            f"{found.stages} stages, {found.blocks} blocks as written, "
            f"{found.recomputed} of them computed again with the same bits"
        )
    )
    print(f"{store}: {what}")
    return 0


def tidy(store: str, /) -> int:
    """Drop the blocks of a finished store and keep its result.

    Parameters
    ----------
    store
        Directory or URL of the store.
    """
    busy = live_sessions(store)
    if busy:
        raise BusyStoreError(f"{store} is being filled by {busy[0].describe()}")
    before = _store_bytes(store)
    drop_blocks(store)
    after = _store_bytes(store)
    print(f"{store}: {bytes_text(before)} before, {bytes_text(after)} now")
    return 0


def _store_bytes(store: str) -> int:
    path = local_path(store)
    if path is None:
        return 0
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def export(store: str, file: str, /) -> int:
    """Write the result of a store to a file for other programs.

    Of a sweep that is not finished, what is there is written.

    Parameters
    ----------
    store
        Directory or URL of the store.
    file
        .csv (a table), .nc (NetCDF 4) or .json (everything).
    """
    written = write(load_partial_result(store), file)
    print(f"{written}: {bytes_text(written.stat().st_size)}")
    return 0


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
    tree = load_for_view(store)
    if html is not None:
        written = _write_html(Path(html), explorer_html(tree))
        print(f"{html}: {bytes_text(written)}")
        return 0

    def app(doc: Document) -> None:
        fill_explorer(doc, tree)

    with serve_page(app, address, port) as served:
        print(f"{served.url}  (Ctrl-C ends)", flush=True)
        served.wait()
    return 0


def _write_html(path: Path, text: str) -> int:
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"--html: expected a file that can be written, {error}") from error
    return len(text.encode())
