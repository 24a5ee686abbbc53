"""Letters that a figure's font does not have: from another font of this machine, else as their names in brackets.

In a page of the book text stays text, and the reader's browser has fonts for it; a picture made by matplotlib has not.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter

JOINING = frozenset({"Cf", "Mn"})  # what only changes the letter before it: variation selectors, joiners


@cache
def letters_of(font: str) -> frozenset[int]:
    """The code points that matplotlib can draw by a font's file; none of one of coloured pictures."""
    try:
        face = FT2Font(font)
        return frozenset(face.get_charmap()) if face.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@cache
def other_font(letter: str) -> str:
    """The name of an installed font that has a letter; empty where none has."""
    fonts = sorted((entry.name, entry.fname) for entry in fontManager.ttflist if entry.style == "normal")
    found = (name for name, file in fonts if "color" not in name.lower() and "Last Resort" not in name)
    files = dict(fonts)
    return next((name for name in found if ord(letter) in letters_of(files[name])), "")


def named(text: str, known: frozenset[int]) -> str:
    """The text with each run of letters that are not among the known ones as their names: "[bird]", "[ka ra su]"."""
    parts = []
    for drawn, run in groupby(text, lambda letter: letter.isspace() or ord(letter) in known):
        letters = list(run)
        names = [_name(letter) for letter in letters if unicodedata.category(letter) not in JOINING]
        parts.append("".join(letters) if drawn else f"[{' '.join(names)}]" if names else "")
    return "".join(parts)


def _name(letter: str) -> str:
    name = unicodedata.name(letter, "").lower().rsplit(" letter ", 1)[-1]
    return name if name and "ideograph" not in name else f"U+{ord(letter):04X}"


def drawable(figure: Figure) -> Figure:
    """The same figure, without a letter that would be drawn as an empty box and warned of."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FixedFormatter):  # tick labels are written anew from it whenever it is drawn
                known = letters_of(str(findfont(axis.label.get_fontproperties())))
                formatter.seq = [named(str(label), known) for label in formatter.seq]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        known, said = letters_of(str(findfont(text.get_fontproperties()))), text.get_text()
        missing = [letter for letter in said if not letter.isspace() and ord(letter) not in known]
        if missing:
            others = sorted({other_font(letter) for letter in missing} - {""})
            text.set_fontfamily([*text.get_fontfamily(), *others])
            known = known.union(*(letters_of(str(findfont(name))) for name in others))
            text.set_text(named(said, known))
    return figure
