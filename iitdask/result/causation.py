"""Causal accounts, the causal nexus and true events: labelling and summaries."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.result.formatting import (
    mask_namer,
    number_text,
    partition_text,
    state_text,
    text_array,
    units_text,
)
from iitdask.theory.options import Theory
from iitdask.theory.variables import VARIABLES

__all__ = [
    "LINK_COLUMNS",
    "account_summary",
    "causation_summary",
    "causation_table",
    "label_account",
    "label_causation",
    "link_rows",
    "occurrence_text",
]

LINK_COLUMNS = ("link", "alpha", "ties", "least partition")


def label_account(
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
    labels, name = text_array(transition.labels), mask_namer(transition.labels)
    nodes = {node.name: node.to_dataset(inherit=False) for node in tree.subtree}
    links = nodes["links"]
    parts = [
        partition_text(
            name,
            mask_from_members(mechanism),
            mask_from_members(purview),
            kept.tolist(),
            cause=True,
        )
        for mechanism, purview, kept in zip(
            links["mechanism"].values, links["purview"].values, links["kept"].values, strict=True
        )
    ]
    links["partition"] = ("link", text_array(parts), {"comment": VARIABLES["partition"][1]})
    values = dict(zip(transition.units, transition.labels, strict=True))
    links = links.assign_coords(
        unit=("unit", labels),
        before=("unit", np.array([transition.before[i] for i in values])),
        after=("unit", np.array([transition.after[i] for i in values])),
    )
    system = nodes["system"].assign_coords(source=("source", labels), target=("target", labels))
    more = _account_attrs(transition, options) | about
    return xr.DataTree.from_dict(
        {
            "/": tree.to_dataset(inherit=False).assign_attrs(more),
            "/links": links,
            "/system": system.assign_attrs(more),
        }
    )


def mask_from_members(inside: np.ndarray[Any, np.dtype[Any]]) -> int:
    """Mask of the units that are inside."""
    return sum(1 << int(i) for i in np.flatnonzero(inside))


def _account_attrs(transition: Transition, options: Theory) -> dict[str, Any]:
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


def account_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about an account, as names and values."""
    about, system = tree.attrs, tree["system"].to_dataset()
    strength = number_text(float(system["sum_alpha"]))
    rows = [
        ("theory", f"{about['theory']}, background {about['background']}"),
        ("transition", f"{about['before']} to {about['after']} of {about['substrate_units']}"),
        ("causes, effects", f"{about['causes']} to {about['effects']}"),
        (
            "links",
            f"{about['n_causes']} causes, {about['n_effects']} effects, sum alpha {strength} bits",
        ),
        ("alpha of the account", f"{number_text(float(system['alpha']))} bits"),
    ]
    if about_reason := system.attrs["reason"]:
        rows.append(("reason", str(about_reason)))
    if system["cut"].values.any():
        rows.append(("weakest cut", _severed_edges_text(system)))
    return rows


def _severed_edges_text(system: xr.Dataset, most: int = 12) -> str:
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
        own = occurrence_text(labels, one["mechanism"].values, one["after" if cause else "before"])
        count = int(one["n_tied_purviews"])
        tied = one["tied_purview"].values[:count]
        values = one["before" if cause else "after"]
        others = " or ".join(occurrence_text(labels, inside, values) for inside in tied)
        rows.append(
            (
                f"{others} ← {own}" if cause else f"{own} → {others}",
                number_text(float(one["alpha"])),
                str(count) if count > 1 else "",
                str(one["partition"].values),
            )
        )
    return rows


def occurrence_text(labels: Any, inside: Any, values: xr.DataArray) -> str:
    """Write units with their state: ``AB=10``."""
    chosen = [str(x) for x in np.asarray(labels)[inside]]
    return f"{units_text(chosen)}={state_text(values.values[inside].tolist())}"


def label_causation(
    tree: xr.DataTree, subject: StatePair | StateTriple, options: Theory, about: dict[str, Any]
) -> xr.DataTree:
    """Name units and everything in the accounts that come with it.

    Parameters
    ----------
    tree
        What the recipe returned; its units are numbers.
    subject
        What it was computed for.
    options
        The theory and the choices made about it.
    about
        More attributes.
    """
    if isinstance(subject, StatePair):
        return _label_nexus(tree, subject, options, about)
    return _label_events(tree, subject, options, about)


def _label_nexus(
    tree: xr.DataTree, passage: StatePair, options: Theory, about: dict[str, Any]
) -> xr.DataTree:
    found = dict(tree.attrs)
    candidates = tree["candidates"].to_dataset().assign_coords(unit=_unit_coord(passage.labels))
    if "links" not in tree.children:
        chosen = msgspec.to_builtins(options)
        states = {
            "before": state_text(passage.before),
            "after": state_text(passage.after),
            "substrate_units": units_text(passage.labels),
        }
        root = xr.Dataset(attrs=found | {"theory": chosen.pop("name"), **chosen} | states | about)
        return xr.DataTree.from_dict({"/": root, "/candidates": candidates})
    winner = Transition.build(
        passage.substrate, passage.before, passage.after, found["causes"], found["effects"]
    )
    labelled = label_account(tree, winner, options, about)
    nodes = {node.path: node.to_dataset(inherit=False) for node in labelled.subtree}
    return xr.DataTree.from_dict({**nodes, "/candidates": candidates})


def _label_events(
    tree: xr.DataTree, course: StateTriple, options: Theory, about: dict[str, Any]
) -> xr.DataTree:
    events = tree["events"].to_dataset().assign_coords(unit=_unit_coord(course.labels))
    states = (course.into.before, course.into.after, course.out_of.after)
    for name, values in zip(("before", "state", "after"), states, strict=True):
        events = events.assign_coords({name: ("unit", [values[i] for i in course.into.units])})
    nodes = {"/events": events}
    for name, part in (("into", course.into), ("out_of", course.out_of)):
        branch = xr.DataTree.from_dict(
            {
                node.path.removeprefix(f"/{name}") or "/": node.to_dataset(inherit=False)
                for node in tree[name].subtree
            }
        )
        for node in label_account(branch, part, options, about).subtree:
            nodes[f"/{name}{node.path}".rstrip("/")] = node.to_dataset(inherit=False)
    more = {key: nodes["/into"].attrs[key] for key in ("theory", "background", "substrate_units")}
    more |= {
        name: state_text(x) for name, x in zip(("before", "state", "after"), states, strict=True)
    }
    nodes["/"] = xr.Dataset(attrs=dict(tree.attrs) | more | about)
    return xr.DataTree.from_dict(nodes)


def _unit_coord(labels: Any) -> Any:
    return ("unit", text_array(labels))


def causation_summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """What there is to say about a nexus or about true events."""
    about = tree.attrs
    rows = [("theory", f"{about['theory']}, background {about['background']}")]
    if "events" in tree.children:
        states = " to ".join(about[name] for name in ("before", "state", "after"))
        return [*rows, ("states", states), ("true events", str(about["n_events"]))]
    tied = about["n_tied"]
    return [
        *rows,
        ("transition", f"{about['before']} to {about['after']} of {about['substrate_units']}"),
        (
            "causal nexus",
            f"{number_text(float(about['alpha']))} bits" + (f", {tied} tie" if tied > 1 else ""),
        ),
    ]


def causation_table(tree: xr.DataTree) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: the true events, or the most irreducible candidates."""
    if "events" in tree.children:
        data = tree["events"].to_dataset()
        return ("cause", "alpha cause", "event", "alpha effect", "effect"), [
            _event_row(data.isel(event=k)) for k in range(data.sizes["event"])
        ]
    data = tree["candidates"].to_dataset()
    labels = data["unit"].values
    return ("causes", "effects", "alpha"), [
        (
            units_text(labels[data["causes"].values[k]].tolist()),
            units_text(labels[data["effects"].values[k]].tolist()),
            number_text(float(data["alpha"][k])),
        )
        for k in range(min(data.sizes["candidate"], 5))
    ]


def _event_row(one: xr.Dataset) -> tuple[str, ...]:
    labels = one["unit"].values
    return (
        occurrence_text(labels, one["purview_cause"].values, one["before"]),
        number_text(float(one["alpha_cause"])),
        occurrence_text(labels, one["mechanism"].values, one["state"]),
        number_text(float(one["alpha_effect"])),
        occurrence_text(labels, one["purview_effect"].values, one["after"]),
    )
