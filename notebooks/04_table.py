# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The main table
#
# **Question.** Does a student trained by Proto2Proto explain more like its teacher than the same network trained alone,
# and is it more accurate?

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.page_params.PageParams`.

# %% tags=["parameters"]
study = "quick"
images = "synthetic birds"  # What the images are, as tables say it.
triple = "small_half-small_sixth"  # The one drawn seed by seed.
evaluations = ["small_half-small_sixth-s0", "small_half-small_sixth-s1"]  # <triple>-s<seed>.
train_runs = []  # Names of all runs of the study; empty: those of `networks`.
variant = "paper"  # The student compared.
controls = {}  # control: the role it was derived from.

# %%
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import tables
from p2p.evaluation.claims import claims, control_effects
from p2p.evaluation.findings import runs_sentence, study_findings
from p2p.evaluation.results import read_evaluations, run_records, write_costs, write_study
from p2p.files import project_path, write_atomic, write_table
from p2p.study.checksums import seal
from p2p.study.page_params import PageParams
from p2p.study.pages import escape, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
out = project_path(params.results) / params.study
frame = read_evaluations(out, params.evaluations)
records = run_records(params.all_runs(), project_path(params.runs) / params.study, out)
write_study(out, params, frame, records)
write_costs(params.all_runs(), project_path(params.runs) / params.study, out)
trained = frame[frame.role != "budget"]  # those of other budgets have a section of their own
seeds = sorted(frame.seed.unique().tolist())

# %% [markdown]
# ## Method
#
# Teacher, baseline and student of the same seed are compared on the same test images: mean over seeds and, small, the
# lowest and highest. All is of the *tuned* stage: prototypes are training patches, the decision layer knows it. AAP and
# AJS are taken without a threshold ($\tau = \infty$); the page *Was it handed over?* has the curves. Below stand the levels to read them
# against: random weights, the same networks asked about other images (*permuted*: what remains is a liking for certain
# cells), and a second teacher, of another seed, which shows what two independent trainings share and bounds nothing.

# %% [markdown]
# ## Result

# %%
mains = {name: tables.main_table(trained, name, params.variant) for name in frame.triple.unique()}
write_atomic(out / "table.md", tables.plain_text(mains, params.images, seeds))
for i, (name, content) in enumerate(mains.items()):
    caption = f"{name}, {escape(params.images)}; mean over {len(seeds)} seeds (lowest to highest). AAP: nearer to the teacher's is better; AJS and PMS: higher is more like the teacher, 1 is the teacher itself."
    display(Markdown(table(content, caption, f"tab-main-{i}")))

# %% [markdown]
# ## Seed by seed

# %% mystnb={"figure": {"caption": "One dot a seed, bars their mean. Lines across: floor (random student) and second teacher (another seed).", "name": "fig-seeds"}, "image": {"alt": "Dot plot of accuracy, AJS and PMS for every network and seed."}}
first = trained[(trained.triple == params.triple) & (trained.stage == "tuned")]
SVG(figures.svg(figures.seed_dots(first)))

# %% [markdown]
# ## Accuracy at each stage
#
# A number from before the push belongs to a network whose prototypes are *not* training patches; reported alone it
# promises an explanation that the network does not have.

# %%
caption = "Top-1 accuracy on the test images by stage, and the largest distance of any prototype from its training patch after tuning."
display(Markdown(table(tables.stage_table(trained), caption, "tab-stages")))

# %% [markdown]
# ## How far the student got
#
# R² says how much of the teacher's add-on map the student reproduces on test images: the first thing to look at when a
# transfer fails. *Same number*: prototypes that the matching of PMS pairs with the teacher's of their own number. *Same
# source*: prototypes whose source patch, or image, is that of the teacher's of their number, which is what a person is shown.

# %%
caption = "R² of the add-on map, share of prototypes with the teacher's number and source, and number of distinct ones; mean over seeds (lowest to highest)."
display(Markdown(table(tables.following_table(frame, params.variant), caption, "tab-following")))

# %% [markdown]
# ## Was the budget enough?
#
# Baseline and student with fewer and with more joint passes, all else as it is. A curve that still rises at the study's own
# number of passes speaks about the schedule, not about the method; a study without other budgets shows nothing here.

# %% mystnb={"figure": {"caption": "Accuracy on the test images, R² of the teacher's add-on map and PMS against the number of joint passes (logarithmic). Dots are seeds, lines their means; the thin upright line marks the passes of the study. Flat lines to its right say that more passes would change nothing.", "name": "fig-budget"}, "image": {"alt": "Accuracy, R² and PMS of baseline and student against the number of joint passes."}}
budget = tables.budget_table(frame, params.variant)
if len(budget):
    write_table(budget, out / "budget.csv", 6)
    display(SVG(figures.svg(figures.budget_curves(dict(iter(budget.groupby("triple")))))))

# %% [markdown]
# ## The claims
#
# Each claim as the difference student minus baseline within seeds, with a 95 % interval (paired t). PMS and AJS are
# corrected for chance, each network against its own permuted images: $(v - v_\mathrm{permuted}) / (1 - v_\mathrm{permuted})$.
# AJS and AAP are judged at the threshold at which the teacher's active patches cover a quarter of the grid, on
# validation images; AAP by how far a network's number lies from the teacher's, as a share of it.
#
# Four words, by the interval and the smallest effect of interest δ that the study file declared before any run:
# *supported* (wholly above 0), *contradicted* (wholly below), *no effect that matters* (wholly within ±δ),
# *inconclusive* (anything else, and whatever fewer than three seeds say). A verdict on accuracy counts only where twice the
# joint passes move the validation accuracy of both by less than a point; elsewhere: *not decided at this budget*.

# %%
judged = claims(frame, params.variant, params.effects)
write_table(judged, out / "claims.csv", 6)
caption = f"Student against baseline, positive where the claim holds; δ {params.effects['accuracy']:g} for accuracies, {params.effects['similarity']:g} for similarities. p: corrected by Holm for the claims being several. Detectable: the difference that so many seeds would have shown with 80 % power."
display(Markdown(table(tables.claim_table(judged), caption, "tab-claims")))

# %% [markdown]
# ## What the controls change
#
# A control is one of the networks above, trained with one thing changed; the table gives the change within seeds.

# %%
effects = control_effects(frame, params.controls, params.variant)
if len(effects):
    caption = "Difference to the network each control was changed from, and its 95 % interval."
    display(Markdown(table(tables.control_table(effects), caption, "tab-controls")))

# %% [markdown]
# ## What this means, and what it does not
#
# Above the baseline, and by more than each network's own permuted value explains: then explanations were handed over. Few
# seeds give wide intervals; a verdict is about this data set, these networks and this schedule.

# %%
findings = study_findings(frame, judged, params.images, params.controls, params.variant)
write_atomic(out / "findings.md", findings + "\n")
written = ["metrics.csv", "claims.csv", "table.md", "findings.md", "provenance.json", "study.json", "costs.csv"]
seal(out, "04_table", [*written, *(["budget.csv"] if len(budget) else [])])
display(Markdown(findings))

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, runs_sentence(records.values()))))
