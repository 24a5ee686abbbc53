# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Do they mean the same part?
#
# **Question.** When a student's prototype answers as its teacher's does, is it the same part of the bird that both mean?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import part_tables, place_tables
from p2p.evaluation.same_places import AREA_HEADS, PLACE_HEADS
from p2p.evaluation.settings import read_settings
from p2p.figures import curves
from p2p.figures import parts as drawn
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
place = project_path(params.results)
settings = read_settings(place)
known = [setting for setting in settings if part_tables.measured(setting)]

# %% [markdown]
# ## Answer

# %%
if known:
    display(Markdown("\n".join(f"- {sentence}" for sentence in part_tables.answer(settings))))
if not settings:
    display(Markdown("No study of networks has been run in this copy yet: `make study` runs the quick one."))
display(Markdown(part_tables.unmeasured(settings)))

# %% [markdown]
# ## Method
#
# Of drawn birds every part is known to the pixel, of CUB the places of 15 parts. *Same part*: of the tenth of the test images nearest to the
# teacher's prototype, where that lies on a part, the share in which the student's lies on the same one. *Same images*: how many of that
# tenth are also the student's nearest. *Same reaction*: parts of drawn birds are removed and exchanged one by one; the correlation of what
# this does to the similarity of teacher's and student's prototype. *Same decisions*: of the changes that alter either decision, those that
# alter both to one class. Prototypes are compared by number, and as PMS matches them. A baseline's numbers mean no more than its class;
# the answer above takes whichever pairing serves a network better. Published measures look at one network alone: *consistency* and
# *stability* ask whether a prototype keeps to one part over the images of its class, and under noise; *purity*, whether its nearest images
# show one part. *Place that counts*: whether the part on which a prototype lies is the one whose removal costs it most.
# [The method](method.md#measures-of-parts) has all of them.

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "Each measure of each network: a dot a seed, a bar their mean; 0 is left, 1 right, and higher is more. A tick is the level of another prototype, a cross that of other images: what lies there tells nothing.", "name": "fig-parts"}, "image": {"alt": "Dots of every seed by network, a panel a measure, a block a setting, with ticks and crosses for chance."}}
if known:
    display(SVG(figures.svg(drawn.measures(known))))

# %%
if known:
    caption = "What networks have of their teacher: mean over seeds (lowest to highest). In italics, levels to read it against: another prototype (of its class, where numbers are compared), and the same prototype asked about other images."
    display(Markdown(table(part_tables.parts_table(known, part_tables.TEACHERS), caption, "tab-same-parts")))
    display(Markdown("\n".join(f"- {sentence}" for sentence in part_tables.own_sentence(settings))))
    caption = "Whether prototypes mean parts at all, of each network alone; the level is that of other images."
    display(Markdown(table(part_tables.parts_table(known, part_tables.OWN), caption, "tab-own-parts")))

# %% [markdown]
# ## How much hangs on the settings
#
# Each measure has a free parameter: the width of the window that counts as the place, a threshold, the noise, the number of images.

# %% mystnb={"figure": {"caption": "Each measure against its free parameter: mean over seeds, shaded from the lowest to the highest. Dotted: prototypes as PMS matches them, instead of by number. Where curves of two networks cross, which of them is better is a matter of the setting.", "name": "fig-part-curves"}, "image": {"alt": "Curves of the measures of parts against window, threshold, noise and number of images, for teacher, baseline and student, a block a setting."}}
if known:
    display(SVG(figures.svg(drawn.curves(known))))

# %% [markdown]
# ## Do the places that are named count, and are they the teacher's?
#
# Cells of an image are ranked by how much they speak for the decision, and hidden under grey: the first ones (*deletion*), or all but the
# first (*preservation*). *Own places* is the area under preservation less that under deletion, −1 to 1, and 0 for a random order. For
# *teacher's places* the teacher's explanation ranks, and the student is asked. [The method](method.md#deletion-and-preservation).

# %%
display(Markdown("\n".join(f"- {sentence}" for sentence in place_tables.answer(settings))))

# %% mystnb={"figure": {"caption": "What networks still say when cells are hidden (deletion) or when only these are kept (preservation), first those that count most; shaded from the lowest to the highest seed. The lower a curve of deletion lies below the dashed line, and the higher one of preservation above it, the more do the named places count. Dotted: the teacher names them. The further a dotted curve lies from the dashed one, the more does that network lean on the teacher's places.", "name": "fig-hiding"}, "image": {"alt": "Curves of probability and accuracy of teacher, baseline and student against the share of cells hidden or kept, a row a setting, with a random order dashed."}}
if hidden := [setting for setting in settings if place_tables.hidden(setting)]:
    display(SVG(figures.svg(curves.hiding(hidden))))

# %%
if hidden:
    caption = "How far the places count that its own explanation names, or its teacher's; a random order is 0. Mean over seeds (lowest to highest). In italics: the teacher's explanations of other images."
    display(Markdown(table(place_tables.places_table(settings, PLACE_HEADS), caption, "tab-places")))
    caption = "Areas under the curves of a network's own explanation: of deletion lower is better, of preservation higher. In italics: cells in a random order, whose areas are equal."
    display(Markdown(table(place_tables.places_table(settings, AREA_HEADS), caption, "tab-hiding")))
display(Markdown(place_tables.older(settings)))

# %% [markdown]
# No network was trained on images with grey cells, so a part of any fall comes from the grey itself. The dashed line, cells hidden in a random
# order, has as much of it: what an explanation names counts as far as its curve lies away from that line. Measured on 16 test images of each seed.

# %% [markdown]
# ## Do these measures rank networks as the paper's do?

# %%
if known:
    caption = "Rank of each network by each measure, 1 the highest mean over seeds. The first four rows: two of the paper's measures, *same number* and accuracy."
    display(Markdown(table(part_tables.ranks_table(known), caption, "tab-part-ranks")))

# %% [markdown]
# ## Agreement and disagreement in pictures
#
# Chosen by rule: of the teacher's prototypes the one with the highest *same part*, the one in the middle, and the lowest.

# %%
for setting in known:
    text = part_tables.pictures(place, setting)
    if text:
        display(Markdown(text))

# %% [markdown]
# ## What this means, and what it does not
#
# To mean the same part is not to mean a part: a student can follow its teacher to places on no part, and *consistency* says how often even
# the teacher's prototypes keep to one.

# %%
display(Markdown(part_tables.failed_controls(known)))

# %% [markdown]
# The second teachers are the study's own teachers, each compared with another seed's answers; what is measured of them alone differs from
# the teachers' own by the images that a seed draws for it.
#
# A prototype looks at more of the image than the window that is drawn around its cell, so a part may count that lies beside it: what is removed
# tells more than where the box lies. Stability and reactions are measured on 16 test images of each seed. Parts of a drawn bird are few and plain;
# of CUB a point stands for a part, and nothing can be removed. To measure again: `make study STUDY=birds`.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
