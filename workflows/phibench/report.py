"""Set results beside the published ones, and two engines beside each other.

``python -m workflows.phibench.report OURS.csv THEIRS.csv`` compares two files of results.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

PUBLISHED = Path(__file__).with_name("published.yaml")
ABSOLUTE, RELATIVE = 1e-5, 1e-4
"""Values of Phi agree within the sum of these: distances are rounded to six decimals, and peers
transport whole numbers of millionths, which adds up over the concepts of a network."""


def agree(a: float, b: float) -> bool:
    """Whether two values of Phi are the same within the tolerance."""
    return abs(a - b) <= ABSOLUTE + RELATIVE * abs(b)


def load(path: Path) -> pd.DataFrame:
    """Return results with the column ``configuration``: `network_id` without its number or time."""
    found = pd.read_csv(path)
    pattern = r"^(.*?_n\d+_.*?)_(?:\d{8}_\d{6}_\d+|\d\d)$"
    found["configuration"] = found["network_id"].str.extract(pattern, expand=False)
    return found


def _line(cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _means(found: pd.DataFrame, column: str, published: dict[Any, float]) -> list[str]:
    """Mean phi by the values of a column beside the published means."""
    lines = ["", _line([column, "networks", "mean Phi", "published", ""]), _line(["---"] * 5)]
    for value, rows in found.groupby(column):
        mean, theirs = float(rows["phi"].mean()), published[value]
        same = "same" if agree(mean, theirs) else "differs"
        lines.append(_line([value, f"{len(rows):,}", f"{mean:.6f}", f"{theirs:.6f}", same]))
    return lines


def page(path: Path) -> str:
    """Return the comparison of a file of results with what was published."""
    found, published = load(path), yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    hours = found["computation_time"].sum() / 3600
    once = found.drop_duplicates(["configuration", "tpm_rule"])
    seconds = once["computation_time"].sum()
    each = f"{hours:.3f} core-hours for {len(found):,} networks, each counted; "
    each += f"{seconds:.0f} core-seconds for the {len(once)} that differ."
    lines = [f"# {len(found):,} networks of PhiBench", "", each]
    if len(found) == published["networks"]:
        theirs = published["core_hours"]
        lines.append(
            f"Published: {theirs} core-hours on other hardware, {theirs / hours:.0f} times as many."
        )
        lines += _means(found, "tpm_rule", published["rule_mean_phi"])
        lines += _means(found, "topology", published["topology_mean_phi"])
        largest = found["phi"].max()
        lines += ["", f"Largest Phi {largest:.6f}, published {published['largest_phi']}; "]
        percent, theirs = 100 * (found["phi"] > 0).mean(), published["nonzero_percent"]
        lines[-1] += f"above 0 in {percent:.2f} % of the networks, published {theirs} %."
    lines += [
        "",
        _line(["units", "networks", "mean seconds", "longest", "published mean", "ratio"]),
    ]
    lines.append(_line(["---"] * 6))
    asked = found["configuration"].str.extract(r"_n(\d+)_", expand=False).astype(int)
    for n, rows in found.groupby(asked):
        mean, theirs = rows["computation_time"].mean(), published["size_mean_seconds"][n]
        most = rows["computation_time"].max()
        cells = [n, f"{len(rows):,}", f"{mean:.4f}", f"{most:.3f}", theirs, f"{theirs / mean:.0f}"]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def beside(ours: Path, theirs: Path) -> str:
    """Return how two files of results agree, configuration by configuration."""
    keys = ["configuration", "tpm_rule"]
    columns = [*keys, "phi", "computation_time"]
    tables = [load(path)[columns].groupby(keys).median() for path in (ours, theirs)]
    both = tables[0].merge(
        tables[1], left_index=True, right_index=True, suffixes=("_ours", "_theirs")
    )
    pairs = zip(both["phi_ours"], both["phi_theirs"], strict=True)
    other = both[[not agree(a, b) for a, b in pairs]]
    ratio = both["computation_time_theirs"].sum() / both["computation_time_ours"].sum()
    lines = [f"{len(both)} configurations in both, {len(other)} with another Phi"]
    lines += [f"  {name}: {row.phi_ours} and {row.phi_theirs}" for name, row in other.iterrows()]
    return "\n".join([*lines, f"seconds of the second over those of the first: {ratio:.3g}"]) + "\n"


if __name__ == "__main__":
    print(beside(Path(sys.argv[1]), Path(sys.argv[2])))
