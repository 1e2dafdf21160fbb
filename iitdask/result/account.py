"""Causal accounts with the names users gave, and what a terminal shows of them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.model.transition import Transition
from iitdask.result.labels import namer, partition_text, state_text, text, units_text
from iitdask.result.summary import number
from iitdask.theory.options import Theory
from iitdask.theory.vocabulary import MEANING

__all__ = ["LINK_COLUMNS", "account_rows", "labelled_account", "link_rows", "occurrence"]

LINK_COLUMNS = ("link", "alpha", "ties", "least partition")


def labelled_account(
    tree: xr.DataTree, transition: Transition, options: Theory, about: dict[str, Any]
) -> xr.DataTree:
    """Name units, links and partitions.

    Parameters
    ----------
    tree
        What the recipe returned; its units are numbers.
    transition
        What it was computed for.
    options
        The theory and the choices made about it.
    about
        More attributes.
    """
    labels, name = text(transition.labels), namer(transition.labels)
    nodes = {node.name: node.to_dataset(inherit=False) for node in tree.subtree}
    links = nodes["links"]
    parts = [
        partition_text(name, mask(mechanism), mask(purview), kept.tolist(), cause=True)
        for mechanism, purview, kept in zip(
            links["mechanism"].values, links["purview"].values, links["kept"].values, strict=True
        )
    ]
    links["partition"] = ("link", text(parts), {"comment": MEANING["partition"][1]})
    values = dict(zip(transition.units, transition.labels, strict=True))
    links = links.assign_coords(
        unit=("unit", labels),
        before=("unit", np.array([transition.before[i] for i in values])),
        after=("unit", np.array([transition.after[i] for i in values])),
    )
    system = nodes["system"].assign_coords(source=("source", labels), target=("target", labels))
    more = _about(transition, options) | about
    return xr.DataTree.from_dict(
        {
            "/": tree.to_dataset(inherit=False).assign_attrs(more),
            "/links": links,
            "/system": system.assign_attrs(more),
        }
    )


def mask(inside: np.ndarray[Any, np.dtype[Any]]) -> int:
    """Mask of the units that are inside."""
    return sum(1 << int(i) for i in np.flatnonzero(inside))


def _about(transition: Transition, options: Theory) -> dict[str, Any]:
    chosen = msgspec.to_builtins(options)
    names = transition.substrate.labels
    return {
        "theory": chosen.pop("name"),
        **chosen,
        "before": state_text(transition.before),
        "after": state_text(transition.after),
        "causes": units_text([names[i] for i in transition.causes]),
        "effects": units_text([names[i] for i in transition.effects]),
        "max_order": transition.max_order,
        "substrate_units": units_text(names),
        "substrate_fingerprint": transition.substrate.fingerprint,
    }


def account_rows(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about an account, as names and values."""
    about, system = tree.attrs, tree["system"].to_dataset()
    strength = number(float(system["sum_alpha"]))
    rows = [
        ("theory", f"{about['theory']}, background {about['background']}"),
        ("transition", f"{about['before']} to {about['after']} of {about['substrate_units']}"),
        ("causes, effects", f"{about['causes']} to {about['effects']}"),
        (
            "links",
            f"{about['n_causes']} causes, {about['n_effects']} effects, sum alpha {strength} bits",
        ),
        ("alpha of the account", f"{number(float(system['alpha']))} bits"),
    ]
    if about_reason := system.attrs["reason"]:
        rows.append(("reason", str(about_reason)))
    if system["cut"].values.any():
        rows.append(("weakest cut", _severed(system)))
    return rows


def _severed(system: xr.Dataset, most: int = 12) -> str:
    labels = [str(x) for x in system["source"].values]
    found = np.argwhere(system["cut"].values)
    edges = [f"{labels[a]}→{labels[b]}" for a, b in found[:most]]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return f"severs {' '.join(edges)}{more}"


def link_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """One row per link, see ``LINK_COLUMNS``: ``AB → D`` effects, ``AB ← D`` causes."""
    data = tree["links"].to_dataset()
    labels = data["unit"].values
    rows: list[tuple[str, ...]] = []
    for k in range(data.sizes["link"]):
        one = data.isel(link=k)
        cause = str(one["direction"].values) == "cause"
        own = occurrence(labels, one["mechanism"].values, one["after" if cause else "before"])
        count = int(one["n_tied_purviews"])
        tied = one["tied_purview"].values[:count]
        values = one["before" if cause else "after"]
        others = " or ".join(occurrence(labels, inside, values) for inside in tied)
        rows.append(
            (
                f"{others} ← {own}" if cause else f"{own} → {others}",
                number(float(one["alpha"])),
                str(count) if count > 1 else "",
                str(one["partition"].values),
            )
        )
    return rows


def occurrence(labels: Any, inside: Any, values: xr.DataArray) -> str:
    """Write units with their state: ``AB=10``."""
    chosen = [str(x) for x in np.asarray(labels)[inside]]
    return f"{units_text(chosen)}={state_text(values.values[inside].tolist())}"
