"""Images, weights and teachers that are not what they were: known by contents, refused where they would be mixed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p import digests
from p2p.data import listing
from p2p.data.images import load_images
from p2p.data.source import KEYS, images_digest
from p2p.evaluation.measure import Answer
from p2p.evaluation.runs import check_inputs, finish_run, load_run
from p2p.evaluation.triple import check_images, read_answer
from p2p.study.params import DataParams
from p2p.training.trainer import Trainer


def paint(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(path, "BMP")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of four images."""
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    for i in range(8):
        paint(tmp_path / "tree" / "ab"[i // 4] / f"{i}.bmp", 20 * i)
    return tmp_path / "tree"


def of(root: Path, **change: object) -> str:
    return images_digest(DataParams.model_validate({"reader": "folder", "root": str(root), "size": 32} | change))


def test_every_key_that_says_which_images_counts() -> None:
    assert set(KEYS) == set(DataParams.model_fields) - {
        "study",
        "root",
        "streaming",
        "device",
        "allow_duplicates",
        "skip_bad",
    }


def test_a_copied_or_touched_folder_holds_the_same_images(tree: Path, tmp_path: Path) -> None:
    before = of(tree)
    shutil.copytree(tree, tmp_path / "elsewhere" / "copy", copy_function=shutil.copyfile)
    assert of(tmp_path / "elsewhere" / "copy") == before
    os.utime(tree / "a" / "0.bmp", (1, 1))
    assert of(tree) == before and of(tree, study="other", streaming="on") == before


def test_any_change_of_the_images_is_seen(tree: Path) -> None:
    found = [of(tree), of(tree, size=64), of(tree, data_seed=1)]
    path = tree / "a" / "0.bmp"
    times = path.stat().st_mtime_ns
    paint(path, 255)  # as many bytes
    os.utime(path, ns=(times, times))  # and the same time
    found.append(of(tree))
    path.rename(tree / "b" / "0.bmp")
    found.append(of(tree))
    for name in "xyz":
        paint(tree / "c" / f"{name}.bmp", 3)
    found.append(of(tree))
    assert len(set(found)) == len(found)


def test_a_file_is_read_once_until_it_changes(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = digests.sha256
    monkeypatch.setattr(digests, "sha256", lambda path: read.append(Path(path).name) or real(path))
    first = of(tree)
    assert sorted(read) == [f"{i}.bmp" for i in range(8)]
    assert of(tree) == first and len(read) == 16  # just written: they may change within a tick of the clock
    monkeypatch.setattr(digests, "SETTLED", -1e12)
    assert of(tree) == first and len(read) == 24
    assert of(tree) == first and len(read) == 24
    paint(tree / "a" / "0.bmp", 255)
    assert of(tree) != first and read[24:] == ["0.bmp"]
    (memo,) = (digests.cache_folder() / "contents").iterdir()
    memo.write_text("[")  # damaged: as if it were not there
    of(tree)
    assert len(read) == 25 + 8


def test_what_is_known_of_files_need_not_be_kept(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SETTLED", -1e12)
    before = of(tree)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "file"))
    assert of(tree) == before


def test_pixels_follow_contents_and_not_times(tree: Path) -> None:
    params = DataParams(reader="folder", root=str(tree), size=32)
    first = load_images(params)
    assert first.source == images_digest(params) == first.subset("test").source == first.to("cpu").source
    path = tree / "a" / "0.bmp"
    times = path.stat().st_mtime_ns
    paint(path, 255)
    os.utime(path, ns=(times, times))
    again = load_images(params)
    assert again.pixels[0].max() == 255 and again.source != first.source
    birds = DataParams(size=32, class_count=2, bird_train_per_class=3, bird_test_per_class=1)
    assert load_images(birds).source == images_digest(birds)


def test_an_image_that_cannot_be_read_is_named(tree: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    one = listing.Listing(tree, ("a/0.bmp", "a/none.bmp"), np.zeros(2), np.zeros(2, bool), ("a",))
    with refuses("a/none.bmp", "missing"):
        listing.contents(one)


def test_weights_are_known_by_their_contents(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"one")
    before = digests.weights_digest(str(path), "vgg11")
    path.write_bytes(b"two")
    assert len(before) == 12 and digests.weights_digest(str(path), "vgg11") != before
    assert digests.weights_digest("none", "vgg11") == digests.weights_digest("imagenet", "vgg11") == ""
    with refuses("x.safetensors", "vgg11", "P2P_WEIGHTS"):
        digests.weights_digest("x.safetensors", "vgg11")


# ------------------------------------------------------------------------------------------------ runs side by side


def test_runs_on_other_images_are_not_compared_and_not_shown(teacher_folder, birds, refuses) -> None:  # type: ignore[no-untyped-def]
    taught = load_run(teacher_folder)
    assert taught.images == birds.source != ""
    check_inputs([taught, replace(taught, images="")], birds)  # of a run from before, nothing is known
    with refuses("'teacher'", "other images", birds.source, "0123", "make study"):
        check_inputs([replace(taught, images="0123")], birds)
    with refuses("'teacher'", "other images", "4567"):
        check_inputs([taught], replace(birds, source="4567"))
    finish_run(teacher_folder, birds)
    answer = Answer("teacher", "paper", {}, {}, replace(taught, images="0123"))
    with refuses("other images"):
        check_images([answer], birds)


def test_runs_from_other_weights_are_not_compared(teacher_folder, birds, refuses) -> None:  # type: ignore[no-untyped-def]
    taught = load_run(teacher_folder)
    named = taught.params.model_copy(update={"weights": "w.safetensors", "run": "other"})
    first = replace(taught, params=named, weights="abc")
    check_inputs([first, first, replace(first, weights="")], birds)
    with refuses("'other'", "'w.safetensors'", "abc", "def"):
        check_inputs([first, replace(first, weights="def")], birds)


def test_a_student_of_another_teacher_is_not_compared(tiny_student, birds, teacher_folder, teacher, tmp_path, refuses):
    short = tiny_student.model_copy(update={"rounds": 1, "warm_epochs": 0, "joint_epochs": 1})
    Trainer(short, birds, tmp_path, teacher).run(progress=False)
    taught, student = load_run(teacher_folder), load_run(tmp_path)
    check_inputs([taught, student], birds)
    with torch.no_grad():
        taught.network.prototypes += 0.1
    with refuses("'student'", "'teacher'", "another network", "make study"):
        check_inputs([taught, student], birds)


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize("file", ["responses.safetensors", "responses_pre_push.safetensors"])
def test_a_prototype_network_without_its_tables_is_refused(file, damage, tiny, birds, tmp_path, refuses) -> None:
    folder = tmp_path / "runs" / "teacher"
    Trainer(tiny.model_copy(update={"rounds": 1, "joint_epochs": 1}), birds, folder).run(progress=False)
    finish_run(folder, birds)
    (folder / "run.json").write_text('{"outcome": {}}')
    assert set(read_answer(tmp_path / "runs", "teacher", "paper", "teacher").tables) == {"pre_push", "tuned"}
    path = folder / file
    os.truncate(path, path.stat().st_size // 2) if damage == "cut" else path.unlink()
    with refuses(str(path), str(folder), "make study"):
        read_answer(tmp_path / "runs", "teacher", "paper", "teacher")


# ------------------------------------------------------------------------------------------- damaged state of a run


@pytest.mark.parametrize("file", ["checkpoint.safetensors", "network.safetensors"])
def test_a_truncated_file_of_a_finished_run_starts_it_anew(file, tiny, birds, tmp_path, capsys) -> None:
    short = tiny.model_copy(update={"rounds": 1, "joint_epochs": 1})
    Trainer(short, birds, tmp_path).run(progress=False)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[:-100])
    capsys.readouterr()
    Trainer(short, birds, tmp_path).run(progress=False)
    said = capsys.readouterr().err
    assert "starting anew" in said and file in said and load_run(tmp_path).projection is not None


def test_changed_weights_and_images_are_called_so(tiny, birds, tmp_path, capsys, refuses) -> None:
    from safetensors.torch import save_file

    from p2p.trunks import build_trunk

    def weights(seed: int) -> None:
        torch.manual_seed(seed)
        state = build_trunk("small_half", 32, 4)[0].state_dict()
        named = {f"{int(k.split('.')[0]) - 1}.{k.split('.', 1)[1]}": v.contiguous() for k, v in state.items()}
        save_file(named, tmp_path / "w.safetensors")

    weights(1)
    change = {"rounds": 1, "joint_epochs": 1, "weights": str(tmp_path / "w.safetensors")}
    params = tiny.model_copy(update=change)
    Trainer(params, birds, tmp_path / "run").run(progress=False)
    assert load_run(tmp_path / "run").weights == digests.weights_digest(params.weights, "small_half")
    weights(2)
    capsys.readouterr()
    Trainer(params, birds, tmp_path / "run").run(progress=False)
    assert "teacher: weights changed since the checkpoint, starting anew." in capsys.readouterr().err
    Trainer(params, replace(birds, source="other"), tmp_path / "run").run(progress=False)
    assert "teacher: images changed since the checkpoint, starting anew." in capsys.readouterr().err
