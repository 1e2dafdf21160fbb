"""Can a functional part of the computer be a unit of a larger grain? Writes one table.

    python -m workflows.stored_program_computer.groupings [TABLE.md]

A set of units can be a unit of any truth table and any number of updates only if the system of its
constituents is irreducible (Marshall et al. 2024, equation 15). Each functional grouping of the 117
units is judged in the whole universe, in the states of one step of the target. Where it passes,
``iit.grains`` compares it with its parts (equation 16).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import iitdask as iit
from iitdask.errors import UnreachableStateError
from workflows.stored_program_computer.machine import PQRS, Machine

START = (0, 1, 0, 1)


@dataclass(frozen=True)
class Judged:
    """What was found about a grouping."""

    name: str
    units: int
    phi: float  # Largest over the states, bits
    verdict: str
    why: str


def groupings(machine: Machine) -> dict[str, list[str]]:
    """Return the functional groupings by name."""
    registers = [[f"T{i}R{j}" for j in range(3)] for i in range(machine.bits)]
    rings = [[f"T{i}/{r}" for i in range(machine.bits)] for r in range(len(machine.program))]
    blocks = machine.blocks
    slots = [[*ring, f"IR/{r}", f"M{r}"] for r, ring in enumerate(rings)]
    return {
        **{f"register {i}": units for i, units in enumerate(registers)},
        "all registers": blocks["registers"],
        "values of the registers": [units[0] for units in registers],
        "clock": blocks["clock"],
        "instruction register": blocks["instruction register"],
        "multiplexer": blocks["multiplexer"],
        "output and buffer": blocks["output and buffer"],
        "processor": [
            *blocks["instruction register"], *blocks["multiplexer"], *blocks["output and buffer"],
        ],
        **{f"slot {r}": units for r, units in enumerate(slots)},
        "program": blocks["program"],
        "whole machine": machine.labels,
        **{f"program ring {r}": units for r, units in enumerate(rings)},
    }  # fmt: skip


def states_of_a_step(machine: Machine) -> list[tuple[int, ...]]:
    """Return the states of all units in one step of the target."""
    states = [tuple(machine.loaded(START))]
    for _ in range(machine.updates_per_step - 1):
        states.append(tuple(machine.update(states[-1])))
    return states


def judge(
    substrate: iit.Substrate, states: Sequence[Sequence[int]], name: str, units: list[str]
) -> Judged:
    """Judge a grouping as a unit, in several states."""
    reasons: dict[str, None] = {}
    best, at = 0.0, states[0]
    for state in states:
        try:
            found = iit.sia(substrate, tuple(state), units)
        except UnreachableStateError:
            reasons["its state is impossible while the rest is as it is"] = None
            continue
        reasons[str(found.attrs["reason"])] = None
        if float(found["phi"]) > best:
            best, at = float(found["phi"]), state
    if best == 0.0:
        return Judged(
            name, len(units), 0.0, "NOT_INTEGRATED", "; ".join(sorted(filter(None, reasons)))
        )
    candidates = iit.grains(substrate, tuple(at), footprints=[(units,)])["units"].to_dataset()
    last = candidates.isel(candidate=-1)
    against = f"against {last['n_competitors'].item()} systems of its parts"
    return Judged(name, len(units), best, str(last["verdict"].item()), against)


def black_boxes(substrate: iit.Substrate, machine: Machine, states: Sequence[Sequence[int]]) -> str:
    """Say what the registers are as one system of black boxes over a step of the target."""
    boxes = [
        iit.unit([f"T{i}R{j}" for j in range(3)], reads=f"T{i}R0", updates=len(states))
        for i in range(machine.bits)
    ]
    found = iit.sia(substrate, [tuple(state) for state in states], boxes)
    return f"phi_s {float(found['phi']):.6g} ({found.attrs['reason']})"


def rows(table: Sequence[Judged]) -> Iterator[str]:
    """Yield the rows of the table; equal groupings that follow each other are one row."""
    k = 0
    while k < len(table):
        first, end = table[k], k + 1
        stem = first.name.rstrip("0123456789")
        while end < len(table) and table[end].name.rstrip("0123456789") == stem and (
            table[end].phi, table[end].verdict, table[end].why,
        ) == (first.phi, first.verdict, first.why):  # fmt: skip
            end += 1
        name = first.name if end == k + 1 else f"{first.name} to {table[end - 1].name[len(stem) :]}"
        yield f"| {name} | {first.units} | {first.phi:.6g} | {first.verdict} | {first.why} |"
        k = end


def main(path: str | None = None) -> list[Judged]:
    """Judge all groupings and write the table."""
    began = time.perf_counter()
    machine = Machine(tuple(PQRS), False)
    substrate = iit.Substrate.from_units(machine.units)
    states = states_of_a_step(machine)
    table = [judge(substrate, states, *each) for each in groupings(machine).items()]
    boxes = black_boxes(substrate, machine, states)
    over = f"over the {len(states)} states of one step"
    where = f"in the universe of {substrate.n_units} units (PQRS, started with 0101)"
    taken = "Taken as four black boxes all the same, each register over the updates of one step and"
    lines = [
        "# Functional groupings of the computer as units",
        "",
        f"Largest phi_s of the system of constituents {over}, {where}.",
        "",
        "| grouping | units | phi_s | verdict | why |",
        "|---|---|---|---|---|",
        *rows(table),
        "",
        f"{taken} read at its first unit, the registers are a system of {boxes}.",
        "",
    ]
    text = "\n".join(lines)
    if path is None:
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(table)} groupings in {time.perf_counter() - began:.1f} s\n")
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
