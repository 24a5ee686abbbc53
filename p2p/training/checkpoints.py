"""Saving and loading networks and the state of a training run: safetensors, never pickles."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from p2p.errors import UserError
from p2p.files import atomic_path
from p2p.study.modules import ROOT, modules_of

TRAINER = "p2p/training/trainer.py"

if TYPE_CHECKING:
    from p2p.data.images import ImageSet
    from p2p.training.trainer import Trainer


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
        raise UserError(f"{path} is damaged ({error}); delete its folder and train the run again.") from None


def save_network(network: nn.Module, path: Path, extra: dict[str, Tensor]) -> None:
    """Weights as `network.<key>` beside further tensors."""
    save_tensors(path, {**{f"network.{k}": v for k, v in network.state_dict().items()}, **extra})


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


def code_digest() -> str:
    """Twelve hex digits that change with any module a training run depends on: resumed code is the same code."""
    found = hashlib.sha256()
    for module in sorted({*modules_of(TRAINER), TRAINER}):
        found.update((ROOT / module).read_bytes())
    return found.hexdigest()[:12]


def _identity(trainer: Trainer) -> dict[str, Any]:
    """What must be the same for a run to go on: else it is another run. Where numbers lie does not change them."""
    return {
        "params": trainer.params.model_dump(exclude={"streaming", "warm_cache_gb"}),
        "images": trainer.images_digest,
        "start": trainer.start_digest,  # weights files included
        "teacher": trainer.teacher_digest,
        "code": code_digest(),
    }


def save_checkpoint(trainer: Trainer, upcoming: tuple[int, int]) -> None:
    """All that is needed to go on with phase and epoch `upcoming`; chance depends on (seed, phase, epoch) alone."""
    tensors = {f"network.{k}": v for k, v in trainer.network.state_dict().items()}
    for name, optimizer in trainer.optimizers.items():
        for i, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{name}.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    meta = {
        "upcoming": upcoming,
        "history": trainer.history,
        "best": trainer.best,
        "passes": [trainer.batches.passes, trainer.batches.teacher_passes],
        "seconds": trainer.seconds,
        **_identity(trainer),
    }
    save_tensors(trainer.folder / "checkpoint.safetensors", tensors, meta)


def load_checkpoint(trainer: Trainer) -> tuple[int, int]:
    """Put a trainer where its last checkpoint was; (0, 0), to start anew, where parameters or teacher have changed."""
    tensors, meta = load_tensors(trainer.folder / "checkpoint.safetensors", trainer.device)
    changed = [name for name, value in _identity(trainer).items() if meta.get(name) != value]
    if meta["best"] >= 0 and not (trainer.folder / "network.safetensors").exists():
        changed.append("network.safetensors")
    if changed:
        said = f"{trainer.params.run}: {' and '.join(changed)} changed since the checkpoint, starting anew."
        print(said, file=sys.stderr)
        return 0, 0
    trainer.network.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    )
    for phase in trainer.phases:
        prefix = f"optimizer.{phase.name}."
        saved: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                i, field = key.removeprefix(prefix).split(".")
                saved.setdefault(int(i), {})[field] = value
        if saved and phase.name not in trainer.optimizers:
            optimizer = trainer._optimizer(phase, 1.0)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": saved})
            for parameter, state in optimizer.state.items():
                # Files are row-major, the trunk's weights channels-last, and a fused step pairs numbers by their place
                # in memory: moments have to lie as their parameter does.
                for key, value in state.items():
                    if value.shape == parameter.shape:
                        state[key] = torch.empty_like(parameter).copy_(value)
    trainer.history, trainer.best = meta["history"], meta["best"]
    (trainer.batches.passes, trainer.batches.teacher_passes), trainer.seconds = meta["passes"], meta["seconds"]
    return tuple(meta["upcoming"])
