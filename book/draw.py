"""The notebooks over all studies, executed when the book is drawn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from studies import BookError
from traitlets.config import Config

from p2p.study.jobs import started_again

ROOT = Path(__file__).resolve().parent.parent
NEEDED = {"33_today": "today-*/claims.csv", "34_trees": "tree-*/claims.csv"}  # what pages say nothing without
KERNELS = 2  # at most; each loads PyTorch, which takes longer than the notebooks themselves


def draw_pages(results: Path, out: Path, notebooks: Path = ROOT / "notebooks") -> None:
    """Execute the notebooks over all studies; those that share a kernel one after the other, each from a clean start.

    Args:
        results: Folder of the studies' results.
        out: Folder for the executed notebooks and what they leave for other pages; emptied before.
        notebooks: Folder of the notebooks, 2x_ and 3x_<name>.py.

    Raises:
        BookError: One of them failed.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    sources, count = sorted(notebooks.glob("[23]?_*.py")), min(KERNELS, os.cpu_count() or 1)
    sources = [s for s in sources if s.stem not in NEEDED or any(results.glob(NEEDED[s.stem]))]
    shares = [sources[i::count] for i in range(count)]
    # The kernels inherit this environment, and find the package that the notebooks lie beside.
    path = os.pathsep.join(filter(None, [str(notebooks.parent), os.environ.get("PYTHONPATH")]))
    os.environ |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    with ThreadPoolExecutor(count) as pool:
        failed = list(filter(None, pool.map(lambda share: _draw(share, results, out), shares)))
    if failed:
        raise BookError(failed[0])


def _draw(sources: Sequence[Path], results: Path, out: Path) -> str:
    """Execute notebooks in one kernel and write each; what went wrong, in a sentence."""
    given, cells = f"results = {str(results)!r}\nout = {str(out)!r}", []
    for source in sources:
        cells.append(nbformat.v4.new_code_cell("%reset -f", metadata={"page": source.stem}))
        for cell in jupytext.read(source).cells:
            cells.append(cell)
            if "parameters" in cell.metadata.get("tags", []):
                cells.append(nbformat.v4.new_code_cell(given, metadata={"tags": ["remove-input"]}))
    whole = nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    config = Config({"KernelManager": {"transport_encryption": "auto"}})  # others use the machine too
    try:
        place = {"metadata": {"path": str(ROOT)}}
        client = NotebookClient(whole, timeout=None, kernel_name="python3", resources=place, config=config)
        started_again(client.execute)
    except CellExecutionError as error:
        page = ""
        for cell in whole.cells:
            page = cell.metadata.get("page", page)
            if any(output.output_type == "error" for output in cell.get("outputs", [])):
                break
        return f"{page}.py: {error.ename}: {error.evalue}"
    finally:
        ensure_event_loop().close()  # nbclient made it for this thread
    pages: dict[str, nbformat.NotebookNode] = {}
    for cell in whole.cells:
        if stem := cell.metadata.get("page"):
            pages[stem] = here = nbformat.v4.new_notebook(metadata=whole.metadata)
            continue
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":  # warnings of libraries, with this machine's paths
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        here.cells.append(cell)
    for stem, notebook in pages.items():
        nbformat.write(notebook, out / f"{stem}.ipynb")
    return ""
