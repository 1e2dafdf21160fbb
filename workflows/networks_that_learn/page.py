"""What was found of networks that learn, as one page of HTML with pictures in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64em; margin: 2em auto; padding: 0 1em;
color: #222; background: #fff } h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 1.8em }
table { border-collapse: collapse; margin: .8em 0; display: block; overflow-x: auto }
td, th { padding: .15em .9em .15em 0; text-align: right;
white-space: nowrap; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } .charts { display: grid; gap: 1em;
grid-template-columns: repeat(auto-fit, minmax(22em, 1fr)) } figure { margin: 0 }
figcaption { font-weight: 600; font-size: .9em } svg { width: 100%; height: auto }
svg text { font-size: 11px; fill: #444 } .key span { margin-right: 1.2em; white-space: nowrap }
.key i { display: inline-block; width: 1.4em; height: 3px; vertical-align: middle;
margin-right: .4em }
"""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#777777")  # Told apart by all kinds of colour vision
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 400, 190, 56, 22, 30, 10
Series = Sequence[tuple[Sequence[float], Sequence[float]]]


def wiring(found: Any) -> str:
    """Return the words for which weights a network has."""
    if found.config.feed_forward:
        return "feed-forward"
    return f"{round(100 * found.config.sparsity)} % zero"


def chart(title: str, series: Series, x_name: str, x_texts: Mapping[float, str]) -> str:
    """Return lines over common axes that begin at 0, with marks at their points."""
    ends = [x for xs, _ in series for x in xs]
    low, high = min(ends), max(ends)
    top = max([y for _, ys in series for y in ys] + [1e-9]) * 1.05

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - low) / (high - low or 1) * (WIDTH - LEFT - RIGHT)
        return LEFT + across, HEIGHT - BOTTOM - y / top * (HEIGHT - BOTTOM - TOP)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for share in (0.0, 0.5, 1.0):
        y = at(low, share * top / 1.05)[1]
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        text = f"{share * top / 1.05:.3g}"
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for x, text in x_texts.items():
        place = at(x, 0)[0]
        parts.append(f'<text x="{place:.1f}" y="{HEIGHT - 15}" text-anchor="middle">{text}</text>')
    middle = (WIDTH + LEFT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{x_name}</text>')
    for k, (xs, ys) in enumerate(series):
        points = [at(x, y) for x, y in zip(xs, ys, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour, dash = COLOURS[k % 4], ' stroke-dasharray="4 3"' if k % 4 == 3 else ""
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in points]
    parts.append("</svg>")
    return f"<figure><figcaption>{escape(title)}</figcaption>{''.join(parts)}</figure>"


def over_training(found: Sequence[Any], read: Any, title: str) -> str:
    """Return a chart of the networks of one size over the epochs, evenly spaced."""
    epochs = found[0].epochs
    places = list(range(len(epochs)))
    texts = {k: str(epochs[k]) for k in places}
    return chart(title, [(places, read(each)) for each in found], "epoch", texts)


def key(names: Sequence[str]) -> str:
    """Return which colour is what."""
    spans = [
        f'<span><i style="background:{COLOURS[k % 4]}"></i>{escape(name)}</span>'
        for k, name in enumerate(names)
    ]
    return f'<p class="key">{"".join(spans)}</p>'


def logarithm(found: Any) -> np.ndarray:
    """Return log10 of 1 + Phi, mean over states, by epoch: Phi spans many orders of magnitude."""
    return np.log10(1 + found.over_states("big_phi"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a head."""
    first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{first}</tr>{body}</table>"


def _end(found: Any) -> list[str]:
    """Return one network before and after training as cells of a table."""
    phi, big = found.over_states("phi"), found.over_states("big_phi")
    losses = [found.losses[epoch] for epoch in (found.epochs[0], found.epochs[-1])]
    return [
        f"{found.config.units} units, {wiring(found)}",
        *(f"{loss:.3f}" for loss in losses),
        *(f"{phi[k]:.3g}" for k in (0, -1)),
        *(f"{big[k]:.4g}" for k in (0, -1)),
        *(f"{found.sizes[k]} ({found.phis[k]:.3f})" for k in (0, -1)),
    ]


HEAD = (
    *("network", "loss before", "after", "phi_s before", "after"),
    *("Phi before", "after", "complex before", "after"),
)


def law_rows(law: Any) -> list[list[str]]:
    """Return measured and fitted seconds by size as rows of a table."""
    return [
        [f"{n} units", f"{seconds:.4f}", f"{law.fitted(n):.4f}"]
        for n, seconds in zip(law.sizes, law.seconds, strict=True)
    ]


def law_text(law: Any) -> str:
    """Return the cost law in words, and how its forecast did."""
    n, actual = law.sizes[-1], law.seconds[-1]
    low, high = law.estimate
    fitted = law.fitted(n)
    # Structures of some milliseconds each may have no law.
    ratio = f" ({actual / fitted:.2f} times)" if fitted > 0 else ""
    return (
        f"One structure takes {law.fixed:.3g} + {law.base:.3g} x {law.growth:.2f}^n core-seconds, "
        f"fitted to {law.sizes[0]} to {law.sizes[-2]} units. Forecast for {n} units "
        f"{fitted:.3g} s, actual {actual:.3g} s{ratio}; "
        f"iit.estimate said {low:.3g} to {high:.3g} s."
    )


def certificate(found: Sequence[Any]) -> str:
    """Return why feed-forward networks have phi_s 0, in every state and epoch."""
    largest = max(float(each.cube["phi"].fillna(0).max()) for each in found)
    reasons = " and ".join(sorted(set().union(*(each.reasons for each in found))))
    points = sum(each.cube["phi"].size for each in found)
    return f"phi_s is at most {largest:g} at all {points:,} points; the reason given: {reasons}."


def summary(found: Sequence[Any], law: Any) -> list[str]:
    """Return what the page says, as lines of text."""
    lines = ["\t".join(HEAD), *("\t".join(_end(each)) for each in found)]
    control = [each for each in found if each.config.feed_forward]
    return [*lines, law_text(law), f"feed-forward: {certificate(control)}"]


def written(found: Sequence[Any], law: Any) -> str:
    """Return the page."""
    sizes = list(dict.fromkeys(each.config.units for each in found))
    panels, names = [], list(dict.fromkeys(wiring(each) for each in found))
    for n in sizes:
        own = [each for each in found if each.config.units == n]
        charts = [
            over_training(own, lambda one: [one.losses[e] for e in one.epochs], "loss (nats)"),
            over_training(
                own, lambda one: one.over_states("phi"), "phi_s, mean over states (bits)"
            ),
            over_training(own, logarithm, "log10 of 1 + mean Phi"),
            over_training(own, lambda one: one.sizes, "units of the complex of largest phi_s"),
        ]
        panels.append(f'<h2>{n} units</h2><div class="charts">{"".join(charts)}</div>')
    trained = [each for each in found if not each.config.feed_forward]
    by_size = [
        (sizes, [logarithm(t)[-1] for t in trained if wiring(t) == name])
        for name in names
        if name != "feed-forward"
    ]
    size_texts = {n: str(n) for n in sizes}
    fit = [law.fitted(n) for n in law.sizes]
    cost = chart(
        "core-seconds of a structure: measured, fitted",
        [(law.sizes, each) for each in (law.seconds, fit)],
        "units",
        {n: str(n) for n in law.sizes},
    )
    across = chart("log10 of 1 + mean Phi after training", by_size, "units", size_texts)
    points = sum(int(np.prod(each.cube["phi"].shape)) for each in found)
    control = [each for each in found if each.config.feed_forward]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Networks that learn</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>Networks that learn</h1>
<p>Recurrent networks of logistic units learn a noisy sequence that one step does not tell: two
units show it, the others carry what it takes. {len(found)} networks, {len(found[0].epochs)}
checkpoints each, all states: {points:,} cause-effect structures (IIT 4.0, 2023), each exact. The
complex is that of largest phi_s in the state in which the network is most of the time.</p>
{key(names)}
{"".join(panels)}
<h2>Before and after</h2>
{table(HEAD, [_end(each) for each in found])}
<p>phi_s and Phi in bits, means over all states; loss in nats per shown value (a coin: 0.693);
complex: its units and its phi_s.</p>
<h2>Feed-forward</h2>
<p>Connections lead to later units only. {escape(certificate(control))}</p>
<h2>Size</h2>
<div class="charts">{across}{cost}</div>
{key([name for name in names if name != "feed-forward"])}
<p>{escape(law_text(law))} In the second picture measured and fitted seconds have the first two
colours.</p>
{table(("size", "measured (s)", "fitted (s)"), law_rows(law))}
</body></html>
"""
