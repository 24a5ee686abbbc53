"""What a person sees of a run: the progress line, and one sentence where memory runs out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from p2p.errors import UserError
from p2p.study.params import TrainParams
from p2p.training.phases import Phase

FULL = re.compile("not enough memory|allocate memory|Storage size calculation overflowed")  # on a CPU, in its words
SHOWN = ("loss", "accuracy", "validation")


class Progress:
    """The line of a run: done and all epochs, the last values, images a second, time left."""

    def __init__(self, run: str, phases: Sequence[Phase], images: int, show: bool) -> None:
        self.phases, self.images = phases, images
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        total = sum(phase.epochs for phase in phases)
        self.bar = tqdm(total=total, desc=run, disable=not show, mininterval=2, bar_format=form)

    def show(self, history: list[dict[str, Any]], index: int) -> None:
        """The last row of the history, of phase number `index`."""
        row = history[-1]
        seen = next((one["validation"] for one in reversed(history) if "validation" in one), None)
        known = row if seen is None else {**row, "validation": seen}  # not every pass looks
        values = {k: f"{v:.3f}" for k, v in known.items() if k in SHOWN}
        speed, left = f"{self.images / row['seconds']:.0f}", time_left(self.phases, history, index, row["epoch"])
        self.bar.set_postfix(
            {"phase": row["phase"], **values, "images/s": speed, "left": tqdm.format_interval(max(0.0, left))}
        )


def time_left(phases: Sequence[Phase], history: list[dict[str, Any]], index: int, done: int) -> float:
    """Seconds, estimated from the phases seen so far; a kind of phase not seen yet counts as the slowest that was.

    Args:
        phases: Of the run.
        history: Rows with `phase` and `seconds`.
        index: The present phase.
        done: Its epochs that are over.
    """
    seen: dict[str, list[float]] = {}
    for row in history:
        seen.setdefault(row["phase"], []).append(row["seconds"])
    mean = {name: sum(values[-5:]) / len(values[-5:]) for name, values in seen.items()}
    left = -done * mean[phases[index].name]
    return left + sum(phase.epochs * mean.get(phase.name, max(mean.values())) for phase in phases[index:])


@contextmanager
def memory_advice(params: TrainParams, device: torch.device, folder: Path) -> Iterator[None]:
    """Turn PyTorch's report of full memory into a sentence that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not FULL.search(str(error)):
            raise
        reason = str(error).split(". ")[0].strip().rstrip(".")
        raise UserError(
            f"Run '{params.run}' needs more memory than {device} has ({reason}); lower 'warm_cache_gb' (now "
            f"{params.warm_cache_gb:g}) or set 'streaming' to on, and it goes on from its last epoch in {folder}; "
            f"or lower 'batch_size' (now {params.batch_size}), which begins it anew."
        ) from None
