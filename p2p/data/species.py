"""Which variant of each part makes each class of the drawn birds."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from p2p.data import bird_art as art
from p2p.errors import UserError

PARTS: tuple[str, ...] = tuple(art.ART)
VARIANTS: dict[str, tuple[str, ...]] = {part: tuple(variants) for part, variants in art.ART.items()}
MOST = min(map(len, VARIANTS.values())) ** (len(PARTS) - 1)  # classes of `class_table`
LOOK_ALIKE = ("beak", "crest")  # what tells the two classes of a pair apart, in turn


def look_alikes(classes: int, seed: int) -> Tensor:
    """Classes in pairs that differ in a single part, a beak or a crest; between pairs as `class_table` has them.

    Args, Raises: as there.

    Returns:
        (K, len(PARTS)) int64 variant indices, all rows distinct; classes 2 i and 2 i + 1 are a pair.
    """
    if not 1 <= classes <= 2 * MOST:
        raise UserError(f"Birds cannot have {classes} classes; choose 1 to {2 * MOST} (class_count).")
    table = class_table(-(-classes // 2), seed).tolist()
    taken, rows = {tuple(row) for row in table}, []
    for i, row in enumerate(table):
        q = PARTS.index(LOOK_ALIKE[i % len(LOOK_ALIKE)])
        count = len(VARIANTS[PARTS[q]])
        twins = [(*row[:q], (row[q] + step) % count, *row[q + 1 :]) for step in range(1, count)]
        twin = next(twin for twin in twins if twin not in taken)  # at most two other classes differ from row in q alone
        taken.add(twin)
        rows += [row, list(twin)]
    return torch.tensor(rows[:classes], dtype=torch.int64)


def class_table(classes: int, seed: int) -> Tensor:
    """Choose which variant of each part makes each class.

    Classes are words x of a code over v variants: sum of w_q x_q = 0 modulo v, w = (1, -1, 1, …), so any two
    differ in at least two parts. The code holds (1, …, 1), so classes come in cycles of v that use every
    variant of every part once; with at least four classes, every variant used is shared by two or more.

    Args:
        classes: Number of classes K, from 1 to 1024.
        seed: Chooses the words and which variants they mean.

    Returns:
        (K, len(PARTS)) int64 variant indices, all rows distinct.

    Raises:
        UserError: K is outside that range.
    """
    fewest = min(len(names) for names in VARIANTS.values())
    if not 1 <= classes <= MOST:
        raise UserError(f"Birds cannot have {classes} classes; choose 1 to {MOST} (class_count).")
    v = max(2, min(fewest, classes // 2))
    rng = np.random.default_rng(seed)
    cycles = -(-classes // v)
    signs = (-1) ** np.arange(len(PARTS))  # sums to 0, so the code holds (1, …, 1)
    # One word of each cycle, the one that begins with 0.
    heads = np.array([(0, *rest) for rest in product(range(v), repeat=len(PARTS) - 2)])
    heads = rng.permutation(np.concatenate([heads, -signs[-1] * (heads @ signs[:-1])[:, None]], 1)) % v
    # Take the cycle farthest from those taken, so that few classes share many parts.
    chosen, gap = [0], np.full(len(heads), len(PARTS))
    while len(chosen) < cycles:
        difference = (heads - heads[chosen[-1]]) % v
        common = np.stack([(difference == step).sum(1) for step in range(v)]).max(0)
        gap = np.minimum(gap, len(PARTS) - common)  # parts the closest classes differ in; 0 if taken
        chosen.append(int(gap.argmax()))
    words = heads[chosen]
    words = ((words[:, None] + np.arange(v)[None, :, None]) % v).reshape(-1, len(PARTS))[:classes]
    names = np.stack([rng.permutation(len(VARIANTS[part]))[:v] for part in PARTS])  # (Q, v)
    return torch.from_numpy(names[np.arange(len(PARTS)), words].astype(np.int64))
