"""Who may import whom (docs/architecture.md): the parts know the contract, never each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {"ingest", "streams", "sinks", "feeds", "sensors_sim"}
COMPOSERS = {Path("civicstream/cli.py"), Path("civicstream/embedded")}
CLIENT_LIBRARIES = {"faust", "kafka", "aiokafka", "paho", "psycopg", "fastapi", "amqtt"}
RUNTIME_MODULES = {
    "ingest": {"service", "mqtt", "kafka_output", "parked_reader"},
    "streams": {
        "service",
        "app",
        "publication",
        "kafka_connection",
        "committed_consumer",
        "task_state",
        "tasks",
        "network_stream",
        "dispatch_stream",
        "city_agents",
        "frame_streams",
        "alert_input",
        "alert_output",
    },
    "sinks": {
        *("consumer", "database", "init", "ledger", "migrate", "outbox", "reference", "roles"),
        *("truth", "writer"),
        *("log_reader", "letters_out", "kafka_receiver", "mqtt_receiver", "people"),
        *("log_state", "settling", "locks", "maintenance", "service"),
    },
    "feeds": {
        *("api", "routes", "service"),
        *("report_output", "report_store", "kafka_source", "warm_start"),
        *("history_store", "list_routes", "document_routes"),
        *("token_store", "operation_store", "operations", "forgetting"),
    },
    "sensors_sim": {"dispatch_tablet", "mqtt_link"},
}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
    return {name.split(".")[0] for name in found}


def _modules(part: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_imports_the_contract_and_never_another_part(part: str) -> None:
    others = PARTS - {part} | {"benchmarks", "tests"}
    wrong = {path: _imports(ROOT / path) & others for path in _modules(part)}
    assert not {path: names for path, names in wrong.items() if names}


def test_only_the_command_line_and_the_embedded_stack_compose_parts() -> None:
    wrong = {
        path: _imports(ROOT / path) & PARTS
        for path in _modules("civicstream")
        if path not in COMPOSERS and path.parent not in COMPOSERS
    }
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_calculation_modules_import_no_client_library(part: str) -> None:
    wrong = {
        path: _imports(ROOT / path) & CLIENT_LIBRARIES
        for path in _modules(part)
        if path.stem not in RUNTIME_MODULES[part]
    }
    assert not {path: names for path, names in wrong.items() if names}
