"""The parts of a study file that stand in lists: triples of networks, and controls."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from p2p.study.params import Seed, Strict

# Names become folders and files; three of them and a seed fit into the 255 bytes that a file's name may have.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]


class Triple(Strict):
    """Teacher and student of one comparison; each a set of `TrainParams` keys."""

    name: Name
    teacher: dict[str, Any]
    student: dict[str, Any]
    seeds: list[Seed] = Field([], description="Of the study's seeds those that this triple has; empty: all.")
    budget: dict[int, list[int]] = Field(
        {}, description="Joint passes: seeds of baseline and student with so many of them, all else as it is."
    )

    variants: list[Name] = Field(
        [],
        description="Of the study's variants those that this triple has; its teacher and baseline are then its own, "
        "named by it, and it has no controls. Empty: all, but for those that only such a triple has.",
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        for part, keys in (("teacher", self.teacher), ("student", self.student)):
            if not isinstance(keys.get("network"), str):
                raise ValueError(f"the {part} of triple '{self.name}' needs 'network', the name of its trunk")
        if not all(self.budget.values()):
            raise ValueError(f"'budget' of triple '{self.name}' has passes without seeds; name them, or remove it")
        if any(passes < 1 for passes in self.budget):
            raise ValueError(
                f"'budget' of triple '{self.name}' has {min(self.budget)} joint passes; expected 1 or more"
            )
        return self


class Control(Strict):
    """Another way to train: a role's parameters with a change."""

    name: Name
    of: Literal["teacher", "baseline", "student"]
    change: dict[str, Any]
    seeds: list[Seed] = Field([], description="Of the study's seeds those that have this control; empty: all.")
