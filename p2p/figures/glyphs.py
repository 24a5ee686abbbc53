"""Letters that a figure's font does not have: from another font of this machine, else as their names in brackets.

In a page text stays text, and the reader's browser has fonts for it; what matplotlib draws must fit the fonts here.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

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
    plain = ((name, file) for name, file in fonts if "color" not in name.lower() and "Last Resort" not in name)
    return next((name for name, file in plain if ord(letter) in letters_of(file)), "")


def readable(text: str) -> str:
    """The text with each run of letters that no font here has as their names: "[bird]", "[ka ra su]"."""
    known, parts = letters_of(str(findfont(FontProperties()))), []
    for drawn, run in groupby(text, lambda letter: _drawn(letter, known)):
        letters = list(run)
        names = [_name(letter) for letter in letters if unicodedata.category(letter) not in JOINING]
        parts.append("".join(letters) if drawn else f"[{' '.join(names)}]" if names else "")
    return "".join(parts)


def _drawn(letter: str, known: frozenset[int]) -> bool:
    return letter.isspace() or ord(letter) in known or bool(other_font(letter))


def _name(letter: str) -> str:
    name = unicodedata.name(letter, "").lower().rsplit(" letter ", 1)[-1]
    return name if name and "ideograph" not in name else f"U+{ord(letter):04X}"


def lend_fonts(figure: Figure) -> Figure:
    """The same figure; texts whose letters their font lacks take them from others that have them."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        known = letters_of(str(findfont(FontProperties())))
        missing = {letter for letter in text.get_text() if not letter.isspace() and ord(letter) not in known}
        if others := sorted({other_font(letter) for letter in missing} - {"", *text.get_fontfamily()}):
            text.set_fontfamily([*text.get_fontfamily(), *others])
    return figure
