"""What is compiled once on a machine is compiled nowhere again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iitdask.study.warmth import warm_up

WARM = "from iitdask.study.warmth import warm_up; warm_up('iit4')"
USE = """
from numba.core import event
compiled = []

class Heard(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

event.register("numba:compile", Heard())
import iitdask as iit
for name in ("basic", "iit4-2023-fig4", "iit4-2023-fig6d"):
    iit.ces(iit.examples.load(name), iit.examples.state(name))
    iit.sia(iit.examples.load(name), iit.examples.state(name), theory="iit4-2026")
print(*compiled)
"""


def _python(code: str, cache: Path) -> str:
    env = {**os.environ, "IITDASK_NUMBA_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    _python(WARM, tmp_path)
    assert _python(USE, tmp_path).split() == []
    twice = [path.name for path in tmp_path.rglob("*.2.nbc")]
    assert not twice, "two signatures of one kernel, which two processes may mix up"


def test_a_helper_that_fails_only_costs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iitdask.study.warmth.sys.executable", "/bin/false")
    warm_up("iit4")
