"""Bounded, seeded versions of the attacks; each module of them, as a command, runs more."""

import subprocess
import sys
from functools import partial

import pytest

from tests.run.processes import ROOT, environment

SECONDS = 3000
MORE = partial(pytest.param, marks=pytest.mark.exhaustive)


def attack(name, *words):
    """Run an attack as a process of its own, which it limits; return what it reports."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.attack.{name}", *map(str, words)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


def test_reading__refuses_malformed_files_in_one_line():
    attack("fuzz_reading", "--seed", 1, "--count", 200)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_reading__refuses_thousands_of_malformed_files_in_one_line(seed):
    attack("fuzz_reading", "--seed", seed, "--count", 2000)


@pytest.mark.slow
@pytest.mark.parametrize("count", [50, MORE(150)])
def test_commands__refuse_malformed_arguments_in_one_line(count):
    attack("fuzz_inputs", "--seed", 1, "--count", count)


@pytest.mark.slow
def test_kernels__are_compiled_anew_where_files_are_damaged():
    assert "the same numbers" in attack("damage_cache", "--seed", 1, "--count", 1)


@pytest.mark.slow
def test_pages__answer_no_strangers():
    assert "other origin refused" in attack("serve_probe")


@pytest.mark.slow
def test_result__is_never_silently_wrong_after_a_flipped_bit():
    assert "refused" in attack("flip_result", "--seed", 1, "--count", 200)


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, MORE(20)])
def test_stores__that_are_damaged_are_refused_or_right_and_mended_by_one_run(count):
    assert "run: exit 0" in attack("damage_store", "--seed", 1, "--count", count)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "count"), [("run", 10), ("work", 10), MORE("run", 20), MORE("work", 20)]
)
def test_runs__that_are_killed_end_in_the_same_bits(mode, count):
    report = attack("kill_forks", "--mode", mode, "--units", 7, "--seed", 1, "--count", count)
    assert "finished and compared" in report


def test_stores__run_no_code_when_they_are_opened():
    report = attack("evil_store", "--seed", 1, "--count", 6)
    assert "show" in report or "export" in report or "verify" in report


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, MORE(40)])
def test_stores__of_every_kind_run_no_code_whatever_opens_them(count):
    attack("evil_store", "--seed", 2, "--count", count)
