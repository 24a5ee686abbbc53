"""From a run's folder and an image to an explanation; `p2p.explain` is this with pictures."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor

from p2p.data.images import ImageSet, load_images
from p2p.data.photo import read_photo
from p2p.data.streaming import Stream
from p2p.evaluation.contributions import on_cpu, top
from p2p.evaluation.explanation import USUAL, Against, Evidence, Explanation, Tree
from p2p.evaluation.explanation import Path as Way
from p2p.evaluation.runs import check_inputs
from p2p.evaluation.sources import check_sources, folder_beside, load_prototypes, source_image, source_patches
from p2p.networks import ProtoNet, distance_map
from p2p.responses import ResponseTable, spans
from p2p.tree import TreeDecision

E = TypeVar("E", bound=Explanation)
OPPOSED = 3  # prototypes that speak against the class, so many are named

# Mean distance, of 255 levels, between a photograph and the patch of it that was packed: 3.5 at most in 60 patches of
# CUB; the nearest other of 579 photographs was 24.6 away.
STORED = 8.0


class Explainer(Generic[E]):
    """A run, and its teacher where that lies beside it, loaded once to explain any number of images.

    Args:
        run: Folder of a finished run, runs/<study>/<run>, or of a packed network, networks/<study>/<role>-<network>.
        kind: What explanations are made as: `Explanation`, or a subclass of it.
        images: The run's data set, all splits, where it has been loaded before; a packed network needs none.

    Raises:
        UserError: There is no such run, it is of a network without prototypes, or its images are gone or others.
    """

    def __init__(self, run: Path | str, kind: type[E], images: ImageSet | None = None) -> None:
        folder = Path(run)
        self.trained, self.kind = load_prototypes(folder), kind
        packed = self.trained.packed
        if packed is None:
            images = images or load_images(self.trained.params.model_copy(update={"device": "cpu"}))
            self.classes, self.limit = images.classes, usual_distance(folder)
        else:
            self.classes, self.limit, images = packed.classes, packed.usual, None
        self.images = images
        self.teacher: Explainer[E] | None = None
        if taught := folder_beside(folder, self.trained.params.teacher_run):
            self.teacher = Explainer(taught, kind, images)
        check_inputs([one.trained for one in (self, self.teacher) if one], images)
        if images:
            check_sources(self.trained, images)
        self.tree: Tree | None = None
        decision = self.trained.network.decision
        if isinstance(decision, TreeDecision):
            self.tree = Tree(deepcopy(decision).cpu(), source_patches(self.trained, images))

    def explain(self, image: Path | str | Image.Image | Tensor, name: str = "", k: int = 5) -> E:
        """What the network says of one image.

        Args:
            image: A file, an opened image, or (3, S, S) uint8 at the run's own size.
            name: What to call it; empty: the file's name.
            k: So many prototypes, those that count most, are told one by one.

        Raises:
            UserError: It is no image that can be read.
        """
        size = self.trained.params.size
        if not isinstance(image, Tensor):
            name = name or ("image" if isinstance(image, Image.Image) else Path(image).name)
            image = read_photo(image, size)
        own = self._explain(image, name or "image", k)
        return replace(own, teacher=self.teacher._explain(image, own.name, k)) if self.teacher else own

    @torch.inference_mode()
    def _explain(self, image: Tensor, name: str, k: int) -> E:
        network, found, params = self.trained.network, self.trained.projection, self.trained.params
        assert isinstance(network, ProtoNet) and found is not None  # `load_prototypes` let no other pass
        out, decision = network(image[None]), on_cpu(network.decision)
        similarities = network.layer.similarity(out.distances)  # (1, P)
        logits = decision(similarities.double())[0]
        values = decision.contributions(similarities, logits.argmax()[None])
        chosen = top(values, min(k, values.shape[1]))[1][0].tolist()
        label, classed = int(logits.argmax()), decision.classed
        worst = [j for j in top(-values, OPPOSED)[1][0].tolist() if values[0, j] < 0 and j not in chosen]

        def labels(j: int) -> tuple[int, ...]:
            return tuple(network.own[:, j].nonzero()[:, 0].tolist()) if classed else (self.label_of(j),)

        def evidence(j: int) -> Evidence:
            similar = network.layer.similarity(distance_map(out.z, out.prototypes[[j]])[0, 0])
            source_name, source = source_image(self.trained, j, self.images)
            cell, source_cell = (divmod(int(one), similar.shape[1]) for one in (out.cells[0, j], found.cells[j]))
            return Evidence(
                prototype=j,
                labels=labels(j),
                similarity=float(similarities[0, j]),
                distance=float(out.distances[0, j]),
                weight=float(decision.weight[label, j] if classed else values[0, j] / similarities[0, j]),
                contribution=float(values[0, j]),
                cell=cell,
                source_cell=source_cell,
                source_name=source_name,
                source=source,
                similarities=similar,
            )

        way = None
        if self.tree is not None:
            leaf, paths = int(self.tree.decision.leaf(similarities)), self.tree.decision.paths(similarities)
            steps = self.tree.decision.steps(leaf)
            asked, there = tuple(evidence(j) for j, _ in steps), tuple(right for _, right in steps)
            way = Way(self.tree, leaf, asked, there, float(paths[0, leaf]), similarities[0])
        return self.kind(
            run=params.run,
            role=params.role,
            study=params.study,
            name=name,
            image=image,
            classes=self.classes,
            logits=logits,
            contributions=values[0],
            evidence=tuple(evidence(j) for j in chosen),
            nearest=float(out.distances.min()),
            limit=self.limit,
            against=tuple(Against(j, labels(j), float(values[0, j])) for j in worst),
            path=way,
            known=self.known(image),
        )

    def known(self, image: Tensor) -> tuple[str, str] | None:
        """How, and by what name, the network was made from an image of these very pixels (3, S, S); None: it was not.

        A packed network has patches of some alone; it is known again by one of more than one colour, and where
        patches are photographs, stored with loss, by one that differs from the image by no more than that.
        """
        if self.images is None:
            packed = self.trained.packed
            for patch in packed.patches if packed else ():
                (x, y), (high, wide) = patch.corner, patch.pixels.shape[1:]
                there, own = image[:, y : y + high, x : x + wide].float().cpu(), patch.pixels.float()
                apart, colours = (there - own).abs().mean(), own.std((1, 2)).mean()
                lossy = self.trained.params.reader != "birds" and apart <= STORED and colours > 2 * STORED
                if lossy or (apart == 0 and colours > 0):
                    return "trained", patch.image
            return None
        middle = image.shape[1] // 2  # a row tells nearly all apart, and is read from the disk in no time
        pixels, image = self.images.pixels, image.cpu()
        rows = pixels.source[:, :, middle][pixels.rows] if isinstance(pixels, Stream) else pixels[:, :, middle].cpu()
        for n in (rows == image[:, middle]).flatten(1).all(1).nonzero()[:, 0].tolist():
            if int(self.images.split[n]) < 2 and torch.equal(pixels[n].cpu(), image):
                return ("trained", "validated")[int(self.images.split[n])], self.images.names[n]
        return None

    def label_of(self, j: int) -> int:
        """The class of the source image of a tree's prototype, which has none of its own."""
        assert self.tree is not None
        return self.classes.index(self.tree.patches[j].label)


def usual_distance(folder: Path) -> float:
    """How far, at most, an ordinary image is from its nearest prototype, squared L2.

    Of each image of the run's own test set the distance of the nearest prototype is in its response table; this is the
    95 % quantile, of twenty images or fewer the largest. With the 99 % quantile a network of birds would be warned of a
    quarter of all cars, with this one of three quarters. Training images would tell less: the prototypes are patches of
    them, so any new image lies farther away.

    Args:
        folder: Of a finished run.

    Raises:
        UserError: Its response table is missing or damaged.
    """
    table = ResponseTable.load(folder / "responses.safetensors")
    nearest = torch.cat([table.distances[span].amin(1) for span in spans(*table.distances.shape)])
    return float(torch.quantile(nearest.double(), USUAL, interpolation="higher"))
