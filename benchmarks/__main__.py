"""`make bench`: the ratios of a few minutes, at small shapes and on random images, beside the recorded ones."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

from benchmarks import cabrnet_peer, inputs, stages, steps
from benchmarks.parts import ADVICE
from benchmarks.summary import merge, ratio_text
from benchmarks.timing import Row
from p2p.device import choose_device
from p2p.errors import command
from p2p.study.checksums import check_file
from p2p.study.params import TrainParams

RECORDED = Path(__file__).parents[1] / "results" / "speed" / "speed.csv"


def measure(device: torch.device, tiny: bool) -> pd.DataFrame:
    """Step, inference, push, decision layer and metrics; `tiny` takes seconds."""
    shape = steps.Shape(4, 2, 8, 64, 2, 4) if tiny else steps.Shape(batch=8)
    count, size, repeats = (12, 64, 2) if tiny else (100, 224, 3)
    rows: list[Row] = []
    for part in (steps.training_step, steps.inference, steps.trunk_alone):
        rows += part("resnet18", shape, 1, repeats, device)
    rows += steps.distillation_step("mobilenet_v2", "squeezenet1_1", shape, 4, repeats, device)
    classes = 4 if tiny else 20
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = (torch.arange(count) * classes // count).to(device)
    values = TrainParams.model_validate({"network": "mobilenet_v2", "size": size, "grid": size // 32})
    network = inputs.network(values, classes, pixels.to(device), labels, patches=False)
    rows += stages.pushes(network, "mobilenet_v2", pixels.to(device), labels, repeats, device)
    some = slice(0, count, 5)
    few = pixels[some].to(device), labels[some]
    rows += stages.decisions(network, "mobilenet_v2", *few, 1, 200, device)[0]
    rows += stages.metric_rows(*((200, 20, 7, (50, 100)) if tiny else (2000, 500, 7, (200, 2000))), repeats)
    return merge(rows, Path("none"), [])


def beside(now: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Each ratio of now with the recorded one of the same work and peer; another shape is named.

    Of several recorded shapes the first that begins alike (the same trunk) is taken, else the first.
    """
    rows = []
    for _, row in now.iterrows():
        same = recorded[(recorded["work"] == row["work"]) & (recorded["peer"] == row["peer"])]
        alike = same[same["shape"].str.split().str[0] == row["shape"].split()[0]]
        found = None if same.empty else (same if alike.empty else alike).iloc[0]
        note = "not recorded"
        if found is not None:
            equal = found["shape"] == row["shape"] and found["device"] == row["device"]
            note = "" if equal else f"not comparable: {found['shape']}, {found['device']}"
        then = "–" if found is None else ratio_text(found)
        columns = {"work": row["work"], "shape": row["shape"], "peer": row["peer"], "now": ratio_text(row)}
        rows.append({**columns, "recorded": then, "note": note})
    return pd.DataFrame(rows)


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="shapes without meaning, to see that it runs")
    options = parser.parse_args(arguments)
    if reason := cabrnet_peer.missing():
        print(f"{reason}; it is left out.")
    known = RECORDED.is_file()
    recorded = pd.read_csv(check_file(RECORDED.parent, RECORDED.name, ADVICE)) if known else pd.DataFrame()
    now = measure(choose_device(options.device), options.tiny)
    print(f"Peer's time / our time, median (lowest–highest round), on {now['device'].iloc[0]}:\n")
    print(beside(now, recorded if known else now.iloc[:0]).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    raise SystemExit(main())
