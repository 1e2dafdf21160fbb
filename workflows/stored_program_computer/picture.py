"""The target and the machine side by side, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from workflows.stored_program_computer.machine import Machine

COLOURS = ("#c6dbef", "#6baed6", "#2171b5", "#08306b")
"""Fill of a unit that is part of a complex, by phi_s: up to 0.5, 1, 2, and above."""

Place = Mapping[str, tuple[float, float]]


def colour(phi: float) -> str:
    """Darker for more."""
    return COLOURS[sum(phi > limit + 1e-9 for limit in (0.5, 1.0, 2.0))]


def machine_places(machine: Machine) -> dict[str, tuple[float, float]]:
    """Where each unit is drawn: rings in a square of squares, the processor beside them."""
    n, s = machine.bits, len(machine.program)
    columns = round(s**0.5)
    places: dict[str, tuple[float, float]] = {}
    for r in range(s):
        x, y = 70 * (r % columns), 62 * (r // columns)
        for i in range(n):
            places[f"T{i}/{r}"] = (x + (0, 24, 24, 0)[i % 4], y + (0, 0, 24, 24)[i % 4])
        places[f"IR/{r}"] = (310, 15.5 * r)
        places[f"M{r}"] = (370, 15.5 * r)
    chain = machine.blocks["output and buffer"]
    for j, label in enumerate([chain[0], *reversed(chain[1:])]):
        places[label] = (430, 60 + 30 * j)
    for i in range(n):
        for j in range(3):
            places[f"T{i}R{j}"] = (560 - 35 * j, 20 + 62 * i)
    for j, label in enumerate(machine.blocks["clock"]):
        places[label] = (310 + 55 * j, 285)
    return places


def network(
    edges: Sequence[tuple[str, str]],
    places: Place,
    complexes: Sequence[tuple[Sequence[str], float, str]],
    *,
    labelled: bool = False,
) -> str:
    """Units as circles, filled where they belong to a complex; complexes ringed and titled."""
    inside = {label: phi for labels, phi, _ in complexes for label in labels}
    out = []
    for a, b in edges:
        if a != b:
            (x1, y1), (x2, y2) = places[a], places[b]
            out.append(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="edge"/>')
    for labels, _, title in complexes:
        xs, ys = [places[u][0] for u in labels], [places[u][1] for u in labels]
        x, y, w, h = min(xs) - 11, min(ys) - 11, max(xs) - min(xs) + 22, max(ys) - min(ys) + 22
        out.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="11" class="complex">'
            f"<title>{escape(title)}</title></rect>"
        )
    for label, (x, y) in places.items():
        fill = colour(inside[label]) if label in inside else "white"
        out.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="6" fill="{fill}" class="unit">'
            f"<title>{escape(label)}</title></circle>"
        )
        if labelled:
            out.append(f'<text x="{x + 9:g}" y="{y + 20:g}">{escape(label)}</text>')
    return "\n".join(out)


def edges_of(machine: Machine) -> list[tuple[str, str]]:
    """Connections by label."""
    return [(a, unit["label"]) for unit in machine.units for a in unit["inputs"]]


def target_places(labels: str) -> dict[str, tuple[float, float]]:
    """Four units in a square."""
    return dict(zip(labels, ((0, 0), (110, 0), (110, 110), (0, 110)), strict=True))


def side_by_side(target: str, machine: str, captions: tuple[str, str]) -> str:
    """Both networks in one drawing."""
    return f"""<svg viewBox="0 0 860 350" role="img" aria-label="{escape(" and ".join(captions))}">
<style>
.edge {{ stroke: #999; stroke-width: .35 }} .unit {{ stroke: #333; stroke-width: .9 }}
.complex {{ fill: #fdd49e; fill-opacity: .45; stroke: #d94801; stroke-width: 1.4 }}
text {{ font: 11px sans-serif; fill: #222 }}
</style>
<text x="20" y="14">{escape(captions[0])}</text>
<text x="235" y="14">{escape(captions[1])}</text>
<g transform="translate(40 70)">{target}</g>
<g transform="translate(250 40)">{machine}</g>
</svg>"""
