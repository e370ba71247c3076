"""One condition of a rules file."""

from __future__ import annotations

from typing import Any

from alerts.rules.rule import Condition
from alerts.rules.rule_values import WrongValue, closest, duration_ms, number, values, whole
from alerts.rules.sources import SOURCES, Source

__all__ = ["CONDITION_FIELDS", "read_condition"]

CONDITION_FIELDS = (
    "source",
    "field",
    "per",
    "change_over",
    "above",
    "below",
    "clear_below",
    "clear_above",
    "is",
    "in",
    "is_not",
    "where",
    "for",
    "no_data_for",
    "by",
    "at_least",
    "forget_after",
)

_TESTS = ("above", "below", "is", "in", "is_not", "no_data_for")
_ABSENT_FOR_MS = 24 * 3_600_000


def read_condition(name: str, table: dict[str, Any], prefix: str) -> Condition:
    """Return the condition in ``table``; ``prefix`` stands before its fields in errors."""
    for unknown in table.keys() - set(CONDITION_FIELDS):
        raise WrongValue(prefix + unknown, f"no such field; {closest(unknown, CONDITION_FIELDS)}")
    if "source" not in table:
        raise WrongValue(f"{prefix}source", f"is missing; it is one of {', '.join(SOURCES)}")
    source = SOURCES.get(str(table["source"]))
    if source is None:
        near = closest(str(table["source"]), SOURCES)
        raise WrongValue(f"{prefix}source", f"no source {table['source']!r}; {near}")
    given = [test for test in _TESTS if test in table]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise WrongValue(
            prefix + (given[1] if given else "field"),
            f"a condition has one of {', '.join(_TESTS)}; here is {found}",
        )
    shared = {
        "where": _where(source, table, prefix),
        "at_least": whole(f"{prefix}at_least", table.get("at_least", 1), 1),
        "forget_after_ms": _forget(source, table, prefix),
    }
    if "for" in table:
        shared["for_ms"] = duration_ms(f"{prefix}for", table["for"])
    if given == ["no_data_for"]:
        return _absence(name, source, table, prefix, shared)
    field = _field(source, table, "field", prefix)
    if given[0] in {"above", "below"}:
        return _threshold(name, source, field, table, prefix, shared)
    return _membership(name, source, field, given[0], table, prefix, shared)


def _field(source: Source, table: dict[str, Any], key: str, prefix: str) -> str:
    if key not in table:
        raise WrongValue(prefix + key, f"is missing; it is one of {', '.join(source.fields)}")
    if not isinstance(table[key], str) or source.field_type(table[key]) is None:
        near = closest(str(table[key]), source.fields)
        raise WrongValue(prefix + key, f"{source.topic} has no field {table[key]!r}; {near}")
    return str(table[key])


def _refuse(table: dict[str, Any], names: tuple[str, ...], prefix: str, why: str) -> None:
    for name in names:
        if name in table:
            raise WrongValue(prefix + name, f"{why}; leave it out")


def _threshold(
    name: str, source: Source, field: str, table: dict[str, Any], prefix: str, shared: Any
) -> Condition:
    if source.field_type(field) != "number":
        raise WrongValue(f"{prefix}field", f"{field!r} is a text; compare it with is, in or is_not")
    test, back = ("above", "clear_below") if "above" in table else ("below", "clear_above")
    other = "clear_above" if test == "above" else "clear_below"
    if other in table:
        raise WrongValue(prefix + other, f"does not go with {test}; write {back}")
    _refuse(table, ("by",), prefix, "it goes with no_data_for")
    limit = number(prefix + test, table[test])
    clear = number(prefix + back, table[back]) if back in table else None
    if clear is not None and (clear > limit if test == "above" else clear < limit):
        raise WrongValue(
            prefix + back, f"{clear:g} is beyond {test} = {limit:g}; write one that is not"
        )
    per = _field(source, table, "per", prefix) if "per" in table else None
    if per is not None and source.field_type(per) != "number":
        raise WrongValue(f"{prefix}per", f"{per!r} is a text; divide by a number")
    return Condition(
        name=name,
        source=source.topic,
        field=field,
        per=per,
        change_over_ms=_change(table, prefix),
        above=limit if test == "above" else None,
        below=limit if test == "below" else None,
        clear=clear,
        **shared,
    )


def _change(table: dict[str, Any], prefix: str) -> int | None:
    span = table.get("change_over")
    if span is None:
        return None
    return 0 if span == "window" else duration_ms(f"{prefix}change_over", span)


_NOT_NUMBERS = ("per", "change_over", "clear_below", "clear_above", "by")


def _membership(
    name: str,
    source: Source,
    field: str,
    test: str,
    table: dict[str, Any],
    prefix: str,
    shared: Any,
) -> Condition:
    _refuse(table, _NOT_NUMBERS, prefix, f"it does not go with {test}")
    kind = source.field_type(field) or "text"
    wanted = values(prefix + test, table[test], kind)
    return Condition(name, source.topic, field, values=wanted, negated=test == "is_not", **shared)


def _absence(
    name: str, source: Source, table: dict[str, Any], prefix: str, shared: Any
) -> Condition:
    _refuse(table, ("field", *_NOT_NUMBERS[:-1]), prefix, "absence looks at no field")
    by = table.get("by", "area" if source.by_area else "subject")
    if by == "area":
        _refuse(table, ("where",), prefix, "the absence of an area's data looks at no field")
    if by not in {"area", "subject"} or (by == "area" and not source.by_area):
        raise WrongValue(f"{prefix}by", f'{by!r} is not possible; write "subject"')
    span = duration_ms(f"{prefix}no_data_for", table["no_data_for"])
    if "forget_after" not in table:
        shared["forget_after_ms"] = _ABSENT_FOR_MS + span
    return Condition(name, source.topic, no_data_for_ms=span, by_area=by == "area", **shared)


def _where(
    source: Source, table: dict[str, Any], prefix: str
) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    chosen = table.get("where", {})
    if not isinstance(chosen, dict):
        raise WrongValue(f"{prefix}where", 'write a table, e.g. { kind = "water" }')
    found = []
    for name, value in chosen.items():
        kind = source.field_type(name)
        if kind is None:
            near = closest(name, source.fields)
            raise WrongValue(f"{prefix}where.{name}", f"{source.topic} has no such field; {near}")
        found.append((name, values(f"{prefix}where.{name}", value, kind)))
    return tuple(found)


def _forget(source: Source, table: dict[str, Any], prefix: str) -> int:
    span = table.get("forget_after")
    if span is None:
        return source.forget_after_ms
    return 0 if span == "never" else duration_ms(f"{prefix}forget_after", span)
