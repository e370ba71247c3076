"""What a citizen's client should never send is answered with a 4xx, and the next one is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from tests.kit.feeds_runs import API_KEY, Front, feeds
from tests.kit.sink_rows import Loader, loader

GOOD = {"api_key": API_KEY, "service_code": "pothole", "lat": "52.5", "long": "13.4"}
ODD = (
    "%00",
    "a%00b",
    "%ED%A0%80",
    "%FF",
    "1" + "0" * 400,
    "-" + "9" * 5_000,
    "1e400",
    "nan",
    "-inf",
    "%F0%9F%98%80",
    "%E2%80%AE",
    "[" * 5_000,
    "%22%5Cud800%22",
    "",
    "%20",
    "9" * 20,
    "x" * 30_000,
)
FIELDS = (
    "service_code",
    "lat",
    "long",
    "address_string",
    "address_id",
    "description",
    "device_id",
    "account_id",
    "email",
    "phone",
    "first_name",
    "media_url",
    "reference",
    "notify_url",
    "notify_by_email",
    "jurisdiction_id",
    "attribute[depth]",
    "attribute[%00]",
    "%00",
    "%FF",
)


@pytest.fixture
def database(postgres: str) -> Iterator[Loader]:
    with loader(postgres) as writer:
        yield writer


@pytest.fixture
def front(kafka: KafkaSettings, database: Loader, tmp_path: Path) -> Iterator[Front]:
    create_topics(kafka)
    with feeds(kafka, database.url, tmp_path, reports__burst=10_000) as running:
        yield running


def test_hostile_values_in_any_field_are_never_a_500_and_never_the_end(front: Front) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    with httpx.Client(timeout=60, trust_env=False, headers=headers) as client:
        answers = []
        for field in FIELDS:
            for value in ODD:
                kept = "&".join(f"{k}={v}" for k, v in GOOD.items() if k != field)
                content = f"{kept}&{field}={value}".encode()
                answer = client.post(f"{front.url}/requests.json", content=content)
                answers.append((field, value[:20], answer.status_code))
        for query in ("service_code", "service_request_id", "status", "start_date", "end_date"):
            for value in (*ODD, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
                answer = client.get(f"{front.url}/requests.json?{query}={value}")
                answers.append((query, value[:20], answer.status_code))
        answers += [
            (path, "", client.get(f"{front.url}/{path}/%00.json").status_code)
            for path in ("requests", "services", "tokens")
        ]
    assert [found for found in answers if found[2] >= 500] == []
    assert {status for *_, status in answers} >= {200, 400}
    assert front.child.alive()
    assert front.post(GOOD | {"device_id": "one-who-means-well"}).status_code == 200
