"""Where the keys of a study file belong: a key in the wrong place is told its place, before any value is looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from p2p.errors import UserError, shown
from p2p.study.params import DataParams, Strict, TrainParams, near_names

# What no network may say: the images are the same for all, and the rest follows from the study.
ELSEWHERE = frozenset(DataParams.model_fields) | {"run", "role", "variant", "seed"}
ELSEWHERE |= {"teacher_run", "other_teacher_run", "runs"}
IMAGES = frozenset(DataParams.model_fields) - {"study"}
NETWORK = frozenset(TrainParams.model_fields) - ELSEWHERE
TAUGHT = frozenset({"distillation", "head"})  # of a student alone: teacher and baseline have no teacher


def refuse_misplaced(values: Mapping[str, Any], models: Mapping[str, type[Strict]]) -> None:
    """Stop at the first key that has no meaning where it stands.

    Args:
        values: Of a study file, as read: nothing is known of them yet.
        models: Of a "study", a "triple" and a "control".

    Raises:
        UserError: With the place where the key belongs, or the keys that it may have meant.
    """
    top = frozenset(models["study"].model_fields)
    for place, keys, known in _places(values, models):
        for key in keys:
            if key not in known:
                if belongs := _home(key, top):
                    raise UserError(f"key {shown(key)} in the {place} {belongs}.")
                if not isinstance(key, str):
                    raise UserError(
                        f"unknown key {shown(key)} in the {place}; keys are words, decimals have a point, texts quotes."
                    )
                expected = ", ".join(near_names(str(key), known))
                raise UserError(f"unknown key {shown(key)} in the {place}; expected one of {expected}.")


def refuse_in_change(place: str, change: Mapping[str, Any]) -> None:
    """As `refuse_misplaced`, of the keys that change a network, such as a control's."""
    refuse_misplaced({"variants": {place: change}}, {"study": _Change, "triple": Strict, "control": Strict})


class _Change(Strict):
    variants: dict[str, Any]


def _places(
    values: Mapping[str, Any], models: Mapping[str, type[Strict]]
) -> Iterator[tuple[str, Mapping[str, Any], Collection[str]]]:
    """Each mapping of a study file that is one: what it is called, its keys, the keys it may have."""

    def named(kind: str, each: Any) -> str:
        return f"{kind} {shown(each['name'])}" if isinstance(each.get("name"), str) else kind

    top = models["study"].model_fields
    yield "file", values, top
    sections: list[tuple[str, Any, Collection[str]]] = [("data", values.get("data"), IMAGES)]
    sections += [("recipe", values.get("recipe"), NETWORK - TAUGHT - {"network"})]
    lists = [values.get("triples"), *_mapping(values.get("alternatives")).values()]
    for triple in (each for each_list in lists for each in _dicts(each_list)):
        name = named("triple", triple)
        sections.append((name, triple, models["triple"].model_fields))
        sections += [(f"{part} of {name}", triple.get(part), NETWORK - TAUGHT) for part in ("teacher", "student")]
    variants = _mapping(values.get("variants"))
    sections += [(f"variant {shown(name)}", change, NETWORK) for name, change in variants.items()]
    for control in _dicts(values.get("controls")):
        name = named("control", control)
        sections.append((name, control, models["control"].model_fields))
        sections.append((f"change of {name}", control.get("change"), NETWORK))
    yield from ((place, keys, known) for place, keys, known in sections if isinstance(keys, Mapping))


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _home(key: Any, top: Collection[str]) -> str:
    """What to say of a key that is known, but not here; empty where it is known nowhere."""
    if key == "network":
        return "would be without effect: each 'teacher' and 'student' of a triple names its own; remove it"
    if key in TAUGHT:
        return f"is a student's alone; give it under 'variants'{', or at the top of the file' if key in top else ''}"
    if key in IMAGES:
        return "belongs under 'data', the same for all runs; move it there"
    if key in NETWORK:
        return "belongs under 'recipe', or to one network's own keys; move it there"
    if key == "seed":
        return "is one of 'seeds' at the top of the file; remove it here"
    if key in ("seeds", "budget"):  # in a network's keys, most likely meant for its triple
        where = "at the top of the file, or " if key in top else ""
        return f"belongs {where}beside 'teacher' and 'student' in a triple; move it there"
    if key == "study" or (key in ELSEWHERE and key not in top):
        return "is set by the study; remove it"
    return "belongs at the top of the file; move it there" if key in top else ""
