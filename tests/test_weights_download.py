"""Weights of trunks by download, from local servers in place of torchvision's and timm's hosts."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from trees import loaded

from p2p.trunks import build_trunk
from p2p.weights import WEIGHTS_HOST

# ------------------------------------------------------------------------------------------------- torchvision's


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


def test_a_cache_with_other_contents_than_its_name_says(mirror, monkeypatch, refuses, squeezenet_state, tmp_path):
    """Torch asks for the hash of downloads only; weights saved over the cached file would be taken for ImageNet's."""
    path = publish(squeezenet_state, "squeezenet1_1", mirror, monkeypatch)
    cached = tmp_path / "torch" / "hub" / "checkpoints" / path.name
    cached.parent.mkdir(parents=True)
    torch.save({key: torch.full_like(value, torch.nan) for key, value in squeezenet_state.items()}, cached)
    with refuses("squeezenet1_1", "damaged", str(cached), "its hash is not the one in its name"):
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


# ----------------------------------------------------------------------------------------- timm's own, by download

HUB_MODEL = "test_efficientnet"  # timm's smallest


class Hub(Quiet):
    """What huggingface_hub asks of its host: a file's size, SHA-256 and commit, then the file."""

    sha = ""  # what it says instead of the truth
    asked: list[str] = []

    def do_GET(self) -> None:
        self._answer(True)

    def do_HEAD(self) -> None:
        self._answer(False)

    def _answer(self, body: bool) -> None:
        Hub.asked.append(self.path)
        path = Path(self.directory, self.path.strip("/").split("?")[0])
        if not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("ETag", f'"{Hub.sha or hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The file that a local server offers in place of huggingface.co, which does not exist yet, and an empty cache."""
    import huggingface_hub.constants
    import timm

    file = tmp_path / "hub" / timm.get_pretrained_cfg(HUB_MODEL).hf_hub_id / "resolve" / "main" / "model.safetensors"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Hub, "sha", "")
    monkeypatch.setattr(Hub, "asked", [])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(tmp_path / "hub"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield file
        server.shutdown()
        thread.join()


@pytest.fixture
def hub_state() -> dict[str, torch.Tensor]:
    import timm

    torch.manual_seed(7)
    return timm.create_model(HUB_MODEL).state_dict()


def hub_trunk() -> torch.nn.Module:
    return build_trunk(f"timm/{HUB_MODEL}", 64, 2, "imagenet")[0]


def test_timms_weights_come_from_the_hub_once(hub, hub_state):
    save_file(hub_state, hub)
    assert loaded(hub_trunk(), hub_state)
    assert {Path(path).suffix for path in Hub.asked} == {".safetensors"}
    hub.unlink()  # from now on the cache serves, and nobody is asked
    Hub.asked.clear()
    assert loaded(hub_trunk(), hub_state) and not Hub.asked


def test_timms_weights_are_never_pickles(hub, hub_state, refuses):
    torch.save(hub_state, hub.with_name("pytorch_model.bin"))
    with refuses(HUB_MODEL, "404", "HF_ENDPOINT", "safetensors"):
        hub_trunk()
    assert all(path.endswith("model.safetensors") for path in Hub.asked)


def test_timms_weights_damaged_on_their_way(hub, hub_state, refuses, monkeypatch):
    save_file(hub_state, hub)
    monkeypatch.setattr(Hub, "sha", "0" * 64)
    with refuses(HUB_MODEL, "damaged", "SHA-256", "delete"):
        hub_trunk()


def test_timms_weights_with_numbers_that_are_none(hub, hub_state, refuses):
    hub_state["conv_stem.weight"][0, 0] = float("nan")
    save_file(hub_state, hub)
    with refuses(HUB_MODEL, "damaged", "NaN"):
        hub_trunk()


def test_timms_weights_without_a_layer(hub, hub_state, refuses):
    save_file({k: v for k, v in hub_state.items() if k != "conv_stem.weight"}, hub)
    with refuses(HUB_MODEL, "cannot be built", "conv_stem.weight", "model.safetensors"):
        hub_trunk()


def test_timm_offline_is_said_in_seconds(hub, refuses, monkeypatch):
    """A host that refuses, and one that takes the connection and never answers: its client tries for minutes."""
    began = time.perf_counter()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    with refuses(HUB_MODEL, "127.0.0.1:9", "HF_ENDPOINT"):
        hub_trunk()
    monkeypatch.setattr("p2p.weights.HUB_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with refuses(HUB_MODEL, "timed out", "HF_ENDPOINT"):
            hub_trunk()
    assert time.perf_counter() - began < 20


def test_a_timm_model_that_nobody_has_trained(refuses):
    with refuses("timm/resnet50_clip_gap_bare", "nearest"):
        build_trunk("timm/resnet50_clip_gap_bare", 64, 2, "imagenet")
    with refuses("timm/regnetz_b16_evos", "no safetensors", "none"):
        build_trunk("timm/regnetz_b16_evos", 64, 2, "imagenet")
