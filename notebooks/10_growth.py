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
#
# All keys and their defaults: `p2p.study.params.GrowthParams`.

# %% tags=["parameters"]
device = "auto"  # auto: a GPU where there is one.
network = "resnet18"  # Trunk of passes and response tables; random weights.
batch_size = 8  # Of passes and response tables.
images = [8, 16, 32]  # N of passes and response tables.
classes = [50, 200, 1000, 2000]  # Their K, with P = 10 K.
grids = [7, 14, 28]  # Their grid, cells a side; the first is the base.
sizes = [224, 336, 448]  # Their resolution, pixels; the first is the base.
repeats = 3  # After a warm-up.
target_images = 1_000_000  # N on paper.
target_classes = 10_000  # K on paper.
memory_gb = 24.0  # Memory of the machine on paper, 2³⁰ bytes.

# %%
import time

from IPython.display import SVG, Markdown, display

from benchmarks import growth, paper
from benchmarks.tables import slope_table
from p2p.device import choose_device
from p2p.figures.speed import growth_panels
from p2p.figures.style import svg
from p2p.files import project_path, write_table
from p2p.study.checksums import seal
from p2p.study.pages import provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance, write_json
from p2p.study.speed_params import GrowthParams

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
frame = growth.measure_page(params, device)
write_table(frame, out / "growth.csv", 6)

# %% [markdown]
# ## Result: slopes

# %% mystnb={"figure": {"caption": "Time (above) and peak memory (below) against images, prototypes, grid and resolution, all axes logarithmic; the bars run from the lowest to the highest repeat. A straight line is a power law, its slope the exponent.", "name": "fig-growth"}, "image": {"alt": "Small multiples of time and peak memory of training, response tables, decision layer and metrics along four axes."}}
SVG(svg(growth_panels(frame)))

# %%
slopes = slope_table(growth.slopes(frame, "seconds"), growth.slopes(frame, "peak_bytes"))
caption = "Exponents: least squares over the whole range; small, the least and the largest between neighbouring points. A dash: no memory beyond what was in use."
display(Markdown(table(slopes, caption, "tab-slopes")))

# %% [markdown]
# ## On paper: what breaks first
#
# Bytes that follow from a shape are counted exactly; memory of the matching is extrapolated from the measurement. The way
# to the target is walked with its own ratio of images to classes, and the table says at how many classes each thing alone
# would fill the memory of one machine.

# %%
needs = paper.needs(params, frame)
ratio = params.target_images / params.target_classes
caption = f"Memory on paper, in the order in which it breaks, with {ratio:g} images a class. Beyond: not within a thousand times the target."
display(Markdown(table(paper.break_table(params, needs), caption, "tab-breaks")))

# %% [markdown]
# Time at the target. Where the number of operations is known, the largest measured point is multiplied by it; passes of a
# network are a line in $P$, as the trunk does not depend on it; only the matchings follow a measured slope.

# %%
times = paper.time_on_paper(params, frame)
where = "a GPU" if device.type == "cuda" else "this CPU"
caption = f"Time at {params.target_images:,} images × {params.target_classes:,} classes on paper, on {where}; the metrics on its CPU."
display(Markdown(table(times.drop(columns="seconds"), caption, "tab-paper")))
record = provenance(params, device, time.perf_counter() - began)
write_json(out / "growth.json", record)
seal(out, "10_growth", ["growth.csv", "growth.json"])
display(Markdown(paper.break_sentence(needs, times)))

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
display(Markdown(provenance_box(record, f"{len(frame)} points, {params.repeats} repeats each.")))
