"""A rules file: TOML in, checked rules out, or an error that names line, rule and field."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from alerts.rules.condition_reading import read_condition
from alerts.rules.rule import Grouping, Rule, RuleSet
from alerts.rules.rule_reading import read_grouping, read_rule
from alerts.rules.rule_values import WrongValue, closest, text
from civicstream.errors import ConfigurationError

__all__ = ["DEFAULT_RULES", "load_rules", "parse_rules"]

DEFAULT_RULES = Path(__file__).with_name("default_rules.toml")

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]")
_FIELD = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*[.=]")
_TRIPLE = re.compile(r'"""|\'\'\'')


def load_rules(path: Path | None) -> RuleSet:
    """Return the rules in ``path``, the packaged ones for None; raise ConfigurationError."""
    path = path or DEFAULT_RULES
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"rules file {path}: {error}; set CIVICSTREAM_ALERTS__RULES_FILE"
        ) from error
    return parse_rules(content, str(path))


def parse_rules(content: str, origin: str = "rules") -> RuleSet:
    """Return the rules in a TOML text; ``origin`` names it in errors.

    Raise ConfigurationError with a line for everything that is wrong: place, rule, field and
    what to write instead.
    """
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"rules file {origin} is not TOML: {error}") from error
    reader = _Reader(document, _RuleLines(content), origin)
    rules, grouping = reader.rules(), reader.grouping()
    if reader.problems:
        raise ConfigurationError("\n".join(reader.problems))
    return RuleSet(tuple(rules), grouping, origin)


class _Reader:
    """Collects what is wrong, so that one run shows everything."""

    def __init__(self, document: dict[str, Any], lines: _RuleLines, origin: str) -> None:
        self.problems: list[str] = []
        self._document = document
        self._lines = lines
        self._origin = origin
        for name in document.keys() - {"rule", "grouping"}:
            self._note(-1, None, WrongValue(name, f"no such table; {closest(name, _TABLES)}"))

    def rules(self) -> list[Rule]:
        found: dict[str, Rule] = {}
        tables = self._document.get("rule", [])
        if not isinstance(tables, list):
            self._note(-1, None, WrongValue("rule", "write [[rule]] in two brackets"))
            return []
        for index, table in enumerate(tables):
            name = table.get("name") if isinstance(table, dict) else None
            try:
                rule = read_rule(table, self._lines.of_rule(index), read_condition)
            except WrongValue as error:
                self._note(index, name, error)
                continue
            first = found.setdefault(rule.name, rule)
            if first is not rule:
                twice = f"the rule of line {first.line} has that name already; choose another"
                self._note(index, name, WrongValue("name", twice))
        return list(found.values())

    def grouping(self) -> Grouping | None:
        if "grouping" not in self._document:
            return None
        try:
            return read_grouping("grouping", self._document["grouping"])
        except WrongValue as error:
            self._note(-1, None, error)
            return None

    def _note(self, index: int, rule: Any, error: WrongValue) -> None:
        line = self._lines.of_field(index, error.field)
        whose = ""
        if index >= 0:
            whose = f"rule {_name(rule)}, " if rule else f"rule {index + 1}, "
        self.problems.append(
            f"{self._origin}:{line}: {whose}field {error.field!r}: {error.problem}"
        )


def _name(value: Any) -> str:
    try:
        return repr(text("name", value))
    except WrongValue:
        return f"{value!r}"


_TABLES = ("rule", "grouping")


class _RuleLines:
    """Where each rule and field of a TOML text is written: lines from 1. tomllib does not say."""

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
