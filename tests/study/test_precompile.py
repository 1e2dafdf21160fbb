"""What is compiled once on a machine is compiled nowhere again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from iitdask.study.run import COMPILE_COLLECTIONS, compile_share, precompile
from iitdask.theory.catalog import KERNEL_FAMILIES, KernelFamily
from iitdask.theory.stage import Recipe

WARM = "from iitdask.study.run import precompile; precompile({!r})"
HEARD = """
from numba.core import event
compiled = []

class Heard(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

event.register("numba:compile", Heard())
import iitdask as iit
"""
USES = {
    "iit4": """
for name in ("basic", "iit4-2023-fig4", "iit4-2023-fig6d"):
    iit.ces(iit.examples.load(name), iit.examples.state(name))
    iit.sia(iit.examples.load(name), iit.examples.state(name), theory="iit4-2026")
print(*compiled)
""",
    "iit4-large": """
from iitdask.study.run import precompile
from tests.benchmarks.systems import system
precompile("iit4")
compiled.clear()
for kind in ("dense", "ising", "deterministic"):
    iit.ces(*system(kind, 8))
print(*compiled)
""",
    "causation2019": """
for name in ("causation2019-fig6", "causation2019-fig8a", "causation2019-ternary"):
    spec = iit.examples.spec(name)
    about = [spec[key] for key in ("before", "after", "causes", "effects")]
    iit.account(iit.examples.load(name), *about)
print(*compiled)
""",
}


def _python(code: str, cache: Path) -> str:
    env = {**os.environ, "IITDASK_NUMBA_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=pytest.mark.exhaustive) if name == "iit4-large" else name
        for name in USES
    ],
)
def test_a_second_process_compiles_nothing(family: str, tmp_path: Path) -> None:
    _python(WARM.format(family), tmp_path)
    assert _python(HEARD + USES[family], tmp_path).split() == []
    twice = [path.name for path in tmp_path.rglob("*.2.nbc")]
    assert not twice, "two signatures of one kernel, which two processes may mix up"


def test_a_helper_that_fails_only_costs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iitdask.study.run.sys.executable", "/bin/false")
    precompile("iit4")


@pytest.mark.parametrize("fails", [False, True])
def test_compiling_leaves_the_garbage_collector_as_it_was(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = gc.get_threshold(), []

    def case() -> Recipe:
        seen.append(gc.get_threshold())
        if fails:
            raise RuntimeError("no such kernel")
        yield ()
        return xr.DataTree()

    monkeypatch.setitem(KERNEL_FAMILIES, "mine", KernelFamily(1, (case,)))  # type: ignore[arg-type]
    if fails:
        with pytest.raises(RuntimeError, match="no such kernel"):
            compile_share("mine", 0)
    else:
        compile_share("mine", 0)
    assert seen == [COMPILE_COLLECTIONS]
    assert gc.get_threshold() == before
