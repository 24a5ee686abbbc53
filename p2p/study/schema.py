"""The JSON schema by which editors complete a study file: `make schema`."""

from __future__ import annotations

from typing import Any

from p2p.study.params import DataParams, TrainParams
from p2p.study.places import ELSEWHERE
from p2p.study.study import Study


def schema() -> dict[str, Any]:
    """JSON schema of a study file, with the keys of the nested parts filled in, so that editors complete them."""
    from p2p.losses import DISTILLATION  # needs PyTorch, which readers of a study file need not wait for

    result = Study.model_json_schema()
    train, data = TrainParams.model_json_schema()["properties"], DataParams.model_json_schema()["properties"]
    weights = {name: {"type": "number", "minimum": 0} for name in DISTILLATION}
    taught = {"type": "object", "additionalProperties": False, "properties": weights}
    keys = {k: v for k, v in train.items() if k not in ELSEWHERE} | {"distillation": taught}
    recipe = {"type": "object", "additionalProperties": False, "properties": keys}
    properties, definitions = result["properties"], result["$defs"]
    images = {k: v for k, v in data.items() if k != "study"}
    properties["data"] = {"type": "object", "additionalProperties": False, "properties": images}
    properties["recipe"] = recipe
    properties["distillation"] = taught
    properties["variants"] = {"type": "object", "additionalProperties": recipe}
    for part, places in (("Triple", ("teacher", "student")), ("Control", ("change",))):
        for place in places:
            definitions[part]["properties"][place] = recipe
    return result
