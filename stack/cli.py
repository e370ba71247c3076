"""The command ``civicstream``: each process of the system is one sub-command.

Parts are imported only when their command runs, so one part's libraries never slow another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from civicstream import __version__
from civicstream.clock import declare
from civicstream.command_options import options_of
from civicstream.errors import CivicStreamError, ConfigurationError, ServerUnavailable
from civicstream.logs import set_up_logging
from civicstream.settings import Settings, load_settings
from stack.part_commands import PartCommands
from stack.up.options import StackOptions

__all__ = ["app", "command_tree", "main"]

app = typer.Typer(
    name="civicstream",
    cls=PartCommands,
    help="Smart-city event streaming: MQTT to Kafka to Faust to TimescaleDB, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML settings; the environment wins.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log the libraries too.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def command_tree() -> Any:
    """Return the whole command line as typer makes it, with the parts' own commands."""
    group: Any = typer.main.get_command(app)
    group.load_all()
    return group


def main() -> None:
    """Run the command line; our own errors are one line and exit code 2, not a traceback."""
    try:
        app()
    except CivicStreamError as error:
        sys.stderr.write(f"civicstream: {error}\n")
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from None


def _for_people(command: str, config: Path | None) -> Settings:
    """Set up a command that looks at a running stack."""
    set_up_logging(command)
    from stack.up.running_stack import load_command_settings

    return load_command_settings(config, command)


def _start(part: str, config: Path | None, verbose: bool) -> Settings:
    set_up_logging(part, verbose=verbose)
    settings = load_settings(config)
    declare(settings.clock.clock())
    return settings


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def gateway(config: Config = None, verbose: Verbose = False) -> None:
    """Take readings in from MQTT and put them on Kafka."""
    settings = _start("gateway", config, verbose)
    from ingest.service import run

    run(settings)


@app.command()
def worker(config: Config = None, verbose: Verbose = False) -> None:
    """Turn readings into windowed results (Faust)."""
    settings = _start("worker", config, verbose)
    # Before numpy is imported: many small matrices are solved faster by one thread than by all.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from streams.service import run

    run(settings)


@app.command()
def sink(config: Config = None, verbose: Verbose = False) -> None:
    """Write readings and results to TimescaleDB, exactly once in effect."""
    settings = _start("sink", config, verbose)
    from sinks.service import run

    run(settings)


@app.command()
def feeds(config: Config = None, verbose: Verbose = False) -> None:
    """Serve the operations page, the live feed, the API, CAP and Open311 over HTTP."""
    settings = _start("feeds", config, verbose)
    from feeds.service import run

    run(settings)


@app.command()
def alerts(config: Config = None, verbose: Verbose = False) -> None:
    """Raise alerts by the rules on everything the other parts publish."""
    settings = _start("alerts", config, verbose)
    from alerts.service import run

    run(settings)


@app.command()
def deliver(config: Config = None, verbose: Verbose = False) -> None:
    """Take alerts to their receivers (MQTT, webhooks, mail …); notify citizens of cases."""
    settings = _start("deliver", config, verbose)
    from alerts.deliveries.service import run

    run(settings)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="A bench of benchmarks/README.md, or all.")],
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Measuring time; start-up comes on top.")
    ] = None,
    readings: Annotated[
        int | None, typer.Option(min=1000, help="Measure this many readings instead.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of recorded data, for benches that use some.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object as last line.")] = False,
) -> None:
    """Measure a figure beside its peers; `all` writes benchmarks/results.md too."""
    set_up_logging("bench")
    from stack.benches import find_benches

    find_benches()
    from benchmarks.command import bench as run

    if not run(name, seconds=seconds, readings=readings, as_json=as_json, data=data):
        raise typer.Exit(1)


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="CSV file with a header, in order of time.")],
    timestamp_column: Annotated[str, typer.Option(help="Its column of times.")] = "timestamp",
    value_column: Annotated[str, typer.Option(help="Its column of values.")] = "value",
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="A line per row, not the ten most unusual.")
    ] = False,
) -> None:
    """Score each row of a recorded series by those before it; exit with 1 if any was rejected."""
    from streams.anomaly.score_command import score as run

    done = run(
        file,
        timestamp_column=timestamp_column,
        value_column=value_column,
        json_lines=json_lines,
        out=sys.stdout,
        errors=sys.stderr,
    )
    if done.rejected:
        raise typer.Exit(1)


@app.command()
@options_of(StackOptions)
def up(options: StackOptions) -> None:
    """Run the whole system on this machine, with a simulated city; Ctrl-C stops all of it."""
    set_up_logging("up")
    from stack.up.run import run

    run(options)


@app.command()
def tail(
    topic: Annotated[str, typer.Argument(help="E.g. results.traffic, frames.air, deadletter.")],
    start: Annotated[
        Literal["beginning", "end"],
        typer.Option("--from", help="What is there too, or new records only."),
    ] = "end",
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many lines.")] = None,
    area: Annotated[str | None, typer.Option(help="Only this area.")] = None,
    config: Config = None,
) -> None:
    """Print a Kafka topic as JSON lines, frames as one line per reading; Ctrl-C stops it."""
    settings = _for_people("tail", config)
    from civicstream.stopping import stop_on_signals
    from stack.tail import tail as run

    run(settings.kafka, topic, start=start, stop=stop_on_signals(), limit=limit, area=area)


@app.command()
def health(
    part: Annotated[
        Literal["gateway", "worker", "sink", "feeds", "alerts", "deliver"],
        typer.Argument(help="The part that is asked about."),
    ],
    instance: Annotated[str | None, typer.Option(help="Its id; else the settings'.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for its report.")] = 10,
    config: Config = None,
) -> None:
    """Exit with 0 when the part's next ledger report arrives in time, with 1 when not."""
    settings = _for_people("health", config)
    from stack.health import instance_of, wait_for_report

    instance = instance or instance_of(settings, part)
    wait_for_report(settings.kafka, part, instance, timeout_s=timeout)


@app.command()
def asyncapi(config: Config = None) -> None:
    """Print the AsyncAPI 3.0 document of the channels of devices and of all events."""
    settings = _for_people("asyncapi", config)
    import msgspec

    from civicstream.asyncapi import document

    typer.echo(msgspec.json.format(msgspec.json.encode(document(settings)), indent=2))


@app.command()
def init(
    config: Config = None,
    verbose: Verbose = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for servers that start.")] = 60,
    kafka_acls: Annotated[
        bool, typer.Option("--kafka-acls", help="Give each part its own Kafka account and rights.")
    ] = False,
) -> None:
    """Bring up database schema, roles, reference tables and Kafka topics; safe to run again."""
    settings = _start("init", config, verbose)
    from sinks.admin.init import run

    typer.echo(run(settings, wait_s=wait, kafka_acls=kafka_acls).summary())


@app.command()
def ledger(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds for what is in flight to arrive.")] = 5,
    rows: Annotated[bool, typer.Option("--rows", help="Count the rows of the tables too.")] = False,
    config: Config = None,
) -> None:
    """Print the balance from device to database row; exit with 1 when anything is lost.

    With 3 when Kafka or the database does not answer.
    """
    settings = _for_people("ledger", config)
    import msgspec

    from sinks.admin.ledger import read_balance, show
    from stack.up.running_stack import stopped_stack

    if stopped := stopped_stack(config):
        typer.echo(f"civicstream ledger: {stopped}", err=True)
        raise typer.Exit(3)
    try:
        found = read_balance(settings, wait_s=wait, count_rows=rows)
    except ServerUnavailable as error:
        # Not 1: whoever watches the exit code must not take this for a loss, nor for none.
        typer.echo(error, err=True)
        raise typer.Exit(3) from error
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        show(found)
    if found.problems:
        raise typer.Exit(1)


@app.command("privacy-keys")
def privacy_keys() -> None:
    """Print new keys for citizens' personal data as settings; the private one only opens."""
    from civicstream.personal import make_private_key, public_key_of

    private_key = make_private_key()
    typer.echo(f"CIVICSTREAM_PRIVACY__PUBLIC_KEY={public_key_of(private_key)}")
    typer.echo(f"CIVICSTREAM_PRIVACY__PRIVATE_KEY={private_key}")
    typer.echo(f"CIVICSTREAM_PRIVACY__PSEUDONYM_KEY={make_private_key()}")


@app.command()
def forget(
    pseudonym: Annotated[str, typer.Argument(help="The reporter: 32 hexadecimal digits.")],
    by: Annotated[str | None, typer.Option(help="Who decided it; else the user's name.")] = None,
    config: Config = None,
) -> None:
    """Erase what is known of a citizen as a person; their reports stay, of nobody."""
    settings = _for_people("forget", config)
    from sinks.admin.forgetting import forget as run

    typer.echo(run(settings, pseudonym, by=by).summary())


token = typer.Typer(help="Tokens of the feeds' callers.", no_args_is_help=True)
audit = typer.Typer(help="The log of who decided what.", no_args_is_help=True)
app.add_typer(token, name="token")
app.add_typer(audit, name="audit")


@token.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="Who gets it; the audit calls the bearer so.")],
    scope: Annotated[list[str], typer.Option(help="read, operate or admin; once for each.")],
    expires: Annotated[str, typer.Option(help="After 12h, 90d, 1y.")] = "90d",
    config: Config = None,
) -> None:
    """Make a token and print it, this once; the database keeps only its hash."""
    settings = _for_people("token", config)
    from sinks.admin.access_tokens import create_token

    typer.echo(create_token(settings, name, scope, expires).secret)


@token.command("list")
def token_list(config: Config = None) -> None:
    """List the tokens: id, state, name, scopes, end, last use."""
    settings = _for_people("token", config)
    from sinks.admin.access_tokens import list_tokens, show

    show(list_tokens(settings))


@token.command("revoke")
def token_revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    config: Config = None,
) -> None:
    """Revoke a token; within seconds its bearer is refused and cut off the live feed."""
    settings = _for_people("token", config)
    from sinks.admin.access_tokens import revoke_token

    typer.echo(f"revoked: token {id_} of {revoke_token(settings, id_)}")


@audit.command("verify")
def audit_verify(
    head: Annotated[
        str | None, typer.Option(help="What `audit head` printed before: finds a cut-off end.")
    ] = None,
    config: Config = None,
) -> None:
    """Compute the audit's chain of hashes again; exit with 1 and name the row that breaks it."""
    settings = _for_people("audit", config)
    from sinks.admin.audit import parse_head, verify

    found = verify(settings, parse_head(head) if head is not None else None)
    if found.problem is not None:
        typer.echo(f"BROKEN: {found.problem}; {found.rows} rows before it are whole")
        raise typer.Exit(1)
    typer.echo(f"whole: {found.rows} rows, head {found.head}")


@audit.command("head")
def audit_head(config: Config = None) -> None:
    """Print number and hash of the newest row, to keep where nobody can change it."""
    settings = _for_people("audit", config)
    from sinks.admin.audit import head

    typer.echo(str(head(settings)))


@app.command()
def truth(
    folder: Annotated[Path, typer.Argument(help="What `simulate --truth` writes.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    print_only: Annotated[
        bool, typer.Option("--print-only", help="Write no tables: needs no owner's rights.")
    ] = False,
    every: Annotated[
        float | None, typer.Option(min=1, help="Do so again every so many seconds.")
    ] = None,
    config: Config = None,
) -> None:
    """Hold what was detected against what the simulator says happened (simulation only)."""
    settings = _for_people("truth", config)
    import msgspec

    from sinks.truth.comparison import compare, keep_comparing, show

    if every is not None:
        from civicstream.stopping import stop_on_signals

        keep_comparing(settings, folder, every, stop_on_signals())
        return
    found = compare(settings, folder, write=not print_only)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
