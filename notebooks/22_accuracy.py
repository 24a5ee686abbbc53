# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Is the student more accurate, and at what budget?
#
# **Question.** Does teaching make the small network more accurate, and would more training change the answer?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import across, budgets, questions
from p2p.evaluation.settings import ACCURACIES, read_settings
from p2p.figures import questions as drawn
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
    display(Markdown(questions.more_accurate(settings)))
    told = [said for setting in settings for said in (budgets.flatness(setting), budgets.lead(setting)) if said]
    display(Markdown("\n".join(f"- {said}" for said in told)))
else:
    display(Markdown("No study of networks has been run in this copy yet: `make study` runs the quick one."))

# %% [markdown]
# ## Method
#
# Accuracies of test images. *Straight after the push* the prototypes have just become training patches and the
# decision layer does not know it: how much the push costs. *Tuned*: the decision layer has been fitted anew; the network that
# is reported. *Teacher's head*: the teacher's decision layer in its place, untouched. A verdict counts only where twice the
# joint passes move the validation accuracy of baseline and student by less than a point; of fewer than three seeds never.

# %% mystnb={"figure": {"caption": "Top-1 accuracy, student minus baseline, with 95 % interval. Hollow: not decided, because more passes still move one of the two.", "name": "fig-accuracy"}, "image": {"alt": "Forest plot of accuracy after the push, tuned and with the teacher's head, a colour a setting."}}
if settings:
    display(SVG(figures.svg(drawn.forest(settings, drawn.PANELS[1:]))))

# %%
if settings:
    caption = "Top-1 accuracy on the test images by stage; mean over seeds (lowest to highest). Before the push prototypes are free vectors: such a network has no training patch to show."
    display(Markdown(table(across.stages_table(settings), caption, "tab-stages")))
    caption = "The claims on accuracy: student minus baseline."
    display(Markdown(table(across.claims_table(settings, ACCURACIES), caption, "tab-claims")))

# %% [markdown]
# ## At what budget?

# %% mystnb={"figure": {"caption": "Accuracy on the test images, R² of the teacher's map and PMS against the number of joint passes (logarithmic). Dots are seeds, lines the means of the seeds that have all numbers of passes; the upright line marks the passes of the study. Flat to its right: more passes would change nothing.", "name": "fig-budget"}, "image": {"alt": "Accuracy, R² and PMS of baseline and student against joint passes, a row a setting."}}
budgets = {setting.title: setting.budget for setting in settings if len(setting.budget)}
if budgets:
    display(SVG(figures.svg(figures.budget_curves(budgets))))

# %% [markdown]
# ## What this means, and what it does not
#
# Accuracy differs between seeds by several points where test images are few, so an interval that contains 0 does not say
# that there is no effect. To run a setting again: `make study STUDY=birds` or `STUDY=cub-20`; `budget:` in its file lists other
# numbers of passes. Similarities have no such rule: their verdicts are those of the passes that were run.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
