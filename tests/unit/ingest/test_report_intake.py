"""Citizens' reports over MQTT: what goes on, what is sealed, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.privacy_keys import PSEUDONYM_KEY, unseal
from tests.kit.report_bench import NOW, REPORT, SECRETS, TOPIC, ReportBench, privacy


def test_a_report_goes_on_without_its_person_and_the_person_sealed_beside_it() -> None:
    bench = ReportBench()
    bench.receive(REPORT)
    (report,), (personal,) = bench.reports(), bench.personal()
    assert (report.area, report.service, report.channel) == ("north", "pothole", "mqtt")
    assert (report.lon, report.lat) == (13.405123, 52.52)
    assert (report.reported_at, report.received_at) == (NOW - 60_000, NOW)
    assert report.reporter == privacy().pseudonym("mqtt:phone-17") == personal.pseudonym
    assert personal.report == report.id
    assert json.loads(unseal(personal.sealed)) == {
        "client": "phone-17",
        "name": "Ada Muster",
        "email": "ada@example.org",
        "phone": "+49 30 1234567",
    }
    shown = bench.on_shared_topics()
    assert not [secret for secret in SECRETS if secret in shown]


def test_the_wish_to_be_told_is_sealed_and_nowhere_else() -> None:
    for wish in ("email", "https://ada.example.org/news?key=1"):
        bench = ReportBench()
        bench.receive(REPORT | {"notify": wish})
        (personal,) = bench.personal()
        assert json.loads(unseal(personal.sealed))["notify"] == wish
        assert "notify" not in bench.on_shared_topics()
        assert "ada.example.org" not in bench.on_shared_topics()


def test_both_records_have_a_key_and_cloud_event_headers() -> None:
    bench = ReportBench()
    bench.receive(REPORT)
    by_topic = {pending.event.topic: pending.event for pending in bench.intake.events}
    report = bench.reports()[0]
    assert by_topic["reports"].key == b"north"
    assert by_topic["private"].key == report.reporter.encode()
    headers = dict(by_topic["reports"].headers)
    assert headers["ce_type"] == b"org.civicstream.report"
    assert headers["ce_id"] == report.id.encode()
    assert headers["ce_source"] == b"gateway/g1"


def test_a_message_is_acknowledged_only_when_kafka_has_report_and_person() -> None:
    bench = ReportBench()
    packet_id = bench.receive(REPORT)
    report, personal = list(bench.intake.events)
    bench.confirm(personal)
    counts = bench.intake.ledger.report(NOW).kinds["report"]
    assert (bench.acked, counts.accepted, counts.in_flight) == ([], 0, 1)
    bench.confirm(report)
    counts = bench.intake.ledger.report(NOW).kinds["report"]
    assert (bench.acked, counts.accepted, counts.in_flight) == ([packet_id], 1, 0)
    assert bench.intake.in_flight_bytes == 0


def test_a_resent_report_has_the_same_id_and_another_reference_or_client_another() -> None:
    bench = ReportBench()
    bench.receive(REPORT)
    bench.receive(REPORT | {"description": "again"})
    bench.receive(REPORT | {"reference": "r-2"})
    bench.receive(REPORT, "city/v1/report/north/phone-18")
    first, again, other, stranger = (report.id for report in bench.reports())
    assert first == again
    assert len({first, other, stranger}) == 3


def test_ids_and_pseudonyms_depend_on_the_key() -> None:
    ours, theirs = ReportBench(), ReportBench(pseudonym_key=PSEUDONYM_KEY[::-1])
    ours.receive(REPORT)
    theirs.receive(REPORT)
    assert ours.reports()[0].id != theirs.reports()[0].id
    assert ours.reports()[0].reporter != theirs.reports()[0].reporter


def test_contacts_in_the_description_are_masked_and_the_original_is_sealed() -> None:
    bench = ReportBench()
    said = "Hole in front of 12 Oak St. Call 030/123 45 67 or write to ada@example.org!"
    bench.receive(REPORT | {"description": said})
    assert bench.reports()[0].description == "Hole in front of 12 Oak St. Call […] or write to […]!"
    assert json.loads(unseal(bench.personal()[0].sealed))["description"] == said


def test_control_characters_and_turned_text_are_taken_out_of_the_description() -> None:
    bench = ReportBench()
    bench.receive(REPORT | {"description": "  Bell\x07 \x00null\r\nnew \u202eline\x1b[31m "})
    assert bench.reports()[0].description == "Bell null\nnew line[31m"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"service": "ufo"}, "unknown_service"),
    ({"lon": 200}, "position_out_of_range"),
    ({"lon": 0, "lat": 0}, "position_missing"),
    ({"lon": None}, "place_missing"),
    ({"lon": None, "lat": None}, "place_missing"),
    ({"lon": None, "lat": None, "address_string": "5 Elm Street"}, "address_unknown"),
    ({"lon": "13.4"}, "wrong_shape"),
    ({"ts": NOW // 1000}, "time_in_seconds"),
    ({"ts": NOW + 3_600_000}, "time_in_future"),
    ({"ts": NOW - 731 * 86_400_000}, "too_old"),
    ({"ts": 10**400}, "number_too_large"),
    ({"reference": 10**400}, "reference_malformed"),
    ({"lon": 10**400}, "wrong_shape"),
    ({"attributes": {"depth": 10**400}}, "attribute_malformed"),
    ({"ts": "Ada Muster was here"}, "time_malformed"),
    ({"ts": "2026-11-21T10:00:00"}, "time_without_offset"),
    ({"reference": "ada@example.org"}, "reference_malformed"),
    ({"reference": ""}, "reference_malformed"),
    ({"description": "x" * 4001}, "text_too_long"),
    ({"name": "Ada " * 100}, "text_too_long"),
    ({"media_url": "javascript:alert(1)"}, "media_url_malformed"),
    ({"media_url": "https://ada:pw@example.org/"}, "media_url_malformed"),
    ({"notify": "email", "email": None}, "notify_malformed"),
    ({"notify": "http://example.org/"}, "notify_malformed"),
    ({"notify": "https://ada:pw@example.org/"}, "notify_malformed"),
    ({"notify": "yes"}, "notify_malformed"),
    ({"attributes": {"colour": "red"}}, "unknown_attribute"),
    ({"attributes": {"depth": "Ada Muster"}}, "attribute_malformed"),
    ({"attributes": {"depth": ["deep", "shallow"]}}, "attribute_malformed"),
    ({"name": ["Ada", "Muster"]}, "wrong_shape"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_a_wrong_report_is_a_dead_letter_that_tells_nothing_of_the_person(
    change: dict[str, Any], reason: str
) -> None:
    bench = ReportBench()
    packet_id = bench.receive(REPORT | change)
    (letter,) = bench.dead_letters()
    assert letter.reason == reason
    assert letter.kind == "report"
    assert letter.topic == f"city/v1/report/north/{privacy().pseudonym('mqtt:phone-17')}"
    shown = bench.on_shared_topics()
    assert not [secret for secret in SECRETS if secret in shown], letter.detail
    assert json.loads(unseal(letter.payload)) == REPORT | change
    bench.confirm_all()
    counts = bench.intake.ledger.report(NOW).kinds["report"]
    assert (counts.rejected, counts.imbalance, bench.acked) == (1, 0, [packet_id])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty_payload"),
        (b"{", "not_json"),
        (b'{"name": "Ada \xff"}', "invalid_utf8"),
        (b"[" * 5000, "wrong_shape"),
        (b"[1]", "wrong_shape"),
        (b'{"reference": "\\ud800", "service": "pothole", "ts": 1}', "lone_surrogate"),
        (b'{"reference": 1, "service": "pothole", "ts": NaN}', "not_json"),
    ],
)
def test_what_is_no_json_object_is_a_sealed_dead_letter(payload: bytes, reason: str) -> None:
    bench = ReportBench()
    bench.receive(payload)
    (letter,) = bench.dead_letters()
    assert letter.reason == reason
    assert unseal(letter.payload) == payload
    assert letter.payload_bytes == len(payload)


@pytest.mark.parametrize(
    "topic",
    [
        "city/v1/report",
        "city/v1/report/north",
        "city/v1/report/north/phone-17/Ada",
        "city/v1/report//phone-17",
        "city/v1/report/north/phone-17" + "x" * 200,
        "city/v1/report/north/phone-17\n",
    ],
)
def test_a_topic_that_is_wrong_does_not_tell_the_client_either(topic: str) -> None:
    bench = ReportBench()
    bench.receive(REPORT, topic)
    (letter,) = bench.dead_letters()
    assert letter.reason in {"unknown_topic", "name_too_long", "name_malformed"}
    assert "phone-17" not in bench.on_shared_topics()


def test_an_oversized_report_is_sealed_too() -> None:
    bench = ReportBench()
    bench.receive(REPORT | {"description": "x" * 300_000})
    (letter,) = bench.dead_letters()
    assert letter.reason == "payload_too_large"
    assert unseal(letter.payload).startswith(b'{"reference": "r-1"')
    assert len(letter.payload) < 100_000


def test_without_a_key_reports_are_refused_with_the_setting_and_nothing_of_them_is_kept() -> None:
    bench = ReportBench(public_key=None)
    bench.receive(REPORT)
    (letter,) = bench.dead_letters()
    assert letter.reason == "reports_not_configured"
    assert "CIVICSTREAM_PRIVACY__PUBLIC_KEY" in letter.detail
    assert (letter.payload, letter.topic) == (b"", "city/v1/report/north/[…]")
    assert not bench.intake.events


def test_a_client_that_floods_is_limited_visible_and_counted_and_others_are_not() -> None:
    bench = ReportBench(burst=3, per_client_10_min=6)
    for number in range(8):
        bench.receive(REPORT | {"reference": f"flood-{number}"})
    bench.receive(REPORT, "city/v1/report/north/quiet")
    assert len(bench.reports()) == 4
    assert {letter.reason for letter in bench.dead_letters()} == {"rate_limited"}
    assert {letter.topic.rpartition("/")[2] for letter in bench.dead_letters()} == {
        privacy().pseudonym("mqtt:phone-17")
    }
    assert bench.intake.ledger.report(NOW).gauges["rate_limited"] == 5
    bench.now += 100  # 6 in 10 min: one more after 100 s
    bench.receive(REPORT | {"reference": "later"})
    assert len(bench.reports()) == 5


def test_what_the_broker_sends_again_is_never_taken_for_a_flood() -> None:
    bench = ReportBench(burst=3)
    for _ in range(5):
        for number in range(3):
            bench.receive(REPORT | {"reference": f"r-{number}"})
    assert len(bench.reports()) == 15
    assert not bench.dead_letters()


def test_answers_of_a_service_are_checked_and_kept() -> None:
    bench = ReportBench()
    bench.receive(REPORT | {"service": "waste", "attributes": {"kind": ["bin", "bulky", "bin"]}})
    bench.receive(REPORT | {"service": "flooding", "attributes": {"depth_cm": 12.5}})
    found = [report.attributes for report in bench.reports()]
    assert found == [{"kind": ["bin", "bulky"]}, {"depth_cm": ["12.5"]}]


def test_an_address_in_the_register_is_place_enough(tmp_path: Any) -> None:
    register = tmp_path / "addresses.csv"
    register.write_text("address_id,address,lon,lat\n77,Élm-Street 5,13.5,52.4\n", "utf-8")
    bench = ReportBench(addresses_file=register)
    bench.receive(REPORT | {"lon": None, "lat": None, "address_string": "elm street, 5"})
    bench.receive(REPORT | {"lon": None, "lat": None, "address_id": "77"})
    assert [(report.lon, report.lat) for report in bench.reports()] == [(13.5, 52.4)] * 2


messages = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=30), st.just([]))
        for name in (*REPORT, "attributes", "media_url", "address_string")
    },
)


@given(st.lists(st.one_of(messages, st.binary(max_size=40)), max_size=15), st.data())
@settings(max_examples=40)
def test_every_message_is_counted_and_acknowledged_once_whatever_it_holds(
    sent: list[Any], data: st.DataObject
) -> None:
    bench = ReportBench(burst=2)
    for message in sent:
        changed = message if isinstance(message, bytes) else REPORT | message
        topic = data.draw(st.sampled_from([TOPIC, "city/v1/report/north", "city/v1/unit/n/u"]))
        bench.receive(changed, topic)
    counts = bench.intake.ledger.report(NOW).kinds.values()
    assert sum(c.received for c in counts) == len(sent)
    assert all(c.imbalance == 0 for c in counts)
    bench.confirm_all()
    counts = bench.intake.ledger.report(NOW).kinds.values()
    assert sum(c.accepted + c.rejected for c in counts) == len(sent)
    assert sorted(bench.acked) == list(range(1, len(sent) + 1))
    assert (bench.intake.in_flight_bytes, len(bench.intake.acks)) == (0, 0)
