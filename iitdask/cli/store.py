"""``iitdask status``, ``iitdask verify`` and ``iitdask tidy``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from iitdask.cli.units import bytes_text, seconds_text
from iitdask.errors import BusyStoreError
from iitdask.run.outcome import tidy as drop_blocks
from iitdask.run.place import local_path
from iitdask.run.presence import drivers
from iitdask.run.survey import survey
from iitdask.study.inquiry import audit_store

if TYPE_CHECKING:
    from iitdask.run.survey import StageState, Survey

__all__ = ["status", "tidy", "verify"]


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
    found = survey(store)
    if serve:
        from iitdask.cli.live import watch

        watch(store, address, port)
        return 0
    if json_:
        print(json.dumps(_as_json(found), indent=1))
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("stage", "done", "blocks", "core time left"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for each in found.stages:
        left = seconds_text(each.seconds_left) if _open(each) else "-"
        table.add_row(each.name, str(each.done), str(each.blocks), left)
    Console(highlight=False).print(table)
    print()
    for line in _lines(found):
        print(line)
    return 0


def _open(stage: StageState) -> bool:
    return stage.done < stage.blocks and not stage.partial


def _lines(found: Survey) -> list[str]:
    lines = [f"driven by {each.described()}" for each in found.driven]
    if "finished" in found.about:
        dropped = ", blocks dropped (iitdask tidy)" if "tidied" in found.about else ""
        lines.append(f"finished {found.about['finished']}{dropped}")
    elif not found.driven:
        why = f" (the last one: {found.ended})" if found.ended else ""
        lines.append(f"no run is at work{why}; `iitdask run` goes on from here")
    if found.driven:
        lines.append(
            f"rate {found.rate:.3g} core-seconds a second; stages known so far: "
            f"{seconds_text(found.seconds_left)} left"
        )
    if found.failures:
        lines.append(f"{len(found.failures)} block(s) given up in the last run:")
        lines += [f"  {each}" for each in found.failures[:20]]
    return lines


def _as_json(found: Survey) -> dict[str, object]:
    return {
        "store": found.url,
        "finished": found.about.get("finished"),
        "fingerprint": found.about.get("fingerprint"),
        "stages": {each.name: {"done": each.done, "blocks": each.blocks} for each in found.stages},
        "drivers": [asdict(each) for each in found.driven],
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
    found = audit_store(store, sample, seed)
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
    busy = drivers(store)
    if busy:
        raise BusyStoreError(f"{store} is being filled by {busy[0].described()}")
    before = _size(store)
    drop_blocks(store)
    after = _size(store)
    print(f"{store}: {bytes_text(before)} before, {bytes_text(after)} now")
    return 0


def _size(store: str) -> int:
    path = local_path(store)
    if path is None:
        return 0
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
