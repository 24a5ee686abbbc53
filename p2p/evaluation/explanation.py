"""What a network says of one image, and why: the prototypes that decided, in numbers and in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from p2p.study.pages import class_text, listed

if TYPE_CHECKING:
    from p2p.evaluation.packed import SourcePatch
    from p2p.tree import TreeDecision

USUAL = 0.95  # of a run's own test images; the nearest prototype of an unusual image lies farther away than theirs


@dataclass(frozen=True)
class Evidence:
    """One prototype's part in the decision.

    Attributes:
        prototype: Its number.
        labels: Its class; of a prototype that others were merged into, the class of its patch and then theirs.
        similarity, distance: At the nearest cell; distance is squared L2.
        weight: Of the decision layer, for the predicted class; of a tree, by how much that class's probability grows
            with the similarity.
        contribution: similarity · weight, what it adds to the logit; of a tree, to the probability.
        cell: (row, column), from 0, of the nearest cell of the image's grid.
        source_cell: Likewise, of the training patch that the prototype is.
        source_name: The training image of that patch.
        source: (3, S, S) uint8, that image.
        similarities: (H, W), of every cell of the image to the prototype.
    """

    prototype: int
    labels: tuple[int, ...]
    similarity: float
    distance: float
    weight: float
    contribution: float
    cell: tuple[int, int]
    source_cell: tuple[int, int]
    source_name: str
    source: Tensor
    similarities: Tensor


@dataclass(frozen=True)
class Against:
    """A prototype that takes from the predicted class: its number, its classes as in `Evidence`, what it adds (< 0)."""

    prototype: int
    labels: tuple[int, ...]
    contribution: float


@dataclass(frozen=True)
class Tree:
    """A network that is a tree, as it is drawn; `patches` (P) are what its nodes ask for."""

    decision: TreeDecision
    patches: tuple[SourcePatch, ...]


@dataclass(frozen=True)
class Path:
    """The most probable way of an image through a tree.

    Attributes:
        tree: All of it.
        leaf: Number of the leaf at its end.
        asked: The prototypes of the nodes on the way, from the root.
        there: Of each, whether the way goes on where something like it is there.
        probability: Of the way, 0 to 1.
        similarities: (P,) of all nodes.
    """

    tree: Tree
    leaf: int
    asked: tuple[Evidence, ...]
    there: tuple[bool, ...]
    probability: float
    similarities: Tensor


@dataclass(frozen=True)
class Explanation:
    """One image, explained by one network.

    Attributes:
        run, role, study: Of the network.
        name: Of the image.
        image: (3, S, S) uint8, as the network got it.
        classes: K names.
        logits: (K,) float64.
        contributions: (P,) float64, what each prototype adds to the predicted class's logit; their sum is that logit.
            Of a tree, what the class's probability would lose without it, see `TreeDecision.contributions`.
        evidence: The prototypes that count most, largest contribution first.
        nearest: Smallest distance of any prototype to any cell, squared L2.
        limit: Largest such distance that is usual, see `p2p.evaluation.explainer.usual_distance`.
        teacher: The same image, explained by the network's teacher; None where it has none or that is not there.
        against: Of the prototypes that are not in `evidence`, those that take most from the logit, the worst first.
        path: Of a tree, the way of the image through it.
        known: Where this is an image of the network's own: "trained" or "validated", and that image's name.
    """

    run: str
    role: str
    study: str
    name: str
    image: Tensor
    classes: tuple[str, ...]
    logits: Tensor
    contributions: Tensor
    evidence: tuple[Evidence, ...]
    nearest: float
    limit: float
    teacher: Explanation | None = None
    against: tuple[Against, ...] = ()
    path: Path | None = None
    known: tuple[str, str] | None = None

    @property
    def predicted(self) -> int:
        return int(self.logits.argmax())

    @property
    def logit(self) -> float:
        return float(self.logits.max())

    @property
    def probabilities(self) -> Tensor:
        """(K,) softmax of the logits."""
        return torch.softmax(self.logits, 0)

    @property
    def grid(self) -> tuple[int, int]:
        height, width = self.evidence[0].similarities.shape
        return int(height), int(width)

    def owner(self, one: Evidence | Against, brief: bool = False) -> str:
        """The class of a prototype, and of a merged one the others that it serves: all, or brief, how many."""
        first, *others = (class_text(self.classes[label]) for label in one.labels)
        if not others:
            return first
        return f"{first} +{len(others)}" if brief else f"{first}, merged with some of {', '.join(others)}"

    def best(self, count: int = 3) -> list[tuple[str, float, float]]:
        """The likeliest classes: name, logit, probability (0 to 1)."""
        order = self.logits.argsort(descending=True)[:count].tolist()
        return [(class_text(self.classes[k]), float(self.logits[k]), float(self.probabilities[k])) for k in order]

    @property
    def rest(self) -> tuple[int, float, float]:
        """Of the prototypes that are not in `evidence`: how many, what speaks for the class, what against it."""
        others = self.contributions.clone()
        others[[one.prototype for one in self.evidence]] = 0
        gain, loss = others.clamp(min=0).sum(), others.clamp(max=0).sum()
        return len(others) - len(self.evidence), float(gain), float(loss)

    def steps(self) -> list[tuple[str, float, float]]:
        """How the contributions add up to the logit: what it is, from where, to where; the last ends at the logit."""
        count, gain, loss = self.rest
        parts = [(f"{rank}: no. {one.prototype}", one.contribution) for rank, one in enumerate(self.evidence, 1)]
        parts += [(f"{count} others, for", gain), (f"{count} others, against", loss)] if count else []
        ends = torch.tensor([0.0, *(value for _, value in parts)], dtype=torch.float64).cumsum(0).tolist()
        return [(label, ends[i], ends[i + 1]) for i, (label, _) in enumerate(parts)]

    def share(self, contribution: float) -> float:
        """A contribution's part, 0 to 1, of all that speaks for the class. Parts of the logit, from which others take,
        would add up to more than all."""
        return max(contribution, 0.0) / max(float(self.contributions.clamp(min=0).sum()), 1e-9)

    @property
    def warning(self) -> str:
        """A sentence where nothing in the image resembles any prototype; else empty."""
        if self.nearest <= self.limit + 1e-4:  # the ε of similarities: a smaller difference is rounding
            return ""
        return (
            f"Nothing in this image resembles any prototype of {self.run} as closely as usual: the nearest is at a "
            f"squared distance of {self.nearest:.3g}, and of the images of its own test set {100 * USUAL:.0f} % come "
            f"nearer than {self.limit:.3g}. It may show something else: do not rely on this explanation."
        )

    def on_one_cell(self) -> list[list[int]]:
        """Numbers, from 1, of the prototypes told one by one that are found on the same cell, a list a cell."""
        told = self.path.asked if self.path else self.evidence
        there = self.path.there if self.path else (True,) * len(told)
        return _alike({rank: one.cell for rank, (one, found) in enumerate(zip(told, there, strict=True), 1) if found})

    @property
    def remarks(self) -> list[str]:
        """Sentences on what a reader would take for more than it is: a known image, reasons that are one."""
        told, said = self.path.asked if self.path else self.evidence, []
        if self.known:
            how, name = self.known
            said.append(
                f"{self.run} was {how} on this very image ({name}): what it says of it tells little about new ones."
            )
        for numbers in _alike({rank: (one.source_name, one.source_cell) for rank, one in enumerate(told, 1)}):
            first = told[numbers[0] - 1]
            same = listed([str(number) for number in numbers])
            said.append(
                f"Numbers {same} are the same patch, {place(first.source_cell)} of training image "
                f"{first.source_name}: one reason, counted {_times(len(numbers))}."
            )
        return said

    @property
    def frames(self) -> list[str]:
        """A sentence for each cell on which several of them are found."""
        told = self.path.asked if self.path else self.evidence
        return [
            f"Numbers {listed([str(number) for number in numbers])} lie on the same cell of the image, "
            f"{place(told[numbers[0] - 1].cell)}; in the picture their frames stand one inside the other."
            for numbers in self.on_one_cell()
        ]

    def lines(self) -> list[str]:
        """The explanation in plain words: what the network says, a line a prototype, the sum."""
        if self.path:
            return self._way(self.path)
        (name, logit, probability), *others = self.best()
        after = "; ".join(f"{other} (logit {number(value)}, {100 * p:.0f} %)" for other, value, p in others)
        told = sum(one.contribution for one in self.evidence)
        said = [
            f"{self.run} ({self.role}) takes the image for {name}: logit {number(logit)}, probability "
            f"{100 * probability:.0f} %. Next: {after}.",
            f"Of its {_count(len(self.contributions), 'prototype')} {_those(len(self.evidence))} most for that, "
            f"{number(told)} {f'of {number(logit)} ' if logit > told else ''}together:",
        ]
        for rank, one in enumerate(self.evidence, 1):
            said.append(
                f"{rank}. Prototype {one.prototype} ({self.owner(one)}): {place(one.cell)} of the image "
                f"looks like {place(one.source_cell)} of training image {one.source_name}. Similarity "
                f"{one.similarity:.2f} × weight {number(one.weight, digits=3)} = {number(one.contribution)}, "
                f"{100 * self.share(one.contribution):.0f} % of all that speaks for this class."
            )
        count, gain, loss = self.rest
        others_say = "The other prototype adds" if count == 1 else f"The other {count} prototypes add"
        take = "takes" if count == 1 else "take"
        rest = f"{others_say} {gain:.2f} and {take} {abs(loss):.2f} away{self._opposed()}. " if count else ""
        said.append(f"{rest}All together make {number(logit)}.")
        return said

    def _opposed(self) -> str:
        """Who speaks most against the class, as the end of a sentence; empty where nobody does."""
        told = [f"{one.prototype} ({self.owner(one, brief=True)}, {number(one.contribution)})" for one in self.against]
        return f", above all prototype{'s' * (len(told) > 1)} {listed(told)}" if told else ""

    def _way(self, path: Path) -> list[str]:
        """`lines` of a tree: what it says, a line a question, the leaf."""
        (name, _, probability), *others = self.best()
        after = "; ".join(f"{other} ({100 * p:.0f} %)" for other, _, p in others)
        leaf, count = path.tree.decision.distributions()[:, path.leaf], int(path.tree.decision.alive.sum())
        said = [
            f"{self.run} ({self.role}) takes the image for {name}, {100 * probability:.0f} %. Next: {after}.",
            f"The most probable way through its tree of {_count(count, 'leaf', 'leaves')} has "
            f"{_count(len(path.asked), 'question')}, and "
            f"{100 * path.probability:.0f} % of the decision:",
        ]
        for rank, (one, there) in enumerate(zip(path.asked, path.there, strict=True), 1):
            most = (
                f"{place(one.cell)} of the image, beside {place(one.source_cell)} of training image {one.source_name}"
            )
            said.append(
                f"{rank}. There is {'something' if there else 'nothing'} like prototype {one.prototype} "
                f"({one.similarity:.2f}; most alike is {most}) → {'yes' if there else 'no'}."
            )
        end = class_text(self.classes[int(leaf.argmax())])
        said.append(
            f"Leaf {path.leaf} says {end}, {100 * float(leaf.max()):.0f} %. All leaves together, each weighed by the "
            f"way to it, give {name}: {100 * probability:.0f} %."
        )
        return said

    def text(self) -> str:
        """`lines`, after the warning and the remarks where there are some, and the teacher's below them."""
        parts = [*filter(None, [self.warning]), *self.remarks, *self.lines(), *self.frames]
        return "\n".join(parts) + (f"\n\n{self.teacher.text()}" if self.teacher else "")


def _alike(values: Mapping[int, object]) -> list[list[int]]:
    """Numbers that have the same value, where there are several."""
    groups: dict[object, list[int]] = {}
    for rank, value in values.items():
        groups.setdefault(value, []).append(rank)
    return [group for group in groups.values() if len(group) > 1]


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def _count(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def _those(count: int) -> str:
    return "this one counts" if count == 1 else f"these {count} count"


def place(cell: Sequence[int]) -> str:
    """A cell as people count: "row 3, column 4"."""
    return f"row {cell[0] + 1}, column {cell[1] + 1}"


def number(value: float, sign: str = "", digits: int = 2) -> str:
    """With two digits and a minus that is one; `sign` "+" shows a plus, too."""
    return f"{value:{sign}.{digits}f}".replace("-", "\N{MINUS SIGN}")
