"""What a notebook shows as text: numbered tables and the provenance box, in MyST markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd


def table(frame: pd.DataFrame, caption: str, label: str) -> str:
    """A numbered table with its caption.

    Args:
        frame: Cells already as they are to be read.
        caption: What to see.
        label: For references, `tab-…`.
    """
    return f":::{{table}} {caption}\n:name: {label}\n\n{frame.to_markdown(index=False, disable_numparse=True)}\n:::\n"


def provenance_box(record: dict[str, Any]) -> str:
    """A provenance record (see `p2p.provenance.provenance`) as a box."""
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    dirty = " (with uncommitted changes)" if record["dirty"] else ""
    seed = "" if record["seed"] is None else f" · seed {record['seed']}"
    passes = f"{record['image_passes']:,} image passes · " if record["image_passes"] else ""
    return (
        ":::{admonition} Provenance\n:class: provenance\n"
        f"study `{record['study']}`{seed} · parameters `{record['parameter_hash']}` · commit `{record['commit']}`{dirty} · "
        f"{record['device']} · {record['hours']:.3f} h · {passes}peak memory {record['peak_memory_gb']} GB · "
        f"Python {record['python']}, {versions} · {record['date']}\n:::\n"
    )
