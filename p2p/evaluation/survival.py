"""Whether a distilled student survives the merging of its prototypes better: verdicts drawn from `sharing.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from p2p.evaluation.claims import DELTAS, UNDECIDED, Paired, flat_budget, paired, verdict
from p2p.evaluation.settings import Setting
from p2p.evaluation.sharing_table import by_seed, shares_of, sharing_table
from p2p.evaluation.tables import NONE
from p2p.study.pages import escape, signed


def tables(settings: Sequence[Setting]) -> pd.DataFrame:
    """`sharing_table` of every setting that has such rows, below each other."""
    parts = []
    for setting in settings:
        if len(setting.sharing):
            part = sharing_table(setting.sharing)
            part.insert(0, "setting", escape(setting.title))
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def survival(setting: Setting) -> pd.DataFrame:
    """Whether the student survives merging better than the baseline, paired over seeds; means over shares below 100 %.

    `top1`: the change of accuracy from all prototypes to the merged ones, tuned, student less baseline. `pms`: PMS to
    the whole teacher, corrected for chance: its change likewise. A verdict on
    accuracy counts only where more passes change nothing (`flat_budget`).

    Returns:
        metric, n_seeds, difference, low, high, delta, verdict.
    """
    rows, shares, found = setting.sharing, shares_of(setting.sharing), []

    def student_less_baseline(metric: str) -> Paired:
        differences = []
        for share in shares:
            student, baseline = (by_seed(rows, role, metric, share) for role in ("student", "baseline"))
            student = student - by_seed(rows, "student", metric, 100)
            baseline = baseline - by_seed(rows, "baseline", metric, 100)
            differences.append(student - baseline)
        return paired(np.asarray(pd.concat(differences, axis=1).mean(axis=1, skipna=False).dropna(), dtype=float))

    for metric, effect, result in (
        ("top1", "accuracy", student_less_baseline("top1")),
        ("pms", "similarity", student_less_baseline("pms_corrected")),
    ):
        claim = setting.claim(metric)
        delta = DELTAS[effect] if claim is None else float(claim["delta"])
        flat = effect != "accuracy" or flat_budget(setting.frame, setting.variant)
        word = verdict(result, delta) if flat else UNDECIDED
        found.append((metric, result.n, result.mean, result.low, result.high, delta, word))
    return pd.DataFrame(found, columns=["metric", "n_seeds", "difference", "low", "high", "delta", "verdict"])


def survival_sentences(settings: Sequence[Setting]) -> list[str]:
    """Of each setting with merged prototypes the two verdicts in a sentence; of the others how to get them."""
    said, missing = [], [setting for setting in settings if setting.sharing.empty]
    for setting in (setting for setting in settings if len(setting.sharing)):
        accuracy, places = survival(setting).to_dict("records")
        shares = [str(share) for share in shares_of(setting.sharing)]
        many = f"{' and '.join(filter(None, [', '.join(shares[:-1]), shares[-1]]))} % of the prototypes"
        said.append(
            f"{escape(setting.title)}, merged to {many}: that the distilled student loses less accuracy than the same "
            f"network trained alone is *{accuracy['verdict']}* ({_told(accuracy)}); that its likeness "
            f"to the teacher (PMS, corrected for chance) falls less, or rises more, is "
            f"*{places['verdict']}* ({_told(places)}); what is left of "
            f"it: {_left(setting)}."
        )
    if missing:
        names = list(dict.fromkeys(setting.study for setting in missing))
        listed = ", ".join(f"`make study STUDY={name}`" for name in names)
        said.append(
            f"Not yet run for {', '.join(escape(setting.title) for setting in missing)}: with "
            f"`sharing: [80, 60, 40, 20]` in the study file, {listed} merges the prototypes of the networks that are "
            "there."
        )
    return said


def _left(setting: Setting) -> str:
    """PMS of student and baseline, corrected for chance, with all prototypes and with the fewest, means over seeds."""
    rows, fewest = setting.sharing, shares_of(setting.sharing)[-1]
    parts = [
        f"{role} {by_seed(rows, role, 'pms_corrected', 100).mean():.2f} to "
        f"{by_seed(rows, role, 'pms_corrected', fewest).mean():.2f}"
        for role in ("student", "baseline")
    ]
    return " and ".join(parts)


def _told(row: Mapping[Any, Any]) -> str:
    """ "+0.012, +0.001 to +0.023, 5 seeds"."""
    ends = f", {signed(row['low'])} to {signed(row['high'])}" if row["low"] == row["low"] else ""
    number = signed(row["difference"]) if row["difference"] == row["difference"] else NONE
    seeds = f"{row['n_seeds']:.0f} seeds" if row["n_seeds"] != 1 else "one seed"
    return f"{number}{ends}, {seeds}"
