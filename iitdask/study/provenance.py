"""Where and with what a result was made."""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
from typing import Any

import numba
import numpy as np

from iitdask.result.assemble import package_version

__all__ = ["git_state", "provenance"]


def provenance() -> dict[str, Any]:
    """Where and with what a result was made."""
    about: dict[str, Any] = {
        "iitdask": package_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }
    state = git_state()
    return about | ({} if state is None else {"git": state})


def git_state() -> dict[str, Any] | None:
    """Commit of the working directory and whether it was changed; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    found = []
    for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(
                [git, *words], capture_output=True, text=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        found.append(done.stdout.strip())
    return {"commit": found[0], "changed": bool(found[1])}
