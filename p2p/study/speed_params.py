"""The parameters of the pages on speed (notebooks 09 to 11)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from p2p.study.params import Strict


class ProfileParams(Strict):
    """Where the time of a pass goes: the parameters of `notebooks/11_profile.py`."""

    study: str = "speed"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: a GPU where there is one.")
    networks: list[str] = Field(["mobilenet_v2", "squeezenet1_1", "resnet18"], description="Trunks, random weights.")
    teacher: str = Field("mobilenet_v2", description="Trunk of the teacher of the second network; empty: no student.")
    size: int = Field(224, ge=32, description="Side of the images, pixels.")
    grid: int = Field(7, ge=2, description="Side of the grid, cells.")
    classes: int = Field(200, ge=2, description="K, with ten prototypes each.")
    images: int = Field(96, ge=2, description="Images of a pass, and a quarter as many for validation.")
    batch_size: int = Field(32, ge=2, description="On a GPU 128 is better.")
    repeats: int = Field(3, ge=1)
    compiled_network: str = Field("resnet18", description="Trunk that torch.compile is tried on; empty: none.")
    results: str = "results"


class SpeedParams(Strict):
    """Ours beside its peers: the parameters of `notebooks/09_speed.py`."""

    study: str = "speed"
    title: str = "Speed"
    intro: str = (
        "How long training, projection, decision layer, metrics and a whole run take here, beside CaBRNet and beside "
        "the classic formulation, as ratios from one machine and one run."
    )
    order: int = 9
    images: str = Field("photographs of CUB and random images", description="What the images are, as the book says it.")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: a GPU where there is one.")
    parts: list[Literal["steps", "push", "decision", "metrics", "end_to_end"]] = Field(
        ["steps", "push", "decision", "metrics", "end_to_end"],
        description="What is measured; the other rows stay as the result file has them.",
    )
    recipe: str = Field("params/cub-20.yaml", description="Study whose first teacher is trained end to end.")
    recipe_changes: dict[str, Any] = Field({}, description="Keys of TrainParams to change in it.")
    short_changes: dict[str, Any] = Field({"joint_epochs": 3}, description="What makes the recipe's short run.")
    trunks: list[str] = Field(
        ["resnet18", "resnet50", "vgg16", "mobilenet_v2"], description="Of the steps; random weights."
    )
    taught: list[str] = Field(
        ["mobilenet_v2", "squeezenet1_1"],
        min_length=2,
        max_length=2,
        description="Teacher and student of the distillation step; random weights.",
    )
    passes_per_copy: int = Field(4, ge=1, description="Passes over an augmented copy, its teacher asked once.")
    size: int = Field(224, ge=32, description="Of the steps: side of the images, pixels.")
    grid: int = Field(7, ge=2, description="Of the steps and metrics: side of the grid, cells.")
    classes: int = Field(200, ge=2, description="K of the steps.")
    prototypes_per_class: int = Field(10, ge=1)
    prototype_depth: int = Field(128, ge=2)
    batch_size: int = Field(16, ge=2, description="Of the steps; on a GPU 128 is better.")
    steps: int = Field(1, ge=1, description="Batches in one timing; on a GPU 10 are better.")
    repeats: int = Field(5, ge=1, description="Rounds of the steps.")
    push_classes: list[int] = Field([20, 200], description="K of the pushes.")
    push_images: int = Field(300, ge=2, description="Images of each push, spread over its classes.")
    push_repeats: int = Field(3, ge=1)
    decision_images: int = Field(80, ge=2, description="Images that the decision layer learns from.")
    decision_iterations: int = Field(200, ge=1, description="Of our solver.")
    decision_repeats: int = Field(3, ge=1)
    metric_images: int = Field(5794, ge=1, description="N of the metrics: the test images of CUB.")
    metric_prototypes: int = Field(2000, ge=1)
    sample_images: int = Field(200, ge=1, description="Images that AAP and AJS by sets are timed on.")
    sample_pairs: int = Field(3000, ge=1, description="Pairs of prototypes that PMS by sets is timed on.")
    metric_repeats: int = Field(3, ge=1)
    cap_seconds: float = Field(600, gt=0, description="Of CaBRNet's training, end to end.")
    copies: int = Field(10, ge=1, description="Augmented copies that CaBRNet's training goes through.")
    recipes_study: str = Field("cub-official", description="Study whose curves of accuracy against passes are shown.")
    results: str = "results"


class GrowthParams(Strict):
    """How cost grows: the parameters of `notebooks/10_growth.py`."""

    study: str = "speed"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: a GPU where there is one.")
    network: str = Field("resnet18", description="Trunk of passes and response tables; random weights.")
    prototype_depth: int = Field(128, ge=2)
    batch_size: int = Field(8, ge=2, description="Of passes and response tables.")
    images: list[int] = Field([8, 16, 32], min_length=2, description="N of passes and response tables.")
    classes: list[int] = Field([50, 200, 1000, 2000], min_length=2, description="Their K, with P = 10 K.")
    grids: list[int] = Field([7, 14, 28], min_length=2, description="Their grid, cells a side; the first is the base.")
    sizes: list[int] = Field(
        [224, 336, 448], min_length=2, description="Their resolution, pixels; the first is the base."
    )
    base_classes: int = Field(200, ge=2, description="K of passes and response tables along the other axes.")
    decision_classes: list[int] = Field([50, 100, 200, 400], min_length=2, description="K of the decision layer.")
    table_images: list[int] = Field([500, 1000, 2000], min_length=2, description="N of metrics and decision layer.")
    table_prototypes: list[int] = Field([500, 1000, 2000], min_length=2, description="P of the metrics.")
    sparse_prototypes: list[int] = Field([500, 1000, 2000, 4000], min_length=2, description="P without the P×P counts.")
    repeats: int = Field(3, ge=1, description="After a warm-up.")
    target_images: int = Field(1_000_000, ge=1, description="N on paper.")
    target_classes: int = Field(10_000, ge=2, description="K on paper.")
    memory_gb: float = Field(24.0, gt=0, description="Memory of the machine on paper, 2³⁰ bytes.")
    results: str = "results"
