"""Tensors and their digests in files: safetensors, never pickles."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from p2p.data.images import ImageSet
from p2p.digests import weights_digest
from p2p.errors import UserError
from p2p.files import atomic_path
from p2p.study.modules import ROOT, modules_of
from p2p.study.params import TrainParams

TRAINER = "p2p/training/trainer.py"


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any] | None = None) -> None:
    """Write tensors and JSON-able metadata in one step."""
    plain = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, {"meta": json.dumps(meta or {})})
        except SafetensorError as error:  # its word for a full disk
            raise OSError(str(error)) from error


def load_tensors(path: Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and metadata of a file.

    Raises:
        UserError: Missing or damaged.
    """
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("meta", "{}"))
    except FileNotFoundError:
        raise UserError(f"{path} not found; train this run first (make study).") from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); train this run again (make study).") from None


def readable(path: Path) -> bool:
    """Whether there is such a file, and all of it; that its numbers are the right ones is not asked."""
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def identity(params: TrainParams, images: ImageSet, network: nn.Module, teacher: nn.Module | None) -> dict[str, Any]:
    """What must be the same for a run to go on, else it is another run; where numbers lie and what is allowed do not
    change them.

    Args:
        params: Of the run.
        images: All splits.
        network: As it starts.
        teacher: The student's.
    """
    return {
        "params": params.model_dump(exclude={"streaming", "warm_cache_gb", "allow_duplicates"}),
        "images": [images.source, digest_images(images)],
        "weights": weights_digest(params.weights, params.network),
        "start": digest(network),
        "teacher": digest(teacher) if teacher is not None else "",
        "code": code_digest(),
    }


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in state.items()}


def without(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose keys begin with `<prefix>.`, by the rest of their keys."""
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def digest(module: nn.Module) -> str:
    """Twelve hex digits that change with any number of a network."""
    found = hashlib.sha256()
    for key, value in module.state_dict().items():
        found.update(key.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:12]


def digest_images(images: ImageSet) -> str:
    """Twelve hex digits that change with any pixel, label or split."""
    found = hashlib.sha256("\n".join(images.names).encode())
    for tensor in (images.labels, images.split, *images.pixels.split(1024)):
        found.update(tensor.cpu().contiguous().numpy().data)
    return found.hexdigest()[:12]


NAMES = ("study", "run", "role", "variant", "teacher_run", "runs")  # parameters that change no number


def same_training(folder: Path, identity: dict[str, Any], phases: int) -> Path | None:
    """A finished run, of any study beside this one's, that was trained from the same inputs by the same code.

    Args:
        folder: Of the run to train, <runs>/<study>/<run>.
        identity: As `Trainer` has it; names (`NAMES`) do not count, the teacher does by the digest of its numbers.
        phases: Of its timeline; a run that stands before the end of the last is not finished.

    Returns:
        Its folder, the first by name; None where there is none.
    """
    wanted = _numbers(identity)
    if (folder.parent.name, folder.name) != (identity["params"]["study"], identity["params"]["run"]):
        return None  # not in a folder of runs
    for record in sorted(folder.parent.parent.glob("*/*/run.json")):
        place = record.parent
        if place == folder or not readable(place / "network.safetensors"):
            continue
        try:
            with safe_open(place / "checkpoint.safetensors", "pt") as file:
                meta = json.loads((file.metadata() or {}).get("meta", "{}"))
        except (OSError, SafetensorError, ValueError):
            continue
        whole = meta.get("kept") and meta["upcoming"] == [phases, 0] and identity.keys() <= meta.keys()
        if whole and _numbers({key: meta[key] for key in identity}) == wanted:
            return place
    return None


def take_over(place: Path, folder: Path, identity: dict[str, Any]) -> None:
    """Copy what a finished run has learnt into another run's folder, under that run's names."""
    for name in ("network.safetensors", "checkpoint.safetensors"):
        tensors, meta = load_tensors(place / name)
        save_tensors(folder / name, tensors, meta | identity if name.startswith("checkpoint") else meta)


def _numbers(identity: dict[str, Any]) -> dict[str, Any]:
    params = {key: value for key, value in identity["params"].items() if key not in NAMES}
    return identity | {"params": params}


def code_digest() -> str:
    """Twelve hex digits that change with any module a training run depends on: resumed code is the same code."""
    found = hashlib.sha256()
    for module in sorted([TRAINER, *modules_of(TRAINER)]):
        found.update((ROOT / module).read_bytes())
    return found.hexdigest()[:12]
