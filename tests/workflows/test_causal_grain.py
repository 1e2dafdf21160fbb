"""The causal grain of published systems is the printed one."""

import pytest

from workflows.causal_grain import analyse


def test_values__are_the_printed_ones():
    rows = list(analyse.values())
    assert len(rows) == 7
    for _, name, value, printed in rows:
        digits = len(printed.partition(".")[2])
        assert round(value, digits) == pytest.approx(float(printed)), name


def test_verdicts__follow_the_weight():
    table = {weight: (texts, complexes) for weight, texts, complexes in analyse.verdicts()}
    assert "AC NOT_INTEGRATED" in table["0"][0]
    assert "AC NOT_MAXIMAL" in table["0.01"][0]
    assert table["0.25"] == ("AC VALID, AB VALID", "AC:0111 | BD:0111 (0.9225)")


def test_winner__changes_with_noise_under_the_cap_of_2026():
    larger = [micro > macro for _, micro, macro in analyse.winners("iit4-2026")]
    assert larger == [True] * 5 + [False] * 7
    assert not any(micro > macro for _, micro, macro in analyse.winners("iit4"))
