# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Which part of the recipe does it?
#
# **Question.** What does each change of the recipe do, all else left as it is?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import across, questions
from p2p.evaluation.settings import read_settings
from p2p.figures import questions as drawn
from p2p.files import project_path
from p2p.study.pages import provenance_box, table
from p2p.study.params import QuestionParams, from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
settings = read_settings(project_path(params.results))
effects = across.recipe_effects(settings)

# %% [markdown]
# ## Answer

# %%
if len(effects):
    display(Markdown("\n".join(f"- {sentence}" for sentence in questions.recipe_sentences(settings))))
else:
    display(Markdown("No study in this copy has controls; `controls:` in a study file adds them."))

# %% [markdown]
# ## Method
#
# A control is one of the networks of a study, trained with one thing changed. Differences are taken within seeds, control less
# the network it was changed from. *Same source image*: share of prototypes that come from the image of the teacher's of the
# same number.

# %% mystnb={"figure": {"caption": "What each control changes, mean over seeds with 95 % interval where there are several. Left of the grey line it lowers the value.", "name": "fig-effects"}, "image": {"alt": "Dots with intervals: the effect of each control on accuracy, PMS and sources."}}
if len(effects):
    display(SVG(figures.svg(drawn.effects(effects))))

# %%
if len(effects):
    caption = "Control less the network it was changed from, with its 95 % interval. A dash: not measured."
    display(Markdown(table(across.recipe_table(settings), caption, "tab-effects")))

# %% [markdown]
# ## What this means, and what it does not
#
# A change that does nothing here may matter where students follow their teachers less far. To try another:
# add a line to `controls:` of a study file and `make study STUDY=` its name; only the new runs are trained.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
