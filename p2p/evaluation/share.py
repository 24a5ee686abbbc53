"""A finished run with fewer prototypes, as a run of its own: `python -m p2p.evaluation.share RUN SHARE [--out …]`.

The prototypes that agree are merged (`p2p.sharing`) and the decision layer is tuned. What is written is a run's folder:
it can be loaded and explained like any other. It lies beside the run, so that a student's teacher is found.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields
from pathlib import Path

import pandas as pd

from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.errors import UserError, command
from p2p.evaluation.runs import MERGED, check_inputs, finish_run, load_run
from p2p.evaluation.sharing import look
from p2p.evaluation.sources import check_sources, folder_beside, load_prototypes, need_prototypes
from p2p.files import run_lock, write_table
from p2p.sharing import joined, share
from p2p.study.checksums import run_files, run_sums
from p2p.study.params import TrainParams, check
from p2p.study.provenance import provenance, write_json
from p2p.training.checkpoints import load_tensors, prefixed, save_tensors


def share_run(run: Path, percent: int, out: Path) -> dict[str, float]:
    """Merge the prototypes of a run and write what comes out as a run.

    Args:
        run: Its folder.
        percent: Prototypes left, 1 to 99.
        out: Folder to write, whose name is that of the new run.

    Returns:
        Accuracy on the test images by stage, as `p2p.evaluation.runs.finish_run` has it: "push" with the weights of
        before the tuning added, "tuned" with the decision layer tuned.

    Raises:
        UserError: There is no such run, it has no prototypes or is a tree, its images are gone or others, it is packed
            or merged already, or the folder holds something else.
    """
    began, trained = time.perf_counter(), load_prototypes(run)
    if trained.packed:
        raise UserError(f"{run} is a packed network, which comes without images to merge by; name a run of runs/.")
    if trained.params.decision != "linear":
        raise UserError(
            f"{run} decides by a {trained.params.decision}, whose prototypes cannot be merged; expected linear."
        )
    if not 1 <= percent <= 99:
        raise UserError(f"SHARE is {percent}; expected how many percent of the prototypes are to be left, 1 to 99.")
    tensors, _ = load_tensors(run / "network.safetensors")
    _, meta = load_tensors(run / "checkpoint.safetensors")
    if MERGED in tensors:
        raise UserError(f"The prototypes of {run} are merged already; name the run that they come from.")
    if (out / "run.json").exists() and not (out / "merged.json").exists():
        raise UserError(f"{out} holds another run; name a folder of its own (OUT=…).")
    device = choose_device(trained.params.device)
    images = load_images(trained.params, device)
    check_inputs([trained], images)
    check_sources(trained, images)
    params = check(TrainParams, {**trained.params.model_dump(), "run": out.name}, str(out))
    known = look(trained, images)
    into = known.into(percent)
    kept, network = into.unique(), share(need_prototypes(trained).cpu(), into)
    before, decision = trained.prototypes_before, trained.decision_before
    assert trained.projection is not None and before is not None and decision is not None
    network.decision.weight.data = known.tuned(into, trained.params)
    right = (known.held[:, kept] @ network.decision.weight.T).argmax(1)
    row = {"phase": "share", "epoch": 1, "validation": float((right == known.held_labels).double().mean())}
    stored = prefixed("network", network.state_dict()) | {MERGED: into}
    stored |= {
        "before_push.prototypes": before.cpu()[kept],
        "before_push.decision.weight": joined(decision.weight.detach().cpu(), into),
    }
    stored |= {
        f"projection.{one.name}": getattr(trained.projection, one.name)[kept] for one in fields(trained.projection)
    }
    with run_lock(out):
        meta |= {"params": params.model_dump(), "history": [*meta["history"], row]}
        save_tensors(out / "network.safetensors", stored)
        save_tensors(out / "checkpoint.safetensors", {"network.prototypes": network.prototypes}, meta)
        beside = folder_beside(run, params.teacher_run)
        taught = need_prototypes(load_run(beside, device)) if beside else None
        outcome = finish_run(out, images, taught)
        write_table(pd.DataFrame(meta["history"]), out / "history.csv")
        seen = int((images.split < 2).sum()) + 2 * int((images.split == 2).sum())
        inputs = {"images": images.source, "weights": trained.weights}
        record = provenance(params, device, time.perf_counter() - began, seen) | {"inputs": inputs}
        whole = {"provenance": record, "outcome": outcome, "parameters": params.model_dump(), "inputs": inputs}
        write_json(out / "merged.json", {"run": trained.params.run, "share": percent, "into": into.tolist()})
        write_json(out / "run.json", whole | {"files": run_sums(out, run_files(params.model))})
    return outcome["top1"]


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Merge the prototypes of a trained network that agree.")
    parser.add_argument("run", help="folder of a finished run, runs/<study>/<run>")
    parser.add_argument("share", help="prototypes that are left, in percent")
    parser.add_argument("--out", help="folder to write (default: <run>-share<share>, beside the run)")
    given = parser.parse_args(arguments)
    if not given.run or not given.share.isdigit():
        raise UserError("Name a run and the percent of its prototypes that are left: RUN=runs/<study>/<run> SHARE=40.")
    run, percent = Path(given.run), int(given.share)
    out = Path(given.out) if given.out else run.parent / f"{run.name}-share{percent}"
    found = share_run(run, percent, out)
    print(f"Written to {out}: test accuracy {found['tuned']:.3f}. To explain an image: make explain RUN={out} IMAGE=…")


if __name__ == "__main__":
    sys.exit(main())
