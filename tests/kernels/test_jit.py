"""Kernels are compiled as their decorators say, and kept in the cache directory."""

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import iitdask
from iitdask.kernels import jit


@pytest.fixture
def compiles_anew(monkeypatch):
    """Compile kernels without the cache: numba cannot show the code of one that it loads."""
    monkeypatch.setattr(jit, "_DIRECTORY", None)


@pytest.mark.parametrize("decorate", [jit.kernel, jit.leaf])
def test_kernel_options__compile_what_python_can_call(decorate):
    @decorate
    def total(values):
        out = 0.0
        for value in values:
            out += value
        return out

    assert total(np.arange(4.0)) == 6.0
    assert total.signatures == [(numba.float64[::1],)]


@pytest.mark.usefixtures("compiles_anew")
def test_leaf_kernels__count_no_references():
    @jit.leaf
    def first(values):
        return values[0]

    first(np.arange(4.0))
    (text,) = first.inspect_llvm().values()
    assert "NRT_incref" not in text.partition("define")[2].partition("cpython")[0]


@pytest.mark.usefixtures("compiles_anew")
def test_inner_kernels__have_no_entry_from_python():
    @jit.inner
    def first(values):
        return values[0]

    @jit.kernel
    def twice(values):
        return 2 * first(values)

    assert twice(np.arange(1.0, 4.0)) == 2.0
    (text,) = first.inspect_llvm().values()
    assert "cpython" not in text


CACHED = """
import pathlib, sys
sys.path.insert(0, {root!r})
from iitdask.kernels import jit
import numba
before = numba.config.CACHE_DIR
@jit.kernel
def double(value):
    return 2 * value
assert numba.config.CACHE_DIR == before
assert double(2.5) == 5.0
directory = jit.cache_directory()
assert list(directory.rglob("*double*.nbc")), list(directory.rglob("*"))
"""


def test_kernel__keeps_its_machine_code_in_the_cache_directory(tmp_path):
    script = tmp_path / "cached.py"
    script.write_text(CACHED.format(root=str(Path(iitdask.__file__).parents[1])))
    run = subprocess.run(
        [sys.executable, str(script)],
        env={"IITDASK_NUMBA_CACHE": str(tmp_path / "cache"), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
