"""How results read: lines for the terminal, and the page ``results.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from benchmarks.goals import Verdict, judge
from benchmarks.registry import BENCHES

__all__ = ["goal_line", "markdown", "result_lines"]

Result = Mapping[str, object]


def number(value: object) -> str:
    """Return a value as people read it: 1,234,567 or 12.3 or 0.0123; text as it is."""
    if value is None:
        return "not measured"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def result_lines(result: Result) -> list[str]:
    """Return one line per value; a mapping or a list of mappings is a line per member."""
    lines = []
    for key, value in result.items():
        if isinstance(value, Mapping):
            lines += [f"{key}.{name}: {number(v)}" for name, v in value.items()]
        elif _is_table(value):
            lines += [
                f"{key}: " + ", ".join(f"{name} {number(v)}" for name, v in row.items())
                for row in value
            ]
        else:
            lines.append(f"{key}: {number(value)}")
    return lines


def _is_table(value: object) -> TypeGuard[list[Result]]:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def goal_line(verdict: Verdict) -> str:
    """Return the sentence on one goal: met, or missed and by how much."""
    goal = verdict.goal
    wanted = f"{goal.key} {goal.relation} {number(goal.limit)}"
    if verdict.value is None:
        return f"goal {wanted}: not measured"
    outcome = "met" if verdict.met else "MISSED"
    share = verdict.share
    return f"goal {wanted}: {outcome} with {number(verdict.value)} ({share:.0%} of it)"


def markdown(results: Mapping[str, Result], *, machine: Mapping[str, str], date: str) -> str:
    """Return the page: machine, goals, then a section per bench. ``date`` as YYYY-MM-DD."""
    parts = [
        "# Measured figures",
        "",
        f"Written by `make bench` on {date}; each bench is `civicstream bench NAME`.",
        "",
        *_table(("machine", ""), list(machine.items())),
        "",
        "## Goals",
        "",
        *_goals(results),
    ]
    for name, result in results.items():
        parts += ["", f"## {name}: {BENCHES[name].measures}", "", *_section(result)]
    return "\n".join(parts) + "\n"


def _goals(results: Mapping[str, Result]) -> list[str]:
    rows = []
    for verdict in judge(results):
        goal = verdict.goal
        rows.append(
            (
                goal.bench,
                f"{goal.relation} {number(goal.limit)} {goal.meaning}",
                number(verdict.value),
                "met" if verdict.met else "**missed**",
            )
        )
    return _table(("bench", "must reach", "measured", ""), rows)


def _section(result: Result) -> list[str]:
    plain, tables = [], []
    for key, value in result.items():
        if isinstance(value, Mapping):
            plain += [(f"{key}: {name}", number(v)) for name, v in value.items()]
        elif _is_table(value) and value:
            columns = list(value[0])
            rows = [[number(row.get(c)) for c in columns] for row in value]
            tables += ["", f"{key}:", "", *_table(columns, rows)]
        else:
            plain.append((key, number(value)))
    return [*(_table(("measured", "value"), plain) if plain else []), *tables]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows)]
