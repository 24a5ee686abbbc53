"""Figures made of images: samples, augmentation, prototypes, and two networks' prototypes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from p2p.data.images import ImageSet
from p2p.errors import UserError
from p2p.evaluation.contributions import top
from p2p.evaluation.explanation import number
from p2p.figures import style as look
from p2p.figures.style import PARTS, ROLES, SHARED, WIDTH, styled
from p2p.networks import ProtoNet, distance_map
from p2p.projection import Projection, activation_boxes
from p2p.responses import ResponseTable

if TYPE_CHECKING:
    from p2p.evaluation.runs import Trained  # a figure of images needs no training to be drawn


@styled
def image_sheet(
    pixels: Tensor,
    titles: Sequence[str],
    masks: Tensor | None = None,
    part_names: Sequence[str] = (),
    columns: int = 0,
) -> Figure:
    """Samples with their class names; with masks, each beside a copy with its parts coloured.

    Args:
        pixels: (N, 3, S, S) uint8, or float in [0, 1].
        titles: N.
        masks: (N, S, S) uint8: q + 1 = visible pixel of part_names[q].
        part_names: Q, for the legend.
        columns: Samples a row; 0: 6, or 4 with masks.
    """
    columns = columns or (6 if masks is None else 4)
    titles = [look.short(title, 16, 2) if masks is None else look.short(title, 26) for title in titles]
    lines = 1 + any("\n" in title for title in titles)
    figure, axes = look.sheet(len(pixels), columns, 1 if masks is None else 2, lines, foot=0.3 * (masks is not None))
    for n, ax in enumerate(axes):
        image = look.array(pixels[n])
        pictures = [image]
        if masks is not None:
            grey = np.repeat(image.mean(2, keepdims=True) * 0.5 + 127, 3, 2)
            for q, colour in enumerate(_part_colours(len(part_names))):
                grey[(masks[n] == q + 1).cpu().numpy()] = np.array(to_rgb(colour)) * 255
            pictures.append(grey.astype(np.uint8))
        look.strip(ax, pictures, titles[n])
    if masks is not None:
        colours = zip(part_names, _part_colours(len(part_names)), strict=True)
        look.legend(figure, [Patch(color=colour, label=name) for name, colour in colours])
    return figure


@styled
def augmentation_sheet(images: Tensor, copies: Tensor, titles: Sequence[str] = ()) -> Figure:
    """Originals in the first row, augmented copies below them.

    Args:
        images: (N, 3, S, S) uint8, or float in [0, 1].
        copies: (C, N, 3, S, S) of the same images.
        titles: N names above the columns, or none.
    """
    count = len(images)
    foot = 0.25 if titles else 0.0
    figure, axes = look.sheet((1 + len(copies)) * count, count, 1, lines=0, left=0.7, foot=foot)
    for n, ax in enumerate(axes):
        row, column = divmod(n, count)
        picture = copies[row - 1, column] if row else images[column]
        look.strip(ax, [look.array(picture)], look.short(titles[column], 14) if titles and not row else "")
        if column == 0:
            ax.set_ylabel(f"copy {row}" if row else "original", rotation=0, ha="right", va="center")
    return figure


@styled
def prototype_gallery(trained: Trained, images: ImageSet, prototypes: Sequence[int], columns: int = 3) -> Figure:
    """Each prototype's source image with its box, beside the similarity of all cells to the prototype.

    Args:
        trained: A run with prototypes.
        images: The training split that the projection searched.
        prototypes: Which ones.
        columns: Prototypes a row.

    Raises:
        UserError: The run has no prototypes, or other images were searched.
    """
    network, found = prototypes_of(trained, images)
    boxes = found.boxes(network.layer, images.pixels.shape[-1])
    figure, axes = look.sheet(len(prototypes), columns, 2)
    for j, ax in zip(prototypes, axes, strict=True):
        image = look.array(images.pixels[int(found.images[j])])
        heat = look.heat(image, network.layer.similarity(found.maps[j]))
        look.strip(ax, [image, heat], f"no. {j}, {_class(trained, j, images, 24)}")
        look.box(ax, boxes[j])
        look.box(ax, boxes[j], shift=look.step(image))
    return figure


@styled
@torch.inference_mode()
def top_k_comparison(
    networks: dict[str, Trained],
    trains: ImageSet,
    image: Tensor,
    label: int,
    classes: Sequence[str],
    k: int = 5,
) -> Figure:
    """The k prototypes of each network that count most for what it takes a test image for (paper, figure 1).

    Ranked by what they add to the predicted class's logit, see `p2p.evaluation.contributions`. Left, the image with the
    k boxes, numbered by rank, over those of the teacher, dashed. Right, per
    prototype, its source image above the test image with the similarity map and the box. A coloured frame
    marks a prototype that is among the teacher's k too, by index: one index is meant to mean one concept.

    Args:
        networks: Run by role; the first is compared with, usually "teacher", "baseline", "student".
        trains: The training split that the projections searched.
        image: (3, S, S) uint8.
        label: Its class.
        classes: K names.
        k: Prototypes shown, of any class.

    Raises:
        UserError: A run has no prototypes, or other images were searched.
    """
    size, rows = image.shape[-1], len(networks)
    side = WIDTH / (k + 2.1)
    most = int(12.5 * side)  # characters that fit above an image
    text = 0.92 if any(len(look.short(name, 99)) > most for name in classes) else 0.76
    figure = Figure(figsize=(WIDTH, rows * (2 * side + text) + 0.65), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    first, first_boxes, first_cells = "", torch.empty(0, 4), set[int]()
    first_top: list[int] = []
    for part, (role, trained) in zip(parts, networks.items(), strict=True):
        network, found = prototypes_of(trained, trains)
        labels = network.labels_of(trains.labels.cpu()[found.images.cpu()]).tolist()
        out = network.eval()(image[None].to(network.prototypes.device))
        predicted = int(out.logits.argmax())
        terms = network.decision.contributions(network.layer.similarity(out.distances), out.logits.argmax(1))
        total = float(terms.sum()) if network.decision.classed else float(out.logits.max().exp())
        values, order = (found[0].tolist() for found in top(terms, k))
        maps = network.layer.similarity(distance_map(out.z, out.prototypes[order])[0])
        cells = out.cells[0, order]
        boxes, sources = activation_boxes(maps, cells, size), found.boxes(network.layer, size)
        grid = part.add_gridspec(2, k + 2, width_ratios=[1] * (k + 2))
        whole = part.add_subplot(grid[:, :2])
        right = "right" if predicted == label else "wrong"
        look.strip(whole, [look.array(image)])
        name = f"{role}: {right}\n{look.short(classes[predicted], 24)}"
        whole.set_title(name, color=look.role(role), weight="bold", loc="left")
        said = "boxes numbered by\ncontribution"
        if first:
            both, at = len(set(order) & set(first_top)), len(set(cells.tolist()) & first_cells)
            cells_of = f"{at} of {len(first_cells)} cells"
            # where a class has no more than k prototypes, whoever names that class shares them all
            common = f"{both} of {k} prototypes, " if network.per_class > k else ""
            said = f"shared with the {first}:\n{common}{cells_of}"
            for box in first_boxes:
                look.box(whole, box, look.role(first), linestyle=(0, (3, 2)), linewidth=1.2)
        whole.set_xlabel(f"{said}\n{'logit' if network.decision.classed else 'probability'} {number(total)}")
        places = look.corners(boxes, size)
        for rank, (j, value) in enumerate(zip(order, values, strict=True)):
            look.box(whole, boxes[rank], look.role(role), str(rank + 1), at=places[rank])
            above, below = part.add_subplot(grid[0, rank + 2]), part.add_subplot(grid[1, rank + 2])
            title = f"{rank + 1}: no. {j}\n{look.short(classes[labels[j]], most, 2)}"
            look.strip(above, [look.array(trains.pixels[int(found.images[j])])], title)
            look.box(above, sources[j], look.role(role))
            look.strip(below, [look.heat(look.array(image), maps[rank])])
            look.box(below, boxes[rank], look.role(role))
            below.set_xlabel(f"{'+' * (value > 0)}{number(value)}")
            if j in first_top:
                look.frame(above, SHARED)
                look.frame(below, SHARED)
        if not first:
            first, first_top, first_boxes, first_cells = role, order, boxes, set(cells.tolist())
    shared = f"prototype also among the {first}'s {k}"
    legend = [
        Patch(facecolor="none", edgecolor=SHARED, linewidth=2.5, label=shared),
        Line2D([], [], color=look.role(first), linestyle=(0, (3, 2)), label=f"boxes of the {first}"),
    ]
    figure.suptitle(f"test image of {look.short(classes[label], 40)}", x=0.01, ha="left", fontsize=10)
    look.legend(figure, legend)
    return figure


@styled
def matched_patches(
    teacher: Trained,
    student: Trained,
    trains: ImageSet,
    matches: Sequence[tuple[int, int, float]],
    columns: int = 3,
) -> Figure:
    """Source images of the teacher's prototype i, left, and the student's prototype j matched with it, right.

    Args:
        teacher, student: Runs with prototypes.
        trains: The training split that both projections searched.
        matches: (i, j, fraction of test images in which both sit on the same cell), see `choose_matches`.
        columns: Pairs a row.

    Raises:
        UserError: A run has no prototypes, or other images were searched.
    """
    sides = [(role, *prototypes_of(trained, trains)) for role, trained in (("teacher", teacher), ("student", student))]
    runs = (teacher, student)
    boxes = [found.boxes(network.layer, trains.pixels.shape[-1]) for _, network, found in sides]
    figure, axes = look.sheet(len(matches), columns, 2, lines=2, foot=0.3)
    for (i, j, value), ax in zip(matches, axes, strict=True):
        pictures, names = [], []
        for one, run, (_, _, found) in zip((i, j), runs, sides, strict=True):
            pictures.append(look.array(trains.pixels[int(found.images[one])]))
            names.append(_class(run, one, trains, 16))
        of = names[0] if names[0] == names[1] else " → ".join(names)
        look.strip(ax, pictures, f"{i} → {j}, same cell in {value:.0%}\n{of}")
        for side, one in enumerate((i, j)):
            shift = side * look.step(pictures[0])
            look.box(ax, boxes[side][one], ROLES[sides[side][0]], shift=shift)
    look.legend(figure, [Patch(fc="none", ec=ROLES[role], lw=2, label=role) for role, _, _ in sides])
    return figure


def choose_matches(matches: Sequence[tuple[int, int, float]], n: int = 3) -> list[tuple[int, int, float]]:
    """The n best, n median and n worst of the matches (i, j, similarity), best first."""
    ordered = sorted(matches, key=lambda match: -match[2])
    middle = max(0, (len(ordered) - n) // 2)
    return ordered if len(ordered) <= 3 * n else ordered[:n] + ordered[middle : middle + n] + ordered[-n:]


@styled
def nearest_patches(
    trained: Trained, table: ResponseTable, pixels: Tensor, j: int | Sequence[int], n: int = 6
) -> Figure:
    """The n test images nearest to a prototype, a row for each prototype, with the matched cell framed.

    Args:
        trained: A run with prototypes.
        table: Its response table on the images, N rows.
        pixels: (N, 3, S, S) the images.
        j: One prototype or several.
        n: Images a row.

    Raises:
        UserError: The run has no prototypes.
    """
    network, _ = prototypes_of(trained)
    rows = [j] if isinstance(j, int) else list(j)
    figure, axes = look.sheet(len(rows) * n, n, 1, left=0.7)
    (height, width), size = table.grid, pixels.shape[-1]
    for start, one in enumerate(rows):
        for rank, at in enumerate(table.distances[:, one].argsort(stable=True)[:n].tolist()):
            ax, (y, x) = axes[start * n + rank], divmod(int(table.cells[at, one]), width)
            value = float(network.layer.similarity(table.distances[at, one]))
            look.strip(ax, [look.array(pixels[at])], f"sim. {value:.2f}")
            cell = torch.tensor([x / width, y / height, (x + 1) / width, (y + 1) / height]) * size
            look.box(ax, cell, look.role(trained.params.role))
        axes[start * n].set_ylabel(f"no. {one}", rotation=0, ha="right", va="center")
    return figure


def _part_colours(count: int) -> list[str]:
    return [PARTS[q % len(PARTS)] for q in range(count)]


def _class(trained: Trained, j: int, trains: ImageSet, most: int) -> str:
    """The class of a prototype; where it has none that of its source image."""
    network, found = prototypes_of(trained)
    labels = network.labels_of(trains.labels.cpu()[found.images.cpu()])
    return look.short(trains.classes[int(labels[j])], most)


def prototypes_of(trained: Trained, trains: ImageSet | None = None) -> tuple[ProtoNet, Projection]:
    """A run's network and where its prototypes come from.

    Args:
        trained: The run.
        trains: The training split that the projection is said to have searched; None: not looked at.

    Raises:
        UserError: The run has no prototypes, or other images were searched.
    """
    if not isinstance(trained.network, ProtoNet) or trained.projection is None:
        run = trained.params.run
        raise UserError(f"Run '{run}' has no prototypes to show; choose a run of model 'protopnet'.")
    if trains is not None:
        source, own, labels = trained.projection.images.cpu(), trained.network.own.cpu(), trains.labels.cpu()
        if int(source.max()) >= len(trains) or not own[labels[source], torch.arange(len(source))].all():
            raise UserError(
                f"The images are not those that run '{trained.params.run}' was projected on; "
                "pass the training split of its own data set."
            )
    return trained.network, trained.projection
