"""The causal nexus and true events, with the names users gave."""

from __future__ import annotations

from typing import Any

import msgspec
import xarray as xr

from iitdask.model.passage import Course, Passage
from iitdask.model.transition import Transition
from iitdask.result.account import labelled_account, occurrence
from iitdask.result.labels import state_text, text, units_text
from iitdask.result.summary import number
from iitdask.theory.options import Theory

__all__ = ["labelled_passage", "passage_rows", "passage_table"]


def labelled_passage(
    tree: xr.DataTree, subject: Passage | Course, options: Theory, about: dict[str, Any]
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
    if isinstance(subject, Passage):
        return _of_nexus(tree, subject, options, about)
    return _of_events(tree, subject, options, about)


def _of_nexus(
    tree: xr.DataTree, passage: Passage, options: Theory, about: dict[str, Any]
) -> xr.DataTree:
    found = dict(tree.attrs)
    candidates = tree["candidates"].to_dataset().assign_coords(unit=_names(passage.labels))
    if "links" not in tree.children:
        chosen = msgspec.to_builtins(options)
        states = {
            "before": state_text(passage.before),
            "after": state_text(passage.after),
            "substrate_units": units_text(passage.labels),
        }
        root = xr.Dataset(attrs=found | {"theory": chosen.pop("name"), **chosen} | states | about)
        return xr.DataTree.from_dict({"/": root, "/candidates": candidates})
    winner = Transition.of(
        passage.substrate, passage.before, passage.after, found["causes"], found["effects"]
    )
    labelled = labelled_account(tree, winner, options, about)
    nodes = {node.path: node.to_dataset(inherit=False) for node in labelled.subtree}
    return xr.DataTree.from_dict({**nodes, "/candidates": candidates})


def _of_events(
    tree: xr.DataTree, course: Course, options: Theory, about: dict[str, Any]
) -> xr.DataTree:
    events = tree["events"].to_dataset().assign_coords(unit=_names(course.labels))
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
        for node in labelled_account(branch, part, options, about).subtree:
            nodes[f"/{name}{node.path}".rstrip("/")] = node.to_dataset(inherit=False)
    more = {key: nodes["/into"].attrs[key] for key in ("theory", "background", "substrate_units")}
    more |= {
        name: state_text(x) for name, x in zip(("before", "state", "after"), states, strict=True)
    }
    nodes["/"] = xr.Dataset(attrs=dict(tree.attrs) | more | about)
    return xr.DataTree.from_dict(nodes)


def _names(labels: Any) -> Any:
    return ("unit", text(labels))


def passage_rows(tree: xr.DataTree) -> list[tuple[str, str]]:
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
            f"{number(float(about['alpha']))} bits" + (f", {tied} tie" if tied > 1 else ""),
        ),
    ]


def passage_table(tree: xr.DataTree) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: the true events, or the most irreducible candidates."""
    if "events" in tree.children:
        data = tree["events"].to_dataset()
        return ("cause", "alpha cause", "event", "alpha effect", "effect"), [
            _event(data.isel(event=k)) for k in range(data.sizes["event"])
        ]
    data = tree["candidates"].to_dataset()
    labels = data["unit"].values
    return ("causes", "effects", "alpha"), [
        (
            units_text(labels[data["causes"].values[k]].tolist()),
            units_text(labels[data["effects"].values[k]].tolist()),
            number(float(data["alpha"][k])),
        )
        for k in range(min(data.sizes["candidate"], 5))
    ]


def _event(one: xr.Dataset) -> tuple[str, ...]:
    labels = one["unit"].values
    return (
        occurrence(labels, one["purview_cause"].values, one["before"]),
        number(float(one["alpha_cause"])),
        occurrence(labels, one["mechanism"].values, one["state"]),
        number(float(one["alpha_effect"])),
        occurrence(labels, one["purview_effect"].values, one["after"]),
    )
