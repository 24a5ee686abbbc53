"""Weights of trunks from safetensors files: what fits, how much of a trunk it fills, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torchvision
from bounds import alike
from safetensors.torch import load_file, save_file
from trees import loaded

from p2p.trunks import build_trunk

# ---------------------------------------------------------------------------------------- weights from a file


def test_weights_round_trip(tmp_path, monkeypatch, capsys, squeezenet_state):
    features = {k: v for k, v in squeezenet_state.items() if k.startswith("features.")}
    save_file(features, tmp_path / "w.safetensors")
    trunk, _ = build_trunk("squeezenet1_1", 64, 2, str(tmp_path / "w.safetensors"))
    assert loaded(trunk, features)
    assert capsys.readouterr().out == "squeezenet1_1: 722,496 of 722,496 numbers from w.safetensors\n"
    monkeypatch.setenv("P2P_WEIGHTS", str(tmp_path))
    trunk, _ = build_trunk("squeezenet1_1", 64, 2, "w.safetensors")  # found in the folder of P2P_WEIGHTS
    assert loaded(trunk, features)
    bare = {k.removeprefix("features."): v for k, v in features.items()}
    save_file(bare, tmp_path / "bare.safetensors")
    assert loaded(build_trunk("squeezenet1_1", 64, 2, "bare.safetensors")[0], features)


def test_a_classifier_in_the_file_is_not_used(tmp_path, capsys, squeezenet_state):
    save_file(squeezenet_state, tmp_path / "whole.safetensors")
    trunk, _ = build_trunk("squeezenet1_1", 64, 2, str(tmp_path / "whole.safetensors"))
    assert loaded(trunk, squeezenet_state)
    assert capsys.readouterr().out.endswith("; not used: 2 tensors behind the cut\n")


def test_a_file_fills_the_whole_trunk_or_is_refused(tmp_path, capsys, refuses, squeezenet_state):
    state = dict(squeezenet_state)
    del state["features.3.squeeze.bias"], state["features.12.expand3x3.weight"]
    path = str(tmp_path / "part.safetensors")
    save_file(state, path)
    numbers = 722_496 - 16 - 256 * 64 * 9
    with refuses(path, f"{numbers:,} of the 722,496", "'features.3.squeeze.bias' and 1 more", "weights_missing"):
        build_trunk("squeezenet1_1", 64, 2, path)
    with refuses(path, "'features.12.expand3x3.weight'"):
        build_trunk("squeezenet1_1", 64, 2, path, ["features.3"])
    with refuses("weights_missing", "'features.1'", "squeezenet1_1"):  # begins the names of 10, 11 and 12, but is none
        build_trunk("squeezenet1_1", 64, 2, path, ["features.3", "features.1"])
    torch.manual_seed(5)
    trunk, _ = build_trunk("squeezenet1_1", 64, 2, path, ["features.3", "features.12.expand3x3"])
    assert "at their random start: features.3, features.12.expand3x3" in capsys.readouterr().out
    torch.manual_seed(5)
    start = build_trunk("squeezenet1_1", 64, 2)[0].state_dict()
    mine = trunk.state_dict()
    for key, value in zip(mine, squeezenet_state, strict=False):
        expected = squeezenet_state[value] if value in state else start[key]
        assert torch.equal(mine[key], expected)


def test_only_the_layers_before_the_cut_have_to_be_filled(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith(("layer4", "fc"))}, tmp_path / "r.safetensors")
    assert loaded(build_trunk("resnet18", 64, 4, str(tmp_path / "r.safetensors"))[0], state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(bad, tmp_path, refuses, squeezenet_state):
    squeezenet_state["features.3.squeeze.bias"][2] = bad
    path = str(tmp_path / "bad.safetensors")
    save_file(squeezenet_state, path)
    with refuses(path, "NaN or infinity", "'features.3.squeeze.bias'"):
        build_trunk("squeezenet1_1", 64, 2, path)


def test_a_resnet_without_classifier_and_counters_is_complete(tmp_path, capsys):
    state = torchvision.models.resnet18(weights=None).state_dict()
    features = {k: v for k, v in state.items() if not k.startswith("fc.") and "num_batches" not in k}
    save_file(features, tmp_path / "r.safetensors")
    build_trunk("resnet18", 64, 2, str(tmp_path / "r.safetensors"))
    assert "11,186,112 of 11,186,112" in capsys.readouterr().out


def test_weights_of_our_own_trunk(tmp_path):
    source, _ = build_trunk("small_half", 32, 4)
    state = {f"{int(k.split('.')[0]) - 1}.{k.split('.', 1)[1]}": v for k, v in source.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "s.safetensors")
    trunk, _ = build_trunk("small_half", 32, 4, str(tmp_path / "s.safetensors"))
    assert loaded(trunk, source.state_dict())


def test_wrong_weights(tmp_path, monkeypatch, refuses, squeezenet_state):
    path = tmp_path / "w.safetensors"
    with refuses("w.safetensors", "squeezenet1_1", "P2P_WEIGHTS", "unset"):
        monkeypatch.delenv("P2P_WEIGHTS", raising=False)
        build_trunk("squeezenet1_1", 64, 2, str(path))
    save_file({**squeezenet_state, "features.0.bias": torch.zeros(3)}, path)
    with refuses(str(path), "squeezenet1_1", "0.bias'", "shape", "[3]", "[64]"):
        build_trunk("squeezenet1_1", 64, 2, str(path))
    save_file({"something": torch.zeros(3)}, path)
    with refuses(str(path), "squeezenet1_1", "no key fits"):
        build_trunk("squeezenet1_1", 64, 2, str(path))
    path.write_bytes(b"a pickle, perhaps")
    with refuses(str(path), "safetensors"):
        build_trunk("squeezenet1_1", 64, 2, str(path))
    with refuses("'small'", "ImageNet"):
        build_trunk("small", 64, 8, "imagenet")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("squeezenet1_1", "vgg11"),  # shares the name and shape of one convolution's bias
        ("resnet34", "resnet18"),  # has every key of the smaller one, with its shape
        ("vgg13", "vgg11"),
        ("test_resnet", "timm/test_efficientnet"),
    ],
)
def test_weights_of_another_network_are_refused(file, name, tmp_path, refuses):
    import timm

    make = torchvision.models.get_model if "test" not in file else timm.create_model
    path = str(tmp_path / "other.safetensors")
    save_file(make(file).state_dict(), path)
    with refuses(path, f"not those of {name}", "give the file of this network"):
        build_trunk(name, 64, 2, path)


# ---------------------------------------------------------------------------------------------------- real weights

START = ["layer4.0.conv1", "layer4.0.bn1", "layer4.0.conv2", "layer4.0.bn2", "layer4.1"]
REAL = [
    ("mobilenet_v2", "mobilenet_v2", []),
    ("squeezenet1_1", "squeezenet1_1", []),
    ("resnet18", "resnet18_to_layer3", START),
    ("timm/tf_efficientnet_lite0", "tf_efficientnet_lite0", []),
    ("timm/tf_efficientnet_lite2", "tf_efficientnet_lite2", []),
]


def real(file: str) -> Path:
    """A file of real weights, or a skipped test."""
    folder = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("P2P_WEIGHTS") or Path(os.environ.get("P2P_DATA") or folder) / "weights")
    if not (folder / f"{file}.safetensors").is_file():
        pytest.skip(f"no {file}.safetensors in {folder}")
    return folder / f"{file}.safetensors"


@pytest.mark.parametrize(("name", "file", "missing"), REAL)
def test_real_weights_load_completely(name, file, missing, capsys, refuses):
    path = real(file)
    trunk, _ = build_trunk(name, 64, 2, str(path), missing)
    assert ("random start" in capsys.readouterr().out) == bool(missing)
    state = load_file(path)
    sums = sorted(v.double().sum().item() for v in state.values() if v.ndim == 4)
    mine = {round(v.double().sum().item(), 6) for v in trunk.state_dict().values() if v.ndim == 4}
    assert sum(round(s, 6) in mine for s in sums) >= len(sums) - (1 if name == "squeezenet1_1" else 0)
    if missing:
        with refuses(str(path), "weights_missing", "layer4.0.conv1.weight"):
            build_trunk(name, 64, 2, str(path))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
@pytest.mark.parametrize("source", ["real", "generated"])
def test_weights_of_timm_give_timms_own_features(name, source, tmp_path):
    """Without a classifier in the file, and with this network's normalisation, which is not ImageNet's."""
    import timm

    torch.manual_seed(8)
    model = timm.create_model(name).eval()
    if source == "real":
        path = real(name)
        model.load_state_dict(load_file(path), strict=False)
    else:
        path = tmp_path / f"{name}.safetensors"
        save_file({k: v for k, v in model.state_dict().items() if "classifier" not in k}, path)
    torch.manual_seed(9)
    trunk, channels = build_trunk(f"timm/{name}", 224, 7, str(path))
    images = torch.rand(2, 3, 224, 224, dtype=torch.float64)
    model, trunk = model.double(), trunk.double().eval()
    with torch.no_grad():
        features = trunk(images)
        expected = model.forward_features((images - 0.5) / 0.5)
    assert channels == 1280 and features.is_contiguous(memory_format=torch.channels_last)
    assert alike(features, expected, layers=60, summands=1280 * 9)
    if source == "real":
        assert features.std() > 0.1
