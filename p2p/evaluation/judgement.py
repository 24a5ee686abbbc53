"""What `results/audit/metrics.csv` says of the metrics: tables and sentences (see `p2p.evaluation.judged`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from p2p import metrics
from p2p.errors import UserError
from p2p.evaluation.claims import paired
from p2p.evaluation.judged import COLUMNS, PLACE, seeds_needed
from p2p.evaluation.results import read_csv
from p2p.study.checksums import damaged
from p2p.study.pages import escape, listed

ORDER = ("PMS", "same number", "same cell", "AJS, quarter", "AJS, τ = ∞")
KINDS = {
    "misplaced": "answers on a random cell",
    "renumbered": "prototypes with another's number",
    "moved": "cells that all places are moved",
    "scaled": "factor on all distances",
}

MAP_KINDS = {"noisy map": "of the map's variance is noise", "blurred map": "of each cell is the mean around it"}
ROLES = ("teacher", "student", "baseline")


def read_judged(results: Path, titles: dict[str, str]) -> pd.DataFrame:
    """The rows, with a column `corrected`, (v − chance) / (1 − chance), and `title`, of the studies that have a title.

    Args:
        results: Folder of the results.
        titles: Of studies.

    Returns:
        Empty where the metrics have not been judged, or not on these studies.

    Raises:
        UserError: The file is damaged.
    """
    file = results / PLACE / "metrics.csv"
    rows = read_csv(file) if file.is_file() else pd.DataFrame(columns=list(COLUMNS))
    if missing := set(COLUMNS) - set(rows.columns):
        raise UserError(f"{file} has no column '{min(missing)}'; make it again (make judge).")
    rows = rows[rows["study"].isin(list(titles))]
    one = rows["chance"] >= 1
    corrected = ((rows["value"] - rows["chance"]) / (1 - rows["chance"]).mask(one)).astype(float)
    return rows.assign(corrected=corrected, title=rows["study"].map(titles))


def outdated(results: Path, titles: dict[str, str]) -> str:
    """Which studies' answers are no longer those that were judged, in a sentence; empty where all are."""
    changed = {name.split("/")[1] for name in damaged(results / PLACE, "judge") if name.startswith("../")}
    old = [escape(title) for study, title in titles.items() if study in changed]
    return f"**Judged before the networks of {listed(old)} were trained anew: `make judge`.**" if old else ""


def kept_share(rows: pd.DataFrame, what: str, level: float, measure: str) -> dict[str, float]:
    """Of a damage, what is left of a measure above chance, mean over seeds, by the setting's title."""
    chosen = rows[(rows["what"] == what) & (rows["level"] == level) & (rows["measure"] == measure)]
    return {str(title): float(part["corrected"].mean()) for title, part in chosen.groupby("title", sort=False)}


def damage_table(rows: pd.DataFrame) -> pd.DataFrame:
    """measure, then for each setting what is left of it at four kinds of damage."""
    shown = (("misplaced", 0.25), ("misplaced", 0.5), ("renumbered", 0.5), ("moved", 1), ("scaled", 0.5))
    heads = ("¼ misplaced", "½ misplaced", "½ renumbered", "moved by a cell", "distances halved")
    found = []
    for title in rows["title"].unique():
        part = rows[rows["title"] == title]
        for measure in ORDER:
            values = [kept_share(part, what, level, measure).get(title) for what, level in shown]
            texts = ["–" if value is None else f"{value:.2f}" for value in values]
            found.append({"setting": escape(title), "measure": measure, **dict(zip(heads, texts, strict=True))})
    return pd.DataFrame(found)


SIZES = {("prototypes", 0.25): "¼ of the prototypes", ("prototypes", 0.5): "half", ("prototypes", 1.0): "all"}
SIZES |= {("prototypes", 2.0): "each twice", ("coarser", 2.0): "half the grid", ("coarser", 4.0): "a quarter"}


def size_table(rows: pd.DataFrame) -> pd.DataFrame:
    """setting, measure, the student's value, corrected for chance, with fewer or more prototypes and on coarser
    grids; mean over seeds. What a measure of the same network should not move with."""
    rows = rows[rows["network"] == "student"]
    found = []
    for title in rows["title"].unique():
        part = rows[rows["title"] == title]
        for measure in ORDER:
            values = {head: kept_share(part, *size, measure).get(title) for size, head in SIZES.items()}
            texts = {head: "–" if value is None else f"{value:.2f}" for head, value in values.items()}
            if set(texts.values()) != {"–"}:
                found.append({"setting": escape(title), "measure": measure, **texts})
    return pd.DataFrame(found)


def effects(rows: pd.DataFrame, images: float | None = None) -> dict[tuple[str, str], pd.Series]:
    """Student less baseline, corrected for chance, one a seed, by setting and measure.

    Args:
        rows: As `read_judged` gives them.
        images: Of how many test images; None: of all.
    """
    rows = rows[rows["what"] == "images"]
    most = rows.groupby("title")["level"].transform("max")
    rows = rows[rows["level"] == (most if images is None else images)]
    wide = rows.pivot_table(index=["title", "measure", "seed"], columns="network", values="corrected", sort=False)
    if not {"student", "baseline"} <= set(wide.columns):
        return {}
    wide = wide.assign(difference=wide["student"] - wide["baseline"]).dropna().reset_index()
    groups = wide.groupby(["title", "measure"], sort=False)
    return {(str(key[0]), str(key[1])): part["difference"] for key, part in groups}


def images_needed(rows: pd.DataFrame, title: str, measure: str) -> int | None:
    """The number of test images, of those that were tried, from which on the seeds' 95 % interval excludes 0."""
    levels = sorted(rows.loc[(rows["what"] == "images") & (rows["title"] == title), "level"].unique(), reverse=True)
    enough = None
    for level in levels:
        result = paired(effects(rows, level)[title, measure].to_numpy(dtype=float))
        if not result.low > 0:
            return enough
        enough = int(level)
    return enough


def needed_table(rows: pd.DataFrame) -> pd.DataFrame:
    """setting, measure, seeds, student − baseline, its standard deviation, seeds needed, images needed."""
    found = []
    by = effects(rows)
    for title, measure in sorted(by, key=lambda key: (list(rows["title"].unique()).index(key[0]), ORDER.index(key[1]))):
        part = by[title, measure]
        values = part.to_numpy(dtype=float)
        seeds = seeds_needed(values) if len(values) > 1 else None
        images = images_needed(rows, title, measure)
        found.append(
            {
                "setting": escape(title),
                "measure": measure,
                "seeds": str(len(values)),
                "student − baseline": f"{values.mean():.3f}",
                "standard deviation": f"{values.std(ddof=1):.3f}" if len(values) > 1 else "–",
                "seeds needed": str(seeds) if seeds else "more than 99",
                "images needed": str(images) if images else "more than there are",
            }
        )
    return pd.DataFrame(found)


def verdicts(rows: pd.DataFrame) -> list[str]:
    """The answers, a sentence each, from the rows alone."""

    def left(what: str, level: float, measure: str) -> str:
        return told(kept_share(rows, what, level, measure))

    numbers = rows[(rows["measure"] == "same number") & (rows["network"] == "student") & (rows["what"] == "images")]
    ends = [numbers["level"] == numbers.groupby("title")["level"].transform(end) for end in ("min", "max")]
    few, most = (numbers[end].groupby("title", sort=False)["value"].mean() for end in ends)
    grows = listed([f"{few[title]:.2f} to {most[title]:.2f} on {escape(title)}" for title in most.index])
    return [
        "*Same cell* says how much: of a perfect student with half of its answers on random cells it keeps "
        f"{left('misplaced', 0.5, 'same cell')}; the truth is 0.50. It needs the teacher's numbering.",
        "*PMS* does without the numbering: with half of the numbers exchanged it keeps "
        f"{left('renumbered', 0.5, 'PMS')}. But it reads high: {left('misplaced', 0.5, 'PMS')} with half of the "
        f"answers wrong, {left('misplaced', 0.75, 'PMS')} with three quarters. By its definition a PMS of "
        f"{metrics.pms_from_agreement(0.2):.2f} is what pairs reach that share their cell in a fifth of the images.",
        "*Same number* says whether, not how much: with half of the answers wrong it is still "
        f"{left('misplaced', 0.5, 'same number')}. And a student's grows with the test set: from "
        f"{numbers['level'].min():.0f} images to all, {grows}.",
        f"*AJS at τ = ∞* keeps {left('misplaced', 0.5, 'AJS, τ = ∞')} where half of the answers are right: the more "
        "prototypes share the cells, the less it can say.",
        "*AJS at a threshold* judges the scale of the map as well: with every place right and distances halved it "
        f"keeps {left('scaled', 0.5, 'AJS, quarter')}.",
    ]


def of_networks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that come from packed networks (`p2p.evaluation.judged_maps`)."""
    return rows[rows["what"].isin([*MAP_KINDS, "mirrored", "moved picture", "in the middle"])]


def one_row(rows: pd.DataFrame, what: str, network: str, measure: str, level: float = 1.0) -> pd.Series:
    """A row of packed networks."""
    of = (rows["what"] == what) & (rows["network"] == network) & (rows["measure"] == measure)
    return rows[of & (rows["level"] == level)].iloc[0]


def moved_table(rows: pd.DataFrame) -> pd.DataFrame:
    """network, and where its answers are when the picture is moved by a cell, or mirrored; chance in parentheses."""
    heads = {
        ("moved picture", "goes along"): "moved by a cell: goes along",
        ("moved picture", "stays"): "stays",
        ("mirrored", "goes along"): "mirrored: goes along",
        ("mirrored", "stays"): "stays on its cell",
    }
    found = []
    for role in ROLES:
        row = {"network": role}
        for (what, measure), head in heads.items():
            one = one_row(rows, what, role, measure)
            row[head] = f"{one['value']:.2f} ({one['chance']:.2f})"
        found.append(row)
    return pd.DataFrame(found)


def map_verdicts(rows: pd.DataFrame) -> list[str]:
    """What damaged maps and moved pictures say, a sentence each; none where no networks are packed."""
    if not len(rows := of_networks(rows)):
        return []

    def left(what: str, measure: str, level: float) -> str:
        return f"{one_row(rows, what, 'teacher', measure, level)['corrected']:.2f}"

    def both(what: str, role: str, measure: str) -> str:
        one = one_row(rows, what, role, measure)
        return f"{100 * one['value']:.0f} of 100 (other images: {100 * one['chance']:.0f})"

    middle = [one_row(rows, "in the middle", "student", "PMS", level)["corrected"] for level in (1.0, 0.0)]
    mirrored = one_row(rows, "mirrored", "student", "PMS")["corrected"]
    return [
        "*R²* says how much of the map is there, not whether places are: a perfect student whose map is blurred, every "
        f"cell the mean of nine, has an R² of {left('blurred map', 'R²', 1)} and has lost most of its places (same "
        f"cell {left('blurred map', 'same cell', 1)}, PMS {left('blurred map', 'PMS', 1)}); one with noise in its map "
        f"(R² {left('noisy map', 'R²', 0.25)}) keeps more of them (same cell {left('noisy map', 'same cell', 0.25)}, "
        f"PMS {left('noisy map', 'PMS', 0.25)}).",
        "Places are not habits: when a picture moves by a cell, the teacher's answers go along in "
        f"{both('moved picture', 'teacher', 'goes along')} and stay in {both('moved picture', 'teacher', 'stays')}. "
        f"Corrected for chance, the student's PMS is {middle[0]:.2f} where birds stand in the middle and "
        f"{middle[1]:.2f} where they do not; asked about mirrored pictures, which leaves it little but habits, "
        f"{mirrored:.2f}.",
    ]


def told(values: dict[str, float]) -> str:
    """ "0.49" where all settings agree, else "0.97 (Drawn birds) and 0.53 (CUB)"."""
    texts = {title: f"{value:.2f}" for title, value in values.items()}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return listed([f"{text} ({escape(title)})" for title, text in texts.items()])
