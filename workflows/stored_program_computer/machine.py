"""The stored-program computer of Findlay et al. 2024, built from its blocks for any k.

2^k bits of target state, one ring of 2^k units per instruction; deterministic Boolean units
only. k = 2 gives 117 units that emulate any four-unit target in eight updates a step, k = 3
gives 2603. Wiring: arXiv:2412.04571 and the authors' code, here stated gate by gate.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

PQRS = [
    "0000",
    "0001",
    "0010",
    "0011",
    "0100",
    "0111",
    "1001",
    "1000",
    "1011",
    "0110",
    "1110",
    "0101",
    "1101",
    "1111",
    "1010",
    "1100",
]
WXYZ = [
    "0000",
    "1011",
    "1001",
    "1011",
    "0100",
    "1111",
    "1101",
    "1111",
    "0110",
    "1111",
    "1111",
    "0110",
    "0110",
    "1101",
    "1011",
    "0000",
]
"""Next state of each state of the target, states counted with the first unit fastest."""

Unit = Mapping[str, Any]


@dataclass(frozen=True)
class Machine:
    """A computer with a program in it.

    Parameters
    ----------
    program
        Next state of each of the target's 2^(2^k) states, first unit fastest.
    feedback
        Whether the clock and the rings also read the processor, which makes all units one
        strongly connected graph.
    """

    program: tuple[str, ...]
    feedback: bool = False

    @property
    def bits(self) -> int:
        """Units of the target, 2^k."""
        return len(self.program[0])

    @property
    def k(self) -> int:
        """Logarithm of the number of bits: stages of the clock."""
        return self.bits.bit_length() - 1

    @property
    def updates_per_step(self) -> int:
        """Updates of the machine per update of its target."""
        return 2 * self.bits

    @cached_property
    def units(self) -> list[Unit]:
        """Every unit as label, gate and inputs, block by block."""
        return [*self._clock(), *self._registers(), *self._rings(), *self._processor()]

    @cached_property
    def labels(self) -> list[str]:
        return [unit["label"] for unit in self.units]

    @cached_property
    def blocks(self) -> dict[str, list[str]]:
        """Labels by block, for the reader."""
        n, s = self.bits, len(self.program)
        return {
            "clock": [unit["label"] for unit in self._clock()],
            "registers": [unit["label"] for unit in self._registers()],
            "program": [f"T{i}/{r}" for r in range(s) for i in range(n)],
            "instruction register": [f"IR/{r}" for r in range(s)],
            "multiplexer": [f"M{r}" for r in range(s)],
            "output and buffer": ["O", *self._buffers()],
        }

    def _buffers(self) -> list[str]:
        return [f"B{j}" for j in range(2 * self.bits - 5)]

    def _clock(self) -> list[Unit]:
        """A counter: C0 alternates, Xj turns at each pulse of A(j-1), Aj pulses when all are on."""
        n, k = self.bits, self.k
        first = {"label": "C0", "gate": "NOT", "inputs": ["C0"]}
        if self.feedback:
            inputs = ["C0", *(f"T{i}R1" for i in range(n))]
            first = {"label": "C0", "gate": "NOR", "inputs": inputs}
        units = [first]
        for j in range(1, k + 1):
            before = "C0" if j == 1 else f"A{j - 1}"
            counted = ["C0", *(f"X{i}" for i in range(1, j + 1))]
            units.append({"label": f"X{j}", "gate": "XOR", "inputs": [f"X{j}", before]})
            units.append(_all_but_last(f"A{j}", [*counted, f"A{j}"]))
        return units

    def _registers(self) -> list[Unit]:
        """Current state R0, its change R1 once a step, what would have to change R2."""
        arriving = [*self._buffers(), "O"][: self.bits]
        units: list[Unit] = []
        for i in range(self.bits):
            r0, r1, r2 = (f"T{i}R{j}" for j in range(3))
            units.append({"label": r0, "gate": "XOR", "inputs": [r0, r1]})
            units.append({"label": r1, "gate": "AND", "inputs": [r2, f"A{self.k}"]})
            units.append({"label": r2, "gate": "XOR", "inputs": [r0, arriving[i]]})
        return units

    def _rings(self) -> list[Unit]:
        """One ring of COPY units per instruction; feedback lets the second-last hear its IR."""
        n = self.bits
        units: list[Unit] = []
        for r in range(len(self.program)):
            for i in range(n):
                label, before = f"T{i}/{r}", f"T{(i + 1) % n}/{r}"
                if self.feedback and i == n - 2:
                    units.append({"label": label, "gate": "OR", "inputs": [before, f"IR/{r}"]})
                else:
                    units.append({"label": label, "gate": "COPY", "inputs": [before]})
        return units

    def _processor(self) -> list[Unit]:
        """Instructions let through, the one that the state selects, its bits one by one."""
        n, instructions = self.bits, range(len(self.program))
        state = [f"T{i}R0" for i in range(n)]
        units: list[Unit] = [
            _all_but_last(f"IR/{r}", [f"T0/{r}", f"X{self.k}"]) for r in instructions
        ]
        for r in instructions:
            signs = [1 if r >> i & 1 else -1 for i in range(n)]
            weights, on = [*signs, 1], sum(sign > 0 for sign in signs) + 1
            units.append(
                {
                    "label": f"M{r}",
                    "gate": "LINEAR",
                    "inputs": [*state, f"IR/{r}"],
                    "weights": weights,
                    "threshold": on,
                }
            )
        units.append({"label": "O", "gate": "OR", "inputs": [f"M{r}" for r in instructions]})
        chain = [*self._buffers(), "O"]
        units += [{"label": a, "gate": "COPY", "inputs": [b]} for a, b in itertools.pairwise(chain)]
        return units

    def loaded(self, start: Sequence[int]) -> list[int]:
        """State at update 0: the program in the rings, ``start`` in the registers, C0 on."""
        on = {"C0"} | {f"T{i}R0" for i, value in enumerate(start) if value}
        for r, row in enumerate(self.program):
            on |= {f"T{i}/{r}" for i, bit in enumerate(row) if bit == "1"}
        return [int(label in on) for label in self.labels]

    @cached_property
    def _wiring(self) -> list[tuple[str, list[int], np.ndarray | None, float]]:
        place = {label: i for i, label in enumerate(self.labels)}
        return [
            (
                unit["gate"],
                [place[label] for label in unit["inputs"]],
                np.array(unit["weights"]) if "weights" in unit else None,
                unit.get("threshold", 0),
            )
            for unit in self.units
        ]

    def update(self, state: Sequence[int], times: int = 1) -> list[int]:
        """Let all units update at once, so many times."""
        now = list(state)
        for _ in range(times):
            now = [
                _value(gate, [now[i] for i in inputs], w, t) for gate, inputs, w, t in self._wiring
            ]
        return now

    def output(self, state: Sequence[int]) -> tuple[int, ...]:
        """What the registers hold: the state of the emulated target."""
        place = {label: i for i, label in enumerate(self.labels)}
        return tuple(state[place[f"T{i}R0"]] for i in range(self.bits))

    def target(self, state: Sequence[int]) -> tuple[int, ...]:
        """Next state of the target itself."""
        row = self.program[sum(value << i for i, value in enumerate(state))]
        return tuple(map(int, row))

    def agreements(self, start: Sequence[int], steps: int) -> int:
        """How many of so many steps of the target the machine gets right, from a start."""
        expected, right = tuple(start), 0
        now = self.update(self.loaded(start))
        for _ in range(steps):
            now, expected = self.update(now, self.updates_per_step), self.target(expected)
            right += self.output(now) == expected
        return right

    def fragment(self, labels: Sequence[str]) -> list[Unit]:
        """Some units on their own, inputs from elsewhere dropped from their gates.

        What an AND is denied counts as granted, what an XOR or OR is denied as off: so
        A2, alone, becomes NOT, and a register becomes COPY.
        """
        kept = set(labels)
        out: list[Unit] = []
        for unit in self.units:
            if unit["label"] not in kept:
                continue
            own = [j for j, name in enumerate(unit["inputs"]) if name in kept]
            alone = {**unit, "inputs": [unit["inputs"][j] for j in own]}
            if "weights" in unit:
                dropped = [w for j, w in enumerate(unit["weights"]) if j not in own]
                alone["weights"] = [unit["weights"][j] for j in own]
                alone["threshold"] = unit["threshold"] - sum(w for w in dropped if w > 0)
            out.append(alone)
        return out

    @property
    def fragments(self) -> list[list[str]]:
        """The parts that were published, each evaluated on its own (k = 2)."""
        n = self.bits
        rings = [[f"T{i}/{r}" for i in range(n)] for r in range(len(self.program))]
        later = [[name] for j in range(2, self.k + 1) for name in (f"X{j}", f"A{j}")]
        return [*rings, ["C0", "X1", "A1"], *later, *([f"T{i}R0"] for i in range(n))]


def _all_but_last(label: str, inputs: list[str]) -> Unit:
    """On when all inputs are on but the last, which must be off."""
    weights = [1] * (len(inputs) - 1) + [-1]
    return {
        "label": label,
        "gate": "LINEAR",
        "inputs": inputs,
        "weights": weights,
        "threshold": len(inputs) - 1,
    }


def _value(gate: str, inputs: list[int], weights: np.ndarray | None, threshold: float) -> int:
    if weights is not None:
        return int(sum(w for w, x in zip(weights, inputs, strict=True) if x) >= threshold)
    if gate == "NOT":
        return 1 - inputs[0]
    if gate == "XOR":
        return sum(inputs) % 2
    if gate == "AND":
        return int(all(inputs))
    if gate == "NOR":
        return int(not any(inputs))
    return int(any(inputs))  # OR, COPY


def random_program(bits: int, seed: int) -> tuple[str, ...]:
    """A target of so many units with a random next state for each state."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 2, (2**bits, bits))
    return tuple("".join(map(str, row)) for row in rows)
