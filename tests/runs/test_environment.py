"""What a record says of where a run was made."""

import os
import subprocess
from pathlib import Path

from alasca_pl.runs import environment


def test_asking_git_for_the_revision_locks_nothing(tmp_path, monkeypatch):
    """In a repository of its own, whose index git would like to refresh and lock."""

    def git(*command: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *author, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    module = tmp_path / "environment.py"
    module.write_text(Path(environment.__file__).read_text())
    git("init", "-q")
    git("add", "environment.py")
    git("commit", "-q", "-m", "Add a file")
    # The same content with another time: status would write the index anew.
    os.utime(module, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(environment, "__file__", str(module))
    index = tmp_path / ".git" / "index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    assert environment.git_state() == {"revision": git("rev-parse", "HEAD"), "changed": False}
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before
    module.write_text("changed")
    assert environment.git_state()["changed"] is True
