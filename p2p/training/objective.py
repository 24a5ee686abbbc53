"""What is minimised: the loss of one batch and its parts."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from p2p import losses
from p2p.errors import pick
from p2p.networks import LinearNet, Output
from p2p.study.params import TrainParams
from p2p.training.build import Network


def distillation(params: TrainParams) -> dict[str, losses.Distillation]:
    """The distillation losses of a run by their names.

    Raises:
        UserError: An unknown name.
    """
    return {name: pick(losses.DISTILLATION, name, "distillation") for name in params.distillation}


def objective(
    out: Output,
    labels: Tensor,
    network: Network,
    params: TrainParams,
    teacher: Output | None,
    distil_only: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch and its parts.

    L = CE + λ_clst cluster − λ_sep separation + λ_L1 ‖W ⊙ (1 − own)‖₁ + Σ λ_i L_i, L_i the distillation losses. Where
    prototypes belong to no class, as a tree's, the three in the middle are left out.

    Args:
        out: The network's output for the batch.
        labels: (B,).
        network: For its decision layer.
        params: The λs and switches.
        teacher: The teacher's answer to the same images, or None.
        distil_only: Leave out all but the distillation losses (A14).
    """
    parts = {"ce": cross_entropy(out.logits, labels)}
    if isinstance(network, LinearNet):
        return parts["ce"], parts
    total = parts["ce"]
    if network.decision.classed:
        own = network.own[labels]  # (B, P)
        parts["cluster"] = losses.cluster(out.distances, own, params.prototype_ties)
        parts["separation"] = losses.separation(out.distances, own, params.prototype_ties)
        parts["l1"] = losses.decision_l1(network.decision.weight, network.own)
        total = (
            total
            + params.lambda_cluster * parts["cluster"]
            - params.lambda_separation * parts["separation"]
            + params.lambda_l1 * parts["l1"]
        )
    if teacher is not None:
        total = total * 0 if distil_only else total
        if params.taught_classes == "half":
            taught = labels < len(network.own) / 2
            if not taught.any():
                return total, parts
            out, teacher = _of_images(out, taught), _of_images(teacher, taught)
        for name, each in distillation(params).items():
            parts[name] = each.loss(out, teacher, **each.switches(params))
            total = total + params.distillation[name] * parts[name]
        if "ppc" in params.distillation:  # the share of cells compared, for the history
            active = losses.active_mask(out, teacher, **losses.switches(losses.active_mask, params))
            parts["active"] = active.float().mean()
    return total, parts


def _of_images(out: Output, chosen: Tensor) -> Output:
    """An output for some images of the batch; chosen: (B,) bool."""
    fields = {name: value[chosen] for name, value in out._asdict().items() if len(value) and name != "prototypes"}
    return out._replace(**fields)
