"""What notebooks and the book show as text, in MyST markdown: somebody's words, numbered tables, the provenance box."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape as html_escape
from typing import Any
from urllib.parse import urlencode

import pandas as pd

EMPHASIS = re.compile(r"(\*{1,2})(?=[^\s*])([^*]*[^\s*])\1|`[^`]+`")


def escape(text: str) -> str:
    """Somebody's words (a title, a class or file name) as markdown that shows them as they are, in one line."""
    return _escape(" ".join(text.split()))


def class_text(name: str) -> str:
    """A class's name as it is read: without CUB's number in front ("001.") and underscores; "2.5" stays what it is."""
    return re.sub(r"^\d{3}\.(?=\D)", "", name).replace("_", " ").strip() or name


def prose(text: str) -> str:
    """An intro as markdown, one paragraph: *emphasis*, **strong** and `code` count, all else is shown as it is."""
    text, parts, end = " ".join(text.split()), [], 0
    for found in EMPHASIS.finditer(text):
        marks, inside = found.groups()
        parts += [_escape(text[end : found.start()]), f"{marks}{_escape(inside)}{marks}" if marks else found[0]]
        end = found.end()
    return "".join([*parts, _escape(text[end:])])


def option(text: str) -> str:
    """Somebody's words as the value of a directive's option, such as `:alt:`: plain text there, but quoted."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def _escape(text: str) -> str:
    return re.sub(r"([!-+.:<-@\[-`{-~-])", r"\\\1", text)  # ASCII's punctuation but for , ; and /


def explorer_link(study: str, text: str, root: str = "../../", **at: object) -> str:
    """A link to a study in the book's explorer, at a prototype=number or an image=name if one is given.

    Args:
        study: Its name.
        text: What is read.
        root: The way from the page to the book's first; of a study's page as given, of one beside the first "".
        at: The place.
    """
    place = urlencode({"study": study, **at})
    return f'<a href="{root}explorer.html#{html_escape(place)}">{html_escape(text)}</a>'


def prototype_links(study: str, prototypes: Iterable[int], root: str = "../../") -> str:
    """A sentence that leads to some prototypes in the book's explorer, where teacher and student share numbers.

    Args:
        study: Its name.
        prototypes: Their numbers; one that comes again is named once.
        root: See `explorer_link`.
    """
    links = ", ".join(explorer_link(study, f"no. {j}", root, prototype=j) for j in dict.fromkeys(prototypes))
    return f"In the explorer, beside their partners in the other networks: {links}."


def table(frame: pd.DataFrame, caption: str, label: str) -> str:
    """A numbered table with its caption.

    Args:
        frame: Cells already as they are to be read.
        caption: What to see.
        label: For references, `tab-…`.
    """
    text = frame.to_markdown(index=False, disable_numparse=True)
    text = re.sub(r" \(([−+.\d]+)–([−+.\d]+)\)", _below, text)
    return f":::{{table}} {caption}\n:name: {label}\n\n{text}\n:::\n"


def _below(found: re.Match[str]) -> str:
    """A range goes below its mean; between signed numbers a dash would be read as another sign."""
    low, high = found.groups()
    between = " to " if {low[0], high[0]} & {"−", "+"} else "–"
    return f"<br><small>{low}{between}{high}</small>"


def provenance_box(record: dict[str, Any], more: str = "") -> str:
    """A provenance record (see `p2p.study.provenance.provenance`) as a box, with a sentence more below it."""
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    dirty = " (with uncommitted changes)" if record["dirty"] else ""
    seed = "" if record["seed"] is None else f"seed {record['seed']} · "
    study = f"study `{record['study']}` · {seed}" if record["study"] else ""
    passes = f"{record['image_passes']:,} image passes" if record["image_passes"] else ""
    passes += f" and {record['teacher_passes']:,} of the teacher" if record["teacher_passes"] else ""
    passes += " · " if passes else ""
    return (
        ":::{admonition} Provenance\n:class: provenance\n"
        f"{study}parameters `{record['parameter_hash']}` · "
        f"commit `{record['commit']}`{dirty} · {record['device']} · "
        f"{record['hours']:.3f} h · {passes}peak memory {record['peak_memory_gb']} GB · "
        f"Python {record['python']}, {versions} · {record['date']}\n{more and chr(10) + more + chr(10)}:::\n"
    )


def listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign, "+0.012" or "−0.012", a minus as typographers have it; nothing has none, "0.000"."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text[1:]


def mean_range(values: pd.Series, digits: int = 3, spread: bool = True) -> str:
    """Mean over seeds, with the lowest and highest where there are several: "0.712 (0.690–0.731)"."""
    if not len(values):
        return "–"
    mean, low, high = (round(value, digits) + 0.0 for value in (values.mean(), values.min(), values.max()))  # no −0.000
    text = f"{mean:.{digits}f}"
    if spread and len(values) > 1:
        text += f" ({low:.{digits}f}–{high:.{digits}f})"
    return text.replace("-", "\N{MINUS SIGN}")


def numbers(frame: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Every number with so many digits, counts and texts as they are, a dash where there is nothing."""

    def told(value: Any) -> str:
        if isinstance(value, str | int):
            return str(value)
        return "–" if pd.isna(value) else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")

    return frame.map(told)
