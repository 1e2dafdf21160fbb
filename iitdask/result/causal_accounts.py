"""Causal accounts, the causal nexus and true events: labelling and summaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.labels import join_labels, state_text, unit_set_names
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.result.formatting import (
    Overview,
    Table,
    known_labels,
    number_text,
    partition_texts,
    severed_text,
    target_attrs,
    text_array,
    theory_attrs,
)
from iitdask.run.checksum import package_version
from iitdask.theory.options import Theory
from iitdask.theory.variables import VARIABLES

MAX_SHOWN_CANDIDATES = 5


def label_account(tree: xr.DataTree, transition: Transition, options: Theory) -> xr.DataTree:
    """Name units, links and partitions of a causal account."""
    labels, known = text_array(transition.labels), transition.substrate.labels
    nodes = {node.name: node.to_dataset(inherit=False) for node in tree.subtree}
    links, units = nodes["links"], list(transition.units)
    mechanism, purview, kept = (links[name].values for name in ("mechanism", "purview", "kept"))
    sides = (mechanism, purview, kept)
    partitions = partition_texts(transition.labels, True, sides, known)
    links["partition"] = ("link", partitions, {"comment": VARIABLES["partition"][1]})
    links = links.assign_coords(
        unit=("unit", labels),
        before=("unit", np.array(transition.before)[units]),
        after=("unit", np.array(transition.after)[units]),
    )
    system = nodes["system"].assign_coords(source=("source", labels), target=("target", labels))
    texts = {
        "before": state_text(transition.before),
        "after": state_text(transition.after),
        "causes": join_labels([known[i] for i in transition.causes], known),
        "effects": join_labels([known[i] for i in transition.effects], known),
        "max_order": transition.max_order,
    }
    about = target_attrs(transition.substrate, options, texts)
    root = tree.to_dataset(inherit=False).assign_attrs(about)
    return xr.DataTree.from_dict(
        {"/": root, "/links": links, "/system": system.assign_attrs(about)}
    )


def link_rows(tree: xr.DataTree) -> list[tuple[str, ...]]:
    """Return link (``AB → D`` effect, ``AB ← D`` cause), alpha, ties, partition of each link."""
    data, known = tree["links"].to_dataset(), known_labels(tree)
    values = {name: data[name].values for name in (*data.data_vars, *data.coords)}
    rows: list[tuple[str, ...]] = []
    for k in range(data.sizes["link"]):
        is_cause = str(values["direction"][k]) == "cause"
        own, other = ("after", "before") if is_cause else ("before", "after")
        mechanism = _occurrence_texts(values["mechanism"][k : k + 1], data, own, known)[0]
        count = int(values["n_tied_purviews"][k])
        tied = _occurrence_texts(values["tied_purview"][k, :count], data, other, known)
        purviews = " or ".join(tied)
        rows.append(
            (
                f"{purviews} ← {mechanism}" if is_cause else f"{mechanism} → {purviews}",
                number_text(float(values["alpha"][k])),
                str(count) if count > 1 else "",
                str(values["partition"][k]),
            )
        )
    return rows


def _occurrence_texts(
    inside: Any, data: xr.Dataset, state: str, known: tuple[str, ...]
) -> list[str]:
    """Return each row's set of units with its state, ``AB=10``; `state` names a coordinate."""
    names, values = unit_set_names(inside, data["unit"].values, known), data[state].values
    return [
        f"{name}={state_text(values[row].tolist())}"
        for name, row in zip(names, inside, strict=True)
    ]


def label_nexus(tree: xr.DataTree, pair: StatePair, options: Theory) -> xr.DataTree:
    """Name the units of a causal nexus and of its account."""
    attrs, units = dict(tree.attrs), ("unit", text_array(pair.labels))
    candidates = tree["candidates"].to_dataset().assign_coords(unit=units)
    if "links" not in tree.children:
        states = {"before": state_text(pair.before), "after": state_text(pair.after)}
        states["substrate_units"] = join_labels(pair.labels, pair.labels)
        states["iitdask_version"] = package_version()
        root = xr.Dataset(attrs=attrs | theory_attrs(options) | states)
        return xr.DataTree.from_dict({"/": root, "/candidates": candidates})
    labels = pair.substrate.labels
    causes, effects = ([labels[i] for i in attrs[side]] for side in ("causes", "effects"))
    winner = Transition.build(pair.substrate, pair.before, pair.after, causes, effects)
    labelled = label_account(tree, winner, options)
    return labelled.assign(candidates=xr.DataTree(candidates))


def label_events(tree: xr.DataTree, triple: StateTriple, options: Theory) -> xr.DataTree:
    """Name the units of true events and of their accounts."""
    into, out_of = triple.into, triple.out_of
    states = {"before": into.before, "state": into.after, "after": out_of.after}
    coords: dict[str, Any] = {
        name: ("unit", [values[i] for i in into.units]) for name, values in states.items()
    }
    coords["unit"] = ("unit", text_array([triple.substrate.labels[i] for i in into.units]))
    nodes: dict[str, Any] = {"/events": tree["events"].to_dataset().assign_coords(coords)}
    for name, transition in (("into", into), ("out_of", out_of)):
        nodes[f"/{name}"] = label_account(tree.children[name], transition, options)
    shared = {key: nodes["/into"].attrs[key] for key in ("theory", "background", "substrate_units")}
    texts = {name: state_text(values) for name, values in states.items()}
    texts["iitdask_version"] = package_version()
    nodes["/"] = xr.Dataset(attrs=dict(tree.attrs) | shared | texts)
    return xr.DataTree.from_dict(nodes)


def account_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a causal account."""
    about, system = tree.attrs, tree["system"].to_dataset()
    total = number_text(float(system["sum_alpha"]))
    counts = f"{about['n_causes']} causes, {about['n_effects']} effects"
    summary = [
        _theory_row(about),
        _transition_row(about),
        ("causes, effects", f"{about['causes']} to {about['effects']}"),
        ("links", f"{counts}, sum alpha {total} bits"),
        ("alpha of the account", f"{number_text(float(system['alpha']))} bits"),
    ]
    if system.attrs["reason"]:
        summary.append(("reason", str(system.attrs["reason"])))
    if system["cut"].values.any():
        sources, targets = system["source"].values, system["target"].values
        summary.append(("weakest cut", severed_text(system["cut"].values, sources, targets)))
    columns = ("link", "alpha", "ties", "least partition")
    return [Overview(summary, [Table("links", columns, link_rows(tree))])]


def nexus_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overviews of the strongest candidates for a causal nexus and of its account."""
    about = tree.attrs
    tied = f", {about['n_tied']} tie" if about["n_tied"] > 1 else ""
    alpha = ("causal nexus", f"{number_text(float(about['alpha']))} bits{tied}")
    data = tree["candidates"].to_dataset().isel(candidate=slice(MAX_SHOWN_CANDIDATES))
    columns = ("causes", "effects", "alpha")
    sets = [unit_set_names(data[side].values, data["unit"].values) for side in columns[:2]]
    rows = list(zip(*sets, map(number_text, data["alpha"].values), strict=True))
    summary = [_theory_row(about), _transition_row(about), alpha]
    candidates = Overview(summary, [Table("candidates", columns, rows)])
    return [candidates, *(account_overviews(tree) if "links" in tree.children else [])]


def events_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of true events."""
    about, data, known = tree.attrs, tree["events"].to_dataset(), known_labels(tree)
    states = " to ".join(about[name] for name in ("before", "state", "after"))
    summary = [_theory_row(about), ("states", states), ("true events", str(about["n_events"]))]
    values = [
        _occurrence_texts(data["purview_cause"].values, data, "before", known),
        map(number_text, data["alpha_cause"].values),
        _occurrence_texts(data["mechanism"].values, data, "state", known),
        map(number_text, data["alpha_effect"].values),
        _occurrence_texts(data["purview_effect"].values, data, "after", known),
    ]
    columns = ("cause", "alpha cause", "event", "alpha effect", "effect")
    return [Overview(summary, [Table("events", columns, list(zip(*values, strict=True)))])]


def _theory_row(about: Mapping[Any, Any]) -> tuple[str, str]:
    return ("theory", f"{about['theory']}, background {about['background']}")


def _transition_row(about: Mapping[Any, Any]) -> tuple[str, str]:
    states = f"{about['before']} to {about['after']}"
    return ("transition", f"{states} of {about['substrate_units']}")
