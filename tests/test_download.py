"""Downloading against a local server that cuts connections, up to decoded images as `make data` leaves them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p2p.data import download, verify
from p2p.data.download import prepare_cub
from p2p.data.fetch import extract, fetch
from p2p.data.images import load_images
from p2p.data.verify import CUB_LISTS
from p2p.errors import UserError
from p2p.study.params import TrainParams

ROOT = Path(__file__).parents[1]


class Server(ThreadingHTTPServer):
    """Serves `content`; sends at most `cut` bytes of a body, and honours Range unless `ranges` is False."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.cut: int | None = None
        self.ranges = True
        self.status: list[int] = []  # errors to answer first
        self.asked: list[str | None] = []  # Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/CUB_200_2011.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.status:
            self.send_error(self.server.status.pop(0))
            return
        content, start = self.server.content, 0
        if asked and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut])

    def log_message(self, *values: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def archive(members: dict[str, bytes], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        if link:
            entry = tarfile.TarInfo("CUB_200_2011/link")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            file.addfile(entry)
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


RANDOM = np.random.default_rng(0).bytes(300_000)
GOOD = archive({"attributes.txt": b"1 a", "CUB_200_2011/images.txt": b"1 a.jpg\n", "CUB_200_2011/x.bin": RANDOM})


def sentence(caught: pytest.ExceptionInfo[UserError], *words: str) -> None:
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text and text.endswith(".") and ". " not in text, text


def test_download_and_unpack(server: Server, tmp_path: Path) -> None:
    server.content = GOOD
    folder = prepare_cub(tmp_path / "new", server.url, md5(GOOD))
    assert folder == tmp_path / "new" / "CUB_200_2011"
    assert (folder / "x.bin").read_bytes() == RANDOM
    kept = sorted(p.name for p in folder.parent.iterdir() if p.suffix != ".lock")
    assert kept == ["CUB_200_2011", "CUB_200_2011.tgz"]
    assert prepare_cub(tmp_path / "new", server.url, md5(GOOD)) == folder
    assert server.asked == [None]  # the second call asked for nothing


def test_cut_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    server.content, server.cut = RANDOM, 70_000
    path = fetch(server.url, tmp_path / "file", md5(RANDOM), attempts=2, pause=0)
    assert path.read_bytes() == RANDOM
    assert server.asked == [None, *(f"bytes={70_000 * i}-" for i in range(1, 5))]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_earlier_part_is_resumed(server: Server, tmp_path: Path) -> None:
    server.content = RANDOM
    (tmp_path / "file.part").write_bytes(RANDOM[:123_456])
    assert fetch(server.url, tmp_path / "file", md5(RANDOM)).read_bytes() == RANDOM
    assert server.asked == ["bytes=123456-"]


def test_a_complete_part_needs_no_bytes(server: Server, tmp_path: Path) -> None:
    server.content = RANDOM
    (tmp_path / "file.part").write_bytes(RANDOM)
    assert fetch(server.url, tmp_path / "file", md5(RANDOM)).read_bytes() == RANDOM


def test_too_long_a_part_is_dropped(server: Server, tmp_path: Path) -> None:
    server.content = RANDOM
    (tmp_path / "file.part").write_bytes(RANDOM + b"more")
    assert fetch(server.url, tmp_path / "file", md5(RANDOM), pause=0).read_bytes() == RANDOM
    assert server.asked == [f"bytes={len(RANDOM) + 4}-", None]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.content, server.ranges = RANDOM, False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert fetch(server.url, tmp_path / "file", md5(RANDOM)).read_bytes() == RANDOM


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.content, server.status = RANDOM, [503, 429, 500]
    assert fetch(server.url, tmp_path / "file", md5(RANDOM), pause=0).read_bytes() == RANDOM
    server.status = [503] * 9
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path / "other", md5(RANDOM), attempts=3, pause=0)
    sentence(caught, "503", "repeat the command")
    assert len(server.status) == 6


def test_a_dead_connection_gives_up_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.content, server.cut = RANDOM, 0
    (tmp_path / "file.part").write_bytes(RANDOM[:5000])
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path / "file", md5(RANDOM), attempts=3, pause=0)
    sentence(caught, "the connection was cut", "resumes")
    assert len(server.asked) == 3
    assert (tmp_path / "file.part").read_bytes() == RANDOM[:5000]


def test_not_found_is_told_at_once(server: Server, tmp_path: Path) -> None:
    server.status = [404]
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path / "file", md5(RANDOM))
    sentence(caught, "404", "--url")


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    server.content = RANDOM
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path / "file", md5(GOOD))
    sentence(caught, md5(RANDOM), md5(GOOD), "removed")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"put here by hand")
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path / "file", md5(RANDOM))
    sentence(caught, md5(RANDOM), "remove it")
    assert (tmp_path / "file").read_bytes() == b"put here by hand"  # the user's own file is not ours to delete


@pytest.mark.parametrize("url", ["file:///etc/hostname", "CUB_200_2011.tgz", "ftp://a/b"])
def test_only_web_addresses(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        fetch(url, tmp_path / "file", md5(RANDOM))
    sentence(caught, url, "https://")


@pytest.mark.parametrize("length", [0, 10, 2000, len(GOOD) // 2, len(GOOD) - 12])
def test_truncated_archive(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.tgz").write_bytes(GOOD[:length])
    with pytest.raises(UserError) as caught:
        extract(tmp_path / "a.tgz", tmp_path, "CUB_200_2011")
    sentence(caught, "a.tgz", "truncated or damaged")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tgz"]


@pytest.mark.parametrize(
    "content",
    [
        archive({"CUB_200_2011/a": b"1", "../evil.txt": b"2"}),
        archive({"CUB_200_2011/../../evil.txt": b"2"}),
        archive({"CUB_200_2011/a": b"1"}, link="../../../outside"),
        archive({"CUB_200_2011/link/evil.txt": b"2"}, link="/tmp"),
    ],
    ids=["parent", "inside-out", "link", "absolute-link"],
)
def test_paths_outside_the_target_are_refused(tmp_path: Path, content: bytes) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.tgz").write_bytes(content)
    with pytest.raises(UserError) as caught:
        extract(root / "a.tgz", root, "CUB_200_2011")
    sentence(caught, "a.tgz", "unsafe path")
    assert [p.name for p in root.iterdir()] == ["a.tgz"] and [p.name for p in tmp_path.iterdir()] == ["root"]


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(archive({"other/a": b"1"}))
    with pytest.raises(UserError) as caught:
        extract(tmp_path / "a.tgz", tmp_path, "CUB_200_2011")
    sentence(caught, "no folder CUB_200_2011")


def test_offline_is_told_at_once_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*values: object, **named: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("there is nothing to wait for"))
    assert download.main(["cub", "--root", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.caltech.edu" in line and "name resolution" in line and line.endswith(".")


# The whole way, as `make data` goes it

CLASSES, PER_CLASS = 3, 4


def small_cub() -> dict[str, bytes]:
    """The files of a release of 3 classes, 2 training and 2 test photographs each, as members of its archive."""
    generator = np.random.default_rng(1)
    lists: dict[str, list[str]] = {name: [] for name in (*CUB_LISTS, "bounding_boxes.txt", "parts/part_locs.txt")}
    lists["parts/parts.txt"] = ["1 back", "2 left eye"]
    members: dict[str, bytes] = {}
    for label in range(1, CLASSES + 1):
        lists["classes.txt"].append(f"{label} {label:03d}.Small_Wren")
        for i in range(PER_CLASS):
            number = (label - 1) * PER_CLASS + i + 1
            name = f"{label:03d}.Small_Wren/Small_Wren_{i:04d}_{number}.jpg"
            width, height = 90 + number, 70 + 2 * number
            buffer = io.BytesIO()
            blocks = generator.integers(0, 256, (7, 9, 3), dtype=np.uint8)
            Image.fromarray(blocks).resize((width, height)).save(buffer, "JPEG")
            members[f"CUB_200_2011/images/{name}"] = buffer.getvalue()
            lists["images.txt"].append(f"{number} {name}")
            lists["image_class_labels.txt"].append(f"{number} {label}")
            lists["train_test_split.txt"].append(f"{number} {i % 2}")
            lists["bounding_boxes.txt"].append(f"{number} {10 + i}.0 5.0 {width - 20}.0 {height - 9}.0")
            lists["parts/part_locs.txt"] += [f"{number} 1 {20 + i}.0 30.0 1", f"{number} 2 0.0 0.0 0"]
    return {
        f"CUB_200_2011/{name}": "".join(f"{row}\n" for row in rows).encode() for name, rows in lists.items()
    } | members


@pytest.fixture
def release(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server with a small release that is taken for the official one; returns the (absent) data folder."""
    members = small_cub()
    server.content = archive({"attributes.txt": b"1 has_bill\n", **members})
    official = {name: md5(members[f"CUB_200_2011/{name}"]) for name in CUB_LISTS}
    monkeypatch.setattr(download, "CUB_MD5", md5(server.content))
    monkeypatch.setattr(verify, "CUB_LISTS", official)
    monkeypatch.setattr(verify, "CUB_COUNTS", {"classes": 3, "training images": 6, "test images": 6})
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("P2P_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_from_nothing_to_decoded(
    server: Server, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cut = len(server.content) * 2 // 5  # two cut connections on the way
    assert download.main(["--url", server.url, "--size", "48"]) == 0
    shown = capsys.readouterr()
    assert [asked is None for asked in server.asked] == [True, False, False]
    assert all(line.startswith("CUB_200_2011.tgz.part: the connection was cut") for line in shown.err.splitlines())
    assert "complete; 12 images of 3 classes" in shown.out and "decoded at 48 x 48" in shown.out
    assert "Stanford Cars: not there" in shown.out and "cars_test_annos_withlabels.mat" in shown.out
    (cached,) = (tmp_path / "cache").iterdir()
    written = cached.stat().st_mtime_ns
    images = load_images(TrainParams(reader="cub", size=48, validation_fraction=0.5, network="small_half", grid=6))
    assert images.pixels.shape == (12, 3, 48, 48)
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()] == [written]  # read, not made again
    assert download.main(["cub"]) == 0  # asks no server
    assert len(server.asked) == 3
    assert download.main(["cub", "--root", str(release / "CUB_200_2011")]) == 0


def test_what_was_named_must_be_there(
    server: Server, release: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert download.main(["cub", "cars", "--url", server.url]) == 1
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("Stanford Cars: not there") and line.endswith(".") and "complete; 12 images" in shown.out
    (release / "stanford_cars").mkdir()  # begun, and so asked for
    assert download.main([]) == 1
    assert capsys.readouterr().err.count("missing") == 5
    with pytest.raises(SystemExit):
        download.main(["kub"])
    assert "'kub'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        download.main(["cub", "--size", "7"])
    assert "32 to 1024" in capsys.readouterr().err
    monkeypatch.delenv("P2P_DATA")
    assert download.main(["cub"]) == 1
    assert "P2P_DATA" in capsys.readouterr().err
    assert download.main(["cub", "--root", str(release)]) == 0
    assert f"export P2P_DATA={release}\n" in capsys.readouterr().out


def test_damage_is_named_and_nothing_is_decoded(
    server: Server, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert download.main(["cub", "--url", server.url]) == 0
    images = sorted((release / "CUB_200_2011" / "images").glob("*/*.jpg"))
    images[2].write_bytes(images[2].read_bytes()[:1500])
    images[7].write_bytes(b"")
    capsys.readouterr()
    assert download.main(["cub", "--size", "48"]) == 1
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) == 2 and images[2].name in lines[0] and images[7].name in lines[1]
    assert "not complete" in shown.out and "repeat the command" in shown.out
    assert not (tmp_path / "cache").exists()


def test_another_archive_than_the_official_one_is_refused(
    server: Server, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = GOOD
    assert download.main(["cub", "--url", server.url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert md5(GOOD) in line and not (release / "CUB_200_2011").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_data_passes_its_variables() -> None:
    """`make -n` shows the command that would run; the folder has a default, what the user sets goes through."""

    def command(**changed: str) -> list[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("P2P", "MAKE"))}
        make = ["make", "-n", "data", "--no-print-directory", *(f"{key}={value}" for key, value in changed.items())]
        run = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return shlex.split(run.stdout.splitlines()[-1])

    assert command()[1:] == ["-m", "p2p.data.download", "--root", str(ROOT / "data"), "--size", "224"]
    changed = command(P2P_DATA="/a folder", SETS="cub cars", SIZE="", URL="http://mirror/C.tgz")
    assert changed[1:] == [
        "-m",
        "p2p.data.download",
        "cub",
        "cars",
        "--root",
        "/a folder",
        "--url",
        "http://mirror/C.tgz",
    ]
