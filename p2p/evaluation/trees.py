"""Trees of prototypes (ProtoTree, Nauta et al., CVPR 2021) of teacher, baseline and student, beside networks that add
up their similarities on the same images.

From the studies whose names begin with `tree-`: no other page of questions has them, since a tree's prototypes belong
to no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from p2p.evaluation.questions import told
from p2p.evaluation.settings import SHORT, Setting, mean, read_settings, topic
from p2p.evaluation.tables import NONE, of_seeds, tree_table
from p2p.study.pages import escape, listed, option

ROLES = ("teacher", "baseline", "student")
CALLED = {"teacher": "teacher", "baseline": "trained alone", "student": "student"}


def tree_settings(results: Path) -> list[Setting]:
    """The settings of all studies of trees that have results."""
    return [setting for setting in read_settings(results, every=True) if topic(setting.study) == "tree"]


def sums_of(setting: Setting, settings: Sequence[Setting]) -> Setting | None:
    """The first of several settings with the same images and networks that decides by a sum; None where none does."""
    alike = [one for one in settings if (one.images, one.triple) == (setting.images, setting.triple)]
    return next((one for one in alike if topic(one.study) != "tree"), None)


def sentences(setting: Setting, settings: Sequence[Setting]) -> list[str]:
    """What the trees of a setting know, what was handed over, what is lost when they are read as lists of yes and no.

    Args:
        setting: Of `tree_settings`.
        settings: Of networks that decide by a sum.
    """
    title = f"{escape(setting.title)} ({setting.seeds} seed{'s' * (setting.seeds > 1)})"
    top = {role: of_seeds(setting.of(role), "top1", 2) for role in ROLES}
    said = [
        f"{title}: the student's tree is right in {top['student']} of the test images, the same tree trained alone in "
        f"{top['baseline']}, the teacher's in {top['teacher']} (lowest to highest seed)."
    ]
    places = [f"{SHORT[metric]} {told([setting], metric)}" for metric in ("pms", "same_index", "top1")]
    said.append(
        f"Less the tree trained alone: {'; '.join(places)}. The student reproduces "
        f"{mean(setting.of('student'), 'r2'):.2f} of the teacher's map (R²)."
    )
    hard = {role: mean(setting.of(role), "top1") - mean(setting.of(role), "top1_greedy") for role in ROLES}
    lost = [f"the {role}'s {abs(value):.3f} {'less' if value >= 0 else 'more'}" for role, value in hard.items()]
    said.append(
        f"Read as a list of yes and no, node by node, the trees know: {listed(lost)}; an image then comes by "
        f"{mean(setting.of('student'), 'path_greedy'):.1f} questions of the student's "
        f"{mean(setting.of('student'), 'nodes'):.0f}."
    )
    if other := sums_of(setting, settings):
        sums = [f"{CALLED[role]} {of_seeds(other.of(role), 'top1', 2, spread=False)}" for role in ROLES]
        said.append(
            f"Deciding by a sum of similarities to {_prototypes(other)}, in *{escape(other.title)}*, the same networks "
            f"reach: {listed(sums)}."
        )
    return said


def _prototypes(setting: Setting) -> str:
    distinct = mean(setting.of("student"), "distinct_prototypes")
    return f"{distinct:.0f} prototypes" if distinct == distinct else "prototypes"


def networks_table(setting: Setting, other: Setting | None) -> pd.DataFrame:
    """decides by, network, top-1 before the push and in the end, R², PMS, same number, distinct prototypes; as
    trees, and where known as sums; mean (lowest to highest).

    Args:
        setting: Of `tree_settings`.
        other: Of networks that decide by a sum, see `sums_of`.
    """
    rows = []
    for one, kind in ((setting, "tree"), (other, "sum")):
        for role in ROLES if one else ():
            assert one is not None
            own = one.of(role)
            rows.append(
                {
                    "decides by": kind,
                    "network": CALLED[role],
                    "top-1, before push": of_seeds(_stage(one, role, "pre_push"), "top1"),
                    "top-1": of_seeds(own, "top1"),
                    "R²": of_seeds(own, "r2"),
                    "PMS": of_seeds(own, "pms"),
                    "PMS, other images": of_seeds(own, "pms_permuted"),
                    "same number": of_seeds(own, "same_index"),
                    "distinct prototypes": of_seeds(own, "distinct_prototypes", 1),
                }
            )
    return pd.DataFrame(rows).fillna(NONE)


def _stage(setting: Setting, role: str, stage: str) -> pd.DataFrame:
    rows = setting.of(role, stage)
    return rows[rows["metric"] == "top1"]


def hard_table(setting: Setting) -> pd.DataFrame:
    """Soft and hard readings of one setting's trees, see `p2p.evaluation.tables.tree_table`."""
    frame = tree_table(setting.frame, setting.variant)
    return frame.drop(columns="triple").assign(network=frame["network"].map(CALLED))


def pictures(results: Path, setting: Setting) -> list[str]:
    """The student's tree, and one image on its way through all three: those that are there, as figures of markdown."""
    captions = {
        "tree-student": "the student's tree of the first seed, from the root on the left to its leaves: *yes* leads "
        "down, *no* up. Lines are as thick as the probability that the first test image goes along them; coloured is "
        "its most probable way",
        "tree-way": "that test image on its most probable way through each tree: the training patch that is asked "
        "for, where the image is most like it, how similar, and the answer",
    }
    return [
        f":::{{figure}} studies/{setting.study}/{name}.svg\n:name: fig-{name}-{setting.study}\n"
        f":alt: {option(f'{name} of {setting.title}')}\n\n{escape(setting.title)}: {caption}.\n:::"
        for name, caption in captions.items()
        if (results / setting.study / f"{name}.svg").is_file()
    ]
