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
#
# All keys and their defaults: `p2p.study.params.PageParams`.

# %% tags=["parameters"]
study = "quick"
triple = "small-small_sixth"
evaluations = ["small-small_sixth-s0", "small-small_sixth-s1"]  # <triple>-s<seed>.
variant = "paper"  # The student drawn.

# %%
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation.results import read_evaluations
from p2p.evaluation.tables import tau_rows, tau_table
from p2p.files import project_path
from p2p.metrics import TAUS
from p2p.study.pages import provenance_box, table
from p2p.study.params import PageParams, from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
whole = read_evaluations(project_path(params.results) / params.study, params.evaluations)
frame = tau_rows(whole, params.triple, params.variant)
drawn = frame[
    (frame.stage == "tuned") & ~frame.role.isin(["control", "budget"])
    | frame.metric.str.contains("_floor|_second_teacher")
]

# %% [markdown]
# ## Method
#
# $A(\tau)$ is the set of cells that are nearest to some prototype at a squared distance of at most $\tau$. At small $\tau$
# hardly any cell is active, at $\tau = \infty$ every nearest cell is. An image in which neither network has an active
# cell counts as 0 in AJS, as in the released code, so AJS falls to 0 with AAP.

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "AAP (left) and AJS with the teacher (right) against τ: mean over seeds, shaded from the lowest to the highest seed. Grey: the floor, a network with random weights (dashed), and a second teacher (dotted). Towards large τ the networks' values with permuted images (table below) come close to their own: there AJS says little.", "name": "fig-tau"}, "image": {"alt": "Two panels of curves: AAP and AJS against tau for teacher, baseline and student."}}
SVG(figures.svg(figures.tau_curves(drawn)))

# %%
display(Markdown(table(tau_table(frame, TAUS), "The values behind the curves: means over seeds.", "tab-tau")))

# %% [markdown]
# ## What this means, and what it does not
#
# Two networks whose distances live on different scales are compared at different points of their own curves when τ is
# the same for both; a published AJS without its τ cannot be placed on this figure. Compare a curve with the floor *at the
# same τ*.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "The runs behind this page have their own pages under *All runs*.")))
