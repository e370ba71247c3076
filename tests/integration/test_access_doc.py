"""The commands of docs/feeds.md about access, operations and audit, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec

from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import ENV_PREFIX, AccessSettings, FeedsSettings, KafkaSettings
from feeds.access.callers import needed_scope
from feeds.operations.decisions import DECISIONS
from tests.kit.feeds_runs import feeds
from tests.kit.sink_events import alert
from tests.kit.sink_rows import loader

TEXT = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text(encoding="utf-8")
SECTIONS = ("Access", "Operations", "Audit")


def section(name: str) -> str:
    return re.split(r"^## ", TEXT.split(f"\n## {name}\n", 1)[1], flags=re.MULTILINE)[0]


def blocks(kind: str) -> list[str]:
    pattern = re.compile(rf"^```{kind}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [block for name in SECTIONS for block in pattern.findall(section(name))]


def test_the_commands_work_one_after_another(
    postgres: str, kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    with loader(postgres) as database:
        event = msgspec.json.encode(alert(id="a1"))
        database.write(database.record("city.alerts", event, []))
    with feeds(kafka, postgres, tmp_path, access__required="true") as front:
        port = front.url.split(":")[2].partition("/")[0]
        script = "\n".join(blocks("sh")).replace(":8311/", f":{port}/")
        assert script.count("civicstream ") >= 5
        known = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=known
            | {
                "CIVICSTREAM_DATABASE__OWNER_URL": postgres,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "NO_PROXY": "127.0.0.1",
            },
        )
    assert done.returncode == 0, done.stderr
    assert '"name":"desk-1"' in done.stdout
    assert '"note":"on our way"' in done.stdout
    assert done.stdout.count("whole: 1 rows") == 2


def test_the_settings_shown_are_settings() -> None:
    models = {"access": AccessSettings, "feeds": FeedsSettings}
    shown = [tomllib.loads(block) for block in blocks("toml")]
    assert len(shown) == 2
    for document in shown:
        for name, fields in document.items():
            models[name](**fields)


def test_the_tables_have_every_decision_and_the_states_that_allow_it() -> None:
    rows = re.findall(
        r"^\| `(\w+)s/{id}/(\w+)` \| (.*?)\| (.*?) \|$", section("Operations"), re.MULTILINE
    )
    assert {(kind, action) for kind, action, _, _ in rows} == set(DECISIONS)
    for kind, action, body, states in rows:
        decision = DECISIONS[kind, action]
        assert ("note required" in body) is bool(decision.note)
        assert ("`unit`" in body) is decision.unit
        for state in decision.states:
            assert state.replace("_", " ") in states, (kind, action)
    scopes = re.findall(r"^\| `(read|operate|admin)` \|", section("Access"), re.MULTILINE)
    assert scopes == ["read", "operate", "admin"]
    assert needed_scope("DELETE", "/api/v1/x") == "operate"
