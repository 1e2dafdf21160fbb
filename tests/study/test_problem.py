"""Where a result was made: the commit of the working directory."""

import shutil
import subprocess

import pytest

from iitdask.study.problem import git_state

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_state__names_the_commit_and_whether_files_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None  # no repository

    def git(*words):
        done = subprocess.run(
            ["git", *IDENTITY, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    assert git_state() is None  # no commit
    (tmp_path / "study.yaml").write_text("compute: sia")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    (tmp_path / "new").touch()
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "changed": False}
    (tmp_path / "study.yaml").write_text("compute: ces")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "changed": True}
