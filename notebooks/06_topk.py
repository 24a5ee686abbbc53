# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The prototypes that decide about a test image
#
# **Question.** Shown the same image, do teacher and student point at the same places and the same prototypes? This is
# the paper's Figure 1.

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.page_params.PageParams`.

# %% tags=["parameters"]
study = "quick"
seed = 0  # The seed whose networks are pictured.
networks = {
    "teacher": "teacher-small_half-s0",
    "baseline": "baseline-small_sixth-s0",
    "student": "student-small_half-small_sixth-paper-s0",
}  # role: run, the networks pictured.
top_k = 5  # Prototypes shown for an image.
pictures = 4  # Test images shown.

# %%
import time

import torch
from IPython.display import Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.contributions import deciding
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.explanation import Explanation
from p2p.evaluation.measure import Answer
from p2p.evaluation.own import on_object, one_patch
from p2p.evaluation.pairs import overlap_table, top_overlap, typical_image
from p2p.evaluation.runs import check_inputs, load_run
from p2p.figures.one_image import one_image
from p2p.files import project_path
from p2p.metrics import ResponseTable
from p2p.study.checksums import seal
from p2p.study.page_params import PageParams
from p2p.study.pages import class_text, escape, explorer_link, option, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
place = project_path(params.runs) / params.study
choose_device("cpu")

pictured = {role: load_run(place / run) for role, run in params.networks.items()}
known = load_images(pictured["teacher"].params, "cpu")
check_inputs(list(pictured.values()), known)
train, test = known.subset("train"), known.subset("test")
tables = {role: ResponseTable.load(place / run / "responses.safetensors") for role, run in params.networks.items()}
k = min(
    params.top_k, *(answers.distances.shape[1] for answers in tables.values())
)  # few classes may have fewer prototypes

decided = {role: deciding(tables[role], run.network.decision, run.network.layer, k) for role, run in pictured.items()}

# %% [markdown]
# ## Method
#
# The similarity of a prototype to an image is $\log\frac{d+1}{d+\epsilon}$ at its nearest cell; times the weight that the
# decision layer gives it, it is what the prototype adds to the logit of a class. For each network the prototypes that add
# most to the logit of the class that it takes the image for are shown: the training image each comes from, and the place in
# the test image where it was found. Test images are not chosen by hand: they are the first ones of evenly spaced classes.

# %% [markdown]
# ## One image, three networks
#
# Of the test images that teacher and student get right, the one in the middle when they are ordered by how many of the
# teacher's deciding places are the student's, too.

# %%
out = project_path(params.results) / params.study
typical = typical_image(decided["teacher"], decided["student"], test.labels.cpu())
told = [
    Explainer(place / run, Explanation, known).explain(test.pixels[typical], test.names[typical])
    for run in params.networks.values()
]
name = known.classes[test.labels[typical]].replace("_", " ")
for file, compact in (("one-image", False), ("one-image-compact", True)):
    figures.save(one_image(told, compact, int(test.labels[typical])), out / f"{file}.svg")
caption = f"A test image of *{escape(name)}* as {', '.join(params.networks)} see it: where its deciding prototypes respond (bright), the training patches that these are, and each one's share of all that speaks for the class."
alt = f"Test image of {name} with the heat, the training patches and the shares of the deciding prototypes of each network."
display(
    Markdown(f":::{{figure}} one-image.svg\n:name: fig-one-image\n:class: clear\n:alt: {option(alt)}\n\n{caption}\n:::")
)

# %% [markdown]
# ## More test images

# %%
classes = torch.linspace(0, len(known.classes) - 1, params.pictures).round().long().unique()
chosen = [int((test.labels == k).nonzero()[0, 0]) for k in classes]
for i, n in enumerate(chosen):
    name = class_text(known.classes[test.labels[n]])
    drawn = figures.top_k_comparison(pictured, train, test.pixels[n], int(test.labels[n]), known.classes, k)
    figures.save(drawn, out / f"topk-{i}.svg")
    caption = (
        f"A test image of *{escape(name)}* and, for teacher, baseline and student, the {k} prototypes that count most "
        "for what it takes the image for: the training image each comes from, where it was found in the test image (bright: "
        "similar), and what it adds to the logit, from which all others add or take. "
        "A frame marks prototypes whose number is also among the teacher's."
    )
    same = {role: one_patch(run.projection, decided[role].prototypes[n].tolist()) for role, run in pictured.items()}
    if said := ", ".join(f"{role} no. {numbers}" for role, numbers in same.items() if numbers):
        caption += f" The same training patch, and so one reason that is counted several times: {said}."
    alt = f"Test image of {name} with the prototypes that count most for teacher, baseline and student."
    display(Markdown(f":::{{figure}} topk-{i}.svg\n:name: fig-topk-{i}\n:alt: {option(alt)}\n\n{caption}\n:::"))
seal(out, "06_topk", ["one-image.svg", "one-image-compact.svg", *(f"topk-{i}.svg" for i in range(len(chosen)))])

# %% tags=["remove-input"]
if params.explorer:
    links = [explorer_link(params.study, test.names[n], image=test.names[n]) for n in (typical, *chosen)]
    display(Markdown(f"In the explorer, each with the sum that decides it: {', '.join(links)}."))

# %% [markdown]
# ## Over all test images
#
# A few images show what is meant; the share over all of them shows whether it is typical.

# %%
shares = {role: top_overlap(decided["teacher"], decided[role]) for role in ("baseline", "student")}
caption = f"Of the {k} prototypes that count most for the teacher, how many are also among the network's {k} (by number), and at how many of their cells the network has one of its own {k}; all test images, seed {params.seed}. For a baseline numbers agree by class only."
answers = [Answer(role, "paper", {}, {"tuned": tables[role]}, run) for role, run in pictured.items()]
caption += f" {on_object(answers, known).get('hits', '')}".rstrip()
display(Markdown(table(overlap_table(shares, k), caption, "tab-topk")))

# %% [markdown]
# ## What this means, and what it does not
#
# The pictures are of one seed. A place is a cell of the grid, and a cell sees more of the image than its own square: that
# a box lies on a beak does not prove that the beak was what counted.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "The runs behind this page have their own pages in the *Archive*.")))
