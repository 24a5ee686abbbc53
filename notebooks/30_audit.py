# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What does the released code do differently, and what is it worth?
#
# **Question.** The released code departs from the paper, or from itself, in twenty-two places. Which of them move accuracy or similarity?

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
from p2p.evaluation import demonstrations as shown
from p2p.evaluation.settings import mean, read_settings
from p2p.evaluation.variants import not_run, not_run_sentence
from p2p.figures import questions as drawn
from p2p.figures.variants import mask_curves
from p2p.files import project_path, write_table
from p2p.study.page_params import QuestionParams
from p2p.study.pages import escape, numbers, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
place = project_path(params.results)
found, settings = audit.audit_settings(place), read_settings(place)
effects = audit.effects(found)
if len(effects):
    write_table(effects, place / "audit" / "effects.csv", 6)
waiting = not_run_sentence(not_run(place, project_path("params"), "audit"))

# %% [markdown]
# ## Answer

# %%
elsewhere = "More on the [controls](controls.ipynb). Which metric can be believed, and when? [A perfect student, damaged](metrics.ipynb), says."
said = [*audit.answers(effects), audit.controls_decide(effects), waiting, elsewhere]
display(Markdown("\n".join(f"- {sentence}" for sentence in said if sentence)))

# %% [markdown]
# ## Each departure
#
# As the code does it, less what stands beside it, all else alike: within seeds, 95 % interval, p corrected by Holm over the departures of a study. PMS and AJS are corrected for chance; an effect on them matters from 0.02 on, which was declared before the runs. *In short* goes by the interval, so that one whose p is large does not stand alone. Accuracy has no verdict: it moves with more passes. What trains nothing is shown below.

# %% mystnb={"figure": {"caption": "What each departure changes, as the code does it less what stands beside it: mean over seeds with 95 % interval. Left of the grey line the code's way lowers the value.", "name": "fig-departures"}, "image": {"alt": "Dots with intervals: the effect of each departure on top-1, R², PMS and AJS, the largest first."}}
if len(effects):
    display(SVG(figures.svg(drawn.effects(tables.drawn(effects, departures=True), tuple(audit.HEADS.values())))))

# %%
audits = tables.same_images(found) or {"no study": {}}
for i, (images, own) in enumerate(audits.items()):
    caption = f"{images}: effect of each departure, largest first, then those without a training; p is Holm's."
    rows = tables.departures_table(effects[effects["study"].isin(list(own))])
    display(Markdown(table(rows, caption, f"tab-departures-{i}")))
    if len(rows := tables.official_table(own)):
        caption = f"{images}: everything as released, with its own teacher and baseline, beside the paper's variant; PMS and AJS corrected for chance, mean over seeds (lowest to highest)."
        display(Markdown(table(rows, caption, f"tab-official-{i}")))

# %% [markdown]
# ## A2: which norm
#
# Two sets of prototypes, $P = 2000$, $D = 256$, drawn from U[0, 1), as both networks begin. The released environment has torch 1.6.

# %%
norms = shown.norms()
ratio = norms["gradient"][0] / norms["gradient"][1]
caption = f"The loss as two versions of torch compute it; the gradient is {ratio:.1f} times as long under the first."
display(Markdown(table(norms.map(lambda v: v if isinstance(v, str) else f"{v:.4g}"), caption, "tab-norms")))

# %% [markdown]
# ## A1, A3 and A18: which patches are active
#
# With the mask of its own distances a student is corrected where *it* fires, rightly or not: a reading of A1's effect that was not tested. With the published threshold every prototype's nearest patch is active, whatever its distance: the mask only says *where*, not *whether*. The comparison by equality then takes every cell that is equally near; saturated maps have many of those.

# %%
caption = "Share of cells active on a random map, half of it saturated: at τ = 100 none is held back; ties add cells."
display(Markdown(table(numbers(shown.ties()), caption, "tab-ties")))

# %% mystnb={"figure": {"caption": "What PPC compares while the student learns, drawn birds: share of cells, mean over seeds and all of them. With the student's own distances (A1) few cells are compared in the first passes, since many of its prototypes are nearest to the same one.", "name": "fig-mask"}, "image": {"alt": "Share of active cells against the pass for the paper's mask, the student's, the nearest half, and all ties."}}
masks = tables.mask_rows(next(iter(audits.values())))
if len(masks):
    display(SVG(figures.svg(mask_curves(masks))))

# %% [markdown]
# ## A10: picking on the test set
#
# The released numbers are of checkpoints picked by hand on the test images. Suppose several were equally good: the best of them on so many test images seems better than they all are, by this much. Checkpoints of one run err alike, so it is an upper bound.

# %%
for i, setting in enumerate(settings):
    if images := shown.count_test_images(place / setting.study / "answers"):
        rows = shown.optimism([1, 3, 10, 30], images, mean(setting.of("student"), "top1"))
        caption = f"{escape(setting.title)}: what the best of equally good checkpoints seems to gain."
        display(Markdown(table(numbers(rows, 4), caption, f"tab-optimism-{i}")))

# %% [markdown]
# ## A11 and A17: empty sets and α, on kept answers
#
# Where neither network has an active patch, the code counts an overlap of 0, so that a network does not even agree with itself. And it turns the shares α of PMS into whole numbers of images, so that its value depends on how many test images there are.

# %%
answers = place / "birds" / "answers"
teachers = sorted(path.stem for path in answers.glob("teacher-*.npz"))
if teachers:
    caption = "AJS of the teachers of the drawn birds with themselves, which should be 1, by what an empty set counts."
    display(Markdown(table(numbers(shown.empty_sets(answers, teachers)), caption, "tab-empty")))
    student = next(iter(sorted(path.stem for path in answers.glob(f"student-*-{teachers[0].rsplit('-', 1)[1]}.npz"))))
    rows = shown.pms_as_coded(answers, teachers[0], student, [37, 100, 101, 400])
    display(Markdown(table(numbers(rows, 4), "PMS of the first test images, by its thresholds.", "tab-alphas")))

# %% [markdown]
# ## Others, in numbers

# %%
drifts = tables.drift(next(iter(audits.values())))
display(Markdown("\n".join(f"- {sentence}" for sentence in shown.in_numbers(drifts))))

# %% [markdown]
# ## A19: prototypes that are one
#
# The push can put several prototypes on one patch. Whether these part again in a further round depends on the gradient of the minimum over prototypes: PyTorch's `amin` shares it among those that tie, so that they move alike for ever; `min` picks one.

# %%
for i, (images, own) in enumerate(audits.items()):
    caption = f"{images}: how many prototypes differ before the last push, and how many patches they are after it, mean over seeds, and the fewest."
    if len(rows := tables.identical([one for each in own.values() for one in each if one.triple != audit.OWN])):
        display(Markdown(table(rows, caption, f"tab-identical-{i}")))

# %% [markdown]
# ## The cost of knowing

# %%
costs = {"claim": shown.cost_of_knowing(s for s in settings if s.study in ("birds", "cub-20"))}
for what, rows in (costs | {"departure and control": shown.cost_of_effects(effects)}).items():
    caption = f"Each {what}: the difference seen, its spread over seeds, what the seeds run could show with 80 % power, and the seeds that the difference seen needs."
    display(Markdown(table(numbers(rows), caption, f"tab-knowing-{what[0]}") if len(rows) else ""))
display(Markdown(shown.images_sentence(0.9, 0.01)))

# %% [markdown]
# ## What this means, and what it does not
#
# Effects are of drawn birds or twenty classes, small networks and short schedules; a departure that does nothing here may matter at the published size. Accuracies move with more passes, so they decide nothing.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Effects: results/audit/effects.csv, once a study of the audit has been run.")))
