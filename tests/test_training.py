"""Training: killed and resumed runs, selection, caches, the inert teacher, and what is written down."""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from bounds import rounding

from p2p import figures
from p2p.data.images import load_images
from p2p.device import has_bfloat16
from p2p.errors import UserError
from p2p.evaluation.runs import accuracy, finish_run, load_run, map_r2, respond
from p2p.files import run_lock
from p2p.metrics import aap
from p2p.mimicry import MapR2
from p2p.networks import LinearNet, ProtoNet
from p2p.projection import projection_error, same_source
from p2p.prototypes import normalise_features
from p2p.responses import ResponseTable, quarter_tau
from p2p.study.params import TrainParams
from p2p.training.build import build_network
from p2p.training.checkpoints import load_tensors
from p2p.training.objective import objective
from p2p.training.optimisers import new_optimizer, set_rates
from p2p.training.phases import timeline
from p2p.training.progress import time_left
from p2p.training.trainer import Trainer

pytestmark = pytest.mark.numeric
NETWORK = 9 * rounding(96 * 9)  # of an add-on map in float32: nine layers, at most 96 channels of 3×3 weights

# Killed runs are real processes. A fork server imports torch once, so that each costs a tenth of a second.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["p2p.evaluation.runs"])


def work(values: dict[str, Any], folder: Path, teacher: Path | None) -> None:
    """One process's run, from its parameters."""
    torch.set_num_threads(1)
    params = TrainParams.model_validate(values)
    network = load_run(teacher).network if teacher else None
    assert network is None or isinstance(network, ProtoNet)
    with run_lock(folder):
        Trainer(params, load_images(params), folder, network).run(progress=False)


def hold(folder: Path, connection: Any) -> None:
    """Hold a run's lock until told to end."""
    with run_lock(folder):
        connection.send("held")
        connection.recv()


def identity(path: Path) -> tuple[int, int] | None:
    """Changes whenever the file is replaced."""
    try:
        return (path.stat().st_ino, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None


def killed_and_resumed(params: TrainParams, folder: Path, teacher: Path | None) -> int:
    """Start the run again and again, each time killed soon after a new checkpoint; the number of kills."""
    checkpoint, delays, kills = folder / "checkpoint.safetensors", itertools.cycle([0, 0.015, 0.04, 0.005]), 0
    while True:
        before = identity(checkpoint)
        process = SERVER.Process(target=work, args=(params.model_dump(), folder, teacher))
        process.start()
        while process.is_alive() and identity(checkpoint) == before:
            time.sleep(0.001)
        time.sleep(next(delays))
        assert process.pid
        with contextlib.suppress(ProcessLookupError):  # it may end by itself just now
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        code = process.exitcode
        process.close()
        if code == 0:
            return kills
        assert code == -signal.SIGKILL
        kills += 1
        assert kills < 40


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "network.safetensors")[0]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def change(params: TrainParams, **values: Any) -> TrainParams:
    return TrainParams.model_validate({**params.model_dump(), **values})


# ----------------------------------------------------------------------------------------- killed and resumed


def test_a_killed_teacher_ends_bit_identical(tiny, teacher_folder, tmp_path):
    kills = killed_and_resumed(tiny, tmp_path, None)
    assert kills >= 4  # warm, joint and decision phases among them
    assert same(tensors_of(tmp_path), tensors_of(teacher_folder))
    first, second = (load_tensors(folder / "checkpoint.safetensors") for folder in (tmp_path, teacher_folder))
    assert same(first[0], second[0])  # optimiser states too
    for key in ("upcoming", "kept", "params"):
        assert first[1][key] == second[1][key]
    for mine, theirs in zip(first[1]["history"], second[1]["history"], strict=True):
        cost = {"seconds": 0, "passes": 0}  # a resumed run computes its cached trunk outputs anew
        assert {**mine, **cost} == {**theirs, **cost}
    assert not [path for path in tmp_path.glob("*.safetensors") if "part" in path.name]


def test_a_killed_student_ends_bit_identical(tiny_student, birds, teacher_folder, teacher, tmp_path):
    Trainer(tiny_student, birds, tmp_path / "whole", teacher).run(progress=False)
    assert killed_and_resumed(tiny_student, tmp_path / "killed", teacher_folder) >= 4
    assert same(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "killed"))
    first, second = (load_tensors(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "killed"))
    assert same(first, second)


def test_resume_at_every_checkpoint(tiny, birds, teacher_folder, tmp_path, monkeypatch):
    """Without chance: stop after each saved epoch in turn, go on in a new trainer."""
    saved = []

    class Stop(Exception):
        pass

    def save_and_stop(trainer, upcoming):
        save(trainer, upcoming)
        saved.append(upcoming)
        raise Stop

    save = Trainer.save
    monkeypatch.setattr(Trainer, "save", save_and_stop)
    for _ in range(20):
        try:
            Trainer(tiny, birds, tmp_path).run(progress=False)
        except Stop:
            continue
        break
    assert saved == [(0, 1), (1, 0), (1, 1), (2, 0), (4, 0), (4, 1), (5, 0), (7, 0)]
    assert same(tensors_of(tmp_path), tensors_of(teacher_folder))
    ends = [load_tensors(folder / "checkpoint.safetensors")[0] for folder in (tmp_path, teacher_folder)]
    assert same(*ends)


def test_a_finished_run_is_not_trained_again(tiny, birds, tmp_path):
    Trainer(tiny, birds, tmp_path).run(progress=False)
    before = identity(tmp_path / "network.safetensors")
    trainer = Trainer(tiny, birds, tmp_path)
    trainer.run(progress=False)
    assert identity(tmp_path / "network.safetensors") == before
    assert len(trainer.history) == 10


def test_changed_parameters_start_anew(tiny, birds, tmp_path, capsys):
    short = change(tiny, rounds=1)
    Trainer(short, birds, tmp_path / "a").run(progress=False)
    other = change(short, lr_addon=2e-3)
    capsys.readouterr()
    trainer = Trainer(other, birds, tmp_path / "a")
    trainer.run(progress=False)
    assert "starting anew" in capsys.readouterr().err
    Trainer(other, birds, tmp_path / "b").run(progress=False)
    assert same(tensors_of(tmp_path / "a"), tensors_of(tmp_path / "b"))
    assert len(trainer.history) == 6


def test_another_teacher_starts_anew(tiny_student, birds, teacher, tmp_path, capsys):
    """The name of the teacher's run is a parameter, its weights are not: a retrained teacher must count."""
    short = change(tiny_student, rounds=1, warm_epochs=0, joint_epochs=1)
    Trainer(short, birds, tmp_path / "a", teacher).run(progress=False)
    with torch.no_grad():
        teacher.prototypes += 0.1
    capsys.readouterr()
    Trainer(short, birds, tmp_path / "a", teacher).run(progress=False)
    assert "starting anew" in capsys.readouterr().err
    Trainer(short, birds, tmp_path / "b", teacher).run(progress=False)
    assert same(tensors_of(tmp_path / "a"), tensors_of(tmp_path / "b"))


def test_two_processes_in_one_folder(tmp_path, refuses):
    here, there = SERVER.Pipe()
    process = SERVER.Process(target=hold, args=(tmp_path, there))
    process.start()
    assert here.poll(30) and here.recv() == "held"
    with refuses(str(tmp_path), "in use"), run_lock(tmp_path):
        pass
    here.send("end")
    process.join()
    process.close()
    here.close()
    there.close()
    with run_lock(tmp_path):
        pass


# ------------------------------------------------------------------------------------------------ a whole run


def test_a_finished_network_has_training_patches_for_prototypes(teacher_folder, birds):
    run = load_run(teacher_folder)
    assert isinstance(run.network, ProtoNet) and run.projection is not None
    train = birds.subset("train")
    assert projection_error(run.network, train.pixels, run.projection) < 8**0.5 * NETWORK
    owner = torch.arange(8) // 2
    assert torch.equal(train.labels[run.projection.images], owner)
    assert run.prototypes_before is not None and not torch.equal(run.prototypes_before, run.network.prototypes)
    assert run.decision_before is not None and not torch.equal(run.decision_before.weight, run.network.decision.weight)
    assert not run.network.training and not any(p.requires_grad for p in run.network.parameters())


def test_the_last_round_is_kept(tiny, birds, tmp_path, monkeypatch):
    states, keep = [], Trainer._keep

    def seen(self):
        keep(self)
        states.append({f"network.{k}": v.clone() for k, v in self.network.state_dict().items()})

    monkeypatch.setattr(Trainer, "_keep", seen)
    Trainer(change(tiny, rounds=3, joint_epochs=1, warm_epochs=0), birds, tmp_path).run(progress=False)
    kept = {k: v for k, v in tensors_of(tmp_path).items() if k.startswith("network.")}
    assert [same(kept, state) for state in states] == [False, False, True]


def test_validation_accuracy_is_of_the_validation_split(teacher_folder, birds, tmp_path):
    run, (_, meta) = load_run(teacher_folder), load_tensors(teacher_folder / "checkpoint.safetensors")
    held = birds.subset("validation")
    last = meta["history"][-1]
    assert accuracy(run.network, held.pixels, held.labels) == pytest.approx(last["validation"])
    ce = torch.nn.functional.cross_entropy(run.network(held.pixels).logits.double(), held.labels)
    assert last["validation_ce"] == pytest.approx(ce.item(), rel=1e-5)


def test_linear_network_trains_and_keeps_its_last_epoch(tiny, birds, tmp_path):
    trainer = Trainer(change(tiny, model="linear", joint_epochs=3, rounds=1), birds, tmp_path)
    trainer.run(progress=False)
    frame = pd.DataFrame(trainer.history)
    assert list(frame["phase"]) == ["warm"] * 2 + ["joint"] * 3
    assert frame["loss"].iloc[-1] < frame["loss"].iloc[0]
    run = load_run(tmp_path)
    assert isinstance(run.network, LinearNet) and run.projection is None
    held = birds.subset("validation")
    assert accuracy(run.network, held.pixels, held.labels) == pytest.approx(frame["validation"].iloc[-1])


def test_prototypes_may_start_at_patches(tiny, birds, tmp_path):
    trainer = Trainer(change(tiny, prototype_init="patches"), birds, tmp_path)
    uniform = trainer.network.prototypes.detach().clone()
    trainer._initialise()
    train = birds.subset("train")
    trainer.network.eval()
    with torch.no_grad():
        z = trainer.network(train.pixels).z.flatten(2).transpose(1, 2).flatten(0, 1)
    apart = trainer.network.prototypes.detach()[:, None] - z
    assert apart.norm(dim=2).amin(1).max() < 8**0.5 * NETWORK
    assert not torch.equal(trainer.network.prototypes, uniform)
    assert trainer.network.prototypes.requires_grad


def test_a_run_begins_at_those_patches(tiny, birds, tmp_path):
    """With learning rates of zero the push finds every prototype where it already is."""
    still = {"lr_addon": 0.0, "lr_prototypes": 0.0, "warm_epochs": 1, "joint_epochs": 0, "rounds": 1}
    Trainer(change(tiny, **still, prototype_init="patches"), birds, tmp_path).run(progress=False)
    found = load_run(tmp_path).projection
    assert found is not None and found.distances.max() < rounding(8 + 2, 4 * 8)


def test_same_seed_same_start(tiny):
    first, second = build_network(tiny, 4), build_network(tiny, 4)
    assert same(first.state_dict(), second.state_dict())
    assert not same(first.state_dict(), build_network(change(tiny, seed=1), 4).state_dict())


def test_each_phase_moves_what_it_says(tiny, birds, tmp_path):
    trainer = Trainer(tiny, birds, tmp_path)

    def snapshot():
        return {k: v.clone() for k, v in trainer.network.state_dict().items()}

    def moved(before):
        return {k.split(".")[0] for k, v in trainer.network.state_dict().items() if not torch.equal(before[k], v)}

    for index, (phase, expected) in enumerate(
        zip(
            trainer.phases,
            [{"addon", "prototypes"}, {"trunk", "addon", "prototypes"}, {"prototypes"}, {"decision"}],
            strict=False,
        )
    ):
        before = snapshot()
        trainer._step(phase, index, 0)
        assert moved(before) == expected, phase.name


# ---------------------------------------------------------------------------------------- teacher and student


def test_the_teacher_is_inert(tiny_student, birds, teacher, tmp_path):
    teacher.train().requires_grad_(True)  # whatever state it comes in
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    assert any("running_mean" in k for k in before)
    Trainer(tiny_student, birds, tmp_path, teacher).run(progress=False)
    assert same(before, teacher.state_dict())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not any(module.training for module in teacher.modules())


@pytest.mark.parametrize("mask_source", ["teacher", "student"])
def test_distillation_losses_fall(mask_source, tiny_student, birds, teacher, tmp_path):
    longer = {"warm_epochs": 4, "joint_epochs": 6, "rounds": 1, "lr_addon": 1e-2, "lr_prototypes": 1e-2}
    with torch.no_grad():
        teacher.addon[2].weight *= 6  # a teacher with something to tell: its map is far from flat
    trainer = Trainer(change(tiny_student, **longer, mask_source=mask_source), birds, tmp_path, teacher)
    trainer.run(progress=False)
    frame = pd.DataFrame(trainer.history)
    frame = frame[frame["phase"].isin(["warm", "joint"])]
    assert len(frame) == 10
    for name in ("global", "ppc"):
        assert frame[name].iloc[-1] < 0.8 * frame[name].iloc[0], name
    assert frame["global"].iloc[0] == pytest.approx((8 / 6) ** 0.5, rel=0.3)  # two U[0, 1) sets, D = 8


def test_student_heads(tiny_student, birds, teacher, tmp_path):
    """A5: own, the teacher's and fixed, the teacher's and learning."""
    quick = {"warm_epochs": 0, "joint_epochs": 1, "rounds": 1}
    own = Trainer(change(tiny_student, **quick, head="own"), birds, tmp_path / "own", teacher)
    assert sorted(own.network.decision.weight.unique().tolist()) == [-0.5, 1.0]
    fixed = Trainer(change(tiny_student, **quick, head="teacher"), birds, tmp_path / "fixed", teacher)
    fixed.run(progress=False)
    assert torch.equal(fixed.network.decision.weight, teacher.decision.weight)
    joint = Trainer(change(tiny_student, **quick, head="teacher_joint"), birds, tmp_path / "joint", teacher)
    assert torch.equal(joint.network.decision.weight, teacher.decision.weight)
    joint._step(joint.phases[0], 0, 0)
    assert not torch.equal(joint.network.decision.weight, teacher.decision.weight)


def test_warm_up_on_distillation_alone(tiny_student, birds, teacher, tmp_path):
    """A14: with all weights at zero such a warm-up learns nothing, and its logged loss is zero."""
    params = change(
        tiny_student,
        warm_losses="distillation",
        distillation={"global": 0.0, "ppc": 0.0},
        weight_decay=0.0,
        batch_size=32,
    )
    trainer = Trainer(params, birds, tmp_path, teacher)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    assert trainer._step(trainer.phases[0], 0, 0)["loss"] == 0
    assert same(before, trainer.network.state_dict())
    assert trainer._step(trainer.phases[1], 1, 0)["loss"] > 0  # joint passes use all losses


@pytest.mark.parametrize("taught", [False, True])
def test_warm_cache_limit_changes_nothing(taught, tiny, tiny_student, birds, teacher, tmp_path):
    base = change(tiny_student if taught else tiny, warm_epochs=5, warm_copies=2, joint_epochs=1, rounds=1)
    passes = {}
    for limit in (4.0, 0.0):
        trainer = Trainer(change(base, warm_cache_gb=limit), birds, tmp_path / str(limit), teacher if taught else None)
        trainer.run(progress=False)
        passes[limit] = trainer.batches.passes
    assert same(tensors_of(tmp_path / "4.0"), tensors_of(tmp_path / "0.0"))
    assert passes[0.0] == passes[4.0]  # a copy on the disk is read, not computed anew
    assert not list((tmp_path / "0.0").glob(".rows-*"))


# --------------------------------------------------------------------------------------- what is written down


def test_logged_values_are_means_over_images(tiny, birds, tmp_path):
    """With learning rates of zero an epoch's row is the mean over all images, whatever the batches."""
    params = change(tiny, lr_addon=0.0, lr_prototypes=0.0, augment=False, batch_size=12)
    trainer = Trainer(params, birds, tmp_path)
    row = trainer._step(trainer.phases[0], 0, 0)
    network, train = trainer.network, birds.subset("train")
    network.eval()
    rows = []
    with torch.no_grad():
        for image, label in zip(train.pixels, train.labels, strict=True):
            features = network.trunk(image[None]).half().float()  # cached so
            loss, parts = objective(network.head(features), label[None], network, params, None)
            right = (network.head(features).logits.argmax(1) == label).float()[0]
            rows.append({"loss": loss, "accuracy": right, **parts})
    for name in ("loss", "accuracy", "ce", "cluster", "separation", "l1"):
        assert row[name] == pytest.approx(sum(float(r[name]) for r in rows) / 32, rel=3 * NETWORK), name


@pytest.mark.parametrize("phase", [0, 1])
def test_a_batch_of_one_left_out_does_not_bend_the_means(phase, tiny, birds, tmp_path):
    """33 times one image in batches of 8: the last, of one, is left out, and the mean is that of any image."""
    train = birds.subset("train")
    many = train.select(torch.zeros(33, dtype=torch.int64))
    params = change(tiny, augment=False, batch_size=8, lr_trunk=0.0, lr_addon=0.0, lr_prototypes=0.0)
    trainer = Trainer(params, birds, tmp_path)
    trainer.fit = many
    row = trainer._step(trainer.phases[phase], phase, 0)
    assert row["l1"] == pytest.approx(0.5 * 8 * 3, rel=rounding(33))  # of a decision layer of 1 and -0.5


def test_long_phases_look_at_validation_images_now_and_then(tiny, birds, tmp_path, monkeypatch):
    monkeypatch.setattr("p2p.training.trainer.LOOKS", 2)
    trainer = Trainer(change(tiny, warm_epochs=0, joint_epochs=5, rounds=1), birds, tmp_path)
    trainer.run()
    looked = [row["epoch"] for row in trainer.history if row["phase"] == "joint" and "validation" in row]
    assert looked == [2, 4, 5] and all("validation" in row for row in trainer.history if row["phase"] != "joint")
    lines = figures.training_curves(pd.DataFrame(trainer.history)).axes[1].lines
    assert list(next(line for line in lines if line.get_label() == "validation").get_xdata()) == [2, 4, 5]


def test_history_and_cost(teacher_folder, tiny, birds, tmp_path):
    _, meta = load_tensors(teacher_folder / "checkpoint.safetensors")
    history = meta["history"]
    names = ["warm"] * 2 + ["joint", "joint", "push", "decision"] * 2
    assert [row["phase"] for row in history] == names
    for row in history:
        assert row["seconds"] > 0 and 0 <= row["validation"] <= 1
        if row["phase"] in ("warm", "joint"):
            expected = row["ce"] + row["cluster"] - 0.08 * row["separation"] + 1e-4 * row["l1"]
            size = row["ce"] + row["cluster"] + row["separation"] + row["l1"]
            assert row["loss"] == pytest.approx(expected, abs=rounding(32, size))
            assert all(math.isfinite(row[k]) for k in ("ce", "cluster", "separation", "l1", "accuracy"))
    n, held = 32, 8
    own = n * (2 + 4 + 2) + (n + held) * 2  # copies, joint, push; decision on both splits
    validation = held * (1 + 4 + 2 + 2)  # once while the trunk is frozen, then after every joint pass, push, decision
    assert meta["passes"] == [own + validation, 0]  # the second number is the teacher's
    joint = [row["cluster"] for row in history if row["phase"] == "joint"]
    assert joint[-1] < joint[0]


@pytest.mark.parametrize(
    ("line", "found"),
    [("flags : fpu avx512f avx512_bf16", True), ("flags : fpu avx512f", False), ("Features : fp asimd bf16", True)],
)
def test_a_cpu_names_its_bfloat16_units(line, found, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"model name : x\n{line}\n")
    assert has_bfloat16(torch.device("cpu"), tmp_path / "cpuinfo") == found
    assert not has_bfloat16(torch.device("cpu"), tmp_path / "none")


def test_bfloat16_is_refused_without_units_and_touches_the_trunk_alone(tiny, birds, tmp_path, refuses, monkeypatch):
    params = change(tiny, precision="bfloat16")
    monkeypatch.setattr("p2p.training.batches.has_bfloat16", lambda device: False)
    with refuses("'precision' is bfloat16", "float32"):
        Trainer(params, birds, tmp_path / "none")
    monkeypatch.setattr("p2p.training.batches.has_bfloat16", lambda device: True)
    trainer = Trainer(params, birds, tmp_path / "half")
    seen = []
    trainer.network.addon.register_forward_pre_hook(lambda module, given: seen.append(("add-on", given[0].dtype)))
    trainer.network.trunk.register_forward_hook(lambda module, given, out: seen.append(("trunk", out.dtype)))
    trainer.run(progress=False)
    assert ("trunk", torch.bfloat16) in seen and {kind for part, kind in seen if part == "add-on"} == {torch.float32}
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in trainer.history if "loss" in row)
    assert finish_run(tmp_path / "half", birds)["projection_error"] < 8**0.5 * NETWORK  # push and tables are in float32


def test_time_left_knows_what_each_phase_costs(tiny):
    phases = timeline(tiny)  # warm 2, then twice joint 2, push, decision
    history = [{"phase": "warm", "seconds": 10.0}]
    assert time_left(phases, history, 0, 1) == 90  # one warm epoch and eight steps not seen yet, as slow as it
    history += [{"phase": "warm", "seconds": 2.0}, {"phase": "joint", "seconds": 60.0}]
    assert time_left(phases, history, 1, 1) == 420  # three joint epochs, four steps not seen yet: as the slowest
    history += [{"phase": "joint", "seconds": 20.0}, {"phase": "push", "seconds": 5.0}]
    history += [{"phase": "decision", "seconds": 1.0}]
    assert time_left(phases, history, 3, 1) == 86  # two joint epochs at 40 s, a push, a decision
    assert time_left(phases, history, len(phases) - 1, 1) == 0


def test_a_diverging_run_stops_and_keeps_its_checkpoint(tiny, birds, tmp_path, refuses):
    params = change(tiny, lr_trunk=1e30)
    with refuses("'teacher'", "joint", "not finite", "lr_trunk"):
        Trainer(params, birds, tmp_path).run(progress=False)
    tensors, meta = load_tensors(tmp_path / "checkpoint.safetensors")
    assert meta["upcoming"] == [1, 0] and [row["phase"] for row in meta["history"]] == ["warm"] * 2
    assert all(torch.isfinite(t).all() for t in tensors.values())
    with pytest.raises(UserError):  # and it goes on from there, to the same end
        Trainer(params, birds, tmp_path).run(progress=False)


def test_adam_couples_the_weight_decay_and_adamw_does_not(tiny, birds, tmp_path):
    """A6."""
    found = {}
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        trainer = Trainer(change(tiny, optimizer=name), birds, tmp_path / name)
        joint = replace(trainer.phases[1], rates=(0.5,))
        optimizer = new_optimizer(trainer.network, joint, trainer.params)
        set_rates(optimizer, joint, 0, trainer.params)
        assert type(optimizer) is kind
        found[name] = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert found["adam"] == found["adamw"]
    expected = {"trunk": (1e-4, 1e-3), "addon": (1.5e-3, 1e-3), "prototypes": (1.5e-3, 0.0)}
    assert found["adam"].keys() == expected.keys()
    for name, values in expected.items():
        assert found["adam"][name] == pytest.approx(values), name


def test_other_images_under_the_same_parameters_start_anew(tiny, birds, tmp_path, capsys):
    short = change(tiny, rounds=1)
    Trainer(short, birds, tmp_path / "a").run(progress=False)
    changed = replace(birds, pixels=birds.pixels.flip(3))
    trainer = Trainer(short, changed, tmp_path / "a")
    trainer.run(progress=False)
    assert "images changed" in capsys.readouterr().err and len(trainer.history) == 6


def test_a_finished_run_that_lost_its_network_starts_anew(tiny, birds, tmp_path):
    short = change(tiny, rounds=1)
    Trainer(short, birds, tmp_path / "a").run(progress=False)
    (tmp_path / "a" / "network.safetensors").unlink()
    Trainer(short, birds, tmp_path / "a").run(progress=False)
    assert (tmp_path / "a" / "network.safetensors").exists()


def test_data_dependent_start_makes_trunks_of_any_scale_alike(tiny, birds):
    """The add-on map does not change when the trunk's outputs are a hundred times larger."""

    class Louder(torch.nn.Module):
        def __init__(self, trunk):
            super().__init__()
            self.trunk = trunk

        def forward(self, images):
            return 100 * self.trunk(images)

    maps = []
    for wrap in (lambda trunk: trunk, Louder):
        network = build_network(tiny, 4)
        network.trunk = wrap(network.trunk)
        normalise_features(network, birds.pixels)
        maps.append(network.eval().add_on_map(birds.pixels[:8]))
    torch.testing.assert_close(*maps, rtol=0, atol=NETWORK)
    channels = torch.logit(maps[0].double()).std((0, 2, 3))
    assert 0.5 < channels.median() < 2  # unit variance before the sigmoid, up to the choice of images


# ------------------------------------------------------------------------- following the teacher, and its sources


def slow_r2(student, teacher, pixels) -> float:
    """From the definition, cell by cell."""
    s, t = (n.eval().add_on_map(pixels).permute(0, 2, 3, 1).flatten(0, 2).double() for n in (student, teacher))
    mean = sum(t) / len(t)
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(s, t, strict=True))
    return 1 - error / sum(float(((b - mean) ** 2).sum()) for b in t)


def test_how_far_the_student_has_followed(tiny_student, birds, teacher, tmp_path):
    trainer = Trainer(change(tiny_student, rounds=1), birds, tmp_path, teacher)
    trainer.run(progress=False)
    held, test = birds.subset("validation"), birds.subset("test")
    network = load_run(tmp_path).network
    expected = slow_r2(network, teacher, held.pixels)
    assert trainer.history[-1]["r2_validation"] == pytest.approx(expected, rel=1e-5)
    passes = [row for row in trainer.history if row["phase"] in ("warm", "joint")]
    assert len(passes) == 4 and all(math.isfinite(row["r2"]) for row in passes)
    outcome = finish_run(tmp_path, birds, teacher)
    assert outcome["r2"] == pytest.approx(slow_r2(network, teacher, test.pixels), rel=1e-5)
    assert map_r2(teacher, teacher, test.pixels) == 1


def test_r2_has_its_zero_at_the_mean_of_the_teacher():
    teacher = torch.rand(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    mean = teacher.mean((0, 2, 3), keepdim=True).expand_as(teacher)
    followed = MapR2()
    assert math.isnan(followed.value())
    for part in range(0, 6, 2):
        followed.add(mean[part : part + 2], teacher[part : part + 2])
    assert followed.value() == pytest.approx(0, abs=1e-6)
    constant = MapR2()
    constant.add(teacher, torch.ones_like(teacher))
    assert math.isnan(constant.value())


def test_the_threshold_at_which_a_quarter_of_the_cells_is_active(tiny, birds, teacher_folder):
    (answers,) = respond(load_run(teacher_folder).network, birds.subset("validation").pixels)
    assert finish_run(teacher_folder, birds)["tau_quarter"] == quarter_tau(answers)
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 16, (50, 40), generator=generator).to(torch.int16)
    table = ResponseTable(cells, torch.rand(50, 40, generator=generator), (4, 4))
    below, at = (aap(table, (x,)).item() / 16 for x in (quarter_tau(table) * (1 - 1e-6), quarter_tau(table)))
    assert 0.24 < below < 0.25 <= at
    few = ResponseTable(torch.zeros(5, 3, dtype=torch.int16), torch.rand(5, 3), (4, 4))
    assert quarter_tau(few) == math.inf  # one cell of sixteen is ever active


def test_copies_ask_the_teacher_once_each(tiny_student, birds, teacher, tmp_path):
    quick = {"warm_epochs": 0, "joint_epochs": 5, "rounds": 1, "batch_size": 32}
    trainer = Trainer(change(tiny_student, joint_copies=2, **quick), birds, tmp_path, teacher)
    trainer.run(progress=False)
    assert trainer.batches.teacher_passes == 2 * 32 + 8  # the copies, and the validation images
    assert trainer.history[-1]["passes"] == 5 * (32 + 8) + 32 + 8 + (32 + 8) + 8
    first, again, other = (next(trainer.batches.copied(0, epoch, frozen=False)) for epoch in (0, 2, 1))
    assert first.inputs.dtype == torch.uint8 and not torch.equal(first.labels, again.labels)  # orders differ
    images = [sorted(batch.inputs.flatten(1).long().sum(1).tolist()) for batch in (first, again, other)]
    assert images[0] == images[1] != images[2]
    with torch.inference_mode():
        out = teacher(again.inputs)
    torch.testing.assert_close(again.teacher.z, out.z, rtol=0, atol=1e-3)  # kept in half precision
    assert torch.equal(again.teacher.cells, out.cells)
    torch.testing.assert_close(again.teacher.distances, out.distances)


def test_a_shared_push_shows_the_teachers_pictures(tiny_student, birds, teacher_folder, teacher, tmp_path, refuses):
    sources = load_run(teacher_folder).projection
    params = change(tiny_student, push="shared", rounds=1)
    with refuses("'push'", "teacher"):
        Trainer(params, birds, tmp_path, teacher)
    Trainer(params, birds, tmp_path, teacher, sources).run(progress=False)
    run, train = load_run(tmp_path), birds.subset("train")
    assert torch.equal(run.projection.images, sources.images) and torch.equal(run.projection.cells, sources.cells)
    assert projection_error(run.network, train.pixels, run.projection) < 1e-4
    assert same_source(sources, run.projection, 2)[:2] == (1, 1)


def test_the_teachers_head_may_be_where_tuning_starts(tiny_student, birds, teacher, tmp_path):
    params = change(tiny_student, warm_epochs=0, joint_epochs=1, rounds=1, head="teacher_tuned")
    trainer = Trainer(params, birds, tmp_path, teacher)
    trainer._step(trainer.phases[0], 0, 0)
    assert torch.equal(trainer.network.decision.weight, teacher.decision.weight)  # fixed until the push
    trainer._step(trainer.phases[1], 1, 0), trainer._step(trainer.phases[2], 2, 0)
    assert not torch.equal(trainer.network.decision.weight, teacher.decision.weight)


def test_the_same_training_of_another_study_is_taken_over(tiny, birds, tmp_path, capsys):
    """Bit by bit, under this run's names; another seed, an unfinished run or a damaged file is no reason to."""

    def train(study: str, **values: Any) -> Trainer:
        params = change(tiny, study=study, run=f"teacher-{study}", **values)
        trainer = Trainer(params, birds, tmp_path / study / params.run)
        trainer.run(progress=False)
        return trainer

    first = train("a")
    assert train("b", role="control").taken_from == ""  # of study a nothing says yet that it is finished
    (first.folder / "run.json").write_text("{}")
    assert train("c", seed=tiny.seed + 1).taken_from == ""
    capsys.readouterr()
    taken = train("d", role="baseline", variant="other")
    assert taken.taken_from == "a/teacher-a" and "the same training" in capsys.readouterr().err
    assert same(tensors_of(taken.folder), tensors_of(first.folder)) and taken.history == first.history
    assert taken.batches.passes == first.batches.passes and taken.seconds == first.seconds
    assert load_run(taken.folder).params == taken.params
    again = train("d", role="baseline", variant="other")  # a second call finds its own
    assert again.taken_from == "" and "anew" not in capsys.readouterr().err
    (first.folder / "network.safetensors").write_bytes(b"half")
    assert train("e").taken_from == ""
