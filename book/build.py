"""Draw the book: stage prose and results, write the table of contents, run jupyter-book, check the pages.

    python book/build.py [--results results] [--output book] [--no-strict]

The book computes nothing. It shows the prose pages of this folder and, for every folder of `--results`
that has a `study.json` ({"study", "title", "order", "intro"}), the executed notebooks and result files in it.
The pages are staged in `<output>/_build/src`; the book is `<output>/_build/html/index.html`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # see JUPYTER_BOOK; nbformat's import, too

import nbformat

from p2p.errors import UserError
from p2p.study.checksums import check_file
from p2p.study.jobs import job
from p2p.study.pages import escape, prose

BOOK = Path(__file__).resolve().parent
FIRST = (
    "method",
    "schedule",
    "data",
    "howto",
    "built",
    "cluster",
    "reproductions",
)  # prose in reading order; other pages follow in alphabet order
LAST = ("api", "bibliography")
MAIN = (
    "table",
    "tau",
    "topk",
    "gallery",
    "cost",
    "data",
)  # pages of a study in reading order; others follow by number
COPIED = {".csv", ".json", ".svg", ".png", ".jpg", ".md", ".txt", ".bib"}
KINDS = {"train": "Training", "evaluate": "Evaluation"}
HEADINGS = {  # of the metrics of claims.csv, in the order of the landing page; others follow by their names
    "pms": "PMS",
    "ajs_quarter": "AJS",
    "same_index": "same number",
    "aap_quarter": "AAP nearer",
    "top1_push": "top-1 after push",
    "top1": "top-1",
    "top1_teacher_head": "top-1, teacher's head",
}
VERDICTS = {"supported": "✓", "contradicted": "✗", "no effect that matters": "≈", "inconclusive": "?"}  # else: –
NOTEBOOK = re.compile(r"(\d+)_([A-Za-z0-9]+)(?:-(.+))?")
# jsonschema would build this grammar of web addresses, a second of work, and does without if it is not there.
JUPYTER_BOOK = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyter_book.cli.main import main; main()"
COMPLAINT = re.compile(r"(?:\bWARNING|\bERROR|\bCRITICAL|^\w*(?:Error|Exception)): *(.*)")
CODE_TAGS = {"hide-input", "hide-cell", "remove-input", "remove-cell", "show-input"}


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
    """The studies under `results`, by their `order` and then by name.

    Raises:
        BookError: A study.json cannot be read or lacks a key, or a notebook is not named NN_name[-run].ipynb.
    """
    studies = [read_study(path) for path in sorted(results.glob("*/study.json"))]
    return sorted(studies, key=lambda study: (study.order, study.name))


def read_study(path: Path) -> Study:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        title, order, intro = str(facts["title"]), float(facts["order"]), str(facts["intro"])
        listed = facts.get("runs")  # notebooks of runs that the study no longer has are left out
    except (ValueError, KeyError, TypeError) as error:
        expected = 'expected a JSON object with "study", "title", "order" (a number) and "intro"'
        raise BookError(f"{path}: {error!r}; {expected}; let the workflow write it again.") from error
    pages: list[tuple[int, int, str]] = []
    runs: list[tuple[int, str]] = []
    for notebook in sorted(path.parent.glob("*.ipynb")):
        match = NOTEBOOK.fullmatch(notebook.stem)
        if match is None:
            raise BookError(
                f"{notebook}: a notebook of a study is named NN_name.ipynb or NN_name-run.ipynb; rename it."
            )
        number, kind, run = int(match[1]), match[2], match[3]
        if run and listed is not None and run not in listed:
            continue
        if run or kind in KINDS:
            runs.append((number, notebook.stem))
        else:
            pages.append((MAIN.index(kind) if kind in MAIN else len(MAIN), number, notebook.stem))
    names = [*(f"{stem}.ipynb" for *_, stem in pages), *(f"{stem}.ipynb" for _, stem in runs)]
    names += sorted(file.name for file in path.parent.iterdir() if file.suffix in (".csv", ".md"))
    return Study(
        damaged=tuple(name for name in names if is_damaged(path.parent, name)),
        name=path.parent.name,
        title=title,
        order=order,
        intro=intro,
        images=str(facts.get("images", "")),
        folder=path.parent,
        pages=tuple(stem for *_, stem in sorted(pages)),
        runs=tuple(stem for _, stem in sorted(runs)),
    )


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
        print(f"book: {what} It is left out; `make study STUDY={folder.name}` makes it again.", file=sys.stderr)
        return True
    return False


def run_title(stem: str) -> str:
    """`02_train-r18-student-s0` is shown as `Training: r18-student-s0`."""
    match = NOTEBOOK.fullmatch(stem)
    assert match is not None  # read_study let no other name through
    kind = KINDS.get(match[2], match[2].capitalize())
    return f"{kind}: {match[3]}" if match[3] else kind


def make_toc(prose: list[str], studies: list[Study]) -> dict[str, Any]:
    """The table of contents: the prose, one part a study, the reference pages."""
    middle = sorted(set(prose) - {"index", *FIRST, *LAST})
    opening = [name for name in FIRST if name in prose] + middle
    closing = [name for name in LAST if name in prose]
    parts: list[dict[str, Any]] = []
    if opening:
        parts.append({"caption": "The study", "numbered": 1, "chapters": [{"file": name} for name in opening]})
    for study in studies:
        base = f"studies/{study.name}"
        chapters: list[dict[str, Any]] = [{"file": f"{base}/index", "title": "Overview"}]
        chapters += [{"file": f"{base}/{stem}"} for stem in study.pages]
        if study.runs:
            runs = [{"file": f"{base}/{stem}", "title": run_title(stem)} for stem in study.runs]
            chapters.append({"file": f"{base}/runs", "title": "All runs", "sections": runs})
        parts.append({"caption": study.title, "numbered": 1, "chapters": chapters})
    if closing:
        parts.append({"caption": "Reference", "numbered": 1, "chapters": [{"file": name} for name in closing]})
    return {"format": "jb-book", "root": "index", "parts": parts}


def own_labels(texts: list[str], prefix: str) -> list[str]:
    """Give the labels defined in one notebook a prefix, so that twenty runs of one source do not clash."""
    definition = re.compile(r"(^\(|^:?(?:name|label):[ \t]*|\$\$[ \t]*\()([\w:.-]+)(?=\)=|[ \t]*$|\)[ \t]*$)", re.M)
    labels = {match[2] for text in texts for match in definition.finditer(text)}
    if not labels:
        return texts
    any_label = "|".join(sorted(map(re.escape, labels), key=len, reverse=True))
    use = re.compile(rf"(\{{(?:ref|numref|eq)\}}`(?:[^`<]*<)?|\]\(#?)({any_label})(?=[>`)])")
    texts = [definition.sub(lambda m: f"{m[1]}{prefix}-{m[2]}", text) for text in texts]
    return [use.sub(lambda m: f"{m[1]}{prefix}-{m[2]}", text) for text in texts]


def stage_notebook(source: Path, target: Path, prefix: str) -> None:
    """Copy an executed notebook: code collapsed, widgets (they need a server) dropped, labels its own."""
    notebook = nbformat.read(source, as_version=4)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.setdefault("language_info", {"name": "python", "pygments_lexer": "ipython3"})
    markdown: list[tuple[Any, str]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            markdown.append((cell, "source"))
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.setdefault("tags", [])
        if not CODE_TAGS & set(tags):
            tags.append("hide-input")
        widget = "application/vnd.jupyter.widget-view+json"
        cell.outputs = [output for output in cell.outputs if widget not in output.get("data", {})]
        for output in cell.outputs:
            if "text/markdown" in output.get("data", {}):
                markdown.append((output.data, "text/markdown"))
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if "name" in figure:
            figure["name"] = f"{prefix}-{figure['name']}"
    texts = own_labels([holder[key] for holder, key in markdown], prefix)
    for (holder, key), text in zip(markdown, texts, strict=True):
        holder[key] = text
    nbformat.write(notebook, target)


def fence(lines: list[str], name: str, argument: str) -> str:
    return "\n".join([f"```{{{name}}} {argument}", *lines, "```", ""])


def findings(study: Study, base: str) -> str:
    """The `{include}` of a study's findings.md, or a sentence; `base` is "" or "studies/x/"."""
    if "findings.md" in study.damaged:
        return DAMAGED.format(name="findings.md", study=study.name)
    if not (study.folder / "findings.md").exists():
        return "This study has no summary of findings yet; its pages hold what has been run.\n"
    return fence([":relative-images:", ":relative-docs: ."], "include", f"{base}findings.md")


OUTDATED = (
    "*The verdicts of this study were made by an earlier rule, after a schedule too short for a student to follow its "
    "teacher; they speak about that schedule and will be replaced.*\n"
)


DAMAGED = "*The file `{name}` of this study is damaged and left out; `make study STUDY={study}` makes it again.*\n"


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def has_claims(study: Study) -> bool:
    return (study.folder / "claims.csv").exists() and "claims.csv" not in study.damaged


def read_claims(study: Study) -> list[dict[str, str]]:
    return csv_rows(study.folder / "claims.csv")


def outdated(claims: list[dict[str, str]]) -> bool:
    """Whether claims were judged before studies declared a smallest effect of interest."""
    return not claims or "delta" not in claims[0]


def claims_table(studies: list[Study]) -> str:
    """Every study's verdict on every claim, from its claims.csv; nothing where no study has one."""
    rows: list[tuple[str, dict[str, str]]] = []
    for study in studies:
        if not has_claims(study):
            continue
        claims = read_claims(study)
        if outdated(claims):
            continue
        settings = list(dict.fromkeys(claim["setting"] for claim in claims))
        for setting in settings:
            mine = [claim for claim in claims if claim["setting"] == setting]
            seeds = max(int(claim["n_seeds"]) for claim in mine)
            which = f", {setting}" if len(settings) > 1 else ""
            link = f"[{escape(study.title)}](studies/{study.name}/04_table.ipynb){which}"
            rows.append((f"{link} ({escape(study.images)}; {seeds} seeds)", {c["metric"]: claim_cell(c) for c in mine}))
    if not rows:
        return ""
    told = dict.fromkeys(metric for _, cells in rows for metric in cells)
    metrics = [metric for metric in {**HEADINGS, **told} if metric in told]
    lines = [":header-rows: 1", ":name: tab-claims", ":class: claims", ""]
    lines += ["* - study (images)", *(f"  - {HEADINGS.get(metric, metric)}" for metric in metrics)]
    for link, cells in rows:
        lines += [f"* - {link}", *(f"  - {cells.get(metric, '–')}" for metric in metrics)]
    caption = (
        "The claims, study by study: ✓ supported, ✗ contradicted, ≈ no effect that matters, ? inconclusive, – not "
        "decided at this budget. The number is student minus baseline, similarities corrected for chance; of AAP, by "
        "how much the student is nearer to the teacher's number of active patches, as a share of it."
    )
    return fence(lines, "list-table", caption)


def claim_cell(claim: dict[str, str]) -> str:
    verdict = VERDICTS.get(claim["verdict"], "–")
    if not claim["difference"]:
        return verdict
    return f"{verdict} {float(claim['difference']):+.3f}".replace("-", "\u2212")


def landing_findings(studies: list[Study]) -> str:
    """The part of the landing page that quotes each study's findings."""
    if not studies:
        return "No study has been run in this copy yet: `make study` runs the quick one and draws the book.\n"
    found = [study for study in studies if (study.folder / "findings.md").exists()]
    parts = [claims_table(studies)]
    for study in found:
        base = f"studies/{study.name}"
        parts.append(f"### [{escape(study.title)}]({base}/index.md)\n")
        # with claims, the rest is in the table above and on the study's own page
        if has_claims(study) and "findings.md" not in study.damaged:
            whole = (study.folder / "findings.md").read_text(encoding="utf-8").strip().split("\n\n")
            shown = itertools.takewhile(lambda paragraph: not paragraph.endswith(":"), whole)
            parts.append("\n\n".join(shown).replace("](./", f"]({base}/") + "\n")
            parts += [OUTDATED] if outdated(read_claims(study)) else []
        else:
            parts.append(findings(study, f"{base}/"))
    rest = [f"[{escape(study.title)}](studies/{study.name}/index.md)" for study in studies if study not in found]
    if rest:
        parts.append(("Also in this book: " if found else "In this book: ") + ", ".join(rest) + ".\n")
    return "\n".join(parts)


def budget_tables(studies: list[Study]) -> str:
    """Of every study with other budgets a table: what baseline and student reach by the number of joint passes."""
    shown = ("R²", "PMS", "top-1, after push", "top-1")
    parts = []
    for study in studies:
        file = study.folder / "budget.csv"
        if not file.is_file() or file.name in study.damaged:
            continue
        rows = csv_rows(file)
        first = [row for row in rows if row["triple"] == rows[0]["triple"]]
        lines = [":header-rows: 1", f":name: tab-budget-{study.name}", "", "* - network", "  - joint passes"]
        lines += [f"  - {head}" for head in shown]
        for role, passes in dict.fromkeys((row["role"], row["passes"]) for row in first):
            mine = [row for row in first if (row["role"], row["passes"]) == (role, passes)]
            lines += [f"* - {role}", f"  - {passes}{' (the study)' if mine[0]['chosen'] == 'True' else ''}"]
            for head in shown:
                values = [float(row[head]) for row in mine if row[head]]
                lines.append(f"  - {sum(values) / len(values):.3f}" if values else "  - –")
        link = f"[{study.title}](studies/{study.name}/04_table.ipynb)"
        caption = f"{link}, {study.images}: means over the seeds of each row; R² and accuracies on test images."
        parts.append(fence(lines, "list-table", caption))
    return "\n".join(parts) or "No study in this copy has been run with other budgets.\n"


def page_title(study: Study, stem: str) -> str:
    notebook = study.folder / f"{stem}.ipynb"
    if notebook.name in study.damaged:
        return stem
    for cell in nbformat.read(notebook, as_version=4).cells:
        match = re.search(r"^# +(.+)$", cell.source, re.M) if cell.cell_type == "markdown" else None
        if match:
            return match[1].strip()
    raise BookError(f"{notebook}: no title; its first markdown cell should begin with '# Title'.")


def study_page(study: Study) -> str:
    """The index page of a study: its intro, its findings, its pages and its result files."""
    lines = [
        f"# {escape(study.title)}",
        "",
        prose(study.intro),
        "",
        "## What it finds",
        "",
        findings(study, ""),
        "## Pages",
        "",
    ]
    lines += [f"- [{page_title(study, stem)}]({stem}.ipynb)" for stem in study.pages]
    if study.runs:
        lines.append(f"- [All runs](runs.md): {len(study.runs)} executed notebooks, one a training or evaluation")
    tables = sorted(path.name for path in study.folder.iterdir() if path.suffix == ".csv")
    tables = [name for name in tables if name not in study.damaged]
    tables += [name for name in ("provenance.json",) if (study.folder / name).exists()]
    if tables:
        lines += [
            "",
            "## Result files",
            "",
            "Every number and figure of this part is drawn from these files; their",
        ]
        lines += [
            "columns are explained in [Read the result files](../../howto.md#read-the-result-files).",
            "",
        ]
        lines += [f"- {{download}}`{name} <{name}>`" for name in tables]
    return "\n".join([*lines, ""])


def runs_page(study: Study) -> str:
    lines = [f"# All runs of {escape(study.title)}", ""]
    lines += [
        "One executed notebook for every network that was trained and every triple that was evaluated: the",
        "",
    ]
    lines[-1] = "parameters it ran with, its history, its checks. Each can be downloaded from its page."
    lines += ["", *(f"- [{run_title(stem)}]({stem}.ipynb)" for stem in study.runs), ""]
    return "\n".join(lines)


def stage(prose: Path, results: Path, source: Path) -> None:
    """Fill the empty folder `source` with everything jupyter-book needs.

    Raises:
        BookError: index.md is missing, or a study cannot be read.
    """
    if not (prose / "index.md").exists():
        raise BookError(f"{prose}: no index.md, the landing page; give the folder that holds the book's prose.")
    studies = find_studies(results)
    source.mkdir(parents=True)
    pages = sorted(path for path in prose.glob("*.md") if path.name != "README.md")
    for path in [*pages, prose / "_config.yml", prose / "references.bib"]:
        shutil.copy2(path, source / path.name)
    for name, mark, content in (("index", "findings", landing_findings), ("schedule", "budgets", budget_tables)):
        if (page := source / f"{name}.md").exists():
            text = page.read_text(encoding="utf-8")
            page.write_text(text.replace(f"<!-- {mark} -->", content(studies)), encoding="utf-8")
    if (prose / "images").is_dir():
        shutil.copytree(prose / "images", source / "images")
    if (prose.parent / "profiles" / "slurm").is_dir():  # the page "On a cluster" includes its files
        shutil.copytree(prose.parent / "profiles" / "slurm", source / "profiles" / "slurm")
    shutil.copytree(prose / "_ext", source / "_ext", ignore=shutil.ignore_patterns("__pycache__"))
    # jupyter-book loads every script of _static on every page, so what a page loads by itself (MathJax) goes
    # another way to the same place; style sheets are meant for every page.
    extra = source / "_extra"
    extra.mkdir()
    (source / "_static").mkdir()
    for path in sorted(p for p in (prose / "_static").rglob("*") if p.is_file()):
        root = source if path.suffix == ".css" else extra
        target = root / "_static" / path.relative_to(prose / "_static")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    for study in studies:
        stage_study(study, source, extra)
    toc = make_toc([path.stem for path in pages], studies)
    (source / "_toc.yml").write_text(json.dumps(toc, indent=1, ensure_ascii=False), encoding="utf-8")


def stage_study(study: Study, source: Path, extra: Path) -> None:
    folder = source / "studies" / study.name
    folder.mkdir(parents=True)
    sites = [path.parent for path in study.folder.glob("*/index.html")]  # small sites, such as the explorer
    for site in sites:
        shutil.copytree(site, extra / "studies" / study.name / site.name)
    for path in sorted(p for p in study.folder.rglob("*") if p.is_file() and p.suffix in COPIED):
        relative = path.relative_to(study.folder)
        if any(part.startswith(".") for part in relative.parts) or any(site in path.parents for site in sites):
            continue
        if relative.as_posix() in study.damaged:
            continue
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / relative)
    for stem in [*study.pages, *study.runs]:
        if f"{stem}.ipynb" in study.damaged:
            text = DAMAGED.format(name=f"{stem}.ipynb", study=study.name)
            empty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {stem}\n\n{text}")])
            nbformat.write(empty, folder / f"{stem}.ipynb")
            continue
        stage_notebook(study.folder / f"{stem}.ipynb", folder / f"{stem}.ipynb", f"{study.name}-{stem}")
    (folder / "index.md").write_text(study_page(study), encoding="utf-8")
    if study.runs:
        (folder / "runs.md").write_text(runs_page(study), encoding="utf-8")


class Links(HTMLParser):
    """Collects `follows` (href of a) and `loads` (what the browser fetches by itself) of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.follows: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value}
        if tag == "a" and "href" in values:
            self.follows.append(values["href"])
        if tag == "link" and "href" in values and values.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(values["href"])
        self.loads += [values[key] for key in ("src", "data") if key in values and tag != "a"]


def check_html(html: Path) -> list[str]:
    """Faults of built pages: relative links to missing files, and whatever is loaded from the network."""
    faults = []
    for page in sorted(html.rglob("*.html")):
        if page.relative_to(html).parts[0] == "_static":  # templates that the theme leaves there, not pages
            continue
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        where = page.relative_to(html)
        for url in sorted({*links.follows, *links.loads}):
            parts = urlsplit(url)
            if parts.netloc and url in links.loads:
                faults.append(f"{where}: loads {url} from the network")
            elif not parts.scheme and not parts.netloc and parts.path:
                target = page.parent / unquote(parts.path)
                if not target.exists():
                    faults.append(f"{where}: {url} does not exist")
    return faults


def build(prose: Path, results: Path, output: Path, strict: bool = True) -> Path:
    """Stage, build and check; return the landing page.

    Raises:
        BookError: jupyter-book failed, or the pages have faults (strict).
    """
    place = output / "_build"
    source, html = place / "src", place / "html"
    for folder in (source, html, place / ".doctrees"):  # a page of a study that is gone must not stay behind
        shutil.rmtree(folder, ignore_errors=True)
    stage(prose, results, source)
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(source)]
    command += ["--path-output", str(output), "-n", "--keep-going", *(["-W"] if strict else [])]
    path = os.pathsep.join(filter(None, [str(BOOK.parent), os.environ.get("PYTHONPATH")]))
    complaints = []
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            plain = re.sub(r"\x1b\[[\d;]*m", "", line).strip().replace(f"{source}/", "")
            complaints += [plain] if COMPLAINT.search(plain) else []
    if process.returncode:
        found = complaints[0] if complaints else f"it ended with exit code {process.returncode}"
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        raise BookError(f"jupyter-book did not build the book: {found}{more}")
    faults = check_html(html)
    for fault in faults:
        print(f"book: {fault}", file=sys.stderr)
    if faults and strict:
        raise BookError(f"{faults[0]}; {len(faults)} such faults in {html}.")
    return html / "index.html"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the book from the prose pages and the result files.")
    parser.add_argument("--results", type=Path, default=BOOK.parent / "results", help="folder of result folders")
    parser.add_argument("--output", type=Path, default=BOOK, help="the book is <output>/_build/html (default: book)")
    parser.add_argument("--prose", type=Path, default=BOOK, help="folder of the prose pages and _config.yml")
    parser.add_argument(
        "-W",
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a warning is an error (default)",
    )
    options = parser.parse_args(arguments)
    try:
        with job("book"):
            print(build(options.prose.resolve(), options.results.resolve(), options.output.resolve(), options.strict))
    except BookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
