"""Every kind of condition: duration, change, absence, count, combination, schedule, key."""

from __future__ import annotations

from alerts.engine.places import Places
from civicstream.city import Area, City, Segment, Sensors
from civicstream.events import Alert, Counts, FrameGap, LedgerReport
from tests.kit.alert_making import SLOW, T0, air, brief, engine, health, minute, traffic

SQUARE = ((0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0), (0.0, 0.0))


def test_a_level_of_service_must_hold_for_its_time_without_a_break() -> None:
    alerts = engine(
        '[[rule]]\nname = "jam"\nsource = "results.traffic"\nfield = "level_of_service"\n'
        'is = "F"\nfor = "5m"\nseverity = "minor"\nmessage = "{segment}"\n'
    )
    made: list[Alert] = []
    for at in range(1, 17):
        level = "A" if at == 4 else "F"
        made += alerts.apply("results.traffic", traffic(at, {"s1": 5.0}, level=level), minute(at))
    assert [(a.started_at, a.updated_at) for a in made] == [(minute(5), minute(10))]


def test_a_drop_within_a_time_is_seen_and_a_slow_one_is_not() -> None:
    rule = SLOW.replace("below = 20", 'change_over = "10m"\nbelow = -40').replace(
        "clear_above = 30", "clear_above = -10"
    )
    fast, slow = engine(rule), engine(rule)
    for at in range(1, 60):
        assert slow.apply("results.traffic", traffic(at, {"s1": 90.0 - at}), minute(at)) == []
    made: list[Alert] = []
    for at in range(1, 30):
        speed = 90.0 if at < 10 else 30.0
        made += fast.apply("results.traffic", traffic(at, {"s1": speed}), minute(at))
    assert (made[0].change, made[0].value) == ("raised", -60.0)
    assert made[-1].change == "cleared"
    assert made[-1].updated_at == minute(20)


def test_a_change_from_window_to_window_looks_at_the_one_before() -> None:
    alerts = engine(
        SLOW.replace("below = 20", 'change_over = "window"\nbelow = -40').replace(
            "clear_above = 30", ""
        )
    )
    made: list[Alert] = []
    for at, speed in enumerate((90.0, 60.0, 10.0, 10.0), 1):
        made += alerts.apply("results.traffic", traffic(at, {"s1": speed}), minute(at))
    assert [(a.change, a.updated_at) for a in made] == [
        ("raised", minute(3)),
        ("cleared", minute(4)),
    ]


def test_the_share_of_late_readings_is_that_of_the_last_minutes() -> None:
    alerts = engine(
        '[[rule]]\nname = "late"\nsource = "ledger"\nfield = "total.late"\n'
        'per = "total.received"\nchange_over = "10m"\nabove = 0.1\nseverity = "minor"\n'
        'message = "{instance}: {value:.0%}"\n'
    )
    made: list[Alert] = []
    for at in range(1, 40):
        late = 0 if at < 20 else (at - 20) * 30
        counts = Counts(at * 100, at * 100 - late, late=late)
        report = LedgerReport("worker", "w1", 1, minute(at), {"traffic": counts})
        made += alerts.apply("ledger", report, minute(at))
    assert made[0].headline.startswith("w1: ")
    assert made[0].value is not None
    assert 0.1 < made[0].value < 0.15


QUIET = """
[[rule]]
name = "quiet"
source = "results.traffic"
no_data_for = "5m"
severity = "severe"
message = "nothing from {area}"
"""


def two_areas_with_roads() -> Places:
    areas = tuple(Area(name, name.title(), SQUARE) for name in ("north", "south", "roadless"))
    segments = tuple(
        Segment(
            id=f"s-{a.id}",
            area=a.id,
            corridor="c",
            position=i,
            road_class="street",
            lanes=1,
            length_m=500.0,
            free_flow_kmh=50.0,
            line=SQUARE[:2],
        )
        for i, a in enumerate(areas[:2])
    )
    traffic_kind, air_kind = Sensors.kind_names.index("traffic"), Sensors.kind_names.index("air")
    sensors = [(f"t-{i}", traffic_kind, i, i, 0, 60.0, 1.0, 1.0) for i in range(2)]
    sensors.append(("a-2", air_kind, 2, -1, 0, 60.0, 1.0, 1.0))
    return Places.of_city(City(areas, segments, Sensors.from_rows(sensors)))


def test_a_city_that_has_not_begun_is_expected_to_after_two_minutes() -> None:
    alerts = engine(QUIET, two_areas_with_roads())
    made = [alert for at in range(20) for alert in alerts.tick(minute(at / 2))]
    assert [(alert.area, alert.started_at) for alert in made] == [
        ("north", minute(2)),
        ("south", minute(2)),
    ]


def test_a_slow_start_of_a_city_whose_time_is_fast_is_no_absence() -> None:
    alerts = engine(QUIET, two_areas_with_roads())
    for second in range(110):
        machine_ms = T0 + 1_000 * second
        assert alerts.tick(minute(second), machine_ms=machine_ms) == []
    for area in ("north", "south"):
        alerts.apply("results.traffic", traffic(109, {f"s-{area}": 50.0}, area), minute(110))
    assert alerts.tick(minute(113), machine_ms=T0 + 130_000) == []
    found = alerts.tick(minute(115), machine_ms=T0 + 132_000)
    assert [alert.area for alert in found] == ["north", "south"]


def test_an_area_without_results_raises_until_they_come_again() -> None:
    alerts = engine(QUIET, two_areas_with_roads())
    made = alerts.tick(minute(0))
    for at in range(1, 8):
        speeds = {f"s{number}": 50.0 for number in range(at)}
        alerts.apply("results.traffic", traffic(at, speeds), minute(at))
        made += alerts.tick(minute(at))
    (south,) = made
    assert (south.started_at, south.updated_at) == (minute(1), minute(6))
    assert (south.subject, south.area, (south.lon, south.lat)) == ("area/south", "south", (1, 1))
    assert alerts.tick(minute(30), caught_up=False) == []
    (north,) = alerts.tick(minute(30))
    assert (north.subject, north.started_at) == ("area/north", minute(7))
    (again,) = alerts.apply("results.traffic", traffic(29, {"s1": 50.0}), minute(30))
    assert brief([again]) == [("area/north", "cleared", 2)]


def test_broken_sensors_are_counted_by_area() -> None:
    alerts = engine(
        '[[rule]]\nname = "broken"\nsource = "health"\nfield = "health"\nis_not = "ok"\n'
        'at_least = 3\nwithin = "area"\nseverity = "minor"\nmessage = "{value:.0f} in {area}"\n'
    )
    made: list[Alert] = []
    for sensor in (1, 2, 4):
        made += alerts.apply("health", health(sensor, "stuck", 1), minute(1))
        made += alerts.apply("health", health(sensor + 10, "stuck", 1, "south"), minute(1))
        made += alerts.apply("health", health(sensor, "silent", 2), minute(2))
    made += alerts.apply("health", health(2, "ok", 3), minute(3))
    assert [(a.subject, a.change, a.value) for a in made if a.area == "north"] == [
        ("area/north", "raised", 3.0),
        ("area/north", "cleared", 3.0),
    ]
    assert made[0].headline in {"3 in north", "3 in south"}


COMBINED = """
[[rule]]
name = "smog-in-a-jam"
join = "area"
all = ["jam", "smog"]
not = ["rain"]
severity = "moderate"
message = "{area}"

[rule.condition.jam]
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 20
at_least = 2

[rule.condition.smog]
source = "results.environment"
where = { measure = "pm25" }
field = "mean"
above = 50

[rule.condition.rain]
source = "results.environment"
where = { measure = "precipitation" }
field = "mean"
above = 1
"""


def test_a_combination_holds_where_all_do_and_none_that_must_not() -> None:
    alerts = engine(COMBINED)
    slow = {"s1": 5.0, "s2": 5.0}
    assert alerts.apply("results.traffic", traffic(1, slow), minute(1)) == []
    assert alerts.apply("results.environment", air(1, 80.0, "south"), minute(1)) == []
    (raised,) = alerts.apply("results.environment", air(2, 80.0), minute(2))
    assert (raised.subject, raised.started_at) == ("area/north", minute(2))
    (cleared,) = alerts.apply("results.environment", air(3, 5.0, "north", "precipitation"), 0)
    assert cleared.change == "cleared"
    (again,) = alerts.apply("results.environment", air(4, 0.0, "north", "precipitation"), 0)
    assert (again.change, again.started_at) == ("raised", minute(4))
    (fewer,) = alerts.apply("results.traffic", traffic(5, {"s1": 5.0, "s2": 60.0}), minute(5))
    assert fewer.change == "cleared"


def test_the_order_in_which_two_topics_come_makes_no_other_alert() -> None:
    slow = ("results.traffic", traffic(3, {"s1": 5.0, "s2": 5.0}))
    smog = ("results.environment", air(2, 80.0))
    ids = set()
    for order in ((slow, smog), (smog, slow)):
        alerts = engine(COMBINED)
        ids |= {a.id for topic, event in order for a in alerts.apply(topic, event, minute(4))}
    assert len(ids) == 1


def test_a_rule_raises_only_in_its_areas_and_hours() -> None:
    alerts = engine(
        SLOW + 'areas = ["north"]\nschedule = { days = "fri", hours = "08:00-09:00" }\n'
    )
    assert alerts.apply("results.traffic", traffic(1, {"x": 5.0}, "south"), minute(1)) == []
    assert len(alerts.apply("results.traffic", traffic(1, {"s1": 5.0}), minute(1))) == 1
    assert alerts.apply("results.traffic", traffic(61, {"s2": 5.0}), minute(61)) == []
    (cleared,) = alerts.apply("results.traffic", traffic(62, {"s1": 50.0}), minute(62))
    assert cleared.change == "cleared"


def test_subjects_of_one_key_share_an_alert_until_the_last_is_over() -> None:
    alerts = engine(SLOW + 'key = "{area}"\n')
    made = alerts.apply("results.traffic", traffic(1, {"s1": 5.0, "s2": 5.0}), minute(1))
    assert [(a.key, a.subject) for a in made] == [("slow:north", "segment/s1")]
    assert alerts.apply("results.traffic", traffic(2, {"s1": 50.0, "s2": 5.0}), minute(2)) == []
    (cleared,) = alerts.apply("results.traffic", traffic(3, {"s1": 50.0, "s2": 50.0}), minute(3))
    assert (cleared.change, cleared.id) == ("cleared", made[0].id)


def test_missing_frames_are_an_alert_for_an_hour() -> None:
    alerts = engine(
        '[[rule]]\nname = "gap"\nsource = "gaps"\nfield = "missing"\nabove = 0\n'
        'severity = "severe"\nmessage = "{missing} of {gateway}"\n'
    )
    gap = FrameGap(
        gateway="g1", epoch=1, topic="frames.traffic", partition=0, first=5, missing=3, at=minute(1)
    )
    (raised,) = alerts.apply("gaps", gap, minute(1))
    assert (raised.subject, raised.area, raised.headline) == ("gateway/g1", "city", "3 of g1")
    assert alerts.tick(minute(60)) == []
    (cleared,) = alerts.tick(minute(62))
    assert cleared.cleared_at == minute(61)
