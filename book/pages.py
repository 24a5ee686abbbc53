"""The pages that are written when the book is drawn: landing, studies, archive, budgets, searches."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape as html_escape
from pathlib import Path

from explorer import has_explorer
from studies import KINDS, NOTEBOOK, Study, csv_rows, is_damaged, page_title, run_facts

from p2p.study.pages import escape, explorer_link, prose

ROLES = ("teacher", "baseline", "student")
OUTDATED = (
    "*The verdicts of this study were made by an earlier rule, after a schedule too short for a student to follow its "
    "teacher; they speak about that schedule and will be replaced.*\n"
)

DAMAGED = "*The file `{name}` of this study is damaged and left out; `make study STUDY={study}` makes it again.*\n"
ARCHIVE = """\
<p><label for="archive-search">Search the table</label> <input id="archive-search" type="search"></p>
<div class="archive" tabindex="0" role="region" aria-label="All runs">
<table class="table" id="archive-runs"><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table></div>
<script src="_static/archive.js"></script>"""
FOREST = """\
:::{figure} drawn/forest.svg
:name: fig-claims
:class: lines
:alt: Forest plot of all claims, a row a claim, a colour a setting.

Student minus baseline, mean over seeds with 95 % interval. Right of the grey line the student is better, within the
grey band the difference does not matter, a hollow mark may still change with more passes. PMS and AJS are corrected
for chance; a grey tick is where a student at chance would lie. [Every number](claims.ipynb).
:::
"""

ONE_IMAGE = """\
:::{{figure}} {place}/one-image.svg
:name: fig-landing
:class: clear
:alt: One test image with the prototypes that count most for teacher, baseline and student.

One test image {of} as teacher, baseline and student see it: where the prototypes that count most respond (bright), the
training patches that these are, and each one's share of all that speaks for the class. {explorer}
:::
"""
IN_EXPLORER = re.compile(r'explorer\.html#([^"\\]*)')  # a link that 06_topk wrote; its first is of that image


def fence(lines: list[str], name: str, argument: str) -> str:
    return "\n".join([f"```{{{name}}} {argument}", *lines, "```", ""])


def findings(study: Study) -> str:
    """A study's findings, or a sentence why there are none."""
    if "findings.md" in study.damaged:
        return DAMAGED.format(name="findings.md", study=study.name)
    if not (study.folder / "findings.md").exists():
        return "This study has no summary of findings yet; its pages hold what has been run.\n"
    text = (study.folder / "findings.md").read_text(encoding="utf-8")
    claims = study.folder / "claims.csv"
    old = claims.exists() and "claims.csv" not in study.damaged and outdated(csv_rows(claims))
    return f"{text}\n{OUTDATED if old else ''}"


def outdated(claims: list[dict[str, str]]) -> bool:
    """Whether claims were judged before studies declared a smallest effect of interest."""
    return not claims or "delta" not in claims[0]


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
        rungs = dict.fromkeys((row["role"], row["passes"]) for row in first)
        seeds = {rung: {row["seed"] for row in first if (row["role"], row["passes"]) == rung} for rung in rungs}
        all_have = set.intersection(*seeds.values()) or set.union(*seeds.values())  # else a row differs in seeds, too
        for role, passes in rungs:
            mine = [row for row in first if (row["role"], row["passes"]) == (role, passes) and row["seed"] in all_have]
            if not mine:
                continue
            lines += [f"* - {role}", f"  - {passes}{' (the study)' if mine[0]['chosen'] == 'True' else ''}"]
            for head in shown:
                values = [float(row[head]) for row in mine if row[head]]
                lines.append(f"  - {sum(values) / len(values):.3f}" if values else "  - –")
        link = f"[{escape(study.title)}](studies/{study.name}/04_table.ipynb)"
        told = f"means over seeds {', '.join(sorted(all_have))}, which all rows have; R² and accuracies on test images."
        caption = f"{link}, {escape(study.images)}: {told}"
        parts.append(fence(lines, "list-table", caption))
    return "\n".join(parts) or "No study in this copy has been run with other budgets.\n"


def search_tables(results: Path) -> str:
    """Of every search a table: what each trial reached on validation images, means over its seeds.

    Args:
        results: Folder of the results; the tables lie in `search/`, as `p2p.evaluation.search` writes them.
    """
    shown = {"before push": "top-1, before push", "tuned": "tuned", "cross-entropy, tuned": "cross-entropy", "R²": "R²"}
    shown["PMS"] = "PMS"
    parts = []
    for file in sorted((results / "search").glob("*.csv")):
        if is_damaged(file.parent, file.name):
            parts.append(f"*The table of the search `{file.stem}` is damaged and left out.*\n")
            continue
        rows = csv_rows(file)
        lines = [":header-rows: 1", f":name: tab-search-{file.stem}", "", "* - network", "  - changed", "  - seeds"]
        lines += [f"  - {head}" for head in shown.values()]
        order = sorted(
            dict.fromkeys((row["role"], row["changed"]) for row in rows), key=lambda key: ROLES.index(key[0])
        )
        for role, changed in order:
            mine = [row for row in rows if (row["role"], row["changed"]) == (role, changed)]
            lines += [f"* - {role}", f"  - {_change(changed)}", f"  - {len(mine)}"]
            for head in shown:
                values = [float(row[head]) for row in mine if row.get(head)]
                mean = f"{sum(values) / len(values):.3f}" if values else "–"
                lines.append(f"  - {mean.replace('-', chr(0x2212))}")
        caption = f"Search *{escape(file.stem)}*: validation images, means over seeds."
        parts.append(fence(lines, "list-table", f"{caption} A dash: nothing was changed, or not measured."))
    return "\n".join(parts) or "No search in this copy has been run.\n"


def _change(changed: str) -> str:
    """A trial's change, as a study file would have it."""
    told = [f"{key}: {_value(value)}" for key, value in json.loads(changed or "{}").items()]
    return f"`{', '.join(told)}`" if told else "–"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(one)}" for key, one in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def networks_table(networks: Path) -> str:
    """The packed networks that there are, with the accuracy that was measured when they were packed."""
    lines = [":header-rows: 1", ":name: tab-packed", ""]
    lines += ["* - folder", "  - classes", "  - size", "  - right in"]
    for record in sorted(networks.glob("*/*/run.json")):
        found = json.loads(record.read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in record.parent.iterdir() if path.is_file())
        said, name = found["packed"], record.parent.relative_to(networks.parent).as_posix()
        lines += [f"* - `{name}`", f"  - {len(found['classes'])}", f"  - {size / 1e6:.2f} MB"]
        lines.append(f"  - {said['right_packed']} of {said['test_images']} test images")
    caption = "Packed networks, with all files of their folders."
    return fence(lines, "list-table", caption) if len(lines) > 7 else "There are none in this copy: `make pack`.\n"


def study_page(study: Study) -> str:
    """The index page of a study: its intro, its findings, its pages and its result files."""
    front = "---\norphan: true\n---\n\n" if study.runs else ""
    lines = [f"{front}# {escape(study.title)}", "", prose(study.intro), ""]
    if study.runs or (study.folder / "findings.md").exists():
        lines += ["## What it finds", "", findings(study)]
    lines += ["## Pages", "", *(f"- [{page_title(study, stem)}]({stem}.ipynb)" for stem in study.pages)]
    if has_explorer(study):
        told = "every prototype of one seed, beside its partners"
        lines.append(f"- {explorer_link(study.name, 'Explorer')}: {told}")
    if study.runs:
        lines.append(f"- [{len(study.runs)} executed notebooks](../../archive.md), one a training or evaluation")
    tables = sorted(path.name for path in study.folder.iterdir() if path.suffix == ".csv")
    tables = [name for name in tables if name not in study.damaged]
    tables += [n for n in ("provenance.json",) if (study.folder / n).exists() and n not in study.damaged]
    if tables:
        told = "Every number and figure of this study is drawn from these files; their columns are explained in"
        lines += [
            "",
            "## Result files",
            "",
            f"{told} [The result files](../../files.md).",
            "",
        ]
        lines += [f"- {{download}}`{name} <{name}>`" for name in tables]
    return "\n".join([*lines, ""])


def archive_page(studies: list[Study]) -> str:
    """All studies, and all runs as one table that can be sorted and searched."""
    told = "Every study with its own pages, and every network that was trained, with its notebook where that is kept."
    trained = [study for study in studies if study.runs]
    if not trained:
        return "# Archive\n\nNo study has been run in this copy yet: `make study` runs the quick one.\n"
    listed = [":header-rows: 1", "", "* - study", "  - images", "  - runs"]
    for study in trained:
        link = f"[{escape(study.title)}](studies/{study.name}/index.md)"
        listed += [f"* - {link}", f"  - {escape(study.images)}", f"  - {len(study.runs)}"]
    heads = ("study", "what", "network", "teacher", "seed", "validation", "test", "minutes")
    rows = [row for study in trained for row in _archive_rows(study)]
    runs = ARCHIVE.format(
        heads="".join(f'<th scope="col"><button type="button">{head}</button></th>' for head in heads),
        rows="\n".join(rows),
    )
    accuracies = "Accuracies are top-1: on validation images, and of the tuned network on test images."
    parts = ["# Archive", told, "## Studies", fence(listed, "list-table", "Studies."), "## Runs", accuracies]
    return "\n\n".join([*parts, fence([runs], "raw", "html")])


def _archive_rows(study: Study) -> list[str]:
    file, rows = study.folder / "costs.csv", []
    costs = csv_rows(file) if file.is_file() and file.name not in study.damaged else []
    known = {row["run"]: row for row in costs}
    for stem in study.runs:  # those with a page of their own
        facts, match = run_facts(study, stem), NOTEBOOK.fullmatch(stem)
        assert match is not None
        cost = known.pop(match[3] or "", {})
        role, variant = str(facts.get("role", KINDS.get(match[2], match[2]))), str(facts.get("variant", ""))
        teacher = re.sub(r"^teacher-|-s\d+$", "", str(facts.get("teacher_run", "")))
        network = str(facts.get("network", facts.get("triple", match[3] or "")))
        texts = (study.name, _what(role, variant), network, teacher, str(facts.get("seed", "")))
        rows.append(_archive_row(texts, cost, f"studies/{study.name}/{stem}.html"))
    for cost in known.values():  # of a study with so many that their notebooks are not kept with the results
        texts = (study.name, _what(cost["role"], cost["variant"]), cost["network"], "", cost["seed"])
        rows.append(_archive_row(texts, cost))
    return rows


def _what(role: str, variant: str) -> str:
    return role if variant in ("", "paper") else f"{role}: {variant}"


def _archive_row(texts: Sequence[str], cost: dict[str, str], page: str = "") -> str:
    cells = [html_escape(text) for text in texts]
    if page:
        cells[1] = f'<a href="{page}">{cells[1]}</a>'
    cells += [f"{float(cost[key]):.3f}" if cost.get(key) else "" for key in ("validation", "test")]
    cells.append(f"{60 * float(cost['hours']):.1f}" if cost.get("hours") else "")
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def pictured(studies: list[Study]) -> Study | None:
    """The study whose picture of one image the first page shows; None: that of the packed networks is shown."""
    names = ("one-image.svg", "one-image-compact.svg")
    there = (study for study in studies if study.runs and (study.folder / names[0]).is_file())
    return next((study for study in there if not {*names} & {*study.damaged}), None)


def landing(studies: list[Study], drawn: Path) -> str:
    """What the first page shows: one image as three networks see it, the findings, the claims as a figure."""
    if not (drawn / "forest.svg").is_file():
        return "No study has been run in this copy yet: `make study` runs the quick one and draws the book.\n"
    own = pictured(studies)
    place = f"studies/{own.name}" if own else "drawn"
    of = f"of *{escape(own.title)}*, chosen by rule," if own else "of drawn birds, chosen by rule,"
    parts = []
    if own or (drawn / "one-image.svg").is_file():
        parts.append(ONE_IMAGE.format(place=place, of=of, explorer=_explorer_link(own)))
    found = (drawn / "findings.md").read_text(encoding="utf-8").strip().split("\n\n")
    parts.append("\n".join(f"{i}. {sentence}" for i, sentence in enumerate(found, 1)) + "\n")
    return "\n".join([*parts, FOREST])


def _explorer_link(study: Study | None) -> str:
    """To the pictured image in the explorer, or to its start where the study is not in it."""
    file = study.folder / "06_topk.ipynb" if study and has_explorer(study) else None
    found = IN_EXPLORER.search(file.read_text(encoding="utf-8")) if file and file.is_file() else None
    asked = "Which prototype is that?"
    return f'<a href="explorer.html#{found[1]}">{asked}</a>' if found else f"[{asked}](explorer.md)"


def summary(drawn: Path) -> str:
    """What the page "In one page" shows: the findings, the claims as a figure, the means behind them."""
    if not (drawn / "numbers.md").is_file():
        return "No study has been run in this copy yet: `make study` runs the quick one and draws the book.\n"
    found = (drawn / "findings.md").read_text(encoding="utf-8").strip().split("\n\n")
    numbers = (drawn / "numbers.md").read_text(encoding="utf-8")
    listed = "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(found, 1))
    return f"{listed}\n\n{FOREST.replace('fig-claims', 'fig-summary')}\n{numbers}"
