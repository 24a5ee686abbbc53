"""What pydantic finds wrong with a value, in words that need no knowledge of it."""

from __future__ import annotations

import re
from typing import Any

# Patterns of names, in words; they are told where a name does not fit.
PATTERNS = {
    r"^[a-z0-9][a-z0-9_-]*$": "small letters, digits, _ and -, a letter or digit first",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "letters without accents, digits, '.', _ and -, a letter or digit first",
    r"^(auto|cpu|cuda(:\d{1,2})?)$": "auto, cpu, cuda, or cuda:1 for the second GPU",
}


def expected(error: Any) -> str:
    """What was expected instead of a value.

    Args:
        error: One of `ValidationError.errors()`.
    """
    context = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        return f"expected {PATTERNS[context['pattern']]}"
    if error["type"] == "too_short":
        return f"expected at least {context['min_length']}"
    if error["type"] == "string_too_short":
        return "expected a text that is not empty"
    return str(error["msg"])


def hint(kind: str, given: Any) -> str:
    """What to write instead, where a value has the wrong form alone."""
    if given is None:
        return ": write a value behind the key"
    if kind == "bool_type" and str(given).lower() in ("yes", "no", "on", "off", "0", "1"):
        return ": write true or false"
    if kind == "list_type":
        return ", such as [0, 1]"
    if kind in ("int_type", "float_type") and isinstance(given, str):
        number = re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", given.strip())
        example = "12" if kind.startswith("int") else "0.001 or 1e-3"
        return ": write a number without quotes" if number else f": write a number such as {example}"
    return ": write it in quotes" if kind == "string_type" and isinstance(given, int | float) else ""
