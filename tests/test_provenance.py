"""Provenance: the commit is that of the code that runs, also when the checkout moves on meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import subprocess, sys, torch
from p2p.study.params import DataParams
from p2p.study.provenance import provenance
subprocess.run([*GIT, "commit", "-qm", "later", "--allow-empty"], check=True)
record = provenance(DataParams(), torch.device("cpu"), 36.0, 7, 5)
print(record["commit"], record["dirty"], record["hours"], record["image_passes"], record["teacher_passes"])
"""


def test_commit_and_state_are_those_of_the_start(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "p2p", tmp_path / "p2p", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)

    def head() -> str:
        return subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()

    def run() -> list[str]:
        program = PROGRAM.replace("GIT", repr(git))
        return subprocess.check_output([sys.executable, "-c", program], text=True, cwd=tmp_path).split()

    first = head()
    assert run() == [first, "False", "0.01", "7", "5"] and head() != first
    for name in ("params/mine.yaml", "photographs/auk/0.png", "results/mine/table.md", "notes.md"):  # no code
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert run()[1] == "False"
    (tmp_path / "p2p" / "new_module.py").write_text("")  # untracked code counts as a change
    assert run()[1] == "True"
