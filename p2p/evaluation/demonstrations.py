"""Departures of the released code shown on numbers alone: kept answers, the studies' results, or random input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats

from p2p import losses, metrics
from p2p.evaluation.claims import CLAIMS, claimed, paired
from p2p.evaluation.kept import read_kept
from p2p.evaluation.settings import SHORT, Setting
from p2p.networks import Output, distance_map, nearest_cells
from p2p.responses import ResponseTable
from p2p.study.pages import escape


def norms(prototypes: int = 2000, depth: int = 256) -> pd.DataFrame:
    """A2: value of the global loss and length of its gradient for two sets U[0, 1), by what PairwiseDistance does.

    On (P, D, 1, 1) it runs over the axis behind the channels up to torch 1.9, over the last one from 1.10 on.

    Returns:
        norm, value, gradient (Frobenius).
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(prototypes, depth, generator=generator) for _ in range(2))
    none, rows = torch.empty(0), []
    for norm, label in (("l2", "mean L2 (torch ≤ 1.9)"), ("mean_abs", "mean absolute difference (torch ≥ 1.10)")):
        own = a.clone().requires_grad_()
        outputs = (Output(none, none, none, none, none, p) for p in (own, b))
        value = losses.global_explanation(*outputs, global_norm=norm)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(value, own)
        rows.append((label, float(value.detach()), float(gradient.norm())))
    return pd.DataFrame(rows, columns=["norm", "value", "gradient"])


def tf32(depth: int = 128, cells: int = 49) -> tuple[float, float, float]:
    """A13: standard deviation of a squared distance's error where products have the 10 bits of TF32, and how many
    prototypes an image has within τ = 0.01, exactly and then; each prototype is a patch of one of the images."""
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(16, depth, cells, 1, generator=generator)
    p = z.flatten(2).transpose(1, 2).flatten(0, 1)[::2]
    rough = [((each.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) for each in (z, p)]
    exact = distance_map(z.double(), p.double())
    x, q = z.flatten(2), p
    product = torch.einsum("pd,bdc->bpc", rough[1], rough[0].flatten(2))
    found = ((x * x).sum(1)[:, None] - 2 * product + (q * q).sum(1)[None, :, None]).relu()
    active = [(d.flatten(2).amin(2) <= 0.01).float().sum(1).mean() for d in (exact, found)]
    return float((found - exact.flatten(2)).std()), float(active[0]), float(active[1])


def tf32_sentence() -> str:
    """What `tf32` found."""
    deviation, exact, rough = tf32()
    return (
        "With factors rounded to TF32's ten bits ($D = 128$) a squared distance errs by "
        f"{deviation:.4f} (standard deviation), where the similarity's ε is 0.0001. Of 392 prototypes that are patches "
        f"of 16 random maps, {exact:.1f} lie within 0.01 of a map in full precision, {rough:.1f} with TF32."
    )


def in_numbers(drift: Mapping[str, float]) -> list[str]:
    """What the departures without a section of their own come to, a sentence each, computed here.

    Args:
        drift: As `p2p.evaluation.audit_tables.drift` gives it.
    """
    said = [f"**A13.** {tf32_sentence()}"]
    generator, none = torch.Generator().manual_seed(0), torch.empty(0)
    z, other, p = (torch.rand(*shape, generator=generator) for shape in ((4, 16, 8, 8), (4, 16, 8, 8), (40, 16)))
    distances, cells = nearest_cells(z, p)
    teacher = Output(none, distances, cells, z, none, p)
    student = teacher._replace(z=other)
    patch, batch = (float(losses.patch_correspondence(student, teacher, ppc_norm=norm)) for norm in ("patch", "batch"))
    said.append(f"**A4.** On random maps PPC per batch is {batch / patch:.2f} of that per patch: λ = 10 acts as 5.")
    lost = {kind: _decayed(kind) for kind in (torch.optim.Adam, torch.optim.AdamW)}
    said.append(
        f"**A6.** A weight of 1 that no loss asks for loses {lost[torch.optim.Adam]:.2f} in 100 steps of Adam, whose "
        f"steps do not shrink with the decay, and {lost[torch.optim.AdamW]:.4f} with AdamW (rate 0.003, decay 0.001)."
    )
    rates = [0.1 ** max(0, (epoch - 20) // 4 + 1) for epoch in range(7, 301)]
    said.append(
        f"**A7.** The rates of joint epochs 7 to 300 add up to {sum(rates):.1f} epochs at the full rate, "
        f"{sum(rates[:26]):.1f} of them by epoch 32; {100 * (1 - 26 / len(rates)):.0f} % of the epochs come after it."
    )
    if len(drift) > 1:
        train, held = drift["a8-tuned-in-train-mode"], drift["a8-tuned-in-eval-mode"]
        said.append(
            f"**A8.** Tuned in train mode a prototype ends up to {train:.3f} (L2) from the training patch that it was "
            f"pushed to, in eval mode {held:.3f}: batch statistics drift, and the picture shows the prototype no more."
        )
    return said


def _decayed(kind: type[torch.optim.Adam] | type[torch.optim.AdamW]) -> float:
    """What a weight of 1 loses in 100 steps without a gradient."""
    one = torch.nn.Parameter(torch.ones(1))
    optimizer = kind([one], lr=3e-3, weight_decay=1e-3)
    for _ in range(100):
        one.grad = torch.zeros(1)
        optimizer.step()
    return 1 - float(one.detach())


def optimism(candidates: Sequence[int], images: int, accuracy: float, draws: int = 20_000) -> pd.DataFrame:
    """A10: what picking the best of several equally good checkpoints on the test set adds to its accuracy.

    Their errors are drawn independently, so this is an upper bound: checkpoints of one run err alike.

    Args:
        candidates: How many checkpoints.
        images: Of the test set.
        accuracy: Of each checkpoint, 0 to 1.
        draws: Of the simulation.
    """
    generator = np.random.default_rng(0)
    rows = []
    for count in candidates:
        found = (
            generator.binomial(images, accuracy, (draws, count)).max(1).mean() / images - accuracy if count > 1 else 0.0
        )
        rows.append((count, images, accuracy, found))
    return pd.DataFrame(rows, columns=["checkpoints", "images", "accuracy", "optimism"])


def count_test_images(answers: Path) -> int:
    """How many test images a study has, by its kept answers; 0 without any."""
    kept = [read_kept(path) for path in sorted(answers.glob("teacher-*.npz"))[:1]]
    return sum(len(one.labels) * one.every for one in kept)


def coded_alphas(images: int) -> list[float]:
    """A17: the thresholds of PMS as coded, whole counts from a tenth of N in steps of a tenth, below N; as shares."""
    step = int(0.1 * images)
    return [count / images for count in range(step, images, step)]


def pms_as_coded(answers: Path, teacher: str, student: str, numbers: Iterable[int]) -> pd.DataFrame:
    """A17 on kept answers: PMS of the first so many images as coded, and with α = 0.1 … 1.

    Returns:
        images, thresholds (how many as coded), "as coded", "α = 0.1 … 1".
    """
    both, rows = [read_kept(answers / f"{run}.npz").table for run in (teacher, student)], []
    for count in numbers:
        first, second = (ResponseTable(t.cells[:count], t.distances[:count], t.grid) for t in both)
        alphas = coded_alphas(count)
        rows.append(
            (count, len(alphas), metrics.pms(first, second, alphas=alphas).value, metrics.pms(first, second).value)
        )
    return pd.DataFrame(rows, columns=["images", "thresholds", "as coded", "α = 0.1 … 1"])


def empty_sets(answers: Path, teachers: Iterable[str], taus: Sequence[float] = (0.01, 0.1, 0.45)) -> pd.DataFrame:
    """A11 on kept answers: AJS of a teacher with itself, empty unions counted 0, left out, counted 1; mean."""
    tables = [read_kept(answers / f"{run}.npz").table for run in teachers]
    rows = []
    for i, tau in enumerate(taus):
        found = [np.mean([float(metrics.ajs(t, t, taus, of)[i]) for t in tables]) for of in ("zero", "skip", "one")]
        rows.append((tau, *map(float, found)))
    return pd.DataFrame(rows, columns=["τ", "zero (as coded)", "left out", "one"])


def ties(depth: int = 16, prototypes: int = 40) -> pd.DataFrame:
    """A18 and A3: share of 64 cells active, by threshold and by ties, on a random map half of whose cells are
    saturated: alike, as where a sigmoid has reached its ends."""
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(64, depth, 8, 8, generator=generator)
    z[:, :, ::2] = (z[:, :, ::2].mean(1, keepdim=True) > 0.5).float().expand(-1, depth, -1, -1)
    p = torch.rand(prototypes, depth, generator=generator).round()
    p[0], p[1] = 0, 1
    distances, cells = nearest_cells(z, p)
    rows = []
    for label, tau in (("100", 100.0), ("median", float(distances.median()))):
        first = losses.active_patches(cells, distances, tau, 64).float().mean()
        rows.append((label, float(first), float(losses.tied_patches(z, p, tau).float().mean())))
    return pd.DataFrame(rows, columns=["τ", "first cell", "every tie"])


def cost_of_knowing(settings: Iterable[Setting]) -> pd.DataFrame:
    """With how many seeds the interval of each claim would have left 0, and what the seeds that there are can show.

    Seeds are those that a paired t-test needs for 80 % power at 5 %, if effect and spread are as seen; "–" above 200.

    Returns:
        setting, metric, seeds run, difference, spread (standard deviation over seeds), detectable, seeds needed.
    """
    rows = []
    for setting in settings:
        for claim in CLAIMS:
            student = claimed(setting.frame, claim, "student", setting.variant)
            moved = (student - claimed(setting.frame, claim, "baseline", "paper")).dropna().to_numpy(dtype=float)
            if len(moved) < 2:
                continue
            name, spread = escape(setting.title), float(np.std(moved, ddof=1))
            rows.append(_knowing(name, SHORT.get(claim.metric, claim.metric), len(moved), paired(moved).mean, spread))
    return pd.DataFrame(rows, columns=KNOWING)


def cost_of_effects(rows: pd.DataFrame) -> pd.DataFrame:
    """The same of each departure and control on PMS and AJS.

    Args:
        rows: As `p2p.evaluation.audit.effects` gives them.

    Returns:
        As `cost_of_knowing`; the setting is the study, the metric has the switch in front.
    """
    heads, found = {"pms": "PMS", "ajs": "AJS"}, []
    for row in rows[rows["metric"].isin(heads) & rows["low"].notna()].to_dict("records"):
        n = int(row["n_seeds"])
        spread = (row["high"] - row["low"]) / 2 / float(stats.t.ppf(0.975, n - 1)) * sqrt(n)
        found.append(
            _knowing(row["study"], f"{row['switch']}, {heads[row['metric']]}", n, float(row["difference"]), spread)
        )
    return pd.DataFrame(found, columns=KNOWING)


KNOWING = ["setting", "metric", "seeds run", "difference", "spread", "detectable", "seeds needed"]


def _knowing(
    name: str, metric: str, n: int, mean: float, spread: float
) -> tuple[str, str, str, float, float, float, str]:
    needed, half = seeds_needed(mean, spread), float(stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1))
    return (name, metric, str(n), mean, spread, half * spread / sqrt(n), str(needed) if needed else "more than 200")


def seeds_needed(difference: float, spread: float, most: int = 200) -> int | None:
    """Seeds at which a paired t-test finds a difference with 80 % power at 5 %; None above `most`."""
    for n in range(2, most + 1):
        half = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
        if abs(difference) >= half * spread / sqrt(n):
            return n
    return None


def images_needed(accuracy: float, effect: float) -> int:
    """Test images at which sampling alone moves an accuracy by less than `effect` (95 %, one network, normal limit)."""
    return int(np.ceil(1.96**2 * accuracy * (1 - accuracy) / effect**2))


def images_sentence(accuracy: float, effect: float) -> str:
    """How many that is, as the page says it; effect in shares of 1."""
    need = f"{images_needed(accuracy, effect):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    points = "a point" if effect == 0.01 else f"{100 * effect:g} points"
    return f"To know the accuracy of one network, {accuracy:g}, to within {points} (95 %) takes {need} test images."
