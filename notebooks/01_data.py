# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The images
#
# **Question.** What do the networks of this study see, and what is known about each image?
#
# Everything later rests on three things fixed here: which images there are, which of them are for training,
# validation and test, and how a training image is varied before a network sees it.

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.params.ImagesParams`.

# %% tags=["parameters"]
study = "quick"  # Name of the study and its folders.
reader = "birds"
root = ""  # Folder of the data; empty: the environment variable P2P_DATA.
size = 64  # Side of the square images, pixels.
class_step = 1  # Take every so many-th class.
class_count = None  # At most so many classes.
images_per_class = None  # The first so many of each class and split.
networks = {"small": "none", "small_sixth": "none"}  # trunk: weights.
grid = 8  # Side of the grid, cells.

# %%
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.data import conversions
from p2p.data.augment import augment
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.inputs import split_table, trunk_table
from p2p.study.pages import escape, provenance_box, table
from p2p.study.params import ImagesParams, from_namespace
from p2p.study.provenance import provenance

params = from_namespace(ImagesParams, globals())
torch.manual_seed(0)
began = time.perf_counter()
images = load_images(params, choose_device(params.device)).to("cpu")
seconds = time.perf_counter() - began

# %% [markdown]
# ## What there is
#
# The test images are those of the source where it has some, else drawn from each class by a seed. The validation images
# are cut from the training images of each class, by a seed; every choice (which round of a run is kept, which schedule is used) is made on them, and the test images are
# read once, at the end of a run.

# %%
known = [name for name in ("boxes", "parts", "masks") if getattr(images, name) is not None]
text = f"{len(images)} images of {params.size} × {params.size} pixels, {len(images.classes)} classes, read in {seconds:.1f} s"
display(Markdown(f"{text}; known besides the class: {', '.join(known) or 'nothing'}."))
if images.remarks and params.reader != "folder":
    print(*images.remarks, sep="\n")
if params.reader == "folder":  # what was turned into what, and what was left out
    odd = conversions.checked(params)
    for remark in odd.remarks:
        display(Markdown(escape(remark)))
    caption = f"Of {odd.files:,} image files in the folder: what is odd about them, and what is done. A file may be in several rows."
    told = table(conversions.frame(odd), caption, "tab-odd")
    display(Markdown(told if odd.rows else "Nothing is odd about the files: all are read as they are."))
caption = "Images of each split, and for the classes the smallest and largest number of images in one class."
display(Markdown(table(split_table(images), caption, "tab-splits")))

# %% [markdown]
# ## What they look like

# %% mystnb={"figure": {"caption": "Two training images of some of the classes, as the networks get them. Where the masks of the parts are known they stand beside it: each colour is one part, and only its visible pixels count.", "name": "fig-sheet"}, "image": {"alt": "Grid of training images with their class names."}}
train = images.subset("train")
shown = torch.cat([(train.labels == k).nonzero()[:2, 0] for k in range(min(6, len(images.classes)))])
titles = [images.classes[k] for k in train.labels[shown].tolist()]
masks = None if train.masks is None else train.masks[shown]
SVG(figures.svg(figures.image_sheet(train.pixels[shown], titles, masks, images.part_names)))

# %% [markdown]
# ## How training varies them
#
# The paper prepares its training images in advance: forty copies of each, ten rotated by up to 15°, ten skewed by up to
# 0.2, ten sheared by up to 10°, ten distorted elastically, each mirrored with probability one half. Here every image
# draws one of the four transforms anew each time it is used, for a whole batch at once and with a single resampling, so
# one pass over the images is one epoch and no two epochs repeat an image.

# %% mystnb={"figure": {"caption": "Training images (top row) and four random variations of each, as `p2p.data.augment.augment` makes them: they turn, lean, stretch, warp and mirror, and no border is left empty.", "name": "fig-augment"}, "image": {"alt": "Columns of one original image above four augmented copies."}}
some = train.pixels[shown[::2][:6]]
generator = torch.Generator().manual_seed(params.data_seed)
copies = torch.stack([augment(some, generator) for _ in range(4)])
SVG(figures.svg(figures.augmentation_sheet(some, copies)))

# %% [markdown]
# ## The networks that will see them
#
# A trunk is cut at its deepest layer with the wanted grid, so that teacher and student describe an image by the same
# number of cells and can be compared cell by cell. This is checked here, before anything is trained.

# %%
trunks = trunk_table(params.networks, params.size, params.grid, params.weights_missing)
display(Markdown(table(trunks, "The trunks of this study.", "tab-trunks")))

# %% [markdown]
# ## What this means, and what it does not
#
# Whatever the following pages find holds for these images at this size. Drawn birds are a test bed with known truth,
# not photographs; a part of a data set is not the whole of it; and a validation split of a few images a class measures
# accuracy to a few points only.

# %% tags=["remove-input"]
display(Markdown(provenance_box(provenance(params, torch.device("cpu"), seconds))))
