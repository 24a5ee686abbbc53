# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What the explorer shows
#
# **Question.** Which prototype is which? The book's explorer answers it for teacher, student and baseline of one seed; this
# step writes what it reads.

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.page_params.PageParams`.

# %% tags=["parameters"]
study = "quick"
networks = {
    "teacher": "teacher-small_half-s0",
    "baseline": "baseline-small_sixth-s0",
    "student": "student-small_half-small_sixth-paper-s0",
}  # role: run, the networks explored; empty: the packed ones in the folder `runs`/`study`.
runs = "runs"  # Folder of the runs, or `networks`.

# %%
import time

import torch
from IPython.display import Markdown, display

from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.explored import FOLDER
from p2p.evaluation.explorer import explorer_data, find_networks, write_explorer
from p2p.evaluation.runs import check_inputs, load_run
from p2p.files import project_path
from p2p.study.checksums import seal
from p2p.study.page_params import PageParams
from p2p.study.pages import explorer_link, provenance_box
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
choose_device("cpu")
folders = find_networks(project_path(params.runs) / params.study, params.networks)
asked = [load_run(folder) for folder in folders.values()]
images = load_images(asked[0].params, "cpu")
check_inputs(asked, images)

# %% [markdown]
# ## Method
#
# Of every prototype: the training patch that it is, its heat map over that image, the parts that it finds in test images where
# they are known, and how often it sits on the cell of its partner in the other network, beside how often it would if the images
# were shuffled. The student's partner is the prototype of the same number, the baseline's the one that the matching behind PMS
# gives it. Of test images: the prototypes that count most, and the sum that decides.

# %%
data, pixels = explorer_data(folders, images, params.explorer_images)
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
told = {"study": params.study, "seed": asked[0].params.seed, "commit": record["commit"], "date": record["date"]}
out = project_path(params.results) / params.study
files = write_explorer(out, told | data, pixels)
seal(out, "14_explorer", files)

# %% [markdown]
# ## Result

# %%
size = sum((out / name).stat().st_size for name in files) / 1e6
many, shown = len(data["networks"]["teacher"]["source"]), len(pixels) - data["first_test"]
there = explorer_link(params.study, "open them in the explorer")
display(
    Markdown(
        f"{many} prototypes of each network and {shown} of {data['tested']} test images, {size:.1f} MB in `{FOLDER}/`: {there}."
    )
)

# %% [markdown]
# ## What this means, and what it does not
#
# One seed is explored, the one that the other pages picture. Shares are over all test images; the pictures are small copies.

# %% tags=["remove-input"]
display(Markdown(provenance_box(record, "The runs behind this page have their own pages in the *Archive*.")))
