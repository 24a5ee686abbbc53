# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The idea in pictures
#
# **Question.** How does such a network explain itself, and what does one network hand over to another? Real answers of the
# three packed networks of `networks/birds` to drawn birds; the bird is the first test bird that all three take for what it is.

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
networks = "networks/birds"  # Folder of the packed networks.
out = "book/_build/pages"  # Folder for what other pages of the book include.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation.explored import explored
from p2p.evaluation.idea import one_patch, read_idea, what_is_packed
from p2p.figures import idea as drawn
from p2p.figures.one_image import one_image
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import prototype_links, provenance_box
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
torch.set_num_threads(1)
idea = read_idea(project_path(params.networks))
out = project_path(params.out)
there = explored(project_path(params.results), project_path(params.networks).name, idea.told.values())

# %% [markdown]
# ## This looks like that
#
# A prototype is a patch of a training image, and the network decides by where the image resembles it.

# %% mystnb={"figure": {"caption": "The student's three prototypes that count most, by rank, with their numbers. Above, the places of the test bird, framed; below, the training patches that the prototypes are. Under each its similarity × its weight: these products, and those of all other prototypes, are added up to the score of the class.", "name": "fig-idea-this-that"}, "image": {"alt": "A bird with three framed places; each place enlarged above the training patch that it resembles.", "classes": "clear"}}
SVG(figures.svg(drawn.this_like_that(idea.told["student"])))

# %% tags=["remove-input"]
if same := one_patch(idea.told["student"], drawn.SHOWN):
    display(Markdown(same))
if there:
    most = idea.told["student"].evidence[: drawn.SHOWN]
    display(Markdown(prototype_links(there.study, [one.prototype for one in most], root="")))

# %% [markdown]
# ## Three networks, one bird
#
# The small student was taught by the large teacher, the baseline is the same small network trained alone: all three may be
# right, but for different reasons.

# %% mystnb={"figure": {"caption": "The same bird by teacher, baseline and student: where their deciding prototypes respond (bright), the training patches that these are, by rank, and each one's share of all that speaks for the class.", "name": "fig-idea-three"}, "image": {"alt": "Three rows, a network each: the bird with its heat, and three training patches with their shares.", "classes": "clear"}}
told, right = [idea.told[role] for role in ("teacher", "baseline", "student")], int(idea.labels[idea.chosen])
for file, compact in (("one-image", False), ("one-image-compact", True)):
    figures.save(one_image(told, compact, right), out / f"{file}.svg")
SVG(figures.svg(one_image(told, False, right)))

# %% [markdown]
# The boxed numbers are ranks. Which prototypes are these? [The explorer](explorer.md) has all of them, the sums, and every test bird.

# %% tags=["remove-input"]
if there:
    display(Markdown(f"This one there, with all three sums: {there.image(idea.told['student'].name)}."))

# %% [markdown]
# ## What the two losses pull
#
# Proto2Proto adds two forces to the student's training: on its prototypes (Global) and on its features where the teacher looks
# (PPC).

# %% mystnb={"figure": {"caption": "The bird under the grid of the add-on map; coloured: the teacher's *active patches*, the cells that are nearest to at least one teacher prototype. Right: prototypes of the same number, as the training patches that they are in the end. Global pulls their vectors together; the push then gives each network a patch of its own, so the pictures need not be the same.", "name": "fig-idea-pulls"}, "image": {"alt": "Arrows lead from the student's map to the teacher's, and from the student's prototypes to the teacher's.", "classes": "clear"}}
SVG(figures.svg(drawn.pulls(idea)))

# %% tags=["remove-input"]
if there:
    pulled = idea.told["teacher"].evidence[: drawn.SHOWN]
    display(Markdown(prototype_links(there.study, [one.prototype for one in pulled], root="")))

# %% [markdown]
# ## What PMS counts
#
# Two prototypes are alike if they sit on the same cell, image after image.

# %%
shared = idea.shared("student")
often = shared.sum(0)
best = int(often.argmax())
named = there.prototype(best) if there else f"no. {best}"
display(
    Markdown(
        f"Teacher and student agree most about prototype {named}: on the same cell in {int(often[best])} of the first {len(shared)} test birds. Over all {shared.shape[1]} pairs of the same number it is {100 * float(shared.float().mean()):.0f} %, for the baseline {100 * float(idea.shared('baseline').float().mean()):.0f} %. By chance, each asked about another bird, it would be {100 * idea.by_chance('student'):.0f} % and {100 * idea.by_chance('baseline'):.0f} %."
    )
)

# %% mystnb={"figure": {"caption": "That prototype in the first eight test birds. Blue: the teacher's cell; green: the student's; orange: both on one cell, which counts.", "name": "fig-idea-pms"}, "image": {"alt": "Eight birds, each with the cell of the teacher's prototype and that of the student's.", "classes": "clear"}}
SVG(figures.svg(drawn.same_places(idea, "student", best)))

# %% [markdown]
# PMS first looks for the best partner of each prototype, whatever its number, and asks how often the two must agree to count:
# [the metrics, worked](worked.ipynb).
#
# ## What this means, and what it does not
#
# One bird and three networks of one seed show what is meant; whether it holds is told by the [claims](claims.ipynb), over
# seeds and settings.

# %% tags=["remove-input"]
display(
    Markdown(
        f"{what_is_packed(project_path(params.networks))} Their study is *Drawn birds* in the [archive](archive.md)."
    )
)

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record)))
