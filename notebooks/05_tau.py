# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Active patches against the threshold
#
# **Question.** How do the number of active patches and their overlap depend on τ, the distance below which a prototype
# counts as active? This is the paper's Figure 2.

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
import time

import pandas as pd
import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.files import project_path
from p2p.metrics import TAUS
from p2p.study.pages import mean_range, provenance_box, table
from p2p.study.params import PageParams, from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
out = project_path(params.results) / params.study
files = [out / "evaluations" / f"{name}.csv" for name in params.evaluations]
frame = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
frame = frame[(frame.triple == params.triple) & ((frame.role != "student") | (frame.variant == params.variant))]
tuned = frame[(frame.stage == "tuned") & (frame.role != "control") | frame.metric.str.contains("_floor|_ceiling")]

# %% [markdown]
# ## Method
#
# $A(\tau)$ is the set of cells that are nearest to some prototype at a squared distance of at most $\tau$. At small $\tau$
# hardly any cell is active, at $\tau = \infty$ every nearest cell is. An image in which neither network has an active
# cell counts as 0 in AJS, as in the released code, so AJS falls to 0 with AAP.

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "AAP (left) and AJS with the teacher (right) against τ: mean over seeds, shaded from the lowest to the highest seed. Grey: the floor, a network with random weights (dashed), and the ceiling, a second teacher (dotted). Towards large τ the networks' values with permuted images (table below) come close to their own: there AJS says little.", "name": "fig-tau"}, "image": {"alt": "Two panels of curves: AAP and AJS against tau for teacher, baseline and student."}}
SVG(figures.svg(figures.tau_curves(tuned)))

# %%
rows = []
for role, metric, name in (
    ("teacher", "aap", "AAP, teacher"),
    ("baseline", "aap", "AAP, baseline"),
    ("student", "aap", "AAP, student"),
    ("baseline", "ajs", "AJS, baseline"),
    ("student", "ajs", "AJS, student"),
    ("baseline", "ajs_permuted", "AJS, baseline, images permuted"),
    ("student", "ajs_permuted", "AJS, student, images permuted"),
    ("control", "ajs_floor", "AJS, floor"),
    ("teacher", "ajs_ceiling", "AJS, ceiling"),
):
    part = frame[(frame.stage == "tuned") & (frame.role == role) & (frame.metric == metric)]
    if role == "student":
        part = part[part.variant == params.variant]
    digits = 1 if metric == "aap" else 2
    values = {
        f"τ = {tau:g}".replace("inf", "∞"): mean_range(part.loc[part.tau == tau, "value"], digits, spread=False)
        for tau in TAUS
    }
    rows.append({"": name, **values})
display(Markdown(table(pd.DataFrame(rows), "The values behind the curves: means over seeds.", "tab-tau")))

# %% [markdown]
# ## What this means, and what it does not
#
# Two networks whose distances live on different scales are compared at different points of their own curves when τ is
# the same for both; a published AJS without its τ cannot be placed on this figure. Compare a curve with the floor *at the
# same τ*.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "The runs behind this page have their own pages under *All runs*.")))
