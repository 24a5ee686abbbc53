"""A tree drawn: all of it as SVG that its reader can move and enlarge, and the way of one image through it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from p2p.evaluation.explanation import Explanation, Path, Tree
from p2p.figures import style as look
from p2p.figures.evidence import cell_box, on_one_cell
from p2p.figures.style import WIDTH, styled
from p2p.study.pages import class_text

# in the units of the drawing: from level to level, from leaf to leaf, side of a patch, a letter of a leaf
COLUMN, ROW, PATCH, LETTER = 118, 30, 44, 8
LETTERS = 26  # of a class's name
MOVE = """\
<script>
for (const frame of document.querySelectorAll(".tree")) {
  const svg = frame.querySelector("svg"), whole = svg.getAttribute("viewBox").split(" ").map(Number);
  let box = [...whole], held = null;
  const show = () => svg.setAttribute("viewBox", box.join(" "));
  const zoom = (factor, x = 0.5, y = 0.5) => {
    const size = Math.min(whole[2], box[2] * factor) / box[2];
    box = [box[0] + box[2] * x * (1 - size), box[1] + box[3] * y * (1 - size), box[2] * size, box[3] * size];
    show();
  };
  frame.querySelector("[data-in]").onclick = () => zoom(0.7);
  frame.querySelector("[data-out]").onclick = () => zoom(1 / 0.7);
  frame.querySelector("[data-all]").onclick = () => { box = [...whole]; show(); };
  svg.onwheel = (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const at = svg.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 0.85 : 1 / 0.85, (event.clientX - at.x) / at.width, (event.clientY - at.y) / at.height);
  };
  svg.onpointerdown = (event) => { held = [event.clientX, event.clientY]; };
  svg.onpointermove = (event) => {
    if (!held || !event.buttons || box[2] === whole[2]) return;
    const scale = box[2] / svg.getBoundingClientRect().width;
    box[0] -= (event.clientX - held[0]) * scale;
    box[1] -= (event.clientY - held[1]) * scale;
    held = [event.clientX, event.clientY];
    show();
  };
}
</script>"""
CSS = """\
.tree { overflow-x: auto; border: 1px solid var(--line); padding: .3rem }
.tree svg { display: block; width: 100%; min-width: 44rem; height: auto; touch-action: pan-x pan-y }
.tree p { margin: 0 0 .3rem; position: sticky; left: 0 }
.tree button { font: inherit; min-width: 2.5rem; min-height: 2.5rem; margin-right: .3rem }
"""


def tree_svg(tree: Tree, classes: Sequence[str], role: str = "", way: Path | None = None) -> str:
    """The tree from left to right: the root's question first, the leaves with their likeliest class last.

    A node is the training patch that is asked for, with its number; up goes what is not there, down what is. What
    pruning took away is not drawn. With an image's way through it, lines are as thick as the probability to come along
    them, the way itself is coloured, and below a node stands how similar the image is.

    Args:
        tree: Of the network.
        classes: K names.
        role: Of the network, for the colour of the way.
        way: Of the image.

    Returns:
        SVG text with `--ink` as the colour of words where the page has one; it needs nothing else.
    """
    decision, colour = tree.decision, look.role(role)
    nodes, alive = len(tree.patches), decision.alive.nonzero()[:, 0].tolist()
    left, right = decision.sides()
    both = (left & right).tolist()
    reach = None if way is None else _reach(decision.paths(way.similarities[None])[0])
    on = set() if way is None else _ancestors(way.leaf + nodes)
    lines, marks = list[str](), list[str]()

    def place(node: int, level: int) -> tuple[int, int, float]:
        """Draw what lies below; the node that stands in this place, its level, and its height."""
        while node < nodes and not both[node]:  # gone: what is left of it takes its place
            node = 2 * node + (2 if right[node] else 1)
        if node >= nodes:
            return node, level, ROW * (alive.index(node - nodes) + 0.5)
        below = [place(2 * node + 1 + turn, level + 1) for turn in (0, 1)]
        y = sum(each[2] for each in below) / 2
        for turn, (child, depth, height) in enumerate(below):
            inside = child in on and node in on
            start, end = COLUMN * level + PATCH, COLUMN * depth
            middle = end - (COLUMN - PATCH) / 2
            wide = 1.2 if reach is None else 1 + 6 * reach[child]
            tint = colour if inside else "#888"
            curve = f"M{start} {y:.1f}H{start + 6}C{middle} {y:.1f} {middle} {height:.1f} {end} {height:.1f}"
            lines.append(f'<path d="{curve}" fill="none" stroke="{tint}" stroke-width="{wide:.1f}"/>')
            if depth < 3 or inside:
                word = ("no", "yes")[turn]
                y_word, ink = height + (15 if turn else -7), colour if inside else ""
                marks.append(_text(end - 5, y_word, word, "end", 11, ink, bold=inside))
        marks.append(_node(tree, node, COLUMN * level, y, colour if node in on else "#888", way))
        return node, level, y

    place(0, 0)
    leaves, room = decision.distributions(), 0
    for row, leaf in enumerate(alive):
        depth, chosen = len(decision.steps(leaf)), leaf + nodes in on
        share, k = leaves[:, leaf].max(0)
        said = f"{look.clip(class_text(classes[int(k)]), LETTERS)}, {100 * float(share):.0f} %"
        if reach is not None:
            said += f" (reached: {100 * reach[leaf + nodes]:.0f} %)" if reach[leaf + nodes] >= 0.005 else ""
        room = max(room, COLUMN * depth + LETTER * len(said))
        y = ROW * (row + 0.5)
        marks.append(_text(COLUMN * depth + 5, y + 4.5, said, "start", 13, colour if chosen else "", bold=chosen))
    wide, high = room + 20, ROW * len(alive) + PATCH
    inner = "\n".join([*lines, *marks])
    label = f"A tree of {sum(both)} questions and {len(alive)} leaves"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 {-PATCH / 2:.0f} {wide} {high}" role="img" '
        f'aria-label="{label}" font-family="system-ui, sans-serif">\n{inner}\n</svg>'
    )


def movable(svg: str) -> str:
    """A tree in a page: it scrolls on a narrow screen, and has buttons to enlarge; the page needs `CSS` and `MOVE`."""
    buttons = "".join(
        f'<button type="button" data-{name} aria-label="{said}">{sign}</button>'
        for name, said, sign in (("in", "enlarge", "+"), ("out", "reduce", "−"), ("all", "the whole tree", "all"))
    )
    return f'<div class="tree"><p>{buttons}</p>{svg}</div>'


@styled
def way_figure(explanations: Sequence[Explanation]) -> Figure:
    """A block a network: the image with the questions' cells numbered; of each question the training image of its
    prototype above the image with its heat, and the answer below.

    Args:
        explanations: Of one image by one or several trees.
    """
    ways = [one.path for one in explanations if one.path]
    k = max(len(way.asked) for way in ways)
    side = WIDTH / (k + 2.1)
    figure = Figure(figsize=(WIDTH, len(ways) * (2 * side + 1.0)), layout="constrained")
    parts = figure.subfigures(len(ways), 1, squeeze=False)[:, 0]
    for part, one, way in zip(parts, explanations, ways, strict=True):
        size, image, colour = one.image.shape[-1], look.array(one.image), look.role(one.role)
        grid = part.add_gridspec(2, k + 2, width_ratios=[1] * (k + 2))
        whole = part.add_subplot(grid[:, :2])
        look.strip(whole, [image])
        name, _, probability = one.best(1)[0]
        title = f"{one.role}\n{look.short(name, int(25 * side))}, {100 * probability:.0f} %"
        whole.set_title(title, color=colour, weight="bold", loc="left")
        whole.set_xlabel("\n".join(["questions numbered\nfrom the root", *on_one_cell(one)]))
        yes = [rank for rank, there in enumerate(way.there, 1) if there]
        look.numbered(whole, {rank: cell_box(way.asked[rank - 1].cell, one.grid, size) for rank in yes}, colour)
        for rank, (each, there) in enumerate(zip(way.asked, way.there, strict=True), 1):
            here = cell_box(each.cell, one.grid, size)
            above, below = part.add_subplot(grid[0, rank + 1]), part.add_subplot(grid[1, rank + 1])
            look.strip(above, [look.array(each.source)], f"{rank}: no. {each.prototype}\nlike this?")
            look.box(above, cell_box(each.source_cell, one.grid, size), colour)
            look.strip(below, [look.heat(image, each.similarities)])
            look.box(below, here, colour)
            below.set_xlabel(
                f"{each.similarity:.2f}:\n{'yes' if there else 'no'}", weight="bold" if there else "normal"
            )
    return figure


def _reach(paths: Tensor) -> list[float]:
    """Probability to come to each node and, behind them, each leaf, in the order of the heap; paths (L,)."""
    levels = [paths]
    while len(levels[0]) > 1:
        levels.insert(0, levels[0].view(-1, 2).sum(1))
    return [value for level in levels for value in level.tolist()]


def _ancestors(node: int) -> set[int]:
    found = {node}
    while node:
        node = (node - 1) // 2
        found.add(node)
    return found


def _node(tree: Tree, node: int, x: float, y: float, colour: str, way: Path | None) -> str:
    patch = tree.patches[node]
    out = io.BytesIO()
    picture = Image.fromarray(look.array(patch.pixels)).resize((2 * PATCH, 2 * PATCH), Image.Resampling.BICUBIC)
    picture.save(out, "JPEG", quality=85)
    uri = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
    row, column = patch.cell
    said = f"Prototype {node}: row {row + 1}, column {column + 1} of training image {patch.image} ({patch.label})"
    top, small = y - PATCH / 2, f'width="{PATCH}" height="{PATCH}"'
    parts = [
        f"<g><title>{escape(said)}</title>",
        f'<image href="{uri}" x="{x:.1f}" y="{top:.1f}" {small}/>',
        f'<rect x="{x:.1f}" y="{top:.1f}" {small} fill="none" stroke="{colour}" stroke-width="2"/>',
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{8 + 7 * len(str(node))}" height="15" fill="#fff" stroke="none"/>',
        f'<text x="{x + 4:.1f}" y="{top + 12:.1f}" font-size="12" fill="#111">{node}</text>',
    ]
    if way is not None:
        value = float(way.similarities[node])
        parts.append(_text(x + PATCH / 2, top + PATCH + 12, f"{value:.2f}", "middle", 11, ""))
    return "".join([*parts, "</g>"])


def _text(x: float, y: float, said: str, anchor: str, size: int, colour: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    ink = colour or "var(--ink, #111)"
    style = f'style="fill:{ink}" font-size="{size}" text-anchor="{anchor}"{weight}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(said)}</text>'
