"""The commands of docs/feeds.md about the history, run as they stand there against real feeds."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

from civicstream.settings import FeedsSettings, KafkaSettings
from tests.kit.citizen_events import case
from tests.kit.feeds_runs import feeds
from tests.kit.history_runs import history, put, put_city
from tests.kit.sink_rows import loader

TEXT = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text(encoding="utf-8")
SECTIONS = ("History API", "Open data")
MAY_4 = 1_777_890_000_000


def section(name: str) -> str:
    return re.split(r"^## ", TEXT.split(f"\n## {name}\n", 1)[1], flags=re.MULTILINE)[0]


def blocks(kind: str) -> list[str]:
    pattern = re.compile(rf"^```{kind}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [block for name in SECTIONS for block in pattern.findall(section(name))]


def test_the_commands_answer_as_the_text_says(
    postgres: str, kafka: KafkaSettings, tmp_path: Path
) -> None:
    with loader(postgres) as loaded:
        put_city(postgres)
        put(loaded, "cases", case(opened_at=MAY_4, updated_at=MAY_4))
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 9
    answers = {}
    with feeds(kafka, postgres, tmp_path, feeds__open_data="true") as front:
        port = front.url.split(":")[2].partition("/")[0]
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", command.replace(":8311/", f":{port}/")],
                capture_output=True,
                timeout=60,
                check=True,
                env={"PATH": "/usr/bin:/bin", "NO_PROXY": "127.0.0.1"},
            )
            address = re.search(r"8311(/\S+)\"", command)
            assert address, command
            answers[address.group(1)] = done.stdout
    document = json.loads(answers["/api/v1/openapi.json"])
    listed = set(
        re.findall(
            r"`([\w/{}-]+)`",
            "\n".join(
                line.split("|")[1]
                for line in section("History API").splitlines()
                if line.startswith("| `")
            ),
        )
    )
    assert listed <= {path.lstrip("/") for path in document["paths"]}
    assert len(listed) > 25
    csv = next(text for address, text in answers.items() if "format=csv" in address).decode()
    assert [line.split(",")[0] for line in csv.splitlines()] == ["id", "c1"]
    segments = json.loads(answers["/api/v1/segments?format=geojson"])["features"]
    assert [feature["id"] for feature in segments] == ["s1", "s2", "s3"]
    state = json.loads(answers["/api/v1/state?topics=segments,incidents"])["state"]
    assert set(state) == {"segments", "incidents"}
    refused = json.loads(answers["/api/v1/cases?state=closed"])
    assert (refused["status"], refused["parameter"], refused["value"]) == (400, "state", "closed")
    assert "in_progress" in refused["detail"]
    opened = json.loads(answers["/open/v1/cases?format=geojson"])
    assert opened["features"][0]["id"] == "c1"


def test_the_settings_and_the_paths_shown_are_there(postgres: str) -> None:
    (shown,) = [tomllib.loads(block) for block in blocks("toml")]
    settings = FeedsSettings(**shown["feeds"])
    assert settings.open_data
    for name in re.findall(r"CIVICSTREAM_FEEDS__(\w+)", "".join(map(section, SECTIONS))):
        assert name.lower() in FeedsSettings.model_fields
    with history(postgres, open_data=True) as api:
        opened = api.get("/open/v1/openapi.json").json()["paths"]
    assert {f"/open/v1{path}" for path in opened} == set(
        re.findall(r"`(/open/v1/[\w/{}]+)`", section("Open data"))
    )
