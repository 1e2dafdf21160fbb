"""Published accounts, recomputed: ``python -m workflows.what_caused_what.analyse [FILE.md]``."""

from __future__ import annotations

import sys
from functools import cache
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


NETWORKS = {"plurality": plurality}


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
    return out | row["links"]


@cache
def compared() -> list[tuple[str, str, float | None, float | None]]:
    """Figure, link, printed alpha and ours; None where one of them has no such link."""
    given = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    out: list[tuple[str, str, float | None, float | None]] = []
    for row in given:
        tree = account(row)
        ours, printed = links(tree), published(row)
        every = [*printed, *(x for x in ours if x not in printed)]
        out += [(row["figure"], link, printed.get(link), ours.get(link)) for link in every]
        if not printed and not ours:
            out.append((row["figure"], "none", 0.0, 0.0))
        if "account" in row:
            out.append((row["figure"], "whole account", row["account"], tree.attrs["alpha"]))
    return out


def table() -> str:
    """Everything as Markdown."""
    lines = [
        "# What caused what: published causal strengths, recomputed",
        "",
        "| figure | link | published | ours |",
        "|---|---|---|---|",
    ]
    for figure, link, printed, ours in compared():
        cells = ["" if x is None else f"{x:.{digits}g}" for x, digits in ((printed, 4), (ours, 13))]
        lines.append(f"| {figure} | {link} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        print(text)
