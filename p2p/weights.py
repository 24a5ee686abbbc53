"""Weights of trunks: from a safetensors file, or downloaded as torchvision and timm publish them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from p2p.digests import digests
from p2p.errors import UserError, reason
from p2p.files import find_weights

WEIGHTS_HOST = "https://download.pytorch.org/models"
HUB_SECONDS = 5.0  # for the first answer of timm's host; without it, offline, its client would retry for minutes


def load_weights(
    own: dict[str, Tensor], known: Collection[str], weights: str, name: str, missing: Sequence[str] = ()
) -> None:
    """Fill a trunk from a safetensors file, and say in one line how much of it was filled.

    Args:
        own: The trunk's parameters and buffers by their keys in the whole network; they are written to.
        known: All keys of the whole network. A file may hold more than the trunk, such as a classifier, but nothing
            that is not among them; it may leave out `features.` at their beginning.
        weights: The file, see `find_weights`.
        name: Of the network, for messages.
        missing: Keys, or what stands before one of their dots, that the file may lack.

    Raises:
        UserError: No such file, a damaged one, one of another network or of less than the trunk, or a number in it that
            is not finite.
    """
    path = find_weights(weights, name)
    try:
        file = load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"Weights {path} for {name} are damaged or no safetensors file ({error}); copy it again."
        ) from None
    state = {key if key in known else f"features.{key}": value for key, value in file.items()}
    _refuse_others(own, known, state, path, name)
    _refuse_gaps(own, known, state, path, name, missing)
    for key in own.keys() & state.keys():
        if not torch.isfinite(state[key]).all():
            raise UserError(f"Weights {path} for {name} hold NaN or infinity in '{key}'; get the file anew.")
    filled = [key for key in own if key in state]
    with torch.no_grad():
        for key in filled:
            own[key].copy_(state[key])
    line = f"{name}: {_count(own, filled):,} of {_count(own, own):,} numbers from {path.name}"
    rest = [key for key in own if key not in state and not _counter(key)]
    line += f"; at their random start: {', '.join(missing)}" if rest else ""
    behind = len(state) - len(filled)
    print(line + (f"; not used: {behind} tensors behind the cut" if behind else ""))


def _counter(key: str) -> bool:
    """Whether a key is that of batch normalisation's counter of batches, which many files leave out."""
    return key.endswith("num_batches_tracked")


def _count(own: dict[str, Tensor], keys: Collection[str]) -> int:
    return sum(own[key].numel() for key in keys if not _counter(key))


def _refuse_others(
    own: dict[str, Tensor], known: Collection[str], state: dict[str, Tensor], path: Path, name: str
) -> None:
    """Stop at a file of another network: foreign keys or other shapes."""
    foreign = sorted(key.removeprefix("features.") for key in state if key not in known)
    wrong = [key for key in own if key in state and own[key].shape != state[key].shape]
    what = ""
    if not own.keys() & state.keys():
        what = "no key fits"
    elif wrong:
        shapes = (list(state[wrong[0]].shape), list(own[wrong[0]].shape))
        what = f"key '{wrong[0]}' has another shape, {shapes[0]} and not {shapes[1]}"
    elif foreign:
        more = f" and {len(foreign) - 1} more" if foreign[1:] else ""
        what = f"key '{foreign[0]}'{more} would have no place in it"
    if what:
        raise UserError(f"Weights {path} are not those of {name}: {what}; give the file of this network.")


def _refuse_gaps(
    own: dict[str, Tensor],
    known: Collection[str],
    state: dict[str, Tensor],
    path: Path,
    name: str,
    missing: Sequence[str],
) -> None:
    """Stop at a file that leaves parameters at their random start which `missing` does not name."""

    def begins(key: str, prefix: str) -> bool:
        return f"{key}.".startswith(prefix.rstrip(".") + ".")

    for prefix in missing:
        if not any(begins(key, prefix) for key in known):
            raise UserError(
                f"'weights_missing' names '{prefix}', which is no part of {name}; expected the beginning of a key such "
                f"as '{list(known)[-1]}'."
            )
    gaps = [key for key in own if key not in state and not _counter(key)]
    gaps = [key for key in gaps if not any(begins(key, prefix) for prefix in missing)]
    if gaps:
        filled, all_of_it = _count(own, own.keys() & state.keys()), _count(own, own)
        more = f" and {len(gaps) - 1} more" if gaps[1:] else ""
        raise UserError(
            f"Weights {path} fill {filled:,} of the {all_of_it:,} numbers of {name}, without '{gaps[0]}'{more}; give "
            f"the whole file, or name in 'weights_missing' what may stay at its random start."
        )


# ------------------------------------------------------------------------------------------------------- downloads


def torchvision_state(name: str) -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 by name (`DEFAULT` is another model for ResNet-50).

    P2P_WEIGHTS_MIRROR replaces the host, for clusters without internet.
    """
    import torchvision  # as in p2p.trunks: only who needs it waits for it

    url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
    mirror = os.environ.get("P2P_WEIGHTS_MIRROR")
    if mirror and "://" not in mirror:
        raise UserError(
            f"P2P_WEIGHTS_MIRROR is '{mirror}'; expected a URL that begins with https://, http:// or file://."
        )
    source = url.replace(WEIGHTS_HOST, mirror.rstrip("/")) if mirror else url
    cached = Path(torch.hub.get_dir(), "checkpoints", source.rsplit("/", 1)[1])
    try:
        if cached.is_file():  # torch asks for the hash of downloads only
            digest = cached.stem.rsplit("-", 1)[-1]
            if not digests(cached.parent, [cached.name])[0].startswith(digest):
                raise RuntimeError("its hash is not the one in its name")
        state = torch.hub.load_state_dict_from_url(source, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # a damaged file in the cache raises a dozen kinds, a wrong hash a RuntimeError
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        known = isinstance(error, OSError | HTTPException) or "hash" in str(error)
        what = str(error) if known else type(error).__name__
        if cached.exists() or "hash" in what:
            raise UserError(
                f"ImageNet weights of {name} from {source} are damaged ({what}); delete {cached} from torch's cache, "
                f"if it is there, and retry."
            ) from error
        raise UserError(
            f"ImageNet weights of {name} could not be downloaded from {source} ({what}); connect once to fill "
            f"torch's cache, set P2P_WEIGHTS_MIRROR, or give a safetensors file in 'weights'."
        ) from error
    # DenseNet's files were saved before dots were forbidden in module names: norm.1 is norm1 today
    return {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d\.)", r"\1\2", key): value for key, value in state.items()}


def timm_file(config: Any, name: str) -> Path:
    """The safetensors file of timm's own weights, from the cache of huggingface_hub or downloaded into it.

    HF_ENDPOINT replaces the host; HF_HOME is the folder of the cache. A pickle is never asked for.

    Args:
        config: timm's `PretrainedCfg` of the model, or None.
        name: Of the network, for messages.

    Raises:
        UserError: timm has none in this form, the host cannot be reached, or the file is damaged.
    """
    import huggingface_hub as hub
    from huggingface_hub.constants import ENDPOINT

    repository = config.hf_hub_id if config is not None else None
    file = (config.hf_hub_filename if repository else None) or "model.safetensors"
    if not repository or not file.endswith(".safetensors"):
        raise UserError(f"timm has no safetensors weights of {name} to download; set 'weights' to none or a file.")
    host = os.environ.get("HF_ENDPOINT") or ENDPOINT
    try:
        cached = hub.try_to_load_from_cache(repository, file)
        if not isinstance(cached, str):
            hub.get_hf_file_metadata(hub.hf_hub_url(repository, file, endpoint=host), timeout=HUB_SECONDS)
            cached = hub.hf_hub_download(repository, file, endpoint=host)
    except Exception as error:  # its own errors, its HTTP client's, the disk's
        raise UserError(
            f"ImageNet weights of {name} could not be downloaded from {host}/{repository} ({reason(error)}); connect "
            f"once to fill the cache of huggingface_hub, set HF_ENDPOINT to a mirror, or give a safetensors file in "
            f"'weights'."
        ) from error
    path = Path(cached)
    sha = path.resolve().name  # what the host says the content's SHA-256 is, where its cache can be of links
    try:
        whole = not re.fullmatch(r"[0-9a-f]{64}", sha) or hashlib.sha256(path.read_bytes()).hexdigest() == sha
        if whole and all(torch.isfinite(value).all() for value in load_file(path).values()):
            return path
        what = "NaN or infinity in it" if whole else "its SHA-256 is another"
    except (SafetensorError, OSError) as error:
        what = reason(error)
    raise UserError(f"ImageNet weights of {name} are damaged ({what}); delete {path.resolve()} and retry.")
