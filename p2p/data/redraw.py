"""Drawn birds with one part removed or exchanged; every other pixel stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import Tensor

from p2p.data import birds
from p2p.data.images import ImageSet, bird_indices, bird_table
from p2p.data.species import PARTS, VARIANTS

if TYPE_CHECKING:
    from p2p.study.params import DataParams


class Intervention(NamedTuple):
    """The same images, one part of each changed."""

    kind: Literal["removed", "exchanged"]
    part: int  # of `p2p.data.species.PARTS`
    pixels: Tensor  # (N, 3, S, S) uint8


def interventions(params: DataParams, images: ImageSet) -> Iterator[Intervention]:
    """Each part removed from every bird, and each exchanged for its next variant: 2 Q interventions.

    Args:
        params: That the birds were drawn with.
        images: N drawn birds, named as `load_images` names them.
    """
    table, index, device = bird_table(params, len(images.classes)), bird_indices(images.names), images.labels.device

    def drawn(of: Tensor, without: str | None) -> Tensor:
        return birds.draw(
            images.labels.cpu(),
            index,
            of,
            params.size,
            params.data_seed,
            without=without,
            hardness=params.bird_hardness,
        ).pixels.to(device)

    for q, part in enumerate(PARTS):
        yield Intervention("removed", q, drawn(table, part))
    for q, part in enumerate(PARTS):
        other = table.clone()
        other[:, q] = (other[:, q] + 1) % len(VARIANTS[part])
        yield Intervention("exchanged", q, drawn(other, None))
