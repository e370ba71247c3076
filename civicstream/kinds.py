"""The kinds of observation, declared once.

From a declaration follow the JSON decoder and validator (``ingest/readings``), the Arrow schema of
the frames (``frames``), the Kafka topic (``topics``), the database tables (``sinks``), the
simulated sensors (``sensors_sim``), what their health is judged by (``streams/health``) and the
AsyncAPI document. Names follow the FIWARE Smart Data Models where these have one. Adding a kind
is one entry at the end of ``_ALL``; docs/extending.md has an example.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from civicstream.measures import Contradiction, Expected, Measure, StepLimit

__all__ = ["KINDS", "Kind", "Measure", "sensor_key"]


@dataclass(frozen=True)
class Kind:
    """A kind of observation; ``measures`` in the order of the frame's columns."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    default_interval_s: int = 60
    """How often such a sensor usually reports."""
    share: float = 0.02
    """Share of the sensors of a simulated city; traffic has what the others leave."""
    contradictions: tuple[Contradiction, ...] = ()
    """What no healthy sensor reports."""

    @cached_property
    def measure_names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.measures)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.measures if m.required)


_FRACTION = "expected a fraction, not percent"
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def _gas(name: str, unit: str, maximum: float, neighbour_floor: float) -> Measure:
    expected = Expected(
        still_s=30 * _MINUTE, trivial=(0.0,), noise="relative", neighbour_floor=neighbour_floor
    )
    return Measure(name, unit, 0, maximum, expected=expected)


_ALL = (
    Kind(
        "traffic",
        "FIWARE TrafficFlowObserved: one detector's count and speed over a period",
        (
            Measure(
                "intensity",
                "vehicles in the period",
                0,
                10_000,
                required=True,
                expected=Expected(
                    still_s=10 * _MINUTE,
                    trivial=(0.0,),
                    noise="poisson",
                    neighbour_floor=0.015,  # [veh/s], 54 vehicles an hour
                    per="period",
                ),
            ),
            Measure(
                "averageVehicleSpeed",
                "km/h",
                0,
                300,
                hint="expected km/h",
                expected=Expected(
                    still_s=3 * _MINUTE,
                    trivial=(0.0,),
                    noise="sampled",
                    neighbour_floor=2.5,
                    weight="intensity",
                ),
            ),
            Measure(
                "occupancy",
                "fraction of time",
                0,
                1,
                hint=_FRACTION,
                expected=Expected(still_s=5 * _MINUTE, trivial=(0.0,), anomalies=False),
            ),
            Measure(
                "period", "s", 0.1, 3600, required=True, hint="expected seconds", expected=None
            ),
            Measure("lane", "number from the median", 0, 20, integer=True, expected=None),
        ),
        default_interval_s=20,
        share=0.60,
    ),
    Kind(
        "air",
        "FIWARE AirQualityObserved",
        (
            _gas("pm25", "µg/m³", 2_000, neighbour_floor=3.0),
            _gas("pm10", "µg/m³", 5_000, neighbour_floor=5.0),
            _gas("no2", "µg/m³", 5_000, neighbour_floor=5.0),
            _gas("o3", "µg/m³", 2_000, neighbour_floor=6.0),
            _gas("co", "mg/m³", 500, neighbour_floor=0.1),
            _gas("so2", "µg/m³", 5_000, neighbour_floor=2.0),
        ),
        share=0.03,
        contradictions=(
            Contradiction(
                "PM2.5 above PM10, of which it is a part", "pm25", "pm10", factor=1.2, slack=5.0
            ),
        ),
    ),
    Kind(
        "noise",
        "FIWARE NoiseLevelObserved",
        (
            Measure(
                "LAeq",
                "dB(A)",
                0,
                194,
                required=True,
                expected=Expected(still_s=10 * _MINUTE, noise="additive", neighbour_floor=1.5),
            ),
            Measure(
                "LAmax",
                "dB(A)",
                0,
                194,
                expected=Expected(still_s=10 * _MINUTE, anomalies=False),
            ),
        ),
        share=0.04,
        contradictions=(
            Contradiction("a loudest level below the mean level", "LAeq", "LAmax", slack=0.5),
        ),
    ),
    # Steps: the limits for erroneous one-minute values of the World Meteorological Organization's
    # guidelines on quality control for automatic stations (Zahumensky 2004).
    Kind(
        "weather",
        "FIWARE WeatherObserved",
        (
            Measure(
                "temperature",
                "°C",
                -90,
                70,
                hint="expected degrees Celsius",
                expected=Expected(
                    still_s=_HOUR,
                    noise="additive",
                    neighbour_floor=0.5,
                    step=StepLimit(3.0, 3.0, "temperature changes faster than air can"),
                ),
            ),
            Measure(
                "relativeHumidity",
                "fraction",
                0,
                1,
                hint=_FRACTION,
                expected=Expected(
                    still_s=2 * _HOUR,
                    trivial=(1.0,),  # fog
                    noise="additive",
                    neighbour_floor=0.03,
                    step=StepLimit(0.15, 0.15, "humidity changes faster than air can"),
                ),
            ),
            Measure(
                "windSpeed",
                "m/s",
                0,
                120,
                expected=Expected(
                    still_s=30 * _MINUTE,
                    trivial=(0.0,),
                    noise="relative",
                    neighbour_floor=1.0,
                    step=StepLimit(20.0, 20.0, "wind changes faster than air can"),
                ),
            ),
            Measure("windDirection", "degrees from north", 0, 360, expected=None),
            Measure(
                "precipitation",
                "mm/h",
                0,
                500,
                expected=Expected(still_s=_HOUR, trivial=(0.0,)),
            ),
            Measure(
                "atmosphericPressure",
                "hPa",
                500,
                1100,
                hint="expected hPa",
                expected=Expected(
                    still_s=3 * _HOUR,
                    noise="additive",
                    neighbour_floor=0.5,
                    step=StepLimit(2.0, 2.0, "pressure changes faster than air can"),
                ),
            ),
        ),
        share=0.02,
    ),
    Kind(
        "parking",
        "FIWARE OffStreetParking / ParkingGroup occupancy",
        (
            Measure(
                "availableSpotNumber",
                "spots",
                0,
                100_000,
                required=True,
                integer=True,
                # A car park stands still all night, a full or an empty one for days.
                expected=Expected(
                    still_s=14 * _HOUR, repeats=0.8, trivial=(0.0,), trivial_at="totalSpotNumber"
                ),
            ),
            Measure("totalSpotNumber", "spots", 0, 100_000, integer=True, expected=None),
        ),
        share=0.10,
        contradictions=(
            Contradiction("more free spots than spots", "availableSpotNumber", "totalSpotNumber"),
        ),
    ),
    Kind(
        "waste",
        "FIWARE WasteContainer",
        (
            Measure(
                "fillingLevel",
                "fraction",
                0,
                1,
                required=True,
                hint=_FRACTION,
                expected=Expected(
                    still_s=5 * _DAY, repeats=0.9, trivial=(0.0, 1.0), anomalies=False
                ),
            ),
            Measure(
                "temperature",
                "°C",
                -90,
                1000,
                expected=Expected(still_s=3 * _HOUR, noise="additive", neighbour_floor=3.0),
            ),
        ),
        default_interval_s=300,
        share=0.08,
    ),
    Kind(
        "water",
        "FIWARE WaterObserved: level and flow in a channel or main",
        (
            Measure(
                "level",
                "m",
                -100,
                10_000,
                expected=Expected(still_s=6 * _HOUR, noise="additive", neighbour_floor=0.1),
            ),
            Measure(
                "flow",
                "m³/s",
                -100_000,
                1_000_000,
                expected=Expected(still_s=6 * _HOUR, trivial=(0.0,)),
            ),
            Measure(
                "pressure",
                "bar",
                0,
                100,
                expected=Expected(still_s=2 * _HOUR, noise="additive", neighbour_floor=0.15),
            ),
        ),
        share=0.04,
    ),
    Kind(
        "energy",
        "FIWARE ACMeasurement: consumption of a grid node",
        (
            Measure(
                "activePower",
                "kW",
                -1_000_000,
                1_000_000,
                required=True,
                expected=Expected(still_s=_HOUR, trivial=(0.0,), noise="relative"),
            ),
            Measure("activeEnergyImport", "kWh, counter", 0, 1e12, expected=None),
            Measure(
                "voltage",
                "V",
                0,
                1_000_000,
                expected=Expected(still_s=30 * _MINUTE, noise="additive", neighbour_floor=2.0),
            ),
        ),
        share=0.09,
    ),
    # A new kind goes here, last: seeded cities and readings of those before stay as they are.
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def sensor_key(kind: str, area: str, sensor: str) -> int:
    """Return the sensor's stable signed 64-bit identity.

    A hash of the topic tail ``kind/area/sensor``: gateways, workers and the database agree on
    it without a registry. With a million sensors the chance of any collision is 3e-8.
    """
    digest = hashlib.blake2b(f"{kind}/{area}/{sensor}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
