"""Name, unit and meaning of every variable of every stage and result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from iitdask.theory.stage import Array, Variable

VARIABLES: dict[str, tuple[str, str]] = {
    # name: (unit, meaning)
    "phi": ("bit", "integrated information"),
    "normalized_phi": ("bit", "integrated information per severed pair, at the minimum partition"),
    "phi_low": ("bit", "integrated information is at least this, where it was not computed"),
    "phi_high": ("bit", "integrated information is at most this, where it was not computed"),
    "normalized_phi_low": ("bit", "the same per severed pair is at least this"),
    "normalized_phi_high": ("bit", "the same per severed pair is at most this"),
    "n_tied_partitions": (
        "count",
        "partitions tied for the minimum; 0: reducible or none chosen, -1: not counted",
    ),
    "n_tied_states": (
        "count",
        "pairs of cause and effect states tied for the largest phi_s; -1 beyond int64",
    ),
    "cause_state": ("", "specified cause state of each unit, -1 where none was specified"),
    "effect_state": ("", "specified effect state of each unit, -1 where none was specified"),
    "cut": ("", "whether the minimum partition severs the connection source -> target"),
    "part": ("", "part of the minimum partition that a unit belongs to"),
    "mechanism_units": ("", "units of the mechanism"),
    "fold": ("bit", "phi of the distinction and its part of phi of its relations; sums to Phi"),
    "log2_fold": ("", "log2 of the fold"),
    "kept_cause": ("mask", "purview units each mechanism unit still sees under the partition"),
    "kept_effect": ("mask", "mechanism units each purview unit still sees under the partition"),
    "count": (
        "count",
        "number of relations; -1 where int64 cannot hold it, or unknown (see attrs)",
    ),
    "log2_count": ("", "log2 of the number of relations"),
    "sum_phi": ("bit", "sum of phi over relations"),
    "log2_sum_phi": ("", "log2 of the sum of phi over relations"),
    "count_by_degree": ("count", "relations by number of distinctions; -1 beyond int64"),
    "log2_count_by_degree": ("", "log2 of the relations by number of distinctions"),
    # complexes
    "units": ("", "units of the complex, or of the system"),
    "big_phi": ("bit", "Phi of the complex, where equal phi_s had to be decided by it"),
    "candidates_evaluated": ("count", "candidate systems whose phi_s was determined"),
    "candidates_excluded_by": ("count", "candidate systems that are no complex, by reason"),
    "candidate_phi": ("bit", "phi_s of a candidate system; those above 0 are listed"),
    "candidate_units": ("", "units of the candidate system"),
    "fate": ("", "what became of the candidate system"),
    "reason": ("mask", "why phi_s is 0, see theory.reasons"),
    "now": ("", "p(current state | current state), cause and effect side"),
    "selectivity": ("", "probabilities of the specified cause and effect state"),
    "value": ("bit", "phi_s, intrinsic information and sums, by quantity"),
    "alpha": ("bit", "causal strength; of an account: what its weakest cut costs"),
    "alpha_causes": ("bit", "what the weakest cut costs of the causes alone"),
    "alpha_effects": ("bit", "what the weakest cut costs of the effects alone"),
    "causes": ("", "units that may be causes"),
    "effects": ("", "units that may be effects"),
    "sum_alpha": ("bit", "sum of alpha over links"),
    "direction": ("", "cause: the purview caused the mechanism; effect: the mechanism caused it"),
    "mechanism": ("", "units of the occurrence whose cause or effect this is"),
    "purview": ("", "units of its actual cause or effect"),
    "tied_purview": ("", "all purviews of the same alpha, none within another"),
    "n_tied_purviews": ("count", "purviews of the same alpha; more than 1: indeterminate"),
    "partitioned_probability": ("", "the same under the named least partition"),
    "ratio": ("bit", "log-ratio of the probability to that with the mechanism unknown"),
    "partition": ("", "least partition, mechanism/purview parts"),
    # IIT 3.0
    "conceptual_information": ("", "distance of the concepts from none at all"),
    "repertoire": ("", "P(state of the purview), little-endian over its units"),
    "partitioned_repertoire": ("", "the same under the minimum partition"),
    "distance_to_null": ("", "earth mover's distance from the unconstrained repertoire"),
    "distance": ("", "of the cut system's concepts; a lower bound where not exact"),
    "exact": ("", "whether the distance is exact; otherwise it exceeds that of another cut"),
    "sides": ("", "phi of cause and effect, 0 in both where there is no concept"),
    "purviews": ("mask", "cause and effect purview"),
    "concepts": ("count", "concepts of the system"),
    "cut_concepts": ("count", "concepts of the system under the cut"),
    # repertoires, landscape, network: what can be looked at beside a result
    "pair_phi": ("bit", "integrated information of a mechanism over a purview"),
    "outcome": ("", "what the search made of a pair of mechanism and purview"),
    "connectivity": ("", "whether source is an input of target"),
    "current_state": ("", "current state of each unit"),
    "levels": ("count", "how many states each unit has"),
    "inside": ("", "whether the unit belongs to the candidate system"),
    # queries
    "severed": ("", "whether the partition severs the connection source -> target"),
    "purview_units": ("", "units of the purview"),
    "intrinsic_information": ("bit", "intrinsic information of the specified state"),
    # explanations
    "decided_by": ("", "what decided phi: a rule, the minimum partition, or a cap (2026)"),
    "binding_direction": ("", "side of the smaller phi at the minimum partition"),
    "runner_up": (
        "bit",
        "next larger integrated information per severed pair",
    ),
    "gap": ("bit", "runner-up less the minimum"),
    "least_normalized": ("bit", "least integrated information per severed pair, before any cap"),
    "phi_bound": ("bit", "bound of phi_s of so many binary units"),
    "phi_over_bound": ("", "phi_s over its bound"),
    "distinction_phi_bound": ("bit", "bound of phi_d by the units of mechanism and purviews"),
    "distinction_phi_over_bound": ("", "phi_d over its bound"),
    "sum_phi_distinctions_bound": ("bit", "bound of the sum of phi_d, purviews all different"),
    "sum_phi_distinctions_over_bound": ("", "sum of phi_d over its bound"),
    # perception
    "triggered_probability": ("", "P(state of the system | stimulus)"),
    "row": ("", "P(state of the system | stimulus), little-endian"),
    "response": ("", "most probable state of the system, the first maximum"),
    "response_state": ("", "the same, by unit"),
    "response_ties": ("count", "states of the system that are as probable as the response"),
    "richness": ("bit", "Phi of the perception: what the stimulus triggered of the structure"),
    "structure": ("", "number of the structure; equal systems have the same; -1 for none"),
    "why_none": ("", "why there is no structure, where there is none"),
    "t": ("", "share of the distinction that the stimulus triggered"),
    "c": ("bit", "connectedness of the mechanism's state with the stimulus"),
    "p": ("", "P(state of the mechanism | stimulus)"),
    "q": ("", "its mean over all stimuli"),
    "matching": ("bit", "largest mean difference of what is perceived of world and noise"),
    "window": ("", "first and last position, from 1, at which that is"),
    "windows": ("", "first and last position of every window"),
    "mean_difference": ("bit", "mean over trials of what is perceived of world less noise"),
    "perceived_world": ("bit", "differentiation perceived of a sequence from the world"),
    "perceived_noise": ("bit", "the same of noise"),
    # dynamics
    "successor": ("", "number of the state that follows"),
    "period": (
        "count",
        "steps after which an attractor, or with chance its phase, comes back; 0: none found",
    ),
    "cycle_state": ("", "least state of the attractor that a start leads to"),
    "states": (
        "",
        "states of the attractor in their order, with chance by number; the first 1,000",
    ),
    "n_states": ("count", "states of the attractor"),
    "basin": (
        "count",
        "states that lead to the attractor, its own included; with chance, in expectation",
    ),
    "basin_share": ("", "share of all states that lead to the attractor"),
    "long_run_probability": ("", "share of time in the state, from a state chosen at random"),
    # search
    "is_first": ("", "whether the table has the smallest number of its class"),
    "best_state": ("", "first state with the largest phi_s, little-endian"),
    "table": ("", "number of the table: bit n s + i is the next value of unit i after state s"),
    "tpm": ("", "next value of each unit after each state, little-endian rows"),
    "class_size": ("count", "tables that differ from it only by names of units and values"),
    "maximised": ("", "what is maximised, see the attribute; its largest value over states"),
    "network": ("", "member of the family"),
    "weights": ("", "weight of the connection source -> target"),
    "next_state": ("", "state after each state, little-endian"),
    "climb": ("", "number of the climb that led there"),
    "steps": ("count", "steps of the climb"),
    "evaluated": ("count", "networks that the climb looked at, in all states"),
    "at_peak": ("", "whether no neighbour was better when it ended"),
    # sweeps
    "number": ("count", "why phi_s is 0, and numbers of ties, distinctions and relations"),
    "why": ("", "UTF-8 text that says why there are no numbers, where there are none"),
    # macro units
    "constituents": ("", "units that the candidate consists of"),
    "background": ("", "background units apportioned to it"),
    "verdict": ("", "whether the candidate is a unit: VALID, or why not"),
    "witness": ("", "best competitor, where it decided the verdict"),
    "witness_phi": ("bit", "phi_s of the best competitor, where it decided the verdict"),
    "n_competitors": ("count", "systems that the candidate was compared with"),
    "n_mappings": ("count", "units of different truth tables that the candidate became"),
    "footprint": ("", "micro constituents of each unit of the system"),
    "next_probability": ("", "P(unit takes value next | state of all units)"),
    "past_state": ("", "value of each unit in the state"),
    "grain": ("count", "most micro updates that a unit of the system spans"),
    "n_systems": ("count", "systems of these footprints that have this phi"),
    "first": ("", "number of the first system that has this phi, within its range"),
    "second": ("", "number of the second one, -1 without one"),
    "n_possible": ("count", "systems that can be in their state"),
    "n_values": ("count", "different phi of these systems"),
    "cause": ("", "P(unit = 1 now | state of the system before), rows little-endian"),
    "effect": ("", "P(unit = 1 next | state of the system), rows little-endian"),
    # stages
    "connected": ("", "whether mechanism and purview hang together"),
    "bits": ("bit", "log2 of the probability of the purview's actual state"),
    "free": ("bit", "the same when the mechanism is not known"),
    "n_irreducible": ("count", "irreducible purviews; -1 where the mechanism is impossible"),
    "irreducible": ("mask", "irreducible purviews of a mechanism; 0 behind the last one"),
    "gain": ("bit", "log2 of the probability with the mechanism over that without it"),
    "strength": ("bit", "sum of alpha over the links within a mechanism and a purview"),
    "best": ("bit", "log2 of it under the best partition, the whole pair included"),
    "probability": ("", "P(unit takes value | some inputs fixed, the rest uniform)"),
    "forward": ("", "cause: p(current state | state); effect: p(state | current state)"),
    "information": ("bit", "intrinsic information of each state"),
    "cost": ("bit", "log-ratio the minimum partition costs, before selectivity"),
    "pairs": ("count", "ordered pairs the minimum partition severs"),
    "ways": ("count", "partitions that attain the minimum"),
    "key": ("mask", "the named partition: leading bits are the first (from, to) pairs"),
    "least_ratio": ("bit", "that no partition is below, per severed pair, before selectivity"),
    "is_proven": ("", "whether no partition is better; false where the search had to stop"),
    "least": ("bit", "least cost - ratio * pairs with this source set, inf if left out"),
    "ties": ("count", "tied candidates"),
    "tied_purviews": ("mask", "one bit per purview mask tied for the largest phi"),
    "tied_masks": ("mask", "purviews tied for the largest phi, as many as there is room for"),
    "tied_codes": ("", "specified states tied for the largest phi, as many as there is room for"),
    "lowest": ("bit", "smallest integrated information among what ties"),
    "tied_states": ("mask", "one bit per specified state tied for the largest phi"),
    "searched": ("count", "purviews whose bound did not exclude them"),
    "tables": ("count", "bound tables built by the searches"),
    "nodes": ("count", "nodes visited by the searches"),
    "state": ("", "specified state, little-endian over the purview"),
    "kept": ("mask", "partners each unit still sees under the minimum partition, -1 elsewhere"),
}
_BY_SIDE = {
    # name before _cause or _effect: (unit, meaning)
    "phi": ("bit", "integrated information on the {side} side"),
    "intrinsic_information": ("bit", "intrinsic information of the specified {side} state"),
    "differentiation": ("bit", "differentiation on the {side} side (2026)"),
    "purview": ("", "units of the {side} purview"),
    "state": ("", "state of the {side} purview, -1 outside it"),
    "partition": ("", "minimum partition on the {side} side, mechanism/purview parts"),
    "n_tied_purviews": ("count", "{side} purviews tied for the largest phi"),
    "n_tied_states": ("count", "tied specified states of the {side} purview"),
    "alpha": ("bit", "causal strength of the event's actual {side}"),
    "n_tied_partitions": ("count", "partitions tied for the minimum on the {side} side"),
    "repertoire": ("", "P(state of the {side} purview), little-endian over its units"),
    "partitioned_repertoire": ("", "the same under the minimum partition"),
    "begin": ("", "first row of each distinction in the {side} repertoires, and the end"),
    "shown_begin": ("", "first shown state of each distinction's {side}, and the end"),
    "shown_code": ("", "state of the {side} purview, little-endian"),
    "constrained": ("", "{side} repertoire: probability given the mechanism's state"),
    "shown_constrained": ("", "{side} repertoire at the shown states"),
    "shown_unconstrained": ("", "probability with the mechanism's state unknown"),
    "shown_partitioned": ("", "{side} repertoire under the minimum partition"),
    "likelihood": ("", "probability phi compares, at the specified {side} state"),
    "likelihood_partitioned": ("", "the same under the minimum partition"),
    "selectivity": ("", "{side} repertoire at the specified state"),
}
for _name, (_unit, _meaning) in _BY_SIDE.items():
    for _side in ("cause", "effect"):
        VARIABLES[f"{_name}_{_side}"] = (_unit, _meaning.format(side=_side))


def variable(
    name: str, dtype: str, fill: float, inner: tuple[tuple[str, int], ...] = ()
) -> Variable:
    """Return a variable of a stage, with the unit and meaning of its name in ``VARIABLES``."""
    unit, meaning = VARIABLES[name]
    return Variable(name=name, dtype=dtype, fill=fill, unit=unit, doc=meaning, inner=inner)


def make_dataset(
    values: Mapping[str, tuple[tuple[str, ...], Any]],
    attrs: dict[str, Any] | None = None,
    coords: Mapping[str, tuple[str, Any]] | None = None,
) -> xr.Dataset:
    """Return a dataset of variables, (dimensions, values) by name, with their unit and meaning."""
    variables = {name: described_variable(name, *value) for name, value in values.items()}
    return assemble_dataset(variables, coords or {}, attrs or {})


def units_of_masks(masks: Any, n: int) -> Array:
    """Return whether each of n units is in each mask, (masks, n) bool."""
    return np.asarray(np.array(masks, np.int64).reshape(-1, 1) >> np.arange(n) & 1, bool)


def described_variable(name: str, dims: tuple[str, ...], values: Any) -> xr.Variable:
    """Return values as the variable of a name, with its unit and meaning."""
    unit, meaning = VARIABLES[name]
    about = {"comment": meaning, "units": unit} if unit else {"comment": meaning}
    # An array is what it is: xarray would send text through pandas to see whether it is dates.
    return xr.Variable(dims, np.asarray(values), about, fastpath=True)


def assemble_dataset(
    variables: Mapping[str, xr.Variable],
    coords: Mapping[str, tuple[str, Any]],
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Return what ``xr.Dataset(variables, coords, attrs)`` does, without its checks and copies.

    These take longer than unfolding a structure of three units. The variables become part of the
    dataset: nothing else may change them.
    """
    together = dict(variables)
    indexes: dict[str, xr.indexes.Index] = {}
    for name, (dim, values) in coords.items():
        if name == dim:
            indexes[name] = index = xr.indexes.PandasIndex(coordinate_labels(values), dim)
            together |= index.create_variables()
        else:
            together[name] = xr.Variable(dim, values)
    return xr.Dataset._construct_direct(together, set(coords), None, attrs, indexes)


def coordinate_labels(values: Any) -> pd.Index:
    """Return the labels of a dimension as an index, without a search for dates among objects."""
    if isinstance(values, np.ndarray) and values.dtype == object:
        return pd.Index(values, dtype=object)
    return pd.Index(values)


def assemble_tree(nodes: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """Return what ``xr.DataTree.from_dict(nodes)`` does, without its checks and copies.

    Nodes are ``/`` and its children ``/name``. The variables become part of the tree: nothing else
    may change them. No dimension coordinate may be in the root, whose children would inherit it.
    """
    tree = _assemble_node(None, nodes.get("/"))
    for path, data in nodes.items():
        if path != "/":
            name = path.removeprefix("/")
            tree._children[name] = child = _assemble_node(name, data)
            child._parent = tree
    return tree


def replace_dataset(node: xr.DataTree, data: xr.Dataset) -> None:
    """Do what ``node.dataset = data`` does, unchecked: the parent has no dimension coordinates."""
    node._set_node_data(data)


def _assemble_node(name: str | None, data: xr.Dataset | None) -> xr.DataTree:
    """Return what ``xr.DataTree(data, name=name)`` does, without copies of the variables."""
    node: xr.DataTree = object.__new__(xr.DataTree)
    node._name, node._parent, node._children = name, None, {}
    node._set_node_data(assemble_dataset({}, {}, {}) if data is None else data)
    return node


@dataclass(frozen=True, slots=True)
class Outcome:
    """One number of a result that a sweep records."""

    name: str
    unit: str  # ``bit``, a float64, NaN where missing, or ``count``, an int64, -1 where missing
    doc: str
    # Reads it from what a recipe returned; None where there is no such number
    read: Callable[[xr.DataTree], Any]

    @property
    def missing(self) -> float | int:
        """Value that stands where there is no number."""
        return -1 if self.unit == "count" else math.nan

    def value(self, tree: xr.DataTree) -> Any:
        """Return the number of a result, `missing` where there is none."""
        value = self.read(tree)
        return self.missing if value is None else value


def value_of(node: str, name: str) -> Callable[[xr.DataTree], Any]:
    """Return what reads a scalar variable of a node from a tree, None if there is none."""

    def read(tree: xr.DataTree) -> Any:
        found = node in tree.children and name in tree[node].data_vars
        return tree[node][name].item() if found else None

    return read


def size_of(node: str, dim: str) -> Callable[[xr.DataTree], int]:
    """Return what reads the length of a node's dimension from a tree."""
    return lambda tree: int(tree[node].sizes[dim])


def attr_of(name: str) -> Callable[[xr.DataTree], Any]:
    """Return what reads an attribute of the root from a tree, None if there is none."""
    return lambda tree: tree.attrs.get(name)
