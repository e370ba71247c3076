"""How our code is written where no linter looks: arguments stand written out, or named."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "civicstream",
    "stack",
    "ingest",
    "streams",
    "alerts",
    "sinks",
    "feeds",
    "sensors_sim",
    "deploy",
    "benchmarks",
    "tests",
)
MOST_BY_POSITION = 6
"""More arguments than this, and nobody can tell by reading a call which field gets what."""


@cache
def _nodes() -> dict[str, list[ast.AST]]:
    """Return the nodes that the rules look at, by file."""
    return {
        str(path.relative_to(ROOT)): [
            node
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Starred | ast.Call | ast.ClassDef)
        ]
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def _literals_unpacked(nodes: Iterable[ast.AST]) -> Iterator[int]:
    """Yield the lines of ``*(a, b)`` and ``*[a, b]``, which say no more than ``a, b``."""
    for node in nodes:
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple | ast.List):
            yield node.lineno


def _filled_by_position(nodes: Iterable[ast.AST], classes: set[str]) -> Iterator[int]:
    for node in nodes:
        if isinstance(node, ast.Call) and len(node.args) > MOST_BY_POSITION:
            named = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            name = named.id if isinstance(named, ast.Name) else named
            if name in classes or name == "cls":
                yield node.lineno


def test_no_literal_is_unpacked_where_its_values_could_stand() -> None:
    found = [f"{file}:{line}" for file, n in _nodes().items() for line in _literals_unpacked(n)]
    assert not found


def test_an_object_of_many_fields_is_made_with_their_names() -> None:
    classes = {
        node.name for nodes in _nodes().values() for node in nodes if isinstance(node, ast.ClassDef)
    }
    found = [
        f"{file}:{line}"
        for file, nodes in _nodes().items()
        for line in _filled_by_position(nodes, classes)
    ]
    assert not found


def test_the_rules_find_what_they_forbid() -> None:
    tree = ast.parse("log(*('a', 'b'))\nx = [*[1, 2], *y]\nOurs(1, 2, 3, 4, 5, 6, 7)\nf(*y)\n")
    assert list(_literals_unpacked(ast.walk(tree))) == [1, 2]
    assert list(_filled_by_position(ast.walk(tree), {"Ours"})) == [3]
    assert not list(_filled_by_position(ast.walk(tree), {"Others"}))
