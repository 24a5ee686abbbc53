"""Paragraphs claim by claim: whose it is, what would support it, and what the studies of this copy say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from test_questions import metric_rows, write

from p2p.evaluation import claim_by_claim as page
from p2p.evaluation.claims import claims
from p2p.evaluation.settings import Setting, read_settings

BOTH = {"global": 10.0, "ppc": 10.0}


@pytest.fixture
def settings(tmp_path: Path) -> list[Setting]:
    write(tmp_path / "two", "Two", 2, metric_rows(2))
    write(tmp_path / "one", "One|", 1, metric_rows(3))
    return read_settings(tmp_path)


def of(found: list[str], claim: page.Said) -> str:
    (paragraph,) = [one for one in found if one.startswith(f"**{claim.claim}**")]
    return paragraph


def test_a_paragraph_a_claim_with_the_verdicts_of_studies_of_several_seeds(settings: list[Setting]) -> None:
    found = page.claim_by_claim(settings, [])
    assert len(found) == 8
    assert all("*Whose:*" in one and "*Would support it:*" in one and "*Here:*" in one for one in found)
    explains = of(found, page.EXPLAINS)
    assert "PMS: *supported* on One\\| (+0.375, +0.375 to +0.375, 3 seeds)" in explains and "Two" not in explains
    assert "Same number: *supported*" in explains and "AJS: not measured" in explains
    assert all(of(found, one).endswith("*Here:* not run in this copy.") for one in (page.LOSSES, page.TREES))


def test_losses_and_relations_are_told_from_studies_that_compare(settings: list[Setting]) -> None:
    frame = settings[0].frame
    student = frame[frame["role"] == "student"]
    lower = student.assign(value=student["value"].where(student["metric"] != "pms", 0.44))
    parts = [lower.assign(variant=name) for name in ("only", "weak", "rkd-a", "rkd-and")]
    changes = {"paper": BOTH, "only": {"ppc": 10.0}, "weak": {"ppc": 1.0}, "rkd-a": {"rkd": 3.0}}
    changes["rkd-and"] = BOTH | {"rkd": 3.0}
    frame = pd.concat([frame, *parts], ignore_index=True)
    given = {name: {"distillation": losses} for name, losses in changes.items()}
    compared = replace(settings[0], study="losses", title="L", frame=frame, claims=claims(frame), variants=given)
    found = page.claim_by_claim(settings, [compared])
    assert of(found, page.LOSSES).endswith(
        "*Here:* L (3 seeds), less the student with both: with PPC alone top-1 0.000 (0.000 to 0.000), "
        "PMS −0.200 (−0.200 to −0.200, *lower*)."
    )
    assert of(found, page.RELATIONS).endswith(
        "*Here:* L (3 seeds), less the paper's student: top-1 0.000 (0.000 to 0.000), "
        "PMS −0.200 (−0.200 to −0.200, *lower*)."
    )
    tree = replace(settings[0], study="tree-x", title="T")
    told = page.claim_by_claim(settings, [tree])
    assert "PMS: *supported* on T (" in of(told, page.TREES) and "T (" not in of(told, page.EXPLAINS)


def test_claims_stand_below_each_other_and_settings_side_by_side(settings: list[Setting]) -> None:
    table = page.side_by_side(settings)
    assert list(table.columns) == ["claim", "One\\| (3 seeds)", "Two (2 seeds)"] and len(table) == 7
    first = table.iloc[0]
    assert first.iloc[1].startswith("*supported* +0.375<br><small>+0.375 to +0.375, p ")
    assert first.iloc[2].startswith("*inconclusive* +0.375<br>")
    assert set(table.iloc[1, 1:]) == {"–"}
