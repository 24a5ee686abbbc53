"""Every notebook, executed by papermill with tiny parameters; and what a user's mistake looks like there."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest
from PIL import Image

from p2p.evaluation.claims import UNDECIDED
from p2p.study.explain_params import ExplainParams
from p2p.study.modules import modules_of
from p2p.study.page_params import PageParams, QuestionParams
from p2p.study.params import EvaluateParams, ImagesParams, Strict, TrainParams
from p2p.study.share_params import ShareParams, share_params
from p2p.study.speed_params import GrowthParams, ProfileParams, SpeedParams
from p2p.study.study import Study, load_study
from p2p.training.preflight import preflight

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book"))

import draw  # noqa: E402

spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "notebooks" / "execute.py")
assert spec and spec.loader
notebook_runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebook_runner)
MODELS: dict[str, type[Strict]] = {
    "01_data": ImagesParams,
    "02_train": TrainParams,
    "03_evaluate": EvaluateParams,
    "04_table": PageParams,
    "05_tree": PageParams,
    "06_topk": PageParams,
    "07_gallery": PageParams,
    "08_share": ShareParams,
    "12_own": PageParams,
    "09_speed": SpeedParams,
    "10_growth": GrowthParams,
    "11_profile": ProfileParams,
    "13_explain": ExplainParams,
    "14_explorer": PageParams,
    "20_claims": QuestionParams,
    "21_handed": QuestionParams,
    "22_accuracy": QuestionParams,
    "23_recipe": QuestionParams,
    "24_looks": QuestionParams,
    "25_cost": QuestionParams,
    "26_worked": QuestionParams,
    "27_metrics": QuestionParams,
    "28_pictures": QuestionParams,
    "29_parts": QuestionParams,
    "30_audit": QuestionParams,
    "31_controls": QuestionParams,
    "32_tour": QuestionParams,
    "33_today": QuestionParams,
    "34_trees": QuestionParams,
}
TINY = Study.model_validate(
    {
        "study": "tiny",
        "title": "Tiny",
        "images": "synthetic birds",
        "seeds": [0, 1],
        "data": {"reader": "birds", "size": 32, "class_count": 3, "bird_train_per_class": 12, "bird_test_per_class": 6},
        "recipe": {"grid": 4, "prototypes_per_class": 2, "prototype_depth": 8, "joint_epochs": 2, "warm_epochs": 1}
        | {"joint_copies": 0, "warm_copies": 10},
        "triples": [{"name": "a-b", "teacher": {"network": "small"}, "student": {"network": "small_half"}}],
        "sharing": [50],
        "controls": [{"name": "linear-student", "of": "baseline", "change": {"model": "linear"}}],
    }
)


def execute(name: str, out: Path, parameters: dict[str, object]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "notebooks" / "execute.py"), str(ROOT / "notebooks" / f"{name}.py"), str(out)]
    return subprocess.run(
        [*command, "--parameters", json.dumps(parameters)], capture_output=True, text=True, check=False, cwd=out.parent
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny study, run notebook by notebook; returns its folder of results."""
    place = tmp_path_factory.mktemp("study")
    (place / "results" / "tiny").mkdir(parents=True)
    jobs: list[tuple[str, str, Strict]] = [("01_data", "01_data", TINY.data_params())]
    jobs += [("02_train", f"02_train-{run}", params) for run, params in TINY.runs().items()]
    jobs += [("03_evaluate", f"03_evaluate-{name}", params) for name, params in TINY.evaluations().items()]
    merging = share_params(TINY)
    assert merging
    jobs += [("08_share", "08_share", merging)]
    jobs += [(name, name, TINY.page()) for name, model in MODELS.items() if model is PageParams and name != "05_tree"]
    student = next(run for run in TINY.runs() if run.startswith("student"))
    jobs += [("13_explain", "13_explain", ExplainParams(study="tiny", run=student))]
    for source, name, params in jobs:
        values = params.model_dump()
        values |= {key: str(place / key) for key in ("runs", "results", "out") if key in values}
        done = execute(source, place / "results" / "tiny" / f"{name}.ipynb", values)
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
        assert "unknown parameter" not in done.stderr  # papermill's, of keys that the parameters cell leaves out
        assert "WARNING" not in done.stderr  # such as ipykernel's, of a kernel that anyone on the machine can hear
    draw.draw_pages(place / "results", place / "questions")  # over all studies: as the book draws them
    for page in (place / "questions").glob("*.ipynb"):
        page.rename(place / "results" / "tiny" / page.name)
    return place / "results" / "tiny"


@pytest.mark.parametrize("name", MODELS)
def test_parameters_cell_shows_a_few_keys_with_their_defaults(name: str) -> None:
    cells = [
        c for c in jupytext.read(ROOT / "notebooks" / f"{name}.py").cells if "parameters" in c.metadata.get("tags", [])
    ]
    assert len(cells) == 1
    found = {}
    for statement in ast.parse(cells[0].source).body:
        assert isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        found[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert 0 < len(found) <= 12
    defaults = {key: field.default for key, field in MODELS[name].model_fields.items()}
    assert found == {key: defaults.get(key, "no such key") for key in found}


@pytest.mark.parametrize("name", MODELS)
def test_nothing_imported_takes_the_place_of_a_parameter(name: str) -> None:
    """An import comes after the injected parameters: one of the same name would silently undo a given value."""
    tree = ast.parse((ROOT / "notebooks" / f"{name}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    assert names.isdisjoint(MODELS[name].model_fields), names & set(MODELS[name].model_fields)


@pytest.mark.parametrize("name", MODELS)
def test_notebooks_are_short_and_name_their_model(name: str) -> None:
    source = ROOT / "notebooks" / f"{name}.py"
    assert len(source.read_text().splitlines()) <= 160
    assert notebook_runner.parameter_names(jupytext.read(source)) == set(MODELS[name].model_fields)


def test_pages_of_results_depend_on_no_training_and_no_images() -> None:
    for name in ("04_table", "20_claims", "21_handed", "25_cost"):
        rooms = {file.split("/")[1] for file in modules_of(f"notebooks/{name}.py")}
        assert rooms.isdisjoint({"training", "data", "losses.py", "projection.py"}), name


def test_a_changed_table_or_sentence_of_a_study_trains_and_measures_nothing_again() -> None:
    later = {f"p2p/evaluation/{name}.py" for name in ("claims", "findings", "results", "tables")}
    for name in ("01_data", "02_train", "03_evaluate", "06_topk", "07_gallery", "08_share"):
        assert later.isdisjoint(modules_of(f"notebooks/{name}.py")), name
    assert later <= set(modules_of("notebooks/04_table.py"))


def test_keys_of_a_notebook_without_a_model_are_those_of_its_cell() -> None:
    notebook = jupytext.reads('# %% tags=["parameters"]\na = 1\nb: int = 2\n\n# %%\nc = f(a)\n', fmt="py:percent")
    assert notebook_runner.parameter_names(notebook) == {"a", "b"}
    text = "# %%\n%matplotlib inline\n\n# %%\nparams = own.from_namespace(Other, globals())\n"
    assert notebook_runner.parameter_names(jupytext.reads(text, fmt="py:percent")) == set()


def test_every_source_is_a_known_notebook() -> None:
    assert {p.stem for p in (ROOT / "notebooks").glob("[0-9]*.py")} == set(MODELS)


def test_executed_notebooks_have_outputs_and_no_errors_or_machine_paths(study: Path) -> None:
    files = sorted(study.glob("*.ipynb"))
    assert len(files) == 1 + 8 + 2 + 1 + 5 + 13 + 1
    for file in files:
        notebook = nbformat.read(file, as_version=4)
        assert "papermill" not in notebook.metadata
        outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
        assert outputs and all(o.output_type != "error" for o in outputs), file.name
        last = notebook.cells[-1]
        assert "remove-input" in last.metadata.tags, "the provenance box closes every notebook"
        assert any("Provenance" in str(o) for o in last.outputs), file.name


def test_metrics_are_tidy_and_complete(study: Path) -> None:
    frame = pd.read_csv(study / "metrics.csv")
    assert list(frame) == ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
    assert frame.value.notna().all() and set(frame.seed) == {0, 1}
    for role in ("baseline", "student"):
        rows = frame[(frame.role == role) & (frame.stage == "tuned")]
        assert {"top1", "aap", "ajs", "pms", "ajs_permuted", "pms_permuted", "projection_error"} <= set(rows.metric)
        assert len(rows[(rows.metric == "ajs") & (rows.seed == 0)]) == 8  # one a threshold
    assert (frame[frame.metric == "projection_error"].value < 1e-4).all()
    assert {"ajs_floor", "pms_floor", "aap_floor", "ajs_second_teacher", "pms_second_teacher"} <= set(frame.metric)
    assert frame[frame.role.eq("control") & frame.variant.eq("linear-student") & frame.metric.eq("top1")].shape[0] == 2
    assert not frame.duplicated(["triple", "role", "variant", "seed", "stage", "metric", "tau"]).any()


def test_defaults_of_the_notebooks_are_the_quick_study() -> None:
    """So that each opens and runs on its own after `make study`."""
    quick = load_study(ROOT / "params" / "quick.yaml")
    first = next(iter(quick.evaluations().values()))
    assert EvaluateParams(second_teacher_run=first.second_teacher_run, class_count=first.class_count) == first
    page = quick.page()
    own = {"title", "intro", "train_runs", "explorer"}
    assert PageParams().model_dump(exclude=own) == page.model_dump(exclude=own)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"distillation": {"globl": 1.0}}, ["'distillation' is 'globl'", "global, ppc"]),
        ({"recipe": {**TINY.recipe, "prototype_layer": "angle"}}, ["'prototype_layer' is 'angle'", "distance, cosine"]),
        ({"recipe": {**TINY.recipe, "decision": "forest"}}, ["'decision' is 'forest'", "linear, tree"]),
        ({"data": {**TINY.data, "reader": "imagenet"}}, ["'reader' is 'imagenet'", "cub, cars, folder"]),
    ],
)
def test_an_unknown_name_is_refused_before_any_work_with_the_list_of_those_there_are(change, words, refuses) -> None:
    with refuses(*words):
        preflight(TINY.model_copy(update=change))


def test_a_users_own_images_are_read_before_any_work(tmp_path, refuses, monkeypatch, capsys) -> None:
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "mine"
    for i in range(12):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (20 * i, 0, 0)).save(root / "ab"[i % 2] / f"{i}.png")
    (root / "a" / "x.heic").write_text("")
    study = TINY.model_copy(update={"data": {"reader": "folder", "root": str(root), "size": 32}})
    preflight(study)
    said = capsys.readouterr().out
    assert "1 .heic" in said and "a/x.heic" in said and "one single colour: 12" in said
    for name in "ab":
        (root / name / "broken.png").write_text("")
    with refuses("2 of 14 images", "a/broken.png, b/broken.png"):
        preflight(study)


def test_claims_and_provenance_are_written(study: Path) -> None:
    claims = pd.read_csv(study / "claims.csv")
    assert len(claims) == 7 and set(claims.verdict) == {"inconclusive", UNDECIDED}  # two seeds carry no claim
    record = json.loads((study / "provenance.json").read_text())
    assert set(record["runs"]) == set(TINY.runs())
    for run in record["runs"].values():
        assert {"parameter_hash", "commit", "dirty", "seed", "device", "versions", "hours", "image_passes"} <= set(run)
        assert run["image_passes"] > 0 and run["peak_memory_gb"] > 0
    assert "student" in (study / "table.md").read_text() and "PMS" in (study / "findings.md").read_text()


def test_unknown_key_and_missing_run_are_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    done = execute("03_evaluate", out, {"runs": str(tmp_path), "bird_train_per_class": 4, "bird_test_per_class": 2})
    assert done.returncode == 1 and not out.exists()
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: Run 'teacher-small_half-s0'") and "train it first" in last
    done = execute("02_train", out, {"batchsize": 8})
    assert done.returncode == 1 and not out.exists()
    last = done.stderr.strip().splitlines()[-1]
    assert (
        last.startswith("error: 02_train.py has no parameter 'batchsize'") and "batch_size" in last and len(last) < 120
    )
    done = execute("02_train", out, {"batch_size": "many"})
    assert done.returncode == 1 and not out.exists()
    assert "batch_size" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("2[0-5]_*.py")), ids=lambda path: path.stem)
def test_a_page_of_results_has_its_five_parts(path: Path) -> None:
    """Answer, figure, table, how to run it again, and what it does not mean."""
    text = path.read_text()
    order = [text.index(f"# ## {head}\n") for head in ("Answer", "What this means, and what it does not")]
    assert order == sorted(order)
    assert "table(" in text and ("SVG(" in text or "questions.picture(" in text) and "`make study STUDY=" in text
