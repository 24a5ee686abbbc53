"""Networks with fewer prototypes, merged by `p2p.sharing`: decision layers tuned, metric rows at every share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from p2p import metrics
from p2p.data.images import ImageSet
from p2p.decision import LinearDecision, solve_decision_layer
from p2p.evaluation.measure import ALWAYS, Answer, Row, value_rows
from p2p.evaluation.rows import SHARING
from p2p.evaluation.runs import Trained, respond, top1
from p2p.evaluation.sources import need_prototypes
from p2p.evaluation.triple import check_images, read_answer
from p2p.metrics import Empty
from p2p.responses import ResponseTable
from p2p.sharing import count_at, joined, merge_order, merged_into
from p2p.study.params import TrainParams
from p2p.study.share_params import ShareParams


@dataclass(frozen=True)
class Known:
    """What a network's prototypes answer to the images that merging and tuning look at, computed once.

    Attributes:
        weight: (K, P) its decision layer.
        own: (K, P) bool.
        fit, labels: (N, P) similarities and (N,) classes of the training images.
        held, held_labels: Likewise, of the validation images.
        order: (P − 1, 2), see `p2p.sharing.merge_order`.
    """

    weight: Tensor
    own: Tensor
    fit: Tensor
    labels: Tensor
    held: Tensor
    held_labels: Tensor
    order: Tensor

    def into(self, percent: float) -> Tensor:
        """(P,) which prototype stands for each one at a share in percent."""
        return merged_into(self.order, count_at(percent, len(self.own[0])))

    def tuned(self, into: Tensor, params: TrainParams) -> Tensor:
        """(K, P′) the decision layer of merged prototypes, tuned as after a push: from the added weights, on training
        images, and of all iterates the best on validation images."""
        kept, weight = into.unique(), joined(self.weight, into)
        l1, iterations = params.lambda_l1, params.decision_iterations
        own, held = joined(self.own.float(), into) > 0, (self.held[:, kept], self.held_labels)
        return solve_decision_layer(weight, own, self.fit[:, kept], self.labels, held, l1, iterations)


def look(trained: Trained, images: ImageSet) -> Known:
    """Ask a network about its training and validation images.

    Args:
        trained: With prototypes.
        images: Its data set, all splits; the network answers on their device.
    """
    network, fit, held = need_prototypes(trained).to(images.labels.device), *map(images.subset, ("train", "validation"))
    first, second = (
        network.layer.similarity(respond(network, part.pixels, batch_size=trained.params.batch_size)[0].distances)
        for part in (fit, held)
    )
    weight, own = network.decision.weight.detach().cpu(), network.own.cpu()
    return Known(weight, own, first, fit.labels.cpu(), second, held.labels.cpu(), merge_order(first))


def shared_rows(
    answer: Answer, teacher: Answer, images: ImageSet, shares: Sequence[int], empty: Empty, seed: int
) -> Iterator[tuple[int, Row]]:
    """One network at all of its prototypes and at every share: accuracy, AAP, and its likeness to the whole teacher.

    The answers of merged prototypes are columns of the stored response table, for who stays is what it was.

    Args:
        answer: Of the network.
        teacher: Of the teacher as it was trained.
        images: Their data set, all splits.
        shares: Prototypes left, in percent.
        empty: As `p2p.metrics.ajs`.
        seed: Of the permutation of images that chance levels are measured with.

    Yields:
        The share and a metric row; stage "merged" with added weights, "tuned" with the decision layer tuned.
    """
    known, labels, whole = look(answer.trained, images), images.subset("test").labels.cpu(), answer.tables["tuned"]
    layer, reference = need_prototypes(answer.trained).layer, teacher.tables["tuned"]
    quarter, who = teacher.run["tau_quarter"], (answer.role, answer.variant)
    for percent in (100, *shares):
        into = known.into(percent)
        kept, weight = into.unique(), joined(known.weight, into)
        classes = (joined(known.own.float(), into) > 0).sum(0).double().mean()
        table = ResponseTable(whole.cells[:, kept], whole.distances[:, kept], whole.grid)
        stages = {"merged": weight, "tuned": known.tuned(into, answer.trained.params) if percent < 100 else weight}
        rows: list[Row] = [
            (*who, stage, "top1", ALWAYS, top1(table, LinearDecision.of(each), labels, layer))
            for stage, each in stages.items()
        ]
        rows += [(*who, "tuned", "prototypes", ALWAYS, len(kept)), (*who, "tuned", "classes", ALWAYS, float(classes))]
        rows += value_rows((*who, "tuned"), metrics.OF_ONE, [table], "", quarter)
        shuffled = metrics.permute_images(table, torch.Generator().manual_seed(seed))
        two = [metric for metric in metrics.OF_TWO if metric.shown and not metric.numbered]
        for suffix, other in (("", table), ("_permuted", shuffled)):
            rows += value_rows((*who, "tuned"), two, [reference, other], suffix, quarter, empty=empty)
        yield from ((percent, row) for row in rows if row[4] in (ALWAYS, inf))


def measure_sharing(params: ShareParams, place: Path, images: ImageSet) -> pd.DataFrame:
    """The rows of `sharing.csv`: teacher, baseline and student of every triple and seed, at every share.

    Args:
        params: Of the page.
        place: Folder of the study's runs.
        images: All splits.

    Returns:
        Columns as `p2p.evaluation.rows.SHARING`; a teacher of several triples is measured in each.

    Raises:
        UserError: A run is missing or damaged, or was trained on other images.
    """
    found = []
    for trio in params.trios:
        answers = [read_answer(place, "teacher", "paper", trio.teacher)]
        answers.append(read_answer(place, "baseline", "paper", trio.baseline))
        answers.append(read_answer(place, "student", trio.variant, trio.student))
        check_images(answers, images)
        for answer in answers:
            rows = shared_rows(answer, answers[0], images, params.sharing, params.ajs_empty, trio.seed)
            found += [(params.study, trio.triple, trio.seed, share, *row) for share, row in rows]
    columns = ["study", "triple", "seed", "share", "role", "variant", "stage", "metric", "tau", "value"]
    return pd.DataFrame(found, columns=columns)[SHARING]
