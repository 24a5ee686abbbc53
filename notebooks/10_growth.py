# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # How cost grows
#
# **Question.** How do time and memory grow with images, classes, grid and resolution, and what would break first on the
# way to a million images of ten thousand classes?

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
study = "speed"
device = "auto"  # auto: a GPU where there is one.
network = "resnet18"  # Trunk of passes and response tables; random weights.
prototype_depth = 128
batch_size = 8  # Of passes and response tables.
images = [8, 16, 32]  # N of passes and response tables.
classes = [50, 200, 1000, 2000]  # Their K, with P = 10 K.
grids = [7, 14, 28]  # Their grid, cells a side; the first is the base.
sizes = [224, 336, 448]  # Their resolution, pixels; the first is the base.
base_classes = 200  # K of passes and response tables along the other axes.
decision_classes = [50, 100, 200, 400]  # K of the decision layer.
table_images = [500, 1000, 2000]  # N of metrics and decision layer.
table_prototypes = [500, 1000, 2000]  # P of the metrics.
sparse_prototypes = [500, 1000, 2000, 4000]  # P without the P×P counts.
repeats = 3  # After a warm-up.
target_images = 1_000_000  # N on paper.
target_classes = 10_000  # K on paper.
memory_gb = 24.0  # Memory of the machine on paper, 2³⁰ bytes.
results = "results"

# %%
import time
from collections.abc import Callable

import pandas as pd
from IPython.display import SVG, Markdown, display
from tqdm import tqdm

from benchmarks import growth
from p2p import figures
from p2p.device import choose_device
from p2p.figures.speed import growth_panels
from p2p.files import atomic_path, project_path
from p2p.matching import DENSE_LIMIT
from p2p.responses import SPAN_CELLS
from p2p.study.pages import provenance_box, table
from p2p.study.params import GrowthParams, from_namespace
from p2p.study.provenance import provenance, write_json
from p2p.trunks import build_trunk

params = from_namespace(GrowthParams, globals())
device = choose_device(params.device)
began = time.perf_counter()
out = project_path(params.results) / params.study

# %% [markdown]
# ## Method
#
# One size is changed at a time, the others stay at their base. Each point is measured in a process of its own: a warm-up,
# then the repeats; time is their median, memory the peak of that process beyond what was in use before, without pages of
# mapped files (on a GPU, the peak of its allocator).
#
# - **training pass**: all $N$ images once in batches, forward, losses, backward, Adam; no augmentation and no teacher.
# - **response table**: one forward pass, its table written batch by batch into a file.
# - **decision layer**: twenty steps of its solver on cached activations.
# - **AJS**; **counts**: all $k_{ij}$ of PMS; **dense matching**: the Hungarian method on them, ten $\alpha$;
#   **PMS without P×P**: the other way to the same value, which the product takes above a size. These run on the CPU.
#
# $P = 10 K$ throughout. Along the grid the trunk is cut at another layer; along the resolution the trunk stays and the
# grid grows with it. A slope $b$ means that the cost grows as $x^b$.
#
# **The matching without P×P.** Give every student prototype $j$ a price $v_j$. No matching is worth more than
#
# $$
# \sum_i \max_j \bigl(\min(k_{ij}, \alpha N) - v_j\bigr) + \sum_j v_j ,
# $$
#
# one pass over blocks of rows. The pass keeps a few pairs for each row and column; among those the best matching and its
# prices are found exactly, and the next pass uses them. When the matching is worth as much as the bound, it is the best
# of all. The value is that of the Hungarian method; a search that ends before says so and gives both bounds.

# %%
prototypes = [10 * k for k in params.classes]
base_images = params.table_images[len(params.table_images) // 2]
base_prototypes = params.table_prototypes[len(params.table_prototypes) // 2]
trained = growth.Shape(
    *(params.images[0], 10 * params.base_classes, params.grids[0], params.sizes[0]),
    *(params.network, params.prototype_depth, params.batch_size),
)
tables = growth.Shape(base_images, base_prototypes, 7, params.sizes[0])
decided = growth.Shape(base_images, 10 * params.decision_classes[len(params.decision_classes) // 2], 7, params.sizes[0])
base = {"training pass": trained, "response table": trained, "decision layer": decided}
base |= {name: tables for name in growth.WORKS if name not in base}

passes = {"images": params.images, "prototypes": prototypes, "grid": params.grids, "resolution": params.sizes}
of_tables = {"images": params.table_images, "prototypes": params.table_prototypes}
axes = {
    "training pass": passes,
    "response table": passes,
    "decision layer": {"images": params.table_images, "prototypes": [10 * k for k in params.decision_classes]},
    "AJS": of_tables,
    "counts": of_tables,
    "dense matching": {"prototypes": params.table_prototypes},
    "PMS without P×P": {"images": params.table_images, "prototypes": params.sparse_prototypes},
}
points = growth.plan(base, axes)
measured = growth.measure([(quantity, shape) for quantity, _, _, shape in points], device, params.repeats)
rows = [growth.row(*where, point) for (*where, _), point in zip(points, tqdm(measured, total=len(points)), strict=True)]
frame = pd.DataFrame(rows, columns=growth.COLUMNS)
with atomic_path(out / "growth.csv") as path:
    frame.to_csv(path, index=False, float_format="%.6g")

# %% [markdown]
# ## Result: slopes

# %% mystnb={"figure": {"caption": "Time (above) and peak memory (below) against images, prototypes, grid and resolution, all axes logarithmic; the bars run from the lowest to the highest repeat. A straight line is a power law, its slope the exponent.", "name": "fig-growth"}, "image": {"alt": "Small multiples of time and peak memory of training, response tables, decision layer and metrics along four axes."}}
SVG(figures.svg(growth_panels(frame)))

# %%
seconds, memory = growth.slopes(frame, "seconds"), growth.slopes(frame, "peak_bytes")


def exponent(row: pd.Series) -> str:
    """Slope, and its least and largest between neighbours."""
    if row.isna().any():
        return "–"
    spread = f" ({row.slope_low:.2f}–{row.slope_high:.2f})" if row.slope_low < row.slope_high else ""
    return f"{row.slope:.2f}{spread}"


columns = ["slope", "slope_low", "slope_high"]
listed = pd.DataFrame(
    {
        "quantity": seconds.quantity,
        "along": seconds.axis,
        "measured from–to": [f"{a:,}–{b:,}" for a, b in zip(seconds["first"], seconds["last"], strict=True)],
        "slope of time": [exponent(row) for _, row in seconds[columns].iterrows()],
        "slope of memory": [exponent(row) for _, row in memory[columns].iterrows()],
    }
)
caption = "Exponents: least squares over the whole range; small, the least and the largest between neighbouring points. A dash: no memory beyond what was in use."
display(Markdown(table(listed, caption, "tab-slopes")))

# %% [markdown]
# ## On paper: what breaks first
#
# Bytes that follow from a shape are counted exactly; memory of the matching is extrapolated from the measurement. The way
# to the target is walked with its own ratio of images to classes, and the table says at how many classes each thing alone
# would fill the memory of one machine.

# %%
ratio = params.target_images / params.target_classes  # images a class
size, cells = params.sizes[0], params.grids[0] ** 2
_, channels = build_trunk(params.network, size, params.grids[0])
dense = frame[frame.quantity == "dense matching"].sort_values("at").iloc[-1]
sparse = frame[(frame.quantity == "PMS without P×P") & (frame.axis == "prototypes")].sort_values("at").iloc[-1]
grows = memory[(memory.quantity == "PMS without P×P") & (memory.axis == "prototypes")].slope_end.iloc[0]

NEEDS: list[tuple[str, Callable[[float, float, float], float], str]] = [
    # what, bytes of (N, K, P), what lifts it
    ("training images as uint8 on the device", lambda n, k, p: n * 3 * size**2, "built: `streaming`, from the disk batch by batch"),
    ("trunk outputs of one augmented copy, float16", lambda n, k, p: n * channels * cells * 2, "built: copies beyond `warm_cache_gb` go to the disk"),
    ("response table, whole (as it was)", lambda n, k, p: 6 * n * p, "built: rows go into the file batch by batch"),
    ("response table, what is in memory now", lambda n, k, p: 6 * params.batch_size * p + 16 * SPAN_CELLS, "the file itself still grows with N·P"),
    ("PMS: counts and Hungarian method (measured)", lambda n, k, p: dense.peak_bytes * (p / dense["at"]) ** 2, f"built: above P = {DENSE_LIMIT:,} without the P×P counts"),
    ("PMS without P×P (measured)", lambda n, k, p: sparse.peak_bytes * (p / sparse["at"]) ** grows, "fewer candidates a pass, more passes"),
    ("decision layer: activations of all images", lambda n, k, p: 4 * n * p, "not built: solve on batches read from a file"),
    ("decision layer: logits and targets of all images", lambda n, k, p: 3 * 4 * n * k, "not built: the same"),
    ("decision layer: weights and the solver's copies", lambda n, k, p: 8 * 4 * k * p, "not built: keep own-class weights and the few others that L1 leaves"),
    ("training: decision layer, its gradient, own-class mask", lambda n, k, p: 9 * k * p, "not built: sparse, or class by class"),
    ("training: distances of a batch to all cells", lambda n, k, p: 3 * 4 * params.batch_size * p * cells, "a smaller batch, or prototypes in blocks"),
]  # fmt: skip
limit = params.memory_gb * 2**30
target = (params.target_images, params.target_classes, 10 * params.target_classes)


def breaks_at(need: Callable[[float, float, float], float]) -> float:
    """Classes at which it fills the memory, by bisection; infinite beyond a thousand times the target."""
    low, high = 1.0, 1000.0 * params.target_classes
    if need(ratio * high, high, 10 * high) <= limit:
        return float("inf")
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if need(ratio * middle, middle, 10 * middle) > limit else (middle, high)
    return low


def amount(value: float, units: tuple[str, ...], step: float) -> str:
    """Three digits and a unit."""
    for unit in units:
        if abs(value) < step or unit == units[-1]:
            return f"{value:.3g} {unit}"
        value /= step
    raise AssertionError


def size_text(value: float) -> str:
    return amount(value, ("B", "kB", "MB", "GB", "TB", "PB"), 1000)


def time_text(value: float) -> str:
    for unit, length in (("years", 31_557_600), ("days", 86_400), ("h", 3600), ("min", 60)):
        if value >= 2 * length:
            return f"{value / length:,.3g} {unit}"
    return f"{value:.3g} s"


order = sorted(NEEDS, key=lambda item: breaks_at(item[1]))
listed = pd.DataFrame(
    {
        "what": [what for what, _, _ in order],
        f"fills {params.memory_gb:g} GiB at": [
            "beyond" if (k := breaks_at(need)) == float("inf") else f"{k:,.0f} classes" for _, need, _ in order
        ],
        f"bytes at {target[0]:,} × {target[1]:,}": [size_text(need(*target)) for _, need, _ in order],
        "what lifts it": [lever for _, _, lever in order],
    }
)
caption = f"Memory on paper, in the order in which it breaks, with {ratio:g} images a class. Beyond: not within a thousand times the target."
display(Markdown(table(listed, caption, "tab-breaks")))

# %% [markdown]
# Time at the target. Where the number of operations is known, the largest measured point is multiplied by it; passes of a
# network are a line in $P$, as the trunk does not depend on it; only the matchings follow a measured slope.

# %%
n_far, k_far, p_far = target


def passes_of(quantity: str) -> float:
    """N (a + b P): seconds an image, from the line in P."""
    fixed, each = growth.line(frame, quantity, "prototypes")
    return n_far * (fixed + each * p_far) / trained.images


def steep(quantity: str) -> float:
    """From the largest P on, by the slope between the two largest."""
    at, value = growth.largest(frame, quantity, "prototypes")
    along = (seconds.quantity == quantity) & (seconds.axis == "prototypes")
    return value * (p_far / at) ** float(seconds.loc[along, "slope_end"].iloc[0])


p_decision, of_decision = growth.largest(frame, "decision layer", "prototypes")
p_ajs, of_ajs = growth.largest(frame, "AJS", "prototypes")
p_counts, of_counts = growth.largest(frame, "counts", "prototypes")
more = n_far / base_images  # images, where P was varied
paper = pd.DataFrame(
    [
        ("training pass", "one over all images", "N (a + b P)", passes_of("training pass")),
        ("response table", "one network", "N (a + b P)", passes_of("response table")),
        ("decision layer", "200 steps", "N K P", 10 * of_decision * more * (p_far / p_decision) ** 2),
        ("AJS", "one pair of networks, eight τ", "N P", of_ajs * more * p_far / p_ajs),
        ("counts", "once", "N P²", of_counts * more * (p_far / p_counts) ** 2),
        ("dense matching", "ten α, if the memory were there", "slope", steep("dense matching")),
        ("PMS without P×P", f"ten α, its passes over only {base_images:,} images", "slope", steep("PMS without P×P")),
    ],
    columns=["quantity", "what", "grows as", "seconds"],
)
paper["on paper"] = paper.seconds.map(time_text)
where = "a GPU" if device.type == "cuda" else "this CPU"
caption = f"Time at {n_far:,} images × {k_far:,} classes on paper, on {where}; the metrics on its CPU."
display(Markdown(table(paper.drop(columns="seconds"), caption, "tab-paper")))
unsolved = [(what, breaks_at(need)) for what, need, lever in order if lever.startswith("not built")]
record = provenance(params, device, time.perf_counter() - began)
write_json(out / "growth.json", record)
longest = paper.loc[paper.seconds.idxmax()]
text = (
    f"Memory breaks first at *{order[0][0]}* ({breaks_at(order[0][1]):,.0f} classes). Of what is not built yet, the first "
    f"to break is *{unsolved[0][0]}* ({unsolved[0][1]:,.0f} classes). The longest time is *{longest.quantity}*: "
    f"{longest['on paper']}."
)
display(Markdown(text))

# %% [markdown]
# ## What this means, and what it does not
#
# The slopes are measured; the target is paper. Nobody has run this project on a million images: caches, disks and
# networks have limits of their own, and a power law taken from a small range need not hold over five powers of ten.
#
# Three limits are lifted in the code: images and trunk outputs may stay on the disk, response tables are never whole
# in memory, and PMS needs no P×P matrix and still is exact. Two are not. The decision layer holds activations of all
# images and a dense $K \times P$ matrix, of which the L1 term leaves little; a solver that reads batches and keeps the
# nonzero weights would lift it. And every pass of PMS compares $N P^2$ cells, whichever way it is matched, and the way
# without P×P needs several: on the full target only a sample of the images is affordable, and PMS of a sample is an
# estimate. How many passes the matching needs depends on the tables; those here are made up, crowded and alike in part.

# %% tags=["remove-input"]
display(Markdown(provenance_box(record, f"{len(points)} points, {params.repeats} repeats each.")))
