"""What the book's explorer shows of a study, for the pages that lead there: only to what they picture themselves."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.evaluation.explanation import Explanation
from p2p.study.checksums import damaged
from p2p.study.pages import explorer_link

FOLDER, DATA = "explorer", "data.js"  # in the folder of a study's results, see `p2p.evaluation.explorer`


@dataclass(frozen=True)
class Explored:
    """What the explorer shows of a study.

    Attributes:
        study: Its name.
        data: See `p2p.evaluation.explorer.explorer_data`.
    """

    study: str
    data: dict[str, Any]

    @property
    def images(self) -> list[str]:
        """Names of the test images that can be looked at, by class."""
        return list(self.data["names"][self.data["first_test"] :])

    def has(self, said: Explanation) -> bool:
        """Whether an explanation is by the network explored in its role: its prototypes are the same patches."""
        if said.role not in self.data["networks"]:
            return False
        shown, names, width = self.data["networks"][said.role], self.data["names"], self.data["grid"][1]
        return all(
            one.prototype < len(shown["cell"])
            and names[shown["source"][one.prototype]] == one.source_name
            and divmod(shown["cell"][one.prototype], width) == tuple(one.source_cell)
            for one in said.evidence
        )

    def prototype(self, number: int) -> str:
        """A link to a prototype from a page of the book's top level."""
        return explorer_link(self.study, f"no. {number}", root="", prototype=number)

    def image(self, name: str) -> str:
        """A link to a test image from a page of the book's top level; its name alone where it cannot be looked at."""
        return explorer_link(self.study, name, root="", image=name) if name in self.images else name


def explored(results: Path, study: str, said: Iterable[Explanation] = (), page: str = "") -> Explored | None:
    """What the explorer shows of a study, where that is what a page pictures.

    Args:
        results: Folder of the studies' results.
        study: Name of the study.
        said: Explanations on the page; all by the networks that are explored.
        page: Or the study's notebook that drew the picture, such as `06_topk`; of the runs that are explored.

    Returns:
        None where the study is not in the explorer, what is written for that is damaged, or other networks are
        pictured.
    """
    folder = results / study
    if any(name.startswith(f"{FOLDER}/") for name in damaged(folder, "14_explorer")):
        return None
    try:
        text = (folder / FOLDER / DATA).read_text(encoding="utf-8")
        found = Explored(study, json.loads(text[text.index("(") + 1 : text.rindex(")")]))
        runs = {role: network["run"] for role, network in found.data["networks"].items()}
        same = not page or _pictured(folder / f"{page}.ipynb") == runs
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it was never written, or is damaged and has no checksum; then the book leaves it out, too
    return found if same and all(map(found.has, said)) else None


def _pictured(notebook: Path) -> dict[str, str]:
    """The runs by role that an executed page of a study was given."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            for statement in ast.parse("".join(cell["source"])).body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "networks":
                    return dict(ast.literal_eval(statement.value))
    return {}
