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

# %% tags=["parameters"]
study = "quick"  # Name of the study and its folders.
reader = "birds"
root = ""  # Folder of the data; empty: the environment variable P2P_DATA.
size = 64  # Side of the square images, pixels.
class_step = 1  # Take every so many-th class.
class_count = None  # At most so many classes.
images_per_class = None  # The first so many of each class and split.
validation_fraction = 0.15  # Cut from each class's training images.
data_seed = 0  # Seed of the validation cut and of the synthetic birds.
bird_train_per_class = 100  # Synthetic birds for training and validation.
bird_test_per_class = 50  # Synthetic birds for the test.
streaming = "auto"  # on: images stay on the disk, read ahead batch by batch; auto: where memory is short.
device = "auto"  # auto: a GPU where there is one.
run = "teacher"  # Name of the run and its folder.
role = "teacher"
variant = "paper"  # Name of the variant, as in the result files.
seed = 0
model = "protopnet"  # linear: the same trunk, ordinary classifier.
network = "small"  # Name of the trunk: see p2p.trunks.TRUNKS, or timm/<name>.
weights = "none"  # none, imagenet (downloaded), or a safetensors file (P2P_WEIGHTS).
weights_missing = []  # Prefixes of the trunk's parameters that may stay at their random start.
grid = 8  # Side of the grid, cells; the trunk is cut where it has this grid.
prototypes_per_class = 5
prototype_depth = 64  # D: channels of the add-on map.
feature_init = "kaiming"  # kaiming as published; data: trunk outputs and add-on channels scaled to unit size.
prototype_init = "uniform"  # uniform: U[0, 1) as published; patches: own-class training patches after k-means.
schedule = "lean"  # official: 300 epochs, 29 pushes as coded, whatever warm_epochs, joint_epochs and rounds.
official_epochs = 300  # A7: 300 as coded; at 32 the joint rate is 1/10,000.
official_copies = 40  # Passes that make one published epoch: its prepared copies.
batch_size = 32
warm_epochs = 0  # Passes with the trunk frozen, on cached trunk outputs.
warm_copies = 10  # Augmented copies of the images that the warm passes cycle through.
warm_cache_gb = 4.0  # Memory for trunk outputs; copies beyond it go to the disk.
joint_epochs = 20  # Passes over the images in each round, all layers learning.
rounds = 1  # How often joint, push and decision phases follow each other.
trunk_batchnorm = "train"  # frozen: the trunk keeps its batch-normalisation statistics in joint passes.
precision = "auto"  # Of the trunk in training; auto: bfloat16 on GPUs that have it. All else is float32.
compile_trunk = False  # torch.compile of the trunk: minutes first, then faster steps.
augment = True  # Rotation, skew, shear, elastic distortion, flip on the fly.
optimizer = "adam"  # A6: adam couples the weight decay, as coded.
lr_trunk = 0.0002
lr_addon = 0.003
lr_prototypes = 0.003
joint_factor = 1.0  # On lr_addon and lr_prototypes in joint passes.
lr_decision = 0.0001  # Where the decision layer learns in joint passes.
weight_decay = 0.001  # Of trunk and add-on.
lambda_cluster = 1.0
lambda_separation = 0.08  # Subtracted: far from other classes is rewarded.
lambda_l1 = 0.0001
decision_iterations = 200  # Of the solver, on cached activations.
teacher_run = ""  # Run whose network teaches; empty for none.
lambda_global = 0.0  # Global Explanation loss; published: 10.
lambda_ppc = 0.0  # Patch-Prototype Correspondence loss; published: 10.
mask_source = "teacher"  # A1: whose active patches PPC uses.
global_norm = "l2"  # A2.
tau_train = 100.0  # A3: threshold of active patches, squared L2.
ppc_norm = "patch"  # A4.
head = "own"  # A5: own decision layer; the teacher's, fixed; the teacher's, learning along as coded.
warm_losses = "all"  # A14: losses of a student's warm passes.
runs = "runs"  # Folder of the runs; this one's is <runs>/<study>/<run>.

# %%
import time

import pandas as pd
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.runs import finish_run, load_run
from p2p.files import atomic_path, project_path, run_lock
from p2p.study.pages import provenance_box, table
from p2p.study.params import TrainParams, from_namespace
from p2p.study.provenance import provenance, write_json
from p2p.training.trainer import Trainer

params = from_namespace(TrainParams, globals())
device = choose_device(params.device)
folder = project_path(params.runs) / params.study / params.run
images = load_images(params, device)
teacher = None
if params.teacher_run:
    teacher = load_run(folder.parent / params.teacher_run, device).network

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
# The phases are data (`p2p/training/phases.py`): warm passes with the trunk frozen, joint passes, then the *push*, which replaces
# each prototype by its nearest training patch of its own class, then the decision layer, solved on cached activations.

# %%
with run_lock(folder):
    trainer = Trainer(params, images, folder, teacher)
    network = trainer.run()
    began = time.perf_counter()
    outcome = finish_run(folder, images)
    seconds = trainer.seconds + time.perf_counter() - began
    record = provenance(
        params, device, seconds, trainer.batches.passes + len(images.subset("test")), trainer.batches.teacher_passes
    )
    with atomic_path(folder / "history.csv") as path:
        pd.DataFrame(trainer.history).to_csv(path, index=False)
    write_json(folder / "run.json", {"provenance": record, "outcome": outcome, "parameters": params.model_dump()})

# %% [markdown]
# ## How it learnt

# %% mystnb={"figure": {"caption": "Losses of the training images (left, logarithmic) and accuracy on training and validation images (right) by epoch. At the push prototypes become training patches, which costs accuracy that the decision layer then wins back.", "name": "fig-history"}, "image": {"alt": "Training curves: losses and accuracies against epochs."}}
SVG(figures.svg(figures.training_curves(pd.DataFrame(trainer.history), params.run)))

# %% [markdown]
# ## Result
#
# Of all rounds the one with the best validation accuracy after its decision phase is kept; the test images are read
# once, here.

# %%
rows = [{"stage": stage, "top-1 accuracy (test)": f"{value:.3f}"} for stage, value in outcome["top1"].items()]
display(
    Markdown(
        table(
            pd.DataFrame(rows),
            "Accuracy on the test images before the push, after it, and with the decision layer solved anew. Only the last row is a prototype network whose prototypes are training patches and whose decision layer knows it.",
            "tab-stages",
        )
    )
)
if "projection_error" in outcome:
    print(f"Projection error: max over prototypes of |p - z(source patch)| = {outcome['projection_error']:.1e}")

# %% [markdown]
# ## What this means, and what it does not
#
# A projection error of zero up to rounding says that every prototype can be pointed at in a training image. One run is
# one seed: differences between networks are judged over all seeds, on the table page.

# %% tags=["remove-input"]
display(Markdown(provenance_box(record)))
