"""The training patches that a run's prototypes are: from its data set, or, of a packed network, from its own sheet."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from p2p.data.images import ImageSet, load_images
from p2p.errors import UserError
from p2p.evaluation.packed import SourcePatch, is_packed, read_record
from p2p.evaluation.runs import Trained, load_run
from p2p.networks import ProtoNet

AROUND = 3  # cells, side of a patch as it is shown: a cell alone is a few pixels, and the network saw more than it
GREY = 128  # of the pixels of a source image that a packed network does not have


def source_patches(run: Trained, images: ImageSet | None = None) -> tuple[SourcePatch, ...]:
    """The source patch of every prototype.

    Args:
        run: With prototypes.
        images: Its data set, all splits, where it has been loaded before; a packed network needs none.

    Raises:
        UserError: The run has no prototypes, or its images are gone or others.
    """
    network, found, size = need_prototypes(run), run.projection, run.params.size
    if run.packed:
        return run.packed.patches
    assert found is not None
    images = images or load_images(run.params.model_copy(update={"device": "cpu"}))
    train = check_sources(run, images)
    height, width = found.maps.shape[1:]
    side = [min(size, AROUND * size // cells) for cells in (height, width)]
    boxes = found.boxes(network.layer, size).tolist()
    owner = network.labels_of(images.labels.cpu()[train][found.images.cpu()]).tolist()
    patches = []
    for j, (image, cell) in enumerate(zip(train[found.images].tolist(), found.cells.tolist(), strict=True)):
        row, column = divmod(cell, width)
        y, x = (
            min(max(0, round((at + 0.5) * size / cells - of / 2)), size - of)
            for at, cells, of in ((row, height, side[0]), (column, width, side[1]))
        )
        patches.append(
            SourcePatch(
                prototype=j,
                label=images.classes[owner[j]],
                image=images.names[image],
                cell=(row, column),
                box=(boxes[j][0], boxes[j][1], boxes[j][2], boxes[j][3]),
                corner=(x, y),
                pixels=images.pixels[image][:, y : y + side[0], x : x + side[1]].cpu().clone(),
            )
        )
    return tuple(patches)


def source_patch(run: Trained, j: int, images: ImageSet | None = None) -> SourcePatch:
    """The source patch of prototype j; see `source_patches`."""
    return source_patches(run, images)[j]


def source_image(run: Trained, j: int, images: ImageSet | None = None) -> tuple[str, Tensor]:
    """Name and pixels (3, S, S) uint8 of prototype j's training image; of a packed network all but the patch is grey.

    Args:
        run: With prototypes.
        j: Number of the prototype.
        images: Its data set, all splits; a packed network needs none.
    """
    assert run.projection is not None
    if run.packed:
        patch, size = run.packed.patches[j], run.params.size
        canvas = torch.full((3, size, size), GREY, dtype=torch.uint8)
        x, y = patch.corner
        canvas[:, y : y + patch.pixels.shape[1], x : x + patch.pixels.shape[2]] = patch.pixels
        return patch.image, canvas
    assert images is not None, "a run's source images are those of its data set"
    source = int((images.split == 0).nonzero()[int(run.projection.images[j]), 0])
    return images.names[source], images.pixels[source].clone()


def load_prototypes(folder: Path) -> Trained:
    """A finished run, or packed network, that has prototypes; what else a user may have named is told apart.

    Raises:
        UserError: There is no such run, it is not finished or damaged, or it has no prototypes.
    """
    if not folder.is_dir():
        there = sorted(path.parent.name for path in folder.parent.glob("*/network.safetensors"))
        hint = f"; {folder.parent} holds {', '.join(there[:6])}{' …' if len(there) > 6 else ''}" if there else ""
        raise UserError(f"There is no run {folder}: expected a folder such as runs/quick/teacher-small_half-s0{hint}.")
    if not is_packed(folder) and not (folder / "network.safetensors").is_file():
        inside = sorted(path.parent.name for path in folder.glob("*/network.safetensors"))
        if inside:
            raise UserError(f"{folder} holds several runs; name one of them, such as {folder / inside[0]}.")
        raise UserError(f"{folder} holds no finished run; finish it first (make study), or name another folder.")
    trained = load_run(folder)
    need_prototypes(trained)
    return trained


def need_prototypes(run: Trained) -> ProtoNet:
    """The network of a run, which must have prototypes.

    Raises:
        UserError: It is an ordinary classifier.
    """
    if not isinstance(run.network, ProtoNet):
        raise UserError(
            f"Run '{run.params.run}' is an ordinary classifier (model 'linear') and has no prototypes; "
            "choose a run of model 'protopnet'."
        )
    return run.network


def check_sources(run: Trained, images: ImageSet) -> Tensor:
    """(N,) positions of the training images in the data set, which must be those that the prototypes are patches of.

    Raises:
        UserError: They cannot be: too few, or of other classes.
    """
    found, network = run.projection, need_prototypes(run)
    assert found is not None
    train = (images.split == 0).nonzero()[:, 0].cpu()
    labels, own, sources = images.labels.cpu()[train], network.own.cpu(), found.images.cpu()
    if int(sources.max()) >= len(labels) or not own[labels[sources], torch.arange(len(sources))].all():
        raise UserError(
            f"The training images that are here are not those of run '{run.params.run}'; give its data set back, "
            "or train it again (make study)."
        )
    return train


def folder_beside(folder: Path, run: str) -> Path | None:
    """Folder of another run of the same study: beside a run's by its name, beside a packed network's by its record."""
    if not run:
        return None
    if is_packed(folder):
        others = [path for path in sorted(folder.parent.iterdir()) if is_packed(path)]
        return next((path for path in others if read_record(path)["parameters"].get("run") == run), None)
    return folder.parent / run if (folder.parent / run / "network.safetensors").is_file() else None
