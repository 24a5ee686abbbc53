# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Every claim, setting by setting
#
# **Question.** Which of the paper's claims hold, where, and by how much?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.
out = "book/_build/pages"  # Folder for what other pages of the book include.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import across, questions
from p2p.evaluation.claim_by_claim import claim_by_claim, side_by_side
from p2p.evaluation.settings import older_studies, prepared, read_settings, spoken_of
from p2p.figures import questions as drawn
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import listed, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
settings = read_settings(project_path(params.results))
out = project_path(params.out)
out.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Answer

# %%
told = spoken_of(settings)
found = [questions.handed_over(told, True), questions.more_accurate(told, True), questions.other_pictures(told)]
if settings:
    (out / "findings.md").write_text("\n\n".join(found) + "\n", encoding="utf-8")
    display(Markdown("\n".join(f"- {sentence}" for sentence in found)))
else:
    display(Markdown("No study of networks has been run in this copy yet: `make study` runs the quick one."))

# %% [markdown]
# ## Method
#
# Student minus baseline of the same seed, then the mean over seeds with its 95 % interval (paired t). Similarities are
# corrected for chance; accuracies are those of the test images. The words follow from the interval and from the smallest
# effect of interest δ that each study file declared before its runs: *no effect that matters*, wholly within ±δ; else
# *supported*, wholly above 0, or *contradicted*, wholly below; *inconclusive*, anything else. Of accuracies *not decided at this
# budget*, where twice the joint passes would still move them.
# The interval is that of one claim alone; the p beside a verdict is corrected for the number of claims.
# The answer speaks of studies of three seeds or more, where there are any; figure and tables hold all.

# %% [markdown]
# ## Result

# %%
if settings:
    figures.save(drawn.forest(settings), out / "forest.svg")
    figures.save(drawn.forest(settings, compact=True), out / "forest-compact.svg")
    caption = "Means over seeds, test images. PMS (not corrected) and top-1 are the student's; *chance*: asked about other images; *alone*: the baseline's. Same number, same picture: shares of the student's prototypes that pair with the teacher's of their number, and that come from its training image."
    numbers = table(across.summary_table(settings), caption, "tab-summary")
    (out / "numbers.md").write_text(numbers, encoding="utf-8")

# %% mystnb={"figure": {"caption": "Student minus baseline, mean over seeds with 95 % interval; PMS and AJS corrected for chance, the others as they are. Right of the grey line the student is better; within the grey band the difference does not matter. A hollow mark: more passes might still change it. A grey tick: where a student would lie whose similarity is chance.", "name": "fig-forest"}, "image": {"alt": "Forest plot of all claims: a row a claim, a colour a setting."}}
if settings:
    display(SVG(figures.svg(drawn.forest(settings))))

# %%
if settings:
    caption = "Every measure: student minus baseline, mean over seeds, with the verdict; below it the 95 % interval and p, corrected by Holm over the claims of a setting. Fewer than three seeds decide nothing, whatever their interval."
    display(Markdown(table(side_by_side(settings), caption, "tab-claims")))

# %% [markdown]
# ### Claim by claim
#
# What was claimed, by whom, what would support it, and what is found: student minus baseline with its 95 % interval, unless it
# says otherwise.

# %%
if settings:
    studies = {setting.study for setting in settings}
    compared = [s for s in read_settings(project_path(params.results), every=True) if s.study not in studies]
    display(Markdown("\n\n".join(claim_by_claim(settings, compared))))
if older := older_studies(project_path(params.results)):
    display(
        Markdown(
            f"Not among them, top-1 on test images: {listed(older)}. Their students had three or four joint passes, too few to follow a teacher, and no smallest effect was declared: see [What a short schedule does](schedule.md)."
        )
    )

if waiting := prepared(project_path(params.results), project_path("params")):
    display(Markdown(f"Prepared, with `make study`, and not run in this copy: {listed(waiting)}."))

# %% [markdown]
# ## What this means, and what it does not
#
# A verdict speaks about its setting: these images, networks, passes and seeds. *Not decided at this budget* is no weak
# *supported*: the sign may change with more passes. What settings have in common is likely to hold elsewhere; what they do
# not, depends on something that these pages have not isolated. To run a setting again: `make study STUDY=birds` or
# `make study STUDY=cub-20`, then `make book`.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from `claims.csv` of every study; the runs are in the *Archive*.")))
