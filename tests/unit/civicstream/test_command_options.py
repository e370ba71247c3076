"""A command takes its options from the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from civicstream.command_options import options_of


@dataclass(frozen=True)
class Options:
    source: Annotated[Path, typer.Argument(help="What is read.")]
    limit_s: Annotated[float, typer.Option("--limit", min=0, help="Seconds.")] = 2.0
    loud: Annotated[bool, typer.Option(help="Whether it is heard.")] = True


APP = typer.Typer()


@APP.command()
@options_of(Options)
def read(options: Options) -> None:
    """Read something."""
    typer.echo(repr(options))


def run(*arguments: str) -> str:
    return CliRunner().invoke(APP, arguments).output


def test_fields_are_options_with_their_types_names_and_defaults() -> None:
    assert eval(run("a.txt").replace("PosixPath", "Path")) == Options(Path("a.txt"))  # noqa: S307
    given = run("a.txt", "--limit", "3", "--no-loud").replace("PosixPath", "Path")
    assert eval(given) == Options(Path("a.txt"), 3.0, loud=False)  # noqa: S307


def test_the_help_is_that_of_the_fields_and_of_the_function() -> None:
    assert all(words in run("--help") for words in ("Read something.", "What is read.", "2.0"))


def test_a_value_of_the_wrong_type_or_out_of_range_is_refused() -> None:
    assert "--limit" in run("a.txt", "--limit", "soon")
    assert "--limit" in run("a.txt", "--limit", "-1")
    assert "source" in run()
