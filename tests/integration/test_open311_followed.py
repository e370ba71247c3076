"""A citizen posts a report and follows it: HTTP, Kafka, sink, database, and back."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import msgspec

from civicstream.kafka.clients import producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from sinks.admin.init import init_database
from stack.servers.processes import wait_until
from tests.kit.citizen_events import case
from tests.kit.feeds_runs import API_KEY, feeds
from tests.kit.sink_process import sink_running
from tests.kit.sink_rows import settings_for

FORM = {
    "api_key": API_KEY,
    "service_code": "pothole",
    "lat": "52.520008",
    "long": "13.404954",
    "description": "As wide as a wheel",
    "email": "ada@example.org",
}


def test_a_posted_report_is_found_within_seconds_and_closed_when_its_case_is(
    kafka: KafkaSettings, postgres: str, tmp_path: Path
) -> None:
    create_topics(kafka)
    settings = settings_for(postgres, kafka)
    init_database(settings)
    with sink_running(settings, tmp_path), feeds(kafka, postgres, tmp_path) as front:
        first = front.post(FORM).json()[0]["service_request_id"]
        path = f"requests/{first}.json"
        # a sink that starts joins its group first; what counts is how fast it is then
        wait_until(lambda: front.get(path).status_code == 200, "the first", timeout_s=60)
        posted_at = time.monotonic()
        second = front.post(FORM | {"description": "another"}).json()[0]["service_request_id"]
        path = f"requests/{second}.json"
        wait_until(lambda: front.get(path).status_code == 200, "the second", timeout_s=20)
        took_s = time.monotonic() - posted_at
        (found,) = front.get(path).json()
        assert (found["status"], found["status_notes"]) == ("open", "received")
        assert (found["lat"], found["long"]) == (52.52, 13.405)
        with closing(producer(kafka)) as made:
            for version, state in ((1, "received"), (2, "resolved")):
                event = case(
                    version=version, state=state, latest_report=second if version == 1 else None
                )
                value = msgspec.json.encode(event)
                made.send(f"{kafka.topic_prefix}.cases", value, key=b"north").get(timeout=30)

        def closed() -> bool:
            return bool(front.get(path).json()[0]["status"] == "closed")

        wait_until(closed, "the case's end", timeout_s=20)
        listed = front.get("requests.json", status="closed").json()
    assert [request["service_request_id"] for request in listed] == [second]
    print(f"found after {took_s:.2f} s")  # noqa: T201 for a person who runs it alone
    assert took_s < 10  # 2 s are promised; a machine that tests in parallel gets more
