"""An explanation as a page of its own: it loads nothing, fits a phone, and is light or dark as its reader's system."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from PIL import Image

from p2p.evaluation.explanation import Explanation, number
from p2p.figures import style as look
from p2p.figures.style import Pixels
from p2p.figures.tree import CSS, MOVE, movable, tree_svg
from p2p.study.pages import class_text

STYLE = """\
:root { color-scheme: light dark; --page: #fff; --ink: #111; --line: #ccc; --soft: #f4f4f4; --quiet: #555 }
@media (prefers-color-scheme: dark) {
  :root { --page: #161616; --ink: #eee; --line: #555; --soft: #262626; --quiet: #bbb }
}
body {
  font: 1rem/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem;
  background: var(--page); color: var(--ink);
}
h1 { font-size: 1.5rem; margin: .5rem 0; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 0 0 .5rem }
figure { margin: 0 }
p { margin: .5rem 0; overflow-wrap: anywhere }
figcaption, .sum th { font-size: .85rem; color: var(--quiet) }
.networks { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.5rem }
.network { border-top: 5px solid var(--role); padding-top: .6rem }
.picture { position: relative }
.picture img, .cards img { display: block; width: 100% }
.whole { max-width: 20rem }
.box { position: absolute; border: 3px solid var(--role); outline: 1px solid #fff; box-sizing: border-box }
.box b { position: absolute; top: 0; left: 0; padding: 0 .3em; font-size: .85rem; white-space: nowrap; z-index: 1 }
.box b.above { top: auto; bottom: 100% }
.box b.below { top: 100% }
.box b.left { left: auto; right: 0 }
.box b { background: var(--ink); color: var(--page) }
.note { background: var(--soft); border-left: 5px solid #d55e00; padding: .6rem .8rem }
ol { padding: 0; list-style: none; display: grid; gap: 0 1.5rem }
ol { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
li { border-top: 1px solid var(--line); padding: .7rem 0 }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; max-width: 24rem }
.sum { border-collapse: collapse; width: 100%; max-width: 44rem }
.sum th { text-align: left; font-weight: normal; white-space: nowrap; padding-right: .6rem }
.sum td { padding: .1rem 0 }
.track { width: 70%; position: relative }
.track span { position: absolute; top: .25rem; bottom: .25rem; min-width: 1px }
.number { text-align: right; padding-left: .5rem }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)); gap: 1rem }
.cards a { color: inherit }
"""
HEAD = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style></head><body>
"""


def page(said: Explanation) -> str:
    """One image with its explanation, the student's beside its teacher's where both are there.

    Args:
        said: What the network says; its `teacher` is shown first.
    """
    networks = [one for one in (said.teacher, said) if one]
    name = class_text(said.classes[said.predicted])
    title = f"{said.name}: {name}"
    parts = [
        HEAD.format(title=escape(title), style=STYLE + (CSS if said.path else "")),
        f"<main><h1>{escape(title)}</h1>",
    ]
    if said.teacher:
        same = said.teacher.predicted == said.predicted
        other = "the same" if same else class_text(said.teacher.classes[said.teacher.predicted])
        parts.append(f"<p>The network's teacher takes it for {escape(other)}.</p>")
    parts.append('<div class="networks">')
    parts += [_network(one) for one in networks]
    parts.append("</div>")
    for one in networks:
        if one.path:
            way = f"The tree of the {one.role} and the way of {one.name} through it"
            parts.append(f'<section class="network" style="--role: {look.role(one.role)}"><h2>{escape(way)}</h2>')
            parts.append(
                "<p>Yes leads down, no leads up; a line is as thick as the share of the decision along it.</p>"
            )
            parts.append(movable(tree_svg(one.path.tree, one.classes, one.role, one.path)) + "</section>")
    parts += [MOVE] if said.path else []
    return "\n".join([*parts, "</main></body></html>\n"])


def index_page(entries: Sequence[tuple[str, Explanation]], left_out: str = "") -> str:
    """A page that leads to the pages of several images.

    Args:
        entries: The page's file and what it explains.
        left_out: A sentence on files of the folder that are not among them.
    """
    count = "One image" if len(entries) == 1 else f"{len(entries)} images"
    title = f"{count} explained by {entries[0][1].run}"
    cards = []
    for file, said in entries:
        (name, _, probability), *_ = said.best(1)
        far = [one.role for one in (said, said.teacher) if one and one.warning]
        note = f" · nothing here resembles a prototype of the {' or the '.join(far)} as closely as usual" if far else ""
        note += f" · it was {said.known[0]} on this image" if said.known else ""
        text = f"{said.name}: {name}, {100 * probability:.0f} %{note}"
        picture = f'<img src="{_uri(look.array(said.image))}" alt="">'
        cards.append(f'<a href="{quote(file)}"><figure>{picture}<figcaption>{escape(text)}</figcaption></figure></a>')
    head = HEAD.format(title=escape(title), style=STYLE)
    note = f'<p class="note" role="note">{escape(left_out)}</p>' if left_out else ""
    return "\n".join(
        [head, f'<main><h1>{escape(title)}</h1>{note}<div class="cards">', *cards, "</div></main></body></html>\n"]
    )


def _network(one: Explanation) -> str:
    image = look.array(one.image)
    opening, counted, *each, total = one.lines()
    told = one.path.asked if one.path else one.evidence
    found = one.path.there if one.path else [True] * len(told)
    numbered = [rank for rank, there in enumerate(found, 1) if there]
    boxes = _boxes({rank: told[rank - 1].cell for rank in numbered}, one.grid)
    what = "what its tree finds" if one.path else "the cells of the prototypes that count most"
    whole = _picture(image, f"{one.name}, {what} numbered", boxes)
    parts = [
        f'<section class="network" style="--role: {look.role(one.role)}"><h2>{escape(one.role.capitalize())}</h2>',
        f'<p class="note" role="note">{escape(one.warning)}</p>' if one.warning else "",
        f'<figure class="whole">{whole}</figure><p>{escape(opening)}</p>',
        *(f'<p class="note" role="note">{escape(remark)}</p>' for remark in one.remarks),
        *(f"<p>{escape(shared)}</p>" for shared in one.frames),
        "" if one.path else _sum(one),
        f"<p>{escape(counted)}</p><ol>",
    ]
    for rank, (e, line) in enumerate(zip(told, each, strict=True), 1):
        source = _picture(look.array(e.source), f"Training image {e.source_name}", _box(e.source_cell, one.grid, ""))
        heat = _picture(
            look.heat(image, e.similarities), f"Where {one.name} resembles it", _box(e.cell, one.grid, str(rank))
        )
        parts.append(
            f'<li><div class="pair"><figure>{source}<figcaption>training image</figcaption></figure>'
            f"<figure>{heat}<figcaption>where this image resembles it</figcaption></figure></div>"
            f"<p>{escape(line)}</p></li>"
        )
    return "\n".join([*parts, f"</ol><p>{escape(total)}</p></section>"])


def _sum(one: Explanation) -> str:
    """The contributions as bars, each beginning where the one above it ends; the last is the logit."""
    steps = [*one.steps(), ("logit", 0.0, one.logit)]
    ends = [0.0, *(value for _, start, end in steps for value in (start, end))]
    low, room = min(ends), max(max(ends) - min(ends), 1e-9)
    rows = []
    for label, start, end in steps:
        colour = "#767676" if label == "logit" else "var(--role)" if end >= start else look.SHARED
        place = f"left:{100 * (min(start, end) - low) / room:.2f}%;width:{100 * abs(end - start) / room:.2f}%"
        value = number(end - start, "" if label == "logit" else "+")
        bar = f'<td class="track"><span style="{place};background:{colour}"></span></td>'
        head = f'<th scope="row">{escape(label)}</th>'
        rows.append(f'<tr>{head}{bar}<td class="number">{value}</td></tr>')
    return f'<table class="sum" aria-label="How the logit adds up"><tbody>{"".join(rows)}</tbody></table>'


def _picture(image: Pixels, alt: str, boxes: str) -> str:
    return f'<div class="picture"><img src="{_uri(image)}" alt="{escape(alt)}">{boxes}</div>'


def _boxes(cells: dict[int, tuple[int, int]], grid: tuple[int, int]) -> str:
    """Numbered frames; those of one cell stand inside each other, their numbers together."""
    places: dict[tuple[int, int], list[int]] = {}
    for rank, cell in cells.items():
        places.setdefault(cell, []).append(rank)
    return "".join(
        _box(cell, grid, "" if inset else ", ".join(map(str, ranks)), inset)
        for cell, ranks in places.items()
        for inset in look.insets(len(ranks))
    )


def _box(cell: tuple[int, int], grid: tuple[int, int], text: str, inset: float = 0.0) -> str:
    (row, column), (height, width) = cell, grid
    place = f"left:{100 * (column + inset) / width:.2f}%;top:{100 * (row + inset) / height:.2f}%"
    size = f"width:{100 * (1 - 2 * inset) / width:.2f}%;height:{100 * (1 - 2 * inset) / height:.2f}%"
    side = f"{'above' if row else 'below'}{' left' if 2 * column >= width else ''}" if "," in text else ""
    label = f'<b class="{side}">{text}</b>' if side else f"<b>{text}</b>" if text else ""
    return f'<span class="box" style="{place};{size}">{label}</span>'


def _uri(image: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
