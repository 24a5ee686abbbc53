"""Metrics against slow set-based versions of their definitions."""

from itertools import permutations
from math import inf, isnan

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from p2p.errors import UserError
from p2p.matching import level
from p2p.metrics import (
    ALPHAS,
    TAUS,
    ResponseTable,
    aap,
    agreement,
    ajs,
    ajs_chance,
    coincidences,
    permute_images,
    pms,
    pms_chance,
    pms_from_agreement,
    same_index,
)
from p2p.responses import cell_minima

pytestmark = pytest.mark.numeric


def make(images, prototypes, grid=(3, 3), seed=0, spread=1.0):
    """A table of random cells, crowded towards cell 0 as `spread` falls, with distances around every tau."""
    g = torch.Generator().manual_seed(seed)
    count = grid[0] * grid[1]
    cells = (torch.rand(images, prototypes, generator=g) ** (1 / spread) * count).floor().clamp(max=count - 1)
    distances = 10 ** (4 * torch.rand(images, prototypes, generator=g) - 3)
    return ResponseTable(cells.to(torch.int16), distances, grid)


def active_sets(table, tau):
    """One Python set an image: { cell : distance <= tau }."""
    pairs = zip(table.cells.tolist(), table.distances.tolist(), strict=True)
    return [{c for c, d in zip(cells, distances, strict=True) if d <= tau} for cells, distances in pairs]


def strings(table):
    """One set of "image-cell" strings a prototype."""
    return [{f"{n}-{cell}" for n, cell in enumerate(column)} for column in table.cells.T.tolist()]


def slow_pms(table_t, table_s):
    """PMS by sets: |A & B| over the smaller of union and alpha N, at most 1; every order is tried."""
    sets_t, sets_s = strings(table_t), strings(table_s)
    images, size = len(table_t.cells), len(sets_t)
    totals = []
    for tenth in range(1, 11):
        matrix = [[min(1.0, len(a & b) / min(len(a | b), tenth * images / 10)) for b in sets_s] for a in sets_t]
        totals.append(max(sum(matrix[i][order[i]] for i in range(size)) for order in permutations(range(size))))
    return [total / size for total in totals]


@pytest.mark.parametrize(
    ("images", "prototypes", "grid", "spread"),
    [
        (10, 4, (2, 2), 1.0),
        (7, 5, (2, 3), 1.0),
        (23, 5, (2, 2), 0.4),
        (13, 6, (3, 3), 0.3),
        (1, 3, (2, 2), 1.0),
    ],
)
def test_pms_equals_sets_of_strings(images, prototypes, grid, spread):
    t, s = make(images, prototypes, grid, 1, spread), make(images, prototypes, grid, 2, spread)
    expected = slow_pms(t, s)
    result = pms(t, s)
    assert result.alphas == ALPHAS
    assert result.per_alpha.tolist() == pytest.approx(expected, abs=1e-12)
    assert result.value == pytest.approx(sum(expected) / 10, abs=1e-12)


def test_pms_matchings_are_optimal_permutations_for_every_alpha():
    # As good as the plain Hungarian method, on crowded tables too.
    for spread in (1.0, 0.1):
        t, s = make(150, 40, (7, 7), 3, spread), make(150, 40, (7, 7), 4, spread)
        result, counts = pms(t, s), slow_coincidences(t, s)
        for a, alpha in enumerate(ALPHAS):
            clipped = np.minimum(counts, alpha * 150)
            best = clipped[linear_sum_assignment(-clipped)].mean() / (alpha * 150)
            match = result.matching[a].numpy()
            assert sorted(match) == list(range(40))
            assert clipped[np.arange(40), match].mean() / (alpha * 150) == pytest.approx(best, abs=1e-12)
            assert float(result.per_alpha[a]) == pytest.approx(best, abs=1e-12)


def slow_rectangular_pms(table_t, table_s):
    """PMS of unequal numbers: every way to pair all of the smaller set is tried; the mean is over these pairs."""
    few, many = sorted((strings(table_t), strings(table_s)), key=len)
    images, totals = len(table_t.cells), []
    for tenth in range(1, 11):
        ways = permutations(range(len(many)), len(few))
        worth = [[min(1.0, len(a & b) / (tenth * images / 10)) for b in many] for a in few]
        totals.append(max(sum(worth[i][j] for i, j in enumerate(way)) for way in ways) / len(few))
    return totals


@pytest.mark.parametrize("dense_limit", [100, 0])
@pytest.mark.parametrize(("p_t", "p_s"), [(6, 3), (3, 6), (5, 1), (1, 4), (6, 5)])
def test_pms_of_unequal_numbers_pairs_all_of_the_smaller_set(p_t, p_s, dense_limit):
    t, s = make(17, p_t, (2, 2), 1, 0.5), make(17, p_s, (2, 2), 2, 0.5)
    result = pms(t, s, dense_limit=dense_limit)
    expected = slow_rectangular_pms(t, s)
    assert result.per_alpha.tolist() == pytest.approx(expected, abs=1e-12)
    assert result.value == pytest.approx(sum(expected) / 10, abs=1e-12) == pytest.approx(result.upper)
    assert result.matching.shape == (10, p_t)
    for partners in result.matching.tolist():
        paired = [j for j in partners if j >= 0]
        assert len(paired) == len(set(paired)) == min(p_t, p_s) and max(paired) < p_s
    assert pms(s, t, dense_limit=dense_limit).value == pytest.approx(result.value)  # neither is favoured


def test_a_part_of_the_teachers_prototypes_has_a_pms_of_one():
    t = make(30, 9, (3, 3), 1)
    kept = [1, 4, 8]
    part = ResponseTable(t.cells[:, kept], t.distances[:, kept], t.grid)
    found = pms(t, part)
    assert found.value == 1.0 and [found.matching[-1, j] for j in kept] == [0, 1, 2]
    other = permute_images(t, torch.Generator().manual_seed(0))
    alone = [pms(t, ResponseTable(other.cells[:, [j]], other.distances[:, [j]], t.grid)).value for j in range(9)]
    assert sum(alone) / 9 > pms(t, other).value  # by chance a few find better partners than many: correct each for it


def test_levelling_keeps_the_best_matching():
    counts = torch.randint(0, 50, (30, 30), generator=torch.Generator().manual_seed(0)).double()
    counts *= torch.linspace(0, 1, 30)[:, None]  # rows of unequal popularity
    levelled = level(counts, 50)
    shift = levelled - counts
    assert not torch.allclose(shift, torch.zeros_like(shift))
    residue = shift - shift[:1] - shift[:, :1] + shift[0, 0]  # zero exactly when shift is row + column constants
    assert residue.abs().max() < 1e-9
    best = counts[linear_sum_assignment(-counts.numpy())].sum()
    assert counts[linear_sum_assignment(-levelled.numpy())].sum() == pytest.approx(float(best))


def test_pms_finds_a_shuffled_teacher():
    t = make(60, 20, (7, 7))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(5))
    shuffled = ResponseTable(t.cells[:, order], t.distances[:, order], t.grid)
    result = pms(t, shuffled)
    assert result.value == 1.0
    assert (order[result.matching[-1]] == torch.arange(20)).all()
    assert agreement(t, shuffled) < 0.3  # which agreement, bound to the index, does not


def slow_coincidences(table_t, table_s):
    sets_t, sets_s = strings(table_t), strings(table_s)
    return np.array([[len(a & b) for b in sets_s] for a in sets_t])


@pytest.mark.parametrize("grid", [(1, 1), (7, 7), (14, 14), (20, 20)])
@pytest.mark.parametrize(("images", "p_t", "p_s"), [(3, 4, 6), (255, 3, 2), (600, 5, 3)])
def test_coincidences(grid, images, p_t, p_s):
    t, s = make(images, p_t, grid, 1, 0.3), make(images, p_s, grid, 2, 0.3)
    counts = coincidences(t, s)
    assert counts.dtype == torch.int32
    assert counts.tolist() == slow_coincidences(t, s).tolist()


def test_coincidences_of_cells_256_apart_and_of_many_blocks():
    cells = torch.tensor([[0, 300], [300, 44]], dtype=torch.int16)
    t = ResponseTable(cells, torch.ones(2, 2), (20, 20))
    assert coincidences(t, t).tolist() == [[2, 0], [0, 2]]  # 300 and 44 differ by 256
    wide_t, wide_s = make(4, 300, (7, 7), 1), make(4, 1100, (7, 7), 2)  # 300 rows: more than one block
    slow = (wide_t.cells[:, :, None] == wide_s.cells[:, None, :]).sum(0)
    assert (coincidences(wide_t, wide_s) == slow).all()


def test_cell_minima():
    t = make(20, 12, (3, 4), 7, 0.5)
    minima = cell_minima(t)
    assert minima.shape == (20, 12)
    for n in range(20):
        for cell in range(12):
            here = [float(d) for c, d in zip(t.cells[n], t.distances[n], strict=True) if c == cell]
            assert float(minima[n, cell]) == (min(here) if here else inf)


def test_aap():
    t = make(31, 15, (4, 4), 1)
    expected = [sum(len(a) for a in active_sets(t, tau)) / 31 for tau in TAUS]
    assert aap(t, TAUS).tolist() == pytest.approx(expected)
    assert 0 < expected[0] < expected[-1] < 15
    on_threshold = ResponseTable(torch.zeros(1, 1, dtype=torch.int16), torch.tensor([[0.5]]), (2, 2))
    assert aap(on_threshold, (0.5, 0.49, inf)).tolist() == [1, 0, 1]


@pytest.mark.parametrize("empty", ["zero", "skip", "one"])
def test_ajs(empty):
    t, s = make(40, 2, (3, 3), 1), make(40, 3, (3, 3), 12)
    seen_empty = False
    expected = []
    for tau in TAUS:
        values = []
        for a, b in zip(active_sets(t, tau), active_sets(s, tau), strict=True):
            if a | b:
                values.append(len(a & b) / len(a | b))
            elif empty != "skip":
                values.append(1.0 if empty == "one" else 0.0)
            seen_empty |= not a | b
        expected.append(sum(values) / len(values))
    assert seen_empty
    assert ajs(t, s, TAUS, empty=empty).tolist() == pytest.approx(expected)


def test_ajs_of_the_teacher_with_itself():
    t = make(40, 3)
    coded = ajs(t, t)
    assert coded[-1] == 1
    assert coded[0] < 0.9  # switch A11: images without an active patch count 0
    assert (ajs(t, t, empty="skip") == 1).all()
    assert (ajs(t, t, empty="one") == 1).all()


def test_ajs_with_every_set_empty():
    t = make(5, 3)
    below = (1e-9,)
    assert aap(t, below).tolist() == [0]
    assert ajs(t, t, below).tolist() == [0]
    assert ajs(t, t, below, empty="one").tolist() == [1]
    assert isnan(ajs(t, t, below, empty="skip"))


def test_agreement():
    t, s = make(50, 8, seed=1), make(50, 8, seed=2)
    expected = sum(
        int(a == b) for x, y in zip(t.cells.tolist(), s.cells.tolist(), strict=True) for a, b in zip(x, y, strict=True)
    )
    assert agreement(t, s) == pytest.approx(expected / 400)
    assert agreement(t, t) == 1


def test_permute_images():
    t = make(200, 6, (7, 7))
    moved = permute_images(t, torch.Generator().manual_seed(3))
    again = permute_images(t, torch.Generator().manual_seed(3))
    assert torch.equal(moved.cells, again.cells) and not torch.equal(moved.cells, t.cells)

    def rows(table):
        return sorted(map(str, torch.cat((table.cells.float(), table.distances), 1).tolist()))

    assert rows(moved) == rows(t)  # cells and distances moved together, whole images
    assert agreement(t, moved) < 0.1


def test_save_and_load(tmp_path):
    t = make(9, 4, (2, 5))
    path = tmp_path / "deep" / "table.safetensors"
    t.save(path)
    back = ResponseTable.load(path)
    assert torch.equal(back.cells, t.cells) and torch.equal(back.distances, t.distances) and back.grid == (2, 5)
    assert [file.name for file in path.parent.iterdir()] == ["table.safetensors"]
    with pytest.raises(UserError, match="No response table"):
        ResponseTable.load(tmp_path / "none.safetensors")
    path.write_bytes(b"not a table at all")
    with pytest.raises(UserError, match="is not a response table"):
        ResponseTable.load(path)


def test_errors():
    t = make(9, 4)
    for other, word in ((make(8, 4), "images"), (make(9, 4, (9, 1)), "grid")):
        for metric in (ajs, pms, coincidences, agreement):
            with pytest.raises(UserError, match=word):
                metric(t, other)
    for metric in (same_index, agreement):
        with pytest.raises(UserError, match="4 and 5 prototypes"):
            metric(t, make(9, 5))
    with pytest.raises(UserError, match="alphas"):
        pms(t, t, alphas=(0.0,))
    with pytest.raises(UserError, match="empty"):
        ajs(t, t, empty="nought")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="outside 0..3"):
        ResponseTable(t.cells, t.distances, (2, 2))
    with pytest.raises(UserError, match="not finite"):
        ResponseTable(t.cells, t.distances * torch.nan, t.grid)
    with pytest.raises(UserError, match="both must be"):
        ResponseTable(t.cells, t.distances[:5], t.grid)
    with pytest.raises(UserError, match="int16"):
        ResponseTable(t.cells.long(), t.distances, t.grid)


def test_ajs_chance():
    rng = np.random.default_rng(0)
    for a, b, cells in ((6, 21, 49), (35, 40, 49), (3, 2, 9), (1, 1, 4)):
        first = rng.random((40000, cells)).argsort(1) < a
        second = rng.random((40000, cells)).argsort(1) < b
        simulated = ((first & second).sum(1) / (first | second).sum(1)).mean()
        assert ajs_chance(a, b, cells) == pytest.approx(simulated, rel=0.03)
    assert ajs_chance(9, 9, 9) == 1
    assert ajs_chance(0, 0, 9) == ajs_chance(0, 4, 9) == 0
    between = [ajs_chance(a, b, 9) for a in (3, 4) for b in (5, 6)]
    assert ajs_chance(3.5, 5.5, 9) == pytest.approx(sum(between) / 4)
    assert ajs_chance(35.53, 39.31, 49) == pytest.approx(0.62, abs=0.01)  # sizes reported on Cars, tau = infinity
    assert ajs_chance(6.51, 16.20, 49) == pytest.approx(0.105, abs=0.005)  # sizes reported at tau = 0.1
    with pytest.raises(UserError, match="0..49"):
        ajs_chance(50, 3, 49)


@pytest.mark.parametrize(
    ("prototypes", "images", "grid", "repeats"),
    [
        (1, 40, (4, 4), 200),
        (4, 100, (4, 4), 40),
        (10, 20, (4, 4), 40),
        (50, 100, (7, 7), 4),
        (200, 300, (7, 7), 1),
    ],
)
def test_pms_chance(prototypes, images, grid, repeats):
    simulated = [
        pms(make(images, prototypes, grid, 2 * seed), make(images, prototypes, grid, 2 * seed + 1)).value
        for seed in range(repeats)
    ]
    assert pms_chance(prototypes, images, grid[0] * grid[1]) == pytest.approx(np.mean(simulated), rel=0.1)


def test_figures_of_the_paper_notes():
    assert pms_chance(2000, 5794, 49) == pytest.approx(0.079, abs=0.001)
    for rate, value in ((0.05, 0.146), (0.1, 0.293), (0.2, 0.486), (0.5, 0.823), (1.0, 1.0)):
        assert pms_from_agreement(rate) == pytest.approx(value, abs=0.0006)
