"""Your own images, end to end: look at the folder, write a study file, check every file, train, draw the page.

    python notebooks/own.py /path/to/folder [NAME] [-- --cores all]

A study file that is there is used as it is. What follows `--` goes to Snakemake, see `run.py`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from execute import ROOT, prepare
from run import main as run

from p2p.errors import UserError
from p2p.study.own import PAIR, Found, choose, pretrained, sentences, study_file, weights_folder, write_study
from p2p.study.params import DataParams
from p2p.study.remedy import fitting
from p2p.study.study import load_study

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def look(images: str) -> Found:
    """What lies in a folder, before any image is decoded.

    Raises:
        UserError: There is no such folder, or it is no tree of classes.
    """
    from p2p.data.ahead import look_ahead
    from p2p.data.checkup import shorter_sides
    from p2p.data.source import whole_listing
    from p2p.training.preflight import count_images

    if not images:
        raise UserError("No folder is named; say `make own IMAGES=/path/to/folder`, with a sub-folder for each class.")
    try:
        root = Path(images).expanduser().resolve()
        root.exists()
    except OSError as error:  # a name that is too long
        raise UserError(f"IMAGES cannot be looked at ({error.strerror}); name the folder of your images.") from error
    if str(root) == root.anchor or set(root.parts[1:2]) & {"proc", "sys", "dev"}:
        raise UserError(f"IMAGES is {images}, a folder of the system; name the one that holds the class folders.")
    if root.is_file():
        archive = root.suffix.lower() in ARCHIVES
        cure = "unpack it, and name the folder" if archive else "name the folder that holds the class folders"
        raise UserError(f"IMAGES is {images}, which is a file and no folder; {cure}.")
    if not os.path.isdir(root):
        what = "it is a pipe, a socket or a device" if root.exists() else "there is no such folder"
        raise UserError(f"IMAGES is {images}, and {what}; name the folder that holds the class folders.")
    look_ahead(root)
    data = DataParams(reader="folder", root=str(root))
    listing, counts = whole_listing(data), count_images(data)
    divided = all(name.count("/") == 2 for name in listing.names)
    sides = shorter_sides(root, listing.names)
    return Found(str(root), listing.classes, counts.train, counts.test, counts.fewest, divided, sides)


def study_of(path: Path, images: str) -> None:
    """Write the study file, or say that the one that is there is used.

    Raises:
        UserError: It is of something else than these images.
    """
    if not path.is_file():
        found = look(images)
        folder = weights_folder()
        choice = choose(found, {network: pretrained(network) for network in PAIR}, folder)
        write_study(path, found, choice)
        print(*sentences(found), *choice.why, f"Written: {path.relative_to(ROOT)}, yours to edit.", sep="\n")
        return
    study = load_study(path)
    shown = path.relative_to(ROOT)
    root = str(study.data.get("root", ""))
    if not study.private or study.data.get("reader") != "folder":
        raise UserError(
            f"{shown} is no study of your own images (`private: true`, reader folder); choose another NAME."
        )
    if images and Path(images).expanduser().resolve() != Path(root).expanduser().resolve():
        raise UserError(
            f"{shown} is of {root}, and IMAGES is {images}; choose another NAME, or change `root` in {shown}."
        )
    print(f"{shown} is there and used as it is.")


def check(path: Path) -> None:
    """Show what is odd about the images, and find every mistake that can be found without training.

    Raises:
        UserError: The first mistake.
    """
    from p2p.data.ahead import look_ahead
    from p2p.data.checkup import refuse, table
    from p2p.data.conversions import checked, skipping
    from p2p.data.readers import find_root
    from p2p.training.preflight import preflight

    study = load_study(path)
    data = study.data_params()
    print(f"Looking at all files in {data.root} …", flush=True)
    look_ahead(find_root(data.root, "folder"))
    with skipping(data):
        found = checked(data)
    print(table(found), *found.remarks, sep="\n", flush=True)
    refuse(found, data, str(path.relative_to(ROOT)))
    with redirect_stdout(io.StringIO()), skipping(data):  # it would say the same of the images once more
        preflight(study)
    for sentence in prepare(study):
        print(sentence, file=sys.stderr)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="a folder with a sub-folder for each class, or with train/ and test/")
    parser.add_argument("name", nargs="?", default="mine", help="of the study: params/NAME.yaml, results/NAME")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    given, more = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    try:
        path = study_file(given.name, ROOT / "params")
        study_of(path, given.images)
        check(path)
    except UserError as error:
        print(f"error: {fitting(error)}", file=sys.stderr)
        return 1
    return run([os.path.relpath(path), "--", *(more or ["--cores", "all"])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
