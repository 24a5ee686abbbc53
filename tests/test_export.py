"""Exported networks: they answer as here in onnxruntime and as a program, for any number of images, and without p2p."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p.data.images import ImageSet, load_images
from p2p.evaluation import export as exporting
from p2p.evaluation.export import (
    OUTPUTS,
    TOLERANCE,
    Exported,
    differences,
    export,
    main,
    program_of,
    run_onnx,
    write_onnx,
)
from p2p.evaluation.runs import load_run
from p2p.evaluation.sources import source_patches
from p2p.networks import ProtoNet
from p2p.training.trainer import Trainer


@pytest.fixture(scope="module")
def out(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny teacher, exported."""
    folder = tmp_path_factory.mktemp("export")
    export(teacher_folder, folder)
    return folder


@pytest.mark.parametrize("count", [1, 16])
def test_onnxruntime_answers_as_the_network_does(out: Path, teacher: ProtoNet, birds: ImageSet, count: int) -> None:
    pixels = birds.subset("test").pixels[:count]
    answers = run_onnx(out / "network.onnx", pixels.numpy())
    with torch.inference_mode():
        here = teacher(pixels)
    assert list(answers) == list(OUTPUTS) and answers["cells"].dtype == np.int64
    np.testing.assert_allclose(answers["distances"], here.distances.numpy(), rtol=0, atol=4e-5)
    d, slip = here.distances.double(), float(np.abs(answers["distances"] - here.distances.numpy()).max())
    steep = teacher.layer.similarity((d - slip).clamp(min=0)) - teacher.layer.similarity(d + slip)  # near 0 a lot
    size = float(here.logits.abs().max())
    bound = steep @ teacher.decision.weight.double().abs().T + TOLERANCE * size
    assert (torch.from_numpy(answers["logits"]) - here.logits).abs().le(bound).all() and bound.max() < 0.02 * size
    assert (torch.from_numpy(answers["similarities"]) - teacher.layer.similarity(d)).abs().le(steep + TOLERANCE).all()
    assert (answers["cells"] == here.cells.numpy()).mean() > 0.99  # the rest are cells as near
    assert max(differences(teacher, answers, pixels).values()) <= TOLERANCE


def test_logits_of_a_network_that_is_shared_are_the_same(tmp_path: Path) -> None:
    """The bound is tight where no distance is near 0; there a similarity makes much of the last digit."""
    trained = load_run(Path(__file__).parents[1] / "networks" / "birds" / "student-small_eighth")
    network, few = trained.network, {"device": "cpu", "bird_train_per_class": 2, "bird_test_per_class": 6}
    assert isinstance(network, ProtoNet)
    pixels = load_images(trained.params.model_copy(update=few)).subset("test").pixels
    with torch.inference_mode():
        here = network(pixels)
    clear = here.distances.amin(1) > 0.01
    write_onnx(program_of(Exported(network), trained.params.size), tmp_path / "network.onnx")
    logits = torch.from_numpy(run_onnx(tmp_path / "network.onnx", pixels[clear].numpy())["logits"])
    assert len(logits) >= 12
    torch.testing.assert_close(logits, here.logits[clear], rtol=0, atol=1e-4 * float(here.logits.abs().max()))


def test_the_program_answers_as_the_network_does(out: Path, teacher: ProtoNet, birds: ImageSet) -> None:
    program = torch.export.load(out / "network.pt2").module()
    for count in (1, 5):
        pixels = birds.subset("test").pixels[:count]
        answers = dict(zip(OUTPUTS, (answer.detach().numpy() for answer in program(pixels)), strict=True))
        assert answers["logits"].shape == (count, 4)
        assert max(differences(teacher, answers, pixels).values()) <= TOLERANCE


def test_differences_are_seen(out: Path, teacher: ProtoNet, birds: ImageSet) -> None:
    pixels = birds.subset("test").pixels[:4]
    right = run_onnx(out / "network.onnx", pixels.numpy())
    for name, wrong in (
        ("distances", right["distances"] + 1e-3),
        ("cells", (right["cells"] + 7) % 16),
        ("logits", right["logits"] + 1e-3 * np.abs(right["logits"]).max()),
    ):
        assert max(differences(teacher, right | {name: wrong}, pixels).values()) > TOLERANCE, name


def test_an_export_that_answers_otherwise_is_refused(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with refuses("answers otherwise"):
        export(teacher_folder, tmp_path)
    assert not (tmp_path / "network.onnx").exists()


def test_what_lies_beside_it_is_that_of_the_run(out: Path, teacher_folder: Path, birds: ImageSet) -> None:
    patches = source_patches(load_run(teacher_folder), birds)
    with (out / "sources.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["class"], r["image"], int(r["row"]), int(r["column"])) for r in rows] == [
        (p.label, p.image, *p.cell) for p in patches
    ]
    assert (out / "classes.txt").read_text().splitlines() == list(birds.classes)
    with Image.open(out / "sources.webp") as sheet:
        assert np.array_equal(np.asarray(sheet.convert("RGB"))[:24, :24], patches[0].pixels.permute(1, 2, 0).numpy())
    text = (out / "README.md").read_text()
    assert f"(B, {len(patches)})" in text and "1e-04" in text and "{" not in text


def test_it_is_used_without_p2p(out: Path, teacher: ProtoNet, birds: ImageSet, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(out, tmp_path / "elsewhere"))
    assert not re.search(r"\b(p2p|torch)\b", (folder / "use.py").read_text().partition("import")[2])
    pixels = birds.subset("test").pixels[3]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "bird.png")
    said = subprocess.run(
        [sys.executable, folder / "use.py", tmp_path / "bird.png"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout.splitlines()
    with torch.inference_mode():
        here = teacher(pixels[None])
    assert said[0] == birds.classes[int(here.logits.argmax())] and len(said) == 4
    similarities = teacher.layer.similarity(here.distances)[0].sort(descending=True).values[:3]
    assert [float(line.rpartition(" ")[2]) for line in said[1:]] == pytest.approx(similarities.tolist(), abs=0.02)


def test_mistakes_are_one_sentence(
    teacher_folder: Path, tiny, birds: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses, capsys
) -> None:  # type: ignore[no-untyped-def]
    with refuses("There is no run"):
        export(tmp_path / "gone", tmp_path)
    (tmp_path / "empty").mkdir()
    with refuses("no finished run"):
        export(tmp_path / "empty", tmp_path)
    alone = tiny.model_copy(update={"model": "linear", "rounds": 1, "joint_epochs": 1, "warm_epochs": 0})
    Trainer(alone, birds, tmp_path / "linear").run(progress=False)
    with refuses("ordinary classifier", "no prototypes"):
        export(tmp_path / "linear", tmp_path / "out")
    assert main([""]) == 1 and "RUN=" in capsys.readouterr().err
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnx" else object())
    with refuses("needs onnx,", "extra 'export'"):
        export(teacher_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
