"""Networks: trunks and their grids, weights from files and by download, and the two heads."""

from __future__ import annotations

import hashlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from bounds import alike, distance_rounding, rounding
from safetensors.torch import load_file, save_file

from p2p.networks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TRUNKS,
    WEIGHTS_HOST,
    LinearNet,
    Normalise,
    ProtoNet,
    build_trunk,
)

pytestmark = pytest.mark.numeric

TORCHVISION = [name for name in TRUNKS if not name.startswith("small")]


# ------------------------------------------------------------------------------------------------------ grids


@pytest.mark.parametrize("name", TRUNKS)
def test_every_trunk_has_its_usual_grid(name):
    """Shapes only: on the meta device nothing is computed."""
    with torch.device("meta"):
        if name in TORCHVISION:
            _, channels = build_trunk(name, 224, 7)
            expected = {"resnet18": 512, "resnet50": 2048, "vgg19": 512, "densenet161": 2208}
            expected |= {"mobilenet_v2": 1280, "squeezenet1_1": 512, "resnet34": 512, "vgg11_bn": 512}
            assert channels == expected.get(name, channels)
            assert build_trunk(name, 192, 6)[1] == channels
        else:
            assert build_trunk(name, 64, 8)[1] == {"small": 192, "small_half": 96}[name]


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", 256), ("resnet50", 1024), ("vgg16", 512), ("mobilenet_v2", 96)]
)
def test_a_finer_grid_cuts_the_trunk_earlier(name, channels):
    with torch.device("meta"):
        assert build_trunk(name, 224, 14)[1] == channels


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "squeezenet1_1", "small"])
def test_one_of_each_family_computes_what_it_promises(name):
    grid = 8 if name == "small" else 2
    trunk, channels = build_trunk(name, 64, grid)
    trunk.train()
    features = trunk(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert features.shape == (2, channels, grid, grid) and features.dtype == torch.float32
    assert torch.isfinite(features).all() and features.std() > 0


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "densenet121"])
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


# ------------------------------------------------------------------------------------------------------ heads


def test_protonet_start():
    torch.manual_seed(0)
    network = ProtoNet(torch.nn.Identity(), 32, classes=3, per_class=4, depth=64)
    for k in range(3):
        for j in range(12):
            assert network.own[k, j] == (j // 4 == k)
            assert network.decision.weight[k, j] == (1.0 if j // 4 == k else -0.5)
    assert network.prototypes.shape == (12, 64)
    assert network.prototypes.min() >= 0 and network.prototypes.max() < 1
    assert network.prototypes.mean().item() == pytest.approx(0.5, abs=0.05)
    for layer in (network.addon[0], network.addon[2]):
        assert (layer.bias == 0).all()
        assert layer.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)  # Kaiming, fan_out = D


def test_protonet_output_follows_its_definition():
    torch.manual_seed(0)
    network = ProtoNet(torch.nn.Identity(), 6, classes=2, per_class=2, depth=5)
    out = network(torch.randn(3, 6, 2, 3))
    bound = distance_rounding(out.z, network.prototypes)
    assert out.z.shape == (3, 5, 2, 3) and out.z.min() > 0 and out.z.max() < 1
    for b in range(3):
        evidence, slope = [], 0.0
        for j in range(4):
            d = [
                (out.z[b, :, y, x].double() - network.prototypes[j].double()).square().sum().item()
                for y in range(2)
                for x in range(3)
            ]
            assert d[out.cells[b, j]] <= min(d) + 2 * bound
            slope = max(slope, 1 / min(d))  # of the evidence, by the distance
            evidence.append(torch.tensor((min(d) + 1) / (min(d) + 1e-4)).log().item())
        for k in range(2):
            logit = sum((1 if j // 2 == k else -0.5) * evidence[j] for j in range(4))
            assert out.logits[b, k].item() == pytest.approx(logit, abs=4 * bound * slope)


def test_linear_net_pools_and_classifies():
    network = LinearNet(torch.nn.Identity(), 6, 4)
    x = torch.randn(3, 6, 2, 2)
    expected = x.mean((2, 3)) @ network.decision.weight.T + network.decision.bias
    out = network(x)
    torch.testing.assert_close(out.logits, expected)
    assert out.distances.numel() == out.cells.numel() == out.z.numel() == 0


# ---------------------------------------------------------------------------------------- weights from a file


@pytest.fixture
def squeezenet_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return torchvision.models.squeezenet1_1(weights=None).state_dict()


def loaded(trunk: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    """Whether the trunk's tensors, in order, are the first ones of the state."""
    mine = list(trunk.state_dict().values())
    return all(torch.equal(a, b) for a, b in zip(mine, state.values(), strict=False))


def test_weights_round_trip(tmp_path, monkeypatch, capsys, squeezenet_state):
    features = {k: v for k, v in squeezenet_state.items() if k.startswith("features.")}
    save_file(features, tmp_path / "w.safetensors")
    trunk, _ = build_trunk("squeezenet1_1", 64, 2, str(tmp_path / "w.safetensors"))
    assert loaded(trunk, features) and capsys.readouterr().out == ""
    monkeypatch.setenv("P2P_WEIGHTS", str(tmp_path))
    trunk, _ = build_trunk("squeezenet1_1", 64, 2, "w.safetensors")  # found in the folder of P2P_WEIGHTS
    assert loaded(trunk, features)
    bare = {k.removeprefix("features."): v for k, v in features.items()}
    save_file(bare, tmp_path / "bare.safetensors")
    assert loaded(build_trunk("squeezenet1_1", 64, 2, "bare.safetensors")[0], features)


def test_missing_and_extra_weights_are_reported(tmp_path, capsys, squeezenet_state):
    state = dict(squeezenet_state)  # with its classifier
    del state["features.3.squeeze.bias"]
    save_file(state, tmp_path / "part.safetensors")
    build_trunk("squeezenet1_1", 64, 2, str(tmp_path / "part.safetensors"))
    missing, extra = capsys.readouterr().out.splitlines()
    assert missing.endswith("part.safetensors: 3.squeeze.bias")
    assert extra.endswith("part.safetensors: classifier.1.weight, classifier.1.bias") or extra.endswith(
        "part.safetensors: classifier.1.bias, classifier.1.weight"
    )


def test_a_resnet_without_classifier_is_complete(tmp_path, capsys):
    state = torchvision.models.resnet18(weights=None).state_dict()
    features = {k: v for k, v in state.items() if not k.startswith("fc.")}
    save_file(features, tmp_path / "r.safetensors")
    build_trunk("resnet18", 64, 2, str(tmp_path / "r.safetensors"))
    assert capsys.readouterr().out == ""


def test_weights_of_our_own_trunk(tmp_path, capsys):
    source, _ = build_trunk("small_half", 32, 4)
    state = {f"{int(k.split('.')[0]) - 1}.{k.split('.', 1)[1]}": v for k, v in source.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "s.safetensors")
    trunk, _ = build_trunk("small_half", 32, 4, str(tmp_path / "s.safetensors"))
    assert loaded(trunk, source.state_dict()) and capsys.readouterr().out == ""


def test_wrong_weights(tmp_path, monkeypatch, refuses, squeezenet_state):
    path = tmp_path / "w.safetensors"
    with refuses("w.safetensors", "squeezenet1_1", "P2P_WEIGHTS", "unset"):
        monkeypatch.delenv("P2P_WEIGHTS", raising=False)
        build_trunk("squeezenet1_1", 64, 2, str(path))
    save_file({**squeezenet_state, "features.0.bias": torch.zeros(3)}, path)
    with refuses(str(path), "squeezenet1_1", "'0.bias'", "shape"):
        build_trunk("squeezenet1_1", 64, 2, str(path))
    save_file({"something": torch.zeros(3)}, path)
    with refuses(str(path), "squeezenet1_1", "no key fits"):
        build_trunk("squeezenet1_1", 64, 2, str(path))
    path.write_bytes(b"a pickle, perhaps")
    with refuses(str(path), "safetensors"):
        build_trunk("squeezenet1_1", 64, 2, str(path))


FILES = [
    ("mobilenet_v2", "mobilenet_v2"),
    ("squeezenet1_1", "squeezenet1_1"),
    ("resnet18", "resnet18_to_layer3"),
]


@pytest.mark.parametrize(("name", "file"), FILES)
def test_weights_files_load_completely(name, file, weights, monkeypatch, capsys):
    monkeypatch.setenv("P2P_WEIGHTS", str(weights))
    trunk, _ = build_trunk(name, 64, 2, f"{file}.safetensors")
    report = capsys.readouterr().out
    missing = re.findall(r"left at their random start.*: (.*)", report)
    layers = {key.split(".")[0] for line in missing for key in line.split(", ")}
    assert layers <= ({"layer4"} if name == "resnet18" else set())
    state = load_file(weights / f"{file}.safetensors")
    kernels = [value for value in state.values() if value.ndim == 4]
    mine = [value for value in trunk.state_dict().values() if value.ndim == 4]
    lost = [k for k in kernels if not any(torch.equal(k, own) for own in mine)]
    assert len(lost) == (1 if name == "squeezenet1_1" else 0)  # its classifier is a convolution


# ---------------------------------------------------------------------------------------- weights by download


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *values: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that a local server offers as the mirror of torchvision's weights, and torch's empty cache."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("P2P_WEIGHTS_MIRROR", f"http://127.0.0.1:{server.server_address[1]}/")
        yield folder
        server.shutdown()
        thread.join()


def publish(state, name, folder, monkeypatch, digest: str | None = None) -> Path:
    """Save a state under the name torch.hub expects, and point torchvision's enumeration at that name."""
    torch.save(state, folder / "state")
    digest = digest or hashlib.sha256((folder / "state").read_bytes()).hexdigest()[:8]
    path = (folder / "state").rename(folder / f"{name}-{digest}.pth")
    member = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    assert member.url.startswith(WEIGHTS_HOST)  # else the mirror would not be asked
    monkeypatch.setattr(member.value, "url", f"{WEIGHTS_HOST}/{path.name}")
    return path


def test_imagenet_weights_come_from_the_mirror(mirror, monkeypatch, squeezenet_state):
    path = publish(squeezenet_state, "squeezenet1_1", mirror, monkeypatch)
    trunk, _ = build_trunk("squeezenet1_1", 64, 2, "imagenet")
    assert loaded(trunk, squeezenet_state)
    path.unlink()  # from now on torch's cache serves
    assert loaded(build_trunk("squeezenet1_1", 64, 2, "imagenet")[0], squeezenet_state)


def test_imagenet_weights_of_a_densenet_have_old_keys(mirror, monkeypatch):
    """torchvision's DenseNet files were saved before dots were forbidden in module names: `norm.1`, not `norm1`."""
    model = torchvision.models.densenet121(weights=None)
    state = model.state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))(\d)\.", r"\1.\2.", key): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    publish(old, "densenet121", mirror, monkeypatch)
    trunk, _ = build_trunk("densenet121", 64, 2, "imagenet")
    assert loaded(trunk, state)


def test_damaged_download(mirror, monkeypatch, refuses, squeezenet_state):
    publish(squeezenet_state, "squeezenet1_1", mirror, monkeypatch, digest="0123abcd")
    with refuses("squeezenet1_1", "damaged", "invalid hash"):
        build_trunk("squeezenet1_1", 64, 2, "imagenet")


def test_damaged_cache(mirror, monkeypatch, refuses, squeezenet_state, tmp_path):
    path = publish(squeezenet_state, "squeezenet1_1", mirror, monkeypatch)
    cached = tmp_path / "torch" / "hub" / "checkpoints" / path.name
    cached.parent.mkdir(parents=True)
    for content in (b"", b"no weights", path.read_bytes()[:5000]):
        cached.write_bytes(content)
        with refuses("squeezenet1_1", "damaged", "cache"):
            build_trunk("squeezenet1_1", 64, 2, "imagenet")


def test_no_connection(mirror, monkeypatch, refuses):
    with refuses("squeezenet1_1", "404", "P2P_WEIGHTS_MIRROR"):
        build_trunk("squeezenet1_1", 64, 2, "imagenet")
    monkeypatch.setenv("P2P_WEIGHTS_MIRROR", "http://127.0.0.1:9")  # the discard port: nobody listens
    with refuses("squeezenet1_1", "127.0.0.1:9", "P2P_WEIGHTS_MIRROR", "safetensors"):
        build_trunk("squeezenet1_1", 64, 2, "imagenet")
    monkeypatch.setenv("P2P_WEIGHTS_MIRROR", "mirror.example/models")
    with refuses("P2P_WEIGHTS_MIRROR", "mirror.example/models", "https://"):  # no scheme
        build_trunk("squeezenet1_1", 64, 2, "imagenet")
