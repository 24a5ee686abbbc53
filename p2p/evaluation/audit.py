"""What each departure of the released code is worth: differences within seeds, from the result files of the audit's
studies, those whose name begins with `audit-`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import nan
from pathlib import Path

import pandas as pd

from p2p.evaluation.claims import DELTAS, Claim, Paired, claimed, holm, paired, verdict
from p2p.evaluation.departures import CONTROLS, DEPARTURES
from p2p.evaluation.settings import Setting, read_settings, topic
from p2p.evaluation.tables import interval
from p2p.evaluation.variants import METRICS
from p2p.study.pages import signed

MEASURES = {"top1": "top1", "r2": "r2", "pms": "pms", "ajs": "ajs_quarter"}  # in effects.csv: of the claims
HEADS = {"top1": "top-1", "r2": "R²", "pms": "PMS", "ajs": "AJS"}
COLUMNS = ["switch", "study", "metric", "n_seeds", "difference", "low", "high", "p_holm"]
OWN = "official"  # the triple that has its own teacher and baseline
DELTA = DELTAS["similarity"]
PLAIN = {"part_transfer_matched": Claim("part_transfer_matched", "", "plain", "similarity")}
Found = dict[str, list[Setting]]  # settings of the audit, by study


def audit_settings(results: Path) -> Found:
    """The settings of the audit's studies that have results, by study."""
    found: Found = {}
    for setting in read_settings(results, every=True):
        if topic(setting.study) == "audit":
            found.setdefault(setting.study, []).append(setting)
    return found


def values(settings: Sequence[Setting], variant: str, metric: str) -> pd.Series:
    """A metric of a variant by seed, whatever triple and role has it; PMS and AJS corrected for chance.

    Args:
        settings: Of one study, a triple each.
        variant: Of a student or a control; "baseline" and "official-baseline" are those networks.
        metric: See `MEASURES` and `PLAIN`.
    """
    role, name, own = "student", variant, variant.startswith(OWN)
    if variant in ("baseline", f"{OWN}-baseline"):
        role, name = "baseline", "paper"
    for setting in settings:
        if (setting.triple == OWN) == own:
            for each in (role, "control"):
                claim = PLAIN.get(metric) or METRICS[MEASURES[metric]]
                found = claimed(setting.frame, claim, each, name)
                if len(found.dropna()):
                    return found.dropna()
    return pd.Series(dtype=float)


def difference(settings: Sequence[Setting], variant: str, against: str, metric: str) -> Paired:
    """One variant less another within seeds; n is 0 where one of them has not been run."""
    moved = values(settings, variant, metric) - values(settings, against, metric)
    return paired(moved.dropna().to_numpy(dtype=float))


def effects(found: Found) -> pd.DataFrame:
    """The rows of `results/audit/effects.csv`.

    Args:
        found: As `audit_settings` gives them.

    Returns:
        `COLUMNS`; the switch is a departure's number or a control's name, less the baseline for the controls; p is
        corrected by Holm over the rows of a study, departures and controls apart.
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for study, settings in found.items():
        pairs = {one.number: (one.variant, one.against) for one in DEPARTURES if one.variant}
        pairs |= {name: (name, "baseline") for name in ("paper", *CONTROLS)}
        rows = []
        for switch, (variant, beside) in pairs.items():
            # warm passes are the recipe's own where the trunk is pretrained; but nothing stands beside itself
            there = len(values(settings, beside, "top1")) or variant == "paper"
            against = beside if there else "paper"
            for metric in MEASURES:
                result = difference(settings, variant, against, metric)
                if result.n:
                    rows.append((switch, study, metric, result.n, result.mean, result.low, result.high, result.p))
        part = pd.DataFrame(rows, columns=COLUMNS)
        for _, family in part.groupby(of_departure(part)):
            part.loc[family.index, "p_holm"] = holm(family["p_holm"].tolist())
        parts.append(part)
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]


def told(own: pd.DataFrame, switch: str, metric: str) -> str:
    """ "+0.126 (+0.014 to +0.238), p 0.82": a row of one study's effects; empty without."""
    row = own[(own["switch"] == switch) & (own["metric"] == metric)]
    if row.empty:
        return ""
    (one,) = row.to_dict("records")
    p = f", p {one['p_holm']:.2g}" if one["p_holm"] == one["p_holm"] else ""
    return f"{signed(one['difference'])}{interval(one['low'], one['high'])}{p}"


def of_departure(rows: pd.DataFrame) -> pd.Series:
    """Which rows of `effects` are of a departure, not of a control."""
    return ~rows["switch"].isin(["paper", *CONTROLS])


QUESTIONS = {  # of the page: switch of `effects.csv`
    "Does the slip of the mask matter (A1)?": "A1",
    "Does the slip of the norm matter (A2)?": "A2",
    "Do all departures together matter?": "all",
    "And as the code runs today (torch ≥ 1.10)?": "all, today",
}
PARTS = {  # of the gain of the paper's student: the control that has this alone, and the departure that adds it
    "the teacher's decision layer, learning along": ("c-head-learning", "A5"),
    "twice the updates": ("c-equal-updates", "A9"),
}


def answers(rows: pd.DataFrame) -> list[str]:
    """The questions at the top of the page, each in a sentence a study; empty where no study has been run.

    PMS and AJS have a verdict, by the smallest effect of interest of similarities; R² has none declared, and accuracy
    none at this budget.
    """
    said = []
    for study, own in rows.groupby("study", sort=False):
        for asked, switch in QUESTIONS.items():
            if parts := _numbers(own, switch, MEASURES, True):
                said.append(f"**{asked}** *{study}*, {parts}.")
        judged = own[of_departure(own) & own["metric"].isin(["pms", "ajs"])]
        if len(judged) and judged["p_holm"].min() > 0.05:
            said.append(
                f"*{study}*: corrected by Holm for their number no departure is told from chance (PMS and AJS, least p "
                f"{judged['p_holm'].min():.2g}); a verdict on one alone goes by its own interval."
            )
        if parts := _numbers(own, "paper", ("pms", "top1")):
            shares = [
                f"{name}: alone {alone}; beside the paper's losses {added}"
                for name, (control, switch) in PARTS.items()
                if (alone := _numbers(own, control, ("pms", "top1")))
                and (added := _numbers(own, switch, ("pms", "top1")))
            ]
            gain = "**How much of the gain is the teacher's head, and how much are the doubled updates?**"
            if shares:
                said.append(
                    f"{gain} *{study}*: over the network trained alone the paper's student gains {parts}. Of "
                    f"{'. Of '.join(shares)}."
                )
    return said


def _numbers(own: pd.DataFrame, switch: str, metrics: Iterable[str], judged: bool = False) -> str:
    """ "PMS +0.012 (+0.001 to +0.023), p 0.04, *…*; R² …": a switch's rows of one study; empty without any.

    Args:
        own: Rows of `effects` of one study.
        switch: Whose.
        metrics: In this order.
        judged: With verdicts on PMS and AJS.
    """
    parts = []
    for metric in metrics:
        for row in own[(own["switch"] == switch) & (own["metric"] == metric)].to_dict("records"):
            text = f"{HEADS[metric]} {told(own, switch, metric)}"
            if judged and metric in ("pms", "ajs"):
                result = Paired(row["n_seeds"], row["difference"], row["low"], row["high"], row["p_holm"], nan)
                text += f", *{CHANGED[verdict(result, DELTA)]}*"
            parts.append(text)
    return "; ".join(parts)


CHANGED = {  # what the verdict on "higher" says of a change
    "supported": "yes, the code's way is more like the teacher",
    "contradicted": "yes, the code's way is less like the teacher",
    "no effect that matters": "no effect that matters",
    "inconclusive": "inconclusive",
}


def controls_answer(rows: pd.DataFrame) -> list[str]:
    """A sentence a study and metric: the gain of the paper's student over the baseline, and how much of it each control
    has, with its own interval; without shares where the interval of that gain holds 0."""
    said = []
    for study, own in rows[~of_departure(rows)].groupby("study", sort=False):
        for metric in ("pms", "top1"):
            gains = {one["switch"]: one for one in own[own["metric"] == metric].to_dict("records")}
            whole, names = gains.get("paper"), [name for name in CONTROLS if name in gains]
            if not whole or not names:
                continue
            gain = (
                f"*{study}*, {HEADS[metric]}: the paper's student gains {told(own, 'paper', metric)} over the baseline"
            )
            if whole["low"] > 0:
                parts = [f"{CONTROLS[name]}: {_share(gains[name], whole['difference'])}" for name in names]
                said.append(f"{gain}. A student that gets less has this part of it: {'; '.join(parts)}.")
            else:
                said.append(f"{gain}, which is not told from none, so that it has no parts.")
    return said


BESIDE_THE_MAP = {  # controls that get none of it
    "c-head-alone": "its decision layer",
    "c-head-learning": "its decision layer",
    "c-prototypes-copied": "its prototypes as a start",
    "c-equal-updates": "more updates",
}


def controls_decide(rows: pd.DataFrame) -> str:
    """What is handed over, in a paragraph: with which controls PMS rises above the baseline's, and what follows. Empty
    where the student of the whole map was not run.

    Args:
        rows: Of `effects`, those of studies on the same images; of a switch in several, those of most seeds count.
    """
    rows = rows.sort_values("n_seeds", kind="stable")
    pms = {one["switch"]: one for one in rows[rows["metric"] == "pms"].to_dict("records")}
    if not {"c-full-map", "paper"} <= pms.keys():
        return ""
    names = [name for name in CONTROLS if name in pms]
    rises = [name for name in names if pms[name]["low"] > DELTA]
    rest = [name for name in names if name not in rises]

    def listing(chosen: Sequence[str]) -> str:
        return "; ".join(
            f"{CONTROLS[name]} {signed(pms[name]['difference'])}{interval(pms[name]['low'], pms[name]['high'])}"
            for name in chosen
        )

    heads, told_of = [], ""
    beside = list(dict.fromkeys(BESIDE_THE_MAP[name] for name in rest if name in BESIDE_THE_MAP))
    if "c-full-map" in rises and not set(BESIDE_THE_MAP) & set(rises) and beside:
        nothing_else = f"{', '.join(beside[:-1])}{' or ' * (len(beside) > 1)}{beside[-1]}"
        heads.append(f"The teacher's map carries the places, not {nothing_else}")
    if "c-other-teacher" in pms:
        same = rows[rows["study"] == pms["c-other-teacher"]["study"]]  # the same seeds
        by = {(one["switch"], one["metric"]): one for one in same.to_dict("records")}
        other, own = (by.get((name, "pms")) for name in ("c-other-teacher", "paper"))
        if other and own and other["high"] < own["low"]:
            heads.append(f"{'a' if heads else 'A'} student gets those of the one teacher that taught it")
            told_of = f" A student of another seed's teacher has {_share(other, own['difference'])} of the gain in PMS"
            both = [by[name, "top1"]["difference"] for name in ("c-other-teacher", "paper") if (name, "top1") in by]
            if len(both) == 2:
                told_of += f", and gains {signed(both[0])} in top-1 where the paper's gains {signed(both[1])}"
            told_of += "."
    return (
        f"**{'; '.join(heads) or 'What is handed over is not decided'}.**{told_of} By more than {DELTA} PMS rises "
        f"above the baseline's with {listing(rises) or 'none'}. No such rise is shown with {listing(rest)}."
    )


def _share(gain: Mapping[Hashable, float], whole: float) -> str:
    """A control's gain, and its interval, in percent of the whole gain."""
    mean, low, high = (f"{gain[key] / whole:.0%}".replace("-", "−") for key in ("difference", "low", "high"))
    return f"{mean} ({low} to {high})" if gain["low"] == gain["low"] else mean
