"""The frame of the page "Try it in the page", and its files; `_static/try.js` fills it in the reader's browser."""

from __future__ import annotations

import hashlib
import json
import shutil
from html import escape
from pathlib import Path

from explorer import DATA, has_explorer
from runtime import copy_runtime, runtime
from studies import Study

from p2p.errors import UserError
from p2p.files import cache_folder

FILES = "_static/try"  # of the built book: the runtime, and a folder for each network
FRAME = """\
```{{raw}} html
<div id="try" data-files="{files}">
<noscript><p>This page runs a network in your browser: it needs JavaScript, which is off.</p></noscript>
<p data-part="status" role="status" class="visually-hidden"></p>
<div data-part="body" hidden>
<form class="choices" aria-label="What to explain" onsubmit="return false">
<label{hidden}>Network <select data-part="network">{networks}</select></label>
<label class="drop" data-part="drop">Drop a picture here, or choose one
<input type="file" accept="image/*" data-part="file"></label>
</form>
<p data-part="cropped" hidden>The photographs that this network learnt from were cut to the bird: cut yours, too.</p>
<div data-part="examples" role="group" aria-label="Or try one of these"></div>
<div data-part="detail"></div>
<p class="quiet" data-part="about"></p>
</div>
</div>
<script src="_static/drawing.js"></script>
<script src="_static/try.js"></script>
```
"""
NONE = "No packed student lies in this copy of the book's repository, so there is none to try: `make pack` packs one.\n"
LEFT_OUT = (
    "This part was left out of this copy of the book, because files that it needs, such as ONNX Runtime Web, could not "
    "be had when it was built: `make book` on a computer with a connection to the network adds it.\n"
)


def in_page(networks: Path, studies: list[Study], extra: Path) -> str:
    """The frame, for the packed students that there are, with their files in `extra`; or a sentence in its place.

    Args:
        networks: Folder of the packed networks.
        studies: Of the book, which know their titles.
        extra: What is copied into the built book as it is.
    """
    titles = {study.name: study.title for study in studies}
    target, options = extra / FILES, []
    try:
        from p2p.evaluation.browser import packed_students  # PyTorch: only where there is such a page

        folders = packed_students(networks)
        if not folders:
            return NONE
        copy_runtime(runtime(), target)
        for folder in folders:
            study, name = folder.parent.name, f"{folder.parent.name}-{folder.name}"
            shutil.copytree(written(folder), target / name)
            label = f"{titles.get(study, study)}: {folder.name.partition('-')[2]}"
            explored = _explored(studies, study, json.loads((folder / "run.json").read_text(encoding="utf-8")))
            options.append(f'<option value="{escape(name)}"{explored}>{escape(label)}</option>')
    except UserError as error:
        print(f"book: the page that runs a network in the browser is left out: {error}", flush=True)
        shutil.rmtree(target, ignore_errors=True)
        return LEFT_OUT
    return FRAME.format(files=FILES, networks="".join(options), hidden=" hidden" if len(options) < 2 else "")


def written(folder: Path) -> Path:
    """A packed network as the page takes it, in the cache: it takes a while, and depends on these files alone."""
    from p2p.evaluation import browser, export

    parts = [(folder / "run.json").read_bytes(), *(Path(str(one.__file__)).read_bytes() for one in (browser, export))]
    out = cache_folder() / f"browser-{hashlib.sha256(b''.join(parts)).hexdigest()[:20]}"
    if not (out / "network.json").is_file():  # it is written last
        browser.write_for_browser(folder, out)
    return out


def _explored(studies: list[Study], name: str, record: dict) -> str:
    """An attribute where the explorer shows this very student, so that its prototypes can be looked up by number."""
    for study in studies:
        if study.name == name and has_explorer(study):
            head = (study.folder / DATA).read_text(encoding="utf-8")[:200]
            return " data-explored" if f'"seed":{record["parameters"]["seed"]},' in head else ""
    return ""
