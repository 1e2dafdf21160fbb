"""What contract tests look at: how much of a run was computed, and the bits it gave."""

import os
import signal
import subprocess
import sys
import time

from iitdask.run.events import BlocksFilled


class Blocks:
    """Counts the blocks of a run; interrupts it after some."""

    def __init__(self, most=None):
        self.filled, self.most = 0, most

    def __call__(self, event):
        if isinstance(event, BlocksFilled):
            self.filled += event.blocks
            if self.most is not None and self.filled >= self.most:
                raise KeyboardInterrupt


class Stop:
    """Interrupts a run when so many blocks of a stage are done: no clock, the same every time."""

    def __init__(self, stage, blocks):
        self.stage, self.left = stage, blocks

    def __call__(self, event):
        if isinstance(event, BlocksFilled) and event.stage == self.stage:
            self.left -= event.blocks
            if self.left <= 0:
                self.act()

    def act(self):
        raise KeyboardInterrupt


class Kill(Stop):
    """Kills this process then."""

    def act(self):
        os.kill(os.getpid(), signal.SIGKILL)


def kill_when_filled(code, store, stage):
    """Run Python code that fills a store, and kill its process at the first block of a stage."""
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not any(store.glob(f"work/{stage}/tick/c.*")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL


def bits(tree):
    """Every number of a tree, as bytes."""
    return {
        f"{node.path}/{name}": value.values.tobytes()
        for node in tree.subtree
        for name, value in node.to_dataset(inherit=False).variables.items()
        if value.dtype.kind not in "OUT"  # text has another form in a store
    }
