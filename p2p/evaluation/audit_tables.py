"""Tables of the audit: each departure and control with its effect, the mask over training, equal prototypes.

All take what `p2p.evaluation.audit.audit_settings` found of studies on the same images (see `same_images`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Literal

import pandas as pd

from p2p.evaluation.audit import DELTA, HEADS, OWN, Found, of_departure, told, values
from p2p.evaluation.claims import Claim, Paired, claimed, verdict
from p2p.evaluation.departures import CONTROLS, DEPARTURES, Departure
from p2p.evaluation.settings import Setting
from p2p.evaluation.tables import NONE
from p2p.study.pages import escape, mean_range, numbers

MASKED = ("paper", "a1-student-mask", "a3-nearest-half", "a18-ties")
HALVED: tuple[tuple[str, str, Literal["corrected", "plain"]], ...] = (
    ("pms", "PMS", "corrected"),
    ("agreement", "same cell", "plain"),
)
PUSHED = ("paper", "a19-two-pushes", "a19-two-pushes-split")
SHORTLY = {  # what the verdict on "higher" says of a change
    "supported": "more alike",
    "contradicted": "less alike",
    "no effect that matters": "no effect that matters",
    "inconclusive": "inconclusive",
}


def same_images(found: Found) -> dict[str, Found]:
    """The studies by what their images are: those on the same images are one audit, whose rows stand in one table."""
    groups: dict[str, Found] = {}
    for study, settings in found.items():
        groups.setdefault(settings[0].images, {})[study] = settings
    return groups


def drawn(rows: pd.DataFrame, departures: bool) -> pd.DataFrame:
    """Rows of `effects` as `p2p.figures.questions.effects` draws them, the largest effect first.

    Args:
        rows: As `effects` gives them.
        departures: Of these; else of the controls.
    """
    rows = fullest(rows[of_departure(rows) == departures])
    size = rows["difference"].abs().groupby(rows["switch"]).max()
    names = {one.number: one.short for one in DEPARTURES}
    rows = rows.assign(
        control=[names.get(switch, switch) for switch in rows["switch"]],
        title=rows["study"],
        metric=rows["metric"].map(HEADS),
    )
    return rows.iloc[rows["switch"].map(size).argsort(kind="stable")[::-1]]


def fullest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each switch and metric the row with most seeds: "paper" stands in every study."""
    order = rows["n_seeds"].astype(float).argsort(kind="stable")[::-1]
    return rows.iloc[order].drop_duplicates(["switch", "metric"]).sort_index()


def departures_table(rows: pd.DataFrame) -> pd.DataFrame:
    """All departures, the largest effect on any metric first; then those not yet run, and those without a training.

    Args:
        rows: Of `effects`, those of studies on the same images.
    """
    own = fullest(rows)
    size = own.groupby("switch")["difference"].apply(lambda of: of.abs().max()).to_dict()
    order = sorted(DEPARTURES, key=lambda one: (not one.variant, -size.get(one.number, 0.0)))
    return pd.DataFrame([_row(one, own[own["switch"] == one.number]) for one in order])


def _row(one: Departure, own: pd.DataFrame) -> dict[str, str]:
    told_of = {
        "": one.number,
        "the code": one.code,
        "beside it": one.paper,
        "switch": f"`{one.switch}`" if one.switch else NONE,
    }
    if not one.variant:
        return told_of | dict.fromkeys(["seeds", *HEADS.values(), "in short"], "below")
    if own.empty:
        return told_of | {"seeds": "not yet run"} | dict.fromkeys([*HEADS.values(), "in short"], NONE)
    told_of["seeds"] = f"{own['n_seeds'].max()}"
    told_of |= {head: told(own, one.number, metric) or NONE for metric, head in HEADS.items()}
    return told_of | {"in short": in_short(own)}


def in_short(own: pd.DataFrame) -> str:
    """The verdicts on PMS and AJS, once where they are one: "more alike (PMS, AJS)"."""
    words: dict[str, list[str]] = {}
    for row in own[own["metric"].isin(["pms", "ajs"])].to_dict("records"):
        result = Paired(row["n_seeds"], row["difference"], row["low"], row["high"], row["p_holm"], nan)
        words.setdefault(SHORTLY[verdict(result, DELTA)], []).append(HEADS[row["metric"]])
    return "; ".join(f"{word} ({', '.join(metrics)})" for word, metrics in words.items()) or NONE


def controls_table(found: Found) -> pd.DataFrame:
    """What of the teacher reaches the student, and what that student is like; mean over seeds (lowest to highest).

    The baseline and the paper's student first; a control that was not run is left out.
    """
    table = []
    for name, what in {"baseline": "nothing", "paper": "all, as in the paper", **CONTROLS}.items():
        of = {metric: _longest(found, name, metric) for metric in [*HEADS, "part_transfer_matched"]}
        if max(map(len, of.values())):
            shown = {head: mean_range(of[metric]) for metric, head in HEADS.items()}
            seeds = {"seeds": f"{max(map(len, of.values()))}"}
            parts = {"same part": mean_range(of["part_transfer_matched"])}
            table.append({"student": escape(name), "what reaches it": what} | seeds | shown | parts)
    return pd.DataFrame(table)


def _longest(found: Found, variant: str, metric: str) -> pd.Series:
    """Values by seed from the study that has most of them."""
    return max((values(settings, variant, metric) for settings in found.values()), key=len, default=pd.Series())


def half_table(found: Found) -> pd.DataFrame:
    """PMS and same cell on the classes that `c-half-taught` was taught, and on the others, of it, the paper's student
    and the baseline; mean over seeds (lowest to highest), PMS corrected for chance. Empty where nobody measured it.
    """
    claims = {
        f"{head}, {half}": Claim(f"{metric}_{name}", "", form, "similarity")
        for metric, head, form in HALVED
        for name, half in (("taught", "its classes"), ("untaught", "other classes"))
    }
    rows = []
    for setting in (setting for settings in found.values() for setting in settings if setting.triple != OWN):
        for name in ("baseline", "paper", "c-half-taught"):
            who = ("baseline", "paper") if name == "baseline" else ("student", name)
            of = {head: claimed(setting.frame, claim, *who).dropna() for head, claim in claims.items()}
            if any(map(len, of.values())):
                rows.append({"student": name} | {head: mean_range(value) for head, value in of.items()})
    return pd.DataFrame(rows)


def official_table(found: Found) -> pd.DataFrame:
    """The networks trained as released beside those of the paper's variant, mean over seeds (lowest to highest); empty
    where `official` was not run."""
    names = {"baseline": "baseline", "paper": "paper's student", f"{OWN}-baseline": "baseline, as released"}
    names |= {OWN: "student, as released, torch 1.6", f"{OWN}-today": "student, as released, torch ≥ 1.10"}
    rows = []
    for settings in found.values():
        if any(setting.triple == OWN for setting in settings):
            for name, label in names.items():
                rows.append({"network": label})
                rows[-1] |= {head: mean_range(values(settings, name, metric)) for metric, head in HEADS.items()}
    return pd.DataFrame(rows)


def mask_rows(found: Found) -> pd.DataFrame:
    """Share of cells that PPC compares, by pass, of the students that differ in the mask.

    Returns:
        student, seed, pass, share (0 to 1); empty where no evaluation has it.
    """
    frames = [setting.frame for settings in found.values() for setting in settings if setting.triple != OWN]
    names = ["student", "seed", "pass", "share"]
    if not frames:
        return pd.DataFrame(columns=names)
    frame = pd.concat(frames)
    rows = frame[frame["metric"].str.startswith("active_at_") & frame["variant"].isin(MASKED)]
    passes = rows["metric"].str.removeprefix("active_at_").astype(int)
    rows = rows.assign(**{"pass": passes, "student": rows["variant"], "share": rows["value"]})
    return rows[names].drop_duplicates(names[:3])


def identical(settings: Sequence[Setting], variants: Sequence[str] = PUSHED) -> pd.DataFrame:
    """A19: of the P prototypes of each network how many differ before the last push, and how many are different patches
    after it; mean over seeds, and the fewest."""
    rows = []
    for setting in settings:
        frame = setting.frame[setting.frame["metric"].isin(["distinct_before", "distinct_prototypes"])]
        chosen = frame["role"].isin(["teacher", "baseline", "student"]) & frame["variant"].isin(variants)
        for (role, variant), own in frame[chosen].groupby(["role", "variant"], sort=False):
            row: dict[str, object] = {"network": role if variant == "paper" else f"{role}, {variant}"}
            for head, metric in (("before", "distinct_before"), ("after", "distinct_prototypes")):
                found = own.loc[own["metric"] == metric, "value"]
                row |= {f"distinct {head} the push": found.mean(), f"fewest {head}": found.min()}
            rows.append(row)
    return numbers(pd.DataFrame(rows).drop_duplicates(), 1) if rows else pd.DataFrame()


def drift(found: Found) -> Mapping[str, float]:
    """A8: how far the pushed prototypes of a network are from the patches that they were, after tuning in train and in
    eval mode: the largest over prototypes of the L2 distance, mean over seeds, by variant; empty where not run."""
    parts = dict[str, float]()
    for settings in found.values():
        for setting in settings:
            rows = setting.frame[setting.frame["metric"] == "projection_error"]
            for variant in ("a8-tuned-in-train-mode", "a8-tuned-in-eval-mode"):
                own = rows.loc[rows["variant"] == variant, "value"]
                parts |= {variant: float(own.mean())} if len(own) else {}
    return parts
