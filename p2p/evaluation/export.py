"""A trained network for programs without p2p: `python -m p2p.evaluation.export RUN --out FOLDER` writes ONNX and PT2.

Beside the network lie its classes, the training patches that its prototypes are, and `use.py`, which runs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from p2p.data.images import load_images
from p2p.errors import UserError, command
from p2p.evaluation.packed import write_patches
from p2p.evaluation.sources import load_prototypes, need_prototypes, source_patches
from p2p.files import atomic_path, write_atomic
from p2p.networks import ProtoNet, distance_map

NEEDED = ("onnx", "onnxruntime", "onnxscript")
OUTPUTS = ("logits", "similarities", "distances", "cells")
# Of a distance where it is above one, and of the largest logit. A distance is ‖z‖² − 2 z·p + ‖p‖² of D channels between
# 0 and 1: terms of up to D, whose sum in float32 carries some 4e-5 at D = 128, in whatever order a runtime adds them.
TOLERANCE = 1e-4

USE = '''\
"""What the network says of a photograph: python use.py photo.jpg, with numpy, pillow and onnxruntime alone."""
import csv
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

here, size = Path(__file__).parent, {size}
classes = (here / "classes.txt").read_text(encoding="utf-8").splitlines()
prototypes = list(csv.DictReader((here / "sources.csv").open(encoding="utf-8", newline="")))
image = Image.open(sys.argv[1]).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
pixels = np.asarray(image).transpose(2, 0, 1)[None]  # (1, 3, size, size) uint8
logits, similarities, _, cells = onnxruntime.InferenceSession(here / "network.onnx").run(None, {{"images": pixels}})
print(classes[logits[0].argmax()])
for j in similarities[0].argsort()[::-1][:3]:
    row, column = divmod(int(cells[0, j]), {width})
    like = f"{{prototypes[j]['class']}}, {{prototypes[j]['image']}}"
    print(f"row {{row}}, column {{column}} looks like {{like}}: similarity {{similarities[0, j]:.2f}}")
'''

README = """\
# {run} of study {study}, exported

`python use.py photo.jpg` names the class of a photograph and the three training patches that it resembles most; it
needs numpy, pillow and onnxruntime, not p2p.

| file | holds |
|---|---|
| `network.onnx` | the network; input `images`, (B, 3, {size}, {size}) `uint8`, RGB, any B; normalisation is inside |
| `network.pt2` | the same, `torch.export.load("network.pt2").module()(images)` |
| `classes.txt` | {classes} class names, a line each |
| `sources.csv`, `sources.webp` | for each of {prototypes} prototypes its class and the training patch that it is |

Outputs: `logits` (B, {classes}); `similarities` (B, {prototypes}) of each prototype to its nearest cell;
`distances` (B, {prototypes}), squared L2 to that cell; `cells` (B, {prototypes}), its place, row · {width} + column,
counted from 0.

Compared with the network in p2p on {images} images of noise, the largest difference of a distance is {distances:.1e}
(of the distance, where that is above one), and of a logit from what its distances give, {logits:.1e} of the largest
logit. Allowed is {tolerance:.0e}: sums of {depth} squares in single precision carry some 4e-5, in whatever order a
runtime adds them, and a similarity log((d + 1)/(d + 1e-4)) makes much of that where d is nearly 0.

The images were prepared by resizing to the square with Pillow's bilinear filter{cropped}.
"""


class Exported(nn.Module):
    """A network as others call it: images in, `OUTPUTS` out."""

    def __init__(self, network: ProtoNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # (B, 3, S, S) uint8
        out = self.network(images)
        return out.logits, self.network.layer.similarity(out.distances), out.distances, out.cells


def export(run: Path | str, out: Path | str) -> dict[str, float]:
    """Write a trained network as `network.onnx` and `network.pt2`, and what is needed to use it without p2p.

    Args:
        run: Folder of a finished run, whose data set must be there, or of a packed network.
        out: Folder for the files; those of an earlier export are replaced.

    Returns:
        Largest differences, see `differences`.

    Raises:
        UserError: A library is missing, there is no such run, it has no prototypes, or the export answers otherwise.
    """
    need_libraries()
    out, trained = Path(out), load_prototypes(Path(run))
    network, params = need_prototypes(trained), trained.params
    packed = trained.packed
    images = None if packed else load_images(params.model_copy(update={"device": "cpu"}))
    classes = packed.classes if packed else images.classes if images else ()
    patches = source_patches(trained, images)
    noise = np.random.default_rng(0).integers(0, 256, (4, 3, params.size, params.size), np.uint8)
    program = program_of(Exported(network), params.size)
    with atomic_path(out / "network.pt2") as temporary, temporary.open("wb") as file:
        torch.export.save(program, file)
    with atomic_path(out / "network.onnx") as temporary:
        write_onnx(program, temporary)
        found = differences(network, run_onnx(temporary, noise), torch.from_numpy(noise))
        if max(found.values()) > TOLERANCE:
            raise UserError(
                f"{run} exported as ONNX answers otherwise than it does here (differences {found}, allowed "
                f"{TOLERANCE}); update onnxscript and onnxruntime, or report the network's name."
            )
    write_patches(out, patches, network.per_class)
    write_atomic(out / "classes.txt", "".join(f"{name}\n" for name in classes))
    numbers: dict[str, Any] = {"size": params.size, "width": params.grid}
    write_atomic(out / "use.py", USE.format(**numbers))
    cropped = ", after they had been cut to the bird's bounding box" if params.reader == "cub" else ""
    told = {"run": params.run, "study": params.study, "classes": len(classes), "prototypes": len(patches)}
    told |= {"images": len(noise), "tolerance": TOLERANCE, "depth": params.prototype_depth, "cropped": cropped}
    write_atomic(out / "README.md", README.format(**numbers, **told, **found))
    return found


def need_libraries() -> None:
    """Raises UserError where a library is missing that writes or runs ONNX."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(
            f"Export needs {', '.join(missing)}, which this environment lacks; install the extra 'export' "
            "(pip install -e '.[export]', or make setup)."
        )


def program_of(module: nn.Module, size: int) -> torch.export.ExportedProgram:
    """A module whose argument is called `images`, (B, 3, size, size) uint8 with any B, as a program."""
    module = module.to(memory_format=torch.contiguous_format)  # PT2 keeps weights in no other order
    example = (torch.zeros(2, 3, size, size, dtype=torch.uint8),)
    return torch.export.export(module.eval(), example, dynamic_shapes={"images": {0: torch.export.Dim("batch")}})


def write_onnx(program: torch.export.ExportedProgram, path: Path, outputs: Sequence[str] = OUTPUTS) -> None:
    """The program as ONNX in one file, its first axis called `batch`, what it returns called `outputs`."""
    written = torch.onnx.export(program, input_names=["images"], output_names=list(outputs), verbose=False)
    assert written is not None
    model = written.model_proto
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == symbol:
                axis.dim_param = "batch"
    path.write_bytes(model.SerializeToString())


def run_onnx(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """What an exported network answers to (B, 3, S, S) uint8, by the names of `OUTPUTS`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(list(OUTPUTS), {"images": images})
    return {name: np.asarray(values) for name, values in zip(OUTPUTS, found, strict=True)}


@torch.inference_mode()
def differences(network: ProtoNet, answers: dict[str, np.ndarray], images: Tensor) -> dict[str, float]:
    """How far answers from elsewhere are from the network's, each as a share that `TOLERANCE` bounds.

    Args:
        network: In eval mode, on the CPU.
        answers: To these images, by the names of `OUTPUTS`.
        images: (B, 3, S, S) uint8.

    Returns:
        "distances": of the nearest cell, and of the cell that the answers name, to the distance that the network has
        there, in shares of it where it is above one. "logits": to what the network makes of those distances, in shares
        of the largest; from its own distances they may differ more, for similarity is steep at distance zero.
    """
    z, prototypes = network.add_on_map(images), network.layer.prepare(network.prototypes)
    maps = distance_map(z, prototypes).flatten(2).double()  # (B, P, HW)
    given = {name: torch.from_numpy(answer) for name, answer in answers.items()}
    distances = given["distances"].double()
    here = torch.stack([maps.amin(2), maps.gather(2, given["cells"].long()[..., None])[..., 0]])
    share = (here - distances).abs() / here.clamp(min=1)
    logits = network.decision(network.layer.similarity(distances).float()).double()
    off = (logits - given["logits"].double()).abs().max() / logits.abs().max()
    return {"distances": float(share.max()), "logits": float(off)}


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write a trained network as ONNX and as a program of torch.export.")
    parser.add_argument(
        "run", help="folder of a finished run, runs/<study>/<run>, or networks/<study>/<role>-<network>"
    )
    parser.add_argument("--out", help="folder for the files (default: export in the run's folder)")
    given = parser.parse_args(arguments)
    if not given.run:
        raise UserError("Name the run to export: RUN=networks/birds/student-small_eighth, or runs/<study>/<run>.")
    out = Path(given.out or Path(given.run) / "export")
    export(given.run, out)
    print(f"Written to {out.resolve()}: network.onnx, network.pt2, use.py and what they need; see its README.md")


if __name__ == "__main__":
    sys.exit(main())
