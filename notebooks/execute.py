"""Run one notebook with parameters, or check or sum up a study file.

    python notebooks/execute.py NOTEBOOK.py OUT.ipynb --parameters '{"key": value}' [--threads N] [--gpu]
    python notebooks/execute.py --check params/quick.yaml [--use ALTERNATIVE] [--only TRIPLE] [--rehearse] [--elsewhere] [--prepare]
    python notebooks/execute.py --summary params/quick.yaml [--use ALTERNATIVE] [--only TRIPLE] [--rehearse]
    python notebooks/execute.py --schema

The executed notebook appears at OUT only when it ran to its end; a failed one is left in runs/failed/ for reading.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from p2p.errors import UserError, command
from p2p.files import atomic_path, cannot_write, run_lock
from p2p.study import explain_params, page_params, params, share_params, speed_params
from p2p.study.checksums import add_notebook, check_file, sums_file
from p2p.study.jobs import VARIABLE, job, started_again
from p2p.study.own import keep_from_git
from p2p.study.params import near_names
from p2p.study.remedy import fitting
from p2p.study.schema import schema
from p2p.study.study import Study, load_study

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = (params, page_params, share_params, speed_params, explain_params)  # where the models of notebooks are
ROOM = 256 * 1024  # bytes that a folder must take before anything runs: less fills up within the first step
# jsonschema, which nbformat imports, would build this grammar of web addresses, half of what papermill's import costs,
# and does without if it is not there.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
BAR = re.compile(r"\d%\|.*\| (\d+/\d+) \[(.*?)\]")  # the progress line of a training, see p2p.training.progress


def execute(
    source: Path,
    out: Path,
    parameters: dict[str, object],
    threads: int,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Convert a py:percent source, run it with papermill, and move the result into place.

    Args:
        source: The notebook.
        out: Its executed copy.
        parameters: Its parameters.
        threads: Of the kernel.
        progress: Gets the last values of a training's progress line.

    Raises:
        UserError: What the notebook raised as such, in its one sentence.
        papermill.PapermillExecutionError: Any other failure.
    """
    import jupytext
    import nbformat
    import papermill
    from traitlets.config import Config

    notebook = jupytext.read(source)
    known = parameter_names(notebook)
    for key in parameters:
        if key not in known:
            expected = ", ".join(near_names(key, known))
            raise UserError(f"{source.name} has no parameter '{key}'; expected one of {expected}.")
    # A parameters cell shows some of the keys; that the others have been checked above, papermill cannot know.
    logging.getLogger("papermill").addFilter(lambda record: "Passed unknown parameter" not in record.getMessage())
    # Whoever reads a training's progress elsewhere needs no line of it in the log for every epoch.
    watched = VARIABLE in os.environ
    logging.getLogger("papermill").addFilter(lambda line: not (pass_on(line.getMessage(), progress) and watched))
    # The native kernel inherits this environment: threads of one job, and a path that finds p2p from any folder.
    os.environ |= {"OMP_NUM_THREADS": str(threads), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    partial = ROOT / "runs" / "failed" / out.parent.name / out.name
    plain = partial.with_suffix(".input.ipynb")
    sums_file(out.parent, out.stem).unlink(missing_ok=True)  # of an earlier time; the notebook or its end write others
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, plain)
        started_again(
            lambda: papermill.execute_notebook(
                str(plain),
                str(partial),
                parameters,
                kernel_name="python3",
                cwd=str(ROOT),
                log_output=True,
                progress_bar=False,
                config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # others use the machine too
            )
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(error.evalue) from None
        raise
    except OSError as error:  # a full or read-only disk; where the step met it first, its own sentence says more
        raise told_by_step(error) or cannot_write(partial, error) from None
    finally:
        with suppress(OSError):
            plain.unlink(missing_ok=True)
    done = nbformat.read(partial, as_version=4)
    done.metadata.pop("papermill", None)  # machine paths and times of no interest to a reader
    for cell in done.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":  # progress bars and warnings of libraries, with this machine's paths
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    with atomic_path(out) as temporary:
        nbformat.write(done, temporary)
    add_notebook(out.parent, out.stem)
    partial.unlink()


def told_by_step(error: BaseException) -> UserError | None:
    """What the notebook raised, if papermill could not write it down and raised `error` instead."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "ename", "") == "UserError":
            return UserError(getattr(cause, "evalue", ""))
        cause = cause.__context__
    return None


def pass_on(text: str, progress: Callable[[str], None]) -> bool:
    """Give the last progress line of a kernel's output to `progress`; whether it holds such lines and nothing else."""
    bars = BAR.findall(text)
    if bars:
        done, rest = bars[-1]
        told = dict(pair.split("=", 1) for pair in rest.split(", ") if "=" in pair)
        left = f"{told['left']} left" if "left" in told else ""
        progress(", ".join(filter(None, (done, told.get("phase"), told.get("validation"), left))))
    return bool(bars) and not re.sub(r"[^\r\n]*%\|[^\r\n]*", "", text).strip()


@contextmanager
def gpu_slot(folder: Path) -> Iterator[None]:
    """Show the kernel one GPU, so that parallel runs use all that there are; wait while every slot is taken.

    A slot is a file lock in `folder`, one for each of RUNS_PER_GPU runs on each of GPUS (the Makefile's variables); it
    dies with its process. Where a scheduler or the user has set CUDA_VISIBLE_DEVICES, that stands.
    """
    gpus, runs = (int(os.environ.get(name) or default) for name, default in (("GPUS", 0), ("RUNS_PER_GPU", 1)))
    if gpus < 2 or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    slots = [(gpu, FileLock(folder / f"{gpu}-{run}")) for run in range(runs) for gpu in range(gpus)]  # spread first
    while True:
        for gpu, lock in slots:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
                yield
            finally:
                del os.environ["CUDA_VISIBLE_DEVICES"]
                lock.release()
            return
        time.sleep(1)


def parameter_names(notebook: Any) -> set[str]:
    """The keys that a notebook takes: the fields of the model that it hands to `from_namespace`.

    A notebook that calls it with no model of `p2p.study` takes what its cell tagged `parameters` assigns.
    """
    code = {cell.source: cell.metadata.get("tags", []) for cell in notebook.cells if cell.cell_type == "code"}
    assigned: set[str] = set()
    for source, tags in code.items():
        try:
            tree = ast.parse(source)
        except SyntaxError:  # a magic command, or a mistake that the kernel will name
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "from_namespace":
                name = ast.unparse(node.args[0]).split(".")[-1] if node.args else ""
                model = next((getattr(place, name) for place in PARAMETERS if hasattr(place, name)), None)
                if model is not None:
                    return set(model.model_fields)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and "parameters" in tags:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                assigned |= {target.id for target in targets if isinstance(target, ast.Name)}
    return assigned


def prepare(study: Study, root: Path = ROOT) -> list[str]:
    """Make a study ready to go on: folders that can be written, damaged files taken away.

    Returns:
        What was damaged, and which inputs have changed since, in sentences.

    Raises:
        UserError: A folder cannot be written, the disk is full, or another call runs this study.
    """
    from p2p.data.source import images_digest
    from p2p.evaluation.mending import changed_inputs, mend_results, mend_runs

    name, runs = study.study, study.runs()
    place, out = root / "runs" / name, root / "results" / name
    for folder in (place, root / "runs" / "failed" / name, out, root / ".snakemake", root / "book" / "_build"):
        try:
            with atomic_path(folder / ".room") as temporary:
                temporary.write_bytes(b"." * ROOM)
        except UserError as error:
            raise fitting(error) from error.__cause__
        (folder / ".room").unlink(missing_ok=True)
    if study.private:
        keep_from_git(out)
    steps = ["01_data", *(f"02_train-{run}" for run in runs), *(f"03_evaluate-{e}" for e in study.evaluations())]
    steps += ["12_own"] if study.private else sorted(p.stem for p in (root / "notebooks").glob("0[4-8]_*.py"))
    steps += ["14_explorer"] if study.explorer else []
    with run_lock(place, "Study folder"):  # what another call is about to write looks like damage
        said = mend_runs(runs, place) + mend_results(out, steps)
    return said + changed_inputs(runs, place, images_digest(study.data_params()))


def summary(study: Study) -> str:
    """Where the book is, and the main table; of one's own images what came out, in words."""
    file = check_file(ROOT / "results" / study.study, "summary.txt" if study.private else "table.md")
    told, built = file.read_text(encoding="utf-8").strip(), ROOT / "book" / "_build"
    page = (built / f"own-{study.study}" if study.private else built) / "html" / "index.html"
    where = "The pages" if study.private else "The book"
    return f"\n{study.title}\n\n{told}\n\n{where}: {page.as_uri()}\n"


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", nargs="?", type=Path)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--parameters", default="{}", type=json.loads)
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--gpu", action="store_true", help="take one of this machine's GPUs for as long as it runs")
    parser.add_argument("--check", type=Path)
    parser.add_argument("--prepare", action="store_true", help="and take damaged files away, to be made again")
    parser.add_argument("--summary", type=Path)
    parser.add_argument("--schema", action="store_true", help="the JSON schema of a study file")
    parser.add_argument("--use", default="", help="an alternative set of triples of the study")
    parser.add_argument("--only", default="", help="one triple of the study, the others left out")
    parser.add_argument("--rehearse", action="store_true", help="the study at a size of seconds")
    parser.add_argument(
        "--elsewhere", action="store_true", help="check for other machines: not this one's device, memory"
    )
    given = parser.parse_args()
    if given.check:
        from p2p.data.conversions import skipping
        from p2p.training.preflight import preflight  # PyTorch comes with it, which no other use needs to wait for

        study = load_study(given.check, given.use, given.rehearse, given.only)
        with skipping(study.data_params()):
            preflight(study, given.rehearse, given.elsewhere)
        for sentence in prepare(study) if given.prepare else []:
            print(sentence, file=sys.stderr)
    elif given.summary:
        print(summary(load_study(given.summary, given.use, given.rehearse, given.only)))
    elif given.schema:
        print(json.dumps(schema(), indent=2))
    elif given.notebook and given.out:
        shared = given.gpu and given.parameters.get("device", "auto") == "auto"
        slot = gpu_slot(ROOT / "runs" / ".gpu" / platform.node()) if shared else nullcontext()
        with slot, job(given.out.stem) as progress:
            execute(given.notebook, given.out, given.parameters, given.threads, progress)
    else:
        parser.error("give a notebook and where its executed copy goes, or --check, or --summary")


if __name__ == "__main__":
    sys.exit(main())
