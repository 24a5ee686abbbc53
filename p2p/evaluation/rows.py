"""Metric rows, the form of `metrics.csv` and of each file of `evaluations/`.

Stages are pre_push, push and tuned; tau is empty for a metric without a threshold.
"""

from __future__ import annotations

from math import inf

import pandas as pd

COLUMNS = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
SHARING = [*COLUMNS[:5], "share", *COLUMNS[5:]]  # of `sharing.csv`; share: prototypes left, in percent


def without_threshold(frame: pd.DataFrame) -> pd.DataFrame:
    """Of metric rows those of the tuned stage that have no threshold or τ = ∞: a row a network, seed and metric."""
    tau = pd.to_numeric(frame["tau"])
    return frame[(frame["stage"] == "tuned") & (tau.isna() | (tau == inf))]


def network_names(frame: pd.DataFrame) -> pd.Series:
    """What tables call each row's network: its role, and the variant where it is not the paper's."""
    return frame["role"] + frame["variant"].map(lambda variant: "" if variant == "paper" else f": {variant}")


def corrected(values: pd.Series, permuted: pd.Series) -> pd.Series:
    """(v − v_permuted) / (1 − v_permuted): 0 is what the same network reaches on other images, 1 is the teacher."""
    return (values - permuted) / (1 - permuted)


def own_variant(part: pd.DataFrame, variant: str) -> str:
    """The student that a triple is judged by: `variant`, or where it has students of its own alone, their first.

    Args:
        part: Metric rows of one triple.
        variant: Of the study's first student.
    """
    students = part.loc[part["role"] == "student", "variant"]
    return variant if students.empty or (students == variant).any() else str(students.iloc[0])
