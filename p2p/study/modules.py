"""Which files of this package a notebook or module depends on: read from its imports, never listed by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules_of(source: Path | str, root: Path = ROOT) -> list[str]:
    """The modules of `p2p` that a file imports, and those that they import in turn.

    `from p2p.data import augment` is followed to the module that the room takes the name from, so that a room's other
    modules are not among its dependencies. Imports for type checkers alone do not count.

    Args:
        source: A Python file, such as a notebook's py:percent source, relative to `root` or absolute.
        root: The folder that `p2p` lies in.

    Returns:
        Sorted paths relative to `root`; `source` itself is not among them.
    """
    found: set[Path] = set()
    waiting = [root / source]
    while waiting:
        for path in _imported(waiting.pop(), root):
            if path not in found:
                found.add(path)
                waiting.append(path)
    return sorted(path.relative_to(root).as_posix() for path in found if path != root / source)


def _imported(path: Path, root: Path) -> Iterator[Path]:
    tree, imports = _parsed(path.read_text(encoding="utf-8"))
    for node in imports:
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        else:
            names = [(node.module or "", alias.name) for alias in node.names]
            for (
                alias
            ) in node.names:  # of a whole room, only what is used: `figures.svg` is `from p2p.figures import svg`
                if root.joinpath("p2p", alias.name, "__init__.py").is_file() and node.module == "p2p":
                    names.remove(("p2p", alias.name))
                    names += [(f"p2p.{alias.name}", used) for used in _attributes(tree, alias.asname or alias.name)]
        for module, name in names:
            if module.split(".")[0] == "p2p":
                yield from _files(module, name, root)


def _attributes(tree: ast.Module, name: str) -> set[str]:
    """What stands behind `name.` in a file."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == name}


@cache  # a study asks for a dozen notebooks, which share most of their modules
def _parsed(text: str) -> tuple[ast.Module, list[ast.Import | ast.ImportFrom]]:
    tree = ast.parse(text)
    return tree, list(_run_imports(tree))


def _run_imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that run, those inside functions among them."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def _files(module: str, name: str, root: Path) -> Iterator[Path]:
    """The file that `from module import name` (or `import module`) takes what it imports from."""
    place = root.joinpath(*module.split("."))
    if place.with_suffix(".py").is_file():
        yield place.with_suffix(".py")
        return
    room = place / "__init__.py"
    if name and (place / f"{name}.py").is_file():
        yield place / f"{name}.py"
        return
    for node in _parsed(room.read_text(encoding="utf-8"))[1] if room.is_file() else ():
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            yield from _files(node.module or "", name, root)
            return
    yield room
