"""Taking turns: contenders are timed round by round, so that a machine that slows down slows all of them."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

OURS = "ours"
COLUMNS = [
    *("work", "shape", "device", "repeats", "ours_s", "peer", "peer_s", "ratio", "ratio_low", "ratio_high"),
]
Seconds = dict[str, tuple[float, ...]]
Row = dict[str, str | int | float | None]


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    warmups: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Time every contender once a round, the first of a round moving on by one each time.

    Args:
        contenders: Name: the work. It is called `warmups` times before the clock counts.
        repeats: Rounds.
        device: A GPU is waited for before the clock is read.
        warmups: Calls before the first round.
        clock: Seconds.

    Returns:
        Name: seconds of each round, in their order.
    """
    names = list(contenders)
    for name in names * warmups:
        with tf32(name != OURS):
            contenders[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            with tf32(name != OURS):
                synchronise(device)
                began = clock()
                contenders[name]()
                synchronise(device)
                seconds[name].append(clock() - began)
    return {name: tuple(values) for name, values in seconds.items()}


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Convolutions of a GPU in TF32 or not: PyTorch's default, which `p2p.device` switches off for ours, is on."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def compare(work: str, shape: str, device: torch.device, seconds: Mapping[str, tuple[float, ...]]) -> list[Row]:
    """One row for each peer: medians over rounds, their ratio peer / ours, and its interval.

    A round gives each peer one ratio. The interval runs from the lowest to the highest of n rounds; it holds the
    median ratio with probability 1 − 2^(1−n) whatever the distribution (n = 5: 94 %), and always the ratio of the
    medians. One round has no interval: its ends are None.

    Args:
        seconds: As `interleave` gives them; `OURS` is among the names.
    """
    ours = seconds[OURS]
    rows: list[Row] = []
    for peer, theirs in seconds.items():
        if peer == OURS:
            continue
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        several = len(ratios) > 1
        rows.append(
            {
                "work": work,
                "shape": shape,
                "device": describe(device),
                "repeats": len(ratios),
                "ours_s": median(ours),
                "peer": peer,
                "peer_s": median(theirs),
                "ratio": median(theirs) / median(ours),
                "ratio_low": min(ratios) if several else None,
                "ratio_high": max(ratios) if several else None,
            }
        )
    return rows


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(device: torch.device) -> str:
    """The machine by name: GPU, or processor and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def processor(source: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model, as Linux names it; elsewhere the architecture."""
    lines = source.read_text().splitlines() if source.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return " ".join(names[0].split()) if names and names[0] != "unknown" else platform.processor() or platform.machine()
