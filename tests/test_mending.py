"""Damage to what a study has left: noticed, named, taken away to be made again; and disks that cannot be written."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import test_results
from nbformat.v4 import new_notebook

from p2p.evaluation.mending import changed_inputs, damaged_files, mend_results, mend_runs
from p2p.evaluation.results import read_evaluations, run_records, write_costs, write_study
from p2p.evaluation.runs import finish_run
from p2p.files import run_lock, write_table
from p2p.study import jobs
from p2p.study.checksums import add_notebook, check_file, checksums, damaged, run_files, run_sums, seal
from p2p.study.params import TrainParams
from p2p.study.study import load_study
from p2p.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("notebook_runner_of_mending", ROOT / "notebooks" / "execute.py")
assert SPEC and SPEC.loader
runner = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runner)

# ------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture
def run(tiny, birds, tmp_path) -> tuple[dict[str, TrainParams], Path]:
    """A finished run in its place, as notebooks/02_train.py leaves it."""
    params = tiny.model_copy(update={"rounds": 1, "joint_epochs": 1})
    folder = tmp_path / "runs" / "teacher"
    trainer = Trainer(params, birds, folder)
    trainer.run(progress=False)
    finish_run(folder, birds)
    write_table(pd.DataFrame(trainer.history), folder / "history.csv")
    record = {"inputs": {"images": birds.source, "weights": ""}, "files": run_sums(folder, run_files(params.model))}
    (folder / "run.json").write_text(json.dumps(record))
    return {"teacher": params}, folder


def flip(path: Path) -> None:
    """One bit of a file, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_whole_run_is_left_alone(run) -> None:
    runs, folder = run
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}
    assert mend_runs(runs | {"unfinished": runs["teacher"]}, folder.parent) == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")} == before


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("network.safetensors", "trained again"),
        ("checkpoint.safetensors", "trained again"),
        ("responses.safetensors", "from the finished network"),
        ("responses_pre_push.safetensors", "from the finished network"),
    ],
)
def test_a_truncated_file_of_a_run_is_taken_away_with_its_record(run, file, words, sums) -> None:
    runs, folder = run
    if not sums:  # a run from before there were checksums
        (folder / "run.json").write_text("{}")
    os.truncate(folder / file, (folder / file).stat().st_size - 10)
    (said,) = mend_runs(runs, folder.parent)
    assert file in said and words in said and "'teacher'" in said
    assert not (folder / file).exists() and not (folder / "run.json").exists()
    assert mend_runs(runs, folder.parent) == []


@pytest.mark.parametrize("file", ["network.safetensors", "responses.safetensors", "history.csv", "prototypes.csv"])
def test_one_bit_is_enough(run, file) -> None:
    runs, folder = run
    flip(folder / file)
    assert damaged_files(folder, runs["teacher"]) == [file]
    (folder / file).unlink()
    assert damaged_files(folder, runs["teacher"]) == [file]


def test_a_damaged_record_and_a_run_at_work(run) -> None:
    runs, folder = run
    (folder / "run.json").write_text('{"outcome": ')
    with run_lock(folder):
        assert mend_runs(runs, folder.parent) == [] and (folder / "run.json").exists()
    (said,) = mend_runs(runs, folder.parent)
    assert "run.json" in said and (folder / "network.safetensors").exists()


def test_a_mended_run_ends_with_the_same_numbers(run, birds) -> None:
    runs, folder = run
    before = json.loads((folder / "run.json").read_text())["files"]
    flip(folder / "network.safetensors")
    os.truncate(folder / "responses.safetensors", 100)
    assert len(mend_runs(runs, folder.parent)) == 1
    Trainer(runs["teacher"], birds, folder).run(progress=False)
    finish_run(folder, birds)
    after = run_sums(folder, list(before))
    same = ("network.safetensors", "responses.safetensors", "responses_pre_push.safetensors", "prototypes.csv")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_changed_inputs_are_said_before_anything_runs(run, birds) -> None:
    runs, folder = run
    assert changed_inputs(runs, folder.parent, birds.source) == []
    (said,) = changed_inputs(runs, folder.parent, "other")
    assert said.startswith("The images have changed since 1 of 1 runs of study 'runs'") and "start anew" in said
    record = json.loads((folder / "run.json").read_text())
    record["inputs"]["weights"] = "older"
    (folder / "run.json").write_text(json.dumps(record))
    (said,) = changed_inputs(runs, folder.parent, birds.source)
    assert "The weights 'none'" in said
    (folder / "run.json").write_text("{}")
    assert changed_inputs(runs, folder.parent, "other") == []  # of a run from before, nothing is known


# ---------------------------------------------------------------------------------------------------------- results


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Results of two evaluations and a table, sealed."""
    out = tmp_path / "s"
    for seed in (0, 1):
        test_results.evaluation(out, seed)
        seal(out, f"03_evaluate-t-s{seed}", [f"evaluations/t-s{seed}.csv", f"evaluations/t-s{seed}.json"])
    place = tmp_path / "runs"
    test_results.run(place, "a"), test_results.run(place, "b")
    params = test_results.PARAMS
    write_study(out, params, read_evaluations(out, params.evaluations), run_records(["a", "b"], place, out))
    (out / "findings.md").write_text("Found.\n")
    seal(out, "04_table", ["metrics.csv", "provenance.json", "study.json", "findings.md"])
    for step in ("03_evaluate-t-s0", "03_evaluate-t-s1", "04_table"):
        nbformat.write(new_notebook(), out / f"{step}.ipynb")
        add_notebook(out, step)
    return out


STEPS = ["03_evaluate-t-s0", "03_evaluate-t-s1", "04_table"]


@pytest.mark.parametrize(
    ("file", "step"),
    [
        ("evaluations/t-s0.csv", "03_evaluate-t-s0"),
        ("evaluations/t-s1.json", "03_evaluate-t-s1"),
        ("metrics.csv", "04_table"),
        ("provenance.json", "04_table"),
        ("findings.md", "04_table"),
        ("04_table.ipynb", "04_table"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_result_file_is_done_again_by_its_step(out, file, step, damage) -> None:
    if damage == "gone" and file.endswith(".ipynb"):
        pytest.skip("the workflow sees that by itself")
    os.truncate(out / file, (out / file).stat().st_size // 2) if damage == "cut" else (out / file).unlink()
    (said,) = mend_results(out, STEPS)
    assert file in said and step in said
    assert not (out / file).exists() and not (out / f"{step}.ipynb").exists()
    assert len(list(out.glob("*.ipynb"))) == 2 and mend_results(out, STEPS) == []


def test_whole_and_older_results_are_left_alone(out) -> None:
    before = sorted(path for path in out.rglob("*"))
    assert mend_results(out, STEPS) == [] and sorted(path for path in out.rglob("*")) == before
    for path in (out / "checksums").iterdir():
        path.unlink()
    (out / "metrics.csv").write_text("another")
    assert mend_results(out, STEPS) == []  # without checksums nothing is known of it
    (out / "04_table.ipynb").write_text('{"cells": [')
    (said,) = mend_results(out, STEPS)
    assert "04_table.ipynb" in said


@pytest.mark.parametrize("text", ['{"title": "T"}', "", "[]", '{"title'])
def test_an_older_study_whose_facts_cannot_be_read_makes_them_again(out, text) -> None:
    for path in (out / "checksums").iterdir():
        path.unlink()
    (out / "study.json").write_text(text)
    (said,) = mend_results(out, STEPS)
    assert "study.json" in said and not (out / "study.json").exists() and not (out / "04_table.ipynb").exists()


def test_checksums_of_a_step(out, refuses) -> None:
    assert set(checksums(out, "03_evaluate-t-s0")) == {
        *("evaluations/t-s0.csv", "evaluations/t-s0.json", "03_evaluate-t-s0.ipynb")
    }
    assert damaged(out, "04_table") == [] and checksums(out, "05_tau") == {}
    assert check_file(out, "metrics.csv") == out / "metrics.csv"
    (out / "free.txt").write_text("of no step")
    check_file(out, "free.txt")
    seal(out, "other", ["free.txt"])
    (out / "free.txt").write_text("changed")
    seal(out, "one more", ["free.txt"])  # two steps may write the same file: one of the sums has to fit
    check_file(out, "free.txt")
    with refuses("none.csv", "not there"):
        check_file(out, "none.csv")


def test_readers_name_a_damaged_file(out, tmp_path, refuses) -> None:
    path = out / "evaluations" / "t-s0.csv"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))  # a row fewer: still a table
    with refuses(str(path), "damaged", "make study"):
        read_evaluations(out, ["t-s0", "t-s1"])
    (out / "checksums" / "03_evaluate-t-s0.json").unlink()  # an older one: what can be seen without checksums
    read_evaluations(out, ["t-s0", "t-s1"])
    for text in ("", whole[:20], whole[:-12], whole.replace(",0,", ",,")):
        path.write_text(text)
        with refuses(str(path), "damaged", "make study"):
            read_evaluations(out, ["t-s0", "t-s1"])
    path.write_bytes(b"\xff\xfe\x00")
    with refuses(str(path), "damaged"):
        read_evaluations(out, ["t-s0"])
    path.write_text(whole)
    frame = read_evaluations(out, test_results.PARAMS.evaluations)
    os.truncate(out / "evaluations" / "t-s1.json", 3)
    with refuses("t-s1.json", "damaged"):
        write_study(out, test_results.PARAMS, frame, {})
    (out / "provenance.json").write_text('{"runs')
    assert run_records(["a"], tmp_path / "runs", out)  # it is not asked while the runs are there
    with refuses("provenance.json", "damaged"):
        run_records(["a"], tmp_path / "elsewhere", out)
    (tmp_path / "runs" / "a" / "run.json").write_text("[")
    for read in (run_records, write_costs):
        with refuses("a/run.json", "damaged", "make study"):
            read(["a"], tmp_path / "runs", out)
    old = tmp_path / "old"
    old.mkdir()
    (old / "costs.csv").write_text("")
    with refuses("costs.csv", "damaged"):
        write_costs([], tmp_path / "runs", old)


# --------------------------------------------------------------------------------------------- disks and `make study`


def test_a_study_is_made_ready(tmp_path: Path) -> None:
    quick = load_study(ROOT / "params" / "quick.yaml")
    assert runner.prepare(quick, tmp_path) == []
    run = tmp_path / "runs" / "quick" / next(iter(quick.runs()))
    run.mkdir()
    (run / "run.json").write_text("{")
    (tmp_path / "results" / "quick" / "01_data.ipynb").write_text("{")
    out = tmp_path / "results" / "quick"
    (out / "explorer").mkdir()
    for name in ("data.js", "sheet-0.webp"):
        (out / "explorer" / name).write_text(name)
    nbformat.write(new_notebook(), out / "14_explorer.ipynb")
    seal(out, "14_explorer", ["explorer/data.js", "explorer/sheet-0.webp"])
    add_notebook(out, "14_explorer")
    (out / "explorer" / "sheet-0.webp").write_text("half of")
    first, second, third = runner.prepare(quick, tmp_path)
    assert run.name in first and "01_data" in second and "explorer/sheet-0.webp" in third
    assert not (out / "14_explorer.ipynb").exists() and (out / "explorer" / "data.js").exists()
    assert runner.prepare(quick, tmp_path) == [] and not list(tmp_path.rglob(".room"))


@pytest.mark.parametrize("folder", ["results", "runs", "runs/failed", ".snakemake", "book/_build"])
def test_a_folder_that_cannot_be_made_is_one_sentence(folder: str, tmp_path: Path, refuses) -> None:
    (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / folder).write_text("a file")
    with refuses(str(tmp_path / folder), "Cannot write"):
        runner.prepare(load_study(ROOT / "params" / "quick.yaml"), tmp_path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES], ids=["read-only", "not allowed"])
@pytest.mark.parametrize("folder", ["results/quick", "runs/quick", "runs/failed/quick"])
def test_a_folder_that_must_not_be_written_is_one_sentence(folder, code, tmp_path, monkeypatch, refuses) -> None:
    def refused(dir: Path, **more: str) -> tuple[int, str]:  # root may write anywhere: it is told that it may not
        if dir == tmp_path / folder:
            raise OSError(code, os.strerror(code), str(dir / "x"))
        return made(dir=dir, **more)

    made, cure = tempfile.mkstemp, "mount it for writing" if code == errno.EROFS else f"chmod u+w {tmp_path / folder}"
    monkeypatch.setattr(tempfile, "mkstemp", refused)
    with refuses(f"Cannot write {tmp_path / folder}", os.strerror(code), cure, "choose another folder"):
        runner.prepare(load_study(ROOT / "params" / "quick.yaml"), tmp_path)
    assert not list(tmp_path.rglob(".room*"))


def test_a_study_at_work_is_left_alone_and_who_works_is_named(tmp_path: Path, refuses) -> None:
    quick = load_study(ROOT / "params" / "quick.yaml")
    (tmp_path / "results" / "quick").mkdir(parents=True)
    (tmp_path / "results" / "quick" / "01_data.ipynb").write_text("{")
    with run_lock(tmp_path / "runs" / "quick", "Study folder"):
        with refuses("Study folder", str(tmp_path / "runs" / "quick"), f"({os.getpid()} on "):
            runner.prepare(quick, tmp_path)
        assert (tmp_path / "results" / "quick" / "01_data.ipynb").exists()
    assert len(runner.prepare(quick, tmp_path)) == 1


def test_a_full_disk_is_one_sentence_before_anything_runs(small_disk: Path, refuses) -> None:
    with refuses(str(small_disk), "Cannot write", "free space"):
        runner.prepare(load_study(ROOT / "params" / "quick.yaml"), small_disk)
    assert not list(small_disk.rglob(".room"))


NOTEBOOK = """# %% tags=["parameters"]
fill = ""

# %%
from pathlib import Path
from p2p.files import write_atomic
print("." * 200)
write_atomic(Path(fill) / "big", b"x" * 300_000)
"""


def test_a_full_folder_of_failed_notebooks(small_disk: Path, tmp_path: Path, monkeypatch, refuses) -> None:
    """The disk is full before papermill writes, or as the step does: its own sentence, or that of the notebook."""
    source = tmp_path / "00_x.py"
    source.write_text(NOTEBOOK)
    monkeypatch.setattr(runner, "ROOT", small_disk)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with refuses(str(small_disk / "big"), "Cannot write", "free space"):
        runner.execute(source, tmp_path / "out" / "00_x.ipynb", {"fill": str(small_disk)}, 1)
    (small_disk / "runs" / "failed" / "out").mkdir(parents=True, exist_ok=True)
    if small_disk.name == "mounted":
        (small_disk / "runs" / "failed" / "out" / "00_x.ipynb").unlink(missing_ok=True)
        with pytest.raises(OSError), (small_disk / "ballast").open("wb") as file:
            for _ in range(100_000):
                file.write(b"x"), file.flush()
        with refuses("runs/failed/out", "Cannot write", "free space"):
            runner.execute(source, tmp_path / "out" / "00_x.ipynb", {"fill": str(tmp_path)}, 1)
    assert not (tmp_path / "out" / "00_x.ipynb").exists()


KERNEL = """#!/bin/sh
echo x >> "$STARTED"
[ $(wc -l < "$STARTED") -ge "$LIVES_AT" ] || { echo "Address already in use" >&2; exit 1; }
exec "$PYTHON" -m ipykernel_launcher -f "$1"
"""


@pytest.mark.parametrize("lives_at", (2, jobs.STARTS, jobs.STARTS + 1))
def test_a_kernel_whose_port_was_taken_is_started_again(tmp_path: Path, monkeypatch, lives_at: int) -> None:
    """Two kernels that start together may want one port: the one that is too late dies, and nothing of it has run."""
    source, kernel, started = tmp_path / "00_x.py", tmp_path / "jupyter" / "kernels" / "python3", tmp_path / "started"
    source.write_text(NOTEBOOK)
    kernel.mkdir(parents=True)
    (kernel / "start").write_text(KERNEL)
    (kernel / "start").chmod(0o755)
    spec = {"argv": [str(kernel / "start"), "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    own = {"STARTED": started, "LIVES_AT": lives_at, "PYTHON": sys.executable, "JUPYTER_PATH": tmp_path / "jupyter"}
    for name, value in (own | {"PYTHONPATH": ROOT}).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    out = tmp_path / "out" / "00_x.ipynb"
    if lives_at > jobs.STARTS:
        with pytest.raises(RuntimeError, match="Kernel died before replying"):
            runner.execute(source, out, {"fill": str(tmp_path)}, 1)
    else:
        runner.execute(source, out, {"fill": str(tmp_path)}, 1)
    assert len(started.read_text().split()) == min(lives_at, jobs.STARTS) and out.exists() == (lives_at <= jobs.STARTS)


def test_what_a_step_said_is_found_under_what_papermill_could_not_write(refuses) -> None:
    class CellExecutionError(Exception):
        ename, evalue = "UserError", "Cannot write x: full; free space."

    try:
        try:
            raise CellExecutionError
        except CellExecutionError:
            raise OSError(28, "No space left on device")  # noqa: B904
    except OSError as error:
        assert str(runner.told_by_step(error)) == CellExecutionError.evalue
    assert runner.told_by_step(OSError(28, "x")) is None


def test_a_run_folder_that_cannot_be_made(tmp_path: Path, refuses) -> None:
    (tmp_path / "runs").write_text("")
    with refuses(str(tmp_path / "runs" / "a"), "Cannot write"), run_lock(tmp_path / "runs" / "a"):
        pass
