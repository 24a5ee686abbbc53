# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What is it that is handed over?
#
# **Question.** A student of Proto2Proto has its teacher's prototypes, is shown its teacher's map, and may begin with its decision layer. Is it the explanation that makes the difference, or features, or the decision layer, or more updates?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import audit
from p2p.evaluation import audit_tables as tables
from p2p.evaluation.variants import not_run, not_run_sentence
from p2p.figures import questions as drawn
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
place = project_path(params.results)
found = audit.audit_settings(place)
effects = audit.effects(found)
waiting = not_run_sentence(not_run(place, project_path("params"), "audit"))

# %% [markdown]
# ## Answer

# %%
for own in tables.same_images(found).values():
    rows = effects[effects["study"].isin(list(own))]
    decided = audit.controls_decide(rows)
    display(Markdown(decided or "\n".join(f"- {sentence}" for sentence in audit.controls_answer(rows))))
display(Markdown(waiting))

# %% [markdown]
# ## Method
#
# Each control is a student that gets another part of its teacher, or of another teacher, trained with the same recipe and seeds. The metrics ask how much of the triple's *own* teacher arrived, and differences are to the baseline, which gets nothing. A student of an untrained teacher, or of one of another seed, can gain accuracy, never an explanation of the teacher that it is compared with; with its prototypes in another order it still has its map.

# %% mystnb={"figure": {"caption": "What each control gains over the baseline, mean over seeds with 95 % interval; PMS and AJS corrected for chance. R² is not of it: a baseline was never taught the map. *paper*: the student of the paper, which gets everything.", "name": "fig-controls"}, "image": {"alt": "Dots with intervals: the gain of each control over the baseline in top-1, PMS and AJS, the largest first."}}
if len(effects):
    display(SVG(figures.svg(drawn.effects(tables.drawn(effects, departures=False), tuple(audit.HEADS.values())))))

# %%
for i, (images, own) in enumerate(tables.same_images(found).items()):
    caption = f"{images}: mean over seeds (lowest to highest). PMS and AJS are corrected for chance; *same part*: share of pairs of prototypes, matched, that fire on the same part of a bird, where both fire on one."
    display(Markdown(table(tables.controls_table(own), caption, f"tab-controls-{i}")))
    if len(rows := tables.half_table(own)):
        caption = f"{images}: taught on the images of half of the classes, on the test images of those and of the others; mean over seeds (lowest to highest), PMS corrected for chance."
        display(Markdown(table(rows, caption, f"tab-half-{i}")))
if not found:
    display(Markdown(waiting))

# %% [markdown]
# ## What this means, and what it does not
#
# A control of three seeds shows large effects only. R² of a control is of the map of the triple's own teacher, whatever it was taught.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(
    Markdown(provenance_box(record, "Effects are in results/audit/effects.csv once a study of the audit has been run."))
)
