"""Invented areas and sensors are bounded, in number by the hour and in memory for good."""

from __future__ import annotations

import pytest

from civicstream.city import Area, City, Sensors
from civicstream.errors import RejectedReading
from civicstream.settings import GatewaySettings, Settings
from ingest import channels, newcomers
from ingest.intake import Intake
from ingest.newcomers import Newcomers

NOW = 1_795_282_800_000
READING = b'{"ts":%d,"intensity":12,"period":20}' % NOW
RING = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
CITY = City(
    (Area("north", "North", RING),),
    (),
    Sensors.from_rows([(f"A{n}", 0, 0, -1, 0, 20.0, 0.5, 0.5) for n in range(50)]),
)


class Gateway:
    """An intake that takes 10 new sensors and 3 new areas in an hour."""

    def __init__(self, city: City | None = None, *, sensors: int = 10, areas: int = 3) -> None:
        limits = GatewaySettings(id="g1", new_sensors_per_hour=sensors, new_areas_per_hour=areas)
        self.intake = Intake(Settings(gateway=limits), 99, city)
        self.now = 100.0

    def send(self, topic: str, payload: bytes = READING) -> str | None:
        """Return the reason of the dead letter that the message became, None for a reading."""
        before = len(self.intake.dead_letters)
        self.intake.receive(f"city/v1/{topic}", payload, 1, now_ms=NOW, now=self.now)
        letters = [pending.dead_letter for pending in self.intake.dead_letters]
        return letters[-1].reason if len(letters) > before else None


def test_beyond_the_limit_new_sensors_are_dead_letters_with_a_remedy_and_known_ones_go_on() -> None:
    gateway = Gateway()
    topics = [f"traffic/north/S{n}" for n in range(12)]
    assert [gateway.send(topic) for topic in topics] == [None] * 10 + ["too_many_new_sensors"] * 2
    letter = gateway.intake.dead_letters[0].dead_letter
    assert "sensor 'S10' of kind traffic in area 'north' is new" in letter.detail
    assert "CIVICSTREAM_GATEWAY__NEW_SENSORS_PER_HOUR" in letter.detail
    assert letter.payload == READING
    assert [gateway.send(topic) for topic in topics[:10]] == [None] * 10


def test_the_hour_lets_as_many_in_as_the_setting_says() -> None:
    gateway = Gateway()
    for n in range(10):
        gateway.send(f"traffic/north/S{n}")
    gateway.now += 1_800
    came = [gateway.send(f"traffic/north/T{n}") for n in range(10)]
    assert came.count(None) == 5


def test_new_areas_are_limited_for_readings_reports_and_units_alike() -> None:
    gateway = Gateway()
    assert gateway.send("traffic/a1/S1") is None
    assert gateway.send("unit/a2/tow-3", b"{}") == "wrong_shape"
    assert gateway.send("report/a3/phone", b"{}") == "reports_not_configured"
    assert gateway.send("traffic/a4/S1") == "too_many_new_areas"
    assert gateway.send("unit/a5/tow-3", b"{}") == "too_many_new_areas"
    assert gateway.send("report/a6/phone", b"{}") == "too_many_new_areas"
    assert gateway.send("traffic/a1/S2") is None


def test_sensors_and_areas_of_the_city_model_never_count_as_new() -> None:
    gateway = Gateway(CITY, sensors=1, areas=1)
    assert [gateway.send(f"traffic/north/A{n}") for n in range(50)] == [None] * 50
    assert gateway.send("traffic/north/new") is None
    assert gateway.send("traffic/invented/new") == "too_many_new_sensors"


def test_a_flood_of_new_sensors_pushes_out_itself_and_none_that_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "_GENERATION", 100)
    gateway = Gateway(sensors=500)
    assert gateway.send("traffic/north/steady") is None
    sent = [
        (gateway.send(f"traffic/north/S{n}"), gateway.send("traffic/north/steady"))
        for n in range(1_000)
    ]
    assert [steady for _, steady in sent] == [None] * 1_000
    assert [new for new, _ in sent].count(None) == 499
    known = gateway.intake._channels
    assert len(known._recent) + len(known._older) <= 200


def test_the_area_longest_out_of_use_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "_MAX_AREAS", 2)
    doors = Newcomers(GatewaySettings(id="g1", new_areas_per_hour=3))
    for area in ("a", "b", "a", "c"):  # b is out of use
        doors.admit_area(area, 0.0)
    doors.admit_area("a", 0.0)
    with pytest.raises(RejectedReading, match="area 'd' is new, and more than 3 new ones"):
        doors.admit_area("d", 0.0)
