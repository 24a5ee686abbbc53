"""The departures of the released code from the paper, and the controls that the paper lacks: what each is, in a line.

Numbers A1 to A22 are those of the audit list; variants are those of `params/audit-*.yaml`. Source: the released code,
read and run by this study.
"""

from __future__ import annotations

from typing import NamedTuple


class Departure(NamedTuple):
    """Attributes: its number; what the code does; what the paper says, or what is put beside it; the switch; the
    variants whose difference is its effect (as coded, less the other); empty where it is shown on numbers alone."""

    number: str
    code: str
    paper: str
    switch: str
    variant: str = ""
    against: str = "paper"

    @property
    def short(self) -> str:
        """Number and variant: "A1 student mask"; "A3, not nearest half" where the paper's student is as coded."""
        coded = self.variant != "paper"
        words = (self.variant if coded else self.against).removeprefix(f"{self.number.lower()}-").replace("-", " ")
        return f"{self.number} {words}" if coded else f"{self.number}, not {words}"


DEPARTURES = (
    Departure(
        "A1",
        "PPC's mask comes from the student's distances",
        "the teacher's",
        "mask_source: student",
        "a1-student-mask",
    ),
    Departure(
        "A2",
        "torch ≥ 1.10: the global loss is a mean absolute difference; as its authors ran it (torch 1.6), mean L2",
        "mean L2",
        "global_norm: mean_abs",
        "a2-mean-abs",
    ),
    Departure(
        "A3",
        "τ = 100 holds no patch back",
        "a threshold: the nearest half",
        "tau_share: 0.5",
        "paper",
        "a3-nearest-half",
    ),
    Departure("A4", "PPC over 2 · patches + 1 of the batch", "per patch", "ppc_norm: batch", "a4-batch-norm"),
    Departure("A5", "the student starts from the teacher's head", "its own", "head: teacher_joint", "a5-teacher-head"),
    Departure("A6", "always Adam, coupled weight decay", "AdamW", "optimizer: adamw", "paper", "a6-adamw"),
    Departure("A7", "a rate near 0 after epoch 30; three pushes", "one push at the end", "schedule", "a7-schedule"),
    Departure(
        "A8",
        "tuned in train mode: statistics drift",
        "eval mode",
        "tuning: train",
        "a8-tuned-in-train-mode",
        "a8-tuned-in-eval-mode",
    ),
    Departure("A9", "half the batch: twice the updates", "equal updates", "batch_size", "a9-half-batch"),
    Departure("A10", "checkpoints picked on the test set", "validation images", ""),
    Departure("A11", "two empty sets count 0 in AJS", "left out, or 1", "ajs_empty"),
    Departure("A13", "TF32 convolutions on modern GPUs", "float32", ""),
    Departure(
        "A14",
        "warm passes on distillation alone",
        "all losses",
        "warm_losses: distillation",
        "a14-warm-distilled",
        "a14-warm",
    ),
    Departure(
        "A15", "cluster 1.0, twice the trunk's rate", "ProtoPNet's 0.8", "lambda_cluster", "paper", "a15-protopnet"
    ),
    Departure("A17", "PMS counts by whole thresholds", "α = 0.1 … 1", ""),
    Departure("A18", "every cell that ties is active", "the first", "mask_ties: all", "a18-ties"),
    Departure(
        "A19",
        "of tied prototypes one learns",
        "all alike (amin)",
        "prototype_ties: split",
        "a19-two-pushes",
        "a19-two-pushes-split",
    ),
    Departure(
        "A21",
        "the frozen trunk warms up in train mode",
        "eval mode",
        "warm_batchnorm: train",
        "a21-warm-in-train-mode",
        "a14-warm",
    ),
    Departure("A22", "40 copies, made once", "each pass anew", "joint_copies: 0", "paper", "a22-fresh-copies"),
    Departure("all", "everything as released, mean L2 (torch 1.6)", "the paper's variant", "official", "official"),
    Departure(
        "all, today", "everything as released, torch ≥ 1.10", "the paper's variant", "official", "official-today"
    ),
)

CONTROLS = {  # variant: what of the teacher reaches the student
    "c-head-alone": "the teacher's decision layer alone, fixed",
    "c-head-learning": "the teacher's decision layer alone, learning along",
    "c-prototypes-copied": "its prototypes as a start, no loss",
    "c-full-map": "its whole map (FitNets)",
    "c-shuffled-teacher": "its prototypes in another order",
    "c-other-teacher": "a teacher of another seed, in its place",
    "c-random-teacher": "an untrained network, in its place",
    "c-teachers-network": "all, to its own architecture",
    "c-half-taught": "all, on half of the classes",
    "c-equal-updates": "nothing, with the updates of A9",
}
