"""The matching without P x P counts against the Hungarian method on all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from p2p.matching import match_dense, match_sparse
from p2p.metrics import ALPHAS, ResponseTable, coincidences, pms

pytestmark = pytest.mark.numeric

GRID = (7, 7)
Pair = tuple[ResponseTable, ResponseTable]


def table(cells: torch.Tensor, grid: tuple[int, int] = GRID) -> ResponseTable:
    return ResponseTable(cells.to(torch.int16), torch.ones(cells.shape), grid)


def draw(images: int, size: int, seed: int, spread: float = 1.0, cells: int = 49) -> torch.Tensor:
    """Random cells, crowded towards cell 0 as `spread` falls."""
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(images, size, generator=g) ** (1 / spread) * cells).floor().clamp(max=cells - 1).long()


def parts(images: int, size: int, seed: int, sharp: float) -> torch.Tensor:
    """Prototypes that follow one of twelve parts, each of which is elsewhere in every image: heavy, uneven rows."""
    g = torch.Generator().manual_seed(seed)
    where = draw(images, 12, 99, 0.5)  # the same for every seed: teacher and student see the same images
    liking = torch.softmax(sharp * torch.randn(size, 12, generator=g), 1)
    return where.gather(1, torch.multinomial(liking, images, replacement=True, generator=g).T)


def student_of(cells: torch.Tensor, rate: float, shuffle: bool) -> torch.Tensor:
    """Each prototype on its teacher's cell in a share of the images."""
    g = torch.Generator().manual_seed(5)
    keep = torch.rand(cells.shape, generator=g) < rate
    found = torch.where(keep, cells, draw(*cells.shape, 6))
    return found[:, torch.randperm(cells.shape[1], generator=g)] if shuffle else found


def half_alike(images: int, size: int, seed: int) -> torch.Tensor:
    """Half of the prototypes are copies of one: hundreds of equal rows and columns."""
    cells = draw(images, size, seed)
    cells[:, : size // 2] = draw(images, 1, 77)
    return cells


CASES: dict[str, Callable[[], Pair]] = {
    "random": lambda: (table(draw(60, 300, 1)), table(draw(60, 300, 2))),
    "crowded": lambda: (table(draw(101, 300, 1, 0.1)), table(draw(101, 300, 2, 0.1))),
    "crowded and not": lambda: (table(draw(97, 250, 1, 0.05)), table(draw(97, 250, 2))),
    "parts": lambda: (table(parts(143, 300, 1, 1.0)), table(parts(143, 300, 2, 1.0))),
    "sharp parts": lambda: (table(parts(143, 300, 1, 6.0)), table(parts(143, 300, 2, 6.0))),
    "student": lambda: (t := parts(143, 300, 1, 3.0), (table(t), table(student_of(t, 0.4, False))))[1],
    "shuffled student": lambda: (t := parts(87, 300, 1, 3.0), (table(t), table(student_of(t, 0.6, True))))[1],
    "teacher itself": lambda: (table(parts(50, 200, 1, 3.0)), table(parts(50, 200, 1, 3.0))),
    "copies": lambda: (table(half_alike(61, 300, 1)), table(half_alike(61, 300, 2))),
    "all on one cell": lambda: (table(torch.zeros(20, 200)), table(torch.zeros(20, 200))),
    "never together": lambda: (table(torch.zeros(20, 150)), table(torch.ones(20, 150))),
    "one image": lambda: (table(draw(1, 300, 1)), table(draw(1, 300, 2))),
    "one prototype": lambda: (table(draw(30, 1, 1)), table(draw(30, 1, 2))),
    "three prototypes": lambda: (table(draw(30, 3, 1, cells=3)), table(draw(30, 3, 2, cells=3))),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_hungarian_method_on_all_counts(name: str) -> None:
    t, s = CASES[name]()
    images, size = t.cells.shape
    counts = coincidences(t, s)
    slow = (t.cells[:, :, None] == s.cells[:, None, :]).sum(0)
    assert torch.equal(counts.long(), slow)
    clips = [alpha * images for alpha in ALPHAS]
    asked: list[int] = []

    def rows(which: np.ndarray) -> torch.Tensor:
        asked.append(len(which))
        return coincidences(t, s, which)

    found = match_sparse(rows, size, clips, images, candidates=4, block=37 * size)
    assert max(asked[1:]) <= 37  # never all rows at once
    for clip, match, dense in zip(clips, found, match_dense(counts, clips, images), strict=True):
        values = np.minimum(slow.numpy(), clip)
        best = values[linear_sum_assignment(values, maximize=True)].sum()
        assert match.proven and match.upper == pytest.approx(best, abs=1e-7)
        assert sorted(match.columns.tolist()) == list(range(size))
        assert torch.equal(match.counts, slow[torch.arange(size), match.columns].double())
        assert float(match.counts.clamp(max=clip).sum()) == pytest.approx(best, abs=1e-7)
        assert float(dense.counts.clamp(max=clip).sum()) == pytest.approx(best, abs=1e-7)


@pytest.mark.parametrize("name", ["random", "sharp parts", "shuffled student"])
def test_pms_is_the_same_on_both_paths(name: str) -> None:
    t, s = CASES[name]()
    dense, sparse = pms(t, s), pms(t, s, dense_limit=10)
    assert sparse.value == pytest.approx(dense.value, abs=1e-12)
    assert sparse.per_alpha.tolist() == pytest.approx(dense.per_alpha.tolist(), abs=1e-12)
    assert sparse.upper == sparse.value and dense.upper == dense.value
    odd = (1 / 3, 0.0123456789, 0.7071067)  # clips that are no simple fraction
    for one, two in zip(pms(t, s, odd).per_alpha, pms(t, s, odd, dense_limit=10).per_alpha, strict=True):
        assert float(one) == pytest.approx(float(two), abs=1e-9)


def test_unfinished_search_tells_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    t, s = CASES["sharp parts"]()
    images, size = t.cells.shape
    clips, counts = [alpha * images for alpha in ALPHAS], coincidences(t, s)
    found = match_sparse(lambda rows: counts[rows], size, clips, images, candidates=1, rounds=1)
    best = [
        float(match.counts.clamp(max=clip).sum())
        for match, clip in zip(match_dense(counts, clips, images), clips, strict=True)
    ]
    assert not all(match.proven for match in found)
    for match, clip, most in zip(found, clips, best, strict=True):
        own = float(match.counts.clamp(max=clip).sum())
        assert own <= most + 1e-7 and most <= match.upper + 1e-7
        assert sorted(match.columns.tolist()) == list(range(size))
    monkeypatch.setattr(match_sparse, "__defaults__", (1, 1, 2**20))
    with pytest.warns(UserWarning, match=r"not proven .* at most"):
        loose = pms(t, s, dense_limit=10)
    assert loose.value < pms(t, s).value <= loose.upper


def test_memory_does_not_grow_with_the_square() -> None:
    """Rows are counted in blocks, so the whole of the counts is never asked for."""
    asked: list[int] = []

    def rows(which: np.ndarray) -> torch.Tensor:
        asked.append(len(which) * 500)
        return torch.from_numpy(np.equal.outer(which % 50, np.arange(500) % 50).astype(np.int32))

    (found,) = match_sparse(rows, 500, [1.0], 1, block=5000)
    assert found.proven and float(found.counts.sum()) == 500
    assert max(asked[1:]) <= 5000
