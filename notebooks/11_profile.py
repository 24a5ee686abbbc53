# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Where the time goes
#
# **Question.** What is the time of a training pass spent on, and what does each of the engine's settings bring?

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.params.ProfileParams`.

# %% tags=["parameters"]
device = "auto"  # auto: a GPU where there is one.
networks = ["mobilenet_v2", "squeezenet1_1", "resnet18"]  # Trunks, random weights.
teacher = "mobilenet_v2"  # Trunk of the teacher of the second network; empty: no student.
size = 224  # Side of the images, pixels.
grid = 7  # Side of the grid, cells.
classes = 200  # K, with ten prototypes each.
images = 96  # Images of a pass, and a quarter as many for validation.
batch_size = 32  # On a GPU 128 is better.
repeats = 3
compiled_network = "resnet18"  # Trunk that torch.compile is tried on; empty: none.

# %%
import time

import torch
from IPython.display import SVG, Markdown, display

from benchmarks import tables, timing, where
from p2p.device import choose_device
from p2p.figures.speed import time_bars
from p2p.figures.style import svg
from p2p.files import project_path, write_table
from p2p.study.checksums import seal
from p2p.study.pages import provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance
from p2p.study.speed_params import ProfileParams

params = from_namespace(ProfileParams, globals())
device = choose_device(params.device)
began = time.perf_counter()
out = project_path(params.results) / params.study
display(Markdown(f"Machine: {timing.describe(device)}; torch {torch.__version__}."))

# %% [markdown]
# ## Method
#
# Random images and random weights: time depends on shapes only. Each part of a joint pass is timed alone, with what it
# needs at hand: the trunk forward and backward; add-on, prototype and decision layer on trunk outputs; the losses on the
# network's outputs; augmentation; the teacher's answer; the optimiser's step. The trunk's time is divided between
# convolutions and the rest (batch normalisation, activation, pooling) as PyTorch's profiler divides it. *Rest* is what a
# real pass takes beyond the sum of its parts. Validation and the checkpoint follow every pass.

# %%
data = where.random_images(params, device)
frame = where.page_parts(params, data)
write_table(frame, out / "profile.csv", 5)
seal(out, "11_profile", ["profile.csv"])

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "One joint pass over the training images, with the validation and the checkpoint that follow it, by part. What lies right of the two blue bars is not the trunk: it is what this project can still save.", "name": "fig-parts"}, "image": {"alt": "Stacked bars: shares of convolution, normalisation, prototype layer, losses, augmentation, teacher, optimiser, validation and checkpoint in the time of a pass."}}
SVG(svg(time_bars(frame)))

# %%
wide = tables.by_part(frame, params.images)
caption = f"Milliseconds for each training image, by part; {params.classes} classes, batch {params.batch_size}, {params.size} px, medians of {params.repeats}."
display(Markdown(table(tables.part_table(wide), caption, "tab-parts")))
shares = "; ".join(f"{name}: {share:.0%}" for name, share in tables.beside_trunk(wide).items())
display(Markdown(f"Share of a pass that is not the trunk: {shares}."))

# %% [markdown]
# ## What each setting brings
#
# A training step as the engine runs it, and with one thing changed. Above 1: the engine's setting is faster.

# %%
seconds = {name: where.switches(where.pass_params(params, name), data, params.repeats) for name in params.networks}
compiled = None
if name := params.compiled_network:
    try:
        compiled = name, where.compiled(where.pass_params(params, name), data, params.repeats)
    except Exception as error:
        display(Markdown(f"torch.compile could not be measured here ({type(error).__name__})."))
caption = f"One change of the engine at a time: time of a step over that of the engine's, median of {params.repeats} rounds (lowest to highest)."
display(Markdown(table(tables.switch_table(seconds, compiled), caption, "tab-switches")))

# %% [markdown]
# ## What this means, and what it does not
#
# On a CPU a pass is convolutions before all else, and they are the library's: what this project can save is to make fewer
# of them, which is what cached trunk outputs, one-pass push and the decision layer tuned on stored activations are for. On GPUs with bfloat16
# units the trunk runs in bfloat16 by itself; on a CPU that has them `precision: bfloat16` asks for it (the row above, where
# this machine has them), and on one without the key is refused. The table speaks of this machine: another processor
# divides the time differently.

# %% tags=["remove-input"]
record = provenance(params, device, time.perf_counter() - began)
display(Markdown(provenance_box(record)))
