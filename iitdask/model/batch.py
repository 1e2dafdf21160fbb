"""Many small substrates laid out as flat arrays: batches, families of random graphs, automata."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.kernels.batch_tables import mark_reachable_states
from iitdask.model import gates
from iitdask.model import labels as notation
from iitdask.model.factor import Factor
from iitdask.model.substrate import Substrate
from iitdask.model.system import factor_rows
from iitdask.model.unit_grid import UnitGrid, parse_shape
from iitdask.types import Array, Mask

MAX_TABLE_STATES = 4096  # States of a substrate that may be part of a batch


def is_batchable(substrate: Substrate) -> bool:
    """Return True if the table over all states of a substrate fits into a batch."""
    return math.prod(substrate.levels) <= MAX_TABLE_STATES


@dataclass(frozen=True, eq=False)
class Batch:
    """Small substrates side by side, see :mod:`iitdask.kernels.batch_tables`."""

    sizes: Array  # (K,) int64 units of each
    levels: Array  # (K, N) int64 values per unit; 1 beyond its units
    starts: Array  # (K + 1,) int64 where each table begins
    tables: Array  # float64, the values of all units side by side, state by state
    children: Array  # (K, N) int64 mask of the units that each unit feeds

    def __len__(self) -> int:
        return len(self.sizes)

    @classmethod
    def empty(cls) -> Batch:
        """Return a batch without substrates."""
        return cls.from_tables((), np.zeros((0, 0, 0)), np.zeros((0, 0)))

    @classmethod
    def from_substrates(cls, substrates: Sequence[Substrate]) -> Batch:
        """Return substrates side by side."""
        batches = []
        for substrate in substrates:
            edges = substrate.connectivity.astype(np.int64) << np.arange(substrate.n_units)
            everyone, levels = {i: i for i in range(substrate.n_units)}, substrate.levels
            columns = [factor_rows(factor, everyone, levels) for factor in substrate.factors]
            children = edges.sum(axis=1)[None, :]
            batches.append(cls.from_tables(levels, np.hstack(columns)[None], children))
        return cls.concatenate(batches)

    @classmethod
    def from_tables(cls, levels: Sequence[int], tables: Array, children: Array) -> Batch:
        """Return substrates with the same units: tables ``(K, S, c)``, masks ``(K, N)``."""
        count, size = len(tables), tables[0].size if len(tables) else 0
        return cls(
            np.full(count, len(levels), np.int64),
            np.tile(np.array(levels, np.int64), (count, 1)),
            np.arange(count + 1, dtype=np.int64) * size,
            np.ascontiguousarray(tables, np.float64).ravel(),
            np.ascontiguousarray(children, np.int64),
        )

    @classmethod
    def concatenate(cls, batches: Iterable[Batch]) -> Batch:
        """Return batches one after the other."""
        parts = [batch for batch in batches if len(batch)]
        if not parts:
            return cls.empty()
        width = max(batch.levels.shape[1] for batch in parts)

        def padded(array: Array, fill: int) -> Array:
            return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=fill)

        lengths = np.concatenate([np.diff(batch.starts) for batch in parts])
        return cls(
            np.concatenate([batch.sizes for batch in parts]),
            np.concatenate([padded(batch.levels, 1) for batch in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([batch.tables for batch in parts]),
            np.concatenate([padded(batch.children, 0) for batch in parts]),
        )

    def take(self, numbers: Array) -> Batch:
        """Return some of the substrates, in the order of their numbers."""
        lengths = np.diff(self.starts)[numbers]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        tables = self.tables[within + np.repeat(self.starts[:-1][numbers], lengths)]
        return Batch(
            self.sizes[numbers], self.levels[numbers], starts, tables, self.children[numbers]
        )

    def digests(self) -> Array:
        """Return ``(K, 2)`` uint64: a digest of the content of each substrate."""
        out = np.empty((len(self), 2), np.uint64)
        view = (self.tables + 0.0).view(np.uint8)
        starts = (self.starts * 8).tolist()
        heads = np.column_stack([self.sizes, self.levels, self.children])
        for k, n in enumerate(self.sizes.tolist()):
            state = hashlib.blake2b(view[starts[k] : starts[k + 1]].data, digest_size=16)
            width = self.levels.shape[1]
            state.update(heads[k, : 1 + n].tobytes())
            state.update(heads[k, 1 + width : 1 + width + n].tobytes())
            out[k] = np.frombuffer(state.digest(), np.uint64)
        return out

    def reachable_states(self, numbers: Array) -> Array:
        """Numbers of the states that some state of one of these substrates leads to, ascending."""
        if not len(numbers):
            return np.zeros(0, np.int64)
        first = int(numbers[0])
        levels = self.levels[first, : self.sizes[first]]
        reached = np.zeros(math.prod(levels.tolist()), np.bool_)
        for number in numbers.tolist():
            mark_reachable_states(self.tables, self.starts, number, number + 1, levels, reached)
            if reached.all():
                break
        return np.flatnonzero(reached)

    def trajectory(
        self, number: int, start: int | None, steps: int, burn: int = 0, seed: int = 0
    ) -> Array:
        """Numbers of the states along a trajectory, those of `burn` left out; None draws a start.

        The state that it starts from is none of them.
        """
        levels = self.levels[number, : self.sizes[number]].tolist()
        table = self.tables[self.starts[number] : self.starts[number + 1]]
        rows = table.reshape(math.prod(levels), -1)
        rng = np.random.default_rng([seed, 1])
        code = int(rng.integers(len(rows)))
        code = code if start is None else start
        path = np.empty(burn + steps, np.int64)
        for step, draws in enumerate(rng.random((burn + steps, len(levels)))):
            path[step] = code = _next_state(rows[code], levels, draws)
        return path[burn:]

    def substrate(self, number: int, labels: Sequence[str]) -> Substrate:
        """Return one of them as a substrate, its units named by the labels."""
        n = int(self.sizes[number])
        levels = tuple(self.levels[number, :n].tolist())
        flat = self.tables[self.starts[number] : self.starts[number + 1]]
        rows = flat.reshape(-1, sum(levels))
        edges = (self.children[number, :n, None] >> np.arange(n) & 1).astype(np.bool_)
        factors = []
        for i, columns in enumerate(np.split(rows, np.cumsum(levels)[:-1], axis=1)):
            inputs = tuple(np.flatnonzero(edges[:, i]).tolist())
            own = columns.reshape((*levels, levels[i]), order="F")
            factors.append(Factor(inputs, own[tuple(slice(None) if e else 0 for e in edges[:, i])]))
        return Substrate(tuple(factors), edges, levels, tuple(labels))


def _next_state(row: Array, levels: Sequence[int], draws: Array) -> int:
    """Sample the successor of a state from its row of unit probabilities; one draw per unit."""
    code, weight, column = 0, 1, 0
    for draw, k in zip(draws, levels, strict=True):
        total, value = 0.0, 0
        while value < k - 1:
            total += row[column + value]
            if draw < total:
                break
            value += 1
        code += value * weight
        weight *= k
        column += k
    return code


def equivalent_rules(number: int) -> tuple[int, ...]:
    """Return the rules that a rule becomes when left and right, or 0 and 1, change places.

    Examples
    --------
    >>> equivalent_rules(110)
    (110, 124, 137, 193)
    """
    bits = f"{number:08b}"  # The new value after 111 first, after 000 last
    mirrored = "".join(bits[place] for place in (0, 4, 2, 6, 1, 5, 3, 7))
    rules = {int(rule, 2) for rule in (bits, mirrored)}
    return tuple(sorted(rules | {int(rule[::-1], 2) ^ 255 for rule in (bits, mirrored)}))


def rule_classes() -> tuple[int, ...]:
    """Return the smallest rule of each class of equivalent ones; there are 88 (Wolfram 1983)."""
    return tuple(sorted({equivalent_rules(number)[0] for number in range(256)}))


GRAPH_KEYS = {
    "erdos-renyi": ("p", "self_loops"),
    "watts-strogatz": ("k", "p"),
    "ring": (),
    "lattice": ("k",),
    "barabasi-albert": ("m",),
    "modular": ("modules", "p_in", "p_out"),
    "grid": ("shape", "ring", "directed", "lateral", "self"),
}
"""Graphs by name, with what each takes beside name, n, count, seed and gates."""
COMMON_KEYS = ("family", "name", "n", "count", "seed", "gates")
MAX_FAMILY_UNITS = 12


@dataclass(frozen=True)
class Family:
    """Random substrates with the same number of units, from one distribution.

    Examples
    --------
    >>> block = {"family": "erdos-renyi", "n": 4, "count": 3, "gates": ["AND", "XOR"]}
    >>> family = Family.from_block(block)
    >>> [each["gate"] for each in family[0].block(0)["units"]]
    ['XOR', 'AND', 'XOR', 'XOR']
    """

    kind: str  # Graph, see ``GRAPH_KEYS``
    n: int  # Units of a member
    count: int  # Members
    seed: int  # Seed of all random draws
    gates: tuple[Mapping[str, Any], ...]  # Gates that units are drawn from, with their parameters
    p: float  # Probability of a connection (Erdos-Renyi), of being rewired (Watts-Strogatz)
    k: int  # Inputs of a unit (Watts-Strogatz, lattice)
    self_loops: bool  # True if units may feed themselves (Erdos-Renyi)
    name: str  # Begin of the names of its members
    m: int = 1  # Units that a new one is joined to, both ways (Barabasi-Albert)
    modules: int = 2  # Modules, of sizes as equal as can be
    within: float = 0.8  # Probability of a connection within a module
    between: float = 0.1  # The same between modules
    grid: UnitGrid | None = None  # How units are connected (grid), and with which weights

    @classmethod
    def from_block(cls, block: Mapping[str, Any], where: str = "substrate") -> tuple[Family, ...]:
        """Return the families of a block of a study, one per number of units."""
        kind = block.get("family")
        if not isinstance(kind, str) or kind not in GRAPH_KEYS:
            raise SubstrateError(
                f"{where}: family: expected one of {', '.join(GRAPH_KEYS)}, got {quote(kind)}"
            )
        allowed = (*COMMON_KEYS, *GRAPH_KEYS[kind])
        for key in block:
            if key not in allowed:
                raise SubstrateError(
                    f"{where}: unknown key {quote(key)}; a {kind} family has {', '.join(allowed)}"
                )
        shape = None
        if "shape" in block:
            shape = parse_shape(block, MAX_FAMILY_UNITS, where)
            if "n" in block:
                raise SubstrateError(f"{where}: n: expected shape or n, got both")
        sizes = block.get("n", 4) if shape is None else math.prod(shape)
        sizes = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
        if not sizes:
            raise SubstrateError(f"{where}: n: expected numbers of units, got none")
        for n in sizes:
            _require_whole_number(n, 1, MAX_FAMILY_UNITS, f"{where}: n")
        most = max(min(sizes) - 1, 1)
        k = _require_whole_number(block.get("k", min(2, most)), 1, most, f"{where}: k")
        p = _require_probability(block, "p", 0.5 if kind == "erdos-renyi" else 0.1, where)
        m = _require_whole_number(block.get("m", 1), 1, most, f"{where}: m")
        modules = _require_whole_number(
            block.get("modules", min(2, *sizes)), 1, min(sizes), f"{where}: modules"
        )
        within = _require_probability(block, "p_in", 0.8, where)
        between = _require_probability(block, "p_out", 0.1, where)
        count = _require_whole_number(block.get("count", 1), 1, 10**7, f"{where}: count")
        seed = _require_whole_number(block.get("seed", 0), 0, 2**63 - 1, f"{where}: seed")
        loops = block.get("self_loops", False)
        if not isinstance(loops, bool):
            raise SubstrateError(f"{where}: self_loops: expected true or false, got {quote(loops)}")
        default = ["LOGISTIC"] if kind == "grid" else ["AND", "OR", "XOR"]
        given = _parse_gates(block.get("gates", default), f"{where}: gates")
        if kind == "grid" and any("weights" in gate for gate in given):
            raise SubstrateError(f"{where}: gates: weights: a grid has lateral and self weights")
        name = block.get("name", kind)
        if not isinstance(name, str) or not name:
            raise SubstrateError(f"{where}: name: expected a text, got {quote(name)}")
        return tuple(
            cls(
                *(str(kind), n, count, seed, given, p, k, loops, name),
                *(m, modules, within, between),
                UnitGrid.from_block(block, shape or (n,), where) if kind == "grid" else None,
            )
            for n in sizes
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a member's units."""
        return notation.default_labels(self.n)

    def member_name(self, number: int) -> str:
        """Return the name of one member."""
        stem = f"{self.name}-{self.n}"
        return stem if self.count == 1 else f"{stem}-{number}"

    def with_gate_parameters(self, parameters: Mapping[str, Any]) -> Family:
        """Return the family with parameters of its gates replaced where gates have them."""
        new = []
        for gate in self.gates:
            fitting = {k: v for k, v in parameters.items() if gates.has_parameter(gate["gate"], k)}
            new.append({**gate, **fitting})
        return replace(self, gates=tuple(new))

    def has_parameter(self, parameter: str) -> bool:
        """Return True if any gate has a parameter."""
        return any(gates.has_parameter(gate["gate"], parameter) for gate in self.gates)

    def batch(self) -> Batch:
        """Return all members."""
        inputs, picks = self._graphs(), self._picks()
        if any(self._is_weighted(gate) for gate in self.gates):
            members = [Substrate.from_units(self.block(i)["units"]) for i in range(self.count)]
            return Batch.from_substrates(members)
        states = np.arange(1 << self.n)
        on = np.empty((self.count, 1 << self.n, self.n))
        tables = self._gate_tables(inputs)
        for i in range(self.n):
            rows, counts = np.zeros((self.count, 1 << self.n), np.int64), np.zeros(self.count, int)
            for source in inputs[:, i].T:
                bit = states >> np.maximum(source, 0)[:, None] & (source >= 0)[:, None]
                rows |= bit << counts[:, None]
                counts += source >= 0
            on[:, :, i] = tables[picks[:, i, None], counts[:, None], rows]
        both = np.stack([1.0 - on, on], axis=-1).reshape(self.count, 1 << self.n, 2 * self.n)
        edges = (inputs[..., None] == np.arange(self.n)).any(axis=2)  # (member, to, from)
        children = (edges << np.arange(self.n)[:, None]).sum(axis=1)
        return Batch.from_tables((2,) * self.n, both, children)

    def block(self, number: int) -> dict[str, Any]:
        """Return one member as the ``substrate:`` block of a study."""
        inputs, picks = self._graphs()[number], self._picks()[number]
        units = []
        for i in range(self.n):
            own = [int(j) for j in inputs[i] if j >= 0]
            gate = dict(self.gates[picks[i]])
            if self._is_weighted(gate):
                gate["weights"] = self._weights(gate.get("weights"), number)[i, own].tolist()
            units.append({**gate, "inputs": own})
        return {"units": units}

    def _is_weighted(self, gate: Mapping[str, Any]) -> bool:
        """Tell whether each input of a gate has a weight of its own."""
        in_grid = self.grid is not None and gates.has_parameter(gate["gate"], "weights")
        return in_grid or "weights" in gate

    def _stream(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.n, purpose])

    def _picks(self) -> Array:
        """Return ``(count, n)``: number of each unit's gate."""
        draws = self._stream(1).random((self.count, self.n))
        return np.minimum((draws * len(self.gates)).astype(np.int64), len(self.gates) - 1)

    def _weights(self, given: Any, number: int) -> Array:
        """Return ``(n, n)`` weights of a member, [unit, input]."""
        if self.grid is not None:
            return self.grid.weights()
        rng = np.random.default_rng([self.seed, self.n, 3, number])
        try:
            if isinstance(given, Mapping) and len(given) == 1:
                ((kind, (first, second)),) = given.items()
                if kind in ("normal", "uniform"):
                    return np.asarray(getattr(rng, kind)(first, second, (self.n, self.n)))
            elif isinstance(given, int | float):
                return np.full((self.n, self.n), float(given))
        except (TypeError, ValueError, OverflowError):
            pass
        raise SubstrateError(
            "gates: weights: expected a number, {normal: [mean, deviation]} or "
            f"{{uniform: [low, high]}}, got {quote(given)}"
        )

    def _graphs(self) -> Array:
        """Return ``(count, n, n)``: inputs of each unit in order, -1 where there is none."""
        n, count = self.n, self.count
        every = np.arange(n)
        if self.grid is not None:
            return np.tile(np.where(self.grid.weights() != 0, every, -1), (count, 1, 1))
        if self.kind == "ring":
            out = np.full((count, n, n), -1)
            neighbours = np.stack([every - 1, every, every + 1], axis=1)[:, :n]  # each once
            out[:, :, : min(n, 3)] = neighbours % n
            return out
        draws = self._stream(0).random((count, 2, n, n))
        if self.kind in ("erdos-renyi", "modular"):
            there = self._independent(draws)
        elif self.kind == "barabasi-albert":
            there = self._attached(draws[:, 0])
        else:
            distance = [(1 + j // 2) * (1 if j % 2 else -1) for j in range(self.k)]
            lattice = np.zeros((n, n), bool)
            for d in distance:
                lattice[every, (every + d) % n] = True
            kept = lattice[None] & (draws[:, 0] >= (0.0 if self.kind == "lattice" else self.p))
            score = np.where(kept, -1.0, draws[:, 1])
            score[:, every, every] = 2.0
            order = np.argsort(score, axis=2, kind="stable")[:, :, : self.k]
            there = np.zeros((count, n, n), bool)
            np.put_along_axis(there, order, True, axis=2)
        return np.where(there, every[None, None, :], -1)

    def _independent(self, draws: Array) -> Mask:
        """Return graphs ``(count, n, n)`` [to, from] of independent connections, one at least."""
        n, every = self.n, np.arange(self.n)
        chance: Any = self.p
        if self.kind == "modular":
            module = every * self.modules // n
            chance = np.where(module[:, None] == module, self.within, self.between)
        there: Mask = draws[:, 0] < chance
        spare = draws[:, 1].copy()
        if not self.self_loops:
            there[:, every, every] = False
        if n > 1 and not self.self_loops:
            spare[:, every, every] = 2.0
        member, unit = np.nonzero(~there.any(axis=2))
        there[member, unit, spare.argmin(axis=2)[member, unit]] = True
        return there

    def _attached(self, draws: Array) -> Mask:
        """Return graphs grown from a star: a new unit is joined to m others, by their degree."""
        there = np.zeros((self.count, self.n, self.n), np.bool_)
        there[:, 0, 1 : self.m + 1] = there[:, 1 : self.m + 1, 0] = True
        for new in range(self.m + 1, self.n):
            degree = there[:, :new, :new].sum(axis=2)
            # The largest of u^(1/w) are a draw by weights w without repetition.
            score = draws[:, new, :new] ** (1.0 / degree)
            chosen = np.argsort(-score, axis=1, kind="stable")[:, : self.m]
            member = np.arange(self.count)[:, None]
            there[member, new, chosen] = there[member, chosen, new] = True
        return there

    def _gate_tables(self, inputs: Array) -> Array:
        """Return ``(gates, inputs + 1, 2**n)``: P(on) of each gate over its inputs' states."""
        out = np.full((len(self.gates), self.n + 1, 1 << self.n), np.nan)
        counts = set((inputs >= 0).sum(axis=2).ravel().tolist())
        others = [{"gate": "BIAS", "probability": 0.5}] * self.n
        for g, gate in enumerate(self.gates):
            for m in counts:
                unit = {**gate, "inputs": list(range(1, m + 1))}
                _, made = gates.factors_from_units([unit, *others], None, self.kind)
                out[g, m, : 1 << m] = np.asarray(made[0][1])[..., 1].reshape(-1, order="F")
        return out


def _require_whole_number(value: Any, least: int, most: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SubstrateError(
            f"{where}: expected a whole number from {least} to {most}, got {quote(value)}"
        )
    return value


def _require_probability(block: Mapping[str, Any], key: str, usual: float, where: str) -> float:
    value = block.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SubstrateError(
            f"{where}: {key}: expected a probability from 0 to 1, got {quote(value)}"
        )
    return float(value)


def _parse_gates(given: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    listed: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
    out = []
    for entry in listed:
        gate = {"gate": entry} if isinstance(entry, str) else entry
        name = gate.get("gate") if isinstance(gate, Mapping) else None
        if not isinstance(name, str) or name.upper() not in gates.GATES:
            raise SubstrateError(f"{where}: expected gates by name, got {quote(entry)}")
        out.append({**gate, "gate": name.upper()})
    if not out:
        raise SubstrateError(f"{where}: expected at least one gate, got none")
    return tuple(out)
