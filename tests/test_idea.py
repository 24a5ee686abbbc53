"""The page "The idea in pictures": birds drawn alone, what the packed networks say of them, and the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from p2p.data.images import BIRD_TEST_INDEX, load_images
from p2p.evaluation.idea import ROLES, Idea, draw_birds, read_idea
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


def test_figures_show_what_was_found(idea: Idea) -> None:
    said = idea.told["student"]
    assert len(drawn.this_like_that(said).axes) == 1 + 2 * drawn.SHOWN
    active = idea.cells["teacher"][idea.chosen].unique()
    pulls = drawn.pulls(idea)
    assert [len(ax.patches) for ax in pulls.axes[:2]] == [len(active)] * 2
    best = int(idea.shared("student").sum(0).argmax())
    titles = [ax.get_title() for ax in drawn.same_places(idea, "student", best).axes]
    assert titles.count("same cell") == int(idea.shared("student")[:, best].sum()) > 0
