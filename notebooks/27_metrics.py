# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Which metric can be believed?
#
# **Question.** If a student has a known share of its teacher's explanation, does the metric say so?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import judgement, ranking
from p2p.evaluation.settings import read_settings
from p2p.figures import judged as drawn
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
place = project_path(params.results)
titles = {setting.study: setting.title for setting in reversed(read_settings(place))}
rows = judgement.read_judged(place, dict(reversed(titles.items())))
packed, ranks = judgement.of_networks(rows), ranking.ranked(read_settings(place, every=True))

# %% [markdown]
# ## Answer

# %%
if len(rows):
    said = [judgement.outdated(place, titles), *judgement.verdicts(rows), *judgement.map_verdicts(rows)]
    said.append(ranking.ranks_answer(ranks))
    display(Markdown("\n".join(f"- {sentence}" for sentence in said if sentence)))
else:
    display(Markdown("The metrics have not been judged in this copy yet: `make judge`, then `make book`."))

# %% [markdown]
# ## Method
#
# A perfect student answers as its teacher does, and is damaged by a known amount. Its answers to the test images are the
# teacher's own, and a share of them is put on random cells; or prototypes exchange their numbers; or all places move to the
# right; or all distances are scaled, as by a student whose map is a shrunken copy. Every measure is corrected for chance, by the
# same answers to other images (*same number*: by $1/P$). One that can be believed falls along the grey line: half of the answers
# right, half of the measure left. All of it is computed from the answers that are kept with the results, no network is needed.

# %% mystnb={"figure": {"caption": "What is left of each measure when a perfect student is damaged, mean over seeds. The grey line is the truth. Above it a measure flatters, below it it hides what is there. Flat at 1: it does not see this damage, which is right for distances (the places are the same) and, of measures that match prototypes anew, for numbers.", "name": "fig-damage"}, "image": {"alt": "Four panels of curves of five measures against damage: answers on random cells, exchanged numbers, moved places, scaled distances."}}
if len(rows):
    display(SVG(figures.svg(drawn.damage(rows))))

# %%
if len(rows):
    caption = "What is left of each measure above chance after a known damage to a perfect student, mean over seeds. *Misplaced*: the truth is 0.75 and 0.50. *Distances halved*: every place is right."
    display(Markdown(table(judgement.damage_table(rows), caption, "tab-damage")))

# %% [markdown]
# ## Damage to the map
#
# So far answers were damaged. Here it is the map: a student that is the packed teacher of the drawn birds (one seed), but for noise in place of a
# share of each channel's variance, or for cells that take a share from the mean of the nine around them. Now R² can be judged, too.

# %% mystnb={"figure": {"caption": "What is left of each measure when a perfect student's map is noisy (left) or blurred (right). R² stays high under blur, since neighbouring cells are alike; the places go all the same. Under noise R² and PMS fall alike.", "name": "fig-maps"}, "image": {"alt": "Two panels of curves of six measures: R² falls as PMS does under noise, and least under blur; same cell and AJS fall soonest under both."}}
if len(packed):
    display(SVG(figures.svg(drawn.maps(packed))))

# %% [markdown]
# ## Do places go with the picture?
#
# A prototype that always sits on the same cell would agree with another one of that habit, and has seen nothing. So pictures are moved by one cell, or
# mirrored: does the nearest cell go along with what is in the picture, or stay where it was?

# %%
if len(packed):
    caption = "Share of answers that go along with the picture, and that stay on their cell; in parentheses the same for other images. Networks that were packed, one seed."
    display(Markdown(table(judgement.moved_table(packed), caption, "tab-moved")))

# %% [markdown]
# ## Do measures rank students as the truth about parts does?
#
# Of drawn birds it is known which part a prototype lies on, and what its removal does. Over the students of a study that compares many, each measure is
# ranked against that truth (Spearman's ρ), seed by seed; mean and 95 % interval over seeds, by Fisher's z. The last rows: the students of all these studies together, which differ in passes, too.

# %%
if ranks:
    caption = "Rank correlation of each measure with two truths: does the student's prototype lie on the same part as the teacher's, and does its similarity react alike when parts are removed or exchanged? Both corrected for chance; 1 is the same order of students."
    display(Markdown(table(ranking.ranks_table(ranks), caption, "tab-ranked")))

# %% [markdown]
# ## How many prototypes, how many cells?
#
# The same students, with some of the prototypes taken away or each counted twice, and with two or four cells of each side taken as one.

# %%
if len(sizes := judgement.size_table(rows)):
    caption = "Each measure of the students, corrected for chance, mean over seeds. One that moves along a row cannot be compared between networks of different size, or between grids."
    display(Markdown(table(sizes, caption, "tab-sizes")))

# %% [markdown]
# ## How many images, how many seeds?
#
# Student and baseline of every seed, measured on fewer test images. A measure that moves with the number of images cannot be
# compared between test sets of different sizes.

# %% mystnb={"figure": {"caption": "Five measures of the similarity to the teacher against the number of test images: student (full) and baseline (hollow), mean over seeds. PMS of few images is too high for both, since chance is; corrected, it still grows a little. The same number is found by a matching that needs many images.", "name": "fig-fewer"}, "image": {"alt": "Curves of five measures against the number of test images, as they are and corrected for chance, a row a setting."}}
if len(rows):
    display(SVG(figures.svg(drawn.fewer(rows))))

# %%
if len(rows):
    caption = "Student less baseline in each measure, corrected for chance. *Seeds needed*: at which a 95 % interval would exclude 0, were mean and spread those found here. *Images needed*: test images from which on the interval of these seeds excludes 0, of 25, 50, 100, 200, 400 and all."
    display(Markdown(table(judgement.needed_table(rows), caption, "tab-needed")))

# %% [markdown]
# ## What to report
#
# PMS and *same cell*, each beside its value for other images, and both corrected; *same number* as the sign that numbers were
# handed over, with the number of test images; AJS only at a named threshold, and beside it AAP, which shows a map of another
# scale. On response tables (an image a row, a prototype a column) that is:

# %%

from p2p.evaluation.kept import read_kept
from p2p.metrics import agreement, permute_images, pms, same_index

for files in sorted(place.glob("*/answers"))[:1]:
    teacher, student = (read_kept(min(files.glob(f"{role}-*.npz"))).table for role in ("teacher", "student"))
    others = permute_images(student, torch.Generator().manual_seed(0))
    for name, own, chance in (
        ("PMS", pms(teacher, student).value, pms(teacher, others).value),
        ("same cell", agreement(teacher, student), agreement(teacher, others)),
        ("same number", same_index(teacher, student), 1 / teacher.cells.shape[1]),
    ):
        print(f"{name}: {own:.3f}, chance {chance:.3f}, corrected {(own - chance) / (1 - chance):.3f}")

# %% [markdown]
# ## What this means, and what it does not
#
# The damage is made in the answers, not in the network: a real student errs where images are hard, not at random. What agrees
# here is *where*; whether two prototypes mean the same part is another question. To judge again: `make judge`, a few minutes.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(
    Markdown(provenance_box(record, "Drawn from results/audit/metrics.csv, made by `make judge` of the kept answers."))
)
