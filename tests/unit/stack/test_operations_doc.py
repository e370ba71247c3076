"""docs/operations.md says what is: every setting with its default, every command and service."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from civicstream.settings import Settings
from stack.cli import command_tree

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def _defaults() -> dict[str, str]:
    """Variable -> default as the table writes it."""
    found = {}
    for section, outer in Settings.model_fields.items():
        model = outer.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for name, field in model.model_fields.items():
            default = field.default
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            hidden = default in (None, PydanticUndefined) or isinstance(default, SecretStr)
            variable = f"CIVICSTREAM_{section}__{name}".upper()
            found[variable] = "" if hidden else f"`{shown}`"
    return found


def test_the_table_has_every_setting_with_its_default_and_a_meaning() -> None:
    rows = re.findall(r"^\| `(CIVICSTREAM_\w+)` \| (.*?) ?\| (.+) \|$", TEXT, re.MULTILINE)
    assert {name: default for name, default, _ in rows} == _defaults()
    assert all(meaning.strip() for _, _, meaning in rows)


def test_every_docker_command_names_a_service_that_exists() -> None:
    commands = re.findall(
        r"docker compose (?:exec|logs(?: --\w+)*|run(?: --rm)?) (\w+)(?: (\w+))?", TEXT
    )
    assert commands
    for service, program in commands:
        assert service in SERVICES
        assert program in {"", "civicstream", "psql", "pg_dump"}


def test_every_civicstream_command_in_the_docs_exists() -> None:
    commands = set(command_tree().commands)
    named = set(re.findall(r"`?(?:\.venv/bin/)?civicstream ([a-z]+(?:-[a-z]+)*)\b", TEXT + README))
    assert named - {"up", "tail", "ledger"}
    assert named <= commands


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "operations.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"
