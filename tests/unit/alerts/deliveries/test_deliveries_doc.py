"""docs/alerts.md, Deliveries and CAP: its examples work, its names exist."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from alerts.deliveries.channels.alertmanager import AlertmanagerReceiver
from alerts.deliveries.channels.email import EmailReceiver
from alerts.deliveries.channels.kafka_topic import KafkaReceiver
from alerts.deliveries.channels.mqtt_topics import MqttReceiver
from alerts.deliveries.channels.webhook import WebhookReceiver
from alerts.deliveries.receivers import CitizensPlan, MailServer, Receiver
from alerts.deliveries.receivers_file import read_plan
from alerts.deliveries.signatures import signed_headers
from civicstream.settings import environment_names

WHOLE = (Path(__file__).parents[4] / "docs" / "alerts.md").read_text(encoding="utf-8")
TEXT = WHOLE[WHOLE.index("\n## Deliveries") :]


def test_the_example_of_a_receiver_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "receivers.toml"
    file.write_text(example)
    (receiver,) = read_plan(file).receivers
    assert isinstance(receiver, WebhookReceiver)
    assert receiver.areas == ["north", "harbour"]


def test_the_snippet_verifies_what_is_sent_and_nothing_else() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 it is our own page
    now, body, secret = time.time_ns() // 1_000_000, b'{"a": 1}', b"a secret of 16 bytes or more"
    headers = signed_headers(body, secret, now, "l1/1")
    given = (headers["X-Civicstream-Timestamp"], headers["X-Civicstream-Signature"])
    assert names["is_genuine"](secret, *given, body)
    assert not names["is_genuine"](secret, *given, body + b" ")
    assert not names["is_genuine"](b"another", *given, body)
    old = signed_headers(body, secret, now - 3_600_000, "l1/1")
    replayed = (old["X-Civicstream-Timestamp"], old["X-Civicstream-Signature"])
    assert not names["is_genuine"](secret, *replayed, body)


@pytest.mark.parametrize(
    "declared",
    [
        Receiver,
        KafkaReceiver,
        MqttReceiver,
        WebhookReceiver,
        AlertmanagerReceiver,
        EmailReceiver,
        MailServer,
        CitizensPlan,
    ],
)
def test_every_field_is_explained(declared: type[Any]) -> None:
    for field in declared.__struct_fields__:
        assert f"`{field}`" in TEXT, f"{declared.__name__}.{field}"


def test_every_setting_it_names_exists() -> None:
    variables = set(re.findall(r"CIVICSTREAM_[A-Z_0-9]+__[A-Z_0-9]+", TEXT))
    assert variables
    assert variables <= environment_names()
