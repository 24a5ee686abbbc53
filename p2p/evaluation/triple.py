"""One triple of one seed: the stored answers of its runs read, all its metrics as one frame, and its tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from p2p import metrics
from p2p.data.images import ImageSet
from p2p.errors import UserError
from p2p.evaluation import same_places
from p2p.evaluation.measure import ALWAYS, Answer, half_rows, level_rows, own_rows, transfer_rows
from p2p.evaluation.on_object import object_rows
from p2p.evaluation.rows import COLUMNS, network_names, without_threshold
from p2p.evaluation.runs import check_inputs, load_run, respond
from p2p.evaluation.same_parts import NAMES, OWN_HEADS, SHARED_HEADS, Level, part_rows, read_truth
from p2p.files import read_json
from p2p.networks import ProtoNet
from p2p.responses import ResponseTable
from p2p.study.pages import numbers
from p2p.study.params import EvaluateParams
from p2p.training.build import build_network

TABLES = {"pre_push": "responses_pre_push.safetensors", "tuned": "responses.safetensors"}


def read_answer(place: Path, role: str, variant: str, run: str) -> Answer:
    """A finished run with its response tables.

    Args:
        place: Folder of the study's runs.
        role: teacher, baseline, student or control.
        variant: As in the result files.
        run: Its name.

    Raises:
        UserError: It is not finished, or one of its files is missing or damaged.
    """
    folder = place / run
    if not (folder / "run.json").is_file():
        raise UserError(f"Run '{run}' of study '{place.name}' is not finished; train it first (make study).")
    outcome = read_json(folder / "run.json", f"finish run '{run}' again (make study)")["outcome"]
    trained = load_run(folder)
    proto = isinstance(trained.network, ProtoNet)  # only such a network has tables, and it has all of them
    tables = {stage: ResponseTable.load(folder / file) for stage, file in TABLES.items()} if proto else {}
    return Answer(role, variant, outcome, tables, trained)


def read_triple(params: EvaluateParams, place: Path) -> list[Answer]:
    """Teacher, baseline, students, controls and other budgets, in this order; the first student is the third."""
    wanted = [("teacher", "paper", params.teacher_run), ("baseline", "paper", params.baseline_run)]
    wanted += [("student", variant, run) for variant, run in params.student_runs.items()]
    wanted += [("control", variant, run) for variant, run in params.control_runs.items()]
    wanted += [("budget", variant, run) for variant, run in params.budget_runs.items()]
    return [read_answer(place, *one) for one in wanted]


def check_images(answers: list[Answer], images: ImageSet) -> None:
    """Refuse networks that cannot be compared (see `check_inputs`), or whose answers are to other images.

    Args:
        answers: As `read_triple` gives them.
        images: All splits.

    Raises:
        UserError: As `check_inputs`, or another number of test images.
    """
    check_inputs([answer.trained for answer in answers], images)
    count = len(images.subset("test"))
    for answer in answers:
        for table in answer.tables.values():
            if len(table.cells) != count:
                raise UserError(
                    f"Run '{answer.trained.params.run}' answered to {len(table.cells)} test images, the data keys here "
                    f"give {count}; use the data keys of its study."
                )


def measure_triple(
    params: EvaluateParams, place: Path, answers: list[Answer], known: ImageSet, device: torch.device
) -> pd.DataFrame:
    """All metrics of a triple: of each network, of each against the teacher, and of networks it never taught; and where
    on the images the object is known, how much of what a person is shown lies on it, and which parts are meant; and
    what they say when cells are hidden.

    Args:
        params: Of the evaluation.
        place: Folder of the study's runs, for the second teacher's.
        answers: As `read_triple` gives them.
        known: All splits.
        device: Where the random network of the floor answers, and all to images whose cells are hidden.

    Returns:
        Columns as `p2p.evaluation.rows.COLUMNS`; tau is "" for a metric without a threshold.
    """
    teacher, *others = answers
    quarter, images = teacher.run["tau_quarter"], known.subset("test")
    rows = [*own_rows(teacher, quarter)]
    rows.append(("teacher", "paper", "tuned", "validation_images", ALWAYS, float((known.split == 1).sum())))
    for answer in answers:
        rows += object_rows(answer, known)
    for other in others:
        rows += own_rows(other, quarter)
        if other.tables:
            rows += transfer_rows(other, teacher, images.labels, params.ajs_empty, params.seed)
            if any(one.trained.params.taught_classes == "half" for one in others):
                rows += half_rows(other, teacher, images.labels.cpu(), len(images.classes), params.seed)
    student = next(other for other in others if other.role == "student").trained.params
    random = build_network(student.model_copy(update={"weights": "none"}), len(images.classes)).to(device)
    assert isinstance(random, ProtoNet)  # a student always has prototypes
    (floor,) = respond(random, images.pixels, batch_size=student.batch_size)
    rows += level_rows("control", "random", "floor", teacher, floor, params.ajs_empty)
    levels = [Level(("control", "random"), "_floor", random, floor)]
    if params.second_teacher_run:
        other = read_answer(place, "teacher", "paper", params.second_teacher_run)
        check_inputs([other.trained], images)
        second = other.tables["tuned"]
        rows += level_rows("teacher", "other seed", "second_teacher", teacher, second, params.ajs_empty)
        assert isinstance(other.trained.network, ProtoNet)  # it has a response table
        levels.append(Level(("teacher", "other seed"), "_second_teacher", other.trained.network, second))
    truth = read_truth(images, floor.grid, params, params.seed)
    if truth is not None:
        rows += part_rows(answers, levels, truth, params.seed)
    rows += same_places.place_rows(answers, levels, images, params.seed, device)
    frame = pd.DataFrame(rows, columns=["role", "variant", "stage", "metric", "tau", "value"])
    return frame.assign(study=params.study, triple=params.triple, seed=params.seed)[COLUMNS]


def triple_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and every metric that is shown (τ = ∞), of every network of one seed.

    Args:
        frame: Metric rows of one triple and seed.

    Returns:
        network, top-1, AAP, AJS, "AJS, permuted", PMS, "PMS, permuted", …; columns of metrics that no network has are
        left out.
    """
    top = without_threshold(frame[frame["role"] != "budget"])
    wide = top.pivot_table(index=["role", "variant"], columns="metric", values="value", sort=False)
    heads = {"top1": "top-1"} | {metric.name: metric.label for metric in metrics.OF_ONE if metric.shown}
    for metric in metrics.OF_TWO:
        if metric.shown:
            heads |= {metric.name: metric.label, f"{metric.name}_permuted": f"{metric.label}, permuted"}
    wide = wide.loc[wide["top1"].notna(), [name for name in heads if name in wide]].rename(columns=heads).reset_index()
    wide.insert(0, "network", network_names(wide))
    return numbers(wide.drop(columns=["role", "variant"]))


def level_table(frame: pd.DataFrame) -> pd.DataFrame:
    """What a random network (floor) and a second teacher reach: level, and a column for each metric.

    Args:
        frame: Metric rows of one triple and seed.
    """
    top = without_threshold(frame)
    parts = top["metric"].str.extract("^(.*)_(floor|second_teacher)$")
    rows = top.assign(metric=parts[0], level=parts[1].str.replace("_", " ")).dropna(subset="level")
    rows = rows[~rows["metric"].isin([*NAMES, *same_places.NAMES])]  # the parts' have their own, see `triple_parts`
    return numbers(rows.pivot_table(index="level", columns="metric", values="value", sort=False).reset_index())


def triple_parts(frame: pd.DataFrame) -> pd.DataFrame:
    """The measures of every network of one evaluation, three digits; empty where parts are not known.

    Args:
        frame: Metric rows of one triple and seed.
    """
    top = without_threshold(frame)
    heads = {**SHARED_HEADS, **OWN_HEADS}
    rows = top[top["metric"].isin(heads)]
    if rows.empty:
        return pd.DataFrame()
    wide = rows.assign(network=network_names(rows)).pivot_table(
        index="network", columns="metric", values="value", sort=False
    )
    return numbers(wide[[name for name in heads if name in wide]].rename(columns=heads).reset_index())
