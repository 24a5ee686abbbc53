"""What can be known of a study before anything is trained: its names, machine, images, weights, memory and grids."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import torch

from p2p.data.ahead import look_ahead
from p2p.data.images import bird_counts, bird_table, load_images
from p2p.data.listing import choose, seeded_cut
from p2p.data.readers import READERS, find_root
from p2p.data.source import whole_listing
from p2p.decision import DECISIONS
from p2p.device import choose_device
from p2p.errors import UserError, pick
from p2p.files import find_weights
from p2p.networks import PROTOTYPE_LAYERS
from p2p.study.params import DataParams, TrainParams
from p2p.study.study import Study
from p2p.training.batches import refuse_precision
from p2p.training.memory import needs, refuse_beyond_memory
from p2p.training.objective import distillation
from p2p.trunks import build_trunk


class Images(NamedTuple):
    """How many images there are, before any is decoded."""

    classes: int
    train: int  # validation included
    test: int
    fewest: int  # of a class, for training alone


def preflight(study: Study, rehearsed: bool = False, elsewhere: bool = False) -> None:
    """Find every mistake that can be found without training, what is quick to see first.

    Args:
        study: As `load_study` gives it.
        rehearsed: It is a rehearsal, whose few classes may be all that there are.
        elsewhere: Its runs are sent to other machines, so this one's device and memory say nothing.

    Raises:
        UserError: The first mistake, in one sentence.
    """
    data, runs = study.data_params(), list(study.runs().values())
    for run in runs:
        try:
            _refuse_names(run)
        except UserError as error:
            raise UserError(f"Study '{study.study}', run '{run.run}': {error}") from None
    if not elsewhere:
        _refuse_gpus(study)
        for run in runs:
            refuse_precision(run, choose_device(run.device))
    for network, weights in sorted({(run.network, run.weights) for run in runs}):
        if weights not in ("none", "imagenet"):
            find_weights(weights, network)
    images = count_images(data, rehearsed)
    for run in runs:
        _refuse_few_patches(run, images)
        if not elsewhere:
            device = choose_device(run.device)
            refuse_beyond_memory(run, needs(run, images.classes, images.train, images.test, device), device)
    trunks = {(r.network, r.size, r.grid, r.weights, tuple(r.weights_missing)) for r in runs}
    for network, size, grid, weights, missing in sorted(trunks):  # ImageNet's come into the cache of their library
        build_trunk(network, size, grid, weights, missing)
    if data.reader != "birds" and READERS[data.reader].own and not elsewhere:
        print("Reading all images …", flush=True)  # what `make data` does for a release: read all, say what is found
        for remark in load_images(data).remarks:
            print(remark)


def _refuse_names(run: TrainParams) -> None:
    distillation(run)
    pick(PROTOTYPE_LAYERS, run.prototype_layer, "prototype_layer")
    kind = pick(DECISIONS, run.decision, "decision")
    if run.model == "protopnet":
        kind.check(run)


def _refuse_gpus(study: Study) -> None:
    """Snakemake would wait for ever for more GPUs than the machine has."""
    there = int(os.environ.get("GPUS") or torch.cuda.device_count()) * int(os.environ.get("RUNS_PER_GPU") or 1)
    if study.gpus > there:
        raise UserError(f"Study '{study.study}': 'gpus' is {study.gpus}, and there are {there} here; lower it.")


def count_images(data: DataParams, rehearsed: bool = False) -> Images:
    """Read the lists of a data set, or count the birds to draw, and see that every split of every class has images.

    Raises:
        UserError: The folder or an image is missing, a class has too few, or there are fewer classes than named.
    """
    if data.reader == "birds":
        classes, train, test = bird_counts(data)
        if not rehearsed:
            _refuse_idle_count(data, max(data.bird_train_per_class, data.bird_test_per_class))
        bird_table(data, classes)
        held_out = min(max(1, round(data.validation_fraction * train)), train - 1)
        return Images(classes, train * classes, test * classes, train - held_out)
    root = find_root(data.root, data.reader)  # an unknown reader is refused here
    if READERS[data.reader].own:
        look_ahead(root)
    listing = whole_listing(data)
    there = len(range(data.class_first, len(listing.classes), data.class_step))
    if data.class_count is not None and data.class_count > there and not rehearsed:
        by = f" with 'class_step' {data.class_step}" if data.class_step > 1 else ""
        raise UserError(
            f"'class_count' is {data.class_count}, and {root} has {there} classes{by}: it "
            "would be without effect; remove or lower it."
        )
    whole = choose(listing, data.class_step, data.class_count, None, data.class_first)
    if not rehearsed:
        counts = [np.bincount(whole.labels[whole.test == part]).max() for part in (False, True)]
        _refuse_idle_count(data, int(max(counts)))
    listing = choose(listing, data.class_step, data.class_count, data.images_per_class, data.class_first)
    names = [name for name, test in zip(listing.names, listing.test, strict=True) if not test]
    labels = listing.labels[~listing.test]
    cut = seeded_cut(names, labels, listing.classes, data.validation_fraction, data.data_seed, "validation")
    fewest = int(np.bincount(labels[~cut], minlength=len(listing.classes)).min())
    return Images(len(listing.classes), len(names), len(listing.names) - len(names), fewest)


def _refuse_idle_count(data: DataParams, most: int) -> None:
    """most: images of a class in a split, at most."""
    if data.images_per_class is not None and data.images_per_class > most:
        raise UserError(
            f"'images_per_class' is {data.images_per_class}, and no class has more than {most} for training or test: "
            "it would be without effect; remove or lower it."
        )


def _refuse_few_patches(run: TrainParams, images: Images) -> None:
    patches = images.fewest * run.grid**2
    if run.model == "protopnet" and run.push == "distinct" and patches < run.prototypes_per_class:
        raise UserError(
            f"Run '{run.run}': 'push' is distinct, but a class of {images.fewest} training images has {patches} "
            f"patches for {run.prototypes_per_class} prototypes; lower 'prototypes_per_class' or set 'push' to nearest."
        )
