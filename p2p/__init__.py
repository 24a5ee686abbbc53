"""Proto2Proto: prototypical part networks and how a teacher passes its explanations to a student.

The method, in reading order: `networks` (over `trunks` and their `weights`), `prototypes`, `losses`, `projection`,
`decision`, `responses`, `matching`, `metrics`, `parts`, `curves`, `sharing`. It imports none of the rooms around it:

- `p2p.study`: parameters, study files, provenance, the text of pages; every other room may read it.
- `p2p.data`: images, from file or brush to tensor.
- `p2p.training`: a run, from its parameters to a network; imports data.
- `p2p.evaluation`: what networks answer, metrics, claims; imports training.
- `p2p.figures`: pictures of all that; imports evaluation.

`p2p.explain(image, run)` tells and draws why a trained network takes an image for what it takes it for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["explain"]


def __getattr__(name: str) -> Any:
    """`explain`, loaded when it is asked for: it needs every room, and no step of a study depends on it."""
    if name == "explain":
        return import_module("p2p.figures.explain").explain
    raise AttributeError(f"module 'p2p' has no attribute '{name}'")
