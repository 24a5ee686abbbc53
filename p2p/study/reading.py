"""A file of keys in YAML 1.2, or one sentence on what is wrong with it and in which line."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError

from p2p.errors import UserError, reason, shown

MOST_BYTES, MOST_VALUES, MOST_LEVELS = 2**20, 100_000, 20  # far above any study; aliases can multiply a short file
RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[0-9]{400}")  # what the reader of YAML names no line for
# in no name, title or path: control characters, line ends, and what reorders the text around it
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What the reader of YAML says in terms of its own, and what may be the cause.
TERMS = {
    "mapping values": "a text with ': ' or ' #' in it needs quotes",
    "block end": "look at the indentation of this line and of those above",
    "another document": "a file has one study, so remove the line '---' and what follows it",
    "constructor": "a text that begins with '!' needs quotes",
    "'\\t'": "indent by spaces, not by tabs",
}


class Written(float):
    """A number that messages show as it is written in the file, 1e-4 and not 0.0001; else a number as any other."""

    text: str

    def __new__(cls, value: float, text: str = "") -> Written:
        number = super().__new__(cls, value)
        number.text = text or float.__repr__(number)
        return number

    def __repr__(self) -> str:
        return self.text

    __str__ = float.__repr__


class _Constructor(SafeConstructor):
    def construct_written(self, node: Any) -> Written:
        return Written(self.construct_yaml_float(node), str(node.value))


_Constructor.add_constructor("tag:yaml.org,2002:float", _Constructor.construct_written)


def read_keys(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file: plain strings, numbers, lists and mappings.

    YAML 1.2, so `on` is a word and 1e-4 a number, a `Written` one. A whole number is one however it was written: 1e4 is
    10000.

    Raises:
        UserError: It cannot be read, is not UTF-8 or not valid YAML, gives a key twice, holds no keys, or a value that
            is none of these.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); correct its name or its permissions.") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} is not UTF-8 in line {line}; save it as UTF-8.") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} has {len(content):,} bytes, too many for such a file; give one as params/quick.yaml.")
    if 4 * content.count(0) > len(content):
        raise UserError(f"{path} is not UTF-8 but perhaps UTF-16; save it as UTF-8.")
    if found := RAW.search(text):
        line, what = text.count("\n", 0, found.start()) + 1, found[0]
        told = "a number of 400 digits or more" if len(what) > 1 else f"a control character, {shown(what)}"
        raise UserError(f"{path} holds {told} in line {line}; remove it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            reader = YAML(typ="safe", pure=True)
            reader.Constructor = _Constructor
            values = reader.load(text)
    except RecursionError:
        raise UserError(f"{path} is nested too deep; expected the few levels that params/quick.yaml has.") from None
    except DuplicateKeyError as error:
        key = re.search(r'duplicate key "(.*?)" with', str(error.problem), re.S)
        name = f"key {shown(key[1])}" if key else "a key"
        raise UserError(f"{path}: line {_line(error)} gives {name} a second time; keep one of them.") from None
    except (YAMLError, ValueError, TypeError) as error:  # the latter from its conversion of numbers and keys
        what = reason(error)
        if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
            what = f"line {_line(error)}, {' '.join(str(error.problem or error.context).split())}"
            what += next((f" ({cause})" for term, cause in TERMS.items() if term in what), "")
        raise UserError(f"{path} is not valid YAML: {what}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no keys; expected the keys of a study, such as params/quick.yaml has.")
    return _Plain(path).of(values, ())


def _line(error: Any) -> int:
    return error.problem_mark.line + 1


class _Plain:
    """Values as a study knows them, counted as they are copied."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def of(self, value: Any, place: tuple[Any, ...]) -> Any:
        self.count += 1
        if len(place) > MOST_LEVELS or self.count > MOST_VALUES:
            raise UserError(
                f"{self.path}: key {_name(place[:3])} is nested too deep or holds too much; expected the few levels "
                "and values of a study, such as params/quick.yaml has."
            )
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str | int) or isinstance(key, bool):
                    where = f" in {_name(place)}" if place else ""
                    raise UserError(f"{self.path}: {shown(key)}{where} is no name of a key; expected a word.")
                self._refuse_control(key, (*place, key))
            return {key: self.of(each, (*place, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self.of(each, (*place, i)) for i, each in enumerate(value)]
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise UserError(f"{self.path}: key {_name(place)} is a number of more than 18 digits; give a smaller one.")
        if not isinstance(value, str | int | float | None):
            raise UserError(
                f"{self.path}: key {_name(place)} is read as a {type(value).__name__}; write it in quotes, or as a "
                "number or a list."
            )
        self._refuse_control(value, place)
        return value

    def _refuse_control(self, value: Any, place: tuple[Any, ...]) -> None:
        if isinstance(value, str) and CONTROL.search(value):
            raise UserError(f"{self.path}: key {_name(place)} holds a control character, {shown(value)}; remove it.")


def _name(place: tuple[Any, ...]) -> str:
    return shown(".".join(map(str, place)))
