"""What was found, as one page of HTML with a picture in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from workflows.stored_program_computer.machine import Machine
from workflows.stored_program_computer.picture import (
    edges_of,
    machine_places,
    network,
    side_by_side,
    target_places,
)

Reading = Any
STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .8em 0 } td, th { padding: .15em .9em .15em 0;
text-align: left; vertical-align: top; border-bottom: 1px solid #ddd } svg { width: 100% }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 1.6em } .number { text-align: right }
"""


@dataclass
class Findings:
    """Everything the page reports."""

    right: dict[str, int]
    most: int
    targets: dict[str, Reading]
    target_edges: dict[str, list[tuple[str, str]]]
    machines: dict[str, list[Reading]]
    feedback: dict[str, list[Reading]]
    fragments: dict[str, Reading]
    large: Sequence[str] = ()


OTHER_STATES = """<p><b>Other states of PQRS.</b>
In 13 of its 16 states complexes, phi_s and Phi are
those published. In the other three a system of two units has phi_s 1 here and takes the place of
the published complex: in 1010 QR (Phi 2.38) ties with Q (phi_s 1, Phi 2, published) and is decided
for by its larger Phi; in 1011 PR (Phi 0) and in 1111 PR (Phi 0.83) exceed PQRS (phi_s 0.83, Phi
13.6 and 175.8, published). The publication computed with an earlier release of the reference
implementation, with other partitions of a system and another choice among tied states; its present
release gives the values found here.</p>"""


def titled(complexes: Sequence[tuple[Sequence[str], float, float]]) -> list[Any]:
    """Complexes with the text that appears over them."""
    return [
        (units, phi, f"{' '.join(units)}: phi_s {phi:.4g}, Phi {big:.6g} bits")
        for units, phi, big in complexes
    ]


def picture(found: Findings, machine: Machine) -> str:
    """The target PQRS and the machine that runs it, complexes ringed."""
    reading, first = found.targets["PQRS"], found.machines["PQRS"][0]
    target = network(
        found.target_edges["PQRS"], target_places("PQRS"), titled(reading.complexes), labelled=True
    )
    drawn = network(edges_of(machine), machine_places(machine), titled(first.complexes))
    units, _phi, big = reading.complexes[0]
    captions = (
        f"{''.join(units)}: 1 complex, Phi {big:.1f}",
        (
            f"the machine at update 0: {len(first.complexes)} complexes, the largest Phi "
            f"{max(each[2] for each in first.complexes):.0f}"
        ),
    )
    return side_by_side(target, drawn, captions)


def kinds(reading: Reading) -> str:
    """Complexes of a reading, alike ones counted together."""
    groups: Counter[tuple[str, str, str]] = Counter()
    for units, phi, big in reading.complexes:
        name = units[0]
        if len(units) > 1:
            name = f"ring of {len(units)}" if "/" in name else "".join(units)
        groups[name, f"{phi:.4g}", f"{big:.4g}"] += 1
    return "; ".join(
        f"{f'{count} x ' if count > 1 else ''}{name} ({phi}/{big})"
        for (name, phi, big), count in groups.items()
    )


def row(reading: Reading) -> str:
    """One reading as a line of a table."""
    scope = "exhaustive" if reading.exhaustive else f"only {reading.searched}"
    cells = [reading.what, str(len(reading.complexes)), kinds(reading), scope]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def table(readings: Sequence[Reading]) -> str:
    """Several readings under one heading."""
    head = "".join(f"<th>{h}</th>" for h in ("", "complexes", "each (phi_s/Phi)", "search"))
    return f"<table><tr>{head}</tr>{''.join(map(row, readings))}</table>"


def certificates(readings: Sequence[Reading]) -> str:
    """Why the whole machine is no complex."""
    items = "".join(
        f"<li>{escape(r.what)}: {escape(r.certificate)}.</li>" for r in readings if r.certificate
    )
    return f"<ul>{items}</ul>"


def large(lines: Sequence[str]) -> str:
    """The machine of eight bits, when it was asked for."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        "<h2>Eight bits</h2><p>The same blocks for k = 3, with a random program of 256 "
        "instructions; its O is an OR of 256 inputs, a gate without a table. The publication's "
        f"count would be 2^n + n + k + 1 = 268.</p><ul>{items}</ul>"
    )


def written(found: Findings, machine: Machine) -> str:
    """The page."""
    machines = [r for name in found.machines for r in found.machines[name]]
    feedback = [r for name in found.feedback for r in found.feedback[name]]
    right = "; ".join(f"{name} {n} of {found.most}" for name, n in found.right.items())
    rings = {
        name: ", ".join(f"{big:.0f}" for _, _, big in sorted(reading.only("T0/"), key=_ring))
        for name, reading in found.fragments.items()
    }
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Same function, other complexes</title>
<style>{STYLE}</style>
<h1>Same function, other complexes</h1>
<p>A target of four units and a stored-program computer of {len(machine.units)} units that emulates
it, after Findlay et al. 2024 (arXiv:2412.04571). IIT 4.0 (2023), every number exact.</p>
{picture(found, machine)}
<h2>Function</h2>
<p>Steps of the target that the machine gets right, all 16 starts, 20 steps each, eight updates a
step after one to start: {escape(right)}.</p>
<h2>Target</h2>
{table(list(found.targets.values()))}
{OTHER_STATES}
<h2>Machine</h2>
<p>Each candidate is conditioned on all other units: on the effect side they are held at their
current values, on the cause side averaged with their exact posterior.</p>
{table(machines)}
<p>All units together have phi_s 0:</p>{certificates(machines)}
<h2>The published reading</h2>
<p>The publication evaluates fragments on their own, inputs from outside dropped from their
gates. That gives 24 complexes at update 0, with Phi of the rings {escape(rings["PQRS"])} (PQRS)
and {escape(rings["WXYZ"])} (WXYZ).</p>
{table(list(found.fragments.values()))}
<p><b>Why 24 is not 22.</b> Alone, A2 is a NOT of itself and a register a COPY of itself. In the
machine, A2 is an AND of four inputs; X1 and X2 are off at the start, so A2 is off next
whatever it is now, makes no difference to itself, and is no complex. A register is the XOR of
itself with its change unit; where nothing tells whether that unit was on, the register's past is
unknown and it has no cause (T0R0 at update 0); where only part is told, the register keeps phi_s 1
but loses a distinction or relation (Phi 1 instead of 2). Two updates later, with program PQRS, all
registers have a cause: 23 complexes, which is the publication's general count 2^n + n + k + 1 for
n = 4, k = 2. The conclusion of the publication stands either way: every complex is tiny.</p>
<h2>Feedback</h2>
<p>With feedback all 117 units are one strongly connected graph. What is searched is nevertheless
everything: given the current state, whole parts of the machine are settled by their own units
(an OR that is on, an AND that is off), and what is settled cannot be irreducible together with
what it does not need. Sets left by that proof are evaluated one by one. The state at update 0
has no past in this variant, hence updates 1 and 2. Some rings form a complex with their
instruction-register unit, which passes what the ring sends while X2 is off. The publication's
code reports additional complexes of Phi up to 2, again for fragments on their own; under exact
conditioning the largest Phi is {max(big for r in feedback for _, _, big in r.complexes):.0f},
against 391 of the target.</p>
{table(feedback)}
<p>All units together have phi_s 0:</p>{certificates(feedback)}
{large(found.large)}
</html>
"""


def _ring(each: tuple[Sequence[str], float, float]) -> int:
    return int(each[0][0].split("/")[1])
