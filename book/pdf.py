"""The main pages of the built book as one PDF, printed by Chromium: `make pdf`.

    python book/pdf.py [--output book]

It reads `<output>/_build/html` and writes `<output>/_build/proto2proto.pdf`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stage import PARTS
from studies import BookError

from p2p.errors import command

BOOK = Path(__file__).resolve().parent
PARTS_PRINTED = ("Understand", "Results", "Use it")
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
SHEET = "article.bd-article { break-after: page; }"  # the rest is book.css's, for paper


def one_page(html: Path, names: list[str]) -> str:
    """The articles of several pages, one after the other, in a page of their own; links among them stay inside it.

    Args:
        html: Folder of the built book.
        names: Of its pages, without their ending.
    """
    head = re.search(r"<head>.*?</head>", (html / f"{names[0]}.html").read_text(encoding="utf-8"), re.S)
    assert head is not None
    parts = []
    for name in names:
        text = (html / f"{name}.html").read_text(encoding="utf-8")
        found = re.search(r"<article class=\"bd-article\".*?</article>", text, re.S)
        assert found is not None, f"{name}.html has no article"

        def link(match: re.Match[str], here: str = name) -> str:
            page, _, place = match[1].partition("#")
            page = page.removesuffix(".html") or here
            return f'href="#{page}--{place}"' if page in names else f'data-elsewhere="{match[1]}"'

        article = re.sub(r'\bid="([^"]+)"', rf'id="{name}--\1"', found[0])
        article = re.sub(r'href="((?!\w+:)[^"]*)"', link, article)
        parts.append(article.replace("<article ", f'<article id="{name}--" ', 1))
    style = f"<style>{SHEET}</style></head>"
    light = '<html lang="en" data-mode="light" data-theme="light">'
    return f"<!DOCTYPE html>\n{light}{head[0].replace('</head>', style)}<body>{''.join(parts)}</body></html>\n"


def print_pdf(page: Path, out: Path) -> None:
    """Have Chromium print a page.

    Raises:
        BookError: There is no Chromium, or it wrote nothing.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise BookError("A PDF needs Chromium to print it; install it (Debian: apt-get install chromium).")
    out.unlink(missing_ok=True)
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command += ["--virtual-time-budget=60000", f"--print-to-pdf={out}", page.as_uri()]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if not out.is_file():
        raise BookError(f"{program} wrote no {out.name}: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}")


def write_pdf(output: Path) -> Path:
    """Print the main pages of the book that lies in `output`; return the PDF.

    Raises:
        BookError: There is no built book, or no Chromium.
    """
    html = output / "_build" / "html"
    names = ["index", *(name for part in PARTS_PRINTED for name in PARTS[part])]
    names = [name for name in names if (html / f"{name}.html").is_file()]
    if not names:
        raise BookError(f"There is no built book in {html}; draw it first (make book).")
    page, out = html / "print.html", output / "_build" / "proto2proto.pdf"  # beside what it loads
    page.write_text(one_page(html, names), encoding="utf-8")
    try:
        print_pdf(page, out)
    finally:
        page.unlink()
    return out


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the main pages of the built book as one PDF.")
    parser.add_argument("--output", type=Path, default=BOOK, help="the book is <output>/_build/html (default: book)")
    print(write_pdf(parser.parse_args(arguments).output.resolve()))


if __name__ == "__main__":
    sys.exit(main())
