"""Tables over several settings, for the book's pages of questions. A missing value is a dash."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from p2p.evaluation.claims import CLAIMS, control_effects
from p2p.evaluation.findings import ordinary_classifiers
from p2p.evaluation.rows import network_names, without_threshold
from p2p.evaluation.settings import SHORT, Setting
from p2p.evaluation.tables import NONE, control_table, following_table, of_seeds, p_text
from p2p.study.pages import escape, mean_range, signed

NOTHING = pd.Series(dtype=float)


def handed_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, network, R² of the map, PMS and AJS, own and of other images, same cell, same number, likewise.

    Baseline and student of each setting, then what a random network and a second teacher reach. AJS at the teacher's
    quarter threshold.
    """
    shown = {"R² of the map": "r2", "PMS": "pms", "PMS, other images": "pms_permuted", "AJS": "ajs_quarter"}
    shown |= {"AJS, other images": "ajs_quarter_permuted", "same cell": "agreement"}
    shown |= {"same number": "same_index", "same number, other images": "same_index_permuted"}
    rows = []
    for setting in settings:
        for role in ("baseline", "student"):
            values = {name: of_seeds(setting.of(role), metric) for name, metric in shown.items()}
            rows.append({"setting": escape(setting.title), "network": role, **values})
        tuned = without_threshold(setting.frame)
        for level, suffix in (("*random network*", "_floor"), ("*second teacher*", "_second_teacher")):
            values = {name: of_seeds(tuned, f"{metric}{suffix}") for name, metric in shown.items()}
            if set(values.values()) != {NONE}:
                rows.append({"setting": escape(setting.title), "network": level, **values})
    return pd.DataFrame(rows)


def claims_table(settings: Sequence[Setting], metrics: Sequence[str]) -> pd.DataFrame:
    """claim, setting, seeds, difference, 95 % interval, p (Holm), verdict: several settings below each other."""
    rows = []
    for claim in (claim for claim in CLAIMS if claim.metric in metrics):
        for setting in settings:
            row = setting.claim(claim.metric)
            if row is None:
                continue
            known = row["low"] == row["low"]
            rows.append(
                {
                    "claim": SHORT[claim.metric],
                    "setting": escape(setting.title),
                    "seeds": f"{row['n_seeds']:.0f}",
                    "difference": signed(row["difference"]),
                    "95 % interval": f"{signed(row['low'])} to {signed(row['high'])}" if known else NONE,
                    "p (Holm)": p_text(row["p_holm"]),
                    "verdict": row["verdict"],
                }
            )
    return pd.DataFrame(rows)


def stages_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, network, before the push, after the push, tuned, teacher's head: top-1 on the test images."""
    rows = []
    stages = {"before the push": "pre_push", "after the push": "push", "tuned": "tuned"}
    for setting in settings:
        for role in ("teacher", "baseline", "student"):
            values = {name: of_seeds(setting.of(role, stage), "top1") for name, stage in stages.items()}
            with_head = of_seeds(setting.of(role), "top1_teacher_head")
            rows.append({"setting": escape(setting.title), "network": role, **values, "teacher's head": with_head})
    return pd.DataFrame(rows)


def recipe_effects(settings: Sequence[Setting]) -> pd.DataFrame:
    """What each control changes, of all settings: the rows of `control_effects` with a column `title`."""
    parts = [
        control_effects(setting.frame, setting.controls, setting.variant).assign(title=setting.title)
        for setting in settings
        if setting.controls
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["control", "title", "metric"])


def recipe_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, control, changed from, seeds, and what changes (`HEADS`); empty without controls."""
    effects = recipe_effects(settings)
    if effects.empty:
        return pd.DataFrame()
    parts = []
    for title, rows in effects.groupby("title", sort=False):
        table = control_table(rows).drop(columns="triple")
        table.insert(0, "setting", escape(str(title)))
        parts.append(table)
    return pd.concat(parts, ignore_index=True).fillna(NONE)


def costs_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, network, parameters, image passes, of the teacher, minutes, top-1; mean over seeds (lowest–highest).

    Where some setting has an ordinary classifier on the same trunk, a last column has its top-1.
    """
    rows = []
    seen = set()
    ordinary = {s.triple: ordinary_classifiers(s.frame, s.triple, s.controls) for s in settings}
    for setting in settings:
        if setting.costs.empty or setting.study in seen:
            continue
        seen.add(setting.study)
        plain = ordinary[setting.triple]
        plain = {"student": plain["baseline"], **plain} if "baseline" in plain else plain  # the same trunk
        costs = setting.costs.assign(name=network_names(setting.costs))
        tuned = without_threshold(setting.frame)
        sizes = tuned[tuned["metric"] == "parameters"]
        counts = sizes["value"].groupby(network_names(sizes)).mean()
        for (network, name), group in costs.groupby(["network", "name"], sort=False):
            role = str(group["role"].iloc[0])
            count = counts.get(name, float("nan"))
            taught = f"{group['teacher_passes'].mean():,.0f}" if group["teacher_passes"].any() else NONE
            rows.append(
                {
                    "setting": escape(setting.title),
                    "network": f"{name} ({network})",
                    "parameters": f"{count / 1e6:.2f} M" if count == count else NONE,
                    "image passes": f"{group['image_passes'].mean():,.0f}",
                    "of the teacher": taught,
                    "minutes": mean_range(60 * group["hours"], 1),
                    "top-1": mean_range(group["test"]),
                    **({"ordinary classifier": mean_range(plain.get(role, NOTHING))} if any(ordinary.values()) else {}),
                }
            )
    return pd.DataFrame(rows)


def summary_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, PMS (own, chance, baseline's), same number, same picture, R², top-1 of all three; means over seeds."""
    rows = []
    for setting in settings:
        student, baseline = setting.of("student"), setting.of("baseline")
        values = {
            "PMS": (student, "pms"),
            "chance": (student, "pms_permuted"),
            "alone": (baseline, "pms"),
            "same number": (student, "same_index"),
            "same picture": (student, "same_source_image"),
            "R²": (student, "r2"),
            "top-1": (student, "top1"),
            "alone ": (baseline, "top1"),
            "teacher": (setting.of("teacher"), "top1"),
        }
        numbers = {head: of_seeds(*found, digits=2, spread=False) for head, found in values.items()}
        rows.append({"setting": f"{escape(setting.title)} ({setting.seeds} seeds)", **numbers})
    return pd.DataFrame(rows)


def sources_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, network, same source patch, same source image, distinct prototypes."""
    rows = []
    for setting in settings:
        table = following_table(setting.frame, setting.variant).drop(columns=["triple", "R² of the map", "same number"])
        table.insert(0, "setting", escape(setting.title))
        rows.append(table)
    return pd.concat(rows, ignore_index=True)


def object_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, network, source patches and hits on the object, each with its chance; settings that know where it is."""
    shown = {"source patches": "source_on_object", "chance": "source_on_object_chance"}
    shown |= {"deciding places": "hits_on_object", "chance ": "hits_on_object_chance"}
    rows = []
    for setting in settings:
        for role in ("teacher", "baseline", "student"):
            values = {name: of_seeds(setting.of(role), metric) for name, metric in shown.items()}
            if set(values.values()) != {NONE}:
                rows.append({"setting": escape(setting.title), "network": role, **values})
    return pd.DataFrame(rows)


def tau_rows(setting: Setting) -> pd.DataFrame:
    """The rows behind the curves over τ: tuned networks of the triple, and the levels."""
    frame = setting.frame
    ours = (frame["role"] != "student") | (frame["variant"] == setting.variant)
    networks = (frame["stage"] == "tuned") & ~frame["role"].isin(["control", "budget"]) & ours
    return frame[networks | frame["metric"].str.contains("_floor|_second_teacher")]
