"""Rows that do not fit on the device: they stay in host memory or on the disk and are read ahead batch by batch."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from p2p.errors import UserError

AHEAD = 4  # batches being read while one is computed
SHARE = 0.5  # of the free memory that images may take before they are streamed


@dataclass(frozen=True, eq=False)
class Stream:
    """Stands in for a tensor (N, …) of which only rows are read; what is read lies on `device`.

    Attributes:
        source: (M, …) on the host, usually mapped from a file.
        rows: (N,) int64 on the CPU, the rows of `source` that belong to it.
        device: Where the rows go.
    """

    source: Tensor
    rows: Tensor
    device: torch.device

    @classmethod
    def of(cls, source: Tensor, device: str | torch.device) -> Stream:
        """All rows of a tensor."""
        return cls(source, torch.arange(len(source)), torch.device(device))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.rows), *self.source.shape[1:]))

    @property
    def nbytes(self) -> int:
        return self.shape.numel() * self.source.element_size()

    def select(self, index: Tensor) -> Stream:
        """The rows at `index` (n,), still unread."""
        return Stream(self.source, self.rows[index.cpu()], self.device)

    def to(self, device: str | torch.device) -> Stream:
        return Stream(self.source, self.rows, torch.device(device))

    def fetch(self, index: int | slice | Tensor) -> Tensor:
        """Rows in host memory, pinned where a GPU will take them."""
        rows = self.source[self.rows[index.cpu() if isinstance(index, Tensor) else index]]
        return rows.pin_memory() if self.device.type == "cuda" else rows

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        return self.fetch(index).to(self.device, non_blocking=True)

    def split(self, size: int) -> Iterator[Tensor]:
        """Batches of `size` rows in their order, read ahead."""
        return read_ahead(self, torch.arange(len(self)).split(size))


Rows = Tensor | Stream


def read_ahead(rows: Rows, parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """`rows[part]` for each part (n,) of indices; of a stream, the next parts are read by threads meanwhile."""
    if isinstance(rows, Tensor):
        for part in parts:
            yield rows[part.to(rows.device)]
        return
    waiting: deque[Future[Tensor]] = deque()
    remaining = iter(parts)
    with ThreadPoolExecutor(2) as pool:
        waiting.extend(pool.submit(rows.fetch, part) for part in islice(remaining, AHEAD))
        while waiting:
            ready = waiting.popleft().result()
            waiting.extend(pool.submit(rows.fetch, part) for part in islice(remaining, 1))
            yield ready.to(rows.device, non_blocking=True)


def place(rows: Tensor, device: torch.device, streaming: str) -> Rows:
    """Rows on the device, or streamed to it: "on" always, "auto" where they would take over half of its free memory."""
    stream = streaming == "on" or (streaming == "auto" and rows.nbytes > SHARE * free_memory(device))
    return Stream.of(rows, device) if stream else rows.to(device)


def free_memory(device: torch.device) -> int:
    """Bytes that could still be allocated on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def on_disk(shape: tuple[int, ...], dtype: torch.dtype, folder: Path) -> Tensor:
    """An uninitialised tensor in a nameless file of `folder`; its space is free again when the tensor is gone.

    Raises:
        UserError: The disk has no room for it.
    """
    count = torch.Size(shape).numel()
    size = max(1, count * dtype.itemsize)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rows-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a mapped file on a full disk would kill the process
        except OSError as error:
            raise UserError(
                f"{folder} has no room for {size / 1e9:.1f} GB of trunk outputs ({error.strerror}); lower "
                "'warm_copies', raise 'warm_cache_gb' if memory allows, or free disk space."
            ) from error
        return torch.from_file(file.name, shared=True, size=count, dtype=dtype).view(shape)
