# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What does it cost?
#
# **Question.** How large are the networks, how long do they train, and what does interpretability cost in accuracy?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import across, questions, survival
from p2p.evaluation.settings import read_settings
from p2p.figures import questions as drawn
from p2p.figures.sharing import sharing_curves
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
settings = read_settings(project_path(params.results))

# %% [markdown]
# ## Answer

# %%
if settings:
    display(Markdown("\n".join(f"- {sentence}" for sentence in questions.cost_sentences(settings))))
else:
    display(Markdown("No study of networks has been run in this copy yet: `make study` runs the quick one."))

# %% [markdown]
# ## Method
#
# One *image pass* is one image through the network's own trunk, forward alone or forward and backward, whatever for. While the
# trunk is frozen (warm phase) its outputs are computed once for a few augmented copies and kept. A student also sends its
# images through the teacher, which is counted apart. What prototypes cost in accuracy is the distance to an ordinary
# classifier on the same trunk (a control `model: linear`), where a study has one.

# %% mystnb={"figure": {"caption": "Top-1 accuracy on the test images against image passes, the teacher's answers included, its training not; a dot a run. Higher and further left is better.", "name": "fig-cost"}, "image": {"alt": "Scatter of accuracy against image passes for teacher, baseline, student and controls, a panel a study."}}
if any(len(setting.costs) for setting in settings):
    display(SVG(figures.svg(drawn.costs(settings))))

# %%
if any(len(setting.costs) for setting in settings):
    caption = "Size, passes, minutes and accuracy; mean over seeds (lowest to highest). Minutes are those of the machine that ran it, which may have done other things as well."
    display(Markdown(table(across.costs_table(settings), caption, "tab-cost")))

# %% [markdown]
# ## Fewer prototypes
#
# ProtoPShare merges prototypes whose activations on the training images agree; their weights in the decision layer are added, and
# the layer is tuned. Does a distilled student survive that better than the same network trained alone? Judged is the mean over
# the shares below 100 %, student less baseline of the same seed: of the change of accuracy, and of PMS to the whole teacher,
# corrected for chance, over pairs of all prototypes that are left: that, too, as the change from all prototypes. A less accurate network has less to lose: read the change
# beside the accuracies below.

# %%
if settings:
    display(Markdown("\n".join(f"- {sentence}" for sentence in survival.survival_sentences(settings))))

# %% mystnb={"figure": {"caption": "Accuracy (left; dotted: before the decision layer is tuned) and PMS to the whole teacher, corrected for chance (right), against the share of prototypes left. A dot a seed, lines through the means. The teacher's own prototypes stay its own, so its PMS is 1.", "name": "fig-fewer"}, "image": {"alt": "Curves of accuracy and PMS of teacher, baseline and student as prototypes are merged, a row a setting."}}
merged = {setting.title: setting.sharing for setting in settings if len(setting.sharing)}
if merged:
    display(SVG(figures.svg(sharing_curves(merged))))

# %%
if merged:
    caption = "Networks with all of their prototypes and with fewer; means over seeds, of the tuned accuracy with the lowest and highest. *Classes each*: how many classes a prototype serves. AJS (at the teacher's quarter threshold) and PMS are corrected for chance."
    display(Markdown(table(survival.tables(settings), caption, "tab-fewer")))

# %% [markdown]
# ## What this means, and what it does not
#
# Image passes can be compared between machines, minutes cannot; the page *Speed* compares times within one run.
# To run a setting again: `make study STUDY=birds` or `STUDY=cub-20`, then `make book`. A trunk
# that starts from ImageNet needs few passes, one that starts from nothing needs many.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
