"""Trained networks to begin with: `python -m p2p.evaluation.pack params/birds.yaml [ROLE …]` fills `networks/<study>`.

Packed are the final networks of a study's first seed, each into a folder that `p2p.evaluation.runs.load_run` reads like
a run's, see `p2p.evaluation.packed`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from p2p.data.images import ImageSet, load_images
from p2p.device import choose_device
from p2p.errors import UserError, command
from p2p.evaluation import packed
from p2p.evaluation.card import card, metric_table
from p2p.evaluation.explainer import usual_distance
from p2p.evaluation.results import FINISH, read_csv
from p2p.evaluation.runs import Trained, check_inputs, load_run
from p2p.evaluation.sources import need_prototypes, source_patches
from p2p.files import cannot_write, project_path, read_json, write_atomic
from p2p.networks import Pixels, ProtoNet
from p2p.projection import projection_error
from p2p.study.checksums import check_file
from p2p.study.provenance import COMMIT, write_json
from p2p.study.study import Study, load_study, plain
from p2p.training.checkpoints import digest, prefixed, save_tensors

ROLES = ("teacher", "baseline", "student")
LARGEST, ALL = 6_000_000, 25_000_000  # bytes of a packed network, and of all that lie in `networks`
Stored = Callable[[dict[str, Tensor]], dict[str, Tensor]]
PRECISIONS: dict[str, Stored] = {"half": packed.half, "single": dict}  # the first that answers as before is taken


def pack(study: Study, roles: list[str], root: Path) -> tuple[list[Path], list[str]]:
    """Pack the networks of a study's first triple and seed.

    Args:
        study: Whose runs are finished and whose results are written.
        roles: Of `ROLES`; empty: all of them.
        root: Folder with `runs` and `results`, and for `networks/<study>/<role>-<network>`; what was packed there
            earlier is replaced.

    Returns:
        The folders, and a sentence for each network that was left out as too large.

    Raises:
        UserError: A run or result is missing, damaged or of other parameters, or the networks are too large together.
    """
    if unknown := [role for role in roles if role not in ROLES]:
        raise UserError(f"There is no role '{unknown[0]}' to pack; expected {', '.join(ROLES)}.")
    page, runs = study.page(), study.runs()
    names = {role: page.networks[role] for role in roles or ROLES}
    place, out, networks = root / page.runs / study.study, root / page.results / study.study, root / "networks"
    metrics, claims = (read_csv(check_file(out, name)) for name in ("metrics.csv", "claims.csv"))
    found: dict[str, Trained] = {}
    for role, name in names.items():
        if not (place / name / packed.RECORD).is_file():
            raise UserError(f"Run '{name}' is not in {place}; train it first (make study STUDY={study.study}).")
        found[role] = load_run(place / name)
        need_prototypes(found[role])
        if found[role].params != runs[name]:
            raise UserError(f"Run {place / name} has other parameters than the study file gives it; {FINISH}.")
    images = load_images(runs[names[next(iter(names))]], choose_device(study.data_params().device))
    check_inputs(list(found.values()), images)
    done, left, teacher = [], [], ""
    target = networks / study.study
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".packing-") as scratch:
            made: dict[str, Path] = {}
            for role, run in found.items():
                folder = Path(scratch) / f"{role}-{plain(run.params.network)}"
                record = _write(folder, place / names[role], run, images, teacher if role == "student" else "")
                size = (folder / packed.TENSORS).stat().st_size
                if size > LARGEST:
                    left.append(
                        f"{names[role]} is left out: packed it has {size / 1e6:.1f} MB, above {LARGEST / 1e6:.0f}."
                    )
                    continue
                teacher = digest(load_run(folder).network) if role == "teacher" else teacher
                who = (metrics["role"] == role) & (metrics["variant"] == run.params.variant)
                rows = metrics[who & (metrics["triple"] == page.triple)]
                said = claims[claims["setting"] == page.triple] if role == "student" else claims[:0]
                table = metric_table(rows, record["outcome"], run.params.seed, study.study)
                shown = f"networks/{study.study}/{folder.name}"
                write_atomic(folder / "README.md", card(record, shown, study.title, page.images, table, said, size))
                made[folder.name] = folder
            _refuse_beyond(networks, target, made)
            for name, folder in made.items():
                shutil.rmtree(target / name, ignore_errors=True)
                shutil.move(folder, target / name)
                done.append(target / name)
    except OSError as error:
        raise cannot_write(target, error) from error
    return done, left


def _refuse_beyond(networks: Path, target: Path, made: dict[str, Path]) -> None:
    """Refuse new folders with which all packed networks together would be too large."""
    stay = [path for path in networks.rglob("*") if path.is_file() and ".packing-" not in str(path)]
    stay = [path for path in stay if not any(target / name in path.parents for name in made)]
    size = sum(path.stat().st_size for path in [*stay, *(p for folder in made.values() for p in folder.iterdir())])
    if size > ALL:
        raise UserError(
            f"The networks in {networks} would have {size / 1e6:.1f} MB together, above {ALL / 1e6:.0f}; name fewer "
            "roles (ROLES=student), or delete the folder of another study."
        )


def _write(folder: Path, source: Path, run: Trained, images: ImageSet, teacher: str) -> dict[str, Any]:
    """All files of a packed network but its card: the record, which is `run.json`."""
    network, test, batch = need_prototypes(run), images.subset("test"), run.params.batch_size
    assert run.projection is not None
    record = read_json(source / packed.RECORD, FINISH)
    device, fit = images.labels.device, images.subset("train").pixels
    before = answers(network.to(device), test.pixels, batch)
    error = projection_error(network, fit, run.projection, batch)
    usual = usual_distance(source)
    packed.write_patches(folder, source_patches(run, images), network.per_class)
    tensors = prefixed("network", network.state_dict()) | prefixed("projection", vars(run.projection))
    tensors = {key: value.cpu() for key, value in tensors.items()}
    known = {key: record[key] for key in ("parameters", "outcome", "provenance")}
    known |= {"inputs": {"images": [run.images], "weights": run.weights, "teacher": teacher}}
    for precision, stored in PRECISIONS.items():
        save_tensors(folder / packed.TENSORS, stored(tensors))
        sums = {name: packed.sha256(folder / name) for name in (packed.TENSORS, packed.SHEET, packed.TABLE)}
        said: dict[str, Any] = {"precision": precision, "usual_distance": usual, "test_images": len(test)}
        said |= {"commit": COMMIT, "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
        whole = known | {"classes": list(images.classes), "packed": said, "files": sums}
        write_json(folder / packed.RECORD, whole)
        again = load_run(folder, device)
        after = answers(need_prototypes(again), test.pixels, batch)
        right = [int((labels == test.labels.cpu()).sum()) for labels in (before, after)]
        if abs(right[0] - right[1]) <= 1:
            break
    assert again.projection is not None
    said |= {"right_unpacked": right[0], "right_packed": right[1], "changed": int((before != after).sum())}
    said["projection_error"] = projection_error(need_prototypes(again), fit, again.projection, batch)
    said["projection_error_unpacked"] = error
    write_json(folder / packed.RECORD, whole)
    return whole


@torch.inference_mode()
def answers(network: ProtoNet, pixels: Pixels, batch_size: int) -> Tensor:
    """(N,) the class that a network gives each image of (N, 3, S, S) uint8."""
    network.eval()
    return torch.cat([network(part).logits.argmax(1).cpu() for part in pixels.split(batch_size)])


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Pack the trained networks of a study into networks/<study>.")
    parser.add_argument("study", type=Path, help="a file of params/")
    parser.add_argument("roles", nargs="*", metavar="ROLE", help=f"{', '.join(ROLES)}; none named: all")
    parser.add_argument("--use", default="", help="an alternative set of triples of the study")
    parser.add_argument("--only", default="", help="one triple of the study")
    parser.add_argument("--rehearse", action="store_true", help="the study at a size of seconds")
    given = parser.parse_args(arguments)
    study = load_study(given.study, given.use, given.rehearse, given.only)
    done, left = pack(study, given.roles, project_path("."))
    for sentence in left:
        print(sentence, file=sys.stderr)
    for folder in done:
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
