# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Does it work with trees?
#
# **Question.** A tree of prototypes (ProtoTree) decides by questions, not by a sum. Can a student tree be taught its teacher's questions, and is it the better for it?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import across, trees
from p2p.evaluation.settings import SIMILARITIES, read_settings
from p2p.figures import questions as drawn
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import escape, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
place = project_path(params.results)
settings, sums = trees.tree_settings(place), read_settings(place)

# %% [markdown]
# ## Answer

# %%
said = [sentence for setting in settings for sentence in trees.sentences(setting, sums)]
nothing = "No trees have been trained in this copy yet: `make study STUDY=tree-birds` trains them on drawn birds."
display(Markdown("\n".join(f"- {sentence}" for sentence in said) or nothing))

# %% [markdown]
# ## Method
#
# At every node of a tree of one depth stands a prototype of no class; $e^{-d}$, $d$ its distance to the nearest cell of the
# image, is the probability to answer *yes*, and the answer is the mean of all leaves, each weighed by the probability to come to
# it (Nauta et al., CVPR 2021). Leaves are learnt by counting, without gradients; leaves that favour no class are pruned after
# training, and each prototype becomes the nearest training patch of any class. Both losses act on prototypes and map as they do
# elsewhere, node for node: the student begins with its own random questions and leaves. {py:mod}`p2p.tree` is the decision; all else is
# shared with the networks that decide by a sum.

# %% mystnb={"figure": {"caption": "The student's tree minus the tree trained alone, as on the page of all claims: mean over seeds with 95 % interval, PMS and AJS corrected for chance. A hollow mark: more passes might still change it.", "name": "fig-trees"}, "image": {"alt": "Forest plot of all claims for trees."}}
if settings:
    display(SVG(figures.svg(drawn.forest(settings))))

# %%
for i, setting in enumerate(settings):
    title = escape(setting.title)
    caption = f"{title}: the same networks and images, deciding by a tree, and by a sum of similarities where that has been run; mean over seeds (lowest to highest); the seeds of the two differ."
    display(Markdown(table(trees.networks_table(setting, trees.sums_of(setting, sums)), caption, f"tab-trees-{i}")))
    caption = f"{title}: soft and hard. *Likeliest leaf*: the answer of the one leaf with the most probable way; *node by node*: going to the likelier side at every node; *agrees*: with the soft tree. Leaves before and after pruning."
    display(Markdown(table(trees.hard_table(setting), caption, f"tab-hard-{i}")))
if settings:
    caption = "The claims on similarity, of trees. Fewer than three seeds are inconclusive, whatever their interval."
    display(Markdown(table(across.claims_table(settings, SIMILARITIES), caption, "tab-tree-claims")))

# %% [markdown]
# ## In pictures

# %%
for setting in settings:
    for picture in trees.pictures(place, setting):
        display(Markdown(picture))

# %% [markdown]
# ## What this means, and what it does not
#
# A node's question belongs to no class, so a prototype that lies where the teacher's lies may still lead elsewhere in another tree: the
# leaves are the student's own. ProtoTree's users report accuracies ten points apart over runs of one setting; read the ranges, not the means
# alone. To run a setting again: `make study STUDY=tree-birds`, then `make book`; `make explain` tells a picture's way through a trained tree.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
