"""What is left of networks with fewer prototypes: `sharing.csv` read and shown, one triple at a time."""

from __future__ import annotations

import pandas as pd

from p2p.evaluation.rows import corrected
from p2p.study.pages import mean_range


def by_seed(rows: pd.DataFrame, role: str, metric: str, share: int, stage: str = "tuned") -> pd.Series:
    """One metric of one network at one share, by seed.

    Args:
        rows: Of one triple, as `p2p.evaluation.rows.SHARING`.
        role: teacher, baseline or student.
        metric: With `_corrected` at its end, corrected for chance by the same network's own permuted images.
        share: Prototypes left, in percent.
        stage: "merged" or "tuned".
    """
    if metric.endswith("_corrected"):
        plain = metric.removesuffix("_corrected")
        return corrected(by_seed(rows, role, plain, share), by_seed(rows, role, f"{plain}_permuted", share))
    chosen = rows[(rows["role"] == role) & (rows["metric"] == metric) & (rows["share"] == share)]
    return chosen[chosen["stage"] == stage].set_index("seed")["value"]


def shares_of(rows: pd.DataFrame) -> list[int]:
    """The shares at which something was merged, the largest first."""
    return sorted((int(share) for share in rows["share"].unique() if share < 100), reverse=True)


def sharing_table(rows: pd.DataFrame) -> pd.DataFrame:
    """network, prototypes left, classes each serves, top-1 merged and tuned, AAP, AJS and PMS corrected for chance.

    AJS at the teacher's quarter threshold; means over seeds, of the tuned accuracy with the lowest and highest.

    Args:
        rows: Of one triple.
    """
    found = []
    for role in ("teacher", "baseline", "student"):
        for share in (100, *shares_of(rows)):
            values = {name: by_seed(rows, role, name, share) for name in ("prototypes", "classes", "top1")}
            found.append(
                {
                    "network": role,
                    "prototypes": f"{mean_range(values['prototypes'], 0, False)} ({share} %)",
                    "classes each": mean_range(values["classes"], 2, False),
                    "top-1, merged": mean_range(by_seed(rows, role, "top1", share, "merged"), 3, False),
                    "top-1, tuned": mean_range(values["top1"]),
                    "AAP": mean_range(by_seed(rows, role, "aap", share), 1, False),
                    "AJS": mean_range(by_seed(rows, role, "ajs_quarter_corrected", share), 3, False),
                    "PMS": mean_range(by_seed(rows, role, "pms_corrected", share), 3, False),
                }
            )
    return pd.DataFrame(found)
