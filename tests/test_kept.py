"""Answers kept with the results: written small, read back, and the committed ones against the committed tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from p2p import metrics
from p2p.evaluation import kept
from p2p.evaluation.kept import keep, read_kept
from p2p.evaluation.rows import without_threshold
from p2p.networks import PROTOTYPE_LAYERS
from p2p.responses import ResponseTable
from p2p.study.study import load_study

ROOT = Path(__file__).parents[1]
COMMITTED = [path for path in sorted((ROOT / "params").glob("*.yaml")) if path.stem != "quick"]
FILES = [file for path in COMMITTED for file in sorted((ROOT / "results" / path.stem).glob("answers/*.npz"))]


def table(images: int = 12, prototypes: int = 6) -> ResponseTable:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 64, (images, prototypes), generator=generator).to(torch.int16)
    return ResponseTable(cells, 5 * torch.rand(images, prototypes, generator=generator), (8, 8))


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    answers, labels, decision = table(), torch.arange(12) % 3, torch.randn(3, 6)
    keep(tmp_path / "a" / "x.npz", answers, labels, decision)
    found = read_kept(tmp_path / "a" / "x.npz")
    assert torch.equal(found.table.cells, answers.cells) and found.table.grid == (8, 8) and found.every == 1
    assert torch.allclose(found.table.distances, answers.distances, rtol=1e-3)
    assert torch.equal(found.labels, labels) and torch.allclose(found.decision, decision, rtol=1e-3, atol=1e-3)


def test_a_large_table_is_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LIMIT", 3 * 12 * 6 // 2 - 1)
    answers = table()
    keep(tmp_path / "x.npz", answers, torch.arange(12), torch.zeros(12, 6))
    found = read_kept(tmp_path / "x.npz")
    assert found.every == 3 and found.labels.tolist() == [0, 3, 6, 9]
    assert torch.equal(found.table.cells, answers.cells[::3])


def test_what_cannot_be_kept_or_read(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    wide = ResponseTable(torch.zeros(2, 2, dtype=torch.int16), torch.zeros(2, 2), (17, 17))
    with refuses("17", "256 cells"):
        keep(tmp_path / "x.npz", wide, torch.zeros(2), torch.zeros(2, 2))
    with refuses("y.npz", "make study"):
        read_kept(tmp_path / "y.npz")
    (tmp_path / "z.npz").write_bytes(b"PK\x03\x04 half a file")
    with refuses("z.npz", "holds no network's answers"):
        read_kept(tmp_path / "z.npz")


def test_kept_answers_are_small() -> None:
    sizes = [file.stat().st_size for file in FILES]
    assert sum(sizes) <= 15e6 and max(sizes, default=0) <= 2e6


@pytest.mark.parametrize("evaluation", sorted({e for f in FILES for e in f.parents[1].glob("evaluations/*.json")}))
def test_metrics_come_out_again_without_weights_or_training(evaluation: Path) -> None:
    """What `metrics.csv` says of teacher, baseline and student follows from their answers alone."""
    out = evaluation.parents[1]
    params = load_study(ROOT / "params" / f"{out.name}.yaml").evaluations()[evaluation.stem]
    rows = without_threshold(pd.read_csv(evaluation.with_suffix(".csv")))
    runs = {("teacher", "paper"): params.teacher_run, ("baseline", "paper"): params.baseline_run}
    runs |= {("student", variant): run for variant, run in params.student_runs.items()}
    answers = {who: read_kept(out / "answers" / f"{run}.npz") for who, run in runs.items()}
    teacher = answers["teacher", "paper"]
    for (role, variant), own in answers.items():
        if own.every > 1:
            continue  # of a study too large to keep whole
        said = rows[(rows["role"] == role) & (rows["variant"] == variant)].set_index("metric")["value"]
        logits = PROTOTYPE_LAYERS["distance"].similarity(own.table.distances) @ own.decision.T
        accuracy = (logits.argmax(1) == own.labels).double().mean().item()
        assert accuracy == pytest.approx(said["top1"], abs=0.005)  # ties in half precision
        assert metrics.aap(own.table, (torch.inf,)).item() == pytest.approx(said["aap"], rel=1e-4)
        if role != "teacher":
            assert metrics.pms(teacher.table, own.table).value == pytest.approx(said["pms"], abs=1e-4)
            assert metrics.ajs(teacher.table, own.table, (torch.inf,)).item() == pytest.approx(said["ajs"], abs=1e-4)
            quarter = rows[rows["metric"] == "tau_quarter"].set_index("role")["value"]["teacher"]
            near = metrics.ajs(teacher.table, own.table, (quarter,)).item()
            assert near == pytest.approx(said["ajs_quarter"], abs=0.01)
