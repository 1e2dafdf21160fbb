"""Target against machine: same function, other complexes. Writes one page.

    python -m workflows.stored_program_computer.analyse [PAGE.html] [--large]

``--large`` adds the machine of 2603 units (k = 3).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import iitdask as iit
from workflows.stored_program_computer import page
from workflows.stored_program_computer.machine import PQRS, WXYZ, Machine, random_program

STARTS = [tuple(code >> i & 1 for i in range(4)) for code in range(16)]
STEPS = 20
CASES = {"PQRS": (PQRS, (0, 1, 0, 1)), "WXYZ": (WXYZ, (1, 1, 0, 1))}
"""Program of each target, and the state whose complexes are shown."""


@dataclass
class Reading:
    """The complexes of a network in a state, each with its structure."""

    what: str
    complexes: list[tuple[tuple[str, ...], float, float]] = field(default_factory=list)
    """Units, phi_s and Phi in bits."""
    searched: str = ""
    exhaustive: bool = True
    seconds: float = 0.0
    certificate: str = ""

    def only(self, prefix: str) -> list[tuple[tuple[str, ...], float, float]]:
        return [each for each in self.complexes if each[0][0].startswith(prefix)]


def read(what: str, substrate: iit.Substrate, state: Sequence[int], **limits: Any) -> Reading:
    """Search for complexes, then unfold each one."""
    began = time.perf_counter()
    found = iit.complexes(substrate, state, **limits)
    reading = Reading(what, searched=found.attrs["searched"], exhaustive=found.attrs["exhaustive"])
    labels = np.array(substrate.labels, dtype=object)
    for inside, phi in zip(found["units"].values, found["phi"].values, strict=True):
        units = tuple(labels[inside])
        tree = iit.ces(substrate, state, list(units))
        reading.complexes.append((units, float(phi), float(tree.attrs["big_phi"])))
    reading.seconds = time.perf_counter() - began
    return reading


def whole(substrate: iit.Substrate, state: Sequence[int]) -> str:
    """Why phi_s of all units together is 0."""
    everything = list(range(substrate.n_units))
    found = iit.complexes(substrate, state, candidates=[everything])
    (shown,) = found.attrs["certificates"].values()
    into = ", ".join(shown["into"][:8])
    return f"severing what the rest sends to {into} loses nothing on the {shown['side']} side"


def isolated(name: str) -> Reading:
    """The published reading: each fragment a universe of its own, at update 0."""
    program, start = CASES[name]
    machine = Machine(tuple(program))
    reading = Reading(f"fragments on their own, program {name}, update 0")
    place = {label: i for i, label in enumerate(machine.labels)}
    state = machine.loaded(start)
    for labels in machine.fragments:
        substrate = iit.Substrate.from_units(machine.fragment(labels))
        one = read("", substrate, [state[place[label]] for label in substrate.labels])
        reading.complexes += one.complexes
        reading.seconds += one.seconds
    return reading


def target_reading(name: str) -> tuple[Reading, list[tuple[str, str]]]:
    """Complexes of the target itself, and its connections."""
    substrate = iit.examples.load(f"findlay2024-{name.lower()}")
    labels = substrate.labels
    edges = [(labels[a], labels[b]) for a, b in np.argwhere(substrate.connectivity)]
    return read(f"target {name}", substrate, CASES[name][1]), edges


def machine_readings(name: str, feedback: bool, updates: Sequence[int]) -> list[Reading]:
    """Complexes of the machine at some updates, everything conditioned on everything."""
    program, start = CASES[name]
    machine = Machine(tuple(program), feedback)
    substrate = iit.Substrate.from_units(machine.units)
    readings = []
    for update in updates:
        state = machine.update(machine.loaded(start), update)
        what = f"machine{' with feedback' if feedback else ''}, program {name}, update {update}"
        readings.append(read(what, substrate, state))
        readings[-1].certificate = whole(substrate, state)
    return readings


def equivalence() -> dict[str, int]:
    """Steps that each machine gets right, out of 16 starts times 20 steps."""
    return {
        f"{name}{', feedback' if feedback else ''}": sum(
            Machine(tuple(program), feedback).agreements(start, STEPS) for start in STARTS
        )
        for name, (program, _) in CASES.items()
        for feedback in (False, True)
    }


def large(feedback: bool) -> str:
    """The machine of eight bits with a random program: built, checked, searched."""
    machine = Machine(random_program(8, seed=1), feedback)
    start = (1, 0, 1, 1, 0, 0, 1, 0)
    right = machine.agreements(start, 5)
    began = time.perf_counter()
    substrate = iit.Substrate.from_units(machine.units)
    found = iit.complexes(substrate, machine.update(machine.loaded(start), 2))
    seconds = time.perf_counter() - began
    sizes = Counter(found["units"].values.sum(axis=1).tolist())
    alike = ", ".join(f"{count} of {size} units" for size, count in sorted(sizes.items()))
    scope = "exhaustive" if found.attrs["exhaustive"] else "not exhaustive"
    return (
        f"{substrate.n_units} units{' with feedback' if feedback else ''}: {right} of 5 steps "
        f"right; at update 2, {found.sizes['complex']} complexes ({alike}), the largest phi_s "
        f"{float(found['phi'].max()):.4g}; the search is {scope} and took {seconds:.0f} s."
    )


def main(words: Sequence[str]) -> None:
    """Compute everything and write the page."""
    began = time.perf_counter()
    targets = {name: target_reading(name) for name in CASES}
    found = page.Findings(
        right=equivalence(),
        most=len(STARTS) * STEPS,
        targets={name: reading for name, (reading, _) in targets.items()},
        target_edges={name: edges for name, (_, edges) in targets.items()},
        machines={name: machine_readings(name, False, (0, 2)) for name in CASES},
        feedback={name: machine_readings(name, True, (1, 2)) for name in CASES},
        fragments={name: isolated(name) for name in CASES},
        large=[large(False), large(True)] if "--large" in words else [],
    )
    out = Path(next((word for word in words if not word.startswith("-")), "page.html"))
    out.write_text(page.written(found, Machine(tuple(PQRS))), encoding="utf-8")
    print(f"{time.perf_counter() - began:.1f} s, written to {out}")
    for reading in [*found.machines["PQRS"], found.fragments["PQRS"]]:
        print(f"{reading.what}: {len(reading.complexes)} complexes")


if __name__ == "__main__":
    main(sys.argv[1:])
