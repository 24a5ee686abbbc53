"""Shared fixtures: a handful of synthetic birds, runs that last a second, and the form of a user error."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from browsing import CHROMIUM
from trees import SHARED, generated_cars, generated_cub, generated_weights

from p2p.data.images import ImageSet, load_images
from p2p.errors import UserError
from p2p.evaluation.runs import load_run
from p2p.networks import ProtoNet
from p2p.study.params import TrainParams
from p2p.training.trainer import Trainer

torch.set_num_threads(1)

TINY = TrainParams(
    study="tiny",
    run="teacher",
    device="cpu",
    size=32,
    class_count=4,
    bird_train_per_class=10,
    bird_hardness=0.0,
    bird_test_per_class=4,
    validation_fraction=0.2,
    network="small_half",
    grid=4,
    prototypes_per_class=2,
    prototype_depth=8,
    batch_size=12,
    prototype_init="uniform",
    feature_init="kaiming",
    warm_epochs=2,
    warm_copies=2,
    joint_epochs=2,
    joint_copies=0,
    trunk_batchnorm="train",
    lr_trunk=2e-4,
    lr_prototypes=3e-3,
    joint_factor=1.0,
    rounds=2,
    decision_iterations=20,
)


@pytest.fixture(scope="session")
def tiny() -> TrainParams:
    """A teacher of two warm epochs and two rounds of two joint epochs, push and decision."""
    return TINY


@pytest.fixture(scope="session")
def tiny_student() -> TrainParams:
    """A student of that teacher, with both losses of Proto2Proto; its head starts from the teacher's, too."""
    change = {"run": "student", "role": "student", "teacher_run": "teacher", "seed": 3}
    change |= {"distillation": {"global": 10.0, "ppc": 10.0}, "head": "teacher_joint"}
    return TrainParams.model_validate({**TINY.model_dump(), **change})


@pytest.fixture(scope="session")
def birds(tiny: TrainParams) -> ImageSet:
    """56 birds of 4 classes at 32 px: 32 to train, 8 to validate, 16 to test. Not to be changed."""
    return load_images(tiny)


@pytest.fixture(scope="session")
def teacher_folder(tiny: TrainParams, birds: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny teacher, trained without interruption."""
    folder = tmp_path_factory.mktemp("teacher")
    Trainer(tiny, birds, folder).run(progress=False)
    return folder


@pytest.fixture
def teacher(teacher_folder: Path) -> ProtoNet:
    """The tiny teacher, loaded anew for each test."""
    network = load_run(teacher_folder).network
    assert isinstance(network, ProtoNet)
    return network


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the shared photographs, with generated ones."""
    root = tmp_path_factory.mktemp("generated")
    generated_cub(root / "CUB_200_2011")
    generated_cars(root / "stanford_cars")
    return root


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the shared weights, with random ones."""
    return generated_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session", params=["generated", "shared"])
def photographs(request: pytest.FixtureRequest) -> Path:
    """A folder with CUB_200_2011 and stanford_cars: generated, and the shared one where it is."""
    if request.param == "generated":
        return request.getfixturevalue("generated")
    if not all((SHARED / name).is_dir() for name in ("CUB_200_2011", "stanford_cars")):
        pytest.skip(f"no photographs in {SHARED} (P2P_DATA): the generated ones have to do")
    return SHARED


@pytest.fixture(scope="session", params=["generated", "shared"])
def weights(request: pytest.FixtureRequest) -> Path:
    """A folder of safetensors files: random weights, and the shared ones where they are."""
    if request.param == "generated":
        return request.getfixturevalue("random_weights")
    folder = Path(os.environ.get("P2P_WEIGHTS") or SHARED / "weights")
    if not (folder / "mobilenet_v2.safetensors").is_file():
        pytest.skip(f"no weights in {folder} (P2P_WEIGHTS): the random ones have to do")
    return folder


@pytest.fixture(params=["mounted", "limited"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, which root can mount; and, for anybody, a folder while no file may grow beyond that."""
    folder, size = tmp_path / request.param, 64 * 1024
    folder.mkdir()
    if request.param == "limited":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores the signal: writing fails
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: the limit of a file's size has to do")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def refuses() -> Callable[..., AbstractContextManager[None]]:
    """`with refuses("word", …):` expects a UserError of one sentence in which these words occur."""

    @contextmanager
    def check(*words: str) -> Iterator[None]:
        with pytest.raises(UserError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message and message.endswith("."), message
        assert not re.search(r"[.!?] +[A-Z]", message), f"more than one sentence: {message}"
        missing = [word for word in words if word not in message]
        assert not missing, f"{missing} not in: {message}"

    return check


@pytest.fixture
def squeezenet_state() -> dict[str, torch.Tensor]:
    """Random weights of a whole SqueezeNet, its classifier among them."""
    torch.manual_seed(7)
    return torchvision.models.squeezenet1_1(weights=None).state_dict()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()
