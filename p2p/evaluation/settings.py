"""The settings: each triple of each study, where a claim is judged, as the result files have it.

A study whose claims were judged by an earlier rule (no smallest effect of interest), or whose files are damaged, is
left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from p2p.errors import UserError
from p2p.evaluation.claims import CLAIMS
from p2p.evaluation.results import read_csv
from p2p.evaluation.rows import COLUMNS, SHARING, without_threshold
from p2p.study.checksums import check_file
from p2p.study.pages import escape, listed
from p2p.study.reading import read_keys

SHORT = {  # of the claims, as figures and tables of several settings name them
    "pms": "PMS",
    "ajs_quarter": "AJS",
    "same_index": "same number",
    "aap_quarter": "AAP nearer",
    "top1_push": "after the push",
    "top1": "tuned",
    "top1_teacher_head": "teacher's head",
}
SIMILARITIES = tuple(claim.metric for claim in CLAIMS if claim.effect == "similarity")
ACCURACIES = tuple(claim.metric for claim in CLAIMS if claim.effect == "accuracy")
TOPICS = ("audit", "today", "tree")  # a study whose name begins with one has its page; the others compare recipes


@dataclass(frozen=True)
class Setting:
    """One triple of one study.

    Attributes:
        study: Name of the study.
        title: What pages call the setting.
        images: What the images are.
        triple: Name of the triple.
        variant: Of the student.
        controls: control: the role it was changed from.
        frame: Metric rows (`p2p.evaluation.rows.COLUMNS`), all seeds.
        claims: Rows of `claims.csv`.
        budget: Rows of `budget.csv`; empty without.
        costs: Rows of `costs.csv`; empty without.
        variants: Of a study with several students each: "distillation", its losses and their weights, and what else is
            its own; empty elsewhere.
        sharing: Rows of `sharing.csv`; empty without.
    """

    study: str
    title: str
    images: str
    triple: str
    variant: str
    controls: dict[str, str]
    frame: pd.DataFrame
    claims: pd.DataFrame
    budget: pd.DataFrame
    costs: pd.DataFrame
    sharing: pd.DataFrame = field(default_factory=pd.DataFrame)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        return int(self.frame["seed"].nunique())

    def of(self, role: str, stage: str = "tuned") -> pd.DataFrame:
        """The rows of one role without a threshold (τ = ∞ counts as none); of a student those of its variant."""
        rows = without_threshold(self.frame) if stage == "tuned" else self.frame[self.frame["stage"] == stage]
        return rows[(rows["role"] == role) & (rows["variant"] == (self.variant if role == "student" else "paper"))]

    def claim(self, metric: str) -> pd.Series | None:
        """The row of one claim; None where it was not measured."""
        rows = self.claims[(self.claims["metric"] == metric) & self.claims["difference"].notna()]
        return None if rows.empty else rows.iloc[0]


def topic(study: str) -> str:
    """Which page sets the networks of a study of this name beside each other: "audit", "today", "tree" or "recipe"."""
    first = study.partition("-")[0]
    return first if first in TOPICS else "recipe"


def read_settings(place: Path, every: bool = False) -> list[Setting]:
    """The settings of all studies that have a table, in the order of the studies.

    Args:
        place: Folder of the results.
        every: Also those of studies that only compare their variants (`compares` in the study file), and of trees.
    """
    found: list[tuple[float, str, list[Setting]]] = []
    for path in place.glob("*/study.json"):
        try:
            facts = json.loads(check_file(path.parent, path.name).read_text(encoding="utf-8"))
            if (facts.get("compares") or topic(path.parent.name) == "tree") and not every:
                continue
            found.append((float(facts["order"]), path.parent.name, _settings(path.parent, facts)))
        except (UserError, OSError, ValueError, KeyError, TypeError):
            continue  # the book says at the study's own place what is damaged
    return [setting for *_, settings in sorted(found, key=lambda row: row[:2]) for setting in settings]


def spoken_of(settings: list[Setting]) -> list[Setting]:
    """Those of three seeds or more, where there are any, else all: two seeds can say little, so short texts leave them
    to the figures and tables."""
    return [setting for setting in settings if setting.seeds >= 3] or settings


def prepared(results: Path, studies: Path) -> list[str]:
    """The study files without results: title and command, and the other networks that each has ready (`USE=`).

    Args:
        results: Folder of the results.
        studies: Folder of the study files.
    """
    found = []
    for file in sorted(studies.glob("*.yaml")):
        try:
            keys = read_keys(file)
        except UserError:
            continue  # `make study` says what is wrong with it
        if keys.get("private") is True or (results / file.stem / "study.json").is_file():
            continue
        others = keys.get("alternatives")
        uses = [f"`USE={name}`" for name in others] if isinstance(others, dict) else []
        also = f", also {listed(uses)}" if uses else ""
        found.append(f"*{escape(str(keys.get('title', file.stem)))}* (`STUDY={file.stem}`{also})")
    return found


def older_studies(place: Path) -> list[str]:
    """Of each study of networks that was judged by an earlier rule, so that no page shows it: its title, and top-1 of
    student and baseline as a sentence has them."""
    found = []
    for path in sorted(place.glob("*/study.json")):
        try:
            title = str(json.loads(check_file(path.parent, path.name).read_text(encoding="utf-8"))["title"])
            claims, frame = (read_csv(check_file(path.parent, name)) for name in ("claims.csv", "metrics.csv"))
        except (UserError, OSError, ValueError, KeyError, TypeError):
            continue
        if "delta" in claims:
            continue
        rows = without_threshold(frame)
        top1 = [mean(rows[rows["role"] == role], "top1") for role in ("student", "baseline")]
        found.append(f"{escape(title)} (student {top1[0]:.2f}, trained alone {top1[1]:.2f})")
    return found


def _settings(folder: Path, facts: dict[str, object]) -> list[Setting]:
    def read(name: str, columns: Sequence[str], needed: bool = False) -> pd.DataFrame:
        if not needed and not (folder / name).is_file():
            return pd.DataFrame(columns=list(columns))
        return read_csv(check_file(folder, name))

    if not (folder / "claims.csv").is_file():  # not a study of networks, or not yet
        return []
    frame, claims = read("metrics.csv", COLUMNS, True), read("claims.csv", [], True)
    if "delta" not in claims:
        return []
    budget, costs = read("budget.csv", ["triple"]), read("costs.csv", ["network"])
    sharing = read("sharing.csv", SHARING)
    variants = frame.loc[frame["role"] == "student", "variant"]
    controls, students = facts.get("controls") or {}, facts.get("variants") or {}
    assert isinstance(controls, dict) and isinstance(students, dict)
    students = {name: students[name] for name in variants.unique() if name in students}  # in the study file's order
    triples = list(frame["triple"].unique())
    return [
        Setting(
            study=folder.name,
            title=str(facts["title"]) if len(triples) == 1 else f"{facts['title']}, {triple}",
            images=str(facts.get("images", "")),
            triple=str(triple),
            variant=str(facts.get("variant") or (variants.iloc[0] if len(variants) else "paper")),
            controls=controls,
            frame=frame[frame["triple"] == triple],
            claims=claims[claims["setting"] == triple],
            budget=budget[budget["triple"] == triple],
            costs=costs,
            variants=students,
            sharing=sharing[sharing["triple"] == triple],
        )
        for triple in triples
    ]


def mean(rows: pd.DataFrame, metric: str) -> float:
    """Over seeds; nan without a row."""
    return float(rows.loc[rows["metric"] == metric, "value"].mean())
