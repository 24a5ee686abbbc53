"""Whether networks mean the same parts, as rows of an evaluation, where parts are known (CUB, drawn birds).

The measures are in `p2p.parts`; here are the truth of a test set, what networks answer when it is disturbed, and the
rows. Rows whose tau is empty have the published or chosen settings; those named `<measure>_over_<parameter>` have the
parameter's value as tau, for curves. Levels end as everywhere: `_permuted`, `_chance`, `_floor`, `_second_teacher`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import torch
from torch import Tensor

from p2p import parts
from p2p.data.images import ImageSet
from p2p.data.redraw import Intervention, interventions
from p2p.evaluation.contributions import on_cpu
from p2p.evaluation.measure import ALWAYS, Answer, Row
from p2p.metrics import permute_images, pms
from p2p.networks import ProtoNet
from p2p.responses import ResponseTable
from p2p.study.params import DataParams

PROBED = 16  # test images that are disturbed: by noise, and of drawn birds part by part
FRAME = 224  # pixels that the published windows are measured in
WINDOW, PURE = 72, 32  # of consistency, stability and the part at a place; of purity
WINDOWS = (32, 48, 72, 96)
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
THRESHOLD = 0.8
NOISES = (0.1, parts.NOISE, 0.4)
TOPS = (5, 10, 20, 50)
TOP = 10
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
SHARE = 0.1

SHARED_HEADS = {  # measures of what a network has of its teacher, as tables and figures call them
    "part_transfer": "same part, by number",
    "part_transfer_matched": "same part, matched",
    "same_images": "same images",
    "intervention": "same reaction, by number",
    "intervention_matched": "same reaction, matched",
    "decisions": "same decisions",
}
OWN_HEADS = {name: name for name in ("consistency", "stability", "purity")} | {"pointing": "place that counts"}
OWN, SHARED = tuple(OWN_HEADS), tuple(SHARED_HEADS)
NAMES = (*OWN, *SHARED)


@dataclass(frozen=True)
class Truth:
    """What is known of the parts of N test images, and n of them disturbed.

    Attributes:
        labels: (N,).
        near: (N, C, Q) bool for each window of `WINDOWS`, see `p2p.parts.inside`.
        pure: As `near`, both sides of a part as one: (N, C, G) bool.
        visible: (N, Q) bool; `pure_visible` (N, G) likewise.
        at: (N, C) part at each cell, −1 for none, for each window of `WINDOWS`; both sides of a part as one.
        probed: (n,) which of the images are disturbed.
        noisy: Pixels (n, 3, S, S) uint8 for each of `NOISES`.
        changed: Of drawn birds the 2 Q interventions; else none.
    """

    labels: Tensor
    near: dict[int, Tensor]
    pure: dict[int, Tensor]
    visible: Tensor
    pure_visible: Tensor
    at: dict[int, Tensor]
    probed: Tensor
    noisy: dict[float, Tensor]
    changed: tuple[Intervention, ...]

    def found(self, table: ResponseTable, window: int = WINDOW) -> Tensor:
        """(N, P) part at each prototype's nearest cell, −1 for none."""
        return self.at[window].gather(1, table.cells.long())


def read_truth(images: ImageSet, grid: tuple[int, int], params: DataParams, seed: int) -> Truth | None:
    """The truth of a test set; None where nothing is known of its parts.

    Args:
        images: The test images.
        grid: (H, W) of the networks.
        params: That the images were made with.
        seed: Of the choice of disturbed images, and of their noise.
    """
    if images.parts is None:
        return None
    points, size = images.parts.cpu(), images.pixels.shape[-1]
    visible, group = points[..., 2] > 0, parts.merged_sides(images.part_names)[0]
    near = {window: parts.inside(points, grid, size, window / FRAME) for window in WINDOWS}
    generator = torch.Generator().manual_seed(seed)
    probed = torch.randperm(len(images), generator=generator)[:PROBED].sort().values
    some = images.select(probed)
    pixels = torch.cat(list(some.pixels.split(PROBED))).cpu()
    drawn = params.reader == "birds"
    return Truth(
        labels=images.labels.cpu(),
        near=near,
        pure={window: _grouped(found, group) for window, found in near.items()},
        visible=visible,
        pure_visible=_grouped(visible, group),
        at=part_cells(images, grid),
        probed=probed,
        noisy={sigma: _with_noise(pixels, sigma, generator) for sigma in NOISES},
        changed=tuple(interventions(params, some)) if drawn else (),
    )


def part_cells(images: ImageSet, grid: tuple[int, int], windows: Sequence[int] = WINDOWS) -> dict[int, Tensor]:
    """By window (N, C) the part at each cell, −1 for none; parts as `p2p.parts.merged_sides` numbers them.

    Args:
        images: N images whose parts are known.
        grid: (H, W).
        windows: Of `FRAME` pixels.
    """
    assert images.parts is not None, "asked of images whose parts are not known"
    masks = None if images.masks is None else images.masks.cpu()
    shares, size = [window / FRAME for window in windows], images.pixels.shape[-1]
    at = parts.part_at(images.parts.cpu(), grid, size, shares, masks)
    group, _ = parts.merged_sides(images.part_names)
    of_group = torch.cat([torch.tensor([-1]), group]).to(torch.int16)  # so that −1, no part, stays −1
    return {window: of_group[found.long() + 1] for window, found in zip(windows, at, strict=True)}


def _grouped(known: Tensor, group: Tensor) -> Tensor:
    """(…, Q) bool to (…, G): whether any part of each group."""
    return torch.stack([known[..., group == g].any(-1) for g in range(int(group.max()) + 1)], -1)


def _with_noise(pixels: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    noise = (torch.randn(pixels.shape, generator=generator) * sigma).clamp(-parts.MOST_NOISE, parts.MOST_NOISE)
    return (pixels + noise * parts.DEVIATION * 255).round().clamp(0, 255).to(torch.uint8)


class Probe(NamedTuple):
    """A network's answers to the n disturbed images; I interventions."""

    noisy: dict[float, Tensor]  # (n, P) cells
    similarities: Tensor  # (I, n, P)
    decided: Tensor  # (I, n)


@dataclass(frozen=True)
class Seen:
    """What one network answers, all that the measures need.

    Attributes:
        table: Of its tuned prototypes, N images.
        at: (N, P), see `Truth.found`.
        probe: To the disturbed images.
        similarities: (n, P) to the same images undisturbed.
        decided: (n,) likewise.
        own: (K, P) bool.
    """

    table: ResponseTable
    at: Tensor
    probe: Probe
    similarities: Tensor
    decided: Tensor
    own: Tensor


@torch.inference_mode()
def look(network: ProtoNet, table: ResponseTable, truth: Truth, batch_size: int) -> Seen:
    """A network's answers for the measures of this module; it is run on the disturbed images only."""
    network.eval()
    device, decide = network.prototypes.device, on_cpu(network.decision)

    def answers(pixels: Tensor) -> tuple[Tensor, Tensor]:
        out = [network(part.to(device)) for part in pixels.split(batch_size)]
        return torch.cat([o.cells for o in out]).cpu(), torch.cat([o.distances for o in out]).cpu()

    noisy = {sigma: answers(pixels)[0] for sigma, pixels in truth.noisy.items()}
    before = network.layer.similarity(table.distances[truth.probed].float())
    after = [network.layer.similarity(answers(change.pixels)[1]) for change in truth.changed]
    similarities = torch.stack(after) if after else before.new_empty(0, *before.shape)
    decided = torch.stack([decide(one).argmax(1) for one in after]) if after else torch.empty(0, len(before)).long()
    probe = Probe(noisy, similarities, decided)
    return Seen(table, truth.found(table), probe, before, decide(before).argmax(1), network.own.cpu())


def own_part_rows(who: tuple[str, str], seen: Seen, truth: Truth, seed: int, level: str = "") -> Iterator[Row]:
    """Consistency, stability, purity and pointing of one network, their curves and their values on other images.

    Args:
        who: role and variant.
        seen: Of the network.
        truth: Of the test images.
        seed: Of the permutation of images.
        level: "_floor" or "_second_teacher" of a network that is a level: one value of each, no curves.
    """
    stage, some = (*who, "tuned"), truth.probed
    shuffled = permute_images(seen.table, torch.Generator().manual_seed(seed))
    pairs = parts.own_pairs(truth.labels, seen.own)
    few = parts.own_pairs(truth.labels[some], seen.own)
    order = torch.randperm(len(some), generator=torch.Generator().manual_seed(seed))

    def consistent(table: ResponseTable, window: int = WINDOW) -> Tensor:
        return parts.consistency(truth.near[window], truth.visible, table.cells, pairs, THRESHOLDS)

    def stable(sigma: float = parts.NOISE, window: int = WINDOW, turned: bool = False) -> float:
        moved = seen.probe.noisy[sigma]
        return parts.stability(truth.near[window][some], seen.table.cells[some], moved[order] if turned else moved, few)

    def pure(table: ResponseTable, top: int = TOP, window: int = PURE) -> float:
        return parts.purity(truth.pure[window], truth.pure_visible, table.cells, table.distances, top)

    chosen = THRESHOLDS.index(THRESHOLD)
    values = {"consistency": float(consistent(seen.table)[chosen]), "stability": stable(), "purity": pure(seen.table)}
    others = {"consistency": float(consistent(shuffled)[chosen]), "stability": stable(turned=True)}
    others["purity"] = pure(shuffled)
    removed = [i for i, change in enumerate(truth.changed) if change.kind == "removed"]
    if removed:
        falls = seen.similarities - seen.probe.similarities[removed]
        values["pointing"] = parts.pointing(seen.at[some], falls)
        others["pointing"] = parts.pointing(seen.at[some][order], falls)
    yield from _values(stage, values, level)
    if level:
        return
    yield from _values(stage, others, "_permuted")
    for threshold, value in zip(THRESHOLDS, consistent(seen.table).tolist(), strict=True):
        yield (*stage, "consistency_over_threshold", threshold, value)
    for window in WINDOWS:
        yield (*stage, "consistency_over_window", window, float(consistent(seen.table, window)[chosen]))
        yield (*stage, "stability_over_window", window, stable(window=window))
        yield (*stage, "purity_over_window", window, pure(seen.table, window=window))
    for sigma in NOISES:
        yield (*stage, "stability_over_noise", sigma, stable(sigma))
    for top in TOPS:
        yield (*stage, "purity_over_images", top, pure(seen.table, top))


def shared_part_rows(
    who: tuple[str, str], seen: Seen, teacher: Seen, truth: Truth, seed: int, level: str = ""
) -> Iterator[Row]:
    """What a network has of the teacher's parts: by number where both have as many prototypes, and matched as PMS
    matches at α = 1; each with what exchanged prototypes (`_chance`) and other images (`_permuted`) give.

    Args:
        who: role and variant.
        seen, teacher: Of the network and of its teacher.
        truth, seed, level: As for `own_part_rows`.
    """
    stage = (*who, "tuned")
    values, chance, over = _compared(seen, teacher, truth, seen.table)
    yield from _values(stage, values, level)
    if level:
        return
    yield from _values(stage, chance, "_chance")
    for (name, setting), value in over.items():
        if not isnan(value):  # no prototype of the teacher lies on a part
            yield (*stage, name, setting, value)
    generator = torch.Generator().manual_seed(seed)
    shuffled = permute_images(seen.table, generator)
    order = torch.randperm(len(truth.probed), generator=generator)
    probe = Probe({}, seen.probe.similarities[:, order], seen.probe.decided[:, order])
    turned = Seen(shuffled, truth.found(shuffled), probe, seen.similarities[order], seen.decided[order], seen.own)
    yield from _values(stage, _compared(turned, teacher, truth, shuffled)[0], "_permuted")


def _compared(
    seen: Seen, teacher: Seen, truth: Truth, table: ResponseTable
) -> tuple[dict[str, float], dict[str, float], dict[tuple[str, float], float]]:
    """Values and chance levels by measure, and the curves by name and share."""
    values: dict[str, float] = {}
    chance: dict[str, float] = {}
    over: dict[tuple[str, float], float] = {}

    def keep(name: str, found: parts.Agreement) -> None:
        values[name], chance[name] = found.value, found.chance

    partner = pms(teacher.table, table, alphas=(1.0,)).matching[0]
    left = (partner >= 0).nonzero()[:, 0]
    orders = {"_matched": (left, partner[left])}
    if teacher.table.cells.shape == table.cells.shape:
        orders = {"": (torch.arange(len(partner)),) * 2, **orders}
    for suffix, (mine, theirs) in orders.items():
        group = (
            None if suffix else teacher.own.float().argmax(0)
        )  # prototypes of a number are of one class in any network
        near, at_t, at_s = teacher.table.distances[:, mine], teacher.at[:, mine], seen.at[:, theirs]
        keep(f"part_transfer{suffix}", parts.part_transfer(at_t, at_s, near, SHARE, group))
        for share in SHARES:
            over[f"part_transfer{suffix}_over_share", share] = parts.part_transfer(at_t, at_s, near, share).value
        for window in WINDOWS:
            of_window = [truth.found(of, window)[:, c] for of, c in ((teacher.table, mine), (table, theirs))]
            found = parts.part_transfer(of_window[0], of_window[1], near, SHARE)
            over[f"part_transfer{suffix}_over_window", window] = found.value
        if truth.changed:
            change_t, change_s = (
                (of.probe.similarities - of.similarities)[..., columns].flatten(0, 1)
                for of, columns in ((teacher, mine), (seen, theirs))
            )
            keep(f"intervention{suffix}", parts.intervention_agreement(change_t, change_s, group))
        if not suffix:
            keep("same_images", parts.same_images(near, table.distances, SHARE, group))
    if truth.changed:
        values["decisions"] = parts.decision_agreement(
            teacher.decided, teacher.probe.decided, seen.decided, seen.probe.decided
        )
    return values, chance, over


def _values(stage: tuple[str, str, str], values: dict[str, float], suffix: str) -> Iterator[Row]:
    for name, value in values.items():
        if not isnan(value):
            yield (*stage, f"{name}{suffix}", ALWAYS, value)


class Level(NamedTuple):
    """A network to read the others against: who it is in the rows, and what the names of its measures end with."""

    who: tuple[str, str]
    suffix: str  # "_floor" or "_second_teacher"
    network: ProtoNet
    table: ResponseTable


def part_rows(answers: Sequence[Answer], levels: Sequence[Level], truth: Truth, seed: int) -> Iterator[Row]:
    """The rows of all networks of a triple, the teacher first, other budgets left out; and of those it never taught."""
    first: Seen | None = None
    for answer in answers:
        network = answer.trained.network
        if answer.role == "budget" or not isinstance(network, ProtoNet) or "tuned" not in answer.tables:
            continue
        seen = look(network, answer.tables["tuned"], truth, answer.trained.params.batch_size)
        who = (answer.role, answer.variant)
        yield from own_part_rows(who, seen, truth, seed)
        if first is None:
            first = seen
        else:
            yield from shared_part_rows(who, seen, first, truth, seed)
    for level in levels:
        seen = look(level.network, level.table, truth, PROBED)
        yield from own_part_rows(level.who, seen, truth, seed, level.suffix)
        if first is not None:
            yield from shared_part_rows(level.who, seen, first, truth, seed, level.suffix)
