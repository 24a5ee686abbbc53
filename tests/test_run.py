"""`make study` on the screen: a few lines, the job's own sentence last, exit codes; and how `make setup` installs.

The real runner, Snakefile and Snakemake in a copy of the project, with stand-ins for the programs that do the work.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import test_workflow

from p2p.errors import UserError
from p2p.study.checksums import seal
from p2p.study.jobs import job, read_jobs, sentence
from p2p.study.study import load_study

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("runner", ROOT / "notebooks" / "run.py")
assert SPEC and SPEC.loader
runner = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runner)
EXECUTOR = importlib.util.spec_from_file_location("executor", ROOT / "notebooks" / "execute.py")
assert EXECUTOR and EXECUTOR.loader
executor = importlib.util.module_from_spec(EXECUTOR)
EXECUTOR.loader.exec_module(executor)
EXECUTE = (
    """
import os, time
sys_path = __import__("sys").path; sys_path.insert(0, os.getcwd())
from p2p.errors import UserError
from p2p.study.checksums import seal
from p2p.study.jobs import job

def summary(study):
    return f"THE TABLE of {study.study}\\n"

def work(name):
    with job(name) as progress:
        if name == os.environ.get("FAILING"):
            raise UserError("The loss is no longer finite; lower the learning rate.")
        if name == os.environ.get("DYING"):
            os._exit(9)
        if name == os.environ.get("LASTING"):
            progress("3/9, joint, 0.5, 00:07 left")
            time.sleep(60)
        do()

def do():
"""
    + "\n".join(f"    {line}" for line in test_workflow.EXECUTE.replace('"{}")', "sys.argv[4])", 1).strip().split("\n"))
    + """

if __name__ == "__main__":
    import sys
    from pathlib import Path
    try:
        work(Path(sys.argv[2]).stem)
    except UserError as error:
        print("noise\\n" * 50, f"error: {error}", file=sys.stderr)
        sys.exit(1)
"""
)
BUILD = """
import os, sys
sys.path.insert(0, os.getcwd())
from p2p.study.jobs import job
assert sys.argv[1:] == ["--strict", "--study", "quick"]
with job("book"):
    if os.environ.get("FAILING") == "book":
        sys.exit("jupyter-book said a lot")
""" + "\n".join(f"    {line}" for line in test_workflow.BUILD.strip().split("\n"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("project")
    for name in ("p2p", "notebooks", "params"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", place)
    (place / "book").mkdir()
    for name in ("_config.yml", "references.bib", "index.md"):
        shutil.copy(ROOT / "book" / name, place / "book" / name)
    (place / "notebooks" / "execute.py").write_text(EXECUTE)
    (place / "book" / "build.py").write_text(BUILD)
    return place


def start(place: Path, *more: str, study: str = "quick", **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "notebooks/run.py", f"params/{study}.yaml", *more, "--", "--cores", "2"]
    environment = os.environ | {"PYTHONPATH": str(place)} | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=place, env=environment, text=True, **pipes)  # type: ignore[call-overload]


def run(place: Path, *more: str, **variables: str) -> tuple[int, list[str]]:
    process = start(place, *more, **variables)
    said, _ = process.communicate(timeout=300)
    return process.returncode, [line for line in said.splitlines() if line.strip()]


def running_in(place: Path) -> list[str]:
    """Processes that work in a folder (Linux); those that end meanwhile are none."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            found += [link.parent.name] if link.readlink() == place else []
    return found


def fresh(place: Path) -> Path:
    for name in ("runs", "results", ".snakemake", "book/_build"):
        shutil.rmtree(place / name, ignore_errors=True)
    return place


def written(place: Path) -> dict[str, str]:
    """What a study leaves in its results and runs, but for logs and reports of jobs."""
    files = [path for name in ("results", "runs") for path in (place / name).rglob("*") if path.is_file()]
    kept = [path for path in files if ".jobs" not in path.parts and path.name not in ("log.txt", ".lock")]
    return {path.relative_to(place).as_posix(): path.read_text() for path in kept}


@pytest.fixture(scope="module")
def undisturbed(project: Path) -> dict[str, str]:
    """What a study leaves that nothing disturbs."""
    assert run(fresh(project))[0] == 0
    found = written(project)
    assert len(set(found.values())) > 10 and "results/quick/04_table.ipynb" in found
    return found


def test_a_study_is_some_forty_lines_the_book_may_fail_and_a_last_call_finds_nothing_to_do(project: Path) -> None:
    code, lines = run(fresh(project), FAILING="book")
    text = "\n".join(lines)
    assert code == 1 and lines[-1] == "error: book: SystemExit: jupyter-book said a lot" and len(lines) <= 40, text
    assert "To run: the data page, 6 trainings, 2 evaluations, 3 pages, the book." in text
    for name in ("train teacher-small_half-s0", "evaluate small_half-small_sixth-s1", "page 06_topk", "data 01_data"):
        assert len(re.findall(rf"\d:\d\d  start   {name}$", text, re.M)) == 1, name
        assert len(re.findall(rf"\d:\d\d  done    {name}, \d+:\d\d", text, re.M)) == 1, name
    assert re.search(r"start   book\n.*FAILED  book", text)
    assert "localrule train" in (project / "runs/quick/log.txt").read_text()
    assert "\x1b" not in text and "localrule" not in text  # no terminal: no line that changes; Snakemake is in the log
    code, lines = run(project)
    assert code == 0 and lines[-2:] == ["THE TABLE of quick", "The log:  runs/quick/log.txt"]
    assert "To run: the book." in lines and len(lines) == 7
    code, lines = run(project)
    assert code == 0 and len(lines) == 4 and lines[1].startswith("Nothing to be done")


@pytest.mark.parametrize("private", [False, True])
def test_the_end_is_the_main_table_and_the_address_of_the_book(
    private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    file = test_workflow.OWN.replace("title: Own", f"title: 'Own: <b> é'\nprivate: {json.dumps(private)}")
    (tmp_path / "own.yaml").write_text(file)
    study, root, out = load_study(tmp_path / "own.yaml"), tmp_path / "a b", tmp_path / "a b" / "results" / "own"
    monkeypatch.setattr(executor, "ROOT", root)
    out.mkdir(parents=True)
    name = "summary.txt" if private else "table.md"
    with refuses(name, "not there"):
        executor.summary(study)
    for other in ("summary.txt", "table.md"):
        (out / other).write_text(f"\n| {other} | R² |\n|---|---|\n| student | 0.5 |\n\n", encoding="utf-8")
    lines = executor.summary(study).splitlines()
    assert lines[:7] == ["", "Own: <b> é", "", f"| {name} | R² |", "|---|---|", "| student | 0.5 |", ""]
    built = root / "book" / "_build" / ("own-own/html" if private else "html") / "index.html"
    said, address = lines[7].split(": ", 1)
    assert said == ("The pages" if private else "The book") and len(lines) == 8
    assert address == "file://" + quote(str(built))
    seal(out, "04_table", [name])
    (out / name).write_text("half of")
    with refuses(str(out / name), "damaged"):
        executor.summary(study)


def test_headlines(tmp_path: Path) -> None:
    outcome = {"outcome": {"validation": 0.5, "top1": {"push": 0.1, "tuned": 0.625}, "r2": 0.25}}
    rows = "role,variant,stage,metric,tau,value\nstudent,paper,tuned,pms,,0.4\nstudent,paper,tuned,pms_permuted,,0.1\n"
    rows += "student,other,tuned,pms,,0.9\nstudent,paper,tuned,ajs,0.1,0.3\n"
    for name, text in {"runs/s/a-s0/run.json": json.dumps(outcome), "results/s/evaluations/b-s0.csv": rows}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert runner.headline("02_train-a-s0", "s", tmp_path) == "validation 0.500, test 0.625, R² 0.250"
    assert runner.headline("03_evaluate-b-s0", "s", tmp_path) == "PMS 0.400 (images permuted 0.100)"
    for name in ("02_train-gone-s0", "03_evaluate-gone-s0", "04_table"):
        assert runner.headline(name, "s", tmp_path) == ""


def test_the_time_is_that_of_recorded_jobs_or_said_to_be_unknown(tmp_path: Path) -> None:
    file, counts = ROOT / "params" / "quick.yaml", {"data": 1, "train": 6, "evaluate": 2, "page": 3, "book": 1}
    what, time_line = runner.plan(counts, {}, 2, file)
    assert what == "To run: the data page, 6 trainings, 2 evaluations, 3 pages, the book."
    assert time_line.startswith("Time: not known") and "a few minutes on two CPU cores" in time_line
    study = load_study(file)
    (tmp_path / "results" / "quick").mkdir(parents=True)
    record = {"runs": {f"teacher-small_half-s{seed}": {"hours": 0.2} for seed in (0, 1)}}
    (tmp_path / "results" / "quick" / "provenance.json").write_text(json.dumps(record))
    past = {
        "02_train-teacher-small_half-s1": {"state": "done", "seconds": 360.0},
        "book": {"state": "failed", "seconds": 1},
    }
    known = runner.recorded(study, past, tmp_path)
    assert known == {"02_train-teacher-small_half-s0": 720.0, "02_train-teacher-small_half-s1": 360.0}
    assert "Time: about 28 min," in runner.plan(counts, known, 2, file)[1]  # six of 9 minutes, two at a time
    assert "Time: about 56 min of one machine" in runner.plan(counts, known, 0, file)[1]
    assert "Time: about 60 s" in runner.plan({"page": 1, "book": 1}, {}, 2, file)[1]
    assert "Time: about 60 s" in runner.plan({"data": 0, "train": 0, "page": 1, "book": 1}, {}, 2, file)[1]
    for damaged in ('{"runs": {"teac', '{"runs": [1]}', '{"runs": {"a": {}}}', "[]"):
        (tmp_path / "results" / "quick" / "provenance.json").write_text(damaged)
        assert runner.recorded(study, {}, tmp_path) == {}


def test_the_cause_that_a_log_gives() -> None:
    assert runner.cause("a\n\x1b[31merror: First.\x1b[0m\nerror: Second.\n") == "First."
    assert runner.cause("Error in rule train:\n    message: SLURM-job '7' failed\n") == "SLURM-job '7' failed"
    assert runner.cause("x\nWorkflowError:\n    no such\n    file\n\nmore") == "WorkflowError: no such file"
    internals = 'WorkflowError in file "/a b/Snakefile", line 31:\nData folder x is not there.\n'
    assert runner.cause(internals + '  File "/a b/Snakefile", line 31, in <module>\n') == "Data folder x is not there."
    assert runner.cause("\nwords\n") == "words" and runner.cause("") == "Snakemake ended without a word"


def test_the_sentence_of_a_failed_job_is_last_and_the_exit_code_says_so(project: Path) -> None:
    code, lines = run(fresh(project), FAILING="02_train-teacher-small_half-s0")
    assert code == 1 and len(lines) < 20
    assert lines[-1] == "error: train teacher-small_half-s0: The loss is no longer finite; lower the learning rate."
    assert "The log: runs/quick/log.txt" in lines[-2]
    assert any("FAILED  train teacher-small_half-s0" in line for line in lines)


def test_behind_that_sentence_make_adds_its_own_line_alone(tmp_path: Path) -> None:
    """The real Makefile; in the place of Python a program that does as a failed job does, or a failed check."""
    told = 'echo "error: A sentence." >&2; exit 1'
    (tmp_path / "python").write_text(f'#!/bin/sh\n[ "$2" = "$FAILS" ] || exit 0\n{told}\n')
    (tmp_path / "python").chmod(0o755)
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    for fails, code in (("params/quick.yaml", 2), ("--check", 2), ("nothing", 0)):
        done = subprocess.run(
            ["make", "-o", "setup", f"BIN={tmp_path}", "study"],
            cwd=ROOT,
            env=plain | {"FAILS": fails},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (done.stdout + done.stderr).splitlines()
        assert done.returncode == code and lines[:1] == ["error: A sentence."] * bool(code), lines
        assert len(lines) == 2 * bool(code) and all(re.fullmatch(r"make: \*\*\* \[.*\] Error 1", s) for s in lines[1:])
    assert "last but for make's own line\n(`make: *** […] Error 1`)" in (ROOT / "README.md").read_text()


def test_a_job_killed_without_a_word_is_named(project: Path) -> None:
    code, lines = run(fresh(project), DYING="01_data")
    assert code == 1 and lines[-1].startswith("error: data 01_data: killed before it could say why")


def test_a_workflow_that_cannot_start_is_one_sentence_from_the_log(project: Path) -> None:
    before = (project / "Snakefile").read_text()
    (project / "Snakefile").write_text("rule all:\n    input: 'nowhere.txt'\n")
    code, lines = run(project)
    (project / "Snakefile").write_text(before)
    assert code == 1 and len(lines) < 8
    assert lines[-1].startswith("error: MissingInputException") and "nowhere.txt" in lines[-1]
    assert "runs/quick/log.txt" in lines[-2]


def test_an_unknown_study_is_one_sentence(project: Path) -> None:
    code, lines = run(project, study="nowhere")
    assert code == 1 and len(lines) == 1 and lines[0].startswith("error: Study file params/nowhere.yaml not found")


def test_nothing_runs_on_behind_an_error_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fresh(project) / "params" / "quick.yaml"
    call = runner.Run(load_study(file), file, ["--cores", "1"], runner.Screen(io.StringIO()), project)
    monkeypatch.setenv("PYTHONPATH", str(project))
    monkeypatch.setenv("LASTING", "01_data")
    monkeypatch.setattr(runner.Run, "look", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call.run(["study=quick"])
    assert not running_in(project)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_stopped_nothing_runs_on_and_the_next_call_goes_on(project: Path, sign: signal.Signals) -> None:
    process = start(fresh(project), LASTING="02_train-teacher-small_half-s0")
    assert process.stdout is not None
    said = ""
    while "start   train teacher-small_half-s0" not in said:
        said += process.stdout.readline()
    process.send_signal(sign)
    rest, _ = process.communicate(timeout=50)
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "Stopped; the same command goes on from here. The log: runs/quick/log.txt"
    assert not running_in(project)
    code, lines = run(project)
    assert code == 0 and "train teacher-small_half-s0" in "\n".join(lines)


def test_of_two_calls_at_once_one_says_who_is_at_work_and_the_other_is_not_disturbed(
    project: Path, undisturbed: dict[str, str]
) -> None:
    fresh(project)
    both = [start(project) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    (winner,) = [one for one, process in enumerate(both) if process.returncode == 0]
    assert both[1 - winner].returncode == 1 and "start " not in said[1 - winner]
    last = said[1 - winner].splitlines()[-1]
    assert last.startswith(f"error: Study folder {project / 'runs' / 'quick'} is in use by another process (")
    assert f"({both[winner].pid} on " in last
    assert "THE TABLE of quick" in said[winner] and written(project) == undisturbed
    assert run(project)[1][1].startswith("Nothing to be done")


def test_a_study_killed_as_a_whole_goes_on_where_it_was(project: Path, undisturbed: dict[str, str]) -> None:
    """As a machine that loses its power does; that a killed training ends bit-equal is in test_training.py."""
    process = start(fresh(project), LASTING="02_train-teacher-small_half-s0")
    assert process.stdout is not None
    said = ""
    while "start   train teacher-small_half-s0" not in said or "done    data 01_data" not in said:
        said += process.stdout.readline()
    for _ in range(100):  # Snakemake, its jobs, and what they may have started meanwhile
        for pid in (alive := running_in(project)):
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if not alive:
            break
        time.sleep(0.05)
    process.communicate(timeout=50)
    assert process.returncode == -signal.SIGKILL and not running_in(project)
    code, lines = run(project)
    text = "\n".join(lines)
    assert code == 0 and "done    train teacher-small_half-s0" in text and "start   data 01_data" not in text
    assert written(project) == undisturbed
    assert run(project)[1][1].startswith("Nothing to be done")


def test_a_terminal_has_one_line_that_changes(project: Path) -> None:
    fresh(project)
    master, slave = pty.openpty()
    command = [sys.executable, "notebooks/run.py", "params/quick.yaml", "--rehearse", "--", "--cores", "2"]
    environment = os.environ | {"PYTHONPATH": str(project), "LASTING": "02_train-teacher-small_half-s0"}
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    said, until = b"", time.monotonic() + 120
    try:
        while b"3/9" not in said and time.monotonic() < until:
            said += os.read(master, 4096)
        assert b"\r\x1b[K" in said and b"train teacher-small_half-s0 3/9, joint, 0.5, 00:07 left" in said
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(OSError):  # the other end is closed
            while os.read(master, 4096):
                pass
        process.wait(60)
        os.close(master)


# --------------------------------------------------------------------------------------------------- reports of jobs


def test_reports_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with job("unwatched") as progress:
        progress("1/2")
    monkeypatch.setenv("P2P_JOBS", str(tmp_path / "jobs"))
    with job("first") as progress:
        progress("1/2")
        assert read_jobs(tmp_path / "jobs")["first"]["state"] == "running"
        assert read_jobs(tmp_path / "jobs")["first"]["progress"] == "1/2"
    with pytest.raises(ZeroDivisionError), job("second"):
        raise ZeroDivisionError("by zero")
    (tmp_path / "jobs" / "half.json").write_text("{")
    found = read_jobs(tmp_path / "jobs")
    assert [(name, record["state"]) for name, record in found.items()] == [("first", "done"), ("second", "failed")]
    assert found["second"]["sentence"] == "ZeroDivisionError: by zero"
    assert sentence(UserError("One sentence.")) == "One sentence." and sentence(KeyboardInterrupt()) == "stopped"


def test_a_job_that_cannot_report_does_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("P2P_JOBS", str(tmp_path / "file" / "jobs"))
    with job("first") as progress:
        progress("1/2")


# -------------------------------------------------------------------------------------------------------- make setup

PYTHON = """#!/bin/bash
echo "python $*" >> calls
if [[ "$*" == "-m venv .venv" ]]; then
    mkdir -p .venv/bin; cp "$0" .venv/bin/python
elif [[ "$*" == *"pip"*" install uv"* ]]; then
    [[ $FAKE_UV == no ]] && exit 1
    printf '#!/bin/bash\\necho "uv $*" >> calls\\n[[ $FAKE_UV != fails ]]\\n' > .venv/bin/uv; chmod +x .venv/bin/uv
elif [[ $* == *"-m pip"* && $FAKE_PIP == fails ]]; then
    echo "no such package" >&2; exit 1
fi
"""


def setup(tmp_path: Path, *more: str, **variables: str) -> tuple[int, list[str], str]:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")} | variables
    command = ["make", "setup", "PYTHON=./python", *more]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    calls = (tmp_path / "calls").read_text().splitlines()
    return done.returncode, [call for call in calls if " install " in call], done.stdout + done.stderr


def test_setup_uses_uv(tmp_path: Path) -> None:
    code, calls, said = setup(tmp_path)
    assert code == 0 and (tmp_path / ".venv/.ready").exists()
    assert "pip" in calls[0] and " install uv>=" in calls[0]
    assert [call.split()[0] for call in calls[1:]] == ["uv", "uv"] and calls[1].endswith("-r requirements.lock")
    assert len(said.splitlines()) == 1 and "TORCH_INDEX" in said


@pytest.mark.parametrize("uv", ["no", "fails"])
def test_setup_uses_pip_where_uv_cannot(tmp_path: Path, uv: str) -> None:
    code, calls, _ = setup(tmp_path, FAKE_UV=uv)
    pip = [call for call in calls[1:] if call.startswith("python -m pip")]
    assert code == 0 and [call.split(" install ")[1] for call in pip] == [
        "--no-deps -r requirements.lock",
        "--no-deps -e .",
    ]


def test_setup_that_fails_is_not_ready(tmp_path: Path) -> None:
    code, _, said = setup(tmp_path, FAKE_UV="no", FAKE_PIP="fails")
    assert code != 0 and "no such package" in said and not (tmp_path / ".venv/.ready").exists()


def test_torch_index_takes_pytorch_from_there_and_leaves_the_gpu_libraries_out(tmp_path: Path) -> None:
    code, calls, said = setup(tmp_path, "TORCH_INDEX=https://example.org/cpu")
    assert code == 0 and "https://example.org/cpu" in said
    pins = dict(re.findall(r"^(torch|torchvision)==([^ ;\n]+)", (ROOT / "requirements.lock").read_text(), re.M))
    assert calls[1].endswith(
        f"--index-url https://example.org/cpu torch=={pins['torch']} torchvision=={pins['torchvision']}"
    )
    assert calls[2].endswith("-r .venv/cpu.lock") and "index-url" not in calls[2]
    whole, left = ((tmp_path / name).read_text().splitlines() for name in ("requirements.lock", ".venv/cpu.lock"))
    gone = [line for line in whole if line not in left]
    assert all(re.match(r"(nvidia-|cuda-|triton=|torch=|torchvision=)", line) for line in gone) and len(gone) > 15
    assert not any("nvidia" in line for line in left) and any(line.startswith("torch") for line in gone)
