"""The rooms: who may import whom, how long a file may be, and that an extension touches one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from p2p import losses, metrics
from p2p.data.images import load_images
from p2p.data.readers import READERS
from p2p.decision import DECISIONS
from p2p.evaluation.measure import Answer, level_rows, own_rows, transfer_rows
from p2p.evaluation.runs import finish_run, load_run
from p2p.evaluation.tables import main_table
from p2p.evaluation.triple import level_table, triple_table
from p2p.networks import PROTOTYPE_LAYERS
from p2p.responses import ResponseTable
from p2p.study.params import TrainParams
from p2p.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
ROOMS = ("study", "data", "training", "evaluation", "figures")  # each may import those before it
FILES = sorted((ROOT / "p2p").rglob("*.py"))


def room(module: str) -> int:
    """Place of a module's room in `ROOMS`; −1 for the method."""
    parts = module.split(".")
    return ROOMS.index(parts[1]) if len(parts) > 1 and parts[1] in ROOMS else -1


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "p2p" else [module]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_rooms_import_only_what_lies_before_them(path: Path) -> None:
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for module in imports(path):
        if module.split(".")[0] == "p2p":
            assert room(module) <= own, f"{path.relative_to(ROOT)} imports {module}"
    assert len(path.read_text().splitlines()) <= 350


def test_the_package_says_what_its_rooms_are() -> None:
    for name in ROOMS:
        assert f"`p2p.{name}`" in (ROOT / "p2p" / "__init__.py").read_text()
        text = ast.get_docstring(ast.parse((ROOT / "p2p" / name / "__init__.py").read_text())) or ""
        assert "mports" in text, f"p2p/{name}/__init__.py does not say what it may import"


def test_nothing_is_imported_in_a_circle() -> None:
    known = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    edges = {name: {module for module in imports(path) if module in known} for name, path in known.items()}
    seen: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in seen:
            for other in sorted(edges[name]):
                walk(other, (*trail, name))
            seen.add(name)

    for name in sorted(known):
        walk(name, ())
    assert seen == known.keys() and any(edges.values())


# ---------------------------------------------------------------- the examples of the page "How it is built"


def examples() -> dict[str, str]:
    """The code below each heading of the page."""
    parts = re.split(r"^### (.*)$", (ROOT / "book" / "built.md").read_text(), flags=re.M)
    code = {
        title: re.findall(r"```python\n(.*?)```", text, re.S)
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {title.strip("… ?"): blocks[0] for title, blocks in code.items() if blocks}


EXAMPLES = examples()


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What an example adds is gone after its test."""
    tables: tuple[dict, ...] = (losses.DISTILLATION, PROTOTYPE_LAYERS, DECISIONS, READERS)
    before, two = [dict(table) for table in tables], metrics.OF_TWO
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    metrics.OF_TWO = two


def run_example(title: str) -> dict:
    space: dict = {}
    exec(compile(EXAMPLES[title], f"built.md: {title}", "exec"), space)
    return space


def test_every_place_has_an_example() -> None:
    assert list(EXAMPLES) == [
        *("a distillation loss", "a metric", "a prototype layer", "a decision", "a reader of images", "a trunk")
    ]


def train(params: TrainParams, birds, folder: Path, teacher=None):
    Trainer(params, birds, folder, teacher).run(progress=False)
    finish_run(folder, birds)
    return load_run(folder)


def test_a_new_loss_is_weighed_by_its_name(tiny_student, birds, teacher, tmp_path) -> None:
    run_example("a distillation loss")
    params = tiny_student.model_copy(update={"distillation": {"global": 10.0, "feature_mse": 100.0}, "rounds": 1})
    trainer = Trainer(params, birds, tmp_path, teacher)
    trainer.run(progress=False)
    passes = [row for row in trainer.history if "feature_mse" in row]
    assert [row["phase"] for row in passes] == ["warm", "warm", "joint", "joint"]  # with cached answers and without
    for row in passes:
        plain = row["ce"] + row["cluster"] - 0.08 * row["separation"] + 1e-4 * row["l1"]
        assert row["loss"] == pytest.approx(plain + 10 * row["global"] + 100 * row["feature_mse"], rel=1e-4)
    assert "ppc" not in passes[0]


def test_a_new_metric_has_its_floors(tiny, birds, teacher_folder) -> None:
    run_example("a metric")
    finish_run(teacher_folder, birds)
    table = ResponseTable.load(teacher_folder / "responses.safetensors")
    run = {"top1": {"tuned": 0.5}, "validation": 0.5, "parameters": 1, "tau_quarter": 0.3}
    answer = Answer("student", "paper", run, {"tuned": table}, load_run(teacher_folder))
    labels = birds.subset("test").labels
    rows = [*own_rows(answer, 0.3), *transfer_rows(answer, answer, labels, "zero", 0)]
    rows += level_rows("control", "random", "floor", answer, table, "zero")
    found = {row[3]: row[5] for row in rows if row[3].startswith("both_near")}
    assert found.keys() == {"both_near", "both_near_permuted", "both_near_floor"}
    columns = ["role", "variant", "stage", "metric", "tau", "value"]
    frame = pd.DataFrame(rows, columns=columns).assign(study="s", triple="t", seed=0)
    assert main_table(frame, "t").set_index("network").loc["student", "both near"] == f"{found['both_near']:.3f}"
    assert triple_table(frame).loc[0, "both near, permuted"] == f"{found['both_near_permuted']:.3f}"
    assert level_table(frame).loc[0, "both_near"] == f"{found['both_near_floor']:.3f}"
    assert found["both_near"] == (table.distances < 0.5).double().mean() >= found["both_near_permuted"]


@pytest.mark.parametrize(
    ("title", "change"),
    [
        ("a prototype layer", {"prototype_layer": "inverse"}),
        ("a prototype layer", {"prototype_layer": "cosine"}),
        ("a decision", {"decision": "own_class_only", "lambda_l1": 10.0}),
    ],
)
def test_a_new_part_of_the_network_trains_pushes_and_loads(title, change, tiny, birds, tmp_path) -> None:
    run_example(title)
    trained = train(tiny.model_copy(update={"rounds": 1, **change}), birds, tmp_path)
    network, found = trained.network, trained.projection
    assert found is not None
    out = network(birds.subset("train").pixels[found.images[:1]])
    assert out.distances[0, 0] < 1e-5 and out.cells[0, 0] == found.cells[0]  # a prototype is its training patch
    if title == "a decision":
        assert (network.decision.weight[~network.own] == 0).all()
    else:
        score = PROTOTYPE_LAYERS[change["prototype_layer"]].similarity(out.distances)
        torch.testing.assert_close(out.logits, score @ network.decision.weight.T)


def test_the_cosine_layer_is_the_cosine(tiny, birds) -> None:
    layer = PROTOTYPE_LAYERS["cosine"]
    z, p = torch.randn(2, 5, 3, 3), torch.randn(4, 5)
    from p2p.networks import distance_map

    similarities = layer.similarity(distance_map(layer.prepare(z), layer.prepare(p)))
    slow = torch.nn.functional.cosine_similarity(z[:, None].double(), p[None, :, :, None, None].double(), dim=2)
    torch.testing.assert_close(similarities.double(), slow, rtol=0, atol=1e-6)


def test_a_new_reader_is_found_by_its_name(tiny, tmp_path) -> None:
    run_example("a reader of images")
    lines = []
    for i in range(16):
        name = f"{i}.png"
        Image.fromarray(np.full((20, 20, 3), 10 * i, np.uint8)).save(tmp_path / name)
        lines.append(f"{name} {'ab'[i // 8]}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    images = load_images(tiny.model_copy(update={"reader": "list", "root": str(tmp_path), "class_count": None}))
    assert images.classes == ("a", "b") and len(images) == 16 and int((images.split == 2).sum()) == 4
