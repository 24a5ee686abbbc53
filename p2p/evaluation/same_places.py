"""Deletion and preservation curves of a triple, as rows of an evaluation: does a student lean on its teacher's places?

The measures are in `p2p.curves`; they need no truth about parts, so photographs have these rows, too. Curves are named
`<measure>_over_share`, with the share of cells as tau: `deletion` and `preservation` of a network's own explanation
(probability of the class it decided for; `…_top1`: accuracy), `…_teacher` where the teacher's explanation ranks the
cells, and `random_order` for deletion in a random order: preservation in one is the same curve from the other end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from p2p import curves
from p2p.data.images import ImageSet
from p2p.evaluation.measure import ALWAYS, Answer, Row
from p2p.evaluation.same_parts import Level
from p2p.networks import ProtoNet

SHOWN = 16  # test images whose cells are hidden
BATCH = 32

AREA_HEADS = {  # as tables call them: areas under the curves of a network's own explanation
    "deletion": "deletion",
    "preservation": "preservation",
    "deletion_top1": "deletion, accuracy",
    "preservation_top1": "preservation, accuracy",
}
PLACE_HEADS = {  # what they say in one number, of the own explanation and of the teacher's
    "own_places": "own places",
    "teacher_places": "teacher's places",
    "places_gap": "own less teacher's",
}
NAMES = (*AREA_HEADS, *PLACE_HEADS)


def chosen(images: ImageSet, seed: int) -> tuple[Tensor, Tensor]:
    """Pixels (n, 3, S, S) and labels (n,) of at most `SHOWN` test images, evenly spaced from a place drawn by seed.

    Evenly, because how an answer changes under grey differs from class to class, and a test set is in their order.
    """
    many, generator = min(SHOWN, len(images)), torch.Generator().manual_seed(seed)
    start = torch.rand(1, generator=generator, dtype=torch.float64)
    order = images.labels.cpu().argsort(stable=True)
    some = images.select(order[((torch.arange(many) + start) * len(images) / many).long()])
    return torch.cat([part.cpu() for part in some.pixels.split(BATCH)]), some.labels.cpu()


class Hiding:
    """A network asked about the same images with cells hidden.

    Args:
        network: Put into eval mode.
        grid: (H, W) of its cells.
        pixels: (n, 3, S, S) uint8.
        labels: (n,).

    Attributes:
        classes: (n,) that it decides for.
        order: (n, C) cells by its own explanation.
    """

    @torch.inference_mode()
    def __init__(self, network: ProtoNet, grid: tuple[int, int], pixels: Tensor, labels: Tensor) -> None:
        self.network, self.grid, self.pixels, self.labels = network.eval(), grid, pixels, labels
        said = [curves.explain(network, part.to(network.prototypes.device)) for part in pixels.split(BATCH)]
        self.classes, self.order = torch.cat([one for one, _ in said]), curves.ranking(torch.cat([e for _, e in said]))
        self.ends = curves.whole_and_empty(self.answer, pixels)

    @torch.inference_mode()
    def answer(self, pixels: Tensor) -> Tensor:
        """(n, K) logits on the CPU."""
        device = self.network.prototypes.device
        return torch.cat([self.network(part.to(device)).logits for part in pixels.split(BATCH)]).cpu()

    def curve(self, order: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
        """(T, n) probability of the class it decides for, and whether it is right; see `p2p.curves.answers`."""
        logits = curves.answers(self.answer, self.pixels, order, self.grid, keep, ends=self.ends)
        return curves.probability(logits, self.classes), curves.right(logits, self.labels)

    def both(self, order: Tensor) -> dict[str, Tensor]:
        """Both curves of an order, (T, n): of the probability, and as `…_top1` of being right."""
        found: dict[str, Tensor] = {}
        for name, keep in (("deletion", False), ("preservation", True)):
            found[name], found[f"{name}_top1"] = self.curve(order, keep)
        return found

    def area(self, curve: Tensor) -> Tensor:
        """(n,) areas of (T, n)."""
        return curves.area(curve, self.order.shape[1])

    def places(self, deletion: Tensor, preservation: Tensor) -> Tensor:
        """(n,) `p2p.curves.places` of two curves (T, n)."""
        return curves.places(self.area(deletion), self.area(preservation))

    def places_of(self, order: Tensor) -> Tensor:
        """(n,) `p2p.curves.places` of an order."""
        found = self.both(order)
        return self.places(found["deletion"], found["preservation"])


def rows_of(
    who: tuple[str, str], seen: Hiding, teacher: Hiding | None, random: Tensor, others: Tensor
) -> Iterator[Row]:
    """Areas and curves of one network: under its own explanation, under its teacher's, and in a random order.

    Args:
        who: role and variant.
        seen: The network.
        teacher: Its teacher; None: it is the teacher.
        random: (n, C) a random order of the cells of each image.
        others: (n,) for each image another one, whose explanation by the teacher is the level `_permuted`.
    """
    stage = (*who, "tuned")
    drawn = seen.both(seen.order)
    values = {name: seen.area(curve) for name, curve in drawn.items()}
    values["own_places"] = curves.places(values["deletion"], values["preservation"])
    if teacher is not None:
        drawn |= {f"{name}_teacher": curve for name, curve in seen.both(teacher.order).items()}
        values["teacher_places"] = seen.places(drawn["deletion_teacher"], drawn["preservation_teacher"])
        values["places_gap"] = values["own_places"] - values["teacher_places"]
        values["teacher_places_permuted"] = seen.places_of(teacher.order[others])
    drawn["random_order"], drawn["random_order_top1"] = seen.curve(random)
    for name in ("", "_top1"):
        chance = seen.area(drawn[f"random_order{name}"])
        values |= {f"deletion{name}_chance": chance, f"preservation{name}_chance": chance}
    for name, value in values.items():
        yield (*stage, name, ALWAYS, float(value.mean()))
    cells = random.shape[1]
    for name, curve in drawn.items():
        for count, value in zip(curves.counts(cells), curve.mean(1).tolist(), strict=True):
            yield (*stage, f"{name}_over_share", count / cells, value)


def place_rows(
    answers: Sequence[Answer], levels: Sequence[Level], images: ImageSet, seed: int, device: torch.device | str = "cpu"
) -> Iterator[Row]:
    """The rows of all networks of a triple, the teacher first, other budgets left out; and of those it never taught.

    Args:
        answers: As `p2p.evaluation.triple.read_triple` gives them.
        levels: The random network, and a second teacher where there is one.
        images: The test images.
        seed: Of the choice of images and of the random orders, which are the same for all networks.
        device: Where copies of the networks answer.
    """
    pixels, labels = chosen(images, seed)
    generator, teacher = torch.Generator().manual_seed(seed), None
    turn = torch.randperm(len(labels), generator=generator)
    others = torch.empty_like(turn).scatter_(0, turn, turn.roll(1))  # no image is its own other one
    random = torch.empty(0)
    for answer in answers:
        network = answer.trained.network
        if answer.role == "budget" or not isinstance(network, ProtoNet) or "tuned" not in answer.tables:
            continue
        seen = Hiding(deepcopy(network).to(device), answer.tables["tuned"].grid, pixels, labels)
        if teacher is None:
            random = curves.random_ranking(len(labels), seen.order.shape[1], generator)
        yield from rows_of((answer.role, answer.variant), seen, teacher, random, others)
        teacher = teacher or seen
    if teacher is not None:
        for level in levels:
            seen = Hiding(deepcopy(level.network).to(device), level.table.grid, pixels, labels)
            value = float(seen.places_of(teacher.order).mean())
            yield (*level.who, "tuned", f"teacher_places{level.suffix}", ALWAYS, value)
