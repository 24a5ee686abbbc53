"""Training: one loop over a list of phases, for teacher, baseline, student and controls alike.

Read in this order: `Trainer.run` (the phases), `Trainer._epoch` (one pass), `Trainer._push` and `Trainer._decide` (how
prototypes become training patches); what is minimised is `p2p.training.objective`.
Every epoch draws its order and its augmentation from a generator seeded by (seed, phase, epoch), so that a run
killed at any moment goes on from its last epoch and ends with the same weights, bit for bit.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from p2p.data.images import ImageSet
from p2p.errors import UserError
from p2p.mimicry import MapR2
from p2p.networks import ProtoNet
from p2p.projection import Projection, push
from p2p.prototypes import class_patches, normalise_features
from p2p.study.params import TrainParams
from p2p.training.averaging import Average
from p2p.training.batches import Batches, autocast, refuse_precision
from p2p.training.build import Network, build_network
from p2p.training.checkpoints import (
    identity,
    load_tensors,
    prefixed,
    readable,
    same_training,
    save_tensors,
    take_over,
    without,
)
from p2p.training.objective import distillation, objective
from p2p.training.optimisers import (
    new_optimizer,
    optimizer_tensors,
    parameter_groups,
    restore_optimizer,
    set_rates,
)
from p2p.training.phases import Phase, batchnorm, timeline
from p2p.training.progress import Progress, memory_advice

LOOKS = 50  # at the validation images in a phase, about; short phases look after every pass


class Trainer:
    """One run in one folder.

    Args:
        params: Of the run.
        images: All splits, on the device to use.
        folder: Where checkpoint and network are kept.
        teacher: The student's teacher.
        sources: Where the teacher's prototypes come from, for a shared push.
    """

    def __init__(
        self,
        params: TrainParams,
        images: ImageSet,
        folder: Path,
        teacher: ProtoNet | None = None,
        sources: Projection | None = None,
    ) -> None:
        self.params, self.folder, self.teacher, self.sources = params, folder, teacher, sources
        self.device = images.pixels.device
        distillation(params)  # an unknown loss is refused before any work
        refuse_precision(params, self.device)
        self.fit, self.held_out = images.subset("train"), images.subset("validation")
        with memory_advice(params, self.device, folder):
            self.network = build_network(params, len(images.classes)).to(self.device)
        self.phases, self.kept = timeline(params), False
        self.history: list[dict[str, Any]] = []
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.average = Average()
        self.projection: Projection | None = None
        self.seconds = 0.0
        self.taken_from = ""  # <study>/<run> of the same training, where that was finished before
        self._held_features: list[Tensor] = []
        self._held_answers: list[Tensor] = []
        self.identity = identity(params, images, self.network, teacher)
        self.batches = Batches(params, self.fit, self.network.trunk, teacher, folder)
        if params.compile_trunk:
            self.network.trunk.compile()
        if teacher is not None:
            teacher.eval().requires_grad_(False)  # the teacher is inert
            if params.push == "shared" and sources is None:
                raise UserError(
                    f"Run '{params.run}': 'push' is shared, but it is not known where the prototypes of "
                    f"'{params.teacher_run}' come from; give a teacher that was pushed."
                )
            if params.head != "own":
                self.network.decision.load_state_dict(teacher.decision.state_dict())

    # ------------------------------------------------------------------------------------------------- the phases

    def run(self, progress: bool = True) -> Network:
        """Train, or go on with training, to the end of the last phase; the chosen network is saved in the folder.

        Kept is the network after each decision phase, the last one in the end: only such a network has prototypes that
        are training patches, and a choice among rounds by a small validation split would follow its noise.

        Raises:
            UserError: The loss is no longer finite, or memory or disk is full; the last checkpoint stays.
        """
        checkpoint = self.folder / "checkpoint.safetensors"
        same = None if checkpoint.exists() else same_training(self.folder, self.identity, len(self.phases))
        if same is not None:
            self.taken_from = f"{same.parent.name}/{same.name}"
            print(f"{self.params.run}: the same training as run {self.taken_from}, taken from there.", file=sys.stderr)
            take_over(same, self.folder, self.identity)
        done = self._resume(checkpoint) if checkpoint.exists() else (0, 0)
        line = Progress(self.params.run, self.phases, len(self.fit.labels), progress)
        if done == (0, 0):
            with memory_advice(self.params, self.device, self.folder):
                self._initialise()
        for index, phase in enumerate(self.phases):
            for epoch in range(phase.epochs):
                line.bar.update()
                if (index, epoch) < done:
                    continue
                began = time.perf_counter()
                with memory_advice(self.params, self.device, self.folder):
                    row = self._step(phase, index, epoch)
                seconds = time.perf_counter() - began
                self.seconds += seconds
                row |= {"seconds": seconds, "passes": self.batches.passes}
                self.history.append({"phase": phase.name, "epoch": epoch + 1, **row})
                line.show(self.history, index)
                last = epoch + 1 == phase.epochs
                if last:
                    self.batches.forget()
                if phase.name == "push":
                    continue  # saved with the decision phase behind it: a push alone is no resting place
                self.save((index + 1, 0) if last else (index, epoch + 1))
        line.bar.close()
        return self.network

    def save(self, upcoming: tuple[int, int]) -> None:
        save_tensors(self.folder / "checkpoint.safetensors", *self.state(upcoming))

    def state(self, upcoming: tuple[int, int]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is needed to go on with phase and epoch `upcoming`; chance depends on (seed, phase, epoch) alone."""
        tensors = prefixed("network", self.network.state_dict())
        for name, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(optimizer, f"optimizer.{name}")
        tensors |= prefixed("average", self.average.tensors)
        passes = [self.batches.passes, self.batches.teacher_passes]
        meta = {
            "upcoming": upcoming,
            "averaged": self.average.passes,
            "history": self.history,
            "kept": self.kept,
            "passes": passes,
        }
        return tensors, {**meta, "seconds": self.seconds, **self.identity}

    def _resume(self, checkpoint: Path) -> tuple[int, int]:
        if not readable(checkpoint):
            print(f"{self.params.run}: {checkpoint} is damaged, starting anew.", file=sys.stderr)
            return 0, 0
        return self.restore(*load_tensors(checkpoint, self.device))

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> tuple[int, int]:
        """Be where `state` was taken; (0, 0), to start anew, where parameters, images or teacher have changed."""
        changed = [name for name, value in self.identity.items() if meta.get(name) != value]
        if meta.get("kept") and not readable(self.folder / "network.safetensors"):
            changed.append("network.safetensors")
        if changed:
            if changed != ["start"]:  # which follows from weights, parameters or code, where one of these is named
                changed = [name for name in changed if name != "start"]
            said = f"{self.params.run}: {' and '.join(changed)} changed since the checkpoint, starting anew."
            print(said, file=sys.stderr)
            return 0, 0
        self.network.load_state_dict(without("network", tensors))
        for phase in self.phases:
            if phase.name not in self.optimizers and without(f"optimizer.{phase.name}", tensors):
                self.optimizers[phase.name] = new_optimizer(self.network, phase, self.params)
                restore_optimizer(self.optimizers[phase.name], tensors, f"optimizer.{phase.name}")
        self.history, self.kept, self.seconds = meta["history"], meta["kept"], meta["seconds"]
        self.batches.passes, self.batches.teacher_passes = meta["passes"]
        self.average = Average(without("average", tensors), meta["averaged"])
        return tuple(meta["upcoming"])

    def _initialise(self) -> None:
        if self.params.feature_init == "data":
            normalise_features(self.network, self.fit.pixels)
        if self.params.prototype_init == "patches" and isinstance(self.network, ProtoNet):
            self.network.prototypes.data = class_patches(
                self.network, self.fit.pixels, self.fit.labels, self.params.seed
            )
        if self.params.prototype_init == "teacher" and self.teacher is not None:
            self.network.prototypes.data = self.teacher.prototypes.detach().clone()

    def _step(self, phase: Phase, index: int, epoch: int) -> dict[str, float]:
        if phase.name == "push":
            return self._push()
        if phase.name == "decision":
            return self._decide(phase) if self.params.tuning == "solver" else self._tune(phase, index)
        row = self._epoch(phase, index, epoch)
        last = epoch + 1 == phase.epochs
        if phase.name == "joint" and epoch + 1 > phase.epochs * (1 - self.params.average_share):
            self.average.add(self.network)
            if last:
                drifts = batchnorm(phase, self.params) == "train"
                self.average.put(self.network, self.fit.pixels.split(self.params.batch_size) if drifts else None)
                self.batches.passes += len(self.fit) if drifts else 0
        if last or (epoch + 1) % max(1, phase.epochs // LOOKS) == 0:
            row |= self._validate(frozen=phase.name == "warm" and batchnorm(phase, self.params) == "frozen")
        if last and phase is self.phases[-1]:  # a linear network; others end with a decision
            self._keep()
        return row

    # --------------------------------------------------------------------------------------------------- one pass

    def _epoch(self, phase: Phase, index: int, epoch: int) -> dict[str, float]:
        """One pass over the training images; no host synchronisation but for the sums at its end."""
        network, params = self.network, self.params
        if phase.name not in self.optimizers:
            self.optimizers[phase.name] = new_optimizer(network, phase, params)
        optimizer = self.optimizers[phase.name]
        set_rates(optimizer, phase, epoch, params)
        drifts = batchnorm(phase, params) == "train"
        frozen = phase.name == "warm" and not drifts  # the trunk's answers to a copy stay the same
        network.train()
        network.trunk.train(drifts)
        for name, tensors in parameter_groups(network).items():
            for tensor in tensors:
                tensor.requires_grad_(name in phase.trains)
        sums: dict[str, Tensor] = {}
        seen = 0  # a last batch of one image is left out
        copied = frozen or params.joint_copies
        batches = self.batches.copied(index, epoch, frozen) if copied else self.batches.fresh(index, epoch)
        followed = MapR2()
        decides = network if isinstance(network, ProtoNet) and params.head in ("own", "teacher_joint") else None
        if decides is not None:
            decides.decision.begin_pass()
        for inputs, labels, teacher in batches:
            with autocast(self.device, self.params.precision):
                out = network.head(inputs) if frozen else network(inputs)
            distil_only = phase.name == "warm" and params.warm_losses == "distillation"
            loss, parts = objective(out, labels, network, params, teacher, distil_only)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if decides is not None:
                similarities = decides.layer.similarity(out.distances.detach())
                decides.decision.learn(similarities, labels, len(labels) / len(self.fit))
            parts |= {"loss": loss, "accuracy": (out.logits.argmax(1) == labels).float().mean()}
            if teacher is not None:
                followed.add(out.z, teacher.z)
            for name, value in parts.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() * len(labels)
            seen += len(labels)
        means = {name: value.item() / seen for name, value in sums.items()}
        if self.teacher is not None:
            means["r2"] = followed.value()
        if not torch.isfinite(torch.tensor(means["loss"])):
            raise UserError(
                f"Run '{params.run}': the loss is not finite in phase '{phase.name}', epoch {epoch + 1}; "
                f"lower lr_trunk, lr_addon or lr_prototypes (the last good epoch is kept in {self.folder})."
            )
        return means

    # ------------------------------------------------------------------------------- prototypes to training patches

    def _push(self) -> dict[str, float]:
        assert isinstance(self.network, ProtoNet)
        self.before_push = {k: v.clone() for k, v in self.network.state_dict().items() if not k.startswith("trunk")}
        p = self.params
        self.projection = push(self.network, self.fit.pixels, self.fit.labels, p.batch_size, p.push, self.sources)
        self.batches.passes += len(self.fit.labels)
        return self._validate()

    def _decide(self, phase: Phase) -> dict[str, float]:
        assert isinstance(self.network, ProtoNet) and self.projection is not None
        if phase.trains:
            fit, held = ((self._activations(part), part.labels) for part in (self.fit, self.held_out))
            self.network.decision.settle(self.network.own, fit, held, self.params)
        self._keep()
        return self._validate()

    def _tune(self, phase: Phase, index: int) -> dict[str, float]:
        """The decision layer by passes of Adam over augmented images, one step of the progress line (A8)."""
        row: dict[str, float] = {}
        copies = self.params.official_copies if self.params.schedule == "official" else 1
        passes = Phase(phase.name, phase.trains, (1.0,) * self.params.tuning_passes * copies)
        for epoch in range(passes.epochs if phase.trains else 0):
            row = self._epoch(passes, index, epoch)
        self._keep()
        return row | self._validate()

    def _keep(self) -> None:
        tensors = prefixed("network", self.network.state_dict())
        if self.projection is not None:
            tensors |= {f"before_push.{k}": v for k, v in self.before_push.items() if "addon" not in k}
            tensors |= prefixed("projection", vars(self.projection))
        save_tensors(self.folder / "network.safetensors", tensors)
        self.kept = True

    @torch.no_grad()
    def _activations(self, images: ImageSet) -> Tensor:
        """(N, P) similarities."""
        network = self.network.eval()
        assert isinstance(network, ProtoNet)
        self.batches.passes += len(images.labels)
        batches = images.pixels.split(self.params.batch_size)
        return torch.cat([network.layer.similarity(network(pixels).distances) for pixels in batches])

    @torch.inference_mode()
    def _validate(self, frozen: bool = False) -> dict[str, float]:
        """Accuracy and cross-entropy on the validation split, and how much of the teacher's map the student reproduces.

        While the trunk is frozen its outputs are computed only once; the teacher's map always.
        """
        network, held, size = self.network.eval(), self.held_out, self.params.batch_size
        if frozen and not self._held_features:
            self.batches.passes += len(held)
            self._held_features = [network.trunk(pixels) for pixels in held.pixels.split(size)]
        if self.teacher is not None and not self._held_answers:
            self.batches.teacher_passes += len(held)
            self._held_answers = [self.teacher.add_on_map(pixels) for pixels in held.pixels.split(size)]
        inputs = self._held_features if frozen else held.pixels.split(size)
        right, loss, followed = torch.zeros((), device=self.device), torch.zeros((), device=self.device), MapR2()
        for i, (part, labels) in enumerate(zip(inputs, held.labels.split(size), strict=True)):
            with autocast(self.device, self.params.precision):
                out = network.head(part) if frozen else network(part)
            right += (out.logits.argmax(1) == labels).sum()
            loss += cross_entropy(out.logits, labels, reduction="sum")
            if self._held_answers:
                followed.add(out.z, self._held_answers[i])
        self.batches.passes += 0 if frozen else len(held)
        found = {"validation": right.item() / len(held), "validation_ce": loss.item() / len(held)}
        return found | ({"r2_validation": followed.value()} if self.teacher is not None else {})
