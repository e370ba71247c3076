"""What of the state a filter lets through, and what is no filter."""

from __future__ import annotations

import pytest

from feeds.live.filters import (
    SEVERITIES,
    BadFilter,
    parse_filter,
    severity_of_priority,
    severity_of_share,
)
from feeds.live.item import LIVE_TOPICS, Item
from feeds.live.places import Box


def item(
    topic: str = "alerts",
    area: str | None = "north",
    box: Box | None = None,
    severity: int | None = None,
) -> Item:
    return Item(topic=topic, id="x", data=b"{}", order=(1,), area=area, box=box, severity=severity)


def passes(found: Item, **query: str) -> bool:
    given = {"topics": None, "area": None, "bbox": None, "min_severity": None} | query
    return parse_filter(**given).passes(found)


def test_without_conditions_everything_passes() -> None:
    assert all(passes(item(topic)) for topic in LIVE_TOPICS)


def test_topics_areas_and_severities_are_all_to_hold() -> None:
    severe = item(severity=SEVERITIES.index("severe"))
    assert passes(severe, topics="cases, alerts", area="south,north", min_severity="severe")
    assert not passes(severe, topics="cases")
    assert not passes(severe, area="south")
    assert not passes(severe, min_severity="extreme")


def test_what_has_no_area_place_or_severity_is_not_held_back_by_one() -> None:
    nowhere = item("ledger", area=None)
    assert passes(nowhere, area="north", bbox="0,0,1,1", min_severity="extreme")


@pytest.mark.parametrize(
    ("box", "met"),
    [
        ((13.1, 52.1, 13.1, 52.1), True),
        ((12.0, 52.1, 13.05, 52.2), True),  # a road that leads out
        ((13.3, 52.1, 13.3, 52.1), False),
        ((13.1, 52.3, 13.1, 52.3), False),
        ((0.0, 0.0, 90.0, 80.0), True),  # an area all around
    ],
)
def test_a_box_lets_through_what_touches_it(
    box: tuple[float, float, float, float], met: bool
) -> None:
    assert passes(item(box=Box(*box)), bbox="13.0,52.0,13.2,52.2") is met


def test_a_box_may_cross_the_antimeridian() -> None:
    for lon, met in ((179.0, True), (-179.0, True), (0.0, False)):
        assert passes(item(box=Box(lon, 0, lon, 0)), bbox="170,-10,-170,10") is met


@pytest.mark.parametrize(
    ("parameter", "value", "complaint"),
    [
        ("topics", "alerts,weather", "'weather' is no live topic; give some of segments, "),
        ("topics", " , ", "is no live topic"),
        ("area", ",".join(f"a{i}" for i in range(201)), "201 areas; give 1 to 200"),
        ("area", ",", "0 areas"),
        ("bbox", "1,2,3", "'1,2,3' is not four numbers; give west,south,east,north"),
        ("bbox", "1,2,3,x", "is not four numbers"),
        ("bbox", "52.5,13.4,52.6,133.5", "longitudes come first"),
        ("bbox", "1,5,2,4", "south <= north"),
        ("bbox", "nan,0,1,1", "in degrees"),
        ("min_severity", "bad", "'bad' is none of minor, moderate, severe, extreme"),
    ],
)
def test_what_is_no_filter_is_refused_by_name_and_with_the_remedy(
    parameter: str, value: str, complaint: str
) -> None:
    with pytest.raises(BadFilter, match=complaint) as caught:
        passes(item(), **{parameter: value})
    assert caught.value.parameter == parameter
    assert str(caught.value).startswith(f"{parameter}: ")


def test_incidents_and_priorities_have_severities_of_the_same_scale() -> None:
    assert [severity_of_share(s) for s in (0.0, 0.24, 0.25, 0.6, 0.75, 1.0)] == [0, 0, 1, 2, 3, 3]
    assert [severity_of_priority(p) for p in (4, 3, 2, 1)] == [0, 1, 2, 3]
