"""The device of a run, and settings that make it exact and fast."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

from p2p.errors import UserError


def choose_device(name: str = "auto") -> torch.device:
    """The device, with TF32 off and, on Linux CPUs, memory kept by the allocator.

    TF32 (A13): a distance error of 0.004 is far above the similarity's ε of 1e-4. Allocator: glibc hands every large
    tensor back to the kernel and takes the page faults again on the next step.

    Args:
        name: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: A GPU is asked for and there is none of that number.
    """
    wanted = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"Device '{name}' is not there ({torch.cuda.device_count()} GPUs found); use 'auto' or 'cpu'.")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if device.type == "cpu":
        keep_memory(True)
    return device


def keep_memory(keep: bool) -> None:
    """Whether glibc keeps freed tensors for the next ones, or hands those above 128 KiB back to the system.

    Left alone, it begins with the second and raises the size as it runs, to 32 MiB at most.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):  # glibc, not musl
        threshold = 2**31 - 1 if keep else 128 * 1024
        libc.mallopt(-3, threshold)  # M_MMAP_THRESHOLD: large tensors from the heap
        libc.mallopt(-1, threshold)  # M_TRIM_THRESHOLD: which is not given back


def has_bfloat16(device: torch.device, source: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether a device multiplies bfloat16 numbers itself; of a CPU, as Linux lists its features."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    lines = source.read_text().splitlines() if source.is_file() else []
    features = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(features))
