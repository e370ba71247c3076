"""Which event each topic holds, one JSON document a record; frames are Arrow (frames.py)."""

from __future__ import annotations

import msgspec

from civicstream.events import (
    Alert,
    Anomaly,
    DeadLetter,
    EnvironmentResult,
    FrameGap,
    Incident,
    LedgerReport,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
)
from civicstream.service_events import (
    Action,
    Allocation,
    BinForecast,
    Case,
    CrewAction,
    Demand,
    ParkingForecast,
    PersonalRecord,
    Report,
    Tour,
    Unit,
)

__all__ = ["EVENTS"]

EVENTS: dict[str, type[msgspec.Struct]] = {
    "results.traffic": TrafficResult,
    "results.environment": EnvironmentResult,
    "incidents": Incident,
    "forecasts": TrafficForecast,
    "health": SensorHealth,
    "anomalies": Anomaly,
    "reports": Report,
    "cases": Case,
    "units": Unit,
    "allocations": Allocation,
    "demand": Demand,
    "actions": Action,
    "crew_actions": CrewAction,
    "bins": BinForecast,
    "parking": ParkingForecast,
    "tours": Tour,
    "private": PersonalRecord,
    "alerts": Alert,
    "gaps": FrameGap,
    "deadletter": DeadLetter,
    "ledger": LedgerReport,
}
"""By topic, without the prefix."""
