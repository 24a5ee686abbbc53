"""ONNX Runtime Web, which runs a network in a reader's browser: too large for the repository, so the builder gets it.

It comes once from npm's registry, or the mirror that NPM_CONFIG_REGISTRY names, in the version and with the checksum
below, and is kept in the cache. Its licence comes with the Python package of the same project, `onnxruntime`.
"""

from __future__ import annotations

import base64
import os
import shutil
import tarfile
import zlib
from importlib.util import find_spec
from pathlib import Path

from studies import BookError

from p2p.data.fetch import fetch
from p2p.errors import reason
from p2p.files import atomic_path, cache_folder

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
REGISTRY = "https://registry.npmjs.org"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # WebAssembly alone: no WebGPU, no WebGL
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")


def runtime(version: str = VERSION, integrity: str = INTEGRITY, timeout: float = 20.0) -> Path:
    """The folder in the cache that holds `FILES`, downloaded (33 MB, of which 14 are kept) where it is not there.

    Args:
        version: Of onnxruntime-web.
        integrity: Of its archive, as npm writes it.
        timeout: Seconds to wait for the server's next bytes.

    Raises:
        UserError: It cannot be had, or what came is not what was expected.
    """
    kind, _, encoded = integrity.partition("-")
    digest = base64.b64decode(encoded).hex()
    folder = cache_folder() / f"onnxruntime-web-{version}-{digest[:12]}"
    if all((folder / name).is_file() for name in FILES):
        return folder
    registry = (os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY).rstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    url = f"{registry}/onnxruntime-web/-/onnxruntime-web-{version}.tgz"
    archive = fetch(url, folder / "package.tgz", digest, attempts=1, timeout=timeout, kind=kind)
    try:
        with tarfile.open(archive) as package:
            for name in FILES:
                content = package.extractfile(f"package/dist/{name}")
                if content is None:
                    raise KeyError(name)
                with atomic_path(folder / name) as temporary, temporary.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise BookError(
            f"{url} holds no {' and '.join(FILES)} to unpack ({reason(error)}); name a version that does."
        ) from error
    finally:
        archive.unlink()
    print(f"book: ONNX Runtime Web {version} came from {registry} into {folder}", flush=True)
    return folder


def copy_runtime(source: Path, target: Path) -> None:
    """Put the runtime and its licence into a folder of the book.

    Raises:
        BookError: The Python package whose licence it shares is not installed.
    """
    spec = find_spec("onnxruntime")
    if spec is None or not spec.origin:
        raise BookError("The licence of ONNX Runtime comes with its Python package; install the extra 'export'.")
    target.mkdir(parents=True, exist_ok=True)
    for path in [*(source / name for name in FILES), *(Path(spec.origin).parent / name for name in LICENCES)]:
        shutil.copy2(path, target / path.name)
