"""The parameters of every notebook: strict, frozen, typed.

An unknown key, a wrong type or an impossible combination is one sentence (`UserError`) before anything runs.
Units are in the names or in the field's description.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from p2p.errors import UserError

Role = Literal["teacher", "baseline", "student", "control"]


class Strict(BaseModel):
    """Frozen; unknown keys and silent conversions are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


T = TypeVar("T", bound=Strict)


class DataParams(Strict):
    """Which images; the same keys in every notebook that reads them."""

    study: str = Field("quick", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the study and its folders.")
    reader: Literal["birds", "cub", "cars", "folder"] = "birds"
    root: str = Field("", description="Folder of the data; empty: the environment variable P2P_DATA.")
    size: int = Field(64, ge=32, le=1024, description="Side of the square images, pixels.")
    class_step: int = Field(1, ge=1, description="Take every so many-th class.")
    class_count: int | None = Field(None, ge=2, description="At most so many classes.")
    images_per_class: int | None = Field(None, ge=2, description="The first so many of each class and split.")
    validation_fraction: float = Field(0.15, gt=0, lt=1, description="Cut from each class's training images.")
    data_seed: int = Field(0, ge=0, description="Seed of the validation cut and of the synthetic birds.")
    bird_train_per_class: int = Field(100, ge=2, description="Synthetic birds for training and validation.")
    bird_test_per_class: int = Field(50, ge=1, description="Synthetic birds for the test.")
    streaming: Literal["auto", "on", "off"] = Field(
        "auto", description="on: images stay on the disk, read ahead batch by batch; auto: where memory is short."
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: a GPU where there is one.")


class TrainParams(DataParams):
    """One network, one seed: the parameters of `notebooks/02_train.py`."""

    run: str = Field("teacher", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run and its folder.")
    role: Role = "teacher"
    variant: str = Field("paper", description="Name of the variant, as in the result files.")
    seed: int = Field(0, ge=0)
    # network
    model: Literal["protopnet", "linear"] = Field(
        "protopnet", description="linear: the same trunk, ordinary classifier."
    )
    network: str = Field("small", description="Name of the trunk: see p2p.trunks.TRUNKS, or timm/<name>.")
    weights: str = Field("none", description="none, imagenet (downloaded), or a safetensors file (P2P_WEIGHTS).")
    weights_missing: list[str] = Field(
        [], description="Prefixes of the trunk's parameters that may stay at their random start."
    )
    grid: int = Field(8, ge=2, le=64, description="Side of the grid, cells; the trunk is cut where it has this grid.")
    prototypes_per_class: int = Field(5, ge=1)
    prototype_depth: int = Field(64, ge=2, description="D: channels of the add-on map.")
    feature_init: Literal["kaiming", "data"] = Field(
        "kaiming", description="kaiming as published; data: trunk outputs and add-on channels scaled to unit size."
    )
    prototype_init: Literal["uniform", "patches"] = Field(
        "uniform",
        description="uniform: U[0, 1) as published; patches: own-class training patches after k-means.",
    )
    # schedule: an epoch is one pass over the training images, each augmented anew
    schedule: Literal["lean", "official"] = Field(
        "lean",
        description="official: 300 epochs and 29 pushes as coded; warm_epochs, joint_epochs, rounds do not count.",
    )
    official_epochs: int = Field(300, ge=12, le=300, description="A7: 300 as coded; at 32 the joint rate is 1/10,000.")
    official_copies: int = Field(40, ge=1, description="Passes that make one published epoch: its prepared copies.")
    batch_size: int = Field(32, ge=2, description="Batch normalisation cannot train on a single image.")
    warm_epochs: int = Field(0, ge=0, description="Passes with the trunk frozen, on cached trunk outputs.")
    warm_copies: int = Field(10, ge=1, description="Augmented copies of the images that the warm passes cycle through.")
    warm_cache_gb: float = Field(4.0, ge=0, description="Memory for trunk outputs; copies beyond it go to the disk.")
    joint_epochs: int = Field(20, ge=0, description="Passes over the images in each round, all layers learning.")
    rounds: int = Field(1, ge=1, description="How often joint, push and decision phases follow each other.")
    trunk_batchnorm: Literal["train", "frozen"] = Field(
        "train", description="frozen: the trunk keeps its batch-normalisation statistics in joint passes."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the trunk in training; auto: bfloat16 on GPUs that have it. All else is float32."
    )
    compile_trunk: bool = Field(False, description="torch.compile of the trunk: minutes first, then faster steps.")
    augment: bool = Field(True, description="Rotation, skew, shear, elastic distortion, flip on the fly.")
    # optimiser
    optimizer: Literal["adam", "adamw"] = Field("adam", description="A6: adam couples the weight decay, as coded.")
    lr_trunk: float = Field(2e-4, ge=0)
    lr_addon: float = Field(3e-3, ge=0)
    lr_prototypes: float = Field(3e-3, ge=0)
    joint_factor: float = Field(1.0, gt=0, description="On lr_addon and lr_prototypes in joint passes.")
    lr_decision: float = Field(1e-4, ge=0, description="Where the decision layer learns in joint passes.")
    weight_decay: float = Field(1e-3, ge=0, description="Of trunk and add-on.")
    # losses
    lambda_cluster: float = Field(1.0, ge=0)
    lambda_separation: float = Field(0.08, ge=0, description="Subtracted: far from other classes is rewarded.")
    lambda_l1: float = Field(1e-4, ge=0)
    decision_iterations: int = Field(200, ge=1, description="Of the solver, on cached activations.")
    # Proto2Proto (role student)
    teacher_run: str = Field("", description="Run whose network teaches; empty for none.")
    lambda_global: float = Field(0.0, ge=0, description="Global Explanation loss; published: 10.")
    lambda_ppc: float = Field(0.0, ge=0, description="Patch-Prototype Correspondence loss; published: 10.")
    mask_source: Literal["teacher", "student"] = Field("teacher", description="A1: whose active patches PPC uses.")
    global_norm: Literal["l2", "mean_abs"] = Field("l2", description="A2.")
    tau_train: float = Field(100.0, gt=0, description="A3: threshold of active patches, squared L2.")
    ppc_norm: Literal["patch", "image", "batch"] = Field("patch", description="A4.")
    head: Literal["own", "teacher", "teacher_joint"] = Field(
        "own",
        description="A5: own decision layer; the teacher's, fixed; the teacher's, learning along as coded.",
    )
    warm_losses: Literal["all", "distillation"] = Field("all", description="A14: losses of a student's warm passes.")
    runs: str = Field("runs", description="Folder of the runs; this one's is <runs>/<study>/<run>.")

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.role == "student" and not self.teacher_run:
            raise ValueError("role 'student' needs 'teacher_run', the run that teaches it")
        if not self.teacher_run and (self.lambda_global or self.lambda_ppc or self.head != "own"):
            raise ValueError("'lambda_global', 'lambda_ppc' and 'head' need 'teacher_run', the run that teaches")
        if self.model == "linear" and self.teacher_run:
            raise ValueError("model 'linear' has no prototypes to teach: leave 'teacher_run' empty")
        if self.schedule == "lean" and self.warm_epochs + self.joint_epochs == 0:
            raise ValueError(
                "'warm_epochs' and 'joint_epochs' are both 0, so nothing would be learnt; raise one of them"
            )
        return self


class ImagesParams(DataParams):
    """The images and networks of a study: the parameters of `notebooks/01_data.py`."""

    networks: dict[str, str] = Field({"small": "none", "small_half": "none"}, description="trunk: weights.")
    weights_missing: dict[str, list[str]] = Field({}, description="trunk: what its weights file may lack.")
    grid: int = 8


class EvaluateParams(DataParams):
    """One triple, one seed: the parameters of `notebooks/03_evaluate.py`."""

    triple: str = "small-small_half"
    seed: int = Field(0, ge=0)
    teacher_run: str = "teacher-small-s0"
    baseline_run: str = "baseline-small_half-s0"
    student_runs: dict[str, str] = Field({"paper": "student-small-small_half-paper-s0"}, description="variant: run.")
    control_runs: dict[str, str] = Field({}, description="variant: run.")
    ceiling_run: str = Field("", description="A teacher of another seed, the ceiling; empty: none.")
    ajs_empty: Literal["zero", "skip", "one"] = Field("zero", description="A11: AJS of two empty sets.")
    runs: str = "runs"
    results: str = "results"


class PageParams(Strict):
    """A page over a whole study (table, curves, gallery): the parameters of notebooks 04 to 07."""

    study: str = "quick"
    title: str = "Quick study"
    intro: str = ""
    order: int = 8
    images: str = Field("synthetic birds", description="What the images are, as tables say it.")
    triple: str = "small-small_half"
    seed: int = Field(0, ge=0, description="The seed whose networks are pictured.")
    evaluations: list[str] = Field(["small-small_half-s0", "small-small_half-s1"], description="<triple>-s<seed>.")
    train_runs: list[str] = Field([], description="Names of all runs of the study; empty: those of `networks`.")
    networks: dict[str, str] = Field(
        {
            "teacher": "teacher-small-s0",
            "baseline": "baseline-small_half-s0",
            "student": "student-small-small_half-paper-s0",
        },
        description="role: run, the networks pictured.",
    )
    variant: str = Field("paper", description="The student pictured.")
    controls: dict[str, str] = Field({}, description="control: the role it was derived from.")
    top_k: int = Field(5, ge=1, description="Prototypes shown for an image.")
    pictures: int = Field(4, ge=1, description="Test images or classes shown.")
    runs: str = "runs"
    results: str = "results"


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
    recipe: str = Field("params/cub-small.yaml", description="Study whose first teacher is trained end to end.")
    recipe_changes: dict[str, Any] = Field({}, description="Keys of TrainParams to change in it.")
    short_changes: dict[str, Any] = Field(
        {"warm_epochs": 20, "warm_copies": 4, "joint_epochs": 1}, description="What makes the recipe's short run."
    )
    trunks: list[str] = Field(
        ["resnet18", "resnet50", "vgg16", "mobilenet_v2"], description="Of the steps; random weights."
    )
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
    recipes_study: str = Field("recipes", description="Study whose curves of accuracy against passes are shown.")
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


def check(model: type[T], values: dict[str, Any], where: str) -> T:
    """Build a parameter model, or say in one sentence what is wrong.

    Args:
        model: `TrainParams`, `Study` …
        values: Keys and values.
        where: The file or place the values come from, for the message.

    Raises:
        UserError: An unknown key, a wrong type or value, an impossible combination.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(combination)"
        if first["type"] == "extra_forbidden":
            known = sorted(model.model_fields)
            near = [k for k in known if k.startswith(str(first["loc"][-1])[:3])] or known
            raise UserError(f"{where}: unknown key '{key}'; expected one of {', '.join(near)}.") from None
        if first["type"] == "value_error":
            raise UserError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None
        hint = ""
        if isinstance(first["input"], str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", first["input"]):
            hint = " (YAML reads a power of ten as a number only with a point, as in 1.0e-4)"
        raise UserError(f"{where}: key '{key}' is {first['input']!r}; {first['msg']}{hint}.") from None


def from_namespace(model: type[T], namespace: dict[str, Any]) -> T:
    """The parameters of a notebook, from the variables its parameters cell has defined."""
    return check(model, {k: namespace[k] for k in model.model_fields if k in namespace}, "parameters cell")


def parameter_hash(params: Strict) -> str:
    """Twelve hex digits that change with any parameter."""
    return hashlib.sha256(json.dumps(params.model_dump(), sort_keys=True).encode()).hexdigest()[:12]
