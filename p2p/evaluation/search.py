"""A search for recipes, on validation images alone, with seeds that no published run has: `make search STUDY=…`.

`params/search/<study>.yaml` lists the trials; `results/search/<study>.csv` gets a row for each, as it is finished.
Nothing here reads a test image.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from p2p import metrics
from p2p.data.images import ImageSet, load_images
from p2p.device import choose_device
from p2p.errors import UserError, command
from p2p.evaluation.pairs import matched_pairs, same_number
from p2p.evaluation.runs import Trained, load_run, respond, top1
from p2p.files import project_path, run_lock, write_table
from p2p.networks import ProtoNet
from p2p.projection import same_source
from p2p.study.checksums import seal, sums_file
from p2p.study.params import Seed, Strict, TrainParams, check
from p2p.study.places import refuse_in_change
from p2p.study.reading import read_keys
from p2p.study.study import load_study
from p2p.study.triples import Control
from p2p.training.trainer import Trainer


class Search(Strict):
    """A file of `params/search/`: trials, each a change of a role's recipe in the study of the same name; one may have
    some of the seeds alone. Of the study's `alternatives` those named are tried as they are, teacher and all."""

    seeds: list[Seed] = Field(min_length=1)
    triple: str
    trials: list[Control]
    alternatives: list[str] = []


def load_search(path: Path) -> tuple[Search, dict[str, dict[str, TrainParams]]]:
    """The search, and its runs: teacher, baseline and student of the study with the search's seeds, then the trials.

    Args:
        path: Of the search; the study's file lies in the folder above.

    Returns:
        The search; under "" these runs by name, then under each alternative its own, without trials.

    Raises:
        UserError: No such file, or a wrong key, in one sentence; a seed is one of the study's own.
    """
    if not path.is_file():
        raise UserError(f"Search file {path} not found; expected the trials of a study (see params/search).")
    search = check(Search, read_keys(path), str(path))
    for one in search.trials:
        try:
            refuse_in_change(one.name, one.change)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    found = {}
    for use in ("", *search.alternatives):
        study = load_study(path.parents[1] / path.name, use, only="" if use else search.triple)
        taken = sorted(set(search.seeds) & set(study.seeds))
        if taken:
            raise UserError(f"{path}: seed {taken[0]} is one of the study's own; search with another.")
        triples = [triple.model_copy(update={"budget": {}, "seeds": []}) for triple in study.triples]
        first = dict([next(iter(study.variants.items()))])  # the student that trials change
        change: dict[str, Any] = {"study": f"{study.study}-search", "seeds": search.seeds}
        change |= {"triples": triples, "variants": first, "controls": [] if use else search.trials}
        found[use] = study.model_copy(update=change).runs()
    return search, found


def trial(params: TrainParams, images: ImageSet, place: Path, teacher: str) -> dict[str, Any]:
    """Train one network, or go on with it, and say what the validation images say.

    Args:
        params: Of the run.
        images: All splits; the test split is not read.
        place: Folder of the search's runs.
        teacher: The run whose answers PMS and the others compare with; its teacher's, or of a baseline the study's.

    Returns:
        A row of the table.
    """
    taught: Trained | None = load_run(place / params.teacher_run, images.pixels.device) if params.teacher_run else None
    network = taught.network if taught else None
    assert network is None or isinstance(network, ProtoNet)
    folder = place / params.run
    with run_lock(folder):
        trainer = Trainer(params, images, folder, network, taught.projection if taught else None)
        trainer.run()
    own, history = load_run(folder, images.pixels.device), trainer.history
    push, joint = (next(r for r in reversed(history) if r["phase"] == phase) for phase in ("push", "joint"))
    row = {
        "before push": joint["validation"],
        "after push": push["validation"],
        "tuned": history[-1]["validation"],
        "cross-entropy, before push": joint["validation_ce"],
        "cross-entropy, tuned": history[-1]["validation_ce"],
        "R², training": joint.get("r2"),
        "R²": joint.get("r2_validation"),
        "minutes": trainer.seconds / 60,
    }
    if params.run == teacher:
        return row
    other, held = load_run(place / teacher, images.pixels.device), images.subset("validation")
    if isinstance(own.network, ProtoNet) and isinstance(other.network, ProtoNet):
        (theirs,), (mine,) = respond(other.network, held.pixels), respond(own.network, held.pixels)
        row["PMS"] = metrics.pms(theirs, mine).value
        row["same number"] = same_number(matched_pairs(theirs, mine)[0])
        row["teacher's head"] = top1(mine, other.network.decision, held.labels, own.network.layer)
        assert other.projection is not None and own.projection is not None
        if len(other.projection.images) == len(own.projection.images):
            row["same source image"] = same_source(other.projection, own.projection, own.network.per_class).image
    return row


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Trials of a study's recipe, on validation images alone.")
    parser.add_argument("study", help="a file of params/search, without its ending")
    name = parser.parse_args(arguments).study
    search, runs = load_search(project_path("params") / "search" / f"{name}.yaml")
    first = next(iter(runs[""].values()))
    images = load_images(first, choose_device(first.device))
    trials, rows = {one.name: one for one in search.trials}, []
    out = project_path("results") / "search"
    sums_file(out, name).unlink(missing_ok=True)  # of an earlier time; this one's come when its last row is written
    for use, own in runs.items():
        teachers = {params.seed: params.run for params in reversed(own.values()) if params.role == "teacher"}
        for params in own.values():
            one = trials.get(params.variant) if params.role == "control" else None
            changed = json.dumps(one.change if one else {"use": use}) if one or use else ""
            what = {"seed": params.seed, "role": one.of if one else params.role, "changed": changed}
            place = project_path(params.runs) / params.study
            rows.append(what | trial(params, images, place, teachers[params.seed]))
            write_table(pd.DataFrame(rows), out / f"{name}.csv", 4)
            print(json.dumps(rows[-1]), flush=True)
    seal(out, name, [f"{name}.csv"])


if __name__ == "__main__":
    sys.exit(main())
