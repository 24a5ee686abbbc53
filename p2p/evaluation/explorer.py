"""What the book's explorer shows of one teacher, student and baseline: small pictures, and one script of numbers.

A page opened from the disk may load scripts and pictures, but not fetch: so the numbers are a script, `data.js`, which
assigns them to a global, and the images are tiles of a few sheets, `sheet-<n>.webp`. Heat maps are a byte a cell, which
the page lays over the tiles; nothing else of an image is stored.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from p2p.data.images import ImageSet
from p2p.errors import UserError
from p2p.evaluation.contributions import deciding, on_cpu
from p2p.evaluation.explored import DATA, FOLDER
from p2p.evaluation.on_object import part_of_cells
from p2p.evaluation.packed import is_packed
from p2p.evaluation.pairs import matched_pairs, typical_image
from p2p.evaluation.runs import Trained, load_run, respond
from p2p.evaluation.sources import check_sources, need_prototypes
from p2p.files import write_atomic
from p2p.networks import distance_map
from p2p.responses import ResponseTable
from p2p.study.page_params import EXPLORED
from p2p.study.pages import class_text

TOP, NEAREST = 5, 6  # prototypes told of an image, test images told of a prototype
COLUMNS = 16  # tiles in a row of a sheet, and rows of one
LARGEST = 5_000_000  # bytes of a study's sheets together
SMALLER = ((96, 80), (64, 80), (64, 55), (48, 45), (32, 40))  # side of a tile in pixels, WebP quality; the first to fit


def find_networks(place: Path, runs: dict[str, str]) -> dict[str, Path]:
    """Folders of teacher, student and baseline by role.

    Args:
        place: Of a study's runs, or of its packed networks.
        runs: Names by role; empty: the packed networks in that folder.

    Raises:
        UserError: One of the three is missing.
    """
    if not runs:
        runs = {path.name.partition("-")[0]: path.name for path in sorted(place.glob("*")) if is_packed(path)}
    for role in ("teacher", "student", "baseline"):
        if role not in runs:
            raise UserError(f"{place} has no {role} to explore; train the study (make study), or pack it (make pack).")
    return {role: place / runs[role] for role in ("teacher", "student", "baseline")}


def answers_of(folder: Path, run: Trained, test: ImageSet) -> ResponseTable:
    """A network's answers to all test images: from its folder, or, of a packed network, asked anew."""
    if (folder / "responses.safetensors").is_file():
        return ResponseTable.load(folder / "responses.safetensors")
    return respond(need_prototypes(run), test.pixels, batch_size=run.params.batch_size)[0]


def explorer_data(folders: dict[str, Path], images: ImageSet, many: int = EXPLORED) -> tuple[dict[str, Any], Tensor]:
    """All numbers of a study's explorer, and the images that it shows.

    Args:
        folders: By role, see `find_networks`.
        images: All splits, as the networks were trained on them.
        many: Test images to look at: the first ones of every class, and the one that the study's first picture shows.
            What is counted, is over all.

    Returns:
        What `data.js` holds, but for the sheets; book/_static/explorer.js is its reader.
        (n, 3, S, S) uint8: the training images that prototypes come from, then the test images, each by class.

    Raises:
        UserError: A network has no prototypes, is damaged, or was trained on other images.
    """
    runs = {role: load_run(folder) for role, folder in folders.items()}
    for run in runs.values():
        if not need_prototypes(run).decision.classed:
            raise UserError(
                f"The prototypes of run '{run.params.run}' belong to no class (decision '{run.params.decision}'), "
                "and the explorer shows them by class; set 'explorer' to false."
            )
    test_at = (images.split == 2).nonzero()[:, 0]
    test = images.select(test_at)
    tables = {role: answers_of(folders[role], run, test) for role, run in runs.items()}
    sources = {role: check_sources(run, images)[_found(run).images] for role, run in runs.items()}  # (P,) positions
    labels = images.labels.cpu()
    used = torch.cat(list(sources.values())).unique()
    used = used[labels[used].argsort(stable=True)]
    place = torch.full((len(images),), -1).scatter_(0, used, torch.arange(len(used)))
    each = max(1, many // len(images.classes))
    asked = test.labels.cpu()
    first = [(asked == k).nonzero()[:each, 0] for k in range(len(images.classes))]
    shown = torch.cat([*first, torch.tensor([_pictured(runs, tables, asked)])]).unique()
    shown = shown[asked[shown].argsort(stable=True)]
    pool = torch.cat([used, test_at.cpu()[shown]])
    on = part_of_cells(images, tables["teacher"].grid)
    mine = test.labels.cpu()[:, None] == need_prototypes(runs["teacher"]).own.float().argmax(0).cpu()  # (N, P)
    data: dict[str, Any] = {
        "classes": [class_text(name) for name in images.classes],
        "grid": list(tables["teacher"].grid),
        "parts": list(images.part_names) if on is not None else [],
        "names": [images.names[at] for at in pool.tolist()],
        "labels": labels[pool].tolist(),
        "first_test": len(used),
        "tested": len(test),
        "networks": {
            role: _of_network(run, tables[role], place[sources[role]], sources[role], on, test_at.cpu(), test.labels)
            | {"run": run.params.run, "packed": run.packed is not None}
            | _of_images(run, tables[role], test, shown)
            for role, run in runs.items()
        },
        "pairs": {role: _pairs(tables["teacher"], tables[role], mine) for role in ("student", "baseline")},
    }
    data["nearest"] = _nearest(runs["teacher"], tables, shown, torch.tensor(data["pairs"]["baseline"]["partner"]))
    return data, images.pixels[pool.to(images.labels.device)].cpu()


def _found(run: Trained) -> Any:
    need_prototypes(run)
    return run.projection


def _of_network(
    run: Trained,
    table: ResponseTable,
    place: Tensor,
    sources: Tensor,
    on: Tensor | None,
    test_at: Tensor,
    test_labels: Tensor,
) -> dict[str, Any]:
    """Of every prototype: its image in the pool, cell, class, part, heat map, and the parts that it finds."""
    network, found = need_prototypes(run), _found(run)
    own = network.own.float().argmax(0).cpu()
    out: dict[str, Any] = {
        "network": run.params.network,
        "parameters": sum(p.numel() for p in network.parameters()),
        "source": place.tolist(),
        "cell": found.cells.tolist(),
        "own": own.tolist(),
        "heat": _bytes(_scaled(network.layer.similarity(found.maps.cpu()))),
    }
    if on is not None:
        out["part"] = on[sources, found.cells.cpu()].tolist()
        out["lies"] = _parts_found(on[test_at], table, own, test_labels.cpu())
    return out


def _parts_found(on: Tensor, table: ResponseTable, own: Tensor, labels: Tensor) -> list[list[list[float]]]:
    """The two commonest parts under each prototype in the test images of its class: part (−1: none), share of them."""
    out = []
    for j, k in enumerate(own.tolist()):
        mine = (labels == k).nonzero()[:, 0]
        parts, counts = on[mine, table.cells[mine, j].long()].unique(return_counts=True)
        order = counts.argsort(descending=True, stable=True)[:2].tolist()
        out.append([[int(parts[i]), round(int(counts[i]) / max(1, len(mine)), 3)] for i in order])
    return out


@torch.inference_mode()
def _pictured(runs: dict[str, Trained], tables: dict[str, ResponseTable], labels: Tensor) -> int:
    """The test image that `notebooks/06_topk.py` shows first, and leads to."""
    found = {}
    for role in ("teacher", "student"):
        network = need_prototypes(runs[role])
        k = min(TOP, tables[role].distances.shape[1])
        found[role] = deciding(tables[role], network.decision, network.layer, k)
    return typical_image(found["teacher"], found["student"], labels)


def _of_images(run: Trained, table: ResponseTable, test: ImageSet, shown: Tensor) -> dict[str, Any]:
    """Of every shown image: what it is taken for, how surely, the prototypes that count most, and the rest of the sum.

    `tops` has for each image, prototype after prototype: number, contribution, cell; `sums`: what all others add, what
    they take away, and the logit; `next`: the second class and its logit.
    """
    network = need_prototypes(run)
    decision, k = on_cpu(network.decision), min(TOP, table.cells.shape[1])
    whole = deciding(table, decision, network.layer, k)
    table = ResponseTable(table.cells[shown], table.distances[shown], table.grid)
    chosen = deciding(table, decision, network.layer, k)
    similarities = network.layer.similarity(table.distances.float()).double()
    logits = decision(similarities)
    second = logits.scatter(1, chosen.predicted[:, None], -torch.inf).max(1)
    terms = decision.contributions(similarities, chosen.predicted)
    total = terms.sum(1)
    terms = terms.scatter(1, chosen.prototypes, 0.0)
    sums = torch.stack([terms.clamp(min=0).sum(1), terms.clamp(max=0).sum(1), total], 1)
    maps = []
    for rows in torch.arange(len(shown)).split(32):
        z = network.add_on_map(test.pixels[shown[rows].to(test.labels.device)].to(network.prototypes.device))
        near = distance_map(z, network.layer.prepare(network.prototypes)).cpu()
        at = chosen.prototypes[rows][:, :, None, None].expand(-1, -1, *near.shape[2:])
        maps.append(_scaled(network.layer.similarity(near.gather(1, at)).flatten(0, 1)))
    tops = zip(chosen.prototypes.tolist(), chosen.contributions.tolist(), chosen.cells.tolist(), strict=True)
    return {
        "right": int((whole.predicted == test.labels.cpu()).sum()),
        "predicted": chosen.predicted.tolist(),
        "sure": _round(logits.softmax(1).gather(1, chosen.predicted[:, None])[:, 0]),
        "tops": [[x for j, c, cell in zip(*row, strict=True) for x in (j, round(c, 3), cell)] for row in tops],
        "sums": _round(sums),
        "next": [list(pair) for pair in zip(second.indices.tolist(), _round(second.values), strict=True)],
        "maps": _bytes(torch.cat(maps)),
    }


def _pairs(teacher: ResponseTable, other: ResponseTable, mine: Tensor) -> dict[str, Any]:
    """For each of the teacher's prototypes, its partners in another network: that of its number, and the matched one.

    Args:
        teacher, other: Of the same N images, P prototypes each.
        mine: (N, P), whether an image is of the class of the teacher's prototype.

    Returns:
        `partner`, the matched one's number. `same`, `matched`: the share of test images in which the two sit on one
        cell; `…_own`: that of the images of its class alone; `…_chance`: that of all on average when the images of one
        of them are shuffled, Σ_c p(c) q(c) over cells c.
    """
    partner, _ = matched_pairs(teacher, other)
    out: dict[str, Any] = {"partner": partner.tolist()}
    p, q = (_occupied(table) for table in (teacher, other))
    for name, number in (("same", torch.arange(len(partner))), ("matched", partner)):
        meet = teacher.cells == other.cells[:, number]
        out[name] = _round(meet.double().mean(0))
        out[f"{name}_own"] = _round((meet & mine).sum(0) / mine.sum(0).clamp(min=1))
        out[f"{name}_chance"] = _round((p * q[number]).sum(1))
    return out


def _occupied(table: ResponseTable) -> Tensor:
    """(P, H·W): the share of images in which each prototype sits on each cell."""
    count = table.grid[0] * table.grid[1]
    return torch.stack([(table.cells == c).double().mean(0) for c in range(count)], 1)


def _nearest(teacher: Trained, tables: dict[str, ResponseTable], shown: Tensor, partner: Tensor) -> list[list[float]]:
    """Of each of the teacher's prototypes the nearest shown test images: for one after the other its place among those
    shown, the similarity, and the cells of the teacher's, the student's of that number, the baseline's matched one."""
    table, out = tables["teacher"], []
    order = table.distances[shown].argsort(dim=0, stable=True)[:NEAREST].T  # (P, n)
    for j, rows in enumerate(order.tolist()):
        row: list[float] = []
        for at in rows:
            n = int(shown[at])
            similarity = float(need_prototypes(teacher).layer.similarity(table.distances[n, j].float()))
            places = [table.cells[n, j], tables["student"].cells[n, j], tables["baseline"].cells[n, partner[j]]]
            row += [at, round(similarity, 2), *map(int, places)]
        out.append(row)
    return out


def _scaled(maps: Tensor) -> Tensor:
    """Maps (n, H, W), each from its least to its most, as (n, H, W) uint8 from 0 to 255."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8).cpu()


def _bytes(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def _round(values: Tensor) -> Any:
    return np.round(values.double().numpy(), 3).tolist()


def sheets(pixels: Tensor, side: int, quality: int) -> list[bytes]:
    """Images (n, 3, S, S) uint8 as tiles of WebP sheets, `COLUMNS` in a row, as many rows at most."""
    side, parts = min(side, pixels.shape[-1]), []
    for some in pixels.split(COLUMNS * COLUMNS):
        small = interpolate(some.float(), (side, side), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        rows = -(-len(small) // COLUMNS)
        full = torch.cat([small, small.new_full((rows * COLUMNS - len(small), 3, side, side), 127)])
        sheet = full.view(rows, COLUMNS, 3, side, side).permute(0, 3, 1, 4, 2).reshape(rows * side, COLUMNS * side, 3)
        written = io.BytesIO()
        Image.fromarray(sheet.numpy()).save(written, "WEBP", quality=quality, method=6)
        parts.append(written.getvalue())
    return parts


def write_explorer(out: Path, data: dict[str, Any], pixels: Tensor) -> list[str]:
    """Write a study's explorer in place of an earlier one.

    Args:
        out: Folder of its results.
        data, pixels: See `explorer_data`; `data` has a `study` and what else the page shows of it.

    Returns:
        The files, relative to `out`.

    Raises:
        UserError: The images are too large together, at the smallest size at which one still sees something.
    """
    for side, quality in SMALLER:
        made = sheets(pixels, side, quality)
        if sum(map(len, made)) <= LARGEST:
            break
    else:
        raise UserError(
            f"The explorer's {len(pixels)} images take more than {LARGEST / 1e6:.0f} MB; set 'explorer' to false."
        )
    for old in (out / FOLDER).glob("sheet-*.webp"):
        old.unlink()
    names = [f"{FOLDER}/sheet-{n}.webp" for n in range(len(made))]
    for name, content in zip(names, made, strict=True):
        write_atomic(out / name, content)
    whole = data | {"tile": min(side, pixels.shape[-1]), "columns": COLUMNS, "sheets": len(made)}
    text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    write_atomic(out / FOLDER / DATA, f"window.p2pExplorer({text});\n")
    return [f"{FOLDER}/{DATA}", *names]
