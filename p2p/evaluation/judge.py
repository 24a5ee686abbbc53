"""`make judge`: all that is known of the metrics themselves, as rows of `results/audit/metrics.csv`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from p2p.errors import UserError, command
from p2p.evaluation.judged import COLUMNS, PLACE, rows_of
from p2p.evaluation.judged_maps import rows_of_networks
from p2p.evaluation.kept import read_kept
from p2p.files import project_path, write_table
from p2p.study.checksums import seal
from p2p.study.page_params import QuestionParams
from p2p.study.provenance import provenance, write_json
from p2p.study.study import Study, load_study


def judge(results: Path, studies: Sequence[Study], networks: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Judge the metrics on every triple and seed whose answers are kept, and on packed networks.

    Args:
        results: Folder of the results.
        studies: Those that may have any.
        networks: Folder of the packed networks of one of them.

    Returns:
        A row a measure (`COLUMNS`); and the files of answers that were read.

    Raises:
        UserError: No study has answers.
    """
    rows, read = [], list[Path]()
    for study in studies:
        for one in study.evaluations().values():
            runs = {
                "teacher": one.teacher_run,
                "student": next(iter(one.student_runs.values())),
                "baseline": one.baseline_run,
            }
            files = {role: results / study.study / "answers" / f"{run}.npz" for role, run in runs.items()}
            if all(file.is_file() for file in files.values()):
                kept = {role: read_kept(file) for role, file in files.items()}
                read += files.values()
                teacher = kept.pop("teacher")
                rows += [(study.study, one.triple, one.seed, *row) for row in rows_of(teacher, kept, one.seed)]
    rows += rows_of_networks(networks)
    if not rows:
        raise UserError(f"No study in {results} has kept answers; run one first (make study).")
    return pd.DataFrame(rows, columns=list(COLUMNS)), read


@command
def main(arguments: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=str(__doc__).split(":")[0]).parse_args(arguments)
    params, began = QuestionParams(), time.perf_counter()
    results = project_path(params.results)
    files = sorted(project_path("params").glob("*.yaml"))
    studies = [load_study(file) for file in files if file.stem != "quick"]  # two seeds judge nothing
    rows, read = judge(results, studies, project_path(params.networks))
    write_table(rows, results / PLACE / "metrics.csv", 5)
    write_json(results / PLACE / "metrics.json", provenance(params, torch.device("cpu"), time.perf_counter() - began))
    answers = [f"../{file.relative_to(results).as_posix()}" for file in read]  # so that `outdated` knows them
    seal(results / PLACE, "judge", ["metrics.csv", "metrics.json", *answers])
    print(f"{len(rows)} rows in {results / PLACE / 'metrics.csv'}")


if __name__ == "__main__":
    sys.exit(main())
