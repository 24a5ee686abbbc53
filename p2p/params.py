"""The parameters of every notebook and of a study: strict, frozen, typed.

An unknown key, a wrong type or an impossible combination is one sentence (`UserError`) before anything runs.
Units are in the names or in the field's description; lists of a study file's keys for editors come from
`python -m p2p.params > params/study.schema.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from p2p.errors import UserError

Role = Literal["teacher", "baseline", "student", "control"]


class Strict(BaseModel):
    """Frozen; unknown keys and silent conversions are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


T = TypeVar("T", bound=Strict)


class DataParams(Strict):
    """Which images; the same keys in every notebook that reads them."""

    study: str = Field(
        "quick", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the study and its folders."
    )
    reader: Literal["birds", "cub", "cars", "folder"] = "birds"
    root: str = Field("", description="Folder of the data; empty: the environment variable P2P_DATA.")
    size: int = Field(64, ge=32, le=1024, description="Side of the square images, pixels.")
    class_step: int = Field(1, ge=1, description="Take every so many-th class.")
    class_count: int | None = Field(None, ge=2, description="At most so many classes.")
    images_per_class: int | None = Field(None, ge=2, description="The first so many of each class and split.")
    validation_fraction: float = Field(0.15, gt=0, lt=1, description="Cut from each class's training images.")
    data_seed: int = Field(0, ge=0, description="Seed of the validation cut and of the synthetic birds.")
    bird_train_per_class: int = Field(100, ge=2, description="Synthetic birds for training and validation.")
    bird_test_per_class: int = Field(40, ge=1, description="Synthetic birds for the test.")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: a GPU where there is one."
    )

    @property
    def data_root(self) -> str:
        return self.root or os.environ.get("P2P_DATA", "")


class TrainParams(DataParams):
    """One network, one seed: the parameters of `notebooks/02_train.py`."""

    run: str = Field(
        "teacher", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run and its folder."
    )
    role: Role = "teacher"
    variant: str = Field("paper", description="Name of the variant, as in the result files.")
    seed: int = Field(0, ge=0)
    # network
    model: Literal["protopnet", "linear"] = Field(
        "protopnet", description="linear: the same trunk, ordinary classifier."
    )
    network: str = Field("small", description="Name of the trunk, see p2p.networks.TRUNKS.")
    weights: str = Field(
        "none", description="none, imagenet (torchvision's), or a safetensors file (P2P_WEIGHTS)."
    )
    grid: int = Field(
        8, ge=2, le=64, description="Side of the grid, cells; the trunk is cut where it has this grid."
    )
    prototypes_per_class: int = Field(5, ge=1)
    prototype_depth: int = Field(64, ge=2, description="D: channels of the add-on map.")
    prototype_init: Literal["uniform", "patches"] = Field(
        "uniform",
        description="uniform: U[0, 1) as published; patches: own-class training patches after k-means.",
    )
    # schedule: an epoch is one pass over the training images, each augmented anew
    schedule: Literal["lean", "official"] = Field(
        "lean", description="official: 300 epochs as coded, 29 pushes."
    )
    batch_size: int = Field(32, ge=2, description="Batch normalisation cannot train on a single image.")
    warm_epochs: int = Field(0, ge=0, description="Passes with the trunk frozen, on cached trunk outputs.")
    warm_copies: int = Field(
        10, ge=1, description="Augmented copies of the images that the warm passes cycle through."
    )
    warm_cache_gb: float = Field(
        4.0, ge=0, description="Memory for trunk outputs; copies beyond it are computed anew."
    )
    joint_epochs: int = Field(
        20, ge=0, description="Passes over the images in each round, all layers learning."
    )
    rounds: int = Field(1, ge=1, description="How often joint, push and decision phases follow each other.")
    trunk_batchnorm: Literal["train", "frozen"] = Field(
        "train", description="frozen: the trunk keeps its batch-normalisation statistics in joint passes."
    )
    augment: bool = Field(True, description="Rotation, skew, shear, elastic distortion, flip on the fly.")
    # optimiser
    optimizer: Literal["adam", "adamw"] = Field(
        "adam", description="A6: adam couples the weight decay, as coded."
    )
    lr_trunk: float = Field(2e-4, ge=0)
    lr_addon: float = Field(3e-3, ge=0)
    lr_prototypes: float = Field(3e-3, ge=0)
    lr_decision: float = Field(1e-4, ge=0, description="Where the decision layer learns in joint passes.")
    weight_decay: float = Field(1e-3, ge=0, description="Of trunk and add-on.")
    # losses
    lambda_cluster: float = Field(1.0, ge=0)
    lambda_separation: float = Field(
        0.08, ge=0, description="Subtracted: far from other classes is rewarded."
    )
    lambda_l1: float = Field(1e-4, ge=0)
    decision_iterations: int = Field(200, ge=1, description="Of the solver, on cached activations.")
    # Proto2Proto (role student)
    teacher_run: str = Field("", description="Run whose network teaches; empty for none.")
    lambda_global: float = Field(0.0, ge=0, description="Global Explanation loss; published: 10.")
    lambda_ppc: float = Field(0.0, ge=0, description="Patch-Prototype Correspondence loss; published: 10.")
    mask_source: Literal["teacher", "student"] = Field(
        "teacher", description="A1: whose active patches PPC uses."
    )
    global_norm: Literal["l2", "mean_abs"] = Field("l2", description="A2.")
    tau_train: float = Field(100.0, gt=0, description="A3: threshold of active patches, squared L2.")
    ppc_norm: Literal["patch", "image", "batch"] = Field("patch", description="A4.")
    head: Literal["own", "teacher", "teacher_joint"] = Field(
        "own",
        description="A5: own decision layer; the teacher's, fixed; the teacher's, learning along as coded.",
    )
    warm_losses: Literal["all", "distillation"] = Field(
        "all", description="A14: losses of a student's warm passes."
    )
    runs: str = Field("runs", description="Folder of the runs; this one's is <runs>/<study>/<run>.")

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.role == "student" and not self.teacher_run:
            raise ValueError("role 'student' needs 'teacher_run', the run that teaches it")
        if not self.teacher_run and (self.lambda_global or self.lambda_ppc or self.head != "own"):
            raise ValueError(
                "'lambda_global', 'lambda_ppc' and 'head' need 'teacher_run', the run that teaches"
            )
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
    grid: int = 8


class EvaluateParams(DataParams):
    """One triple, one seed: the parameters of `notebooks/03_evaluate.py`."""

    triple: str = "small-small_half"
    seed: int = Field(0, ge=0)
    teacher_run: str = "teacher-small-s0"
    baseline_run: str = "baseline-small_half-s0"
    student_runs: dict[str, str] = Field(
        {"paper": "student-small-small_half-paper-s0"}, description="variant: run."
    )
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
    order: int = 1
    images: str = Field("synthetic birds", description="What the images are, as tables say it.")
    triple: str = "small-small_half"
    seed: int = Field(0, ge=0, description="The seed whose networks are pictured.")
    networks: dict[str, str] = Field(
        {
            "teacher": "teacher-small-s0",
            "baseline": "baseline-small_half-s0",
            "student": "student-small-small_half-paper-s0",
        },
        description="role: run, the networks pictured.",
    )
    variant: str = Field("paper", description="The student pictured.")
    top_k: int = Field(5, ge=1, description="Prototypes shown for an image.")
    pictures: int = Field(4, ge=1, description="Test images or classes shown.")
    runs: str = "runs"
    results: str = "results"


# ------------------------------------------------------------------------------------------------------- a study


class Triple(Strict):
    """Teacher and student of one comparison; each a set of `TrainParams` keys."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    teacher: dict[str, Any]
    student: dict[str, Any]


class Control(Strict):
    """Another way to train: a role's parameters with a change."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    of: Literal["teacher", "baseline", "student"]
    change: dict[str, Any]


class Study(Strict):
    """A file of `params/`: everything an experiment needs, no code."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    intro: str = ""
    order: int = Field(10, description="Place in the book.")
    images: str = Field(
        description="What the images are, as tables say it: synthetic, real, full or reduced set."
    )
    seeds: list[int] = Field(min_length=1)
    data: dict[str, Any] = Field(description="Keys of DataParams, the same for all runs.")
    recipe: dict[str, Any] = Field(description="Keys of TrainParams, the same for all runs.")
    distillation: dict[str, Any] = Field(
        {"lambda_global": 10.0, "lambda_ppc": 10.0}, description="Added for students."
    )
    triples: list[Triple] = Field(min_length=1)
    variants: dict[str, dict[str, Any]] = Field({"paper": {}}, description="Students: name and change.")
    controls: list[Control] = []
    threads: int = Field(1, ge=1, description="CPU threads of one run; runs share the cores.")
    gpus: int = Field(0, ge=0, description="GPUs of one run.")

    def runs(self) -> dict[str, TrainParams]:
        """Every run by its name, each teacher and baseline once."""
        found: dict[str, TrainParams] = {}
        for seed in self.seeds:
            for triple in self.triples:
                for run in self._triple_runs(triple, seed):
                    if found.setdefault(run.run, run) != run:
                        raise UserError(
                            f"Study '{self.study}': two different runs would be called '{run.run}'; give the networks "
                            f"of triple '{triple.name}' the same keys in all triples, or use another study file."
                        )
        return found

    def _train(
        self, run: str, role: Role, variant: str, seed: int, where: str, *parts: dict[str, Any]
    ) -> TrainParams:
        merged: dict[str, Any] = {**self.data, **self.recipe}
        for part in parts:
            merged.update(part)
        fixed = {"study": self.study, "run": run, "role": role, "variant": variant, "seed": seed}
        return check(TrainParams, {**merged, **fixed}, f"study '{self.study}', {where}")

    def _triple_runs(self, triple: Triple, seed: int) -> list[TrainParams]:
        t, s = triple.teacher, triple.student
        names = {
            "teacher": f"teacher-{t.get('network')}-s{seed}",
            "baseline": f"baseline-{s.get('network')}-s{seed}",
        }
        taught = {**self.distillation, "teacher_run": names["teacher"]}
        where = f"triple '{triple.name}'"
        out = [
            self._train(names["teacher"], "teacher", "paper", seed, where, t),
            self._train(names["baseline"], "baseline", "paper", seed, where, s),
        ]
        for name, change in self.variants.items():
            run = f"student-{triple.name}-{name}-s{seed}"
            out.append(
                self._train(run, "student", name, seed, f"{where}, variant '{name}'", s, taught, change)
            )
        for control in self.controls:
            parts = {"teacher": (t,), "baseline": (s,), "student": (s, taught)}[control.of]
            network = t.get("network") if control.of == "teacher" else s.get("network")
            middle = triple.name if control.of == "student" else network
            run = f"control-{control.name}-{middle}-s{seed}"
            there = f"{where}, control '{control.name}'"
            out.append(self._train(run, "control", control.name, seed, there, *parts, control.change))
        for run in out:
            for key in ("grid", "prototypes_per_class", "prototype_depth"):
                mine, theirs = getattr(run, key), getattr(out[0], key)
                if run.teacher_run and mine != theirs:
                    raise UserError(
                        f"study '{self.study}', {where}: '{key}' is {theirs} for the teacher and {mine} for "
                        f"'{run.run}'; distillation compares them cell by cell: make them equal."
                    )
        return out

    def data_params(self) -> ImagesParams:
        runs = self.runs().values()
        values = {
            **{k: v for k, v in self.data.items() if k not in ("networks", "grid")},
            "study": self.study,
            "networks": {run.network: run.weights for run in runs},
            "grid": next(iter(runs)).grid,
        }
        return check(ImagesParams, values, f"study '{self.study}', data")

    def evaluations(self) -> dict[str, EvaluateParams]:
        """The evaluation of each triple and seed, by `<triple>-s<seed>`."""
        out = {}
        for triple in self.triples:
            for i, seed in enumerate(self.seeds):
                runs = self._triple_runs(triple, seed)
                by = {
                    role: {r.variant: r.run for r in runs if r.role == role}
                    for role in ("teacher", "baseline", "student", "control")
                }
                other = self.seeds[(i + 1) % len(self.seeds)]
                values = {
                    **self.data,
                    "study": self.study,
                    "triple": triple.name,
                    "seed": seed,
                    "teacher_run": by["teacher"]["paper"],
                    "baseline_run": by["baseline"]["paper"],
                    "student_runs": by["student"],
                    "control_runs": by["control"],
                    "ceiling_run": f"teacher-{triple.teacher.get('network')}-s{other}"
                    if other != seed
                    else "",
                }
                out[f"{triple.name}-s{seed}"] = check(EvaluateParams, values, f"study '{self.study}'")
        return out

    def page(self) -> PageParams:
        shown = next(iter(self.evaluations().values()))
        variant, student = next(iter(shown.student_runs.items()))
        networks = {"teacher": shown.teacher_run, "baseline": shown.baseline_run, "student": student}
        values = {key: getattr(self, key) for key in ("study", "title", "intro", "order", "images")}
        values |= {"triple": shown.triple, "seed": shown.seed, "variant": variant, "networks": networks}
        return check(PageParams, values, f"study '{self.study}'")


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
        raise UserError(f"{where}: key '{key}' is {first['input']!r}; {first['msg']}.") from None


def from_namespace(model: type[T], namespace: dict[str, Any]) -> T:
    """The parameters of a notebook, from the variables its parameters cell has defined."""
    return check(model, {k: namespace[k] for k in model.model_fields if k in namespace}, "parameters cell")


def load_study(path: Path | str) -> Study:
    """Read and check a study file, all of its runs included.

    Raises:
        UserError: No such file, no valid YAML, or a wrong key, in one sentence naming file and key.
    """
    path = Path(path)
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise UserError(f"Study file {path} not found; studies here: {have}.")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no keys; expected the keys of a study, such as params/quick.yaml has.")
    study = check(Study, values, str(path))
    try:
        study.data_params(), study.runs(), study.evaluations()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return study


def parameter_hash(params: Strict) -> str:
    """Twelve hex digits that change with any parameter."""
    return hashlib.sha256(json.dumps(params.model_dump(), sort_keys=True).encode()).hexdigest()[:12]


def schema() -> dict[str, Any]:
    """JSON schema of a study file, with the keys of the nested parts filled in, so that editors complete them."""
    result = Study.model_json_schema()
    train, data = TrainParams.model_json_schema()["properties"], DataParams.model_json_schema()["properties"]
    fixed = {"study", "run", "role", "variant", "seed", "runs", "teacher_run"}
    recipe = {
        "type": "object",
        "additionalProperties": False,
        "properties": {k: v for k, v in train.items() if k not in fixed},
    }
    properties, definitions = result["properties"], result["$defs"]
    images = {k: v for k, v in data.items() if k != "study"}
    properties["data"] = {"type": "object", "additionalProperties": False, "properties": images}
    properties["recipe"] = properties["distillation"] = recipe
    properties["variants"] = {"type": "object", "additionalProperties": recipe}
    for part, keys in (("Triple", ("teacher", "student")), ("Control", ("change",))):
        for key in keys:
            definitions[part]["properties"][key] = recipe
    return result


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
