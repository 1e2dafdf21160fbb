"""Repertoires of distinctions, and phi of every mechanism over every purview."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from opt_einsum import contract

from iitdask.kernels.distributions import write_repertoires
from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.iit4.mechanism_search import (
    MechanismResults,
    make_purview_scratch,
    search_mechanisms,
)
from iitdask.kernels.iit4.pair import MarginalTables, PairScratch, make_pair_scratch
from iitdask.kernels.iit4.pair_costs import cause_scan, make_cause_scan
from iitdask.kernels.iit4.purview_search import prepare_effects
from iitdask.kernels.subsets import (
    PHI_ZERO_BITS,
    is_purview,
    segment_offsets,
    state_codes,
    value_offsets,
)
from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.labels import units_of_mask
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.distinctions import Distinction
from iitdask.theory.iit4.local_details import local_repertoire
from iitdask.theory.iit4.local_network import (
    LocalNetwork,
    PreparedNetwork,
    moved_masks,
    prepare_network,
)
from iitdask.theory.iit4.mechanisms import DIRECTION_CODES, pair_details
from iitdask.theory.marginal_tables import TABLES, table_inputs, whole_tables
from iitdask.theory.stage import Array, Filled, Grid, Region, Stage
from iitdask.theory.variables import make_dataset, variable

# States of all purviews together up to which repertoires are stored (64 MiB)
MAX_STORED_STATES = 1 << 23


def repertoires_stage(
    system: CandidateSystem,
    distinctions: Sequence[Distinction],
    network: LocalNetwork | None = None,
) -> Stage | None:
    """Return the stage that writes out repertoires, a row per state.

    Parameters
    ----------
    system : the candidate system
    distinctions : those whose cause and effect repertoires are written
    network : its local tables, from which they are written if given

    Returns
    -------
    Stage, ``repertoire`` (rows,); None if there are no rows, or too many

    References
    ----------
    docs/mathematics.md 3.
    """
    listed = [(0, d.choices.mechanism, d.cause.purview) for d in distinctions]
    listed += [(1, d.choices.mechanism, d.effect.purview) for d in distinctions]
    return stage_of_pairs(system, np.array(listed, np.int64).reshape(len(listed), 3), network)


def stage_of_pairs(
    system: CandidateSystem, pairs: Array, network: LocalNetwork | None = None
) -> Stage | None:
    """As ``repertoires_stage``, of (p, 3) pairs: 1 for effects, else 0; mechanism; purview."""
    states = np.ones(len(pairs))  # of every purview
    for i, k in enumerate(system.levels):
        states *= np.where(pairs[:, 2] >> i & 1, k, 1)
    begins = np.concatenate([[0], np.cumsum(states)])
    if not 0 < begins[-1] <= MAX_STORED_STATES:
        return None
    inputs: Mapping[str, Any] = table_inputs(system) if network is None else network.arrays
    return Stage(
        name="repertoires",
        grid=Grid(("row",), (int(begins[-1]),)),
        variables=(variable("repertoire", "float64", np.nan),),
        compute=fill_repertoires if network is None else fill_local_repertoires,
        inputs={**inputs, "pairs": pairs, "begins": begins.astype(np.int64)},
        prepare=prepare_repertoires if network is None else prepare_network,
        shared=TABLES if network is None else None,
        cost=lambda region: 1e-5 + 4e-9 * system.n * (region[0].stop - region[0].start),
    )


def fill_local_repertoires(prepared: PreparedNetwork, region: Region) -> dict[str, Array]:
    """Write a range of rows from local tables."""
    net, inputs = prepared
    rows, begins = region[0], inputs["begins"]
    first = int(np.searchsorted(begins, rows.start, side="right")) - 1
    last = int(np.searchsorted(begins, rows.stop))
    pairs = inputs["pairs"][first:last]
    along = moved_masks(pairs[:, 1:], np.argsort(net.units)).tolist()
    parts = [
        local_repertoire(net, direction, *masks)
        for direction, masks in zip(pairs[:, 0].tolist(), along, strict=True)
    ]
    begin = int(begins[first])
    return {"repertoire": np.concatenate(parts)[rows.start - begin : rows.stop - begin]}


def prepare_repertoires(inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Take from the tables what repertoires at the current state are made of."""
    levels, state = inputs["levels"], inputs["state"]
    offsets, columns = segment_offsets(levels), value_offsets(levels)
    effect = inputs["effect"][state_codes(offsets, state, len(levels))]
    return inputs["cause"], effect, levels, columns, offsets, inputs["pairs"], inputs["begins"]


def fill_repertoires(prepared: tuple[Array, ...], region: Region) -> dict[str, Array]:
    """Write a range of rows."""
    out = np.empty(region[0].stop - region[0].start)
    write_repertoires(*prepared, region[0].start, out)
    return {"repertoire": out}


def repertoires_dataset(stage: Stage, filled: Filled) -> xr.Dataset:
    """Return the node ``/repertoires``: both sides ragged, a row per state of a purview.

    Rows ``begin_cause[k]`` to ``begin_cause[k + 1]`` of ``constrained_cause`` are the cause
    repertoire of distinction k, its purview's states little-endian; likewise ``_effect``.
    """
    begins = np.asarray(stage.inputs["begins"])
    rows, half = filled["repertoire"].values, len(begins) // 2
    middle = begins[half]
    return make_dataset(
        {
            "begin_cause": (("edge",), begins[: half + 1]),
            "constrained_cause": (("row_cause",), rows[:middle]),
            "begin_effect": (("edge",), begins[half:] - middle),
            "constrained_effect": (("row_effect",), rows[middle:]),
        }
    )


MAX_SHOWN_STATES = 32  # States of one purview that a view shows
MAX_SHOWN_DISTINCTIONS = 2048  # Those of the largest phi, that a view shows
FEW_STATES = 1 << 12  # Of a distinction's purviews, whose distributions are computed at once
MAX_WRITTEN_STATES = 1 << 22  # Of all larger ones whose distributions are computed for a view
NOTHING_SHOWN: Mapping[str, Any] = {  # Of a purview of too many states
    "code": np.empty(0, np.int64),
    **dict.fromkeys(("constrained", "unconstrained", "partitioned"), np.empty(0)),
    **dict.fromkeys(("likelihood", "likelihood_partitioned", "selectivity"), np.nan),
}


class _Distributions(NamedTuple):
    """Distributions over all states of a purview."""

    constrained: Array  # Given the mechanism's state
    partitioned: Array  # Given the mechanism's state under the minimum partition
    # Probabilities that phi compares: as ``constrained``, on the cause side before normalising
    likelihood: Array
    likelihood_partitioned: Array  # As ``partitioned``, likewise
    # Computes the unconstrained distribution at some states; all of them may be expensive
    unconstrained: Callable[[Array], Array]


def add_shown_states(
    system: CandidateSystem,
    distinctions: xr.Dataset,
    stored: xr.Dataset | None = None,
    max_states: int = MAX_SHOWN_STATES,
) -> xr.Dataset:
    """Add to the node ``/repertoires`` what a view shows beside the repertoires.

    Of the distinctions of the largest phi, as many as `MAX_SHOWN_DISTINCTIONS`, and of fewer where
    their purviews have too many states.

    Parameters
    ----------
    system : the candidate system
    distinctions : the node ``/distinctions``
    stored : the node ``/repertoires``; None where they are not stored
    max_states : states of a purview that are shown: the most probable ones and the specified one

    Returns
    -------
    Dataset, for cause and effect, ragged along ``shown_*``: rows ``shown_begin_*(mechanism)`` to
        the next are ``shown_code_*`` (state of the purview, little-endian) with probabilities
        ``shown_constrained_*``, ``shown_unconstrained_*`` and ``shown_partitioned_*``, the last
        under the minimum partition (renormalised on the cause side). Per mechanism ``likelihood_*``
        and ``likelihood_partitioned_*``, whose log-ratio, times ``selectivity_*``, is phi.

    References
    ----------
    Albantakis et al. 2023, Eq. 24 and 25; docs/mathematics.md, section 6.
    """
    values: dict[str, tuple[tuple[str, ...], Any]] = {}
    is_shown = _are_shown(system, distinctions)
    for side, distributions in (("cause", _cause_distributions), ("effect", _effect_distributions)):
        parts: list[Mapping[str, Any]] = []
        names = ("mechanism_units", f"purview_{side}", f"kept_{side}", f"state_{side}")
        rows = zip(*(distinctions[name].values for name in names), strict=True)
        for k, (mechanism, purview, kept, state) in enumerate(rows):
            units = np.flatnonzero(mechanism).tolist(), np.flatnonzero(purview).tolist()
            if not is_shown[k]:
                parts.append(NOTHING_SHOWN)
                continue
            shown = distributions(system, *units, kept.tolist())
            if stored is not None:
                begin, end = stored[f"begin_{side}"].values[k : k + 2]
                constrained = stored[f"constrained_{side}"].values[begin:end]
                shown = shown._replace(constrained=constrained)
            specified = _state_code(state[purview].tolist(), [system.levels[j] for j in units[1]])
            parts.append(_most_probable_states(shown, specified, max_states))
        counts = [len(part["code"]) for part in parts]
        values[f"shown_begin_{side}"] = (("edge",), np.cumsum([0, *counts]))
        for name in ("code", "constrained", "unconstrained", "partitioned"):
            none = np.empty(0, np.int64 if name == "code" else float)
            joined = np.concatenate([none, *(part[name] for part in parts)])
            values[f"shown_{name}_{side}"] = ((f"shown_{side}",), joined)
        for name in ("likelihood", "likelihood_partitioned", "selectivity"):
            numbers = np.array([part[name] for part in parts], float)
            values[f"{name}_{side}"] = (("mechanism",), numbers)
    data = make_dataset(values)
    return data if stored is None else stored.assign(data.data_vars)


def _are_shown(system: CandidateSystem, distinctions: xr.Dataset) -> Array:
    """Return whether a view shows the repertoires of each distinction."""
    levels = np.array(system.levels, float)
    sides = (distinctions[f"purview_{side}"].values for side in ("cause", "effect"))
    states = np.sum([np.where(inside, levels, 1.0).prod(axis=1) for inside in sides], axis=0)
    largest = np.argsort(-distinctions["phi"].values, kind="stable")[:MAX_SHOWN_DISTINCTIONS]
    own = states[largest]
    written = np.cumsum(np.where(own > FEW_STATES, own, 0.0)) - own  # by those before
    is_shown = (own <= MAX_STORED_STATES) & (written <= MAX_WRITTEN_STATES)
    out = np.zeros(len(states), bool)
    out[largest[is_shown | (own <= FEW_STATES)]] = True
    return out


class _Kept(NamedTuple):
    """P(unit takes value | some of its inputs), the other inputs uniform."""

    inputs: tuple[int, ...]  # Units of the system, ascending
    table: Array  # (levels of the inputs..., values)

    def at(self, state: Sequence[int]) -> Array:
        """Return the row at a state of the system, (values,)."""
        return np.asarray(self.table[tuple(state[a] for a in self.inputs)])

    def over(self, units: Sequence[int], value: int) -> Array:
        """Return P(value) over units that include all inputs, an axis each."""
        sizes = dict(zip(self.inputs, self.table.shape, strict=False))
        return np.asarray(self.table[..., value].reshape([sizes.get(a, 1) for a in units]))


def _kept(factor: Factor | CountingFactor, kept: Collection[int]) -> _Kept:
    away = tuple(axis for axis, a in enumerate(factor.parents) if a not in kept)
    return _Kept(tuple(a for a in factor.parents if a in kept), factor.table.mean(axis=away))


def _state_code(values: Sequence[int], levels: Sequence[int]) -> int:
    out = 0
    for value, k in zip(reversed(values), reversed(levels), strict=True):
        out = out * k + value
    return out


def _joint_distribution(rows: Iterable[Array]) -> Array:
    """Return the product of units' distributions, little-endian."""
    out = np.ones(1)
    for row in rows:
        out = np.outer(row, out).ravel()
    return out


def _effect_distributions(
    system: CandidateSystem, mechanism: list[int], purview: list[int], kept: list[int]
) -> _Distributions:
    """Return those of an effect; `kept` has the mask of partners that each unit still sees."""
    factors, state = system.effect_factors, system.local_state
    whole = {j: _kept(factors[j], mechanism) for j in purview}
    constrained = _joint_distribution(whole[j].at(state) for j in purview)
    seen = (_kept(factors[j], units_of_mask(kept[j])) for j in purview)
    partitioned = _joint_distribution(each.at(state) for each in seen)

    def unconstrained(codes: Array) -> Array:
        weight, operands = 1, list[Any]()
        for j in purview:  # summed over states of the mechanism, an axis of its own for the codes
            values = codes // weight % system.levels[j]
            operands += [whole[j].table[..., values], [*whole[j].inputs, system.n]]
            weight *= system.levels[j]
        inputs = {a for j in purview for a in whole[j].inputs}
        total = np.asarray(contract(*operands, [system.n]))
        return total / float(np.prod([system.levels[a] for a in inputs]))

    return _Distributions(constrained, partitioned, constrained, partitioned, unconstrained)


def _cause_distributions(
    system: CandidateSystem, mechanism: list[int], purview: list[int], kept: list[int]
) -> _Distributions:
    """Return those of a cause; `kept` has the mask of partners that each unit still sees."""
    factors, state = system.cause_factors, system.local_state
    likelihood, partitioned = np.ones((2, *(system.levels[j] for j in purview)))
    for i in mechanism:
        likelihood *= _kept(factors[i], purview).over(purview, state[i])
        partitioned *= _kept(factors[i], units_of_mask(kept[i])).over(purview, state[i])
    likelihood, partitioned = likelihood.ravel(order="F"), partitioned.ravel(order="F")
    return _Distributions(
        _normalised(likelihood),
        _normalised(partitioned),
        likelihood,
        partitioned,
        lambda shown: np.full(len(shown), 1.0 / len(likelihood)),
    )


def _normalised(values: Array) -> Array:
    total = values.sum()
    return values / total if total > 0 else values


def _most_probable_states(
    distributions: _Distributions, specified: int, max_states: int
) -> dict[str, Any]:
    """Return the distributions at the states that are shown, and at the specified one."""
    ranked = np.argsort(-distributions.constrained, kind="stable")
    if specified not in ranked[:max_states]:
        ranked = np.insert(ranked, 0, specified)
    codes = np.sort(ranked[:max_states])
    return {
        "code": codes,
        "constrained": distributions.constrained[codes],
        "unconstrained": distributions.unconstrained(codes),
        "partitioned": distributions.partitioned[codes],
        "likelihood": distributions.likelihood[specified],
        "likelihood_partitioned": distributions.likelihood_partitioned[specified],
        "selectivity": distributions.constrained[specified],
    }


# Units of the largest system whose landscape is written out: 2 * (2**8 - 1)**2 pairs
LANDSCAPE_MAX_UNITS = 8
PAIR_STATUS = ("not connected", "excluded by a bound", "evaluated")
UNCONNECTED, EXCLUDED, EVALUATED = range(3)


def landscape(system: CandidateSystem) -> xr.Dataset:
    """Evaluate every pair of mechanism and purview of a small system.

    The searches keep the best purviews only. Here every pair is evaluated, and the search is
    replayed to see which pairs its bounds excluded: ``pair_phi`` (direction, mechanism_mask,
    purview_mask), bits, is nan where the purview is not admissible (mathematics.md 6.3);
    ``outcome`` indexes the attribute ``outcomes``. Row and column k stand for mask k + 1.
    """
    tables = whole_tables(system)
    scratch = make_pair_scratch(tables)
    size = len(tables.codes)
    phi = np.full((2, size, size), np.nan)
    outcome = np.zeros((2, size, size), np.int8)
    for row, side in enumerate(DIRECTION_CODES):
        for mechanism in range(1, size):
            admissible = [
                purview
                for purview in range(1, size)
                if is_purview(mechanism, purview, tables.children, side != ON_CAUSE)
            ]
            pairs = np.array([(row, mechanism, purview, 0) for purview in admissible], np.int64)
            found = pair_details(tables, scratch, pairs.reshape(-1, 4))["phi"]
            phi[row, mechanism, admissible] = np.where(found > PHI_ZERO_BITS, found, 0.0)
            outcome[row, mechanism, admissible] = EXCLUDED
            evaluated = _replay_search(side, tables, scratch, mechanism)
            outcome[row, mechanism][(outcome[row, mechanism] == EXCLUDED) & evaluated] = EVALUATED
    dims = ("direction", "mechanism_mask", "purview_mask")
    values = {"pair_phi": (dims, phi[:, 1:, 1:]), "outcome": (dims, outcome[:, 1:, 1:])}
    return make_dataset(values, {"outcomes": list(PAIR_STATUS)})


def _replay_search(side: Any, t: MarginalTables, s: PairScratch, mechanism: int) -> Array:
    """Return whether the search computes phi of each purview of one mechanism, (2**n,)."""
    size = len(t.codes)
    scratch = make_purview_scratch(size, len(s.like), int(t.offsets[-1]))
    one, bits = np.zeros(1, np.int64), np.zeros((1, (size + 7) // 8), np.uint8)
    results = MechanismResults(np.zeros(1), one, bits, one, np.zeros((1, 2), np.int64))
    vectors, scan = np.empty((6, 1)), make_cause_scan(size, 1)
    if side == ON_EFFECT:
        prepare_effects(t, s, mechanism, scratch)
        before = scratch.bounds.copy()
    else:
        cause_scan(t.cause, t.log_cause, t.offsets, mechanism, 0, vectors, scan)
        before = scan.bounds[:, 0]
    search_mechanisms(side, t, s, mechanism, 0, scan, scratch, results)
    # The search leaves a value, negated, where it worked one out, and a bound elsewhere.
    return np.asarray((before > PHI_ZERO_BITS) & (scratch.bounds <= 0.0))


def view_nodes(system: CandidateSystem, nodes: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Compute what a view shows beside a cause-effect structure, from its nodes by path.

    That is ``/repertoires`` with the states to show and, of a small system, ``/landscape``; nothing
    for IIT 3.0, whose concepts carry their repertoires.
    """
    if "state_cause" not in nodes["/distinctions"]:
        return {}
    stored = nodes.get("/repertoires")
    more = {"/repertoires": add_shown_states(system, nodes["/distinctions"], stored)}
    if system.n <= LANDSCAPE_MAX_UNITS:
        more["/landscape"] = landscape(system)
    return more
