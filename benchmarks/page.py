"""The page "Speed", section by section: what was measured in, what is shown as MyST markdown out."""

from __future__ import annotations

import torch

from benchmarks import cabrnet_peer, findings, summary, tables
from benchmarks.parts import Measured
from benchmarks.timing import describe
from p2p.study.pages import table


def setting(device: torch.device) -> list[str]:
    """Who is missing, if anyone, and the machine."""
    missing = cabrnet_peer.missing()
    left_out = [f"{missing}; its rows are left out and nothing is measured end to end."] if missing else []
    return [*left_out, f"Machine: {describe(device)}; torch {torch.__version__}."]


def ratios(found: Measured) -> list[str]:
    """The table of all ratios."""
    caption = (
        "The peer's time over ours: ratio of the medians, and lowest to highest round. K classes, P prototypes, "
        "D channels, N images, B images a batch."
    )
    return [table(tables.ratio_table(found.frame), caption, "tab-ratios")]


def targets(found: Measured) -> list[str]:
    """What was to be reached and was, what the common trunk leaves to gain, and where a peer is faster."""
    goals, common = summary.reached(found.frame, found.wanted), summary.common_work(found.frame)
    texts = [table(goals, "Target and what was reached, against the fastest peer.", "tab-targets")]
    if len(common):
        texts.append(table(common, "What the common trunk leaves to gain.", "tab-common"))
    return [*texts, "\n\n".join(summary.slower(found.frame)) or "No peer is faster in any row."]


def objectives(found: Measured) -> list[str]:
    """What each contender's decision layer reached, if it was measured."""
    caption = "Cross-entropy and L1 reached on the training images; lower is better."
    return [table(tables.objective_table(found.scores), caption, "tab-objectives")] if found.scores else []


def race(found: Measured, cap_seconds: float) -> list[str]:
    """The best of each contender, and what CaBRNet did not reach; nothing where it has no point."""
    if found.target is None:
        return []
    caption = f"The best of each; CaBRNet's cap is {cap_seconds:.0f} s."
    beyond = findings.beyond_the_race(found.points, found.target)
    return [table(tables.race_table(found.points), caption, "tab-race"), *([beyond] if beyond else [])]


def recipes(found: Measured) -> list[str]:
    """Image passes and accuracy of each recipe, if their study is there."""
    if found.costs is None:
        return []
    caption = "Image passes and accuracy of each recipe; mean over seeds (lowest to highest)."
    released = found.costs["variant"].str.startswith("official").any()
    texts = [table(tables.recipe_table(found.costs), caption, "tab-recipes")]
    return [*texts, *([findings.released_on_paper()] if released else [])]


def summed_up(found: Measured) -> str:
    """The text of `findings.md`."""
    goals, slow = summary.reached(found.frame, found.wanted), summary.slower(found.frame)
    return findings.speed_findings(goals, found.scores, slow, found.costs, found.where)
