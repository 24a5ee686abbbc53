# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Train one network
#
# **Question.** How does one network of the study learn, and are its prototypes really training patches at the end?
#
# The same notebook trains a teacher, a baseline, a student or a control; only its parameters differ.

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.params.TrainParams`.

# %% tags=["parameters"]
study = "quick"  # Name of the study and its folders.
reader = "birds"
size = 64  # Side of the square images, pixels.
run = "teacher"  # Name of the run and its folder.
role = "teacher"
seed = 0
network = "small"  # Name of the trunk, see p2p.trunks.TRUNKS, or timm/<name>.
weights = "none"  # none, imagenet (torchvision's), or a safetensors file (P2P_WEIGHTS).
joint_epochs = 80  # Passes over the images in each round, all layers learning.
teacher_run = ""  # Run whose network teaches; empty for none.
distillation = {}  # Its losses and their weights; published: {"global": 10.0, "ppc": 10.0}.

# %%
import time

import pandas as pd
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.runs import finish_run, load_run
from p2p.files import project_path, run_lock, write_table
from p2p.study.checksums import run_files, run_sums
from p2p.study.pages import numbers, provenance_box, table
from p2p.study.params import TrainParams, from_namespace
from p2p.study.provenance import provenance, write_json
from p2p.training.stand_in import stand_in
from p2p.training.trainer import Trainer

params = from_namespace(TrainParams, globals())
device = choose_device(params.device)
folder = project_path(params.runs) / params.study / params.run
images = load_images(params, device)
teacher = guide = sources = None  # the guide is who teaches: the teacher, but in some controls
if params.teacher_run:
    taught = load_run(folder.parent / params.teacher_run, device)
    teacher, sources = taught.network, taught.projection
    other = load_run(folder.parent / params.other_teacher_run, device).network if params.other_teacher_run else None
    guide = stand_in(params, teacher, taught.params, other)

# %% [markdown]
# ## Method
#
# Every image $b$ is described by a grid of cells $z_b$; $d_{bj}$ is the squared distance of prototype $j$ to its nearest
# cell. The evidence $\log\frac{d+1}{d+\epsilon}$ of all prototypes is summed up by the decision layer $W$. Minimised is
#
# $$
# \mathrm{CE} + \lambda_\mathrm{clst} \operatorname*{mean}_b \min_{j\ \mathrm{own}} d_{bj}
# - \lambda_\mathrm{sep} \operatorname*{mean}_b \min_{j\ \mathrm{other}} d_{bj} + \lambda_{L1} \lVert W_\mathrm{other}\rVert_1 ,
# $$
#
# and for a student, with the teacher's prototypes $p^t$, cells $z^t$ and active patches $A_b$,
#
# $$
# + \lambda_\mathrm{global} \frac1P \sum_j \lVert p_j - p_j^t \rVert_2
# + \lambda_\mathrm{ppc} \frac{\sum_b \sum_{c \in A_b} \lVert z_{bc} - z_{bc}^t \rVert^2}{\sum_b |A_b|} .
# $$
#
# Of a decision tree, whose prototypes belong to no class, cluster, separation and $L_1$ are left out; its leaves learn without
# gradients (`p2p/tree.py`), and instead of being tuned it is pruned.
#
# The phases are data (`p2p/training/phases.py`): warm passes with the trunk frozen, joint passes, then the *push*, which replaces
# each prototype by its nearest training patch of its own class, then the decision layer, tuned on stored activations.

# %%
with run_lock(folder):
    trainer = Trainer(params, images, folder, guide, sources)
    trainer.run()
    began = time.perf_counter()
    outcome = finish_run(folder, images, teacher)
    seconds = trainer.seconds + time.perf_counter() - began
    record = provenance(
        params, device, seconds, trainer.batches.passes + len(images.subset("test")), trainer.batches.teacher_passes
    )
    history = pd.DataFrame(trainer.history)
    write_table(history, folder / "history.csv")
    inputs = {"images": images.source, "weights": trainer.identity["weights"]}
    done = {
        "provenance": record | {"inputs": inputs, "taken_from": trainer.taken_from},
        "outcome": outcome,
        "parameters": params.model_dump(),
    }
    write_json(folder / "run.json", done | {"inputs": inputs, "files": run_sums(folder, run_files(params.model))})

# %% [markdown]
# ## How it learnt

# %% mystnb={"figure": {"caption": "Losses of the training images (left, logarithmic) and accuracy on training and validation images (right) by epoch. At the push prototypes become training patches, which costs accuracy that the decision layer then wins back. A student has a third panel: R² of the add-on map, how much of its teacher's map it reproduces.", "name": "fig-history"}, "image": {"alt": "Training curves: losses and accuracies against epochs."}}
SVG(figures.svg(figures.training_curves(history, params.run)))

# %% [markdown]
# ## Result
#
# Kept is the network as it is at the end; the test images are read once, here.

# %%
stages = pd.DataFrame({"stage": outcome["top1"].keys(), "top-1 accuracy (test)": outcome["top1"].values()})
caption = "Accuracy on the test images before the push, after it, and with the decision layer tuned. Only the last row is a prototype network whose prototypes are training patches and whose decision layer knows it."
display(Markdown(table(numbers(stages), caption, "tab-stages")))
if "projection_error" in outcome:
    print(f"Projection error: max over prototypes of |p - z(source patch)| = {outcome['projection_error']:.1e}")
    print(f"Distinct prototypes: {outcome['distinct_prototypes']}")
for name, value in outcome.get("decision", {}).items():
    print(f"{name}: {value:.3g}")
if "r2" in outcome:
    print(f"R² of the add-on map on test images: {outcome['r2']:.3f}")

# %% [markdown]
# ## What this means, and what it does not
#
# A projection error of zero up to rounding says that every prototype can be pointed at in a training image. One run is
# one seed: differences between networks are judged over all seeds, on the table page.

# %% tags=["remove-input"]
display(Markdown(provenance_box(record)))
