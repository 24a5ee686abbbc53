# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The prototypes
#
# **Question.** What do the prototypes look like, where do they come from, and what did the student make of the teacher's?

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
}  # role: run, the networks pictured.
pictures = 4  # Three times as many classes are shown.

# %%
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.measure import Answer
from p2p.evaluation.own import on_object, same_patches
from p2p.evaluation.pairs import matched_pairs
from p2p.evaluation.runs import check_inputs, load_run
from p2p.evaluation.same_parts import FRAME, WINDOW, part_cells
from p2p.figures.part_pictures import agreeing, agreements, on_a_part
from p2p.files import project_path
from p2p.metrics import ResponseTable
from p2p.parts import merged_sides, part_transfer
from p2p.study.checksums import seal
from p2p.study.page_params import PageParams
from p2p.study.pages import prototype_links, provenance_box
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(PageParams, globals())
began = time.perf_counter()
place = project_path(params.runs) / params.study
choose_device("cpu")

pictured = {role: load_run(place / run) for role, run in params.networks.items()}
tables = {role: ResponseTable.load(place / run / "responses.safetensors") for role, run in params.networks.items()}
known = load_images(pictured["teacher"].params, "cpu")
check_inputs(list(pictured.values()), known)
train, test = known.subset("train"), known.subset("test")

# %% [markdown]
# ## Method
#
# After the push every prototype *is* a patch of a training image of its own class. The box encloses the pixels where the
# upsampled similarity of that image lies above its 95th percentile; the colours show the similarity itself.

# %% [markdown]
# ## The teacher's prototypes

# %% mystnb={"figure": {"caption": "Prototypes of the teacher: source image with its box, and the map of similarity over that image (bright: similar). One prototype of each of several classes.", "name": "fig-teacher"}, "image": {"alt": "Gallery of teacher prototypes with heat maps."}}
network = pictured["teacher"].network
per_class = network.per_class
classes = torch.linspace(0, len(known.classes) - 1, 3 * params.pictures).round().long().unique()
whole = torch.linspace(0, per_class - 1, 3 * params.pictures).round().long().unique()  # where they have no class
shown = (classes * per_class if network.decision.classed else whole).tolist()
SVG(figures.svg(figures.prototype_gallery(pictured["teacher"], train, shown)))

# %% [markdown]
# ## The student's prototypes of the same numbers

# %% mystnb={"figure": {"caption": "Prototypes of the student with the same numbers. The Global Explanation loss pulls each of them to the teacher's; the push then puts it on a training patch, which need not be the teacher's.", "name": "fig-student"}, "image": {"alt": "Gallery of student prototypes with heat maps."}}
SVG(figures.svg(figures.prototype_gallery(pictured["student"], train, shown)))

# %% tags=["remove-input"]
if params.explorer:
    display(Markdown(prototype_links(params.study, shown)))

# %% [markdown]
# ## What all of them are
#
# A patch beside the object is no part of it; two prototypes that are the same patch are one reason.

# %%
answers = [Answer(role, "paper", {}, {"tuned": tables[role]}, run) for role, run in pictured.items()]
facts = [on_object(answers, known).get("source", "What of these images is the object, is not known.")]
for role, run in pictured.items():
    same = same_patches(run, known.classes) if run.network.decision.classed else ""
    facts.append(f"*{role.capitalize()}*: {same or 'no two prototypes of a class are the same patch.'}")
display(Markdown("\n".join(f"- {fact}" for fact in facts)))

# %% [markdown]
# ## Partners
#
# The matching behind PMS pairs prototypes that sit on the same cell in most test images.

# %% mystnb={"figure": {"caption": "Teacher prototypes and the student prototypes matched with them: the best, the middle and the worst pairs, with the share of test images in which both sit on the same cell.", "name": "fig-pairs"}, "image": {"alt": "Pairs of teacher and student prototypes."}}
partner, share = matched_pairs(tables["teacher"], tables["student"])
pairs = list(zip(range(len(partner)), partner.tolist(), share.tolist(), strict=True))
best = figures.choose_matches(pairs)
SVG(figures.svg(figures.matched_patches(pictured["teacher"], pictured["student"], train, best)))

# %% tags=["remove-input"]
if params.explorer:
    display(Markdown(prototype_links(params.study, [i for i, _, _ in best])))

# %% [markdown]
# ## Where they are found in test images

# %% mystnb={"figure": {"caption": "The test images nearest to the best-matched teacher prototype: its patch lies in the box.", "name": "fig-nearest-teacher"}, "image": {"alt": "Test images with boxes at the teacher prototype's nearest cell."}}
SVG(figures.svg(figures.nearest_patches(pictured["teacher"], tables["teacher"], test.pixels, best[0][0], 6)))

# %% mystnb={"figure": {"caption": "The same for its partner in the student.", "name": "fig-nearest-student"}, "image": {"alt": "Test images with boxes at the student prototype's nearest cell."}}
SVG(figures.svg(figures.nearest_patches(pictured["student"], tables["student"], test.pixels, best[0][1], 6)))

# %% [markdown]
# ## The same part?
#
# Where the parts in the images are known: of the teacher's prototypes the one that transfers best to the student's of its number, the one
# in the middle and the worst, with the nearest test images in which it lies on a part; the percentage counts all of those ([how often, over all networks](../../parts.ipynb)).

# %%
pair = [tables["teacher"], tables["student"]]
if test.parts is not None and pair[0].cells.shape == pair[1].cells.shape:
    cells = part_cells(test, pair[0].grid, [WINDOW])[WINDOW]
    at = [cells.gather(1, of.cells.long()) for of in pair]
    each = part_transfer(*at, pair[0].distances).each
else:
    each = torch.empty(0)
if each.isfinite().any():
    out = project_path(params.results) / params.study
    names = merged_sides(test.part_names)[1]
    figures.save(agreements(test.pixels, pair, at, names, each, WINDOW / FRAME), out / "parts.svg")
    seal(out, "07_gallery", ["parts.svg"])
    display(SVG(filename=str(out / "parts.svg")))
    if params.explorer:
        shown = agreeing(each, on_a_part(at[0], pair[0].distances))
        display(Markdown(prototype_links(params.study, shown)))
else:
    display(Markdown("*Nothing is known of the parts in these images, or no prototype of the teacher lies on one.*"))

# %% [markdown]
# ## What this means, and what it does not
#
# A prototype that looks sensible in a picture may still react to something else in the patch, its background or colour.
# Classes and pairs are chosen by rule (evenly spaced; best, middle, worst), not by taste.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "The runs behind this page have their own pages in the *Archive*.")))
