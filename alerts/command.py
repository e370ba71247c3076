"""`civicstream rules check` and `civicstream rules test`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="rules",
    help="Alert rules: check a file, or see what it would have raised.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RulesFile = Annotated[Path, typer.Argument(help="Rules as TOML; docs/alerts.md.")]


@app.command()
def check(file: RulesFile) -> None:
    """Say what is wrong in a rules file: line, rule, field, and what to write instead."""
    from alerts.rules.rule_file import load_rules

    rules = load_rules(file)
    typer.echo(f"{file}: {len(rules)} rules on {', '.join(sorted(rules.sources))}")


@app.command("test")
def rehearse_rules(
    file: RulesFile,
    recorded: Annotated[
        list[str] | None,
        typer.Argument(help="Files of `civicstream tail TOPIC`, named for it or TOPIC=FILE."),
    ] = None,
    last: Annotated[
        str | None, typer.Option(help="Take the last hours from Kafka instead, e.g. 2h.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line per version.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML settings; the environment wins.")
    ] = None,
) -> None:
    """Run a rules file over recorded results and print what would have fired."""
    import sys

    import msgspec

    from alerts.engine.places import Places
    from alerts.rehearsal import read_recorded, rehearse, show
    from alerts.rules.rule_file import load_rules
    from civicstream.city import City
    from civicstream.errors import ConfigurationError
    from civicstream.geojson import read_city
    from civicstream.settings import load_settings

    rules, settings = load_rules(file), load_settings(config)
    if (last is None) == (not recorded):
        raise ConfigurationError("name recorded files or --last, e.g. --last 2h; one of the two")
    if last is None:
        events = read_recorded(recorded or [])
    else:
        from alerts.alert_input import read_last

        events = read_last(settings, last)
    city = read_city(settings.city.file) if settings.city.file else City()
    found = rehearse(rules, Places.of_city(city), events)
    if as_json:
        for alert in found.versions:
            typer.echo(msgspec.json.encode(alert))
    else:
        show(found, sys.stdout)
