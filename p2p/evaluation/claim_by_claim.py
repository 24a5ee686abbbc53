"""What was claimed of Proto2Proto, by whom, what would support it, and what is found here: a paragraph a claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from p2p.evaluation import variants
from p2p.evaluation.claims import CLAIMS, UNDECIDED
from p2p.evaluation.questions import told
from p2p.evaluation.settings import SHORT, Setting, spoken_of, topic
from p2p.evaluation.survival import survival_sentences
from p2p.evaluation.tables import NONE, p_text
from p2p.study.pages import escape, listed, signed


class Said(NamedTuple):
    """A claim of others; `metrics` are those of `claims.csv` that speak to it."""

    claim: str
    whose: str
    support: str
    metrics: tuple[str, ...] = ()


# From the abstract, the rest as the two reproductions report it (see the page about them); the numbers are theirs.
EXPLAINS = Said(
    "The student explains like its teacher.",
    "The abstract; both reproductions find it, with reservations.",
    "Its prototypes lie on the teacher's places (PMS), its active patches overlap with the teacher's (AJS), and its "
    "prototypes pair with those of their own number, more than those of the same network trained alone; PMS and AJS "
    "less what each network reaches on other images.",
    ("pms", "ajs_quarter", "same_index"),
)
COUNTS = Said(
    "It looks at as many patches as its teacher.",
    "The measure AAP of the paper. Bikker et al. have 39.3 patches of the student against 40.6 of the baseline, the "
    "teacher 35.5; Garcia Cerdas et al. 10.5 against 21.3, the teacher 6.5.",
    "The student's number of active patches is nearer to the teacher's than the baseline's.",
    ("aap_quarter",),
)
ACCURATE = Said(
    "It stays accurate, or gains.",
    "The abstract. Bikker et al. report 72.9 % of the student against 70.4 % of the baseline, before its push; Garcia "
    "Cerdas et al. 66.7 % against 44.9 % and 73.2 % against 52.3 %, after twelve epochs.",
    "A higher top-1 than the same network trained alone, with as many passes, where more passes would not change it.",
    ("top1", "top1_push"),
)
HEAD = Said(
    "The teacher's decision layer serves the student, without learning it again.",
    "The paper, as a reproduction reports.",
    "Under the teacher's decision layer, untouched, the student is more accurate than the baseline under the same one.",
    ("top1_teacher_head",),
)
LOSSES = Said(
    "Both losses are needed.",
    "The paper's Table 4 asks it; Bikker et al. report 51.2 % with Global alone and 13.4 % with PPC alone, of 72.9 %.",
    "With one loss alone, fewer of the teacher's places or less accuracy.",
)
RELATIONS = Said(
    "Relational distillation (RKD) hands over far less of the explanation, at about the same accuracy.",
    "The paper's Table 5, as a reproduction reports.",
    "A student of RKD has fewer of the teacher's places than the paper's, each weight searched alike.",
)
MERGED = Said(
    "It survives the merging of prototypes (ProtoPShare).",
    "The paper's Table 3 asks it; its numbers are not known here.",
    "Merged, the student loses less accuracy than the baseline, and its likeness to the teacher falls less, or rises "
    "more.",
)
TREES = Said(
    "It works with prototype trees (ProtoTree), too.",
    "The paper, as a reproduction reports.",
    "The claims above, of trees.",
)


# Verdicts of `variants.effects` are on "higher than"; beside a claim that expects less they would be read as its own.
HIGHER = {"supported": "higher", "contradicted": "lower"}


def claim_by_claim(settings: Sequence[Setting], compared: Sequence[Setting]) -> list[str]:
    """A paragraph of markdown a claim: it, whose it is, what would support it, and what is found.

    Args:
        settings: Those whose claims are judged, as `read_settings` gives them.
        compared: Those of studies that only compare their students, and of trees.
    """
    trees, own = [one for one in compared if topic(one.study) == "tree"], spoken_of(list(settings))
    recipe = [setting for setting in compared if topic(setting.study) == "recipe"]
    found = [(one, [_verdicts(own, one.metrics)] if own else []) for one in (EXPLAINS, COUNTS, ACCURATE, HEAD)]
    found.append((LOSSES, [line for setting in recipe for line in _by_loss(setting)]))
    found.append((RELATIONS, [line for setting in recipe for line in _relations(setting)]))
    found.append((MERGED, survival_sentences([setting for setting in own if len(setting.sharing)])))
    found.append((TREES, [_verdicts(trees, ("pms", "top1"))] if trees else []))
    return [
        f"**{one.claim}** *Whose:* {one.whose} *Would support it:* {one.support} *Here:* "
        f"{' '.join(lines) or 'not run in this copy.'}"
        for one, lines in found
    ]


def _verdicts(settings: Sequence[Setting], metrics: Sequence[str]) -> str:
    return " ".join(f"{SHORT[metric][0].upper() + SHORT[metric][1:]}: {told(settings, metric)}." for metric in metrics)


def _differences(setting: Setting, names: Sequence[str], against: str, metrics: Sequence[str]) -> dict[str, str]:
    """Of each student "top-1 −0.019 (−0.059 to +0.021), PMS …", less `against`."""
    rows = variants.effects(setting, names)
    parts = {}
    for name in names:
        said = []
        for metric in metrics:
            row = rows[(rows["variant"] == name) & (rows["against"] == against) & (rows["metric"] == metric)]
            if len(row):
                one = row.iloc[0]
                word = "" if one["verdict"] == UNDECIDED else f", *{HIGHER.get(one['verdict'], one['verdict'])}*"
                ends = f" ({signed(one['low'])} to {signed(one['high'])}{word})" if one["low"] == one["low"] else ""
                said.append(f"{variants.HEADS[metric]} {signed(one['difference'])}{ends}")
        if said:
            parts[name] = ", ".join(said)
    return parts


def _by_loss(setting: Setting) -> list[str]:
    """What a student with one of the losses alone has, less the student with both."""
    found = {name: _weighed(setting, name) for name in variants.by_losses(setting)}
    single = {name: losses for name, losses in found.items() if len(losses) == 1}
    told_of = _differences(setting, list(single), setting.variant, ("top1", "pms"))
    names = {name: variants.NAMES.get(next(iter(single[name])), name) for name in told_of}
    parts = [f"with {names[name]} alone {text}" for name, text in told_of.items()]
    return [f"{_where(setting)}, less the student with both: {'; '.join(parts)}."] if parts else []


def _relations(setting: Setting) -> list[str]:
    """What the student of RKD has, less the paper's."""
    names = [name for name in setting.variants if _weighed(setting, name) == {"rkd"}]
    found = _differences(setting, names, setting.variant, ("top1", "pms"))
    return [f"{_where(setting)}, less the paper's student: {listed(list(found.values()))}."] if found else []


def _weighed(setting: Setting, name: str) -> set[str]:
    """The losses of a student that has nothing else of its own; else none. Weights other than the paper's count as
    something of its own."""
    change = setting.variants[name]
    losses = variants.losses_of(change) if change.keys() <= {"distillation"} else {}
    published = {loss for loss, weight in losses.items() if weight == variants.PUBLISHED.get(loss, weight)}
    return published if len(published) == len(losses) else set()


def _where(setting: Setting) -> str:
    return f"{escape(setting.title)} ({setting.seeds} seed{'s' * (setting.seeds > 1)})"


def side_by_side(settings: Sequence[Setting]) -> pd.DataFrame:
    """claim, then a column a setting: verdict, difference, and below it the 95 % interval and p after Holm."""
    rows = []
    for claim in CLAIMS:
        row = {"claim": SHORT[claim.metric]}
        for setting in settings:
            found = setting.claim(claim.metric)
            cell = NONE
            if found is not None:
                cell = f"*{found['verdict']}* {signed(found['difference'])}"
                if found["low"] == found["low"]:
                    span = f"{signed(found['low'])} to {signed(found['high'])}"
                    cell += f"<br><small>{span}, p {p_text(found['p_holm'])}</small>"
            row[f"{escape(setting.title)} ({setting.seeds} seeds)"] = cell
        rows.append(row)
    return pd.DataFrame(rows)
