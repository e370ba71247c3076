"""Messages of alerts: ``{field}`` with Python's format specifications, checked at load."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

__all__ = ["field_names", "fill", "trial"]

_FORMATTER = string.Formatter()


def field_names(template: str) -> list[str]:
    """Return the names in a template; raise ValueError where it is malformed."""
    names = []
    for _, name, spec, _ in _FORMATTER.parse(template):
        if name is None:
            continue
        if not name:
            raise ValueError("{} has no name in it")
        names.append(name)
        if spec and "{" in spec:
            raise ValueError(f"{{{name}}} has braces in its format")
    return names


def fill(template: str, known: Mapping[str, Any]) -> str:
    """Return the message; what is null or not known reads ``unknown``."""
    parts = []
    for literal, name, spec, conversion in _FORMATTER.parse(template):
        parts.append(literal)
        if name is None:
            continue
        value = known.get(name)
        if value is None:
            parts.append("unknown")
        else:
            shown = _FORMATTER.convert_field(value, conversion) if conversion else value
            parts.append(format(shown, spec or ("g" if isinstance(shown, float) else "")))
    return "".join(parts)


def trial(template: str, types: Mapping[str, str]) -> None:
    """Fill the template with a value of each type; raise ValueError where it does not fit."""
    fill(template, {name: 1.5 if kind == "number" else "x" for name, kind in types.items()})
