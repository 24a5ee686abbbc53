"""Packed networks: what rounding costs, that they need no data set, what their cards say, what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image

import p2p
from p2p.data.images import ImageSet, load_images
from p2p.device import choose_device
from p2p.evaluation import pack as packing
from p2p.evaluation import packed
from p2p.evaluation.card import card
from p2p.evaluation.pack import ALL, LARGEST, answers, main, pack
from p2p.evaluation.packed import half, read_patches
from p2p.evaluation.rows import COLUMNS
from p2p.evaluation.runs import accuracy, finish_run, load_run
from p2p.evaluation.sources import source_image, source_patch, source_patches
from p2p.networks import ProtoNet
from p2p.study.pages import escape
from p2p.study.provenance import provenance, write_json
from p2p.study.study import Study
from p2p.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
NETWORKS = sorted(path.parent for path in (ROOT / "networks").glob("*/*/run.json"))
TEACHER, BASELINE, STUDENT = "teacher-small_half", "baseline-small_sixth", "student-small_sixth"
STUDY = Study.model_validate(
    {
        "study": "tiny",
        "title": "Tiny birds",
        "images": "synthetic birds",
        "seeds": [3, 4],
        "data": {"size": 32, "class_count": 4, "bird_train_per_class": 10, "bird_hardness": 0.0}
        | {"bird_test_per_class": 4, "validation_fraction": 0.2, "device": "cpu"},
        "recipe": {"grid": 4, "prototypes_per_class": 2, "prototype_depth": 8, "batch_size": 12}
        # A faster trunk's map saturates on some processors, where rounding moves it by much more.
        | {"joint_epochs": 12, "lr_trunk": 1e-3},
        "triples": [{"name": "pair", "teacher": {"network": "small_half"}, "student": {"network": "small_sixth"}}],
    }
)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_images(STUDY.runs()["teacher-small_half-s3"])


@pytest.fixture(scope="module")
def root(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the repository's: runs and results of a study of seconds, and its packed networks."""
    root = tmp_path_factory.mktemp("root")
    device, teacher = choose_device("cpu"), None
    for params in list(STUDY.runs().values())[:3]:
        folder = root / "runs" / "tiny" / params.run
        taught = teacher if params.teacher_run else None
        Trainer(params, images, folder, taught.network if taught else None, taught and taught.projection).run(
            progress=False
        )
        outcome = finish_run(folder, images, taught.network if taught else None)
        record = provenance(params, device, 60.0)
        write_json(folder / "run.json", {"provenance": record, "outcome": outcome, "parameters": params.model_dump()})
        teacher = teacher or load_run(folder)
    out = root / "results" / "tiny"
    out.mkdir(parents=True)
    values = {  # none is a number of sixteenths, as an accuracy here is
        ("student", 3): 0.61,
        ("student", 4): 0.81,
        ("teacher", 3): 0.9,
        ("baseline", 3): 0.5,
    }
    rows = [("tiny", "pair", role, "paper", seed, "tuned", "top1", "", v) for (role, seed), v in values.items()]
    rows.append(("tiny", "pair", "student", "paper", 3, "tuned", "pms", "", 0.4375))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(out / "metrics.csv", index=False)
    claim = {"claim": "it is alike", "setting": "pair", "difference": 0.25, "low": 0.125, "high": 0.375}
    pd.DataFrame([claim | {"verdict": "supported"}]).to_csv(out / "claims.csv", index=False)
    folders, left = pack(STUDY, [], root)
    assert [folder.name for folder in folders] == [TEACHER, BASELINE, STUDENT] and not left
    return root


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    return Path(shutil.copytree(root, tmp_path / "copy"))


def test_rounding_stays_within_what_half_precision_promises(root: Path) -> None:
    before = load_run(root / "runs" / "tiny" / "teacher-small_half-s3")
    after = load_run(root / "networks" / "tiny" / TEACHER)
    assert isinstance(after.network, ProtoNet) and after.projection and before.projection
    pairs = {k: (v, after.network.state_dict()[k]) for k, v in before.network.state_dict().items()}
    pairs |= {k: (v, getattr(after.projection, k)) for k, v in vars(before.projection).items()}
    moved = 0
    for exact, stored in pairs.values():
        assert stored.dtype == exact.dtype and stored.shape == exact.shape
        if exact.is_floating_point() and exact.ndim > 1:  # eleven bits of significance, and 2⁻²⁴ the smallest step
            bound = (exact.abs() * 2**-11).clamp(min=2**-25)
            assert ((stored - exact).abs() <= bound).all()
            moved += int((stored != exact).sum())
        else:
            assert torch.equal(stored, exact)
    assert moved > 1000
    assert before.params == after.params and before.images == after.images and after.prototypes_before is None


def test_what_half_precision_cannot_hold_stays_as_it_is() -> None:
    kept = half({"large": torch.full((2, 2), 1e6), "row": torch.full((3,), 0.1), "whole": torch.ones(2, 2).long()})
    assert kept["large"].dtype == torch.float32 and kept["row"].dtype == torch.float32
    assert kept["whole"].dtype == torch.int64
    assert half({"matrix": torch.ones(2, 2)})["matrix"].dtype == torch.float16


def test_answers_are_those_of_the_run(root: Path, images: ImageSet) -> None:
    test = images.subset("test")
    for run, name in (("teacher-small_half-s3", TEACHER), ("student-pair-paper-s3", STUDENT)):
        networks = [load_run(root / "runs" / "tiny" / run).network, load_run(root / "networks" / "tiny" / name).network]
        said = json.loads((root / "networks" / "tiny" / name / "run.json").read_text())["packed"]
        right = []
        for network in networks:
            assert isinstance(network, ProtoNet)
            right.append(int((answers(network, test.pixels, 12) == test.labels).sum()))
            assert right[-1] / len(test) == pytest.approx(accuracy(network, test.pixels, test.labels))
        assert right == [said["right_unpacked"], said["right_packed"]] and abs(right[0] - right[1]) <= 1
        assert said["precision"] == "half" and said["test_images"] == 16
        assert 0 < said["projection_error"] < 0.01 and said["projection_error_unpacked"] < 1e-5


def test_single_precision_where_half_changes_the_accuracy(
    copy: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = images.subset("test").labels
    said = iter([labels, torch.where(torch.arange(16) < 2, 3 - labels, labels), labels])  # two of 16 answers otherwise
    monkeypatch.setattr(packing, "answers", lambda *_: next(said))
    (folder,), _ = pack(STUDY, ["teacher"], copy)
    record = packed.read_record(folder)["packed"]
    assert record["precision"] == "single" and record["changed"] == 0 and record["right_packed"] == 16
    assert "in single precision" in (folder / "README.md").read_text()
    before, after = load_run(copy / "runs" / "tiny" / "teacher-small_half-s3").network, load_run(folder).network
    assert all(torch.equal(v, after.state_dict()[k]) for k, v in before.state_dict().items())


def test_source_patches_come_from_the_sheet(root: Path, images: ImageSet) -> None:
    run = load_run(root / "runs" / "tiny" / "student-pair-paper-s3")
    small = load_run(root / "networks" / "tiny" / STUDENT)
    table = pd.read_csv(root / "runs" / "tiny" / "student-pair-paper-s3" / "prototypes.csv")
    from_set = source_patches(run, images)
    assert len(from_set) == 8 and small.packed
    for j, (one, row) in enumerate(zip(from_set, table.to_dict("records"), strict=True)):
        other = source_patch(small, j)
        assert torch.equal(one.pixels, other.pixels) and one[:6] == other[:6]  # drawn birds: without loss
        assert (one.label, one.image, *one.cell) == (row["class"], row["image"], row["row"], row["column"])
        assert one.box == (row["x0"], row["y0"], row["x1"], row["y1"])
        (name, whole), (same, grey) = source_image(run, j, images), source_image(small, j)
        (x, y), side = one.corner, one.pixels.shape[1]
        assert name == same == one.image and side == 24
        assert torch.equal(whole[:, y : y + side, x : x + side], one.pixels)
        assert x <= 8 * one.cell[1] and 8 * one.cell[1] + 8 <= x + side  # the cell is in the patch
        grey[:, y : y + side, x : x + side] = 128
        assert (grey == 128).all()


def test_photographs_lose_little_in_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LOSSLESS", 100)
    ramp = torch.arange(40).expand(3, 40, 40) * 6
    whole = packed.SourcePatch(0, 'a, "b"', "x/é.jpg", (1, 2), (0, 0, 9, 9), (3, 4), ramp.to(torch.uint8))
    patches = tuple(whole._replace(prototype=j) for j in range(7))
    packed.write_patches(tmp_path, patches, 1)
    for one, other in zip(patches, read_patches(tmp_path), strict=True):
        assert one[:6] == other[:6] and (one.pixels.int() - other.pixels.int()).abs().float().mean() < 4


def test_an_explanation_needs_no_data_set(root: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    image = images.subset("test").pixels[2]
    whole = p2p.explain(image, root / "runs" / "tiny" / "student-pair-paper-s3")

    def gone(*_: object) -> None:
        raise AssertionError("the data set was asked for")

    monkeypatch.setattr("p2p.evaluation.explainer.load_images", gone)
    said = p2p.explain(image, root / "networks" / "tiny" / STUDENT)
    assert said.teacher is not None and said.teacher.run == "teacher-small_half-s3"
    assert said.classes == whole.classes and said.limit == whole.limit and said.predicted == whole.predicted
    torch.testing.assert_close(said.logits, whole.logits, rtol=0.02, atol=0.05)
    for one in said.evidence:
        assert one.source_name == source_patch(load_run(root / "networks" / "tiny" / STUDENT), one.prototype).image


def test_the_card_says_what_the_results_say(copy: Path) -> None:
    text = (copy / "networks" / "tiny" / STUDENT / "README.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| accuracy on test images"))
    own = json.loads((copy / "runs" / "tiny" / "student-pair-paper-s3" / "run.json").read_text())["outcome"]["top1"]
    half_width = 12.706204736 * 0.1  # of a t-interval of two values 0.2 apart: t of one degree of freedom
    assert [cell.strip() for cell in line.split("|")[2:5]] == [
        f"{own['tuned']:.3f}",
        "0.610",
        f"0.710 ({0.71 - half_width:.3f} to {0.71 + half_width:.3f}), 2 seeds",
    ]
    assert "0.438" in text and "it is alike: +0.250 (+0.125 to +0.375), *supported*" in text
    assert "that run trained again" in text and "`joint_epochs: 12`" in text and "`rounds" not in text
    assert 'load_run("networks/tiny/student-small_sixth")' in text
    assert "it is alike" not in (copy / "networks" / "tiny" / TEACHER / "README.md").read_text()
    file = copy / "results" / "tiny" / "metrics.csv"
    file.write_text(file.read_text().replace("0.61", str(own["tuned"])))
    pack(STUDY, ["student"], copy)
    text = (copy / "networks" / "tiny" / STUDENT / "README.md").read_text()
    assert "| 0.610 " not in text
    assert "It is the published run of its seed." in text


def test_damage_is_one_sentence(copy: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    folder = copy / "networks" / "tiny" / STUDENT
    file = folder / "network.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with refuses("network.safetensors", "damaged", "make pack"):
        load_run(folder)
    file.unlink()
    with refuses("network.safetensors", "missing", "make pack"):
        load_run(folder)
    file.write_bytes(whole)
    (folder / "sources.webp").write_bytes(b"no picture")
    with refuses("sources.webp", "damaged"):
        load_run(folder)
    with refuses("source patches", "make pack"):
        read_patches(folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({k: v for k, v in record.items() if k != "classes"}))
    with refuses("run.json", "damaged"):
        load_run(folder)
    (folder / "run.json").write_text("{")
    with refuses("run.json", "damaged"):
        load_run(folder)


def test_what_cannot_be_packed_is_one_sentence(copy: Path, monkeypatch: pytest.MonkeyPatch, refuses) -> None:  # type: ignore[no-untyped-def]
    with refuses("no role 'pupil'", "teacher, baseline, student"):
        pack(STUDY, ["pupil"], copy)
    other = STUDY.model_copy(update={"recipe": {**STUDY.recipe, "joint_epochs": 3}})
    with refuses("other parameters"):
        pack(other, ["teacher"], copy)
    monkeypatch.setattr(packing, "ALL", 1000)
    kept = sorted(path.relative_to(copy) for path in (copy / "networks").rglob("*"))
    with refuses("above 0", "ROLES="):
        pack(STUDY, ["baseline"], copy)
    monkeypatch.setattr(packing, "LARGEST", 10_000)
    monkeypatch.setattr(packing, "ALL", ALL)
    folders, left = pack(STUDY, ["teacher", "baseline"], copy)
    assert not folders and [text.split()[0] for text in left] == ["teacher-small_half-s3", "baseline-small_sixth-s3"]
    assert kept == sorted(path.relative_to(copy) for path in (copy / "networks").rglob("*"))  # nothing half done
    shutil.rmtree(copy / "runs" / "tiny" / "teacher-small_half-s3")
    with refuses("teacher-small_half-s3", "train it first"):
        pack(STUDY, [], copy)
    (copy / "results" / "tiny" / "claims.csv").unlink()
    with refuses("claims.csv"):
        pack(STUDY, ["student"], copy)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params/gone.yaml"]) == 1 and "gone.yaml not found" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- those that are in the repository


def test_no_file_of_the_repository_is_large_but_networks() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git here: what is in the repository cannot be told")
    sizes = {name: (ROOT / name).stat().st_size for name in listed.stdout.split("\0") if (ROOT / name).is_file()}
    networks = {name: size for name, size in sizes.items() if name.startswith("networks/")}
    assert sizes and max(size for name, size in sizes.items() if name not in networks) <= 2e6
    assert max(networks.values(), default=0) <= LARGEST and sum(networks.values()) <= ALL
    assert all(name.count("/") == 3 for name in networks)


@pytest.mark.parametrize("folder", NETWORKS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_committed_networks_load_and_have_a_card(folder: Path) -> None:
    run = load_run(folder)
    assert run.packed and len(run.packed.patches) == len(run.network.prototypes)
    text, record = (folder / "README.md").read_text(), packed.read_record(folder)
    assert f'load_run("networks/{folder.parent.name}/{folder.name}")' in text
    assert f"right in {record['packed']['right_unpacked']}, this one in {record['packed']['right_packed']}" in text
    assert abs(record["packed"]["right_unpacked"] - record["packed"]["right_packed"]) <= 1
    assert all(escape(name) in text for name in run.packed.classes)
    with Image.open(folder / "sources.webp") as sheet:
        assert sheet.format == "WEBP"


def test_what_a_study_and_its_classes_are_called_is_no_markup_in_a_card() -> None:
    odd = "<b>|x|</b> [x](y) *a* `c` {z} www.example.org # _u_"
    record = packed.read_record(NETWORKS[0]) | {"classes": [odd, f"a\n# {odd}"]}
    numbers = pd.DataFrame({"": ["top-1"], "this network": ["–"], "published": ["–"], "mean": ["–"]})
    text = card(record, "networks/a/b", odd, odd, numbers, pd.DataFrame(), 1)
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert unescape(html).count(odd) == 6  # title and images twice, and each class
    assert html.count("<h1>") == 1 and "<b>" not in html and 'href="y"' not in html and "<em>a</em>" not in html


@pytest.mark.parametrize("folder", [f for f in NETWORKS if f.parent.name == "birds"], ids=lambda folder: folder.name)
def test_committed_birds_are_as_accurate_as_their_card_says(folder: Path) -> None:
    run, said = load_run(folder), packed.read_record(folder)["packed"]
    test = load_images(run.params.model_copy(update={"device": "cpu"})).subset("test")
    right = round(accuracy(run.network, test.pixels, test.labels) * len(test))
    assert abs(right - said["right_packed"]) <= 1 and len(test) == said["test_images"]  # one: another processor
