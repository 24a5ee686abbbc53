"""What would break first on the way to a target that nobody has run: memory and time on paper, from measured points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import pandas as pd

from benchmarks import growth
from p2p.matching import DENSE_LIMIT
from p2p.responses import SPAN_CELLS
from p2p.study.speed_params import GrowthParams
from p2p.trunks import build_trunk


@dataclass(frozen=True)
class Need:
    """Something that memory is needed for.

    Attributes:
        what: It is.
        of: Bytes at N images, K classes, P prototypes.
        lever: What lifts the limit; "not built: …" where the code has no such thing.
        breaks: Classes at which it alone fills the memory on paper; infinite far beyond the target.
    """

    what: str
    of: Callable[[float, float, float], float]
    lever: str
    breaks: float = inf


def needs(params: GrowthParams, frame: pd.DataFrame) -> list[Need]:
    """All needs in the order in which they break.

    Args:
        params: Of the page.
        frame: Columns as `benchmarks.growth.COLUMNS`; memory of the matchings is extrapolated from it.
    """
    size, cells, batch = params.sizes[0], params.grids[0] ** 2, params.batch_size
    _, channels = build_trunk(params.network, size, params.grids[0])
    dense_at, dense = growth.largest(frame, "dense matching", "prototypes", "peak_bytes")
    sparse_at, sparse = growth.largest(frame, "PMS without P×P", "prototypes", "peak_bytes")
    grows = growth.end_slope(frame, "PMS without P×P", "prototypes", "peak_bytes")
    found = [
        Need(
            "training images as uint8 on the device",
            lambda n, k, p: n * 3 * size**2,
            "built: `streaming`, from the disk batch by batch",
        ),
        Need(
            "trunk outputs of one augmented copy, float16",
            lambda n, k, p: n * channels * cells * 2,
            "built: copies beyond `warm_cache_gb` go to the disk",
        ),
        Need(
            "response table, whole (as it was)",
            lambda n, k, p: 6 * n * p,
            "built: rows go into the file batch by batch",
        ),
        Need(
            "response table, what is in memory now",
            lambda n, k, p: 6 * batch * p + 16 * SPAN_CELLS,
            "the file itself still grows with N·P",
        ),
        Need(
            "PMS: counts and Hungarian method (measured)",
            lambda n, k, p: dense * (p / dense_at) ** 2,
            f"built: above P = {DENSE_LIMIT:,} without the P×P counts",
        ),
        Need(
            "PMS without P×P (measured)",
            lambda n, k, p: sparse * (p / sparse_at) ** grows,
            "fewer candidates a pass, more passes",
        ),
        Need(
            "decision layer: activations of all images",
            lambda n, k, p: 4 * n * p,
            "not built: solve on batches read from a file",
        ),
        Need("decision layer: logits and targets of all images", lambda n, k, p: 3 * 4 * n * k, "not built: the same"),
        Need(
            "decision layer: weights and the solver's copies",
            lambda n, k, p: 8 * 4 * k * p,
            "not built: keep own-class weights and the few others that L1 leaves",
        ),
        Need(
            "training: decision layer, its gradient, own-class mask",
            lambda n, k, p: 9 * k * p,
            "not built: sparse, or class by class",
        ),
        Need(
            "training: distances of a batch to all cells",
            lambda n, k, p: 3 * 4 * batch * p * cells,
            "a smaller batch, or prototypes in blocks",
        ),
    ]
    ratio, limit = params.target_images / params.target_classes, params.memory_gb * 2**30
    placed = [Need(n.what, n.of, n.lever, breaks_at(n.of, ratio, limit, 1000.0 * params.target_classes)) for n in found]
    return sorted(placed, key=lambda need: need.breaks)


def breaks_at(of: Callable[[float, float, float], float], ratio: float, limit: float, most: float) -> float:
    """Classes K at which a need fills the memory, by bisection.

    Args:
        of: Bytes of (N, K, P), growing with each.
        ratio: Images a class; N = ratio K and P = 10 K.
        limit: Bytes.
        most: Classes; infinite beyond.
    """
    low, high = 1.0, most
    if of(ratio * high, high, 10 * high) <= limit:
        return inf
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if of(ratio * middle, middle, 10 * middle) > limit else (middle, high)
    return low


def break_table(params: GrowthParams, found: list[Need]) -> pd.DataFrame:
    """what, at how many classes it fills the memory, bytes at the target, what lifts it; found: as `needs` gives it."""
    n, k = params.target_images, params.target_classes
    return pd.DataFrame(
        {
            "what": [need.what for need in found],
            f"fills {params.memory_gb:g} GiB at": [
                "beyond" if need.breaks == inf else f"{need.breaks:,.0f} classes" for need in found
            ],
            f"bytes at {n:,} × {k:,}": [size_text(need.of(n, k, 10 * k)) for need in found],
            "what lifts it": [need.lever for need in found],
        }
    )


def time_on_paper(params: GrowthParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds at the target, from the largest measured points.

    Where the number of operations is known, the largest point is multiplied by it; passes of a network are a line in P,
    as the trunk does not depend on it; only the matchings follow a measured slope.

    Args:
        params: Of the page.
        frame: Columns as `benchmarks.growth.COLUMNS`.

    Returns:
        quantity, what, grows as, seconds, on paper (the seconds as text).
    """
    n, k = params.target_images, params.target_classes
    p, sampled = 10 * k, growth.middle(params.table_images)
    more = n / sampled  # images, where P was varied

    def passes(quantity: str) -> float:
        fixed, each = growth.line(frame, quantity, "prototypes")
        return n * (fixed + each * p) / params.images[0]

    def power(quantity: str, exponent: float, images: float = 1.0) -> float:
        at, value = growth.largest(frame, quantity, "prototypes")
        return value * images * (p / at) ** exponent

    def steep(quantity: str) -> float:
        return power(quantity, growth.end_slope(frame, quantity, "prototypes", "seconds"))

    rows = [
        ("training pass", "one over all images", "N (a + b P)", passes("training pass")),
        ("response table", "one network", "N (a + b P)", passes("response table")),
        ("decision layer", "200 steps", "N K P", 10 * power("decision layer", 2, more)),  # twenty steps were timed
        ("AJS", "one pair of networks, eight τ", "N P", power("AJS", 1, more)),
        ("counts", "once", "N P²", power("counts", 2, more)),
        ("dense matching", "ten α, if the memory were there", "slope", steep("dense matching")),
        ("PMS without P×P", f"ten α, its passes over only {sampled:,} images", "slope", steep("PMS without P×P")),
    ]
    paper = pd.DataFrame(rows, columns=["quantity", "what", "grows as", "seconds"])
    return paper.assign(**{"on paper": paper["seconds"].map(time_text)})


def break_sentence(found: list[Need], paper: pd.DataFrame) -> str:
    """What breaks first, what of it is not built, and what takes longest; as `needs` and `time_on_paper` give them."""
    unbuilt = next(need for need in found if need.lever.startswith("not built"))
    longest = paper.sort_values("seconds").iloc[-1]
    return (
        f"Memory breaks first at *{found[0].what}* ({found[0].breaks:,.0f} classes). Of what is not built yet, the "
        f"first to break is *{unbuilt.what}* ({unbuilt.breaks:,.0f} classes). The longest time is "
        f"*{longest['quantity']}*: {longest['on paper']}."
    )


def size_text(value: float) -> str:
    """Bytes with three digits and a unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} PB"


def time_text(value: float) -> str:
    """Seconds with three digits, in the largest unit of which there are two or more."""
    for unit, length in (("years", 31_557_600), ("days", 86_400), ("h", 3600), ("min", 60)):
        if value >= 2 * length:
            return f"{value / length:,.3g} {unit}"
    return f"{value:.3g} s"
