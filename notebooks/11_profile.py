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

# %% tags=["parameters"]
study = "speed"
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
results = "results"

# %%
import time
from statistics import median

import pandas as pd
import torch
from IPython.display import SVG, Markdown, display

from benchmarks import timing, where
from p2p import figures
from p2p.data.images import ImageSet
from p2p.device import choose_device
from p2p.figures import speed as figures_speed
from p2p.files import atomic_path, project_path
from p2p.study.pages import provenance_box, table
from p2p.study.params import ProfileParams, TrainParams, from_namespace
from p2p.study.provenance import provenance
from p2p.training.build import build_network

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
def train_params(network: str, **change: object) -> TrainParams:
    keys = {"network": network, "size": params.size, "grid": params.grid, "batch_size": params.batch_size}
    keys |= {"prototypes_per_class": 10, "prototype_depth": 128, "joint_epochs": 3, "augment": True}
    return TrainParams.model_validate({**keys, **change})


generator = torch.Generator().manual_seed(0)
held = max(2, params.images // 4)
count = params.images + held
data = ImageSet(
    pixels=torch.randint(0, 256, (count, 3, params.size, params.size), generator=generator).to(torch.uint8),
    labels=torch.arange(count) % params.classes,
    split=(torch.arange(count) >= params.images).to(torch.uint8),
    classes=tuple(f"class {k}" for k in range(params.classes)),
    names=tuple(f"image {i}" for i in range(count)),
).to(device)

# %%
rows = []
for i, network in enumerate(params.networks):
    found = where.pass_parts(train_params(network), data, None, params.repeats)
    rows += [{"network": network, "part": part, "seconds": value} for part, value in found.items()]
    if params.teacher and i == 1:
        taught = build_network(train_params(params.teacher), params.classes).to(device)
        keys = {"role": "student", "teacher_run": "teacher", "distillation": {"global": 10.0, "ppc": 10.0}}
        found = where.pass_parts(train_params(network, **keys), data, taught, params.repeats)
        name = f"{network}, student of {params.teacher}"
        rows += [{"network": name, "part": part, "seconds": value} for part, value in found.items()]
frame = pd.DataFrame(rows)
with atomic_path(out / "profile.csv") as path:
    frame.to_csv(path, index=False, float_format="%.5g")

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "One joint pass over the training images, with the validation and the checkpoint that follow it, by part. What lies right of the two blue bars is not the trunk: it is what this project can still save.", "name": "fig-parts"}, "image": {"alt": "Stacked bars: shares of convolution, normalisation, prototype layer, losses, augmentation, teacher, optimiser, validation and checkpoint in the time of a pass."}}
SVG(figures.svg(figures_speed.time_bars(frame)))

# %%
wide = frame.pivot(index="part", columns="network", values="seconds").reindex(list(dict.fromkeys(frame["part"])))
wide = (1000 * wide / params.images)[list(dict.fromkeys(frame["network"]))]
total = wide.drop(["validation", "checkpoint"]).sum()
shown = wide.map("{:.2f}".format).reset_index().rename(columns={"part": ""})
shown.loc[len(shown)] = {"": "a pass, without validation and checkpoint", **total.map("{:.2f}".format)}
caption = f"Milliseconds for each training image, by part; {params.classes} classes, batch {params.batch_size}, {params.size} px, medians of {params.repeats}."
display(Markdown(table(shown, caption, "tab-parts")))
outside = 1 - wide.loc[["convolution", "normalisation and activation"]].sum() / total
lines = [f"{name}: {value:.0%}" for name, value in outside.items()]
display(Markdown(f"Share of a pass that is not the trunk: {'; '.join(lines)}."))

# %% [markdown]
# ## What each setting brings
#
# A training step as the engine runs it, and with one thing changed. Above 1: the engine's setting is faster.

# %%
cells: dict[str, dict[str, str]] = {}
for network in params.networks:
    seconds = where.switches(train_params(network), data, params.repeats)
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["engine"], strict=True)]
        text = f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        cells.setdefault(name, {})[network] = text
lines = [{"changed": name, **row} for name, row in cells.items() if name != "engine"]
if params.compiled_network:
    try:
        eager, first, later = where.compiled(train_params(params.compiled_network), data, params.repeats)
    except Exception as error:
        display(Markdown(f"torch.compile could not be measured here ({type(error).__name__})."))
    else:
        gain = eager - later
        pays = f"pays after {(first - later) / gain:,.0f} passes of this size" if gain > 0 else "never pays"
        name = f"trunk compiled; the first pass takes {first / eager:.1f} times as long: {pays}"
        lines.append({"changed": name, params.compiled_network: f"{later / eager:.2f}"})
caption = f"One change of the engine at a time: time of a step over that of the engine's, median of {params.repeats} rounds (lowest to highest)."
shown = pd.DataFrame(lines).fillna("–")
display(Markdown(table(shown, caption, "tab-switches")))

# %% [markdown]
# ## What this means, and what it does not
#
# On a CPU a pass is convolutions before all else, and they are the library's: what this project can save is to make fewer
# of them, which is what cached trunk outputs, one-pass push and the solved decision layer are for. On GPUs with bfloat16
# units the trunk runs in bfloat16 by itself; on a CPU that has them `precision: bfloat16` asks for it (the row above, where
# this machine has them), and on one without the key is refused. The table speaks of this machine: another processor
# divides the time differently.

# %% tags=["remove-input"]
record = provenance(params, device, time.perf_counter() - began)
display(Markdown(provenance_box(record)))
