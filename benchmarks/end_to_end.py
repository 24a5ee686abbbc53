"""Seconds to the same validation accuracy: our recipe against CaBRNet's, on the same images and trunk weights.

Only networks whose prototypes are projected count. What favours CaBRNet: its images lie decoded in memory, their
augmented copies are drawn before its clock starts (its recipe prepares them offline), and its clock stands still while
it is evaluated, after the projection and after every pass of its fine-tuning; ours runs through everything.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import cabrnet_peer
from benchmarks.stages import TUNE_BATCH
from benchmarks.timing import OURS, Row, compare, describe, synchronise, tf32
from p2p.data.augment import augment
from p2p.data.images import ImageSet
from p2p.networks import ProtoNet
from p2p.study.params import TrainParams
from p2p.training.build import build_network
from p2p.training.trainer import Trainer

SHORT = "ours, short run"


class Point(NamedTuple):
    """A network with projected prototypes."""

    seconds: float
    accuracy: float  # on the validation split
    stage: str


def first_to_reach(points: list[Point], target: float) -> Point | None:
    """The earliest point at or above the target."""
    return next((point for point in points if point.accuracy >= target), None)


def ours(params: TrainParams, images: ImageSet) -> list[Point]:
    """A run of `p2p.training.trainer`, from building the network on; one point each time a decision layer is solved."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        trainer = Trainer(params, images, Path(folder))
        trainer.run(progress=False)
        synchronise(images.labels.device)
        total = time.perf_counter() - began
    clock = total - sum(row["seconds"] for row in trainer.history)  # what no phase accounts for counts from the start
    points = []
    for row in trainer.history:
        clock += row["seconds"]
        if row["phase"] == "decision":
            points.append(Point(clock, row["validation"], "decision layer solved"))
    return points


@tf32(allowed=True)
def cabrnet(
    params: TrainParams, images: ImageSet, cap_seconds: float, copies: int, epochs: int = 100, warm: int = 10
) -> list[Point]:
    """CaBRNet's published CUB schedule, by its own methods, until the cap: warm-up, joint, and at epochs 10, 20 …
    projection and 20 passes over the last layer.

    An epoch is one pass over the images, in augmented copies that it goes through in turn.

    Args:
        params: Of our run, for its trunk, weights, sizes and seed.
        images: Its "train" and "validation" splits are used.
        cap_seconds: On the clock.
        copies: Augmented copies of the training images.
        epochs, warm: Of the schedule; published 100 and 10.
    """
    fit, held = images.subset("train"), images.subset("validation")
    assert isinstance(fit.pixels, Tensor) and isinstance(held.pixels, Tensor)  # the recipe asks for no streaming
    loaders: dict[str, Any] = {
        "train_set": cabrnet_peer.Loader(prepare(fit, copies, params.seed), fit.labels, TUNE_BATCH, params.seed),
        "projection_set": cabrnet_peer.Loader([fit.pixels], fit.labels, 75),
        "val_set": cabrnet_peer.Loader([held.pixels], held.labels, 100),
    }
    device, points = fit.labels.device, []
    began, paused = time.perf_counter(), 0.0
    network = build_network(params, len(images.classes)).to(device)
    assert isinstance(network, ProtoNet)
    model = cabrnet_peer.build(network, params.network, same_weights=False)
    manager = cabrnet_peer.optimizers(model, epochs, warm)

    def point(stage: str) -> None:
        nonlocal paused
        synchronise(device)
        stopped = time.perf_counter()
        score = model.evaluate(loaders, "val_set", device=device)["val_set/accuracy"]
        synchronise(device)
        points.append(Point(stopped - began - paused, float(score), stage))
        paused += time.perf_counter() - stopped

    def spent() -> bool:
        synchronise(device)
        return time.perf_counter() - began - paused > cap_seconds

    for epoch in range(epochs):
        if spent():
            break
        manager.freeze(epoch=epoch)
        model._train_epoch(loaders, manager, device=device, epoch_idx=epoch)
        start, every = warm, model.projection_config["frequency"]
        if epoch >= start and (epoch - start) % every == 0:
            model.project(loaders["projection_set"], device=device)
            point(f"epoch {epoch + 1}, projected")
            manager.freeze_non_associated_groups(optim_name="last_layer_optimizer")
            for tuned in range(model.projection_config["num_ft_epochs"]):
                if spent():
                    break
                optimizer = manager.optimizers["last_layer_optimizer"]
                model._train_epoch(loaders, optimizer, device=device, epoch_idx=epoch)
                point(f"epoch {epoch + 1}, last layer {tuned + 1}")
        manager.scheduler_step(epoch=epoch, metric=None)
    return points


def prepare(images: ImageSet, copies: int, seed: int) -> list[Tensor]:
    """Augmented copies (N, 3, S, S) uint8 of all images, by the transforms our own training draws."""
    generator = torch.Generator().manual_seed(seed)
    done = []
    for _ in range(copies):
        parts = [augment(part, generator) for part in images.pixels.split(64)]
        done.append(torch.cat([(part * 255).round().to(torch.uint8) for part in parts]))
    return done


def rows(race: dict[str, list[Point]], params: TrainParams, images: ImageSet, device: torch.device) -> list[Row]:
    """Seconds to the peer's best accuracy, as rows of the result file; ours are missing where we never reach it.

    Args:
        race: The points of `OURS`, of `SHORT`, and of the one peer.
        params: Of our run.
        images: All splits.
        device: It ran on.
    """
    (peer,) = (who for who in race if who not in (OURS, SHORT))
    if not race[peer]:
        return []
    target = max(point.accuracy for point in race[peer])
    theirs = first_to_reach(race[peer], target)
    assert theirs is not None
    fit = int((images.split == 0).sum())
    shape = f"{params.network} K={len(images.classes)} N={fit} {params.size} px, validation accuracy {target:.3f}"
    found: list[Row] = []
    for who, work in ((OURS, "end to end"), (SHORT, "end to end, short run")):
        if (own := first_to_reach(race[who], target)) is not None:
            found += compare(work, shape, device, {OURS: (own.seconds,), peer: (theirs.seconds,)})
        else:
            names = {"work": work, "shape": shape, "device": describe(device), "peer": peer}
            found.append({**names, "repeats": 1, "peer_s": theirs.seconds})
    return found
