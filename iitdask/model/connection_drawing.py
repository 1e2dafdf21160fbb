"""A picture of the connections of a substrate, as SVG, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from iitdask.types import Array, Mask

SIZE_PIXELS = 260  # Width and height
MAX_LABELLED_UNITS = 40  # Units whose labels fit beside them
HEAD = 0.05  # Length of an arrow head


@dataclass(frozen=True, slots=True)
class ConnectionDrawing:
    """Units on a circle, clockwise from the top, and arrows along the declared edges."""

    labels: Sequence[str]  # One per unit
    connectivity: Mask  # ``(N, N)``, from row to column

    @property
    def svg(self) -> str:
        """The picture as SVG, in the colour of the text around it."""
        n = len(self.labels)
        turn = np.pi / 2 - 2 * np.pi * np.arange(n) / n
        places = np.column_stack([np.cos(turn), -np.sin(turn)]) * (n > 1)
        radius = min(0.17, 1.3 / n)
        edges = [(int(a), int(b)) for a, b in np.argwhere(self.connectivity)]
        drawn = "".join(_arrow(places[a], places[b], radius, loop=a == b) for a, b in edges)
        for label, (x, y) in zip(self.labels, places.tolist(), strict=True):
            drawn += f'<circle cx="{x:.3f}" cy="{y:.3f}" r="{radius:.3f}" fill="none"/>'
            if n <= MAX_LABELLED_UNITS:
                size = min(0.16, 1.5 * radius, 3 * radius / max(1, len(label)))
                drawn += (
                    f'<text x="{x:.3f}" y="{y:.3f}" font-size="{size:.3f}" text-anchor="middle" '
                    f'dominant-baseline="central" fill="currentColor" stroke="none">'
                    f"{escape(label)}</text>"
                )
        about = f"{n} unit{'s' * (n != 1)}, {len(edges)} connection{'s' * (len(edges) != 1)}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE_PIXELS}" height="{SIZE_PIXELS}" '
            'viewBox="-1.5 -1.5 3 3" role="img" font-family="sans-serif" stroke="currentColor" '
            f'stroke-width="0.012"><title>{about}</title>{drawn}</svg>'
        )


def _arrow(start: Array, end: Array, radius: float, *, loop: bool) -> str:
    """Return an arrow between two units, bent to the right so that both directions are seen."""
    if loop:
        away = start / np.linalg.norm(start) if start.any() else np.array([0.0, -1.0])
        aside = np.array([-away[1], away[0]])
        begin, tip = start + radius * _rotated(away, 0.5), start + radius * _rotated(away, -0.5)
        far = start + 3.2 * radius * away
        path = f"C {_text(far + 1.6 * radius * aside)} {_text(far - 1.6 * radius * aside)}"
        heading = tip - (far - 1.6 * radius * aside)
    else:
        step = end - start
        control = (start + end) / 2 + 0.12 * np.array([-step[1], step[0]])
        begin = start + radius * _unit(control - start)
        tip = end + radius * _unit(control - end)
        path, heading = f"Q {_text(control)}", tip - control
    back = tip - HEAD * _unit(heading)
    side = 0.4 * HEAD * np.array([-_unit(heading)[1], _unit(heading)[0]])
    return (
        f'<path d="M {_text(begin)} {path} {_text(back)}" fill="none"/>'
        f'<path d="M {_text(tip)} L {_text(back + side)} L {_text(back - side)} Z" '
        'fill="currentColor"/>'
    )


def _rotated(vector: Array, angle: float) -> Array:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def _unit(vector: Array) -> Array:
    length = float(np.hypot(*vector))
    return vector / length if length else vector


def _text(place: Array) -> str:
    return f"{place[0]:.3f} {place[1]:.3f}"
