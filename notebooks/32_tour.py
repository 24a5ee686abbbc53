# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A tour in code
#
# Five minutes with the networks that come with the code: no training, no download. Take this page with you by its download button, open `notebooks/32_tour.py` in Jupyter (`make lab`), or on Binder or Colab, see below; change a number and run it again.

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

from IPython.display import Markdown, display

from p2p.study.page_params import QuestionParams
from p2p.study.pages import provenance_box
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()

# %% [markdown]
# ## Three networks, and birds that they have not seen
#
# A large teacher, a small student that it taught, and a baseline: the student's twin, trained alone. The birds are drawn by code; eight species differ in a beak, a crest or a wing.

# %% tags=["show-input"]
import torch

from p2p.data.images import BIRD_TEST_INDEX
from p2p.evaluation.idea import draw_birds
from p2p.evaluation.runs import load_run, respond
from p2p.files import project_path

place = project_path("networks") / "birds"
runs = {
    "teacher": load_run(place / "teacher-small"),
    "student": load_run(place / "student-small_eighth"),
    "baseline": load_run(place / "baseline-small_eighth"),
}
pixels, labels = draw_birds(runs["teacher"].params, range(BIRD_TEST_INDEX, BIRD_TEST_INDEX + 64))
for name, run in runs.items():
    with torch.inference_mode():
        right = (run.network(pixels).logits.argmax(1) == labels).sum()
    parameters = sum(tensor.numel() for tensor in run.network.parameters())
    print(f"{name}, seed {run.params.seed}: {parameters} parameters, {int(right)} of {len(labels)} birds right")

# %% [markdown]
# ## Why does the student take this bird for what it takes it for?
#
# `p2p.explain` finds the prototypes that decided: training patches, the cells of the bird that resemble them, and contributions that add up to the logit. It takes a photograph's path as well, and `said.text()` tells it in sentences.

# %% tags=["show-input"]
import p2p

said = p2p.explain(pixels[1], place / "student-small_eighth", k=3)
name, logit, probability = said.best(1)[0]
speaks = said.contributions.clamp(min=0).sum()  # all that prototypes add to this class; the rest takes away
print(f"{name}, {probability:.0%} sure: {speaks:.2f} speaks for it, {logit - speaks:.2f} against it")
for rank, one in enumerate(said.evidence, 1):
    share = one.contribution / speaks
    print(
        f"rank {rank}: prototype {one.prototype}, from {one.source_name}: {share:.0%} of all that speaks for the class"
    )

# %% mystnb={"figure": {"caption": "The bird with the cells of the three prototypes that count most, the training patches that these are, where the bird resembles them (bright), and how all contributions add up to the logit.", "name": "fig-tour"}, "image": {"alt": "A drawn bird, three training patches, where it resembles them, and bars that add up to the logit."}} tags=["show-input"]
from IPython.display import SVG

from p2p import figures

SVG(figures.svg(said.figure()))

# %% tags=["remove-input"]
from p2p.evaluation.explored import explored

if there := explored(project_path(params.results), place.name, [said]):
    links = [there.prototype(one.prototype) for one in said.evidence]
    bird = there.image(f"bird {BIRD_TEST_INDEX + 1}")
    display(Markdown(f"In the book's explorer, beside the teacher and the baseline: {bird}, {', '.join(links)}."))

# %% [markdown]
# ## Is it the teacher's explanation?
#
# A response table holds, of each image and prototype, the nearest cell and its distance. The metrics compare two of them; the same with the images permuted says what chance gives.

# %% tags=["show-input"]
from p2p import metrics
from p2p.responses import quarter_tau

tables = {name: respond(run.network, pixels)[0] for name, run in runs.items()}
teacher, tau = tables["teacher"], quarter_tau(tables["teacher"])
for name in ("student", "baseline"):
    other = metrics.permute_images(tables[name], torch.Generator().manual_seed(0))
    for table, of in ((tables[name], ""), (other, ", images permuted")):
        ajs = float(metrics.ajs(teacher, table, [tau])[0])
        pms = metrics.pms(teacher, table).value
        print(f"{name}{of}: PMS {pms:.2f}, AJS {ajs:.2f}; seed {runs[name].params.seed}, {len(pixels)} images")

# %% [markdown]
# ## What PPC looks at
#
# The teacher's active patches, of one bird: where one of its prototypes is nearest. At these cells the student's map has to be the teacher's (`p2p.losses.patch_correspondence`).

# %% tags=["show-input"]
from p2p import losses

with torch.inference_mode():
    theirs, own = (runs[name].network(pixels[:1]) for name in ("teacher", "student"))
active = losses.active_mask(own, theirs).view(own.z.shape[-2:])
print("\n".join("".join("█" if cell else "·" for cell in row) for row in active))
print(f"PPC of the student: {losses.patch_correspondence(own, theirs):.4f}; on all cells:", end=" ")
print(f"{losses.patch_correspondence(own, theirs, mask_source='all'):.4f}")

# %% [markdown]
# ## On Binder and Colab
#
# At [mybinder.org](https://mybinder.org), give the address of your copy of this repository and the file `notebooks/32_tour.py`; `.binder/` says what to install, PyTorch for CPUs. In Colab, upload this page's notebook (download button, .ipynb) and run `!git clone <address of your copy> p2p-study` and `%pip install -e p2p-study` in a first cell. Then train the quick study (`make study`), or a network of your own images (`make own`).

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "The networks are those of the folder networks/birds, with a card each.")))
