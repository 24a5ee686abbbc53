# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What do the prototypes look at?
#
# **Question.** Which pictures is a person shown, and are they the teacher's?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import Markdown, display

from p2p.evaluation import across, questions
from p2p.evaluation.settings import read_settings
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
    display(Markdown(questions.other_pictures(settings)))
    told = [*questions.shared_pictures(settings), *questions.beside_the_object(settings)]
    display(Markdown("\n".join(f"- {sentence}" for sentence in told)))
else:
    display(Markdown("No study of networks has been run in this copy yet: `make study` runs the quick one."))

# %% [markdown]
# ## Method
#
# After the push every prototype *is* a patch of a training image, and that patch is the picture a person is shown.
# *Same source* is the share of the student's prototypes whose picture comes from the same training image, or the same
# patch, as the teacher's of their number; chance is a random order within each class. Prototypes that coincide show one
# picture twice: the number of distinct ones is counted.

# %%
if settings:
    caption = "Mean over seeds (lowest to highest), chance behind the semicolon. 0.000: not one in any seed."
    display(Markdown(table(across.sources_table(settings), caption, "tab-sources")))

# %% [markdown]
# ## On the bird, or beside it
#
# Where it is known which cells of an image lie on the object (drawn birds: a quarter of the cell is one of the six parts; CUB: a visible
# part has its place there), two shares are measured: of the prototypes' source patches, and of the places in test images of the five
# prototypes that count most for the decision. Chance is a cell drawn at random from the same images.

# %%
on_object = across.object_table(settings)
if len(on_object):
    caption = "Share on the object. Mean over seeds (lowest to highest), each with its chance."
    display(Markdown(table(on_object, caption, "tab-object")))
else:
    display(Markdown("*The studies in this copy were evaluated before these shares were measured.*"))

# %% [markdown]
# ## In pictures
#
# The first of the test images that each study shows, with the prototypes that count most for each network. Test images are not
# chosen by hand.

# %%
for setting in settings:
    text = questions.picture(project_path(params.results), setting)
    if text:
        display(Markdown(text))

# %% [markdown]
# ## What this means, and what it does not
#
# A cell sees more of the image than its own square: that a box lies on a beak does not prove that the beak was what counted.
# The galleries of each study show more, one prototype of each of several classes; [the explorer](explorer.md) shows all of
# one seed, disagreements first if you like. To run a setting again: `make study STUDY=birds` or `STUDY=cub-20`, then `make book`.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
