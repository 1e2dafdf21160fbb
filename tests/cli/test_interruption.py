"""Signals reach a command wherever they find it."""

import subprocess
import sys

import pytest

HEAD = """
import gc, os, signal, sys, time, weakref
from iitdask.cli.app import interruptible

def hit():
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass  # the handler is called here

class Finalised:
    def __del__(self):
        hit()

def in_finaliser():
    Finalised()

def in_collector():
    gc.callbacks.append(lambda phase, info: hit())
    gc.collect()
    gc.callbacks.clear()

def in_weak_reference():
    thing = Finalised.__new__(type("Thing", (), {}))
    seen = weakref.ref(thing, lambda _: hit())
    del thing

def openly():
    hit()
"""
TAIL = """
try:
    with interruptible("too long"):
        {where}()
        time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(3)
"""


@pytest.mark.parametrize("where", ["in_finaliser", "in_collector", "in_weak_reference", "openly"])
def test_interruptible__interrupts_even_where_python_ignores_exceptions(where):
    done = subprocess.run(
        [sys.executable, "-c", HEAD + TAIL.format(where=where)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "interrupted\n"), done.stderr
    assert done.stderr == ""


def test_interruptible__does_so_where_no_thread_can_be_signalled():
    """As on Windows; a wait is not cut short there, so it waits in pieces."""
    waits = TAIL.format(where="in_finaliser").replace(
        "time.sleep(30)", "[time.sleep(0.01) for _ in range(10_000)]"
    )
    done = subprocess.run(
        [sys.executable, "-c", HEAD + "del signal.pthread_kill\n" + waits],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "interrupted\n", "")


def test_interruptible__prints_other_ignored_exceptions():
    code = HEAD.replace("        hit()", "        raise ValueError('lost')", 1) + (
        "with interruptible('too long'):\n    in_finaliser()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0
    assert "ValueError: lost" in done.stderr
