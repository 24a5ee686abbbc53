"""Images that stay on the disk: the same rows, the same training, bounded memory, and what a full disk says."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from p2p.data import streaming
from p2p.data.images import load_images
from p2p.data.streaming import Stream, on_disk, place, read_ahead
from p2p.evaluation.runs import finish_run
from p2p.training import trainer as training
from p2p.training.checkpoints import digest, digest_images
from p2p.training.trainer import Trainer


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randint(0, 256, (23, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_stream_reads_what_the_tensor_holds(rows):
    stream = Stream.of(rows, "cpu")
    index = torch.tensor([7, 3, 3, 22])
    assert len(stream) == 23 and stream.shape == rows.shape and stream.nbytes == rows.nbytes
    assert torch.equal(stream[index], rows[index]) and torch.equal(stream[2:9], rows[2:9])
    assert torch.equal(stream[5], rows[5])
    chosen = stream.select(index)
    assert torch.equal(chosen[:], rows[index]) and torch.equal(chosen.select(torch.tensor([3]))[:], rows[[22]])
    for mine, theirs in zip(stream.split(5), rows.split(5), strict=True):
        assert torch.equal(mine, theirs)


def test_reading_ahead_keeps_the_order_and_stays_bounded(rows, monkeypatch):
    started, lock = [], threading.Lock()
    fetch = Stream.fetch

    def counted(self, index):
        with lock:
            started.append(int(index[0]))
        return fetch(self, index)

    monkeypatch.setattr(Stream, "fetch", counted)
    parts = torch.randperm(23, generator=torch.Generator().manual_seed(1)).split(1)
    for i, found in enumerate(read_ahead(Stream.of(rows, "cpu"), parts)):
        assert torch.equal(found, rows[parts[i]])
        assert len(started) <= i + 1 + streaming.AHEAD
    assert len(started) == 23


def test_a_failed_read_is_raised_where_the_rows_are_used(rows, monkeypatch):
    def broken(self, index):
        raise OSError("input/output error")

    monkeypatch.setattr(Stream, "fetch", broken)
    with pytest.raises(OSError, match="input/output"):
        list(Stream.of(rows, "cpu").split(4))


@pytest.mark.parametrize(("free", "kind"), [(10**9, torch.Tensor), (1000, Stream)])
def test_auto_streams_where_memory_is_short(rows, monkeypatch, free, kind):
    monkeypatch.setattr(streaming, "free_memory", lambda device: free)
    assert isinstance(place(rows, torch.device("cpu"), "auto"), kind)
    assert isinstance(place(rows, torch.device("cpu"), "off"), torch.Tensor)


def test_free_memory_is_that_of_this_machine():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < streaming.free_memory(torch.device("cpu")) <= total


@pytest.mark.numeric
def test_streamed_training_is_bit_identical(tiny, tiny_student, tmp_path):
    """Teacher and student, with the warm phase's trunk outputs on the disk too; the test set as well."""
    found = {}
    for how in ("off", "on"):
        change = {"streaming": how, "warm_cache_gb": 0.0 if how == "on" else 4.0}
        images = load_images(tiny.model_copy(update=change))
        assert isinstance(images.pixels, Stream) == (how == "on")
        teacher = Trainer(tiny.model_copy(update=change), images, tmp_path / how / "teacher")
        network = teacher.run(progress=False)
        student = Trainer(tiny_student.model_copy(update=change), images, tmp_path / how / "student", network)
        student.run(progress=False)
        outcome = finish_run(tmp_path / how / "student", images)
        found[how] = (digest_images(images), digest(network), digest(student.network), outcome)
    assert found["on"] == found["off"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc; the rows read ahead are counted above")
def test_memory_does_not_grow_with_the_images(tmp_path):
    """In a process of its own: what another one has freed and kept would hide what is allocated here."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        images, most, copied, half = pool.apply(memory_of_a_pass, (tmp_path / "images.npy",))
    assert images == 8000 and 0 < most < 400e6, f"{most / 1e6:.0f} MB for batches of 10 MB"
    assert copied > 0.9 * half  # the same measure sees a copy of half of them


def memory_of_a_pass(path: Path) -> tuple[int, int, int, int]:
    """A pass over 1.2 GB of images on the disk; pages of a mapped file do not count, the system may drop them.

    Returns:
        Images seen, most memory over the pass, memory of a copy of half of them, and how many bytes that is.
    """
    shape = (8000, 3, 224, 224)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)))  # a sparse file: holes read as zeros
    stream = Stream.of(torch.from_numpy(np.load(path, mmap_mode="c")), "cpu")
    before, most, images = own_memory(), 0, 0
    for batch in stream.select(torch.randperm(len(stream))).split(64):
        images += len(batch)
        most = max(most, own_memory() - before)
    whole = stream[:4000]
    return images, most, own_memory() - before, whole.nbytes


def own_memory() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_rows_on_disk_take_their_space_at_once_and_leave_nothing_behind(tmp_path, refuses, monkeypatch):
    made = on_disk((5, 2), torch.float16, tmp_path / "new")
    made.copy_(torch.arange(10.0).view(5, 2))
    assert made[3].tolist() == [6, 7] and not list((tmp_path / "new").iterdir())

    def full(handle, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with refuses("warm_copies", "No space left", "0.0 GB"):
        on_disk((5, 2), torch.float16, tmp_path)


def test_out_of_memory_names_the_keys_and_keeps_the_last_epoch(tiny, birds, tmp_path, refuses, monkeypatch):
    trainer = Trainer(tiny, birds, tmp_path)
    epoch = Trainer._epoch

    def short(self, phase, index, number):
        if phase.name == "joint":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
        return epoch(self, phase, index, number)

    monkeypatch.setattr(Trainer, "_epoch", short)
    with refuses("batch_size", "now 12", "warm_cache_gb", "streaming"):
        trainer.run(progress=False)
    monkeypatch.undo()
    warm = [row["seconds"] for row in trainer.history]
    elsewhere = tiny.model_copy(update={"streaming": "on", "warm_cache_gb": 0.0})  # where numbers lie: the same run
    again = Trainer(elsewhere, replace(birds, pixels=Stream.of(birds.pixels, "cpu")), tmp_path)
    again.run(progress=False)
    assert [row["seconds"] for row in again.history][:2] == warm


def test_out_of_memory_at_the_start_is_one_sentence_too(tiny, birds, tmp_path, refuses, monkeypatch):
    def short(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    monkeypatch.setattr(training, "class_patches", short)
    with refuses("needs more memory", "batch_size"):
        Trainer(tiny.model_copy(update={"prototype_init": "patches"}), birds, tmp_path).run(progress=False)


def test_out_of_memory_on_a_cpu_is_one_sentence_while_the_network_is_built(tiny, birds, tmp_path, refuses):
    with refuses("Run 'teacher' needs more memory than cpu has"):
        Trainer(tiny.model_copy(update={"prototypes_per_class": 10**13}), birds, tmp_path)


def test_a_set_streams_after_selection_too(birds):
    streamed = replace(birds, pixels=Stream.of(birds.pixels, "cpu"))
    for split in ("train", "validation", "test"):
        mine, theirs = streamed.subset(split), birds.subset(split)
        assert isinstance(mine.pixels, Stream) and torch.equal(mine.pixels[:], theirs.pixels)
        assert mine.names == theirs.names


@pytest.mark.parametrize("backend", ["inductor", "eager"])
def test_a_compiled_trunk_trains_to_the_same_accuracy(backend, tiny, birds, tmp_path, monkeypatch):
    """Inductor needs a C++ compiler; without one the traced trunk still has to train alike."""
    if backend == "inductor" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("no C++ compiler")
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend=backend))
    short = {"warm_epochs": 0, "joint_epochs": 1, "rounds": 1, "batch_size": 16, "grid": 8}  # few layers to compile
    params = tiny.model_copy(update=short)
    trainers = [
        Trainer(params.model_copy(update={"compile_trunk": on}), birds, tmp_path / str(on)) for on in (True, False)
    ]
    compiled, plain = (trainer.run(progress=False) for trainer in trainers)
    assert compiled.state_dict().keys() == plain.state_dict().keys()  # so that each loads the other's weights
    losses = [[row["loss"] for row in trainer.history if "loss" in row] for trainer in trainers]
    # other sums, and Adam's first steps have the size of the rate where a gradient is hardly more than its rounding
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert Path(tmp_path / "True" / "network.safetensors").is_file()
