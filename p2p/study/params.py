"""The parameters of every notebook: strict, frozen, typed.

An unknown key, a wrong type or an impossible combination is one sentence (`UserError`) before anything runs.
Units are in the names or in the field's description.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import operator
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from p2p.errors import UserError, shown
from p2p.study.switches import Switches
from p2p.study.wording import expected, hint

Role = Literal["teacher", "baseline", "student", "control", "budget"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # PyTorch's generator on a CPU takes the low 32 bits and drops the rest


MOST = 1e6  # of weights of losses: far above any of use, and far below what float32 cannot hold


class Strict(BaseModel):
    """Frozen; unknown keys and silent conversions are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


T = TypeVar("T", bound=Strict)


class DataParams(Strict):
    """Which images; the same keys in every notebook that reads them."""

    study: str = Field("quick", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the study and its folders.")
    reader: str = Field("birds", description="birds, drawn in code; or a row of p2p.data.readers.READERS.")
    root: str = Field("", description="Folder of the data; empty: the environment variable P2P_DATA.")
    size: int = Field(64, ge=32, le=1024, description="Side of the square images, pixels.")
    class_step: int = Field(1, ge=1, description="Take every so many-th class.")
    class_first: int = Field(
        0,
        ge=0,
        description="Number of the first class to take, from 0; others than another study's, with the same step.",
        exclude_if=operator.not_,  # at 0 no part of a run's identity
    )
    class_count: int | None = Field(None, ge=2, description="At most so many classes.")
    images_per_class: int | None = Field(None, ge=2, description="The first so many of each class and split.")
    validation_fraction: float = Field(0.15, gt=0, le=0.95, description="Cut from each class's training images.")
    data_seed: Seed = Field(0, description="Seed of the validation cut and of the synthetic birds.")
    bird_train_per_class: int = Field(60, ge=2, description="Synthetic birds for training and validation.")
    bird_test_per_class: int = Field(50, ge=1, description="Synthetic birds for the test.")
    bird_hardness: float = Field(
        1.0, ge=0, le=1, description="Of the birds: 0 is plain; above, look-alikes, loose parts, leaves, more poses."
    )
    streaming: Literal["auto", "on", "off"] = Field(
        "auto", description="on: images stay on the disk, read ahead batch by batch; auto: where memory is short."
    )
    allow_duplicates: bool = Field(
        False, description="Of one's own images: the same image in training and test is no error."
    )
    skip_bad: bool = Field(
        False,
        description="Of reader folder: leave out files that cannot be read, instead of stopping.",
        exclude_if=operator.not_,  # where it says nothing, it is no part of a run's identity
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$", description="auto: a GPU where there is one.")


class TrainParams(Switches, DataParams):
    """One network, one seed: the parameters of `notebooks/02_train.py`.

    The defaults of the recipe are the one searched for pretrained trunks (`params/search/cub-20.yaml`); a study names
    what differs from it, and always the grid, which depends on the size of its images.
    """

    run: str = Field(
        "teacher",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=200,
        description="Name of the run and its folder.",
    )
    role: Role = "teacher"
    variant: str = Field("paper", description="Name of the variant, as in the result files.")
    seed: Seed = 0
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
    prototypes_per_class: int = Field(10, ge=1)
    prototype_depth: int = Field(128, ge=2, description="D: channels of the add-on map.")
    prototype_layer: str = Field("distance", description="Comparison with cells: distance, cosine, exponential.")
    decision: str = Field("linear", description="How similarities become logits, see p2p.decision.DECISIONS.")
    tree_depth: int = Field(  # both at their default are no part of a run's identity: runs of before them stay known
        5, ge=1, le=12, description="Of decision tree: 2^depth − 1 prototypes.", exclude_if=partial(operator.eq, 5)
    )
    prune_leaves: float = Field(
        2.0,
        ge=0,
        description="Of decision tree: gone are leaves without a class above so many times 1/K.",
        exclude_if=partial(operator.eq, 2.0),
    )
    feature_init: Literal["kaiming", "data"] = Field(
        "data", description="data: trunk outputs and add-on channels scaled to unit size; kaiming as published."
    )
    prototype_init: Literal["uniform", "patches", "teacher"] = Field(
        "patches",
        description="patches: own-class training patches after k-means; uniform: U[0, 1) as published; teacher: its.",
    )
    # schedule: an epoch is one pass over the training images, each augmented anew; its chance is numbered by seed,
    # phase, epoch and copy (p2p.training.batches), which the upper bounds keep apart
    schedule: Literal["lean", "official"] = Field(
        "lean",
        description="official: 300 epochs and 29 pushes as coded; warm_epochs, joint_epochs, rounds do not count.",
    )
    official_epochs: int = Field(300, ge=12, le=300, description="A7: 300 as coded; at 32 the joint rate is 1/10,000.")
    official_copies: int = Field(
        40, ge=1, le=4_000, description="Passes that make one published epoch: its prepared copies."
    )
    push: Literal["nearest", "distinct", "shared"] = Field(
        "nearest",
        description="distinct: no patch twice in a class; shared: own features at the teacher's source patches.",
    )
    batch_size: int = Field(32, ge=2, le=1_000_000, description="Batch normalisation cannot train on a single image.")
    warm_epochs: int = Field(10, ge=0, le=50_000, description="Passes with the trunk frozen, on cached trunk outputs.")
    warm_copies: int = Field(
        5, ge=1, le=50_000, description="Augmented copies of the images that the warm passes cycle through."
    )
    warm_cache_gb: float = Field(4.0, ge=0, description="Memory for trunk outputs; copies beyond it go to the disk.")
    joint_copies: int = Field(
        10,
        ge=0,
        le=50_000,
        description="Augmented copies that joint passes cycle through, the teacher asked once each; 0: all anew.",
    )
    joint_epochs: int = Field(
        80, ge=0, le=50_000, description="Passes over the images in each round, all layers learning."
    )
    joint_ramp: int = Field(
        0,
        ge=0,
        le=50_000,
        description="Joint passes over which the rates rise to their full value, so that a trunk forgets less.",
        exclude_if=partial(operator.eq, 0),
    )
    rounds: int = Field(1, ge=1, le=300, description="How often joint, push and decision phases follow each other.")
    trunk_batchnorm: Literal["train", "frozen"] = Field(
        "frozen", description="frozen: the trunk keeps its batch-normalisation statistics in joint passes."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the trunk in training; auto: bfloat16 on GPUs that have it. All else is float32."
    )
    compile_trunk: bool = Field(False, description="torch.compile of the trunk: minutes first, then faster steps.")
    augment: bool = Field(True, description="Rotation, skew, shear, elastic distortion, flip on the fly.")
    # optimiser
    optimizer: Literal["adam", "adamw"] = Field("adam", description="A6: adam couples the weight decay, as coded.")
    lr_trunk: float = Field(1e-3, ge=0)
    lr_addon: float = Field(3e-3, ge=0)
    lr_prototypes: float = Field(0.01, ge=0)
    joint_factor: float = Field(0.3, gt=0, description="On lr_addon and lr_prototypes in joint passes.")
    lr_decision: float = Field(1e-4, ge=0, description="Where the decision layer learns in joint passes.")
    weight_decay: float = Field(1e-3, ge=0, le=MOST, description="Of trunk and add-on.")
    # losses
    lambda_cluster: float = Field(1.0, ge=0, le=MOST)
    lambda_separation: float = Field(0.08, ge=0, le=MOST, description="Subtracted: far from other classes is rewarded.")
    lambda_l1: float = Field(1e-4, ge=0, le=MOST)
    decision_iterations: int = Field(200, ge=1, le=1_000_000, description="Of the solver, on cached activations.")
    # Proto2Proto (role student)
    teacher_run: str = Field("", description="Run whose network teaches; empty for none.")
    distillation: dict[str, float] = Field(
        {}, description="Distillation losses (p2p.losses.DISTILLATION) and their weights; published: global 10, ppc 10."
    )
    mask_source: Literal["teacher", "student", "all"] = Field(
        "teacher", description="A1: whose active patches PPC uses; all: every cell."
    )
    global_norm: Literal["l2", "mean_abs"] = Field("l2", description="A2.")
    tau_train: float = Field(100.0, ge=1e-6, description="A3: threshold of active patches, squared L2.")
    ppc_norm: Literal["patch", "image", "batch"] = Field("patch", description="A4.")
    temperature: float = Field(
        4.0,
        ge=0.01,
        le=1e3,
        description="T of the distillation loss logits.",
        exclude_if=lambda t: t == 4.0,  # at its default no part of a run's identity: finished runs stay known
    )
    head: Literal["own", "teacher", "teacher_tuned", "teacher_joint"] = Field(
        "own",
        description="A5: own decision layer; the teacher's, fixed; tuned after the push; learning along as coded.",
    )
    warm_losses: Literal["all", "distillation"] = Field("all", description="A14: losses of a student's warm passes.")
    runs: str = Field("runs", description="Folder of the runs; this one's is <runs>/<study>/<run>.")

    @model_validator(mode="before")
    @classmethod
    def _no_warm_copies(cls, values: Any) -> Any:
        """Without warm passes their copies say nothing: always 10 then, by which finished runs are known."""
        idle = isinstance(values, dict) and values.get("warm_epochs") == 0
        return {"warm_copies": 10} | values if idle else values

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.role == "student" and not self.teacher_run:
            raise ValueError("role 'student' needs 'teacher_run', the run that teaches it")
        if not self.teacher_run and (self.distillation or self.head != "own"):
            raise ValueError(
                "'distillation' and 'head' need 'teacher_run', the run that teaches, which only students have: put "
                "them under 'variants' or a control of the student, not where teacher and baseline take them too"
            )
        negative = [name for name, weight in self.distillation.items() if weight < 0]
        if negative:
            raise ValueError(f"'distillation' gives '{negative[0]}' a weight below 0; expected 0 or more")
        large = [name for name, weight in self.distillation.items() if weight > MOST]
        if large:
            raise ValueError(f"'distillation' gives '{large[0]}' a weight above {MOST:g}; expected less")
        for key, value in (("push", "shared"), ("prototype_init", "teacher")):
            if getattr(self, key) == value and not self.teacher_run:
                what = "source patches" if key == "push" else "prototypes"
                raise ValueError(
                    f"{key} '{value}' takes the {what} of a teacher: it needs 'teacher_run', which only students "
                    "have: put it under 'variants' or a control of the student"
                )
        if self.teaches == "other" and not self.other_teacher_run:
            raise ValueError("teaches 'other' takes the teacher of another seed: give the study 'seeds' two or more")
        if self.model == "linear" and self.teacher_run:
            raise ValueError(
                "model 'linear' has no prototypes to teach: give it to a control of teacher or baseline, which has no "
                "'teacher_run'"
            )
        if self.schedule == "lean" and self.warm_epochs + self.joint_epochs == 0:
            raise ValueError(
                "'warm_epochs' and 'joint_epochs' are both 0, so nothing would be learnt; raise one of them"
            )
        return self


class ImagesParams(DataParams):
    """The images and networks of a study: the parameters of `notebooks/01_data.py`."""

    networks: dict[str, str] = Field({"small": "none", "small_sixth": "none"}, description="trunk: weights.")
    weights_missing: dict[str, list[str]] = Field({}, description="trunk: what its weights file may lack.")
    grid: int = 8


class EvaluateParams(DataParams):
    """One triple, one seed: the parameters of `notebooks/03_evaluate.py`."""

    triple: str = "small_half-small_sixth"
    seed: Seed = 0
    teacher_run: str = "teacher-small_half-s0"
    baseline_run: str = "baseline-small_sixth-s0"
    student_runs: dict[str, str] = Field(
        {"paper": "student-small_half-small_sixth-paper-s0"}, description="variant: run."
    )
    control_runs: dict[str, str] = Field({}, description="variant: run.")
    budget_runs: dict[str, str] = Field({}, description="<role>-<joint passes>: run, trained longer or shorter.")
    second_teacher_run: str = Field("", description="A teacher of another seed; empty: none.")
    ajs_empty: Literal["zero", "skip", "one"] = Field("zero", description="A11: AJS of two empty sets.")
    keep: bool = Field(
        True,
        description="Answers of the final networks are kept with the results; not where many variants are compared.",
    )
    runs: str = "runs"
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
        name = ".".join(str(part) for part in first["loc"] if part != "[key]")
        key = shown(name or "(combination)")
        if first["type"] == "extra_forbidden":
            near = ", ".join(near_names(str(first["loc"][-1]), model.model_fields))
            raise UserError(f"{where}: unknown key {key}; expected one of {near}.") from None
        if first["type"] == "value_error":
            raise UserError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None
        if first["type"] == "missing":
            raise UserError(f"{where}: key {key} is required and missing; add it.") from None
        if first["loc"][-1:] == ("[key]",):
            raise UserError(f"{where}: key {key} has a name that cannot be used; {expected(first)}.") from None
        advice = hint(first["type"], first["input"])
        raise UserError(f"{where}: key {key} is {shown(first['input'])}; {expected(first)}{advice}.") from None


def near_names(key: str, known: Iterable[str]) -> list[str]:
    """What a mistyped key may have meant, in order of the alphabet; every known name where none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, cutoff=0.7)
    return [name for name in names if name in close or name.startswith(key[:3])] or names


PLAIN = (bool, int, float, str, list, tuple, set, dict, type(None))  # tuple and set only to be refused by their key


def from_namespace(model: type[T], namespace: dict[str, Any]) -> T:
    """The parameters of a notebook, from the variables that its parameters cells have defined.

    A function or module that a notebook imports under the name of a field is none of them.
    """
    given = {key: namespace[key] for key in model.model_fields if isinstance(namespace.get(key, model), PLAIN)}
    return check(model, given, "parameters cell")


def parameter_hash(params: Strict) -> str:
    """Twelve hex digits that change with any parameter."""
    return hashlib.sha256(json.dumps(params.model_dump(), sort_keys=True).encode()).hexdigest()[:12]
