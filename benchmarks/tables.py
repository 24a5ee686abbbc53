"""The tables of the pages on speed: frames of numbers in, frames of text out, as `p2p.study.pages.table` shows them."""

from __future__ import annotations

from statistics import median

import pandas as pd

from benchmarks.end_to_end import SHORT
from benchmarks.summary import ratio_text
from benchmarks.timing import OURS
from p2p.figures.speed import PEERS, peer_kind
from p2p.study.pages import mean_range

NONE = "–"
TRUNK = ["convolution", "normalisation and activation"]
AFTER = ["validation", "checkpoint"]  # what follows a pass


# -------------------------------------------------------------------------------------------------------- 09, speed


def ratio_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Every ratio of `speed.csv`.

    Args:
        frame: Columns as `benchmarks.timing.COLUMNS`.

    Returns:
        work, shape, rounds, and a column for each kind of peer (`p2p.figures.speed.PEERS`); several peers of one kind
        stand below each other.
    """
    rows = []
    for (work, shape), group in frame.groupby(["work", "shape"], sort=False):
        row = {"work": work, "shape": shape, "rounds": str(group["repeats"].iloc[0])}
        for kind in PEERS:
            found = group[group["peer"].map(peer_kind) == kind]
            passes = found["peer"].str.extract(r"(\d+ passes)$")[0].fillna("")
            texts = [ratio_text(one) for _, one in found.iterrows()]
            row[kind] = "<br>".join(f"{name} {text}".strip() for name, text in zip(passes, texts, strict=True))
        rows.append(row)
    return pd.DataFrame(rows).replace("", NONE)


def objective_table(scores: dict[str, float]) -> pd.DataFrame:
    """contender, objective; scores: contender: cross-entropy and L1 it reached."""
    return pd.DataFrame({"contender": list(scores), "objective": [f"{value:.4f}" for value in scores.values()]})


def race_target(points: pd.DataFrame) -> float:
    """The best accuracy of a peer in the race, nan where none is there; points: who, seconds, accuracy, stage."""
    return float(points.loc[~points["who"].isin([OURS, SHORT]), "accuracy"].max())


def race_table(points: pd.DataFrame) -> pd.DataFrame:
    """The best of each contender: who, best validation accuracy, seconds to it, at.

    Args:
        points: who, seconds, accuracy, stage; a row each time prototypes were projected.
    """
    best = points.loc[points.groupby("who", sort=False)["accuracy"].idxmax()]
    return pd.DataFrame(
        {
            "who": best["who"],
            "best validation accuracy": best["accuracy"].map("{:.3f}".format),
            "seconds to it": best["seconds"].map("{:.0f}".format),
            "at": best["stage"],
        }
    )


def recipe_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Of a study of recipes what its teacher's network cost, by recipe.

    Args:
        costs: A row a run, see `p2p.evaluation.results.read_costs`; the teacher is the lean recipe, its controls are
            the others.

    Returns:
        Those runs, with the column ratio: image passes over those of the lean run of the same seed.
    """
    network = costs.loc[costs["role"] == "teacher", "network"].iloc[0]
    costs = costs[costs["network"] == network]
    lean = costs[costs["role"] == "teacher"].set_index("seed")["image_passes"]
    return costs.assign(ratio=costs["image_passes"] / costs["seed"].map(lean))


def recipe_table(costs: pd.DataFrame) -> pd.DataFrame:
    """Image passes and accuracy of each recipe, over seeds.

    Args:
        costs: As `recipe_costs` gives them.

    Returns:
        recipe, seeds, image passes, of the lean one's, "top-1, validation", "top-1, test".
    """
    rows = []
    for variant, group in costs.groupby("variant", sort=False):
        row = {"recipe": "lean" if variant == "paper" else variant, "seeds": len(group)}
        row |= {
            "image passes": f"{group['image_passes'].mean():,.0f}",
            "of the lean one's": f"{group['ratio'].mean():.2f}",
        }
        rows.append(row | {f"top-1, {split}": mean_range(group[split]) for split in ("validation", "test")})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------------------- 10, growth


def slope_table(seconds: pd.DataFrame, memory: pd.DataFrame) -> pd.DataFrame:
    """Exponents of time and memory; a dash where memory has none.

    Args:
        seconds, memory: As `benchmarks.growth.slopes` gives them, of the same rows.

    Returns:
        quantity, along, measured from–to, slope of time, slope of memory.
    """

    def exponents(found: pd.DataFrame) -> list[str]:
        columns = ["slope", "slope_low", "slope_high"]
        return [exponent(*map(float, row)) for row in found[columns].to_numpy()]

    return pd.DataFrame(
        {
            "quantity": seconds["quantity"],
            "along": seconds["axis"],
            "measured from–to": [f"{a:,}–{b:,}" for a, b in zip(seconds["first"], seconds["last"], strict=True)],
            "slope of time": exponents(seconds),
            "slope of memory": exponents(memory),
        }
    )


def exponent(slope: float, low: float, high: float) -> str:
    """A slope, and its least and largest between neighbours."""
    if slope != slope:
        return NONE
    return f"{slope:.2f}" + (f" ({low:.2f}–{high:.2f})" if low < high else "")


# ------------------------------------------------------------------------------------------------------ 11, profile


def by_part(frame: pd.DataFrame, images: int) -> pd.DataFrame:
    """Milliseconds for each training image: a row a part (index), a column a network, both in the order measured.

    Args:
        frame: `profile.csv`: network, part, seconds of a pass.
        images: Of a pass.
    """
    parts, networks = (list(dict.fromkeys(frame[column])) for column in ("part", "network"))
    return 1000 * frame.pivot(index="part", columns="network", values="seconds").loc[parts, networks] / images


def part_table(wide: pd.DataFrame) -> pd.DataFrame:
    """As `by_part` gives it, as text, the parts in an unnamed column; last the sum of a pass."""
    shown = wide.map("{:.2f}".format).reset_index().rename(columns={"part": ""})
    total = wide.drop(AFTER).sum().map("{:.2f}".format)
    shown.loc[len(shown)] = {"": "a pass, without validation and checkpoint", **total}
    return shown


def beside_trunk(wide: pd.DataFrame) -> dict[str, float]:
    """network: share of a pass that is not its trunk; wide: as `by_part` gives it."""
    shares = 1 - wide.loc[TRUNK].sum() / wide.drop(AFTER).sum()
    return {str(network): float(share) for network, share in shares.items()}


def switch_table(
    seconds: dict[str, dict[str, tuple[float, ...]]], compiled: tuple[str, tuple[float, float, float]] | None
) -> pd.DataFrame:
    """Time of a step with one thing changed over that of the engine's: median of the rounds, lowest to highest.

    Args:
        seconds: network: as `benchmarks.where.switches` gives it.
        compiled: A network, and what `benchmarks.where.compiled` gives for it, or None.

    Returns:
        changed, and a column for each network; a dash where it has no such switch.
    """
    rows: dict[str, dict[str, str]] = {}
    for network, switches in seconds.items():
        for name, values in switches.items():
            ratios = [a / b for a, b in zip(values, switches["engine"], strict=True)]
            text = f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
            rows.setdefault(name, {"changed": name})[network] = text
    rows.pop("engine", None)
    if compiled is not None:
        network, (eager, first, later) = compiled
        gain = eager - later
        pays = f"pays after {(first - later) / gain:,.0f} passes of this size" if gain > 0 else "never pays"
        name = f"trunk compiled; the first pass takes {first / eager:.1f} times as long: {pays}"
        rows[name] = {"changed": name, network: f"{later / eager:.2f}"}
    return pd.DataFrame(rows.values()).fillna(NONE)
