"""The one exception a user's mistake raises, and how a command tells it."""

import re
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class UserError(ValueError):
    """A mistake of the user's, told in one sentence: what is wrong, where, what was expected, what to do."""


def command(main: Callable[P, None]) -> Callable[P, int]:
    """A program's `main` that gives its exit code: 0, or 1 with the sentence of a user's mistake on standard error."""

    @wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0

    return run


def pick(table: Mapping[str, T], name: str, key: str) -> T:
    """The entry of a table that a parameter names.

    Raises:
        UserError: There is none; with the list of those that there are.
    """
    if name not in table:
        raise UserError(f"'{key}' is '{name}'; expected one of {', '.join(table)}.")
    return table[name]


def reason(error: BaseException) -> str:
    """What another library's exception gives as its first cause: its first sentence, without a full stop, to quote."""
    while error.__cause__ is not None and error.__cause__ is not error:  # as of `raise fitting(error) from error`
        error = error.__cause__
    text = re.split(r"[.!?]+( +(?=[A-Z])|$)", " ".join(str(error).split()))[0]
    return (text if len(text) <= 200 else f"{text[:200]} …") or type(error).__name__


def shown(value: Any, most: int = 80) -> str:
    """A value as a message quotes it: in one line, and its beginning where it is long."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= most else f"{text[:most]} …"
