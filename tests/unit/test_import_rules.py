"""Who may import whom (docs/architecture.md): one contract, parts that know it alone, one roof."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACT, ROOF = "civicstream", "stack"
PARTS = {"ingest", "streams", "alerts", "sinks", "feeds", "sensors_sim"}
APART = {"benchmarks", "tests"}
"""Only in a checkout: they import what they measure and test; nobody imports them, but for the
roof, which runs the benches."""
OURS = {CONTRACT, ROOF} | PARTS | APART

CLIENT_LIBRARIES = {"faust", "kafka", "aiokafka", "paho", "psycopg", "fastapi", "amqtt"}
RUNTIME_MODULES = {
    "ingest": {
        "ingest.kafka_output",
        "ingest.mqtt",
        "ingest.parked_reader",
    },
    "streams": {
        "streams.runtime.app",
        "streams.runtime.committed_consumer",
        "streams.runtime.kafka_connection",
        "streams.runtime.task_state",
        "streams.runtime.tasks",
        "streams.service",
    },
    "alerts": {
        "alerts.alert_input",
        "alerts.alert_output",
        "alerts.deliveries.channels.kafka_topic",
        "alerts.deliveries.dead_letters_out",
        "alerts.deliveries.log_reader",
        "alerts.deliveries.channels.mqtt_topics",
        "alerts.deliveries.people",
        "alerts.service",
    },
    "sinks": {
        "sinks.admin.init",
        "sinks.admin.ledger",
        "sinks.admin.log_state",
        "sinks.admin.maintenance",
        "sinks.admin.settling",
        "sinks.consumer",
        "sinks.database.comments",
        "sinks.database.locks",
        "sinks.database.migrate",
        "sinks.database.reference",
        "sinks.database.roles",
        "sinks.outbox",
        "sinks.service",
        "sinks.truth.comparison",
        "sinks.writer",
    },
    "feeds": {
        "feeds.access.token_store",
        "feeds.api",
        "feeds.history.documents",
        "feeds.history.history_store",
        "feeds.history.list_routes",
        "feeds.history.routes",
        "feeds.live.kafka_source",
        "feeds.live.routes",
        "feeds.live.warm_start",
        "feeds.operations.forgetting",
        "feeds.operations.operations",
        "feeds.operations.routes",
        "feeds.report_output",
        "feeds.report_store",
    },
    "sensors_sim": {
        "sensors_sim.dispatch_tablet",
        "sensors_sim.mqtt_link",
    },
}


@cache
def _modules(package: str) -> dict[str, Path]:
    """Return the modules of a package by dotted name; a package's name is its ``__init__``."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the dotted names of what is imported; of ``from a import b`` both a and a.b."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def _imports(path: Path) -> set[str]:
    return _names(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _packages(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def _wrong(package: str, forbidden: set[str]) -> dict[str, set[str]]:
    found = {m: _packages(_imports(p)) & forbidden for m, p in _modules(package).items()}
    return {module: names for module, names in found.items() if names}


def _circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Return the names along a circle of arrows, or none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_package_has_its_place_in_the_rules() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == OURS


def test_the_contract_imports_nobody() -> None:
    assert not _wrong(CONTRACT, OURS - {CONTRACT})


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_imports_the_contract_and_never_another_part(part: str) -> None:
    assert not _wrong(part, OURS - {CONTRACT, part})


def test_the_roof_imports_a_part_only_when_it_is_needed() -> None:
    found = {
        module: _packages(_names(_at_import(ast.parse(path.read_text(encoding="utf-8")))))
        & (PARTS | APART)
        for module, path in _modules(ROOF).items()
    }
    assert not {module: names for module, names in found.items() if names}


def _at_import(node: ast.AST) -> Iterable[ast.AST]:
    """Yield the nodes that run when a module is imported: not those inside functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _at_import(child)


def test_only_the_roof_knows_the_benches_and_nobody_the_tests() -> None:
    assert not _wrong(ROOF, {"tests"})
    knowing = [m for m, p in _modules(ROOF).items() if "benchmarks" in _packages(_imports(p))]
    assert knowing == ["stack.cli"]


@pytest.mark.parametrize("package", sorted(OURS - {"tests"}))
def test_modules_form_no_circle(package: str) -> None:
    modules = _modules(package)
    arrows = {m: (_imports(p) & modules.keys()) - {m} for m, p in modules.items()}
    # A package's face imports its modules, and a module's import names its packages too.
    faces = {m for m, p in modules.items() if p.name == "__init__.py"}
    assert not _circle({m: names - faces for m, names in arrows.items() if m not in faces})


@pytest.mark.parametrize("package", sorted(PARTS | {ROOF}))
def test_rooms_of_a_part_form_no_circle(package: str) -> None:
    """A room is a folder of a part; the modules beside the rooms put them together."""
    arrows: dict[str, set[str]] = {}
    for module, path in _modules(package).items():
        if (room := _room(module)) is not None:
            others = {_room(name) for name in _imports(path) if name in _modules(package)}
            arrows.setdefault(room, set()).update({x for x in others if x} - {room})
    assert not _circle(arrows)


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / parts[0] / parts[1]).is_dir() else None


@pytest.mark.parametrize("part", sorted(PARTS))
def test_calculation_modules_import_no_client_library(part: str) -> None:
    wrong = _wrong(part, CLIENT_LIBRARIES)
    assert not {m: names for m, names in wrong.items() if m not in RUNTIME_MODULES[part]}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_no_exception_is_left_that_nobody_needs(part: str) -> None:
    assert set(RUNTIME_MODULES[part]) <= set(_wrong(part, CLIENT_LIBRARIES))
