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
from p2p.evaluation.settings import SHORT
from p2p.study.checksums import add_notebook, seal
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


sys.path.insert(0, str(BOOK))  # whence build.py takes the modules beside it
build = load(BOOK / "build.py")
import draw  # noqa: E402
import explorer  # noqa: E402
import pages  # noqa: E402
import pdf  # noqa: E402
import stage  # noqa: E402
import studies  # noqa: E402

docstrings = load(BOOK / "_ext" / "plain_docstrings.py")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><path d="M0 0 L20 20"/></svg>'


def write_notebook(path: Path, title: str) -> None:
    notebook = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "bar"}
    notebook.cells = [
        new_markdown_cell(f"# {title}\n\nWith $d$; see {{ref}}`fig-x` and {{ref}}`numbers <tab-x>`."),
        new_code_cell("1", outputs=[new_output("display_data", data=widget)], execution_count=1),
        new_code_cell("2", metadata={"tags": ["show-input"]}, execution_count=2),
        new_markdown_cell("```{figure} curve.svg\n:name: fig-x\n:alt: A line\nA line.\n```"),
        new_markdown_cell(":::{table} Numbers\n:name: tab-x\n\n| a |\n|---|\n| 1 |\n:::"),
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
        "06_topk",
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
    links = "[Install](install.md), [Archive](archive.md)"
    (folder / "index.md").write_text(f"# Tiny\n\n## Found\n\n<!-- landing -->\n\n{links}, $x^2$\n")
    (folder / "schedule.md").write_text("# What a short schedule does\n\n<!-- budgets -->\n")
    (folder / "reproductions.md").write_text("# Two independent reproductions\n")
    (folder / "searches.md").write_text("# How the recipes were found\n\n<!-- searches -->\n")
    (folder / "install.md").write_text("# Install\n\nText.\n")
    (folder / "explorer.md").write_text("# Which prototype is that?\n\n<!-- explorer -->\n")
    (folder / "method.md").write_text(
        "# Method\n\n## Measures of parts\n\nText.\n\n## Deletion and preservation\n\nText.\n"
    )
    (folder / "files.md").write_text("# The result files\n\nText.\n")
    return folder


def test_toc_has_four_parts_and_no_page_of_a_run(results: Path) -> None:
    shutil.rmtree(results / "late")
    write_study(results / "speed", 9, "Speed")
    for run in (results / "speed").glob("0[23]_*"):
        run.unlink()
    names = ["index", "api", "api/losses", "install", "change", "built", "method", "handed", "archive", "more"]
    toc = stage.make_toc(names, studies.find_studies(results))
    assert toc["root"] == "index"
    assert [part["caption"] for part in toc["parts"]] == ["Understand", "Results", "Use it", "Reference"]
    files = [[chapter["file"] for chapter in part["chapters"]] for part in toc["parts"]]
    assert files[:3] == [["method"], ["handed"], ["install", "change"]]
    assert toc["parts"][2]["chapters"][1]["sections"] == [{"file": "built"}]
    assert files[3] == ["api", "archive", "more", "studies/speed/index"]
    api, speed = toc["parts"][3]["chapters"][0], toc["parts"][3]["chapters"][3]
    assert api["sections"] == [{"file": "api/losses"}]
    names = [page["file"].rpartition("/")[2] for page in speed["sections"]]
    assert names == ["04_table", "06_topk", "07_gallery", "01_data"]


def test_the_sidebar_lists_what_the_eye_takes_in_and_the_rest_below() -> None:
    printed = [name for names in stage.PARTS.values() for name in names]
    below = [name for names in stage.BELOW.values() for name in names]
    toc = stage.make_toc(["index", *printed, *below], [])
    shown = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert len(shown) <= 22 and set(stage.BELOW) <= set(shown) and len(set(below)) == len(below)
    nested = [one["file"] for part in toc["parts"] for c in part["chapters"] for one in c.get("sections", [])]
    assert sorted([*shown, *nested]) == sorted({*printed, *below})
    alone = stage.make_toc(["index", "claims", "faq"], [])["parts"]  # without the page that they stand below
    assert [[chapter["file"] for chapter in part["chapters"]] for part in alone] == [["claims"], ["faq"]]


def with_parameters(path: Path, **values: object) -> None:
    """Give a notebook the cell that papermill would have put into it."""
    notebook = nbformat.read(path, as_version=4)
    source = "\n".join(f"{key} = {value!r}" for key, value in values.items())
    notebook.cells.insert(1, new_code_cell(source, metadata={"tags": ["injected-parameters"]}))
    nbformat.write(notebook, path)


def test_a_run_is_titled_by_what_it_is_and_stands_in_the_archive(results: Path) -> None:
    run = results / "quick" / "02_train-student-s1.ipynb"
    with_parameters(run, role="student", variant="paper", network="small_half", teacher_run="teacher-small-s1", seed=1)
    costs = "run,network,role,variant,seed,validation,test,hours\nstudent-s1,small_half,student,paper,1,0.5,0.25,0.1\n"
    (results / "quick" / "costs.csv").write_text(f"{costs}student-x-s2,small_half,student,<x>,2,0.5,0.75,0.1\n")
    late, quick = studies.find_studies(results)[::-1]
    title = studies.run_title(quick, run.stem, studies.run_facts(quick, run.stem))
    assert title == "quick · student small_half ← small · seed 1"
    assert studies.run_title(late, "03_evaluate-a-s0", {}) == "late · evaluation a-s0"
    page = pages.archive_page([quick, late])
    (row,) = [line for line in page.splitlines() if "02_train-student-s1" in line and "quick" in line]
    cells = re.findall(r"<td>(?:<a[^>]*>)?([^<]*)", row)
    assert cells == ["quick", "student", "small_half", "small", "1", "0.500", "0.250", "6.0"]
    (kept,) = [line for line in page.splitlines() if "student: &lt;x&gt;" in line]  # its notebook is not kept
    assert "<a " not in kept and "<td>0.750</td>" in kept
    assert page.count("<tr><td>") == 7 and "No study" in pages.archive_page([])


def test_landing_page_has_the_figure_of_the_claims_and_the_findings(results: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    assert "No study has been run" in pages.landing(studies.find_studies(results), drawn)
    drawn.mkdir()
    (drawn / "forest.svg").write_text(SVG)
    (drawn / "findings.md").write_text("**One.** A.\n\n**Two.** B.\n")
    text = pages.landing(studies.find_studies(results), drawn)
    assert "1. **One.** A.\n2. **Two.** B.\n" in text and "drawn/forest.svg" in text and "topk" not in text
    (drawn / "one-image.svg").write_text(SVG)
    assert "drawn/one-image.svg" in pages.landing(studies.find_studies(results), drawn)
    (results / "late" / "one-image.svg").write_text(SVG)
    text = pages.landing(studies.find_studies(results), drawn)
    assert "studies/late/one-image.svg" in text and "drawn/one-image.svg" not in text
    assert "[Which prototype is that?](explorer.md)" in text
    (results / "late" / explorer.DATA).parent.mkdir()
    (results / "late" / explorer.DATA).write_text("")
    link = "explorer.html#study=late&amp;image=bird+1"
    (results / "late" / "06_topk.ipynb").write_text(
        json.dumps({"text": f'<a href="../../{link}">bird 1</a>, <a href="…">'})
    )
    assert f'<a href="{link}">Which prototype is that?</a>' in pages.landing(studies.find_studies(results), drawn)


def test_packed_networks_are_listed(tmp_path: Path) -> None:
    assert pages.networks_table(tmp_path / "networks").startswith("There are none")
    folder = tmp_path / "networks" / "birds" / "student-small"
    folder.mkdir(parents=True)
    record = {"classes": ["a", "b"], "packed": {"right_packed": 7, "test_images": 9}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "network.safetensors").write_bytes(b"." * 2_000_000)
    text = pages.networks_table(tmp_path / "networks")
    assert "* - `networks/birds/student-small`\n  - 2\n  - 2.00 MB\n  - 7 of 9 test images" in text


def test_schedule_page_sets_few_passes_beside_many(results: Path) -> None:
    assert "No study in this copy" in pages.budget_tables(studies.find_studies(results))
    head = 'triple,role,passes,seed,chosen,"top-1, validation","top-1, after push",top-1,R²,PMS,"PMS, permuted"\n'
    rows = ["a,student,3,0,False,0.5,0.2,0.4,0.5,0.3,0.2", "a,student,3,1,False,0.5,0.4,0.6,0.6,0.3,0.2"]
    rows += ["a,baseline,40,0,True,0.5,0.25,0.5,,0.25,0.2", "b,student,3,0,False,0.5,0.9,0.9,0.9,0.9,0.2"]
    (results / "quick" / "budget.csv").write_text(head + "\n".join(rows) + "\n")
    text = pages.budget_tables(studies.find_studies(results))
    cells = re.findall(r"^(?:\* -|  -) (.+)$", text, re.M)
    assert cells[:6] == ["network", "joint passes", "R²", "PMS", "top-1, after push", "top-1"]
    assert cells[6:12] == ["student", "3", "0.500", "0.300", "0.200", "0.400"]  # of the seed that all rows have
    assert cells[12:] == ["baseline", "40 (the study)", "–", "0.250", "0.250", "0.500"]
    assert "means over seeds 0, which all rows have" in text


def write_search(results: Path, name: str) -> None:
    (results / "search").mkdir(exist_ok=True)
    head = 'seed,role,changed,before push,tuned,"cross-entropy, tuned",R²,PMS\n'
    change = '"{""lr_trunk"": 0.01, ""distillation"": {""ppc"": 3.0}}"'
    rows = [f"1,student,{change},0.5,0.6,1.0,0.8,0.4", "1,baseline,,0.2,0.3,2.0,,0.1", "2,baseline,,0.4,0.5,1.0,,0.2"]
    (results / "search" / f"{name}.csv").write_text(head + "\n".join(rows) + "\n")


def test_searches_are_told_by_role_and_change(tmp_path: Path) -> None:
    assert pages.search_tables(tmp_path).startswith("No search")
    write_search(tmp_path, "birds")
    text = pages.search_tables(tmp_path)
    assert "`" not in text.splitlines()[0][3:]  # else it would open no table
    cells = re.findall(r"^(?:\* -|  -) (.+)$", text, re.M)
    assert cells[8:16] == ["baseline", "–", "2", "0.300", "0.400", "1.500", "–", "0.150"]
    assert cells[16:19] == ["student", "`lr_trunk: 0.01, distillation: {ppc: 3}`", "1"]


def test_a_damaged_table_of_a_search_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("birds", "cub"):
        write_search(tmp_path, name)
        seal(tmp_path / "search", name, [f"{name}.csv"])
    whole = pages.search_tables(tmp_path)
    assert "tab-search-birds" in whole and "tab-search-cub" in whole and capsys.readouterr().err == ""
    file = tmp_path / "search" / "birds.csv"
    file.write_text(file.read_text().replace("0.5", "0.9"))
    text = pages.search_tables(tmp_path)
    assert "search `birds` is damaged" in text and "tab-search-birds" not in text and "tab-search-cub" in text
    said = capsys.readouterr().err
    assert f"{file} is damaged" in said and "`make search STUDY=birds` makes it again" in said


def test_verdicts_by_an_earlier_rule_are_called_so(results: Path) -> None:
    head = "claim,setting,metric,n_seeds,verdict\n"
    (results / "quick" / "claims.csv").write_text(head + "old,a-b,pms,3,reproduced\n")
    late, quick = studies.find_studies(results)[::-1]
    assert pages.OUTDATED in pages.findings(quick) and pages.OUTDATED not in pages.findings(late)


def test_every_claim_has_a_short_name() -> None:
    assert set(SHORT) == {claim.metric for claim in CLAIMS}


@pytest.mark.parametrize("text", ['{"title": "Quick"}', '{"title', "", "[]", "null", "sealed"])
def test_a_damaged_study_is_left_out_and_named_and_no_other(
    text: str, results: Path, prose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = results / "quick" / "study.json"
    if text == "sealed":  # whole, but not as it was written
        seal(results / "quick", "04_table", ["study.json"])
        text = file.read_text().replace("drawn", "taken")
    file.write_text(text)
    assert [study.name for study in studies.find_studies(results)] == ["late"]
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"book: {file} is damaged (") and "`make study STUDY=quick` make it again" in said
    places = ["--prose", str(prose), "--results", str(results), "--output", str(tmp_path / "out")]
    assert build.main([*places, "--study", "quick"]) == 1  # but not from the book that its own run draws
    assert f"error: {file} is damaged" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_stray_notebook_is_left_out_and_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = studies.find_studies(results)
    (results / "late" / "Untitled.ipynb").write_text("{")
    assert studies.find_studies(results) == before and len(before) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"book: {results / 'late' / 'Untitled.ipynb'} is left out") and "rename it" in said


def test_a_damaged_file_is_left_out_and_named_and_the_rest_of_the_book_is_drawn(
    results: Path, prose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "late" / "06_topk.ipynb").write_text('{"cells": [')
    (results / "late" / "claims.csv").write_text("")
    (results / "late" / "metrics.csv").write_text("study,value\nx,2\n")
    seal(results / "late", "04_table", ["metrics.csv", "findings.md"])
    (results / "late" / "metrics.csv").write_text("study,value\n")
    (results / "late" / "findings.md").write_text("Found in")
    (tmp_path / "drawn").mkdir()
    stage.stage(prose, results, tmp_path / "src", tmp_path / "drawn")
    said = capsys.readouterr().err
    for name in ("06_topk.ipynb", "claims.csv", "metrics.csv", "findings.md"):
        assert f"late/{name} is damaged" in said and "`make study STUDY=late` makes it again" in said
    assert "quick/" not in said
    page = nbformat.read(tmp_path / "src" / "studies" / "late" / "06_topk.ipynb", as_version=4)
    assert page.cells[0].source.startswith("# 06_topk") and "damaged" in page.cells[0].source
    text = (tmp_path / "src" / "studies" / "late" / "index.md").read_text()
    assert "`findings.md` of this study is damaged" in text and "metrics.csv" not in text
    assert not (tmp_path / "src" / "studies" / "late" / "metrics.csv").exists()
    assert "Found in Quick" in (tmp_path / "src" / "studies" / "quick" / "index.md").read_text()


def test_every_sealed_file_is_checked_and_a_page_without_its_picture_is_left_out(
    results: Path, prose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = results / "late"
    (out / "explorer").mkdir()
    (out / explorer.DATA).write_text("explorer({})")
    (out / "one-image.svg").write_text(SVG)
    seal(out, "14_explorer", [explorer.DATA])
    seal(out, "06_topk", ["curve.svg", "one-image.svg"])
    seal(out, "02_train-gone-s0", ["study.json"])
    write_notebook(out / "02_train-gone-s0.ipynb", "Gone")
    add_notebook(out, "02_train-gone-s0")
    (out / "02_train-gone-s0.ipynb").unlink()  # notebooks of many runs are not kept: no damage
    late, quick = studies.find_studies(results)[::-1]
    assert not late.damaged and explorer.has_explorer(late) and pages.pictured([quick, late]) == late
    (out / explorer.DATA).write_text("explorer({")
    (out / "one-image.svg").write_text(SVG[:40])
    (tmp_path / "drawn").mkdir()
    assert capsys.readouterr().err == ""
    stage.stage(prose, results, tmp_path / "src", tmp_path / "drawn")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all(
        any(f"late/{n} is damaged" in s for s in said) for n in (explorer.DATA, "one-image.svg")
    )
    (late,) = [study for study in studies.find_studies(results) if study.name == "late"]
    assert set(late.damaged) == {explorer.DATA, "one-image.svg", "06_topk.ipynb"}
    assert not explorer.has_explorer(late) and pages.pictured([late]) is None
    staged = tmp_path / "src" / "studies" / "late"
    assert not (staged / "one-image.svg").exists() and (staged / "curve.svg").exists()
    assert "damaged" in (staged / "06_topk.ipynb").read_text() and not list((tmp_path / "src").rglob("data.js"))


def test_staged_notebook_has_own_labels_collapsed_code_and_no_widgets(results: Path, tmp_path: Path) -> None:
    stage.stage_notebook(results / "quick" / "04_table.ipynb", tmp_path / "out.ipynb", "quick-04_table")
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert "{ref}`quick-04_table-fig-x`" in cells[0].source
    assert "{ref}`numbers <quick-04_table-tab-x>`" in cells[0].source
    assert ":name: quick-04_table-fig-x" in cells[3].source
    assert cells[1].metadata.tags == ["hide-input"] and cells[1].outputs == []
    assert cells[2].metadata.tags == ["show-input"]


def test_what_the_loader_of_weights_left_out_is_not_shown(results: Path, tmp_path: Path) -> None:
    path = results / "quick" / "04_table.ipynb"
    notebook = nbformat.read(path, as_version=4)
    lines = ["a: not used from a.safetensors: b, c\n", "a: 3 of 3 numbers from a.safetensors; not used: 2 tensors "]
    lines[1] += "behind the cut\n"
    said = [("stdout", "".join(lines)), ("stdout", f"one\n{lines[0]}two, not used\n{lines[1]}"), ("stderr", lines[0])]
    notebook.cells[1].outputs = [new_output("stream", name=name, text=text) for name, text in said]
    nbformat.write(notebook, path)
    stage.stage_notebook(path, tmp_path / "out.ipynb", "x")
    staged = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[1].outputs
    assert [output.text for output in staged] == ["one\ntwo, not used\n", lines[0]]


def test_labels_of_prose_are_left_alone() -> None:
    texts = ["(a)=\n# A\n\n{ref}`a`, {ref}`here <a>`, [](#a), {ref}`b`, a word\n\n$$ x $$ (eq-1)\n\n{eq}`eq-1`"]
    expected = "(p-a)=\n# A\n\n{ref}`p-a`, {ref}`here <p-a>`, [](#p-a), {ref}`b`, a word\n\n"
    expected += "$$ x $$ (p-eq-1)\n\n{eq}`p-eq-1`"
    assert stage.own_labels(texts, "p") == [expected]


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
    head = 'triple,role,passes,seed,chosen,"top-1, after push",top-1,R²,PMS\n'
    (results / "odd" / "budget.csv").write_text(f"{head}a-b,student,3,0,True,0.2,0.4,0.5,0.3\n")
    odd_notebook(results / "odd" / "06_topk.ipynb")
    assert build.main(["-W", "--prose", str(prose), "--results", str(results), "--output", str(tmp_path / "out")]) == 0
    html = tmp_path / "out" / "_build" / "html"
    for page in ("archive", "schedule", "studies/odd/index", "studies/odd/06_topk"):
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
    archive = (html / "archive.html").read_text()
    assert archive.index("studies/quick/index.html") < archive.index("studies/late/index.html")
    assert "Found in Quick" in (html / "studies" / "quick" / "index.html").read_text()
    assert "thebe" not in archive.lower() and (html / "handed.html").exists()
    index = (html / "searchindex.js").read_text()
    assert (
        "Every claim" in index and "training student-s1" not in index
    )  # pages of runs are found by the archive, not by the search
    page = (html / "studies" / "quick" / "06_topk.html").read_text()
    assert "Show the code" in page and 'alt="A line"' in page
    assert (html / "_static" / "mathjax" / "output" / "svg" / "fonts" / "tex.js").exists()
    assert list((html / "_downloads").rglob("metrics.csv"))
    assert build.check_html(html) == []
    # the check itself must be able to fail
    assert "edges.js" in page and (html / "_static" / "edges.js").is_file()
    bad = '<a href="gone.html">x</a><script src="https://example.org/a.js"></script>'
    (html / "bad.html").write_text(f"{bad}<pre>&lt;IPython.core.display.Markdown object&gt;</pre>")
    assert build.check_html(html) == [
        "bad.html: shows a Python object where its text is empty",
        "bad.html: gone.html does not exist",
        "bad.html: loads https://example.org/a.js from the network",
        "bad.html: more than 3 clicks from the first page",
    ]
    for name, to in (("index", "one"), ("one", "two"), ("two", "three"), ("three", "four"), ("four", "index")):
        (tmp_path / "far").mkdir(exist_ok=True)
        (tmp_path / "far" / f"{name}.html").write_text(f'<a href="{to}.html#there">x</a>')
    assert build.check_html(tmp_path / "far") == ["four.html: more than 3 clicks from the first page"]


def test_what_a_screen_reader_stumbles_over_is_mended() -> None:
    one, two = '<em class="sig-param">a</em>,', '<em class="sig-param">b</em>'
    page = f"<dl>\n<dd>{one}</dd>\n<dd>{two}</dd>\n</dl>\n<dl><dt>t</dt><dd>d</dd></dl>"
    page += '<summary aria-label="Toggle hidden content">Show</summary><figure class="align-default" id="f">'
    found, lines = build.mend(page), ['<div class="sig-params">', f"<div>{one}</div>", f"<div>{two}</div>"]
    assert found.startswith("\n".join([*lines, "</div>\n<dl><dt>t</dt><dd>d</dd></dl><summary>Show</summary>"]))
    assert found.endswith('<figure tabindex="0" class="align-default" id="f">')
    cited, output = '<div role="list" class="citation-list">', '<div class="cell_output docutils container"'
    assert build.mend(cited) == '<div class="citation-list">'
    assert build.mend(f'{output}><img src="a.svg"></div>') == f'{output} tabindex="0"><img src="a.svg"></div>'
    for number in ("", "1"):  # Sphinx numbers pictures of one name
        for name in ("one-image", "forest"):
            found = build.mend(f'<img alt="A" src="_images/{name}{number}.svg" />')
            assert found.startswith("<picture>") and f'srcset="_images/{name}-compact.svg"' in found
    assert "<picture>" not in build.mend('<img alt="A" src="../../_images/one-image1.svg" />')


def test_pages_printed_together_keep_their_links(tmp_path: Path) -> None:
    for name, link in (("a", "b.html#there"), ("b", "c.html")):
        article = f'<article class="bd-article"><h1 id="there">{name}</h1><a href="{link}">x</a><a href="#there">y</a>'
        (tmp_path / f"{name}.html").write_text(f"<html><head><title>t</title></head>{article}</article></html>")
    text = pdf.one_page(tmp_path, ["a", "b"])
    assert 'id="a--there"' in text and 'href="#b--there"' in text and text.count('href="#a--there"') == 1
    assert 'data-elsewhere="c.html"' in text and text.count("<article") == 2
    with pytest.raises(studies.BookError, match="make book"):
        pdf.write_pdf(tmp_path / "none")


def test_notebooks_that_share_a_kernel_share_no_names_and_one_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "KERNELS", 1)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    head = '# %% tags=["parameters"]\nresults = ""\nout = ""\n\n# %%\n'
    (folder / "20_a.py").write_text(head + "known = 1\nprint(results)\n")
    (folder / "22_b.py").write_text(head + "print('known' in globals(), out)\n")
    draw.draw_pages(tmp_path / "results", tmp_path / "out", folder)
    said = {
        path.stem: [output.text for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        for path in (tmp_path / "out").glob("*.ipynb")
    }
    assert said == {"20_a": [f"{tmp_path / 'results'}\n"], "22_b": [f"False {tmp_path / 'out'}\n"]}
    (folder / "22_b.py").write_text(head + "raise ValueError('broken')\n")
    with pytest.raises(studies.BookError, match=r"22_b\.py: ValueError: broken"):
        draw.draw_pages(tmp_path / "results", tmp_path / "out", folder)


def test_warning_fails_a_strict_build(prose: Path, tmp_path: Path) -> None:
    (prose / "install.md").write_text("# Install\n\n{ref}`nowhere`\n")
    assert (
        build.main(["--prose", str(prose), "--results", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 1
    )


def test_every_module_is_named_in_the_list_of_functions() -> None:
    text = (BOOK / "api.md").read_text()
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "p2p").rglob("*.py")]
    modules = {".".join(path.parts) for path in paths if not path.name.startswith("_")}
    assert modules - set(re.findall(r"p2p(?:\.\w+)+", text)) == set()
    assert set(re.findall(r"automodule:: (p2p(?:\.\w+)+)", text)) - modules == set()
