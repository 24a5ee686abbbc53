"""The full-size studies, rehearsed: the same files, every step, photographs and weights, at a size of seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from trees import SHARED

from p2p.data.images import load_images
from p2p.evaluation.runs import finish_run, load_run
from p2p.evaluation.triple import check_images, measure_triple, read_triple
from p2p.study.params import TrainParams
from p2p.study.provenance import write_json
from p2p.study.study import Study, load_study
from p2p.training.trainer import Trainer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where photographs and weights lie: the shared ones where they are, else generated ones and random weights."""
    there = all((SHARED / name).is_dir() for name in ("CUB_200_2011", "stanford_cars"))
    weights = Path(os.environ.get("P2P_WEIGHTS") or SHARED / "weights")
    if there and (weights / "mobilenet_v2.safetensors").is_file():
        return {"P2P_DATA": str(SHARED), "P2P_WEIGHTS": str(weights)}
    data, weights = request.getfixturevalue("generated"), request.getfixturevalue("random_weights")
    return {"P2P_DATA": str(data), "P2P_WEIGHTS": str(weights)}


@pytest.mark.parametrize(
    ("study", "targets"),
    [
        ("cub", ["04_table.ipynb"]),
        ("cars", ["04_table.ipynb"]),
    ],
)
def test_full_size_study_rehearsed(study: str, targets: list[str], places: dict[str, str], tmp_path: Path) -> None:
    for name in ("p2p", "notebooks", "params"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    out = tmp_path / "results" / f"{study}-rehearsal"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", f"study={study}", "rehearse=1"]
    only = "" if study == "cub" else "mobilenet_v2-squeezenet1_1"
    pages = [str((out / name).relative_to(tmp_path)) for name in targets]
    command += [f"only={only}", "--resources", "gpu=1", "--", *pages]
    environment = {**os.environ, **places, "P2P_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert all((out / name).is_file() for name in targets)
    runs = load_study(ROOT / "params" / f"{study}.yaml", rehearse=True, only=only).runs()
    finished = {path.parent.name for path in (tmp_path / "runs").glob("*/*/run.json")}
    assert finished == set(runs) and len(runs) == (3 if only else 5)
    assert ("Not run here" in (out / "study.json").read_text()) == bool(only)
    for name in finished:
        outcome = json.loads((tmp_path / "runs" / f"{study}-rehearsal" / name / "run.json").read_text())["outcome"]
        assert outcome["projection_error"] < 1e-3 and 0 <= outcome["top1"]["tuned"] <= 1
    if study == "cub":
        metrics, costs = pd.read_csv(out / "metrics.csv"), pd.read_csv(out / "costs.csv")
        assert set(metrics.triple) == {"mobilenet_v2-squeezenet1_1", "mobilenet_v2-resnet18"}
        assert set(metrics.metric) >= {"top1", "aap", "ajs", "pms", "projection_error"}
        assert set(costs.run) == set(runs) and costs.image_passes.gt(0).all()


def train(params: TrainParams, folder: Path) -> None:
    """What notebooks/02_train.py does, without its page."""
    teacher = load_run(folder.parent / params.teacher_run).network if params.teacher_run else None
    images = load_images(params, "cpu")
    Trainer(params, images, folder, teacher).run(progress=False)
    write_json(folder / "run.json", {"outcome": finish_run(folder, images, teacher), "parameters": params.model_dump()})


@pytest.mark.parametrize(  # one of each family and data set: the others differ from them in depth alone
    ("study", "pair"), [("cars", "resnet50-resnet18"), ("cub", "resnet50-resnet34"), ("cub", "vgg19-vgg11")]
)
def test_the_published_pairs_take_every_step(
    study: str, pair: str, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (places | {"P2P_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(key, value)
    found = load_study(ROOT / "params" / f"{study}.yaml", use="published", rehearse=True, only=pair)
    # fewer and smaller images: what this tells of is the steps
    small = {"data": found.data | {"size": 64, "images_per_class": 4}, "recipe": found.recipe | {"grid": 2}}
    whole = Study.model_validate(found.model_dump() | small)
    runs = whole.runs()
    assert [run.network for run in runs.values()] == [pair.split("-")[0], *[pair.split("-")[1]] * 2]
    for name, run in runs.items():
        train(run, tmp_path / name)
    (evaluation,) = whole.evaluations().values()
    answers, known = read_triple(evaluation, tmp_path), load_images(evaluation, "cpu")
    check_images(answers, known)
    rows = measure_triple(evaluation, tmp_path, answers, known, torch.device("cpu"))
    assert set(rows[rows["role"] == "student"]["metric"]) >= {"top1", "r2", "aap", "ajs", "pms", "same_index"}
    assert rows.loc[rows["metric"] == "projection_error", "value"].max() < 1e-2


@pytest.mark.parametrize(
    ("study", "pairs"),
    [
        ("cub", {("resnet50", "resnet18"), ("resnet50", "resnet34"), ("vgg19", "vgg16"), ("vgg19", "vgg11")}),
        ("cars", {("resnet50", "resnet18")}),
    ],
)
def test_the_published_pairs_are_one_key_away(study: str, pairs: set[tuple[str, str]]) -> None:
    found = load_study(ROOT / "params" / f"{study}.yaml", use="published")
    assert {(triple.teacher["network"], triple.student["network"]) for triple in found.triples} == pairs
    for run in found.runs().values():
        assert run.weights == "imagenet" and run.prototype_depth == (256 if "resnet" in run.network else 128)
    assert len(found.seeds) >= 3
