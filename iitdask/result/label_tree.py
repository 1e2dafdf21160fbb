"""Results with the names users gave: units, states, partitions, complexes, perceptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.candidate_set import CandidateSet
from iitdask.model.grain_search import BOUNDS, GrainSearch
from iitdask.model.labels import join_labels, shortened, state_text, unit_set_names
from iitdask.model.macro_system import MacroSystem
from iitdask.model.perceptual_system import PerceptualSystem
from iitdask.model.search_space import SearchSpace
from iitdask.model.system import CandidateSystem, Target
from iitdask.result.formatting import (
    Overview,
    Table,
    number_text,
    partition_texts,
    target_attrs,
    text_array,
    theory_attrs,
)
from iitdask.run.checksum import package_version
from iitdask.theory.catalog import get_computation
from iitdask.theory.complexes.recipe import EXCLUSION_REASONS, EXCLUSION_STATUS
from iitdask.theory.options import Theory
from iitdask.theory.variables import (
    assemble_dataset,
    coordinate_labels,
    described_variable,
    replace_dataset,
)

MAX_STATE_CHARACTERS = 40
MAX_SHOWN_ROWS = 20  # Of candidates, systems and complexes across grains
MAX_DIGITS = 12  # Digits of a number of candidate systems; larger ones are written as powers of ten


def label_complexes(tree: xr.DataTree, candidates: CandidateSet, options: Theory) -> xr.DataTree:
    """Name units, complexes, candidates and reasons."""
    data, labels = tree["complexes"].to_dataset(), candidates.labels
    fates = [EXCLUSION_STATUS[int(code)] for code in data["fate"].values]
    coords: dict[str, Any] = {
        dim: (dim, text_array(unit_set_names(data[variable].values, labels)))
        for dim, variable in (("complex", "units"), ("candidate", "candidate_units"))
    }
    coords |= {
        "unit": ("unit", text_array(labels)),
        "reason": ("reason", text_array(EXCLUSION_REASONS)),
        "meaning": ("reason", text_array(EXCLUSION_REASONS.values())),
    }
    data = data.assign_coords(coords)
    data["fate"] = ("candidate", text_array(fates), data["fate"].attrs)
    about = target_attrs(candidates.substrate, options, {"state": state_text(candidates.state)})
    return xr.DataTree.from_dict({"/complexes": data.assign_attrs(about)})


def complexes_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a search for complexes, which are in order of acceptance."""
    data = tree["complexes"].to_dataset()
    about, state = data.attrs, shortened(data.attrs["state"], MAX_STATE_CHARACTERS)
    summary = [
        ("theory", str(about["theory"])),
        ("searched", f"{about['searched']}, state {state}"),
        ("evaluated", f"{int(data['candidates_evaluated'])} candidate systems"),
    ]
    meanings = dict(zip(data["reason"].values, data["meaning"].values, strict=True))
    summary += [
        ("excluded", f"{_count_text(number)}: {meanings[name]}")
        for name, number in about["excluded_by"].items()
    ]
    if not about["exhaustive"]:
        text = f"{_count_text(about['candidates_not_searched'])} candidate systems"
        summary.append(("not searched", f"{text}; the search was not exhaustive"))
    summary.append(("complexes", str(data.sizes["complex"])))
    columns = ["complex", "Phi" if about["theory"] == "iit3" else "phi_s"]
    values = [data["complex"].values.tolist(), [f"{phi:.6g}" for phi in data["phi"].values]]
    big_phi = data["big_phi"].values
    if np.isfinite(big_phi).any():
        columns.append("Phi")
        values.append([f"{phi:.6g}" if np.isfinite(phi) else "-" for phi in big_phi])
    rows = list(zip(*values, strict=True))
    return [Overview(summary, [Table("complexes", tuple(columns), rows)])]


def _count_text(number: str) -> str:
    return number if len(number) <= MAX_DIGITS else f"about 10^{len(number) - 1}"


def label_grains(tree: xr.DataTree, search: GrainSearch, options: Theory) -> xr.DataTree:
    """Say in the attributes of a search what was searched; its rows have their names."""
    bounds = {name: getattr(search, name) for name in BOUNDS}
    about = {
        "window": " ".join(state_text(state) for state in search.window),
        "mappings": search.mappings,
        **bounds,
        "searched": searched_text(search),
    }
    if search.footprints:
        about["footprints"] = search.to_dict()["footprints"]
    tree.attrs |= target_attrs(search.substrate, options, about)
    return tree


def searched_text(search: GrainSearch) -> str:
    """Return in words what a search looks at."""
    if search.footprints:
        count = len(search.footprints)
        scope = f"units of {count} listed system{'s' if count > 1 else ''}"
    else:
        scope = f"units of at most {search.constituents} micro units"
    levels = f"{search.depth} level{'s' if search.depth > 1 else ''}"
    updates = f"{search.updates} update{'s' if search.updates > 1 else ''}"
    text = f"{scope}, {levels}, up to {updates}, mappings {search.mappings}"
    return text + (f", up to {search.background} apportioned" if search.background else "")


def grains_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a search across grains."""
    about: dict[Any, Any] = tree.attrs
    verdicts = tree["units"].to_dataset()["verdict"].values
    names, counts = np.unique(verdicts.astype(str), return_counts=True)
    complexes = tree["complexes"].to_dataset()
    summary = [
        ("theory", str(about["theory"])),
        ("searched", str(about["searched"])),
        ("window", shortened(str(about["window"]), MAX_STATE_CHARACTERS)),
        ("candidates", ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True))),
        ("systems", _systems_text(tree)),
        ("complexes", str(complexes.sizes["complex"])),
    ]
    if not about["exclusion_rules_agree"]:
        others = [str(name) for name in tree["recursive_complexes"].to_dataset()["units"].values]
        text = ", ".join(others[:MAX_SHOWN_ROWS]) or "no complex"
        summary.append(("exclusion", f"one after another leaves other complexes: {text}"))
    return [
        Overview(
            summary,
            [
                Table("complexes", ("complex", "phi_s"), _first_rows(complexes, ("units", "phi"))),
                Table(
                    "candidates",
                    ("candidate", "verdict", "phi_s", "witness"),
                    _first_rows(
                        tree["units"].to_dataset(), ("candidate", "verdict", "phi", "witness")
                    ),
                ),
                Table(
                    "systems",
                    ("system", "phi_s"),
                    _first_rows(tree["systems"].to_dataset(), ("units", "phi")),
                ),
            ],
        )
    ]


def _systems_text(tree: xr.DataTree) -> str:
    """Return how many systems were compared, tie, and are kept."""
    about: dict[Any, Any] = tree.attrs
    text = f"{about['n_systems']}, {about['n_ties']} ties"
    if not about.get("summarised"):
        return text
    least = "" if about["n_ties_exact"] else " at least"
    kept = tree["systems"].sizes["system"]
    return f"{text}{least}; kept: the {kept} largest phi_s of their footprints"


def _first_rows(data: xr.Dataset, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the first rows of a table, numbers as text."""
    columns = []
    for name in names:
        values = data[name].values[:MAX_SHOWN_ROWS]
        is_number = values.dtype.kind == "f"
        columns.append([number_text(v) if is_number else str(v) for v in values])
    return list(zip(*columns, strict=True))


UNIT_DIMENSIONS = ("unit", "source", "target")


def label_tree(tree: xr.DataTree, compute: str, target: Target, options: Theory) -> xr.DataTree:
    """Name the units, mechanisms and partitions of a result; that of a system changes in place."""
    label: Callable[..., xr.DataTree] = get_computation(compute).load("label")
    return label(tree, target, options)


def macro_attrs(system: CandidateSystem) -> dict[str, Any]:
    """Return the definitions of macro units and their window, as attributes of a result."""
    if not isinstance(system, MacroSystem):
        return {}
    return {
        "window": [state_text(state) for state in system.window],
        "macro_units": [member.name for member in system.members],
        "definitions": system.to_dict()["units"],
    }


def label_network(tree: xr.DataTree, network: Target, options: Theory) -> xr.DataTree:
    """Say which network and version a result about a whole network is of."""
    about = target_attrs(network.substrate, options, {})
    for node in tree.subtree:
        node.attrs |= {k: v for k, v in about.items() if k != "theory"}
    return tree


def label_search(tree: xr.DataTree, space: SearchSpace, options: Theory) -> xr.DataTree:
    """Name units, and say which version a search is of."""
    data = tree["ranking"].to_dataset()
    names = text_array(space.labels)
    dims = {dim: (dim, names) for dim in UNIT_DIMENSIONS if dim in data.dims}
    about = target_attrs(space.substrate, options, {})
    data = data.assign_coords(dims).assign_attrs(
        {key: value for key, value in about.items() if not key.startswith("substrate_f")}
    )
    return xr.DataTree.from_dict({"/ranking": data})


def search_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a search: what was looked at, and the networks of largest value."""
    data = tree["ranking"].to_dataset()
    about: dict[Any, Any] = data.attrs
    summary = [("theory", str(about["theory"])), ("maximised", str(about["maximise"]))]
    summary += [
        (str(name).removeprefix("n_"), f"{value:,}")
        for name, value in about.items()
        if str(name).startswith("n_")
    ]
    summary.append(("exhaustive", "yes" if about["exhaustive"] else "no"))
    wanted = ("network", "phi", "maximised", "state", "table", "climb", "class_size", "steps")
    names = tuple(name for name in wanted if name in data)
    return [Overview(summary, [Table("ranking", names, _first_rows(data, names))])]


def label_system(tree: xr.DataTree, system: CandidateSystem, options: Theory) -> xr.DataTree:
    """Label a system analysis or cause-effect structure; see :func:`label_tree`."""
    substrate, known = system.substrate, system.substrate.labels
    named = {"state": state_text(system.state), "units": join_labels(system.labels, known)}
    about = target_attrs(substrate, options, named | macro_attrs(system))
    names = coordinate_labels(text_array(system.labels))  # converted once for all dimensions
    for node in tree.subtree:
        if node.path in ("/", "/system"):
            node.attrs |= about
        data = node.to_dataset(inherit=False)
        coords: dict[str, tuple[str, Any]] = {
            dim: (dim, names) for dim in UNIT_DIMENSIONS if dim in data.dims
        }
        if coords:  # all at once: every change of a dataset costs as much as making it
            variables = {str(name): data.variables[name] for name in data.data_vars}
            if "mechanism_units" in variables:
                mechanisms = variables["mechanism_units"].values
                texts = text_array(unit_set_names(mechanisms, system.labels, known))
                coords["mechanism"] = ("mechanism", texts)
                for side in ("cause", "effect"):
                    names_of = (f"purview_{side}", f"kept_{side}")
                    purviews, kept = (variables[name].values for name in names_of)
                    sides = (mechanisms, purviews, kept)
                    texts = partition_texts(system.labels, side == "cause", sides, known)
                    name = f"partition_{side}"
                    variables[name] = described_variable(name, ("mechanism",), texts)
            if "cut" in variables:  # what a figure of the system needs beside it
                more = {
                    "connectivity": (("source", "target"), np.array(system.connectivity)),
                    "current_state": (("unit",), np.array(system.local_state)),
                }
                variables |= {key: described_variable(key, *each) for key, each in more.items()}
            replace_dataset(node, assemble_dataset(variables, coords, data.attrs))
    return tree


def label_target(tree: xr.DataTree, target: Target, options: Theory) -> xr.DataTree:
    """Label the result of a target of any kind; see :func:`label_tree`.

    Dimensions of units get their names, the root the fields that build the target again.
    """
    names = text_array(target.labels)
    nodes = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        dims = [dim for dim in UNIT_DIMENSIONS if data.sizes.get(dim) == len(names)]
        nodes[node.path] = data.assign_coords({dim: (dim, names) for dim in dims})
    about = {name: str(value) for name, value in target.to_dict().items()}
    about["units"] = join_labels(target.labels, target.substrate.labels)
    if "state" in about:
        about["state"] = state_text(target.to_dict()["state"])
    about["iitdask_version"] = package_version()
    nodes["/"] = nodes["/"].assign_attrs(theory_attrs(options) | about)
    return xr.DataTree.from_dict(nodes)


def label_perception(tree: xr.DataTree, target: PerceptualSystem, options: Theory) -> xr.DataTree:
    """Name stimuli, states, units and mechanisms of a perception."""
    known = target.substrate.labels
    stimuli, distinctions = (tree[name].to_dataset() for name in ("stimuli", "distinctions"))
    units = ("unit", text_array(target.labels))
    names = ("stimulus", text_array(map(state_text, target.requested)))
    stimuli = stimuli.assign_coords(
        stimulus=names,
        unit=units,
        system_state=("system_state", text_array(map(state_text, target.system_states))),
    )
    responses = map(state_text, stimuli["response_state"].values.tolist())
    stimuli["response"] = described_variable("response", ("stimulus",), text_array(responses))
    mechanisms = unit_set_names(distinctions["mechanism_units"].values, target.labels, known)
    distinctions = distinctions.assign_coords(
        stimulus=names, unit=units, mechanism=("mechanism", text_array(mechanisms))
    )
    texts = {
        "sensory": join_labels(target.sensory_labels, known),
        "system": join_labels(target.labels, known),
    }
    about = dict(tree.attrs) | target_attrs(target.substrate, options, texts)
    nodes = {"/stimuli": stimuli, "/distinctions": distinctions}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), **nodes})


def perception_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a perception: its stimuli, those of largest richness first."""
    about, data = tree.attrs, tree["stimuli"].to_dataset()
    held = f"held for {about['clamp']} of {about['tau']} steps"
    summary = [
        ("theory", str(about["theory"])),
        ("system", f"{about['system']} in {about['substrate_units']}"),
        ("sensory interface", f"{about['sensory']}, {held}"),
        ("structures", f"{about['n_structures']} of {data.sizes['stimulus']} stimuli"),
    ]
    named = {"differentiation": "differentiation", "differentiation_perceived": "perceived"}
    summary += [(text, f"{_interval_text(tree, name)} bits") for name, text in named.items()]
    values = (data[name].values for name in ("stimulus", "response", "big_phi", "richness"))
    stimulus, response, big_phi, richness = values
    rows: list[tuple[str, ...]] = [
        (str(stimulus[k]), str(response[k]), number_text(big_phi[k]), number_text(richness[k]))
        for k in np.argsort(-richness, kind="stable").tolist()
    ]
    columns = ("stimulus", "response", "Phi", "richness")
    return [Overview(summary, [Table("stimuli", columns, rows)])]


def _interval_text(tree: xr.DataTree, name: str) -> str:
    if name in tree.attrs:
        return number_text(float(tree.attrs[name]))
    low, high = (number_text(float(tree.attrs[f"{name}_{end}"])) for end in ("low", "high"))
    return f"{low} to {high}"
