"""The card of a packed network: data, recipe, metrics, use, limits and provenance, written from files alone."""

from __future__ import annotations

from typing import Any

import pandas as pd

from p2p.decision import DECISIONS
from p2p.evaluation.claims import paired
from p2p.study.pages import escape, signed
from p2p.study.params import TrainParams
from p2p.study.places import NETWORK

NONE = "–"
RIGHTS = {  # by reader: whose the images are that the network learnt from and that its patches are cut from
    "birds": "The images are drawn by this repository (`p2p.data.birds`), under its licence, MIT.",
    "cub": "The photographs of CUB-200-2011 were collected from Flickr; the rights are their photographers', and the "
    "data set was offered for research. The patches beside this card are small parts of some of them. Whether you may "
    "use what derives from them is for you to judge.",
    "cars": "The photographs of Stanford Cars were collected from the web; the rights are their owners', and the data "
    "set was offered for research. The patches beside this card are small parts of some of them. Whether you may use "
    "what derives from them is for you to judge.",
}
OTHER_RIGHTS = (
    "The images are those of whoever packed this network, and the patches beside this card are small parts of some of "
    "them; ask before you pass either on."
)
ANEW = (
    "It is not the published run of its seed itself but that run trained again, by later code or on another\n"
    "processor: the same parameters, other rounding, and so another of the networks that this recipe leads to."
)
MEASURED = (  # what is told: its name, metric and stage in metrics.csv, place in the run's own record
    ("accuracy on test images", "top1", "tuned", ("top1", "tuned")),
    ("… straight after the push", "top1", "push", ("top1", "push")),
    ("… before the push", "top1", "pre_push", ("top1", "pre_push")),
    ("accuracy on validation images", "top1_validation", "tuned", ("validation",)),
    ("R² of the teacher's map", "r2", "tuned", ("r2",)),
    ("PMS with the teacher", "pms", "tuned", ()),
    ("… on other images", "pms_permuted", "tuned", ()),
    ("AJS with the teacher", "ajs_quarter", "tuned", ()),
    ("… on other images", "ajs_quarter_permuted", "tuned", ()),
    ("distinct prototypes", "distinct_prototypes", "tuned", ("distinct_prototypes",)),
)


TEXT = """\
# {Role}, {network}: {title}

A prototypical part network of {classes} classes and {prototypes} prototypes, {parameters:,} parameters, {size:.2f} MB.
Input: RGB images of {side} × {side} pixels, `uint8`. Its trunk ({network}) was trained {start}{taught}, seed {seed}.

## Data and its licence

Study *{title}* (`params/{study}.yaml`): {images}. {rights}

Classes: {names}.

![Source patches of the prototypes, in order of their numbers](sources.webp)

Each prototype *is* a training patch: above its cell with the cells around it, row by row in the order of `sources.csv`,
which has class, training image, cell and pixels.

## Metrics

{metrics}

The second and third column of numbers are those of `results/{study}`, whose notebooks show how they came about. The
first is the record of the very run that was packed, from before it was packed; a dash: no number of one run alone.
{same}

**What packing changed.** Matrices are stored in {precision} precision and computed with in single. Of {test_images}
test images the unpacked network is right in {right_unpacked}, this one in {right_packed}; they answer differently to
{changed}. A prototype and the patch that it is lie {projection_error:.1e} apart at most (Euclidean distance; before
packing {projection_error_unpacked:.1e}).
{claims}
## Use

```python
from p2p.data.images import load_images
from p2p.evaluation.runs import accuracy, load_run

run = load_run("{folder}")
test = load_images(run.params).subset("test")  # drawn, or from P2P_DATA
print(accuracy(run.network, test.pixels, test.labels))
```

`make explain RUN={folder} IMAGE=photo.jpg` says why it decides as it does, and needs no data
set; `make export RUN={folder}` writes it as ONNX and as a program of `torch.export`.

## Limits

It knows its {classes} classes and nothing else: whatever an image shows, one of them is the answer. It was trained
and measured on {images}, prepared as `p2p` prepares them; elsewhere its accuracy is not known. It is one run of one
seed, and differences between networks are judged over seeds. An explanation says which patches counted, not that they
are the right ones to look at.

## Recipe and provenance

Keys that differ from their defaults: {recipe}. All are in `run.json`.

Trained {trained} at commit `{trained_commit}`{dirty} on {device}
in {hours:.2f} h, PyTorch {torch}; packed {date} at commit `{commit}`.
Digest of the images: `{images_digest}`; of the weights file: `{weights_digest}`.
"""


def metric_table(rows: pd.DataFrame, outcome: dict[str, Any], seed: int, study: str) -> pd.DataFrame:
    """This network beside the published run of its seed, and the mean of all seeds.

    Args:
        rows: Of `metrics.csv`: those of this role, variant and triple.
        outcome: Of the run's own record.
        seed: Its seed.
        study: Its study.

    Returns:
        what is measured, this network, the published run of its seed, mean of the seeds with 95 % t-interval.
    """
    heads = ("", "this network", f"results/{study}, seed {seed}", f"results/{study}, mean (95 % interval)")
    out = []
    for name, metric, stage, place in MEASURED:
        found = rows[(rows["metric"] == metric) & (rows["stage"] == stage)].set_index("seed")["value"]
        own: Any = outcome
        for key in place:
            own = own.get(key) if isinstance(own, dict) else None
        if found.empty:
            continue
        over = paired(found.to_numpy(dtype=float))
        low_high = f" ({_number(over.low)} to {_number(over.high)})" if over.low == over.low else ""
        mean = f"{_number(over.mean)}{low_high}, {over.n} seed{'s' * (over.n > 1)}"
        values = _number(own if place else None), _number(found.get(seed)), mean
        out.append(dict(zip(heads, (name, *values), strict=True)))
    return pd.DataFrame(out, columns=list(heads))


def _number(value: Any) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if value < 2 else f"{value:.1f}".removesuffix(".0")


def claim_lines(claims: pd.DataFrame) -> list[str]:
    """A student against the baseline: a line a claim; claims: rows of `claims.csv`."""
    return [
        f"- {row['claim']}: {signed(row['difference'])} "
        f"({signed(row['low'])} to {signed(row['high'])}), *{row['verdict']}*"
        for row in claims.to_dict("records")
    ]


def card(
    record: dict[str, Any], folder: str, title: str, images: str, metrics: pd.DataFrame, claims: pd.DataFrame, size: int
) -> str:
    """The card as Markdown.

    Args:
        record: `run.json` of the packed network.
        folder: Its folder, from the repository.
        title: Of the study.
        images: What they are, as the study says it.
        metrics: See `metric_table`.
        claims: Rows of `claims.csv` about its triple; none but for a student.
        size: Of `network.safetensors`, bytes.
    """
    params, ran, inputs = record["parameters"], record["provenance"], record["inputs"]
    count, told = len(record["classes"]), ""
    if len(claims):
        lines = "\n".join(claim_lines(claims))
        told = f"\nStudent minus baseline, over all seeds, with 95 % interval:\n\n{lines}\n"
    kind = DECISIONS[params["decision"]]
    defaults = {key: TrainParams.model_fields[key].default for key in sorted(NETWORK)}
    params = defaults | params  # records leave some defaults out
    recipe = {key: params[key] for key, default in defaults.items() if params[key] != default}
    anew = [row for row in metrics.iloc[:, 1:3].to_numpy().tolist() if NONE not in row and row[0] != row[1]]
    taught = f", taught by `{params['teacher_run']}` (Proto2Proto)" if params["teacher_run"] else ""
    known = "from a random start" if params["weights"] == "none" else f"from the weights `{params['weights']}`"
    return TEXT.format(
        Role=params["role"].capitalize(),
        classes=count,
        prototypes=kind.count(count, params[kind.size]),
        parameters=record["outcome"]["parameters"],
        side=params["size"],
        start=known,
        rights=RIGHTS.get(params["reader"], OTHER_RIGHTS),
        names=", ".join(map(escape, record["classes"])),
        trained=ran["date"],
        trained_commit=ran["commit"],
        dirty=" with changed files" if ran["dirty"] else "",
        torch=ran["versions"]["torch"],
        images_digest=inputs["images"][0] or NONE,
        weights_digest=inputs["weights"] or NONE,
        metrics=metrics.to_markdown(index=False, disable_numparse=True),
        claims=told,
        folder=folder,
        title=escape(title),
        images=escape(images),
        size=size / 1e6,
        taught=taught,
        same=ANEW if anew else "It is the published run of its seed.",
        recipe=", ".join(f"`{key}: {value}`" for key, value in recipe.items()),
        **{key: params[key] for key in ("network", "study", "seed")},
        **{key: ran[key] for key in ("device", "hours")},
        **{key: value for key, value in record["packed"].items() if key != "usual_distance"},
    )
