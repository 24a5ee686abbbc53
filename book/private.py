"""The small book of a private study: what came out, the images, and which files there are."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import nbformat
from stage import EVERYWHERE, stage_notebook
from studies import BookError

from p2p.errors import UserError
from p2p.files import read_json
from p2p.study.checksums import check_file
from p2p.study.pages import escape

PAGES = {"12_own": "index", "01_data": "images"}
TABLES = {
    "accuracy.csv": "how often each network is right",
    "prototypes.csv": "the student's prototypes: class, training image, box in pixels",
}
FILES = """\
# Files

**Question.** Where is what, and what was asked for?

Networks and their histories are in `runs/{name}/`, numbers and the executed notebook of each training in
`results/{name}/`, which git ignores. Nothing of this study is part of the published book.

{tables}

## The study file

`params/{name}.yaml`, as it was when these pages were drawn. Edit it and give the same command again.

{yaml}
"""


def stage_own(name: str, prose: Path, results: Path, source: Path) -> str:
    """Fill the empty folder `source` with all that jupyter-book needs for one private study; return its title as HTML.

    Args:
        name: Of the study.
        prose: Folder of the book's prose, for its configuration and style.
        results: Folder of the studies' results.
        source: To be filled.

    Raises:
        BookError: The study has no page of its own yet.
    """
    folder = results / name
    try:
        facts = read_json(check_file(folder, "own.json"), "run it again (make own)")
        notebooks = {target: check_file(folder, f"{step}.ipynb") for step, target in PAGES.items()}
    except UserError as error:
        raise BookError(f"Study '{name}' cannot be shown as a private one: {error}") from None
    source.mkdir(parents=True)
    for target, notebook in notebooks.items():
        stage_notebook(notebook, source / f"{target}.ipynb", target)
        _drop_parameters(source / f"{target}.ipynb")
    (source / "files.md").write_text(_files(name, facts, prose.parent, results, source), encoding="utf-8")
    shown = html.escape(str(facts["title"]))  # the theme shows it as it is
    title = json.dumps(shown, ensure_ascii=False)
    config = (prose / "_config.yml").read_text(encoding="utf-8")
    config = re.sub(r"^(title|    html_title): .*$", lambda found: f"{found[1]}: {title}", config, flags=re.M)
    (source / "_config.yml").write_text(config, encoding="utf-8")
    (source / "references.bib").touch()  # the configuration names it
    shutil.copytree(prose / "_ext", source / "_ext", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "_extra").mkdir()
    (source / "_static").mkdir()
    for path in [*sorted((prose / "_static").glob("*.css")), *filter(Path.is_file, [prose / "_static" / EVERYWHERE])]:
        shutil.copy2(path, source / "_static" / path.name)
    toc = {"format": "jb-book", "root": "index", "chapters": [{"file": "images"}, {"file": "files"}]}
    (source / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")
    return shown


def reachable(page: str) -> str:
    """The text of an HTML page whose outputs with pictures, which scroll on a phone, can be reached by the keyboard."""
    output = '<div class="cell_output docutils container"'
    return re.sub(rf"{output}(?=>(?:(?!</div>).)*<img)", f'{output} tabindex="0"', page, flags=re.S)


def _drop_parameters(page: Path) -> None:
    """Leave out the cells of parameters: the page of files shows the study file that they come from."""
    notebook = nbformat.read(page, as_version=4)
    told = {"parameters", "injected-parameters"}
    kept = [cell for cell in notebook.cells if not told & set(cell.metadata.get("tags", []))]
    notebook.cells = [cell for cell in kept if not cell.source.startswith("## Parameters")]
    nbformat.write(notebook, page)


def _files(name: str, facts: dict[str, object], root: Path, results: Path, source: Path) -> str:
    """The page of files; the tables it offers are copied beside it."""
    runs = facts["runs"]
    student = next((run for run in runs if str(run).startswith("student-")), "") if isinstance(runs, list) else ""
    places = {
        "accuracy.csv": results / name / "accuracy.csv",
        "prototypes.csv": root / "runs" / name / str(student) / "prototypes.csv",
    }
    lines = []
    for file, path in places.items():
        if path.is_file():
            shutil.copy2(path, source / file)
            lines.append(f"- {{download}}`{file} <{file}>`: {escape(TABLES[file])}")
    asked = root / "params" / f"{name}.yaml"
    text = asked.read_text(encoding="utf-8") if asked.is_file() else "# it is gone"
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", text)), default=2)
    ticks = "`" * (longest + 1)
    block = f"{ticks}{{code-block}} yaml\n{text.rstrip()}\n{ticks}"
    return FILES.format(name=name, tables="\n".join(lines), yaml=block)
