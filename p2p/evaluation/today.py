"""The best student that was found, beside the paper's, and both beside an ordinary classifier on the same trunk.

From the studies whose names begin with `today-`: their last student is the chosen one, the first the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from p2p.evaluation.claims import Claim, Paired, claimed, paired
from p2p.evaluation.findings import ordinary_classifiers
from p2p.evaluation.settings import Setting, read_settings, topic
from p2p.evaluation.tables import NONE, of_seeds
from p2p.evaluation.variants import HEADS, METRICS, taught_by
from p2p.study.pages import escape, mean_range, signed

GOAL = 0.01  # of accuracy: how near to the ordinary classifier a network with prototypes is to come
MORE = {
    "same_source_image": Claim("same_source_image", "its sources are the teacher's", "plain", "similarity"),
    "source_on_object": Claim("source_on_object", "its source patches lie on the object", "plain", "similarity"),
}
EXPLAINED = {"r2": METRICS["r2"], "pms": METRICS["pms"], "ajs_quarter": METRICS["ajs_quarter"], **MORE}
NAMES = {**HEADS, "same_source_image": "same source image", "source_on_object": "sources on the object"}


def today_settings(results: Path) -> list[Setting]:
    """The settings with a chosen student: of studies of this topic with two students or more."""
    found = read_settings(results, every=True)
    return [setting for setting in found if topic(setting.study) == "today" and len(setting.variants) > 1]


def chosen(setting: Setting) -> str:
    """The student that was found best on validation images, in another study's seeds and images."""
    return list(setting.variants)[-1]


def behind_classifier(setting: Setting, name: str) -> Paired:
    """Top-1 of a student less that of the ordinary classifier on its trunk, within seeds; n is 0 without one.

    Args:
        setting: Of `today_settings`.
        name: Of the student.
    """
    own = claimed(setting.frame, METRICS["top1"], "student", name)
    theirs = ordinary_classifiers(setting.frame, setting.triple, setting.controls).get("baseline", own.iloc[:0])
    return paired((own - theirs).dropna().to_numpy(dtype=float))


def moved(setting: Setting) -> pd.DataFrame:
    """The chosen student less the paper's, within seeds.

    Returns:
        metric (top1 and those of `EXPLAINED` that were measured), n_seeds, difference, low, high, word: "better" or
        "worse" where the interval lies on one side of 0, "no worse" where it ends above −δ, else "not decided".
    """
    name, rows = chosen(setting), []
    deltas = dict(zip(setting.claims["metric"], setting.claims["delta"], strict=True))  # as the study declares them
    for metric, claim in {"top1": METRICS["top1"], **EXPLAINED}.items():
        own, before = (claimed(setting.frame, claim, "student", which) for which in (name, setting.variant))
        found = paired((own - before).dropna().to_numpy(dtype=float))
        if found.n:
            word = _word(found, deltas["top1" if claim.effect == "accuracy" else "pms"])
            rows.append((metric, found.n, found.mean, found.low, found.high, word))
    return pd.DataFrame(rows, columns=["metric", "n_seeds", "difference", "low", "high", "word"])


def _word(found: Paired, delta: float) -> str:
    if found.n < 3:
        return "not decided"
    if found.low > 0:
        return "better"
    if found.high < 0:
        return "worse"
    return "no worse" if found.low > -delta else "not decided"


def drawn(settings: Sequence[Setting]) -> pd.DataFrame:
    """Rows as `p2p.figures.questions.effects` draws them: each metric's difference to the paper's student."""
    parts = [moved(setting).assign(title=setting.title) for setting in settings]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(control=rows["metric"].map(NAMES), metric="chosen − paper's student")


def networks_table(setting: Setting) -> pd.DataFrame:
    """network, top-1, R², PMS, AJS, same number, same source image, sources on the object; mean (lowest to highest).

    An ordinary classifier, the network trained alone, all students, the teacher.
    """
    rows = []
    for values in ordinary_classifiers(setting.frame, setting.triple, setting.controls).values():
        rows.append({"network": "*ordinary classifier*", "top-1": mean_range(values)})
    students = [("student", name) for name in setting.variants]
    for role, name in (("baseline", "paper"), *students, ("teacher", "paper")):
        told = {"baseline": "*trained alone*", "teacher": "*teacher*"}.get(role)
        if told is None:
            told = f"{escape(name)}<br><small>{taught_by(setting.variants[name])}</small>"
        row = {"network": told}
        for metric in ("top1", "r2", "pms", "ajs_quarter", "same_index", "same_source_image", "source_on_object"):
            claim = METRICS.get(metric) or MORE[metric]
            row[NAMES[metric]] = mean_range(claimed(setting.frame, claim, role, name))
        rows.append(row)
    return pd.DataFrame(rows).fillna(NONE)


def sentences(setting: Setting) -> list[str]:
    """What was chosen, how near to the ordinary classifier it comes, and what became of its explanations."""
    name = chosen(setting)
    top = {role: of_seeds(setting.of(role), "top1", spread=False) for role in ("baseline", "teacher")}
    own = mean_range(claimed(setting.frame, METRICS["top1"], "student", name), spread=False)
    said = [
        f"{escape(setting.title)} ({setting.seeds} seed{'s' * (setting.seeds > 1)}): the chosen student, "
        f"*{escape(name)}*, is right in {own} of the test images, the same network trained alone in "
        f"{top['baseline']}, the teacher in {top['teacher']}."
    ]
    gap = behind_classifier(setting, name)
    if gap.n:
        said.append(
            f"Less an ordinary classifier on its trunk: {signed(gap.mean)}{_ends(gap.low, gap.high)}: {_near(gap)}."
        )
    parts = [
        f"{NAMES[row['metric']]} {signed(row['difference'])}{_ends(row['low'], row['high'])}, *{row['word']}*"
        for row in moved(setting).to_dict("records")
    ]
    return [*said, f"Less the paper's student: {'; '.join(parts)}."]


def _near(gap: Paired) -> str:
    if gap.low > 0:
        return "above it"
    if gap.low > -GOAL:
        return "no more than a point below it"
    return "more than a point below it" if gap.high < -GOAL else "whether it comes within a point is not decided"


def _ends(low: float, high: float) -> str:
    return f" ({signed(low)} to {signed(high)})" if low == low else ""
