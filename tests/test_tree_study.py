"""A tiny study of trees, notebook by notebook: trained, measured, and shown on its pages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from p2p.figures.explain import write_pages
from p2p.study.params import Strict
from p2p.study.study import Study, load_study

ROOT = Path(__file__).parents[1]
KEYS = {"decision": "tree", "prototype_layer": "exponential", "tree_depth": 2, "prune_leaves": 1.2}
TINY = Study.model_validate(
    {
        "study": "trees",
        "title": "Trees",
        "images": "synthetic birds",
        "seeds": [0],
        "data": {"reader": "birds", "size": 32, "class_count": 3, "bird_train_per_class": 12, "bird_test_per_class": 6},
        "recipe": {"grid": 4, "prototype_depth": 8, "joint_epochs": 2, "warm_epochs": 1, "joint_copies": 0} | KEYS,
        "triples": [{"name": "a-b", "teacher": {"network": "small_half"}, "student": {"network": "small_half"}}],
    }
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    out = folder / "results" / "trees"
    out.mkdir(parents=True)
    jobs: list[tuple[str, str, Strict]] = [("02_train", run, params) for run, params in TINY.runs().items()]
    jobs += [("03_evaluate", name, params) for name, params in TINY.evaluations().items()]
    jobs += [(page, page, TINY.page()) for page in ("04_table", "05_tree", "06_topk", "07_gallery")]
    for source, name, params in jobs:
        values = params.model_dump() | {"runs": str(folder / "runs"), "results": str(folder / "results")}
        values = {key: value for key, value in values.items() if key in type(params).model_fields}
        program = [sys.executable, str(ROOT / "notebooks" / "execute.py"), str(ROOT / "notebooks" / f"{source}.py")]
        program += [str(out / f"{name}.ipynb"), "--parameters", json.dumps(values)]
        done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=out)
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
    return folder


def test_every_metric_is_there_with_its_levels(place: Path) -> None:
    frame = pd.read_csv(place / "results" / "trees" / "metrics.csv")
    student = frame[(frame["role"] == "student") & (frame["stage"] == "tuned")].set_index("metric")["value"]
    wanted = {
        "aap",
        "ajs",
        "pms",
        "same_index",
        "r2",
        "top1",
        "top1_sample_max",
        "top1_greedy",
        "leaves",
        "pms_permuted",
    }
    assert wanted <= set(student.index) and {"top1_teacher_head", "pms_permuted"} <= set(student.index)
    assert student["leaves_unpruned"] == 4 and 1 <= student["leaves"] <= 4 and student["projection_error"] < 1e-4
    assert {"ajs_floor", "pms_floor"} <= set(frame["metric"])


def test_the_page_of_trees(place: Path) -> None:
    out = place / "results" / "trees"
    notebook = nbformat.read(out / "05_tree.ipynb", as_version=4)
    text = "\n".join(str(output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    assert "likeliest leaf" in text and "The most probable way through its tree" in text
    for role in ("teacher", "baseline", "student"):
        assert (out / f"tree-{role}.svg").read_text().startswith("<svg") and f"tree-{role}.svg" in text
    assert (out / "tree-way.svg").is_file()


def test_make_explain_writes_its_pages(place: Path, birds, tmp_path: Path) -> None:
    from PIL import Image

    photo = tmp_path / "bird.png"
    Image.fromarray(birds.subset("test").pixels[0].permute(1, 2, 0).numpy()).save(photo)
    student = next(run for run in TINY.runs() if run.startswith("student"))
    page = write_pages(place / "runs" / "trees" / student, photo, tmp_path / "out")
    assert "The tree of the student" in page.read_text() and "The tree of the teacher" in page.read_text()


def test_linear_studies_have_no_use_for_keys_of_trees(refuses, tmp_path: Path) -> None:
    text = (ROOT / "params" / "quick.yaml").read_text().replace("recipe:", "recipe:\n  tree_depth: 3")
    (tmp_path / "quick.yaml").write_text(text)
    with refuses("tree_depth", "without effect"):
        load_study(tmp_path / "quick.yaml")


def test_a_private_study_has_no_trees(refuses, tmp_path: Path) -> None:
    text = (ROOT / "params" / "tree-birds.yaml").read_text().replace("seeds: [16", "private: true\nseeds: [16", 1)
    (tmp_path / "tree-birds.yaml").write_text(text)
    with refuses("private", "tree"):
        load_study(tmp_path / "tree-birds.yaml")


def test_the_studies_of_trees_are_whole() -> None:
    for name, nodes in (("tree-birds", 5), ("tree-cub", 6)):
        runs = load_study(ROOT / "params" / f"{name}.yaml").runs()
        assert {run.decision for run in runs.values()} == {"tree"} and len(runs) == 9
        assert {run.tree_depth for run in runs.values()} == {nodes}
