"""Tables written and read in parts: the same bytes, the same metrics, and memory for a part only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from heads import linear
from safetensors.torch import save_file

from p2p import metrics
from p2p import responses as tables
from p2p.errors import UserError
from p2p.evaluation.runs import respond, respond_into, top1
from p2p.metrics import ResponseTable
from p2p.networks import PROTOTYPE_LAYERS, ProtoNet
from p2p.responses import spans, table_writer
from p2p.trunks import build_trunk


def make(images: int, prototypes: int, seed: int, grid: tuple[int, int] = (7, 7)) -> ResponseTable:
    g = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, grid[0] * grid[1], (images, prototypes), generator=g).to(torch.int16)
    return ResponseTable(cells, 10 ** (4 * torch.rand(images, prototypes, generator=g) - 3), grid)


@pytest.mark.parametrize(("images", "prototypes", "grid"), [(1, 1, (1, 1)), (37, 5, (7, 7)), (1000, 64, (14, 9))])
def test_file_is_what_safetensors_writes(
    tmp_path: Path, images: int, prototypes: int, grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    t = make(images, prototypes, 1, grid)
    metadata = {"grid": f"{grid[0]},{grid[1]}"}
    save_file({"cells": t.cells, "distances": t.distances}, tmp_path / "theirs", metadata=metadata)
    monkeypatch.setattr(tables, "SPAN_CELLS", 100)
    t.save(tmp_path / "ours")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    back = ResponseTable.load(tmp_path / "ours")
    assert torch.equal(back.cells, t.cells) and torch.equal(back.distances, t.distances) and back.grid == grid


def test_spans_cover_every_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SPAN_CELLS", 100)
    for images, prototypes, multiple in ((1, 1, 1), (95, 10, 1), (100, 10, 1), (7, 1000, 1), (95, 3, 7), (20, 50, 255)):
        parts = list(spans(images, prototypes, multiple))
        assert [n for part in parts for n in range(images)[part]] == list(range(images))
        for part in parts[:-1]:
            assert (part.stop - part.start) % multiple == 0
            assert (part.stop - part.start) * prototypes <= max(100, prototypes * multiple)


@pytest.mark.numeric
def test_metrics_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    t, s = make(600, 12, 1), make(600, 12, 2)
    decision, labels = linear(torch.randn(3, 12)), torch.randint(0, 3, (600,))

    def everything() -> list[float]:
        values = [
            metrics.agreement(t, s),
            top1(t, decision, labels, PROTOTYPE_LAYERS["distance"]),
            metrics.pms(t, s).value,
        ]
        values += metrics.aap(t).tolist() + metrics.coincidences(t, s).flatten().tolist()
        for empty in ("zero", "skip", "one"):
            values += metrics.ajs(t, s, (0.001, 0.01, 1.0, float("inf")), empty).tolist()
        return values + tables.cell_minima(t).flatten().tolist()

    whole = everything()
    for cells in (1, 1000, 5001):
        monkeypatch.setattr(tables, "SPAN_CELLS", cells)
        assert everything() == pytest.approx(whole, rel=1e-12, nan_ok=True)
    with pytest.raises(UserError, match="outside"):
        ResponseTable(torch.cat([t.cells[:-1], t.cells[-1:] + 49]), t.distances, t.grid)
    with pytest.raises(UserError, match="not finite"):
        ResponseTable(t.cells, torch.cat([t.distances[:-1], t.distances[-1:] * torch.inf]), t.grid)


@pytest.fixture(scope="module")
def network() -> ProtoNet:
    torch.manual_seed(0)
    trunk, channels = build_trunk("small", 32, 4)
    return ProtoNet(trunk, channels, classes=3, per_class=4, depth=8).requires_grad_(False)


@pytest.mark.numeric
def test_streamed_answers_are_those_in_memory(tmp_path: Path, network: ProtoNet) -> None:
    pixels = torch.randint(0, 256, (23, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sets = [network.prototypes, torch.rand(5, 8)]
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    streamed, whole = respond_into(paths, network, pixels, sets, 5), respond(network, pixels, sets, 5)
    for path, one, two in zip(paths, streamed, whole, strict=True):
        assert torch.equal(one.cells, two.cells) and torch.equal(one.distances, two.distances) and one.grid == two.grid
        two.save(tmp_path / "saved")
        assert path.read_bytes() == (tmp_path / "saved").read_bytes()


def test_failure_leaves_no_file(tmp_path: Path, network: ProtoNet) -> None:
    pixels, path = torch.zeros(9, 3, 32, 32, dtype=torch.uint8), tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="not finite"):
        respond_into([path], network, pixels, [network.prototypes * torch.nan], 4)
    assert list(tmp_path.iterdir()) == []
    t = make(4, 3, 1)
    with pytest.raises(AssertionError, match="4 of 5 rows"), table_writer(path, 5, 3, t.grid) as add:
        add(t.cells, t.distances)
    with pytest.raises(AssertionError, match="announced"), table_writer(path, 3, 3, t.grid) as add:
        add(t.cells, t.distances)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    code = (
        "import resource, signal, torch\nfrom p2p.errors import UserError\nfrom p2p.metrics import ResponseTable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
        "t = ResponseTable(torch.zeros(100, 40, dtype=torch.int16), torch.ones(100, 40), (2, 2))\n"
        "try:\n    t.save('table')\nexcept UserError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.startswith("Cannot write table: ") and list(tmp_path.iterdir()) == []


MEMORY = """
import sys
from pathlib import Path
import torch
from p2p.metrics import aap, agreement
from p2p.responses import ResponseTable, table_writer

def own() -> int:  # memory of the process itself; pages of a mapped file do not count, the system may drop them
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

images, prototypes, most = 20000, 2000, 0
with table_writer(sys.argv[1], images, prototypes, (7, 7)) as add:
    cells, distances = torch.zeros(100, prototypes, dtype=torch.int16), torch.ones(100, prototypes)
    before = own()
    for _ in range(images // 100):
        add(cells, distances)
        most = max(most, own() - before)
table = ResponseTable.load(sys.argv[1])
aap(table, (1.0,)), agreement(table, table)
print(most, own() - before, Path(sys.argv[1]).stat().st_size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc; the spans are counted above")
def test_memory_is_that_of_a_part(tmp_path: Path) -> None:
    """240 MB of table; without parts, the active patches alone would need 320 MB for cells as int64."""
    path = tmp_path / "table"
    # freed memory goes back to the system at once, so that what is still held is what is measured
    given_back = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **given_back})
    writing, after, size = map(int, done.stdout.split())
    assert size > 240e6
    assert writing < 30e6 and after < 30e6
