"""Which table the events of each topic go to, and which tables keep only the newest of a key."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from civicstream.event_topics import EVENTS
from civicstream.events import (
    Alert,
    Anomaly,
    FrameGap,
    Incident,
    SensorHealth,
)
from civicstream.service_events import (
    Action,
    Allocation,
    BinForecast,
    Case,
    CrewAction,
    Demand,
    ParkingForecast,
    Report,
    Tour,
    Unit,
)
from sinks.histories import history_table, newest_table
from sinks.intelligence import ANOMALIES, INCIDENTS, SENSOR_HEALTH
from sinks.tables import BulkTable

__all__ = [
    "ACTIONS",
    "ALERTS",
    "ALLOCATIONS",
    "BIN_FORECASTS",
    "CASES",
    "DEMAND",
    "FRAME_GAPS",
    "HISTORIES",
    "NEWEST",
    "PARKING_FORECASTS",
    "REPORTS",
    "STORED_EVENTS",
    "TOURS",
    "UNITS",
    "newest_of_each",
]

# These the sink reads in ways of their own.
_OTHERWISE = {"private", "deadletter", "ledger"}

STORED_EVENTS = {topic: event for topic, event in EVENTS.items() if topic not in _OTHERWISE}
"""Topics whose events become rows of the tables below."""

REPORTS = history_table("citizen_reports", Report, ("id",))
CASES = history_table("cases", Case, ("id", "version"))
UNITS = history_table("units", Unit, ("id", "at"))
ALLOCATIONS = history_table("allocations", Allocation, ("id", "version"))
DEMAND = history_table("demand", Demand, ("area", "service", "at"))
ACTIONS = history_table("actions", Action, ("id",))
BIN_FORECASTS = history_table("bin_forecasts", BinForecast, ("sensor_key", "at"))
PARKING_FORECASTS = history_table("parking_forecasts", ParkingForecast, ("sensor_key", "at"))
TOURS = history_table("tours", Tour, ("id", "version"))
ALERTS = history_table("alerts", Alert, ("id", "version"))
FRAME_GAPS = history_table(
    "frame_gaps", FrameGap, ("gateway", "epoch", "topic", "partition", "first")
)

HISTORIES: dict[type[msgspec.Struct], BulkTable] = {
    Incident: INCIDENTS,
    SensorHealth: SENSOR_HEALTH,
    Anomaly: ANOMALIES,
    Report: REPORTS,
    Case: CASES,
    Unit: UNITS,
    Allocation: ALLOCATIONS,
    Demand: DEMAND,
    Action: ACTIONS,
    CrewAction: ACTIONS,
    BinForecast: BIN_FORECASTS,
    ParkingForecast: PARKING_FORECASTS,
    Tour: TOURS,
    Alert: ALERTS,
    FrameGap: FRAME_GAPS,
}
"""Events that become a row each."""

NEWEST: dict[type[msgspec.Struct], BulkTable] = {
    Unit: newest_table("units_current", Unit, ("id",), "at"),
    Demand: newest_table("demand_current", Demand, ("area", "service"), "at"),
    BinForecast: newest_table("bins_current", BinForecast, ("sensor_key",), "at"),
    ParkingForecast: newest_table("parking_current", ParkingForecast, ("sensor_key",), "at"),
}
"""Events of which the newest of each key is kept apart, so that it is found among millions."""


def newest_of_each(events: Sequence[msgspec.Struct], table: BulkTable) -> list[msgspec.Struct]:
    """Return the newest event of each key of ``table``; of two at the same time the first."""
    newest: dict[tuple[object, ...], msgspec.Struct] = {}
    for event in events:
        key = tuple(getattr(event, column) for column in table.key)
        known = newest.get(key)
        if known is None or event.at > known.at:  # type: ignore[attr-defined]
            newest[key] = event
    return list(newest.values())
