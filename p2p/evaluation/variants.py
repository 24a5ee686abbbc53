"""The students of one study set beside each other: which loss does it, how much of it, and other ways to distil.

All is told from the changes that the study file gives, not from names: a student belongs to the comparison with other
ways to distil where it has a loss that the study's first student, the paper's, has not; elsewhere to the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from p2p.errors import UserError
from p2p.evaluation.claims import CLAIMS, UNDECIDED, Claim, claimed, flat_budget, paired, verdict
from p2p.evaluation.settings import Setting, topic
from p2p.evaluation.tables import NONE, interval
from p2p.study.pages import escape, listed, mean_range, signed
from p2p.study.reading import read_keys

R2 = Claim("r2", "it reproduces more of the teacher's map", "plain", "similarity")
METRICS = {claim.metric: claim for claim in (*CLAIMS, R2)}
HEADS = {"top1": "top-1", "top1_push": "after push", "r2": "R²", "pms": "PMS", "ajs_quarter": "AJS"}
HEADS |= {"same_index": "same number", "top1_teacher_head": "teacher's head"}
RESPONSES = ("r2", "pms", "top1")  # of the figure over weights
# Top-1 in per cent on Stanford Cars, ResNet-50 and ResNet-18, as Bikker et al. report it (ReScience C, 2023; the page
# "Two independent reproductions"), by the losses of the student with their published weights; none: the baseline.
REPRODUCED: dict[frozenset[str], float] = {frozenset(): 70.39, frozenset({"global", "ppc"}): 72.94}
REPRODUCED |= {frozenset({"global"}): 51.22, frozenset({"ppc"}): 13.44}
PUBLISHED = {"global": 10.0, "ppc": 10.0}
NAMES = {"global": "Global", "ppc": "PPC"}  # as sentences have them


def losses_of(change: Mapping[str, Any]) -> dict[str, float]:
    """Distillation losses with a weight above 0; change: of a variant, as `Setting.variants` has it."""
    weights = change["distillation"]
    ours = sorted(weights, key=lambda name: (name not in PUBLISHED, name))  # the paper's first
    return {name: float(weights[name]) for name in ours if weights[name]}


def by_losses(setting: Setting) -> list[str]:
    """The students that differ in weights, switches or head alone; the first is the paper's."""
    return [name for name in setting.variants if not _has_another_loss(setting, name)]


def by_others(setting: Setting) -> list[str]:
    """The students with a loss that the first has not."""
    return [name for name in setting.variants if _has_another_loss(setting, name)]


def _has_another_loss(setting: Setting, name: str) -> bool:
    first = losses_of(setting.variants[setting.variant])
    return bool(losses_of(setting.variants[name]).keys() - first.keys())


def taught_by(change: Mapping[str, Any]) -> str:
    """A variant's losses with their weights, and below them what else is its own, as tables say it."""
    losses = " + ".join(f"{name} {weight:g}" for name, weight in losses_of(change).items()) or "no loss"
    more = [f"{key} {value}" for key, value in change.items() if key != "distillation"]
    return "<br>".join(map(escape, [losses, *more]))


# ------------------------------------------------------------------------------------------------------------ tables


def variants_table(setting: Setting, names: Sequence[str], quoted: bool = False) -> pd.DataFrame:
    """student, with what it was taught by below its name, and `HEADS`; first the network trained alone.

    PMS and AJS are corrected for chance.

    Args:
        setting: Of a study with several students.
        names: Those of them to show.
        quoted: With a column of the reproduction by Bikker et al., behind our top-1.
    """
    rows = []
    for role, name in (("baseline", "paper"), *(("student", name) for name in names)):
        change = setting.variants[name] if role == "student" else {"distillation": {}}
        taught = f"{escape(name)}<br><small>{taught_by(change)}</small>"
        row = {"student": taught if role == "student" else "*trained alone*"}
        for metric, head in HEADS.items():
            row[head] = mean_range(claimed(setting.frame, METRICS[metric], role, name))
            if quoted and metric == "top1":
                theirs = reproduced(change)
                row["Bikker et al., Cars"] = NONE if theirs is None else f"{theirs / 100:.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def reproduced(change: Mapping[str, Any]) -> float | None:
    """Top-1 in per cent that Bikker et al. report of a student taught so; None: they have none."""
    losses = losses_of(change)
    published = losses.items() <= PUBLISHED.items() and change.keys() <= {"distillation"}
    return REPRODUCED.get(frozenset(losses)) if published else None


def effects(setting: Setting, names: Sequence[str]) -> pd.DataFrame:
    """Each student less the network trained alone, and less the study's first student, within seeds.

    Args:
        setting: Of a study with several students.
        names: Of the students.

    Returns:
        variant, against ("baseline", or the first student's name), metric, n_seeds, difference, low, high, verdict;
        the verdict is on "higher than", of accuracies only at a flat budget (see `p2p.evaluation.claims`).
    """
    first, flat, rows = setting.variant, flat_budget(setting.frame, setting.variant), []
    delta = dict(zip(setting.claims["metric"], setting.claims["delta"], strict=True))
    for name in names:
        for against, role in (("baseline", "baseline"), (first, "student")):
            for metric in ("top1", "r2", "pms", "ajs_quarter", "same_index"):
                if name == first == against:
                    continue
                claim = METRICS[metric]
                before = claimed(setting.frame, claim, role, "paper" if role == "baseline" else first)
                moved = (claimed(setting.frame, claim, "student", name) - before).dropna().to_numpy(dtype=float)
                if not len(moved):
                    continue
                result = paired(moved)
                told = verdict(result, delta["pms" if metric == "r2" else metric])
                told = UNDECIDED if claim.effect == "accuracy" and not flat else told
                rows.append((name, against, metric, result.n, result.mean, result.low, result.high, told))
    columns = ["variant", "against", "metric", "n_seeds", "difference", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def effects_table(setting: Setting, names: Sequence[str]) -> pd.DataFrame:
    """student, then differences with interval and verdict: top-1 and PMS to the baseline, these and R² to the paper's.

    What is not decided at its budget has no verdict.
    """
    found, first, rows = _by_key(effects(setting, names)), setting.variant, []
    wanted = [("baseline", metric) for metric in ("top1", "pms")]
    wanted += [(first, metric) for metric in ("top1", "r2", "pms")]
    for name in names:
        row = {"student": escape(name)}
        for against, metric in wanted:
            who = "alone" if against == "baseline" else escape(first)
            one = found.get((name, against, metric))
            row[f"{HEADS[metric]} − {who}"] = _told(one) if one else NONE
        rows.append(row)
    return pd.DataFrame(rows)


def _by_key(found: pd.DataFrame) -> dict[tuple[str, str, str], dict[Any, Any]]:
    """The rows of `effects` by variant, against and metric."""
    return {(row["variant"], row["against"], row["metric"]): row for row in found.to_dict("records")}


def _told(row: Mapping[Any, Any]) -> str:
    said = "" if row["verdict"] == UNDECIDED else f" *{row['verdict']}*"
    return f"{signed(row['difference'])}{interval(row['low'], row['high'])}{said}"


def others_table(setting: Setting) -> pd.DataFrame:
    """The table of `variants_table` for the other ways to distil and the paper's, with what they cost.

    Returns:
        Its columns, and "time": hours of training as a ratio to the baseline's of the same seed.
    """
    names = [setting.variant, *by_others(setting)]
    table = variants_table(setting, names).drop(columns=["after push", "teacher's head"])
    return table.assign(time=["1", *(mean_range(cost_ratio(setting, name), 2) for name in names)])


def cost_ratio(setting: Setting, name: str) -> pd.Series:
    """Hours of a student's run over those of the baseline of its seed, by seed."""
    costs = setting.costs
    if costs.empty:
        return pd.Series(dtype=float)
    students = costs[costs["run"].str.startswith(f"student-{setting.triple}-") & (costs["variant"] == name)]
    alone = costs[(costs["role"] == "baseline") & costs["network"].isin(students["network"])]
    return (students.set_index("seed")["hours"] / alone.set_index("seed")["hours"]).dropna()


def responses(setting: Setting) -> pd.DataFrame:
    """What a network is like by the weight of one loss, the other losses as in the first student.

    Returns:
        loss, weight, metric (see `RESPONSES`), seed, value; of losses with three weights or more, and of the seeds that
        all of them have.
    """
    first, rows = losses_of(setting.variants[setting.variant]), []
    plain = [name for name in by_losses(setting) if setting.variants[name].keys() <= {"distillation"}]
    for loss in first:
        own = {name: losses_of(setting.variants[name]) for name in plain}
        rest = {key: weight for key, weight in first.items() if key != loss}
        chosen = {name: w.get(loss, 0.0) for name, w in own.items() if {k: w[k] for k in w if k != loss} == rest}
        if len(set(chosen.values())) < 3:
            continue
        for metric in RESPONSES:
            found = {name: claimed(setting.frame, METRICS[metric], "student", name).dropna() for name in chosen}
            common = set.intersection(*(set(values.index) for values in found.values()))
            for name, values in found.items():
                rows += [(loss, chosen[name], metric, seed, value) for seed, value in values.items() if seed in common]
    return pd.DataFrame(rows, columns=["loss", "weight", "metric", "seed", "value"])


def trained_alone(setting: Setting) -> dict[str, float]:
    """Of `RESPONSES` what the baseline reaches, mean over seeds; R² it has none."""
    values = {metric: claimed(setting.frame, METRICS[metric], "baseline", "paper").mean() for metric in RESPONSES}
    return {metric: float(value) for metric, value in values.items() if value == value}


# --------------------------------------------------------------------------------------------------------- sentences


def loss_sentences(setting: Setting) -> list[str]:
    """What each loss alone reaches, and whether it falls below the baseline, as Bikker et al. report."""
    alone = {name: losses_of(setting.variants[name]) for name in by_losses(setting)}
    single = {name: next(iter(w)) for name, w in alone.items() if len(w) == 1 and len(setting.variants[name]) == 1}
    if not single:
        return []
    said = [_alone_sentence(setting, single)]
    names = {
        setting.variant: "with all losses",
        **{name: f"with {_named(loss)} alone" for name, loss in single.items()},
    }
    parts = [f"{label} {_values(setting, 'student', name)}" for name, label in names.items()]
    parts.append(f"trained alone {_values(setting, 'baseline', 'paper')}")
    said.append(f"{_place_told(setting)}: {'; '.join(parts)}.")
    quoted = {name: theirs for name in single if (theirs := reproduced(setting.variants[name])) is not None}
    found = _by_key(effects(setting, list(quoted)))
    for name, theirs in quoted.items():
        row = found[name, "baseline", "top1"]
        above = "Here it is above it, at this budget" if row["low"] > 0 else "That is not shown here"
        word = "So it is here" if row["high"] < 0 else above
        said.append(
            f"With {_named(single[name])} alone Bikker et al. report {theirs} % on Cars, far below their baseline's "
            f"{REPRODUCED[frozenset()]} %. {word}: the difference to the baseline is {_difference(row)}"
            f"{', which more passes may change' if row['verdict'] == UNDECIDED else ''}."
        )
    return said


def _named(loss: str) -> str:
    return NAMES.get(loss, escape(loss))


def _alone_sentence(setting: Setting, single: Mapping[str, str]) -> str:
    """Which loss brings PMS above the network trained alone by itself.

    Args:
        setting: Of a study with several students.
        single: student: the one loss it has.
    """
    found, parts = _by_key(effects(setting, list(single))), {True: list[str](), False: list[str]()}
    for name, loss in single.items():
        row = found[name, "baseline", "pms"]
        told = _difference(row).replace(" (", ", ").removesuffix(")")
        parts[row["verdict"] == "supported"].append(f"*{_named(loss)}* ({told})")
    does, fails = (listed(parts[word]) for word in (True, False))
    rises = "PMS rises above that of the network trained alone"
    said = [f"{rises} with {does}"] if does else []
    said += (
        [f"no rise is shown with {fails}" if does else f"it is not shown that {rises} with {fails}"] if fails else []
    )
    names = {word: listed([one.partition(" (")[0] for one in parts[word]]) for word in (True, False)}
    head = [f"{names[True]} alone hands the teacher's places over"] if does else []
    head += [f"{names[False]} alone is not shown to" if does else "No loss alone hands places over"] if fails else []
    return f"**{'; '.join(head)}.** {_place_told(setting)}, one loss at a time: {'; '.join(said)}."


def fewer_seeds(setting: Setting, names: Sequence[str]) -> str:
    """ "; 3 seeds of a and b" for the students that have fewer seeds than the study; empty without any."""
    seeds = {name: len(claimed(setting.frame, METRICS["top1"], "student", name).dropna()) for name in names}
    few = {n: [name for name in names if seeds[name] == n] for n in sorted(set(seeds.values())) if n < setting.seeds}
    return "".join(f"; {n} seeds of {listed([escape(name) for name in own])}" for n, own in few.items())


def other_sentences(setting: Setting) -> list[str]:
    """Which other ways to distil hand over fewer places than the paper's losses; then accuracy and PMS less theirs."""
    found, parts = _by_key(effects(setting, by_others(setting))), []
    by: dict[bool, list[str]] = {True: [], False: []}
    for name in by_others(setting):
        rows = {metric: found.get((name, setting.variant, metric)) for metric in ("top1", "pms")}
        told = ", ".join(f"{HEADS[metric]} {_difference(row)}" for metric, row in rows.items() if row)
        parts.append(f"*{escape(name)}* {told or NONE}")
        by[bool(rows["pms"] and rows["pms"]["verdict"] == "contradicted")].append(f"*{escape(name)}*")
    less, rest = (listed(by[word]) for word in (True, False))
    verb = "hands" if len(by[True]) == 1 else "hand"
    head = [f"Of the teacher's places {less} {verb} over fewer than the paper's losses"] if less else []
    head = head or ["No other way is shown to hand over fewer of the teacher's places than the paper's losses"]
    head += [f"of {rest} no difference is shown"] if less and rest else []
    told = f"**{'; '.join(head)}.** {_place_told(setting)}."
    return [told, f"{escape(setting.title)}, less the paper's student: {'; '.join(parts)}."] if parts else []


def _place_told(setting: Setting) -> str:
    own = setting.of("student")
    passes = own.loc[own["metric"] == "joint_passes", "value"]
    many = f", {passes.max():.0f} joint passes" if len(passes) else ""
    return f"{escape(setting.title)} ({setting.seeds} seed{'s' * (setting.seeds > 1)}{many})"


def _values(setting: Setting, role: str, name: str) -> str:
    values = {metric: claimed(setting.frame, METRICS[metric], role, name) for metric in ("top1", "pms", "same_index")}
    return ", ".join(f"{HEADS[metric]} {mean_range(v, spread=False)}" for metric, v in values.items() if len(v))


def _difference(row: Mapping[Any, Any]) -> str:
    ends = f" ({signed(row['low'])} to {signed(row['high'])})" if row["low"] == row["low"] else ", one seed alone"
    return f"{signed(row['difference'])}{ends}"


def not_run(results: Path, studies: Path, about: str) -> dict[str, set[str]]:
    """The study files that compare their variants (`compares`) and have no results.

    Args:
        results: Folder of the results.
        studies: Folder of the study files.
        about: Their `topic`.

    Returns:
        name: what its students would be compared by: "losses", their weights and switches; "others", losses beyond the
            paper's.
    """
    names = {}
    for file in sorted(studies.glob("*.yaml")):
        try:
            keys = read_keys(file)
        except UserError:
            continue  # `make study` says what is wrong with it
        wanted = keys.get("compares") is True and topic(file.stem) == about
        if wanted and not (results / file.stem / "claims.csv").is_file():
            changes = keys.get("variants")  # nothing is known of it yet
            students = changes.values() if isinstance(changes, dict) else ()
            given = [one.get("distillation") if isinstance(one, dict) else None for one in students]
            other = [isinstance(weights, dict) and bool(weights.keys() - PUBLISHED.keys()) for weights in given]
            names[file.stem] = {"others"} if any(other) else set()
            names[file.stem] |= {"losses"} if len(other) - sum(other) > 1 else set()
    return names


def not_run_sentence(names: Iterable[str]) -> str:
    """Which comparisons have not been run, with the command; empty where all have."""
    commands = ", ".join(f"`make study STUDY={name}`" for name in names)
    return f"Not yet run in this copy: {commands}." if commands else ""
