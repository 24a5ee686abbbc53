"""The Slurm profile: what each job asks for, that a failed job is sent again; and the GPU slots of one machine.

The real Snakefile and plugin in a copy of the project. Slurm's commands are stand-ins that run a job on the spot, so
that the tests need no Slurm; the page "On a cluster" says what was tried with the real one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_workflow

from p2p.study.reading import read_keys

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
assert SPEC and SPEC.loader
execute = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(execute)
PROFILE = read_keys(ROOT / "profiles" / "slurm" / "config.yaml")
SUBMITTED = {"data", "train", "evaluate", "table", "page", "explorer"}
ASKED_FOR = {"own", "share"}  # rules of studies that ask for them
STANDINS = {
    # The first training is lost before it does anything, like a job on a node that goes down.
    "sbatch": """#!/bin/bash
echo "$@" >> "$SLURM_LOG"
id=$(wc -l < "$SLURM_LOG")
state=COMPLETED
for argument in "$@"; do
    case $argument in
        --wrap=*) wrap=${argument#--wrap=} ;;
    esac
done
if [[ "$*" == *rule_train* && ! -e lost ]]; then
    touch lost
    state=FAILED
else
    SLURM_JOB_ID=$id bash -c "$wrap" > "job-$id.txt" 2>&1 || state=FAILED
fi
echo "$id|$state" >> states
echo $id
""",
    "srun": """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
exec "$@"
""",
    "squeue": "#!/bin/bash\ncat states 2> /dev/null\n",
    "sinfo": "#!/bin/bash\necho 'PARTITION main*'\n",
    "scontrol": "#!/bin/bash\necho 'MinJobAge = 300 sec'\n",
    "sacct": "#!/bin/bash\nexit 1\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("p2p", "notebooks", "params", "profiles"):
        shutil.copytree(ROOT / name, place / name, ignore=skipped)
    shutil.copy(ROOT / "Snakefile", place / "Snakefile")
    (place / "book").mkdir()
    for name in ("_config.yml", "references.bib", "index.md"):
        shutil.copy(ROOT / "book" / name, place / "book" / name)
    (place / "notebooks" / "execute.py").write_text(test_workflow.EXECUTE)
    (place / "book" / "build.py").write_text(test_workflow.BUILD)
    return place


def snakemake(place: Path, *more: str, path: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", *more, "--config", "study=quick"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    environment = kept | variables | {"PATH": path + os.environ["PATH"]}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_dry_run_shows_every_job_and_what_it_asks_for(project: Path) -> None:
    done = snakemake(project, "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stderr
    asked: dict[str, list[dict[str, str]]] = {}
    blocks = r"^(?:local)?rule (\w+):\n((?:    .*\n)+)(?:Shell command: (.*))?"
    for rule, text, command in re.findall(blocks, done.stdout, re.M):
        assert command.endswith(" --gpu") == (rule in ("train", "evaluate"))
        (line,) = re.findall(r"^    resources: (.*)$", text, re.M)
        asked.setdefault(rule, []).append(dict(pair.split("=", 1) for pair in line.split(", ")))
    assert set(asked) == SUBMITTED | {"book", "all"}
    assert {rule: len(asked[rule]) for rule in ("data", "train", "evaluate")} == {"data": 1, "train": 6, "evaluate": 2}
    for rule in SUBMITTED:
        wanted = PROFILE["default-resources"] | PROFILE["set-resources"].get(rule, {})
        assert {"runtime", "mem_mb"} <= wanted.keys()
        for job in asked[rule]:
            assert {key: job.get(key) for key in wanted} == {key: str(value) for key, value in wanted.items()}
    assert all(int(job["gpu"]) == 1 for rule in ("train", "evaluate") for job in asked[rule])
    assert not any("gpu" in job for rule in ("data", "table", "page", "book") for job in asked[rule])


def test_the_profile_names_rules_of_the_snakefile_and_restarts(project: Path) -> None:
    rules = set(re.findall(r"^rule (\w+):", (project / "Snakefile").read_text(), re.M))
    (local,) = re.findall(r"^localrules: (.*),$", (project / "Snakefile").read_text(), re.M)
    assert rules - set(local.split(", ")) == SUBMITTED | ASKED_FOR
    assert PROFILE["set-resources"].keys() <= SUBMITTED | ASKED_FOR
    assert PROFILE["retries"] > 0 and PROFILE["slurm-requeue"] is True and PROFILE["rerun-incomplete"] is True
    assert PROFILE["latency-wait"] >= 60


def test_jobs_reach_sbatch_and_a_lost_one_is_sent_again(project: Path) -> None:
    commands = project / "commands"
    commands.mkdir()
    for name, text in STANDINS.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    log = project / "sbatch.txt"
    targets = ("results/quick/01_data.ipynb", "runs/quick/teacher-small_half-s0/run.json")
    quick = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1")
    done = snakemake(project, *targets, *quick, path=f"{commands}:", SLURM_LOG=str(log))
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    training = [call for call in calls if "--comment rule_data" not in call]
    (data,) = set(calls) - set(training)
    assert "--mem 8000" in data and "-t 30" in data and "--gpus" not in data
    assert len(training) == 2  # the lost one, and again
    for call in training:
        assert "--comment rule_train_wildcards_teacher-small_half-s0" in call
        for option in ("--gpus=1", "--mem 16000", "-t 720", "--requeue", "--cpus-per-task=1", "--export=ALL"):
            assert option in call, option
    assert "Trying to restart job" in done.stderr
    assert (
        all((project / target).exists() for target in targets)
        and (project / "results/quick/02_train-teacher-small_half-s0.ipynb").exists()
    )


def test_each_parallel_run_gets_its_own_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUS", "3")
    monkeypatch.setenv("RUNS_PER_GPU", "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = (
        "import os, pathlib, sys; import execute\n"
        "with execute.gpu_slot(pathlib.Path(sys.argv[1])):\n"
        "    print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "notebooks")}

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, str(tmp_path)]
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def gpu(run: subprocess.Popen[str]) -> str:
        assert run.stdout
        return run.stdout.readline().strip()

    runs = []
    try:
        for _ in range(6):
            runs.append(start())
            runs[-1].gpu = gpu(runs[-1])  # type: ignore[attr-defined]
        taken = [run.gpu for run in runs]  # type: ignore[attr-defined]
        assert taken == ["0", "1", "2", "0", "1", "2"]  # every GPU before any is shared
        runs.append(start())
        runs[4].kill()  # a killed run leaves no lock behind: the waiting seventh takes its place
        assert gpu(runs[6]) == "1"
    finally:
        for run in runs:
            run.kill()
            run.communicate()


@pytest.mark.parametrize(
    "given", [{"GPUS": "0"}, {"GPUS": "1"}, {"GPUS": ""}, {"GPUS": "4", "CUDA_VISIBLE_DEVICES": "7"}]
)
def test_nothing_is_chosen_for_one_gpu_or_where_a_scheduler_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    with execute.gpu_slot(tmp_path / "slots"):
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == given.get("CUDA_VISIBLE_DEVICES")
    assert not (tmp_path / "slots").exists()


@pytest.mark.parametrize(("more", "expected"), [(["--gpu"], "0"), ([], "none")])
def test_only_a_job_that_asks_for_a_gpu_takes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], expected: str
) -> None:
    monkeypatch.setenv("GPUS", "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    seen = []
    monkeypatch.setattr(execute, "execute", lambda *_: seen.append(os.environ.get("CUDA_VISIBLE_DEVICES", "none")))
    monkeypatch.setattr(sys, "argv", ["execute.py", "a.py", "a.ipynb", "--parameters", "{}", *more])
    assert execute.main() == 0
    monkeypatch.setattr(sys, "argv", ["execute.py", "a.py", "a.ipynb", "--parameters", '{"device": "cpu"}', *more])
    assert execute.main() == 0
    assert seen == [expected, "none"] and "CUDA_VISIBLE_DEVICES" not in os.environ


def test_make_passes_gpus_times_runs_and_the_profile_instead_of_cores() -> None:
    def printed(*variables: str) -> str:
        command = ["make", "--dry-run", "--old-file=.venv/.ready", "study", *variables]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    here = printed("GPUS=4", "RUNS_PER_GPU=3", "CORES=8")
    assert "--cores 8 --resources gpu=$((4 * 3))" in here and "--profile" not in here
    there = printed("PROFILE=profiles/slurm")
    assert "--profile profiles/slurm" in there and "--cores" not in there and "gpu=" not in there
