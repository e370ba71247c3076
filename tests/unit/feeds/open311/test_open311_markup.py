"""Answers in JSON and XML say the same, whatever is in the texts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from civicstream.services import load_services
from feeds.open311.markup import render
from feeds.open311.request_view import RequestView, StoredRequest
from feeds.open311.service_list import service_definition, service_list

SPECIFICATION_REQUEST = """<?xml version="1.0" encoding="utf-8"?>
<service_requests><request>
  <service_request_id>638344</service_request_id><token>12345</token>
</request></service_requests>"""


def _shape(element: ElementTree.Element) -> Any:
    if len(element):
        return (element.tag, [_shape(child) for child in element])
    return (element.tag, (element.text or "").strip())


def _parse(xml: bytes | str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 our own text


def test_the_specifications_token_answer_comes_out_of_its_values() -> None:
    ours = render([{"service_request_id": 638344, "token": 12345}], "service_requests", "xml")
    assert _shape(_parse(ours)) == _shape(_parse(SPECIFICATION_REQUEST))


def test_the_specifications_error_answer_comes_out_of_its_values() -> None:
    found = [{"code": 403, "description": "Invalid api_key received -- can't proceed"}]
    assert json.loads(render(found, "errors", "json")) == found
    root = _parse(render(found, "errors", "xml"))
    assert _shape(root) == (
        "errors",
        [("error", [("code", "403"), ("description", found[0]["description"])])],
    )


@given(st.text())
def test_any_text_survives_json_and_all_that_xml_can_hold_survives_xml(text: str) -> None:
    kept = "".join(c for c in text if c.isprintable() or c in "\t\n")
    assert json.loads(render([{"description": kept}], "errors", "json")) == [{"description": kept}]
    root = _parse(render([{"description": text}], "errors", "xml"))
    found = root.findtext("error/description") or ""
    assert [c for c in found if c.isprintable()] == [
        c for c in text if c.isprintable() and c not in "\ufffe\uffff"
    ]


def test_markup_in_a_text_is_text() -> None:
    evil = '</description><status>closed</status> & "quotes" <![CDATA[x]]> \''
    root = _parse(render([{"description": evil}], "service_requests", "xml"))
    assert root.findtext("request/description") == evil
    assert root.find("request/status") is None


def test_services_have_the_fields_of_the_specification_in_both_formats() -> None:
    services = load_services()
    fields = [
        "service_code",
        "service_name",
        "description",
        "metadata",
        "type",
        "keywords",
        "group",
    ]
    listed = service_list(services)
    assert all(list(service) == fields for service in listed)
    root = _parse(render(listed, "services", "xml"))
    assert [[child.tag for child in service] for service in root] == [fields] * len(listed)
    definition = _parse(
        render(service_definition(services["street_light"]), "service_definition", "xml")
    )
    assert [child.tag for child in definition] == ["service_code", "attributes"]
    assert [child.tag for child in definition.find("attributes") or []] == ["attribute"] * 2


def _stored(**change: Any) -> StoredRequest:
    moment = datetime(2026, 11, 21, 8, 15, 30, 999_000, tzinfo=UTC)
    fields: dict[str, Any] = {
        "id": "r1",
        "service": "pothole",
        "lon": 13.404954,
        "lat": 52.520008,
        "description": "A hole",
        "reported_at": moment,
        "received_at": moment,
        "address": "1 Oak Street",
        "media_url": None,
    }
    return StoredRequest(**(fields | change))


def test_a_request_without_a_case_is_open_and_expected_by_its_services_target() -> None:
    shown = RequestView(load_services(), 3, addresses=False).show(_stored())
    assert (shown["status"], shown["status_notes"]) == ("open", "received")
    assert shown["requested_datetime"] == "2026-11-21T08:15:30Z"
    assert shown["expected_datetime"] == "2026-11-24T08:15:30Z"
    assert shown["service_name"] == "Pothole"


def test_states_of_cases_are_open_until_they_end() -> None:
    view = RequestView(load_services(), 3, addresses=False)
    states = ["received", "acknowledged", "assigned", "in_progress"]
    ended = ["resolved", "rejected", "duplicate"]
    assert {view.show(_stored(state=state))["status"] for state in states} == {"open"}
    assert {view.show(_stored(state=state))["status"] for state in ended} == {"closed"}


def test_positions_and_addresses_are_as_exact_as_the_settings_allow() -> None:
    services = load_services()
    hidden = RequestView(services, 2, addresses=False).show(_stored())
    exact = RequestView(services, 6, addresses=True).show(_stored())
    assert (hidden["lat"], hidden["long"], hidden["address"]) == (52.52, 13.4, None)
    assert (exact["lat"], exact["long"], exact["address"]) == (52.520008, 13.404954, "1 Oak Street")


def test_a_service_that_is_no_longer_configured_is_still_shown() -> None:
    shown = RequestView({}, 3, addresses=False).show(_stored())
    assert (shown["service_name"], shown["service_notice"]) == ("pothole", None)
