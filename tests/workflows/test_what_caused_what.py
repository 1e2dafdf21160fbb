"""The published accounts of transitions, as `workflows/what_caused_what` recomputes them."""

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from workflows.what_caused_what.analyse import FIGURES, compared, table

TWICE = 0.581
"""What the paper prints for pairs of voters in figure 11, where the value is 0.58049."""


def digits(value):
    """How many decimals a number is printed with."""
    return max(2, -Decimal(str(value)).as_tuple().exponent)


@pytest.mark.parametrize("figure", sorted({row[0] for row in compared()}))
def test_figure__to_its_printed_digits(figure):
    rows = [row for row in compared() if row[0] == figure]
    assert rows
    for _, link, printed, ours in rows:
        assert printed is not None, f"{link}: not in the paper"
        assert ours is not None, f"{link}: not found"
        if printed == TWICE:  # four decimals first
            once = Decimal(ours).quantize(Decimal("1e-4"))
            ours = float(once.quantize(Decimal("1e-3"), ROUND_HALF_UP))
        assert round(ours, digits(printed)) == pytest.approx(printed, abs=1e-12), link


def test_table__is_the_one_kept():
    assert len(compared()) >= 80
    kept = Path(FIGURES).with_name("output.md").read_text(encoding="utf-8")
    ours = [line.rsplit("|", 2)[0] for line in table().splitlines()]
    assert [line.rsplit("|", 2)[0] for line in kept.splitlines()] == ours
