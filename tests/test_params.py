"""Parameters and studies: what is refused, in one sentence, and how a study unfolds into runs."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import save_file

from p2p.errors import UserError
from p2p.study.params import DataParams, EvaluateParams, TrainParams, check, from_namespace, near_names, parameter_hash
from p2p.study.reading import read_keys
from p2p.study.schema import schema
from p2p.study.study import Study, load_study
from p2p.training.phases import timeline
from p2p.trunks import TRUNKS

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "params").glob("*.yaml"))

EXAMPLE = """
study: example
title: Two students of one teacher
images: synthetic birds
seeds: [0, 1]
data: {reader: birds, size: 64, class_count: 4}
recipe: {grid: 8, prototypes_per_class: 3, prototype_depth: 32, warm_epochs: 2, joint_epochs: 4}
distillation: {global: 10, ppc: 10.0}
triples:
  - {name: big-half, teacher: {network: small}, student: {network: small_half, batch_size: 16}}
  - {name: big-vgg, teacher: {network: small}, student: {network: vgg11}}
variants:
  paper: {head: teacher_joint}
  student_mask: {mask_source: student}
controls:
  - {name: linear, of: teacher, change: {model: linear}}
  - {name: uniform, of: baseline, change: {prototype_init: uniform}}
  - {name: no_ppc, of: student, change: {head: teacher_joint, distillation: {global: 10.0}}}
"""


@pytest.fixture
def values(tmp_path) -> dict:
    path = tmp_path / "values.yaml"
    path.write_text(EXAMPLE)
    return read_keys(path)


@pytest.fixture
def write(tmp_path):
    """Write keys (or text) as a study file and return its path."""

    def make(content: dict | str, name: str = "example.yaml") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))  # JSON is YAML, too
        return path

    return make


# ---------------------------------------------------------------------------------------------- a set of keys


def test_unknown_key(refuses):
    with refuses("here.yaml", "unknown key 'lambda_clustr'", "lambda_cluster"):
        check(TrainParams, {"lambda_clustr": 1.0}, "here.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "64"),
        ("size", 64.5),
        ("seed", True),
        ("augment", 1),
        ("lr_trunk", "fast"),
        ("lr_trunk", -1.0),
        ("tau_train", 0),
        ("tau_train", float("nan")),
        ("validation_fraction", 1.0),
        ("mask_source", "both"),
        ("run", "../elsewhere"),
        ("study", "Has Spaces"),
        ("device", "gpu"),
        ("batch_size", 1),
        ("rounds", 0),
        ("network", None),
    ],
)
def test_wrong_type_or_value(key, value, refuses):
    with refuses("here.yaml", f"'{key}'", repr(value)):
        check(TrainParams, {key: value}, "here.yaml")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"role": "student"}, "teacher_run"),
        ({"distillation": {"global": 10.0}}, "distillation"),
        ({"teacher_run": "t", "distillation": {"global": 10.0, "ppc": -1.0}}, "ppc"),
        ({"head": "teacher"}, "head"),
        ({"model": "linear", "teacher_run": "t"}, "linear"),
        ({"warm_epochs": 0, "joint_epochs": 0}, "joint_epochs"),
    ],
)
def test_impossible_combination(change, word, refuses):
    with refuses("here.yaml", word):
        check(TrainParams, change, "here.yaml")


def test_parameters_are_frozen_and_whole_numbers_may_stand_for_floats():
    params = check(TrainParams, {"lr_trunk": 1}, "here.yaml")
    assert params.lr_trunk == 1.0 and isinstance(params.lr_trunk, float)
    with pytest.raises(ValueError, match="frozen"):
        params.seed = 3


def test_from_namespace_takes_the_known_names_only(refuses):
    params = from_namespace(TrainParams, {"seed": 4, "Path": Path, "run": "x", "_": None})
    assert (params.seed, params.run) == (4, "x")
    with refuses("parameters cell", "'seed'"):
        from_namespace(TrainParams, {"seed": "4"})


def test_from_namespace_takes_plain_values_only(refuses):
    """An imported function or module, or a value that a later cell has made, is no parameter; a tuple is refused."""
    given = {"augment": copy.deepcopy, "seed": json, "run": Path("x"), "size": TrainParams, "device": "cpu"}
    assert from_namespace(TrainParams, given) == TrainParams(device="cpu")
    assert from_namespace(TrainParams, {"class_count": None, "augment": False}) == TrainParams(augment=False)
    with refuses("parameters cell", "'student_runs'"):
        from_namespace(EvaluateParams, {"student_runs": ("paper", "x")})


def test_near_names_of_a_mistyped_key():
    assert near_names("batchsize", TrainParams.model_fields) == ["batch_size"]
    assert near_names("sedes", ["seeds", "data"]) == ["seeds"]
    assert "prototypes_per_class" in near_names("proto", TrainParams.model_fields)
    assert near_names("zzz", ["b", "a"]) == ["a", "b"]


def test_hash_changes_with_every_parameter():
    """Each field, one after the other, gets another value of its kind."""
    other = {
        "reader": "folder",
        "model": "linear",
        "prototype_init": "uniform",
        "schedule": "official",
        "optimizer": "adamw",
        "role": "control",
        "mask_source": "student",
        "global_norm": "mean_abs",
        "ppc_norm": "batch",
        "head": "teacher",
        "warm_losses": "distillation",
        "device": "cpu",
        "distillation": {"global": 1.0},
        "class_count": 3,
        "images_per_class": 7,
        "validation_fraction": 0.3,
        "weights_missing": ["layer4"],
    }
    base = TrainParams(teacher_run="t").model_dump()
    hashes = {parameter_hash(TrainParams.model_construct(**base))}
    for name, value in base.items():
        new = other.get(name)
        if new is None:
            new = not value if isinstance(value, bool) else value + ("x" if isinstance(value, str) else 1)
        assert new != value
        hashes.add(parameter_hash(TrainParams.model_construct(**{**base, name: new})))
    assert len(hashes) == len(base) + 1
    assert parameter_hash(TrainParams(seed=1)) == parameter_hash(TrainParams(seed=1))
    assert len(parameter_hash(TrainParams())) == 12


def test_every_trunk_may_be_named():
    for name in TRUNKS:
        assert TrainParams(network=name).network == name


# ---------------------------------------------------------------------------------------------------- a study


def test_runs_of_a_study(values):
    runs = check(Study, values, "example").runs()
    expected = []
    for seed in (0, 1):
        expected += [f"teacher-small-s{seed}", f"baseline-small_half-s{seed}", f"baseline-vgg11-s{seed}"]
        for triple in ("big-half", "big-vgg"):
            expected += [f"student-{triple}-{variant}-s{seed}" for variant in ("paper", "student_mask")]
            expected.append(f"control-no_ppc-{triple}-s{seed}")
        expected.append(f"control-linear-small-s{seed}")
        expected += [f"control-uniform-{network}-s{seed}" for network in ("small_half", "vgg11")]
    assert sorted(runs) == sorted(expected)  # the teacher once, though two triples have it
    for name, run in runs.items():
        assert run.run == name and run.study == "example" and run.grid == 8 and run.class_count == 4
        assert name.endswith(f"-s{run.seed}")


def test_what_a_run_inherits(values):
    runs = check(Study, values, "example").runs()
    teacher, baseline = runs["teacher-small-s1"], runs["baseline-small_half-s1"]
    assert (teacher.role, teacher.network, teacher.teacher_run, teacher.distillation) == (
        "teacher",
        "small",
        "",
        {},
    )
    assert (baseline.role, baseline.network, baseline.batch_size, baseline.head) == (
        "baseline",
        "small_half",
        16,
        "own",
    )
    student = runs["student-big-half-paper-s1"]
    assert (student.role, student.variant, student.teacher_run) == ("student", "paper", teacher.run)
    assert (student.distillation, student.head) == ({"global": 10.0, "ppc": 10.0}, "teacher_joint")
    assert (student.network, student.batch_size, student.mask_source) == ("small_half", 16, "teacher")
    assert runs["student-big-half-student_mask-s1"].mask_source == "student"
    control = runs["control-no_ppc-big-half-s1"]
    assert (control.role, control.variant, control.distillation) == ("control", "no_ppc", {"global": 10.0})
    assert control.teacher_run == teacher.run
    assert runs["control-linear-small-s0"].model == "linear"
    assert runs["control-uniform-vgg11-s0"].network == "vgg11"
    assert runs["control-uniform-vgg11-s0"].prototype_init == "uniform"


def test_evaluations_of_a_study(values):
    study = check(Study, values, "example")
    runs, evaluations = study.runs(), study.evaluations()
    assert list(evaluations) == ["big-half-s0", "big-half-s1", "big-vgg-s0", "big-vgg-s1"]
    for name, e in evaluations.items():
        assert isinstance(e, EvaluateParams) and name == f"{e.triple}-s{e.seed}"
        assert e.teacher_run == f"teacher-small-s{e.seed}"
        assert e.second_teacher_run == f"teacher-small-s{1 - e.seed}"  # the teacher of another seed
        assert set(e.student_runs) == {"paper", "student_mask"}
        assert set(e.control_runs) == {"linear", "uniform", "no_ppc"}
        named = [e.teacher_run, e.baseline_run, e.second_teacher_run, *e.student_runs.values()]
        assert {*named, *e.control_runs.values()} <= runs.keys()
    alone = check(Study, {**values, "seeds": [5]}, "example")
    assert all(e.second_teacher_run == "" for e in alone.evaluations().values())


def test_controls_and_budgets_are_those_of_the_first_student(values):
    change = {"variants": {"paper": {"lr_trunk": 0.25}, "other": {}}}
    values["triples"][0]["budget"] = {3: [0]}
    runs = check(Study, {**values, **change}, "example").runs()
    assert runs["control-no_ppc-big-half-s0"].lr_trunk == runs["budget-student-big-half-paper-3-s0"].lr_trunk == 0.25
    assert runs["control-linear-small-s0"].lr_trunk != 0.25 != runs["student-big-half-other-s0"].lr_trunk


def test_a_triple_has_its_own_seeds_and_other_budgets(values, refuses):
    first, second = values["triples"]
    first |= {"budget": {3: [0], 80: [0, 1]}}
    second |= {"seeds": [1]}
    study = check(Study, values, "example")
    runs, evaluations = study.runs(), study.evaluations()
    assert list(evaluations) == ["big-half-s0", "big-half-s1", "big-vgg-s1"]
    assert evaluations["big-vgg-s1"].second_teacher_run == ""
    assert evaluations["big-half-s1"].budget_runs.keys() == {"baseline-80", "student-80"}
    own, longer = (runs[evaluations["big-half-s0"].budget_runs[f"student-{passes}"]] for passes in (3, 80))
    student = runs[evaluations["big-half-s0"].student_runs["paper"]]
    assert (own.joint_epochs, longer.joint_epochs) == (3, 80)
    same = {"run": "", "role": "student", "variant": "", "joint_epochs": 1}
    assert own.model_copy(update=same) == longer.model_copy(update=same) == student.model_copy(update=same)
    for wrong in ({"seeds": [7]}, {"budget": {80: [7]}}, {"seeds": [1], "budget": {80: [0]}}):
        with refuses("triple 'big-half'", "the seed " + ("0" if "seeds" in wrong and "budget" in wrong else "7")):
            check(Study, {**values, "triples": [{**first, "budget": {}} | wrong, second]}, "example")
    with refuses("'budget'", "0 joint passes"):
        check(Study, {**values, "triples": [{**first, "budget": {0: [1]}}, second]}, "example")


@pytest.mark.parametrize("key", ["grid", "prototypes_per_class", "prototype_depth"])
def test_teacher_and_student_must_match(key, values, write, refuses):
    values["triples"][1]["student"][key] = 4
    with refuses("example.yaml", "'big-vgg'", f"'{key}'", "4"):
        load_study(write(values))


def test_two_runs_of_one_name(values, write, refuses):
    values["triples"][1]["teacher"]["lr_trunk"] = 0.5
    with refuses("example.yaml", "teacher-small-s0", "big-vgg"):
        load_study(write(values))


def test_load_study(write):
    study = load_study(write(EXAMPLE))
    assert study.study == "example" and study.page().variant == "paper"
    assert isinstance(study.data_params(), DataParams) and study.data_params().class_count == 4


def test_missing_study_lists_the_others(write, tmp_path, refuses):
    write(EXAMPLE, "one.yaml"), write(EXAMPLE, "two.yaml")
    with refuses(str(tmp_path / "three.yaml"), "one, two"):
        load_study(tmp_path / "three.yaml")
    with refuses("none"):
        load_study(tmp_path / "empty" / "three.yaml")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("sedes",), [1], ["'sedes'", "seeds"]),
        (("seeds",), [], ["'seeds'"]),
        (("seeds",), ["0"], ["'seeds.0'", "'0'"]),
        (("title",), 3, ["'title'", "3"]),
        (("recipe", "lr_trnk"), 0.1, ["'lr_trnk'", "lr_trunk"]),
        (("recipe", "lr_trunk"), "quick", ["'lr_trunk'", "'quick'"]),
        (("data", "size"), 8, ["'size'", "8"]),
        (("distillation", "ppc"), "much", ["'distillation.ppc'", "'much'"]),
        (
            ("variants", "student_mask"),
            {"mask_sauce": "x"},
            ["'student_mask'", "'mask_sauce'", "mask_source"],
        ),
        (("controls", 0, "of"), "pupil", ["'controls.0.of'", "'pupil'"]),
        (("controls", 0, "change"), {"model": "tree"}, ["'linear'", "'model'", "'tree'"]),
        (("triples", 0, "name"), "a b", ["'triples.0.name'", "'a b'"]),
        (("triples", 0, "student", "epochs"), 3, ["'big-half'", "'epochs'"]),
    ],
)
def test_mistakes_in_a_study_file(path, value, words, values, write, refuses):
    place = values
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with refuses("example.yaml", *words):
        load_study(write(values))


def test_missing_key_and_no_yaml(values, write, refuses):
    del values["images"]
    with refuses("example.yaml", "'images'", "required"):
        load_study(write(values))
    with refuses("example.yaml", "not valid YAML"):
        load_study(write("study: [one\ntitle: two"))
    with refuses("example.yaml", "no keys"):
        load_study(write("just a sentence"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_of_this_project_are_valid(path):
    study = load_study(path)
    assert study.study == path.stem
    jsonschema.validate(read_keys(path), schema())


# ----------------------------------------------------------------------------------------------------- schema


def test_networks_of_timm_make_runs_that_are_plain_folders(values, write):
    values["triples"][0] |= {
        "teacher": {"network": "timm/resnet50.a1_in1k"},
        "student": {"network": "timm/test_resnet"},
    }
    study = load_study(write(values))
    names = {run.network: run.run for run in study.runs().values() if run.role == "teacher" and run.seed == 0}
    assert names == {"timm/resnet50.a1_in1k": "teacher-timm-resnet50.a1_in1k-s0", "small": "teacher-small-s0"}
    assert {"baseline-timm-test_resnet-s1", "control-uniform-timm-test_resnet-s0"} <= set(study.runs())
    shown = study.evaluations()["big-half-s0"]
    assert shown.teacher_run in study.runs() and shown.second_teacher_run == "teacher-timm-resnet50.a1_in1k-s1"
    assert all("/" not in name for name in study.runs())


def test_what_a_weights_file_may_lack_reaches_runs_and_data_page(values, write, refuses):
    values["triples"][1]["student"] |= {"weights": "some.safetensors", "weights_missing": ["features.18"]}
    study = load_study(write(values))
    assert {run.network for run in study.runs().values() if run.weights_missing == ["features.18"]} == {"vgg11"}
    assert study.data_params().weights_missing == {"vgg11": ["features.18"]}
    values["triples"][1]["student"]["weights_missing"] = "features.18"
    with refuses("weights_missing", "list"):
        load_study(write(values))


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"network": "timm/test_efficientnet"}, None),
        ({"network": "timm/test_eficientnet"}, ["timm/test_eficientnet", "timm/test_efficientnet"]),
        ({"network": "timm/test_efficientnet", "weights": "not_there.safetensors"}, ["not_there.safetensors"]),
        ({"network": "timm/test_efficientnet", "weights": "vgg11.safetensors"}, ["vgg11.safetensors", "not those of"]),
    ],
)
def test_a_study_with_timm_is_checked_before_it_runs(student, words, values, write, tmp_path):
    if student.get("weights", "").startswith("vgg11"):
        save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "vgg11.safetensors")
    values["triples"] = [{"name": "t", "teacher": {"network": "timm/test_resnet"}, "student": student}]
    values["recipe"]["grid"] = 4
    command = [sys.executable, str(ROOT / "notebooks" / "execute.py"), "--check", str(write(values))]
    environment = {**os.environ, "P2P_WEIGHTS": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == bool(words) and "Traceback" not in done.stderr, done.stderr
    for word in words or []:
        assert word in done.stderr.splitlines()[-1]


def test_one_triple_of_a_study(values, write, refuses):
    first = values["triples"][0]
    second = {**first, "name": "second", "student": {**first["student"], "network": "small"}}
    path = write({**values, "triples": [first, second]})
    whole, part = load_study(path), load_study(path, only="second")
    assert part.study == whole.study and [triple.name for triple in part.triples] == ["second"]
    assert part.runs().items() <= whole.runs().items() and part.evaluations().items() <= whole.evaluations().items()
    assert f"`{first['name']}`" in part.intro and first["name"] not in whole.intro
    alone = write({**values, "triples": [first]})
    assert load_study(alone, only=first["name"]) == load_study(alone)
    with refuses("no triple 'third'", first["name"]):
        load_study(alone, only="third")


def test_alternatives_are_studies_of_their_own(values, write, refuses):
    other = [{"name": "other", "teacher": {"network": "vgg19"}, "student": {"network": "vgg16", "weights": "imagenet"}}]
    path = write({**values, "alternatives": {"large": other}})
    assert load_study(path).study == "example"
    large = load_study(path, use="large")
    assert large.study == "example-large" and {run.study for run in large.runs().values()} == {"example-large"}
    assert {run.network for run in large.runs().values()} == {"vgg19", "vgg16"}
    by_key = write({**values, "alternatives": {"large": other}, "use": "large"})
    assert load_study(by_key) == large
    with refuses("'use' is 'small'", "large"):
        load_study(path, use="small")
    with refuses("other", "'seed'"):
        broken = [{**other[0], "student": {"network": "vgg16", "seed": 3}}]
        load_study(write({**values, "alternatives": {"large": broken}}))


def test_rehearsal_shortens_everything_and_keeps_every_step(values, write):
    change = {"schedule": "official", "official_copies": 40}
    values["controls"].append({"name": "official", "of": "teacher", "change": change})
    values["triples"][0]["student"] |= {"weights": "imagenet", "joint_epochs": 30}
    whole, short = load_study(write(values)), load_study(write(values), rehearse=True)
    assert short.study == "example-rehearsal"
    first = {name for name in whole.runs() if name.endswith(f"s{whole.seeds[0]}")}
    assert set(short.runs()) == first and len(short.seeds) == 1
    for run in short.runs().values():
        same = whole.runs()[run.run]
        assert (run.network, run.grid, run.size, run.schedule) == (same.network, same.grid, same.size, same.schedule)
        assert run.weights in ("none", same.weights) and run.weights != "imagenet"
        passes = sum(len(phase.rates) for phase in timeline(run))
        assert passes <= 12 and run.class_count <= 3 and run.images_per_class <= 8 and run.batch_size <= 8
        assert run.joint_epochs <= same.joint_epochs and run.warm_epochs <= max(same.warm_epochs, 2)


def test_a_rehearsal_is_never_longer_than_its_study(values, write):
    values["data"] |= {"class_count": 2, "images_per_class": 4}
    values["recipe"] |= {"joint_epochs": 0, "warm_epochs": 1, "decision_iterations": 5}
    for run in load_study(write(values), rehearse=True).runs().values():
        assert (run.class_count, run.images_per_class, run.warm_epochs, run.decision_iterations) == (2, 4, 1, 5)


def test_schema_accepts_the_example_and_refuses_unknown_keys(values):
    definition = json.loads(json.dumps(schema()))
    validator = jsonschema.validators.validator_for(definition)
    validator.check_schema(definition)
    check_one = validator(definition)
    check_one.validate(values)
    for path in (
        (),
        ("data",),
        ("recipe",),
        ("distillation",),
        ("variants", "paper"),
        ("triples", 0),
        ("triples", 0, "teacher"),
        ("controls", 0),
        ("controls", 0, "change"),
    ):
        wrong = copy.deepcopy(values)
        place = wrong
        for step in path:
            place = place[step]
        place["no_such_key"] = 1
        assert not check_one.is_valid(wrong), path
    wrong = copy.deepcopy(values)
    wrong["recipe"]["batch_size"] = "many"
    assert not check_one.is_valid(wrong)


def test_schema_file_is_up_to_date():
    path = Path(__file__).parents[1] / "params" / "study.schema.json"
    if not path.is_file():
        pytest.skip("params/study.schema.json has not been written yet: make schema")
    assert json.loads(path.read_text()) == json.loads(json.dumps(schema())), "run make schema"


def test_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": {"class_count": 4}}, ("class_count", "recipe", "data")),
        ({"variants": {"paper": {}, "off": {"seed": 9}}}, ("seed", "off")),
        ({"controls": [{"name": "x", "of": "teacher", "change": {"data_seed": 5}}]}, ("data_seed", "control 'x'")),
        ({"recipe": {"runs": "elsewhere"}}, ("runs", "recipe")),
        ({"seeds": [0, 0]}, ("seeds", "twice")),
        ({"controls": [{"name": "random", "of": "teacher", "change": {}}]}, ("controls", "floor")),
    ],
)
def test_what_would_be_ignored_or_overridden_is_refused(values, write, refuses, change, words):
    with refuses("example.yaml", *words):
        load_study(write({**values, **change}))


def test_a_copied_study_file_has_to_be_renamed_inside_too(tmp_path, refuses):
    file = tmp_path / "mine.yaml"
    file.write_text(EXAMPLE)
    with refuses("mine.yaml", "'example'", "'mine'"):
        load_study(file)
