"""What a network answers to a set of images, computed once: in memory, or batch by batch into a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from p2p.data.images import ImageSet
from p2p.data.streaming import Rows
from p2p.errors import UserError
from p2p.evaluation.contributions import on_cpu
from p2p.evaluation.packed import Packed, is_packed, read_packed
from p2p.files import write_table
from p2p.head import Decision
from p2p.mimicry import MapR2
from p2p.networks import LinearNet, Pixels, ProtoNet, PrototypeLayer, nearest_cells
from p2p.projection import Projection, projection_error
from p2p.responses import ResponseTable, quarter_tau, spans, table_writer
from p2p.sharing import share
from p2p.study.params import TrainParams, check
from p2p.training.build import Network, build_network
from p2p.training.checkpoints import digest, load_tensors, without

MERGED = "sharing.into"  # tensor (P,) of a network whose prototypes were merged, see `p2p.sharing.merged_into`


@dataclass(frozen=True)
class Trained:
    """A finished run: the network, its parameters, where its prototypes come from, and its state before the push.

    The next three are what it was trained on: digests of images, of the weights file it began with and of its teacher,
    empty where there was none or the run is older than they are. A packed network has `packed` in place of its state
    before the push and of its data set.
    """

    params: TrainParams
    network: Network
    projection: Projection | None
    prototypes_before: Tensor | None  # (P, D)
    decision_before: Decision | None
    images: str = ""
    weights: str = ""
    teacher: str = ""
    packed: Packed | None = None


def load_run(folder: Path | str, device: str | torch.device = "cpu") -> Trained:
    """Load a finished run from its folder (`network.safetensors`, and `checkpoint.safetensors` for its parameters).

    A packed network's folder (`networks/<study>/<role>-<network>`) will do as well.

    Raises:
        UserError: The run is missing or damaged, in one sentence.
    """
    folder = Path(folder)
    packed = None
    if is_packed(folder):
        tensors, meta, packed = read_packed(folder, device)
    else:
        tensors, _ = load_tensors(folder / "network.safetensors", device)
        _, meta = load_tensors(folder / "checkpoint.safetensors")
    params = check(TrainParams, meta["params"], str(folder))
    classes = len(tensors["network.decision.weight"])
    try:
        network = build_network(params.model_copy(update={"weights": "none"}), classes).to(device)
        if MERGED in tensors and isinstance(network, ProtoNet):
            network = share(network, tensors[MERGED])
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    except RuntimeError as error:
        raise UserError(
            f"{folder} does not fit its parameters ({str(error).splitlines()[0]}); train it again."
        ) from None
    network.eval().requires_grad_(False)
    seen = meta.get("images")  # of an older run the pixels' digest alone
    inputs = (seen[0] if isinstance(seen, list) else "", meta.get("weights", ""), meta.get("teacher", ""))
    if isinstance(network, LinearNet):
        return Trained(params, network, None, None, None, *inputs)
    found = {k.removeprefix("projection."): v for k, v in tensors.items() if k.startswith("projection.")}
    prototypes, decision = tensors.get("before_push.prototypes"), None
    if prototypes is not None:
        decision = deepcopy(network.decision)
        decision.load_state_dict(without("before_push.decision", tensors))
    return Trained(params, network, Projection(**found), prototypes, decision, *inputs, packed)


def check_inputs(runs: Sequence[Trained], images: ImageSet | None = None) -> None:
    """Refuse networks that cannot be compared, or not be shown beside these images, where there are any.

    Raises:
        UserError: One was trained on other images, from other weights of the same name, or by another teacher than the
            one that is here.
    """
    again = "train the study again (make study), which starts anew where its inputs have changed"
    weights: dict[tuple[str, str], Trained] = {}
    for run in runs:
        name, params = f"Run '{run.params.run}'", run.params
        if images and run.images and images.source and run.images != images.source:
            raise UserError(
                f"{name} of study '{params.study}' was trained on other images (digest {run.images}) than those that "
                f"its data keys give now ({images.source}); give the former back, or {again}."
            )
        first = weights.setdefault((params.network, params.weights), run)
        if first.weights and run.weights and first.weights != run.weights:
            raise UserError(
                f"{name} began with other weights '{params.weights}' (digest {run.weights}) than '{first.params.run}' "
                f"({first.weights}); {again}."
            )
    here = {run.params.run: run for run in runs}
    for run in runs:
        taught = here.get(run.params.teacher_run)
        as_trained = run.params.teaches == "teacher"  # of a control something else stood in its place
        if taught and as_trained and run.teacher and run.teacher != digest(taught.network):
            raise UserError(
                f"Run '{run.params.run}' was taught by another network than the one that '{taught.params.run}' now is; "
                f"{again}."
            )


def respond(
    network: ProtoNet, pixels: Rows, prototypes: Sequence[Tensor] | None = None, batch_size: int = 64
) -> list[ResponseTable]:
    """Response tables of a network for one or several sets of prototypes, in one pass over the images.

    Args:
        network: Run in eval mode, in float32.
        pixels: (N, 3, S, S) uint8.
        prototypes: Sets (P, D) to compare with the add-on maps; default: the network's own.
        batch_size: Images a forward pass.

    Returns:
        One table (N, P) for each set, in memory; see `respond_into` for tables that need not fit there.
    """
    parts = list(_answers(network, pixels, [network.prototypes] if prototypes is None else prototypes, batch_size))
    columns = zip(*(answers for answers, _ in parts), strict=True)  # the batches of each set
    return [ResponseTable(torch.cat([c for c, _ in of]), torch.cat([d for _, d in of]), parts[0][1]) for of in columns]


def respond_into(
    paths: Sequence[Path], network: ProtoNet, pixels: Rows, prototypes: Sequence[Tensor], batch_size: int = 64
) -> list[ResponseTable]:
    """As `respond`, but every batch goes straight into the files: memory for one batch, whatever N is.

    Args:
        paths: A file for each set of prototypes; all appear when the last image is answered.
        network, pixels, prototypes, batch_size: See `respond`.

    Returns:
        The tables, mapped from their files.

    Raises:
        UserError: The disk is full, or distances are not finite.
    """
    with ExitStack() as stack:
        writers: list[Callable[[Tensor, Tensor], None]] = []
        for answers, grid in _answers(network, pixels, prototypes, batch_size):
            if not writers:
                shapes = [(len(pixels), len(p), grid) for p in prototypes]
                writers = [
                    stack.enter_context(table_writer(path, *shape)) for path, shape in zip(paths, shapes, strict=True)
                ]
            for add, answer in zip(writers, answers, strict=True):
                add(*answer)
    return [ResponseTable.load(path) for path in paths]


@torch.inference_mode()
def _answers(
    network: ProtoNet, pixels: Rows, prototypes: Sequence[Tensor], batch_size: int
) -> Iterator[tuple[list[tuple[Tensor, Tensor]], tuple[int, int]]]:
    """For every batch: cells (B, P) int16 and distances (B, P) on the CPU for each set of prototypes, and the grid."""
    network.eval()
    for part in pixels.split(batch_size):
        z = network.add_on_map(part.to(network.prototypes.device))
        found = [nearest_cells(z, network.layer.prepare(p)) for p in prototypes]
        answers = [(cells.to(torch.int16).cpu(), distances.cpu()) for distances, cells in found]
        yield answers, (z.shape[2], z.shape[3])


def top1(table: ResponseTable, decision: Decision, labels: Tensor, layer: PrototypeLayer) -> float:
    """Accuracy of a decision on a response table; labels (N,)."""
    decision = on_cpu(decision)
    right = [(decision(s).argmax(1) == of).sum() for s, of in _similarities(table, labels, layer)]
    return int(torch.stack(right).sum()) / len(labels)


def _similarities(table: ResponseTable, labels: Tensor, layer: PrototypeLayer) -> Iterator[tuple[Tensor, Tensor]]:
    """Of some images at a time similarities (n, P) and labels (n,), on the CPU."""
    for span in spans(*table.distances.shape):
        yield layer.similarity(table.distances[span]), labels[span].cpu()


@torch.inference_mode()
def accuracy(network: Network, pixels: Rows, labels: Tensor, batch_size: int = 64) -> float:
    """Top-1 accuracy of any network; pixels (N, 3, S, S) uint8, labels (N,)."""
    network.eval()
    right = [network(part).logits.argmax(1) for part in pixels.split(batch_size)]
    return (torch.cat(right) == labels).double().mean().item()


def finish_run(folder: Path | str, images: ImageSet, teacher: ProtoNet | None = None) -> dict[str, Any]:
    """Read the test set once: response tables into the run's folder, accuracies by stage, projection error.

    Stages: "pre_push" and "push" with the decision layer of the joint phase, "tuned" with the tuned one; a
    `LinearNet` has only "tuned". Writes `responses.safetensors`, `responses_pre_push.safetensors`, `prototypes.csv`.

    Args:
        folder: Of the run, as `p2p.training.trainer.Trainer` leaves it.
        images: All splits, on the device to use.
        teacher: Of a student, on the same device.

    Returns:
        top1 by stage; validation accuracy; projection error (‖·‖₂, the largest over prototypes); number of distinct
        prototypes after the last push and, those not equal to the last digit, before it; what the decision says of
        itself, see `Decision.facts`; `tau_quarter`, see `quarter_tau`; and of a student r2, see `p2p.mimicry.MapR2`,
        and the share of cells that its PPC loss compared, by pass: a few, the first and the last among them.
    """
    folder = Path(folder)
    trained = load_run(folder, images.pixels.device)
    batch, test, network = trained.params.batch_size, images.subset("test"), trained.network
    _, meta = load_tensors(folder / "checkpoint.safetensors")
    result: dict[str, Any] = {
        "validation": meta["history"][-1]["validation"],
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    if isinstance(network, LinearNet):
        return result | {"top1": {"tuned": accuracy(network, test.pixels, test.labels, batch)}}
    shares = [row["active"] for row in meta["history"] if "active" in row]
    chosen = [epoch for epoch in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if epoch < len(shares)]
    result |= {"active": {epoch: shares[epoch - 1] for epoch in [*chosen, len(shares)]}} if shares else {}
    assert trained.projection and trained.prototypes_before is not None and trained.decision_before is not None
    files = [folder / "responses_pre_push.safetensors", folder / "responses.safetensors"]
    sets = [trained.prototypes_before, network.prototypes]
    before, after = respond_into(files, network, test.pixels, sets, batch)
    fit = images.subset("train")
    write_table(_prototype_table(trained, fit), folder / "prototypes.csv")
    if teacher is not None:
        result["r2"] = map_r2(network, teacher, test.pixels, batch)
    (validation,) = respond(network, images.subset("validation").pixels, batch_size=batch)
    return result | {
        "distinct_before": len(trained.prototypes_before.unique(dim=0)),
        "distinct_prototypes": trained.projection.distinct(),
        "tau_quarter": quarter_tau(validation),
        "top1": {
            "pre_push": top1(before, trained.decision_before, test.labels, network.layer),
            "push": top1(after, trained.decision_before, test.labels, network.layer),
            "tuned": top1(after, network.decision, test.labels, network.layer),
        },
        "decision": on_cpu(network.decision).facts(_similarities(after, test.labels, network.layer)),
        "projection_error": projection_error(network, fit.pixels, trained.projection, batch),
    }


@torch.inference_mode()
def map_r2(student: ProtoNet, teacher: ProtoNet, pixels: Pixels, batch_size: int = 64) -> float:
    """R² of the add-on map on images (N, 3, S, S) uint8, both networks in eval mode and float32."""
    student.eval(), teacher.eval()
    followed = MapR2()
    for part in pixels.split(batch_size):
        part = part.to(student.prototypes.device)
        followed.add(student.add_on_map(part), teacher.add_on_map(part))
    return followed.value()


def _prototype_table(trained: Trained, fit: ImageSet) -> pd.DataFrame:
    """Prototype, class (of a prototype that has none, of its source image), source image, cell, pixel box and the
    distance it moved at the push."""
    found = trained.projection
    assert found is not None and isinstance(trained.network, ProtoNet)
    width, box = found.maps.shape[2], found.boxes(trained.network.layer, trained.params.size).tolist()
    owner = trained.network.labels_of(fit.labels[found.images]).tolist()
    columns = ("prototype", "class", "image", "row", "column", "x0", "y0", "x1", "y1", "distance")
    rows = [
        (j, fit.classes[owner[j]], fit.names[i], c // width, c % width, *box[j], d)
        for j, (i, c, d) in enumerate(
            zip(found.images.tolist(), found.cells.tolist(), found.distances.tolist(), strict=True)
        )
    ]
    return pd.DataFrame(rows, columns=list(columns))
