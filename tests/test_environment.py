"""The three set-up files agree: every dependency is pinned in the lock, within its range."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from p2p.study.reading import read_keys

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT.get("optional-dependencies", {})
DEPENDENCIES = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]

# CaBRNet and what importing it needs lie beside the lock, never in it: its metadata pins versions that conflict.
PEERS = {
    canonicalize_name(Requirement(line).name): Requirement(line)
    for line in (ROOT / "benchmarks" / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


def lock() -> dict[str, list[Requirement]]:
    """Name: its lines in the lock, one for each platform or Python version it distinguishes."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_every_line_of_the_lock_is_a_pin():
    for lines in lock().values():
        for requirement in lines:
            (specifier,) = requirement.specifier
            assert specifier.operator == "==" and "*" not in specifier.version, str(requirement)


def test_peers_are_pinned_and_change_no_package_of_the_lock():
    assert "cabrnet" in PEERS and not PEERS.keys() & lock().keys()
    for requirement in PEERS.values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, str(requirement)


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_dependency_is_locked_within_its_range(dependency):
    wanted = Requirement(dependency)
    lines = lock().get(canonicalize_name(wanted.name))
    assert lines, f"{wanted.name} is not in requirements.lock: make lock"
    for line in lines:
        (pin,) = line.specifier
        assert wanted.specifier.contains(pin.version, prereleases=True), f"{line} against {wanted}"


def test_what_the_package_and_the_tests_import_is_declared():
    declared = {canonicalize_name(Requirement(line).name) for line in DEPENDENCIES}
    names = {"PIL": "pillow", "ruamel": "ruamel.yaml", "markdown_it": "markdown-it-py"}
    # of papermill, pytest, jupyter-book (twice), ipykernel
    transitive = {"nbformat", "packaging", "jsonschema", "markdown-it-py", "ipython"}
    for path in [
        *(ROOT / "p2p").rglob("*.py"),
        *(ROOT / "tests").glob("*.py"),
        *(ROOT / "notebooks").glob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
    ]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        for name in {module.split(".")[0] for module in modules}:
            if name in sys.stdlib_module_names or name in ("p2p", "benchmarks", "conftest"):
                continue
            if (path.parent / f"{name}.py").is_file() or (ROOT / "book" / f"{name}.py").is_file():
                continue
            package = canonicalize_name(names.get(name, name))
            if path.parent.name == "benchmarks" and package in PEERS:
                continue
            assert package in declared | transitive, f"{path.name} imports {name}"
    assert transitive <= lock().keys()


def test_environment_file():
    environment = read_keys(ROOT / "environment.yml")
    assert environment["name"] == PROJECT["name"]
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    (python,) = (line for line in plain if re.match(r"python\b", line))
    version = re.fullmatch(r"python=+([\d.]+)", python)
    assert version and SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    (pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert pip == ["-r requirements.lock"] and "pip" in plain


def test_this_python_is_in_range():
    running = ".".join(map(str, sys.version_info[:3]))
    assert SpecifierSet(PROJECT["requires-python"]).contains(running)


def test_binder_installs_the_lock() -> None:
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    (lock_file,) = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    assert (ROOT / ".binder" / lock_file).resolve() == ROOT / "requirements.lock"
    assert (ROOT / ".binder" / "runtime.txt").read_text().strip() == "python-3.11"
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)
