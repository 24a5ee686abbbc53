"""The batches of one epoch: freshly augmented images, or cached trunk outputs while the trunk is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from p2p.data.augment import augment
from p2p.data.images import ImageSet
from p2p.data.streaming import Rows, Stream, on_disk, read_ahead
from p2p.device import has_bfloat16
from p2p.errors import UserError
from p2p.networks import Output, ProtoNet
from p2p.study.params import TrainParams
from p2p.training.objective import distillation


class Batch(NamedTuple):
    """`inputs` are images (B, 3, S, S), or trunk outputs (B, C, H, W) where they come from the cache."""

    inputs: Tensor
    labels: Tensor  # (B,)
    teacher: Output | None  # its answer: the fields that the run's losses read, the others empty


def _compact(values: Tensor) -> Tensor:
    """As a cached copy keeps it: maps in half precision, cells in two bytes, the rest as it is."""
    if values.ndim == 4:
        return values.half()
    return values if values.is_floating_point() else values.to(torch.int16)


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """bfloat16 for the trunk, as `TrainParams.precision` says; "auto": on GPUs that have the units.

    On a CPU without the units bfloat16 can be ten times slower than float32, and with them the gain depends on the
    network, so a CPU has to be asked.
    """
    auto = precision == "auto" and device.type == "cuda" and has_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16" or auto)


def refuse_precision(params: TrainParams, device: torch.device) -> None:
    """Stop a run that asks for bfloat16 where there are no units for it.

    Raises:
        UserError: With what to choose.
    """
    if params.precision == "bfloat16" and not has_bfloat16(device):
        raise UserError(
            f"Run '{params.run}': 'precision' is bfloat16, but {device} has no units for it and would be slower; "
            "choose auto or float32."
        )


class Batches:
    """Batches of the training images, with the teacher's answer to each computed once and without a graph (A12).

    Order and augmentation of an epoch come from a generator seeded by (seed, phase, epoch) alone.

    Attributes:
        passes: Image passes through the network's own trunk so far.
        teacher_passes: And through the teacher's.
    """

    def __init__(
        self, params: TrainParams, fit: ImageSet, trunk: nn.Module, teacher: ProtoNet | None, folder: Path
    ) -> None:
        self.params, self.fit, self.trunk, self.teacher, self.folder = params, fit, trunk, teacher, folder
        self.device, self.passes, self.teacher_passes = fit.pixels.device, 0, 0
        read = frozenset[str]().union(*(each.reads for each in distillation(params).values()))
        read |= {"z"}  # for R²
        self.kept = [name for name in Output._fields if name in read - {"prototypes"}]
        self._copies: dict[int, list[Rows]] = {}

    def fresh(self, phase: int, epoch: int) -> Iterator[Batch]:
        """Every image once, each with its own transform."""
        generator = self._generator(phase, epoch)
        parts = self._order(generator)
        for part, pixels in zip(parts, read_ahead(self.fit.pixels, parts), strict=True):
            images = self._augmented(pixels, generator)
            self.passes += len(part)
            yield Batch(images, self.fit.labels[part.to(self.device)], self._ask(images))

    def copied(self, phase: int, epoch: int, frozen: bool) -> Iterator[Batch]:
        """Every image once, as one of a few augmented copies in turn, of which the teacher was asked only once.

        Args:
            phase: Number of the phase.
            epoch: Its epoch.
            frozen: The copies are the frozen trunk's outputs in half precision, `warm_copies` of them; else images,
                `joint_copies` of them.
        """
        copy = epoch % (self.params.warm_copies if frozen else self.params.joint_copies)
        if copy not in self._copies:
            self._copies[copy] = self._copy(copy, phase, frozen)
        parts = self._order(self._generator(phase, epoch))
        columns = (read_ahead(column, parts) for column in self._copies[copy])
        for part, inputs, *answer in zip(parts, *columns, strict=True):
            teacher = None if self.teacher is None else self._answer(dict(zip(self.kept, answer, strict=True)))
            self.passes += 0 if frozen else len(part)
            inputs = inputs.float() if inputs.is_floating_point() else inputs
            yield Batch(inputs, self.fit.labels[part.to(self.device)], teacher)

    def forget(self) -> None:
        """Free the copies."""
        self._copies.clear()

    @torch.no_grad()
    def _copy(self, copy: int, phase: int, frozen: bool) -> list[Rows]:
        """One augmented copy of all images: trunk outputs (N, C, H, W) or images, and what is kept of the teacher's
        answers to it."""
        generator = self._generator(phase, 50_000 + copy)
        columns: list[Rows] = []
        parts = torch.arange(len(self.fit)).split(self.params.batch_size)
        for part, pixels in zip(parts, read_ahead(self.fit.pixels, parts), strict=True):
            images = self._augmented(pixels, generator)
            if frozen:
                with autocast(self.device, self.params.precision):
                    row = [self.trunk(images).half()]
            else:
                images = (images * 255).round().to(torch.uint8)
                row = [images]
            if (teacher := self._ask(images)) is not None:
                row += [_compact(getattr(teacher, name)) for name in self.kept]
            columns = columns or self._room(row)
            for column, values in zip(columns, row, strict=True):
                if isinstance(column, Stream):
                    column.source[part] = values.cpu()
                else:
                    column[part.to(self.device)] = values
        self.passes += len(self.fit) if frozen else 0
        return columns

    def _room(self, row: list[Tensor]) -> list[Rows]:
        """Space for a copy: on the device while `warm_cache_gb` lasts, then in a file of the run's folder."""
        shapes = [(len(self.fit), *values.shape[1:]) for values in row]
        need = sum(torch.Size(s).numel() * v.element_size() for s, v in zip(shapes, row, strict=True))
        held = sum(column.nbytes for copy in self._copies.values() for column in copy if isinstance(column, Tensor))
        if held + need <= self.params.warm_cache_gb * 2**30:
            return [v.new_empty(s) for s, v in zip(shapes, row, strict=True)]
        return [Stream.of(on_disk(s, v.dtype, self.folder), self.device) for s, v in zip(shapes, row, strict=True)]

    def _ask(self, images: Tensor) -> Output | None:
        if self.teacher is None:
            return None
        self.teacher_passes += len(images)
        with torch.inference_mode(), autocast(self.device, self.params.precision):
            out = self.teacher(images)
        return self._answer({name: getattr(out, name) for name in self.kept})

    def _answer(self, kept: dict[str, Tensor]) -> Output:
        """A teacher's answer from the fields that were kept."""
        assert self.teacher is not None
        none = torch.empty(0, device=self.device)
        with torch.no_grad():
            prototypes = self.teacher.layer.prepare(self.teacher.prototypes)
        # copies made outside inference mode may be kept for the student's backward pass
        fields = {k: v.long().clone() if k == "cells" else v.float().clone() for k, v in kept.items()}
        return Output(**{**dict.fromkeys(Output._fields, none), **fields, "prototypes": prototypes})

    def _generator(self, phase: int, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.params.seed * 1009 + phase) * 100_003 + epoch)

    def _order(self, generator: torch.Generator) -> list[Tensor]:
        order = torch.randperm(len(self.fit), generator=generator)
        parts = order.split(self.params.batch_size)  # batch normalisation cannot train on a single image
        return [part for part in parts if len(part) > 1 or len(order) == 1]

    def _augmented(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        return augment(pixels, generator) if self.params.augment else pixels.float() / 255
