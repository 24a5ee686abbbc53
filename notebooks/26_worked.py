# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The metrics, worked
#
# **Question.** What do AAP, AJS and PMS count, and what does the loss PPC pull? Here on a few images, a 5×5 grid and eight
# prototypes, numbered from 0 as everywhere in this book. The answers of the two networks are made up, so that everything can be
# counted by hand; the values come from the functions that train and measure the studies.

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"

# %% tags=["remove-input"]
import time

import pandas as pd
import torch
from IPython.display import SVG, Markdown, display

from p2p import figures, losses, metrics
from p2p.data.images import load_images
from p2p.figures import worked
from p2p.responses import quarter_tau
from p2p.study.page_params import QuestionParams
from p2p.study.pages import provenance_box, table
from p2p.study.params import DataParams, TrainParams, from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
birds = load_images(DataParams(reader="birds", size=100, class_count=2, bird_train_per_class=4, bird_test_per_class=1))
example = worked.example()

# %% [markdown]
# ## Active patches: AAP and AJS
#
# Each prototype looks for the cell that is nearest to it. The cells that some prototype has chosen, at a distance below the
# threshold τ, are the image's *active patches*. AAP is how many there are, on average over images. AJS is how many of them two
# networks share, as a share of all that either has (Jaccard), on average over images.

# %% mystnb={"figure": {"caption": "One image. Left and middle: the prototypes, by their numbers, in the cells they have chosen. Right: cells of the teacher alone (blue), of the student alone (green), of both (orange). The number is this image's Jaccard similarity; AJS is its mean over images.", "name": "fig-active"}, "image": {"alt": "A bird under a five by five grid, with the active cells of teacher and student and what they share."}}
SVG(figures.svg(worked.active_cells(birds.pixels[0], example)))

# %%
whole, quarter = float("inf"), quarter_tau(example.teacher)
rows = []
for name, tau in (("no threshold", whole), ("a quarter of the grid", quarter)):
    aap_t, aap_s = (float(metrics.aap(one, [tau])[0]) for one in example)
    shuffled = metrics.permute_images(example.student, torch.Generator().manual_seed(0))
    value, chance = (float(metrics.ajs(example.teacher, other, [tau])[0]) for other in (example.student, shuffled))
    rows.append(
        (name, f"{tau:.2f}".replace("inf", "∞"), f"{aap_t:.1f}", f"{aap_s:.1f}", f"{value:.3f}", f"{chance:.3f}")
    )
heads = ["threshold", "τ", "AAP, teacher", "AAP, student", "AJS", "AJS, other images"]
display(
    Markdown(
        table(
            pd.DataFrame(rows, columns=heads),
            "Over the ten images of the example. *Other images*: the student's answers, each beside the teacher's to another image.",
            "tab-active",
        )
    )
)

# %% [markdown]
# With eight prototypes on 25 cells few are active; with two thousand on 49 nearly all are, and two networks that have nothing in
# common share most of them. Hence *other images*, and a threshold at which a quarter of the teacher's cells are active.

# %% [markdown]
# ## The same cells in training: PPC
#
# The loss PPC takes the teacher's active patches of an image, and pulls the student's features to the teacher's there and only
# there. Elsewhere the student is free.

# %% mystnb={"figure": {"caption": "The same image. Left: the teacher's active patches, where its prototypes are. Right: in each cell of the student's map the squared distance from the teacher's features; those in bold on green are averaged, the grey ones count for nothing.", "name": "fig-ppc"}, "image": {"alt": "A bird twice under a five by five grid: the teacher's active cells, and the student's distances there and elsewhere."}}
SVG(figures.svg(worked.pulled_cells(birds.pixels[0], example)))

# %%
student, teacher = worked.maps(example)
ppc, whole_map = (losses.patch_correspondence(student, teacher, mask_source=cells) for cells in ("teacher", "all"))
tau, farthest = TrainParams.model_fields["tau_train"].default, float(example.teacher.distances.max())
display(
    Markdown(
        f"PPC, the mean of the bold numbers, is {ppc:.2f}; over all cells it would be {whole_map:.2f}. Training has a threshold of its own, τ = {tau:.0f}, as published: no prototype here is farther from its cell than {farthest:.2f}, so it holds none back, and *active* means nearest to some prototype. In the metrics τ is said beside each value."
    )
)

# %% [markdown]
# ## Who is whose partner: PMS
#
# $k_{ij}$ counts the images in which the teacher's prototype $i$ and the student's $j$ sit on the same cell. For each α from 0.1
# to 1 a pair is worth $\min(1, k_{ij} / \alpha N)$: at α = 0.1 agreeing in one image of ten is enough, at α = 1 it takes all.
# Prototypes are matched one to one so that the pairs are worth most together, for each α anew. PMS is the mean over α.

# %% mystnb={"figure": {"caption": "In how many of the ten images each pair of prototypes shares a cell; framed: the best matching at α = 1; dashed: where that at α = 0.1 differs. Prototypes 2 and 3 of the student have changed places, which PMS does not mind and *same number* does.", "name": "fig-counts"}, "image": {"alt": "Matrix of counts, eight by eight, with the matched pairs framed."}}
SVG(figures.svg(worked.count_matrix(example)))

# %%
found = metrics.pms(*example)
counts, first, last = metrics.coincidences(*example), *found.matching[[0, -1]].tolist()
moved = " and ".join(f"{i} with {j}" for i, j in enumerate(first) if j != last[i])
left = ", ".join(f"{i} with {j}" for i, j in enumerate(last) if counts[i, j] == 0)
display(
    Markdown(
        f"At α = 0.1 it is worth more to pair the teacher's {moved} of the student (dashed): pairs that agree once are worth 1 each there, a pair that never agrees is worth nothing. The framed {left} never agrees: it is what was left over when all others had found a partner. It adds nothing to PMS, but *same number*, which asks who is paired at α = 1 and not how often they agree, counts it."
    )
)

# %%
display(
    Markdown(
        table(
            pd.DataFrame(
                [["mean worth of a pair", *(f"{value:.2f}" for value in found.per_alpha)]],
                columns=["α", *(f"{alpha:.1f}" for alpha in found.alphas)],
            ),
            f"PMS is the mean of this row: {found.value:.3f}.",
            "tab-alpha",
        )
    )
)
shuffled = metrics.permute_images(example.student, torch.Generator().manual_seed(0))
chance = metrics.pms(example.teacher, shuffled).value
display(
    Markdown(
        f"Asked about other images, the same student reaches {chance:.3f}: the best of very many matchings is never nothing. Corrected for that, $(v - v_\\text{{permuted}}) / (1 - v_\\text{{permuted}})$, it is {(found.value - chance) / (1 - chance):.3f}. *Same number*: {metrics.same_index(*example):.3f}."
    )
)

# %% [markdown]
# ## What this means, and what it does not
#
# All three compare *places*. Prototypes that sit on the same cell may do so for different reasons, and a metric that rises with
# every network that looks at the middle of the image says little without its value on other images beside it.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record)))
