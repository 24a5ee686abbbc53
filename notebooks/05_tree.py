# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The trees
#
# **Question.** What do the trees of teacher, baseline and student ask, how does an image come to its class, and does a tree
# lose anything when it is read as a list of yes and no?

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.page_params.PageParams`.

# %% tags=["parameters"]
study = "quick"
seed = 0  # The seed whose networks are pictured.
evaluations = ["small_half-small_sixth-s0", "small_half-small_sixth-s1"]  # <triple>-s<seed>.
networks = {
    "teacher": "teacher-small_half-s0",
    "baseline": "baseline-small_sixth-s0",
    "student": "student-small_half-small_sixth-paper-s0",
}  # role: run, the networks pictured.
variant = "paper"  # The student pictured.

# %%
import time

import torch
from IPython.display import Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.errors import UserError
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.explanation import Explanation
from p2p.evaluation.results import read_evaluations
from p2p.evaluation.runs import load_run
from p2p.evaluation.tables import tree_table
from p2p.figures.tree import tree_svg, way_figure
from p2p.files import project_path, write_atomic
from p2p.study.checksums import seal
from p2p.study.page_params import PageParams
from p2p.study.pages import class_text, escape, option, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
place, out = project_path(params.runs) / params.study, project_path(params.results) / params.study
choose_device("cpu")
known = load_images(load_run(place / params.networks["teacher"]).params, "cpu")
test = known.subset("test")
told = {
    role: Explainer(place / run, Explanation, known).explain(test.pixels[0], test.names[0])
    for role, run in params.networks.items()
}
if not all(one.path for one in told.values()):
    raise UserError(f"The networks of study '{params.study}' are no trees; this page is for the decision tree alone.")

# %% [markdown]
# ## Method
#
# At every node stands a prototype; $e^{-d}$, $d$ its distance to the nearest cell of the image, is the probability to answer
# *yes* (ProtoTree, Nauta et al., CVPR 2021). A leaf holds a distribution over the classes, the network's answer is the mean of
# all leaves, each weighed by the probability to come to it. After training, leaves that favour no class are pruned, and each
# prototype becomes the nearest training patch of any class.
#
# A tree can be read as a hard one in two ways: by the leaf with the most probable way (*likeliest leaf*), or by going to the
# likelier side at every node (*node by node*).

# %% [markdown]
# ## Soft and hard, over all seeds

# %%
frame = read_evaluations(out, params.evaluations)
count = frame.seed.nunique()
caption = f"Accuracy on the test images of the soft tree and of both hard readings; the share of images in which these agree with the soft tree; leaves before and after pruning. Mean over {count} seeds (lowest to highest)."
display(Markdown(table(tree_table(frame, params.variant), caption, "tab-trees")))

# %% [markdown]
# ## One image through the trees

# %%
label = class_text(known.classes[int(test.labels[0])])
figures.save(way_figure(list(told.values())), out / "tree-way.svg")
caption = f"The first test image, a *{escape(label)}*, on its most probable way through each tree: the training patch that is asked for, where the image is most like it, how similar, and the answer."
alt = f"Test image of {label} and the questions of the trees of teacher, baseline and student."
display(Markdown(f":::{{figure}} tree-way.svg\n:name: fig-tree-way\n:alt: {option(alt)}\n\n{caption}\n:::"))
for one in told.values():
    print("\n".join(one.lines()), end="\n\n")

# %% [markdown]
# ## The whole trees

# %%
for role, one in told.items():
    write_atomic(out / f"tree-{role}.svg", tree_svg(one.path.tree, one.classes, role, one.path))
    caption = f"The tree of the {role}, seed {params.seed}, from the root on the left to the leaves: *yes* leads down, *no* up. Lines are as thick as the probability that the image above goes along them; coloured is its most probable way."
    alt = f"Tree of the {role}: patches of training images at its nodes, classes at its leaves."
    display(Markdown(f":::{{figure}} tree-{role}.svg\n:name: fig-tree-{role}\n:alt: {option(alt)}\n\n{caption}\n:::"))
seal(out, "05_tree", ["tree-way.svg", *(f"tree-{role}.svg" for role in told)])

# %% [markdown]
# ## What this means, and what it does not
#
# The pictures are of one seed, and of the first test image. The way that is told is the most probable one; where many ways
# are about as probable, it is a small part of the decision, and says so. That a patch shows a beak does not prove that
# the beak was what counted.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "The runs behind this page have their own pages in the *Archive*.")))
