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
#
# All keys and their defaults: `p2p.study.params.PageParams`.

# %% tags=["parameters"]
study = "quick"
images = "synthetic birds"  # What the images are, as tables say it.
train_runs = []  # Names of all runs of the study; empty: those of `networks`.
networks = {
    "teacher": "teacher-small-s0",
    "baseline": "baseline-small_sixth-s0",
    "student": "student-small-small_sixth-paper-s0",
}  # role: run, the networks pictured.
variant = "paper"  # The student that controls are compared with.
controls = {}  # control: the role it was derived from.

# %%
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p.evaluation.results import read_costs
from p2p.evaluation.tables import cost_table, recipe_table
from p2p.figures.speed import passes_curves
from p2p.figures.style import svg
from p2p.files import project_path
from p2p.study.checksums import seal
from p2p.study.pages import escape, provenance_box, table
from p2p.study.params import PageParams, from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
out = project_path(params.results) / params.study
curves, costs = read_costs(params.all_runs(), project_path(params.runs) / params.study, out)
seal(out, "08_cost", ["passes.csv", "costs.csv"])

# %% [markdown]
# ## Method
#
# One *image pass* is one image through the network's own trunk, forward alone or forward and backward, whatever for:
# training, validation, the push, the decision layer, the test. While the trunk is frozen (warm phase) its outputs are
# computed once for each of a few augmented copies and kept, so these epochs add passes only the first time. A student
# also sends its images through the teacher, which is counted apart.
#
# A point is drawn after every epoch. The large points are networks whose prototypes have just become training patches and
# whose decision layer has been tuned.

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "Accuracy on the validation images against image passes (logarithmic): mean over seeds, one panel for each trunk. Large points: after push and decision layer, the networks that may be chosen; where a curve rises steeply at one place, the passes are epochs on cached trunk outputs. Higher and further left is better.", "name": "fig-passes"}, "image": {"alt": "Curves of validation accuracy against the number of image passes for every kind of network."}}
SVG(svg(passes_curves(curves)))

# %%
devices = ", ".join(sorted(costs.device.unique()))
caption = f"Cost and accuracy of each network on {escape(params.images)}; mean over seeds (lowest to highest). Minutes on {devices}, while other runs may have shared the machine."
display(Markdown(table(cost_table(costs), caption, "tab-cost")))

# %% [markdown]
# ## What a change of the recipe costs and brings
#
# Each control against the network it was changed from, within seeds. The ratio is image passes of the control over those of
# the network; a study without controls has none to show.

# %%
changes = recipe_table(costs, params.controls, params.variant)
if len(changes):
    caption = "Image passes of each control relative to the network it was changed from, and the difference in accuracy (control less origin) with its 95 % interval over seeds."
    display(Markdown(table(changes, caption, "tab-recipes")))

# %% [markdown]
# ## What this means, and what it does not
#
# Image passes can be compared between machines, minutes cannot. What a recipe saves here holds for these images and these
# networks: a trunk that starts from ImageNet needs few passes, one that starts from nothing needs many, and with few
# validation images a difference of one image is a step of several thousandths.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
total = f"The {len(costs)} runs behind this page took {costs.hours.sum():.2f} h in all."
display(Markdown(provenance_box(record, total + " Each run has its own page under *All runs*.")))
