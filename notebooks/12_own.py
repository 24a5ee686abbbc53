# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What came out
#
# **Question.** How well do the networks tell your classes apart, and can their reasons be believed?
#
# Three were trained on your images: a large *teacher*, a small *student* that learnt from it, and the *baseline*, the same
# small network without a teacher. Each knows a class by *prototypes*, patches of your own training images.

# %% tags=["parameters", "remove-input"]
# All keys and their defaults: p2p.study.page_params.PageParams.
study = "quick"
networks = {
    "teacher": "teacher-small_half-s0",
    "baseline": "baseline-small_sixth-s0",
    "student": "student-small_half-small_sixth-paper-s0",
}  # role: run, the networks pictured.
pictures = 4  # Half as many again mistakes are shown.

# %% tags=["remove-input"]
import time

import torch
from IPython.display import SVG, Markdown, display

from p2p import figures
from p2p.data.images import load_images
from p2p.evaluation import own
from p2p.evaluation.cautions import guessing
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.explanation import Explanation
from p2p.evaluation.results import study_facts
from p2p.evaluation.triple import check_images, read_answer
from p2p.files import project_path, write_atomic, write_table
from p2p.study.checksums import seal
from p2p.study.page_params import PageParams
from p2p.study.pages import class_text, escape, provenance_box, table
from p2p.study.params import from_namespace
from p2p.study.provenance import provenance, write_json

params = from_namespace(PageParams, globals())
began = time.perf_counter()
place, out = project_path(params.runs) / params.study, project_path(params.results) / params.study
answers = {role: read_answer(place, role, "paper", run) for role, run in params.networks.items()}
student = answers["student"].trained
known = load_images(student.params.model_copy(update={"device": "cpu"}))
check_images(list(answers.values()), known)
train, test, count = known.subset("train"), known.subset("test"), len(known.classes)
found, chance = own.scores(answers, test.labels), guessing(test.labels, count)
warned = own.cautions(answers, test.labels, count)
alike = own.likeness(answers)
lines = own.in_short(found, chance, alike[0])

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
display(Markdown("\n".join(f"- {line}" for line in lines)))
for sentence in warned:
    display(Markdown(f":::{{admonition}} Caution\n:class: caution\n{sentence}\n:::"))

# %% [markdown]
# ## How often they are right

# %% tags=["remove-input"]
scored = own.accuracy_table(found, chance)
caption = f"On {len(test)} test images, which no network saw in training. The interval says how far the accuracy on further images may lie from this one (Wilson)."
display(Markdown(table(scored, caption, "tab-accuracy")))

# %% [markdown]
# ## What is taken for what

# %% tags=["remove-input"] mystnb={"figure": {"caption": "The student's answers to the test images: a row the class that an image is of, a column the class that it was taken for. Orange: mistakes.", "name": "fig-confusion"}, "image": {"alt": "Matrix of test images by class and by what the student took them for."}}
predicted = own.predictions(answers["student"])
counts = own.confusion(predicted, test.labels, count)
SVG(figures.svg(figures.confusion_matrix(counts, known.classes)))

# %% tags=["remove-input"]
confused = own.most_confused(counts, known.classes)
told = table(confused, "The most frequent mistakes of the student.", "tab-confused")
display(Markdown(told if len(confused) else "The student has made no mistake on the test images."))

# %% [markdown]
# ## What each class is known by
#
# The student's prototypes. Each is a patch of one of your training images, in the frame; an image counts for the class where
# something in it looks like that patch, by the weight. A frame on the background, a caption or a person's hand means that the
# class is known by something else than you meant.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Training images of one class with its prototypes framed."}}
if twice := own.same_patches(student, known.classes):
    display(Markdown(twice))
for label, name in enumerate(known.classes):
    display(Markdown(f"**{escape(class_text(name))}**"))
    display(SVG(figures.svg(figures.class_prototypes(student, train, label, 10 if count <= 30 else 5))))

# %% [markdown]
# ## Mistakes, explained

# %% tags=["remove-input"] mystnb={"image": {"alt": "Test images that the student got wrong, each beside the prototypes that decided."}}
wrong = (predicted != test.labels).nonzero()[:, 0].tolist()
shown = wrong[: params.pictures * 3 // 2]
if shown:
    told = (
        f"{len(shown)} of {len(wrong)} test images that the student took for something else"
        if wrong[len(shown) :]
        else "Every test image that the student took for something else"
    )
    text = "Left the image, numbered where something in it looks like a prototype; beside it the prototypes that decided most, in their training images."
    explainer = Explainer(place / params.networks["student"], Explanation, known)
    explained = [explainer.explain(test.pixels[n], test.names[n], 3) for n in shown]
    display(Markdown(f"{told}. {text}"))
    display(SVG(figures.svg(figures.mistakes(explained, [known.classes[int(test.labels[n])] for n in shown]))))
    display(Markdown("\n".join(f"{i}. {escape(test.names[n])}" for i, n in enumerate(shown, 1))))
else:
    display(Markdown("There is none among the test images."))

# %% [markdown]
# ## Small against large

# %% tags=["remove-input"]
sizes = own.size_table(answers, test.pixels)
display(Markdown(table(sizes, "Timed here, once; another machine has other times.", "tab-sizes")))

# %% [markdown]
# ## Do teacher and student explain alike?

# %% tags=["remove-input"]
display(Markdown(" ".join(alike)))

# %% [markdown]
# ## What to do next

# %% tags=["remove-input"]
steps = own.next_steps(found, known, params.study, params.networks["student"])
display(Markdown("\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))))

# %% tags=["remove-input"]
write_table(scored, out / "accuracy.csv")
write_atomic(out / "summary.txt", "\n".join([*lines, *(f"Caution: {sentence}" for sentence in warned)]) + "\n")
write_json(out / "own.json", study_facts(params) | {"runs": params.all_runs()})
seal(out, "12_own", ["accuracy.csv", "summary.txt", "own.json"])
record = provenance(params, torch.device("cpu"), time.perf_counter() - began)
display(Markdown(provenance_box(record)))
