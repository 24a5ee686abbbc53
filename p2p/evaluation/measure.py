"""All metrics of one triple and seed, as rows of the tidy table `metrics.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from p2p import metrics
from p2p.evaluation.runs import Trained, top1
from p2p.metrics import TAUS, Empty, Metric
from p2p.networks import ProtoNet
from p2p.projection import same_source
from p2p.responses import ResponseTable

ALWAYS = ""  # tau of a metric that has none


@dataclass(frozen=True)
class Answer:
    """What one network answered to the test images.

    Attributes:
        role: teacher, baseline, student, control or budget.
        variant: As in the result files.
        run: Its outcome (`run.json`): accuracies by stage, projection error.
        tables: Response tables by stage, "pre_push" and "tuned"; empty for a linear classifier.
        trained: The network, for its decision layer.
    """

    role: str
    variant: str
    run: dict[str, Any]
    tables: dict[str, ResponseTable]
    trained: Trained


Row = tuple[str, str, str, str, float | str, float]  # role, variant, stage, metric, tau, value

# of `p2p.evaluation.runs.finish_run`
FACTS = ("parameters", "projection_error", "distinct_before", "distinct_prototypes", "tau_quarter", "r2")


def own_rows(answer: Answer, quarter: float) -> Iterator[Row]:
    """What needs no teacher's answers: accuracy by stage, validation accuracy, projection error, AAP at all τ.

    Args:
        answer: Of the network.
        quarter: The threshold at which the teacher's active patches cover a quarter of the grid.
    """
    who = (answer.role, answer.variant)
    for stage, value in answer.run["top1"].items():
        yield (*who, stage, "top1", ALWAYS, value)
    yield (*who, "tuned", "top1_validation", ALWAYS, answer.run["validation"])
    params = answer.trained.params
    if params.schedule == "lean":
        yield (*who, "tuned", "joint_passes", ALWAYS, float(params.joint_epochs * params.rounds))
    for name in FACTS:
        if name in answer.run:
            yield (*who, "tuned", name, ALWAYS, float(answer.run[name]))
    for epoch, share in answer.run.get("active", {}).items():
        yield (*who, "tuned", f"active_at_{epoch}", ALWAYS, share)
    for name, value in answer.run.get("decision", {}).items():  # what this kind of decision says of itself
        yield (*who, "tuned", name, ALWAYS, value)
    for stage, table in answer.tables.items():
        yield from value_rows((*who, stage), metrics.OF_ONE, [table], "", quarter)


def transfer_rows(answer: Answer, teacher: Answer, labels: Tensor, empty: Empty, seed: int) -> Iterator[Row]:
    """How much of the teacher's explanation a network gives: AJS at all τ, PMS, same-index agreement, accuracy under
    the teacher's decision layer; and the same with the images permuted (`…_permuted`), the floor of that network."""
    reference, quarter = teacher.tables["tuned"], teacher.run["tau_quarter"]
    grid = reference.grid[0] * reference.grid[1]
    for stage, table in answer.tables.items():
        who = (answer.role, answer.variant, stage)
        yield from value_rows(who, metrics.OF_TWO, [reference, table], "", quarter, empty=empty)
        if stage == "tuned":
            shuffled = metrics.permute_images(table, torch.Generator().manual_seed(seed))
            yield from value_rows(who, metrics.OF_TWO, [reference, shuffled], "_permuted", quarter, empty=empty)
            a, b = metrics.aap(reference, (inf,)).item(), metrics.aap(table, (inf,)).item()
            yield (*who, "ajs_chance", inf, metrics.ajs_chance(a, b, grid))
            yield (
                *who,
                "pms_chance",
                ALWAYS,
                metrics.pms_chance(table.cells.shape[1], len(table.cells), grid),
            )
            head, own = teacher.trained.network, answer.trained.network
            assert isinstance(own, ProtoNet) and isinstance(head, ProtoNet)  # they have response tables
            yield (*who, "same_index_chance", ALWAYS, 1 / table.cells.shape[1])
            yield from _sources(who, teacher.trained, answer.trained)
            yield (*who, "top1_teacher_head", ALWAYS, top1(table, head.decision, labels, own.layer))


def half_rows(answer: Answer, teacher: Answer, labels: Tensor, classes: int, seed: int) -> Iterator[Row]:
    """The metrics that need no threshold on the images of the first half of the classes (`…_taught`), the one that the
    control `taught_classes: half` learns from, and on those of the other (`…_untaught`); likewise permuted.

    Args:
        answer: Of any network with prototypes.
        teacher: Whom it is compared with.
        labels: (N,) of the test images.
        classes: How many there are.
        seed: Of the permutation.
    """
    of_two = [metric for metric in metrics.OF_TWO if not metric.over_tau]
    who = (answer.role, answer.variant, "tuned")
    for name, chosen in (("taught", labels < classes / 2), ("untaught", labels >= classes / 2)):
        own, other = (
            ResponseTable(table.cells[chosen], table.distances[chosen], table.grid)
            for table in (answer.tables["tuned"], teacher.tables["tuned"])
        )
        shuffled = metrics.permute_images(own, torch.Generator().manual_seed(seed))
        for table, suffix in ((own, f"_{name}"), (shuffled, f"_{name}_permuted")):
            yield from value_rows(who, of_two, [other, table], suffix, inf)


def _sources(who: tuple[str, str, str], teacher: Trained, other: Trained) -> Iterator[Row]:
    """Same source, and its chance level, where both have the prototypes they were trained with."""
    first, second = teacher.projection, other.projection
    network = other.network
    if first is None or second is None or not isinstance(network, ProtoNet):
        return
    whole = network.decision.count(len(network.decision.weight), getattr(other.params, network.decision.size))
    if len(first.images) == len(second.images) == whole:
        found = same_source(first, second, network.per_class)
        for name, value in found._asdict().items():
            yield (*who, f"same_source_{name}", ALWAYS, value)


def level_rows(
    role: str, variant: str, level: str, teacher: Answer, table: ResponseTable, empty: Empty
) -> Iterator[Row]:
    """What a network that was never taught reaches in every metric: a level to read the others against.

    Args:
        role: In the result file.
        variant: Likewise.
        level: "floor" (a random network) or "second_teacher" (a teacher of another seed).
        teacher: Whom it is compared with.
        table: Its answers.
        empty: As `p2p.metrics.ajs`.
    """
    who, tau = (role, variant, "tuned"), teacher.run["tau_quarter"]
    yield from value_rows(who, metrics.OF_ONE, [table], f"_{level}", tau)
    yield from value_rows(who, metrics.OF_TWO, [teacher.tables["tuned"], table], f"_{level}", tau, empty=empty)


def value_rows(
    who: tuple[str, str, str],
    chosen: Sequence[Metric],
    tables: Sequence[ResponseTable],
    suffix: str,
    quarter: float,
    **options: Any,
) -> Iterator[Row]:
    """Every metric of these tables, under its name and the suffix; those by number only of as many prototypes.

    One with a threshold has a row for each of `TAUS`, and as `<name>_quarter` one at the threshold `quarter`.
    """
    equal = len({table.cells.shape[1] for table in tables}) == 1
    for metric in (metric for metric in chosen if equal or not metric.numbered):
        keywords = {key: options[key] for key in metric.options}
        if metric.over_tau:
            *values, last = torch.as_tensor(metric.of(*tables, (*TAUS, quarter), **keywords)).tolist()
            for tau, value in zip(TAUS, values, strict=True):
                yield (*who, f"{metric.name}{suffix}", tau, value)
            yield (*who, f"{metric.name}_quarter{suffix}", ALWAYS, last)
        else:
            yield (*who, f"{metric.name}{suffix}", ALWAYS, float(metric.of(*tables, **keywords)))
