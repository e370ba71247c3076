"""Where in a rules file each rule and field is written: tomllib does not tell."""

from __future__ import annotations

import re

__all__ = ["RuleLines"]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]")
_FIELD = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*[.=]")
_TRIPLE = re.compile(r'"""|\'\'\'')


class RuleLines:
    """The lines of a TOML text, from 1."""

    def __init__(self, text: str) -> None:
        self._rules: list[int] = []
        self._fields: dict[tuple[int, str], int] = {}
        """By index of the rule (-1: none) and dotted name of the field."""
        rule, prefix, inside = -1, "", False
        for number, line in enumerate(text.splitlines(), 1):
            was_inside, inside = inside, inside ^ (len(_TRIPLE.findall(line)) % 2 == 1)
            if was_inside:
                continue
            if header := _HEADER.match(line):
                name = header[2].replace(" ", "")
                if name == "rule" and header[1] == "[[":
                    self._rules.append(number)
                    rule, prefix = len(self._rules) - 1, ""
                    continue
                inner = name.removeprefix("rule.")
                rule = rule if inner != name else -1
                prefix = f"{inner}."
                self._fields.setdefault((rule, inner), number)
            elif found := _FIELD.match(line):
                self._fields.setdefault((rule, prefix + found[1]), number)

    def of_rule(self, index: int) -> int:
        """Return the line of the ``index``-th ``[[rule]]``; 1 where it is written another way."""
        return self._rules[index] if index < len(self._rules) else 1

    def of_field(self, index: int, name: str) -> int:
        """Return the line of a field of a rule, or of the rule where it has none of its own."""
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            line = self._fields.get((index, ".".join(parts[:length])))
            if line is not None:
                return line
        return self.of_rule(index) if index >= 0 else 1
