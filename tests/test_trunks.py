"""Trunks of torchvision, timm and our own: names, grids, where they are cut, what they compute."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision
from bounds import alike, rounding

from p2p.evaluation.runs import load_run
from p2p.training.checkpoints import load_tensors
from p2p.training.trainer import Trainer
from p2p.trunks import IMAGENET_MEAN, IMAGENET_STD, TRUNKS, Normalise, build_trunk

TORCHVISION = [name for name in TRUNKS if not name.startswith("small")]
NEWER = ["convnext_tiny", "efficientnet_b0", "regnet_y_400mf"]  # one of each family


def device_of(name: str) -> str:
    """Where shapes cost least; torchvision works out a RegNet's with tensors, which have to hold numbers."""
    return "cpu" if name.startswith("regnet") else "meta"


# ------------------------------------------------------------------------------------------------------ grids


@pytest.mark.parametrize("name", TRUNKS)
def test_every_trunk_has_its_usual_grid(name):
    """Shapes only: on the meta device nothing is computed."""
    with torch.device(device_of(name)):
        if name in TORCHVISION:
            _, channels = build_trunk(name, 224, 7)
            expected = {"resnet18": 512, "resnet50": 2048, "vgg19": 512, "densenet161": 2208}
            expected |= {"mobilenet_v2": 1280, "squeezenet1_1": 512, "resnet34": 512, "vgg11_bn": 512}
            expected |= {"convnext_tiny": 768, "convnext_base": 1024, "efficientnet_b0": 1280, "efficientnet_b4": 1792}
            expected |= {"efficientnet_v2_s": 1280, "regnet_y_400mf": 440, "regnet_y_3_2gf": 1512}
            assert channels == expected.get(name, channels)
            assert build_trunk(name, 192, 6)[1] == channels
        else:
            widths = {"small": 192, "small_half": 96, "small_sixth": 32, "small_eighth": 24}
            assert build_trunk(name, 64, 8)[1] == widths[name]


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", 256),
        ("resnet50", 1024),
        ("vgg16", 512),
        ("mobilenet_v2", 96),
        ("convnext_tiny", 384),
        ("efficientnet_b0", 112),
        ("regnet_y_400mf", 208),
    ],
)
def test_a_finer_grid_cuts_the_trunk_earlier(name, channels):
    with torch.device(device_of(name)):
        assert build_trunk(name, 224, 14)[1] == channels


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "densenet121", "mobilenet_v2", "squeezenet1_1", "small"),
        *("convnext_tiny", "efficientnet_b0", "regnet_y_400mf"),
    ],
)
def test_one_of_each_family_computes_what_it_promises(name):
    grid = 8 if name == "small" else 2
    trunk, channels = build_trunk(name, 64, grid)
    trunk.train()
    features = trunk(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert features.shape == (2, channels, grid, grid) and features.dtype == torch.float32
    assert torch.isfinite(features).all() and features.std() > 0


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "densenet121", *NEWER])
def test_the_trunk_is_torchvisions_network_up_to_its_classifier(name):
    torch.manual_seed(0)
    size = 64
    trunk, _ = build_trunk(name, size, 2)
    trunk.eval()
    model = torchvision.models.get_model(name, weights=None).eval()
    own = model.state_dict()
    flat = [value for key, value in trunk.state_dict().items()]
    keys = [key for key in own if not key.startswith(("fc.", "classifier."))]
    assert [own[key].shape for key in keys] == [value.shape for value in flat]
    model.load_state_dict({**own, **dict(zip(keys, flat, strict=True))})
    images = torch.rand(2, 3, size, size, dtype=torch.float64)  # where rounding hides no wrong layer
    trunk, model = trunk.double(), model.double()
    normal = (images - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    with torch.no_grad():
        if name == "resnet18":
            x = model.maxpool(model.relu(model.bn1(model.conv1(normal))))
            expected = model.layer4(model.layer3(model.layer2(model.layer1(x))))
        elif name.startswith("regnet"):
            expected = model.trunk_output(model.stem(normal))
        else:
            expected = model.features(normal)
            expected = expected.relu() if name == "densenet121" else expected
            if name == "squeezenet1_1":  # one more pooling than torchvision's, for 7×7 cells of 224 px
                expected = torch.nn.functional.max_pool2d(expected, 3, stride=2, padding=1)
        assert alike(trunk(images), expected, layers=121, summands=512 * 9)


def test_unknown_network_and_missing_grid(refuses):
    with refuses("resnet19", "resnet18", "squeezenet1_1"):
        build_trunk("resnet19", 64, 2)
    with refuses("small", "5×5", "size 64", "8, 16, 32"), torch.device("meta"):
        build_trunk("small", 64, 5)


def test_normalise():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    x = images[1, 2, 3, 0].item() / 255
    assert Normalise()(images)[1, 2, 3, 0].item() == pytest.approx((x - 0.406) / 0.225, abs=rounding(4, 1 / 0.225))
    torch.testing.assert_close(Normalise()(images), Normalise()(images.float() / 255))
    half = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert half(images)[1, 2, 3, 0].item() == pytest.approx(2 * x - 1, abs=rounding(4, 2))


@pytest.mark.parametrize("name", [name for name in TORCHVISION if name.startswith(("convnext", "efficient", "regnet"))])
def test_the_newer_ones_run_at_their_size(name):
    trunk, channels = build_trunk(name, 224, 7)
    with torch.no_grad():
        features = trunk.eval()(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    assert features.shape == (1, channels, 7, 7) and torch.isfinite(features).all()


# ------------------------------------------------------------------------------------------------------- timm's


@pytest.mark.parametrize(
    ("name", "channels"),  # of the grids of 7, 14 and 28 cells
    [
        ("tf_efficientnet_lite0", (1280, 112, 40)),
        ("mobilenetv2_100", (1280, 96, 32)),
        ("resnet50.a1_in1k", (2048, 1024, 512)),
        ("convnext_atto", (320, 160, 80)),
        ("vgg11", (512, 512, 512)),
        ("selecsls42", (1024, 480, 288)),  # asks how long its lists of modules are
        ("swin_tiny_patch4_window7_224", (768, 384, 192)),  # maps of it are (B, H, W, C)
    ],
)
def test_grids_of_timms_models(name, channels):
    numbers = []
    with torch.device("meta"):
        for grid, expected in zip((7, 14, 28), channels, strict=True):
            trunk, found = build_trunk(f"timm/{name}", 224, grid)
            assert found == expected and trunk(torch.zeros(2, 3, 224, 224)).shape == (2, found, grid, grid)
            numbers.append(sum(p.numel() for p in trunk.parameters()))
    assert numbers[0] >= numbers[1] > numbers[2] > 0  # what is behind the cut is gone (VGG ends with a pooling)


@pytest.mark.parametrize(
    ("name", "pair"), [("mobilenetv2_100", "mobilenet_v2"), ("resnet18", "resnet18"), ("densenet121", "densenet121")]
)
@pytest.mark.parametrize("grid", [7, 14])
def test_both_libraries_cut_one_network_alike(name, pair, grid):
    """Classifiers and what is behind the cut take no part: equal numbers of parameters."""
    with torch.device("meta"):
        ours, channels = build_trunk(pair, 224, grid)
        timms, found = build_trunk(f"timm/{name}", 224, grid)
    if pair == "densenet121" and grid == 14:  # torchvision's transition halves the channels before its pooling
        return
    assert channels == found
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in timms.parameters())


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "test_resnet", "test_convnext", "swin_tiny_patch4_window7_224"]
)
def test_a_timm_trunk_is_timms_model_up_to_its_classifier(name):
    import timm

    size = 224 if name.startswith("swin") else 64
    torch.manual_seed(4)
    model = timm.create_model(name).eval()
    torch.manual_seed(4)
    trunk, channels = build_trunk(f"timm/{name}", size, size // 32)
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    images = torch.rand(2, 3, size, size, dtype=torch.float64)
    model, trunk = model.double(), trunk.double().eval()
    with torch.no_grad():
        expected = model.forward_features((images - mean) / std)
        found = trunk(images)
    expected = expected.permute(0, 3, 1, 2) if name.startswith("swin") else expected
    assert alike(found, expected, layers=60, summands=1280 * 9)
    assert found.shape[1] == channels
    if not name.startswith("swin"):
        assert found.is_contiguous(memory_format=torch.channels_last)
    trunk.train()
    trunk(images).square().mean().backward()
    assert all(p.grad is not None for p in trunk.parameters())


def test_a_seed_makes_one_timm_trunk_only():
    def state(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return list(build_trunk("timm/test_efficientnet", 64, 2)[0].state_dict().values())

    assert all(map(torch.equal, state(1), state(1)))
    assert not all(map(torch.equal, state(1), state(2)))


def test_timm_networks_that_cannot_be_trunks(refuses):
    with refuses("timm/resnet5O", "timm/resnet50", "nearest"):
        build_trunk("timm/resnet5O", 64, 2)
    with refuses("timm/resnet50.no_such_tag", "timm/resnet50."):
        build_trunk("timm/resnet50.no_such_tag", 64, 2)
    with refuses("timm/../resnet50"):
        build_trunk("timm/../resnet50", 64, 2)
    with refuses("timm/qqqqqqqqqq", "list_models"):
        build_trunk("timm/qqqqqqqqqq", 64, 2)
    with torch.device("meta"):
        with refuses("timm/vit_tiny_patch16_224", "no (B, C, H, W) map", "(1, 197, 192)"):
            build_trunk("timm/vit_tiny_patch16_224", 224, 14)
        with refuses("timm/test_efficientnet", "5×5", "2, 4, 8"):
            build_trunk("timm/test_efficientnet", 64, 5)
        with refuses("timm/coatnet_0_224", "cannot take 50×50 images", "size"):
            build_trunk("timm/coatnet_0_224", 50, 5)
        with refuses("timm/nest_tiny", "cannot be built", "50×50"):
            build_trunk("timm/nest_tiny", 50, 5)


def test_a_run_over_a_timm_trunk_trains_and_loads_back(tiny, birds, tmp_path):
    params = tiny.model_copy(update={"network": "timm/test_efficientnet", "run": "teacher-timm-test_efficientnet-s0"})
    network = Trainer(params, birds, tmp_path).run(progress=False)
    back = load_run(tmp_path).network
    chosen = {k: v for k, v in load_tensors(tmp_path / "network.safetensors")[0].items() if k.startswith("network.")}
    assert {f"network.{key}" for key in network.state_dict()} == set(chosen)
    assert all(torch.equal(value, chosen[f"network.{key}"]) for key, value in back.state_dict().items())
    torch.manual_seed(params.seed)
    start = build_trunk("timm/test_efficientnet", 32, 4)[0].state_dict()
    moved = [key for key, value in back.trunk.state_dict().items() if not torch.equal(value, start[key])]
    assert len(moved) == len(start)  # all of it learns: nothing of the model is there for show


def test_timm_is_imported_only_for_its_networks():
    code = "import sys; from p2p.trunks import build_trunk; build_trunk('small', 64, 8); "
    code += "sys.exit(any(name in sys.modules for name in ('timm', 'huggingface_hub')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
