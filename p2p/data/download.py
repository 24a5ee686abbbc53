"""Getting the photographs: `python -m p2p.data.download [cub] [cars] --root DIR`, or `make data`.

CUB-200-2011 is downloaded (resumed where it stopped) and unpacked. Stanford Cars has no official address any more:
the command says how to assemble it. Both are verified (p2p/data/verify.py) and, with --size, decoded ahead of training.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from p2p.data.decode import decode
from p2p.data.fetch import extract, fetch
from p2p.data.readers import CARS_FILES, CARS_META
from p2p.data.verify import CARS_CLASSES, CARS_COUNTS, check_cars, check_cub
from p2p.errors import UserError
from p2p.files import cache_folder

CUB_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
CUB_MD5 = "97eceeb196236b17998738112f37df78"
SETS = {"cub": ("CUB-200-2011", "CUB_200_2011", check_cub), "cars": ("Stanford Cars", "stanford_cars", check_cars)}
CARS_HELP = f"""\
Stanford Cars has had no official download since 2023. Assemble this tree, which torchvision reads too,
from copies you may use (where some are: https://github.com/pytorch/vision/issues/7545):

DIR/stanford_cars/
  {CARS_META:<34} {CARS_CLASSES} class names
  {CARS_FILES["train"]:<34} {CARS_COUNTS["train"]} annotations
  {CARS_FILES["test"]:<34} {CARS_COUNTS["test"]} annotations with the field `class`
  {"cars_train/":<34} {CARS_COUNTS["train"]} images, 00001.jpg to 08144.jpg
  {"cars_test/":<34} {CARS_COUNTS["test"]} images, 00001.jpg to 08041.jpg

devkit/cars_test_annos.mat has no classes and will not do, nor will cars_annos.mat, which numbers the images
otherwise. Where a copy holds cars_train/cars_train/, move the images up one folder. Then repeat the command."""


def prepare_cub(root: Path, url: str = CUB_URL, md5: str = CUB_MD5, **options: float) -> Path:
    """Download and unpack CUB-200-2011 (1.2 GB) into `root`, unless it is there.

    Args:
        root: Folder for CUB_200_2011.tgz, which is kept, and CUB_200_2011/; or that folder itself.
        url: Another address of the same archive.
        md5: Checksum of the archive.
        options: `attempts`, `pause`, `timeout` of `fetch`.

    Returns:
        The folder CUB_200_2011. Images are cut to their boxes when they are read (`p2p.data.images.load_images`).
    """
    if (root / "CUB_200_2011").exists():
        return root / "CUB_200_2011"
    if (root / "images.txt").is_file():
        return root
    print(f"CUB-200-2011: downloading into {root} from {url}", flush=True)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".download.lock").acquire(timeout=0):
            archive = fetch(url, root / "CUB_200_2011.tgz", md5, **options)  # type: ignore[arg-type]
            return extract(archive, root, "CUB_200_2011")
    except Timeout as error:
        raise UserError(f"Another process downloads into {root}; wait for it, or choose another --root.") from error
    except OSError as error:
        raise UserError(f"Cannot write to {root} ({error.strerror}); free space or choose another --root.") from error


def provide(name: str, root: Path, *, url: str = CUB_URL, size: int | None = None, asked: bool = True) -> bool:
    """Get, verify and decode one data set, telling in a line each what was done and what is wrong.

    Args:
        name: "cub" or "cars".
        root: Folder of the data sets.
        url: Where CUB is downloaded from if it is not there.
        size: Side in pixels of the decoded images; None decodes none.
        asked: Whether the user named this set; one that is not, and not there, is no failure.

    Returns:
        Whether all is well.
    """
    title, folder, check = SETS[name]
    if name == "cars" and not (root / folder).is_dir() and not (root / "devkit").is_dir():
        print(f"{title}: not there, there is no folder {root / folder}.", file=sys.stderr if asked else sys.stdout)
        print(f"\n{CARS_HELP}\n")
        return not asked
    try:
        if name == "cub":
            prepare_cub(root, url, CUB_MD5)
        print(f"{title}: reading lists and images in {root} …", flush=True)
        found = check(root)
        for text in found.remarks:
            print(f"{title}: {text}")
        if found.problems or found.listing is None:
            for text in found.problems:
                print(f"{title}: {text}", file=sys.stderr)
            print(f"{title}: not complete.")
            if name == "cars":
                print(f"\n{CARS_HELP}\n")
            elif (root / "CUB_200_2011.tgz").is_file():
                print(f"{title}: to unpack it anew, remove {root / folder} and repeat the command.")
            return False
        count = len(found.listing.names)
        print(f"{title}: complete; {count} images of {len(found.listing.classes)} classes, every one readable.")
        if size:
            pixels = decode(found.listing, size, name).pixels
            print(
                f"{title}: decoded at {size} x {size} pixels in {cache_folder()}, {pixels.nbytes / 1e9:.2f} GB; "
                "studies of all classes start from these, studies of some decode their own."
            )
    except UserError as error:
        print(f"{title}: {error}", file=sys.stderr)
        return False
    return True


def _size(text: str) -> int:
    if not text.isdigit() or not 32 <= int(text) <= 1024:  # as in p2p.study.params.DataParams
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels from 32 to 1024")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status: 0 all is well, 1 something that was asked for is not."""
    parser = argparse.ArgumentParser(
        prog="python -m p2p.data.download",
        description="Get, verify and decode the photographs. Without names, both sets are looked at, and that Stanford "
        "Cars is not there is no failure.",
    )
    parser.add_argument("sets", nargs="*", metavar="cub|cars", help="data sets that must be complete")
    parser.add_argument("--root", type=Path, help="folder of the data sets (default: P2P_DATA)")
    parser.add_argument("--size", type=_size, help="decode at this size into P2P_CACHE, pixels")
    parser.add_argument("--url", default=CUB_URL, help="another address of CUB_200_2011.tgz")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.sets if name not in SETS]:
        parser.error(f"there is no data set {unknown[0]!r}; expected {' or '.join(SETS)}")
    root = given.root or Path(os.environ.get("P2P_DATA") or "")
    if root == Path():
        print("There is no data folder; set P2P_DATA in the environment, or give --root DIR.", file=sys.stderr)
        return 1
    root = root.expanduser().absolute()
    print(f"Data folder: {root}")
    wanted = dict.fromkeys(given.sets or SETS)
    well = [provide(name, root, url=given.url, size=given.size, asked=bool(given.sets)) for name in wanted]
    if os.environ.get("P2P_DATA") != str(root):
        print(f"To let studies find it: export P2P_DATA={root}")
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
