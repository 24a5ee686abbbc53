"""The metrics judged on networks: a perfect student whose map is damaged, pictures that are turned round or moved, and
images whose object stands in the middle or not. Rows for `p2p.evaluation.judge`, from the packed networks of a study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from p2p.data.images import ImageSet, load_images
from p2p.evaluation.judged import Value, measured
from p2p.evaluation.packed import is_packed
from p2p.evaluation.runs import Trained, load_run, respond
from p2p.metrics import permute_images
from p2p.mimicry import MapR2
from p2p.networks import ProtoNet, nearest_cells
from p2p.responses import ResponseTable, quarter_tau

ROLES = ("teacher", "student", "baseline")
SHARES = (0, 0.1, 0.25, 0.5, 0.75, 1)
Rows = Iterator[tuple[str, float, str, str, float, float]]  # what, level, network, measure, value, chance


def noisy(z: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """That share of each channel's variance is noise in place of the map: z (N, D, H, W) to the same."""
    mean, spread = z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), keepdim=True)
    noise = torch.randn(z.shape, generator=generator) * spread
    return mean + (1 - share) ** 0.5 * (z - mean) + share**0.5 * noise


def blurred(z: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Every cell takes that share from the mean of the 3 × 3 cells around it, at the border of those there are."""
    return (1 - share) * z + share * avg_pool2d(z, 3, 1, 1, count_include_pad=False)


DAMAGES: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {"noisy map": noisy, "blurred map": blurred}


def of_map(network: ProtoNet, z: Tensor) -> ResponseTable:
    """What a network answers where its add-on map is z (N, D, H, W)."""
    found = [nearest_cells(part, network.layer.prepare(network.prototypes)) for part in z.split(64)]
    cells, distances = torch.cat([c for _, c in found]), torch.cat([d for d, _ in found])
    return ResponseTable(cells.to(torch.int16), distances, (z.shape[2], z.shape[3]))


@torch.inference_mode()
def damaged_maps(teacher: ProtoNet, images: ImageSet, seed: int) -> Rows:
    """What each measure, and R², say of a student that is its teacher but for damage to its map."""
    z = torch.cat([teacher.add_on_map(part) for part in images.pixels.split(64)])
    own = of_map(teacher, z)
    tau = quarter_tau(own)
    for what, damage in DAMAGES.items():
        for share in SHARES:
            generator = torch.Generator().manual_seed(seed)
            other, followed = damage(z, share, generator), MapR2()
            followed.add(other, z)
            found = {"R²": Value(followed.value(), 0.0), **measured(own, of_map(teacher, other), tau, generator)}
            yield from ((what, share, "teacher", name, *value) for name, value in found.items())


def mirrored(table: ResponseTable) -> ResponseTable:
    """The answers with left and right exchanged."""
    row, column = table.cells // table.grid[1], table.cells % table.grid[1]
    return replace(table, cells=(row * table.grid[1] + table.grid[1] - 1 - column).to(torch.int16))


def shifted(pixels: Tensor, by: int) -> Tensor:
    """Pictures (N, 3, S, S) moved so many pixels to the right; the left edge repeats its first column."""
    return pad(pixels[..., :-by].float(), (by, 0, 0, 0), mode="replicate").to(pixels.dtype)


def moved_pictures(networks: dict[str, ProtoNet], images: ImageSet, seed: int) -> Rows:
    """Whether places go with the picture, or stay where they are.

    "goes along" is the share of answers that lie on the same place of the moved picture, "stays" of those on the same
    cell; of answers on what both pictures show. `PMS` and "same cell" are those of
    the teacher's answers to the pictures and another network's to the mirrored ones: what knows the habits of a
    prototype, but not where the object is. Chance is the same answers to other images.

    Args:
        networks: By role, the teacher first.
        images: The test images.
        seed: Of the permutations.
    """
    pixels = torch.cat(list(images.pixels.split(64)))
    before = {role: respond(network, pixels)[0] for role, network in networks.items()}
    teacher = before["teacher"]
    tau = quarter_tau(teacher)
    width = teacher.grid[1]
    turned, right = pixels.flip(3), shifted(pixels, pixels.shape[-1] // width)
    for role, network in networks.items():
        generator, own = torch.Generator().manual_seed(seed), before[role]
        after = {"mirrored": respond(network, turned)[0], "moved picture": respond(network, right)[0]}
        others = permute_images(own, generator)
        for what, table in after.items():
            both = (own.cells % width < width - 1) & (table.cells % width > 0)  # on what both pictures show
            can = both if what == "moved picture" else torch.ones_like(both)
            for name, follows in (("goes along", True), ("stays", False)):
                shares = []
                for start in (own, others):
                    there = start.cells
                    if follows:
                        there = mirrored(start).cells if what == "mirrored" else start.cells + 1
                    shares.append(float((there == table.cells)[can].double().mean()))
                yield what, 1.0, role, name, shares[0], shares[1]
        if role != "teacher":
            found = measured(teacher, after["mirrored"], tau, generator)
            yield from (("mirrored", 1.0, role, name, *found[name]) for name in ("PMS", "same cell"))


def in_the_middle(networks: dict[str, ProtoNet], images: ImageSet, seed: int) -> Rows:
    """All measures on the half of the images whose object stands nearer to the middle (level 1), and on the other (0).

    Args:
        networks: By role, the teacher first.
        images: The test images, with masks of their parts.
        seed: Of the permutations.
    """
    if images.masks is None:
        return
    seen = (images.masks > 0).cpu().float()  # (N, S, S)
    place = (torch.arange(seen.shape[-1]) + 0.5) / seen.shape[-1] - 0.5
    size = seen.sum((1, 2)).clamp(min=1)
    away = ((seen.sum(1) * place).sum(1) / size).square() + ((seen.sum(2) * place).sum(1) / size).square()
    order = away.argsort()
    tables = {role: respond(network, images.pixels)[0] for role, network in networks.items()}
    for level, chosen in ((1.0, order[: len(order) // 2]), (0.0, order[len(order) // 2 :])):
        of = {role: ResponseTable(t.cells[chosen], t.distances[chosen], t.grid) for role, t in tables.items()}
        tau = quarter_tau(of["teacher"])
        for role in ROLES[1:]:
            found = measured(of["teacher"], of[role], tau, torch.Generator().manual_seed(seed))
            yield from (("in the middle", level, role, name, *value) for name, value in found.items())


def packed_networks(folder: Path) -> dict[str, Trained]:
    """Teacher, student and baseline of a folder of packed networks, by role; empty where one of them is missing."""
    found: dict[str, Trained] = {}
    for place in sorted(folder.glob("*/")):
        if is_packed(place):
            run = load_run(place)
            if isinstance(run.network, ProtoNet):
                found[run.params.role] = run
    return {role: found[role] for role in ROLES} if set(ROLES) <= set(found) else {}


def rows_of_networks(folder: Path) -> list[tuple[str, str, int, str, float, str, str, float, float]]:
    """What the packed networks of a study say of the metrics (`p2p.evaluation.judged.COLUMNS`); empty without them.

    Args:
        folder: Such as `networks/birds`; drawn birds are drawn again, of other data the images are read.

    Raises:
        UserError: A network is damaged, or its images cannot be had.
    """
    runs = packed_networks(folder)
    if not runs:
        return []
    params = runs["teacher"].params
    images = load_images(params).subset("test")
    networks = {role: run.network for role, run in runs.items() if isinstance(run.network, ProtoNet)}
    rows = [*damaged_maps(networks["teacher"], images, params.seed)]
    rows += [*moved_pictures(networks, images, params.seed), *in_the_middle(networks, images, params.seed)]
    triple = f"{params.network}-{runs['student'].params.network}"
    return [(params.study, triple, params.seed, *row) for row in rows]
