"""The kinds of observation, declared once.

From a declaration follow the JSON decoder and validator (``readings``), the Arrow schema
of the frames (``frames``), the database columns (``sinks``), the simulator's channel
(``sensors_sim``) and the AsyncAPI document. Names follow the FIWARE Smart Data Models
where these have one. Adding a kind is one entry in ``KINDS``.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

__all__ = ["KINDS", "Kind", "Measure", "sensor_key"]


@dataclass(frozen=True)
class Measure:
    """One measured quantity: its name, unit and the closed range that is physically possible."""

    name: str
    unit: str
    minimum: float = -math.inf
    maximum: float = math.inf
    required: bool = False
    integer: bool = False
    hint: str = ""
    """What a device that is out of range probably got wrong; ends the error message."""

    @property
    def column(self) -> str:
        """Database column: the name in snake case, e.g. ``average_vehicle_speed``."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in self.name).lstrip("_")

    @property
    def range_text(self) -> str:
        return f"{self.minimum:g}..{self.maximum:g}"


@dataclass(frozen=True)
class Kind:
    """A kind of observation; ``measures`` in the order of the frame's columns."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    default_interval_s: int = 60
    """How often such a sensor usually reports."""

    @cached_property
    def measure_names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.measures)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.measures if m.required)


_FRACTION = "expected a fraction, not percent"

_ALL = (
    Kind(
        "traffic",
        "FIWARE TrafficFlowObserved: one detector's count and speed over a period",
        (
            Measure("intensity", "vehicles in the period", 0, 10_000, required=True),
            Measure("averageVehicleSpeed", "km/h", 0, 300, hint="expected km/h"),
            Measure("occupancy", "fraction of time", 0, 1, hint=_FRACTION),
            Measure("period", "s", 0.1, 3600, required=True, hint="expected seconds"),
            Measure("lane", "number from the median", 0, 20, integer=True),
        ),
        default_interval_s=20,
    ),
    Kind(
        "air",
        "FIWARE AirQualityObserved",
        (
            Measure("pm25", "µg/m³", 0, 2_000),
            Measure("pm10", "µg/m³", 0, 5_000),
            Measure("no2", "µg/m³", 0, 5_000),
            Measure("o3", "µg/m³", 0, 2_000),
            Measure("co", "mg/m³", 0, 500),
            Measure("so2", "µg/m³", 0, 5_000),
        ),
    ),
    Kind(
        "noise",
        "FIWARE NoiseLevelObserved",
        (
            Measure("LAeq", "dB(A)", 0, 194, required=True),
            Measure("LAmax", "dB(A)", 0, 194),
        ),
    ),
    Kind(
        "weather",
        "FIWARE WeatherObserved",
        (
            Measure("temperature", "°C", -90, 70, hint="expected degrees Celsius"),
            Measure("relativeHumidity", "fraction", 0, 1, hint=_FRACTION),
            Measure("windSpeed", "m/s", 0, 120),
            Measure("windDirection", "degrees from north", 0, 360),
            Measure("precipitation", "mm/h", 0, 500),
            Measure("atmosphericPressure", "hPa", 500, 1100, hint="expected hPa"),
        ),
    ),
    Kind(
        "parking",
        "FIWARE OffStreetParking / ParkingGroup occupancy",
        (
            Measure("availableSpotNumber", "spots", 0, 100_000, required=True, integer=True),
            Measure("totalSpotNumber", "spots", 0, 100_000, integer=True),
        ),
    ),
    Kind(
        "waste",
        "FIWARE WasteContainer",
        (
            Measure("fillingLevel", "fraction", 0, 1, required=True, hint=_FRACTION),
            Measure("temperature", "°C", -90, 1000),
        ),
        default_interval_s=300,
    ),
    Kind(
        "water",
        "FIWARE WaterObserved: level and flow in a channel or main",
        (
            Measure("level", "m", -100, 10_000),
            Measure("flow", "m³/s", -100_000, 1_000_000),
            Measure("pressure", "bar", 0, 100),
        ),
    ),
    Kind(
        "energy",
        "FIWARE ACMeasurement: consumption of a grid node",
        (
            Measure("activePower", "kW", -1_000_000, 1_000_000, required=True),
            Measure("activeEnergyImport", "kWh, counter", 0, 1e12),
            Measure("voltage", "V", 0, 1_000_000),
        ),
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def sensor_key(kind: str, area: str, sensor: str) -> int:
    """Return the sensor's stable signed 64-bit identity.

    A hash of the topic tail ``kind/area/sensor``: gateways, workers and the database agree on
    it without a registry. With a million sensors the chance of any collision is 3e-8.
    """
    digest = hashlib.blake2b(f"{kind}/{area}/{sensor}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
