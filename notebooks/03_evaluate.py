# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Evaluate one triple
#
# **Question.** How much of the teacher's explanation arrived in the student, and how much would have been there anyway?
#
# The three networks of one seed, and the controls, answer to the same test images; their answers were stored when they
# were trained. Here they are compared.

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
study = "quick"  # Name of the study and its folders.
reader = "birds"
root = ""  # Folder of the data; empty: the environment variable P2P_DATA.
size = 64  # Side of the square images, pixels.
class_step = 1  # Take every so many-th class.
class_count = None  # At most so many classes.
images_per_class = None  # The first so many of each class and split.
validation_fraction = 0.15  # Cut from each class's training images.
data_seed = 0  # Seed of the validation cut and of the synthetic birds.
bird_train_per_class = 100  # Synthetic birds for training and validation.
bird_test_per_class = 50  # Synthetic birds for the test.
streaming = "auto"  # on: images stay on the disk, read ahead batch by batch; auto: where memory is short.
device = "auto"  # auto: a GPU where there is one.
triple = "small-small_half"
seed = 0
teacher_run = "teacher-small-s0"
baseline_run = "baseline-small_half-s0"
student_runs = {"paper": "student-small-small_half-paper-s0"}  # variant: run.
control_runs = {}  # variant: run.
ceiling_run = ""  # A teacher of another seed, the ceiling; empty: none.
ajs_empty = "zero"  # A11: AJS of two empty sets.
runs = "runs"
results = "results"

# %%
import json
import time
from math import inf

import pandas as pd
import torch
from IPython.display import SVG, Markdown, display

from p2p import figures, metrics
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.errors import UserError
from p2p.evaluation.measure import Answer, level_rows, own_rows, transfer_rows
from p2p.evaluation.runs import load_run, respond
from p2p.files import atomic_path, project_path
from p2p.metrics import ResponseTable
from p2p.study.pages import provenance_box, table
from p2p.study.params import EvaluateParams, from_namespace
from p2p.study.provenance import provenance, write_json
from p2p.training.build import build_network

params = from_namespace(EvaluateParams, globals())
device = choose_device(params.device)
began = time.perf_counter()
place = project_path(params.runs) / params.study


def answer(role: str, variant: str, run: str) -> Answer:
    """A finished run and its response tables."""
    folder = place / run
    if not (folder / "run.json").is_file():
        raise UserError(f"Run '{run}' of study '{params.study}' is not finished; train it first (make study).")
    outcome = json.loads((folder / "run.json").read_text())["outcome"]
    files = {"pre_push": "responses_pre_push.safetensors", "tuned": "responses.safetensors"}
    tables = {s: ResponseTable.load(folder / f) for s, f in files.items() if (folder / f).is_file()}
    return Answer(role, variant, outcome, tables, load_run(folder))


teacher = answer("teacher", "paper", params.teacher_run)
others = [answer("baseline", "paper", params.baseline_run)]
others += [answer("student", variant, run) for variant, run in params.student_runs.items()]
others += [answer("control", variant, run) for variant, run in params.control_runs.items()]
images = load_images(params, device).subset("test")
asked = len(next(iter(teacher.tables.values())).cells)
if asked != len(images):
    raise UserError(
        f"Run '{params.teacher_run}' answered to {asked} test images, the data keys here give {len(images)}; "
        "use the data keys of its study."
    )

# %% [markdown]
# ## Method
#
# For every image and prototype the response table holds the nearest cell and its distance. A cell is *active* at $\tau$
# when some prototype has its nearest cell there at a distance of at most $\tau$; $A_T$ and $A_S$ are the active cells of
# teacher and student in one image.
#
# $$
# \mathrm{AAP} = \operatorname{mean} |A|, \qquad
# \mathrm{AJS} = \operatorname{mean} \frac{|A_T \cap A_S|}{|A_T \cup A_S|},
# $$
#
# $$
# \mathrm{PMS} = \operatorname*{mean}_\alpha \max_\pi \frac1P \sum_i \min\Bigl(1, \frac{k_{i\pi(i)}}{\alpha N}\Bigr),
# $$
#
# where $k_{ij}$ counts the images in which teacher prototype $i$ and student prototype $j$ sit on the same cell, and
# $\pi$ matches the prototypes one to one.
#
# No value means much alone. The **floor** is a student network with random weights; **permuted** is the same student,
# asked about other images; the **ceiling** is a second teacher, trained alike from another seed: what two independent
# trainings share. A student that was pulled towards its teacher may pass it.

# %%
rows = list(own_rows(teacher))
for other in others:
    rows += own_rows(other)
    if other.tables:
        rows += transfer_rows(other, teacher, images.labels, params.ajs_empty, params.seed)
student = others[1].trained.params
random = build_network(student.model_copy(update={"weights": "none"}), len(images.classes)).to(device)
(floor,) = respond(random, images.pixels, batch_size=student.batch_size)
rows += level_rows("control", "random", "floor", teacher.tables["tuned"], floor, params.ajs_empty)
if params.ceiling_run:
    ceiling = answer("teacher", "paper", params.ceiling_run).tables["tuned"]
    rows += level_rows("teacher", "other seed", "ceiling", teacher.tables["tuned"], ceiling, params.ajs_empty)

frame = pd.DataFrame(rows, columns=["role", "variant", "stage", "metric", "tau", "value"])
for column, value in (("seed", params.seed), ("triple", params.triple), ("study", params.study)):
    frame.insert(0, column, value)
frame = frame[["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]]
seconds = time.perf_counter() - began
record = provenance(params, device, seconds, len(images))
out = project_path(params.results) / params.study / "evaluations"
with atomic_path(out / f"{params.triple}-s{params.seed}.csv") as path:
    frame.to_csv(path, index=False, float_format="%.6g")
write_json(out / f"{params.triple}-s{params.seed}.json", record)

# %% [markdown]
# ## Result
#
# The whole of it is in the result file; here are accuracy and the three metrics without a threshold.

# %%
top = frame[(frame.stage == "tuned") & frame.tau.isin(["", inf])]
wide = top.pivot_table(index=["role", "variant"], columns="metric", values="value", sort=False)
names = {
    "top1": "top-1",
    "aap": "AAP",
    "ajs": "AJS",
    "ajs_permuted": "permuted",
    "pms": "PMS",
    "pms_permuted": "permuted ",
}
wide = wide.loc[wide["top1"].notna(), [c for c in names if c in wide]].rename(columns=names).reset_index()
wide.insert(0, "network", [r if v == "paper" else f"{r}: {v}" for r, v in zip(wide.role, wide.variant, strict=True)])
wide = wide.drop(columns=["role", "variant"])
shown = wide.map(lambda v: v if isinstance(v, str) else "–" if pd.isna(v) else f"{v:.3f}")
caption = "Accuracy, AAP, AJS (τ = ∞) and PMS of every network of this seed. A dash: the metric does not apply."
display(Markdown(table(shown, caption, "tab-triple")))
levels = top[top.metric.str.contains("_floor|_ceiling")]
levels = levels.assign(level=levels.metric.str.split("_").str[1], metric=levels.metric.str.split("_").str[0])
levels = levels.pivot_table(index="level", columns="metric", values="value", sort=False).reset_index()
levels = levels.map(lambda v: v if isinstance(v, str) else f"{v:.3f}")
display(
    Markdown(
        table(
            levels,
            "What a student network with random weights (floor) and a second teacher, trained alike from another seed (ceiling), reach.",
            "tab-levels",
        )
    )
)

# %% [markdown]
# ## Which prototypes found each other
#
# The matching behind PMS pairs every teacher prototype with one student prototype. If the student had the teacher's
# prototypes, each would be paired with its own number.

# %% mystnb={"figure": {"caption": "Pairs of the matching at α = 1: in how many of the test images a teacher prototype and its partner sit on the same cell, sorted, for baseline and student. Higher is more alike; the dashed line is the level of chance.", "name": "fig-pairs"}, "image": {"alt": "Sorted agreement of matched prototype pairs for baseline and student."}}
pairs, same = {}, []
for other in others[:2]:
    counts = metrics.coincidences(teacher.tables["tuned"], other.tables["tuned"]).double()
    match = metrics.pms(teacher.tables["tuned"], other.tables["tuned"]).matching[-1]
    pairs[other.role] = counts.gather(1, match[:, None])[:, 0].sort(descending=True).values / len(images)
    own = (match == torch.arange(len(match))).double().mean()
    same.append(f"{own:.0%} ({other.role})")
grid = teacher.tables["tuned"].grid
SVG(figures.svg(figures.pair_curves(pairs, 1 / (grid[0] * grid[1]))))

# %%
display(Markdown(f"Of the teacher's prototypes, matched with the prototype of the same number: {', '.join(same)}."))

# %% [markdown]
# ## What this means, and what it does not
#
# AJS without a threshold compares nearly full sets of cells, so it is high for any two networks: read it against the
# permuted value and the floor. PMS asks for prototypes that sit on the same cell in the same image, which says that they
# look at the same place, not that they mean the same thing.

# %% tags=["remove-input"]
display(Markdown(provenance_box(record)))
