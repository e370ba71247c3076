"""CAP messages follow from the versions of alerts and are what CAP 1.2 allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import msgspec
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from civicstream.city import Area, City, Segment
from civicstream.events import Alert, AlertChange, AlertSeverity
from feeds.cap.feed import atom_feed
from feeds.cap.message import CapWriter, cap_messages, identifier_of, read_identifier
from feeds.cap.places import CapPlaces
from tests.kit.sink_events import AT, alert

CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"
ATOM = "{http://www.w3.org/2005/Atom}"
NORTH = Area("north", "North End", ((13.3, 52.4), (13.5, 52.4), (13.5, 52.6), (13.3, 52.4)))
LINE = ((13.40, 52.50), (13.41, 52.51))
CITY = City(
    (NORTH,),
    (
        Segment(
            id="s2",
            area="north",
            corridor="A1",
            position=0,
            road_class="freeway",
            lanes=2,
            length_m=1000.0,
            free_flow_kmh=100.0,
            line=LINE,
        ),
    ),
)
WRITER = CapWriter("alerts@city.example", "Actual", CapPlaces(CITY), "https://city.example")


SCHEMA: Any = xmlschema.XMLSchema(Path(__file__).parents[3] / "data" / "cap-1.2.xsd")


def version(number: int, change: str, **more: Any) -> Alert:
    state = "cleared" if change == "cleared" else "active"
    ended = AT if state == "cleared" else None
    times = {"computed_at": AT + 1000 * number, "cleared_at": ended}
    return alert(**{"version": number, "change": change, "state": state, **times, **more})


LIFE = [
    version(n, change)
    for n, change in enumerate(("raised", "acknowledged", "updated", "escalated", "cleared"), 1)
]


def parsed(document: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(document)  # noqa: S314 we wrote it


def text(document: bytes, path: str) -> list[str]:
    root = parsed(document)
    return [e.text or "" for e in root.findall("/".join(CAP + step for step in path.split("/")))]


def test_a_life_is_an_alert_updates_and_a_cancel_that_refer_to_all_before_them() -> None:
    messages = cap_messages(LIFE)
    assert [(m.type, m.identifier) for m in messages] == [
        ("Alert", "l1.1"),
        ("Update", "l1.3"),
        ("Update", "l1.4"),
        ("Cancel", "l1.5"),
    ]
    assert text(WRITER.write(messages[0]), "references") == []
    (references,) = text(WRITER.write(messages[3]), "references")
    sent = [text(WRITER.write(m), "sent")[0] for m in messages]
    assert references.split() == [
        f"alerts@city.example,{m.identifier},{at}"
        for m, at in zip(messages[:3], sent[:3], strict=True)
    ]


def test_children_of_a_group_have_no_messages_but_the_end_of_those_that_had_one() -> None:
    assert cap_messages([version(1, "raised", parent="p"), version(2, "cleared", parent="p")]) == []
    grouped = [version(1, "raised"), version(2, "updated", parent="p")]
    ended = version(3, "cleared", parent="p")
    assert [m.type for m in cap_messages([*grouped, ended])] == ["Alert", "Cancel"]


def test_the_place_is_a_circle_around_the_segment_or_position_or_the_outline_of_the_area() -> None:
    def area(**of: Any) -> tuple[list[str], list[str], list[str]]:
        document = WRITER.write(cap_messages([alert(**of)])[0])
        return (
            text(document, "info/area/areaDesc"),
            text(document, "info/area/circle"),
            text(document, "info/area/polygon"),
        )

    name, circle, polygon = area()
    assert (name, polygon) == (["A1, North End"], [])
    # Half of 1.112 km north and half of 0.677 km east: 0.651 km, and 100 m beside the road.
    assert circle == ["52.505000,13.405000 0.751"]
    point = area(subject="incident/i1")
    assert point == (["North End"], ["52.500000,13.400000 0.250"], [])
    outline = area(subject="area/north", lon=None, lat=None)
    assert outline[0::2] == (
        ["North End"],
        ["52.400000,13.300000 52.400000,13.500000 52.600000,13.500000 52.400000,13.300000"],
    )
    assert area(area="unknown", subject="area/unknown", lon=None, lat=None) == (["unknown"], [], [])


def test_urgency_and_severity_and_certainty_follow_from_the_alert() -> None:
    def mapped(**of: Any) -> list[str]:
        message = cap_messages([alert(), version(2, "updated", **of)])[1]
        document = WRITER.write(message)
        return [text(document, f"info/{n}")[0] for n in ("urgency", "severity", "certainty")]

    assert mapped(severity="extreme") == ["Immediate", "Extreme", "Observed"]
    assert mapped(severity="moderate", subject="incident/i") == ["Expected", "Moderate", "Likely"]
    assert mapped(subject="whatever/1") == ["Immediate", "Severe", "Unknown"]
    ended = WRITER.write(cap_messages(LIFE)[-1])
    assert text(ended, "info/urgency") == ["Past"]
    assert text(ended, "info/responseType") == ["AllClear"]


words = st.text(min_size=1, max_size=30)


@given(
    words,
    words,
    words,
    st.sampled_from(get_args(AlertSeverity)),
    st.lists(st.sampled_from(get_args(AlertChange)), min_size=1, max_size=6),
    st.one_of(st.none(), st.floats(allow_nan=False)),
)
def test_whatever_an_alert_says_its_messages_are_valid(
    name: str, headline: str, subject: str, severity: str, changes: list[str], value: float | None
) -> None:
    versions = [
        version(
            n,
            change,
            id=name,
            headline=f"x{headline}",
            description=headline,
            subject=subject,
            severity=severity,
            value=value,
            rule=f"r{subject}",
        )
        for n, change in enumerate(changes, 1)
    ]
    messages = cap_messages(versions)
    for message in messages:
        SCHEMA.validate(WRITER.write(message).decode())
    parsed(atom_feed(messages, "https://city.example/cap/alerts", "city", AT))


@given(words, st.integers(1, 10**8))
def test_an_identifier_leads_back_to_its_version(name: str, number: int) -> None:
    made = identifier_of(alert(id=name, version=number))
    assert read_identifier(made) == (name, number)
    assert not set(" ,<&/\n") & set(made)


def test_what_is_no_identifier_of_ours_is_none() -> None:
    for other in ("", "l1", "l1.", "l1.0", "l1.x", ".1", "l1.1e3", "l1.99999999999"):
        assert read_identifier(other) is None


def test_the_schema_refuses_what_cap_forbids() -> None:
    good = WRITER.write(cap_messages(LIFE)[1]).decode()
    assert SCHEMA.is_valid(good)
    for right, wrong in (
        ("<msgType>Update", "<msgType>Change"),
        ("alerts@city.example</sender>", "alerts at city</sender>"),
        ("+00:00</sent>", "Z</sent>"),
        ("<scope>Public</scope>", ""),
        ("0.751</circle>", "</circle>"),
    ):
        assert right in good
        assert not SCHEMA.is_valid(good.replace(right, wrong)), wrong


def test_the_feed_has_an_entry_an_alert_the_newest_first() -> None:
    newer = msgspec.structs.replace(LIFE[0], id="a/b", computed_at=AT + 60_000)
    messages = [cap_messages(LIFE)[-1], cap_messages([newer])[0]]
    feed = parsed(atom_feed(messages, "https://city.example/cap/alerts", "alerts@city.example", AT))
    entries = feed.findall(f"{ATOM}entry")
    links = [e.find(f"{ATOM}link") for e in entries]
    assert [link.get("href") for link in links if link is not None] == [
        "https://city.example/cap/alerts/a%252Fb.1.xml",
        "https://city.example/cap/alerts/l1.5.xml",
    ]
    terms = [[c.get("term") for c in e.findall(f"{ATOM}category")] for e in entries]
    assert terms == [["Alert", "severe"], ["Cancel", "severe"]]
    updated = feed.find(f"{ATOM}updated")
    assert updated is not None
    assert updated.text == "2026-05-28T20:28:00+00:00"
