"""The page "Do they mean the same part?": sentences and tables, from the rows of `p2p.evaluation.same_parts` alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from p2p.evaluation.claims import DELTAS, Paired, paired, verdict
from p2p.evaluation.explanation import number
from p2p.evaluation.explored import explored
from p2p.evaluation.questions import difference, pairing
from p2p.evaluation.rows import network_names, without_threshold
from p2p.evaluation.same_parts import OWN_HEADS as OWN
from p2p.evaluation.same_parts import SHARED_HEADS as TEACHERS
from p2p.evaluation.settings import Setting, mean
from p2p.evaluation.tables import NONE, of_seeds
from p2p.study.pages import escape, listed, option, prototype_links, signed

PAPER = {"pms": "PMS", "ajs_quarter": "AJS, quarter", "same_index": "same number", "top1": "top-1"}
LEVELS = {"random network": "_floor", "second teacher": "_second_teacher"}


def measured(setting: Setting) -> bool:
    """Whether its evaluations have these measures: older ones have not, nor have images whose parts nobody knows."""
    return bool((setting.frame["metric"] == "consistency").any())


def unmeasured(settings: Sequence[Setting]) -> str:
    """A sentence on the settings without these measures; empty where all have them."""
    without = [escape(setting.title) for setting in settings if not measured(setting)]
    if not without:
        return ""
    return (
        f"*Not evaluated with this yet: {listed(without)}. Their evaluations are older than these measures, or nothing "
        "is known of the parts in their images.*"
    )


def networks(setting: Setting, names: Sequence[str]) -> pd.DataFrame:
    """Of each network, seed and measure the value; levels count as networks of their own.

    Returns:
        network, metric, seed, value; teacher, baseline, student, then controls and levels.
    """
    tuned = without_threshold(setting.frame)
    tuned = tuned[tuned["role"] != "budget"]
    plain = tuned[tuned["metric"].isin(names) & ~tuned["variant"].isin(["random", "other seed"])]
    parts = [plain.assign(network=network_names(plain))]
    for level, suffix in LEVELS.items():
        rows = tuned[tuned["metric"].isin([f"{name}{suffix}" for name in names])]
        parts.append(rows.assign(network=level, metric=rows["metric"].str.removesuffix(suffix)))
    found = pd.concat(parts)[["network", "metric", "seed", "value"]]
    order = ["teacher", "baseline", "student"]
    rest = [name for name in found["network"].unique() if name not in order]
    place = {name: i for i, name in enumerate([*order, *rest])}
    return found.sort_values("network", key=lambda column: column.map(place), kind="stable", ignore_index=True)


def told(result: Paired) -> str:
    """ "+0.287, +0.201 to +0.373, 5 seeds"."""
    seeds = f"{result.n} seeds" if result.n != 1 else "one seed"
    span = f", 95 % interval {signed(result.low)} to {signed(result.high)}" if result.low == result.low else ""
    return f"{signed(result.mean)}{span}, {seeds}"


def answer(settings: Sequence[Setting]) -> list[str]:
    """The answer, a sentence or two for each setting that has been evaluated with these measures."""
    said = []
    for setting in settings:
        if not measured(setting):
            continue
        own, title = setting.of("student"), escape(setting.title)
        place = difference(setting, "part_transfer")
        word = {
            "supported": "The student means the teacher's parts more often than the same network trained alone.",
            "contradicted": "The student means the teacher's parts less often than the same network trained alone.",
            "no effect that matters": "Teaching does not change which parts are meant.",
        }.get(verdict(place, DELTAS["similarity"]), "Whether the student means the teacher's parts is not decided.")
        value = own.loc[own["metric"] == "part_transfer", "value"].mean()
        chance = own.loc[own["metric"] == "part_transfer_chance", "value"].mean()
        alone = pairing(setting, "baseline", "part_transfer").mean()
        said.append(
            f"**{title}: {word}** Where the teacher's prototype lies on a part, the student's of its number lies on "
            f"the same part of the same image in {100 * value:.0f} of 100 cases (another of its class: "
            f"{100 * chance:.0f}; trained alone, at best: {100 * alone:.0f}); student less baseline {told(place)}."
        )
        if (own["metric"] == "intervention").any():
            reaction, both = difference(setting, "intervention"), own.set_index("metric")["value"]
            said[-1] += (
                " When a part is removed or exchanged, its similarity changes as the teacher's does with a correlation "
                f"of {both.loc[['intervention']].mean():.2f} (another of its class: "
                f"{mean(own, 'intervention_chance'):.2f}; trained alone, at best: "
                f"{pairing(setting, 'baseline', 'intervention').mean():.2f}; difference {told(reaction)})."
            )
    return said


def own_effects(setting: Setting) -> dict[str, Paired]:
    """Of the measures of one network alone that pass their control (`failed_controls`), and of how far its own places
    count: student less baseline."""
    found = {}
    for name, head in {**OWN, "own_places": "own places"}.items():
        if name == "pointing" or _as_good_at_random(setting, name):
            continue
        values = [
            rows.loc[rows["metric"] == name].set_index("seed")["value"]
            for rows in (setting.of("student"), setting.of("baseline"))
        ]
        moved = (values[0] - values[1]).dropna().to_numpy(dtype=float)
        if len(moved):
            found[head] = paired(moved)
    return found


def own_sentence(settings: Sequence[Setting]) -> list[str]:
    """Whether a student's own explanations are better or worse than those of the network trained alone, a sentence a
    setting: the published measures, and how far the places count that it names."""
    said = []
    for setting in (setting for setting in settings if measured(setting)):
        found = own_effects(setting)
        words = {head: verdict(result, DELTAS["similarity"]) for head, result in found.items()}
        worse, better = ([head for head in found if words[head] == word] for word in ("contradicted", "supported"))
        alone = "than those of the same network trained alone"
        told = {
            (True, False): f"The student's own explanations are worse {alone}",
            (False, True): f"The student's own explanations are better {alone}",
            (True, True): f"The student's own explanations are in part worse, in part better {alone}",
            (False, False): f"Whether the student's own explanations are better or worse {alone} is not decided",
        }[bool(worse), bool(better)]
        numbers = [
            f"{head} {signed(result.mean, 2)}"
            + (f", {signed(result.low, 2)} to {signed(result.high, 2)}" if result.low == result.low else "")
            for head, result in found.items()
        ]
        which = f" ({listed(worse + better)})" if worse or better else ""
        said.append(
            f"**{escape(setting.title)}: {told}{which}.** Student less baseline: {'; '.join(numbers)}."
            f"{_as_taught(setting, worse)}"
        )
    return said


def _as_taught(setting: Setting, worse: Sequence[str]) -> str:
    """Which of the measures that are worse in the student are worse in its teacher too, with numbers; or nothing."""
    lower = []
    for name, head in OWN.items():
        taught, own, alone = (mean(setting.of(role), name) for role in ("teacher", "student", "baseline"))
        if head in worse and taught < alone:
            lower.append(f"{head} {number(taught)} (student {number(own)}, trained alone {number(alone)})")
    return f" So are the teacher's, whose way it takes over: {listed(lower)}." if lower else ""


def _as_good_at_random(setting: Setting, name: str) -> bool:
    """Whether a measure of one network alone fails its control: random weights reach as much as the student."""
    return mean(without_threshold(setting.frame), f"{name}_floor") >= mean(setting.of("student"), name)


def failed_controls(settings: Sequence[Setting]) -> str:
    """Which measures of one network alone fail their control, and where, in a sentence; empty where none does."""
    failed = []
    for setting in settings:
        for name, head in OWN.items():
            if _as_good_at_random(setting, name):
                floor, own = mean(without_threshold(setting.frame), f"{name}_floor"), mean(setting.of("student"), name)
                failed.append(f"*{head}* on {escape(setting.title)} (random network {floor:.2f}, student {own:.2f})")
    many = len(failed) > 1
    return (
        f"Nothing follows from {listed(failed)}: {'they fail their' if many else 'it fails its'} control, since a "
        f"network with random weights reaches as much."
        if failed
        else ""
    )


def parts_table(settings: Sequence[Setting], names: dict[str, str]) -> pd.DataFrame:
    """setting, network, a column for each measure: mean over seeds (lowest to highest); chance levels as rows below.

    Args:
        settings: Those without these measures are left out.
        names: Measures and their headings; those that no setting has, have no column.
    """
    rows = []
    for setting in (setting for setting in settings if measured(setting)):
        found, title = networks(setting, list(names)), escape(setting.title)
        for network, part in found.groupby("network", sort=False):
            rows.append({"setting": title, "network": network} | {h: of_seeds(part, n) for n, h in names.items()})
        for role in ("baseline", "student"):
            own = setting.of(role)
            for level, suffix in (("another prototype", "_chance"), ("other images", "_permuted")):
                values = {head: of_seeds(own, f"{name}{suffix}", spread=False) for name, head in names.items()}
                if set(values.values()) != {NONE}:
                    rows.append({"setting": title, "network": f"*{role}, {level}*", **values})
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    shown = [head for head in names.values() if (table[head] != NONE).any()]
    filled = (table[shown] != NONE).any(axis=1)
    return table.loc[filled, ["setting", "network", *shown]].reset_index(drop=True)


def ranks_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """setting, measure, and for each network its rank, 1 the highest mean over seeds.

    The teacher is left out: it is the measure of all that compare with it.
    """
    rows = []
    heads = {**PAPER, **TEACHERS, **OWN}
    for setting in (setting for setting in settings if measured(setting)):
        found = networks(setting, list(heads))
        known = found.loc[found["metric"] == "part_transfer_matched", "network"].unique()
        means = found[found["network"].isin(known)].groupby(["metric", "network"], sort=False)["value"].mean()
        for name, head in heads.items():
            if name in means.index.get_level_values(0):
                ranks = means[name].rank(ascending=False, method="min")
                shown = {network: f"{ranks[network]:.0f}" if network in ranks else NONE for network in known}
                rows.append({"setting": escape(setting.title), "measure": head, **shown})
    return pd.DataFrame(rows).fillna(NONE)


def pictures(results: Path, setting: Setting) -> str:
    """The pictures of agreement of a setting's gallery as a figure of markdown; empty where there are none."""
    file = results / setting.study / "parts.svg"
    if not file.is_file():
        return ""
    shown = re.findall(r">no\. (\d+)<", file.read_text(encoding="utf-8"))
    there = shown and explored(results, setting.study, page="07_gallery")
    links = f" {prototype_links(setting.study, map(int, shown), root='')}" if there else ""
    title = escape(setting.title)
    alt = f"Prototypes of {setting.title} that agree best, in the middle and worst, each with its nearest test images."
    return (
        f":::{{figure}} studies/{setting.study}/parts.svg\n:name: fig-parts-{setting.study}\n"
        f":alt: {option(alt)}\n\n"
        f"{title}: of the teacher's prototypes the one that transfers best, the one in the middle and the worst, with "
        "test images near it. The share counts those, of the nearest tenth, in which it lies on a part. Blue: "
        "the teacher's place, a window of 72 of 224 pixels; green: that of the "
        f"student's prototype of its number; above, the part at each. "
        f"[All prototypes](studies/{setting.study}/07_gallery.ipynb).{links}\n:::"
    )
