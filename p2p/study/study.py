"""A study file of `params/`: the networks, variants, controls and seeds of an experiment, and the runs they make."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from p2p.errors import UserError
from p2p.study.effect import refuse_idle
from p2p.study.page_params import EXPLORED, PageParams
from p2p.study.params import EvaluateParams, ImagesParams, Role, Seed, Strict, TrainParams, check
from p2p.study.places import refuse_misplaced
from p2p.study.reading import read_keys
from p2p.study.share_params import Share, share_params
from p2p.study.triples import Control, Name, Triple

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Effect = Annotated[float, Field(gt=0, lt=1)]


# A rehearsal goes through every step of a study at a size of seconds: at most so much of each key.
REHEARSAL = {"warm_epochs": 2, "warm_copies": 1, "joint_epochs": 1, "rounds": 1, "official_epochs": 12}
REHEARSAL |= {"official_copies": 1, "batch_size": 8, "decision_iterations": 20, "tuning_passes": 1}
REHEARSAL_DATA = {"class_count": 3, "images_per_class": 8, "bird_train_per_class": 8, "bird_test_per_class": 4}


class Study(Strict):
    """A file of `params/`: everything an experiment needs, no code."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)
    title: Line = Field(description="Plain text, as tables and the book's index show it.")
    intro: str = Field("", max_length=5_000, description="A paragraph of the book; it may hold *emphasis* and `code`.")
    order: int = Field(10, ge=-1_000, le=1_000, description="Place in the book.")
    images: Line = Field(description="What the images are, as tables say it: synthetic, real, full or reduced set.")
    private: bool = Field(False, description="Of one's own images: a small book of its own, see `make own`.")
    seeds: list[Seed] = Field(min_length=1)
    ajs_empty: Literal["zero", "skip", "one"] = Field("zero", description="A11: AJS of two empty sets; zero as coded.")
    data: dict[str, Any] = Field(description="Keys of DataParams, the same for all runs.")
    recipe: dict[str, Any] = Field(description="Keys of TrainParams, the same for all runs.")
    distillation: dict[str, float] = Field(
        {"global": 10.0, "ppc": 10.0}, description="A student's distillation losses and their weights."
    )
    triples: list[Triple] = Field(min_length=1)
    alternatives: dict[Name, Annotated[list[Triple], Field(min_length=1)]] = Field(
        {}, description="Other sets of triples, each by its name."
    )
    use: str = Field("", description="The alternative to take for `triples`; its name is added to the study's.")
    variants: dict[Name, dict[str, Any]] = Field({"paper": {}}, min_length=1, description="Students: name and change.")
    variant_seeds: dict[Name, list[Seed]] = Field({}, description="Of the seeds those that a variant has, if not all.")
    controls: list[Control] = []
    compares: bool = Field(
        False, description="It compares its variants; the claims are judged in other studies, so no page sets it there."
    )
    effects: dict[Literal["accuracy", "similarity"], Effect] = Field(
        {"accuracy": 0.01, "similarity": 0.02},
        description="Smallest effects of interest, declared before the runs.",
    )
    sharing: list[Share] = Field([], description="A page of merged prototypes: so many percent of them left.")
    explorer: bool = Field(
        False, description="Small copies of its images go into its results, for the book's explorer: may they be shown?"
    )
    explorer_images: int = Field(EXPLORED, ge=1, description="Test images in it, at most: the first of every class.")
    threads: int = Field(1, ge=1, le=1_024, description="CPU threads of one run; runs share the cores.")
    gpus: int = Field(0, ge=0, le=1_024, description="GPUs of one run; 0: one where the machine has any.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        lists = {"'seeds'": self.seeds} | {f"'seeds' of control '{one.name}'": one.seeds for one in self.controls}
        for one in self.triples:
            lists |= {f"'seeds' of triple '{one.name}'": one.seeds}
            lists |= {f"'budget' {passes} of triple '{one.name}'": seeds for passes, seeds in one.budget.items()}
        for where, seeds in lists.items():
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"{where} names a seed twice: {seeds}; each is one run")
        for key in ("title", "images"):
            if not any(unicodedata.category(letter)[0] in "LNPS" for letter in getattr(self, key)):
                raise ValueError(f"key '{key}' shows nothing, such as a space of no width; expected words")
        if self.private and self.explorer:
            raise ValueError("'explorer' is without effect: a private study is no part of the book; remove it")
        if len(self.effects) < 2:
            raise ValueError("'effects' needs both 'accuracy' and 'similarity'; leave it out for the defaults")
        for triple in self.triples:
            own = triple.seeds or self.seeds
            if wrong := set(own) - set(self.seeds):
                raise ValueError(f"triple '{triple.name}' names the seed {min(wrong)}; the study has {self.seeds}")
            if wrong := set().union(*triple.budget.values()) - set(own):
                where = f"'budget' of triple '{triple.name}'"
                raise ValueError(f"{where} names the seed {min(wrong)}; expected seeds that the triple has, {own}")
            if unknown := set(triple.variants) - set(self.variants):
                have = ", ".join(self.variants)
                raise ValueError(f"triple '{triple.name}' names the variant '{min(unknown)}'; the study has {have}")
        for name, seeds in self.variant_seeds.items():
            if name not in self.variants or not seeds or set(seeds) - set(self.seeds):
                raise ValueError(
                    f"'variant_seeds' gives '{name}' the seeds {seeds}; expected a variant and seeds of the study, "
                    f"{self.seeds}"
                )
            if any(name == next(iter(self._variants(triple)), "") for triple in self.triples):
                raise ValueError(f"'variant_seeds' has '{name}', with which others are compared; it needs all seeds")
        names = [control.name for control in self.controls]
        if len(set(names)) < len(names) or {"random", "paper"} & set(names):
            raise ValueError(
                f"'controls' have the names {names}; each needs its own, not 'random', the floor's, or 'paper'"
            )
        if self.use and self.use not in self.alternatives:
            have = ", ".join(self.alternatives) or "none"
            raise ValueError(f"'use' is '{self.use}'; expected one of the study's alternatives ({have}), or empty")
        return self

    def chosen(self) -> Study:
        """The study of the alternative that `use` names, under a name of its own; else this one."""
        if not self.use:
            return self
        change = {"study": f"{self.study}-{self.use}", "title": f"{self.title} ({self.use})", "use": ""}
        return self.model_copy(update={**change, "triples": self.alternatives[self.use]})

    def restricted(self, only: str) -> Study:
        """The study with one of its triples: its results are the study's, its pages say what is not in them."""
        names = [triple.name for triple in self.triples]
        if only not in names:
            raise UserError(
                f"Study '{self.study}' has no triple '{only}' (ONLY=…); expected one of: {', '.join(names)}."
            )
        left = ", ".join(f"`{name}`" for name in names if name != only)
        change: dict[str, Any] = {"triples": [triple for triple in self.triples if triple.name == only]}
        if left:
            change["intro"] = f"{self.intro} Not run here, though the study file has it: {left}.".strip()
        return self.model_copy(update=change)

    def rehearsal(self) -> Study:
        """The same steps in seconds: few classes and images, one pass or two, one seed, no download."""
        values = self.model_dump()

        def shorten(keys: dict[str, Any]) -> dict[str, Any]:
            short = {key: min(value, REHEARSAL.get(key, value)) for key, value in keys.items() if key in REHEARSAL}
            return keys | short | ({"weights": "none"} if keys.get("weights") == "imagenet" else {})

        values["data"] = {**self.data, **{k: min(self.data.get(k) or v, v) for k, v in REHEARSAL_DATA.items()}}
        values["recipe"] = shorten({**REHEARSAL, **self.recipe})
        for triple in values["triples"]:
            triple |= {part: shorten(triple[part]) for part in ("teacher", "student")} | {"seeds": [], "budget": {}}
        values["variants"] = {name: shorten(change) for name, change in self.variants.items()}
        for control in values["controls"]:
            control |= {"change": shorten(control["change"]), "seeds": []}
        values |= {
            "study": f"{self.study}-rehearsal",
            "title": f"{self.title} (rehearsal)",
            "order": min(self.order + 100, 1000),
        }
        changes = [*self.variants.values(), *(control.change for control in self.controls)]
        values["seeds"] = self.seeds[: 2 if any(change.get("teaches") == "other" for change in changes) else 1]
        values |= {"images": f"{self.images}, rehearsal", "variant_seeds": {}}
        return check(Study, values, f"rehearsal of study '{self.study}'")

    def runs(self) -> dict[str, TrainParams]:
        """Every run by its name, each teacher and baseline once."""
        found: dict[str, TrainParams] = {}
        for seed in self.seeds:
            for triple in self.triples:
                if triple.seeds and seed not in triple.seeds:
                    continue
                for run in self._triple_runs(triple, seed):
                    if found.setdefault(run.run, run) != run:
                        raise UserError(
                            f"Study '{self.study}': two different runs would be called '{run.run}'; give the networks "
                            f"of triple '{triple.name}' the same keys in all triples, or use another study file."
                        )
        return found

    def _train(self, run: str, role: Role, variant: str, seed: int, where: str, *parts: dict[str, Any]) -> TrainParams:
        merged: dict[str, Any] = {**self.data, **self.recipe}
        for part in parts:
            merged.update(part)
        if merged.get("teaches") != "other":
            merged.pop("other_teacher_run", None)
        fixed = {"study": self.study, "run": run, "role": role, "variant": variant, "seed": seed}
        return check(TrainParams, {**merged, **fixed}, f"study '{self.study}', {where}")

    def _variants(self, triple: Triple) -> dict[str, dict[str, Any]]:
        """Students of a triple, the first of which its controls and budgets change."""
        elsewhere = {name for other in self.triples for name in other.variants}
        names = triple.variants or [name for name in self.variants if name not in elsewhere]
        return {name: self.variants[name] for name in names}

    @staticmethod
    def _teacher(triple: Triple, seed: int) -> str:
        return f"teacher-{triple.name if triple.variants else plain(triple.teacher['network'])}-s{seed}"

    def _other_teacher(self, triple: Triple, seed: int) -> str:
        """Of the next seed; empty where there is one alone."""
        seeds = triple.seeds or self.seeds
        other = seeds[(seeds.index(seed) + 1) % len(seeds)]
        return self._teacher(triple, other) if other != seed else ""

    def _triple_runs(self, triple: Triple, seed: int) -> list[TrainParams]:
        t, s = triple.teacher, triple.student
        alone = triple.name if triple.variants else plain(s["network"])
        names = {"teacher": self._teacher(triple, seed), "baseline": f"baseline-{alone}-s{seed}"}
        taught = {"distillation": self.distillation, "teacher_run": names["teacher"]}
        taught["other_teacher_run"] = self._other_teacher(triple, seed)
        where = f"triple '{triple.name}'"
        out = [
            self._train(names["teacher"], "teacher", "paper", seed, where, t),
            self._train(names["baseline"], "baseline", "paper", seed, where, s),
        ]
        for name, change in self._variants(triple).items():
            if seed not in self.variant_seeds.get(name, [seed]):
                continue
            run = f"student-{triple.name}-{name}-s{seed}"
            out.append(self._train(run, "student", name, seed, f"{where}, variant '{name}'", s, taught, change))
        variant, change = next(iter(self._variants(triple).items()))  # that controls and budgets are derived from
        for control in [] if triple.variants else self.controls:
            if control.seeds and seed not in control.seeds:
                continue
            parts = {"teacher": (t,), "baseline": (s,), "student": (s, taught, change)}[control.of]
            network = t["network"] if control.of == "teacher" else s["network"]
            middle = triple.name if control.of == "student" else plain(network)
            run = f"control-{control.name}-{middle}-s{seed}"
            there = f"{where}, control '{control.name}'"
            out.append(self._train(run, "control", control.name, seed, there, *parts, control.change))
        for passes in (passes for passes, seeds in triple.budget.items() if seed in seeds):
            longer = {"joint_epochs": passes}
            for role, extra in (("baseline", {}), ("student", taught | change)):
                middle = alone if role == "baseline" else f"{triple.name}-{variant}"
                run, name = f"budget-{role}-{middle}-{passes}-s{seed}", f"{role}-{passes}"
                out.append(self._train(run, "budget", name, seed, f"{where}, budget {passes}", s, extra, longer))
        for taught_run in out:
            for key in ("grid", "decision", "tree_depth", "prototypes_per_class", "prototype_depth", "prototype_layer"):
                mine, theirs = getattr(taught_run, key), getattr(out[0], key)
                if taught_run.teacher_run and mine != theirs:
                    raise UserError(
                        f"study '{self.study}', {where}: '{key}' is {theirs} for the teacher and {mine} for "
                        f"'{taught_run.run}'; distillation compares them cell by cell: make them equal."
                    )
        return out

    def data_params(self) -> ImagesParams:
        runs = self.runs().values()
        values = {
            **{k: v for k, v in self.data.items() if k not in ("networks", "grid")},
            "study": self.study,
            "networks": {run.network: run.weights for run in runs},
            "weights_missing": {run.network: run.weights_missing for run in runs if run.weights_missing},
            "grid": next(iter(runs)).grid,
        }
        return check(ImagesParams, values, f"study '{self.study}', data")

    def evaluations(self) -> dict[str, EvaluateParams]:
        """The evaluation of each triple and seed, by `<triple>-s<seed>`."""
        out = {}
        for triple in self.triples:
            seeds = triple.seeds or self.seeds
            for seed in seeds:
                runs = self._triple_runs(triple, seed)
                by = {
                    role: {r.variant: r.run for r in runs if r.role == role}
                    for role in ("teacher", "baseline", "student", "control", "budget")
                }
                values = {
                    **self.data,
                    "study": self.study,
                    "triple": triple.name,
                    "seed": seed,
                    "ajs_empty": self.ajs_empty,
                    "keep": not self.compares,
                    "teacher_run": by["teacher"]["paper"],
                    "baseline_run": by["baseline"]["paper"],
                    "student_runs": by["student"],
                    "control_runs": by["control"],
                    "budget_runs": by["budget"],
                    "second_teacher_run": self._other_teacher(triple, seed),
                }
                out[f"{triple.name}-s{seed}"] = check(EvaluateParams, values, f"study '{self.study}'")
        return out

    def page(self) -> PageParams:
        shown = next(iter(self.evaluations().values()))
        variant, student = next(iter(shown.student_runs.items()))
        networks = {"teacher": shown.teacher_run, "baseline": shown.baseline_run, "student": student}
        values = {key: getattr(self, key) for key in ("study", "title", "intro", "order", "images")}
        values |= {"triple": shown.triple, "seed": shown.seed, "variant": variant, "networks": networks}
        values |= {"evaluations": list(self.evaluations()), "train_runs": list(self.runs())}
        values["controls"] = {control.name: control.of for control in self.controls}
        if len(self.variants) > 1:
            taught = {"distillation": self.distillation}
            values |= {"variants": {name: taught | change for name, change in self.variants.items()}}
        values["compares"] = self.compares
        values |= {"explorer": self.explorer, "explorer_images": self.explorer_images}
        values["effects"] = self.effects
        return check(PageParams, values, f"study '{self.study}'")


def plain(network: str) -> str:
    """A network's name as a part of a run's, which is a folder: `timm/resnet50` is `timm-resnet50`."""
    return network.replace("/", "-")


def load_study(path: Path | str, use: str = "", rehearse: bool = False, only: str = "") -> Study:
    """Read and check a study file, all of its runs included.

    Args:
        path: A file of `params/`.
        use: An alternative set of triples, in place of the file's key `use`.
        rehearse: Shorten everything, see `Study.rehearsal`.
        only: One triple of the study, the others left out; empty for all.

    Raises:
        UserError: No such file, triple or alternative, no valid YAML, or a wrong key, in one sentence.
    """
    path = Path(path)
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise UserError(f"Study file {path} not found; studies here: {have}.")
    values = read_keys(path)
    try:
        refuse_misplaced(values, {"study": Study, "triple": Triple, "control": Control})
        study = check(Study, values | ({"use": use} if use else {}), "study file")
        if study.study != path.stem:
            raise UserError(f"key 'study' is '{study.study}'; expected '{path.stem}', the name of the file.")
        study = study.chosen()
        refuse_idle(study)
        study = study.restricted(only) if only else study
        study = study.rehearsal() if rehearse else study
        study.data_params(), study.runs(), study.evaluations(), share_params(study)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix('study file: ')}") from None
    return study
