"""Training step, inference, and the trunk alone: the same shapes, weights and images for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import cabrnet_peer, classic
from benchmarks.timing import OURS, Row, compare, interleave
from p2p.device import has_bfloat16
from p2p.networks import Output, ProtoNet
from p2p.study.params import TrainParams
from p2p.training.batches import autocast
from p2p.training.build import build_network
from p2p.training.objective import objective

HALF = "ours, bfloat16"
UNTAUGHT = "not taught (baseline)"
CABRNET, LEGACY, CLASSIC = "CaBRNet 1.2", "CaBRNet 1.2, legacy distances", "classic"


class Shape(NamedTuple):
    """Sizes of one comparison: K classes, prototypes of each, D channels, S pixels, a grid of cells, B images."""

    classes: int = 200
    per_class: int = 10
    depth: int = 128
    size: int = 224
    grid: int = 7
    batch: int = 16

    def __str__(self) -> str:
        return (
            f"K={self.classes} P={self.classes * self.per_class} D={self.depth} {self.size} px "
            f"{self.grid}×{self.grid} B={self.batch}"
        )


class Setting(NamedTuple):
    """What all contenders share: one network, its parameters, and the images, raw and normalised."""

    network: ProtoNet
    params: TrainParams
    raw: list[tuple[Tensor, Tensor]]  # images in [0, 1], labels
    normalised: list[tuple[Tensor, Tensor]]


def setting(trunk: str, shape: Shape, steps: int, device: torch.device) -> Setting:
    """A network with random weights and `steps` batches of random images.

    Args:
        trunk: One that keeps its last layer, so that a peer may use the whole of it.
    """
    values = {"network": trunk, "size": shape.size, "grid": shape.grid, "batch_size": shape.batch}
    values |= {"prototypes_per_class": shape.per_class, "prototype_depth": shape.depth}
    params = TrainParams.model_validate(values)
    network = build_network(params, shape.classes).to(device)
    assert isinstance(network, ProtoNet) and isinstance(network.trunk, nn.Sequential)
    generator = torch.Generator().manual_seed(0)
    raw = []
    for _ in range(steps):
        images = torch.rand(shape.batch, 3, shape.size, shape.size, generator=generator)
        labels = torch.randint(0, shape.classes, (shape.batch,), generator=generator)
        raw.append((images.to(device), labels.to(device)))
    normalised = [(network.trunk[0](images).contiguous(), labels) for images, labels in raw]
    return Setting(network, params, raw, normalised)


def our_step(network: ProtoNet, optimizer: torch.optim.Optimizer, given: Setting, precision: str = "auto") -> None:
    """What `p2p.training.trainer` does with each batch of a joint pass."""
    network.train()
    for images, labels in given.raw:
        with autocast(images.device, precision):
            out = network(images)
        loss, _ = objective(out, labels, network, given.params, None)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def adam(trunk: nn.Module, addon: nn.Module, prototypes: nn.Parameter, decision: nn.Module, fused: bool) -> Any:
    """The optimiser of a joint pass, with the published rates; the decision layer does not learn."""
    decision.requires_grad_(False)
    groups = [
        {"params": list(trunk.parameters()), "lr": 1e-4, "weight_decay": 1e-3},
        {"params": list(addon.parameters()), "lr": 3e-3, "weight_decay": 1e-3},
        {"params": [prototypes], "lr": 3e-3},
    ]
    return torch.optim.Adam(groups, fused=True) if fused else torch.optim.Adam(groups)


def training_step(trunk: str, shape: Shape, steps: int, repeats: int, device: torch.device) -> list[Row]:
    """Forward, loss, backward, update, of `steps` batches; all layers learn but the decision layer.

    On a CPU with bfloat16 units ours is timed a second time, with `precision: bfloat16`, in the same rounds.
    """
    given = setting(trunk, shape, steps, device)
    lambdas = (given.params.lambda_cluster, given.params.lambda_separation, given.params.lambda_l1)
    plain = classic.ClassicNet(given.network).to(device)
    plain_adam = adam(plain.trunk, plain.addon, plain.prototypes, plain.decision, fused=False)
    contenders: dict[str, Callable[[], object]] = {
        CLASSIC: lambda: classic.training_step(plain, plain_adam, given.normalised, lambdas)
    }
    if not cabrnet_peer.missing():
        contenders[CABRNET] = _cabrnet_step(given, trunk, False)
        contenders[LEGACY] = _cabrnet_step(given, trunk, True)
    ours = given.network
    our_adam = adam(ours.trunk, ours.addon, ours.prototypes, ours.decision, fused=True)
    contenders = {OURS: lambda: our_step(ours, our_adam, given), **contenders}
    if device.type == "cpu" and has_bfloat16(device):
        contenders[HALF] = lambda: our_step(ours, our_adam, given, "bfloat16")
    seconds, name = interleave(contenders, repeats, device), f"{trunk} {shape}"
    half = seconds.pop(HALF, None)
    rows = compare("training step", name, device, seconds)
    return rows + (compare("training step, bfloat16 trunk", name, device, {**seconds, OURS: half}) if half else [])


def distillation_step(
    teacher: str, student: str, shape: Shape, copies: int, repeats: int, device: torch.device
) -> list[Row]:
    """A student's passes over one batch of `copies` passes, of which the teacher answers to the first.

    Beside it the teacher asked at every step, without a graph; the released way, under autograd at every step (A12);
    and the same steps of the same network without a teacher, the baseline's.

    Args:
        teacher, student: Trunks.
        shape: Sizes.
        copies: Passes over an augmented copy, as joint_epochs / joint_copies of a study.
        repeats: Rounds.
        device: Of both.
    """
    asked, given = setting(teacher, shape, 1, device).network, setting(student, shape, 1, device)
    taught = given.params.model_copy(update={"distillation": {"global": 10.0, "ppc": 10.0}})
    network, images, labels = given.network, *given.raw[0]
    optimizer = adam(network.trunk, network.addon, network.prototypes, network.decision, fused=True)

    def ask(graph: bool) -> Output:
        with torch.enable_grad() if graph else torch.no_grad(), autocast(device):
            return asked.eval()(images)

    def passes(params: TrainParams, answers: Callable[[int], Output | None]) -> None:
        network.train()
        for number in range(copies):
            answer = answers(number)
            with autocast(device):
                out = network(images)
            loss, _ = objective(out, labels, network, params, answer)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    kept: list[Output] = []

    def once(number: int) -> Output:
        kept[:] = kept[:1] if number else [ask(False)]
        return kept[0]

    contenders: dict[str, Callable[[], object]] = {
        OURS: lambda: passes(taught, once),
        "teacher asked at every step": lambda: passes(taught, lambda number: ask(False)),
        "released way, teacher under autograd": lambda: passes(taught, lambda number: ask(True)),
        UNTAUGHT: lambda: passes(given.params, lambda number: None),
    }
    name = f"{teacher} → {student} {shape}"
    return compare("distillation step", name, device, interleave(contenders, repeats, device))


def _cabrnet_step(given: Setting, trunk: str, legacy: bool) -> Callable[[], object]:
    """Its own loop over the batches, in an epoch of its joint period, without a progress bar."""
    model = cabrnet_peer.build(given.network, trunk, legacy)
    manager = cabrnet_peer.optimizers(model)
    manager.freeze(epoch=cabrnet_peer.JOINT)
    device = given.network.prototypes.device
    loaders = {"train_set": given.normalised}

    def step() -> object:
        return model._train_epoch(loaders, manager, device=device, epoch_idx=cabrnet_peer.JOINT, verbose=False)

    return step


def inference(trunk: str, shape: Shape, steps: int, repeats: int, device: torch.device) -> list[Row]:
    """Logits of `steps` batches, in eval mode and without a graph."""
    given = setting(trunk, shape, steps, device)
    ours = given.network.eval()

    @torch.inference_mode()
    def answer() -> None:
        for images, _ in given.raw:
            with autocast(device):
                ours(images)

    def other(model: nn.Module) -> Callable[[], object]:
        model.eval()

        @torch.no_grad()
        def run() -> None:
            for images, _ in given.normalised:
                model(images)

        return run

    contenders: dict[str, Callable[[], object]] = {OURS: answer}
    contenders[CLASSIC] = other(classic.ClassicNet(ours).to(device))
    if not cabrnet_peer.missing():
        contenders[CABRNET] = other(cabrnet_peer.build(ours, trunk))
        contenders[LEGACY] = other(cabrnet_peer.build(ours, trunk, legacy=True))
    return compare("inference", f"{trunk} {shape}", device, interleave(contenders, repeats, device))


def trunk_alone(trunk: str, shape: Shape, steps: int, repeats: int, device: torch.device) -> list[Row]:
    """Forward and backward of the trunk, which all have in common: in our memory layout and in the default one."""
    given = setting(trunk, shape, steps, device)
    plain = classic.trunk_copy(given.network).to(device).train()
    ours = given.network.trunk.train()

    def run(module: nn.Module, batches: list[tuple[Tensor, Tensor]], precision: Any) -> None:
        for images, _ in batches:
            with precision:
                features = module(images)
            features.float().square().mean().backward()
            module.zero_grad(set_to_none=True)

    exact = torch.autocast(device.type, enabled=False)
    contenders: dict[str, Callable[[], object]] = {
        OURS: lambda: run(ours, given.raw, autocast(device)),
        CLASSIC: lambda: run(plain, given.normalised, exact),
    }
    return compare("trunk alone", f"{trunk} {shape}", device, interleave(contenders, repeats, device))
