"""The metrics judged on networks: damaged maps, moved pictures, objects in the middle; and ranked against the truth."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from p2p import figures
from p2p.data.images import ImageSet
from p2p.evaluation import judged_maps, judgement, ranking
from p2p.evaluation.claims import claims, paired
from p2p.evaluation.settings import read_settings
from p2p.figures import judged as drawn
from p2p.mimicry import MapR2
from p2p.networks import PROTOTYPE_LAYERS
from p2p.responses import ResponseTable

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.numeric


class Eye(nn.Module):
    """A network whose map is the picture, 4 pixels a cell; blind, it always sees the same map."""

    def __init__(self, blind: bool = False, sees: str = "all") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.prototypes = nn.Parameter(torch.rand(6, 3, generator=generator), requires_grad=False)
        self.layer, self.blind, self.sees = PROTOTYPE_LAYERS["distance"], blind, sees
        self.fixed = torch.rand(1, 3, 8, 8, generator=generator)

    def add_on_map(self, images: Tensor) -> Tensor:
        z = avg_pool2d(images.float() / 255, 4)
        if self.sees == "middle":  # what stands elsewhere it does not see; the object's pixels are marked by blue 255
            marked = (images[:, 2, 12:20, 12:20] == 255).flatten(1).any(1)
            z = torch.where(marked[:, None, None, None], z, self.fixed)
        return self.fixed.expand(len(images), -1, -1, -1) if self.blind else z


def pictures(count: int = 40) -> ImageSet:
    """Random pictures with an object, a blue square: in the middle of the first half, in a corner of the others."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 255, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, 32, 32, dtype=torch.uint8)
    for i in range(count):
        start = 14 if i < count // 2 else 1
        pixels[i, 2, start : start + 4, start : start + 4] = 255
        masks[i, start : start + 4, start : start + 4] = 1
    labels, split = torch.zeros(count, dtype=torch.int64), torch.full((count,), 2, dtype=torch.uint8)
    names = tuple(f"picture {i}" for i in range(count))
    return ImageSet(pixels, labels, split, ("one", "two"), names, masks=masks)


def test_noise_is_a_share_of_the_variance() -> None:
    z = torch.randn(40, 5, 8, 8, generator=torch.Generator().manual_seed(0)) * 3 + 1
    for share in (0.0, 0.25, 1.0):
        found, followed = judged_maps.noisy(z, share, torch.Generator().manual_seed(2)), MapR2()
        followed.add(found, z)
        assert found.std().item() == pytest.approx(z.std().item(), rel=0.02)
        assert followed.value() == pytest.approx(2 * (1 - share) ** 0.5 - 1, abs=0.03)


def test_blur_is_the_mean_of_the_cells_around() -> None:
    z = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    ones = ndimage.uniform_filter(np.ones((5, 4)), 3, mode="constant")
    for image in range(3):
        for channel in range(2):
            around = ndimage.uniform_filter(z[image, channel].double().numpy(), 3, mode="constant") / ones
            found = judged_maps.blurred(z, 0.75, torch.Generator())[image, channel].numpy()
            assert found == pytest.approx(0.25 * z[image, channel].numpy() + 0.75 * around, abs=1e-6)


def test_a_perfect_student_loses_with_its_map() -> None:
    rows = pd.DataFrame(
        judged_maps.damaged_maps(Eye(), pictures(), 0),  # type: ignore[arg-type]
        columns=["what", "level", "network", "measure", "value", "chance"],
    )
    for (_, measure), part in rows.groupby(["what", "measure"]):
        assert part["value"].iloc[0] == pytest.approx(1, abs=1e-6)
        assert part["value"].iloc[-1] < 0.6 or measure == "same number"
    ends = rows[(rows["what"] == "noisy map") & (rows["level"] == 1)].set_index("measure")
    assert ends.loc["PMS", "value"] == pytest.approx(ends.loc["PMS", "chance"], abs=0.1)


def test_answers_are_mirrored_cell_by_cell() -> None:
    table = ResponseTable(torch.arange(20, dtype=torch.int16)[None], torch.rand(1, 20), (4, 5))
    cells = [row * 5 + 4 - column for row in range(4) for column in range(5)]
    assert judged_maps.mirrored(table).cells.tolist() == [cells]


def test_pictures_are_moved_to_the_right() -> None:
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 1, 2, 6).repeat(1, 3, 1, 1)
    assert judged_maps.shifted(pixels, 2)[0, 0].tolist() == [[0, 0, 0, 1, 2, 3], [6, 6, 6, 7, 8, 9]]


def test_who_sees_goes_along_and_who_is_blind_stays() -> None:
    networks = {"teacher": Eye(), "student": Eye(blind=True), "baseline": Eye()}
    found = list(judged_maps.moved_pictures(networks, pictures(), 0))  # type: ignore[arg-type]
    by = {(what, network, measure): value for what, _, network, measure, value, _ in found}
    assert by["mirrored", "teacher", "goes along"] == 1 and by["mirrored", "student", "stays"] == 1
    assert by["moved picture", "teacher", "goes along"] > 0.9 and by["moved picture", "student", "stays"] == 1
    assert by["mirrored", "teacher", "stays"] < 0.3 and by["moved picture", "student", "goes along"] == 0
    assert by["mirrored", "baseline", "same cell"] == by["mirrored", "teacher", "stays"]  # its own teacher, mirrored


def test_halves_are_told_apart_by_where_the_object_stands() -> None:
    networks = {"teacher": Eye(), "student": Eye(sees="middle"), "baseline": Eye(blind=True)}
    found = judged_maps.in_the_middle(networks, pictures(), 0)  # type: ignore[arg-type]
    by = {(level, network, measure): value for _, level, network, measure, value, _ in found}
    assert by[1.0, "student", "same cell"] == 1 and by[0.0, "student", "same cell"] < 0.3
    assert list(judged_maps.in_the_middle(networks, replace(pictures(), masks=None), 0)) == []  # type: ignore[arg-type]


def test_without_packed_networks_there_are_no_rows(tmp_path: Path) -> None:
    assert judged_maps.rows_of_networks(tmp_path) == []


def test_the_committed_rows_are_told_and_drawn() -> None:
    rows = judgement.of_networks(judgement.read_judged(ROOT / "results", {"birds": "Drawn <birds>"}))
    said = judgement.map_verdicts(rows)
    assert len(said) == 2 and not any("nan" in sentence for sentence in said)
    table = judgement.moved_table(rows)
    assert list(table["network"]) == ["teacher", "student", "baseline"] and table.notna().all().all()
    assert len(drawn.maps(rows).axes) == 2 and "<svg" in figures.svg(drawn.maps(rows))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A study of eight students and a baseline, three seeds: PMS ranks them as the truth does, AJS the other way."""
    rows = []
    for seed in range(3):
        for i in range(9):
            who = ("baseline", "paper") if i == 8 else ("student", "paper" if i == 0 else f"v{i}")
            values = {"pms": 0.1 * i, "pms_permuted": 0.0, "ajs_quarter": 0.9 - 0.1 * i, "ajs_quarter_permuted": 0.0}
            values |= {"part_transfer_matched": 0.05 * i, "part_transfer_matched_permuted": 0.0, "top1": 0.5}
            values |= {"agreement": 0.1 * (i if seed else (i + 4) % 9), "agreement_permuted": 0.0}
            rows += [("s", "a-b", *who, seed, "tuned", name, None, value) for name, value in values.items()]
        rows.append(("s", "a-b", "teacher", "paper", seed, "tuned", "top1", None, 0.9))
    columns = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
    frame, folder = pd.DataFrame(rows, columns=columns), tmp_path / "s"
    folder.mkdir()
    facts = {"study": "s", "title": "Many <i>", "order": 1, "images": "drawn", "variant": "paper", "compares": True}
    (folder / "study.json").write_text(json.dumps(facts | {"variants": {}}))
    frame.to_csv(folder / "metrics.csv", index=False)
    claims(frame).to_csv(folder / "claims.csv", index=False)
    return tmp_path


def test_measures_are_ranked_against_the_truth(many: Path) -> None:
    found = ranking.ranked(read_settings(many, every=True))
    by = {one.measure: one for one in found}
    assert set(by) == {"pms", "ajs_quarter", "agreement"}  # accuracies are all alike, the others were not measured
    assert by["pms"].rho.mean == pytest.approx(0.999) and by["ajs_quarter"].rho.mean == pytest.approx(-0.999)
    assert by["pms"].students == 9 and by["pms"].rho.n == 3
    order, moved = np.arange(9), (np.arange(9) + 4) % 9  # no ties: ρ = 1 − 6 Σd² / (n (n² − 1))
    rho = 1 - 6 * ((order - moved) ** 2).sum() / (9 * 80)
    z = paired(np.arctanh([rho, 0.999, 0.999]))
    told = by["agreement"].rho
    assert (told.mean, told.low, told.high) == pytest.approx(tuple(np.tanh([z.mean, z.low, z.high])))
    assert -1 < told.low < told.high < 1
    table = ranking.ranks_table(found).set_index("measure")
    assert table.loc["PMS", "same part, matched"].startswith("+1.00") and table.loc["PMS", "students"] == "9"
    said = ranking.ranks_answer(found)
    assert said.endswith("AJS, quarter −1.00 (−1.00 to −1.00).") and "PMS +1.00 (+1.00 to +1.00)" in said
    assert "? Of Many \\<i\\> (9 students a seed or more, 3 seeds), by Spearman's ρ: " in said
    shutil.copytree(many / "s", many / "t")
    frame = pd.read_csv(many / "t" / "metrics.csv")
    other = frame["role"].eq("student") & frame["variant"].ne("paper")  # the paper's and the baseline are the same runs
    frame.loc[other & frame["metric"].eq("pms"), "value"] = 0.45  # PMS of the others: all alike
    frame.to_csv(many / "t" / "metrics.csv", index=False)
    found = ranking.ranked(read_settings(many, every=True))
    whole = {one.measure: one for one in found if not one.study}
    pms = [0.1 * i for i in range(9)] + [0.45] * 7
    parts = [0.05 * i for i in range(9)] + [0.05 * i for i in range(1, 8)]
    assert whole["pms"].students == 16 and len(found) == 3 * 3
    assert whole["pms"].rho.mean == pytest.approx(spearmanr(pms, parts).statistic)
    assert ranking.ranks_answer(found).count("students a seed") == 1
    assert ranking.ranked([]) == [] and ranking.ranks_answer([]) == "" and ranking.ranks_table([]).empty
