"""Training: one loop over a list of phases, for teacher, baseline, student and controls alike.

Read in this order: `objective` (what is minimised), `Trainer.run` (the phases), `Trainer._epoch` (one pass).
Every epoch draws its order and its augmentation from a generator seeded by (seed, phase, epoch), so that a run
killed at any moment goes on from its last epoch and ends with the same weights, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from p2p import losses
from p2p.data.images import ImageSet
from p2p.decision import solve_decision_layer
from p2p.device import has_bfloat16
from p2p.errors import UserError
from p2p.networks import LinearNet, Output, ProtoNet, similarity
from p2p.projection import Projection, push
from p2p.prototypes import class_patches, normalise_features
from p2p.study.params import TrainParams
from p2p.training.batches import Batches, Teacher, autocast
from p2p.training.checkpoints import digest, digest_images, load_checkpoint, save_checkpoint, save_network
from p2p.training.phases import Phase, timeline
from p2p.trunks import build_trunk

Network = ProtoNet | LinearNet


def build_network(params: TrainParams, classes: int) -> Network:
    """The untrained network of a run, the same for the same seed."""
    torch.manual_seed(params.seed)
    trunk, channels = build_trunk(params.network, params.size, params.grid, params.weights, params.weights_missing)
    if params.model == "linear":
        return LinearNet(trunk, channels, classes)
    return ProtoNet(trunk, channels, classes, params.prototypes_per_class, params.prototype_depth)


def objective(
    out: Output,
    labels: Tensor,
    network: Network,
    params: TrainParams,
    teacher: Teacher | None,
    distil_only: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch and its parts.

    L = CE + λ_clst cluster − λ_sep separation + λ_L1 ‖W ⊙ (1 − own)‖₁ + λ_global L_global + λ_ppc L_ppc.

    Args:
        out: The network's output for the batch.
        labels: (B,).
        network: For its prototypes and decision layer.
        params: The λs and switches.
        teacher: The teacher's answer to the same images, or None.
        distil_only: Leave out all but the last two terms (A14).
    """
    parts = {"ce": cross_entropy(out.logits, labels)}
    if isinstance(network, LinearNet):
        return parts["ce"], parts
    own = network.own[labels]  # (B, P)
    parts["cluster"] = losses.cluster(out.distances, own)
    parts["separation"] = losses.separation(out.distances, own)
    parts["l1"] = losses.decision_l1(network.decision.weight, network.own)
    total = (
        parts["ce"]
        + params.lambda_cluster * parts["cluster"]
        - params.lambda_separation * parts["separation"]
        + params.lambda_l1 * parts["l1"]
    )
    if teacher is not None:
        total = total * 0 if distil_only else total
        parts["global"] = losses.global_explanation(network.prototypes, teacher.prototypes, params.global_norm)
        active = teacher.active
        if params.mask_source == "student":
            active = losses.active_patches(out.cells, out.distances.detach(), params.tau_train, active.shape[1])
        parts["ppc"] = losses.patch_correspondence(out.z, teacher.z, active, params.ppc_norm)
        total = total + params.lambda_global * parts["global"] + params.lambda_ppc * parts["ppc"]
    return total, parts


class Trainer:
    """One run in one folder."""

    def __init__(self, params: TrainParams, images: ImageSet, folder: Path, teacher: ProtoNet | None = None) -> None:
        self.params, self.folder, self.teacher = params, folder, teacher
        self.device = images.pixels.device
        if params.precision == "bfloat16" and not has_bfloat16(self.device):
            raise UserError(
                f"Run '{params.run}': 'precision' is bfloat16, but {self.device} has no units for it and would be "
                "slower; choose auto or float32."
            )
        self.fit, self.held_out = images.subset("train"), images.subset("validation")
        self.network = build_network(params, len(images.classes)).to(self.device)
        self.phases, self.best = timeline(params), -1.0
        self.history: list[dict[str, Any]] = []
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.projection: Projection | None = None
        self.seconds = 0.0
        self._held_features: list[Tensor] = []
        self.start_digest = digest(self.network)
        self.images_digest = digest_images(images)
        self.teacher_digest = digest(teacher) if teacher is not None else ""
        self.batches = Batches(params, self.fit, self.network.trunk, teacher, folder)
        if params.compile_trunk:
            self.network.trunk.compile()
        if teacher is not None:
            teacher.eval().requires_grad_(False)  # the teacher is inert
            if params.head != "own":
                self.network.decision.load_state_dict(teacher.decision.state_dict())

    # ------------------------------------------------------------------------------------------------- the phases

    def run(self, progress: bool = True) -> Network:
        """Train, or go on with training, to the end of the last phase; the chosen network is saved in the folder.

        Of all rounds the one with the best validation accuracy after its decision phase is kept; only such a network
        has prototypes that are training patches.

        Raises:
            UserError: The loss is no longer finite, or memory or disk is full; the last checkpoint stays.
        """
        done = load_checkpoint(self) if (self.folder / "checkpoint.safetensors").exists() else (0, 0)
        steps = sum(max(1, len(phase.rates)) for phase in self.phases)
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        bar = tqdm(total=steps, desc=self.params.run, disable=not progress, mininterval=2, bar_format=form)
        if done == (0, 0):
            with self._one_sentence():
                self._initialise()
        for index, phase in enumerate(self.phases):
            for epoch in range(max(1, len(phase.rates))):
                bar.update()
                if (index, epoch) < done:
                    continue
                began = time.perf_counter()
                with self._one_sentence():
                    row = self._step(phase, index, epoch)
                seconds = time.perf_counter() - began
                self.seconds += seconds
                speed = len(self.fit.labels) / seconds
                shown = {
                    "phase": phase.name,
                    **{k: f"{v:.3f}" for k, v in row.items() if k in ("loss", "accuracy", "validation")},
                }
                row |= {"seconds": seconds, "passes": self.batches.passes}
                self.history.append({"phase": phase.name, "epoch": epoch + 1, **row})
                bar.set_postfix({**shown, "images/s": f"{speed:.0f}", "left": self._time_left(index, epoch)})
                last = epoch + 1 == max(1, len(phase.rates))
                if last and phase.name == "warm":
                    self.batches.forget()
                if phase.name == "push":
                    continue  # saved with the decision phase behind it: a push alone is no resting place
                save_checkpoint(self, (index + 1, 0) if last else (index, epoch + 1))
        bar.close()
        return self.network

    def _initialise(self) -> None:
        if self.params.feature_init == "data":
            normalise_features(self.network, self.fit.pixels)
        if self.params.prototype_init == "patches" and isinstance(self.network, ProtoNet):
            self.network.prototypes.data = class_patches(
                self.network, self.fit.pixels, self.fit.labels, self.params.seed
            )

    def _step(self, phase: Phase, index: int, epoch: int) -> dict[str, float]:
        if phase.name == "push":
            assert isinstance(self.network, ProtoNet)
            self.before_push = {k: v.clone() for k, v in self.network.state_dict().items() if not k.startswith("trunk")}
            self.projection = push(self.network, self.fit.pixels, self.fit.labels, self.params.batch_size)
            self.batches.passes += len(self.fit.labels)
            return {"validation": self._validate()}
        if phase.name == "decision":
            return self._decide(phase)
        row = self._epoch(phase, index, epoch)
        row["validation"] = self._validate(frozen="trunk" not in phase.trains)
        if phase is self.phases[-1] and epoch + 1 == len(phase.rates):  # a linear network; others end with a decision
            self._keep(row["validation"])
        return row

    def _decide(self, phase: Phase) -> dict[str, float]:
        assert isinstance(self.network, ProtoNet) and self.projection is not None
        pushed = self.network.decision.weight.detach().clone()
        if phase.trains:
            own, held = self._activations(self.fit), self._activations(self.held_out)
            p = self.params
            solved = solve_decision_layer(
                pushed,
                self.network.own,
                own,
                self.fit.labels,
                (held, self.held_out.labels),
                p.lambda_l1,
                p.decision_iterations,
            )
            self.network.decision.weight.data = solved
        accuracy = self._validate()
        self._keep(accuracy)
        return {"validation": accuracy}

    def _keep(self, accuracy: float) -> None:
        """Save the network when it is the best so far on the validation split."""
        if accuracy > self.best:
            self.best = accuracy
            extra = {}
            if self.projection is not None:
                extra = {f"before_push.{k}": v for k, v in self.before_push.items() if "addon" not in k}
                extra |= {f"projection.{k}": v for k, v in vars(self.projection).items()}
            save_network(self.network, self.folder / "network.safetensors", extra)

    # --------------------------------------------------------------------------------------------------- one pass

    def _epoch(self, phase: Phase, index: int, epoch: int) -> dict[str, float]:
        """One pass over the training images; no host synchronisation but for the sums at its end."""
        network, params = self.network, self.params
        optimizer = self._optimizer(phase, phase.rates[epoch])
        frozen = "trunk" not in phase.trains
        network.train()
        if frozen or params.trunk_batchnorm == "frozen":
            network.trunk.eval()
        for name, tensors in self._groups().items():
            for tensor in tensors:
                tensor.requires_grad_(name in phase.trains)
        sums: dict[str, Tensor] = {}
        seen = 0  # a last batch of one image is left out
        batches = self.batches.cached(index, epoch) if frozen else self.batches.fresh(index, epoch)
        for inputs, labels, teacher in batches:
            with autocast(self.device, self.params.precision):
                out = network.head(inputs) if frozen else network(inputs)
            distil_only = phase.name == "warm" and params.warm_losses == "distillation"
            loss, parts = objective(out, labels, network, params, teacher, distil_only)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            parts |= {"loss": loss, "accuracy": (out.logits.argmax(1) == labels).float().mean()}
            for name, value in parts.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() * len(labels)
            seen += len(labels)
        means = {name: value.item() / seen for name, value in sums.items()}
        if not torch.isfinite(torch.tensor(means["loss"])):
            raise UserError(
                f"Run '{params.run}': the loss is not finite in phase '{phase.name}', epoch {epoch + 1}; "
                f"lower lr_trunk, lr_addon or lr_prototypes (the last good epoch is kept in {self.folder})."
            )
        return means

    # ---------------------------------------------------------------------------------------------------- helpers

    def _time_left(self, index: int, epoch: int) -> str:
        """An estimate from the phases seen so far; a kind of phase not seen yet counts as the slowest that was."""
        seen: dict[str, list[float]] = {}
        for row in self.history:
            seen.setdefault(row["phase"], []).append(row["seconds"])
        mean = {name: sum(values[-5:]) / len(values[-5:]) for name, values in seen.items()}
        left = -(epoch + 1) * mean[self.phases[index].name]
        left += sum(max(1, len(p.rates)) * mean.get(p.name, max(mean.values())) for p in self.phases[index:])
        return tqdm.format_interval(max(0.0, left))

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            p, reason = self.params, str(error).split(". ")[0].strip().rstrip(".")
            raise UserError(
                f"Run '{p.run}' needs more memory than {self.device} has ({reason}); lower 'warm_cache_gb' (now "
                f"{p.warm_cache_gb:g}) or set 'streaming' to on, and it goes on from its last epoch in {self.folder}; "
                f"or lower 'batch_size' (now {p.batch_size}), which begins it anew."
            ) from None

    def _groups(self) -> dict[str, list[nn.Parameter]]:
        n = self.network
        groups = {"trunk": list(n.trunk.parameters()), "decision": list(n.decision.parameters())}
        if isinstance(n, ProtoNet):
            groups |= {"addon": list(n.addon.parameters()), "prototypes": [n.prototypes]}
        return groups

    def _optimizer(self, phase: Phase, rate: float) -> torch.optim.Optimizer:
        """One optimiser a kind of phase, kept across rounds; its learning rates are set for this epoch."""
        p = self.params
        factor = p.joint_factor if phase.name == "joint" else 1.0
        rates = {"addon": p.lr_addon * factor, "prototypes": p.lr_prototypes * factor, "trunk": p.lr_trunk}
        rates["decision"] = rates["addon"] if p.model == "linear" else p.lr_decision  # it takes the add-on's place
        if phase.name not in self.optimizers:
            groups = [
                {
                    "params": tensors,
                    "name": name,
                    "weight_decay": p.weight_decay if name in ("trunk", "addon") else 0.0,
                }
                for name, tensors in self._groups().items()
                if name in phase.trains
            ]
            kind = torch.optim.AdamW if p.optimizer == "adamw" else torch.optim.Adam
            self.optimizers[phase.name] = kind(groups, lr=1e-3, fused=True)
        optimizer = self.optimizers[phase.name]
        for group in optimizer.param_groups:
            group["lr"] = rates[group["name"]] * rate
        return optimizer

    @torch.no_grad()
    def _activations(self, images: ImageSet) -> Tensor:
        assert isinstance(self.network, ProtoNet)
        self.network.eval()
        parts = [
            similarity(self.network(pixels).distances, self.network.epsilon)
            for pixels in images.pixels.split(self.params.batch_size)
        ]
        self.batches.passes += len(images.labels)
        return torch.cat(parts)

    @torch.inference_mode()
    def _validate(self, frozen: bool = False) -> float:
        """Accuracy on the validation split; while the trunk is frozen its outputs are computed only once."""
        network, held = self.network.eval(), self.held_out
        if frozen and not self._held_features:
            self.batches.passes += len(held)
            self._held_features = [network.trunk(pixels) for pixels in held.pixels.split(self.params.batch_size)]
        inputs = self._held_features if frozen else held.pixels.split(self.params.batch_size)
        right = torch.zeros((), device=self.device)
        for part, labels in zip(inputs, held.labels.split(self.params.batch_size), strict=True):
            with autocast(self.device, self.params.precision):
                out = network.head(part) if frozen else network(part)
            right += (out.logits.argmax(1) == labels).sum()
        self.batches.passes += 0 if frozen else len(held)
        return right.item() / len(held)
