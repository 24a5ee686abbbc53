"""What pages say of deletion and preservation, from the rows of `p2p.evaluation.same_places` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from p2p.evaluation.claims import DELTAS, Paired, paired, verdict
from p2p.evaluation.part_tables import networks, told
from p2p.evaluation.rows import corrected
from p2p.evaluation.settings import Setting, mean
from p2p.evaluation.tables import NONE, of_seeds
from p2p.study.pages import escape, listed, signed

LEVELS = {"random order": "_chance", "other images": "_permuted"}


def hidden(setting: Setting) -> bool:
    """Whether its evaluations have these curves; older ones have not."""
    return bool((setting.frame["metric"] == "own_places").any())


def older(settings: Sequence[Setting]) -> str:
    """A sentence on the settings without these curves; empty where all have them."""
    without = [escape(setting.title) for setting in settings if not hidden(setting)]
    return f"*No curves yet of {listed(without)}, whose evaluations are from before this measure.*" if without else ""


def leaning(setting: Setting, role: str) -> pd.Series:
    """By seed the teacher's places of a network, corrected for those of other images."""
    rows = setting.of(role)
    found, other = (
        rows[rows["metric"] == f"teacher_places{suffix}"].set_index("seed")["value"] for suffix in ("", "_permuted")
    )
    return corrected(found, other)


def difference(setting: Setting) -> Paired:
    """Of that, student less baseline."""
    return paired((leaning(setting, "student") - leaning(setting, "baseline")).dropna().to_numpy(dtype=float))


def answer(settings: Sequence[Setting]) -> list[str]:
    """The answer, a sentence for each setting that has these curves."""
    said = []
    for setting in (setting for setting in settings if hidden(setting)):
        result = difference(setting)
        words = {
            "supported": "The student leans on its teacher's places more than the same network trained alone.",
            "contradicted": "The student leans on its teacher's places less than the same network trained alone.",
            "no effect that matters": "Teaching does not change how far a network leans on its teacher's places.",
        }
        word = words.get(
            verdict(result, DELTAS["similarity"]),
            "Whether the student leans more on its teacher's places is not decided.",
        )
        numbers = listed(
            [
                f"{role} {_number(mean(rows, 'teacher_places'))} (own {_number(mean(rows, 'own_places'))}, the "
                f"teacher's of other images {_number(mean(rows, 'teacher_places_permuted'))})"
                for role, rows in ((role, setting.of(role)) for role in ("student", "baseline"))
            ]
        )
        said.append(
            f"**{escape(setting.title)}: {word}** What the places that the teacher names count for: {numbers}; "
            f"student less baseline, corrected for other images: {told(result)}."
        )
    return said


def _number(value: float) -> str:
    return signed(value, 2)


def places_table(settings: Sequence[Setting], heads: Mapping[str, str]) -> pd.DataFrame:
    """setting, network, a column for each measure: mean over seeds (lowest to highest); levels, in italics, below.

    Args:
        settings: Those without these curves are left out.
        heads: Measures and their headings, `p2p.evaluation.same_places.AREA_HEADS` or `PLACE_HEADS`.
    """
    rows = []
    for setting in (setting for setting in settings if hidden(setting)):
        found, title = networks(setting, list(heads)), escape(setting.title)
        for network, part in found.groupby("network", sort=False):
            rows.append({"setting": title, "network": network} | {h: of_seeds(part, n) for n, h in heads.items()})
        for role in ("teacher", "baseline", "student"):
            own = setting.of(role)
            for level, suffix in LEVELS.items():
                values = {h: of_seeds(own, f"{n}{suffix}", spread=False) for n, h in heads.items()}
                if set(values.values()) != {NONE}:
                    rows.append({"setting": title, "network": f"*{role}, {level}*", **values})
    return pd.DataFrame(rows)
