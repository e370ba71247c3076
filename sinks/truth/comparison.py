"""`civicstream truth`: holds what was detected against what the simulator says happened."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import msgspec
from psycopg import errors, sql
from rich.console import Console
from rich.table import Table

from civicstream.clock import rfc3339
from civicstream.errors import CivicStreamError, ConfigurationError
from civicstream.postgres import Connection, connect, translated
from civicstream.settings import Settings
from sinks.database.roles import OWNER
from sinks.truth.files import RecordedTruth, Span, read_truth
from sinks.truth.matching import (
    FaultOutcome,
    IncidentOutcome,
    Rules,
    match_faults,
    match_incidents,
)
from sinks.truth.summary import FaultFigures, IncidentFigures, fault_figures, incident_figures
from sinks.truth.tables import (
    detections,
    flows_before,
    newest_window,
    places_in_detectors,
    unhealthy_changes,
    write_faults,
    write_incidents,
)

__all__ = ["Comparison", "compare", "keep_comparing", "show"]

log = logging.getLogger(__name__)

_LOCK = 0x0C171C59
"""Advisory lock: two comparisons at once would mix their rows."""


class Comparison(msgspec.Struct, frozen=True):
    """The figures up to ``until_ms``, the newest window in the database (event time)."""

    span: Span
    until_ms: int
    incidents: IncidentFigures
    sensor_health: FaultFigures | None
    """None where the simulator broke no sensors."""


def compare(settings: Settings, folder: Path, *, write: bool = True) -> Comparison:
    """Return the comparison of the truth in ``folder`` with the database.

    ``write`` keeps it in the tables ``simulation_incidents`` and ``simulation_sensor_faults``,
    for which it connects as the owner. Raise ConfigurationError where that is not allowed, or
    where folder and database do not belong together.
    """
    truth = read_truth(folder)
    database = settings.database
    url = (database.owner_url or database.url) if write else database.url
    with connect(url, "civicstream-truth") as connection, translated():
        if write:
            _become_owner(connection)
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        return _compare(connection, truth, write=write)


def keep_comparing(settings: Settings, folder: Path, every_s: float, stop: threading.Event) -> None:
    """Write the comparison into its tables every ``every_s`` seconds until ``stop`` is set."""
    while not stop.wait(every_s):
        try:
            compare(settings, folder)
        except CivicStreamError as error:
            log.warning("not compared this time: %s", error)


def _become_owner(connection: Connection) -> None:
    try:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
    except (errors.InsufficientPrivilege, errors.InvalidParameterValue) as error:
        raise ConfigurationError(
            f"role {connection.info.user!r} may not make the tables of the comparison "
            f"({error.diag.message_primary}); set CIVICSTREAM_DATABASE__OWNER_URL to the role "
            "that ran civicstream init, or use --print-only"
        ) from error


def _compare(connection: Connection, truth: RecordedTruth, *, write: bool) -> Comparison:
    rules, span = Rules(), truth.span
    until = newest_window(connection)
    now_ms = span.start_ms if until is None else until
    places = places_in_detectors(connection, [i.segment for i in truth.incidents])
    demand = flows_before(connection, [(i.id, i.segment, i.start_ms) for i in truth.incidents])
    incidents: list[IncidentOutcome] = match_incidents(
        truth.incidents, detections(connection), places, span, now_ms, rules
    )
    faults: list[FaultOutcome] | None = None
    if truth.faults is not None:
        faults = match_faults(truth.faults, unhealthy_changes(connection), span, now_ms, rules)
    if write:
        write_incidents(connection, incidents, demand)
        if faults is not None:
            write_faults(connection, faults)
    return Comparison(
        span,
        now_ms,
        incident_figures(incidents, demand, span, len(places)),
        None if faults is None else fault_figures(faults),
    )


def show(found: Comparison) -> None:
    """Print the figures for people."""
    console = Console()
    console.print(
        f"event time {rfc3339(found.span.start_ms)} to {rfc3339(found.span.end_ms)}, "
        f"windows up to {rfc3339(found.until_ms)}",
        highlight=False,
    )
    i = found.incidents
    table = Table("incidents", "", title_justify="left")
    for name, value in (
        ("truly happened", f"{i.incidents} ({i.pending} too young to say)"),
        ("detected", f"{i.detected} ({_percent(i.detection_rate)})"),
        ("of the heavy ones", f"{_percent(i.heavy_detection_rate)} of {i.heavy_incidents}"),
        ("false alarms", f"{i.false_alarms} ({_per_day(i)})"),
        ("repeated detections", str(i.repeated)),
        ("time to detect", f"mean {_seconds(i.mttd_s)}, median {_seconds(i.median_ttd_s)}"),
    ):
        table.add_row(name, value)
    console.print(table)
    if found.sensor_health:
        console.print(_fault_table(found.sensor_health))


def _fault_table(h: FaultFigures) -> Table:
    table = Table("broken sensors", "")
    table.add_row("broken", f"{h.broken} ({h.pending} too young to say)")
    table.add_row("detected", f"{h.detected} ({_percent(h.detection_rate)})")
    for fault, share in h.by_fault.items():
        names = ", ".join(f"{n} as {name}" for name, n in sorted(h.named_as.get(fault, {}).items()))
        table.add_row(f"  {fault}", f"{_percent(share)} {names}")
    table.add_row("false alarms", str(h.false_alarms))
    table.add_row("time to detect", f"mean {_seconds(h.mttd_s)}, median {_seconds(h.median_ttd_s)}")
    return table


def _percent(share: float | None) -> str:
    return "none yet" if share is None else f"{share:.0%}"


def _seconds(value: float | None) -> str:
    return "none yet" if value is None else f"{value:.0f} s"


def _per_day(i: IncidentFigures) -> str:
    rate = i.false_alarms_per_day_per_100_segments
    return "none yet" if rate is None else f"{rate:.2f} a day and 100 segments"
