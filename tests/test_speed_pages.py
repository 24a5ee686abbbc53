"""Tables and sentences of the pages on speed, and what breaks on paper, from numbers that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pandas as pd
import pytest
import torch

from benchmarks import findings, growth, page, paper, tables, where
from benchmarks.parts import Measured, keep_records, measure_page, seal_page
from benchmarks.timing import COLUMNS
from p2p.study.checksums import checksums
from p2p.study.speed_params import GrowthParams, ProfileParams, SpeedParams

CPU = torch.device("cpu")


def speed() -> pd.DataFrame:
    rows = [
        ("training step", "r K=2", 2.0, "classic", 3.0, 1.5, 1.4, 1.6),
        ("training step", "r K=2", 2.0, "CaBRNet 1.2", 2.2, 1.1, 1.0, 1.2),
        ("training step", "v K=2", 2.0, "classic", 6.0, 3.0, 2.9, 3.1),
        ("decision layer", "r K=2", 1.0, "classic, 10 passes", 5.0, 5.0, None, None),
        ("decision layer", "r K=2", 1.0, "classic, 20 passes", 0.5, 0.5, 0.4, 0.6),
    ]
    return pd.DataFrame([(w, s, "cpu", 3, *rest) for w, s, *rest in rows], columns=COLUMNS)


def points() -> pd.DataFrame:
    rows = [("ours", 10.0, 0.5, "a"), ("ours", 20.0, 0.8, "b"), ("ours, short run", 5.0, 0.7, "c")]
    rows += [("CaBRNet 1.2", 50.0, 0.6, "d"), ("CaBRNet 1.2", 300.0, 0.6, "e")]
    return pd.DataFrame(rows, columns=["who", "seconds", "accuracy", "stage"])


def costs() -> pd.DataFrame:
    rows = [("teacher", "paper", "m", 0, 100, 0.5), ("teacher", "paper", "m", 1, 200, 0.7)]
    rows += [("control", "official-3", "m", 0, 300, 0.6), ("control", "official-3", "m", 1, 400, 0.8)]
    rows += [("student", "paper", "other", 0, 1, 0.1)]
    found = pd.DataFrame(rows, columns=["role", "variant", "network", "seed", "image_passes", "test"])
    return found.assign(validation=found.test)


def whole() -> Measured:
    scores, spent = {"start": 2.0, "ours": 1.25}, tables.recipe_costs(costs())
    return Measured(speed(), {"training step": 1.2}, "cpu", scores, points(), 0.6, spent, None)


def test_ratio_table_has_a_column_a_kind_of_peer() -> None:
    found = tables.ratio_table(speed()).set_index(["work", "shape"])
    step = found.loc[("training step", "r K=2")]
    assert step["classic"] == "1.50 (1.40–1.60)" and step["CaBRNet"] == "1.10 (1.00–1.20)" and step["sets"] == "–"
    assert found.loc[("decision layer", "r K=2"), "classic"] == "10 passes 5.00<br>20 passes 0.50 (0.40–0.60)"


def test_race() -> None:
    assert tables.race_target(points()) == 0.6
    found = tables.race_table(points()).set_index("who")
    assert found.loc["ours"].tolist() == ["0.800", "20", "b"] and found.loc["CaBRNet 1.2"].tolist() == [
        "0.600",
        "50",
        "d",
    ]
    assert "(0.800) by its last evaluation, 15.0 times the seconds" in findings.beyond_the_race(points(), 0.6)
    assert findings.beyond_the_race(points(), 0.8) == ""
    alone = points()[:3]
    assert tables.race_target(alone) != tables.race_target(alone)  # nan


def test_recipes_are_compared_within_seeds_and_with_the_network_of_the_teacher() -> None:
    found = tables.recipe_costs(costs())
    assert found.ratio.tolist() == [1, 1, 3, 2]
    shown = tables.recipe_table(found).set_index("recipe")
    assert shown.loc["official-3"].tolist() == [2, "350", "2.50", *["0.700 (0.600–0.800)"] * 2]
    assert findings.pass_line(found) == [
        "Image passes of the released schedule, against the lean recipe (test accuracy 0.600): "
        "official-3 2.5 times as many (0.700)."
    ]
    assert findings.pass_line(found[found.role == "teacher"]) == []


def test_findings_of_a_full_page_and_of_an_empty_one() -> None:
    text = page.summed_up(whole())
    head, *lines = text.split("\n")
    assert head.startswith("The fastest peer's time over ours, on cpu (")
    assert lines[1] == "- training step: r **1.10 (1.00–1.20)**, v **3.00 (2.90–3.10)**; target 1.2, *met in part*."
    assert lines[2] == "- The decision layer with the lowest objective: *ours* (1.250)."
    assert "classic, 20 passes is faster" in lines[3] and lines[4].startswith("- Image passes of the released")
    nothing = replace(whole(), frame=speed()[:0], scores={}, points=points()[:0], target=None, costs=None)
    assert page.summed_up(nothing).endswith(":\n\n")
    assert page.objectives(nothing) == page.race(nothing, 600) == page.recipes(nothing) == []
    assert page.targets(nothing)[-1] == "No peer is faster in any row."


def test_sections_of_the_page_are_tables_with_their_names() -> None:
    found = whole()
    texts = (
        page.ratios(found) + page.targets(found) + page.objectives(found) + page.race(found, 600) + page.recipes(found)
    )
    for name in ("ratios", "targets", "objectives", "race", "recipes"):
        assert sum(f":name: tab-{name}\n" in text for text in texts) == 1
    assert any("23,600 times" in text for text in texts) and any("cap is 600 s" in text for text in texts)
    assert page.setting(CPU)[-1].startswith("Machine: ")


def test_parts_left_out_stay_as_they_were(tmp_path, refuses) -> None:  # type: ignore[no-untyped-def]
    params = SpeedParams(parts=[], recipes_study="none")
    found = measure_page(params, CPU, tmp_path / "speed")
    assert found.frame.empty and found.scores == {} and found.target is None and found.costs is None and found.where
    speed().to_csv(tmp_path / "speed" / "speed.csv", index=False)
    points().to_csv(tmp_path / "speed" / "end_to_end.csv", index=False)
    again = measure_page(params, CPU, tmp_path / "speed")
    assert len(again.frame) == 5 and again.target == 0.6 and again.where == "cpu"
    seal_page(tmp_path / "speed")
    assert set(checksums(tmp_path / "speed", "09_speed")) == {"speed.csv", "end_to_end.csv", "study.json"}
    assert len(measure_page(params, CPU, tmp_path / "speed").frame) == 5
    (tmp_path / "speed" / "end_to_end.csv").write_text("who,seconds\n")
    with refuses("end_to_end.csv", "damaged", "make speed"):
        measure_page(params, CPU, tmp_path / "speed")
    assert keep_records(tmp_path, ["steps"], {"date": 1}) == {"steps": {"date": 1}}
    assert keep_records(tmp_path, ["push"], {"date": 2}) == {"steps": {"date": 1}, "push": {"date": 2}}
    record = {"date": "today", "commit": "c", "versions": {"torch": "2"}}
    assert (
        findings.measured_when({"push": record}, "cpu") == "Machine: cpu. Measured: push: today, commit `c`, torch 2."
    )


# ------------------------------------------------------------------------------------------------------------ growth

PARAMS = GrowthParams(
    **{"network": "small", "grids": [4, 8], "sizes": [32, 64], "images": [4, 8], "table_images": [10, 20, 40]},  # type: ignore[arg-type]
    **{"target_images": 100_000, "target_classes": 1000, "memory_gb": 1.0},  # type: ignore[arg-type]
)


def grown() -> pd.DataFrame:
    """Every quantity takes P / 100 seconds and P² bytes."""
    rows = [
        (quantity, "prototypes", p, p / 100, p / 100, p / 100, p**2)
        for quantity in growth.WORKS
        for p in (100, 200, 400)
    ]
    return pd.DataFrame(rows, columns=growth.COLUMNS)


def test_plan_of_the_page_covers_every_quantity() -> None:
    points = growth.page_plan(PARAMS)
    assert {quantity for quantity, *_ in points} == set(growth.WORKS)
    steps = {(axis, at): shape for quantity, axis, at, shape in points if quantity == "training pass"}
    assert steps["prototypes", 500].prototypes == 500 and steps["images", 8].prototypes == 2000
    metrics = {(axis, at): shape for quantity, axis, at, shape in points if quantity == "AJS"}
    assert metrics["images", 40].prototypes == 1000 and metrics["prototypes", 500].images == 20


def test_needs_break_where_their_bytes_fill_the_memory() -> None:
    found = paper.needs(PARAMS, grown())
    assert [need.breaks for need in found] == sorted(need.breaks for need in found) and len(found) == 11
    of = {need.what: need for need in found}
    table = of["response table, whole (as it was)"]  # 6 N P = 6 · 100 K · 10 K
    assert table.of(100, 1, 10) == 6000 and table.breaks == pytest.approx((2**30 / 6000) ** 0.5, rel=2e-3)
    dense = of["PMS: counts and Hungarian method (measured)"]
    assert dense.of(1, 1, 800) == 800**2 and of["PMS without P×P (measured)"].of(1, 1, 800) == pytest.approx(800**2)
    shown = paper.break_table(PARAMS, found)
    assert list(shown) == ["what", "fills 1 GiB at", "bytes at 100,000 × 1,000", "what lifts it"]
    assert shown.set_index("what").iloc[:, 1]["response table, whole (as it was)"] == "6 GB"
    assert paper.breaks_at(lambda n, k, p: k, 1, 100, 50) == inf


def test_time_on_paper_follows_operations_or_slopes() -> None:
    found = paper.time_on_paper(PARAMS, grown()).set_index("quantity").seconds
    n, p = 100_000, 10_000
    assert found["training pass"] == pytest.approx(n * p / 100 / 4)  # a line through nought, of four images
    assert found["decision layer"] == pytest.approx(10 * 4 * n / 20 * (p / 400) ** 2)
    assert found["AJS"] == pytest.approx(4 * n / 20 * p / 400) and found["counts"] == pytest.approx(4 * 5000 * 25**2)
    assert found["dense matching"] == pytest.approx(4 * p / 400)
    said = paper.break_sentence(paper.needs(PARAMS, grown()), paper.time_on_paper(PARAMS, grown()))
    assert "The longest time is *decision layer*" in said and "not built yet" in said


def test_slope_table_has_a_dash_without_memory_and_no_range_of_two_points() -> None:
    frame = grown()[lambda f: f.quantity.isin(["AJS"]) & (f["at"] > 100)]
    found = tables.slope_table(growth.slopes(frame, "seconds"), growth.slopes(frame.assign(peak_bytes=0), "peak_bytes"))
    assert found.iloc[0].tolist() == ["AJS", "prototypes", "200–400", "1.00", "–"]
    assert tables.exponent(1.5, 1.25, 2.0) == "1.50 (1.25–2.00)"


def test_amounts() -> None:
    assert [paper.size_text(v) for v in (12, 1500, 2.5e9, 3e18)] == ["12 B", "1.5 kB", "2.5 GB", "3e+03 PB"]
    assert [paper.time_text(v) for v in (90, 120, 7200, 1e9)] == ["90 s", "2 min", "2 h", "31.7 years"]


# ----------------------------------------------------------------------------------------------------------- profile


def profile() -> pd.DataFrame:
    parts = {
        "convolution": 0.4,
        "normalisation and activation": 0.2,
        "losses": 0.2,
        "validation": 1.0,
        "checkpoint": 1.0,
    }
    rows = [("b", part, value) for part, value in parts.items()] + [
        ("a", part, 2 * value) for part, value in parts.items()
    ]
    return pd.DataFrame(rows, columns=["network", "part", "seconds"])


def test_parts_of_a_pass() -> None:
    wide = tables.by_part(profile(), 10)
    assert list(wide) == ["b", "a"] and wide.loc["convolution"].tolist() == pytest.approx([40, 80])
    shown = tables.part_table(wide).set_index("")
    assert shown.index[0] == "convolution" and shown.iloc[-1].tolist() == ["80.00", "160.00"]
    assert tables.beside_trunk(wide) == pytest.approx({"b": 0.25, "a": 0.25})


@pytest.mark.parametrize(("later", "said"), [(1.5, "pays after 57 passes"), (2.5, "never pays")])
def test_switches_and_the_compiler(later: float, said: str) -> None:
    seconds = {"a": {"engine": (1.0, 2.0, 4.0), "x": (2.0, 2.0, 2.0)}, "b": {"engine": (1.0,), "y": (3.0,)}}
    found = tables.switch_table(seconds, ("a", (2.0, 30.0, later))).set_index("changed")
    assert found.loc["x"].tolist() == ["1.00 (0.50–2.00)", "–"] and found.loc["y"].tolist() == ["–", "3.00 (3.00–3.00)"]
    assert "engine" not in found.index and said in found.index[-1] and found.iloc[-1]["a"] == f"{later / 2:.2f}"
    assert len(tables.switch_table(seconds, None)) == 2


def test_images_of_the_profile() -> None:
    images = where.random_images(ProfileParams(images=6, size=32, classes=3), CPU)
    assert len(images.subset("train")) == 6 and len(images.subset("validation")) == 2
    assert images.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
