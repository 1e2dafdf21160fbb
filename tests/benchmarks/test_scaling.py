"""Played runs on many workers; what is measured is in the table of README.md."""

import pytest

from tests.benchmarks.scaling import Bundle, Costs, Step, play, played_structures


def test_structure_of_16_units__keeps_a_thousand_workers_busy():
    found = dict(played_structures(16, (300, 1000)))
    assert found[300].efficiency > 0.8
    assert found[1000].efficiency > 0.6
    assert found[1000].seconds == pytest.approx(found[300].seconds)


def test_play__counts_start_bundles_and_what_workers_wait_for():
    nothing = Costs(**dict.fromkeys(Costs.__dataclass_fields__, 0.0) | {"table_threads": 2})
    step = Step((Bundle(4.0, 1, 0), Bundle(3.0, 1, 0), Bundle(2.0, 1, 0)), table_bytes=10)
    alone = play([step, step], 1, nothing)
    assert (alone.wall, alone.idle, alone.efficiency) == (18.0, 0.0, 1.0)
    both = play([step, step], 2, nothing)
    assert (both.wall, both.idle, both.efficiency) == (10.0, 1.0, 0.9)
    started = play([step], 2, Costs(**vars(nothing) | {"start": 1.5, "tables": 0.2}))
    assert (started.tables, started.wall) == (1.0, 7.5)
    handed = play([step], 2, Costs(**vars(nothing) | {"sent": 0.1, "read": 0.5}))
    assert handed.wall == pytest.approx(0.3 + 5.0 + 0.5)
    assert handed.driver == pytest.approx(0.5)
