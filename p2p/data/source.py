"""Which images a study sees, in twelve hex digits: what a run remembers, and what a step of the workflow depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from p2p.data.folders import read_folder
from p2p.data.listing import Listing, choose, listing_digest, some
from p2p.data.readers import READERS, find_root

if TYPE_CHECKING:
    from p2p.study.params import DataParams

# Where images lie, and where they go, is none of these.
KEYS = (
    *("reader", "size", "class_step", "class_count", "images_per_class", "validation_fraction", "data_seed"),
    *("bird_train_per_class", "bird_test_per_class", "bird_hardness"),
    "class_first",  # the last: at 0 it is left out, and digests of before there was one stay
)


def whole_listing(params: DataParams) -> Listing:
    """All photographs of a data set, not yet decoded; with `skip_bad` only those that can be.

    Raises:
        UserError: The data set is missing, incomplete or contradicts itself.
    """
    root = find_root(params.root, params.reader)  # an unknown reader is refused here
    listing = READERS[params.reader].read(root, params.data_seed)
    if params.skip_bad:
        from p2p.data.checkup import unreadable  # brings PyTorch with it

        bad = unreadable(listing)
        listing = read_folder(root, params.data_seed, frozenset(bad)) if bad else listing
        said = (f"Images left out, as they cannot be read: {len(bad)}; {some(list(bad))}.",) if bad else ()
        listing = replace(listing, remarks=listing.remarks + said)
    return listing


def chosen_listing(params: DataParams) -> Listing:
    """The photographs that the parameters ask for, not yet decoded.

    Raises:
        UserError: As `whole_listing`, or too few are left.
    """
    listing = whole_listing(params)
    return choose(listing, params.class_step, params.class_count, params.images_per_class, params.class_first)


def source_digest(params: DataParams, listing: Listing | None) -> str:
    """Of the keys that say which images, and of photographs their contents, classes, splits, boxes and parts.

    Args:
        params: reader, size, class_step …
        listing: As `chosen_listing` gives it; None for drawn birds, which follow from the parameters.
    """
    keys = [getattr(params, name, None) for name in (KEYS if params.class_first else KEYS[:-1])]
    text = json.dumps([keys, "" if listing is None else listing_digest(listing)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def images_digest(params: DataParams) -> str:
    """`source_digest` of the images as they are now; nothing is decoded.

    Raises:
        UserError: As `chosen_listing`.
    """
    return source_digest(params, None if params.reader == "birds" else chosen_listing(params))
