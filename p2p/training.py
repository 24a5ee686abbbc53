"""Training: one loop over a list of phases (`p2p/phases.py`), for teacher, baseline, student and controls alike.

Read in this order: `objective` (what is minimised), `Trainer.run` (the phases), `Trainer._epoch` (one pass).
Every epoch draws its order and its augmentation from a generator seeded by (seed, phase, epoch), so that a run
killed at any moment goes on from its last epoch and ends with the same weights, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from p2p import losses
from p2p.augment import augment
from p2p.checkpoints import digest, load_checkpoint, save_checkpoint, save_network
from p2p.data import ImageSet
from p2p.decision import solve_decision_layer
from p2p.errors import UserError
from p2p.networks import LinearNet, Output, ProtoNet, build_trunk, similarity
from p2p.params import TrainParams
from p2p.phases import Phase, timeline
from p2p.projection import Projection, push
from p2p.prototypes import class_patches

Network = ProtoNet | LinearNet


def build_network(params: TrainParams, classes: int) -> Network:
    """The untrained network of a run, the same for the same seed."""
    torch.manual_seed(params.seed)
    trunk, channels = build_trunk(params.network, params.size, params.grid, params.weights)
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
        parts["global"] = losses.global_explanation(
            network.prototypes, teacher.prototypes, params.global_norm
        )
        active = teacher.active
        if params.mask_source == "student":
            active = losses.active_patches(
                out.cells, out.distances.detach(), params.tau_train, active.shape[1]
            )
        parts["ppc"] = losses.patch_correspondence(out.z, teacher.z.float(), active, params.ppc_norm)
        total = total + params.lambda_global * parts["global"] + params.lambda_ppc * parts["ppc"]
    return total, parts


class Teacher:
    """A teacher's answer to one batch: add-on map (B, D, H, W), active patches (B, H·W), prototypes (P, D)."""

    def __init__(self, z: Tensor, active: Tensor, prototypes: Tensor) -> None:
        self.z, self.active, self.prototypes = z, active, prototypes


class Trainer:
    """One run in one folder."""

    def __init__(
        self, params: TrainParams, images: ImageSet, folder: Path, teacher: ProtoNet | None = None
    ) -> None:
        self.params, self.folder, self.teacher = params, folder, teacher
        self.device = images.pixels.device
        self.fit, self.held_out = images.subset("train"), images.subset("validation")
        self.network = build_network(params, len(images.classes)).to(self.device)
        self.phases, self.history, self.best = timeline(params), [], -1.0
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.projection: Projection | None = None
        self.passes = 0  # image passes through the trunk, forward or forward and backward
        self.seconds = 0.0
        self.teacher_digest = digest(teacher) if teacher is not None else ""
        self._cache: dict[int, tuple[Tensor, Tensor | None, Tensor | None]] = {}
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
            UserError: The loss is no longer finite, or the disk is full; the last checkpoint stays.
        """
        done = load_checkpoint(self) if (self.folder / "checkpoint.safetensors").exists() else (0, 0)
        steps = sum(max(1, len(phase.rates)) for phase in self.phases)
        bar = tqdm(
            total=steps, desc=self.params.run, unit="epoch", disable=not progress, mininterval=2, leave=True
        )
        if done == (0, 0):
            self._initialise()
        for index, phase in enumerate(self.phases):
            for epoch in range(max(1, len(phase.rates))):
                bar.update()
                if (index, epoch) < done:
                    continue
                began = time.perf_counter()
                row = self._step(phase, index, epoch)
                seconds = time.perf_counter() - began
                self.seconds += seconds
                speed = len(self.fit.labels) / seconds
                shown = {
                    "phase": phase.name,
                    **{k: f"{v:.3f}" for k, v in row.items() if k in ("loss", "validation")},
                }
                bar.set_postfix({**shown, "images/s": f"{speed:.0f}"})
                self.history.append({"phase": phase.name, "epoch": epoch + 1, **row, "seconds": seconds})
                last = epoch + 1 == max(1, len(phase.rates))
                if phase.name == "push":
                    continue  # saved with the decision phase behind it: a push alone is no resting place
                save_checkpoint(self, (index + 1, 0) if last else (index, epoch + 1))
        bar.close()
        self._cache.clear()
        return self.network

    def _initialise(self) -> None:
        if self.params.prototype_init == "patches" and isinstance(self.network, ProtoNet):
            self.passes += len(self.fit.labels)
            self.network.prototypes.data = class_patches(
                self.network, self.fit.pixels, self.fit.labels, self.params.seed
            )

    def _step(self, phase: Phase, index: int, epoch: int) -> dict[str, float]:
        if phase.name == "push":
            assert isinstance(self.network, ProtoNet)
            self.before_push = {
                k: v.clone() for k, v in self.network.state_dict().items() if not k.startswith("trunk")
            }
            self.projection = push(self.network, self.fit.pixels, self.fit.labels, self.params.batch_size)
            self.passes += len(self.fit.labels)
            return {"validation": self._validate()}
        if phase.name == "decision":
            return self._decide(phase)
        row = self._epoch(phase, index, epoch)
        row["validation"] = self._validate()
        if self.params.model == "linear":
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
        batches = self._cached_batches(epoch, index) if frozen else self._batches(index, epoch)
        for out, labels, teacher in batches:
            distil_only = phase.name == "warm" and params.warm_losses == "distillation"
            loss, parts = objective(out, labels, network, params, teacher, distil_only)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            parts |= {"loss": loss, "accuracy": (out.logits.argmax(1) == labels).float().mean()}
            for name, value in parts.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() * len(
                    labels
                )
            seen += len(labels)
        means = {name: value.item() / seen for name, value in sums.items()}
        if not torch.isfinite(torch.tensor(means["loss"])):
            raise UserError(
                f"Run '{params.run}': the loss is not finite in phase '{phase.name}', epoch {epoch + 1}; lower lr_trunk, "
                f"lr_addon or lr_prototypes (the last good epoch is kept in {self.folder})."
            )
        return means

    def _generator(self, index: int, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.params.seed * 1009 + index) * 100_003 + epoch)

    def _order(self, generator: torch.Generator) -> Iterator[Tensor]:
        order = torch.randperm(len(self.fit.labels), generator=generator)
        for part in order.split(self.params.batch_size):
            if len(part) > 1 or len(order) == 1:  # batch normalisation cannot train on a single image
                yield part.to(self.device)

    def _batches(self, index: int, epoch: int) -> Iterator[tuple[Output, Tensor, Teacher | None]]:
        """Outputs on freshly augmented images."""
        generator = self._generator(index, epoch)
        for part in self._order(generator):
            images = self._augmented(self.fit.pixels[part], generator)
            teacher = self._ask(images)
            self.passes += len(part)
            with self._autocast():
                out = self.network(images)
            yield out, self.fit.labels[part], teacher

    def _cached_batches(self, epoch: int, index: int) -> Iterator[tuple[Output, Tensor, Teacher | None]]:
        """Outputs on cached trunk outputs of one augmented copy of all images; copies take turns."""
        copy = epoch % self.params.warm_copies
        if copy not in self._cache:
            entry = self._copy(copy, index)
            size = sum(t.nbytes for t in entry if t is not None)
            if size * (len(self._cache) + 1) <= self.params.warm_cache_gb * 2**30:
                self._cache[copy] = entry
        else:
            entry = self._cache[copy]
        features, z, active = entry
        for part in self._order(self._generator(index, epoch)):
            with self._autocast():
                out = self.network.head(features[part].float())
            teacher = None
            if self.teacher is not None and z is not None and active is not None:
                teacher = Teacher(z[part], active[part], self.teacher.prototypes)
            yield out, self.fit.labels[part], teacher

    @torch.no_grad()
    def _copy(self, copy: int, index: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Trunk outputs (N, C, H, W) and the teacher's z and active patches for one augmented copy, in half precision."""
        generator = self._generator(index, 50_000 + copy)
        features, zs, actives = [], [], []
        for part in torch.arange(len(self.fit.labels), device=self.device).split(self.params.batch_size):
            images = self._augmented(self.fit.pixels[part], generator)
            with self._autocast():
                features.append(self.network.trunk(images).half())
            teacher = self._ask(images)
            if teacher is not None:
                zs.append(teacher.z.half())
                actives.append(teacher.active)
        self.passes += len(self.fit.labels)
        return torch.cat(features), torch.cat(zs) if zs else None, torch.cat(actives) if actives else None

    def _augmented(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        return augment(pixels, generator) if self.params.augment else pixels.float() / 255

    @torch.no_grad()
    def _ask(self, images: Tensor) -> Teacher | None:
        """The teacher's answer, computed once per batch and without a graph (A12)."""
        if self.teacher is None:
            return None
        with self._autocast():
            out = self.teacher(images)
        cells = out.z.shape[2] * out.z.shape[3]
        active = losses.active_patches(out.cells, out.distances, self.params.tau_train, cells)
        return Teacher(out.z, active, self.teacher.prototypes)

    def _autocast(self) -> torch.autocast:
        """bfloat16 where a GPU has the units; never on a CPU, where it can be ten times slower than float32."""
        usable = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=usable)

    # ---------------------------------------------------------------------------------------------------- helpers

    def _groups(self) -> dict[str, list[Tensor]]:
        n = self.network
        groups = {"trunk": list(n.trunk.parameters()), "decision": list(n.decision.parameters())}
        if isinstance(n, ProtoNet):
            groups |= {"addon": list(n.addon.parameters()), "prototypes": [n.prototypes]}
        return groups

    def _optimizer(self, phase: Phase, rate: float) -> torch.optim.Optimizer:
        """One optimiser a kind of phase, kept across rounds; its learning rates are set for this epoch."""
        p = self.params
        rates = {
            "trunk": p.lr_trunk,
            "addon": p.lr_addon,
            "prototypes": p.lr_prototypes,
            "decision": p.lr_decision,
        }
        if p.model == "linear":
            rates["decision"] = p.lr_addon  # the classifier takes the add-on's place
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
        self.passes += len(images.labels)
        return torch.cat(parts)

    @torch.inference_mode()
    def _validate(self) -> float:
        """Accuracy on the validation split."""
        self.network.eval()
        right = 0.0
        for pixels, labels in zip(
            self.held_out.pixels.split(self.params.batch_size),
            self.held_out.labels.split(self.params.batch_size),
            strict=True,
        ):
            with self._autocast():
                right += (self.network(pixels).logits.argmax(1) == labels).sum().item()
        return right / len(self.held_out.labels)


def history_frame(trainer: Trainer) -> pd.DataFrame:
    """One row an epoch: phase, epoch, losses, training and validation accuracy, seconds."""
    return pd.DataFrame(trainer.history)
