"""How time and memory grow: each point is measured in a process of its own, so that its peak is its own.

The processes are forked from a server that has imported torch and nothing more, in milliseconds.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.timing import synchronise
from p2p.decision import solve_decision_layer
from p2p.device import choose_device
from p2p.evaluation.runs import respond_into
from p2p.matching import match_dense
from p2p.metrics import ALPHAS, ResponseTable, ajs, coincidences, pms
from p2p.networks import ProtoNet
from p2p.study.params import TrainParams
from p2p.study.speed_params import GrowthParams
from p2p.training.objective import objective
from p2p.trunks import build_trunk

COLUMNS = ["quantity", "axis", "at", "seconds", "seconds_low", "seconds_high", "peak_bytes"]
LONG_ENOUGH = 0.1  # seconds of a repeat
PARTS = 40  # of the made-up images whose cells prototypes follow
Work = Callable[[], object]


@dataclass(frozen=True)
class Shape:
    """What is measured at; every axis changes one field."""

    images: int  # N
    prototypes: int  # P, ten a class where there are classes
    grid: int  # side, cells
    resolution: int  # side, pixels
    network: str = "resnet18"
    depth: int = 128  # D
    batch: int = 8  # B

    @property
    def classes(self) -> int:
        return max(2, self.prototypes // 10)


@dataclass(frozen=True)
class Point:
    """Seconds of every repeat, and bytes at the peak beyond those in use before."""

    seconds: tuple[float, ...]
    peak_bytes: int


# ---------------------------------------------------------------------------------------------------------- the works


def training_pass(shape: Shape, device: torch.device) -> Work:
    """All images once in batches: forward, objective, backward, fused Adam; no augmentation, no teacher."""
    network, pixels = _network(shape, device), _pixels(shape)
    network.decision.requires_grad_(False)  # as in joint phases
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], fused=True)
    labels, params = torch.arange(shape.images) % shape.classes, TrainParams()

    def work() -> None:
        network.train()
        for images, target in zip(pixels.split(shape.batch), labels.split(shape.batch), strict=True):
            target = target.to(device)
            loss, _ = objective(network(images.to(device)), target, network, params, None)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return work


def response_pass(shape: Shape, device: torch.device) -> Work:
    """The response table of all images, batch by batch into a file."""
    network, pixels = _network(shape, device).requires_grad_(False), _pixels(shape)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            respond_into([Path(folder) / "table"], network, pixels, [network.prototypes], shape.batch)

    return work


def decision_layer(shape: Shape, device: torch.device) -> Work:
    """Twenty steps of the decision layer's solver on cached activations."""
    k, p = shape.classes, shape.prototypes
    own = torch.arange(p, device=device) * k // p == torch.arange(k, device=device)[:, None]
    labels = torch.arange(shape.images, device=device) % k
    activations = torch.rand(shape.images, p, device=device) + own[labels]
    weight = torch.where(own, 1.0, -0.5)
    return lambda: solve_decision_layer(weight, own, activations, labels, iterations=20)


def ajs_of_tables(shape: Shape, device: torch.device) -> Work:
    t, s = tables(shape)
    return lambda: ajs(t, s)


def counts(shape: Shape, device: torch.device) -> Work:
    """All P x P counts."""
    t, s = tables(shape)
    return lambda: coincidences(t, s)


def dense_matching(shape: Shape, device: torch.device) -> Work:
    """The Hungarian method for ten alphas, on counts that are there."""
    found = coincidences(*tables(shape))
    return lambda: match_dense(found, [alpha * shape.images for alpha in ALPHAS], shape.images)


def sparse_pms(shape: Shape, device: torch.device) -> Work:
    """PMS without the P x P counts: passes over blocks of rows and sparse matchings."""
    t, s = tables(shape)
    return lambda: pms(t, s, dense_limit=0)


WORKS: dict[str, Callable[[Shape, torch.device], Work]] = {
    "training pass": training_pass,
    "response table": response_pass,
    "decision layer": decision_layer,
    "AJS": ajs_of_tables,
    "counts": counts,
    "dense matching": dense_matching,
    "PMS without P×P": sparse_pms,
}


def tables(shape: Shape) -> tuple[ResponseTable, ResponseTable]:
    """Teacher and student that look at the same made-up parts: alike, in 30 % of the images, and crowded."""
    g, cells = torch.Generator().manual_seed(0), shape.grid**2
    where = (torch.rand(shape.images, PARTS, generator=g) ** 2 * cells).to(torch.int16)
    part = torch.randint(0, PARTS, (shape.prototypes,), generator=g)

    def follow(rate: float) -> ResponseTable:
        found = torch.empty(shape.images, shape.prototypes, dtype=torch.int16)
        for n in range(shape.images):  # image by image, so that the peak measured later is not this one
            other = torch.randint(0, cells, (shape.prototypes,), generator=g, dtype=torch.int16)
            found[n] = torch.where(torch.rand(shape.prototypes, generator=g) < rate, where[n][part], other)
        return ResponseTable(found, torch.rand(found.shape, generator=g), (shape.grid, shape.grid))

    return follow(0.6), follow(0.5)


def _network(shape: Shape, device: torch.device) -> ProtoNet:
    torch.manual_seed(0)
    trunk, channels = build_trunk(shape.network, shape.resolution, shape.grid)
    per_class = max(1, shape.prototypes // shape.classes)
    return ProtoNet(trunk, channels, shape.classes, per_class, shape.depth).to(device)


def _pixels(shape: Shape) -> Tensor:
    size = (shape.images, 3, shape.resolution, shape.resolution)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------------- measurement


def measure(points: list[tuple[str, Shape]], device: torch.device, repeats: int) -> Iterator[Point]:
    """Measure one point after the other, each in a fresh process; `quantity` of a point is a key of `WORKS`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.growth"])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        for quantity, shape in points:
            yield pool.submit(_point, quantity, shape, str(device), repeats, torch.get_num_threads()).result()


def _point(quantity: str, shape: Shape, device_name: str, repeats: int, threads: int) -> Point:
    """A warm-up, then the repeats, each of as many calls as are long enough for the clock."""
    torch.set_num_threads(threads)
    device = choose_device(device_name)
    work = WORKS[quantity](shape, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what the preparation has freed would be used again unseen
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else _status("RssAnon")

    def clock(calls: int) -> float:
        synchronise(device)
        began = time.perf_counter()
        for _ in range(calls):
            work()
        synchronise(device)
        return (time.perf_counter() - began) / calls

    calls = ceil(LONG_ENOUGH / max(clock(1), LONG_ENOUGH / 100))
    seconds = [clock(calls) for _ in range(repeats)]
    own = _status("VmHWM") - _status("RssFile")  # mapped files are left out: their pages are the system's to drop
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else own
    return Point(tuple(seconds), max(0, peak - before))


def _status(key: str) -> int:
    """Bytes of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def page_plan(params: GrowthParams) -> list[tuple[str, str, int, Shape]]:
    """Every point of the page on growth, as `plan` gives them; P = 10 K throughout."""
    layers = (params.network, params.prototype_depth, params.batch_size)
    passed = Shape(params.images[0], 10 * params.base_classes, params.grids[0], params.sizes[0], *layers)
    images, size = middle(params.table_images), params.sizes[0]
    base = dict.fromkeys(WORKS, Shape(images, middle(params.table_prototypes), 7, size))
    base |= {"training pass": passed, "response table": passed}
    base["decision layer"] = Shape(images, 10 * middle(params.decision_classes), 7, size)
    prototypes, decided = ([10 * k for k in counts] for counts in (params.classes, params.decision_classes))
    passes = {"images": params.images, "prototypes": prototypes, "grid": params.grids, "resolution": params.sizes}
    of_tables = {"images": params.table_images, "prototypes": params.table_prototypes}
    axes = {
        "training pass": passes,
        "response table": passes,
        "decision layer": {"images": params.table_images, "prototypes": decided},
        "AJS": of_tables,
        "counts": of_tables,
        "dense matching": {"prototypes": params.table_prototypes},
        "PMS without P×P": {"images": params.table_images, "prototypes": params.sparse_prototypes},
    }
    return plan(base, axes)


def measure_page(params: GrowthParams, device: torch.device) -> pd.DataFrame:
    """Measure every point of the page on growth; columns as `COLUMNS`."""
    points = page_plan(params)
    found = measure([(quantity, shape) for quantity, _, _, shape in points], device, params.repeats)
    measured = zip(points, tqdm(found, total=len(points)), strict=True)
    rows = [row(quantity, axis, at, point) for (quantity, axis, at, _), point in measured]
    return pd.DataFrame(rows, columns=COLUMNS)


def middle(values: list[int]) -> int:
    """The base along an axis that is not the one changed."""
    return values[len(values) // 2]


def plan(base: dict[str, Shape], axes: dict[str, dict[str, list[int]]]) -> list[tuple[str, str, int, Shape]]:
    """Every quantity along every axis it has, from its base shape.

    Args:
        base: quantity: shape.
        axes: quantity: axis (a field of `Shape`): its values. Along `resolution` the grid grows with it, as the trunk
            stays the same; along `grid` the trunk is cut elsewhere.
    """
    points = []
    for quantity, along in axes.items():
        for axis, values in along.items():
            for at in values:
                shape = replace(base[quantity], **{axis: at})  # type: ignore[arg-type]
                if axis == "resolution":
                    shape = replace(shape, grid=ceil(base[quantity].grid * at / base[quantity].resolution))
                points.append((quantity, axis, at, shape))
    return points


def row(quantity: str, axis: str, at: int, point: Point) -> dict[str, str | float]:
    """One row of `growth.csv`."""
    times = point.seconds
    values: list[str | float] = [quantity, axis, at, median(times), min(times), max(times), point.peak_bytes]
    return dict(zip(COLUMNS, values, strict=True))


# -------------------------------------------------------------------------------------------------------- power laws


def slopes(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Exponents b of value ~ at^b for each quantity and axis.

    Args:
        frame: As `COLUMNS`.
        column: The value, "seconds" or "peak_bytes".

    Returns:
        Columns quantity, axis, first, last (ends of the axis), slope (least squares in log-log), slope_low,
        slope_high (least and largest between neighbours), slope_end (between the two largest); nan where a value is 0.
    """
    rows = []
    for (quantity, axis), group in frame.groupby(["quantity", "axis"], sort=False):
        group = group.sort_values("at")
        x, y = np.log(group["at"].to_numpy(float)), group[column].to_numpy(float)
        row: dict[str, object] = {"quantity": quantity, "axis": axis, "first": group["at"].iloc[0]}
        names = ["slope", "slope_low", "slope_high", "slope_end"]
        values = [np.nan] * 4
        if len(x) > 1 and (y > 0).all():
            y = np.log(y)
            steps = [(b - a) / (d - c) for (a, b), (c, d) in zip(pairwise(y), pairwise(x), strict=True)]
            values = [float(np.polyfit(x, y, 1)[0]), min(steps), max(steps), steps[-1]]
        rows.append(row | {"last": group["at"].iloc[-1]} | dict(zip(names, values, strict=True)))
    return pd.DataFrame(rows)


def largest(frame: pd.DataFrame, quantity: str, axis: str, column: str = "seconds") -> tuple[float, float]:
    """Size and value of the largest point along an axis."""
    found = frame[(frame["quantity"] == quantity) & (frame["axis"] == axis)].sort_values("at").iloc[-1]
    return float(found["at"]), float(found[column])


def end_slope(frame: pd.DataFrame, quantity: str, axis: str, column: str) -> float:
    """The exponent between the two largest points along an axis, nan where a value is 0."""
    found = slopes(frame[(frame["quantity"] == quantity) & (frame["axis"] == axis)], column)
    return float(found["slope_end"].iloc[0])


def line(frame: pd.DataFrame, quantity: str, axis: str) -> tuple[float, float]:
    """Seconds a + b at, from the two largest points: what does not grow with the axis, and what each step adds."""
    found = frame[(frame["quantity"] == quantity) & (frame["axis"] == axis)].sort_values("at").iloc[-2:]
    (x0, x1), (y0, y1) = found["at"].to_numpy(float), found["seconds"].to_numpy(float)
    each = max(0.0, (y1 - y0) / (x1 - x0))
    return float(y1 - each * x1), float(each)
