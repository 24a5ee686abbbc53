"""The Snakefile: what runs, what runs again after a change, and that a second call runs nothing.

The real Snakefile and study code in a copy of the project, with stand-ins for the two programs that do the work.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXECUTE = """
import json, sys
from pathlib import Path
out = Path(sys.argv[2]); values = json.loads(sys.argv[4])
out.parent.mkdir(parents=True, exist_ok=True); out.write_text("{}")
if "run" in values:
    run = Path("runs") / values["study"] / values["run"] / "run.json"
    run.parent.mkdir(parents=True, exist_ok=True); run.write_text("{}")
if "second_teacher_run" in values:
    table = out.parent / "evaluations" / f"{values['triple']}-s{values['seed']}.csv"
    table.parent.mkdir(exist_ok=True); table.write_text(""); table.with_suffix(".json").write_text("{}")
written = {"08_share": "sharing.csv sharing.json"}
written |= {"04_table": "metrics.csv claims.csv table.md findings.md study.json provenance.json budget.csv costs.csv"}
written |= {"14_explorer": "explorer/data.js"}
for name in written.get(out.stem, "").split():
    (out.parent / name).parent.mkdir(exist_ok=True)
    (out.parent / name).write_text('{"runs": {}}')
"""
BUILD = """
from pathlib import Path
page = Path("book/_build/html/index.html"); page.parent.mkdir(parents=True, exist_ok=True); page.write_text("")
"""


RUNS = ("teacher-small_half", "baseline-small_sixth", "student-small_half-small_sixth-paper")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("project")
    for name in ("p2p", "notebooks", "params", "Snakefile"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / name)
    (place / "book").mkdir()
    for name in ("_config.yml", "references.bib", "index.md"):
        shutil.copy(ROOT / "book" / name, place / "book" / name)
    (place / "notebooks" / "execute.py").write_text(EXECUTE)
    (place / "book" / "build.py").write_text(BUILD)
    done = snakemake(place)
    assert done.returncode == 0, done.stderr
    return place


OWN = """
study: own
title: Own
images: a folder
seeds: [0]
data: {reader: folder, root: IMAGES, size: 32}
recipe: {grid: 4, joint_epochs: 1}
triples:
  - {name: a-b, teacher: {network: small}, student: {network: small_half, weights: IMAGES/../w.safetensors}}
"""


@pytest.fixture
def own(project: Path) -> Path:
    """A finished study of images in class folders, whose student begins with a file of weights; its root."""
    root = project / "images"
    if not root.is_dir():
        for i in range(6):
            (root / "ab"[i // 3]).mkdir(parents=True, exist_ok=True)
            (root / "ab"[i // 3] / f"{i}.bmp").write_bytes(bytes([i] * 100))
        (project / "w.safetensors").write_bytes(b"one")
        (project / "params" / "own.yaml").write_text(OWN.replace("IMAGES", str(root)))
        done = snakemake(project, "--config", "study=own")
        assert done.returncode == 0, done.stderr
    return root


def planned(project: Path) -> set[str]:
    """The notebooks that a call would make for `own`."""
    done = snakemake(project, "--dry-run", "--config", "study=own")
    assert done.returncode == 0, done.stderr
    return {name for name in jobs(done.stdout) if name.endswith(".ipynb")}


def snakemake(place: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "study=quick", *more]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def jobs(text: str) -> set[str]:
    """The outputs of the jobs of a dry run, and the rules."""
    return {Path(match).name for line in re.findall(r"^    output: (.*)$", text, re.M) for match in line.split(", ")}


def test_everything_was_made_and_a_second_call_finds_nothing_to_do(project: Path) -> None:
    assert len(list((project / "results" / "quick").glob("*.ipynb"))) == 1 + 6 + 2 + 4
    again = snakemake(project)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


def test_a_changed_parameter_reruns_only_what_depends_on_it_and_says_why(project: Path) -> None:
    file = project / "params" / "quick.yaml"
    before = file.read_text()
    file.write_text(before + "variants: {paper: {distillation: {global: 10.0, ppc: 5.0}}}\n")
    dry = snakemake(project, "--dry-run")
    file.write_text(before)
    text = dry.stdout + dry.stderr
    made = jobs(text)
    assert dry.returncode == 0 and "Params have changed" in text
    assert {"02_train-student-small_half-small_sixth-paper-s0.ipynb", "04_table.ipynb", "index.html"} <= made
    assert not any("teacher-" in name or "baseline-" in name or name == "01_data.ipynb" for name in made), made


def test_a_changed_notebook_reruns_its_own_jobs(project: Path) -> None:
    file = project / "notebooks" / "07_gallery.py"
    file.write_text(file.read_text() + "\n# %% [markdown]\n# more\n")
    made = jobs(snakemake(project, "--dry-run").stdout)
    assert made == {"07_gallery.ipynb", "index.html"}
    assert snakemake(project).returncode == 0  # up to date again for other tests


TRAINED = {f"02_train-{run}-s{seed}.ipynb" for run in RUNS for seed in (0, 1)}
EVALUATED = {f"03_evaluate-small_half-small_sixth-s{seed}.ipynb" for seed in (0, 1)}
PAGES = {"04_table.ipynb", "06_topk.ipynb", "07_gallery.ipynb", "14_explorer.ipynb"}
OWN_PAGES = PAGES - {"14_explorer.ipynb"}  # which is asked for


@pytest.mark.parametrize(
    ("module", "function", "expected"),
    [
        ("losses", "cluster", TRAINED | EVALUATED | PAGES),
        ("metrics", "agreement", EVALUATED | PAGES),  # whatever an evaluation writes goes into the pages
        ("study/speed_params", "SpeedParams", set()),  # of pages that no study has
        ("study/provenance", "provenance", {"01_data.ipynb"} | TRAINED | EVALUATED | PAGES),
        ("data/augment", "augment", {"01_data.ipynb"} | TRAINED | EVALUATED | PAGES),
        ("data/download", "main", set()),
        ("training/phases", "timeline", TRAINED | EVALUATED | PAGES),
        ("evaluation/measure", "own_rows", EVALUATED | PAGES),
        ("evaluation/findings", "comparison", {"04_table.ipynb"}),
        ("figures/questions", "forest", set()),
    ],
)
def test_a_changed_function_reruns_what_can_reach_it_and_nothing_else(project, module, function, expected) -> None:
    file = project / "p2p" / f"{module}.py"
    before = file.read_text()
    assert re.search(rf"^(def|class) {function}\b", before, re.M)
    file.write_text(re.sub(rf"^(def|class) {function}\b", rf"# changed\n\1 {function}", before, flags=re.M))
    done = snakemake(project, "--dry-run")
    file.write_text(before)
    planned = jobs(done.stdout)
    assert done.returncode == 0 and {name for name in planned if name.endswith(".ipynb")} == expected
    assert ("index.html" in planned) == bool(expected or module == "figures/questions")  # the book has pages of its own


def test_what_the_book_stages_is_no_reason_to_draw_it_again(project: Path) -> None:
    staged = project / "book" / "_build" / "src" / "page.md"
    staged.parent.mkdir(parents=True)
    staged.write_text("# Staged\n")
    assert "Nothing to be done" in (done := snakemake(project)).stdout + done.stderr
    (project / "book" / "stage.py").write_text("# changed\n")
    assert jobs(snakemake(project, "--dry-run").stdout) == {"index.html"}
    (project / "book" / "stage.py").unlink()


def test_what_a_study_says_in_braces_is_no_wildcard(project: Path) -> None:
    file = project / "params" / "quick.yaml"
    before = file.read_text()
    file.write_text(before.replace("Quick study: drawn birds", "{page} {x} $(id) 'q'"))
    dry = snakemake(project, "--dry-run", "--printshellcmds")
    file.write_text(before)
    assert dry.returncode == 0, dry.stderr
    (command,) = re.findall(r"04_table.ipynb --parameters (.*)", dry.stdout + dry.stderr)
    assert json.loads(shlex.split(command)[0])["title"] == "{page} {x} $(id) 'q'"


def test_an_evaluation_waits_for_the_runs_of_other_budgets(project: Path) -> None:
    file = project / "params" / "quick.yaml"
    before = file.read_text()
    file.write_text(
        before.replace("student: {network: small_sixth}", "student: {network: small_sixth}\n    budget: {3: [0]}")
    )
    dry = snakemake(project, "--dry-run")
    file.write_text(before)
    (job,) = re.findall(r"rule evaluate:\n    input: (.*)\n    output: .*small_half-small_sixth-s0", dry.stdout)
    assert dry.returncode == 0 and {
        "budget-baseline-small_sixth-3-s0",
        "budget-student-small_half-small_sixth-paper-3-s0",
    } <= {Path(name).parent.name for name in job.split(", ")}


def test_prototypes_are_merged_where_the_study_says_so_and_nothing_else_runs_again(project: Path) -> None:
    file = project / "params" / "quick.yaml"
    before = file.read_text()
    file.write_text(before + "sharing: [60, 20]\n")
    dry = snakemake(project, "--dry-run", "--printshellcmds")
    file.write_text(before)
    assert dry.returncode == 0, dry.stderr
    assert {name for name in jobs(dry.stdout) if name.endswith((".ipynb", ".csv"))} == {"08_share.ipynb", "sharing.csv"}
    (command,) = re.findall(r"08_share.ipynb --parameters (.*) --threads", dry.stdout + dry.stderr)
    given = json.loads(shlex.split(command)[0])
    assert given["sharing"] == [60, 20] and [trio["seed"] for trio in given["trios"]] == [0, 1]
    (job,) = re.findall(r"rule share:\n    input: (.*)\n", dry.stdout)
    trained = {f"{run}-s{seed}" for run in RUNS for seed in (0, 1)}
    assert trained == {Path(name).parent.name for name in job.split(", ") if name.endswith("run.json")}


OWN_TRAINED = {f"02_train-{run}-s0.ipynb" for run in ("teacher-small", "baseline-small_half", "student-a-b-paper")}
OWN_EVALUATED = {"03_evaluate-a-b-s0.ipynb"}


def test_the_same_images_elsewhere_or_with_other_times_run_nothing(project: Path, own: Path) -> None:
    assert planned(project) == set()
    for path in own.rglob("*.bmp"):
        os.utime(path, (1, 1))
    assert planned(project) == set()


@pytest.mark.parametrize("change", ["class", "file"])
def test_changed_images_run_all_of_the_study_again(project: Path, own: Path, change: str) -> None:
    path = own / "a" / "0.bmp"
    before, times = path.read_bytes(), path.stat().st_mtime_ns
    if change == "class":
        shutil.copytree(own / "b", own / "c")
    else:
        path.write_bytes(b"y" * len(before))
        os.utime(path, ns=(times, times))
    found = planned(project)
    shutil.rmtree(own / "c", ignore_errors=True)
    path.write_bytes(before)
    assert found == {"01_data.ipynb"} | OWN_TRAINED | OWN_EVALUATED | OWN_PAGES
    assert planned(project) == set()


def test_changed_weights_run_what_begins_with_them(project: Path, own: Path) -> None:
    (project / "w.safetensors").write_bytes(b"two")
    found = planned(project)
    (project / "w.safetensors").write_bytes(b"one")
    assert found == (OWN_TRAINED - {"02_train-teacher-small-s0.ipynb"}) | OWN_EVALUATED | OWN_PAGES


def test_images_that_are_gone_are_one_sentence(project: Path, own: Path) -> None:
    own.rename(project / "elsewhere")
    done = snakemake(project, "--config", "study=own")
    (project / "elsewhere").rename(own)
    assert done.returncode == 1 and "does not exist" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert planned(project) == set()


def test_whatever_is_gone_is_made_again(project: Path, own: Path) -> None:
    out = project / "results" / "own"
    before = sorted(path for path in out.rglob("*") if path.is_file())
    for name in ("04_table.ipynb", "03_evaluate-a-b-s0.ipynb", "07_gallery.ipynb"):
        (out / name).unlink()
    assert planned(project) == {"03_evaluate-a-b-s0.ipynb"} | OWN_PAGES
    assert snakemake(project, "--config", "study=own").returncode == 0
    for name in ("findings.md", "costs.csv", "provenance.json"):
        (out / name).unlink()
    assert planned(project) == {"04_table.ipynb"}
    assert snakemake(project, "--config", "study=own").returncode == 0
    assert sorted(path for path in out.rglob("*") if path.is_file()) == before
    (out / "evaluations" / "a-b-s0.json").unlink()
    (project / "runs" / "own" / "baseline-small_half-s0" / "run.json").unlink()
    assert planned(project) == {"02_train-baseline-small_half-s0.ipynb", "03_evaluate-a-b-s0.ipynb"} | OWN_PAGES
    assert snakemake(project, "--config", "study=own").returncode == 0 and planned(project) == set()


def test_a_table_keeps_the_records_of_runs_that_lie_elsewhere(project: Path, own: Path) -> None:
    """Snakemake removes what a job will write, but not what the job reads of it."""
    execute = project / "notebooks" / "execute.py"
    before, out = execute.read_text(), project / "results" / "own"
    (out / "04_table.ipynb").unlink()
    execute.write_text(f"from pathlib import Path\nassert Path('{out}/provenance.json').is_file()\n{before}")
    done = snakemake(project, "--config", "study=own")
    execute.write_text(before)
    assert done.returncode == 0, done.stderr


def test_unknown_study_is_one_sentence(project: Path) -> None:
    done = snakemake(project, "--config", "study=nowhere")
    assert done.returncode == 1 and re.search(r"not found; studies here: .*\bquick\b", done.stdout + done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
