"""Whether measures of similarity rank students as the truth about parts does: rank correlations over the students of a
study that compares many, and of all such studies on the same images together, from their result files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from p2p.evaluation.claims import CLAIMS, Claim, Paired, claimed, paired
from p2p.evaluation.settings import Setting
from p2p.evaluation.tables import NONE, interval
from p2p.evaluation.variants import METRICS
from p2p.study.pages import escape, signed

FEWEST = 6  # students of a seed: of fewer a rank correlation says nothing
MOST = 0.999  # of a correlation: z of 1 is infinite
MEASURES = {
    "pms": "PMS",
    "agreement": "same cell",
    "same_index": "same number",
    "ajs_quarter": "AJS, quarter",
    "aap_quarter": "AAP nearer",
    "r2": "R²",
    "top1": "top-1",
}
TRUTHS = {"part_transfer_matched": "same part, matched", "intervention_matched": "same reaction, matched"}


class Ranked(NamedTuple):
    """Of one study, measure and truth: Spearman's ρ over the students of each seed, mean and interval over seeds."""

    study: str  # "" where it is all of them together
    title: str
    measure: str
    truth: str
    students: int  # of the seed that has the fewest
    rho: Paired


def claim_of(metric: str) -> Claim:
    """How a metric is read; those that no claim is about are corrected for chance, as similarities are."""
    known = {claim.metric: claim for claim in CLAIMS} | METRICS
    return known.get(metric) or known["pms"]._replace(metric=metric)


def table_of(setting: Setting) -> pd.DataFrame:
    """(student, seed) by metric: measures and truths of a setting's baseline and students; NaN where one has none."""
    frame, columns = setting.frame, {}
    students = [("baseline", "paper")]
    students += [("student", name) for name in frame.loc[frame["role"] == "student", "variant"].unique()]
    for metric in (*MEASURES, *TRUTHS):
        parts = {f"{role} {name}": claimed(frame, claim_of(metric), role, name) for role, name in students}
        columns[metric] = pd.concat({key: values for key, values in parts.items() if len(values)} or {"": pd.Series()})
    return pd.DataFrame(columns)


def ranked(settings: Sequence[Setting]) -> list[Ranked]:
    """Of each setting with enough students whose parts are known, each measure against each truth; then, of those on
    the same images, all students of a seed together, where one that several studies share counts once."""
    found, alike = list[Ranked](), dict[str, list[pd.DataFrame]]()
    for setting in settings:
        table = table_of(setting)
        own = _ranked(table, setting.study, setting.title)
        found += own
        if own:
            alike.setdefault(setting.images, []).append(table)
    for images, tables in alike.items():
        if len(tables) > 1:
            whole = pd.concat(tables)
            twice = whole.assign(seed=whole.index.get_level_values(1)).duplicated()
            found += _ranked(whole[~twice], "", f"all students, {images}")
    return found


def _ranked(table: pd.DataFrame, study: str, title: str) -> list[Ranked]:
    found = []
    for truth in TRUTHS:
        for measure in MEASURES:
            both = table[[measure, truth]].dropna()
            by_seed = [part for _, part in both.groupby(level=1) if len(part) >= FEWEST]
            by_seed = [part for part in by_seed if part.nunique().min() > 1]  # all alike have no ranks
            rhos = [spearmanr(part[measure], part[truth]).statistic for part in by_seed]
            if rhos:
                fewest, rho = min(len(part) for part in by_seed), over_seeds(np.array(rhos, dtype=float))
                found.append(Ranked(study, title, measure, truth, fewest, rho))
    return found


def over_seeds(rhos: np.ndarray) -> Paired:
    """Mean and 95 % interval of correlations (n,), one a seed, by Fisher's z, which keeps both within −1 and 1."""
    z = paired(np.arctanh(rhos.clip(-MOST, MOST)))
    mean, low, high = np.tanh([z.mean, z.low, z.high]).tolist()
    return replace(z, mean=mean, low=low, high=high)


def ranks_table(found: Sequence[Ranked]) -> pd.DataFrame:
    """setting, measure, and for each truth ρ with its interval, the number of seeds and of students."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in found:
        key = (escape(one.title), MEASURES[one.measure])
        row = rows.setdefault(key, {"setting": key[0], "measure": key[1]})
        row[TRUTHS[one.truth]] = _rho(one.rho)
        row["students"], row["seeds"] = str(one.students), str(one.rho.n)
    return pd.DataFrame(list(rows.values())).fillna(NONE)


def ranks_answer(found: Sequence[Ranked]) -> str:
    """A sentence: which measure ranks students most like the truth about parts, over all studies where there are
    several."""
    question, truth = "Do measures rank students as the truth about their parts does (*same part*)?", next(iter(TRUTHS))
    together = [one for one in found if not one.study] or list(found)
    said = []
    for title in dict.fromkeys(one.title for one in together):
        own = [one for one in together if one.title == title and one.truth == truth]
        own.sort(key=lambda one: -one.rho.mean)
        if own:
            told = [f"{MEASURES[one.measure]} {_rho(one.rho)}" for one in own]
            where = f"{escape(title)} ({own[0].students} students a seed or more, {own[0].rho.n} seeds)"
            said.append(f"{where}, by Spearman's ρ: {', '.join(told)}")
    return f"{question} Of {'; of '.join(said)}." if said else ""


def _rho(rho: Paired) -> str:
    return f"{signed(rho.mean, 2)}{interval(rho.low, rho.high, 2)}"
