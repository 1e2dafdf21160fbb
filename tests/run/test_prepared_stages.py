"""What a process keeps ready for the blocks to come."""

import gc
import weakref

import numpy as np

from iitdask.run import worker
from iitdask.run.worker import _Cache, _PreparedStage


class Maker:
    """Makes inputs of a size ready, and notes when."""

    def __init__(self, *names):
        self.made, self.alive, self.benches = [], {}, _Cache(worker.MAX_PREPARED_STAGES)
        for name in names:
            self.use(name)

    def use(self, name):
        def make():
            self.made.append(name)
            array = np.zeros(1000)
            self.alive[name] = weakref.ref(array)
            return _PreparedStage(({"table": array}, np.zeros(0)), None)

        return self.benches.get((name,), make, worker.PREPARED_BYTES)


def test_small_inputs__of_a_few_stages_are_kept():
    assert Maker("a", "b", "a", "b").made == ["a", "b"]


def test_large_inputs__are_let_go_before_those_of_another_stage_are_made(monkeypatch):
    monkeypatch.setattr(worker, "PREPARED_BYTES", 7999)
    maker = Maker("a")
    maker.use("b")
    gc.collect()
    assert maker.alive["a"]() is None
    assert maker.alive["b"]() is not None
    maker.use("b")
    assert maker.made == ["a", "b"]


def test_inputs__are_kept_while_they_are_few_bytes_in_all(monkeypatch):
    monkeypatch.setattr(worker, "PREPARED_BYTES", 16000)
    assert Maker("a", "b", "c", "a").made == ["a", "b", "c"]
    assert Maker("a", "b", "c", "d", "c", "a").made == ["a", "b", "c", "d", "a"]
