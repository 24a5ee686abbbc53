# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Fewer prototypes
#
# **Question.** What is left of accuracy and of the teacher's explanation when prototypes that say the same are merged?

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.share_params.ShareParams`.

# %% tags=["parameters"]
study = "quick"  # Name of the study and its folders.
reader = "birds"
size = 64  # Side of the square images, pixels.
sharing = [80, 60, 40, 20]  # Shares of the prototypes that are left, in percent.
ajs_empty = "zero"  # A11: AJS of two empty sets.

# %%
import time

from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.sharing import measure_sharing
from p2p.evaluation.sharing_table import sharing_table
from p2p.figures.sharing import sharing_curves
from p2p.files import project_path, write_table
from p2p.study.checksums import seal
from p2p.study.pages import provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance, write_json
from p2p.study.share_params import ShareParams

params = from_namespace(ShareParams, globals())
device = choose_device(params.device)
began = time.perf_counter()
images = load_images(params, device)
frame = measure_sharing(params, project_path(params.runs) / params.study, images)

# %% [markdown]
# ## Method
#
# ProtoPShare (Rymarczyk et al., KDD 2021): two prototypes are the more alike the less their activations $a$ differ on the
# training images $x$, wherever they lie themselves,
#
# $$
# s(i, j) = \Bigl(\sum_x \bigl(a_i(x) - a_j(x)\bigr)^2\Bigr)^{-1} .
# $$
#
# The most similar pair is merged, and so on, until the wanted share is left: one of the pair goes, its weights in the decision
# layer are added to those of the other, which then serves the classes of both. Who stays is unchanged, so each prototype is
# still a training patch. Then the decision layer is tuned, as after the push. `p2p.sharing` says what the paper leaves open.
#
# AAP, AJS and PMS compare each network with the *whole* teacher. PMS pairs all prototypes of the smaller set, and its mean is
# over these pairs. AJS (at the threshold at which a quarter of the teacher's cells are active) and PMS are corrected for chance,
# $(v - v_\mathrm{permuted}) / (1 - v_\mathrm{permuted})$: fewer prototypes find better partners by chance.

# %%
out = project_path(params.results) / params.study
record = provenance(
    params,
    device,
    time.perf_counter() - began,
    int(frame.groupby(["triple", "seed", "role"]).ngroups * (images.split < 2).sum()),
)
write_table(frame, out / "sharing.csv", 6)
write_json(out / "sharing.json", record | {"inputs": {"images": images.source}})
seal(out, "08_share", ["sharing.csv", "sharing.json"])

# %% [markdown]
# ## Result

# %% mystnb={"figure": {"caption": "Accuracy (left; dotted: before the decision layer is tuned) and PMS to the whole teacher, corrected for chance (right), against the share of prototypes that is left. A dot a seed, lines through the means. The teacher's own prototypes stay its own, so its PMS is 1.", "name": "fig-sharing"}, "image": {"alt": "Curves of accuracy and PMS of teacher, baseline and student as prototypes are merged."}}
triples = dict(iter(frame.groupby("triple", sort=False)))
SVG(figures.svg(sharing_curves(triples)))

# %%
for i, (name, rows) in enumerate(triples.items()):
    caption = f"{name}, {rows.seed.nunique()} seeds: means, of the tuned accuracy with the lowest and highest. *Classes each*: how many classes a prototype serves. AJS and PMS are corrected for chance."
    display(Markdown(table(sharing_table(rows), caption, f"tab-sharing-{i}")))

# %% [markdown]
# ## What this means, and what it does not
#
# Merged prototypes agree on the training images; that they mean the same to a person is not said. Whether the student survives
# merging better than the baseline is judged over all studies, on the page *What does it cost?*.

# %% tags=["remove-input"]
display(Markdown(provenance_box(record)))
