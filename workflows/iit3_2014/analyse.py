"""Published IIT 3.0 values, recomputed: ``python -m workflows.iit3_2014.analyse [FILE.md]``."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import iitdask as iit

HERE = Path(__file__).parent
FIGURES = HERE / "figures.yaml"
COMPLEXES = (  # network, state, what the paper calls complexes
    ("iit3-2014-fig14", "100010", ["ABC"]),
    ("iit3-2014-fig16", "1001110", ["ABC", "DE", "FG"]),
)
RULES = ("2014", "causal")


@cache
def structure(example: str, state: str, units: str, background: str) -> Any:
    """The conceptual structure of one candidate system."""
    theory = iit.IIT3(background=background)
    return iit.ces(iit.examples.load(example), state, units, theory=theory)


def value(row: dict[str, Any], background: str) -> float:
    """The number of one row of the table: Phi, a concept's phi, or conceptual information."""
    tree = structure(row["example"], row["state"], row["units"], background)
    if row.get("information"):
        return float(tree.attrs["conceptual_information"])
    if "concept" not in row:
        return float(tree["system"]["phi"])
    found = tree["distinctions"].to_dataset()
    if row["concept"] not in found["mechanism"].values:
        return 0.0
    return float(found["phi"].sel(mechanism=row["concept"]))


def rows() -> list[dict[str, Any]]:
    """All rows with what is computed under both rules for the units outside."""
    given: list[dict[str, Any]] = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    return [row | {rule: value(row, rule) for rule in RULES} for row in given]


def complexes() -> list[tuple[str, list[str], dict[str, list[tuple[str, float]]]]]:
    """Network, published complexes, and what is found under both rules."""
    out = []
    for example, state, published in COMPLEXES:
        found = {}
        for rule in RULES:
            data = iit.complexes(
                iit.examples.load(example), state, theory=iit.IIT3(background=rule)
            )
            found[rule] = list(
                zip(data["complex"].values.tolist(), data["phi"].values.tolist(), strict=True)
            )
        out.append((example, published, found))
    return out


def table() -> str:
    """Everything as Markdown."""
    lines = [
        "# IIT 3.0: published values, recomputed",
        "",
        '| | published | `background="2014"` | PyPhi 1.2.0 | `background="causal"` | PyPhi 2.0 |',
        "|---|---|---|---|---|---|",
    ]
    for row in rows():
        mark = " (?)" if row.get("recalled") else ""
        cells = [row["figure"], f"{row.get('published', '')}{mark}"]
        for rule, told in zip(RULES, ("release", "reference"), strict=True):
            cells += [f"{row[rule]:.6f}", row.get(told, "")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        "(?): the printed number was not compared with the publication itself.",
        "",
        '| complexes of | published | `background="2014"` | `background="causal"` |',
        "|---|---|---|---|",
    ]
    for example, published, found in complexes():
        shown = [", ".join(f"{name} {phi:.4f}" for name, phi in found[rule]) for rule in RULES]
        lines.append("| " + " | ".join([example, ", ".join(published), *shown]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        print(text)
