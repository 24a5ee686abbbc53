"""What the page "Speed" measures, part by part: a row for each work, shape and peer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import cabrnet_peer, end_to_end, inputs, stages, steps
from benchmarks.summary import PARTS, merge, targets
from benchmarks.tables import race_target, recipe_costs
from benchmarks.timing import OURS, Row, describe
from p2p.data.images import load_images
from p2p.evaluation.results import study_facts
from p2p.files import write_table
from p2p.study.checksums import check_file, seal
from p2p.study.params import TrainParams
from p2p.study.provenance import write_json
from p2p.study.speed_params import SpeedParams

KEPT = ("speed.csv", "objectives.json", "end_to_end.csv", "provenance.json")  # what a part left out has in them stays
ADVICE = "restore it, or measure all parts again (make speed)"


@dataclass(frozen=True)
class Measured:
    """What the page shows: what was measured just now, and of parts left out what was measured before.

    Attributes:
        frame: `speed.csv`, columns as `benchmarks.timing.COLUMNS`.
        wanted: work: the ratio to reach against the fastest peer.
        where: The machine.
        scores: contender: objective of the decision layer; empty if it was never measured.
        points: who, seconds, accuracy, stage of the race end to end.
        target: Its best accuracy of a peer; None where no peer has a point.
        costs: A row a run of the study of recipes, see `benchmarks.tables.recipe_costs`; None without that study.
        passes: A row an epoch of the same runs.
    """

    frame: pd.DataFrame
    wanted: dict[str, float]
    where: str
    scores: dict[str, float]
    points: pd.DataFrame
    target: float | None
    costs: pd.DataFrame | None
    passes: pd.DataFrame | None


def measure_page(params: SpeedParams, device: torch.device, out: Path) -> Measured:
    """Measure what `params.parts` names; write `speed.csv` and `study.json`; read what was measured before.

    Args:
        params: Of the page.
        device: Everything runs on.
        out: Folder of the results.

    Raises:
        UserError: Parts are left out, and a file that holds them is damaged.
    """
    for name in KEPT if set(PARTS) - set(params.parts) else ():
        if (out / name).is_file():
            check_file(out, name, ADVICE)
    frame = merge(measure(params, device, out), out / "speed.csv", list(params.parts))
    write_table(frame, out / "speed.csv", 6)
    write_json(out / "study.json", study_facts(params))
    scores, race = out / "objectives.json", out / "end_to_end.csv"
    points = pd.read_csv(race) if race.is_file() else pd.DataFrame(columns=["who", "seconds", "accuracy", "stage"])
    best = race_target(points)
    recipes, costs, passes = out.parent / params.recipes_study, None, None
    if (recipes / "passes.csv").is_file():
        costs, passes = recipe_costs(pd.read_csv(recipes / "costs.csv")), pd.read_csv(recipes / "passes.csv")
        passes = passes[passes["network"].isin(costs["network"])]
    kept = json.loads(scores.read_text()) if scores.is_file() else {}
    where = frame["device"].iloc[0] if len(frame) else describe(device)
    return Measured(
        frame, targets(device.type == "cuda"), where, kept, points, best if best == best else None, costs, passes
    )


def keep_records(out: Path, parts: Sequence[str], record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Write down the provenance of the parts just measured beside that of the others; part: its record."""
    kept = out / "provenance.json"
    records = json.loads(kept.read_text()) if kept.is_file() else {}
    records |= {part: record for part in parts}
    write_json(kept, records)
    return records


def seal_page(out: Path) -> None:
    """Write the checksums of the page's files, those that there are."""
    seal(out, "09_speed", [name for name in (*KEPT, "study.json", "findings.md") if (out / name).is_file()])


def measure(params: SpeedParams, device: torch.device, out: Path) -> list[Row]:
    """All parts that `params.parts` names, in the order of the page.

    Writes `objectives.json` with the part "decision", `end_to_end.csv` with the part "end_to_end"; the last is left out
    where CaBRNet is missing.

    Args:
        params: Of the page.
        device: Everything runs on.
        out: Folder of the results.

    Returns:
        Columns as `benchmarks.timing.COLUMNS`.
    """
    recipe, short = inputs.recipe(params), inputs.recipe(params, params.short_changes)  # a mistake in them comes first
    rows: list[Row] = []
    if "steps" in params.parts:
        rows += step_rows(params, device)
    if "push" in params.parts:
        rows += push_rows(params, recipe, device)
    if "decision" in params.parts:
        found, scores = decision_rows(params, recipe, device)
        rows += found
        write_json(out / "objectives.json", scores)
    if "metrics" in params.parts:
        sample = (params.sample_images, params.sample_pairs)
        shape = (params.metric_images, params.metric_prototypes, params.grid)
        rows += stages.metric_rows(*shape, sample, params.metric_repeats)
    if "end_to_end" in params.parts and not cabrnet_peer.missing():
        found, points = race_rows(params, recipe, short, device)
        rows += found
        write_table(points, out / "end_to_end.csv", 6)
    return rows


def step_rows(params: SpeedParams, device: torch.device) -> list[Row]:
    """Training step, inference and the trunk alone, for each trunk."""
    layers = (params.classes, params.prototypes_per_class, params.prototype_depth)
    shape = steps.Shape(*layers, params.size, params.grid, params.batch_size)
    rows: list[Row] = []
    for trunk in params.trunks:
        for work in (steps.training_step, steps.inference):
            rows += work(trunk, shape, params.steps, params.repeats, device)
        rows += steps.trunk_alone(trunk, shape, params.steps, (params.repeats + 1) // 2, device)
    teacher, student = params.taught
    rows += steps.distillation_step(teacher, student, shape, params.passes_per_copy, params.repeats, device)
    return rows


def push_rows(params: SpeedParams, recipe: TrainParams, device: torch.device) -> list[Row]:
    """The push and its search alone, for each number of classes."""
    rows: list[Row] = []
    for count in params.push_classes:
        pixels, labels = inputs.photographs(recipe, count, params.push_images, device)
        network = inputs.network(recipe, count, pixels, labels, patches=False)
        rows += stages.pushes(network, recipe.network, pixels, labels, params.push_repeats, device)
    return rows


def decision_rows(params: SpeedParams, recipe: TrainParams, device: torch.device) -> tuple[list[Row], dict[str, float]]:
    """The decision layer, and the objective that each contender reaches."""
    count = params.push_classes[0]
    pixels, labels = inputs.photographs(recipe, count, params.decision_images, device)
    network = inputs.network(recipe, count, pixels, labels, patches=True)
    rounds = (params.decision_repeats, params.decision_iterations)
    return stages.decisions(network, recipe.network, pixels, labels, *rounds, device)


def race_rows(
    params: SpeedParams, recipe: TrainParams, short: TrainParams, device: torch.device
) -> tuple[list[Row], pd.DataFrame]:
    """Two runs of ours and one of CaBRNet's, end to end; and their points: who, seconds, accuracy, stage."""
    images = load_images(recipe, device)
    race = {
        OURS: end_to_end.ours(recipe, images),
        end_to_end.SHORT: end_to_end.ours(short, images),
        steps.CABRNET: end_to_end.cabrnet(recipe, images, params.cap_seconds, params.copies),
    }
    points = pd.DataFrame([{"who": who, **point._asdict()} for who, found in race.items() for point in found])
    return end_to_end.rows(race, recipe, images, device), points
