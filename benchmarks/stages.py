"""Push, decision layer and metrics: what comes after the steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import cabrnet_peer, classic, sets
from benchmarks.steps import CABRNET, CLASSIC
from benchmarks.timing import OURS, Row, Seconds, compare, interleave, synchronise
from p2p import metrics
from p2p.decision import solve_decision_layer
from p2p.evaluation.runs import respond
from p2p.metrics import ResponseTable
from p2p.networks import ProtoNet
from p2p.projection import push
from p2p.trunks import Normalise

PUSH_BATCH, TUNE_BATCH, OUR_BATCH = 75, 16, 64  # the published ones: of the push, of CaBRNet's CUB configuration
L1 = 1e-4


def batches(pixels: Tensor, labels: Tensor, size: int) -> list[classic.Batch]:
    """Normalised images in the default layout, prepared before any clock runs."""
    normalise = Normalise().to(pixels.device)
    return [(normalise(x).contiguous(), y) for x, y in zip(pixels.split(size), labels.split(size), strict=True)]


def pushes(
    network: ProtoNet, trunk: str, pixels: Tensor, labels: Tensor, repeats: int, device: torch.device
) -> list[Row]:
    """Each prototype becomes its nearest own-class patch: from images, then from add-on maps (the search alone)."""
    network.eval()
    start = network.prototypes.detach().clone()
    classes, prototypes = network.own.shape
    shape = f"{trunk} K={classes} P={prototypes} D={network.prototypes.shape[1]} N={len(pixels)} {pixels.shape[-1]} px"

    def contenders(net: ProtoNet, images: Tensor, given: list[classic.Batch]) -> dict[str, Callable[[], object]]:
        def ours() -> object:
            net.prototypes.data.copy_(start)
            return push(net, images, labels, OUR_BATCH)

        plain = classic.ClassicNet(network).to(device)
        found: dict[str, Callable[[], object]] = {OURS: ours, CLASSIC: lambda: classic.push(plain, given)}
        if net is not network:  # the search alone
            plain.trunk, plain.addon, plain.scale = nn.Sequential(), nn.Sequential(), 1.0
        if not cabrnet_peer.missing():
            model = cabrnet_peer.build(network, trunk)
            if net is not network:
                model.extractor = nn.Identity()
            loader = Prepared(given, PUSH_BATCH)

            def theirs() -> object:
                model.classifier.prototypes.data.copy_(start[:, :, None, None])
                return model.project(loader, device=device)

            found[CABRNET] = theirs
        return found

    given = batches(pixels, labels, PUSH_BATCH)
    rows = compare("push", shape, device, interleave(contenders(network, pixels, given), repeats, device))
    network.prototypes.data.copy_(start)
    with torch.no_grad():
        z = torch.cat([network.add_on_map(part) for part in pixels.split(OUR_BATCH)])
    search = deepcopy(network)
    search.trunk, search.addon, search.scale = nn.Identity(), nn.Sequential(), torch.ones_like(network.scale)
    maps = list(zip(z.split(PUSH_BATCH), labels.split(PUSH_BATCH), strict=True))
    seconds = interleave(contenders(search, z, maps), repeats, device)
    return rows + compare("push, search alone", shape, device, seconds)


class Prepared(list[classic.Batch]):
    """Batches that lie ready, with the size that CaBRNet's projection asks for."""

    def __init__(self, given: list[classic.Batch], batch_size: int) -> None:
        super().__init__(given)
        self.batch_size = batch_size


def objective(weight: Tensor, own: Tensor, activations: Tensor, labels: Tensor) -> float:
    """CE(A Wᵀ, y) + 1e-4 ‖W ⊙ (1 − own)‖₁ on the images that were learnt from."""
    penalty = weight.masked_fill(own, 0.0).abs().sum()
    return (cross_entropy(activations @ weight.T, labels) + L1 * penalty).item()


def decisions(
    network: ProtoNet, trunk: str, pixels: Tensor, labels: Tensor, repeats: int, iterations: int, device: torch.device
) -> tuple[list[Row], dict[str, float]]:
    """Train the decision layer of a pushed network: one pass and a solver, against passes over the images.

    Returns:
        The rows, and the objective that each contender reached, with that of the start.
    """
    network.eval()
    push(network, pixels, labels, OUR_BATCH)
    given = batches(pixels, labels, TUNE_BATCH)
    start = network.decision.weight.detach().clone()
    reached: dict[str, Tensor] = {"start": start}
    laps: list[float] = []

    def ours() -> None:
        (table,) = respond(network, pixels, batch_size=OUR_BATCH)
        activations = network.layer.similarity(table.distances.to(device))
        reached[OURS] = solve_decision_layer(start, network.own, activations, labels, l1=L1, iterations=iterations)

    plain = classic.ClassicNet(network).to(device)

    def passes() -> None:
        plain.decision.weight.data.copy_(start)
        began = time.perf_counter()
        for done in classic.tune_decision(plain, given, 20, L1):
            if done == 10:
                synchronise(device)
                laps.append(time.perf_counter() - began)
                reached[f"{CLASSIC}, 10 passes"] = plain.decision.weight.detach().clone()
        reached[f"{CLASSIC}, 20 passes"] = plain.decision.weight.detach().clone()

    contenders: dict[str, Callable[[], object]] = {OURS: ours, f"{CLASSIC}, 20 passes": passes}
    if not cabrnet_peer.missing():
        contenders[f"{CABRNET}, 20 passes"] = _cabrnet_tuning(network, trunk, pixels, labels, reached)
    seconds = interleave(contenders, repeats, device, warmups=0)
    timed: Seconds = {OURS: seconds[OURS], f"{CLASSIC}, 10 passes": tuple(laps), **seconds}
    classes, prototypes = network.own.shape
    shape = f"{trunk} K={classes} P={prototypes} N={len(pixels)} {pixels.shape[-1]} px"
    (table,) = respond(network, pixels, batch_size=OUR_BATCH)
    activations = network.layer.similarity(table.distances.to(device))
    scores = {name: objective(weight, network.own, activations, labels) for name, weight in reached.items()}
    return compare("decision layer", shape, device, timed), scores


def _cabrnet_tuning(
    network: ProtoNet, trunk: str, pixels: Tensor, labels: Tensor, reached: dict[str, Tensor]
) -> Callable[[], object]:
    """What its `train_epoch` does after a projection: 20 passes with all but the last layer frozen."""
    model = cabrnet_peer.build(network, trunk)
    start = network.decision.weight.detach().clone()

    def tune() -> None:
        model.classifier.last_layer.weight.data.copy_(start)
        manager = cabrnet_peer.optimizers(model)  # anew, so that every round starts without momentum
        manager.freeze_non_associated_groups(optim_name="last_layer_optimizer")
        loaders: dict[str, Any] = {"train_set": cabrnet_peer.Loader([pixels], labels, TUNE_BATCH, shuffle=0)}
        optimizer = manager.optimizers["last_layer_optimizer"]
        for _ in range(20):
            model._train_epoch(loaders, optimizer, device=pixels.device, epoch_idx=cabrnet_peer.JOINT)
        reached[f"{CABRNET}, 20 passes"] = model.classifier.last_layer.weight.detach().clone()

    return tune


def tables(images: int, prototypes: int, grid: int, seed: int = 0) -> tuple[ResponseTable, ResponseTable]:
    """Two response tables as networks give them: favourite cells, and half of the student's answers the teacher's."""
    generator = torch.Generator().manual_seed(seed)
    cells = grid * grid
    liking = torch.rand(prototypes, cells, generator=generator) ** 4
    teacher = torch.multinomial(liking, images, replacement=True, generator=generator).T
    own = torch.multinomial(liking.flip(0), images, replacement=True, generator=generator).T
    student = torch.where(torch.rand(images, prototypes, generator=generator) < 0.5, teacher, own)
    distances = [torch.rand(images, prototypes, generator=generator) * 6 for _ in range(2)]
    pairs = zip((teacher, student), distances, strict=True)
    first, second = (ResponseTable(c.to(torch.int16), d, (grid, grid)) for c, d in pairs)
    return first, second


def metric_rows(images: int, prototypes: int, grid: int, sample: tuple[int, int], repeats: int) -> list[Row]:
    """AAP, AJS and PMS of tables (N, P), on the CPU, where they are computed; the set versions from a sample.

    Args:
        sample: Images for AAP and AJS, pairs of prototypes for PMS, that the set versions are timed on.
    """
    device = torch.device("cpu")
    teacher, student = tables(images, prototypes, grid)
    taus, alphas = metrics.TAUS, metrics.ALPHAS
    some, pairs = min(sample[0], images), min(sample[1], prototypes**2)
    cells = [table.cells.numpy().astype(np.int64) for table in (teacher, student)]
    near = [table.distances.numpy() for table in (teacher, student)]
    first, second = ((c[:some], d[:some]) for c, d in zip(cells, near, strict=True))
    name, shape = "sets", f"N={images} P={prototypes} {grid}×{grid}"
    rows: list[Row] = []
    for work, ours, theirs in (
        ("AAP", lambda: metrics.aap(teacher, taus), lambda: sets.aap(*first, taus)),
        ("AJS", lambda: metrics.ajs(teacher, student, taus), lambda: sets.ajs(first, second, taus)),
    ):
        seconds = interleave({OURS: ours, name: theirs}, repeats, device)
        seconds[name] = tuple(s * images / some for s in seconds[name])
        rows += compare(work, f"{shape}, sets scaled from a sample of {some} images", device, seconds)

    kept_t, kept_s = (sets.responses(c, grid * grid) for c in cells)
    chosen = torch.randint(0, prototypes, (pairs, 2), generator=torch.Generator().manual_seed(1)).tolist()
    contenders: dict[str, Callable[[], object]] = {
        OURS: lambda: metrics.pms(teacher, student, alphas),
        name: lambda: sets.pair_similarities(kept_t, kept_s, ((i, j) for i, j in chosen), images, alphas),
    }
    seconds = interleave(contenders, repeats, device)
    counts = metrics.coincidences(teacher, student).double().numpy()
    similarities = np.stack([np.minimum(1.0, counts / (alpha * images)) for alpha in alphas])
    matching = interleave({name: lambda: sets.match(similarities)}, 1, device, warmups=0)[name][0]
    seconds[name] = tuple(s * prototypes**2 / pairs + matching for s in seconds[name])
    text = f"{shape}, ten α, sets scaled from a sample of {pairs} pairs, with the whole matching"
    return rows + compare("PMS", text, device, seconds)
