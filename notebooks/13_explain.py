# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Explain one image
#
# **Question.** Which prototypes made a trained network take an image for what it takes it for, and by how much?

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.explain_params.ExplainParams`.

# %% tags=["parameters"]
study = "quick"
run = "student-small_half-small_sixth-paper-s0"  # The network that explains.
image = ""  # A photograph's path; empty: a test image of the run's own data set.
number = 0  # Which test image, where no photograph is named.
top_k = 5  # Prototypes told one by one.

# %%
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.device import choose_device
from p2p.errors import UserError
from p2p.evaluation.explainer import Explainer
from p2p.figures.explain import Explained
from p2p.files import project_path
from p2p.study.explain_params import ExplainParams
from p2p.study.pages import escape, provenance_box
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(ExplainParams, globals())
began = time.perf_counter()
choose_device("cpu")
explainer = Explainer(project_path(params.runs) / params.study / params.run, Explained)
test = explainer.images.subset("test") if explainer.images else None  # a packed network comes without its data set
if params.image:
    said = explainer.explain(project_path(params.image), k=params.top_k)
elif test is None:
    raise UserError("'image' is empty, and a packed network has no data set to take one from; name a photograph.")
elif params.number < len(test):
    said = explainer.explain(test.pixels[params.number], test.names[params.number], params.top_k)
else:
    raise UserError(f"'number' is {params.number}, but there are {len(test)} test images; choose a smaller one.")

# %% [markdown]
# ## Method
#
# The logit of a class is the sum, over all prototypes, of similarity times weight of the decision layer. The prototypes whose
# terms are largest for the class that the network takes the image for are shown: the training patch that each of them is, and
# where the image resembles it. Of a student, the same by its teacher stands above it.

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "The image with the numbered cells of the prototypes that count most; each prototype's training image, framed at its patch, above the image with the similarity to it (bright: similar); below, how the contributions add up to the logit.", "name": "fig-explained"}, "image": {"alt": "An image, the training patches that decided about it, where it resembles them, and bars that add up to the logit."}}
SVG(figures.svg(said.figure()))

# %%
display(Markdown("\n\n".join(escape(line) for line in said.text().split("\n") if line)))

# %% [markdown]
# ## What this means, and what it does not
#
# The sum is exact: nothing else enters the logit. That a patch looks alike to a person is not why the network finds it alike,
# and a cell sees more of the image than its own square. A warning stands first where the nearest prototype is farther away
# than for 95 of 100 of the run's own test images; much of something else passes that, so no warning is no proof.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record)))
