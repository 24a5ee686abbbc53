"""Writing in one step, locking, tensors on disk, and a disk that is full."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess

import pytest
import torch

from p2p.evaluation.runs import load_run
from p2p.files import atomic_path, run_lock, write_atomic
from p2p.study.provenance import provenance, write_json
from p2p.training.checkpoints import digest, load_tensors, save_tensors
from p2p.training.trainer import Trainer


def test_write_atomic(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_atomic(path, "eins\n")
    assert path.read_text() == "eins\n" and path.stat().st_mode & 0o777 == 0o644
    write_atomic(path, b"zwei")
    assert path.read_bytes() == b"zwei" and os.listdir(path.parent) == ["a.txt"]


def test_an_error_keeps_the_previous_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "before")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the")
        assert path.read_text() == "before"  # nothing is seen until all is written
        raise RuntimeError
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]


def test_no_folder_can_be_made(tmp_path, refuses):
    (tmp_path / "file").write_text("")
    with refuses(str(tmp_path / "file" / "a.txt")):
        write_atomic(tmp_path / "file" / "a.txt", "x")


def test_run_lock(tmp_path, refuses):
    """Two processes are in test_training.py; one process must not enter twice either."""
    folder = tmp_path / "run"
    with run_lock(folder):
        with refuses(str(folder), "in use", f"({os.getpid()} on "), run_lock(folder):
            pass
        with run_lock(tmp_path / "other"):
            pass
    with pytest.raises(KeyError), run_lock(folder):
        raise KeyError
    with run_lock(folder):  # an error frees it
        pass


def test_tensors_round_trip(tmp_path):
    tensors = {
        "a": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "b": torch.tensor(3, dtype=torch.int64),
        "c": torch.rand(4, 6).T.requires_grad_(),
        "d": torch.zeros(0, dtype=torch.bool),
    }
    save_tensors(tmp_path / "t.safetensors", tensors, {"list": [1, "x"], "none": None})
    found, meta = load_tensors(tmp_path / "t.safetensors")
    assert found.keys() == tensors.keys() and meta == {"list": [1, "x"], "none": None}
    assert all(torch.equal(found[k], tensors[k]) and found[k].dtype == tensors[k].dtype for k in tensors)


def test_missing_or_damaged_tensors(tmp_path, refuses):
    path = tmp_path / "t.safetensors"
    with refuses(str(path), "not found"):
        load_tensors(path)
    with refuses(str(tmp_path), "not found"):
        load_run(tmp_path)
    save_tensors(path, {"a": torch.rand(1000)})
    whole = path.read_bytes()
    for content in (b"", b"x" * 50, whole[:-100]):
        path.write_bytes(content)
        with refuses(str(path), "damaged"):
            load_tensors(path)


def test_digest():
    def layer(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

    first = layer(0)
    assert digest(first) == digest(layer(0).to(memory_format=torch.channels_last)) != digest(layer(1))
    before = digest(first)
    first[1].num_batches_tracked += 1
    assert digest(first) != before


# -------------------------------------------------------------------------------------------------- full disk


def test_full_disk(small_disk, refuses):
    path = small_disk / "a.txt"
    write_atomic(path, "before")
    for content in ("x" * 200_000, b"x" * 200_000):
        with refuses(str(path), "space"):
            write_atomic(path, content)
        assert path.read_text() == "before" and os.listdir(small_disk) == ["a.txt"]
    write_atomic(path, "after")  # there is room again
    assert path.read_text() == "after"


def test_full_disk_under_tensors(small_disk, refuses):
    path = small_disk / "t.safetensors"
    save_tensors(path, {"a": torch.arange(100)})
    with refuses(str(path), "space"):
        save_tensors(path, {"a": torch.rand(100_000)})
    assert os.listdir(small_disk) == ["t.safetensors"]
    assert torch.equal(load_tensors(path)[0]["a"], torch.arange(100))


def test_full_disk_under_a_run(small_disk, tiny, birds, refuses):
    with refuses(str(small_disk / "run"), "space"):
        Trainer(tiny, birds, small_disk / "run").run(progress=False)
    assert not [name for name in os.listdir(small_disk / "run") if name.endswith(".part")]


@pytest.mark.parametrize("limited", [False, True])
def test_a_disk_that_fills_keeps_the_last_checkpoint(
    limited, tiny, birds, teacher_folder, tmp_path, refuses, monkeypatch
):
    """After the first checkpoint: by a file that takes all that is left, or as in `small_disk` by a limit for files."""
    folder, save, before = tmp_path / "run", Trainer.save, resource.getrlimit(resource.RLIMIT_FSIZE)
    ballast = folder / "ballast"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if not limited and (shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode):
        pytest.skip("no file system can be mounted here: the limit of a file's size has to do")

    def save_and_fill(trainer, upcoming):
        save(trainer, upcoming)
        assert upcoming == (0, 1)  # it is saved no second time
        if limited:
            half = (folder / "checkpoint.safetensors").stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (half, before[1]))
            return
        with pytest.raises(OSError, match="space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    try:
        with monkeypatch.context() as patch, refuses(str(folder), "space"):
            patch.setattr(Trainer, "save", save_and_fill)
            Trainer(tiny, birds, folder).run(progress=False)
        assert load_tensors(folder / "checkpoint.safetensors")[1]["upcoming"] == [0, 1]
        assert not [name for name in os.listdir(folder) if name.endswith(".part")]
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        ballast.unlink(missing_ok=True)
        trainer = Trainer(tiny, birds, folder)
        trainer.run(progress=False)
        assert [record["epoch"] for record in trainer.history[:2]] == [1, 2]
        for name in ("network", "checkpoint"):
            mine, whole = (load_tensors(place / f"{name}.safetensors")[0] for place in (folder, teacher_folder))
            assert mine.keys() == whole.keys() and all(torch.equal(mine[key], whole[key]) for key in whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if not limited:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)  # its files may still be mapped


# ------------------------------------------------------------------------------------------------- provenance


def test_provenance(tiny, tmp_path):
    record = provenance(tiny, torch.device("cpu"), seconds=7200, passes=12)
    assert record["study"] == "tiny" and record["run"] == "teacher" and record["seed"] == tiny.seed
    assert record["hours"] == 2 and record["image_passes"] == 12
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["peak_memory_gb"] > 0 and len(record["parameter_hash"]) == 12
    assert isinstance(record["dirty"], bool) and "CPU" in record["device"]
    write_json(tmp_path / "p.json", record)
    assert (tmp_path / "p.json").read_text().endswith("}\n")
