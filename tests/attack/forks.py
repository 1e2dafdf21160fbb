"""Commands of iitdask in forks of one process that has imported everything: many in a minute."""

import faulthandler
import io
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from iitdask.cli.app import COMMANDS, main
from iitdask.cluster.job_scripts import UNFINISHED_EXIT_CODE
from iitdask.study.run import precompile
from tests.attack.report import CPU_SECONDS, LINE_LIMIT, WAITING

MEMORY_BYTES = 6 << 30
"""Address space of a fork beyond what the process has."""
BIG_MEGABYTES = 3000
UNEXPECTED_EXIT_CODE = 99
RIGHT_OUTCOMES = (
    *("done", "exit 1, one line", "exit 2, one line", "exit 1, said on stdout"),
    f"exit {UNFINISHED_EXIT_CODE}, one line",
)
LATE_IMPORTS = ["distributed", "distributed.deploy.local", "bokeh.plotting", "xarray", "rich"]


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None
    """Exit code; None for a signal."""
    out: str
    err: str
    signal: int = 0
    megabytes: int = 0

    @property
    def outcome(self) -> str:
        """Return what came of the command, in words; see `is_right`."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        if "Traceback (most recent call last)" in self.err + self.out:
            return "traceback"
        if self.signal:
            is_late = self.signal in (signal.SIGXCPU, signal.SIGKILL)
            return "hang" if is_late else f"signal {self.signal}"
        if self.megabytes > BIG_MEGABYTES or "MemoryError" in self.err:
            return "memory"
        if self.code == 0:
            return "warning" if any("Warning" in line for line in lines) else "done"
        if self.code not in (1, 2, UNFINISHED_EXIT_CODE):
            return f"exit {self.code}"
        if self.code == 1 and not lines and self.out.strip():
            return "exit 1, said on stdout"  # as `verify` does
        if not lines or not lines[-1].startswith("iitdask:"):
            return f"exit {self.code}, no message"
        if any(len(line) > LINE_LIMIT for line in lines):
            return "long line"
        # A run may have said that it compiles, or what it costs, before it failed.
        before = [line for line in lines[:-1] if line.startswith("iitdask:")]
        if before or (self.code == 2 and len(lines) > 1):
            return "several lines"
        return f"exit {self.code}, one line"

    @property
    def is_right(self) -> bool:
        """Return True if the outcome is one of those that may be."""
        return self.outcome in RIGHT_OUTCOMES

    @property
    def site(self) -> str:
        """Return where a traceback ends in the package, or the first words that were said."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        inside = [line for line in lines if line.startswith("File ") and "/iitdask/" in line]
        last = lines[-1][:100] if lines else "nothing said"
        return f"{inside[-1].split('/iitdask/')[-1]}: {last}" if inside else last


def import_everything(families=()):
    """Import what any command imports, and compile families of kernels, before it is forked."""
    for path, _ in COMMANDS.values():
        import_module(path.partition(":")[0])
    for name in LATE_IMPORTS:
        import_module(name)
    for family in families:
        precompile(family)


def limit_resources(cpu_seconds: float) -> None:
    seconds = int(cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def redirect(descriptor: int, path: Path | str, flags: int) -> None:
    os.dup2(os.open(path, flags | os.O_CREAT, 0o600), descriptor)


def exit_code_of(call: Callable[[], object]) -> int:
    """Call a function; return the exit code, and write the traceback of anything unexpected."""
    try:
        call()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001
        sys.stderr.write(traceback.format_exc())
        return UNEXPECTED_EXIT_CODE
    return 0


def fork(call: Callable[[], object], folder: Path, out: Path | str, err: Path | str) -> int:
    """Call a function in a fork, in a session of its own; return its process number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        redirect(1, out, os.O_WRONLY | os.O_APPEND)
        redirect(2, err, os.O_WRONLY | os.O_APPEND)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
        sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True
        )
        faulthandler.enable(sys.stderr)
        code = exit_code_of(call)
        flushed = exit_code_of(sys.stdout.flush)
        os._exit(code or flushed)
    finally:
        os._exit(98)


def start(words: list[str], folder: Path, out: Path, err: Path, cpu_seconds=CPU_SECONDS) -> int:
    """Start a command in a fork with limits."""

    def call():
        limit_resources(cpu_seconds)
        main(list(words))

    return fork(call, folder, out, err)


def wait(pid: int, out: Path, err: Path, seconds: float) -> Ended:
    """Wait for a fork, at most so many seconds, and return how it ended."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            deadline += seconds
        time.sleep(0.002)
    code, number = (None, os.WTERMSIG(status))
    if os.WIFEXITED(status):
        code, number = os.WEXITSTATUS(status), 0
    texts = [path.read_bytes().decode("utf-8", "replace") for path in (out, err)]
    return Ended(code, *texts, signal=number, megabytes=usage.ru_maxrss // 1024)


def call_in_fork(words: list[str], folder: Path, cpu_seconds=CPU_SECONDS) -> Ended:
    """Run a command in a fork, in a folder, to its end."""
    out, err = folder / ".out", folder / ".err"
    for path in (out, err):
        path.unlink(missing_ok=True)
    pid = start(words, folder, out, err, cpu_seconds)
    return wait(pid, out, err, WAITING * cpu_seconds)
