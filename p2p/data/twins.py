"""The same image twice in a user's own set: between training and test it is learnt by heart and then counted."""

from __future__ import annotations

import numpy as np

from p2p.data.listing import Listing
from p2p.errors import UserError


def check_twins(listing: Listing, prints: np.ndarray, allowed: bool) -> list[str]:
    """Compare images by the fingerprints (N,) of their decoded pixels.

    Returns:
        Sentences on copies that stop nothing: within the training images, in two classes, or allowed.

    Raises:
        UserError: A test image is a training image, too, and that is not `allowed`.
    """
    _, group = np.unique(prints, return_inverse=True)  # (N,) the same number for the same image
    training = ~listing.test
    first = np.full(group.max(initial=0) + 1, len(group))  # of each group, the first training image
    np.minimum.at(first, group[training], np.flatnonzero(training))
    remarks = []
    leaked = np.flatnonzero(listing.test & (first[group] < len(group)))
    if len(leaked):
        pair = f"{listing.names[first[group[leaked[0]]]]} and {listing.names[leaked[0]]}"
        text = f"{len(leaked)} of {int(listing.test.sum())} test images in {listing.folder} are training images, too"
        if not allowed:
            raise UserError(
                f"{text}, such as {pair}, so the test would count what was learnt by heart; remove one of each two, or "
                "set `allow_duplicates: true` under `data`."
            )
        remarks.append(f"{len(leaked)} test images are training images, too, as `allow_duplicates` allows; {pair}.")
    copies = np.flatnonzero(training & (first[group] < np.arange(len(group))))
    if len(copies):
        pair = f"{listing.names[first[group[copies[0]]]]} and {listing.names[copies[0]]}"
        remarks.append(f"Training images that are copies of others, and may be validated on: {len(copies)}; {pair}.")
    order = np.lexsort((listing.labels, group))
    clash = (np.diff(group[order]) == 0) & (np.diff(listing.labels[order]) != 0)
    if clash.any():
        at = int(clash.argmax())
        pair = f"{listing.names[order[at]]} and {listing.names[order[at + 1]]}"
        remarks.append(f"Images that lie in two classes: {int(clash.sum())}; {pair}.")
    return remarks
