# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What training costs
#
# **Question.** How many image passes does each network take, and how accurate is it by then?

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
study = "quick"
title = "Quick study"
intro = ""
order = 8
images = "synthetic birds"  # What the images are, as tables say it.
triple = "small-small_half"
seed = 0  # The seed whose networks are pictured.
evaluations = ["small-small_half-s0", "small-small_half-s1"]  # <triple>-s<seed>.
train_runs = []  # Names of all runs of the study; empty: those of `networks`.
networks = {
    "teacher": "teacher-small-s0",
    "baseline": "baseline-small_half-s0",
    "student": "student-small-small_half-paper-s0",
}  # role: run, the networks pictured.
variant = "paper"  # The student pictured.
controls = {}  # control: the role it was derived from.
top_k = 5  # Prototypes shown for an image.
pictures = 4  # Test images or classes shown.
runs = "runs"
results = "results"

# %%
import json
import time

import pandas as pd
import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation.claims import paired
from p2p.figures import speed as figures_speed
from p2p.files import atomic_path, project_path
from p2p.study.pages import mean_range, provenance_box, table
from p2p.study.params import PageParams, from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
out = project_path(params.results) / params.study
saved = out / "passes.csv"
rows, costs = [], []
for name in params.train_runs or params.networks.values():
    folder = project_path(params.runs) / params.study / name
    if not (folder / "run.json").is_file():
        continue
    run = json.loads((folder / "run.json").read_text())
    p = run["parameters"]
    who = {"run": name, "network": p["network"], "role": p["role"], "variant": p["variant"], "seed": p["seed"]}
    history = pd.read_csv(folder / "history.csv")
    history["hours"] = history.seconds.cumsum() / 3600
    rows.append(history[["phase", "epoch", "passes", "hours", "validation"]].assign(**who))
    record = run["provenance"]
    cost = {key: record[key] for key in ("image_passes", "teacher_passes", "hours", "device")}
    outcome = run["outcome"]
    costs.append({**who, **cost, "validation": outcome["validation"], "test": outcome["top1"]["tuned"]})
# A committed study's runs may lie on another machine: then its page is drawn from what was written when they were there.
if costs:
    curves, spent = pd.concat(rows, ignore_index=True), pd.DataFrame(costs)
    for frame, path in ((curves, saved), (spent, out / "costs.csv")):
        with atomic_path(path) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")
curves, spent = pd.read_csv(saved), pd.read_csv(out / "costs.csv")

# %% [markdown]
# ## Method
#
# One *image pass* is one image through the network's own trunk, forward alone or forward and backward, whatever for:
# training, validation, the push, the decision layer, the test. While the trunk is frozen (warm phase) its outputs are
# computed once for each of a few augmented copies and kept, so these epochs add passes only the first time. A student
# also sends its images through the teacher, which is counted apart.
#
# A point is drawn after every epoch. The large points are networks whose prototypes have just become training patches and
# whose decision layer has been solved anew: only these can be chosen, by validation accuracy.

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "Accuracy on the validation images against image passes (logarithmic): mean over seeds, one panel for each trunk. Large points: after push and decision layer, the networks that may be chosen; where a curve rises steeply at one place, the passes are epochs on cached trunk outputs. Higher and further left is better.", "name": "fig-passes"}, "image": {"alt": "Curves of validation accuracy against the number of image passes for every kind of network."}}
SVG(figures.svg(figures_speed.passes_curves(curves)))

# %%
spent["name"] = spent.role + spent.variant.map(lambda v: "" if v == "paper" else f": {v}")
lines = []
for (network, name), group in spent.groupby(["network", "name"], sort=False):
    lines.append(
        {
            "network": f"{name} ({network})",
            "image passes": f"{group.image_passes.mean():,.0f}",
            "of the teacher": f"{group.teacher_passes.mean():,.0f}" if group.teacher_passes.any() else "–",
            "minutes": mean_range(60 * group.hours, 1),
            "top-1, validation": mean_range(group.validation),
            "top-1, test": mean_range(group.test),
        }
    )
devices = ", ".join(sorted(spent.device.unique()))
caption = f"Cost and accuracy of each network on {params.images}; mean over seeds (lowest to highest). Minutes on {devices}, while other runs may have shared the machine."
display(Markdown(table(pd.DataFrame(lines), caption, "tab-cost")))

# %% [markdown]
# ## What a change of the recipe costs and brings
#
# Each control against the network it was changed from, within seeds. The ratio is image passes of the control over those of
# the network; a study without controls has none to show.

# %%
lines = []
for control, origin in params.controls.items():
    mine = spent[(spent.role == "control") & (spent.variant == control)].set_index("seed")
    base = spent[(spent.role == origin) & (spent.variant == (params.variant if origin == "student" else "paper"))]
    base = base[base.network.isin(mine.network)].set_index("seed")
    if mine.empty or base.empty:
        continue
    line = {"control": control, "changed from": origin}
    line["image passes, ratio"] = f"{(mine.image_passes / base.image_passes).mean():.2f}"
    for split in ("validation", "test"):
        difference = paired((mine[split] - base[split]).dropna().to_numpy())
        interval = f" ({difference.low:+.3f}–{difference.high:+.3f})" if difference.low == difference.low else ""
        line[f"top-1, {split}"] = f"{difference.mean:+.3f}{interval}"
    lines.append(line)
if lines:
    caption = "Image passes of each control relative to the network it was changed from, and the difference in accuracy (control less origin) with its 95 % interval over seeds."
    display(Markdown(table(pd.DataFrame(lines), caption, "tab-recipes")))

# %% [markdown]
# ## What this means, and what it does not
#
# Image passes can be compared between machines, minutes cannot. What a recipe saves here holds for these images and these
# networks: a trunk that starts from ImageNet needs few passes, one that starts from nothing needs many, and with few
# validation images a difference of one image is a step of several thousandths.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
total = f"The {len(spent)} runs behind this page took {spent.hours.sum():.2f} h in all."
display(Markdown(provenance_box(record, total + " Each run has its own page under *All runs*.")))
