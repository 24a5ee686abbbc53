"""Figures of a user's own images: what is taken for what, the prototypes of a class, mistakes with what decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from torch import Tensor

from p2p.data.images import ImageSet
from p2p.evaluation.explanation import Explanation, number
from p2p.figures import style as look
from p2p.figures.evidence import cell_box
from p2p.figures.pictures import prototypes_of
from p2p.figures.style import SHARED, WIDTH, styled
from p2p.study.pages import class_text

if TYPE_CHECKING:
    from p2p.evaluation.runs import Trained

MOST_NAMED = 30  # classes up to which a matrix can be read


@styled
def confusion_matrix(counts: Tensor, classes: Sequence[str]) -> Figure:
    """Test images by their class (rows) and what they were taken for (columns); the diagonal is right.

    Args:
        counts: (K, K).
        classes: K names; beyond `MOST_NAMED` neither names nor numbers are drawn.
    """
    named, values = len(classes) <= MOST_NAMED, counts.double().numpy()
    side = min(WIDTH, 2.2 + 0.42 * len(classes)) if named else 5.0
    figure = Figure(figsize=(max(5.0, side), side - 0.3), layout="constrained")
    ax = figure.subplots()
    share = values / values.sum(1, keepdims=True).clip(min=1)
    ax.pcolormesh(share, cmap="Blues", vmin=0, vmax=1.6, edgecolors="#DDDDDD" if named else "none", linewidth=0.5)
    for i in range(len(classes) if named else 0):
        for j in range(len(classes)):
            if values[i, j]:
                colour, weight = (SHARED, "bold") if i != j else ("black", "normal")
                ax.text(j + 0.5, i + 0.5, f"{values[i, j]:.0f}", ha="center", va="center", color=colour, weight=weight)
    ax.set(xlabel="taken for", ylabel="images of", aspect="equal")
    ax.invert_yaxis()
    middle = [k + 0.5 for k in range(len(classes))] if named else []
    names = [look.short(name, 18) for name in classes] if named else []
    ax.set_xticks(middle, names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(middle, names)
    ax.tick_params(length=0)
    return figure


@styled
def class_prototypes(trained: Trained, images: ImageSet, label: int, most: int = 10) -> Figure:
    """The prototypes of one class: each in its training image, framed, those of the largest weight first.

    Args:
        trained: A run with prototypes.
        images: The training split that the projection searched.
        label: The class.
        most: At most so many.

    Raises:
        UserError: The run has no prototypes, or other images were searched.
    """
    network, found = prototypes_of(trained, images)
    weights = network.decision.weight[label]
    own = network.own[label].nonzero()[:, 0]
    shown = own[weights[own].argsort(descending=True, stable=True)][:most].tolist()
    boxes = found.boxes(network.layer, images.pixels.shape[-1])
    figure, axes = look.sheet(len(shown), 5, 1)
    for ax, j in zip(axes, shown, strict=True):
        image = look.array(images.pixels[int(found.images[j])])
        look.strip(ax, [image], f"no. {j}, weight {number(float(weights[j]))}")
        look.box(ax, boxes[j], look.role(trained.params.role))
    return figure


@styled
def mistakes(explanations: Sequence[Explanation], truths: Sequence[str]) -> Figure:
    """A row a test image that was taken for something else: the image, numbered where the prototypes that decided were
    found, and those prototypes in their training images.

    Args:
        explanations: Each with the same number of prototypes.
        truths: The right class of each.
    """
    wide = 1 + max(len(one.evidence) for one in explanations)
    figure, axes = look.sheet(len(explanations) * wide, wide, 1, lines=4)
    for n, (one, truth) in enumerate(zip(explanations, truths, strict=True)):
        whole, *parts = axes[n * wide : (n + 1) * wide]
        size, letters = one.image.shape[-1], 24
        (name, _, probability), *_ = one.best(1)
        title = f"{look.short(class_text(truth), letters)}\ntaken for\n{look.short(name, letters)}"
        title += f", {100 * probability:.0f} %"
        look.strip(whole, [look.array(one.image)], title)
        cells = {rank: cell_box(each.cell, one.grid, size) for rank, each in enumerate(one.evidence, 1)}
        look.numbered(whole, cells, look.role(one.role))
        for rank, (ax, each) in enumerate(zip(parts, one.evidence, strict=False), 1):
            title = f"{rank}: no. {each.prototype}\n{look.short(one.owner(each, True), letters)}"
            title += f"\n{100 * one.share(each.contribution):.0f} % of evidence"
            look.strip(ax, [look.array(each.source)], title)
            look.box(ax, cell_box(each.source_cell, one.grid, size), look.role(one.role))
    return figure
