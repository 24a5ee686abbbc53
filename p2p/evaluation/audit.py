"""What each departure of the released code is worth: differences within seeds, from the result files of the audit's
studies, those whose name begins with `audit-`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import nan
from pathlib import Path

import pandas as pd

from p2p.evaluation.claims import DELTAS, Paired, claimed, holm, paired, verdict
from p2p.evaluation.departures import CONTROLS, DEPARTURES, Departure
from p2p.evaluation.settings import Setting, read_settings
from p2p.evaluation.tables import NONE, interval
from p2p.evaluation.variants import METRICS, topic
from p2p.study.pages import escape, mean_range, signed

MEASURES = {"top1": "top1", "r2": "r2", "pms": "pms", "ajs": "ajs_quarter"}  # in effects.csv: of the claims
HEADS = {"top1": "top-1", "r2": "R²", "pms": "PMS", "ajs": "AJS"}
COLUMNS = ["switch", "study", "metric", "n_seeds", "difference", "low", "high", "p_holm"]
OWN = "official"  # the triple that has its own teacher and baseline


def audit_settings(results: Path) -> dict[str, list[Setting]]:
    """The settings of the audit's studies that have results, by study."""
    found: dict[str, list[Setting]] = {}
    for setting in read_settings(results, every=True):
        if topic(setting.study) == "audit":
            found.setdefault(setting.study, []).append(setting)
    return found


def values(settings: Sequence[Setting], variant: str, metric: str) -> pd.Series:
    """A metric of a variant by seed, whatever triple and role has it; PMS and AJS corrected for chance.

    Args:
        settings: Of one study, a triple each.
        variant: Of a student or a control; "baseline" and "official-baseline" are those networks.
        metric: See `MEASURES`.
    """
    role, name, own = "student", variant, variant.startswith(OWN)
    if variant in ("baseline", f"{OWN}-baseline"):
        role, name = "baseline", "paper"
    for setting in settings:
        if (setting.triple == OWN) == own:
            for each in (role, "control"):
                found = claimed(setting.frame, METRICS[MEASURES[metric]], each, name)
                if len(found.dropna()):
                    return found.dropna()
    return pd.Series(dtype=float)


def difference(settings: Sequence[Setting], variant: str, against: str, metric: str) -> Paired:
    """One variant less another within seeds; n is 0 where one of them has not been run."""
    moved = values(settings, variant, metric) - values(settings, against, metric)
    return paired(moved.dropna().to_numpy(dtype=float))


def effects(found: dict[str, list[Setting]]) -> pd.DataFrame:
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


def of_departure(rows: pd.DataFrame) -> pd.Series:
    """Which rows of `effects` are of a departure, not of a control."""
    return ~rows["switch"].isin(["paper", *CONTROLS])


def drawn(rows: pd.DataFrame, departures: bool) -> pd.DataFrame:
    """Rows of `effects` as `p2p.figures.questions.effects` draws them, the largest effect first.

    Args:
        rows: As `effects` gives them.
        departures: Of these; else of the controls.
    """
    rows = rows[of_departure(rows) == departures]
    size = rows["difference"].abs().groupby(rows["switch"]).max()
    names = {one.number: one.short for one in DEPARTURES}
    rows = rows.assign(
        control=[names.get(switch, switch) for switch in rows["switch"]],
        title=rows["study"],
        metric=rows["metric"].map(HEADS),
    )
    return rows.iloc[rows["switch"].map(size).argsort(kind="stable")[::-1]]


def departures_table(rows: pd.DataFrame, study: str) -> pd.DataFrame:
    """All departures, the largest effect on any metric first; those without a training stand last.

    Args:
        rows: As `effects` gives them.
        study: Whose; rows that it has not say "not yet run".
    """
    own = rows[rows["study"] == study]
    size = own.groupby("switch")["difference"].apply(lambda of: of.abs().max()).to_dict()
    order = sorted(DEPARTURES, key=lambda one: (not one.variant, -size.get(one.number, 0.0)))
    return pd.DataFrame([_row(one, own) for one in order])


def _row(one: Departure, own: pd.DataFrame) -> dict[str, str]:
    told = {
        "": one.number,
        "the code": one.code,
        "beside it": one.paper,
        "switch": f"`{one.switch}`" if one.switch else NONE,
    }
    for metric, head in HEADS.items():
        told[head] = _told(own, one.number, metric) if one.variant else "below"
    return told


def _told(own: pd.DataFrame, switch: str, metric: str) -> str:
    row = own[(own["switch"] == switch) & (own["metric"] == metric)]
    if row.empty:
        return "not yet run" if own.empty else NONE
    (one,) = row.to_dict("records")
    p = f", p {one['p_holm']:.2g}" if one["p_holm"] == one["p_holm"] else ""
    return f"{signed(one['difference'])}{interval(one['low'], one['high'])}{p}"


def mask_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """Share of cells that PPC compares, in the first and last pass, of the students that differ in the mask; mean over
    seeds (lowest to highest). Empty where no evaluation has it."""
    frames = [setting.frame for setting in settings if setting.triple != OWN]
    frame = pd.concat(frames) if frames else pd.DataFrame(columns=["variant", "metric", "value"])
    table = []
    for name in ("paper", "a1-student-mask", "a3-nearest-half", "a18-ties"):
        own = frame[frame["variant"] == name]
        first, last = (own.loc[own["metric"] == metric, "value"] for metric in ("active_first", "active_last"))
        if len(first):
            table.append({"student": name, "first pass": mean_range(first), "last pass": mean_range(last)})
    return pd.DataFrame(table)


def controls_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """What of the teacher reaches the student, and what that student is like; mean over seeds (lowest to highest)."""
    rows = {"baseline": "nothing", "paper": "all, as in the paper", **CONTROLS}
    table = [
        {"student": escape(name), "what reaches it": told}
        | {head: mean_range(values(settings, name, metric)) for metric, head in HEADS.items()}
        for name, told in rows.items()
    ]
    return pd.DataFrame(table)


QUESTIONS = {  # of the page: switch of `effects.csv`
    "Does the slip of the mask matter (A1)?": "A1",
    "Does the slip of the norm matter (A2)?": "A2",
    "Do all departures together matter?": "all",
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
        if parts := _numbers(own, "paper", ("pms", "top1")):
            told = [
                f"{name}: alone {alone}; beside the paper's losses {added}"
                for name, (control, switch) in PARTS.items()
                if (alone := _numbers(own, control, ("pms", "top1")))
                and (added := _numbers(own, switch, ("pms", "top1")))
            ]
            gain = "**How much of the gain is the teacher's head, and how much are the doubled updates?**"
            if told:
                said.append(
                    f"{gain} *{study}*: over the network trained alone the paper's student gains {parts}. Of "
                    f"{'. Of '.join(told)}."
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
            told = f"{HEADS[metric]} {_told(own, switch, metric)}"
            if judged and metric in ("pms", "ajs"):
                result = Paired(row["n_seeds"], row["difference"], row["low"], row["high"], row["p_holm"], nan)
                told += f", *{CHANGED[verdict(result, DELTAS['similarity'])]}*"
            parts.append(told)
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
            if not (whole := gains.get("paper")):
                continue
            told = (
                f"*{study}*, {HEADS[metric]}: the paper's student gains {_told(own, 'paper', metric)} over the baseline"
            )
            parts = [
                f"{told_of}: {_share(gains[name], whole['difference'])}"
                for name, told_of in CONTROLS.items()
                if name in gains
            ]
            if not whole["low"] > 0:
                parts, told = [], f"{told}, so that there is no gain to be shared out"
            said.append(f"{told}{'. Of this gain has a student that gets ' if parts else ''}{'; '.join(parts)}.")
    return said


def _share(gain: Mapping[Hashable, float], whole: float) -> str:
    """A control's gain, and its interval, in percent of the whole gain."""
    mean, low, high = (f"{gain[key] / whole:.0%}".replace("-", "−") for key in ("difference", "low", "high"))
    return f"{mean} ({low} to {high})" if gain["low"] == gain["low"] else mean
