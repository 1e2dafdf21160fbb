"""True events: occurrences with both an actual cause and an actual effect (spec.md 13.7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.passage import Course
from iitdask.theory.account import Link, account_of, account_tree
from iitdask.theory.base import Stages, scoped
from iitdask.theory.options import Causation2019
from iitdask.theory.vocabulary import described

__all__ = ["events"]


def events(course: Course, options: Causation2019) -> Stages:
    """Find the occurrences that something caused and that caused something."""
    into = yield from scoped("into", account_of(course.into, options))
    out_of = yield from scoped("out-of", account_of(course.out_of, options))
    causes = {link.mechanism: link for link in into.links if not link.forward}
    effects = {link.mechanism: link for link in out_of.links if link.forward}
    both = [mechanism for mechanism in causes if mechanism in effects]
    n = len(course.into.units)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "mechanism": (("event", "unit"), _inside(both, n)),
    }
    for name, links in (("cause", causes), ("effect", effects)):
        found = [links[m] for m in both]
        values |= {
            f"purview_{name}": (("event", "unit"), _inside([x.purviews[0] for x in found], n)),
            f"alpha_{name}": (("event",), _alphas(found)),
            f"n_tied_purviews_{name}": (
                ("event",),
                np.array([len(x.purviews) for x in found], int),
            ),
        }
    nodes = {"/events": described(values), "/": xr.Dataset(attrs={"n_events": len(both)})}
    for name, found_account in (("into", into), ("out_of", out_of)):
        for node in account_tree(found_account).subtree:
            path = f"/{name}" if node.path == "/" else f"/{name}{node.path}"
            nodes[path] = node.to_dataset(inherit=False)
    return xr.DataTree.from_dict(nodes)


def _alphas(links: list[Link]) -> Any:
    return np.array([link.alpha for link in links], float)


def _inside(masks: list[int], n: int) -> Any:
    return (np.array(masks, np.int64)[:, None] >> np.arange(n) & 1).astype(np.bool_)
