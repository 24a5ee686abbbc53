"""The parameters of the page on merged prototypes (notebook 08)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from p2p.errors import UserError
from p2p.study.params import DataParams, Seed, Strict, check

Share = Annotated[int, Field(ge=1, le=99)]


class Trio(Strict):
    """Teacher, baseline and student of one triple and seed, by the names of their runs."""

    triple: str
    seed: Seed
    variant: str = "paper"
    teacher: str
    baseline: str
    student: str


class ShareParams(DataParams):
    """Prototypes merged to several shares, of all triples and seeds: the parameters of `notebooks/08_share.py`."""

    sharing: list[Share] = Field([80, 60, 40, 20], description="Shares of the prototypes that are left, in percent.")
    trios: list[Trio] = Field(
        [
            Trio(
                triple="small_half-small_sixth",
                seed=seed,
                teacher=f"teacher-small_half-s{seed}",
                baseline=f"baseline-small_sixth-s{seed}",
                student=f"student-small_half-small_sixth-paper-s{seed}",
            )
            for seed in (0, 1)
        ],
        description="The networks.",
    )
    ajs_empty: Literal["zero", "skip", "one"] = Field("zero", description="A11: AJS of two empty sets.")
    runs: str = "runs"
    results: str = "results"


def share_params(study: Any) -> ShareParams | None:
    """The parameters of a study's page; None where it merges nothing.

    Args:
        study: A `p2p.study.study.Study`.

    Raises:
        UserError: It names a share twice, is private and has no such page, or its networks are trees.
    """
    if not study.sharing:
        return None
    if len(set(study.sharing)) < len(study.sharing):
        raise UserError(f"'sharing' names a share twice: {study.sharing}; each is one number of prototypes.")
    if study.private:
        raise UserError("'sharing' is without effect: a private study has no page of merged prototypes; remove it.")
    if study.recipe.get("decision") == "tree":
        raise UserError("'sharing' merges prototypes of a linear decision, and the recipe's is a tree; remove either.")
    trios = [
        {
            "triple": one.triple,
            "seed": one.seed,
            "variant": variant,
            "teacher": one.teacher_run,
            "baseline": one.baseline_run,
            "student": student,
        }
        for one in study.evaluations().values()
        for variant, student in [next(iter(one.student_runs.items()))]
    ]
    values = {**study.data, "study": study.study, "ajs_empty": study.ajs_empty}
    values |= {"sharing": sorted(study.sharing, reverse=True), "trios": trios}
    return check(ShareParams, values, f"study '{study.study}', sharing")
