"""`p2p.explain`, and `python -m p2p.figures.explain RUN IMAGE`: one image, or a folder of them, explained by a run."""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from p2p.data.photo import find_photos, read_photos
from p2p.errors import UserError, command
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.explanation import Explanation
from p2p.figures.evidence import evidence
from p2p.figures.explain_page import index_page, page
from p2p.figures.glyphs import lend_fonts
from p2p.figures.style import save
from p2p.figures.tree import way_figure
from p2p.files import write_atomic
from p2p.study.remedy import fitting


@dataclass(frozen=True)
class Explained(Explanation):
    """An explanation that can be drawn."""

    def figure(self) -> Figure:
        """The image and the prototypes that decided, a block a network: this one's, and its teacher's where known."""
        networks = [one for one in (self.teacher, self) if one]
        return lend_fonts(way_figure(networks) if self.path else evidence(networks))

    def html(self) -> str:
        """A page of its own, which loads nothing."""
        return page(self)


def explain(image: Path | str | Image.Image | Tensor, run: Path | str, k: int = 5) -> Explained:
    """Why a trained network takes an image for what it takes it for.

    Args:
        image: A photograph's path, an image of Pillow, or (3, S, S) uint8 at the run's size. It is resized to the
            square that the network knows; where its training images were cut to the object (CUB), cut it likewise.
        run: Folder of a finished run, runs/<study>/<run>; its data set must be there, for the source patches.
        k: Prototypes told one by one, those that count most.

    Returns:
        See `p2p.evaluation.explanation.Explanation`; `text()`, `figure()`, `html()`, `warning`.

    Raises:
        UserError: No such run, one without prototypes, or no image.
    """
    return Explainer(run, Explained).explain(image, k=k)


def write_pages(run: Path, place: Path, out: Path | None = None, k: int = 5) -> Path:
    """Explain an image, or every image of a folder, as files: <image>.html, .svg and .png; of a folder index.html, too.

    Args:
        run: Folder of a finished run.
        place: An image or a folder of them.
        out: Folder for the files; default: `explained` in that of the run.
        k: See `explain`.

    Returns:
        The page to open.

    Raises:
        UserError: As `explain`, or there is no image; nothing has been written then.
    """
    photos, left_out = find_photos(place)
    explainer = Explainer(run, Explained)
    frames = read_photos(photos, explainer.trained.params.size)
    out, entries = out or run / "explained", []
    for photo, frame in zip(photos, frames, strict=True):
        said = explainer.explain(frame, photo.name, k)
        figure, drawn = said.figure(), io.BytesIO()
        save(figure, out / f"{photo.name}.svg")
        figure.savefig(drawn, format="png", dpi=150, facecolor="white")  # it has no page behind it
        write_atomic(out / f"{photo.name}.png", drawn.getvalue())
        write_atomic(out / f"{photo.name}.html", said.html())
        entries.append((f"{photo.name}.html", said))
    if not place.is_dir():
        return out / entries[0][0]
    write_atomic(out / "index.html", index_page(entries, left_out))
    return out / "index.html"


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Explain an image, or a folder of them, by a trained network.")
    parser.add_argument("run", help="folder of a finished run, runs/<study>/<run>")
    parser.add_argument("image", help="a photograph, or a folder of photographs")
    parser.add_argument("--out", help="folder for the pages (default: explained in the run's folder)")
    given = parser.parse_args(arguments)
    for value, name in ((given.run, "RUN=runs/<study>/<run>"), (given.image, "IMAGE=photo.jpg")):
        if not value:
            raise UserError(f"To explain an image, name both run and image: {name} is missing.")
    try:
        opened = write_pages(Path(given.run), Path(given.image), Path(given.out) if given.out else None)
    except UserError as error:
        raise fitting(error) from error
    if left_out := find_photos(given.image)[1]:
        print(left_out)
    print(f"To open in a browser: {opened.resolve().as_uri()}")


if __name__ == "__main__":
    sys.exit(main())
