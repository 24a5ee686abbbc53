"""The parameters of the pages of a study, and of those over all studies."""

from __future__ import annotations

import operator
from typing import Any

from pydantic import Field

from p2p.study.params import Seed, Strict

EXPLORED = 800  # test images of a study in the book's explorer, if it does not say how many


class PageParams(Strict):
    """A page over a whole study (table, curves, gallery): the parameters of notebooks 04 to 07."""

    study: str = "quick"
    title: str = "Quick study"
    intro: str = ""
    order: int = 8
    images: str = Field("synthetic birds", description="What the images are, as tables say it.")
    triple: str = "small_half-small_sixth"
    seed: Seed = Field(0, description="The seed whose networks are pictured.")
    evaluations: list[str] = Field(
        ["small_half-small_sixth-s0", "small_half-small_sixth-s1"], description="<triple>-s<seed>."
    )
    train_runs: list[str] = Field([], description="Names of all runs of the study; empty: those of `networks`.")
    networks: dict[str, str] = Field(
        {
            "teacher": "teacher-small_half-s0",
            "baseline": "baseline-small_sixth-s0",
            "student": "student-small_half-small_sixth-paper-s0",
        },
        description="role: run, the networks pictured.",
    )
    variant: str = Field("paper", description="The student pictured.")
    controls: dict[str, str] = Field({}, description="control: the role it was derived from.")
    variants: dict[str, dict[str, Any]] = Field(
        {},
        description="Where there are several, each student: its distillation losses and what else is its own.",
        exclude_if=operator.not_,
    )
    compares: bool = Field(
        False,
        description="The study compares its variants; no page sets its claims beside others'.",
        exclude_if=operator.not_,
    )
    explorer: bool = Field(False, description="Its prototypes are in the book's explorer.", exclude_if=operator.not_)
    explorer_images: int = Field(
        EXPLORED, ge=1, description="Test images there, at most.", exclude_if=lambda n: n == EXPLORED
    )
    effects: dict[str, float] = Field(
        {"accuracy": 0.01, "similarity": 0.02}, description="Smallest effects of interest, declared before the runs."
    )
    top_k: int = Field(5, ge=1, description="Prototypes shown for an image.")
    pictures: int = Field(4, ge=1, description="Test images or classes shown.")
    runs: str = "runs"
    results: str = "results"

    def all_runs(self) -> list[str]:
        """The names of all runs of the study, as far as they are given."""
        return self.train_runs or list(self.networks.values())


class QuestionParams(Strict):
    """A page over all studies: the parameters of notebooks 20 to 28."""

    results: str = Field("results", description="Folder of the studies' results.")
    networks: str = Field("networks/birds", description="Folder of the packed networks of the drawn birds.")
    out: str = Field("book/_build/pages", description="Folder for what other pages of the book include.")
