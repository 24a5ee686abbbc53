"""Where the time of a training pass goes, and what each of the engine's switches brings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from benchmarks.timing import interleave, synchronise
from p2p.data.images import ImageSet
from p2p.device import has_bfloat16, keep_memory
from p2p.networks import ProtoNet
from p2p.study.params import TrainParams
from p2p.study.speed_params import ProfileParams
from p2p.training.batches import autocast
from p2p.training.build import build_network
from p2p.training.objective import objective
from p2p.training.trainer import Trainer


def pass_params(params: ProfileParams, network: str, **change: object) -> TrainParams:
    """How a network of the page is trained; K classes with ten prototypes each."""
    keys = {"network": network, "size": params.size, "grid": params.grid, "batch_size": params.batch_size}
    keys |= {"prototypes_per_class": 10, "prototype_depth": 128, "joint_epochs": 3, "augment": True}
    return TrainParams.model_validate({**keys, **change})


def random_images(params: ProfileParams, device: torch.device) -> ImageSet:
    """Training images and a quarter as many for validation, uint8 noise; their classes follow each other in turn."""
    count = params.images + max(2, params.images // 4)
    pixels = torch.randint(0, 256, (count, 3, params.size, params.size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    return ImageSet(
        pixels=pixels,
        labels=torch.arange(count) % params.classes,
        split=(torch.arange(count) >= params.images).to(torch.uint8),
        classes=tuple(f"class {k}" for k in range(params.classes)),
        names=tuple(f"image {i}" for i in range(count)),
    ).to(device)


def page_parts(params: ProfileParams, images: ImageSet) -> pd.DataFrame:
    """Where the time of a pass goes, for each network and for the second one as a student: network, part, seconds."""
    rows: list[dict[str, Any]] = []

    def add(name: str, found: dict[str, float]) -> None:
        rows.extend({"network": name, "part": part, "seconds": value} for part, value in found.items())

    for i, network in enumerate(params.networks):
        add(network, pass_parts(pass_params(params, network), images, None, params.repeats))
        if params.teacher and i == 1:
            teacher = build_network(pass_params(params, params.teacher), params.classes).to(images.pixels.device)
            assert isinstance(teacher, ProtoNet)
            keys = {"role": "student", "teacher_run": "teacher", "distillation": {"global": 10.0, "ppc": 10.0}}
            found = pass_parts(pass_params(params, network, **keys), images, teacher, params.repeats)
            add(f"{network}, student of {params.teacher}", found)
    return pd.DataFrame(rows)


def pass_parts(params: TrainParams, images: ImageSet, teacher: ProtoNet | None, repeats: int) -> dict[str, float]:
    """Seconds of each part of one joint pass over the training images, each part timed alone.

    Args:
        params: Of the network; its batch size and images make the pass.
        images: Training and validation images, on the device.
        teacher: The student's teacher, or None.
        repeats: Of each part; the median counts.

    Returns:
        part: seconds; "rest" is what a real pass takes beyond the sum of its parts (loop, order, sums), at least 0.
    """
    with TemporaryDirectory() as place:
        trainer = Trainer(params, images, Path(place), teacher)
        index = next(i for i, phase in enumerate(trainer.phases) if phase.name == "joint")
        joint, device, network = trainer.phases[index], trainer.device, trainer.network
        trainer._epoch(joint, index, 0)  # optimiser and gradients exist from here on
        batch = next(trainer.batches.fresh(index, 0))
        optimizer = trainer.optimizers[joint.name]
        count = len(trainer.fit.labels) / len(batch.labels)  # batches of a pass

        def seconds(work: Callable[[], object], times: float = 1.0) -> float:
            (found,) = interleave({"": work}, repeats, device, warmups=2).values()
            return median(found) * times

        with torch.no_grad():
            features = network.trunk(batch.inputs)
        grown = features.clone().requires_grad_()
        out = network.head(grown)
        tensors = [t.detach().requires_grad_(t.is_floating_point()) for t in out]

        def trunk() -> None:
            network.trunk(batch.inputs).backward(torch.ones_like(features))

        def head() -> None:
            made = network.head(grown)
            (made.logits.sum() + made.distances.sum() + made.z.sum()).backward()

        def losses() -> None:
            objective(type(out)(*tensors), batch.labels, network, params, batch.teacher)[0].backward()

        rows = torch.arange(len(batch.labels), device=device)
        generator = torch.Generator().manual_seed(0)
        convolution = convolution_share(trunk, device)
        whole = seconds(lambda: trainer._epoch(joint, index, 0))
        network.train()
        if params.trunk_batchnorm == "frozen":
            network.trunk.eval()
        forward_backward = seconds(trunk, count)
        parts = {
            "convolution": forward_backward * convolution,
            "normalisation and activation": forward_backward * (1 - convolution),
            "add-on and prototypes": seconds(head, count),
            "losses": seconds(losses, count),
            "augmentation": seconds(lambda: trainer.batches._augmented(trainer.fit.pixels[rows], generator), count),
            "teacher": seconds(lambda: trainer.batches._ask(batch.inputs), count) if teacher is not None else 0.0,
            "optimiser": seconds(optimizer.step, count),
        }
        parts["rest"] = max(0.0, whole - sum(parts.values()))
        parts["validation"] = seconds(trainer._validate)
        parts["checkpoint"] = seconds(lambda: trainer.save((index, 1)))
        return parts


def convolution_share(work: Callable[[], object], device: torch.device) -> float:
    """Share of convolutions, forward and backward, in the operators' own time, by PyTorch's profiler."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if device.type == "cuda" else []
    work()
    with torch.profiler.profile(activities=kinds) as profile:
        work()
        synchronise(device)
    name = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    spent = {event.key: float(getattr(event, name)) for event in profile.key_averages()}
    return sum(value for key, value in spent.items() if "conv" in key.lower()) / max(sum(spent.values()), 1e-9)


def switches(params: TrainParams, images: ImageSet, repeats: int) -> dict[str, tuple[float, ...]]:
    """Seconds of a training step (forward, loss, backward, optimiser) as the engine runs it and with one thing changed.

    Args:
        params: Of a network without a teacher.
        images: On the device.
        repeats: Rounds; each contender is timed once a round.

    Returns:
        name: seconds of each round; "engine" is the reference.
    """
    device = images.pixels.device
    with TemporaryDirectory() as place:
        trainer = Trainer(params, images, Path(place))
        index = next(i for i, phase in enumerate(trainer.phases) if phase.name == "joint")
        joint = trainer.phases[index]
        trainer._epoch(joint, index, 0)
        batch = next(trainer.batches.fresh(index, 0))
        network, fused = trainer.network.train(), trainer.optimizers[joint.name]
        plain = torch.optim.Adam([{k: v for k, v in group.items() if k == "params"} for group in fused.param_groups])

        def step(optimizer: torch.optim.Optimizer = fused, inside: Any = None) -> None:
            with inside or autocast(device):
                out = network(batch.inputs)
                loss, _ = objective(out, batch.labels, network, params, None)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        def rows_first() -> None:
            network.trunk.to(memory_format=torch.contiguous_format)
            normalise = network.trunk[0]  # type: ignore[index]
            features = network.trunk[1:](normalise(batch.inputs).contiguous())  # type: ignore[index]
            loss, _ = objective(network.head(features), batch.labels, network, params, None)
            plain.zero_grad(set_to_none=True)
            loss.backward()
            plain.step()

        def other_precision() -> None:
            step(inside=autocast(device, "bfloat16" if device.type == "cpu" else "float32"))

        def freed() -> None:
            with memory_given_back():
                step()

        contenders: dict[str, Callable[[], object]] = {
            "engine": step,
            "optimiser not fused": lambda: step(plain),
        }
        if has_bfloat16(device):
            contenders["bfloat16 on a CPU" if device.type == "cpu" else "float32"] = other_precision
        if device.type == "cpu":
            contenders["freed memory goes back to the system"] = freed
        found = interleave(contenders, repeats, device)
        # Layout last and by itself: weights are moved to rows-first and stay there.
        found |= interleave({"images and weights rows first, optimiser not fused": rows_first}, repeats, device)
        return found


@contextmanager
def memory_given_back() -> Iterator[None]:
    """Every freed tensor above 128 KiB goes back to the system: what glibc does at first, and never more than that."""
    keep_memory(False)
    try:
        yield
    finally:
        keep_memory(True)


def compiled(params: TrainParams, images: ImageSet, repeats: int) -> tuple[float, float, float]:
    """Seconds of a pass with an eager trunk, of the first pass with a compiled one, and of later ones.

    Raises:
        RuntimeError: No compiler on this machine.
    """
    seconds = []
    for chosen in (False, True):
        torch.compiler.reset()
        with TemporaryDirectory() as place:
            trainer = Trainer(params.model_copy(update={"compile_trunk": chosen}), images, Path(place))
            index = next(i for i, phase in enumerate(trainer.phases) if phase.name == "joint")
            passes = []
            for _ in range(1 + repeats):
                synchronise(trainer.device)
                began = time.perf_counter()
                trainer._epoch(trainer.phases[index], index, 0)
                synchronise(trainer.device)
                passes.append(time.perf_counter() - began)
            seconds.append((passes[0], median(passes[1:])))
    return seconds[0][1], seconds[1][0], seconds[1][1]
