"""What the documents name is there: settings, commands, options, topics, tables, files, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from civicstream.kafka.rights import RIGHTS
from civicstream.settings import Settings, environment_names
from civicstream.topics import TOPICS
from sinks.database.comments import groups
from stack.cli import command_tree

ROOT = Path(__file__).parents[2]
PARTS = (
    "civicstream",
    "stack",
    "ingest",
    "streams",
    "alerts",
    "sinks",
    "feeds",
    "sensors_sim",
    "benchmarks",
)
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "*/*.md", "docs/decisions/*.md", "*/*/README.md")
    for path in ROOT.glob(pattern)
    if ".venv" not in path.parts and path.name != "CHANGELOG.md"  # which tells of what was
)
COMMANDS = command_tree()
TABLES = {name for group in groups() for name in group.tables}
"""Every table and view: held against a database by test_table_comments.py."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


documents = pytest.mark.parametrize("document", DOCUMENTS, ids=name)


def code_of(text: str) -> Iterator[str]:
    """Yield inline code and the lines of code blocks, continued lines joined."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", text)


@documents
def test_every_setting_exists(document: Path) -> None:
    named = set(re.findall(r"\bCIVICSTREAM_[A-Z0-9_]+\b", document.read_text(encoding="utf-8")))
    there = environment_names()
    prefixes = {n for n in named if n.endswith("_") and any(t.startswith(n) for t in there)}
    assert named - prefixes - there == set()


def options_of(command: click.Command) -> set[str]:
    listed = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o[:1] == "-"}
    return listed | {"--help"}


def wrong_in(words: list[str]) -> str | None:
    """Return what of the words after ``civicstream`` names no command or no option of it."""
    command: click.Command = COMMANDS
    for word in words:
        if word in {"|", ">", "&", "&&", ";", "#", "2>"}:
            return None
        subcommands = getattr(command, "commands", {})
        if word.startswith("-"):
            option = word.partition("=")[0].rstrip(".,;:)]")
            if option not in options_of(command) and not re.fullmatch(r"-\d.*", option):
                return f"{command.name} {option}"
        elif word in subcommands:
            command = subcommands[word]
        elif subcommands and re.fullmatch(r"[a-z][a-z-]+", word):
            return word
    return None


@documents
def test_every_command_and_option_exists(document: Path) -> None:
    wrong = []
    for code in code_of(document.read_text(encoding="utf-8")):
        for given in re.findall(r"(?:^|[\s/])civicstream ((?:[a-z-][^`]*))", code):
            found = wrong_in(given.split())
            wrong += [f"{found!r} in {code!r}"] if found else []
    assert wrong == []


def test_the_readme_lists_every_command() -> None:
    listed = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands")[2]
    assert {
        n for n in COMMANDS.commands if not re.search(rf"`(civicstream )?{n}\b", listed)
    } == set()


def test_every_command_and_option_has_a_help_text() -> None:
    assert silent_in(COMMANDS, "civicstream") == []


def silent_in(command: click.Command, path: str) -> list[str]:
    """Return the commands and parameters, however deep, whose help says nothing."""
    found = [] if command.help else [path]
    found += [f"{path} {p.name}" for p in command.params if not getattr(p, "help", None)]
    for name, inner in getattr(command, "commands", {}).items():
        found += silent_in(inner, f"{path} {name}")
    return found


@documents
def test_every_dotted_name_is_a_module_a_setting_or_a_topic(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    known = {f"city.{topic}" for topic in TOPICS} | {f"city.{part}" for part in RIGHTS}
    known |= {f"{section}.{field}" for section, field in settings()} | TABLES
    first = "|".join({*PARTS, *Settings.model_fields, "city"})
    named = set(re.findall(rf"`((?:{first})(?:\.[a-z_]+)+)`", text))
    assert {n for n in named - known if not is_module(n) and not is_file(n)} == set()


def settings() -> Iterator[tuple[str, str]]:
    for section, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        yield from ((section, inner) for inner in field.annotation.model_fields)


def is_module(dotted: str) -> bool:
    path = ROOT / dotted.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def is_file(name: str) -> bool:
    return name.rpartition(".")[2] in {"py", "md", "toml", "json", "geojson", "yml"}


@documents
def test_every_file_of_the_project_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|toml|sql|sh|conf|yml))`", text)
    tops = {path.name for path in ROOT.iterdir()}
    missing = [
        path
        for path in named
        if path.partition("/")[0] in tops - {"data"}
        and not any((at / path).exists() for at in (ROOT, document.parent))
    ]
    assert missing == []


@documents
def test_every_link_leads_somewhere(document: Path) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        to = document.parent / path if path else document
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            missing.append(target)
    assert missing == []


def test_every_page_is_reached_from_the_readme_and_every_decision_from_the_architecture() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if f"]({page})" not in readme} == set()
    decisions = {f"decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("*.md")}
    assert {page for page in decisions if f"]({page})" not in architecture} == set()


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as code hosts make them."""
    heads = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower())
        .strip()
        .replace(" ", "-")
        for head in heads
    }


@documents
def test_every_table_in_a_statement_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    statements = [c for c in code_of(text) if re.search(r"\b(SELECT|DELETE|UPDATE|INSERT)\b", c)]
    tables = {
        table
        for statement in statements
        for table in re.findall(
            r"\b(?:FROM|JOIN|INTO|UPDATE) ([a-z_][a-z0-9_.]*)\b(?!\()", statement
        )
    }
    assert tables - TABLES == set()
