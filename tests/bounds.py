"""How far apart two right answers may lie: bounds from the type, the number of summands and the size of the values."""

from __future__ import annotations

import torch
from torch import Tensor


def rounding(summands: int, size: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """Bound on the rounding error of a sum of products, in whatever order and with whatever instructions.

    Errors of at most u = ε / 2 for each summand are as often up as down, so that they grow like √n u (Higham and Mary,
    SIAM J. Sci. Comput. 2019); twice that leaves room for chance.

    Args:
        summands: n, of the longest chain of sums; a few more for the operations around it.
        size: Of what is summed, before anything cancels: the sum of the absolute values, or a bound on it.
        dtype: Of the sum.
    """
    return summands**0.5 * torch.finfo(dtype).eps * size


def distance_rounding(z: Tensor, prototypes: Tensor, network: float = 0.0) -> float:
    """Of ‖z‖² − 2 z·p + ‖p‖² in float32, whose three sums cancel.

    Args:
        z: (B, D, …), where the distances are measured.
        prototypes: (P, D).
        network: Rounding error of each number of z, where two networks computed it: it turns up times 2 ‖z − p‖.
    """
    depth = prototypes.shape[1]
    rows, prototypes = z.detach().double().movedim(1, -1).reshape(-1, depth), prototypes.detach().double()
    longest = float(rows.norm(dim=1).max() + prototypes.norm(dim=1).max())
    return rounding(depth + 2, longest**2) + 2 * float(torch.cdist(rows, prototypes).max()) * depth**0.5 * network


def alike(found: Tensor, expected: Tensor, layers: int, summands: int) -> bool:
    """Whether two tensors differ by rounding only, after `layers` layers of sums of at most `summands` products.

    By their norms: single elements may be small by cancellation, and then their own relative error says nothing.
    """
    apart = (found.detach().double() - expected.detach().double()).norm() / expected.detach().double().norm()
    return bool(apart <= layers * rounding(summands, dtype=expected.dtype))


def chance(probability: float, draws: int) -> float:
    """Four standard deviations of the share of `draws` in which something of this probability happens."""
    return 4 * (probability * (1 - probability) / draws) ** 0.5
