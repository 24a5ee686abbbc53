"""How far a student has followed: how much of the teacher's add-on map it reproduces."""

from __future__ import annotations

import torch
from torch import Tensor


class MapR2:
    """R² of the add-on map: how much of the teacher's map a student reproduces, summed up batch by batch.

    R² = 1 − Σ ‖z_s − z_t‖² / Σ ‖z_t − mean z_t‖² over all cells of all images. 1: the same map. 0: no better than
    the teacher's mean vector in every cell; below 0: worse. Source: this study.
    """

    def __init__(self) -> None:
        self.parts: Tensor | None = None  # Σ‖z_s − z_t‖², Σ‖z_t‖², number of cells, Σ z_t

    def add(self, student: Tensor, teacher: Tensor) -> None:
        """Two maps (B, D, H, W) of the same images; nothing is read back from the device."""
        s, t = student.detach().double(), teacher.detach().double()
        count = t.new_tensor([t.shape[0] * t.shape[2] * t.shape[3]])
        parts = torch.cat([(s - t).square().sum()[None], t.square().sum()[None], count, t.sum((0, 2, 3))])
        self.parts = parts if self.parts is None else self.parts + parts

    def value(self) -> float:
        """R² of all that was added; nan before anything was, or where the teacher's map is constant."""
        if self.parts is None:
            return float("nan")
        error, square, count, *total = self.parts.tolist()
        variation = square - sum(x * x for x in total) / count
        return 1 - error / variation if variation > 0 else float("nan")
