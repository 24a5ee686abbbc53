"""The page "The idea in pictures": birds drawn alone, what the packed networks say of them, and the figures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from p2p.data.images import BIRD_TEST_INDEX, load_images
from p2p.evaluation.idea import PUBLISHED, ROLES, Idea, draw_birds, one_patch, read_idea, what_is_packed
from p2p.evaluation.runs import load_run
from p2p.figures import idea as drawn

NETWORKS = Path(__file__).parents[1] / "networks" / "birds"


@pytest.fixture(scope="module")
def idea() -> Idea:
    return read_idea(NETWORKS, 8)


def test_birds_drawn_alone_are_those_of_the_data_set() -> None:
    params = load_run(NETWORKS / ROLES["teacher"]).params
    few = params.model_copy(update={"bird_train_per_class": 2, "bird_test_per_class": 1, "class_count": 4})
    images = load_images(few)
    pixels, labels = draw_birds(few, [5, BIRD_TEST_INDEX + 2])
    rows = [images.names.index(name) for name in ("bird 5", f"bird {BIRD_TEST_INDEX + 2}")]
    assert torch.equal(pixels, images.pixels[rows]) and labels.tolist() == images.labels[rows].tolist() == [1, 2]


def test_all_three_are_right_about_the_bird_and_show_whole_training_images(idea: Idea) -> None:
    assert {said.predicted for said in idea.told.values()} == {int(idea.labels[idea.chosen])}
    for role, said in idea.told.items():
        patches = load_run(NETWORKS / ROLES[role]).packed.patches
        for one in said.evidence:
            (x, y), pixels = patches[one.prototype].corner, patches[one.prototype].pixels
            side = pixels.shape[1]
            assert torch.equal(one.source[:, y : y + side, x : x + side], pixels)
            assert (one.source != 128).any(0).float().mean() > 0.99  # not grey around the patch


def test_shared_cells_are_counted_by_number(idea: Idea) -> None:
    shared = idea.shared("student")
    for n, j in ((0, 0), (3, 7), (7, 39)):
        assert bool(shared[n, j]) == (idea.cells["teacher"][n, j] == idea.cells["student"][n, j]).item()
    assert idea.shared("teacher").all()
    of, cells = idea.cells["teacher"], idea.cells["student"]
    met = [(of[n] == cells[m]).float().mean().item() for n in range(8) for m in range(8) if n != m]
    assert idea.by_chance("student") == pytest.approx(sum(met) / len(met))


def test_prototypes_that_are_one_patch_are_named_by_rank(idea: Idea) -> None:
    said = idea.told["student"]
    first, second, third = (replace(one, source_name=f"bird {n}") for n, one in enumerate(said.evidence[:3]))
    assert one_patch(replace(said, evidence=(first, second, third)), 3) == ""
    again = replace(third, source_name=first.source_name, source_cell=first.source_cell)
    twice = replace(said, evidence=(first, second, again))
    assert one_patch(twice, 3).endswith("prototypes of the student: ranks 1 and 3.") and one_patch(twice, 2) == ""


def test_what_the_packed_networks_are_is_read_from_their_records_and_cards(tmp_path: Path) -> None:
    shutil.copytree(NETWORKS, tmp_path / "birds")
    (seed,) = {load_run(NETWORKS / folder).params.seed for folder in ROLES.values()}
    told = what_is_packed(tmp_path / "birds")
    assert told == f"The packed networks are the published runs of seed {seed}, stored in half precision."
    card = tmp_path / "birds" / ROLES["student"] / "README.md"
    card.write_text(card.read_text().replace(PUBLISHED, "It is not the published run of its seed itself."))
    assert "not all of them published" in what_is_packed(tmp_path / "birds")


def test_figures_show_what_was_found(idea: Idea) -> None:
    said = idea.told["student"]
    assert len(drawn.this_like_that(said).axes) == 1 + 2 * drawn.SHOWN
    active = idea.cells["teacher"][idea.chosen].unique()
    pulls = drawn.pulls(idea)
    assert [len(ax.patches) for ax in pulls.axes[:2]] == [len(active)] * 2
    best = int(idea.shared("student").sum(0).argmax())
    titles = [ax.get_title() for ax in drawn.same_places(idea, "student", best).axes]
    assert titles.count("same cell") == int(idea.shared("student")[:, best].sum()) > 0
