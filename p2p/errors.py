"""The one exception a user's mistake raises."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """A mistake of the user's, told in one sentence: what is wrong, where, what was expected, what to do."""


def pick(table: Mapping[str, T], name: str, key: str) -> T:
    """The entry of a table that a parameter names.

    Raises:
        UserError: There is none; with the list of those that there are.
    """
    if name not in table:
        raise UserError(f"'{key}' is '{name}'; expected one of {', '.join(table)}.")
    return table[name]
