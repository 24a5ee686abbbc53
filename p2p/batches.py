"""The batches of one epoch: freshly augmented images, or cached trunk outputs while the trunk is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from p2p.augment import augment
from p2p.data import ImageSet
from p2p.losses import active_patches
from p2p.networks import ProtoNet
from p2p.params import TrainParams


class Teacher(NamedTuple):
    """A teacher's answer to one batch."""

    z: Tensor  # (B, D, H, W) add-on map
    active: Tensor  # (B, H·W) bool, its active patches
    prototypes: Tensor  # (P, D)


class Batch(NamedTuple):
    """`inputs` are images (B, 3, S, S), or trunk outputs (B, C, H, W) where they come from the cache."""

    inputs: Tensor
    labels: Tensor  # (B,)
    teacher: Teacher | None


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where a GPU has the units; never on a CPU, where it can be ten times slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" and torch.cuda.is_bf16_supported())


class Batches:
    """Batches of the training images, with the teacher's answer to each computed once and without a graph (A12).

    Order and augmentation of an epoch come from a generator seeded by (seed, phase, epoch) alone.

    Attributes:
        passes: Image passes through the network's own trunk so far.
        teacher_passes: And through the teacher's.
    """

    def __init__(self, params: TrainParams, fit: ImageSet, trunk: nn.Module, teacher: ProtoNet | None) -> None:
        self.params, self.fit, self.trunk, self.teacher = params, fit, trunk, teacher
        self.device, self.passes, self.teacher_passes = fit.pixels.device, 0, 0
        self._copies: dict[int, tuple[Tensor, ...]] = {}

    def fresh(self, phase: int, epoch: int) -> Iterator[Batch]:
        """Every image once, each with its own transform."""
        generator = self._generator(phase, epoch)
        for part in self._order(generator):
            images = self._augmented(self.fit.pixels[part], generator)
            self.passes += len(part)
            yield Batch(images, self.fit.labels[part], self._ask(images))

    def cached(self, phase: int, epoch: int) -> Iterator[Batch]:
        """Every image once, as the frozen trunk's output for one of `warm_copies` augmented copies in turn."""
        copy = epoch % self.params.warm_copies
        if (found := self._copies.get(copy)) is None:
            found = self._copy(copy, phase)
            if sum(t.nbytes for t in found) * (len(self._copies) + 1) <= self.params.warm_cache_gb * 2**30:
                self._copies[copy] = found
        features, *answer = found
        for part in self._order(self._generator(phase, epoch)):
            teacher = None
            if self.teacher is not None:
                teacher = Teacher(answer[0][part].float(), answer[1][part], self.teacher.prototypes)
            yield Batch(features[part].float(), self.fit.labels[part], teacher)

    def forget(self) -> None:
        """Free the cached copies."""
        self._copies.clear()

    @torch.no_grad()
    def _copy(self, copy: int, phase: int) -> tuple[Tensor, ...]:
        """Half-precision trunk outputs (N, C, H, W) of one augmented copy; with a teacher its z and active patches."""
        generator = self._generator(phase, 50_000 + copy)
        rows: list[tuple[Tensor, ...]] = []
        for part in torch.arange(len(self.fit), device=self.device).split(self.params.batch_size):
            images = self._augmented(self.fit.pixels[part], generator)
            with autocast(self.device):
                features = self.trunk(images).half()
            teacher = self._ask(images)
            rows.append((features,) if teacher is None else (features, teacher.z.half(), teacher.active))
        self.passes += len(self.fit)
        return tuple(torch.cat(column) for column in zip(*rows, strict=True))

    @torch.no_grad()
    def _ask(self, images: Tensor) -> Teacher | None:
        if self.teacher is None:
            return None
        self.teacher_passes += len(images)
        with autocast(self.device):
            out = self.teacher(images)
        cells = out.z.shape[2] * out.z.shape[3]
        active = active_patches(out.cells, out.distances, self.params.tau_train, cells)
        return Teacher(out.z.float(), active, self.teacher.prototypes)

    def _generator(self, phase: int, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.params.seed * 1009 + phase) * 100_003 + epoch)

    def _order(self, generator: torch.Generator) -> Iterator[Tensor]:
        order = torch.randperm(len(self.fit), generator=generator)
        for part in order.split(self.params.batch_size):
            if len(part) > 1 or len(order) == 1:  # batch normalisation cannot train on a single image
                yield part.to(self.device)

    def _augmented(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        return augment(pixels, generator) if self.params.augment else pixels.float() / 255
