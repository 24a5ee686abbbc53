"""What a study file says without effect: it looks like an experiment and would be none, so it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from p2p.errors import UserError
from p2p.study.params import DataParams, TrainParams, check
from p2p.study.switches import Switches, idle_switches

TAKEN = ("audit", "failed", "search", "speed")  # folders of results/ and runs/ that are no study's
ENDINGS = ("-rehearsal", "-search")
LEAN = ("warm_epochs", "joint_epochs", "joint_ramp", "rounds")  # of the lean schedule alone
CLASSED = ("prototypes_per_class", "lambda_cluster", "lambda_separation", "lambda_l1", "decision_iterations")
ANY = {"streaming", "warm_cache_gb"}  # change no number, and may stand anywhere


def refuse_idle(study: Any) -> None:
    """Stop at the first thing that the study says in vain, or twice.

    Args:
        study: A `p2p.study.study.Study` (whose module imports this one) as its file has it, with all of its triples and
            no rehearsal, which makes different things equal.

    Raises:
        UserError: What it is, and what to do.
    """
    if study.study in TAKEN or study.study.endswith(ENDINGS):
        raise UserError(f"key 'study' is '{study.study}', a name that this project uses itself; choose another.")
    if study.compares and len(study.variants) < 2:
        raise UserError(
            "'compares' is without effect: the study has no second variant to compare; add one or remove it."
        )
    if study.private and study.recipe.get("decision") == "tree":
        raise UserError(
            "the page of a private study shows the prototypes of each class, and those of the decision tree have no "
            "class: remove 'private' or 'decision'."
        )
    _refuse_idle_data(study.data)
    names = [triple.name for triple in study.triples]
    if len(set(names)) < len(names):
        raise UserError(f"'triples' have the names {', '.join(names)}; each needs its own.")
    sets = [study.triples, *study.alternatives.values()]  # the recipe serves all of them
    networks = [keys for triples in sets for triple in triples for keys in (triple.teacher, triple.student)]
    for key in study.recipe:
        if all(key in keys for keys in networks):
            raise UserError(f"'{key}' in the recipe is without effect: every network has its own; remove it there.")
    runs = study.runs()
    for place, keys, takers in _places(study, runs):
        for key in keys:
            if takers and all(key in idle_keys(run) - ANY for run in takers):
                raise UserError(f"'{key}' in {place} is without effect: {_why_idle(key)}; remove it there.")
    for run in runs.values():
        if not (run.lr_trunk or run.lr_addon or run.lr_prototypes):
            raise UserError(
                f"'lr_trunk', 'lr_addon' and 'lr_prototypes' of run '{run.run}' are all 0, so nothing would be learnt; "
                "raise one of them."
            )
        if run.weights_missing and run.weights in ("none", "imagenet"):
            raise UserError(
                f"'weights_missing' of run '{run.run}' is without effect: its weights are '{run.weights}' and no file; "
                "remove it."
            )
    for run in runs.values():
        taught = any(run.distillation.values()) or run.head != "own" or run.push == "shared"
        taught |= run.prototype_init == "teacher"
        if run.teacher_run and not taught:
            raise UserError(
                f"nothing of the teacher reaches run '{run.run}', which would be a baseline: expected a weight above 0 "
                "in 'distillation', a 'head' of the teacher, push 'shared', or prototype_init 'teacher'."
            )
    by_content: dict[str, str] = {}
    for triple in study.triples:
        first = by_content.setdefault(json.dumps((triple.teacher, triple.student)), triple.name)
        if first != triple.name:
            raise UserError(
                f"triples '{first}' and '{triple.name}' have the same teacher and student, and would be trained twice; "
                "change one of them, or remove it."
            )
    for control in study.controls:
        if not any(run.role == "control" and run.variant == control.name for run in runs.values()):
            raise UserError(
                f"control '{control.name}' has the seeds {control.seeds}, of which no triple has any; expected seeds "
                f"of the study, {study.seeds}."
            )
        if wrong := set(control.seeds) - set(study.seeds):
            raise UserError(
                f"control '{control.name}' names the seed {min(wrong)}; expected seeds of the study, {study.seeds}."
            )
    if any(runs[evaluation.teacher_run].model == "linear" for evaluation in study.evaluations().values()):
        raise UserError("a teacher of model 'linear' has no prototypes to teach; make it a control of the teacher.")
    for mine, other in _pairs(study, runs):
        if _work(mine) == _work(other):
            raise UserError(
                f"runs '{mine.run}' and '{other.run}' would be the same network, trained twice; change one of them, or "
                "remove it."
            )


def _refuse_idle_data(data: dict[str, Any]) -> None:
    params = check(DataParams, data, "data")
    birds = params.reader == "birds"
    for key in data:
        if birds and (key == "root" or (key == "class_step" and params.class_step > 1) or key == "class_first"):
            raise UserError(
                f"'{key}' is without effect on reader 'birds', which draws its images; remove it from 'data'."
            )
        if birds and key == "allow_duplicates":
            raise UserError(f"'{key}' is for images of your own, and 'reader' is birds; remove it from 'data'.")
        if key == "skip_bad" and params.reader != "folder":
            raise UserError(
                f"'{key}' is for reader 'folder' alone, and 'reader' is '{params.reader}', whose files belong "
                "together; remove it from 'data'."
            )
        if key.startswith("bird_") and not birds:
            raise UserError(f"'{key}' is for reader 'birds' alone, and 'reader' is '{params.reader}'; correct one.")


def _places(study: Any, runs: dict[str, TrainParams]) -> Iterator[tuple[str, dict[str, Any], list[TrainParams]]]:
    """Each place of the study file that holds keys of runs, and the runs of all seeds that take them from there."""
    found: dict[str, tuple[dict[str, Any], list[TrainParams]]] = {"the recipe": (study.recipe, list(runs.values()))}

    def take(place: str, keys: dict[str, Any], *names: str) -> None:
        found.setdefault(place, (keys, []))[1].extend(runs[name] for name in names)

    first = next(iter(study.variants))  # controls of the student have its changes, too
    for evaluation in study.evaluations().values():
        triple = next(one for one in study.triples if one.name == evaluation.triple)
        controls = {role: list[str]() for role in ("teacher", "baseline", "student")}
        for control in study.controls:
            if run := evaluation.control_runs.get(control.name):
                take(f"control '{control.name}'", control.change, run)
                controls[control.of].append(run)
        take(f"the teacher of triple '{triple.name}'", triple.teacher, evaluation.teacher_run, *controls["teacher"])
        students = [evaluation.baseline_run, *controls["baseline"], *controls["student"]]
        students += evaluation.student_runs.values()
        take(f"the student of triple '{triple.name}'", triple.student, *students)
        for name, change in study.variants.items():
            also = controls["student"] if name == first else []
            own = [evaluation.student_runs[name]] if name in evaluation.student_runs else []
            take(f"variant '{name}'", change, *own, *also)
    yield from ((place, keys, takers) for place, (keys, takers) in found.items())


def _why_idle(key: str) -> str:
    """In what runs the key would count."""
    if key in LEAN:
        return "no network there has the schedule lean"
    if key.startswith("official_"):
        return "no network there has the schedule official"
    if key in ("tree_depth", "prune_leaves"):
        return "no network there has the decision tree"
    if key in CLASSED:
        return "no network there has prototypes that belong to classes"
    if key in ("warm_copies", "warm_losses"):
        return "no network there has warm passes that use it"
    if key in Switches.model_fields:
        return "no network there has the losses, phases or teacher that it is about"
    if key in ("global_norm", "ppc_norm", "mask_source", "tau_train", "temperature"):
        return "no network there has the loss, or the mask, that it is about"
    return "an ordinary classifier has no prototypes"


def _pairs(study: Any, runs: dict[str, TrainParams]) -> Iterator[tuple[TrainParams, TrainParams]]:
    """Runs of one triple that are meant to differ: variants, controls and their origin, other budgets and the own."""
    for evaluation in study.evaluations().values():
        students = [runs[name] for name in evaluation.student_runs.values()]
        origins = [runs[evaluation.teacher_run], runs[evaluation.baseline_run], students[0]]
        changed = [runs[name] for name in evaluation.control_runs.values()]
        budget = [runs[name] for name in evaluation.budget_runs.values()]
        yield from ((a, b) for i, a in enumerate(students) for b in students[:i])
        yield from ((a, b) for i, a in enumerate(changed) for b in [*changed[:i], *students])
        roles = dict(zip(("teacher", "baseline", "student"), origins, strict=True))
        for run in changed:
            yield run, roles[next(control.of for control in study.controls if control.name == run.variant)]
        yield from ((a, b) for i, a in enumerate(budget) for b in [*budget[:i], *origins[1:]])


def _work(run: TrainParams) -> dict[str, Any]:
    """What a run does, whatever it is called."""
    return run.model_dump(exclude={"run", "role", "variant"} | idle_keys(run))


def idle_keys(run: TrainParams) -> set[str]:
    """Keys that change nothing in this run, whatever their value."""
    lean = run.schedule == "lean"
    idle = {"streaming", "warm_cache_gb"} | ({"official_epochs", "official_copies"} if lean else set(LEAN))
    if lean and not run.warm_epochs:
        idle |= {"warm_copies", "warm_losses"}
    if not run.teacher_run:
        idle |= {"warm_losses"}
    if not run.distillation.get("global"):
        idle |= {"global_norm"}
    if not run.distillation.get("ppc"):
        idle |= {"ppc_norm", "mask_source", "tau_train"}
    if not run.distillation.get("logits"):
        idle |= {"temperature"}
    if run.mask_source == "all":
        idle |= {"tau_train"}
    if run.tuning != "solver":
        idle |= {"decision_iterations"}
    idle |= idle_switches(run)
    tree = run.decision == "tree"
    idle |= set(CLASSED) if tree else {"tree_depth", "prune_leaves"}
    if run.model == "linear":
        idle |= {
            "prototypes_per_class",
            "prototype_layer",
            "prototype_init",
            "push",
            "lambda_cluster",
            "lambda_separation",
        }
    return idle
