"""``civicstream bench``: run benches, print what they measured, write ``results.md``."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import typer

from benchmarks import registry
from benchmarks.goals import judge
from benchmarks.machine import describe_machine
from benchmarks.process_usage import busy_cores
from benchmarks.report import goal_line, markdown, result_lines
from civicstream.errors import CivicStreamError

__all__ = ["bench"]

log = logging.getLogger(__name__)

_QUIET_CORES = 0.2

RESULTS = Path(__file__).with_name("results.md")


def bench(
    name: str,
    *,
    seconds: float | None,
    readings: int | None,
    as_json: bool,
    data: Path | None = None,
) -> bool:
    """Run the bench ``name`` (or ``all``) and print it; True when all of them ran.

    ``all`` also writes ``results.md``. One bench that fails does not stop the others. With
    ``data`` is the folder of recorded data for benches that use some. With
    ``as_json`` the last line is one JSON object: the bench's, or name -> object for ``all``.
    """
    chosen = registry.find(name)
    # It complains of a busy machine and of connections we close; what matters it raises.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    started = datetime.now(UTC)
    results: dict[str, Mapping[str, object]] = {}
    for one in chosen:
        typer.echo(f"{one.name}: {one.measures}")
        busy = round(busy_cores(), 2)
        if busy > _QUIET_CORES:
            typer.echo(f"  {busy} cores are busy already: the figures will come out too low")
        try:
            with _sigterm_cleans_up():
                result = registry.run(one, seconds=seconds, readings=readings, data=data)
            results[one.name] = {**result, "cores_busy_before": busy}
        except (CivicStreamError, ImportError, OSError, RuntimeError) as error:
            if name != "all":
                raise
            log.exception("bench %s failed", one.name)
            results[one.name] = {"error": f"{type(error).__name__}: {error}"}
        for line in result_lines(results[one.name]):
            typer.echo(f"  {line}")
        for verdict in judge({one.name: results[one.name]}):
            typer.echo(f"  {goal_line(verdict)}")
    if name == "all":
        RESULTS.write_text(
            markdown(results, machine=describe_machine(), date=started.date().isoformat()),
            encoding="utf-8",
        )
        typer.echo(f"written: {RESULTS}")
    if as_json:
        printed = results if name == "all" else results[name]
        typer.echo(msgspec.json.encode(printed).decode())
    return not any("error" in result for result in results.values())


@contextmanager
def _sigterm_cleans_up() -> Iterator[None]:
    """Let SIGTERM end the bench through its context managers: no server outlives it."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
