"""What the book is made of, staged as the folder that jupyter-book reads.

The book computes nothing. It shows the prose of `book/`, the executed notebooks over all studies, and for every folder
of results that has a `study.json` ({"study", "title", "order", "intro"}) its executed notebooks and result files.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from explorer import explorer, has_explorer
from in_page import in_page
from pages import (
    DAMAGED,
    archive_page,
    budget_tables,
    landing,
    networks_table,
    pictured,
    search_tables,
    study_page,
    summary,
)
from studies import BookError, Study, find_studies, page_title, run_facts, run_title

from p2p.study.pages import escape

BOOK = Path(__file__).resolve().parent
PARTS = {  # of the book, and their pages in reading order: files of book/, or notebooks 2x_ and 3x_<name>.py
    "Understand": ("pictures", "worked", "method", "glossary"),
    "Results": (
        *("summary", "claims", "handed", "accuracy", "recipe", "looks", "parts", "explorer"),
        *("cost", "metrics", "audit", "controls", "limits"),
    ),
    "Use it": ("tour", "install", "own", "explain", "try", "take", "change", "cluster"),
    "Reference": ("faq", "data", "reproductions", "api", "archive"),
}
BELOW = {  # pages that the sidebar shows below another, lest it list forty; some are none of PARTS, which is printed
    "method": ("glossary",),
    "summary": ("claims",),
    "accuracy": ("schedule", "searches"),
    "recipe": ("trees", "today"),
    "looks": ("parts", "explorer"),
    "metrics": ("audit", "controls"),
    "install": ("cluster", "faq"),
    "take": ("try", "explain"),
    "change": ("built",),
    "data": ("files",),
    "reproductions": ("bibliography",),
}
EVERYWHERE = "edges.js"  # the script of every page
COPIED = {".csv", ".json", ".svg", ".png", ".jpg", ".txt", ".bib"}
CODE_TAGS = {"hide-input", "hide-cell", "remove-input", "remove-cell", "show-input"}
# What the loader of weights prints of a file's last layers, which no network here has: nothing that a reader misses.
UNUSED = re.compile(r"^.*(?:: not used from |; not used: \d+ tensors? behind the cut).*\n?", re.M)
HIDDEN = {"orphan": True, "nosearch": True}  # a page that the archive alone leads to


def make_toc(pages: Iterable[str], studies: list[Study]) -> dict[str, Any]:
    """The table of contents: four parts, and under the last the studies that train nothing, such as speed.

    Pages and runs of the other studies are in none: the archive and the pages of questions lead to them.
    """
    known, parts = set(pages), []
    below = [name for chapter, names in BELOW.items() for name in names if chapter in known]
    others = sorted(known.difference({"index"}, *PARTS.values(), below))
    for caption, names in PARTS.items():
        chapters: list[dict[str, Any]] = [{"file": name} for name in names if name in known and name not in below]
        if caption == "Reference":
            measured = [
                {
                    "file": f"studies/{study.name}/index",
                    "sections": [{"file": f"studies/{study.name}/{stem}"} for stem in study.pages],
                }
                for study in studies
                if not study.runs
            ]
            chapters[2:2] = [*({"file": name} for name in others if "/" not in name), *measured]
        for chapter in chapters:
            under = [name for name in others if name.startswith(f"{chapter['file']}/")]
            under += [name for name in BELOW.get(chapter["file"], ()) if name in known]
            if under:
                chapter["sections"] = [{"file": name} for name in under]
        if chapters:
            parts.append({"caption": caption, "chapters": chapters})
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


def stage_notebook(source: Path, target: Path, prefix: str, title: str = "", below: str = "") -> None:
    """Copy an executed notebook: code collapsed, widgets (they need a server) dropped, labels its own.

    Args:
        source: The executed notebook.
        target: Its staged copy.
        prefix: Of its labels.
        title: In place of its own; the page is then one that only the archive leads to.
        below: A line under that title.
    """
    notebook = nbformat.read(source, as_version=4)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.setdefault("language_info", {"name": "python", "pygments_lexer": "ipython3"})
    if title:
        notebook.metadata.update(HIDDEN)
        opening = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
        heading = rf"# {escape(title)}" if title else r"\g<0>"
        opening.source = re.sub(
            r"^# .+$", lambda m: f"{heading if title else m[0]}\n\n{below}", opening.source, count=1, flags=re.M
        )
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
            if output.get("name") == "stdout":
                output.text = UNUSED.sub("", output.text)
        cell.outputs = [output for output in cell.outputs if output.get("text") != "" and not _says_nothing(output)]
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/markdown" in data:
                markdown.append((output.data, "text/markdown"))
            if "image/svg+xml" in data and "<image" not in data["image/svg+xml"]:  # drawn, no photographs in it
                cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["classes"] = "lines"
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if "name" in figure:
            figure["name"] = f"{prefix}-{figure['name']}"
    texts = own_labels([holder[key] for holder, key in markdown], prefix)
    for (holder, key), text in zip(markdown, texts, strict=True):
        holder[key] = text
    nbformat.write(notebook, target)


def _says_nothing(output: Any) -> bool:
    """Whether an output is an empty markdown text, in whose place the page would show the name of a Python object."""
    return output.get("data", {}).get("text/markdown") == ""


def api_pages(source: Path) -> None:
    """Split `api.md`, a list of modules, into a page a module."""
    page = source / "api.md"
    if not page.is_file():
        return
    opening, *sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)
    (source / "api").mkdir()
    links = []
    for section in sections:
        title, _, text = section.partition("\n")
        name = re.sub(r"[^a-z0-9]+", "-", re.sub(r"`.*?`", "", title).lower()).strip("-")
        (source / "api" / f"{name}.md").write_text(f"# {title.strip()}\n{text}", encoding="utf-8")
        links.append(f"- [{title.strip()}](api/{name}.md)")
    links += ["", "All names: {ref}`genindex`; all modules: {ref}`modindex`."]
    page.write_text(opening + "\n".join([*links, ""]), encoding="utf-8")


def stage_code(source: Path, package: Path) -> None:
    """Write the functions that pages include, each without its docstring, as `code/<module>.<function>.py`.

    A page names one by `{literalinclude} code/losses.cluster.py`; so the method's page shows the lines that run.

    Args:
        source: The staged folder, its prose in it.
        package: Folder of the modules.

    Raises:
        BookError: A page names a function that is not there.
    """
    wanted = {
        (match[1], match[2], page.name)
        for page in sorted(source.glob("*.md"))
        for match in re.finditer(r"\{literalinclude\} code/(\w+)\.([\w.]+)\.py", page.read_text(encoding="utf-8"))
    }
    for module, name, page in sorted(wanted):
        path = package / f"{module}.py"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        node: Any = ast.parse(text)
        for part in name.split("."):
            node = next((each for each in getattr(node, "body", []) if getattr(each, "name", "") == part), None)
        if node is None:
            raise BookError(f"{page} shows the code of {module}.{name}, which is not in {path}; correct its name.")
        lines, first = text.splitlines(), node.body[0]
        told = range(first.lineno - 1, first.end_lineno) if ast.get_docstring(node) is not None else range(0)
        kept = [lines[n] for n in range(node.lineno - 1, node.end_lineno) if n not in told]
        (source / "code").mkdir(exist_ok=True)
        shown = textwrap.dedent("\n".join(kept)).strip()
        (source / "code" / f"{module}.{name}.py").write_text(f"{shown}\n", encoding="utf-8")


def stage(prose: Path, results: Path, source: Path, drawn: Path) -> None:
    """Fill the empty folder `source` with everything jupyter-book needs.

    Args:
        prose: Folder of the prose and the configuration.
        results: Folder of the studies' results.
        source: To be filled.
        drawn: Folder of the executed notebooks over all studies, and of what they left beside them.

    Raises:
        BookError: index.md is missing.
    """
    if not (prose / "index.md").exists():
        raise BookError(f"{prose}: no index.md, the landing page; give the folder that holds the book's prose.")
    studies = find_studies(results)
    source.mkdir(parents=True)
    pages = sorted(path for path in prose.glob("*.md") if path.name != "README.md")
    for path in [*pages, prose / "_config.yml", prose / "references.bib"]:
        shutil.copy2(path, source / path.name)
    shutil.copytree(drawn, source / "drawn", ignore=shutil.ignore_patterns("*.ipynb", "*.md", "checksums"))
    for notebook in sorted(drawn.glob("*.ipynb")):
        name = notebook.stem.partition("_")[2]
        stage_notebook(notebook, source / f"{name}.ipynb", name)
    marks = {"index": ("landing", landing(studies, drawn)), "schedule": ("budgets", budget_tables(studies))}
    marks["searches"] = ("searches", search_tables(results))
    marks["data"] = ("networks", networks_table(prose.parent / "networks"))
    marks["explorer"] = ("explorer", explorer(studies))
    marks["summary"] = ("summary", summary(drawn))
    extra = source / "_extra"
    if (prose / "try.md").exists():
        marks["try"] = ("try", in_page(prose.parent / "networks", studies, extra))
    for name, (mark, content) in marks.items():
        if (page := source / f"{name}.md").exists():
            text = page.read_text(encoding="utf-8")
            page.write_text(text.replace(f"<!-- {mark} -->", content), encoding="utf-8")
    stage_code(source, BOOK.parent / "p2p")
    (source / "archive.md").write_text(archive_page(studies), encoding="utf-8")
    api_pages(source)
    if (prose / "images").is_dir():
        shutil.copytree(prose / "images", source / "images")
    if (prose.parent / "profiles" / "slurm").is_dir():  # the page "On a cluster" includes its files
        shutil.copytree(prose.parent / "profiles" / "slurm", source / "profiles" / "slurm")
    shutil.copytree(prose / "_ext", source / "_ext", ignore=shutil.ignore_patterns("__pycache__"))
    # jupyter-book loads every script of _static on every page, so what a page loads by itself (MathJax) goes
    # another way to the same place; style sheets and EVERYWHERE are meant for every page.
    extra.mkdir(exist_ok=True)
    (source / "_static").mkdir()
    for path in sorted(p for p in (prose / "_static").rglob("*") if p.is_file()):
        root = source if path.suffix == ".css" or path.name == EVERYWHERE else extra
        target = root / "_static" / path.relative_to(prose / "_static")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    own = pictured(studies)
    for compact in ((own.folder if own else drawn) / "one-image-compact.svg", drawn / "forest-compact.svg"):
        if compact.is_file():  # the first page shows it on a phone, see build.mend
            (extra / "_images").mkdir(exist_ok=True)
            shutil.copy2(compact, extra / "_images" / compact.name)
    for study in studies:
        stage_study(study, source, extra)
    known = [
        path.relative_to(source).with_suffix("").as_posix()
        for path in source.rglob("*")
        if path.suffix in (".md", ".ipynb")
    ]
    toc = make_toc([name for name in known if not name.startswith(("studies/", "profiles/", "_"))], studies)
    (source / "_toc.yml").write_text(json.dumps(toc, indent=1, ensure_ascii=False), encoding="utf-8")


def stage_study(study: Study, source: Path, extra: Path) -> None:
    folder = source / "studies" / study.name
    folder.mkdir(parents=True)
    if has_explorer(study):
        shutil.copytree(study.folder / "explorer", extra / "studies" / study.name / "explorer")
    for path in sorted(p for p in study.folder.rglob("*") if p.is_file() and p.suffix in COPIED):
        relative = path.relative_to(study.folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if relative.as_posix() in study.damaged:
            continue
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / relative)
    for stem in [*study.pages, *study.runs]:
        if f"{stem}.ipynb" in study.damaged:
            text = DAMAGED.format(name=f"{stem}.ipynb", study=study.name)
            empty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {stem}\n\n{text}")])
            empty.metadata.update(HIDDEN if study.runs else {})
            nbformat.write(empty, folder / f"{stem}.ipynb")
            continue
        title, below = "", ""
        if stem in study.runs:
            title = run_title(study, stem, run_facts(study, stem))
            below = f"*[{escape(study.title)}](index.md) · [Archive](../../archive.md)*"
        elif study.runs:
            title = f"{study.title} · {page_title(study, stem)}"
            home, others = f"[{escape(study.title)}](index.md)", "[Results](../../claims.ipynb)"
            below = f"*A page of the study {home}; side by side with others: {others}.*"
        stage_notebook(study.folder / f"{stem}.ipynb", folder / f"{stem}.ipynb", f"{study.name}-{stem}", title, below)
    (folder / "index.md").write_text(study_page(study), encoding="utf-8")
