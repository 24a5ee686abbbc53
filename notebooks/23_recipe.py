# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Which part of the recipe does it?
#
# **Question.** Which loss does it, how much of it, and would another way to distil do as well? What does each other change
# of the recipe do, all else left as it is?

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.QuestionParams.
results = "results"  # Folder of the studies' results.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.evaluation import across, budgets, questions, variants
from p2p.evaluation.settings import read_settings, topic
from p2p.figures import questions as drawn
from p2p.figures.variants import weight_curves
from p2p.files import project_path
from p2p.study.page_params import QuestionParams
from p2p.study.pages import escape, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance

params = from_namespace(QuestionParams, globals())
began = time.perf_counter()
settings = [s for s in read_settings(project_path(params.results), every=True) if topic(s.study) == "recipe"]
effects = across.recipe_effects(settings)
several = [setting for setting in settings if variants.by_losses(setting)[1:]]
others = [setting for setting in settings if variants.by_others(setting)]
missing = variants.not_run(project_path(params.results), project_path("params"), "recipe")
waiting = {
    part: variants.not_run_sentence(name for name, parts in missing.items() if part in parts)
    for part in ("losses", "others")
}

# %% [markdown]
# ## Answer

# %%
said = [first for setting in several for first in variants.loss_sentences(setting)[:1]]
said += [first for setting in others for first in variants.other_sentences(setting)[:1]]
changed = " ".join(questions.recipe_sentences(settings))
longer = " ".join(filter(None, [budgets.longer_elsewhere(setting, settings) for setting in [*several, *others]]))
said += filter(
    None,
    [
        changed and f"One thing changed: {changed}",
        longer,
        budgets.trained_twice([*several, *others]),
        variants.not_run_sentence(missing),
    ],
)
nothing = "No study in this copy has variants or controls; `variants:` and `controls:` in a study file add them."
display(Markdown("\n".join(f"- {sentence}" for sentence in said) or nothing))

# %% [markdown]
# ## Which loss does it?
#
# The paper's Table 4 asks it. Students of one study differ in losses, weights, mask or decision layer alone, and share teacher
# and baseline of their seed. PMS and AJS (at the teacher's quarter threshold) are corrected for chance: 0 is what the
# network reaches on other images. Three decision layers: *top-1* is with the one that the network was trained with (its own, or
# where the small print names a head the teacher's, fixed, or tuned after the push); *teacher's head* puts the teacher's, untouched,
# in its place. One column is not ours: top-1 as Bikker et al. report it of [their students](reproductions.md) on Cars.

# %%
if waiting["losses"] or not several:
    display(Markdown(waiting["losses"] or "No study in this copy has students that differ in their losses."))
for i, setting in enumerate(several):
    display(Markdown(" ".join(variants.loss_sentences(setting)[1:])))
    names = variants.by_losses(setting)
    fewer = variants.fewer_seeds(setting, names)
    caption = f"{escape(setting.title)}: students by their losses; mean over {setting.seeds} seeds (lowest to highest){fewer}."
    display(Markdown(table(variants.variants_table(setting, names, quoted=True), caption, f"tab-losses-{i}")))
    caption = "Differences to the network trained alone and to the paper's student, with 95 % interval and the verdict on *higher*; accuracy has none where twice the passes would move it, or were not run."
    display(Markdown(table(variants.effects_table(setting, names), caption, f"tab-losses-effects-{i}")))

# %% mystnb={"figure": {"caption": "How much of each loss: R² of the teacher's map, PMS and accuracy against the weight λ of one loss, the other at the paper's 10. Dots are the seeds that all weights have, lines their means; at 0 the loss is left out.", "name": "fig-weights"}, "image": {"alt": "R², PMS and accuracy against the weight of each loss, a row a setting."}}
curves = {setting.title: found for setting in several if len(found := variants.responses(setting))}
if curves:
    alone = {setting.title: variants.trained_alone(setting) for setting in several}
    display(SVG(figures.svg(weight_curves(curves, alone))))

# %% [markdown]
# ## Would another way to distil do as well?
#
# The paper's Table 5 compares with relational distillation (RKD, Park et al. 2019). Here stand beside it the teacher's softened
# logits (Hinton et al. 2015), its whole feature map (FitNets, Romero et al. 2015) and its attention (Zagoruyko and Komodakis
# 2017), with the same phases, passes and push, and weights that `make search` looks for on validation images; `p2p/other_losses.py`
# has the formulas. These know no prototypes: a student's keep their own numbers, so *same number* is at chance unless the
# Global Explanation loss stands beside them; PMS matches prototypes whatever their number.

# %%
if waiting["others"] or not others:
    display(Markdown(waiting["others"] or "No study in this copy has students with other losses."))
for i, setting in enumerate(others):
    display(Markdown(" ".join(variants.other_sentences(setting)[1:])))
    fewer = variants.fewer_seeds(setting, variants.by_others(setting))
    caption = f"{escape(setting.title)}: mean over {setting.seeds} seeds (lowest to highest){fewer}. Time: of training, as a multiple of the baseline's, on machines that may have done other things as well."
    display(Markdown(table(variants.others_table(setting), caption, f"tab-others-{i}")))
    caption = "Differences to the network trained alone and to the paper's student, with 95 % interval and the verdict on *higher*; accuracy has none where twice the passes would move it, or were not run."
    display(
        Markdown(
            table(variants.effects_table(setting, variants.by_others(setting)), caption, f"tab-others-effects-{i}")
        )
    )

# %% [markdown]
# ## What the controls change
#
# A control is one of the networks of a study, trained with one thing changed. Differences are taken within seeds, control less
# the network it was changed from. *Same source image*: share of prototypes that come from the image of the teacher's of the
# same number.

# %% mystnb={"figure": {"caption": "What each control changes, mean over seeds with 95 % interval where there are several. Left of the grey line it lowers the value.", "name": "fig-effects"}, "image": {"alt": "Dots with intervals: the effect of each control on accuracy, PMS and sources."}}
if len(effects):
    display(SVG(figures.svg(drawn.effects(effects))))

# %%
if len(effects):
    caption = "Control less the network it was changed from, with its 95 % interval. A dash: not measured."
    display(Markdown(table(across.recipe_table(settings), caption, "tab-effects")))

# %% [markdown]
# ## What this means, and what it does not
#
# A change that does nothing here may matter where students follow their teachers less far. Of many intervals of 95 % some miss
# by chance: single ones among many rows are a hint. To try another: add a line to `variants:` or `controls:` of a study file
# and call `make study STUDY=birds`, or with that file's name; only the new runs are trained.

# %% tags=["remove-input"]
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record, "Drawn from the result files of every study; the runs are in the *Archive*.")))
