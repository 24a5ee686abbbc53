"""Draw the book: run the notebooks over all studies, stage prose and results, run jupyter-book, check the pages.

    python book/build.py [--results results] [--output book] [--no-strict] [--study NAME] [--own NAME]

The pages are staged in `<output>/_build/src` (see `stage.py`); the book is `<output>/_build/html/index.html`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))

from draw import draw_pages
from private import reachable, stage_own
from stage import stage
from studies import BookError, read_facts

from p2p.study.jobs import job

BOOK = Path(__file__).resolve().parent
# jsonschema would build this grammar of web addresses, a second of work, and does without if it is not there.
# Its command line cannot say how many pages Sphinx may read and write at a time.
JUPYTER_BOOK = (
    "import functools, os, sys; sys.modules['rfc3987_syntax'] = None; import jupyter_book.sphinx as sphinx; "
    "sphinx.build_sphinx = functools.partial(sphinx.build_sphinx, jobs=min(8, os.cpu_count() or 1)); "
    "from jupyter_book.cli.main import main; main()"
)
CLICKS = 3  # from the first page to any other, but those that Sphinx adds for readers who search
SEARCHED = {"genindex.html", "py-modindex.html", "search.html"}
COMPLAINT = re.compile(r"(?:\bWARNING|\bERROR|\bCRITICAL|^\w*(?:Error|Exception)): *(.*)")


# The first page's figures, and in their place on a phone those that are read without scrolling.
# Sphinx numbers pictures of one name.
PICTURE = re.compile(r'<img (?=[^>]*src="_images/(one-image|forest)\d*\.svg")[^>]*>')
# Figures with photographs cannot be inverted in the dark, as drawn ones are; their words and axes turn light instead.
# A browser draws a picture in the colours of its page.
LIGHT = {
    "text:not([style*='fill: #'])": "fill: #d8d8d8",
    "text[style*='#777777'], [style*='#7a7a7a']": "fill: #b8b8b8 !important",
    "text[style*='#0072b2']": "fill: #6cb2e6 !important",
    "text[style*='#009e73']": "fill: #3fc59c !important",
    "text[style*='#d55e00']": "fill: #f0a06a !important",
    "[style*='stroke: #000000']": "stroke: #d8d8d8 !important",
}
ON_BLACK = "".join(f"{which} {{ {how} }} " for which, how in LIGHT.items())
ON_BLACK = f"@media (prefers-color-scheme: dark) {{ {ON_BLACK}}}"
PHONE = '<picture><source media="(max-width: 600px)" srcset="_images/{}-compact.svg">{}</picture>'
# What the theme and Sphinx write and a screen reader or a script stumbles over, and what is written in its place.
PARAMETERS = re.compile(r"<dl>\n((?:<dd><em class=\"sig-param\">.*?</dd>\n)+)</dl>", re.S)
SEARCH = 'search-button__button pst-js-only" title="Search"'
MENDED = (
    ('<summary aria-label="Toggle hidden content">', "<summary>"),  # it says "Show the code"
    ('<summary><span class="toctree', '<summary aria-label="Pages below"><span class="toctree'),
    (f'{SEARCH} aria-label="Search"', SEARCH),
    ('data-mode="light" title="Light"', 'data-mode="light" aria-hidden="true"'),
    ('data-mode="dark"  title="Dark"', 'data-mode="dark" aria-hidden="true"'),
    ('data-mode="auto"  title="System Settings"', 'data-mode="auto" aria-hidden="true"'),
    ('localStorage.getItem("mode") || ""', 'localStorage.getItem("mode") || "auto"'),  # else a script complains of ""
    ('<div role="list" class="citation-list">', '<div class="citation-list">'),  # its entries are no list items
    ('<figure class="align-default"', '<figure tabindex="0" class="align-default"'),  # it scrolls on a phone
)


# Search asks for the pages that it found, to quote from them; a browser refuses that for pages opened from the disk.
FROM_DISK = "\nif (location.protocol === 'file:') DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;\n"


def mend(page: str) -> str:
    """The text of an HTML page with labels as they are shown, and lists that are lists."""
    for before, after in MENDED:
        page = page.replace(before, after)
    page = reachable(page)
    page = PICTURE.sub(lambda found: PHONE.format(found[1], found[0]), page)

    def lines(found: re.Match[str]) -> str:
        return '<div class="sig-params">\n' + re.sub("(</?)dd>", r"\1div>", found[1]) + "</div>"

    return PARAMETERS.sub(lines, page)


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


# what a notebook stores of `display(Markdown(""))`
EMPTY_OUTPUT = "&lt;IPython.core.display."


def check_html(html: Path) -> list[str]:
    """Faults of built pages: links to missing files, what the network is asked for, pages far from the first one."""
    faults, leads = [], dict[Path, set[Path]]()
    for page in sorted(html.rglob("*.html")):
        if page.relative_to(html).parts[0] == "_static":  # templates that the theme leaves there, not pages
            continue
        links, text, where = Links(), page.read_text(encoding="utf-8"), page.relative_to(html)
        links.feed(text)
        if EMPTY_OUTPUT in text:
            faults.append(f"{where}: shows a Python object where its text is empty")
        to = (page.parent / unquote(urlsplit(url).path) for url in links.follows if not urlsplit(url).netloc)
        leads[page] = {Path(os.path.normpath(one)) for one in to}
        for url in sorted({*links.follows, *links.loads}):
            parts = urlsplit(url)
            if parts.netloc and url in links.loads:
                faults.append(f"{where}: loads {url} from the network")
            elif not parts.scheme and not parts.netloc and parts.path:
                target = page.parent / unquote(parts.path)
                if not target.exists():
                    faults.append(f"{where}: {url} does not exist")
    reached = {html / "index.html"}
    for _ in range(CLICKS):
        reached |= {to for page in reached & leads.keys() for to in leads[page]}
    far = sorted(page.relative_to(html).as_posix() for page in leads.keys() - reached)
    return faults + [f"{page}: more than {CLICKS} clicks from the first page" for page in far if page not in SEARCHED]


def build(prose: Path, results: Path, output: Path, strict: bool = True) -> Path:
    """Draw, stage, build and check; return the landing page.

    Raises:
        BookError: jupyter-book failed, or the pages have faults (strict).
    """
    place = output / "_build"
    source, html = place / "src", place / "html"
    for folder in (source, html, place / ".doctrees"):  # a page of a study that is gone must not stay behind
        shutil.rmtree(folder, ignore_errors=True)
    draw_pages(results, place / "pages")
    stage(prose, results, source, place / "pages")
    return render(source, output, strict)


def build_own(name: str, prose: Path, results: Path, output: Path, strict: bool = True) -> Path:
    """The small book of a private study, in a folder of its own; return its first page.

    Raises:
        BookError: The study has no page yet, jupyter-book failed, or the pages have faults (strict).
    """
    place = output / "_build" / f"own-{name}"
    shutil.rmtree(place, ignore_errors=True)
    title = stage_own(name, prose, results, place / "src")
    render(place / "src", place, strict)
    for page in (place / "_build" / "html").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(title.replace("&", "&amp;"), title), encoding="utf-8")  # Sphinx escapes it again
    shutil.move(place / "_build" / "html", place / "html")
    shutil.rmtree(place / "_build")
    return place / "html" / "index.html"


def render(source: Path, output: Path, strict: bool) -> Path:
    """Run jupyter-book on a staged folder, mend and check the pages; return <output>/_build/html/index.html.

    Raises:
        BookError: jupyter-book failed, or the pages have faults (strict).
    """
    html = output / "_build" / "html"
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
    for page in html.rglob("*.html"):
        page.write_text(mend(page.read_text(encoding="utf-8")), encoding="utf-8")
    for picture in (html / "_images").glob("*.svg"):
        drawn = picture.read_text(encoding="utf-8")
        if "<image" in drawn:
            picture.write_text(drawn.replace("</style>", f"{ON_BLACK}</style>", 1), encoding="utf-8")
    options = html / "_static" / "documentation_options.js"
    options.write_text(options.read_text(encoding="utf-8") + FROM_DISK, encoding="utf-8")
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
    parser.add_argument("--study", metavar="NAME", help="a study that must not be left out as damaged")
    parser.add_argument("--own", metavar="NAME", help="a private study's small book, <output>/_build/own-NAME/html")
    options = parser.parse_args(arguments)
    places = (options.prose.resolve(), options.results.resolve(), options.output.resolve(), options.strict)
    try:
        with job("book"):
            if options.study:
                read_facts(options.results / options.study / "study.json")
            print(build_own(options.own, *places) if options.own else build(*places))
    except BookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
