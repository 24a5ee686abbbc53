"""Run a study: Snakemake in the background, what it does on the screen, its own words in a file.

    python notebooks/run.py params/quick.yaml [--use ALTERNATIVE] [--only TRIPLE] [--rehearse] -- --cores all

What follows `--` goes to Snakemake. Each job reports in a small file (`p2p.study.jobs`), on this machine or another;
they are read here, and a line is printed for each that starts and ends. The exit code is 0 only if everything was made.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from p2p.errors import UserError
from p2p.files import run_lock
from p2p.study.jobs import VARIABLE, read_jobs
from p2p.study.study import Study, load_study

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"data": "data", "train": "training", "evaluate": "evaluation", "page": "page", "book": "book"}  # rule: word
DRAWN = {
    "table": "page",
    "cost": "page",
    "own": "page",
    "share": "page",
}  # rules that draw a page and write tables, counted as pages
STEPS = {"01_data": "data", "02_train": "train", "03_evaluate": "evaluate", "book": "book"}  # notebook: rule; else page
DRAWING = {"data": 10.0, "page": 10.0, "evaluate": 15.0, "book": 45.0}  # seconds where nothing is recorded
EVERY = 0.5  # seconds between two looks
PATIENCE = 60.0  # seconds for Snakemake to take its jobs back, from a cluster too, before it is killed
CAUSES = (r"^error: (.+)", r"^\s*message: (.+)", r"^(\w*(?:Error|Exception)\b(?:.|\n(?!\n))+)")  # in a log, best first


class Stopped(Exception):
    """Ctrl-C, or a signal that asks to end."""


class Screen:
    """Lines that stay, and on a terminal one below them that changes."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.live, self.began = out, out.isatty(), time.monotonic()

    def line(self, text: str = "") -> None:
        self.out.write(f"{self._wipe()}{text}\n")
        self.out.flush()

    def event(self, text: str) -> None:
        self.line(f"{clock(time.monotonic() - self.began):>8}  {text}")

    def progress(self, text: str) -> None:
        if self.live:
            self.out.write(self._wipe() + text[: shutil.get_terminal_size().columns - 1])
            self.out.flush()

    def _wipe(self) -> str:
        return "\r\x1b[K" if self.live else ""


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def about(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def rule_of(name: str) -> str:
    return STEPS.get(name.split("-")[0], "page")


def shown(name: str) -> str:
    """`02_train-teacher-small_half-s0` is shown as `train teacher-small_half-s0`."""
    rule, (_, _, run) = rule_of(name), name.partition("-")
    return "book" if rule == "book" else f"{rule} {run if rule in ('train', 'evaluate') else name}"


# ------------------------------------------------------------------------------------------------ before and after


def cost_line(file: Path) -> str:
    """What a study file says of its own cost, its comment `# Cost:`."""
    found = re.search(r"^# Cost: *(.+(?:\n# {6,}.+)*)", file.read_text(), re.M)
    return " ".join(found[1].replace("\n#", " ").split()).rstrip(".") if found else ""


def recorded(study: Study, past: dict[str, dict[str, Any]], root: Path) -> dict[str, float]:
    """Seconds of jobs, where they are known: on this machine, or of the trainings whose results are kept."""
    found = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, or damaged: it is made again
        runs = json.loads((root / "results" / study.study / "provenance.json").read_text())["runs"]
        found = {f"02_train-{name}": float(record["hours"]) * 3600 for name, record in runs.items()}
    return found | {name: record["seconds"] for name, record in past.items() if record["state"] == "done"}


def plan(counts: dict[str, int], known: dict[str, float], lanes: int, file: Path) -> list[str]:
    """What will run and how long that should take.

    Args:
        counts: Jobs of each rule.
        known: Seconds of jobs, by name, as `recorded` gives them.
        lanes: Jobs that run at a time; 0 where a cluster decides that.
        file: Of the study.
    """
    parts = [f"{n} {KINDS[rule]}{'s' if n > 1 else ''}" for rule, n in counts.items() if rule in KINDS and n]
    what = "To run: " + ", ".join(parts).replace("1 data", "the data page").replace("1 book", "the book") + "."
    mean: dict[str, float] = dict(DRAWING)
    for rule in KINDS:
        times = [seconds for name, seconds in known.items() if rule_of(name) == rule]
        mean |= {rule: sum(times) / len(times)} if times else {}
    if counts.get("train") and "train" not in mean:
        said = cost_line(file)
        told = f"; {file.name} says: {said}." if said else "."
        return [what, f"Time: not known, no training of this study is recorded yet{told}"]
    work = {rule: mean[rule] * n for rule, n in counts.items() if rule in KINDS and n}
    last = work.pop("book", 0.0)
    longest = max((mean[rule] for rule in work), default=0.0)
    if not lanes:
        return [
            what,
            f"Time: about {about(sum(work.values()) + last)} of one machine, by the jobs recorded so far; less on several.",
        ]
    return [what, f"Time: about {about(max(sum(work.values()) / lanes, longest) + last)}, by the jobs recorded so far."]


def headline(name: str, study: str, root: Path) -> str:
    """The number that a finished job is about; nothing where it has none, or none that can be read."""
    rule, (_, _, run) = rule_of(name), name.partition("-")
    try:
        if rule == "train":
            outcome = json.loads((root / "runs" / study / run / "run.json").read_text())["outcome"]
            values = {"validation": outcome.get("validation"), "test": list(outcome["top1"].values())[-1]}
            values |= {"R²": outcome.get("r2")}
            return ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None)
        if rule == "evaluate":
            with (root / "results" / study / "evaluations" / f"{run}.csv").open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if row["role"] == "student" and row["stage"] == "tuned"]
            first = {row["metric"]: float(row["value"]) for row in reversed(rows) if not row["tau"]}
            return f"PMS {first['pms']:.3f} (images permuted {first['pms_permuted']:.3f})"
        if rule == "book":
            own = root / "book" / "_build" / f"own-{study}"
            pages = len(list(((own if own.is_dir() else own.parent) / "html").rglob("*.html")))
            return f"{pages} page{'s' * (pages > 1)}"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        pass
    return ""


def cause(log: str) -> str:
    """What Snakemake's log gives as the reason where no job has said any; its last line if nothing looks like one."""
    log = re.sub(r"\x1b\[[\d;]*m", "", log)
    log = re.sub(r'^WorkflowError in file .*?, line \d+:\n|^ *File ".*?", line \d+, in <module>$', "", log, flags=re.M)
    found = next((found for pattern in CAUSES if (found := re.findall(pattern, log, re.M))), log.split("\n"))
    told = " ".join(next((text for text in found if text.strip()), "Snakemake ended without a word").split())
    return told if len(told) <= 600 else f"{told[:600]} …"


# ---------------------------------------------------------------------------------------------------- while it runs


class Run:
    """One call of Snakemake for a study, watched until its end.

    Args:
        study: To run.
        file: That it was read from.
        more: Arguments for Snakemake.
        screen: Where lines go.
        root: Folder of the project.
    """

    def __init__(self, study: Study, file: Path, more: list[str], screen: Screen, root: Path = ROOT) -> None:
        self.study, self.file, self.more, self.screen, self.root = study, file, more, screen, root
        self.jobs, self.log = root / "runs" / study.study / ".jobs", root / "runs" / study.study / "log.txt"
        self.past = read_jobs(self.jobs)  # reports of earlier calls
        self.seen: dict[str, dict[str, Any]] = {}  # of this one
        self.planned = False

    def run(self, config: Iterable[str]) -> int:
        """Snakemake's exit code.

        Raises:
            Stopped: After everything has ended.
        """
        command = [sys.executable, "-m", "snakemake", *self.more, "--nolock", "--rerun-incomplete"]
        self.jobs.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:  # a session of its own: one signal then reaches Snakemake and all its jobs
            process = subprocess.Popen(
                [*command, "--config", *config],
                cwd=self.root,
                env=os.environ | {VARIABLE: str(self.jobs)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while process.poll() is None:
                self.look()
                time.sleep(EVERY)
            self.look()
        except BaseException as error:  # nothing is left running that nobody watches
            if isinstance(error, Stopped):
                self.screen.event("stopping what runs; Ctrl-C once more does not wait for it")
            for sign, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
                if ended(process, sign, seconds):
                    break
            raise
        finally:
            self.screen.progress("")
        return process.returncode

    def look(self) -> None:
        """Print what is new since the last look."""
        reports = read_jobs(self.jobs)
        self.planned = self.planned or self._plan()  # after the reports: what has begun was planned before
        for name, record in reports.items():
            if record["began"] == self.past.get(name, {}).get("began"):
                continue
            before = self.seen.get(name, {})
            self.seen[name] = record
            if before.get("began") != record["began"]:  # the first time, or sent again
                self.screen.event(f"start   {shown(name)}")
                before = {}
            if record["state"] != before.get("state", "running"):
                number = headline(name, self.study.study, self.root) if record["state"] == "done" else ""
                word = "done  " if record["state"] == "done" else "FAILED"
                self.screen.event(f"{word}  {shown(name)}, {clock(record['seconds'])}{number and ': ' + number}")
        running = [record for record in self.seen.values() if record["state"] == "running"]
        self.screen.progress("  |  ".join(f"{shown(r['job'])} {r['progress']}".strip() for r in running))

    def _plan(self) -> bool:
        """Print what will run, once Snakemake has written that to its log."""
        text = self.log.read_text(errors="replace")
        stats = re.search(r"^job +count\n[- ]+\n((?:\w+ +\d+\n)+)total ", text, re.M)
        if stats is None:
            return False
        numbers = {rule: int(n) for rule, n in re.findall(r"(\w+) +(\d+)", stats[1])}
        counts = {kind: sum(n for rule, n in numbers.items() if DRAWN.get(rule, rule) == kind) for kind in KINDS}
        cores = self.more[self.more.index("--cores") + 1] if "--cores" in self.more else "all"
        lanes = max(1, (int(cores) if cores.isdigit() else os.cpu_count() or 1) // self.study.threads)
        known = recorded(self.study, self.past, self.root)
        for line in plan(counts, known, 0 if "--profile" in self.more else lanes, self.file):
            self.screen.line(line)
        return True

    def failures(self) -> list[str]:
        """A sentence for each job that failed or was lost; Snakemake's own reason if no job has any."""
        told = [f"{shown(name)}: {r['sentence']}" for name, r in self.seen.items() if r["state"] == "failed"]
        lost = [shown(name) for name, r in self.seen.items() if r["state"] == "running"]
        told += [f"{name}: killed before it could say why; was there memory enough?" for name in lost]
        return told or [cause(self.log.read_text(errors="replace"))]


def ended(process: subprocess.Popen[bytes], sign: signal.Signals, seconds: float) -> bool:
    """Signal a process and all of its session; whether they have ended within so many seconds."""
    until = time.monotonic() + seconds
    try:
        os.killpg(process.pid, sign)
        while time.monotonic() < until:
            process.poll()  # a process that nobody asks for stays in its group
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        return True
    except Stopped:
        pass
    return False


def stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--use", default="", help="an alternative set of triples of the study")
    parser.add_argument("--only", default="", help="one triple of the study, the others left out")
    parser.add_argument("--rehearse", action="store_true", help="the study at a size of seconds")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    given, more = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    from execute import summary

    try:
        study = load_study(given.study, given.use, given.rehearse, given.only)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    screen = Screen(sys.stdout)
    run = Run(study, given.study, more, screen)
    log = run.log.relative_to(ROOT)
    screen.line(f"{study.title} ({given.study}); Snakemake's log: {log}")
    config = [f"study={given.study.stem}", f"use={given.use}", f"only={given.only}"]
    try:
        with run_lock(run.log.parent, "Study folder"):  # two calls would take each other's files away
            code = run.run([*config, f"rehearse={'1' if given.rehearse else ''}"])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped:
        print(f"Stopped; the same command goes on from here. The log: {log}", file=sys.stderr)
        return 130
    if code:
        *others, last = run.failures()[:6]
        notebooks = sorted((ROOT / "runs" / "failed" / study.study).glob("*.ipynb"))
        also = (
            f"; as far as they came: {', '.join(str(n.relative_to(ROOT)) for n in notebooks[:3])}" if notebooks else ""
        )
        told = [f"What is done is kept, and the same command goes on from there. The log: {log}{also}"]
        print("\n".join(["", *told, *(f"error: {sentence}" for sentence in (*others, last))]), file=sys.stderr)
        return 1
    if not run.planned:
        screen.line("Nothing to be done: every result and the book are up to date.")
    try:
        screen.line(summary(study) + f"The log:  {log}")
    except UserError as error:  # the table is damaged
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
