"""Getting the photographs: `python -m p2p.download {cub,cars,check} --root DIR`.

CUB-200-2011 is downloaded (resumed where it stopped), verified and unpacked. Stanford Cars has no official
address any more: the command says what is missing and how to assemble it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from p2p.errors import UserError
from p2p.fetch import extract, fetch
from p2p.listing import find_root, image_files
from p2p.readers import CARS_FILES, CARS_META, load_mat, read_cub

CUB_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
CUB_MD5 = "97eceeb196236b17998738112f37df78"
CUB_COUNTS = {"classes": 200, "training images": 5994, "test images": 5794}
CARS_COUNTS = {"train": 8144, "test": 8041}
CARS_CLASSES = 196
CARS_HELP = f"""\
Stanford Cars has had no official download since 2023. Assemble this tree, which torchvision reads too,
from a copy you may use (pointers: https://github.com/pytorch/vision/issues/7545):

DIR/stanford_cars/
  {CARS_META:<34} {CARS_CLASSES} class names
  {CARS_FILES["train"]:<34} {CARS_COUNTS["train"]} annotations
  {CARS_FILES["test"]:<34} {CARS_COUNTS["test"]} annotations with the field `class`
  {"cars_train/":<34} {CARS_COUNTS["train"]} images, 00001.jpg to 08144.jpg
  {"cars_test/":<34} {CARS_COUNTS["test"]} images, 00001.jpg to 08041.jpg

devkit/cars_test_annos.mat has no classes and will not do. Where a copy holds cars_train/cars_train/, move the
images up one folder. Then run `python -m p2p.download cars --root DIR` again."""


def prepare_cub(root: Path, url: str = CUB_URL, md5: str = CUB_MD5, **options: float) -> Path:
    """Download and unpack CUB-200-2011 (1.2 GB) into `root`, unless it is there.

    Args:
        root: Folder for CUB_200_2011.tgz, which is kept, and CUB_200_2011/.
        url: Another address of the same archive.
        md5: Checksum of the archive.
        options: `attempts`, `pause`, `timeout` of `fetch`.

    Returns:
        The folder CUB_200_2011. Images are cut to their boxes when they are read (`p2p.data.load_images`).
    """
    if (root / "CUB_200_2011").exists():
        return root / "CUB_200_2011"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".download.lock").acquire(timeout=0):
            archive = fetch(url, root / "CUB_200_2011.tgz", md5, **options)  # type: ignore[arg-type]
            return extract(archive, root, "CUB_200_2011")
    except Timeout as error:
        raise UserError(f"Another process downloads into {root}; wait for it, or choose another --root.") from error
    except OSError as error:
        raise UserError(f"Cannot write to {root} ({error.strerror}); free space or choose another --root.") from error


def check_cub(root: Path | None) -> list[str]:
    """One sentence for each way in which a CUB folder is not the complete official release."""
    try:
        listing = read_cub(find_root(root, "cub"))
    except UserError as error:
        return [str(error)]
    tests = int(listing.test.sum())
    found = (len(listing.classes), len(listing.names) - tests, tests)
    problems = [
        f"The lists in {listing.folder.parent} hold {count} {what}, the official release {official}."
        for count, (what, official) in zip(found, CUB_COUNTS.items(), strict=True)
        if count != official
    ]
    missing = [name for name in listing.names if not (listing.folder / name).is_file()]
    if missing:
        problems.append(f"{len(missing)} listed images are missing in {listing.folder}, the first is {missing[0]}.")
    return problems


def check_cars(root: Path | None) -> list[str]:
    """One sentence for each file of Stanford Cars that is missing, damaged or of the wrong length."""
    try:
        base = find_root(root, "cars")
    except UserError as error:
        return [str(error)]
    problems = []
    wanted = [(CARS_META, "class_names", CARS_CLASSES)]
    wanted += [(CARS_FILES[split], "annotations", count) for split, count in CARS_COUNTS.items()]
    for name, key, official in wanted:
        try:
            rows = load_mat(base / name, key)
        except UserError as error:
            problems.append(str(error))
            continue
        if len(rows) != official:
            problems.append(f"File {base / name} has {len(rows)} {key}, the official one {official}.")
        if key == "annotations" and "class" not in (rows.dtype.names or ()):
            problems.append(f"File {base / name} has no field `class`; take the file with the labels.")
    for split, official in CARS_COUNTS.items():
        folder = base / f"cars_{split}"
        count = len(image_files(folder))
        if not folder.is_dir():
            problems.append(f"Folder {folder} is missing.")
        elif not count and (folder / folder.name).is_dir():
            problems.append(f"Folder {folder} holds another {folder.name}/; move its images up one folder.")
        elif count != official:
            problems.append(f"Folder {folder} has {count} images, the official one {official}.")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status: 0 complete, 1 something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m p2p.download", description="Get and check the photographs.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("cub", "download, verify and unpack CUB-200-2011"),
        ("cars", "check Stanford Cars and say how to assemble it"),
        ("check", "check both"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--root", type=Path, required=name != "check", help="folder of the data sets")
        if name == "cub":
            command.add_argument("--url", default=CUB_URL, help="another address of the same archive")
    given = parser.parse_args(arguments)
    problems: list[str] = []
    try:
        if given.command == "cub":
            print(f"CUB-200-2011 is in {prepare_cub(given.root.expanduser(), given.url, CUB_MD5)}")
    except UserError as error:
        problems.append(str(error))
    else:
        for name, check in (("cub", check_cub), ("cars", check_cars)):
            if given.command in (name, "check"):
                found = check(given.root)
                print(f"{name}: " + ("not complete" if found else "complete"))
                problems += found
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems and given.command == "cars":
        print("\n" + CARS_HELP)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
