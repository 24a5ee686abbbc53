"""The answers of the book's pages of questions: sentences over several settings, of verdicts and numbers alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from p2p.evaluation.budgets import head_start
from p2p.evaluation.claims import UNDECIDED, Paired, control_effects, paired
from p2p.evaluation.explanation import number
from p2p.evaluation.explored import explored
from p2p.evaluation.findings import ordinary_classifiers, price_of_prototypes
from p2p.evaluation.rows import without_threshold
from p2p.evaluation.settings import Setting, mean
from p2p.evaluation.tables import HEADS
from p2p.study.pages import escape, listed, option, signed

NO_CLASSIFIER = (
    "What prototypes cost in accuracy is not known: no study here has an ordinary classifier on the same trunk; the "
    "line `{name: linear, of: baseline, change: {model: linear}}` under `controls` of a study file trains one, and "
    "this page then has a column for it."
)


def told(settings: Iterable[Setting], metric: str, brief: bool = False) -> str:
    """Each verdict on a claim with the settings that have it, and their numbers; "not measured" where none has any.

    "*supported* on Drawn birds (+0.442, +0.248 to +0.635, 5 seeds); *inconclusive* on …"; brief, the difference alone.
    """
    by_verdict: dict[str, list[str]] = {}
    for setting in settings:
        row = setting.claim(metric)
        if row is not None:
            seeds = f", {int(row['n_seeds'])} seeds" if row["n_seeds"] != 1 else ", one seed"
            span = f", {signed(row['low'])} to {signed(row['high'])}" if row["low"] == row["low"] else ""
            number = signed(row["difference"]) if brief else f"{signed(row['difference'])}{span}{seeds}"
            by_verdict.setdefault(str(row["verdict"]), []).append(f"{escape(setting.title)} ({number})")
    return "; ".join(f"*{verdict}* on {listed(parts)}" for verdict, parts in by_verdict.items()) or "not measured"


def judged(settings: Iterable[Setting], metrics: Sequence[str]) -> list[str]:
    """The verdicts of several settings on several claims; of fewer than three seeds only where no other is."""
    rows = [row for setting in settings for metric in metrics if (row := setting.claim(metric)) is not None]
    enough = [row for row in rows if row["n_seeds"] >= 3]
    return [str(row["verdict"]) for row in enough or rows]


def head(verdicts: Sequence[str], all_of: str, some: str, none: str) -> str:
    """The words for claims of which all, some or none are supported."""
    supported = sum(verdict == "supported" for verdict in verdicts)
    return all_of if verdicts and supported == len(verdicts) else some if supported else none


def handed_over(settings: Sequence[Setting], brief: bool = False) -> str:
    """The first finding: whether the student's prototypes lie where the teacher's do."""
    word = head(
        judged(settings, ("pms", "same_index")),
        "The teacher's places are handed over.",
        "The teacher's places are handed over in part.",
        "It is not shown that the teacher's places are handed over.",
    )
    pairs = [
        f"{100 * mean(s.of('student'), 'same_index'):.0f} % on {escape(s.title)} "
        f"(trained alone: {100 * mean(s.of('baseline'), 'same_index'):.0f} %)"
        for s in settings
        if s.claim("same_index") is not None
    ]
    numbers = f" The student's prototypes pair with the teacher's of their own number in {listed(pairs)}."
    return (
        f"**{word}** Prototypes on the same places, image by image (PMS, corrected for chance): "
        f"{told(settings, 'pms', brief)}."
        f"{numbers if pairs else ''}{same_part(settings) + apart(settings) if brief else same_cell(settings)}"
    )


def apart(settings: Sequence[Setting]) -> str:
    """What two teachers that never met have in common, beside the student, in a sentence; empty without any."""
    parts = []
    for setting in settings:
        other = mean(without_threshold(setting.frame), "pms_second_teacher")
        if other == other:
            own = number(mean(setting.of("student"), "pms"))
            parts.append(f"{number(other)} on {escape(setting.title)} (the student {own})")
    return f" Two teachers that never met have a PMS of {listed(parts)}, not corrected." if parts else ""


def same_cell(settings: Sequence[Setting]) -> str:
    """How often two prototypes of one number lie on the same cell, in a sentence; empty where nobody measured it."""
    parts = []
    for setting in settings:
        own = {role: mean(setting.of(role), "agreement") for role in ("student", "baseline")}
        other = mean(setting.of("student"), "agreement_permuted")
        if own["student"] == own["student"]:
            parts.append(
                f"{100 * own['student']:.0f} on {escape(setting.title)} (other images: {100 * other:.0f}, trained "
                f"alone: {100 * own['baseline']:.0f})"
            )
    return f" In 100 test images two of one number lie on the same cell in {listed(parts)}." if parts else ""


def pairing(setting: Setting, role: str, measure: str) -> pd.Series:
    """Values by seed under the pairing of prototypes that serves the network better: by number, or matched."""
    rows = setting.of(role)
    found = [
        rows[rows["metric"] == f"{measure}{suffix}"].set_index("seed")["value"].sort_index()
        for suffix in ("", "_matched")
    ]
    return max(found, key=lambda values: values.mean() if len(values) else float("-inf"))


def difference(setting: Setting, measure: str) -> Paired:
    """Student less baseline, each under the pairing that serves it better."""
    both = [pairing(setting, role, measure) for role in ("student", "baseline")]
    return paired((both[0] - both[1]).dropna().to_numpy(dtype=float))


def same_part(settings: Sequence[Setting]) -> str:
    """How often two prototypes of one number lie on the same part, in a sentence; empty where parts are not known."""
    parts = []
    for setting in (setting for setting in settings if len(pairing(setting, "student", "part_transfer"))):
        own, found = setting.of("student"), difference(setting, "part_transfer")
        alone = pairing(setting, "baseline", "part_transfer").mean()
        parts.append(
            f"{100 * mean(own, 'part_transfer'):.0f} % on {escape(setting.title)} (trained alone, at best "
            f"{100 * alone:.0f} %: {signed(found.mean)}, {signed(found.low)} to {signed(found.high)})"
        )
    return f" Where the teacher's lies on a part, the student's lies on the same in {listed(parts)}." if parts else ""


def second_teacher(setting: Setting) -> str:
    """What a teacher of another seed has of the teacher, beside the student, in a sentence; empty without one."""
    rows = without_threshold(setting.frame)
    heads = {"pms": "PMS", "ajs_quarter": "AJS", "agreement": "same cell"}
    found = {name: (mean(rows, f"{name}_second_teacher"), mean(setting.of("student"), name)) for name in heads}
    parts = [f"{heads[name]} {number(other)} ({number(own)})" for name, (other, own) in found.items() if other == other]
    if not parts:
        return ""
    above = [heads[name] for name, (other, own) in found.items() if other > own]
    more = f", so that {listed(above)} alone would not tell them apart" if above else ""
    return (
        f"{escape(setting.title)}: a teacher of another seed, which this one never met, reaches {listed(parts)}; in "
        f"parentheses the student{more}."
    )


def more_accurate(settings: Sequence[Setting], brief: bool = False) -> str:
    """The second finding: whether the student is more accurate than the same network trained alone; brief, also whether
    it is only sooner so."""
    verdicts = judged(settings, ("top1",))
    word = head(
        verdicts,
        "The student is more accurate than the same network trained alone.",
        "The student is more accurate in some settings.",
        "That the student is more accurate is not decided."
        if UNDECIDED in verdicts
        else "The student is not shown to be more accurate.",
    )
    tuned, pushed = (told(settings, metric, brief) for metric in ("top1", "top1_push"))
    sooner = " ".join(filter(None, map(head_start, settings))) if brief else ""
    return f"**{word}** Top-1, tuned: {tuned}. Straight after the push: {pushed}. {sooner}".rstrip()


def other_pictures(settings: Sequence[Setting]) -> str:
    """The third finding: how much of the map is reproduced, and whether a person is shown the teacher's pictures."""
    parts, shares = [], []
    for setting in settings:
        own = setting.of("student")
        share, r2 = mean(own, "same_source_image"), mean(own, "r2")
        if share == share and r2 == r2:
            shares.append(share)
            chance = mean(own, "same_source_image_chance")
            level = f"chance {100 * chance:.0f} %, " if chance == chance else ""
            parts.append(f"{100 * share:.0f} % on {escape(setting.title)} ({level}R² of the map {number(r2)})")
    if not shares:
        return "**Which pictures a person is shown has not been measured.**"
    mostly = "What a person is shown is mostly another picture than the teacher's."
    word = mostly if max(shares) < 0.5 else "What a person is shown is in part the teacher's own pictures."
    return (
        f"**{word}** The student's prototype comes from the same training image as the teacher's of its number in "
        f"{listed(parts)}: the push replaces each prototype by the nearest patch of the student's own map."
    )


def beside_the_object(settings: Sequence[Setting]) -> list[str]:
    """How much of what a student shows lies on the object, a sentence a setting; and where that was not measured."""
    said, missing = [], []
    for setting in settings:
        own = setting.of("student")
        names = ("source_on_object", "source_on_object_chance", "hits_on_object", "hits_on_object_chance")
        source, source_chance, hits, hits_chance = (100 * mean(own, name) for name in names)
        if source != source:
            missing.append(escape(setting.title))
            continue
        teacher = 100 * mean(setting.of("teacher"), "source_on_object")
        said.append(
            f"**{escape(setting.title)}: {'most' if source < 50 else 'some'} of what is shown lies on no part of the "
            f"object.** Of the student's source patches {source:.0f} % lie on one (chance {source_chance:.0f} %, the "
            f"teacher's {teacher:.0f} %), of the places that decide in test images {hits:.0f} % (chance "
            f"{hits_chance:.0f} %). So a place that was handed over may be one of the background, or of the object "
            "between its parts."
        )
    if missing:
        said.append(f"Not measured on {listed(missing)}.")
    return said


def by_control(setting: Setting) -> dict[str, dict[str, dict[Hashable, Any]]]:
    """Of each control the rows of `control_effects`, by metric."""
    found: dict[str, dict[str, dict[Hashable, Any]]] = {}
    for row in control_effects(setting.frame, setting.controls, setting.variant).to_dict("records"):
        found.setdefault(row["control"], {})[row["metric"]] = row
    return found


def shared_pictures(settings: Sequence[Setting]) -> list[str]:
    """The controls that give the student its teacher's own pictures, and what that costs, a sentence each."""
    said = []
    for setting in settings:
        for control, by in by_control(setting).items():
            if "same_source_image" in by and by["same_source_image"]["difference"] > 0.5:
                parts = [f"{HEADS[name]} {signed(by[name]['difference'])}{ends(by[name])}" for name in ("pms", "top1")]
                said.append(
                    f"With *{control}* on {escape(setting.title)} prototypes become the student's feature at the "
                    f"teacher's own patches, so that pictures are the teacher's; it changes {listed(parts)}."
                )
    return said


def ends(row: Mapping[Hashable, float]) -> str:
    """The interval of a row as a sentence has it, " (+0.010 to +0.030)"; nothing where a single seed gives none."""
    return f" ({signed(row['low'])} to {signed(row['high'])})" if row["low"] == row["low"] else ""


def recipe_sentences(settings: Sequence[Setting]) -> list[str]:
    """Of each control with prototypes what it does to accuracy, PMS and sources, a sentence a setting."""
    said = []
    for setting in settings:
        for control, by in by_control(setting).items():
            if "pms" not in by:  # an ordinary classifier: another page says what prototypes cost
                continue
            parts = [
                f"{HEADS[name]} by {signed(by[name]['difference'])}{ends(by[name])}"
                for name in ("top1", "pms", "same_source_image")
                if name in by
            ]
            seeds = int(max(row["n_seeds"] for row in by.values()))
            many = f"{seeds} seeds" if seeds != 1 else "one seed"
            said.append(f"*{control}* on {escape(setting.title)} ({many}) moves {listed(parts)}.")
    return said


def cost_sentences(settings: Sequence[Setting]) -> list[str]:
    """How much smaller the student is than its teacher, what it cost to train, and what prototypes cost."""
    said, sizes_of, ratios = [], list[float](), list[float]()
    for setting in settings:
        teacher, student = (mean(setting.of(role), "parameters") for role in ("teacher", "student"))
        sizes_of.append(teacher / student)
        sizes = f"{student / 1e6:.2f} M parameters, the teacher {teacher / 1e6:.2f} M"
        parts = [f"{escape(setting.title)}: the student has {sizes}"]
        if {"student", "baseline"} <= set(setting.costs["role"] if len(setting.costs) else ()):
            passes = setting.costs.groupby("role")[["image_passes", "teacher_passes"]].mean().sum(axis=1)
            ratio = passes["student"] / passes["baseline"]
            ratios.append(ratio)
            parts.append(f"training it takes {ratio:.2f} times the baseline's image passes where the teacher exists")
            if "teacher" in passes:
                with_teacher = (passes["student"] + passes["teacher"]) / passes["baseline"]
                parts[-1] += f", {with_teacher:.2f} times with the teacher's own training"
        said.append("; ".join(parts) + ".")
        said += price_of_prototypes(setting.frame, setting.triple, setting.controls, setting.variant)
    if not any(ordinary_classifiers(setting.frame, setting.triple, setting.controls) for setting in settings):
        said.append(NO_CLASSIFIER)
    if ratios:
        head = (
            f"**The student is {_span(sizes_of, 1)} times smaller than its teacher, and costs {_span(ratios, 2)} times"
        )
        said.insert(0, f"{head} the image passes of the same network trained alone.**")
    return said


def _span(values: Sequence[float], digits: int) -> str:
    """ "1.06 to 1.15", or one number where they are alike."""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def picture(results: Path, setting: Setting) -> str:
    """The first picture of a setting's page of top prototypes as a figure of markdown; empty where there is none."""
    file = results / setting.study / "topk-0.svg"
    if not file.is_file():
        return ""
    base = f"studies/{setting.study}"
    names = {"06_topk": "More images", "07_gallery": "prototypes"}
    there = {stem: name for stem, name in names.items() if (file.parent / f"{stem}.ipynb").is_file()}
    pages = [f"[{name}]({base}/{stem}.ipynb)" for stem, name in there.items()]
    if found := explored(results, setting.study, page="06_topk"):
        pages.append(f"{found.image(found.images[0])} in the explorer")  # the first of the first class
    return (
        f":::{{figure}} studies/{setting.study}/topk-0.svg\n:name: fig-looks-{setting.study}\n"
        f":alt: {option(f'A test image of {setting.title} with the prototypes that count most.')}\n\n"
        f"{escape(setting.title)}: a test image and the prototypes that count most for teacher, baseline, "
        f"student. {listed(pages)}.\n:::"
    )
