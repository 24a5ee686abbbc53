"""Weights averaged before the push: the mean that is meant, statistics that belong to it, and kills in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import change, killed_and_resumed, same, tensors_of

from p2p.data.images import ImageSet
from p2p.networks import ProtoNet
from p2p.study.params import TrainParams, parameter_hash
from p2p.training.averaging import Average
from p2p.training.trainer import Trainer

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(("share", "passes"), [(1.0, 4), (0.5, 2), (0.01, 1)])
@pytest.mark.parametrize("batchnorm", ["train", "frozen"])
def test_the_network_that_is_pushed_is_the_mean_of_the_last_passes(
    tiny: TrainParams, birds: ImageSet, tmp_path: Path, monkeypatch: Any, share: float, passes: int, batchnorm: str
) -> None:
    params = change(
        tiny, joint_epochs=4, rounds=1, average_share=share, trunk_batchnorm=batchnorm, joint_copies=1, batch_size=12
    )
    trainer, seen, add = Trainer(params, birds, tmp_path), list[dict[str, torch.Tensor]](), Average.add

    def remember(self: Average, network: torch.nn.Module) -> None:
        seen.append({name: value.detach().double().clone() for name, value in network.named_parameters()})
        add(self, network)

    monkeypatch.setattr(Average, "add", remember)
    trainer.run(progress=False)
    assert len(seen) == passes
    trunk = {name: value for name, value in trainer.network.named_parameters() if name.startswith(("trunk", "addon"))}
    for name, value in trunk.items():  # prototypes are pushed behind it
        mean = torch.stack([each[name] for each in seen]).mean(0)
        torch.testing.assert_close(value.double(), mean, atol=1e-6, rtol=1e-5)
    norm = next(m for m in trainer.network.trunk.modules() if isinstance(m, torch.nn.BatchNorm2d))
    came: list[torch.Tensor] = []
    hook = norm.register_forward_hook(lambda module, inputs, out: came.append(inputs[0].double().mean((0, 2, 3))))
    with torch.no_grad():
        for batch in trainer.fit.pixels.split(12):  # 32 images: what reaches the first norm needs no other statistics
            trainer.network.trunk(batch)
    hook.remove()
    if batchnorm == "train":
        assert norm.running_mean is not None and norm.momentum == 0.1
        torch.testing.assert_close(norm.running_mean.double(), torch.stack(came).mean(0), atol=1e-5, rtol=1e-4)
    assert trainer.average.passes == 0


def test_a_kill_between_averaged_passes_changes_nothing(
    tiny_student: TrainParams, birds: ImageSet, teacher_folder: Path, teacher: ProtoNet, tmp_path: Path
) -> None:
    params = change(tiny_student, average_share=1.0, joint_epochs=5, trunk_batchnorm="train")
    Trainer(params, birds, tmp_path / "whole", teacher).run(progress=False)
    assert killed_and_resumed(params, tmp_path / "killed", teacher_folder) >= 4
    assert same(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "killed"))
    plain = change(params, average_share=0.0)
    Trainer(plain, birds, tmp_path / "plain", teacher).run(progress=False)
    assert not same(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "plain"))


def test_without_averaging_a_run_keeps_its_name(tiny: TrainParams) -> None:
    assert "average_share" not in tiny.model_dump()
    assert parameter_hash(tiny) != parameter_hash(change(tiny, average_share=0.5))
