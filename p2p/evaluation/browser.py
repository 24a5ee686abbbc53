"""A packed network for the page of the book that runs it in a reader's browser: one folder, complete in itself.

It holds `network.onnx` (`OUTPUTS` of an image), `network.json` (what the page needs besides, see `facts`), the sheet of
source patches, and, of a network of drawn birds, some examples to click on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from p2p.data import birds
from p2p.data.images import BIRD_TEST_INDEX, bird_counts, bird_table
from p2p.decision import DECISIONS
from p2p.errors import UserError
from p2p.evaluation.export import need_libraries, program_of, write_onnx
from p2p.evaluation.packed import SHEET, read_record
from p2p.evaluation.runs import Trained
from p2p.evaluation.sources import load_prototypes, need_prototypes
from p2p.files import atomic_path, write_atomic
from p2p.networks import ProtoNet, distance_map

OUTPUTS = ("logits", "distances", "maps")
EXAMPLE_SIZE = 256  # pixels, side of an example: larger than the network's input, as a photograph is
SQUARES = 8  # of a side of the chequered example, in which nothing is like a bird


class Mapped(nn.Module):
    """A network as the page calls it: images (B, 3, S, S) uint8 in, `OUTPUTS` out.

    These are logits (B, K), distances (B, P) of the nearest cells, and the similarities of all cells (B, P, H, W).
    """

    def __init__(self, network: ProtoNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        out = self.network(images)
        return out.logits, out.distances, self.network.layer.similarity(distance_map(out.z, out.prototypes))


def packed_students(networks: Path) -> list[Path]:
    """Folders of the packed students below a folder, `<study>/student-<network>`, that the page can explain.

    A tree is none of them: its decision is no sum, and the page shows sums.
    """
    found = sorted(path.parent for path in networks.glob("*/student-*/run.json"))
    kinds = {folder: read_record(folder)["parameters"].get("decision", "linear") for folder in found}
    return [folder for folder, kind in kinds.items() if DECISIONS[kind].classed]


def write_for_browser(folder: Path, out: Path) -> None:
    """Write a packed network as the page takes it.

    Args:
        folder: Of a packed network.
        out: Folder for the files.

    Raises:
        UserError: A library is missing, or there is no such network, or it is no packed one.
    """
    need_libraries()
    trained = load_prototypes(folder)
    network = need_prototypes(trained)
    if trained.packed is None:
        raise UserError(f"{folder} is no packed network; pack it first (make pack).")
    with atomic_path(out / "network.onnx") as temporary:
        write_onnx(program_of(Mapped(network), trained.params.size), temporary, OUTPUTS)
    shutil.copy2(folder / SHEET, out / SHEET)
    told = facts(trained, folder) | {"examples": write_examples(trained, out)}
    write_atomic(out / "network.json", json.dumps(told, ensure_ascii=False, separators=(",", ":")))


def facts(trained: Trained, folder: Path) -> dict[str, Any]:
    """What the page must know of a packed network beside its answers.

    Args:
        trained: A packed network.
        folder: Of it.

    Returns:
        study, network, size S, grid [H, W], classes (K), weight (K × P of the decision), limit (the squared distance
        up to which a nearest prototype is usual, see `p2p.evaluation.explainer.usual_distance`), cropped (whether its
        images were cut to the bird), right and tested (images), parameters, and of each prototype [classes, training
        image, cell, corner of its patch]; side and columns of the sheet's tiles.
    """
    network, params, packed = need_prototypes(trained), trained.params, trained.packed
    assert packed is not None
    record = read_record(folder)
    with Image.open(folder / SHEET) as sheet:
        width = sheet.width
    side = packed.patches[0].pixels.shape[2]
    owners = [network.own[:, j].nonzero()[:, 0].tolist() for j in range(len(packed.patches))]
    return {
        "study": params.study,
        "network": params.network,
        "size": params.size,
        "grid": [params.grid, params.grid],
        "classes": packed.classes,
        "weight": [[float(f"{value:.7g}") for value in row] for row in network.decision.weight.tolist()],
        "limit": packed.usual,
        "cropped": params.reader == "cub",
        "right": record["packed"]["right_packed"],
        "tested": record["packed"]["test_images"],
        "parameters": record["outcome"]["parameters"],
        "prototypes": [[owners[p.prototype], p.image, p.cell, p.corner] for p in packed.patches],
        "side": side,
        "columns": width // side,
    }


def write_examples(trained: Trained, out: Path) -> list[dict[str, str]]:
    """Pictures to click on, of a network of drawn birds: two of its test birds, drawn larger, and one of no bird.

    The birds are the first test birds of the first class and of that halfway; other networks have no example, for
    their photographs are not ours to pass on.

    Returns:
        File and what it shows, of each.
    """
    params = trained.params
    if params.reader != "birds":
        return []
    classes, _, _ = bird_counts(params)
    labels = torch.tensor([0, classes // 2])
    table, index = bird_table(params, classes), labels + BIRD_TEST_INDEX
    drawn = birds.draw(labels, index, table, EXAMPLE_SIZE, params.data_seed, hardness=params.bird_hardness)
    squares = np.indices((EXAMPLE_SIZE, EXAMPLE_SIZE)) // (EXAMPLE_SIZE // SQUARES)
    chequered = np.repeat((squares.sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    pictures = [*drawn.pixels.permute(0, 2, 3, 1).numpy(), chequered]
    assert trained.packed is not None
    names = [*(f"a bird of {trained.packed.classes[label]}" for label in labels.tolist()), "no bird at all"]
    examples = []
    for number, (pixels, name) in enumerate(zip(pictures, names, strict=True), 1):
        file = f"example-{number}.png"
        with atomic_path(out / file) as temporary:
            Image.fromarray(pixels).save(temporary, "PNG", optimize=True)
        examples.append({"file": file, "shows": name})
    return examples
