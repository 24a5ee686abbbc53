"""The studies of a folder of results, and what their notebooks say of themselves."""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # see build.JUPYTER_BOOK; nbformat's import, too

import nbformat

from p2p.errors import UserError
from p2p.study.checksums import check_file, checksums, steps

MAIN = ("table", "tree", "topk", "gallery", "data")  # pages of a study in reading order; others follow by number
KINDS = {"train": "training", "evaluate": "evaluation"}
NOTEBOOK = re.compile(r"(\d+)_([A-Za-z0-9]+)(?:-(.+))?")


class BookError(UserError):
    """What is wrong with the files the book is made of, in one sentence."""


@dataclass(frozen=True)
class Study:
    """A folder of results: `pages` are the notebooks everyone reads, `runs` one a training or evaluation."""

    name: str
    title: str
    order: float
    intro: str
    images: str
    folder: Path
    pages: tuple[str, ...]
    runs: tuple[str, ...]
    damaged: tuple[str, ...] = ()  # names of files that are left out of the book, which says so in their place


def find_studies(results: Path) -> list[Study]:
    """The studies under `results`, by their `order` and then by name; one that cannot be read is said and left out."""
    found = []
    for path in sorted(results.glob("*/study.json")):
        try:
            found.append(read_study(path))
        except BookError as error:
            print(f"book: {error}", file=sys.stderr)
    return sorted(found, key=lambda study: (study.order, study.name))


def read_facts(path: Path) -> dict[str, Any]:
    """What a study.json says; `title`, `order` and `intro` are among it.

    Raises:
        BookError: It is damaged.
    """
    try:
        facts = json.loads(check_file(path.parent, path.name).read_text(encoding="utf-8"))
        return {**facts, "title": str(facts["title"]), "order": float(facts["order"]), "intro": str(facts["intro"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "not as it was written" if isinstance(error, UserError) else repr(error)
        raise BookError(
            f"{path} is damaged ({what}), and its study is left out; restore it, or let `{again(path.parent)}` make it "
            "again."
        ) from error


def read_study(path: Path) -> Study:
    """A study of the book.

    Raises:
        BookError: Its study.json is damaged.
    """
    facts, folder = read_facts(path), path.parent
    listed = facts.get("runs")  # notebooks of runs that the study no longer has are left out
    pages: list[tuple[int, int, str]] = []
    runs: list[tuple[int, str]] = []
    for notebook in sorted(folder.glob("*.ipynb")):
        match = NOTEBOOK.fullmatch(notebook.stem)
        if match is None:
            told = "a notebook of a study is named NN_name.ipynb or NN_name-run.ipynb; rename it, or move it elsewhere"
            print(f"book: {notebook} is left out: {told}.", file=sys.stderr)
            continue
        number, kind, run = int(match[1]), match[2], match[3]
        if run and listed is not None and run not in listed:
            continue
        if run or kind in KINDS:
            runs.append((number, notebook.stem))
        else:
            pages.append((MAIN.index(kind) if kind in MAIN else len(MAIN), number, notebook.stem))
    shown = [*(f"{stem}.ipynb" for *_, stem in pages), *(f"{stem}.ipynb" for _, stem in runs)]
    return Study(
        damaged=damaged_files(folder, shown),
        name=folder.name,
        title=facts["title"],
        order=facts["order"],
        intro=facts["intro"],
        images=str(facts.get("images", "")),
        folder=folder,
        pages=tuple(stem for *_, stem in sorted(pages)),
        runs=tuple(stem for _, stem in sorted(runs)),
    )


def damaged_files(folder: Path, shown: list[str]) -> tuple[str, ...]:
    """The damaged files of a study, among them the notebooks whose pictures are damaged: their pages show these.

    Args:
        folder: Of its results.
        shown: Its notebooks that the book shows.
    """
    sealed = {step: [name for name in checksums(folder, step) if (folder / name).is_file()] for step in steps(folder)}
    names = [*shown, *sorted(file.name for file in folder.iterdir() if file.suffix in (".csv", ".md"))]
    names += [name for found in sealed.values() for name in found if not name.endswith(".ipynb")]
    bad = [name for name in dict.fromkeys(names) if is_damaged(folder, name)]
    drawn = [step for step, found in sealed.items() if any(name.endswith(".svg") and name in bad for name in found)]
    return tuple(dict.fromkeys([*bad, *(f"{step}.ipynb" for step in drawn)]))


def is_damaged(folder: Path, name: str) -> bool:
    """Whether a result file cannot be read, or is not as its step wrote it; said where it is."""
    try:
        if not check_file(folder, name).stat().st_size:
            raise ValueError("nothing in it")
        if name.endswith(".ipynb"):
            nbformat.read(folder / name, as_version=4)
        elif name == "claims.csv":
            {int(claim["n_seeds"]) for claim in csv_rows(folder / name)}
    except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        what = str(error) if isinstance(error, UserError) else f"{folder / name} is damaged ({type(error).__name__})."
        print(f"book: {what} It is left out; `{again(folder, name)}` makes it again.", file=sys.stderr)
        return True
    return False


def again(folder: Path, name: str = "") -> str:
    """The command that makes a folder of results, or a file in it."""
    others = {"speed": "make speed", "search": f"make search STUDY={Path(name).stem}"}
    return others.get(folder.name, f"make study STUDY={folder.name}")


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def page_title(study: Study, stem: str) -> str:
    notebook = study.folder / f"{stem}.ipynb"
    if notebook.name in study.damaged:
        return stem
    for cell in nbformat.read(notebook, as_version=4).cells:
        match = re.search(r"^# +(.+)$", cell.source, re.M) if cell.cell_type == "markdown" else None
        if match:
            return match[1].strip()
    raise BookError(f"{notebook}: no title; its first markdown cell should begin with '# Title'.")


def run_facts(study: Study, stem: str) -> dict[str, Any]:
    """The parameters with which a run's notebook was executed; empty where it has no such cell."""
    if f"{stem}.ipynb" in study.damaged:
        return {}
    for cell in nbformat.read(study.folder / f"{stem}.ipynb", as_version=4).cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            found = {}
            for statement in ast.parse(cell.source).body:
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    try:
                        found[statement.targets[0].id] = ast.literal_eval(statement.value)
                    except ValueError:  # papermill's float("inf") and their like
                        continue
            return found
    return {}


def run_title(study: Study, stem: str, facts: dict[str, Any]) -> str:
    """ "cub-20 · student squeezenet1_1 ← mobilenet_v2-s3 · seed 3"; without facts the name of the run."""
    match = NOTEBOOK.fullmatch(stem)
    assert match is not None  # read_study let no other name through
    kind, run = KINDS.get(match[2], match[2]), match[3] or ""
    seed = f" · seed {facts['seed']}" if "seed" in facts else ""
    if "role" in facts and "network" in facts:
        role, variant = facts["role"], facts.get("variant", "paper")
        named = variant if role in ("control", "budget") else role if variant == "paper" else f"{role} {variant}"
        taught = " ← " + re.sub(r"^teacher-|-s\d+$", "", facts["teacher_run"]) if facts.get("teacher_run") else ""
        return f"{study.name} · {named} {facts['network']}{taught}{seed}"
    if "triple" in facts:
        return f"{study.name} · {kind} {facts['triple']}{seed}"
    return f"{study.name} · {kind} {run}".rstrip()
