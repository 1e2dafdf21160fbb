"""Commands on a store: status, show, view, verify, export, tidy; and lists.

What only some of them need is imported in the function: ``status`` draws nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from iitdask.cli.output import print_result, print_table, require_port
from iitdask.errors import InputError, quote
from iitdask.result.formatting import bytes_text, seconds_text
from iitdask.run.result_group import drop_blocks, load_partial_result, store_attrs
from iitdask.run.status import StoreStatus, read_status
from iitdask.run.storage import open_store

if TYPE_CHECKING:
    import xarray as xr
    from bokeh.document import Document

MAX_SHOWN_FAILURES = 20

JsonFlag = Annotated[bool, Parameter(name="--json")]


def status(
    store: str,
    /,
    *,
    json_: JsonFlag = False,
    serve: bool = False,
    port: int | None = None,
    address: str | None = None,
) -> int:
    """Show how far a store is, whether or not a run is at work on it.

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
        Address to serve at; that of this machine alone when not given. Whoever reaches it can
        read how far the store is.
    """
    if serve and json_:
        raise InputError("--serve: expected no --json beside it, got both")
    if not serve:
        _require_no_server("--serve", port, address)
    progress = read_status(open_store(store))
    if serve:
        from iitdask.view.status_page import fill_status_page

        return _serve_until_interrupted(lambda doc: fill_status_page(doc, store), address, port)
    if json_:
        print(json.dumps(_status_json(progress), indent=1))
        return 0
    rows = []
    for stage in progress.stages:
        is_open = stage.done < stage.blocks and not stage.partial
        left = seconds_text(stage.seconds_left) if is_open else "-"
        rows.append((stage.name, str(stage.done), str(stage.blocks), left))
    columns = ("stage", "done", "blocks", "core time left")
    print_table(columns, rows, right=columns[1:])
    print("", *_status_lines(progress), sep="\n")
    return 0


def _require_no_server(expected: str, port: int | None, address: str | None) -> None:
    """Refuse a port or an address at which nothing would be served."""
    for name, value in {"port": port, "address": address}.items():
        if value is not None:
            raise InputError(
                f"--{name}: expected {expected}, got {quote(value)} and nothing to serve"
            )


def _serve_until_interrupted(
    fill: Callable[[Document], None], address: str | None, port: int | None
) -> int:
    from iitdask.view.pages import LOOPBACK_ADDRESS, serve_page

    require_port("port", port)

    with serve_page(fill, LOOPBACK_ADDRESS if address is None else address, port or 0) as url:
        print(f"{url}  (Ctrl-C ends)", flush=True)
        Event().wait()
    return 0


def _status_lines(progress: StoreStatus) -> list[str]:
    lines = [f"driven by {session.describe()}" for session in progress.sessions]
    if "finished" in progress.attrs:
        dropped = ", blocks dropped (iitdask tidy)" if "tidied" in progress.attrs else ""
        lines.append(f"finished {progress.attrs['finished']}{dropped}")
    elif not progress.sessions:
        why = f" (the last one: {progress.end_reason})" if progress.end_reason else ""
        lines.append(f"no run is at work{why}; `iitdask run` goes on from here")
    if progress.sessions:
        lines.append(
            f"rate {progress.rate:.3g} core-seconds a second; stages known so far: "
            f"{seconds_text(progress.seconds_left)} left"
        )
    if progress.failures:
        lines.append(f"{len(progress.failures)} block(s) given up in the last run:")
        lines += [f"  {failure}" for failure in progress.failures[:MAX_SHOWN_FAILURES]]
    return lines


def _status_json(progress: StoreStatus) -> dict[str, object]:
    return {
        "store": progress.url,
        "finished": progress.attrs.get("finished"),
        "fingerprint": progress.attrs.get("fingerprint"),
        "stages": {
            each.name: {"done": each.done, "blocks": each.blocks} for each in progress.stages
        },
        "drivers": [session.to_json() for session in progress.sessions],
        "failures": list(progress.failures),
        "rate": progress.rate,
        "costs": progress.attrs.get("costs"),
    }


def show(
    store: str | None = None,
    /,
    *,
    json_: JsonFlag = False,
    explain: bool = False,
    cache: str | None = None,
) -> int:
    """Show the results of a store, or what a cache holds.

    Parameters
    ----------
    store
        Directory or URL of the store.
    json_
        Everything, as JSON.
    explain
        What decided phi_s, the partition that comes next, and why phi_s is 0 where it is.
    cache
        Directory of a cache, instead of a store.
    """
    if cache is not None:
        if store is not None or json_ or explain:
            raise InputError("--cache: expected neither a store nor a flag beside it, got one")
        return _show_cache(cache)
    if store is None:
        raise InputError("show: expected a store or --cache DIR, got neither")
    from iitdask.study.partial_structure import load_stored_result

    tree = load_stored_result(open_store(store))
    if explain:
        return _show_explanation(tree, store, json_)
    if json_:
        _print_json(tree)
    else:
        print_result(tree)
    return 0


def _print_json(tree: xr.DataTree) -> None:
    from iitdask.result.formatting import as_json

    print(json.dumps(as_json(tree), indent=1))


def _show_explanation(tree: xr.DataTree, store: str, json_: bool) -> int:
    from iitdask.result.explanation import explain_result, explanation_rows, explanation_tree
    from iitdask.study.run import stored_target

    found = explain_result(tree, stored_target(store))
    if json_:
        _print_json(explanation_tree(found))
    else:
        print_table((), explanation_rows(found))
    return 0


def compare(a: str, b: str, /, *, json_: JsonFlag = False) -> int:
    """Compare the results of two stores.

    Parameters
    ----------
    a
        Directory or URL of the first store.
    b
        Directory or URL of the second one.
    json_
        Everything, as JSON.
    """
    from iitdask.result.explanation import compare_results, comparison_rows

    found = compare_results(*(load_partial_result(open_store(store)) for store in (a, b)))
    if json_:
        _print_json(found)
        return 0
    rows, changed = comparison_rows(found)
    print_table((), rows)
    if changed:
        print()
        print_table(("mechanism", "status", "phi of a", "phi of b"), changed)
    return 0


def _show_cache(directory: str) -> int:
    from iitdask.run.zarr_ledger import list_entries

    entries = sorted(list_entries(directory), key=lambda entry: -entry.used)
    rows = [
        (
            entry.stage,
            entry.path.name.rsplit("-", 1)[-1],
            f"{entry.done} of {entry.blocks}",
            bytes_text(entry.nbytes),
            datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds"),
            "yes" if entry.in_use else "no",
        )
        for entry in entries
    ]
    print_table(("stage", "entry", "blocks", "size", "last used", "in use"), rows)
    print(f"{len(entries)} entries, {bytes_text(sum(entry.nbytes for entry in entries))}")
    return 0


def examples(name: str | None = None, /) -> int:
    """List published systems, or print one as a study to start from.

    Parameters
    ----------
    name
        Name of an example.
    """
    import yaml

    from iitdask.model import examples as published

    if name is not None:
        print(yaml.safe_dump(published.spec(name), sort_keys=False, allow_unicode=True, width=100))
        return 0
    studies = {known: published.spec(known) for known in published.names()}
    rows = [
        (known, ", ".join(filter(None, (study["title"], study["figure"]))), study["compute"])
        for known, study in studies.items()
    ]
    print_table(("name", "source", "compute"), rows, whole=("name", "compute"))
    return 0


def theories(name: str | None = None, /) -> int:
    """List theories, what can be computed under each, and their options as studies name them.

    Parameters
    ----------
    name
        Name of a theory, to list that one.
    """
    from iitdask.theory.catalog import COMPUTATIONS, THEORIES, theory_name, theory_options
    from iitdask.theory.options import describe_options

    chosen = THEORIES if name is None else [theory_name(theory_options(name))]
    for theory in chosen:
        computed = [each for each, one in COMPUTATIONS.items() if theory in one.recipes]
        print(f"{theory}: compute {', '.join(computed)}")
        options = describe_options(THEORIES[theory])
        rows = [(row.name, row.values_text, row.meaning) for row in options]
        print_table(("option", "values, the default first", "meaning"), rows, whole=("option",))
    return 0


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
    from iitdask.study.run import verify_stored_run

    if sample < 0:
        raise InputError(f"--sample: expected 0 or more blocks, got {quote(sample)}")
    checked = verify_stored_run(store, sample, seed)
    for problem in checked.problems:
        print(problem)
    if checked.problems:
        print(f"{len(checked.problems)} problem(s); `iitdask run` computes anew what is damaged")
        return 1
    if checked.tidied:
        print(f"{store}: result as written; its blocks were dropped")
        return 0
    print(
        f"{store}: {checked.stages} stages, {checked.blocks} blocks as written, "
        f"{checked.recomputed} of them computed again with the same bits"
    )
    return 0


def tidy(store: str, /) -> int:
    """Drop the blocks of a finished store and keep its result.

    Parameters
    ----------
    store
        Directory or URL of the store.
    """
    opened = open_store(store)
    store_attrs(opened)  # before what may be no store is measured
    before = opened.nbytes()
    drop_blocks(opened)
    print(f"{store}: {bytes_text(before)} before, {bytes_text(opened.nbytes())} now")
    return 0


def export(store: str, file: str, /) -> int:
    """Write the result of a store to a file for other programs.

    Of a sweep that is not finished, the finished points are written.

    Parameters
    ----------
    store
        Directory or URL of the store.
    file
        .csv (a table), .nc (NetCDF 4) or .json (everything).
    """
    from iitdask.result.cube import table_of, write_result

    tree = load_partial_result(open_store(store))
    written = write_result(tree, file)
    table, told = table_of(tree), ""
    if table is not None and written.suffix == ".csv":
        told = f", {tree[table[0]].sizes[table[1]]:,} rows of /{table[0]}"
    print(f"{written}: {bytes_text(written.stat().st_size)}{told}")
    return 0


def view(
    store: str,
    /,
    *,
    html: str | None = None,
    port: int | None = None,
    address: str | None = None,
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
        Address to serve at; that of this machine alone when not given. Whoever reaches it can
        read the result.
    """
    from iitdask.result.cube import replaced_file
    from iitdask.study.problem import load_for_view
    from iitdask.view.explorer import explorer_html, fill_explorer

    if html is not None:
        _require_no_server("no --html beside it", port, address)
    tree = load_for_view(open_store(store))
    if html is not None:
        content = explorer_html(tree).encode()
        with replaced_file(html, "--html: ") as partial:
            partial.write_bytes(content)
        print(f"{html}: {bytes_text(len(content))}")
        return 0
    return _serve_until_interrupted(lambda doc: fill_explorer(doc, tree), address, port)
