# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Evaluate one triple
#
# **Question.** How much of the teacher's explanation arrived in the student, and how much would have been there anyway?
#
# The three networks of one seed, and the controls, answer to the same test images; their answers were stored when they
# were trained. Here they are compared.

# %% [markdown]
# ## Parameters
#
# All keys and their defaults: `p2p.study.params.EvaluateParams`.

# %% tags=["parameters"]
study = "quick"  # Name of the study and its folders.
reader = "birds"
size = 64  # Side of the square images, pixels.
triple = "small_half-small_sixth"
seed = 0
teacher_run = "teacher-small_half-s0"
baseline_run = "baseline-small_sixth-s0"
student_runs = {"paper": "student-small_half-small_sixth-paper-s0"}  # variant: run.
control_runs = {}  # variant: run.
second_teacher_run = ""  # A teacher of another seed; empty: none.
ajs_empty = "zero"  # A11: AJS of two empty sets.

# %%
import time

from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.device import choose_device
from p2p.evaluation.kept import keep_answers
from p2p.evaluation.pairs import matched_pairs, same_number, same_number_sentence
from p2p.evaluation.triple import check_images, level_table, measure_triple, read_triple, triple_parts, triple_table
from p2p.files import project_path, write_table
from p2p.study.checksums import seal
from p2p.study.pages import provenance_box, table
from p2p.study.params import EvaluateParams, from_namespace
from p2p.study.provenance import provenance, write_json

params = from_namespace(EvaluateParams, globals())
device = choose_device(params.device)
began = time.perf_counter()
place = project_path(params.runs) / params.study
teacher, *others = answers = read_triple(params, place)
known = load_images(params, device)
check_images(answers, known)
images = known.subset("test")

# %% [markdown]
# ## Method
#
# For every image and prototype the response table holds the nearest cell and its distance. A cell is *active* at $\tau$
# when some prototype has its nearest cell there at a distance of at most $\tau$; $A_T$ and $A_S$ are the active cells of
# teacher and student in one image.
#
# $$
# \mathrm{AAP} = \operatorname{mean} |A|, \qquad
# \mathrm{AJS} = \operatorname{mean} \frac{|A_T \cap A_S|}{|A_T \cup A_S|},
# $$
#
# $$
# \mathrm{PMS} = \operatorname*{mean}_\alpha \max_\pi \frac1P \sum_i \min\Bigl(1, \frac{k_{i\pi(i)}}{\alpha N}\Bigr),
# $$
#
# where $k_{ij}$ counts the images in which teacher prototype $i$ and student prototype $j$ sit on the same cell, and
# $\pi$ matches the prototypes one to one.
#
# No value means much alone. The **floor** is a student network with random weights; **permuted** is the same student,
# asked about other images; the **second teacher** is trained alike from another seed: two independent
# trainings agree no more than that. A student that was pulled towards its teacher may pass it.

# %%
frame = measure_triple(params, place, answers, known, device)
record = provenance(params, device, time.perf_counter() - began, len(images))
out = project_path(params.results) / params.study
name = f"{params.triple}-s{params.seed}"
write_table(frame, out / "evaluations" / f"{name}.csv", 6)
write_json(out / "evaluations" / f"{name}.json", record | {"inputs": {"images": images.source}})
kept = keep_answers(out / "answers", answers, images.labels) if params.keep else []
seal(out, f"03_evaluate-{name}", [f"evaluations/{name}.csv", f"evaluations/{name}.json", *kept])

# %% [markdown]
# ## Result
#
# The whole of it is in the result file. The answers of the final networks are beside it (`p2p.evaluation.kept`), so that any other
# metric can be computed from them later, but where a study compares many variants. Here are accuracy and the three metrics without a threshold.

# %%
caption = "Accuracy, AAP, AJS (τ = ∞) and PMS of every network of this seed. A dash: the metric does not apply."
display(Markdown(table(triple_table(frame), caption, "tab-triple")))
caption = (
    "What a student network with random weights (floor) and a second teacher, trained alike from another seed, reach."
)
display(Markdown(table(level_table(frame), caption, "tab-levels")))

# %%
if len(of_parts := triple_parts(frame)):
    caption = "Do they mean the same part? What each network has of the teacher's parts, and what it knows of parts itself; names with a level are explained in *Do they mean the same part?*."
    display(Markdown(table(of_parts, caption, "tab-triple-parts")))

# %% [markdown]
# ## Which prototypes found each other
#
# The matching behind PMS pairs every teacher prototype with one student prototype. If the student had the teacher's
# prototypes, each would be paired with its own number.

# %% mystnb={"figure": {"caption": "Pairs of the matching at α = 1: in how many of the test images a teacher prototype and its partner sit on the same cell, sorted, for baseline and student. Higher is more alike; the dashed line is the level of chance.", "name": "fig-pairs"}, "image": {"alt": "Sorted agreement of matched prototype pairs for baseline and student."}}
pairs = {other.role: matched_pairs(teacher.tables["tuned"], other.tables["tuned"]) for other in others[:2]}
rows, columns = teacher.tables["tuned"].grid
shares = {role: share.sort(descending=True).values for role, (_, share) in pairs.items()}
SVG(figures.svg(figures.pair_curves(shares, 1 / (rows * columns))))

# %%
display(Markdown(same_number_sentence({role: same_number(partner) for role, (partner, _) in pairs.items()})))

# %% [markdown]
# ## What this means, and what it does not
#
# AJS without a threshold compares nearly full sets of cells, so it is high for any two networks: read it against the
# permuted value and the floor. PMS asks for prototypes that sit on the same cell in the same image, which says that they
# look at the same place, not that they mean the same thing.

# %% tags=["remove-input"]
display(Markdown(provenance_box(record)))
