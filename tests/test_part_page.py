"""The page "Do they mean the same part?": its sentences, tables and figures, from metric rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_questions import metric_rows, write

from p2p import figures
from p2p.evaluation import part_tables, same_parts
from p2p.evaluation.settings import Setting, read_settings
from p2p.evaluation.triple import triple_parts
from p2p.figures import parts as drawn
from p2p.figures.part_pictures import agreeing, agreements, on_a_part
from p2p.responses import ResponseTable

VALUES = {"teacher": 0.9, "student": 0.6, "baseline": 0.3}
COLUMNS = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]


def part_rows(seeds: int, interventions: bool = True) -> pd.DataFrame:
    rows = []

    def add(role: str, variant: str, seed: int, name: str, value: float, tau: float | None = None) -> None:
        rows.append(("s", "a-b", role, variant, seed, "tuned", name, tau, value))

    drawn_only = ("pointing", "intervention", "intervention_matched", "decisions")
    names = [name for name in same_parts.NAMES if interventions or name not in drawn_only]
    for seed in range(seeds):
        for role, value in VALUES.items():
            for name in names:
                if role == "teacher" and name in same_parts.SHARED:
                    continue
                moved = value + 0.01 * seed * (role == "student")
                add(role, "paper", seed, name, moved - 0.1 * (role == "baseline" and name == "part_transfer"))
                add(role, "paper", seed, f"{name}_permuted", 0.1)
                if name in ("part_transfer", "part_transfer_matched", "same_images", "intervention"):
                    add(role, "paper", seed, f"{name}_chance", 0.2)
            for metric in drawn.CURVES:
                if role != "teacher" or not metric.startswith("part_transfer"):
                    for tau in (0.1, 0.5, 1.0):
                        add(role, "paper", seed, metric, value, tau)
        for name in names:
            add("control", "random", seed, f"{name}_floor", 0.05)
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def settings(tmp_path: Path) -> list[Setting]:
    write(tmp_path / "drawn", "Drawn", 1, pd.concat([metric_rows(3), part_rows(3)]))
    write(tmp_path / "photos", "Photos", 2, pd.concat([metric_rows(2), part_rows(2, interventions=False)]))
    write(tmp_path / "older", "Older", 3, metric_rows(3))
    return read_settings(tmp_path)


def test_the_answer_has_its_interval_and_names_what_is_not_evaluated(settings: list[Setting]) -> None:
    first, second = part_tables.answer(settings)
    low, high = np.array([0.30, 0.31, 0.32]).mean() + np.array([-1, 1]) * 4.3027 * 0.01 / 3**0.5
    assert first.startswith("**Drawn: The student means the teacher's parts more often")
    assert "in 61 of 100 cases (another of its class: 20; trained alone, at best: 30)" in first
    assert f"+0.310, 95 % interval +{low:.3f} to +{high:.3f}, 3 seeds" in first and "correlation of 0.61" in first
    assert "is not decided" in second and "correlation" not in second  # two seeds; nothing to remove
    assert "Not evaluated with this yet: Older" in part_tables.unmeasured(settings)
    assert "Drawn" not in part_tables.unmeasured(settings) and part_tables.unmeasured(settings[:2]) == ""
    assert part_tables.answer(settings[2:]) == [] and part_tables.own_sentence(settings[2:]) == []
    said, few = part_tables.own_sentence(settings)
    assert said.startswith("**Drawn: The student's own explanations are better than those of") and "nan" not in said
    assert (
        f"consistency +0.31, +{low:.2f} to +{high:.2f}; stability" in said and "place that" not in said
    )  # teacher 0.9, student 0.61, baseline 0.3
    assert "is not decided" in few  # two seeds
    assert part_tables.failed_controls(settings) == ""
    frame = settings[0].frame
    lucky = frame["value"].mask(frame["metric"] == "pointing_floor", 0.7)
    failed = part_tables.failed_controls([replace(settings[0], frame=frame.assign(value=lucky))])
    assert "from *place that counts* on Drawn (random network 0.70, student 0.61): it fails its control" in failed
    steady = replace(settings[0], frame=frame.assign(value=lucky.mask(frame["metric"] == "stability_floor", 0.9)))
    assert "from *stability* on Drawn (random network 0.90" in part_tables.failed_controls([steady])
    assert "stability" in part_tables.own_effects(settings[0]) and "stability" not in part_tables.own_effects(steady)


def test_a_smaller_student_is_contradicted(tmp_path: Path) -> None:
    rows = part_rows(3)
    swapped = rows.assign(
        role=rows["role"].map(lambda role: {"student": "baseline", "baseline": "student"}.get(role, role))
    )
    write(tmp_path / "one", "One", 1, pd.concat([metric_rows(3), swapped]))
    (said,) = part_tables.answer(read_settings(tmp_path))
    assert "less often" in said
    (said,) = part_tables.own_sentence(read_settings(tmp_path))
    assert said.startswith("**One: The student's own explanations are worse than those of")
    assert "So are the teacher's" not in said  # they are better, 0.9
    low = rows["value"].mask((rows["role"] == "teacher") & (rows["metric"] == "purity"), 0.1)
    write(tmp_path / "low" / "one", "One", 1, pd.concat([metric_rows(3), swapped.assign(value=low)]))
    (said,) = part_tables.own_sentence(read_settings(tmp_path / "low"))
    assert said.endswith(
        "So are the teacher's, whose way it takes over: purity 0.10 (student 0.30, trained alone 0.61)."
    )


def test_tables_hold_networks_levels_and_ranks(settings: list[Setting]) -> None:
    table = part_tables.parts_table(settings, part_tables.TEACHERS)
    of_drawn = table[table["setting"] == "Drawn"].set_index("network")
    assert list(of_drawn.index) == [
        *("baseline", "student", "random network"),
        *("*baseline, another prototype*", "*baseline, other images*"),
        *("*student, another prototype*", "*student, other images*"),
    ]
    assert of_drawn.loc["student", "same part, by number"] == "0.610 (0.600–0.620)"
    assert of_drawn.loc["random network", "same reaction, matched"] == "0.050 (0.050–0.050)"
    assert set(table["setting"]) == {"Drawn", "Photos"}
    assert table[table["setting"] == "Photos"]["same reaction, matched"].eq("–").all()
    own = part_tables.parts_table(settings[1:2], part_tables.OWN)
    assert "place that counts" not in own and own["network"].tolist()[:3] == ["teacher", "baseline", "student"]
    assert part_tables.parts_table(settings[2:], part_tables.OWN).empty
    ranks = part_tables.ranks_table(settings).set_index(["setting", "measure"])
    assert ranks.loc[("Drawn", "PMS")].tolist() == ["2", "1", "–"]
    assert ranks.loc[("Drawn", "same part, matched")].tolist() == ["2", "1", "3"]


def test_one_evaluation_has_its_table(settings: list[Setting]) -> None:
    frame = settings[0].frame
    table = triple_parts(frame[frame["seed"] == 0])
    assert table["network"].tolist() == ["teacher", "student", "baseline"] and table.loc[1, "purity"] == "0.600"
    assert triple_parts(settings[2].frame).empty


def test_figures_show_every_measure_and_curve(settings: list[Setting]) -> None:
    assert len(drawn.measures(settings[:1]).axes) == len(same_parts.NAMES)
    assert len(drawn.measures(settings[1:2]).axes) == 6  # nothing was removed from photographs
    assert len(drawn.measures(settings[:2]).axes) == len(same_parts.NAMES) + 6
    figure = drawn.curves(settings[:1])
    lines = [line for line in figure.axes[2].lines if len(line.get_xdata()) == 3]
    assert len(figure.axes) == len(drawn.CURVES) and len(lines) == 3 and "<svg" in figures.svg(figure)
    frame = settings[0].frame
    older = frame[~frame["metric"].isin(["stability_over_window", "purity_over_window", "purity_over_images"])]
    assert len(drawn.curves([replace(settings[0], frame=older)]).axes) == len(drawn.CURVES) - 3


def test_pictures_are_chosen_by_rule(tmp_path: Path, settings: list[Setting]) -> None:
    generator = torch.Generator().manual_seed(0)
    tables = [
        ResponseTable(
            torch.randint(16, (9, 5), generator=generator).to(torch.int16),
            torch.rand(9, 5, generator=generator),
            (4, 4),
        )
        for _ in range(2)
    ]
    at = [torch.randint(-1, 3, (9, 5), generator=generator) for _ in range(2)]
    each = torch.tensor([0.2, float("nan"), 1.0, 0.5, 0.1])
    pixels = torch.zeros(9, 3, 32, 32, dtype=torch.uint8)
    far = torch.full((81, 5), 9.0)  # so that the nearest tenth are the nine
    tables = [
        ResponseTable(torch.cat([t.cells, t.cells.repeat(9, 1)]), torch.cat([t.distances, far]), (4, 4)) for t in tables
    ]
    at, pixels = [torch.cat([of, of.repeat(9, 1)]) for of in at], pixels.repeat(10, 1, 1, 1)
    counted = on_a_part(at[0], tables[0].distances)
    assert [len(images) for images in counted] == (at[0][:9] >= 0).sum(0).tolist()
    figure = agreements(pixels, tables, at, ["beak", "wing", "tail"], each, 0.3, 4)
    shares = {2: 100, 3: 50, 4: 10}
    labels = [f"no. {j}\n{share} %\nof {len(counted[j])}" for j, share in shares.items() if len(counted[j]) >= 6]
    assert [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()] == labels and len(labels) > 1
    first = agreeing(each, counted)[0]
    nearest = next(i for i in tables[0].distances[:, first].argsort().tolist() if at[0][i, first] >= 0)
    names = [["no part", "beak", "wing", "tail"][int(of[nearest, first]) + 1] for of in at]
    assert figure.axes[0].get_title() == " | ".join(names) and names[0] != "no part"
    many = [list(range(9))] * 5
    assert agreeing(each, many) == [2, 3, 4] and agreeing(torch.tensor([float("nan")]), many) == []
    assert agreeing(each, [[0], [], [1, 2], list(range(6)), list(range(7))]) == [3, 4]  # two images are too few
    assert agreeing(each, [[0], [], [1], [2], [3]]) == [2, 3, 4]  # unless all have few
    assert part_tables.pictures(tmp_path, settings[0]) == ""
    (tmp_path / "drawn" / "parts.svg").write_text("<svg/>")
    assert "studies/drawn/parts.svg" in part_tables.pictures(tmp_path, settings[0])
