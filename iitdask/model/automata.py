"""Elementary cellular automata: which of the 256 rules are the same up to mirror and negation."""

from __future__ import annotations

__all__ = ["equivalent_rules", "rule_classes"]


def equivalent_rules(number: int) -> tuple[int, ...]:
    """Return the rules that a rule becomes when left and right, or 0 and 1, change places.

    Examples
    --------
    >>> equivalent_rules(110)
    (110, 124, 137, 193)
    """
    mirrored = _mirrored(number)
    return tuple(sorted({number, mirrored, _negated(number), _negated(mirrored)}))


def rule_classes() -> tuple[int, ...]:
    """Return the smallest rule of each class of equivalent ones; there are 88 (Wolfram 1983)."""
    return tuple(sorted({equivalent_rules(number)[0] for number in range(256)}))


def _mirrored(number: int) -> int:
    out = 0
    for neighbours in range(8):
        left, own, right = neighbours >> 2, neighbours >> 1 & 1, neighbours & 1
        out |= (number >> (right << 2 | own << 1 | left) & 1) << neighbours
    return out


def _negated(number: int) -> int:
    return sum((1 - (number >> (7 - neighbours) & 1)) << neighbours for neighbours in range(8))
