"""The chosen student beside the paper's and an ordinary classifier: words that follow the intervals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_variants import BOTH

from p2p.evaluation import today
from p2p.evaluation.claims import claims, paired
from p2p.evaluation.settings import Setting
from p2p.figures.questions import effects
from p2p.study.study import load_study

ROOT = Path(__file__).parents[1]
STUDENTS = {"paper": {"distillation": BOTH}, "shared": {"distillation": BOTH, "push": "shared"}}
TOP1 = {"baseline": 0.7, "paper": 0.8, "shared": 0.83, "linear": 0.82}
NOISE = (0.0, 0.01, -0.01, 0.004)  # by seed, the same for all: differences within seeds do not see it


def write(results: Path, name: str = "today-x", slip: float = 0.0) -> None:
    """Results of four seeds; slip: how much seed 3 of the chosen student misses."""
    rows = []
    for seed, noise in enumerate(NOISE):
        for role, variant in (
            ("teacher", "paper"),
            ("baseline", "paper"),
            ("student", "paper"),
            ("student", "shared"),
            ("control", "linear"),
        ):
            which = variant if role in ("student", "control") else role
            values = {"top1": TOP1.get(which, 0.9) + noise - slip * (which == "shared" and seed == 3)}
            if role != "control":
                values |= {"projection_error": 0.0, "pms": 0.5, "pms_permuted": 0.2, "source_on_object": 0.9}
            if role == "student":
                values |= {"r2": 0.8 - 0.1 * (which == "shared"), "same_source_image": 0.1 + 0.9 * (which == "shared")}
            rows += [("s", "a-b", role, variant, seed, "tuned", key, None, value) for key, value in values.items()]
    columns = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
    frame = pd.DataFrame(rows, columns=columns)
    folder = results / name
    folder.mkdir(parents=True)
    facts = {"study": name, "title": "Today", "order": 1, "images": "drawn", "variant": "paper", "compares": True}
    facts |= {"variants": STUDENTS, "controls": {"linear": "baseline"}}
    (folder / "study.json").write_text(json.dumps(facts))
    frame.to_csv(folder / "metrics.csv", index=False)
    claims(frame).to_csv(folder / "claims.csv", index=False)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    write(tmp_path)
    write(tmp_path, "losses-x")  # another topic
    (found,) = today.today_settings(tmp_path)
    return found


def test_the_last_student_is_the_chosen_one_and_is_judged_within_seeds(setting: Setting) -> None:
    assert today.chosen(setting) == "shared"
    gap = today.behind_classifier(setting, "shared")
    assert (gap.n, round(gap.mean, 6)) == (4, 0.01)
    rows = today.moved(setting).set_index("metric")
    assert rows.loc["top1", "difference"] == pytest.approx(0.03) and rows.loc["top1", "word"] == "better"
    assert rows.loc["r2", "word"] == "worse" and rows.loc["pms", "word"] == "no worse"
    assert rows.loc["same_source_image", "word"] == "better"


def test_the_sentences_say_what_the_intervals_say(tmp_path: Path, setting: Setting) -> None:
    first, gap, moved = today.sentences(setting)
    assert "*shared*, is right in 0.831 of" in first
    assert "trained alone in 0.701" in first and "4 seeds" in first
    assert "+0.010" in gap and gap.endswith("above it.")
    assert "R² −0.100 (−0.100 to −0.100), *worse*" in moved and "PMS 0.000" in moved and "*no worse*" in moved
    write(tmp_path / "other", slip=0.2)
    (unsure,) = today.today_settings(tmp_path / "other")
    assert "not decided" in today.sentences(unsure)[1]
    assert today.moved(unsure).set_index("metric").loc["top1", "word"] == "not decided"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.005, 0.004, 0.006], "above it"),
        ([-0.005, -0.004, -0.006], "no more than a point below it"),
        ([-0.03, -0.031, -0.029], "more than a point below it"),
        ([-0.03, 0.03, 0.0], "whether it comes within a point is not decided"),
    ],
)
def test_how_near_to_the_classifier(values: list[float], words: str) -> None:
    assert today._near(paired(pd.Series(values).to_numpy())) == words


def test_the_chosen_student_is_confirmed_on_classes_that_no_search_has_seen() -> None:
    found, other, base = (load_study(ROOT / "params" / f"{n}.yaml") for n in ("today-cub-20", "today-cub-10", "cub-20"))
    assert (found.variants, found.recipe, found.triples) == (other.variants, other.recipe, other.triples)
    searched = set(range(0, 200, found.data["class_step"]))
    assert found.data == base.data and searched.isdisjoint(
        range(other.data["class_first"], 200, other.data["class_step"])
    )
    assert set(found.seeds).isdisjoint(base.seeds)


def test_the_page_is_drawn_where_there_is_a_study(tmp_path: Path, setting: Setting) -> None:
    out = tmp_path / "33_today.ipynb"
    command = [
        sys.executable,
        str(ROOT / "notebooks" / "execute.py"),
        str(ROOT / "notebooks" / "33_today.py"),
        str(out),
    ]
    done = subprocess.run(
        [*command, "--parameters", json.dumps({"results": str(tmp_path)})], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    text = out.read_text()
    assert "the chosen student, *shared*" in text and "image/svg+xml" in text and "ordinary classifier" in text


def test_table_and_figure_name_all_networks(setting: Setting) -> None:
    table = today.networks_table(setting)
    assert [name.split("<")[0] for name in table["network"]] == [
        *("*ordinary classifier*", "*trained alone*", "paper", "shared", "*teacher*")
    ]
    assert "push shared" in table["network"][3] and table["R²"].tolist()[:2] == ["–", "–"]
    rows = today.drawn([setting])
    assert set(rows["control"]) >= {"top-1", "R²", "same source image"}
    assert len(effects(rows, tuple(set(rows["metric"]))).axes) == 1
