"""Published accounts, recomputed: ``python -m workflows.what_caused_what.analyse [FILE.md]``."""

from __future__ import annotations

import sys
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import iitdask as iit

HERE = Path(__file__).parent
FIGURES = HERE / "figures.yaml"
VOTERS, CANDIDATES = "ABCDEFG", 3


def plurality() -> dict[str, Any]:
    """Seven voters, three candidates: W is whom most vote for, or 0 when two are equal."""
    votes = np.full(CANDIDATES, 1 / CANDIDATES)
    table = np.zeros((*[CANDIDATES] * len(VOTERS), CANDIDATES + 1))
    for ballot in product(range(CANDIDATES), repeat=len(VOTERS)):
        counts = np.bincount(ballot, minlength=CANDIDATES)
        first = int(counts.argmax())
        table[(*ballot, first + 1 if (counts == counts[first]).sum() == 1 else 0)] = 1.0
    factors = [([], votes) for _ in VOTERS] + [(list(VOTERS), table)]
    return {
        "substrate": iit.Substrate.from_factors(factors, labels=[*VOTERS, "W"]),
        "before": "00000110",  # five vote for the first candidate, two for the second
        "after": "00000001",
        "causes": VOTERS,
        "effects": "W",
    }


def averaged(gate: str) -> dict[str, Any]:
    """OR and AND of figure 6, one of them alone: its input from the other is averaged out."""
    own = 0 if gate == "OR" else 1
    on = np.array([[0, 1], [1, 1]] if gate == "OR" else [[0, 0], [0, 1]], float)
    factor = np.stack([1 - on, on], axis=-1).mean(axis=1 - own)
    value = "1" if gate == "OR" else "0"  # the transition is 10 to 10
    substrate = iit.Substrate.from_factors([([gate], factor)], labels=[gate])
    return {"substrate": substrate, "before": value, "after": value}


NETWORKS = {
    "plurality": plurality,
    "or alone": partial(averaged, "OR"),
    "and alone": partial(averaged, "AND"),
}


def account(row: dict[str, Any]) -> Any:
    """The account that a figure shows."""
    if "network" in row:
        return iit.account(**NETWORKS[row["network"]]())
    spec = iit.examples.spec(row["example"])
    theory = spec["theory"]
    about = {key: spec[key] for key in ("before", "after", "causes", "effects")}
    if "after" in row:
        about["after"] = row["after"]
    background = theory["background"] if isinstance(theory, dict) else None
    return iit.account(iit.examples.load(row["example"]), **about, background=background)


def name(labels: Any) -> str:
    """A set of units, as the figures write it."""
    return ("" if all(len(label) == 1 for label in labels) else ",").join(labels)


def links(tree: Any) -> dict[str, float]:
    """Alpha of every link: ``AB → D``, effects; ``A or B ← D``, causes."""
    data = tree["links"].to_dataset()
    labels = data["unit"].values
    found = {}
    for k in range(data.sizes["link"]):
        one = data.isel(link=k)
        ties = one["tied_purview"].values[: int(one["n_tied_purviews"])]
        others = " or ".join(name(labels[inside]) for inside in ties)
        own = name(labels[one["mechanism"].values])
        cause = str(one["direction"].values) == "cause"
        found[f"{others} ← {own}" if cause else f"{own} → {others}"] = float(one["alpha"])
    return found


def published(row: dict[str, Any]) -> dict[str, float]:
    """Alpha of every link as printed."""
    out = {}
    if "by_order" in row:
        about = row["by_order"]
        for size, alpha in enumerate(about["alpha"], 1):
            for chosen in combinations(about["of"], size):
                out[f"{''.join(chosen)} → {about['effect']}"] = alpha
    return out | row.get("links", {})


def agreement(printed: float | None, ours: float | None) -> str:
    """Whether a number rounds to what is printed: ``yes``, ``rounded twice`` or ``no``."""
    if printed is None or ours is None:
        return "no"
    shown = Decimal(str(printed))
    step = Decimal(1).scaleb(min(-2, shown.as_tuple().exponent))  # type: ignore[type-var,operator]
    if Decimal(ours).quantize(step, ROUND_HALF_UP) == shown:
        return "yes"
    once = Decimal(ours).quantize(step / 10, ROUND_HALF_UP)
    return "rounded twice" if once.quantize(step, ROUND_HALF_UP) == shown else "no"


@cache
def compared() -> list[tuple[str, str, float | None, float | None]]:
    """Figure, link, printed alpha and ours; None where one of them has no such link."""
    given = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    out: list[tuple[str, str, float | None, float | None]] = []
    for row in given:
        if row.get("open"):
            out.append((row["figure"], "whole account", row["account"], None))
            continue
        tree = account(row)
        ours, printed = links(tree), published(row)
        every = [*printed, *(x for x in ours if x not in printed)] if "links" in row else []
        out += [(row["figure"], link, printed.get(link), ours.get(link)) for link in every]
        if "links" in row and not every:
            out.append((row["figure"], "none", 0.0, 0.0))
        if "account" in row:
            out.append((row["figure"], "whole account", row["account"], tree.attrs["alpha"]))
    return out


def table() -> str:
    """Everything as Markdown."""
    lines = [
        "# What caused what: published causal strengths, recomputed",
        "",
        "| figure | link | published | its digits | ours |",
        "|---|---|---|---|---|",
    ]
    for figure, link, printed, ours in compared():
        cells = ["" if x is None else f"{x:.{digits}g}" for x, digits in ((printed, 4), (ours, 13))]
        same = "not known what of" if ours is None else agreement(printed, ours)
        lines.append(f"| {figure} | {link} | {cells[0]} | {same} | {cells[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        print(text)
