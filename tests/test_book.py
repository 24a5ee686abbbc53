"""book/build.py: the table of contents, the staged notebooks, and a tiny book built for real."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from p2p.evaluation.claims import CLAIMS
from p2p.study.checksums import seal
from p2p.study.pages import escape, option, table

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"book_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


build = load(BOOK / "build.py")
docstrings = load(BOOK / "_ext" / "plain_docstrings.py")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><path d="M0 0 L20 20"/></svg>'


def write_notebook(path: Path, title: str) -> None:
    notebook = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "bar"}
    notebook.cells = [
        new_markdown_cell(f"# {title}\n\nWith $d$; see {{numref}}`fig-x` and {{numref}}`Table %s <tab-x>`."),
        new_code_cell("1", outputs=[new_output("display_data", data=widget)], execution_count=1),
        new_code_cell("2", metadata={"tags": ["show-input"]}, execution_count=2),
        new_markdown_cell("```{figure} curve.svg\n:name: fig-x\n:alt: A line\nA line.\n```"),
        new_markdown_cell(":::{table} Numbers\n:name: tab-x\n```{include} table.md\n```\n:::"),
    ]
    nbformat.write(notebook, path)


def write_study(folder: Path, order: int, title: str, **more: str) -> None:
    folder.mkdir(parents=True)
    facts = {"study": folder.name, "title": title, "order": order, "intro": "Nothing but a test.", "images": "drawn"}
    facts |= more
    (folder / "study.json").write_text(json.dumps(facts))
    (folder / "metrics.csv").write_text("study,value\nx,1\n")
    (folder / "table.md").write_text("| a |\n|---|\n| 1 |\n")
    (folder / "curve.svg").write_text(SVG)
    (folder / "findings.md").write_text(f"Found in {escape(title)}; see [the table](./04_table.ipynb).\n")
    names = (
        "07_gallery",
        "04_table",
        "01_data",
        "05_tau",
        "02_train-student-s1",
        "02_train-teacher-s0",
        "03_evaluate-a-s0",
    )
    for name in names:
        write_notebook(folder / f"{name}.ipynb", f"Page {name}")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    write_study(folder / "late", 2, "Late")
    write_study(folder / "quick", 1, "Quick")
    (folder / "unfinished").mkdir()  # no study.json: not in the book
    return folder


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    folder = tmp_path / "prose"
    folder.mkdir()
    for name in ("_config.yml", "references.bib"):
        shutil.copy2(BOOK / name, folder / name)
    for name in ("_static", "_ext"):
        shutil.copytree(BOOK / name, folder / name)
    (folder / "index.md").write_text("# Tiny\n\n## Found\n\n<!-- findings -->\n\n[How to](howto.md), $x^2$\n")
    (folder / "howto.md").write_text("# How to\n\n## Read the result files\n\nText.\n")
    return folder


def test_toc_orders_prose_studies_and_runs(results: Path) -> None:
    toc = build.make_toc(["index", "api", "howto", "method", "speed"], build.find_studies(results))
    assert toc["root"] == "index"
    assert [part["caption"] for part in toc["parts"]] == ["The study", "Quick", "Late", "Reference"]
    assert [chapter["file"] for chapter in toc["parts"][0]["chapters"]] == ["method", "howto", "speed"]
    assert [chapter["file"] for chapter in toc["parts"][3]["chapters"]] == ["api"]
    chapters = toc["parts"][1]["chapters"]
    expected = ["index", "04_table", "05_tau", "07_gallery", "01_data", "runs"]
    assert [chapter["file"] for chapter in chapters] == [f"studies/quick/{name}" for name in expected]
    assert [(run["file"].rpartition("/")[2], run["title"]) for run in chapters[-1]["sections"]] == [
        ("02_train-student-s1", "Training: student-s1"),
        ("02_train-teacher-s0", "Training: teacher-s0"),
        ("03_evaluate-a-s0", "Evaluation: a-s0"),
    ]


def test_landing_page_sets_the_claims_of_all_studies_side_by_side(results: Path) -> None:
    head = "claim,setting,metric,n_seeds,difference,low,high,p_holm,delta,detectable,verdict\n"
    rows = [
        "one,a-b,pms,3,0.0778,0.06,0.09,0.001,0.02,0.01,supported",
        "two,a-b,top1,3,-0.0777,-0.1,-0.05,0.004,0.01,0.01,contradicted",
        "three,a-b,ajs_quarter,0,,,,,0.02,,inconclusive",
    ]
    (results / "quick" / "claims.csv").write_text(head + "\n".join(rows) + "\n")
    (results / "quick" / "findings.md").write_text(
        "PMS is [0.34](./04_table.ipynb).\n\nThe claims:\n\n- one: *supported*\n"
    )
    text = build.landing_findings(build.find_studies(results))
    cells = re.findall(r"^(?:\* -|  -) (.+)$", text, re.M)
    assert cells[:4] == ["study (images)", "PMS", "AJS", "top-1"]
    assert cells[4] == "[Quick](studies/quick/04_table.ipynb) (drawn; 3 seeds)"
    assert cells[5:] == ["✓ +0.078", "?", "✗ \u22120.078"]
    assert "[0.34](studies/quick/04_table.ipynb)" in text and "one: *supported*" not in text
    assert "studies/late/findings.md" in text  # no claims: its findings in full
    (results / "quick" / "claims.csv").write_text(head + "new,a-b,unheard_of,3,0.5,0.4,0.6,0.001,0.02,0.01,supported\n")
    assert "  - unheard_of\n" in build.landing_findings(build.find_studies(results))  # nothing is left out in silence
    (results / "quick" / "claims.csv").write_text("claim,setting,metric,n_seeds,verdict\nold,a-b,pms,3,reproduced\n")
    old = build.landing_findings(build.find_studies(results))
    assert "tab-claims" not in old and build.OUTDATED in old and build.OUTDATED not in text


def test_schedule_page_sets_few_passes_beside_many(results: Path) -> None:
    assert "No study in this copy" in build.budget_tables(build.find_studies(results))
    head = 'triple,role,passes,seed,chosen,"top-1, validation","top-1, after push",top-1,R²,PMS,"PMS, permuted"\n'
    rows = ["a,student,3,0,False,0.5,0.2,0.4,0.5,0.3,0.2", "a,student,3,1,False,0.5,0.4,0.6,0.6,0.3,0.2"]
    rows += ["a,baseline,40,0,True,0.5,0.25,0.5,,0.25,0.2", "b,student,3,0,False,0.5,0.9,0.9,0.9,0.9,0.2"]
    (results / "quick" / "budget.csv").write_text(head + "\n".join(rows) + "\n")
    text = build.budget_tables(build.find_studies(results))
    cells = re.findall(r"^(?:\* -|  -) (.+)$", text, re.M)
    assert cells[:6] == ["network", "joint passes", "R²", "PMS", "top-1, after push", "top-1"]
    assert cells[6:12] == ["student", "3", "0.550", "0.300", "0.300", "0.500"]
    assert cells[12:] == ["baseline", "40 (the study)", "–", "0.250", "0.250", "0.500"]


def test_every_claim_has_a_heading_on_the_landing_page() -> None:
    assert set(build.HEADINGS) == {claim.metric for claim in CLAIMS}


def test_damaged_study_and_stray_notebook_are_told_in_one_sentence(results: Path) -> None:
    (results / "quick" / "study.json").write_text('{"title": "Quick"}')
    with pytest.raises(build.BookError, match=r"quick/study\.json.*order"):
        build.find_studies(results)
    (results / "quick" / "study.json").unlink()
    write_notebook(results / "late" / "Untitled.ipynb", "?")
    with pytest.raises(build.BookError, match=r"Untitled\.ipynb.*rename"):
        build.find_studies(results)


def test_a_damaged_file_is_left_out_and_named_and_the_rest_of_the_book_is_drawn(
    results: Path, prose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "late" / "05_tau.ipynb").write_text('{"cells": [')
    (results / "late" / "claims.csv").write_text("")
    (results / "late" / "metrics.csv").write_text("study,value\nx,2\n")
    seal(results / "late", "04_table", ["metrics.csv", "findings.md"])
    (results / "late" / "metrics.csv").write_text("study,value\n")
    (results / "late" / "findings.md").write_text("Found in")
    build.stage(prose, results, tmp_path / "src")
    said = capsys.readouterr().err
    for name in ("05_tau.ipynb", "claims.csv", "metrics.csv", "findings.md"):
        assert f"late/{name} is damaged" in said and "`make study STUDY=late` makes it again" in said
    assert "quick/" not in said
    page = nbformat.read(tmp_path / "src" / "studies" / "late" / "05_tau.ipynb", as_version=4)
    assert page.cells[0].source.startswith("# 05_tau") and "damaged" in page.cells[0].source
    text = (tmp_path / "src" / "studies" / "late" / "index.md").read_text()
    assert "`findings.md` of this study is damaged" in text and "metrics.csv" not in text
    assert not (tmp_path / "src" / "studies" / "late" / "metrics.csv").exists()
    landing = (tmp_path / "src" / "index.md").read_text()
    assert "`findings.md` of this study is damaged" in landing and "studies/quick/findings.md" in landing


def test_staged_notebook_has_own_labels_collapsed_code_and_no_widgets(results: Path, tmp_path: Path) -> None:
    build.stage_notebook(results / "quick" / "04_table.ipynb", tmp_path / "out.ipynb", "quick-04_table")
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert "{numref}`quick-04_table-fig-x`" in cells[0].source
    assert "{numref}`Table %s <quick-04_table-tab-x>`" in cells[0].source
    assert ":name: quick-04_table-fig-x" in cells[3].source
    assert cells[1].metadata.tags == ["hide-input"] and cells[1].outputs == []
    assert cells[2].metadata.tags == ["show-input"]


def test_labels_of_prose_are_left_alone() -> None:
    texts = ["(a)=\n# A\n\n{ref}`a`, {ref}`here <a>`, [](#a), {ref}`b`, a word\n\n$$ x $$ (eq-1)\n\n{eq}`eq-1`"]
    expected = "(p-a)=\n# A\n\n{ref}`p-a`, {ref}`here <p-a>`, [](#p-a), {ref}`b`, a word\n\n"
    expected += "$$ x $$ (p-eq-1)\n\n{eq}`p-eq-1`"
    assert build.own_labels(texts, "p") == [expected]


def test_docstrings_are_read_as_plain_text() -> None:
    lines = [
        "|A_T ∩ A_S| of 2 * x and `b_`, *very* near x_",
        "  :func:`f` and ``c``",
        "  k: K.",
        ".. math::",
        "",
        "   a*b",
        "",
        "* d",
    ]
    assert docstrings.plain(lines) == [
        "\\|A_T ∩ A_S\\| of 2 \\* x and ``b_``, *very* near x\\_",
        *("  :func:`f` and ``c``", "  k: K\\.", ".. math::", "", "   a*b", "", "* d"),
    ]


ODD = "<b>|x|</b> [x](y) {{s}} $z$ *a* `c` www.example.org # :::"  # nothing of it is markup, wherever a study says it
INTRO = f"# No *heading* of `code`\n\n<script>alert(1)</script> ::: {{ref}}`nowhere`\n- **no list** [x](y) {ODD[:10]}"


def odd_notebook(path: Path) -> None:
    """As notebooks show what a person has named: a caption, a cell, a figure's text and its alternative."""
    shown = table(pd.DataFrame({"weights": [escape(ODD)], "n": ["1"]}), f"Of {escape(ODD)}.", "tab-odd")
    shown += f"\n:::{{figure}} curve.svg\n:name: fig-odd\n:alt: {option(ODD)}\n\nOf *{escape(ODD)}*.\n:::\n"
    notebook = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    output = new_output("display_data", data={"text/markdown": shown, "text/plain": "x"})
    notebook.cells = [new_markdown_cell("# Odd page"), new_code_cell("1", outputs=[output], execution_count=1)]
    nbformat.write(notebook, path)


def test_what_a_study_says_is_shown_as_it_is(prose: Path, results: Path, tmp_path: Path) -> None:
    write_study(results / "odd", 0, ODD, intro=INTRO, images=ODD)
    head = "claim,setting,metric,n_seeds,difference,low,high,p_holm,delta,detectable,verdict\n"
    (results / "odd" / "claims.csv").write_text(head + "one,a-b,pms,3,0.0778,0.06,0.09,0.001,0.02,0.01,supported\n")
    odd_notebook(results / "odd" / "05_tau.ipynb")
    assert build.main(["-W", "--prose", str(prose), "--results", str(results), "--output", str(tmp_path / "out")]) == 0
    html = tmp_path / "out" / "_build" / "html"
    for page in ("index", "studies/odd/index", "studies/odd/runs", "studies/odd/05_tau"):
        text = (html / f"{page}.html").read_text()
        assert unescape(text).count(ODD) >= 2, page  # in the page, and in the list of all pages beside it
        assert "<b>|x|" not in text and "<script>alert" not in text and 'href="y' not in text, page
    first = (html / "studies" / "odd" / "index.html").read_text()
    assert "# No <em>heading</em> of <code" in first and "- <strong>no list</strong> [x](y) &lt;b&gt;|x|&lt;/b" in first


def test_tiny_book_builds_without_a_warning_and_every_link_leads_somewhere(
    prose: Path, results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["-W", "--prose", str(prose), "--results", str(results), "--output", str(tmp_path / "out")]) == 0
    html = tmp_path / "out" / "_build" / "html"
    assert str(html / "index.html") in capfd.readouterr().out
    landing = (html / "index.html").read_text()
    assert landing.index("Found in Quick") < landing.index("Found in Late")
    assert "studies/late/04_table.html" in landing
    page = (html / "studies" / "quick" / "05_tau.html").read_text()
    assert "Show the code" in page and 'alt="A line"' in page
    assert re.search(r"Figure \d+\.\d+", page)
    assert (html / "_static" / "mathjax" / "output" / "svg" / "fonts" / "tex.js").exists()
    assert list((html / "_downloads").rglob("metrics.csv"))
    assert build.check_html(html) == []
    # the check itself must be able to fail
    (html / "bad.html").write_text('<a href="gone.html">x</a><script src="https://example.org/a.js"></script>')
    assert build.check_html(html) == [
        "bad.html: gone.html does not exist",
        "bad.html: loads https://example.org/a.js from the network",
    ]


def test_warning_fails_a_strict_build(prose: Path, tmp_path: Path) -> None:
    (prose / "howto.md").write_text("# How to\n\n{ref}`nowhere`\n")
    assert (
        build.main(["--prose", str(prose), "--results", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 1
    )


def test_every_module_is_named_in_the_list_of_functions() -> None:
    text = (BOOK / "api.md").read_text()
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "p2p").rglob("*.py")]
    modules = {".".join(path.parts) for path in paths if not path.name.startswith("_")}
    assert modules - set(re.findall(r"p2p(?:\.\w+)+", text)) == set()
    assert set(re.findall(r"automodule:: (p2p(?:\.\w+)+)", text)) - modules == set()
