# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Speed
#
# **Question.** How long do a training step, the projection, the decision layer, the metrics and a whole run take here,
# beside [CaBRNet](https://github.com/aiser-team/cabrnet) 1.2, the maintained library of prototype networks, and beside
# the classic formulation of ProtoPNet?

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.params.SpeedParams`.

# %% tags=["parameters"]
device = "auto"  # auto: a GPU where there is one.
parts = ["steps", "push", "decision", "metrics", "end_to_end"]  # Measured; other rows stay as the result file has them.
recipe = "params/cub-20.yaml"  # Study whose first teacher is trained end to end.
trunks = ["resnet18", "resnet50", "vgg16", "mobilenet_v2"]  # Of the steps; random weights.
size = 224  # Of the steps: side of the images, pixels.
batch_size = 16  # Of the steps; on a GPU 128 is better.
repeats = 5  # Rounds of the steps.
cap_seconds = 600  # Of CaBRNet's training, end to end.

# %%
import time

from IPython.display import SVG, Markdown, display

from benchmarks import page
from benchmarks.findings import measured_when
from benchmarks.parts import keep_records, measure_page, seal_page
from p2p.device import choose_device
from p2p.figures.speed import accuracy_race, passes_curves, ratio_dots
from p2p.figures.style import svg
from p2p.files import project_path, write_atomic
from p2p.study.pages import provenance_box
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance
from p2p.study.speed_params import SpeedParams

params = from_namespace(SpeedParams, globals())
device = choose_device(params.device)
began = time.perf_counter()
out = project_path(params.results) / params.study
display(*map(Markdown, page.setting(device)))

# %% [markdown]
# ## Method
#
# All contenders get the same weights, the same images and the same threads, in one process, and take turns: a round times
# each of them once, and each round begins with another one. A row holds the medians over rounds and their ratio, the
# peer's time over ours. The range beside it runs from the lowest to the highest round; with five rounds it holds the
# median ratio with a probability of 94 %, whatever the distribution.
#
# - **CaBRNet** runs its own classes and loops, with its current distances (`cdist`) and with those of its CUB configuration
#   (*legacy*), with progress bars off. The settings of its optimisers are those it publishes for CUB-200.
# - **classic** is our plain restatement of the published formulation: distances by two convolutions, one with $P$ filters
#   of ones; smallest distance by a max-pool; a push that loops over prototypes; a decision layer trained by passes.
# - **sets** computes the metrics from their definitions with Python sets.
# - **Ours** is what this project runs: forward, `objective`, backward and fused Adam as in `p2p.training.trainer`;
#   `p2p.projection.push`; one pass and `p2p.decision.solve_decision_layer`; `p2p.metrics`.
#
# On a CPU with bfloat16 units a second row shows ours with `precision: bfloat16` (the trunk alone; distances stay in float32);
# the peers know float32 only.
#
# The distillation step is four passes over a batch, the teacher asked once and its answer kept, beside our own student with
# the teacher asked at every step, without and with a graph (as released, A12), and the same network without a teacher.
# What favours the peers: nobody reads image files inside the clock; the classic push draws no heat maps; both peers' images
# are normalised beforehand, ours inside the clock; the memory allocator is set as this project sets it, for all. On a GPU
# each runs in its own precision: ours with the trunk in bfloat16, as it trains; the peers in float32 with PyTorch's
# default, convolutions in TF32.

# %%
found = measure_page(params, device, out)

# %% [markdown]
# ## Result: how many times as long the peers take

# %% mystnb={"figure": {"caption": "The peer's time over ours, for each work and shape, on a logarithmic axis: the dot is the ratio of the medians, the bar runs from the lowest to the highest round. Right of the dotted line ours is faster; the red tick is the target.", "name": "fig-ratios"}, "image": {"alt": "Dot plot of time ratios, peer over ours, for training step, inference, push, decision layer, metrics and end to end."}}
SVG(svg(ratio_dots(found.frame, found.wanted)))

# %%
display(*map(Markdown, page.ratios(found)))

# %% [markdown]
# ## Targets
#
# Each target stands against the fastest peer of its row. A step and a push consist mostly of convolutions that every
# contender computes. The second table measures that: the trunk alone, and the ratio that would be reached if everything
# else cost us nothing. A target above that ratio cannot be met by better prototype layers, losses or searches, only by a
# faster trunk.

# %%
display(*map(Markdown, page.targets(found)))

# %% [markdown]
# ## The decision layer: not only faster
#
# The objective of the decision layer, cross-entropy and L1 on the images it learns from, says whether the time bought the
# same result. All start from the same weights. The published passes go over 30 to 40 prepared copies of each image,
# these over one: longer passes would come further down and take as many times longer.

# %%
display(*map(Markdown, page.objectives(found)))

# %% [markdown]
# ## End to end
#
# Both train the teacher of a study on the same images with the same trunk weights; ours by the recipe of that study, and
# by a short run of it that was fixed beforehand in the parameters (three joint passes);
# CaBRNet by the schedule and the optimisers it publishes for CUB-200: ten epochs of warm-up, then joint ones, projection at
# epoch 11, 21 …, each followed by 20 passes over the last layer. Its batches and losses are its own, its similarity is its
# current one with properly frozen batch normalisation. An epoch is one pass over the images; in its published set-up it is
# one over all prepared copies, 30 times as long, which on this machine would not end within the cap. The target is
# the best validation accuracy of CaBRNet with projected prototypes within the cap. Its clock stands still while it is
# evaluated and while augmented copies are prepared; ours does not.

# %% mystnb={"figure": {"caption": "Validation accuracy of networks with projected prototypes against seconds of training. The dotted line is the target: the best that CaBRNet reaches within the cap.", "name": "fig-race"}, "image": {"alt": "Accuracy against seconds for this project and for CaBRNet."}}
if found.target is not None:  # CaBRNet may be missing, or reach its cap before its first projection
    display(SVG(svg(accuracy_race(found.points, found.target))))

# %%
display(*map(Markdown, page.race(found, params.cap_seconds)))

# %% [markdown]
# ## Fewer image passes
#
# The largest gain is work that is not done. `params/cub-official.yaml` trains the same network by the released
# schedule and by the lean one: curves and image passes of each, once it has been run.

# %% mystnb={"figure": {"caption": "Accuracy on the validation images against image passes (logarithmic), mean over seeds, from the study of the released schedule. Large points: networks with projected prototypes and a solved decision layer. Higher and further left is better.", "name": "fig-recipes"}, "image": {"alt": "Curves of validation accuracy against image passes for the released schedule and the lean one."}}
if found.passes is not None:
    display(SVG(svg(passes_curves(found.passes))))

# %%
display(*map(Markdown, page.recipes(found)))

# %% [markdown]
# ## What this means, and what it does not
#
# Ratios hold for this machine, these shapes and these versions; the seconds themselves are in `speed.csv` for reference only.
# The classic side is our reading of the published formulation, not its code. PMS by sets was not run in full: its cost is
# linear in pairs of prototypes, so a sample was timed and multiplied. End to end is one run of each on few classes: it says
# how soon, not how good; and a peer with another schedule may be sooner.

# %%
write_atomic(out / "findings.md", page.summed_up(found) + "\n")
display(Markdown(page.summed_up(found)))

# %% tags=["remove-input"]
record = provenance(params, device, time.perf_counter() - began)
records = keep_records(out, params.parts, record)
seal_page(out)
display(Markdown(provenance_box(record, measured_when(records, found.where))))
