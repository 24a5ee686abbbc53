"""Where the time goes: the parts make up the pass, the switches do the same work, and the notebook runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch

from benchmarks import where
from p2p.figures.speed import PARTS
from p2p.study.checksums import checksums, damaged
from p2p.training.checkpoints import digest
from p2p.training.trainer import Trainer

ROOT = Path(__file__).parents[1]


def test_parts_are_named_positive_and_complete(tiny, tiny_student, birds, teacher):
    alone = where.pass_parts(tiny, birds, None, 1)
    taught = where.pass_parts(tiny_student, birds, teacher, 1)
    assert set(alone) == set(taught) == set(PARTS)
    assert all(value >= 0 for value in {**alone, **taught}.values())
    assert alone["teacher"] == 0 < taught["teacher"] and alone["convolution"] > 0


def test_convolution_share_of_known_work():
    layer, x = torch.nn.Conv2d(8, 8, 3, padding=1), torch.rand(8, 8, 64, 64)
    assert where.convolution_share(lambda: layer(x), torch.device("cpu")) > 0.8
    assert where.convolution_share(lambda: (x @ x).relu(), torch.device("cpu")) == 0


def test_switches_leave_a_reference_and_one_change_each(tiny, birds):
    found = where.switches(tiny, birds, 2)
    assert {"engine", "optimiser not fused"} <= set(found)
    assert all(len(values) == 2 and min(values) > 0 for values in found.values())


def test_measuring_does_not_change_how_networks_train(tiny, birds, tmp_path, teacher_folder):
    """The allocator's setting and the profiler must leave no trace in results."""
    with where.memory_given_back():
        network = Trainer(tiny, birds, tmp_path).run(progress=False)
    reference = Trainer(tiny, birds, teacher_folder).run(progress=False)
    assert digest(network) == digest(reference)


def test_notebook_runs_at_tiny_size(tmp_path: Path) -> None:
    values = {"networks": ["small_half", "small"], "teacher": "small", "size": 32, "grid": 4, "classes": 3}
    values |= {"images": 12, "batch_size": 6, "repeats": 1, "compiled_network": "", "results": str(tmp_path)}
    out = tmp_path / "speed" / "11_profile.ipynb"
    command = [
        sys.executable,
        str(ROOT / "notebooks" / "execute.py"),
        str(ROOT / "notebooks" / "11_profile.py"),
        str(out),
    ]
    done = subprocess.run([*command, "--parameters", json.dumps(values)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    frame = pd.read_csv(tmp_path / "speed" / "profile.csv")
    assert set(checksums(out.parent, "11_profile")) == {"profile.csv", "11_profile.ipynb"}
    assert damaged(out.parent, "11_profile") == []
    assert set(frame.network) == {"small_half", "small", "small, student of small"} and set(frame.part) == set(PARTS)
    assert frame.seconds.ge(0).all() and frame[frame.part == "convolution"].seconds.gt(0).all()
