"""docs/reports.md says what is: its examples are accepted, its names exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

from civicstream.services import load_services
from civicstream.settings import Settings, environment_names
from stack.cli import command_tree
from tests.kit.report_bench import NOW, ReportBench

TEXT = (Path(__file__).parents[3] / "docs" / "reports.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]


def test_the_examples_of_messages_are_taken_in() -> None:
    report, unit, decision = EXAMPLES
    bench = ReportBench()
    bench.receive(report)
    bench.receive(unit | {"task": "case/1"}, "city/v1/unit/north/tow-3")
    bench.receive(decision | {"allocation": "a1", "ts": NOW}, "city/v1/unit/north/tow-3")
    assert not bench.dead_letters()
    topics = [pending.event.topic for pending in bench.intake.events]
    assert topics == ["reports", "private", "units", "crew_actions"]


def test_every_setting_it_names_exists() -> None:
    variables = set(re.findall(r"CIVICSTREAM_[A-Z_0-9]+__[A-Z_0-9]+", TEXT))
    assert variables
    assert variables <= environment_names()
    for section, field in re.findall(r"`(reports|feeds|privacy)\.([a-z_0-9]+)`", TEXT):
        model = Settings.model_fields[section].annotation
        assert field in model.model_fields, f"{section}.{field}"  # type: ignore[union-attr]


def test_it_counts_the_packaged_services_and_names_commands_that_exist() -> None:
    assert f"has {len(load_services())} types" in TEXT
    commands = set(command_tree().commands)
    named = set(re.findall(r"(?:`|^)civicstream ([a-z-]+)", TEXT, re.MULTILINE))
    assert named >= {"feeds", "health"}
    assert named <= commands
