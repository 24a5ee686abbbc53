"""The metrics judged: damage of a known amount, and what the tables and sentences make of the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from p2p import metrics
from p2p.evaluation import judge, judged, judgement
from p2p.evaluation.judged import coarser, fewer_prototypes, measured, misplaced, moved, renumbered, rows_of, scaled
from p2p.evaluation.kept import Kept
from p2p.figures import judged as drawn
from p2p.responses import ResponseTable, cell_minima, quarter_tau
from p2p.study.checksums import checksums, damaged

pytestmark = pytest.mark.numeric


def answers(images: int = 60, prototypes: int = 12, grid: tuple[int, int] = (5, 4), seed: int = 0) -> ResponseTable:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, grid[0] * grid[1], (images, prototypes), generator=generator).to(torch.int16)
    return ResponseTable(cells, torch.rand(images, prototypes, generator=generator), grid)


def kept(table: ResponseTable) -> Kept:
    return Kept(table, torch.zeros(len(table.cells)), torch.zeros(2, table.cells.shape[1]), 1)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_renumbered_moves_that_share_and_no_place(share: float) -> None:
    table = answers()
    found = renumbered(table, share, torch.Generator().manual_seed(1))
    own = {tuple(column) for column in table.cells.T.tolist()}
    assert {tuple(column) for column in found.cells.T.tolist()} == own
    changed = (found.cells != table.cells).any(0)
    assert int(changed.sum()) == round(share * 12)
    assert metrics.pms(table, found).value == pytest.approx(1)
    assert metrics.same_index(table, found) == pytest.approx(1 - share)
    assert torch.equal(cell_minima(found), cell_minima(table))  # so AJS sees nothing


def test_misplaced_moves_that_share_of_answers() -> None:
    table = answers(400)
    found = misplaced(table, 0.5, torch.Generator().manual_seed(1))
    same = float((found.cells == table.cells).double().mean())
    assert same == pytest.approx(0.5 + 0.5 / 20, abs=0.02)  # one in twenty random cells is the right one
    assert torch.equal(found.distances, table.distances)


def test_moved_by_hand() -> None:
    cells = torch.tensor([[0, 2, 3, 7, 18]], dtype=torch.int16)  # of a grid with four columns
    found = moved(ResponseTable(cells, torch.rand(1, 5), (5, 4)), 2, torch.Generator())
    assert found.cells.tolist() == [[2, 3, 3, 7, 19]]


def test_scaled_keeps_every_place() -> None:
    table = answers()
    found = scaled(table, 4, torch.Generator())
    assert torch.equal(found.cells, table.cells) and torch.equal(found.distances, 4 * table.distances)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_coarser_against_pooled_distances(factor: int) -> None:
    """The nearest coarse cell of a full distance map, pooled by its smallest value, is the one that is computed."""
    height, width = 5, 4
    maps = torch.rand(7, 3, height, width, generator=torch.Generator().manual_seed(2))
    flat = maps.flatten(2).min(2)
    found = coarser(ResponseTable(flat.indices.to(torch.int16), flat.values, (height, width)), factor)
    tall, wide = -(-height // factor), -(-width // factor)
    pooled = torch.full((7, 3, tall, wide), float("inf"))
    for row in range(height):
        for column in range(width):
            at = pooled[:, :, row // factor, column // factor]
            pooled[:, :, row // factor, column // factor] = torch.minimum(at, maps[:, :, row, column])
    assert found.grid == (tall, wide)
    assert torch.equal(found.cells.long(), pooled.flatten(2).min(2).indices)


def test_fewer_prototypes() -> None:
    table = answers()
    assert fewer_prototypes(table, 0.5).cells.shape == (60, 6)
    twice = fewer_prototypes(table, 2.0)
    assert twice.cells.shape == (60, 24) and torch.equal(twice.cells[:, 0], table.cells[:, 0])


def test_measures_are_one_for_the_same_answers_and_none_at_chance() -> None:
    table = answers(300)
    own = measured(table, table, quarter_tau(table), torch.Generator().manual_seed(0))
    assert set(own) == set(judgement.ORDER)
    assert all(value.corrected == pytest.approx(1) for value in own.values())
    other = measured(table, answers(300, seed=9), quarter_tau(table), torch.Generator().manual_seed(0))
    assert all(abs(value.corrected) < 0.12 for value in other.values())


def test_seeds_needed_is_the_first_number_whose_interval_excludes_none() -> None:
    values = np.array([0.05, 0.01, 0.03, 0.08])
    needed = judged.seeds_needed(values)
    assert needed is not None
    for n in (needed - 1, needed):
        half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5
        assert (values.mean() > half) == (n == needed)
    assert judged.seeds_needed(-values) is None
    assert judged.seeds_needed(np.array([0.01, -0.009, 0.0])) is None


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Three seeds of a student that follows its teacher in half of the answers, and of a baseline that does not."""
    found = []
    for seed in range(3):
        teacher = answers(120, seed=100 + seed)  # not the seed of the damage
        student = misplaced(teacher, 0.5, torch.Generator().manual_seed(seed))
        others = {"student": kept(student), "baseline": kept(answers(120, seed=50 + seed))}
        found += [("own", "a-b", seed, *row) for row in rows_of(kept(teacher), others, seed)]
    place = tmp_path_factory.mktemp("results")
    (place / judged.PLACE).mkdir()
    pd.DataFrame(found, columns=list(judged.COLUMNS)).to_csv(place / judged.PLACE / "metrics.csv", index=False)
    return judgement.read_judged(place, {"own": "Own <images>"})


def test_the_truth_is_found_where_it_is_known(rows: pd.DataFrame) -> None:
    assert judgement.kept_share(rows, "misplaced", 0.5, "same cell")["Own <images>"] == pytest.approx(0.5, abs=0.05)
    assert judgement.kept_share(rows, "scaled", 0.25, "PMS")["Own <images>"] == pytest.approx(1)
    assert judgement.kept_share(rows, "scaled", 0.25, "AJS, quarter")["Own <images>"] < 0.9
    differences = judgement.effects(rows)["Own <images>", "same cell"]
    assert differences.mean() == pytest.approx(0.5, abs=0.1) and len(differences) == 3


def test_tables_and_sentences(rows: pd.DataFrame) -> None:
    table = judgement.needed_table(rows)
    assert list(table["measure"]) == list(judgement.ORDER) and set(table["setting"]) == {r"Own \<images\>"}
    assert table.loc[table["measure"] == "same cell", "seeds needed"].item() in {"2", "3"}
    assert judgement.images_needed(rows, "Own <images>", "same cell") == 25
    sizes = judgement.size_table(rows)
    assert {"each twice", "half the grid"} <= set(sizes.columns) and set(sizes["setting"]) == {"Own \\<images\\>"}
    assert sizes[sizes["measure"] == "PMS"]["all"].iloc[0] != "–"
    damage = judgement.damage_table(rows).set_index("measure")
    assert damage.loc["same number", "½ renumbered"] == "0.45"  # six of twelve, corrected for one in twelve
    said = judgement.verdicts(rows)
    assert len(said) == 5 and "25 images to all" in said[2]
    assert judgement.map_verdicts(rows) == [] and judgement.of_networks(rows).empty
    drawn.damage(rows), drawn.fewer(rows)


def test_files(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    assert judgement.read_judged(tmp_path, {"own": "Own"}).empty
    with refuses("kept answers", "make study"):
        judge.judge(tmp_path, [], tmp_path / "networks")
    (tmp_path / judged.PLACE).mkdir()
    (tmp_path / judged.PLACE / "metrics.csv").write_text("study,seed\na,1\n")
    with refuses("metrics.csv", "'chance'", "make judge"):
        judgement.read_judged(tmp_path, {"a": "A"})


def test_what_is_judged_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pd.DataFrame([["own", "a-b", 0, *[1.0] * (len(judged.COLUMNS) - 3)]], columns=list(judged.COLUMNS))
    answers = tmp_path / "results" / "own" / "answers" / "a.npz"
    answers.parent.mkdir(parents=True)
    answers.write_bytes(b"1")
    monkeypatch.setattr(judge, "judge", lambda *places: (made, [answers]))
    monkeypatch.setattr(judge, "project_path", lambda name: tmp_path / name)
    assert judge.main([]) == 0
    out = tmp_path / "results" / judged.PLACE
    assert set(checksums(out, "judge")) == {"metrics.csv", "metrics.json", "../own/answers/a.npz"}
    assert damaged(out, "judge") == [] and judgement.outdated(tmp_path / "results", {"own": "O"}) == ""
    answers.write_bytes(b"2")  # trained anew
    told = judgement.outdated(tmp_path / "results", {"own": "Own <b>", "b": "B"})
    assert told == r"**Judged before the networks of Own \<b\> were trained anew: `make judge`.**"


def test_the_published_judgement_is_of_the_published_answers() -> None:
    out = Path(__file__).parents[1] / "results" / judged.PLACE
    assert len(checksums(out, "judge")) > 2 and damaged(out, "judge") == []
