"""Downloading against a local server that cuts connections, and what the checks of both data sets say."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from p2p import download
from p2p.download import check_cars, check_cub, prepare_cub
from p2p.errors import UserError
from p2p.fetch import extract, fetch


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


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*values: object, **named: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(UserError) as caught:
        prepare_cub(tmp_path, attempts=2, pause=0)
    sentence(caught, "name resolution", "data.caltech.edu", str(tmp_path / "CUB_200_2011.tgz"))


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


def test_command_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = GOOD
    assert download.main(["cub", "--root", str(tmp_path), "--url", server.url]) == 1
    assert "MD5" in capsys.readouterr().err
    monkeypatch.setattr(download, "CUB_MD5", md5(GOOD))
    monkeypatch.setattr(download, "CUB_COUNTS", {"classes": 1})
    status = download.main(["cub", "--root", str(tmp_path), "--url", server.url])
    shown = capsys.readouterr()
    assert (tmp_path / "CUB_200_2011" / "images.txt").exists()
    assert status == 1 and "classes.txt" in shown.err  # unpacked, but this archive is no complete release
    assert download.main(["cars", "--root", str(tmp_path / "none")]) == 1
    shown = capsys.readouterr()
    assert "does not exist" in shown.err and "cars_test_annos_withlabels.mat" in shown.out
    monkeypatch.delenv("P2P_DATA", raising=False)
    assert download.main(["check"]) == 1
    assert capsys.readouterr().err.count("P2P_DATA") == 2


def test_check_cub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "CUB_200_2011"
    (base / "images").mkdir(parents=True)
    assert "images.txt" in check_cub(tmp_path)[0]
    (base / "images.txt").write_text("1 a.jpg\n2 b.jpg\n3 c.jpg\n")
    (base / "image_class_labels.txt").write_text("1 1\n2 1\n3 1\n")
    (base / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n")
    (base / "bounding_boxes.txt").write_text("".join(f"{i} 0 0 5 5\n" for i in (1, 2, 3)))
    (base / "classes.txt").write_text("1 Wren\n")
    for name in ("a.jpg", "c.jpg"):
        (base / "images" / name).touch()
    found = check_cub(tmp_path)
    assert len(found) == 4
    assert "2 training images, the official release 5994" in found[1] and "1 test images" in found[2]
    assert "1 listed images" in found[3] and "b.jpg" in found[3]
    monkeypatch.setattr(download, "CUB_COUNTS", {"classes": 1, "training images": 2, "test images": 1})
    (base / "images" / "b.jpg").touch()
    assert check_cub(base) == []


def test_check_cars_names_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    found = check_cars(tmp_path)
    assert len(found) == 5 and all(text.endswith(".") and "missing" in text for text in found)
    for text, name in zip(
        found,
        (
            "cars_meta.mat",
            "cars_train_annos.mat",
            "cars_test_annos_withlabels.mat",
            "cars_train",
            "cars_test",
        ),
        strict=True,
    ):
        assert name in text
    monkeypatch.setattr(download, "CARS_CLASSES", 2)
    monkeypatch.setattr(download, "CARS_COUNTS", {"train": 3, "test": 2})
    kinds = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]

    def annotate(file: str, count: int) -> None:
        savemat(base / file, {"annotations": np.array([[(1, 1, 2, 2, 1, "a.jpg")] * count], dtype=kinds)})

    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array([["A", "B"]], dtype=object)})
    annotate("devkit/cars_train_annos.mat", 3)
    annotate("cars_test_annos_withlabels.mat", 1)
    for split, count in (("train", 3), ("test", 2)):
        (base / f"cars_{split}" / f"cars_{split}").mkdir(parents=True)
        for i in range(count):
            (base / f"cars_{split}" / f"{i}.jpg").touch()
    (found,) = check_cars(tmp_path)
    assert "cars_test_annos_withlabels.mat has 1 annotations, the official one 2" in found
    annotate("cars_test_annos_withlabels.mat", 2)
    assert check_cars(base) == []
    (base / "cars_train" / "1.jpg").unlink()
    (found,) = check_cars(tmp_path)
    assert "cars_train has 2 images, the official one 3" in found
    for name in ("0.jpg", "2.jpg"):
        (base / "cars_train" / name).rename(base / "cars_train" / "cars_train" / name)
    (found,) = check_cars(tmp_path)
    assert "up one folder" in found
