# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Was it handed over?
#
# **Question.** Does the student look where its teacher looks, more than the same network trained alone?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import across, questions
from p2p.evaluation.settings import SIMILARITIES, read_settings
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
    display(Markdown(questions.handed_over(settings)))
    display(Markdown("\n".join(f"- {told}" for told in map(questions.second_teacher, settings) if told)))
else:
    display(Markdown("No study of networks has been run in this copy yet: `make study` runs the quick one."))

# %% [markdown]
# ## Method
#
# PMS asks, image by image, whether matched prototypes sit on the same cell; AJS whether the same cells are active; *same cell*
# how often two prototypes of one number do; *same number* whether the matching pairs prototype $j$ with the teacher's $j$, which
# nothing but teaching can bring about. All stand beside what the same network reaches when it is asked about *other images*. PMS
# and AJS are judged corrected for that; *same number* as it is: a student that has its teacher's habits of place is paired by
# them on other images, too. $R^2$ says how much of the teacher's map the student reproduces: without it, nothing can be handed over.

# %% mystnb={"figure": {"caption": "Student minus baseline in similarity to the teacher, PMS and AJS corrected for chance (AAP: how much nearer to the teacher's number, as a share of it; same number as it is), with 95 % interval. Right of the grey line the student is more like its teacher than the baseline; a grey tick is where a student at chance would lie.", "name": "fig-handed"}, "image": {"alt": "Forest plot of PMS, AJS, same number and AAP, a colour a setting."}}
if settings:
    display(SVG(figures.svg(drawn.forest(settings, drawn.PANELS[:1]))))

# %%
if settings:
    caption = "Mean over seeds, below it the lowest to the highest. *Other images* is chance: each answer is compared with the teacher's to another image. AJS is that at the threshold at which a quarter of the teacher's cells are active; of a random network none may be, so its 0.000 is not chance."
    display(Markdown(table(across.handed_table(settings), caption, "tab-handed")))
    caption = "The claims on similarity: student minus baseline. Fewer than three seeds are inconclusive, whatever their interval."
    display(Markdown(table(across.claims_table(settings, SIMILARITIES), caption, "tab-claims")))

# %% [markdown]
# ## Active patches against the threshold
#
# The paper's Figure 2. $A(\tau)$ is the set of cells that are nearest to some prototype at a squared distance of at most
# $\tau$. At small τ hardly any cell is active; at $\tau = \infty$ every nearest cell is, and networks that have nothing in
# common overlap almost as much. A published AJS without its τ cannot be placed here.

# %% mystnb={"figure": {"caption": "AAP (left) and AJS with the teacher (right) against τ: mean over seeds, shaded from the lowest to the highest. Grey: a network with random weights (dashed) and a second teacher (dotted). Compare a curve with the floor at the same τ.", "name": "fig-tau"}, "image": {"alt": "Curves of AAP and AJS against tau for teacher, baseline and student, a row a setting."}}
if settings:
    display(SVG(figures.svg(figures.tau_curves({s.title: across.tau_rows(s) for s in settings}))))

# %% [markdown]
# ## What this means, and what it does not
#
# The same cell is not the same meaning: two prototypes may sit on a beak for different reasons. A student with a low $R^2$
# was not given the time to follow; see [what a short schedule does](./schedule.md). To run a setting again:
# `make study STUDY=birds` or `STUDY=cub-20`, then `make book`.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
