"""ONNX Runtime Web for the book: from a local server in npm's place, refused where it is another, left out offline."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import runtime  # noqa: E402

VERSION = "0.0.1"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *values: object) -> None:
        pass


def package(names: tuple[str, ...] = runtime.FILES) -> bytes:
    """An archive as npm's, with these files and one that nobody needs."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in (*names, "ort.all.js"):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return out.getvalue()


def integrity(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive's place on a local server that stands in for npm's; the cache is empty."""
    place = tmp_path / "npm" / "onnxruntime-web" / "-" / f"onnxruntime-web-{VERSION}.tgz"
    place.parent.mkdir(parents=True)
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "npm"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_address[1]}/")
        yield place
        server.shutdown()


def test_it_comes_once_and_the_archive_goes(registry: Path, tmp_path: Path) -> None:
    content = package()
    registry.write_bytes(content)
    folder = runtime.runtime(VERSION, integrity(content))
    assert sorted(path.name for path in folder.iterdir()) == sorted(runtime.FILES)
    assert all((folder / name).read_text() == name for name in runtime.FILES)
    registry.unlink()
    assert runtime.runtime(VERSION, integrity(content)) == folder  # nobody was asked
    runtime.copy_runtime(folder, tmp_path / "book")
    assert {path.name for path in (tmp_path / "book").iterdir()} == {*runtime.FILES, *runtime.LICENCES}
    assert "MIT License" in (tmp_path / "book" / "LICENSE").read_text()


def test_another_file_is_refused_and_removed(registry: Path, tmp_path: Path, refuses) -> None:
    registry.write_bytes(package())
    with refuses("gave a file of SHA512", "expected", "removed"):
        runtime.runtime(VERSION, integrity(b"what was pinned"))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_archive_without_the_files_is_refused(registry: Path, tmp_path: Path, refuses) -> None:
    content = package(runtime.FILES[:1])
    registry.write_bytes(content)
    with refuses(runtime.FILES[1], "name a version"):
        runtime.runtime(VERSION, integrity(content))
    assert not list((tmp_path / "cache").rglob("*.tgz"))


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:9", "npm"])
def test_where_it_cannot_be_had_it_says_so(address: str, registry: Path, monkeypatch, refuses) -> None:
    if address:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", address)
    with refuses("onnxruntime-web-0.0.1.tgz"):
        runtime.runtime(VERSION, integrity(b""), timeout=2)


def test_what_is_pinned_is_a_version_and_the_checksum_of_an_archive() -> None:
    assert runtime.VERSION.count(".") == 2 and runtime.INTEGRITY.startswith("sha512-")
    assert len(base64.b64decode(runtime.INTEGRITY.removeprefix("sha512-"), validate=True)) == 64
