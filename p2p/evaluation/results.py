"""The result files of a study: evaluations and records of runs read and joined, and what is written from them.

`metrics.csv` and each file of `evaluations/` have the columns of `p2p.evaluation.rows.COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from p2p.errors import UserError, reason
from p2p.evaluation.rows import COLUMNS
from p2p.files import read_json, write_table
from p2p.study.checksums import ADVICE, check_file
from p2p.study.page_params import PageParams
from p2p.study.provenance import write_json

if TYPE_CHECKING:
    from p2p.study.speed_params import SpeedParams

FINISH = "finish this run again (make study)"

# ------------------------------------------------------------------------------------------------------ metric rows


def read_evaluations(out: Path, names: Iterable[str]) -> pd.DataFrame:
    """The metric rows of several evaluations, one after the other.

    Args:
        out: Folder of the study's results.
        names: <triple>-s<seed>.

    Returns:
        Columns as `p2p.evaluation.rows.COLUMNS`.

    Raises:
        UserError: One of them has not been run, or is damaged.
    """
    files = [f"evaluations/{name}.csv" for name in names]
    missing = [Path(file).name for file in files if not (out / file).is_file()]
    if missing:
        raise UserError(f"Evaluation {missing[0]} of study '{out.name}' is not there; run it first (make study).")
    return pd.concat([_metric_rows(check_file(out, file)) for file in files], ignore_index=True)


def _metric_rows(path: Path) -> pd.DataFrame:
    """One evaluation; damage shows in its columns, and in the last row where the rest of the file is gone."""
    frame = read_csv(path)
    if list(frame) != COLUMNS or frame.empty or frame[["study", "metric", "seed", "value"]].isna().any(axis=None):
        raise UserError(f"{path} is damaged, a column or a value is missing; {ADVICE}.")
    return frame


def read_csv(path: Path) -> pd.DataFrame:
    """A result file of rows.

    Raises:
        UserError: It is empty or damaged.
    """
    try:
        return pd.read_csv(path)
    except ValueError as error:  # pandas' own kinds, and a byte that is no text
        raise UserError(f"{path} is damaged ({reason(error)}); {ADVICE}.") from error


# ---------------------------------------------------------------------------------------------------------- records


def run_records(names: Iterable[str], place: Path, out: Path) -> dict[str, dict[str, Any]]:
    """The provenance of each run.

    A committed study's runs may lie on another machine: then their records are those that `provenance.json` got when
    they were there.

    Args:
        names: Of the runs.
        place: Folder of the study's runs.
        out: Folder of its results.

    Raises:
        UserError: A run of which there is neither, or a damaged file.
    """
    names = list(names)
    files = {name: place / name / "run.json" for name in names}
    before = {}
    if (out / "provenance.json").is_file() and not all(file.is_file() for file in files.values()):
        before = read_json(check_file(out, "provenance.json"), ADVICE)["runs"]
    records = {}
    for name, file in files.items():
        if not file.is_file() and name not in before:
            raise UserError(f"Run '{name}' of study '{out.name}' is not finished; train it first (make study).")
        records[name] = read_json(file, FINISH)["provenance"] if file.is_file() else before[name]
    return records


def study_facts(params: PageParams | SpeedParams) -> dict[str, Any]:
    """What the book's front page needs to know of a study: the keys of `study.json` that come from the parameters."""
    return {key: getattr(params, key) for key in ("study", "title", "order", "intro", "images")}


def write_study(out: Path, params: PageParams, frame: pd.DataFrame, runs: dict[str, dict[str, Any]]) -> None:
    """Write `metrics.csv`, `provenance.json` (records of runs and evaluations) and `study.json`.

    Args:
        out: Folder of the study's results.
        params: Of the page.
        frame: As `read_evaluations` gives it.
        runs: As `run_records` gives them.
    """
    files = {name: check_file(out, f"evaluations/{name}.json") for name in params.evaluations}
    records = {name: read_json(file, ADVICE) for name, file in files.items()}
    write_table(frame, out / "metrics.csv")
    write_json(out / "provenance.json", {"runs": runs, "evaluations": records})
    facts = study_facts(params) | {"variant": params.variant, "controls": params.controls}
    facts |= {"variants": params.variants, "compares": params.compares} if params.variants else {}
    write_json(out / "study.json", facts | {"runs": [*runs, *params.evaluations]})


# ------------------------------------------------------------------------------------------------------------- costs


def write_costs(names: Iterable[str], place: Path, out: Path) -> pd.DataFrame:
    """What each run cost: `costs.csv`, from the runs that are there, or as it was written when they were.

    Args:
        names: Of the runs; those that are not finished are left out.
        place: Folder of the study's runs.
        out: Folder of its results.

    Returns:
        A row a run: run, network, role, variant, seed, image_passes, teacher_passes, hours, device, validation, test.

    Raises:
        UserError: Neither runs nor file.
    """
    costs = []
    for name in names:
        file = place / name / "run.json"
        if not file.is_file():
            continue
        run = read_json(file, FINISH)
        if run["parameters"]["role"] == "budget":
            continue  # their place is the budget figure
        who = {"run": name} | {key: run["parameters"][key] for key in ("network", "role", "variant", "seed")}
        cost = {key: run["provenance"][key] for key in ("image_passes", "teacher_passes", "hours", "device")}
        outcome = run["outcome"]
        costs.append({**who, **cost, "validation": outcome["validation"], "test": outcome["top1"]["tuned"]})
    file = out / "costs.csv"
    if costs:
        write_table(pd.DataFrame(costs), file, 6)
    elif not file.is_file():
        raise UserError(f"No run of study '{out.name}' is finished; train one first (make study).")
    return read_csv(file if costs else check_file(out, file.name))
