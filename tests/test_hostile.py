"""Study files as somebody writes them who has read neither code nor tests: a right result, or one sentence at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from p2p.device import choose_device, has_bfloat16
from p2p.study.reading import read_keys
from p2p.study.study import Study, load_study
from p2p.training import preflight as checks
from p2p.training.memory import size_text
from p2p.training.preflight import preflight

STUDY = """study: mine
title: My birds
images: synthetic birds
seeds: [0, 1]
data: {reader: birds, size: 32, class_count: 4, bird_train_per_class: 6, bird_test_per_class: 3}
recipe: {grid: 4, prototypes_per_class: 2, prototype_depth: 8, joint_epochs: 2}
triples:
  - {name: a-b, teacher: {network: small}, student: {network: small_sixth}}
"""
STUDENT = "student: {network: small_sixth"


def changed(old: str, new: str) -> str:
    """The study with one text in the place of another; a line of its own where the old one is empty."""
    assert old in STUDY
    return STUDY.replace(old, new) if old else f"{STUDY}{new}\n"


@pytest.fixture
def checked(tmp_path: Path):
    """Write a study file, check it as `make study` does, and give it back."""

    def check(text: str | bytes, name: str = "mine.yaml") -> Study:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        study = load_study(path)
        preflight(study)
        return study

    return check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four class folders of five images."""
    for k in range(4):
        place = tmp_path / "images" / f"class {k}"
        place.mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (9, 9), (50 * k, 20 * i, 0)).save(place / f"{i}.png")
    return tmp_path / "images"


def of_folder(place: Path, more: str = "") -> str:
    return re.sub("data: .*", f"data: {{reader: folder, root: {place}, size: 32{more}}}", STUDY)


def test_weights_of_another_network_are_told_before_images_are_read(folder, checked, refuses, monkeypatch) -> None:
    """Decoding a large folder takes minutes."""
    save_file({"x": torch.zeros(1)}, folder.parent / "other.safetensors")
    other = f"network: resnet18, weights: {folder.parent}/other.safetensors}}"
    text = of_folder(folder).replace("network: small}", other, 1)
    monkeypatch.setattr(checks, "load_images", lambda params: 1 / 0)
    with refuses("not those of resnet18"):
        checked(text)


# ------------------------------------------------------------------------------------------------ values and places

REFUSED = {
    # what is beyond any machine, or was cut off in silence
    "seed beyond 32 bits": ("[0, 1]", "[0, 4294967296]", "'seeds.1' is 4294967296"),
    "seed beyond 40 bits": ("[0, 1]", "[1099511627776]", "'seeds.0'"),
    "seed of 22 digits": ("[0, 1]", "[1180591620717411303424]", "'seeds.0'", "18 digits"),
    "data_seed": ("{reader", "{data_seed: 4294967296, reader", "'data_seed'"),
    "prototypes": ("class: 2, prototype_d", "class: 100000000, prototype_d", "at least", "TB", "free", "lower"),
    "depth": ("depth: 8", "depth: 1000000", "16.00 TB", "free", "'prototype_depth' (now 1000000)"),
    "test birds": ("test_per_class: 3", "test_per_class: 100000000", "TB", "free", "'bird_test_per_class'"),
    "birds of the test": ("train_per_class: 6", "train_per_class: 2500001", "'bird_train_per_class'", "10,000,000"),
    "species": ("class_count: 4", "class_count: 5000", "5000 classes", "2048"),
    "weight of a loss": ("{grid", "{lambda_cluster: 1e39, grid", "'lambda_cluster'", "1000000"),
    "weight decay": ("{grid", "{weight_decay: 1e300, grid", "'weight_decay'", "1000000"),
    "weight of distillation": ("", "distillation: {global: 1e308, ppc: 10}", "'global'", "above 1e+06"),
    "threshold of nothing": ("", "variants: {paper: {}, x: {tau_train: 1e-30}}", "'tau_train'"),
    "share of nothing": ("", "variants: {paper: {}, x: {tau_share: 1e-300}}", "'tau_share'"),
    "temperature": ("", "distillation: {logits: 1}\nvariants: {paper: {temperature: 1e-300}}", "'temperature'"),
    "all for validation": ("{reader", "{validation_fraction: 0.9999, reader", "'validation_fraction'", "0.95"),
    "no rates": ("{grid", "{lr_trunk: 0, lr_addon: 0, lr_prototypes: 0, grid", "all 0", "nothing would be learnt"),
    "passes": ("joint_epochs: 2", "joint_epochs: 1e12", "'joint_epochs'", "50000"),
    "rounds": ("{grid", "{rounds: 1000000, grid", "'rounds'", "300"),
    "batch of 31 digits": ("{grid", "{batch_size: 1000000000000000000000000000000, grid", "'recipe.batch_size'"),
    "device": ("{reader", "{device: 'cuda:300', reader", "'device'"),
    "GPUs": ("", "gpus: 99", "'gpus' is 99", "lower it"),
    "order": ("", "order: 99999999999", "'order'"),
    # what has no effect
    "no variants": ("", "variants: {}", "'variants'", "at least 1"),
    "equal variants": ("", "variants: {paper: {}, other: {mask_source: teacher}}", "same network", "other-s0"),
    "control of nothing": ("", "controls: [{name: x, of: student, change: {}}]", "same network", "control-x-a-b-s0"),
    "budget of the study": (f"{STUDENT}}}", f"{STUDENT}}}, budget: {{2: [0]}}", "same network", "budget-baseline"),
    "control's seed": ("", "controls: [{name: x, of: student, change: {push: distinct}, seeds: [7]}]", "'x'", "[7]"),
    "one of its seeds": ("", "controls: [{name: x, of: student, change: {push: distinct}, seeds: [0, 7]}]", "seed 7"),
    "seed twice": ("{name: a-b", "{name: a-b, seeds: [0, 0]", "twice"),
    "images of birds": ("{reader", "{images_per_class: 1000, reader", "'images_per_class' is 1000", "more than 6"),
    "class_first of birds": ("class_count: 4", "class_first: 2", "'class_first'", "without effect"),
    "class_step of birds": ("class_count: 4", "class_step: 2", "'class_step'", "without effect"),
    "root of birds": ("{reader", "{root: /tmp, reader", "'root'", "without effect"),
    "birds of a folder": ("reader: birds", "reader: folder", "'bird_train_per_class'", "'folder'"),
    "weights_missing": (STUDENT, f"{STUDENT}, weights_missing: [layer4]", "'weights_missing'", "without effect"),
    "lean keys": ("{grid", "{schedule: official, grid", "'joint_epochs'", "without effect"),
    "official keys": ("{grid", "{official_copies: 3, grid", "'official_copies'", "without effect"),
    "network in recipe": ("{grid", "{network: vgg16, grid", "'network' in the recipe", "without effect"),
    "triple twice": ("triples:\n", f"triples:\n  - {{name: a-b, teacher: {{network: small}}, {STUDENT}}}}}\n", "a-b, "),
    # what belongs elsewhere
    "study in data": ("{reader", "{study: other, reader", "'study' in the data", "set by the study"),
    "grid in data": ("{reader", "{grid: 4, reader", "'grid' in the data belongs under 'recipe'"),
    "passes in data": ("{reader", "{joint_epochs: 4, reader", "'joint_epochs' in the data belongs under 'recipe'"),
    "size at the top": ("", "size: 64", "'size' in the file belongs under 'data'"),
    "rate at the top": ("", "lr_trunk: 1e-3", "'lr_trunk' in the file belongs under 'recipe'"),
    "seeds in teacher": ("{network: small}", "{network: small, seeds: [0]}", "'seeds' in the teacher", "in a triple"),
    "budget in student": (STUDENT, f"{STUDENT}, budget: {{9: [0]}}", "'budget' in the student", "in a triple"),
    "seeds in recipe": ("{grid", "{seeds: [1], grid", "'seeds' in the recipe belongs at the top"),
    "losses in recipe": ("{grid", "{distillation: {global: 1}, grid", "'distillation'", "'variants', or at the top"),
    "head in student": (STUDENT, f"{STUDENT}, head: teacher_joint", "'head' in the student of triple 'a-b'"),
    "mistyped in triple": ("{name: a-b", "{nmae: a-b", "'nmae' in the triple", "expected one of name"),
    "mistyped in control": ("", "controls: [{name: x, off: student, change: {}}]", "'off' in the control 'x'", "of"),
    # names, texts and other values
    "long variant": ("", f"variants: {{{'a' * 300}: {{}}}}", "'variants.aaa", "60 characters"),
    "variant of two words": ("", "variants: {a b: {}}", "'variants.a b' has a name", "expected letters"),
    "triple of two words": ("a-b", "a b", "'triples.0.name' is 'a b'", "expected letters", "digits"),
    "no seeds": ("seeds: [0, 1]", "seeds: []", "'seeds' is []", "expected at least 1"),
    "seeds as a range": ("seeds: [0, 1]", "seeds: 0..4", "'seeds' is '0..4'", "such as [0, 1]"),
    "order in words": ("", "order: first", "'order' is 'first'", "such as 12"),
    "numbers as typed": ("{grid", "{lr_trunk: -1.0e-4, grid", "'lr_trunk' is -1.0e-4;"),
    "title that turns round": ("My birds", '"\\u202eevil"', "'title'", "control character"),
    "long triple": ("a-b", "a" * 300, "'triples.0.name'", "60 characters"),
    "taken name": ("study: mine", "study: speed", "'study'"),
    "one effect": ("", "effects: {accuracy: 0.01}", "'effects'", "'similarity'"),
    "effect in percent": ("", "effects: {accuracy: 1, similarity: 2}", "'effects.accuracy' is 1"),
    "empty alternative": ("", "alternatives: {big: []}\nuse: big", "'alternatives.big'"),
    "title of nothing": ("My birds", '"\u200b"', "'title'", "shows nothing"),
    "decimal comma": ("{grid", "{lr_trunk: 0,001, grid", "unknown key 1 in the recipe", "decimals have a point"),
    "title of digits": ("My birds", "2024", "'title' is 2024", "quotes"),
    "title of a date": ("My birds", "2024-01-01", "'title'", "date", "quotes"),
    "no title": ("My birds", "", "'title'", "write a value"),
    "control character": ("My birds", '"a\\0b"', "'title'", "control character"),
    "half a character": ("My birds", '"\\ud800"', "'title'", "control character"),
    "yes": ("{grid", "{augment: yes, grid", "'augment' is 'yes'", "true or false"),
    "number in quotes": ("{grid", "{lr_trunk: '1e-4', grid", "'lr_trunk'", "without quotes"),
    "linear student": ("", "variants: {paper: {}, x: {model: linear}}", "'linear'", "control"),
    # what changes nothing, or would fail after training
    "linear teacher": ("teacher: {network: small", "teacher: {network: small, model: linear", "'linear'", "to teach"),
    "mask of a baseline": ("", "controls: [{name: x, of: baseline, change: {mask_source: student}}]", "without effect"),
    "losses in the recipe": ("{grid", "{push: shared, grid", "push 'shared'", "'variants'"),
    "head of a baseline": ("", "controls: [{name: x, of: baseline, change: {head: teacher}}]", "'head'", "'variants'"),
    "no losses": ("", "distillation: {}", "nothing of the teacher reaches", "student-a-b-paper-s0"),
    "losses of weight 0": ("", "distillation: {global: 0, ppc: 0}", "nothing of the teacher reaches"),
    "one triple, numbers in two forms": (
        "{network: small}", "{network: small, lr_trunk: 1e-4}, student: {network: small_sixth}}\n"
        "  - {name: c, teacher: {network: small, lr_trunk: 0.00010}", "'a-b' and 'c'", "twice",
    ),
    "one triple, two names": (
        "", "  - {name: c, teacher: {network: small}, student: {network: small_sixth}}", "'a-b' and 'c'", "twice"
    ),
    "copies of no warm passes": ("{grid", "{warm_epochs: 0, warm_copies: 3, grid", "'warm_copies'", "without effect"),
    "mask of all students": ("", "distillation: {global: 1}\nvariants: {paper: {tau_train: 5}}", "'tau_train'", "loss"),
    "prototypes of a classifier": (
        "", "controls: [{name: x, of: baseline, change: {model: linear, push: distinct}}]", "'push'", "ordinary"
    ),
    "memory as a control": ("", "controls: [{name: x, of: student, change: {warm_cache_gb: 1}}]", "trained twice"),
    "control called paper": ("", "controls: [{name: paper, of: student, change: {push: shared}}]", "'paper'"),
    "seed twice in a control": (
        "", "controls: [{name: x, of: student, change: {push: shared}, seeds: [0, 0]}]", "'seeds' of control 'x'"
    ),
    "fraction as a number": ("{grid", "{lr_trunk: 1/1000, grid", "'lr_trunk'", "such as 0.001"),
    "duplicates of birds": ("{reader", "{allow_duplicates: true, reader", "'allow_duplicates'"),
    # weights, images and networks
    "own network's ImageNet": (STUDENT, f"{STUDENT}, weights: imagenet", "'small_sixth'", "ImageNet"),
    "no such weights": (STUDENT, f"{STUDENT}, weights: gone.safetensors", "gone.safetensors", "P2P_WEIGHTS"),
    "endless weights": (STUDENT, f"{STUDENT}, weights: {'a' * 3000}", "small_sixth", "not found"),
    "few patches": ("{grid: 4, prototypes_per_class: 2", "{push: distinct, grid: 4, prototypes_per_class: 99", "80"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_harm_is_one_sentence(name, checked, refuses) -> None:
    old, new, *words = REFUSED[name]
    text = changed(old, new)
    with refuses(*words):
        checked(text, "speed.yaml" if name == "taken name" else "mine.yaml")


def test_a_run_that_fits_no_memory_is_refused_on_the_machine_that_would_run_it(tmp_path, refuses, monkeypatch) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(changed("depth: 8", "depth: 1000000"))
    study = load_study(path)
    monkeypatch.setattr(checks, "build_trunk", lambda *_: None)
    preflight(study, elsewhere=True)
    with refuses("memory"):
        preflight(study)
    assert [size_text(size) for size in (5 * 10**5, 2 * 10**9, 10**18)] == ["0.50 MB", "2.00 GB", "1,000.00 PB"]


def test_the_precision_is_one_that_the_machine_has(checked, refuses, monkeypatch) -> None:
    text = changed("{grid", "{precision: bfloat16, grid")
    if has_bfloat16(choose_device("auto")):
        checked(text)
    monkeypatch.setattr("p2p.training.batches.has_bfloat16", lambda device: False)
    with refuses("'precision' is bfloat16", "float32"):
        checked(text)


# ----------------------------------------------------------------------------------------------------- image folders


def test_a_folder_of_images_is_read_before_anything_runs(checked, folder, tmp_path, refuses) -> None:
    checked(of_folder(folder))
    checked(of_folder(folder, ", class_step: 2"))
    with refuses("'images_per_class' is 6", "no class has more than 4", "without effect"):
        checked(of_folder(folder, ", images_per_class: 6"))
    with refuses("'class_count' is 99", "4 classes"):
        checked(of_folder(folder, ", class_count: 99"))
    with refuses("4 classes", "'class_step' 4 leaves 1"):
        checked(of_folder(folder, ", class_step: 4"))
    for place, word in ((tmp_path / "none", "no class folders"), (tmp_path / "gone", "does not exist")):
        (tmp_path / "none").mkdir(exist_ok=True)
        with refuses(str(place), word):
            checked(of_folder(place))
    with refuses("is a file"):
        checked(of_folder(folder / "class 0" / "0.png"))
    with refuses("does not exist"):
        checked(of_folder(Path("a" * 3000)))
    for image in (folder / "class 1").iterdir():
        image.unlink()
    with refuses("class 1", "no image"):
        checked(of_folder(folder))


def test_a_rehearsal_of_few_classes_is_none_of_too_many(folder, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(of_folder(folder, ", class_step: 2"))
    preflight(load_study(path, rehearse=True), rehearsed=True)


# -------------------------------------------------------------------------------------------------------- YAML 1.2


@pytest.mark.parametrize(
    ("old", "new", "key", "value"),
    [
        ("{reader", "{streaming: on, reader", "streaming", "on"),
        ("{reader", "{streaming: off, reader", "streaming", "off"),
        ("{grid", "{lr_trunk: 1e-4, grid", "lr_trunk", 1e-4),
        ("{grid", "{lr_trunk: 1.0e-4, grid", "lr_trunk", 1e-4),
        ("{grid", "{lr_trunk: 1, grid", "lr_trunk", 1.0),
        ("joint_epochs: 2", "joint_epochs: 1e2", "joint_epochs", 100),
        ("joint_epochs: 2", "joint_epochs: 2.0", "joint_epochs", 2),
        ("joint_epochs: 2", "joint_epochs: 1_000", "joint_epochs", 1000),
        ("joint_epochs: 2", "joint_epochs: 010", "joint_epochs", 10),
        ("{grid", "{augment: false, grid", "augment", False),
    ],
)
def test_values_are_read_as_people_write_them(old, new, key, value, checked) -> None:
    for run in checked(changed(old, new)).runs().values():
        assert getattr(run, key) == value and type(getattr(run, key)) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (STUDY + "seeds: [5]\n", ["line 9", "'seeds'", "second time"]),
        (changed("{grid: 4", "{grid: 4, grid: 8"), ["line 6", "'grid'", "second time"]),
        (STUDY.encode() + b"intro: caf\xe9\n", ["UTF-8", "line 9"]),
        (STUDY.encode("utf-16"), ["UTF-8"]),
        (STUDY.encode("utf-16-le"), ["UTF-8", "UTF-16"]),
        (STUDY + "intro: " + "[" * 5000, ["nested too deep"]),
        (STUDY + "intro: " + "[" * 30 + "]" * 30, ["'intro.0.0'", "nested too deep"]),
        (STUDY + "alternatives: &a {x: *a}", ["'alternatives.x.x'", "nested too deep"]),
        (STUDY + "".join(f"k{i}: &k{i} [{f'*k{i - 1},' * 9 if i else 'x'}]\n" for i in range(9)), ["too much"]),
        (STUDY + "intro: " + "x" * 2**20, ["bytes"]),
        (STUDY + "---\n" + STUDY, ["not valid YAML", "line 9", "a file has one study"]),
        (STUDY.replace("data: ", "data:\n  - "), ["'data' is", "valid dictionary"]),
        (STUDY + "extra:\n   a: 1\n  b: 2\n", ["not valid YAML", "indentation"]),
        (changed("My birds", "Birds: mine"), ["not valid YAML", "line 2", "quotes"]),
        (STUDY.replace("  - ", "\t- "), ["not valid YAML", "line 8", "spaces, not by tabs"]),
        (STUDY + "intro: !!python/object/apply:os.system [ls]", ["not valid YAML", "line 9", "'!' needs quotes"]),
        (STUDY + "order: " + "1" * 5000, ["line 9", "400 digits"]),
        (STUDY + "intro: a\0b", ["line 9", "control character"]),
        (STUDY + "? [a]\n: 1", ["no name of a key"]),
        (STUDY + "1: 2", ["unknown key 1"]),
        (STUDY.replace("images: synthetic birds\n", ""), ["'images' is required and missing"]),
        ("", ["holds no keys"]),
        ("- a", ["holds no keys"]),
    ],
)  # fmt: skip
def test_what_is_no_study_in_yaml_is_one_sentence(text, words, checked, refuses) -> None:
    with refuses("mine.yaml", *words):
        checked(text)


def test_a_file_is_the_same_with_other_line_ends_and_a_mark_of_utf_8(checked, tmp_path) -> None:
    study = checked(STUDY)
    assert checked(STUDY.replace("\n", "\r\n")) == study == checked(b"\xef\xbb\xbf" + STUDY.encode())
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1, y: 1e1}\nb: {<<: *a, x: 2}\nc: [1.5, yes, ~, 0o17, .nan]\n")
    values = read_keys(path)
    assert values["b"] == {"x": 2, "y": 10} and values["c"][:4] == [1.5, "yes", None, 15]


# --------------------------------------------------------------------------------------------------- what it rests on


def test_a_key_that_one_control_of_one_seed_takes_is_not_in_vain(checked) -> None:
    keys = "variants: {paper: {tau_train: 5}}\ndistillation: {global: 1}\n"
    control = "controls: [{name: x, of: student, change: {distillation: {ppc: 1}}, seeds: [1]}]\n"
    runs = checked(f"{STUDY}{keys}{control}").runs()
    assert [run.tau_train for run in runs.values() if run.role == "control"] == [5]


def test_a_seed_within_the_bound_is_a_network_of_its_own() -> None:
    """Why seeds have 32 bits: PyTorch's generator on a CPU drops the others."""
    first, last, beyond = (torch.rand(3, generator=torch.Generator().manual_seed(s)) for s in (0, 2**32 - 1, 2**32))
    assert torch.equal(first, beyond) and not torch.equal(first, last)
