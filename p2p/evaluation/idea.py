"""What the page "The idea in pictures" shows: the packed networks of the drawn birds, asked about a few birds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from p2p.data import birds
from p2p.data.images import BIRD_TEST_INDEX, bird_counts, bird_indices, bird_table
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.explanation import Explanation
from p2p.evaluation.packed import read_record
from p2p.study.pages import listed
from p2p.study.params import DataParams

ROLES = {"teacher": "teacher-small", "student": "student-small_eighth", "baseline": "baseline-small_eighth"}
SEEN = 32  # test birds looked at, the first ones
PUBLISHED = "It is the published run of its seed."  # in the card of a packed network, if it is


@dataclass(frozen=True)
class Idea:
    """Answers of teacher, student and baseline to the first test birds; N of them, P prototypes.

    Attributes:
        birds: (N, 3, S, S) uint8.
        labels: (N,) their classes.
        chosen: Which of them is explained: the first that all three networks take for what it is.
        told: Of each role the explanation of that bird; whole source images in it.
        cells: Of each role (N, P), the nearest cell of each prototype.
    """

    birds: Tensor
    labels: Tensor
    chosen: int
    told: dict[str, Explanation]
    cells: dict[str, Tensor]

    def by_chance(self, role: str) -> float:
        """Share of pairs of the same number on one cell when the role is asked about another bird, over all others."""
        met = (self.cells["teacher"][:, None] == self.cells[role]).double().mean(2)  # (N, N)
        return float((met.sum() - met.trace()) / (met.numel() - len(met)))

    def shared(self, role: str) -> Tensor:
        """(N, P) bool: the teacher's prototype sits on the cell of the role's of the same number."""
        return self.cells["teacher"] == self.cells[role]


def one_patch(said: Explanation, shown: int) -> str:
    """Which of the first prototypes are one training patch, in a sentence by their ranks; "" where all differ."""
    places: dict[tuple[str, tuple[int, int]], list[str]] = {}
    for rank, one in enumerate(said.evidence[:shown], 1):
        places.setdefault((one.source_name, one.source_cell), []).append(str(rank))
    same = [f"ranks {listed(ranks)}" for ranks in places.values() if len(ranks) > 1]
    if not same:
        return ""
    return f"One training patch, onto which the push has put several prototypes of the {said.role}: {'; '.join(same)}."


def what_is_packed(networks: Path) -> str:
    """Of which runs the packed networks are, by their records and cards, in a sentence."""
    records = [read_record(networks / folder) for folder in ROLES.values()]
    cards = [networks / folder / "README.md" for folder in ROLES.values()]
    own = all(card.is_file() and PUBLISHED in " ".join(card.read_text(encoding="utf-8").split()) for card in cards)
    seeds = listed(sorted({str(record["parameters"]["seed"]) for record in records}))
    stored = listed(sorted({str(record["packed"]["precision"]) for record in records}))
    runs = f"the published runs of seed {seeds}" if own else f"runs of seed {seeds}, not all of them published ones"
    return f"The packed networks are {runs}, stored in {stored} precision."


def draw_birds(params: DataParams, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Some birds of a data set alone, by the numbers in their names: (N, 3, S, S) uint8 and their classes (N,)."""
    classes = bird_counts(params)[0]
    index = torch.tensor(numbers, dtype=torch.int64)
    labels = (index - BIRD_TEST_INDEX * (index >= BIRD_TEST_INDEX)) % classes
    table = bird_table(params, classes)
    drawn = birds.draw(labels, index, table, params.size, params.data_seed, hardness=params.bird_hardness)
    return drawn.pixels, labels


@torch.inference_mode()
def read_idea(networks: Path, count: int = SEEN) -> Idea:
    """Ask the packed networks of the drawn birds about the first `count` test birds.

    Raises:
        UserError: One of the networks is missing or damaged, or no bird is recognised by all three.
    """
    asked = {role: Explainer(networks / folder, Explanation) for role, folder in ROLES.items()}
    params = asked["teacher"].trained.params
    pixels, labels = draw_birds(params, range(BIRD_TEST_INDEX, BIRD_TEST_INDEX + count))
    right = torch.ones(count, dtype=torch.bool)
    cells = {}
    for role, one in asked.items():
        out = one.trained.network(pixels)
        cells[role] = out.cells
        right &= out.logits.argmax(1) == labels
    chosen = int(right.nonzero()[0, 0])
    name = f"bird {BIRD_TEST_INDEX + chosen}"
    told = {role: with_sources(one.explain(pixels[chosen], name), params) for role, one in asked.items()}
    return Idea(pixels, labels, chosen, told, cells)


def with_sources(said: Explanation, params: DataParams) -> Explanation:
    """An explanation by a packed network of drawn birds, its source images drawn again, whole."""
    whole, _ = draw_birds(params, bird_indices(tuple(one.source_name for one in said.evidence)).tolist())
    return replace(
        said, evidence=tuple(replace(one, source=image) for one, image in zip(said.evidence, whole, strict=True))
    )
