# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What would one use today?
#
# **Question.** Of all that was tried on one trunk, with equal passes: which student would one train now, how near does it come to an ordinary classifier, and are its explanations as good as those of the paper's student?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import today
from p2p.evaluation.variants import not_run, not_run_sentence
from p2p.figures import questions as drawn
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import escape, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
settings = today.today_settings(project_path(params.results))
waiting = not_run_sentence(not_run(project_path(params.results), project_path("params"), "today"))

# %% [markdown]
# ## Answer

# %%
said = [sentence for setting in settings for sentence in today.sentences(setting)]
display(Markdown("\n".join(f"- {sentence}" for sentence in [*said, *([waiting] if waiting else [])])))

# %% [markdown]
# ## Method
#
# Candidates are changes of the student alone, at equal passes: the shared push, which puts prototypes at the teacher's own source patches; PPC on all cells; the teacher's softened logits beside both losses; weights averaged over the last passes before the push (Izmailov et al. 2018); and pairs of these. They are compared on validation images, with seeds that no study has ([how the recipes were found](searches.md)). The chosen one is then trained with fresh seeds. *No worse*: the 95 % interval of the difference ends above minus the smallest effect of interest, 0.01 of accuracy and 0.02 of a similarity.

# %% mystnb={"figure": {"caption": "The chosen student less the paper's, mean over seeds with 95 % interval. Right of the grey line it is better.", "name": "fig-today"}, "image": {"alt": "Dots with intervals: difference of the chosen student to the paper's in accuracy, R², PMS, AJS, same source image and sources on the object."}}
if settings:
    display(SVG(figures.svg(drawn.effects(today.drawn(settings), ("chosen − paper's student",)))))

# %%
for i, setting in enumerate(settings):
    caption = f"{escape(setting.title)}: mean over {setting.seeds} seeds (lowest to highest); PMS and AJS corrected for chance."
    display(Markdown(table(today.networks_table(setting), caption, f"tab-today-{i}")))

# %% [markdown]
# ## What this means, and what it does not
#
# The best of a few candidates on a few hundred validation images is chosen partly by their noise; that is why it is confirmed elsewhere. Another trunk or another data set may want another one: the search is one command, `make search STUDY=today-birds`, or with the name of another file in `params/search/`.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
