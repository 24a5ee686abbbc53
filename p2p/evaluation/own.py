"""What a practitioner wants to know of networks trained on images of their own: in counts and in words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median

import pandas as pd
import torch
from torch import Tensor

from p2p import metrics
from p2p.data.images import ImageSet
from p2p.data.listing import some
from p2p.evaluation.cautions import Score, at_border, at_chance, guessing, not_followed
from p2p.evaluation.contributions import deciding
from p2p.evaluation.measure import Answer
from p2p.evaluation.on_object import TOP, object_rows
from p2p.evaluation.pairs import matched_pairs
from p2p.evaluation.runs import Trained
from p2p.networks import ProtoNet
from p2p.projection import Projection
from p2p.study.pages import class_text, escape, listed

WIDE = 0.2  # of an interval: from here on the test images say little
FEW = 20  # training images of a class


def predictions(answer: Answer) -> Tensor:
    """(N,) the class that a network names for each test image, from its response table."""
    network = answer.trained.network
    assert isinstance(network, ProtoNet)  # private studies have no others among the three
    return deciding(answer.tables["tuned"], network.decision, network.layer, 1).predicted


def scores(answers: Mapping[str, Answer], labels: Tensor) -> dict[str, Score]:
    """Of each network, by its role, how many of the test images (labels (N,)) it gets right."""
    return {role: Score(int((predictions(a) == labels).sum()), len(labels)) for role, a in answers.items()}


def said(score: Score) -> str:
    """ "12 of 15 (80 %; 55 to 93 %)", the interval Wilson's."""
    low, high = score.interval()
    return f"{score.right} of {score.total} ({_percent(score.share)} %; {_percent(low)} to {_percent(high)} %)"


def accuracy_table(found: Mapping[str, Score], chance: float) -> pd.DataFrame:
    """network, right, accuracy, "95 % interval"; the last row is guessing."""
    rows = [
        {
            "network": role,
            "right": f"{score.right} of {score.total}",
            "accuracy": f"{_percent(score.share)} %",
            "95 % interval": f"{_percent(score.interval()[0])} to {_percent(score.interval()[1])} %",
        }
        for role, score in found.items()
    ]
    guess = {"network": "guessing", "right": "–", "accuracy": f"{_percent(chance)} %", "95 % interval": "–"}
    return pd.DataFrame([*rows, guess])


def how_sure(score: Score) -> str:
    """What so many test images can say."""
    low, high = score.interval()
    told = f"from {_percent(low)} to {_percent(high)} %"
    if high - low > WIDE:
        return f"{score.total} test images say little: the accuracy on further images may lie anywhere {told}."
    return f"By {score.total} test images, the accuracy on further ones of the same kind lies {told}."


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K, K) counts: row the class of an image, column what it was taken for."""
    return (labels * classes + predicted).bincount(minlength=classes**2).view(classes, classes)


def most_confused(counts: Tensor, classes: Sequence[str], most: int = 5) -> pd.DataFrame:
    """class, "taken for", "how often": the largest numbers beside the diagonal; empty where there is no mistake."""
    wrong = counts.clone().fill_diagonal_(0)
    order = wrong.flatten().sort(descending=True, stable=True).indices[:most].tolist()
    pairs = [divmod(at, len(classes)) for at in order if wrong.flatten()[at]]
    return pd.DataFrame(
        [
            (
                escape(class_text(classes[i])),
                escape(class_text(classes[j])),
                f"{int(wrong[i, j])} of {int(counts[i].sum())}",
            )
            for i, j in pairs
        ],
        columns=["images of", "taken for", "how often"],
    )


def cautions(answers: Mapping[str, Answer], labels: Tensor, classes: int) -> list[str]:
    """The sentences of `p2p.evaluation.cautions` that apply, over all networks.

    Args:
        answers: By role.
        labels: (N,) of the test images.
        classes: K.
    """
    cells, grid = {}, (0, 0)
    for role, answer in answers.items():
        found = answer.trained.projection
        assert found is not None
        cells[role], grid = found.cells.cpu().long(), (int(found.maps.shape[1]), int(found.maps.shape[2]))
    told = [
        at_chance(scores(answers, labels), guessing(labels, classes)),
        at_border(cells, grid),
        not_followed(answers["student"].run.get("r2")),
    ]
    return [sentence for sentence in told if sentence]


def same_patches(trained: Trained, classes: Sequence[str]) -> str:
    """A sentence where prototypes of a class are one and the same patch: then they are one reason; else empty.

    Args:
        trained: A run with prototypes.
        classes: K names.
    """
    network, found = trained.network, trained.projection
    assert isinstance(network, ProtoNet) and found is not None
    groups: dict[tuple[int, int, int], list[int]] = {}
    for j, (image, cell) in enumerate(zip(found.images.tolist(), found.cells.tolist(), strict=True)):
        for label in network.own[:, j].nonzero()[:, 0].tolist():
            groups.setdefault((label, image, cell), []).append(j)
    told = [
        f"{listed([str(j) for j in js])} of {class_text(classes[key[0]])}" for key, js in groups.items() if len(js) > 1
    ]
    if not told:
        return ""
    return (
        f"Some prototypes are the same patch, and so one reason that is counted several times: no. "
        f"{escape(some(told, 5))}. Fewer `prototypes_per_class`, or `push: distinct` in the recipe, avoids it."
    )


def one_patch(found: Projection, numbers: Sequence[int]) -> str:
    """Which of some prototypes are one and the same patch, "3 and 7; 1, 4 and 5"; empty where all differ."""
    groups: dict[tuple[int, int], list[int]] = {}
    for j in numbers:
        groups.setdefault((int(found.images[j]), int(found.cells[j])), []).append(j)
    return "; ".join(listed([str(j) for j in js]) for js in groups.values() if len(js) > 1)


def on_object(answers: Sequence[Answer], images: ImageSet) -> dict[str, str]:
    """How many source patches, and how many hits, lie on the object, beside what uniform cells give, in words.

    Args:
        answers: Of the networks that are told of.
        images: All splits.

    Returns:
        "source" and "hits": a sentence each; empty where nothing is known of the object.
    """
    rows = {answer.role: {row[3]: float(row[5]) for row in object_rows(answer, images)} for answer in answers}
    if not all(rows.values()):
        return {}
    what = {"source": "Source patches on the object", "hits": f"Hits on the object, the {TOP} that count most"}

    def each(key: str) -> str:
        shares = {role: [_percent(of[f"{key}_on_object{end}"]) for end in ("", "_chance")] for role, of in rows.items()}
        return ", ".join(f"{role} {share} % ({chance} %)" for role, (share, chance) in shares.items())

    return {key: f"{what[key]} (in brackets: of uniform cells): {each(key)}." for key in what}


@torch.inference_mode()
def milliseconds(network: ProtoNet, pixels: Tensor, repeats: int = 7) -> float:
    """What one image takes on one CPU core: the median of some; pixels (N, 3, S, S) uint8."""
    network.eval()
    threads, spent = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(repeats + 2):  # the first two are slower
        began = time.perf_counter()
        network(pixels[:1])
        spent.append(1000 * (time.perf_counter() - began))
    torch.set_num_threads(threads)
    return median(spent[2:])


def size_table(answers: Mapping[str, Answer], pixels: Tensor) -> pd.DataFrame:
    """network, trunk, parameters, size in MB, milliseconds of one image; of teacher and student.

    Args:
        answers: By role.
        pixels: (N, 3, S, S) uint8.
    """
    rows = []
    for role in ("teacher", "student"):
        network, count = answers[role].trained.network, int(answers[role].run["parameters"])
        assert isinstance(network, ProtoNet)
        rows.append(
            {
                "network": role,
                "trunk": answers[role].trained.params.network,
                "parameters": f"{count:,}",
                "on the disk": f"{_two(4 * count / 1e6)} MB",
                "an image, one CPU core": f"{_two(milliseconds(network, pixels))} ms",
            }
        )
    return pd.DataFrame(rows)


def likeness(answers: Mapping[str, Answer], seed: int = 0) -> list[str]:
    """How alike teacher and student explain, in words, beside what chance and the baseline reach.

    A pair of the matching behind PMS (paper, §3.3) counts where both prototypes sit on the same cell of a test image.
    """
    teacher = answers["teacher"].tables["tuned"]
    shuffled = metrics.permute_images(answers["student"].tables["tuned"], torch.Generator().manual_seed(seed))
    tables = {role: answers[role].tables["tuned"] for role in ("student", "baseline")} | {"chance": shuffled}
    share = {role: float(matched_pairs(teacher, table)[1].mean()) for role, table in tables.items()}
    above = (share["student"] - share["chance"]) / max(1 - share["chance"], 1e-9)
    words = ("no more than by chance", "hardly", "partly", "mostly")[sum(above > level for level in (0.05, 0.2, 0.5))]
    more = share["student"] - share["baseline"]
    against = "as much as" if abs(more) < 0.02 else "more than" if more > 0 else "less than"
    r2 = answers["student"].run.get("r2")
    lines = [
        f"The student looks where its teacher looks {words}: a prototype and its partner sit on the same place in "
        f"{_percent(share['student'])} of 100 cases; asked about other images, in {_percent(share['chance'])}.",
        f"That is {against} the same small network trained alone ({_percent(share['baseline'])} of 100).",
    ]
    if r2 is not None and r2 > 0:
        lines.append(f"Of what varies in the teacher's features, the student reproduces {_percent(r2)} % (R²).")
    if r2 is not None and r2 <= 0:
        lines.append("The teacher's features it does not reproduce: a constant would do as well (R² not above zero).")
    if len(teacher.cells) < FEW:
        lines.append(f"With {len(teacher.cells)} test images all of these shares are rough.")
    return lines


def in_short(found: Mapping[str, Score], chance: float, alike: str) -> list[str]:
    """What came out, in a few lines: for the screen, and the first words of the page.

    Args:
        found: See `scores`.
        chance: See `guessing`.
        alike: Whether the student looks where its teacher looks, the first sentence of `likeness`.
    """
    student, teacher, baseline = (found[role] for role in ("student", "teacher", "baseline"))
    return [
        f"The student, the small network, is right on {said(student)} of the test images; guessing: "
        f"{_percent(chance)} %.",
        f"Its teacher: {said(teacher)}; the same small network without a teacher: {said(baseline)}.",
        how_sure(student),
        alike,
    ]


def next_steps(found: Mapping[str, Score], images: ImageSet, study: str, run: str) -> list[str]:
    """What to do next, as markdown; what applies to these images comes first.

    Args:
        found: See `scores`.
        images: All splits.
        study: Its name.
        run: The student's.
    """
    low, high = found["student"].interval()
    train = images.labels[images.split == 0].bincount(minlength=len(images.classes))
    smallest, count = int(train.argmin()), int(train.min())
    steps = []
    if high - low > WIDE:
        steps.append("**More test images**, before two networks are compared: the interval above is wide.")
    if count < FEW:
        name = escape(class_text(images.classes[smallest]))
        steps.append(f"**More photographs to train on**: {name} has {count}, and {FEW} or more a class help most.")
    if found["student"].share < found["teacher"].share - 0.05:
        steps.append(
            f"**More passes**: the student is behind its teacher; double `joint_epochs` in `params/{study}.yaml`."
        )
    steps += [
        f"**Change something**: edit `params/{study}.yaml` and give the same command again; only what "
        "depends on it runs.",
        f"**Explain a photograph**: `make explain RUN=runs/{study}/{run} IMAGE=photo.jpg`.",
        "**Look at the prototypes above**: where they show background, cut the photographs to the object first.",
    ]
    return steps


def _percent(share: float) -> str:
    """A share in per cent; what is neither none nor all is not rounded to it."""
    value = 100 * share
    if 0 < value < 0.5:
        return "below 1"
    return f"{99.9 if 99.5 <= value < 100 else value:.{int(99.5 <= value < 100)}f}"


def _two(value: float) -> str:
    """Two digits that count, without an exponent."""
    return f"{float(f'{value:.2g}'):g}"
